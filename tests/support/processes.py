# SPDX-License-Identifier: MPL-2.0
"""
PURPOSE   Real larder processes for tests: started, asked whether they are ready, stopped, killed, frozen, and judged by their exit
          status and their words.

LIFE      A `Shop` is one folder, one database, one block of ports; it starts processes and ends whatever is left at its end. A child
          is killed by the kernel when the test run dies. Start processes from the main thread only: the kernel takes the end of the
          starting thread for the end of the parent.

FAILURES  AssertionError, with the end of the process's log where there is one. Every wait has a deadline (patience.py).
"""

import collections
import contextlib
import http.client
import os
import random
import re
import shlex
import signal
import socket
import sqlite3
import subprocess
import time
from urllib.parse import urlsplit

from patience import stretched, wait_child, wait_until

# Whoever is started in the background of a script ignores it, and so would every program that is started here.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LARDER = os.environ.get("LARDER") or os.path.join(ROOT, "build", "release", "larder")
START_S = 20
STOP_S = 5
LOG_TAIL = 6000
FAR_MS = 3600 * 1000

DONE, FAILED, USAGE, FENCED, REFUSED = 0, 1, 2, 3, 4
OFFSETS = {"user": 1, "product": 2, "order": 3, "payment": 4, "sales": 5, "stock": 6, "factory": 7, "dlq": 8}
PROBES, EVENTS, SHARD = 5000, 100, 200

# What a shop in a place of its own needs that is to begin by itself, with the donut.
BEGIN = {"LARDER_INIT": "1", "LARDER_DEMO": "1"}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


_held_ports = collections.deque()


def hold_ports(base, shards):
    """Takes the blocks of ten ports for this test process, so that those beside it find others; the latest 40 are held. None: taken."""
    with contextlib.ExitStack() as names:
        for block in (base + more + SHARD * shard for more in (0, EVENTS, PROBES) for shard in range(shards)):
            try:
                names.enter_context(socket.socket(socket.AF_UNIX)).bind(f"\0larder-test-ports-{block}")
            except OSError:
                return False
        _held_ports.append(names.pop_all())
    if len(_held_ports) > 40:
        _held_ports.popleft().close()
    return True


def free_base_port(shards=1):
    """A base for larder's ports: requests, events and probes of every actor and shard behind it are free."""
    wanted = [block + offset + SHARD * shard for block in (0, EVENTS, PROBES) for offset in OFFSETS.values() for shard in range(shards)]
    wanted.append(PROBES)
    for base in random.sample(range(5000, 20000, 10), 400):
        with contextlib.ExitStack() as probes:
            try:
                for port in wanted:
                    probes.enter_context(socket.socket()).bind(("127.0.0.1", base + port))
            except OSError:
                continue
        if hold_ports(base, shards):
            return base
    raise AssertionError("no free block of ports")


def figures(text):
    """{name and labels: value} of a page of metrics."""
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))}


def told(address):
    """The page of metrics, printed after this call: it is printed at most once a second, whoever asks."""
    began_ms = time.time() * 1000
    def page():
        status, _, text = request(address, "GET", "/metrics")
        assert status == 200, text
        text = text.decode()
        return text if figures(text)["larder_metrics_printed_ms"] >= began_ms - 1 else None
    return wait_until(page, 10, "a new page of metrics")


def request(address, method, path, body=None, headers=None, timeout_s=10):
    """One HTTP request on a connection of its own: (status, headers, body); status 0 when no answer came."""
    connection = http.client.HTTPConnection(address, timeout=stretched(timeout_s))
    try:
        connection.request(method, path, body, {"Content-Type": "application/json", **(headers or {})})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    except (OSError, http.client.HTTPException):
        return 0, {}, b""
    finally:
        connection.close()


