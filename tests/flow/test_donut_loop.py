# SPDX-License-Identifier: MPL-2.0
"""The donut loop as a new user walks it: three donuts, a sold-out shelf, the refill, by HTTP alone; in one process and in four."""

import contextlib
import http.client
import os
import re
import signal
import subprocess
import time
import uuid

import pytest

from rest import Rest, until
from patience import wait_child

import processes

LEAD_TIME_MS = 1000
SHELF_S = LEAD_TIME_MS / 1000 + 1
STOP_S = 5


class Tail:
    """`larder tail PREFIX` as a process; its lines as they come."""

    def __init__(self, shop, prefix):
        self.path = os.path.join(shop.folder, "tail.out")
        with open(self.path, "wb") as output:
            self.child = subprocess.Popen([processes.LARDER, "tail", prefix], env=shop.env(), stdin=subprocess.DEVNULL, stdout=output,
                                          stderr=subprocess.STDOUT)

    def lines(self):
        with open(self.path, encoding="utf-8") as file:
            return file.read().splitlines()

    def of(self, kind, product):
        """The lines of an event type and product; each is time, type, key, body."""
        return [line for line in self.lines() if line.split()[1:3] == [kind, product]]

    def stop(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGINT)
            try:
                return wait_child(self.child, 5)
            finally:
                self.child.kill()
        return self.child.returncode


@contextlib.contextmanager
def tailing(shop, rest, prefix="stock."):
    """A tail that is known to hear: what is put on another shelf has come out of it."""
    tail = Tail(shop, prefix)
    try:
        def is_heard():
            assert rest.post("/checkout/unheard", {"quantity": 1}).status == 200
            return tail.of("stock.changed", "unheard")
        until(is_heard, 10, "the tail hears", pause_s=0.05)
        yield tail
    finally:
        tail.stop()


def check_loop(shop, rest):
    """The whole of it; the shelf begins with three donuts and is refilled to ten."""
    with tailing(shop, rest) as tail:
        shown = rest.get("/procut/donut").is_ok()
        assert (shown["product"], shown["on_hand"], shown["available"]) == ("donut", 3, 3)
        until(lambda: "name" in rest.get("/product/donut").is_ok(), 10, "sales is told of the menu")
        shown = rest.get("/product/donut").is_ok()
        assert (shown["name"], shown["price"]) == ("Donut", {"amount": 19900, "currency": "KRW"})
        for left in (2, 1, 0):
            sold = rest.post("/checkout").is_ok(201)
            assert (sold["product"], sold["quantity"], sold["available"]) == ("donut", 1, left)
        sold_out_at = time.monotonic()
        for _ in range(3):
            fourth = rest.post("/checkout").is_problem("out_of_stock")
            assert (fourth["product"], fourth["asked"], fourth["available"]) == ("donut", 1, 0)
        until(lambda: rest.get("/product/donut").is_ok()["available"] == 10, SHELF_S - (time.monotonic() - sold_out_at), "ten again")
        made, _ = rest.pages("/v1/productions?product=donut")
        assert [(one["product"], one["quantity"], one["status"]) for one in made] == [("donut", 10, "produced")]
        until(lambda: rest.level("donut")["incoming"] == 0, 5, "nothing on its way")

        added = rest.post("/checkout/donut", {"quantity": 5}).is_ok()
        assert (added["on_hand"], added["available"]) == (15, 15)

        for kind, count in (("stock.out", 1), ("stock.restocked", 1)):
            until(lambda kind=kind: tail.of(kind, "donut"), 5, f"{kind} in the tail\n" + "\n".join(tail.lines()))
            assert len(tail.of(kind, "donut")) == count, tail.lines()
        until(lambda: any('"on_hand":15' in line for line in tail.of("stock.changed", "donut")), 5, "the last change in the tail")
        assert all(line.split()[1].startswith("stock.") for line in tail.lines()), tail.lines()

    check_order(rest)
    check_verify(shop)


