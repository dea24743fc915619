#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""
PURPOSE   How long tests wait. A deadline of a test is a time of a quiet machine; on a busy or slow one it is stretched, so that what it
          counts is the work that others could do meanwhile and not the clock.

METHOD    A fixed piece of work, hashing and writing through to the disk, is timed and compared with what it takes on a quiet machine.
          FACTOR is what that says at the start of the run, at least 1: whoever starts all tests measures once and hands it down in
          LARDER_TEST_PATIENCE, which may also be set by hand. A wait that lasts measures again now and then: while the machine is
          slower than FACTOR says, its time runs slower too.

LIMITS    It stretches how long a test waits for something that has to come, never what a test claims about larder: "within a second
          of" stays a second. At most MOST times.

As a program it prints the factor.
"""

import hashlib
import os
import statistics
import subprocess
import tempfile
import time

MOST = 40
AGAIN_S = 0.5  # how often a wait measures again
# What the work takes on a quiet machine (2 cores of 2020, a virtual disk); what is below it is no reason to wait shorter.
HASHES, HASHES_QUIET_S = 12_000, 0.003
WRITE, WRITE_QUIET_S = b"\0" * 4096, 0.002


def _hash():
    began = time.monotonic()
    hashlib.pbkdf2_hmac("sha256", b"larder", b"larder", HASHES)
    return (time.monotonic() - began) / HASHES_QUIET_S


def _write():
    with tempfile.TemporaryFile() as file:
        began = time.monotonic()
        file.write(WRITE)
        file.flush()
        os.fsync(file.fileno())
        return (time.monotonic() - began) / WRITE_QUIET_S


def slowness():
    """How many times longer than on a quiet machine it takes now, at least 1."""
    return min(max(1.0, _hash(), _write()), MOST)


def measure(times=15):
    """The same of a longer look, a few tenths of a second."""
    return min(max(1.0, statistics.mean(_hash() for _ in range(times)), statistics.mean(_write() for _ in range(times))), MOST)


def _factor():
    told = os.environ.get("LARDER_TEST_PATIENCE")
    if not told:
        told = os.environ["LARDER_TEST_PATIENCE"] = f"{measure():.2f}"  # for those that are started from here
    return min(max(1.0, float(told)), MOST)


FACTOR = _factor()


def stretched(seconds):
    """For a call that takes a time-out and waits by itself."""
    return seconds * FACTOR


class Deadline:
    """So many seconds of a quiet machine from now."""

    def __init__(self, seconds):
        self.seconds = self.left_s = seconds
        self.began = self.seen = self.measured = time.monotonic()
        self.slowness = FACTOR

    def has_passed(self):
        now = time.monotonic()
        if now - self.measured >= AGAIN_S:
            self.slowness = max(FACTOR, slowness())
            self.measured = time.monotonic()
        self.left_s -= (now - self.seen) / self.slowness
        self.seen = now
        return self.left_s <= 0

    def __str__(self):
        waited_s = time.monotonic() - self.began
        return f"{self.seconds:g} s" if waited_s < 1.2 * self.seconds else f"{self.seconds:g} s of a quiet machine, {waited_s:.1f} s here"


def wait_until(condition, deadline_s=10, what="what was waited for", pause_s=0.01):
    """Polls until the condition is true, and returns what it returned. It is asked once more behind the deadline."""
    deadline = Deadline(deadline_s)
    while True:
        has_passed = deadline.has_passed()
        found = condition()
        if found:
            return found
        assert not has_passed, f"{what}: not within {deadline}"
        time.sleep(pause_s)


def wait_child(child, deadline_s):
    """The exit status of a subprocess; subprocess.TimeoutExpired as its own wait() says it."""
    deadline = Deadline(deadline_s)
    while True:
        try:
            return child.wait(AGAIN_S / 2)
        except subprocess.TimeoutExpired:
            if deadline.has_passed():
                raise subprocess.TimeoutExpired(child.args, deadline_s) from None


if __name__ == "__main__":
    print(f"{FACTOR:.2f}")
