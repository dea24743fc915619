# SPDX-License-Identifier: MPL-2.0
"""What is around a process of larder: standard descriptors, a log that nobody reads, a loop that hangs, ports that are taken."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time

import pytest

from frozen_thread import frozen_thread
from processes import DONE, FAILED, LARDER, USAGE, request, wait_until


@contextlib.contextmanager
def full_pipe():
    """(reading end, writing end) of a pipe that takes nothing more."""
    reading, writing = os.pipe()
    try:
        os.set_blocking(writing, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writing, b"x" * 4096)
        os.set_blocking(writing, True)
        yield reading, writing
    finally:
        os.close(reading)
        os.close(writing)


@contextlib.contextmanager
def running(shop, *arguments, **streams):
    child = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", LARDER, *arguments], env=shop.env(), **{"stdin": subprocess.DEVNULL, **streams})
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def wait_ready(child, address):
    wait_until(lambda: child.poll() is not None or request(address, "GET", "/readyz")[0] == 200, 30, "ready")
    assert child.poll() is None, f"it ended: {child.returncode}"


def metric(address, name):
    for line in request(address, "GET", "/metrics")[2].decode().splitlines():
        if line.startswith(f"{name} "):
            return int(line.split()[1])
    return None


def test_a_log_that_nobody_reads_stops_neither_the_work_nor_the_end(new_shop, sqlite):
    shop = new_shop(sqlite, log_level="debug")
    with full_pipe() as (_, writing), running(shop, "run", stdout=subprocess.DEVNULL, stderr=writing) as child:
        wait_ready(child, shop.http)
        for _ in range(3):
            assert request(shop.http, "POST", "/checkout")[0] == 201
        assert request(shop.http, "POST", "/")[0] == 201
        assert request(shop.http, "GET", "/livez")[0] == 200
        began = time.monotonic()
        child.send_signal(signal.SIGTERM)
        assert child.wait(5) == DONE
        assert time.monotonic() - began < 5


def test_a_log_that_is_read_late_is_whole(new_shop, sqlite):
    shop = new_shop(sqlite, log="json")
    with full_pipe() as (reading, writing), running(shop, "run", stdout=subprocess.DEVNULL, stderr=writing) as child:
        wait_ready(child, shop.http)
        assert metric(shop.http, "larder_log_lines_lost_total") == 0
        child.send_signal(signal.SIGTERM)
        words = b""
        while not words.endswith(b"\n") or b'"stopped"' not in words:
            words += os.read(reading, 65536)
        assert child.wait(5) == DONE
    events = [json.loads(line)["event"] for line in words.lstrip(b"x").decode().splitlines()]
    assert [event for event in events if event in ("started", "stopping", "stopped")] == ["started", "stopping", "stopped"]
    assert events.count("actor_started") == events.count("actor_ended") == 8


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&-", "<&- >&- 2>&-"])
def test_a_standard_descriptor_that_is_closed_is_dev_null(new_shop, sqlite, closed):
    shop = new_shop(sqlite)
    command = ["setpriv", "--pdeathsig", "KILL", "--", "sh", "-c", f'exec "$0" run {closed}', LARDER]
    child = subprocess.Popen(command, env=shop.env(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_ready(child, shop.http)
        assert [os.readlink(f"/proc/{child.pid}/fd/{number}") for number in range(3)] == ["/dev/null"] * 3
        child.send_signal(signal.SIGTERM)
        assert child.wait(5) == DONE
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize("arguments", [["version"], ["docs"], ["ping", "stock"], ["nonsense"]])
def test_a_command_works_without_standard_descriptors(new_shop, sqlite, arguments):
    shop = new_shop(sqlite)
    done = subprocess.run(["sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-', LARDER, *arguments], env=shop.env(), timeout=30, check=False)
    assert done.returncode in (DONE, FAILED, USAGE, 4)


@pytest.mark.parametrize("loop", ["stock", "dlq", "order"])
def test_livez_names_a_loop_that_hangs(new_shop, sqlite, loop):
    shop = new_shop(sqlite, stuck_ms=1000)
    process = shop.run()
    assert request(shop.http, "GET", "/livez")[0] == 200
    with frozen_thread(process.pid, loop):
        _, _, body = wait_until(lambda: (answer := request(shop.http, "GET", "/livez"))[0] == 503 and answer, 20, "503")
        assert json.loads(body)["loop"] == f"{loop}/0"
        assert request(shop.http, "GET", "/readyz")[0] == (200 if loop == "dlq" else 503)
    wait_until(lambda: request(shop.http, "GET", "/livez")[0] == 200, 20, "alive again")
    process.stop()


def test_a_process_ends_by_sigterm_though_a_loop_hangs(new_shop, sqlite):
    shop = new_shop(sqlite)
    process = shop.run()
    with frozen_thread(process.pid, "stock"):
        process.signal(signal.SIGTERM)
        process.wait_log("the end took too long", 6)
    process.wait_exit(FAILED)


def test_the_probe_of_an_actor_names_a_loop_that_hangs(new_shop, sqlite):
    shop = new_shop(sqlite, stuck_ms=1000)
    process = shop.actor("factory")
    with frozen_thread(process.pid, "factory"):
        wait_until(lambda: request(shop.probe("factory"), "GET", "/livez")[0] == 503, 20, "503")
        assert b"factory/0" in request(shop.probe("factory"), "GET", "/livez")[2]
        assert request(shop.probe("factory"), "GET", "/readyz")[0] == 503
    wait_until(lambda: request(shop.probe("factory"), "GET", "/livez")[0] == 200, 20, "alive again")
    process.stop()


def hold_port(address):
    host, port = address.rsplit(":", 1)
    taken = socket.socket()
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    taken.bind((host, int(port)))
    taken.listen()
    return taken


@pytest.mark.parametrize("part", ["http", "stock", "factory", "dlq", "sales"])
def test_starts_that_are_refused_for_a_taken_port_are_no_unclean_ends(new_shop, sqlite, part):
    shop = new_shop(sqlite)
    address = shop.http if part == "http" else shop.endpoint(part).removeprefix("tcp://")
    with hold_port(address):
        for _ in range(2):
            shop.start("run").wait_exit(USAGE, 20)
    shop.run().stop()
    assert "run_before_did_not_end_cleanly" not in shop.describe()


def test_a_refused_start_does_not_hide_that_the_run_before_was_killed(new_shop, sqlite):
    shop = new_shop(sqlite)
    shop.run().kill9()
    with hold_port(shop.endpoint("stock").removeprefix("tcp://")):
        refused = shop.start("run")
        refused.wait_exit(USAGE, 20)
    process = shop.run()
    assert "stock/0 run_before_did_not_end_cleanly runs=1" in process.log()
    process.stop()
