# SPDX-License-Identifier: MPL-2.0
"""
PURPOSE   The rows of the third table: durable events beside RabbitMQ, and what the dlq can do.

ROWS      events    programs/events.c: commit at the source, PUB, commit at the subscriber, confirmation at the source; its peer is
                    peers/rabbit.c with a quorum queue, persistent messages, publisher confirms and acknowledgements
          bury      programs/letters.c: new letters, 256 in a dlq.bury
          ask       the same on 1,000,000 letters: a page of 100 for each filter, and stats
          replay    letters of factory.produced that stock could not apply, mended and replayed by one POST /v1/replays; the stock
                    of each product is looked at afterwards

FAILURES  BenchError; a row that failed has no figure.
"""

import json
import os
import statistics
import subprocess
import time

from measure import BenchError
from servers import ROOT, Larder, LarderMariaDB, RabbitMQ, free_base_port, get

PROGRAMS = os.path.join(ROOT, "build", "release", "bench")
LETTERS = 1000000
REPLAYED = 20000
FULL_SHELF = 10 ** 15
PACED = 2000
WINDOW = 1000


class Mender(Larder):
    """larder whose events are given up after one attempt, however many fail in a row, with a factory that needs no time."""
    settings = {"LARDER_LEAD_TIME_MS": "0", "LARDER_LOG_LEVEL": "error", "LARDER_RETRY_ATTEMPTS": "1", "LARDER_HOLD_AFTER": "0"}


class MenderMariaDB(Mender):
    name = LarderMariaDB.name
    with_mariadb = True


def run(command):
    """The JSON line of a program."""
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise BenchError(f"{os.path.basename(command[0])} failed: {(ended.stderr or ended.stdout).strip()[-300:]}")
    return json.loads(ended.stdout.strip().splitlines()[-1])


def events(server, seconds, rate):
    """One measurement of durable events; larder's two actors run in the program, on the database of the contender."""
    numbers = [str(seconds), str(rate), str(WINDOW)]
    with server.running(f"events{rate}-{time.monotonic_ns()}"):
        if isinstance(server, RabbitMQ):
            return run([os.path.join(PROGRAMS, "rabbit"), str(server.port)] + numbers)
        return run([os.path.join(PROGRAMS, "events"), "--data", server.events_folder, "--base-port", str(free_base_port()),
                    "--log-level", "error"] + server.events_database + numbers)


class Events(Larder):
    """Only the database: the actors are programs/events.c."""

    def start(self, folder, dataset):
        self.events_folder, self.events_database = folder, []
        if self.with_mariadb:
            mariadb = self.start_mariadb(folder, "CREATE DATABASE IF NOT EXISTS larder;\n")
            self.events_database = ["--db", f"mysql://root@127.0.0.1:{mariadb.port}/larder"]


class EventsMariaDB(Events):
    name = LarderMariaDB.name
    with_mariadb = True


def event_rows(folder, options, say):
    """(what, contender, rate or None, p50, p99, note) for both loads of events."""
    contenders = [kind(os.path.join(folder, "events")) for kind in (Events, EventsMariaDB, RabbitMQ)]
    rows = []
    for rate, what in ((0, f"durable events, end to end, {WINDOW:,} under way"), (PACED, f"durable events, end to end, {PACED:,}/s")):
        samples = {server: [] for server in contenders}
        for number in range(options.rounds):
            shift = number % len(contenders)
            for server in contenders[shift:] + contenders[:shift]:
                samples[server].append(events(server, options.seconds, rate))
                last = samples[server][-1]
                say(f"round {number + 1}  {last['requests'] / last['seconds']:9.0f}/s  {what} | {server.name}")
        for server in contenders:
            def median(figure, taken=samples[server]):
                return statistics.median(sample[figure] for sample in taken)
            acked = f"confirmed at the source: p99 {median('ack_p99_us') / 1000:.2f} ms" if "ack_p99_us" in samples[server][0] else ""
            rows.append((what, server.name, statistics.median(s["requests"] / s["seconds"] for s in samples[server]),
                         median("p50_us"), median("p99_us"), acked))
    return rows


def stats(server):
    return json.loads(get(server.address, "/v1/letters:stats")[1])


