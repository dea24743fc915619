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
from patience import stretched, wait_child
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
        assert wait_child(child, 5) == DONE
        assert time.monotonic() - began < 5


def test_a_log_that_is_read_late_is_whole(new_shop, sqlite):
    shop = new_shop(sqlite, log="json")
    with full_pipe() as (reading, writing), running(shop, "run", stdout=subprocess.DEVNULL, stderr=writing) as child:
        wait_ready(child, shop.http)
        assert metric(shop.probes, "larder_log_lines_lost_total") == 0
        child.send_signal(signal.SIGTERM)
        words = b""
        while not words.endswith(b"\n") or b'"stopped"' not in words:
            words += os.read(reading, 65536)
        assert wait_child(child, 5) == DONE
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
        assert wait_child(child, 5) == DONE
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize("arguments", [["version"], ["docs"], ["ping", "stock"], ["nonsense"]])
def test_a_command_works_without_standard_descriptors(new_shop, sqlite, arguments):
    shop = new_shop(sqlite)
    done = subprocess.run(["sh", "-c", 'exec "$0" "$@" <&- >&- 2>&-', LARDER, *arguments], env=shop.env(), timeout=stretched(30), check=False)
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


@pytest.mark.parametrize("name, value", [
    ("WEBHOOK_SECRET", "abc"), ("PAYMENT_TOKEN", "a b"), ("PAYMENT_TOKEN", "token\n"), ("PAYMENT_URL", "http://pay.example\r\n"),
    ("FACTORY_URL", "http://:1"), ("HTTP", "nowhere"), ("HOST", "a b"), ("DATA", "var\n"), ("LOG", "loud"), ("DB", "mysql://x"),
    ("BASE_PORT", "4000\n")])
def test_a_wrong_setting_is_refused_by_its_name_before_anything_is_begun(new_shop, sqlite, name, value):
    shop = new_shop(sqlite)
    for command in (["run"], ["actor", "payment"], ["gateway"]):
        done = subprocess.run([LARDER, *command], env={**shop.env(), f"LARDER_{name}": value}, capture_output=True, text=True,
                              timeout=stretched(20), check=False)
        assert done.returncode == USAGE, done
        assert f"LARDER_{name}: " in done.stderr and "actor_started" not in done.stderr, done.stderr
        assert not os.path.exists(sqlite.folder)


# --- what the machine does not give ---


def limited(shop, limits, *arguments):
    """Starts larder under limits of prlimit: "serves" and its exit status when asked to end, or "ended" and the status; and its words."""
    log = os.path.join(shop.folder, "limited.log")
    with open(log, "wb") as output:
        command = ["setpriv", "--pdeathsig", "KILL", "--", "prlimit", *limits, "--", LARDER, *arguments]
        child = subprocess.Popen(command, env=shop.env(), stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    address = shop.probe(arguments[1]) if arguments[0] == "actor" else shop.http
    try:
        end = wait_until(lambda: "ended" if child.poll() is not None else request(address, "GET", "/livez")[0] == 200 and "serves", 30, "an end")
        if end == "serves":
            child.send_signal(signal.SIGTERM)
        status = wait_child(child, 10)
    finally:
        child.kill()
        child.wait()
    with open(log, encoding="utf-8", errors="replace") as file:
        return end, status, file.read()


def must_serve_or_say(shop, limits, words, *arguments):
    """True: it serves."""
    end, status, log = limited(shop, limits, *arguments)
    if end == "serves":
        assert status == DONE, (limits, log)
        return True
    assert status == USAGE and words in log and "raise the limit" in log, (limits, status, log)
    assert "Assertion" not in log and not os.path.exists(shop.database.folder), (limits, log)
    return False


FILES = range(10, 257) if os.environ.get("LARDER_LONG") else [10, 20, 40, 63, 64, 70, 80, 100, 130, 150, 160, 180, 200, 225, 256]


def test_with_few_descriptors_a_shop_serves_or_says_how_many_it_needs(new_shop, sqlite):
    shop = new_shop(sqlite)
    served = [files for files in FILES if must_serve_or_say(shop, [f"--nofile={files}"], "open files are needed", "run")]
    assert served == [files for files in FILES if served and files >= served[0]], served
    assert 160 < served[0] <= 256, served


@pytest.mark.parametrize("arguments", [["gateway"], ["actor", "stock"], ["actor", "dlq", "factory"]])
def test_with_few_descriptors_a_part_serves_or_says_how_many_it_needs(new_shop, sqlite, arguments):
    shop = new_shop(sqlite)
    assert not must_serve_or_say(shop, ["--nofile=30"], "open files are needed", *arguments)
    assert not must_serve_or_say(shop, ["--nofile=70"], "open files are needed", *arguments)
    assert must_serve_or_say(shop, ["--nofile=128"], "", *arguments)


@pytest.mark.parametrize("arguments", [["ping", "stock"], ["call", "stock.ping"], ["tail"], ["verify"], ["letters", "list"], ["products", "list"], ["demo"]])
def test_with_few_descriptors_a_command_says_so(new_shop, sqlite, arguments):
    shop = new_shop(sqlite)
    for files in range(4, 60, 7):
        done = subprocess.run(["prlimit", f"--nofile={files}", "--", LARDER, *arguments], env=shop.env(), capture_output=True, timeout=stretched(20), check=False)
        assert done.returncode == USAGE and b"open files are needed" in done.stderr, (files, done)


@pytest.mark.parametrize("limit", ["as=100000000", "as=200000000"])
def test_with_little_address_space_a_shop_says_so(new_shop, sqlite, limit):
    if "asan" in LARDER:
        pytest.skip("a sanitizer takes terabytes of it")
    assert not must_serve_or_say(new_shop(sqlite), [f"--{limit}"], "be had", "run")


def test_a_file_that_may_not_grow_ends_a_start_with_words(new_shop, sqlite):
    end, status, log = limited(new_shop(sqlite), ["--fsize=65536"], "run")
    assert (end, status) == ("ended", FAILED) and "start_failed" in log, (status, log)
