# SPDX-License-Identifier: MPL-2.0
"""A database that is away: said at start, 503 at once while running, recovered without a restart, and nothing doubled."""

import contextlib
import os
import socket
import subprocess
import time

import pytest
from buyers import Book, Crowd
from mysql_server import mysql_server
from processes import FAILED, Mysql, Sqlite, free_port, request, wait_until


def check_out(shop, product):
    return request(shop.http, "POST", "/checkout", f'{{"product":"{product}"}}')


def test_an_unreachable_database_at_start_is_named(mysql, make_shop):
    shop = make_shop(mysql)
    port = free_port()
    running = shop.start("run", db=f"mysql://root:secret@127.0.0.1:{port}/larder")
    running.wait_exit(FAILED)
    assert f"127.0.0.1:{port}" in running.log() or ("127.0.0.1" in running.log() and str(port) in running.log())
    assert "secret" not in running.log()


def test_a_server_that_says_nothing_at_start_is_named(mysql, make_shop):
    shop = make_shop(mysql)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        port = silent.getsockname()[1]
        running = shop.start("actor", "stock", db=f"mysql://root@127.0.0.1:{port}/larder")
        running.wait_exit(FAILED, 20)
        assert str(port) in running.log()


@pytest.mark.parametrize("how, rounds", [("refuse", 2), ("stall", 1)])
def test_a_database_lost_while_running_is_503_and_comes_back_without_a_restart(how, rounds, mysql, proxy, make_shop, ask):
    shop = make_shop(mysql)
    running = shop.run(**{"db": mysql.via(proxy.port)["LARDER_DB"]})
    client, book = ask(shop), Book()
    put = {f"p{number}": 100000 for number in range(3)}
    for product, units in put.items():
        client.put(product, units)
    with Crowd(shop, book, put, count=8) as crowd:
        for _ in range(rounds):
            sold = book.units()
            wait_until(lambda before=sold: book.units() > before + 20, 20, "sales")
            getattr(proxy, how)(True)
            wait_until(lambda: check_out(shop, "p0")[0] == 503, 15, "503")
            began = time.monotonic()
            status, headers, body = check_out(shop, "p0")
            assert status == 503 and int(headers["Retry-After"]) > 0 and b"unavailable" in body
            assert how == "stall" or time.monotonic() - began < 1.5, "the refusal does not come at once"
            assert request(shop.http, "GET", "/readyz")[0] == 503
            getattr(proxy, how)(False)
            wait_until(lambda: request(shop.http, "GET", "/readyz")[0] == 200, 15, "ready again")
        crowd.stop()
    assert running.is_running()
    check_book(book, shop, put)


def check_book(book, shop, put):
    """The checkouts of this file have no reference; they are sales all the same."""
    for (product, sold) in shop.sql("SELECT product, -SUM(delta) FROM $move WHERE kind = 'take' AND reference IS NULL GROUP BY product"):
        book.sold[None, product] += int(sold)
    book.check(shop, put)


def test_a_killed_database_server_is_recovered_from_without_a_restart(folder, make_shop, ask):
    with mysql_server(folder) as server:
        database = Mysql(f"mysql://root@127.0.0.1:{server.port}/larder")
        shop = make_shop(database)
        running = shop.run()
        client, book = ask(shop), Book()
        put = {f"p{number}": 100000 for number in range(3)}
        for product, units in put.items():
            client.put(product, units)
        with Crowd(shop, book, put, count=8) as crowd:
            for _ in range(2):
                sold = book.units()
                wait_until(lambda before=sold: book.units() > before + 20, 20, "sales")
                server.kill9()
                wait_until(lambda: check_out(shop, "p0")[0] == 503, 15, "503")
                server.start()
                wait_until(lambda: request(shop.http, "GET", "/readyz")[0] == 200, 15, "ready again")
            crowd.stop()
        assert running.is_running()
        check_book(book, shop, put)


@contextlib.contextmanager
def small_disk(path, kibibytes):
    os.makedirs(path)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kibibytes}k", "tmpfs", path], capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", path], check=True)


def test_a_full_disk_is_503_and_sales_go_on_when_there_is_space(folder, make_shop, ask):
    with small_disk(os.path.join(folder, "disk"), 24576):
        shop = make_shop(Sqlite(os.path.join(folder, "disk")))
        running = shop.run()
        client, book = ask(shop), Book()
        put = {f"p{number}": 100000 for number in range(3)}
        for product, units in put.items():
            client.put(product, units)
        ballast = os.path.join(folder, "disk", "ballast")
        with Crowd(shop, book, put, count=8) as crowd:
            wait_until(lambda: book.units() > 50, 20, "sales")
            fill(ballast)
            status, headers, body = wait_until(lambda: (answer := check_out(shop, "p0"))[0] == 503 and answer, 20, "503")
            assert int(headers["Retry-After"]) > 0 and b"unavailable" in body, (status, body)
            wait_until(lambda: request(shop.http, "GET", "/product/p0")[0] == 200, what="a read, which needs no space")
            os.remove(ballast)
            sold = book.units()
            wait_until(lambda: book.units() > sold, 20, "sales after there is space again")
            crowd.stop()
        assert running.is_running()
        check_book(book, shop, put)
        running.stop()
        for process in shop.processes:
            assert not process.is_running()


def fill(path):
    file = os.open(path, os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while True:
            os.write(file, b"\0" * 4096)
    os.close(file)


def test_a_frozen_stock_is_504_or_503_and_answers_again(database, make_shop, ask):
    shop = make_shop(database)
    stock = shop.actor("stock")
    shop.actor("sales")
    shop.actor("factory")
    shop.gateway(request_timeout_ms=1000)
    ask(shop).put("donut", 5)
    wait_until(lambda: check_out(shop, "donut")[0] == 201, what="the first sale")
    stock.freeze()
    began = time.monotonic()
    assert check_out(shop, "donut")[0] in (503, 504)
    assert time.monotonic() - began < 3
    stock.thaw()
    wait_until(lambda: check_out(shop, "donut")[0] == 201, what="sales go on")
    assert ask(shop).level("donut")["on_hand"] <= 3
    shop.verify()


def test_a_client_less_patient_than_the_gateway_is_answered_after_a_crash(database, make_shop, ask):
    """Its first attempt's answer is lost with stock, and the gateway still waits for it when the repetitions come."""
    shop = make_shop(database)
    stock = shop.actor("stock")
    shop.actor("sales")
    shop.actor("factory")
    shop.gateway(request_timeout_ms=20000)
    client = ask(shop)
    client.put("donut", 5)
    stock.freeze()

    def attempt(timeout_s):
        return request(shop.http, "POST", "/checkout", "{}", {"Idempotency-Key": "once"}, timeout_s)[0]
    assert attempt(0.5) == 0
    stock.kill9()
    shop.actor("stock")
    wait_until(lambda: attempt(2) == 201, 6, "sold and told")
    assert client.level("donut")["on_hand"] == 4
    shop.verify()