class Process:
    """One larder process. Its standard output and error go to one file."""

    def __init__(self, arguments, env, log):
        self.arguments, self.env, self.log_path = arguments, env, log
        self.child = None
        self.start()

    def start(self):
        assert self.child is None or self.child.poll() is not None, "it runs already"
        with open(self.log_path, "ab") as output:
            output.write(f"$ larder {shlex.join(self.arguments)}\n".encode())
            output.flush()
            self.child = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", LARDER, *self.arguments], stdin=subprocess.DEVNULL,
                                          stdout=output, stderr=output, env=self.env)
        return self

    @property
    def pid(self):
        return self.child.pid

    def log(self):
        with open(self.log_path, "rb") as file:
            return file.read().decode("utf-8", "replace")

    def describe(self):
        text = self.log()
        return f"--- larder {shlex.join(self.arguments)}, pid {self.pid}, exit {self.child.poll()} ---\n{text[-LOG_TAIL:]}"

    def is_running(self):
        return self.child.poll() is None

    def wait_ready(self, address, deadline_s=START_S):
        """Until /readyz at host:port says 200."""
        def is_ready():
            assert self.is_running(), f"it ended at start\n{self.describe()}"
            return request(address, "GET", "/readyz", timeout_s=2)[0] == 200
        try:
            wait_until(is_ready, deadline_s, "ready")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.describe()}") from None
        return self

    def wait_log(self, words, deadline_s=10):
        wait_until(lambda: words in self.log(), deadline_s, f"{words!r} in the log\n{self.describe()}")

    def wait_exit(self, expected=None, deadline_s=STOP_S):
        try:
            status = wait_child(self.child, deadline_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end within {deadline_s} s\n{self.describe()}") from None
        assert expected is None or status == expected, f"exit {status}, expected {expected}\n{self.describe()}"
        return status

    def signal(self, number):
        os.kill(self.pid, number)

    def stop(self, expected=DONE):
        """SIGTERM; it has to end in time and with the expected status. Returns how long it took."""
        began = time.monotonic()
        self.signal(signal.SIGTERM)
        self.wait_exit(expected)
        return time.monotonic() - began

    def kill9(self):
        if self.is_running():
            self.signal(signal.SIGKILL)
        wait_child(self.child, STOP_S)

    def freeze(self):
        self.signal(signal.SIGSTOP)

        def is_stopped(thread):
            with open(f"/proc/{self.pid}/task/{thread}/stat", encoding="ascii", errors="replace") as file:
                return file.read().rsplit(")", 1)[1].split()[0] == "T"
        wait_until(lambda: all(is_stopped(thread) for thread in os.listdir(f"/proc/{self.pid}/task")), 5, "stopped by SIGSTOP")

    def thaw(self):
        self.signal(signal.SIGCONT)


class Sqlite:
    """The actors' files below one folder."""
    name = "sqlite"

    def __init__(self, folder):
        self.folder = os.path.join(folder, "var")
        self.settings = {"LARDER_DATA": self.folder}

    def path(self, actor, shard=0):
        return os.path.join(self.folder, f"{actor}_{shard}.db")

    def sql(self, actor, shard, statement):
        """Runs one statement, `$table` is the actor's own; returns the rows."""
        with contextlib.closing(sqlite3.connect(self.path(actor, shard), timeout=stretched(10), isolation_level=None)) as database:
            return database.execute(re.sub(r"\$(\w+)", r"`\1`", statement)).fetchall()

    def drop(self):
        pass


class Mysql:
    """A database of its own on the tests' server, or on one that a test has started."""
    name = "mysql"

    def __init__(self, url):
        self.url = url
        parts = urlsplit(url)
        self.host, self.port, self.database = parts.hostname, parts.port, parts.path.strip("/")
        self.settings = {"LARDER_DB": url}
        self.run(f"CREATE DATABASE IF NOT EXISTS `{self.database}`", use=False)

    def via(self, port):
        """The settings that reach the same database through another port."""
        return {"LARDER_DB": f"mysql://root@127.0.0.1:{port}/{self.database}"}

    def client(self, *arguments, use=True):
        return ["mariadb", "--no-defaults", "--batch", "--raw", "--skip-column-names", "-h", self.host, "-P", str(self.port), "-u", "root",
                *([self.database] if use else []), *arguments]

    def run(self, statement, use=True):
        done = subprocess.run(self.client("-e", statement, use=use), capture_output=True, text=True, timeout=stretched(30), check=False)
        assert done.returncode == 0, f"{statement}: {done.stderr}"
        return [tuple(_value(text) for text in line.split("\t")) for line in done.stdout.splitlines()]

    def sql(self, actor, shard, statement):
        return self.run(statement.replace("$", f"{actor}_{shard}_"))

    @contextlib.contextmanager
    def locked(self, actor, shard, statement):
        """Holds what `statement` locks while the block runs."""
        with subprocess.Popen(self.client("--unbuffered"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
            try:
                client.stdin.write(f"BEGIN; {statement.replace('$', f'{actor}_{shard}_')}; SELECT 'locked';\n")
                client.stdin.flush()
                while "locked" not in client.stdout.readline():
                    assert client.poll() is None, "the lock was not given"
                yield
            finally:
                client.stdin.close()
                wait_child(client, 10)

    def drop(self):
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
            self.run(f"DROP DATABASE IF EXISTS `{self.database}`", use=False)


def _value(text):
    if text == "NULL":
        return None
    return int(text) if text.lstrip("-").isdigit() else text


class Shop:
    """A database, a block of ports, and the processes that use them. Nothing is refilled unless lead_time_ms says so."""

    def __init__(self, folder, database, shards=1, **settings):
        self.folder, self.database, self.shards = folder, database, shards
        self.base_port = free_base_port(shards)
        self.http = f"127.0.0.1:{free_port()}"
        self.settings = {"LARDER_BASE_PORT": str(self.base_port), "LARDER_HTTP": self.http, "LARDER_STOCK_SHARDS": str(shards),
                         "LARDER_LEAD_TIME_MS": str(FAR_MS), **BEGIN, **database.settings, **{f"LARDER_{name.upper()}": str(value) for name, value in settings.items()}}
        self.processes = []

    def env(self, **settings):
        kept = {name: value for name, value in os.environ.items()
                if not name.startswith("LARDER") and name not in ("HOSTNAME", "USERNAME", "PASSWORD", "DATABASE")}
        return {**kept, **self.settings, **{f"LARDER_{name.upper()}": str(value) for name, value in settings.items()}}

    def start(self, *arguments, **settings):
        """Starts a process, and does not wait."""
        log = os.path.join(self.folder, f"{len(self.processes)}_{arguments[0]}.log")
        process = Process(list(arguments), self.env(**settings), log)
        self.processes.append(process)
        return process

    def run(self, **settings):
        """The whole shop in one process, ready."""
        return self.start("run", **settings).wait_ready(self.http)

    def actor(self, name, *arguments, **settings):
        """One actor as a process of its own, ready."""
        base = int(settings.get("base_port", self.base_port))
        shard = int(arguments[arguments.index("--shard") + 1]) if "--shard" in arguments else 0
        process = self.start("actor", name, *arguments, **settings)
        return process.wait_ready(f"127.0.0.1:{base + OFFSETS[name] + SHARD * shard + PROBES}")

    def gateway(self, **settings):
        return self.start("gateway", **settings).wait_ready(self.http)

    def command(self, *arguments, deadline_s=30, **settings):
        """Runs a command to its end: (exit status, standard output and error)."""
        done = subprocess.run([LARDER, *arguments], env=self.env(**settings), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=stretched(deadline_s), check=False)
        return done.returncode, done.stdout.decode("utf-8", "replace")

    def give_up(self, actor):
        """A database that is missing is not begun anew before that is said by hand."""
        refused = self.start("run")
        refused.wait_exit(USAGE, deadline_s=START_S)
        assert f"{actor}_0.db is missing" in refused.log(), refused.log()
        status, words = self.command("installation", "give-up", f"{actor}/0", "--reason", "a test of its loss")
        assert status == DONE, words

    def verify(self):
        """Everything agrees, and no order stands still. It reads every actor's database, so a shop that had no factory yet gets one for a
        moment."""
        if not any("factory" in process.arguments or "run" in process.arguments for process in self.processes):
            self.actor("factory").stop()
        status, words = self.command("verify")
        assert status == DONE, f"verify: exit {status}\n{words}"
        lost = [line for process in self.processes for line in process.log().splitlines() if "saga_has_no_way" in line]
        assert not lost, lost

    def endpoint(self, actor, shard=0):
        return f"tcp://127.0.0.1:{self.base_port + OFFSETS[actor] + SHARD * shard}"

    def probe(self, actor, shard=0):
        return f"127.0.0.1:{self.base_port + OFFSETS[actor] + SHARD * shard + PROBES}"

    @property
    def probes(self):
        """Where the process with the gateway is watched."""
        return f"127.0.0.1:{self.base_port + PROBES}"

    def metrics(self):
        """What the whole shop in one process tells of itself: {name and labels: value}."""
        return figures(told(self.probes))

    def sql(self, statement, actor="stock", shard=0):
        return self.database.sql(actor, shard, statement)

    def describe(self):
        return "\n".join(process.describe() for process in self.processes)

    def close(self):
        for process in reversed(self.processes):
            if process.is_running():
                process.kill9()
        self.database.drop()
