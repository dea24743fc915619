#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""
PURPOSE   Customers who have nothing to do with an attack: what it does to them, and what it leaves behind in the attacked processes.

              with Bystanders(shop.http, [process.pid]) as others:
                  others.calm(3)
                  with others.attack():
                      ...                     # at most a few seconds of it
                  others.calm(2)              # pooled with the first: the machine's mood may change in between
              others.were_not_disturbed(factor=3)
              others.memory_came_back(16)
              others.descriptors_came_back()

          The customers live in a process of their own, so that a busy test does not slow them: a few keep-alive connections that buy and
          look at a steady pace, not waiting for one another. A latency counts from the moment at which the request was due (so that
          a server that stood still is seen by all that were due meanwhile). Attackers belong into `behind()`: on one machine they
          would else take the customers' processor time, which elsewhere they could not.

ROUNDS    A test marked `alone` whose customers were disturbed is measured twice more, and passes when both say that they were not: the
          median of three. What larder does to them it does each time; what the machine does, once.

FAILURES  AssertionError with the figures. An answer that is not 200, 201 or 409, or a broken connection, is a disturbed customer.

LIMITS    p99 of some hundred requests is the third or so slowest of them. FLOOR_MS is the least p99 that counts as one: below it the
          factor would measure the scheduler, which on two cores lets a process have several milliseconds before it gives a core to
          the next; a busy machine's is slower.
"""

import collections
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import time

from patience import Deadline, stretched

PACE_S = 0.005
CUSTOMERS = 8
FLOOR_MS = stretched(8.0)
WAIT_S = stretched(10)
SHELF = 900_000_000


class Disturbed(AssertionError):
    """The p99 of an attack is over its bound."""


def measure(call):
    """Calls a test until two of three rounds agree; the conftests do that for tests marked `alone`."""
    try:
        call()
    except Disturbed as error:
        print(f"measured again: {error}")
        call()
        call()


def _percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def resident_kib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def behind():
    """For preexec_fn of an attacker's process, or to be called in it: it gets the time that nobody else wants."""
    os.nice(19)


