#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""
PURPOSE   Says whether this tree is as fast as an earlier commit: `make bench-against COMMIT=...` builds that commit below build/against
          and measures both programs in turn, in one run, with this tree's load generators.

METHOD    A round measures each load on both programs, one right behind the other, and the next round the other way round. A round gives
          one ratio, this tree's figure divided by the earlier one's; shown is the median of the ratios with the lowest and the highest of
          them, because on a shared machine the figures themselves wander more than the programs differ.

CHECKS    As bench.py has them: every answer the expected one, the stock as told. Rows of whole orders end in `larder verify`.

FAILURES  Exit 1 when a row failed, 2 when something is missing, 130 when interrupted.

LIMITS    Each program makes and keeps its own data.
"""

import argparse
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile

import restaurant
from bench import LARDERS, LOADS, file_system, idle_mib, interrupted, missing_tools, run_row, say, start_to_answer_ms
from measure import BenchError
from servers import LARDER, ROOT


def contender(base, program, label):
    return type(f"{base.__name__}{label.capitalize()}", (base,), {"program": program, "name": f"{base.name}, {label}"})


def load_figures(server, row, seconds):
    """(a figure that is better when it is higher, CPU per answer)"""
    sample = run_row(row, server, seconds)
    return sample.rate, sample.cpu_s_per_10k


def order_figures(server, _row, seconds):
    server.prepare("menu")
    rate, sample, _ = restaurant.whole_orders(server, seconds)
    return rate, sample.cpu_s_per_10k


def start_figures(server, _row, _seconds):
    server.prepare("one")
    return 1000 / statistics.median(start_to_answer_ms(server) for _ in range(5)), None


def idle_figures(server, _row, _seconds):
    return 1 / idle_mib(server), None


class Row:
    """A kind of load on one database, on both programs."""

    def __init__(self, title, pair, figures, load=None):
        self.title, self.pair, self.figures, self.load = title, pair, figures, load
        self.rounds, self.failure = [], None

    def label(self):
        return f"{self.title} | {self.pair[0].name.rpartition(',')[0]}"

    def run(self, number, seconds):
        """One round: the earlier program first, or last."""
        found = {}
        for server in self.pair if number % 2 == 0 else reversed(self.pair):
            found[server] = self.figures(server, self, seconds)
        self.rounds.append([found[server] for server in self.pair])
        (before, _), (after, _) = self.rounds[-1]
        say(f"round {number + 1}  {after / before:.3f} = {after:,.4g} / {before:,.4g}  {self.label()}")

    def text(self):
        if self.failure or not self.rounds:
            return f"| {self.label()} | failed: {self.failure} | | | |"
        ratios = [after[0] / before[0] for before, after in self.rounds]
        cpu = [after[1] / before[1] for before, after in self.rounds if before[1]]
        rates = [statistics.median(one[side][0] for one in self.rounds) for side in (0, 1)]
        return (f"| {self.label()} | {rates[0]:,.4g} | {rates[1]:,.4g} | {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}) "
                f"| {f'{statistics.median(cpu):.3f} ({min(cpu):.3f} to {max(cpu):.3f})' if cpu else '–'} |")


def build(commit):
    """The program of that commit, built beside this one."""
    name = subprocess.run(["git", "rev-parse", "--short=12", f"{commit}^{{commit}}"], cwd=ROOT, capture_output=True, text=True, check=False)
    if name.returncode != 0:
        raise BenchError(f"{commit} is no commit of this repository")
    place = os.path.join(ROOT, "build", "against", name.stdout.strip())
    program = os.path.join(place, "build", "release", "larder")
    if not os.access(program, os.X_OK):
        say(f"building {name.stdout.strip()}")
        if not os.path.isdir(place):
            subprocess.run(["git", "worktree", "prune"], cwd=ROOT, check=True)
            subprocess.run(["git", "worktree", "add", "--detach", "-q", place, name.stdout.strip()], cwd=ROOT, check=True)
        made = subprocess.run(["make", f"-j{os.cpu_count()}", "all"], cwd=place, capture_output=True, text=True, check=False)
        if made.returncode != 0:
            raise BenchError(f"{commit} does not build: {made.stderr[-500:]}")
    return program


def rows_of(program, folder):
    def pair(base):
        return [contender(base, program, "before")(folder), contender(base, LARDER, "after")(folder)]
    rows = []
    for load in LOADS:
        rows += [Row(load.title, pair(base), load_figures, load) for base in LARDERS]
    rows += [Row("whole orders, 64 connections", pair(base), order_figures) for base in (restaurant.Restaurant, restaurant.RestaurantMariaDB)]
    rows += [Row("1 / seconds from start to first answer", pair(base), start_figures) for base in LARDERS]
    rows += [Row("1 / MiB when idle", pair(base), idle_figures) for base in LARDERS]
    return rows


def parse_options():
    parser = argparse.ArgumentParser(description="Measures this tree beside an earlier commit of it; prints one Markdown table.")
    parser.add_argument("commit")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3, help="length of one measurement")
    parser.add_argument("--only", metavar="REGEX", default="", help="only rows whose 'load | contender' matches")
    parser.add_argument("--folder", default=os.path.join(ROOT, "build", "bench"), help="where the data lie: a real disk")
    return parser.parse_args()


def main():
    options = parse_options()
    missing = missing_tools([])
    if missing:
        say("Missing, please install (make bench-against does it): " + " ".join(missing))
        return 2
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    os.makedirs(options.folder, exist_ok=True)
    try:
        program = build(options.commit)
    except BenchError as error:
        say(str(error))
        return 2
    with tempfile.TemporaryDirectory(prefix="run-", dir=options.folder) as folder:
        rows = [row for row in rows_of(program, folder) if re.search(options.only, row.label())]
        try:
            for number in range(options.rounds):
                for row in rows:
                    if row.failure:
                        continue
                    try:
                        row.run(number, options.seconds)
                    except BenchError as error:
                        row.failure = " ".join(str(error).replace("|", "/").split())
                        say(f"FAILED  {row.label()}: {error}")
        except KeyboardInterrupt:
            say("interrupted")
            return 130
    print(f"This tree divided by {options.commit}: medians of {options.rounds} alternating rounds of {options.seconds} s, lowest to highest; "
          f"{os.cpu_count()} cores, {os.uname().sysname} {os.uname().release}, {file_system(options.folder)}.\n")
    print("| load | database | before, per second | after | rate, after / before | CPU per answer, after / before |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for row in rows:
        print(row.text())
    return 1 if any(row.failure for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