def check_order(rest):
    """`POST /` orders a production, also for a shelf of 15, and answers the open one when it is asked again."""
    ordered = rest.post("/")
    production = ordered.is_ok(201)
    assert (production["product"], production["quantity"], production["status"]) == ("donut", 10, "ordered")
    assert ordered.headers["Location"] == f"/v1/productions/{production['id']}"
    again = rest.post("/").is_ok(201)
    assert again["id"] == production["id"]
    until(lambda: rest.get(ordered.headers["Location"]).is_ok()["status"] == "produced", SHELF_S, "produced")
    until(lambda: rest.level("donut")["available"] == 25, 5, "25 on the shelf")
    assert len(rest.pages("/v1/productions?product=donut")[0]) == 2


def check_verify(shop):
    status, words = shop.command("verify")
    assert status == 0, words
    expected = [
        r"stock/0: ledger, levels and holds agree: [1-9]\d* rows checked; stream at [1-9]\d*, 0 parked",
        r"factory/0: productions agree: [1-9]\d* rows checked; stream at [1-9]\d*, 0 parked",
        r"factory/0 to stock/0: [1-9]\d* events agree: [1-9]\d* delivered, 0 discarded, 0 parked, 0 to come",
        r"stock/0 to factory/0: [1-9]\d* events agree: [1-9]\d* delivered, 0 discarded, 0 parked, 0 to come",
        r"product/0: .* agree: [1-9]\d* rows checked; stream at 1, 0 parked",
        r"sales/0: .* agree: 1 rows checked; stream at 0, 0 parked",
        r"product/0 to sales/0: the copy of the menu agrees: 1 products, 0 to come",
        r"product/0 to sales/0: 1 events agree: 1 delivered, 0 discarded, 0 parked, 0 to come",
        r"dlq/0: (was never started|letters, counters, replays and kept events agree: \d+ rows checked; 0 dead, 0 waiting)",
    ]
    said = r" agree|: was never started$|^verify reads |: it is open in the shop that answers at |^all agrees: "
    assert all(re.search(said, line) for line in words.splitlines()), words
    assert all(re.search(f"^{line}$", words, re.M) for line in expected), words


def stop_all(shop):
    """SIGTERM to everything at once: each ends well and in time."""
    began = time.monotonic()
    for process in shop.processes:
        process.signal(signal.SIGTERM)
    for process in shop.processes:
        process.wait_exit(0, STOP_S - (time.monotonic() - began))


def start_processes(shop):
    """Every actor and the gateway as a process of its own, and the donut put there."""
    for actor in ("stock", "factory", "product", "sales"):
        shop.actor(actor)
    shop.gateway()
    status, words = shop.command("demo")
    assert status == 0, words


class FourSettings(processes.Mysql):
    """A database with a user of its own, told as the donut shop tells it: HOSTNAME USERNAME PASSWORD DATABASE and nothing else."""

    def __init__(self, url):
        super().__init__(url)
        self.user, password = f"u_{uuid.uuid4().hex[:10]}", "pa ss:w@rd/'\"%"
        quoted = password.replace("'", "''")
        self.run(f"CREATE USER '{self.user}'@'%' IDENTIFIED BY '{quoted}'", use=False)
        self.run(f"GRANT ALL ON `{self.database}`.* TO '{self.user}'@'%'", use=False)
        self.settings = {
            "HOSTNAME": f"{self.host}:{self.port}",
            "USERNAME": self.user,
            "PASSWORD": password,
            "DATABASE": self.database,
        }

    def drop(self):
        super().drop()
        with contextlib.suppress(AssertionError):
            self.run(f"DROP USER IF EXISTS '{self.user}'@'%'", use=False)


@pytest.fixture
def four_settings():
    server = os.environ.get("LARDER_TEST_DB_TCP")
    if not server:
        pytest.skip("LARDER_TEST_DB_TCP is not set: run this by tests/support/mariadb.sh run")
    return FourSettings(f"{server}f_{uuid.uuid4().hex[:12]}")


def test_the_loop_in_one_process(new_shop, database):
    shop = new_shop(database, lead_time_ms=LEAD_TIME_MS)
    shop.run()
    check_loop(shop, Rest(shop.http))
    stop_all(shop)
    check_verify(shop)


