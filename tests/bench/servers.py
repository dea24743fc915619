# SPDX-License-Identifier: MPL-2.0
"""
PURPOSE   The contenders: how each is started, filled, asked, and stopped.

LIFE      A contender has one folder per dataset and runs on one dataset at a time: prepare() fills it once, `with running()`
          starts the servers on what is there and stops them again. Every process is ended by its pid, first asked (SIGTERM),
          after a deadline forced, whatever happened.

DATASETS  one       `donut`, so many units that none sells out
          1000      p0 .. p999, as many each
          100000    p0 .. p99999
          empty     p0, nothing on the shelf, and no refill in sight
          demo      what `larder run` makes by itself (larder only)

FAILURES  BenchError; a server that does not get ready tells the end of its log.

LIMITS    All talk TCP on the loopback, all data lies below one folder on one disk.
"""

import contextlib
import glob
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import time

import ledger
from measure import BenchError, HERE

ROOT = os.path.dirname(os.path.dirname(HERE))
LARDER = os.path.join(ROOT, "build", "release", "larder")
PEERS = os.path.join(HERE, "peers")
PLENTY = 1000000000
START_S = 30
STOP_S = 30


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def free_base_port():
    """A base for larder's ports: actors up to 8 behind it, their events 100 further, their probes 5000 further."""
    for base in random.sample(range(10000, 20000, 10), 200):
        with contextlib.ExitStack() as probes:
            try:
                for port in (base + block + n for block in (0, 100, 5000) for n in range(1, 9)):
                    probes.enter_context(socket.socket()).bind(("127.0.0.1", port))
                return base
            except OSError:
                continue
    raise BenchError("no free range of ports for larder")


def get(address, path, method="GET", body=None):
    """One request on a connection of its own: (status, body); (0, b"") while nobody answers."""
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


class Process:
    """A server of ours: started at once, its output in a file, stopped by its pid; it does not outlive a killed benchmark."""

    def __init__(self, name, command, log, env=None):
        self.name, self.command, self.log, self.env = name, command, log, env
        with open(log, "ab") as output:
            self.child = subprocess.Popen(["setpriv", "--pdeathsig", "TERM", "--"] + command, stdout=output, stderr=output,
                                          stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})}, start_new_session=True)

    def again(self):
        """The same once more, after it was stopped."""
        return Process(self.name, self.command, self.log, self.env)

    def wait_until(self, ready, pause_s=0.01):
        end = time.monotonic() + START_S
        while not ready():
            if self.child.poll() is not None:
                raise BenchError(f"{self.name} ended at start (exit {self.child.returncode}): {self.log_end()}")
            if time.monotonic() > end:
                raise BenchError(f"{self.name} was not ready after {START_S} s: {self.log_end()}")
            time.sleep(pause_s)

    def log_end(self):
        with open(self.log, "rb") as file:
            return file.read()[-600:].decode("utf-8", "replace").strip()

    def stop(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self):
        self.child.kill()
        self.child.wait()


