# SPDX-License-Identifier: MPL-2.0
"""What was promised can be proved: `verify` names what does not agree, and parts that do not belong together say so."""

import os
import time

import pytest
from buyers import Book, Crowd
from larder_client import shard_of
from processes import DONE, FAILED, USAGE, request, wait_until

A, B = "donut", "bagel"


def sell_some(shop, client):
    for product in (A, B):
        client.put(product, 10)
        for _ in range(3):
            assert client.take(product).status == "ok"
    client.ok("stock.reserve", {"lines": [{"product": B, "quantity": 2}], "ttl_ms": 600000})


@pytest.mark.parametrize("damage", [
    "UPDATE $level SET on_hand = on_hand + 1 WHERE product = 'bagel'",
    "UPDATE $level SET reserved = reserved - 1 WHERE product = 'bagel'",
    "DELETE FROM $move WHERE product = 'bagel' AND version = 3",
    "UPDATE $move SET delta = delta - 1 WHERE product = 'bagel' AND version = 3",
    "DELETE FROM $move WHERE product = 'bagel' AND kind = 'reserve'",
    "DELETE FROM $hold WHERE product = 'bagel'",
    "DELETE FROM $level WHERE product = 'bagel'",
], ids=["level", "reserved", "ledger_line", "ledger_delta", "last_ledger_line", "hold", "level_row"])
def test_verify_names_the_product_that_was_changed_by_hand(damage, database, make_shop, ask):
    shop = make_shop(database)
    stock = shop.actor("stock")
    sell_some(shop, ask(shop))
    shop.verify()
    stock.stop()
    shop.sql(damage)
    status, words = shop.command("verify")
    assert status == FAILED, words
    assert B in words and A not in words, words


def test_verify_is_quiet_while_the_shop_is_busy(database, make_shop, ask):
    shop = make_shop(database)
    shop.run()
    client, book = ask(shop), Book()
    put = {f"p{number}": 10000 for number in range(4)}
    for product, units in put.items():
        client.put(product, units)
    with Crowd(shop, book, put, count=8) as crowd:
        for number in range(4):
            sold = book.units()
            shop.verify()
            wait_until(lambda before=sold: book.units() > before, what=f"sales beside proof {number}")
        crowd.stop()
    book.check(shop, put)


# --- a database file that is gone ---


def is_unready(shop):
    return request(shop.http, "GET", "/readyz")[0] == 503


@pytest.mark.parametrize("actor", ["stock", "factory"])
def test_a_database_removed_while_the_shop_is_closed_is_an_incident(actor, sqlite, make_shop, ask):
    shop = make_shop(sqlite)
    running = shop.run()
    client = ask(shop)
    for _ in range(3):
        assert client.take("donut").status == "ok"
    wait_until(lambda: client.level("donut")["incoming"] == 10, what="the refill is ordered")
    running.stop()
    remove(sqlite, actor)
    shop.give_up(actor)
    again = shop.start("run")
    again.wait_log(" incident ")
    wait_until(lambda: is_unready(shop), what="readyz says 503")
    assert shop.command("verify")[0] == FAILED


@pytest.mark.parametrize("actor", ["stock", "factory"])
def test_a_database_removed_while_the_shop_is_open_ends_it_with_a_sentence(actor, sqlite, make_shop):
    shop = make_shop(sqlite)
    running = shop.run()
    os.remove(sqlite.path(actor))
    assert running.wait_exit(deadline_s=8) != DONE
    assert " error " in running.log() and "database" in running.log()


def remove(sqlite, actor):
    for suffix in ("", "-wal", "-shm"):
        if os.path.exists(sqlite.path(actor) + suffix):
            os.remove(sqlite.path(actor) + suffix)


# --- shards ---


def test_parts_that_disagree_about_the_shards_refuse_by_name_and_sell_nothing(database, make_shop, ask):
    shop = make_shop(database, shards=3)
    shop.actor("stock")
    shop.actor("sales", stock_shards=1)
    client = ask(shop)
    names = [f"p{number}" for number in range(12)]
    for name in names:
        client.put(name, 5)
    for name in names:
        answer = client.ask("sales.checkout", {"product": name})
        assert answer.status == ("ok" if shard_of(name, 3) == 0 else "wrong_shard"), (name, answer)
    assert {shard_of(name, 3) for name in names} == {0, 1, 2}
    for name in names:
        assert client.level(name)["on_hand"] == (4 if shard_of(name, 3) == 0 else 5)


def test_stock_with_another_number_of_shards_is_refused_at_start(database, make_shop, ask):
    shop = make_shop(database, shards=3)
    stock = shop.actor("stock")
    ask(shop).put("donut", 3)
    stock.stop()
    for shards in (1, 2, 4):
        other = shop.start("actor", "stock", stock_shards=shards)
        assert other.wait_exit() in (FAILED, USAGE)
        assert "3 shards" in other.log() and str(shards) in other.log(), other.log()
    shop.actor("stock")
    assert ask(shop).level("donut")["on_hand"] == 3


def test_lines_on_two_shards_are_refused_and_sell_nothing(database, make_shop, ask):
    shop = make_shop(database, shards=3)
    shop.actor("stock")
    client = ask(shop)
    first = "p0"
    second = next(f"p{number}" for number in range(1, 99) if shard_of(f"p{number}", 3) != shard_of(first, 3))
    for name in (first, second):
        client.put(name, 5)
    lines = [{"product": first, "quantity": 1}, {"product": second, "quantity": 1}]
    assert client.ask("stock.take", {"lines": lines}).status in ("spans_shards", "wrong_shard")
    assert [client.level(name)["on_hand"] for name in (first, second)] == [5, 5]


# --- deadlines and ends ---


def test_a_hold_that_ends_while_stock_is_dead_is_released_after_its_restart(database, make_shop, ask):
    shop = make_shop(database)
    stock = shop.actor("stock")
    client = ask(shop)
    client.put("donut", 5)
    hold = client.ok("stock.reserve", {"lines": [{"product": "donut", "quantity": 4}], "ttl_ms": 1500})
    assert client.level("donut")["available"] == 1
    stock.kill9()
    wait_until(lambda: time.time() * 1000 > hold["expires"], what="the end of the hold")
    shop.actor("stock")
    wait_until(lambda: client.level("donut")["available"] == 5, 3, "released")
    assert client.ask("stock.commit", {"hold": hold["hold"], "product": "donut"}).status == "hold_expired"
    shop.verify()


def test_a_hold_that_lasts_survives_a_crash(database, make_shop, ask):
    shop = make_shop(database)
    stock = shop.actor("stock")
    client = ask(shop)
    client.put("donut", 5)
    hold = client.ok("stock.reserve", {"lines": [{"product": "donut", "quantity": 4}], "ttl_ms": 600000})
    stock.kill9()
    shop.actor("stock")
    assert client.level("donut")["available"] == 1
    client.ok("stock.commit", {"hold": hold["hold"], "product": "donut"})
    assert (client.level("donut")["on_hand"], client.level("donut")["reserved"]) == (1, 0)
    shop.verify()


def test_an_end_that_is_asked_for_under_load_is_clean_and_quick(database, make_shop, ask):
    shop = make_shop(database)
    running = shop.run()
    client, book = ask(shop), Book()
    put = {f"p{number}": 100000 for number in range(4)}
    for product, units in put.items():
        client.put(product, units)
    with Crowd(shop, book, put, count=16) as crowd:
        for _ in range(2):
            sold = book.units()
            wait_until(lambda before=sold: book.units() > before + 50, what="sales")
            assert running.stop(DONE) < 5
            running = shop.run()
        crowd.stop()
    book.check(shop, put)
