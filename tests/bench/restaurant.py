# SPDX-License-Identifier: MPL-2.0
"""
PURPOSE   The rows of the fourth table: whole orders, and what people in a restaurant wait for, each beside its bar.

ROWS      orders    POST /v1/orders with two lines, 64 connections (wrk), until every order is `received`: reserved, paid with the
                    simulated provider, committed. The rate is what the orders themselves say: from the first that was placed to the
                    last that was received
          commits   of each actor per order meanwhile, from larder_commit_seconds_count
          pace      programs/orders.c: orders at half of the required rate, due at fixed times whether earlier ones are answered or not
          verify    `larder verify` of 100,000 orders, the shop closed
          kitchen   GET /v1/orders:kitchen over them, of which 200 are open, one connection
          abandoned 1,000 orders that nobody pays; killed (SIGKILL) before their deadline, opened again behind it: until nothing is held
          load      `larder products load` of a CSV file

CHECKS    Every order that was placed has been received, none was placed twice or lost, and `larder verify` agrees.

FAILURES  BenchError; a row that failed has no figure.

LIMITS    The closed orders of `kitchen` are closed in SQL, on a shop that is stopped: walking each through the kitchen would be
          300,000 requests more.
"""

import contextlib
import http.client
import json
import os
import re
import sqlite3
import statistics
import subprocess
import time

from measure import BenchError, http_load, measure, percentile
from letters import PROGRAMS, await_value, run
from servers import LARDER, PLENTY, Larder, LarderMariaDB, get

CONNECTIONS = 64
PACED_CONNECTIONS = 256
PRODUCTS = 12
PRICE = 1500                    # minor units; amounts that end in 00 are approved at once
OLD_ORDERS = 100000
OPEN_ORDERS = 200
KITCHEN_READS = 201
MENU_ROWS = 200000
ABANDONED = 1000
ABANDONED_TTL_MS = 4000         # long enough to place them all
ACTORS = ("order", "payment", "stock", "product", "sales", "user", "factory", "dlq")
BARS = {"orders": {Larder: 3000, LarderMariaDB: 2000}, "pace_ms": 60, "kitchen_ms": 5, "load": 20000, "abandoned_ms": 1000, "verify_s": 120}


class Shop:
    """What both contenders have in common here: a menu on their shelves, and a look into their database."""

    def fill(self, dataset):
        self.post_all(("/v1/products", card(name)) for name in names() + ["donut"])
        self.post_all((f"/v1/stock/{name}:adjust", {"delta": PLENTY}) for name in names() + ["donut"])

    def metric(self, name, actor):
        """Of all shards of the actor."""
        text = get(f"127.0.0.1:{self.base_port + 5000}", "/metrics")[1].decode()
        return sum(float(value) for value in re.findall(rf'^{name}{{actor="{actor}/\d+"}} (\S+)$', text, re.M))

    def count(self, where):
        return self.sql(f"SELECT COUNT(*) FROM $order WHERE {where}")[0][0]


class Restaurant(Shop, Larder):
    def start(self, folder, dataset):
        self.data = os.path.join(folder, "var")
        super().start(folder, dataset)

    def sql(self, statement):
        path = os.path.join(self.data, "order_0.db")
        with contextlib.closing(sqlite3.connect(path, timeout=10, isolation_level=None)) as database:
            return database.execute(re.sub(r"\$(\w+)", r'"\1"', statement)).fetchall()

    def settle(self):
        """Until nothing is left to do of an earlier change."""

    def arguments(self):
        return ["--data", self.data, "--base-port", str(self.base_port)]


