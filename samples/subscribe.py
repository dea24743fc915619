#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Follows a source of larder without a database of its own: the dlq keeps the subscription. Written from PROTOCOL.md, section 8.

    subscribe.py tcp://127.0.0.1:4008 stock/0 till-7 [--from-start] [--credit 16] [--count 100]

Prints a line per event, `seq type key`, when it is processed, and acknowledges it with the next question. Killed at any moment it goes
on where it was: an event may be printed twice, none is skipped. Ends by itself after --count events, or (status 3) when another
process subscribes under its name.
"""

import argparse
import os
import sys
import time

import msgpack
import zmq

WAIT_MS = 5000  # how long a receive may wait for an event
RETRY = {"unavailable", "overloaded", "deadline_exceeded"}
REPLACED = 3


def new_id():
    """16 bytes of RFC 9562, version 7."""
    value = bytearray((time.time_ns() // 1_000_000).to_bytes(6, "big") + os.urandom(10))
    value[6] = value[6] & 0x0F | 0x70
    value[8] = value[8] & 0x3F | 0x80
    return bytes(value)


class Refused(Exception):
    def __init__(self, status, problem):
        super().__init__(f"{status}: {problem.get('detail', '')}")
        self.status = status


class Dlq:
    """One question at a time; asks again while the answer says that it may be better later."""

    def __init__(self, endpoint):
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.setsockopt(zmq.IMMEDIATE, 1)  # no old question waits for a peer that comes late
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.connect(endpoint)

    def attempt(self, op, body, request_id, again, wait_ms):
        header = {"v": 1, "id": request_id, "op": op, "deadline": time.time_ns() // 1_000_000 + wait_ms}
        if again:
            header["again"] = True
        try:
            self.socket.send_multipart([msgpack.packb(header), msgpack.packb(body)], zmq.NOBLOCK)
        except zmq.Again:
            return "unavailable", {"detail": "nobody is there"}
        until = time.monotonic() + wait_ms / 1000
        while (left_ms := int((until - time.monotonic()) * 1000)) > 0 and self.socket.poll(left_ms, zmq.POLLIN):
            frames = self.socket.recv_multipart()
            answer = msgpack.unpackb(frames[-2])
            if answer["id"] == request_id:  # others are late answers to what was given up
                return answer["status"], msgpack.unpackb(frames[-1])
        return "deadline_exceeded", {"detail": "no answer"}

    def ask(self, op, body, wait_ms=5000):
        request_id, again, pause_s = new_id(), False, 0.1
        while True:
            status, answer = self.attempt(op, body, request_id, again, wait_ms)
            if status == "ok":
                return answer
            if status not in RETRY:
                raise Refused(status, answer)
            time.sleep(pause_s)
            again, pause_s = True, min(2 * pause_s, 2.0)


def process(header):
    """Here is where an event has its effect."""
    print(header["seq"], header["type"], header["key"], flush=True)


def follow(dlq, options):
    here = {"name": options.name, "source": options.source}
    known = dlq.ask("dlq.subscribe", {**here, "from_start": True} if options.from_start else here)
    here["session"], position, processed = known["session"], known["position"], 0
    while options.count is None or processed < options.count:
        page = dlq.ask("dlq.receive", {**here, "position": position, "credit": options.credit}, WAIT_MS)
        for event in page["events"][:None if options.count is None else options.count - processed]:
            header = msgpack.unpackb(event["header"])
            process(header)
            position, processed = header["seq"], processed + 1
    dlq.ask("dlq.receive", {**here, "position": position, "credit": 0})


def main():
    parser = argparse.ArgumentParser(description="follow a source through larder's dlq")
    parser.add_argument("endpoint", help="where the dlq takes requests, e.g. tcp://127.0.0.1:4008")
    parser.add_argument("source", help="what to follow, e.g. stock/0")
    parser.add_argument("name", help="name of the subscription")
    parser.add_argument("--from-start", action="store_true", help="a new name: from the oldest event kept")
    parser.add_argument("--credit", type=int, default=16, help="events at a time")
    parser.add_argument("--count", type=int, help="end after so many")
    options = parser.parse_args()
    try:
        follow(Dlq(options.endpoint), options)
    except Refused as refusal:
        print(refusal, file=sys.stderr)
        return REPLACED if refusal.status == "session_replaced" else 1
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