class Bystanders:
    """Customers of the gateway at `address`; `pids` are the processes that have to stay as they were."""

    def __init__(self, address, pids, product="bystanders"):
        self.address, self.pids, self.product = address, pids, product
        self.child = None
        self.phases = []
        self.before, self.most_kib = {}, collections.Counter()
        self.samples = []

    def __enter__(self):
        self.before = {pid: (resident_kib(pid), descriptors(pid)) for pid in self.pids}
        self.child = subprocess.Popen([sys.executable, os.path.abspath(__file__), self.address, self.product], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, text=True)
        assert self.child.stdout.readline() == "ready\n", "the customers did not come in"
        return self

    def __exit__(self, kind, *_):
        words, _ = self.child.communicate("end\n", timeout=WAIT_S * 3)
        if kind is None:
            self.samples = json.loads(words)

    @contextlib.contextmanager
    def _phase(self, name):
        began = time.monotonic()
        yield
        self.phases.append((name, began, time.monotonic()))
        for pid in self.pids:
            self.most_kib[pid] = max(self.most_kib[pid], resident_kib(pid))

    def calm(self, seconds):
        with self._phase("calm"):
            time.sleep(seconds)

    def attack(self):
        return self._phase("attack")

    def latencies_ms(self, name):
        """Of those requests that were due in phases of that name."""
        spans = [(began, ended) for phase, began, ended in self.phases if phase == name]
        return [took * 1000 for due, took, _ in self.samples if any(began <= due < ended for began, ended in spans)]

    def figures(self):
        """For messages and closing notes: {phase: (count, p50, p99) in ms}."""
        found = {}
        for name in ("calm", "attack"):
            values = self.latencies_ms(name)
            if values:
                found[name] = (len(values), round(statistics.median(values), 2), round(_percentile(values, 0.99), 2))
        return found

    def were_not_disturbed(self, factor=3):
        wrong = collections.Counter(status for _, _, status in self.samples if status not in (200, 201, 409))
        assert not wrong, f"answers that no customer should see: {dict(wrong)}; {self.figures()}"
        calm, attacked = self.latencies_ms("calm"), self.latencies_ms("attack")
        assert len(calm) >= 100 and len(attacked) >= 100, f"too few requests for a p99: {self.figures()}"
        bound = factor * max(FLOOR_MS, _percentile(calm, 0.99))
        if _percentile(attacked, 0.99) > bound:
            raise Disturbed(f"p99 over {bound:.1f} ms: {self.figures()}")

    def memory_came_back(self, slack_mib, deadline_s=10):
        """What is resident is at most so much more than before; the allocator may keep that."""
        def over():
            return {pid: resident_kib(pid) // 1024 for pid in self.pids if resident_kib(pid) > self.before[pid][0] + slack_mib * 1024}
        _until(lambda: not over(), deadline_s, lambda: f"MiB now {over()}, before {[kib // 1024 for kib, _ in self.before.values()]}")

    def memory_stayed(self, slack_mib):
        """Not even during the attack it was more than so much above the beginning (seen at the ends of phases)."""
        grown = {pid: (kib - self.before[pid][0]) // 1024 for pid, kib in self.most_kib.items()}
        assert all(mib <= slack_mib for mib in grown.values()), f"grown by MiB {grown}"

    def descriptors_came_back(self, slack=4, deadline_s=10):
        def over():
            return {pid: descriptors(pid) for pid in self.pids if descriptors(pid) > self.before[pid][1] + slack}
        _until(lambda: not over(), deadline_s, lambda: f"descriptors now {over()}, before {[count for _, count in self.before.values()]}")


def _until(is_so, deadline_s, words):
    deadline = Deadline(deadline_s)
    while not is_so():
        assert not deadline.has_passed(), words()
        time.sleep(0.05)


# --- the customers' own process ---


class _Customer:
    """One keep-alive connection, its request under way and those that are due behind it."""

    def __init__(self, address, number, product):
        host, port = address.rsplit(":", 1)
        self.place, self.number, self.product = (host, int(port)), number, product
        self.socket, self.due, self.data, self.count = None, collections.deque(), b"", 0
        self.samples = []

    def connect(self):
        self.socket = socket.create_connection(self.place, timeout=WAIT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.data = b""

    def _send(self):
        if self.socket is None:
            self.connect()
        self.count += 1
        host = f"Host: {self.place[0]}:{self.place[1]}\r\n"
        if self.count % 4 == 0:
            head = f"GET /product/{self.product} HTTP/1.1\r\n{host}\r\n"
        else:
            body = json.dumps({"product": self.product, "quantity": 1})
            head = f"POST /checkout HTTP/1.1\r\n{host}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        self.socket.sendall(head.encode())

    def _ended(self, status):
        due = self.due.popleft()
        self.samples.append((due, time.monotonic() - due, status))
        if status == 0 and self.socket is not None:
            self.socket.close()
            self.socket = None
        if self.due:
            self.begin()

    def begin(self):
        try:
            self._send()
        except OSError:
            self._ended(0)

    def ask(self, due):
        self.due.append(due)
        if len(self.due) == 1:
            self.begin()

    def receive(self):
        try:
            piece = self.socket.recv(65536)
        except OSError:
            piece = b""
        if not piece:
            self.socket.close()
            self.socket = None
            if self.due:
                self._ended(0)
            return
        self.data += piece
        head, end, rest = self.data.partition(b"\r\n\r\n")
        if not end:
            return
        length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
        if len(rest) < length:
            return
        self.data = rest[length:]
        status = int(head.split(b" ", 2)[1])
        if b"\r\nconnection: close" in head.lower():
            self.socket.close()
            self.socket = None
        self._ended(status)

    def is_late(self):
        return bool(self.due) and time.monotonic() - self.due[0] > WAIT_S


def _fill_shelf(address, product):
    """Enough for all of them; the first buyer would else find no such product."""
    import http.client  # pylint: disable=import-outside-toplevel
    connection = http.client.HTTPConnection(address, timeout=WAIT_S)
    connection.request("POST", f"/product/{product}", json.dumps({"quantity": SHELF}), {"Content-Type": "application/json"})
    assert connection.getresponse().status == 200, "the shelf was not filled"
    connection.close()


def _live(address, product):
    import select  # pylint: disable=import-outside-toplevel
    _fill_shelf(address, product)
    customers = [_Customer(address, number, product) for number in range(CUSTOMERS)]
    for customer in customers:
        customer.connect()
    print("ready", flush=True)
    next_due, turn = time.monotonic(), 0
    while True:
        now = time.monotonic()
        while next_due <= now:
            customers[turn % CUSTOMERS].ask(next_due)
            turn, next_due = turn + 1, next_due + PACE_S
        sockets = {customer.socket: customer for customer in customers if customer.socket is not None}
        readable, _, _ = select.select([sys.stdin, *sockets], [], [], max(0, next_due - time.monotonic()))
        for source in readable:
            if source is sys.stdin:
                break
            if sockets[source].socket is source:
                sockets[source].receive()
        for customer in customers:
            if customer.is_late():
                customer._ended(0)  # pylint: disable=protected-access
        if sys.stdin in readable:
            break
    print(json.dumps([sample for customer in customers for sample in customer.samples]))


if __name__ == "__main__":
    _live(sys.argv[1], sys.argv[2])
