# SPDX-License-Identifier: MPL-2.0
"""Starts `larder run` on free ports in a temporary folder, once per test module, for each database that is there."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid

import pytest
import zmq

from larder_client import Client, Subscriber, Tail
from rest import Rest

from alone import pytest_configure, pytest_pyfunc_call  # in tests/support, where rest looks
import processes
from patience import Deadline, stretched, wait_child

# By a name of its own for the tests beside it: `conftest` is that of tests/system when both folders are run.
sys.modules["flow_conftest"] = sys.modules[__name__]

ROOT = pathlib.Path(__file__).resolve().parents[2]
LEAD_TIME_MS = 300
START_S = 30


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def program():
    named = os.environ.get("LARDER")
    path = pathlib.Path(named) if named else ROOT / "build" / "release" / "larder"
    if not path.exists():
        if named:
            pytest.fail(f"LARDER names {path}, which is not there")
        pytest.skip("larder is not built")
    return path


class Shop:
    """A running larder."""

    def __init__(self, folder, database=None, **settings):
        self.folder = folder
        self.base = processes.free_base_port()
        self.http = free_port()
        self.settings = {"lead-time-ms": LEAD_TIME_MS, **{name.replace("_", "-"): value for name, value in settings.items()}}
        if database:
            self.settings["db"] = database
        self.log = folder / "larder.log"
        self.process = None
        self.context = zmq.Context()

    def start(self):
        command = [str(program()), "run", "--http", f"127.0.0.1:{self.http}", "--data", str(self.folder / "var"), "--init", "--demo"]
        command += ["--base-port", str(self.base)]
        for name, value in self.settings.items():
            command += [f"--{name}", str(value)]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.folder)
        deadline = Deadline(START_S)
        while not self.is_ready():
            if self.process.poll() is not None or deadline.has_passed():
                raise RuntimeError(f"larder did not start within {deadline}: {self.log.read_text()[-2000:]}")
            time.sleep(0.02)
        return self

    def is_ready(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/readyz", timeout=stretched(1)) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    def stop(self):
        """Asks it to end, as an operator does; its exit status."""
        if self.process is None:
            return None
        self.process.send_signal(signal.SIGTERM)
        try:
            return wait_child(self.process, 10)
        finally:
            self.kill()

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process = None

    @property
    def probes(self):
        return f"127.0.0.1:{self.base + processes.PROBES}"

    def requests(self, actor):
        return f"tcp://127.0.0.1:{self.base + processes.OFFSETS[actor]}"

    def events(self, actor):
        return f"tcp://127.0.0.1:{self.base + 100 + processes.OFFSETS[actor]}"

    def client(self, actor):
        return Client(self.requests(actor), self.context)

    def tail(self, actor, prefix=""):
        return Tail(self.events(actor), prefix, self.context)

    def subscriber(self, actor, name, **options):
        return Subscriber(self.requests(actor), self.events(actor), name, context=self.context, **options)


def databases():
    return ["sqlite", "mysql"] if os.environ.get("LARDER_TEST_DB") else ["sqlite"]


@pytest.fixture(scope="module", params=databases())
def shop(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    database = None
    if request.param == "mysql":
        name = f"flow_{os.getpid()}_{request.module.__name__.rsplit('.', 1)[-1]}"[:60]
        create_database(name)
        database = os.environ["LARDER_TEST_DB"] + name
    running = Shop(folder, database)
    try:
        yield running.start()
    finally:
        status = running.stop()
        running.context.destroy(linger=0)
    assert status == 0, running.log.read_text()[-2000:]


def create_database(name):
    path = os.environ["LARDER_TEST_DB"].split("(", 1)[1].split(")", 1)[0]
    subprocess.run(
        ["mariadb", "--no-defaults", f"--socket={path}", "-uroot", "-e", f"CREATE DATABASE {name} CHARACTER SET utf8mb4"], check=True
    )


@pytest.fixture
def stock(shop):
    client = shop.client("stock")
    yield client
    client.close()


@pytest.fixture
def sales(shop):
    client = shop.client("sales")
    yield client
    client.close()


@pytest.fixture
def factory(shop):
    client = shop.client("factory")
    yield client
    client.close()


@pytest.fixture
def dlq(shop):
    client = shop.client("dlq")
    yield client
    client.close()


@pytest.fixture
def product(request):
    """A SKU of this test's own."""
    return f"t-{request.node.name.split('[')[0][-40:]}-{os.getpid()}-{time.monotonic_ns() % 10**9}"[-64:]


# --- for tests that start processes of their own ---


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    report = (yield).get_result()
    if report.failed:
        for shop in getattr(item, "shops", []):
            report.sections.append(("larder", shop.describe()))


def make_database(kind, folder):
    if kind == "sqlite":
        return processes.Sqlite(str(folder))
    return processes.Mysql(f"{os.environ['LARDER_TEST_DB_TCP']}f_{uuid.uuid4().hex[:12]}")


@pytest.fixture(params=databases())
def database(request, tmp_path):
    return make_database(request.param, tmp_path)


@pytest.fixture
def sqlite(tmp_path):
    return make_database("sqlite", tmp_path)


@pytest.fixture
def new_shop(request, tmp_path):
    """new_shop(database, **settings) is a processes.Shop in which nothing is started yet."""
    program()
    request.node.shops = []

    def make(database, **settings):
        made = processes.Shop(str(tmp_path), database, **settings)
        request.node.shops.append(made)
        return made

    yield make
    for made in request.node.shops:
        made.close()


@pytest.fixture
def rest(shop):
    return Rest(f"127.0.0.1:{shop.http}", probes=shop.probes)
