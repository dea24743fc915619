# SPDX-License-Identifier: MPL-2.0
"""Moments that meet: many attempts of one request at once, ends of holds, batches as large as they get, backups, held rows."""

import os
import shutil
import threading
import time

import pytest
from buyers import Asker
from larder_client import uuid7
from patience import stretched
from processes import FENCED, request, wait_until

KEY = {"Idempotency-Key": "once"}


def at_once(count, work):
    """Runs work(number) in so many threads; returns what they returned."""
    found = [None] * count
    ready = threading.Barrier(count)

    def one(number):
        ready.wait(stretched(10))
        found[number] = work(number)
    threads = [threading.Thread(target=one, args=(number,), daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(stretched(30))
    return found


def test_attempts_of_one_request_at_the_same_time_sell_once(database, make_shop, ask):
    shop = make_shop(database)
    shop.run()
    ask(shop).put("bagel", 100)
    for number in range(5):
        request_id = uuid7()
        body = {"lines": [{"product": "bagel", "quantity": 3}]}

        def attempt(at, request_id=request_id, body=body):
            with Asker(shop) as asker:
                return asker.ask("stock.take", body, request_id, again=at % 2 == 1).status
        assert at_once(12, attempt) == ["ok"] * 12
        assert ask(shop).level("bagel")["on_hand"] == 100 - 3 * (number + 1)
    shop.verify()


def test_posts_under_one_key_at_the_same_time_sell_once_and_agree(database, make_shop, ask):
    shop = make_shop(database, gateway_threads=4)
    shop.run()
    ask(shop).put("bagel", 2)
    for number in range(2):
        answers = at_once(12, lambda _, number=number: request(shop.http, "POST", "/checkout", '{"product":"bagel"}',
                                                               {"Idempotency-Key": f"k{number}"}))
        assert {(status, body) for status, _, body in answers} == {(201, answers[0][2])}
        assert sum("Idempotent-Replayed" not in headers for _, headers, _ in answers) >= 1
    assert {status for status, _, _ in at_once(4, lambda _: request(shop.http, "POST", "/checkout", '{"product":"bagel"}'))} == {409}
    assert ask(shop).level("bagel")["on_hand"] == 0
    shop.verify()


def test_a_hold_ends_either_way_but_not_both_when_its_deadline_and_its_commit_meet(database, make_shop, ask):
    shop = make_shop(database)
    shop.actor("stock")
    client = ask(shop)
    client.put("donut", 1000)
    endpoint = shop.endpoint("stock")
    holds = [client.ok("stock.reserve", {"lines": [{"product": "donut", "quantity": 1}], "ttl_ms": 400})["hold"] for _ in range(60)]
    ids = {}
    for hold in holds:
        ids[client.send("stock.commit", {"hold": hold, "product": "donut"})] = hold
        time.sleep(0.008)  # the commits are spread around the deadline
    answers = client.replies(ids, endpoint)
    sold = [answer.status for answer in answers.values()].count("ok")
    assert len(answers) == len(holds)
    assert {answer.status for answer in answers.values()} <= {"ok", "hold_expired"}
    wait_until(lambda: client.level("donut")["reserved"] == 0, what="every hold has ended")
    assert client.level("donut")["on_hand"] == 1000 - sold
    shop.verify()


def test_a_release_that_overtakes_its_reserve_wins_also_over_a_crash(database, make_shop, ask):
    shop = make_shop(database)
    stock = shop.actor("stock")
    client = ask(shop)
    client.put("donut", 5)
    hold = uuid7()
    client.ok("stock.release", {"hold": hold, "product": "donut"})
    stock.kill9()
    shop.actor("stock")
    late = client.ask("stock.reserve", {"lines": [{"product": "donut", "quantity": 2}], "ttl_ms": 60000}, hold)
    assert late.status == "hold_closed"
    assert client.level("donut")["available"] == 5
    shop.verify()


def test_a_batch_of_thousands_of_lines_sells_out_and_refills_each_product_once(database, make_shop, ask):
    shop = make_shop(database, lead_time_ms=500)
    stock = shop.actor("stock")
    client = ask(shop)
    names = [f"p{number:04}" for number in range(1000)]
    endpoint = shop.endpoint("stock")
    for first in range(0, 1000, 200):
        ids = []
        for name in names[first:first + 200]:
            ids.append(client.send("stock.configure", {"product": name, "order_up_to": 7, "lot": 7}, timeout_s=20))
            ids.append(client.send("stock.adjust", {"product": name, "delta": 20}, timeout_s=20))
        assert {answer.status for answer in client.replies(ids, endpoint, 20).values()} == {"ok"}
    stock.freeze()
    lines = [{"product": name, "quantity": 1} for name in names]
    ids = [client.send("stock.take", {"lines": lines}, timeout_s=30) for _ in range(20)]
    stock.thaw()
    answers = client.replies(ids, endpoint, 30)
    assert [answer.status for answer in answers.values()] == ["ok"] * 20
    assert client.level(names[0])["on_hand"] == 0
    shop.actor("factory")

    def is_full():
        return shop.sql("SELECT COUNT(*) FROM $level WHERE on_hand = 7 AND incoming = 0 AND reserved = 0") == [(1000,)]
    wait_until(is_full, 60, "every shelf is refilled", pause_s=0.2)
    assert shop.sql("SELECT COUNT(*), COUNT(DISTINCT product) FROM $production", actor="factory") == [(1000, 1000)]
    shop.verify()


# --- a writer that slept, and two shops ---


def test_a_writer_that_slept_does_not_answer_reads_from_before_its_successor(mysql, make_shop, ask):
    shop, other = make_shop(mysql), make_shop(mysql)
    writer = shop.actor("stock")
    client = ask(shop)
    client.put("donut", 10)
    writer.freeze()
    slept = time.monotonic()
    other.actor("stock")
    assert ask(other).take("donut", 10).status == "ok"
    ids = [client.send("stock.get", {"product": "donut"}, timeout_s=20) for _ in range(10)]
    wait_until(lambda: time.monotonic() > slept + 1.1, what="the last proof is older than a second")
    writer.thaw()
    answers = client.replies(ids, shop.endpoint("stock"), 3)
    assert "ok" not in {answer.status for answer in answers.values()}, answers
    writer.wait_exit(FENCED)


def test_a_second_whole_shop_on_one_server_takes_over_and_the_first_ends_as_fenced(mysql, make_shop, ask):
    shop, other = make_shop(mysql), make_shop(mysql)
    first = shop.run()
    assert ask(shop).take("donut").status == "ok"
    other.run()
    first.wait_exit(FENCED, 8)
    assert ask(other).level("donut")["on_hand"] == 2
    assert request(other.http, "POST", "/checkout")[0] == 201
    other.verify()


def test_a_held_shard_row_is_waited_out_and_nothing_is_doubled(mysql, make_shop, ask):
    shop = make_shop(mysql)
    stock = shop.actor("stock")
    client = ask(shop)
    client.put("donut", 10)
    with mysql.locked("stock", 0, "SELECT epoch FROM $shard FOR UPDATE"):
        answer = client.once("stock.take", {"lines": [{"product": "donut", "quantity": 1}]}, timeout_s=12)
        assert answer is not None and answer.status == "unavailable", answer
    assert client.take("donut").status == "ok"
    assert client.level("donut")["on_hand"] == 9
    assert stock.is_running()
    shop.verify()


def test_a_shard_row_held_at_start_is_waited_for(mysql, make_shop, ask):
    shop = make_shop(mysql)
    shop.actor("stock").stop()
    with mysql.locked("stock", 0, "SELECT epoch FROM $shard FOR UPDATE"):
        stock = shop.start("actor", "stock")
        stock.wait_log("shard_is_held")
    stock.wait_ready(shop.probe("stock"))
    ask(shop).put("donut", 1)
    shop.verify()


# --- a database that is not the one it was ---


def remove(sqlite, actor):
    for suffix in ("", "-wal", "-shm"):
        if os.path.exists(sqlite.path(actor) + suffix):
            os.remove(sqlite.path(actor) + suffix)


def all_applied(shop):
    heads = {actor: shop.sql("SELECT seq FROM $shard", actor=actor)[0][0] for actor in ("stock", "factory")}
    cursors = {actor: shop.sql("SELECT position FROM $cursor", actor=actor)[0][0] for actor in ("stock", "factory")}
    return heads["stock"] == cursors["factory"] and heads["factory"] == cursors["stock"]


def close_and_copy(sqlite, process, folder):
    process.stop()
    shutil.copytree(sqlite.folder, os.path.join(folder, "backup"))


@pytest.mark.parametrize("actor", ["stock", "factory"])
def test_an_older_backup_of_one_database_is_an_incident(actor, sqlite, folder, make_shop, ask):
    shop = make_shop(sqlite, lead_time_ms=100)
    running = shop.run()
    client = ask(shop)
    client.take("donut", 3)
    wait_until(lambda: client.level("donut")["on_hand"] == 10, what="the refill")
    close_and_copy(sqlite, running, folder)
    running = shop.run()
    client.take("donut", 10)
    wait_until(lambda: client.level("donut")["on_hand"] == 10, what="the second refill")
    wait_until(lambda: all_applied(shop), what="every event is applied")
    running.stop()
    remove(sqlite, actor)
    shutil.copy(os.path.join(folder, "backup", f"{actor}_0.db"), sqlite.path(actor))
    again = shop.start("run")
    again.wait_log(" incident ")
    wait_until(lambda: request(shop.http, "GET", "/readyz")[0] == 503, what="readyz says 503")


@pytest.mark.parametrize("after", [1, 2])
def test_an_older_copy_that_has_gone_on_while_nobody_looked_is_an_incident(after, sqlite, folder, make_shop, ask):
    shop = make_shop(sqlite)
    stock, factory = shop.actor("stock"), shop.actor("factory")
    client = ask(shop)

    def sell_out():
        client.put("bagel", 1)
        assert [client.take("bagel").status for _ in range(2)] == ["ok", "out_of_stock"]

    def is_applied():
        return shop.sql("SELECT position FROM $cursor", "factory") == shop.sql("SELECT seq FROM $shard")
    sell_out()
    wait_until(is_applied, what="the first event is applied")
    close_and_copy(sqlite, stock, folder)
    stock.start().wait_ready(shop.probe("stock"))
    sell_out()
    wait_until(is_applied, what="the second event is applied")
    factory.stop()
    stock.stop()
    remove(sqlite, "stock")
    shutil.copy(os.path.join(folder, "backup", "stock_0.db"), sqlite.path("stock"))
    stock.start().wait_ready(shop.probe("stock"))
    for _ in range(after):  # to where the factory is, or beyond it
        sell_out()
    factory.start().wait_log("has another past")
    wait_until(lambda: request(shop.probe("factory"), "GET", "/readyz")[0] == 503, what="readyz says 503")


@pytest.mark.parametrize("actor", ["stock", "factory"])
def test_a_removed_database_is_an_incident_also_when_no_event_was_ever_sent(actor, sqlite, make_shop, ask):
    shop = make_shop(sqlite)
    running = shop.run()
    ask(shop).put("bagel", 500)
    for name in ("stock", "factory"):
        wait_until(lambda name=name: shop.sql("SELECT COUNT(*) FROM $cursor WHERE position = 0", actor=name) == [(1,)], 5,
                   f"{name} has noted whom it follows")
    running.stop()
    remove(sqlite, actor)
    shop.give_up(actor)
    again = shop.start("run")
    again.wait_log(" incident ", 4)
