# SPDX-License-Identifier: MPL-2.0
"""
PURPOSE   Figures: what a load generator saw, and what it cost the servers.

LOAD      wrk (HTTP, one thread, load.lua) and `larder bench` (pipelined ZeroMQ). Both end with one line of JSON.

COST      read from /proc: CPU time of a process and all its descendants, and VmHWM, the most memory that was resident; the
          kernel's mark is reset after the warm-up (clear_refs), so that it belongs to one measurement.

FAILURES  BenchError with words: an answer that was not expected, a connection that broke, a generator that failed. A row that
          failed has no figure.

LIMITS    CPU time has a grain of 10 ms. wrk's percentiles are its own, corrected for its waiting connections.
"""

import json
import os
import resource
import subprocess
import time
from dataclasses import dataclass

HERE = os.path.dirname(os.path.abspath(__file__))
TICK = os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """What went wrong, in words for the person who ran the benchmark."""


@dataclass
class Sample:
    """One measurement. `own` is the contender's program, `database` the server it stands on."""
    rate: float
    p50_us: float
    p99_us: float
    cpu_s_per_10k: float
    own_mib: float
    database_mib: float
    generator_busy: float
    requests: int = 0


def run_generator(command):
    """Runs a load generator; returns its JSON line and how much of one core it used."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if ended.returncode != 0:
        raise BenchError(f"{os.path.basename(command[0])} failed: {(ended.stderr or ended.stdout).strip()[-300:]}")
    try:
        result = json.loads(ended.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError):
        raise BenchError(f"{os.path.basename(command[0])} printed no result: {ended.stdout.strip()[-300:]}") from None
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    result["busy"] = used / result["seconds"]
    return result


def http_load(address, connections, request, products=0):
    """A function of seconds that sends `request` (method, path, body, status to expect) to `address` with wrk."""
    method, path, body, status = request

    def load(seconds, strict=False):
        result = run_generator(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s",
                                "-s", os.path.join(HERE, "load.lua"), f"http://{address}", "--",
                                method, path, body, str(products), str(status if strict else 0)])
        if result["broken"]:
            raise BenchError(f"{result['broken']} connections broke or timed out")
        if result["wrong"]:
            raise BenchError(f"{result['wrong']} of {result['requests']} answers had another status than {status}")
        return result
    return load


def zmq_load(larder, endpoint, arguments):
    """A function of seconds that sends pipelined requests to an actor with `larder bench`, which tells ok from refused itself."""
    def load(seconds, strict=False):
        result = run_generator([larder, "bench", "--endpoint", endpoint, "--seconds", str(seconds)] + arguments)
        result["broken"] = result["requests"] - result["ok"] - result["refused"]
        if result["broken"]:
            raise BenchError(f"{result['broken']} requests were neither done nor refused")
        return result
    return load


def check_answers(result, expect):
    """Raises when answers came that the row does not expect: every one a success, or every one a refusal."""
    if result["requests"] == 0:
        raise BenchError("not one answer")
    wrong = result["refused"] if expect == "success" else result["requests"] - result["refused"]
    if wrong:
        raise BenchError(f"{wrong} of {result['requests']} answers were not a {expect}")


def descendants(pids):
    """The processes of `pids` and all that they started and that still run."""
    parent = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                parent[int(entry)] = int(file.read().rpartition(")")[2].split()[1])
        except OSError:
            continue                                                                   # it ended while we looked
    family = set(pids)
    while True:
        more = {pid for pid, above in parent.items() if above in family} - family
        if not more:
            return family
        family |= more


def cpu_seconds(pids):
    """CPU time of `pids` and their children, ended ones included."""
    total = 0
    for pid in descendants(pids):
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            total += sum(map(int, file.read().rpartition(")")[2].split()[11:15]))
    return total / TICK


def memory_mib(pids, field):
    """VmRSS (now) or VmHWM (at most) of `pids` and their children, summed."""
    total = 0
    for pid in descendants(pids):
        with open(f"/proc/{pid}/status", encoding="utf-8") as file:
            total += sum(int(line.split()[1]) for line in file if line.startswith(field + ":"))
    return total / 1024


def reset_peaks(pids):
    for pid in descendants(pids):
        with open(f"/proc/{pid}/clear_refs", "w", encoding="utf-8") as file:
            file.write("5")


def measure(load, server, seconds, expect):
    """Warms up for a second, then measures; `server` tells its processes."""
    pids = server.own_pids() + server.database_pids()
    warm = load(1, strict=True)
    check_answers(warm, expect)
    reset_peaks(pids)
    before = cpu_seconds(pids)
    result = load(seconds)
    used = cpu_seconds(pids) - before
    check_answers(result, expect)
    return Sample(rate=result["requests"] / result["seconds"], p50_us=result["p50_us"], p99_us=result["p99_us"],
                  cpu_s_per_10k=used / result["requests"] * 10000,
                  own_mib=memory_mib(server.own_pids(), "VmHWM"), database_mib=memory_mib(server.database_pids(), "VmHWM"),
                  generator_busy=result["busy"], requests=warm["requests"] + result["requests"])


def fdatasync_us(folder, seconds=2.0):
    """How long an fdatasync after an append of 4 KiB takes on the disk of `folder`: all samples, in microseconds."""
    path = os.path.join(folder, "fdatasync")
    block, samples = b"\xa5" * 4096, []
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            os.write(file, block)
            start = time.perf_counter_ns()
            os.fdatasync(file)
            samples.append((time.perf_counter_ns() - start) / 1000)
    finally:
        os.close(file)
        os.unlink(path)
    return samples


def percentile(samples, share):
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