class RestaurantMariaDB(Shop, LarderMariaDB):
    def start_mariadb(self, folder, setup):
        self.mariadb = super().start_mariadb(folder, setup)
        return self.mariadb

    def sql(self, statement):
        done = subprocess.run(["mariadb", "--no-defaults", "--batch", "--raw", "--skip-column-names", "-h", "127.0.0.1", "-P",
                               str(self.mariadb.port), "-u", "root", "larder", "-e", statement.replace("$", "order_0_")],
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BenchError(f"{statement}: {done.stderr.strip()[-300:]}")
        return [tuple(int(value) for value in line.split("\t")) for line in done.stdout.splitlines()]

    def settle(self):
        """Until InnoDB has purged the index entries of an earlier change, which readers walk over meanwhile."""
        length = "SELECT variable_value FROM information_schema.global_status WHERE variable_name = 'INNODB_HISTORY_LIST_LENGTH'"
        await_value(lambda: self.sql(length)[0][0], 0, "the purge of closed orders", 120)

    def arguments(self):
        return ["--db", f"mysql://root@127.0.0.1:{self.mariadb.port}/larder", "--base-port", str(self.base_port)]


def names():
    return [f"p{n}" for n in range(PRODUCTS)]


def card(name):
    return {"product": name, "name": f"Product {name}", "category": "burger", "price": {"amount": PRICE, "currency": "BRL"}}


def await_received(server):
    """Waits until no saga is under way, each of which has a due row; how many orders are received."""
    await_value(lambda: server.sql("SELECT COUNT(*) FROM $due WHERE owner = 'saga'")[0][0], 0, "sagas under way", 60)
    return server.count("status = 'received'")


def newest(server):
    return server.sql("SELECT COALESCE(MAX(n), 0) FROM $order")[0][0]


def prove(server):
    done = subprocess.run([server.program, "verify"] + server.arguments(), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchError(f"larder verify: {done.stderr.strip()[-300:]}")
    return done.stdout


# --- whole orders ---


def commits_of(server):
    return {actor: server.metric("larder_commit_seconds_count", actor) for actor in ACTORS}


def whole_orders(server, seconds):
    """One round: (orders/s, wrk's view of the answers, commits per order by actor)."""
    body = '{"lines":[{"product":"donut","quantity":1},{"product":"%s","quantity":1}],"method":"pix"}'
    seen = {}

    def until_received(length, strict=False):
        """The load, and the time until its last order is received; what came before it does not count."""
        seen["before"], seen["newest"], seen["commits"] = await_received(server), newest(server), commits_of(server)
        result = http_load(server.address, CONNECTIONS, ("POST", "/v1/orders", body, 201), PRODUCTS)(length, strict)
        seen["orders"], seen["answers"] = await_received(server) - seen["before"], result["requests"]
        return result

    with server.running("menu"):
        try:
            sample = measure(until_received, server, seconds, "success")
        finally:
            server.check_alive()
        orders = seen["orders"]
        if not seen["answers"] <= orders <= seen["answers"] + 2 * CONNECTIONS:
            raise BenchError(f"{seen['answers']} orders were answered, and {orders} were received")
        began, ended = server.sql(f"SELECT MIN(placed), MAX(changed) FROM $order WHERE n > {seen['newest']}")[0]
        commits = {actor: (after - seen["commits"][actor]) / orders for actor, after in commits_of(server).items()}
        prove(server)
    return orders * 1000 / (ended - began), sample, commits


def order_rows(server, plain, options, say):
    rates, samples, commits = [], [], []
    server.prepare("menu")
    for number in range(options.rounds):
        rate, sample, per_order = whole_orders(server, options.seconds)
        rates.append(rate)
        samples.append(sample)
        commits.append(per_order)
        say(f"round {number + 1}  {rate:9.0f}/s  whole orders | {server.name}")

    def median(figure):
        return statistics.median(getattr(sample, figure) for sample in samples)
    parts = {actor: statistics.median(one[actor] for one in commits) for actor in ACTORS}
    told = ", ".join(f"{actor} {parts[actor]:.3f}" for actor in ACTORS if parts[actor] >= 0.0005)
    return [row(f"whole orders, {CONNECTIONS} connections, until received", server, f"{statistics.median(rates):,.0f}/s",
                f"at least {BARS['orders'][plain]:,}/s", statistics.median(rates) >= BARS["orders"][plain],
                f"answer to POST p50 {median('p50_us') / 1000:.1f} ms, p99 {median('p99_us') / 1000:.1f} ms; "
                f"{median('cpu_s_per_10k'):.2f} CPU s per 10,000 answers; {median('own_mib'):.0f} + {median('database_mib'):.0f} MiB"),
            row("database commits per order, at that rate", server, f"{sum(parts.values()):.3f}", None, None, told)]


def pace_rows(server, plain, options, say):
    """Latency of placing at half of the required rate."""
    rate = BARS["orders"][plain] // 2
    results = []
    server.prepare("menu")
    for number in range(options.rounds):
        with server.running("menu"):
            common = [os.path.join(PROGRAMS, "orders"), server.address, str(PACED_CONNECTIONS), str(PRODUCTS)]
            run(common + [str(rate), str(rate)])
            result = run(common + [str(rate * options.seconds), str(rate)])
            if result["refused"]:
                raise BenchError(f"{result['refused']} of {result['requests']} orders were refused")
            await_received(server)
            server.check_alive()
        results.append(result)
        say(f"round {number + 1}  {result['p99_us'] / 1000:9.1f} ms p99 at {rate:,}/s | {server.name}")

    def median(figure):
        return statistics.median(result[figure] for result in results)
    p99 = median("p99_us") / 1000
    return [row(f"p99 of POST /v1/orders at a constant {rate:,}/s", server, f"{p99:.1f} ms", f"at most {BARS['pace_ms']} ms",
                p99 <= BARS["pace_ms"], f"p50 {median('p50_us') / 1000:.1f} ms, slowest {median('max_us') / 1000:.1f} ms; "
                f"sent late by the generator: p99 {median('sent_late_p99_us') / 1000:.2f} ms")]


# --- the kitchen ---


def close_old_orders(server):
    """All but the last OPEN_ORDERS were fetched long ago; of those, a part is ready and a part in preparation."""
    last = newest(server)
    ready, begun = last - OPEN_ORDERS * 3 // 4, last - OPEN_ORDERS // 2
    for status, after, to in (("completed", 0, last - OPEN_ORDERS), ("ready", last - OPEN_ORDERS, ready), ("in_preparation", ready, begun)):
        server.sql(f"UPDATE $order SET status = '{status}' WHERE n > {after} AND n <= {to}")


def read_kitchen(address):
    """Times of reading the list, ms; each answer is looked at."""
    connection = http.client.HTTPConnection(address, timeout=10)
    times = []
    try:
        for _ in range(KITCHEN_READS):
            began = time.perf_counter()
            connection.request("GET", f"/v1/orders:kitchen?limit={OPEN_ORDERS}")
            answer = connection.getresponse()
            body = answer.read()
            times.append((time.perf_counter() - began) * 1000)
            if answer.status != 200 or len(json.loads(body)["data"]) != OPEN_ORDERS:
                raise BenchError(f"the kitchen's list: status {answer.status}, {body[:200]!r}")
    finally:
        connection.close()
    return times


def verify_row(server, say):
    """The shop is closed: how long everything that is known of its orders takes to be proved."""
    began = time.monotonic()
    words = prove(server)
    took_s = time.monotonic() - began
    rows = int(re.search(r"all agrees: \d+ databases, (\d+) rows", words).group(1))
    say(f"verify   {took_s:9.2f} s, {rows / took_s:.0f} rows/s | {server.name}")
    return row(f"larder verify of {server.count('1 = 1'):,} orders", server, f"{took_s:.1f} s", f"at most {BARS['verify_s']} s",
               took_s <= BARS["verify_s"], f"{rows:,} rows, {rows / took_s:,.0f} rows/s")


def kitchen_rows(server, _plain, _options, say):
    server.prepare("menu-kitchen")
    with server.running("menu-kitchen"):
        run([os.path.join(PROGRAMS, "orders"), server.address, str(CONNECTIONS), str(PRODUCTS), str(OLD_ORDERS), "0"])
        await_received(server)
        for process in server.processes:
            process.stop()
        proof = verify_row(server, say)
        close_old_orders(server)
        server.settle()
        server.processes[0] = server.processes[0].again()
        server.processes[0].wait_until(lambda: get(server.address, "/readyz")[0] == 200, 0.001)
        first = read_kitchen(server.address)[0]
        times = read_kitchen(server.address)
        total = server.count("1 = 1")
    p99 = percentile(times, 0.99)
    say(f"kitchen  {p99:9.2f} ms p99 | {server.name}")
    return [proof, row(f"GET /v1/orders:kitchen, {OPEN_ORDERS} open of {total:,} orders, p99 of {len(times)}", server, f"{p99:.2f} ms",
                f"at most {BARS['kitchen_ms']} ms", p99 <= BARS["kitchen_ms"],
                f"p50 {statistics.median(times):.2f} ms, the first after a start {first:.2f} ms")]


# --- orders that nobody pays ---


def held(server):
    return json.loads(get(server.address, "/v1/stock/donut")[1])["reserved"]


def abandon(server):
    """One round: ms from the first answer of the shop that was opened again until nothing is held any more."""
    server.settings = {**server.settings, "LARDER_ORDER_TTL_MS": str(ABANDONED_TTL_MS)}
    order = {"lines": [{"product": "donut", "quantity": 1}, {"product": "p0", "quantity": 1}], "method": "money"}
    with server.running("menu-abandoned"):
        server.post_all([("/v1/orders", order)] * ABANDONED)
        if held(server) != ABANDONED:
            raise BenchError(f"{held(server)} units are held for {ABANDONED} orders before the shop is killed")
        server.processes[0].kill()
        deadline = server.sql("SELECT MAX(deadline) FROM $order WHERE status = 'awaiting_payment'")[0][0]
        time.sleep(max(0, deadline / 1000 - time.time()))
        server.processes[0] = server.processes[0].again()
        server.processes[0].wait_until(lambda: get(server.address, "/readyz")[0] == 200, 0.001)
        began = time.monotonic()
        while held(server) > 0 and time.monotonic() < began + 60:
            time.sleep(0.002)
        took_ms = (time.monotonic() - began) * 1000
        await_value(lambda: server.count("status <> 'cancelled'"), 0, "orders that are not cancelled", 10)
        prove(server)
    return took_ms


def abandoned_rows(server, _plain, options, say):
    server.prepare("menu-abandoned")
    times = []
    for number in range(options.rounds):
        times.append(abandon(server))
        say(f"round {number + 1}  {times[-1]:9.0f} ms until nothing is held | {server.name}")
    took_ms = statistics.median(times)
    return [row(f"{ABANDONED:,} unpaid orders, killed by -9, opened again behind their deadline, until nothing is held", server,
                f"{took_ms:.0f} ms", f"at most {BARS['abandoned_ms']:,} ms", took_ms <= BARS["abandoned_ms"],
                "from the first answer of /readyz; after a kill the first 256 due rows are handled one by one")]


# --- the menu ---


def write_menu(path):
    with open(path, "w", encoding="utf-8") as file:
        file.write("product,name,description,category,amount,currency,images,active\n")
        for number in range(MENU_ROWS):
            file.write(f"sku-{number:06d},Product {number},\"Bread, cheese and {number} onions\",burger,{100 + number},BRL,"
                       f"https://img.example/{number}.jpg,true\n")


def load_rows(server, _plain, _options, say):
    os.makedirs(server.folder, exist_ok=True)
    path = os.path.join(server.folder, "menu.csv")
    write_menu(path)
    with server.running("menu-load"):
        began = time.monotonic()
        done = subprocess.run([LARDER, "products", "load", path] + server.arguments(), capture_output=True, text=True, check=False)
        seconds = time.monotonic() - began
        if done.returncode != 0:
            raise BenchError(f"larder products load: {(done.stderr or done.stdout).strip()[-300:]}")
        page = json.loads(get(server.address, "/v1/products?limit=1&after=sku-199998")[1])
        if [entry["product"] for entry in page["data"]] != ["sku-199999"]:
            raise BenchError("the last row of the file is not on the menu")
    rate = MENU_ROWS / seconds
    say(f"load     {rate:9.0f} rows/s | {server.name}")
    return [row(f"larder products load, {MENU_ROWS:,} new rows of CSV", server, f"{rate:,.0f} rows/s", f"at least {BARS['load']:,} rows/s",
                rate >= BARS["load"], "from the start of the command to its end; each message of 500 rows is one transaction")]


# --- the table ---

PARTS = (("orders", order_rows), ("pace", pace_rows), ("kitchen", kitchen_rows), ("abandoned", abandoned_rows), ("load", load_rows))


def row(what, server, value, bar, holds, note):
    return what, server.name, value, bar or "–", {True: "yes", False: "no", None: "–"}[holds], note


def table(folder, options, say):
    """Rows of the fourth table; of a row that failed the note says why, and it has no figure."""
    rows = []
    for what, measure_part in PARTS:
        for kind, plain in ((Restaurant, Larder), (RestaurantMariaDB, LarderMariaDB)):
            if not re.search(options.only, f"{what} | {plain.name}"):
                continue
            try:
                rows.extend(measure_part(kind(os.path.join(folder, "restaurant")), plain, options, say))
            except BenchError as error:
                say(f"FAILED  {what} | {plain.name}: {error}")
                rows.append((what, plain.name, "–", "–", "no", "failed: " + " ".join(str(error).replace("|", "/").split())))
    return rows


def print_table(rows):
    print("\n| the restaurant | contender | value | bar | holds | |")
    print("| --- | --- | ---: | ---: | --- | --- |")
    for line in rows:
        print("| " + " | ".join(line) + " |")