def test_the_loop_in_a_process_each_on_sqlite(new_shop, sqlite):
    shop = new_shop(sqlite, lead_time_ms=LEAD_TIME_MS)
    start_processes(shop)
    check_loop(shop, Rest(shop.http))
    stop_all(shop)
    check_verify(shop)


def test_the_loop_in_a_process_each_by_the_shops_four_settings(new_shop, four_settings):
    shop = new_shop(four_settings, lead_time_ms=LEAD_TIME_MS)
    assert "LARDER_DB" not in shop.env()
    start_processes(shop)
    check_loop(shop, Rest(shop.http))
    stop_all(shop)
    check_verify(shop)
    tables = {row[0] for row in four_settings.run("SHOW TABLES")}
    assert {"stock_0_move", "factory_0_production"} <= tables, tables
    for process in shop.processes:
        assert four_settings.settings["PASSWORD"] not in process.log()


def test_the_demo_product_comes_once(new_shop, database):
    """A restart does not fill the shelf, and an emptied shop of somebody's own gets no donut."""
    shop = new_shop(database)
    rest = Rest(shop.http)
    first = shop.run()
    rest.post("/checkout", {"quantity": 2}).is_ok(201)
    first.stop()
    shop.run()
    assert rest.level("donut")["on_hand"] == 1
    assert [one["product"] for one in rest.pages("/v1/stock")[0]] == ["donut"]


def test_a_key_sells_once_also_over_a_restart(new_shop, database):
    shop = new_shop(database)
    rest = Rest(shop.http)
    first = shop.run()
    key = str(uuid.uuid4())
    sold = rest.post("/checkout", {"quantity": 2}, Idempotency_Key=key)
    assert sold.is_ok(201)["available"] == 1
    assert sold.headers["Idempotent-Replayed"] is None
    refused = rest.post("/checkout", {"quantity": 7}, Idempotency_Key="no-" + key)
    refused.is_problem("out_of_stock")
    rest.post("/checkout/donut", {"quantity": 100}).is_ok()

    def check_replays():
        for form in (key, f'"{key}"'):
            replay = rest.post("/checkout", {"quantity": 2}, Idempotency_Key=form)
            assert (replay.status, replay.json) == (201, sold.json)
            assert replay.headers["Idempotent-Replayed"] == "true"
        again = rest.post("/checkout", {"quantity": 7}, Idempotency_Key="no-" + key)
        again.is_problem("out_of_stock")
        assert again.json == refused.json
        assert again.headers["Idempotent-Replayed"] == "true"
        other = rest.post("/checkout", {"quantity": 1}, Idempotency_Key=key)
        other.is_problem("idempotency_mismatch")
        assert rest.level("donut")["on_hand"] == 101

    check_replays()
    assert first.stop() < STOP_S
    second = shop.run()
    check_replays()
    second.kill9()
    shop.run()
    check_replays()


def test_it_ends_in_time_while_it_is_busy(new_shop, database):
    """SIGTERM in the middle of checkouts: every answer that was given is in the ledger, and the status is 0."""
    shop = new_shop(database)
    rest = Rest(shop.http)
    process = shop.run()
    rest.post("/checkout/donut", {"quantity": 100_000}).is_ok()
    told, asked, began = 0, 0, 0
    busy = http.client.HTTPConnection(shop.http, timeout=STOP_S)
    with rest.connect() as idle:
        with contextlib.suppress(OSError, http.client.HTTPException):
            while asked < 100_000:
                asked += 1
                busy.request("POST", "/checkout")
                answer = busy.getresponse()
                answer.read()
                told += answer.status == 201
                if told == 20 and not began:
                    began = time.monotonic()
                    process.signal(signal.SIGTERM)
        assert idle.recv(1) == b"", "a connection without a request is closed"
    busy.close()
    assert began, "it did not get to twenty"
    process.wait_exit(0, STOP_S)
    assert time.monotonic() - began < STOP_S
    shop.run()
    sold = 100_003 - rest.level("donut")["on_hand"]
    assert 20 <= told <= sold <= asked
