# SPDX-License-Identifier: MPL-2.0
"""
PURPOSE   Runs build/<variant>/random_operations against a shop: kills what the sequence says where it says so, starts it again, and judges
          the whole at the end: no process ended by itself, no error in a log that is not explained here, `larder verify` finds nothing but
          what the sequence itself put there from outside.

FAILURES  AssertionError with the seed, the number of the request, and where the sequence was written to.
"""

import os
import re
import shutil
import subprocess

from patience import wait_child
from processes import DONE, LARDER

PROGRAM = os.path.join(os.path.dirname(LARDER), "random_operations")
KEPT = os.path.join(os.path.dirname(LARDER), "random")

# Errors in the log that the sequence means to cause, each with the reason why it is right.
EXPECTED_ERRORS = {
    "order_cannot_be_undone": "the simulated provider refuses to pay back amounts that end in 08",
    "event_cannot_be_applied": "a shelf was filled up to what it can count, and a refill came",
    "message_ended_its_actor": "it was killed while it handled its first messages one by one",
    "hosting_is_stale": "a subscriber that was behind was unsubscribed by somebody",
    "webhook_does_not_fit": "somebody who has the provider's secret told of money for a charge that nobody knows",
    "kept_events_are_lost": "somebody else told the source in the dlq's name that events are kept",
}


# What verify says whatever it finds: places, sums, and how much it has read.
SAID_ANYWAY = r"\bagrees?\b|^provider: |: \d+ rows checked|^orders: |^verify reads |: \d+ faults in \d+ rows; |^\d+ faults?\b|it is open in the shop"


class Parts:
    """The processes of a shop that can be killed and started again: the whole, or actors and gateway as processes of their own."""

    def __init__(self, shop, is_whole):
        self.shop, self.is_whole = shop, is_whole
        self.processes = {}
        for name in self.names():
            self.start(name)

    def names(self):
        if self.is_whole:
            return ["run"]
        stocks = [f"stock {shard}" for shard in range(self.shop.shards)]
        return ["dlq", *stocks, "factory", "product", "user", "payment", "order", "sales", "gateway"]

    def start(self, name):
        if name == "run":
            self.processes[name] = self.shop.run()
        elif name == "gateway":
            self.processes[name] = self.shop.gateway()
        else:
            actor, *shard = name.split()
            self.processes[name] = self.shop.actor(actor, *(["--shard", shard[0]] if shard else []))

    def kill(self, drawn):
        """One of them or, one time in four, all."""
        names = self.names()
        chosen = names if drawn % 4 == 0 else [names[drawn // 4 % len(names)]]
        self.check_alive()
        for name in chosen:
            self.processes[name].kill9()
        for name in chosen:
            self.start(name)

    def check_alive(self):
        for name, process in self.processes.items():
            assert process.is_running(), f"{name} ended by itself\n{process.describe()}"

    def stop(self):
        self.check_alive()
        for name in reversed(self.names()):
            self.processes[name].stop()


class Report:
    """What the program counted: per operation how often it was answered ok, refused, and asked by HTTP."""

    def __init__(self, path):
        self.counts, self.outside = {}, set()
        with open(path, encoding="utf-8") as file:
            for line in file:
                name, *values = line.split()
                if name == "outside":
                    self.outside.add(values[0])
                else:
                    self.counts[name] = tuple(int(value) for value in values[:3])


def check_log(shop):
    for process in shop.processes:
        for line in process.log().splitlines():
            found = re.match(r"\S+ error (\S+) (\S+)", line)
            assert not found or found[2] in EXPECTED_ERRORS, f"{line}\n{process.describe()}"
            assert "AddressSanitizer" not in line and "runtime error" not in line, process.describe()


def check_verify(shop, report):
    """Every line that finds something names what only the sequence made, from outside."""
    status, words = shop.command("verify", deadline_s=120)
    faults = [line for line in words.splitlines() if not re.search(SAID_ANYWAY, line)]
    unexplained = [line for line in faults if not any(name in report.outside for name in re.findall(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", line))]
    assert not unexplained, "\n".join(unexplained)
    assert status == DONE or faults, words


def run_sequence(shop, seed, requests, kill_every, is_whole=True):
    """One sequence from its start on an empty shop to its judgement; returns its Report."""
    parts = Parts(shop, is_whole)
    log, report = os.path.join(shop.folder, "sequence.log"), os.path.join(shop.folder, "report")
    arguments = [PROGRAM, "--base-port", str(shop.base_port), "--shards", str(shop.shards), "--http", shop.http, "--seed", str(seed),
                 "--requests", str(requests), "--kill-every", str(kill_every), "--log", log, "--report", report]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        try:
            for line in program.stdout:
                parts.kill(int(line.split()[1]))
                program.stdin.write("go\n")
                program.stdin.flush()
            words = program.stderr.read()
            status = wait_child(program, 30)
        finally:
            if program.poll() is None:
                program.kill()
    try:
        parts.check_alive()
        assert status == DONE, words
        found = Report(report)
        parts.stop()
        check_log(shop)
        check_verify(shop, found)
        return found
    except AssertionError as error:
        os.makedirs(KEPT, exist_ok=True)
        kept = shutil.copy(log, os.path.join(KEPT, f"seed-{seed}.log")) if os.path.exists(log) else "nowhere"
        raise AssertionError(f"LARDER_SEED={seed}, {requests} requests, the sequence is in {kept}\n{error}") from None