class MariaDB:
    """A private server with full durability, whose data stay from one start to the next. `setup` is SQL that it runs at every
    start. (tests/support/mariadb.sh makes servers that leave nothing behind.)"""

    def __init__(self, folder, setup):
        self.folder, self.setup = folder, setup
        self.process = self.port = None

    def start(self):
        os.makedirs(self.folder, exist_ok=True)
        data, setup = os.path.join(self.folder, "data"), os.path.join(self.folder, "setup.sql")
        as_root = [] if os.getuid() else ["--user=root"]
        if not os.path.isdir(data):
            made = subprocess.run(["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--skip-test-db",
                                   "--auth-root-authentication-method=normal"] + as_root,
                                  capture_output=True, text=True, check=False)
            if made.returncode != 0:
                raise BenchError(f"mariadb-install-db failed: {made.stderr[-300:]}")
        with open(setup, "w", encoding="utf-8") as file:
            file.write(self.setup)
        self.port = free_port()
        self.process = Process("mariadbd", [
            shutil.which("mariadbd") or "/usr/sbin/mariadbd", "--no-defaults", f"--datadir={data}", "--bind-address=127.0.0.1",
            f"--port={self.port}", "--socket=", f"--init-file={setup}", "--skip-log-bin", "--innodb-flush-log-at-trx-commit=1",
            "--innodb-buffer-pool-size=256M", "--max-connections=400"] + as_root, os.path.join(self.folder, "log"))
        self.process.wait_until(self.answers)

    def answers(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                return bool(probe.recv(1))
        except OSError:
            return False


class Contender:
    """What all have in common. A subclass says how to start, which request buys and shows, and how stock is read and put."""
    name = None

    def __init__(self, folder):
        self.folder = os.path.join(folder, "".join(filter(str.isalnum, self.name)).lower())
        self.processes, self.database = [], None
        self.address = None
        self.prepared = set()

    def own_pids(self):
        return [process.child.pid for process in self.processes]

    def database_pids(self):
        return [self.database.child.pid] if self.database else []

    def check_alive(self):
        for process in self.processes + ([self.database] if self.database else []):
            if process.child.poll() is not None:
                raise BenchError(f"{process.name} ended while it was measured (exit {process.child.returncode}): {process.log_end()}")

    @contextlib.contextmanager
    def running(self, dataset):
        folder = os.path.join(self.folder, dataset)
        os.makedirs(folder, exist_ok=True)
        self.address = f"127.0.0.1:{free_port()}"
        try:
            self.start(folder, dataset)
            yield self
        finally:
            for process in reversed(self.processes):
                process.stop()
            if self.database:
                self.database.stop()
            self.processes, self.database = [], None

    def prepare(self, dataset):
        """Fills a dataset once; the servers are started again for the measurement."""
        if dataset not in self.prepared:
            with self.running(dataset):
                self.fill(dataset)
            self.fill_stopped(dataset)
            self.prepared.add(dataset)

    def launch(self, name, command, folder, env=None):
        process = Process(name, command, os.path.join(folder, name + ".log"), env)
        self.processes.append(process)
        return process

    def start_mariadb(self, folder, setup):
        mariadb = MariaDB(os.path.join(folder, "mariadb"), setup)
        try:
            mariadb.start()
        finally:
            self.database = mariadb.process
        return mariadb

    def fill(self, dataset):
        """While running. Peers are filled by start()."""

    def fill_stopped(self, dataset):
        """After that, while stopped."""

    def checkout(self, product, sold_out=False):
        """The request that buys one unit, and the status that it has to be answered with."""
        body = "" if product == "donut" else json.dumps({"product": product})
        return "POST", "/checkout", body, 409 if sold_out else 201

    def show(self, product):
        return "GET", f"/product/{product}", "", 200

    def stock(self, product):
        status, body = get(self.address, self.show(product)[1])
        if status != 200:
            raise BenchError(f"the stock of {product} cannot be read: status {status}")
        return self.read_stock(json.loads(body))


# Variables, as earlier versions know no such flags and pass over what they do not know.
BEGIN = {"LARDER_INIT": "1", "LARDER_DEMO": "1"}


class Larder(Contender):
    """larder, as `larder run` starts it; its settings are the defaults but for a factory that never delivers."""
    name = "larder, SQLite"
    program = LARDER
    with_mariadb = False
    settings = {"LARDER_LEAD_TIME_MS": "604800000", "LARDER_LOG_LEVEL": "warn"}

    def start(self, folder, dataset):
        database = []
        if self.with_mariadb:
            mariadb = self.start_mariadb(folder, "CREATE DATABASE IF NOT EXISTS larder;\n")
            database = ["--db", f"mysql://root@127.0.0.1:{mariadb.port}/larder"]
        self.base_port = free_base_port()
        process = self.launch("larder", [self.program, "run", "--http", self.address, "--data", os.path.join(folder, "var"), "--base-port",
                                         str(self.base_port)] + database, folder, {**BEGIN, **self.settings})
        process.wait_until(lambda: get(self.address, "/readyz")[0] == 200, 0.001)

    def endpoint(self, operation):
        return f"tcp://127.0.0.1:{self.base_port + {'sales': 5, 'stock': 6, 'dlq': 8}[operation.split('.')[0]]}"

    def fill(self, dataset):
        if dataset in ("one", "ledger"):
            self.post_all((f"/v1/stock/{product}:adjust", {"delta": PLENTY}) for product in ("donut", ledger.PRODUCT))
        elif dataset == "empty":
            self.post_all([("/v1/stock/p0:adjust", {"delta": 1}), ("/v1/stock/p0:adjust", {"delta": -1})])
        elif dataset.isdigit():
            self.post_all((f"/v1/stock/p{n}:adjust", {"delta": PLENTY}) for n in range(int(dataset)))

    def fill_stopped(self, dataset):
        if dataset == "ledger":
            ledger.fill(os.path.join(self.folder, dataset, "var", "stock_0.db"))

    def post_all(self, requests, lanes=64):
        """Sends many requests on a few connections: one on each, then their answers, and again; a few go one after the other."""
        connections = []
        requests = list(requests)
        lanes = 1 if len(requests) < lanes else lanes
        try:
            connections = [http.client.HTTPConnection(self.address, timeout=30) for _ in range(lanes)]
            for start in range(0, len(requests), lanes):
                part = list(zip(connections, requests[start:start + lanes]))
                for connection, (path, body) in part:
                    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
                for connection, (path, _) in part:
                    answer = connection.getresponse()
                    said = answer.read()
                    if answer.status not in (200, 201):
                        raise BenchError(f"POST {path} was answered {answer.status}: {said[:200].decode('utf-8', 'replace')}")
        finally:
            for connection in connections:
                connection.close()

    def read_stock(self, shown):
        return shown["available"]


class LarderMariaDB(Larder):
    name = "larder, MariaDB"
    with_mariadb = True


class Express(Contender):
    """Express + mysql2 on MariaDB, see peers/express/server.js."""
    name = "Express + mysql2, MariaDB"
    workers, pool = 2, 16

    def start(self, folder, dataset):
        mariadb = self.start_mariadb(folder, (
            "CREATE DATABASE IF NOT EXISTS shop;\n"
            "CREATE TABLE IF NOT EXISTS shop.product (sku VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin PRIMARY KEY,"
            " name VARCHAR(128) NOT NULL, price BIGINT NOT NULL, stock BIGINT NOT NULL) ENGINE=InnoDB;\n"
            f"INSERT IGNORE INTO shop.product VALUES ('donut', 'Donut', 19900, {PLENTY});\n"))
        process = self.launch("express", ["node", os.path.join(self.modules(), "server.js")], folder, {
            "NODE_ENV": "production", "NODE_PATH": "/usr/share/nodejs", "PORT": self.address.split(":")[1],
            "DB_PORT": str(mariadb.port), "WORKERS": str(self.workers), "POOL": str(self.pool)})
        process.wait_until(lambda: get(self.address, "/product/donut")[0] == 200)

    def modules(self):
        """The peer beside its mysql2, outside the source tree; npm fetches it once."""
        place = os.path.join(ROOT, "build", "bench", "express")
        os.makedirs(place, exist_ok=True)
        for file in ("package.json", "server.js"):
            shutil.copy(os.path.join(PEERS, "express", file), place)
        if not os.path.isdir(os.path.join(place, "node_modules", "mysql2")):
            fetched = subprocess.run(["npm", "install", "--legacy-peer-deps", "--omit=dev", "--no-package-lock", "--no-audit",
                                      "--no-fund"], cwd=place, capture_output=True, text=True, check=False)
            if fetched.returncode != 0:
                raise BenchError(f"npm could not install mysql2: {fetched.stderr.strip()[-300:]}")
        return place

    def read_stock(self, shown):
        return shown["stock"]


class Webdis(Contender):
    """webdis before Redis that syncs its log before it answers: a bare counter."""
    name = "webdis + Redis, appendfsync always"

    def start(self, folder, dataset):
        port = free_port()
        data = os.path.join(folder, "redis")
        os.makedirs(data, exist_ok=True)
        self.database = Process("redis", ["redis-server", os.path.join(PEERS, "redis.conf"), "--port", str(port), "--dir", data],
                                os.path.join(folder, "redis.log"))
        with open(os.path.join(PEERS, "webdis.json"), encoding="utf-8") as file:
            settings = json.load(file)
        settings.update(redis_port=port, http_port=int(self.address.split(":")[1]))
        config = os.path.join(folder, "webdis.json")
        with open(config, "w", encoding="utf-8") as file:
            json.dump(settings, file)
        self.redis_port = port
        self.database.wait_until(lambda: self.ask_redis("PING") == "+PONG")
        webdis = self.launch("webdis", ["webdis", config], folder)
        webdis.wait_until(lambda: get(self.address, f"/SETNX/donut/{PLENTY}")[0] == 200)

    def ask_redis(self, command):
        """The last line of Redis' own answer, or nothing."""
        try:
            with socket.create_connection(("127.0.0.1", self.redis_port), 5) as connection:
                connection.sendall(f"{command}\r\nQUIT\r\n".encode())
                return connection.makefile().read().splitlines()[-2]
        except (OSError, IndexError):
            return ""

    def checkout(self, product, sold_out=False):
        """A counter knows no empty shelf."""
        return "POST", "/", f"DECR/{product}", 200

    def show(self, product):
        return "GET", f"/GET/{product}", "", 200

    def stock(self, product):
        """Asked of Redis itself: webdis may give the late answer of a client that left to the next one on its descriptor."""
        left = self.ask_redis(f"GET {product}")
        if not re.fullmatch(r"-?\d+", left):
            raise BenchError(f"Redis does not tell the stock of {product}")
        return int(left)


class RabbitMQ(Contender):
    """A RabbitMQ server with its defaults; peers/rabbit.c declares the quorum queue. The node registers with an epmd of its own, so
    that nothing of it stays behind."""
    name = "RabbitMQ, quorum queue"

    def start(self, folder, dataset):
        names, node, self.port = free_port(), free_port(), free_port()
        plugins, config = os.path.join(folder, "plugins"), os.path.join(folder, "rabbit")
        with open(plugins, "w", encoding="utf-8") as file:
            file.write("[].\n")
        with open(config + ".conf", "w", encoding="utf-8") as file:
            file.write(f"listeners.tcp.default = 127.0.0.1:{self.port}\n")
        own = {"HOME": folder, "ERL_EPMD_PORT": str(names), "ERL_EPMD_ADDRESS": "127.0.0.1"}
        epmd = self.launch("epmd", ["epmd", "-port", str(names), "-address", "127.0.0.1"], folder, own)
        epmd.wait_until(lambda: self.is_open(names))
        server = sorted(glob.glob("/usr/lib/rabbitmq/lib/rabbitmq_server*/sbin/rabbitmq-server"))[-1]
        rabbit = self.launch("rabbitmq", [server], folder, {**own, **{f"RABBITMQ_{name}": value for name, value in {
            "NODENAME": "bench@localhost", "NODE_PORT": str(self.port), "DIST_PORT": str(node), "LOGS": "-",
            "MNESIA_BASE": os.path.join(folder, "mnesia"), "LOG_BASE": os.path.join(folder, "log"), "CONFIG_FILE": config,
            "ENABLED_PLUGINS_FILE": plugins, "PID_FILE": os.path.join(folder, "pid")}.items()}})
        rabbit.wait_until(lambda: b"Server startup complete" in self.log_of(rabbit), 0.1)

    @staticmethod
    def is_open(port):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    @staticmethod
    def log_of(process):
        with open(process.log, "rb") as file:
            return file.read()


CONTENDERS = (Larder, LarderMariaDB, Express, Webdis)
