#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""
PURPOSE   Measures larder beside its peers, in one run on one machine, and prints four Markdown tables. `make bench` runs it;
          README.md says how to read them.

METHOD    A row is one kind of load on one contender. For each round and each kind of load the contenders take their turn, first
          who was second in the round before; only the contender that is measured runs. Start, 1 s of warm-up, the measurement,
          stop. Shown is the median of the rounds; memory is the highest of them.

CHECKS    A row fails, and has no figure, when an answer came that it does not expect, when a connection broke, or when the
          stock afterwards is not what the answers told.

FAILURES  Exit 1 when a row failed, 2 when something is missing that has to be installed, 130 when interrupted.

LIMITS    Load generator and servers share the machine, as they do for every contender.
"""

import argparse
import os
import re
import shutil
import signal
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field

import ledger
import letters
import restaurant
from measure import BenchError, fdatasync_us, http_load, measure, memory_mib, percentile, zmq_load
from servers import CONTENDERS, LARDER, ROOT, Express, Larder, LarderMariaDB, Webdis, get

LARDERS = (Larder, LarderMariaDB)
ALL = (Larder, LarderMariaDB, Express, Webdis)
TOOLS = {"wrk": "wrk", "redis-server": "redis-server", "webdis": "webdis", "node": "nodejs", "npm": "npm",
         "rabbitmqctl": "rabbitmq-server", "epmd": "erlang-base", "mariadbd": "mariadb-server-core", "mariadb-install-db": "mariadb-server-core"}


@dataclass(frozen=True)
class Load:
    """One kind of load. `peer` is the load of the peers that the ratios compare with; none for what no peer offers."""
    title: str
    contenders: tuple
    dataset: str
    kind: str                       # checkout, spread, show: by wrk; an operation's name: by `larder bench`
    width: int                      # connections, or the window of requests on their way
    peer: str = None
    expect: str = "success"
    sells: str = None               # the product whose stock has to agree with the answers


LOADS = (
    Load("POST /checkout, one hot product, 64 connections", ALL, "one", "checkout", 64, "checkout 64", sells="donut"),
    Load("POST /checkout, one hot product, 256 connections", ALL, "one", "checkout", 256, "checkout 256", sells="donut"),
    Load("POST /checkout, 1,000 products, 64 connections", LARDERS, "1000", "spread", 64, "checkout 64"),
    Load("POST /checkout, 100,000 products, 64 connections", LARDERS, "100000", "spread", 64, "checkout 64"),
    Load("POST /checkout, sold out, 64 connections", LARDERS, "empty", "checkout", 64, "checkout 64", expect="refusal"),
    Load("GET /product/donut, 64 connections", ALL, "one", "show", 64, "show 64"),
    Load("ZeroMQ sales.checkout, one hot product, window 256", LARDERS, "one", "sales.checkout", 256, sells="donut"),
    Load("ZeroMQ stock.take, one hot product, window 256", LARDERS, "one", "stock.take", 256, sells="donut"),
    Load("ZeroMQ sales.checkout, sold out, window 256", LARDERS, "empty", "sales.checkout", 256, expect="refusal"),
    Load("ZeroMQ stock.take, sold out, window 256", LARDERS, "empty", "stock.take", 256, expect="refusal"),
)


@dataclass
class Row:
    load: Load
    contender: type
    samples: list = field(default_factory=list)
    failure: str = None

    def label(self):
        return f"{self.load.title} | {self.contender.name}"

    def median(self, figure):
        return statistics.median(getattr(sample, figure) for sample in self.samples)


def say(text):
    print(text, file=sys.stderr, flush=True)


def generator(server, load):
    """The load generator of a load, aimed at a running server."""
    sold_out = load.expect == "refusal"
    product = "p0" if sold_out else "donut"
    if "." in load.kind:
        return zmq_load(LARDER, server.endpoint(load.kind),
                        ["--op", load.kind, "--product", product, "--window", str(load.width)])
    if load.kind == "show":
        return http_load(server.address, load.width, server.show("donut"))
    if load.kind == "spread":
        return http_load(server.address, load.width, server.checkout("%s"), int(load.dataset))
    return http_load(server.address, load.width, server.checkout(product, sold_out))


def check_stock(load, before, after, requests):
    """Each answered sale has left the shelf; those that were on their way when the two generators left may have, too."""
    sold = before - after
    if not requests <= sold <= requests + 2 * load.width:
        raise BenchError(f"told {requests} sales, but the stock of {load.sells} fell by {sold}")


def run_row(row, server, seconds):
    """One round of one row. That a server died is told before what the generator saw of it."""
    load = row.load
    server.prepare(load.dataset)
    with server.running(load.dataset):
        before = server.stock(load.sells) if load.sells else 0
        try:
            sample = measure(generator(server, load), server, seconds, load.expect)
        finally:
            server.check_alive()
        if load.sells:
            check_stock(load, before, server.stock(load.sells), sample.requests)
    return sample


def run_rounds(rows, servers, options, disk):
    """All rounds. `disk` collects the fdatasync samples that were taken between them."""
    for number in range(options.rounds):
        disk.extend(fdatasync_us(options.folder))
        for load in LOADS:
            turn = [row for row in rows if row.load is load]
            shift = number % len(turn) if turn else 0
            for row in turn[shift:] + turn[:shift]:
                if row.failure:
                    continue
                try:
                    sample = run_row(row, servers[row.contender], options.seconds)
                except BenchError as error:
                    row.failure = " ".join(str(error).replace("|", "/").split())
                    say(f"FAILED  {row.label()}: {error}")
                    continue
                row.samples.append(sample)
                say(f"round {number + 1}  {sample.rate:9.0f}/s  {row.label()}")


def peer_rate(rows, contender, load):
    """The median rate of a peer at the load that `load` names, or None; peers have no row that expects a refusal."""
    for row in rows:
        if row.contender is contender and f"{row.load.kind} {row.load.width}" == load.peer:
            return row.median("rate") if row.samples and not row.failure else None
    return None


def ratio(rate, other):
    return f"{rate / other:.2f}" if other else "–"


def memory(row):
    own, database = (max(getattr(sample, figure) for sample in row.samples) for figure in ("own_mib", "database_mib"))
    return f"{own:.0f} + {database:.0f}" if database else f"{own:.0f}"


def print_main_table(rows):
    print("| load | contender | answers/s | ÷ webdis | ÷ Express | p50 ms | p99 ms | CPU s per 10,000 | peak memory MiB |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    title = None
    for row in rows:
        shown, title = ("" if row.load.title == title else row.load.title), row.load.title
        if row.failure or not row.samples:
            print(f"| {shown} | {row.contender.name} | failed: {row.failure} | | | | | | |")
            continue
        rate = row.median("rate")
        busy = "*" if row.median("generator_busy") > 0.9 else ""
        print(f"| {shown} | {row.contender.name} | {rate:,.0f}{busy} | {ratio(rate, peer_rate(rows, Webdis, row.load))} "
              f"| {ratio(rate, peer_rate(rows, Express, row.load))} | {row.median('p50_us') / 1000:.2f} "
              f"| {row.median('p99_us') / 1000:.2f} | {row.median('cpu_s_per_10k'):.3f} | {memory(row)} |")
    print("\n`*` the load generator used over 90% of a core: the server could have done more. Memory: the program + its database.\n")


def start_to_answer_ms(server, dataset="one"):
    """From the start of the process to its first answer, on a database that exists; MariaDB is running by then."""
    with server.running(dataset):
        larder = server.processes.pop()
        larder.stop()
        start = time.monotonic()
        server.processes.append(larder.again())
        server.processes[0].wait_until(lambda: get(server.address, "/product/donut")[0] == 200, 0.001)
        return (time.monotonic() - start) * 1000


def idle_mib(server):
    """Resident memory of `larder run` with its demo product, after 2 s in which nobody asked anything."""
    with server.running("demo"):
        time.sleep(2)
        return memory_mib(server.own_pids(), "VmRSS")


def second_table(servers, options, disk):
    """Rows of the second table as (what, figure); a figure that failed says why."""
    figures = [(f"fdatasync after a 4 KiB append, p50 / p99, same disk, same run, n = {len(disk)}",
                f"{percentile(disk, 0.5) / 1000:.2f} / {percentile(disk, 0.99) / 1000:.2f} ms")]
    for contender in LARDERS:
        if contender not in servers:
            continue
        server = servers[contender]
        try:
            figures.append((f"idle memory of larder run, {contender.name}", f"{idle_mib(server):.1f} MiB"))
            server.prepare("one")
            times = [start_to_answer_ms(server) for _ in range(5)]
            figures.append((f"start to first answer on an existing database, {contender.name}, median of 5",
                            f"{statistics.median(times):.0f} ms"))
        except BenchError as error:
            figures.append((f"idle and start, {contender.name}", f"failed: {error}"))
    if options.ledger:
        figures.extend(ledger_figures(servers[Larder], options))
    return figures


def ledger_figures(server, options):
    """The rate of hot checkouts over a short ledger and over one of ten million rows, in turn, and the start on the long one."""
    hot = LOADS[0]
    rates = {"one": [], "ledger": []}
    try:
        say(f"filling {ledger.ROWS:,} rows of the ledger")
        for dataset in rates:
            server.prepare(dataset)
        for number in range(options.rounds):
            for dataset in sorted(rates, reverse=number % 2 == 1):
                with server.running(dataset):
                    rates[dataset].append(measure(generator(server, hot), server, options.seconds, "success").rate)
        start = statistics.median(start_to_answer_ms(server, "ledger") for _ in range(5))
    except BenchError as error:
        return [("rate over a long ledger", f"failed: {error}")]
    short, full = (statistics.median(results) for results in rates.values())
    return [(f"{hot.title}, {server.name}: over {ledger.ROWS:,} more ledger rows / without",
             f"{full:,.0f} / {short:,.0f} = {full / short:.2f}"),
            (f"start to first answer over these rows, {server.name}, median of 5", f"{start:.0f} ms")]


def print_second_table(figures):
    print("| figure | value |")
    print("| --- | ---: |")
    for what, value in figures:
        print(f"| {what} | {value} |")


def missing_tools(rows):
    """Packages that the chosen rows need and that are not there."""
    missing = {package for tool, package in TOOLS.items() if not shutil.which(tool, path=os.environ["PATH"] + ":/usr/sbin:/sbin")}
    if any(row.contender is Express for row in rows) and not os.path.isdir("/usr/share/nodejs/express"):
        missing.add("node-express")
    return sorted(missing)


def file_system(folder):
    """Type of the file system that holds `folder`."""
    best = ("", "")
    with open("/proc/mounts", encoding="utf-8") as mounts:
        for mount in mounts:
            _, point, kind = mount.split()[:3]
            if os.path.realpath(folder).startswith(point.rstrip("/") + "/") and len(point) >= len(best[0]):
                best = (point, kind)
    return best[1]


def parse_options():
    parser = argparse.ArgumentParser(description="Measures larder beside its peers; prints Markdown tables.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="length of one measurement")
    parser.add_argument("--only", metavar="REGEX", default="", help="only rows whose 'load | contender' matches")
    parser.add_argument("--quick", action="store_true", help="one round of 2 s: shows that it works, not how fast it is")
    parser.add_argument("--ledger", action="store_true", help="also the rate over 10 million ledger rows (minutes, 5 GB of disk)")
    parser.add_argument("--letters", choices=("yes", "no", "only"), default="yes", help="durable events and the dlq: the third table")
    parser.add_argument("--restaurant", choices=("yes", "no", "only"), default="yes", help="whole orders, the kitchen, the menu: the fourth table")
    parser.add_argument("--folder", default=os.path.join(ROOT, "build", "bench"), help="where the data lie: a real disk")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 1, 2
    return options


def wants(this, other):
    """Whether a table is measured, by its own option and that of the other one."""
    return this != "no" and (this == "only" or other != "only")


def interrupted(_number, _frame):
    """The first signal unwinds, so that every server is stopped; others must not disturb that."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def main():
    options = parse_options()
    rows = [row for row in (Row(load, contender) for load in LOADS for contender in load.contenders)
            if re.search(options.only, row.label()) and "only" not in (options.letters, options.restaurant)]
    if not rows and "only" not in (options.letters, options.restaurant):
        say("no row matches --only")
        return 2
    needs_larder = any(row.contender in LARDERS for row in rows) or options.ledger
    missing = missing_tools(rows)
    if missing:
        say("Missing, please install (make bench does it): " + " ".join(missing))
        return 2
    if needs_larder and not os.access(LARDER, os.X_OK):
        say(f"{LARDER} is not there: make all")
        return 2
    os.makedirs(options.folder, exist_ok=True)
    if file_system(options.folder) in ("tmpfs", "ramfs"):
        say(f"{options.folder} is memory, not a disk: choose another with --folder")
        return 2
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    disk = []
    with tempfile.TemporaryDirectory(prefix="run-", dir=options.folder) as folder:
        wanted = {row.contender for row in rows} | ({Larder} if options.ledger else set())
        servers = {contender: contender(folder) for contender in CONTENDERS if contender in wanted}
        try:
            run_rounds(rows, servers, options, disk)
            figures = second_table(servers, options, disk)
            letter_rows = letters.table(folder, options, say) if wants(options.letters, options.restaurant) else []
            restaurant_rows = restaurant.table(folder, options, say) if wants(options.restaurant, options.letters) else []
        except KeyboardInterrupt:
            say("interrupted")
            return 130
    print(f"Medians of {options.rounds} rounds of {options.seconds} s, {os.cpu_count()} cores, {os.uname().sysname} "
          f"{os.uname().release}, {file_system(options.folder)}.\n")
    if rows:
        print_main_table(rows)
    print_second_table(figures)
    if letter_rows:
        letters.print_table(letter_rows)
    if restaurant_rows:
        restaurant.print_table(restaurant_rows)
    failed = [row for row in letter_rows + restaurant_rows if row[-1].startswith("failed")]
    return 1 if failed or any(row.failure for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