def bury_and_ask(server, options, say):
    """The rate of burying, up to the letters that the pages are then read from."""
    rates = []
    with server.running("letters"):
        endpoint = server.endpoint("dlq.bury")
        part = LETTERS // max(options.rounds, 1)
        for number in range(options.rounds):
            result = run([os.path.join(PROGRAMS, "letters"), endpoint, "bury", str(part)])
            rates.append(result["rate"])
            say(f"round {number + 1}  {result['rate']:9.0f}/s  dlq.bury | {server.name}")
        asked = run([os.path.join(PROGRAMS, "letters"), endpoint, "query", "21"])
        dead = stats(server)["dead"]
        if dead != part * options.rounds:
            raise BenchError(f"{part * options.rounds} letters were buried, but stats counts {dead}")
    return [("dlq.bury, 256 letters a message, 4 messages under way", server.name, statistics.median(rates), None, None,
             f"up to {dead:,} letters"),
            (f"dlq.list, a page of 100 of {dead:,} letters, the slowest filter", server.name, None, asked["slowest_us"], None,
             f"by {asked['slowest']}; " + ", ".join(f"{name} {us / 1000:.1f}" for name, us in asked["filters"].items())),
            (f"dlq.stats on {dead:,} letters", server.name, None, asked["stats_us"], None, "")]


def await_value(read, wanted, what, timeout_s=300):
    end = time.monotonic() + timeout_s
    value = read()
    while value != wanted:
        if time.monotonic() > end:
            raise BenchError(f"{what}: {value} instead of {wanted} after {timeout_s} s")
        time.sleep(0.05)
        value = read()


def levels(server):
    """Every level, page by page."""
    path = "/v1/stock?limit=1000"
    cursor = ""
    while True:
        page = json.loads(get(server.address, path + cursor)[1])
        yield from page["data"]
        if not page["has_more"]:
            return
        cursor = f"&after={page['data'][-1]['product']}"


def replay(server, say):
    """Letters into stock: made, mended, replayed, and the stock looked at."""
    products = [f"r{n:05d}" for n in range(REPLAYED)]
    with server.running("replay"):
        server.post_all((f"/v1/stock/{product}:count", {"counted": FULL_SHELF}) for product in products)
        server.post_all(("/v1/productions", {"product": product, "quantity": 10}) for product in products)
        await_value(lambda: stats(server)["dead"], REPLAYED, "letters of productions that the shelves could not take")
        server.post_all((f"/v1/stock/{product}:count", {"counted": 0}) for product in products)
        began = time.monotonic()
        status, body = get(server.address, "/v1/replays", "POST", json.dumps({"filter": {"state": "dead"}}))
        if status != 201:
            raise BenchError(f"POST /v1/replays was answered {status}: {body[:200]!r}")
        address = "/v1/replays/" + json.loads(body)["id"]
        await_value(lambda: json.loads(get(server.address, address)[1])["state"], "done", "the replay")
        seconds = time.monotonic() - began
        wrong = [level["product"] for level in levels(server) if level["product"].startswith("r") and level["on_hand"] != 10]
        if wrong:
            raise BenchError(f"{len(wrong)} products have not exactly one refill, e.g. {wrong[0]}")
    say(f"replay  {REPLAYED / seconds:9.0f}/s  | {server.name}")
    return [(f"replay of {REPLAYED:,} letters into stock, one key each", server.name, REPLAYED / seconds, None, None,
             "until each effect is on disk and the replay says done")]


def table(folder, options, say):
    """Rows of the third table: (what, contender, rate, p50, p99, note); a row that failed has the failure as its note and no figures."""
    rows = []
    larders = [(Larder, Mender), (LarderMariaDB, MenderMariaDB)]
    parts = [("durable events", "all", lambda: event_rows(folder, options, say))]
    for plain, mender in larders:
        parts.append(("dlq.bury", plain.name, lambda plain=plain: bury_and_ask(plain(os.path.join(folder, "bury")), options, say)))
        parts.append(("replay", plain.name, lambda mender=mender: replay(mender(os.path.join(folder, "replay")), say)))
    for what, name, measure in parts:
        try:
            rows.extend(measure())
        except BenchError as error:
            say(f"FAILED  {what} | {name}: {error}")
            rows.append((what, name, None, None, None, "failed: " + " ".join(str(error).replace("|", "/").split())))
    return rows


def print_table(rows):
    print("\n| load | contender | per second | p50 ms | p99 ms | |")
    print("| --- | --- | ---: | ---: | ---: | --- |")
    for what, name, rate, p50, p99, note in rows:
        shown = [f"{rate:,.0f}" if rate else "–"] + [f"{us / 1000:.2f}" if us else "–" for us in (p50, p99)]
        print(f"| {what} | {name} | " + " | ".join(shown) + f" | {note} |")
