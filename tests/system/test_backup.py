# SPDX-License-Identifier: MPL-2.0
"""Backups of a shop that sells, of processes, of a closed shop; and shops that are made of them."""

import collections
import json
import os
import shutil
import sqlite3
import time
import uuid

import pytest
from buyers import Book, Crowd
from conftest import make_mysql
from guests import Evening, Told, offer, settle
from larder_client import Incident, Subscriber
from patience import stretched, wait_until
from processes import DONE, EVENTS, FAILED, OFFSETS, USAGE, Sqlite, free_base_port, request

IS_LONG = bool(os.environ.get("LARDER_LONG"))
SALES = 20000 if IS_LONG else 150  # before, and again behind the backup
PATIENCE_S = 600 if IS_LONG else 60
ORDER_TTL_MS = int(stretched(1500))
RESTAURANT = {"order_ttl_ms": ORDER_TTL_MS, "payment_delay_ms": 100, "retry_first_ms": 20, "behind_ms": 3600_000}
ACTORS = ("user", "product", "order", "payment", "sales", "stock", "factory", "dlq")
MENU = [f"bagel-{number}" for number in range(8)]


def place_of(folder, shop):
    return os.path.join(folder, f"backup-{uuid.uuid4().hex[:6]}") if shop else folder


def backup(shop, folder, expected=DONE, **settings):
    """The folder of a backup, and what was said."""
    place = place_of(folder, shop)
    status, words = shop.command("backup", place, deadline_s=PATIENCE_S, **settings)
    assert status == expected, words
    return place, words


def described(place):
    with open(os.path.join(place, "backup.json"), encoding="ascii") as file:
        return json.load(file)


def restore(shop, place, *flags, expected=DONE):
    status, words = shop.command("restore", place, *flags, deadline_s=PATIENCE_S)
    assert status == expected, words
    return words


def sold(shop):
    """{(reference, product): units} of the ledger."""
    found = collections.Counter()
    for shard in range(shop.shards):
        for reference, product, delta in shop.sql("SELECT reference, product, delta FROM $move WHERE kind IN ('take', 'commit') AND delta <> 0",
                                                  shard=shard):
            found[reference, product] -= delta
    return found


@pytest.fixture(params=["folder", "mysql"])
def empty(request, folder):
    """An empty place to restore into."""
    place = Sqlite(os.path.join(folder, "restored")) if request.param == "folder" else make_mysql()
    yield place
    place.drop()


@pytest.fixture
def other_empty(database, folder):
    """One of the other engine than the database."""
    place = Sqlite(os.path.join(folder, "restored")) if database.name == "mysql" else make_mysql()
    yield place
    place.drop()


# --- while it sells ---


def test_a_backup_under_64_clients_holds_all_that_was_answered_before_it(database, empty, folder, make_shop, ask):
    shop = make_shop(database, **RESTAURANT)
    running = shop.run()
    client, book, told = ask(shop), Book(), Told()
    offer(client, 100_000)
    for product in MENU:
        client.put(product, 1_000_000)
    with Crowd(shop, book, MENU, is_patient=True), Evening(shop, told, ORDER_TTL_MS, count=8):
        wait_until(lambda: book.units() >= SALES and told.count() >= 10, PATIENCE_S, "sales before the backup")
        with book.lock, told.lock:
            before, placed = collections.Counter(book.sold), dict(told.placed)
        place, words = backup(shop, folder)
        at_backup = book.units()
        wait_until(lambda: book.units() >= at_backup + SALES, PATIENCE_S, "sales behind the backup")
    running.kill9()
    assert "8 actors held back for" in words

    began = time.monotonic()
    restored = make_shop(empty, **RESTAURANT)
    restore(restored, place)
    restored_s = time.monotonic() - began
    assert restored.command("verify")[0] == DONE, "before anybody has opened it"
    again = restored.run()
    took_s = time.monotonic() - began
    kept = sold(restored)
    assert not before - kept, f"answered before the backup, and not there: {before - kept}"
    assert not kept - sold(shop), "sold to nobody"
    orders = {str(uuid.UUID(order)) for order, in restored.sql("SELECT HEX(id) FROM $order", "order")}
    assert set(placed) <= orders
    settle(restored, True, PATIENCE_S)
    assert ask(restored).take(MENU[0]).status == "ok"
    restored.verify()
    again.stop()
    print(f"pause {described(place)['paused_us'] / 1000:.1f} ms; RPO: {sum(book.sold.values()) - sum(kept.values())} of {book.units()} units, all sold "
          f"behind the backup; RTO {took_s:.2f} s, of them {restored_s:.2f} s to restore")


def test_processes_are_backed_up_at_one_moment(database, folder, make_shop, ask):
    shop = make_shop(database, shards=3)
    for name in ACTORS:
        shop.actor(name)
    shop.gateway()
    client, book = ask(shop), Book()
    for product in MENU:
        client.put(product, 1_000_000)
    with Crowd(shop, book, MENU, count=16, is_patient=True):
        wait_until(lambda: book.units() >= 50, PATIENCE_S, "sales before the backup")
        with book.lock:
            before = collections.Counter(book.sold)
        place, words = backup(shop, folder)
    assert "10 actors held back for" in words
    restored = make_shop(Sqlite(os.path.join(folder, "restored")), shards=3)
    restore(restored, place)
    assert not before - sold(restored)
    restored.verify()


def test_a_closed_shop_is_backed_up_as_it_is(database, other_empty, folder, make_shop, ask):
    shop = make_shop(database)
    running = shop.run()
    ask(shop).put("bagel", 7)
    running.stop()
    place, words = backup(shop, folder)
    assert "nobody was selling" in words
    restored = make_shop(other_empty)
    restore(restored, place)
    restored.run()
    assert ask(restored).level("bagel")["on_hand"] == 7
    restored.verify()


def test_who_cannot_reach_the_actors_gets_what_is_of_one_moment_or_is_told_who_writes(database, folder, make_shop, ask):
    shop = make_shop(database)
    shop.run()
    client, book = ask(shop), Book()
    client.put("bagel", 1_000_000)
    with Crowd(shop, book, ["bagel"], count=32, is_patient=True):
        wait_until(lambda: book.units() >= 20, PATIENCE_S, "sales")
        place = os.path.join(folder, "backup")
        status, words = shop.command("backup", place, base_port=free_base_port())
    assert os.path.exists(os.path.join(place, "backup.json")) == (status == DONE)
    if status == DONE:  # nobody wrote between the first snapshot and the last
        restored = make_shop(Sqlite(os.path.join(folder, "restored")))
        restore(restored, place)
        restored.verify()
    else:
        assert status == FAILED and "is written, and nobody who writes this database answers" in words


def test_a_pause_whose_asker_is_gone_ends_by_itself_and_refuses_nobody(database, make_shop, ask):
    shop = make_shop(database)
    running = shop.actor("stock")
    client, other = ask(shop), ask(shop)
    client.put("bagel", 10)
    before = client.ok("any.ping", {}, endpoint=shop.endpoint("stock"))
    assert client.ok("any.pause", {"for_ms": 1000}, endpoint=shop.endpoint("stock"))["incarnation"] == before["incarnation"]
    began = time.monotonic()
    assert other.once("stock.take", {"lines": [{"product": "bagel", "quantity": 1}]}).status == "ok"
    assert 0.5 < time.monotonic() - began < stretched(3), "it waited for the end of the pause"
    running.wait_log("pause_ended_by_itself")


def test_a_pause_that_is_ended_says_where_it_stood_and_lets_those_who_waited_go_on(database, make_shop, ask):
    shop = make_shop(database)
    running = shop.actor("stock")
    client, other, endpoint = ask(shop), ask(shop), shop.endpoint("stock")
    client.put("bagel", 100)
    client.ok("any.pause", {"for_ms": 1000}, endpoint=endpoint)
    (batch,), = shop.sql("SELECT batch FROM $shard")
    waiting = [other.send("stock.take", {"lines": [{"product": "bagel", "quantity": 1}]}) for _ in range(20)]
    end = client.ok("any.pause", {"for_ms": 0}, endpoint=endpoint)
    assert (end["is_held"], end["batch"]) == (True, batch)
    assert {answer.status for answer in other.replies(waiting, endpoint).values()} == {"ok"}
    assert client.ok("any.pause", {"for_ms": 0}, endpoint=endpoint)["is_held"] is False
    assert "pause_ended_by_itself" not in running.log()


def test_only_the_operator_may_pause(sqlite, make_shop, ask):
    shop = make_shop(sqlite)
    shop.actor("stock")
    client = ask(shop).client(shop.endpoint("stock"))
    for role in ("anonymous", "customer", "employee", "admin"):
        assert client.once({**client.header("any.pause", uuid.uuid4().bytes), "role": role}, {"for_ms": 1000}).status == "forbidden"


# --- what is refused ---


def test_a_place_that_is_not_empty_is_refused(empty, folder, make_shop, ask):
    shop = make_shop(Sqlite(os.path.join(folder, "shop")))
    shop.run()
    ask(shop).put("bagel", 7)
    place, _ = backup(shop, folder)
    assert "is not empty" in backup_into(shop, place)
    restored = make_shop(empty)
    restore(restored, place)
    assert "is not empty" in restore(restored, place, expected=USAGE)


def backup_into(shop, place):
    status, words = shop.command("backup", place)
    assert status == USAGE
    return words


def test_a_changed_file_other_shards_and_no_backup_are_refused_by_name(folder, make_shop):
    shop = make_shop(Sqlite(os.path.join(folder, "shop")))
    shop.run().stop()
    place, _ = backup(shop, folder)
    restored = make_shop(Sqlite(os.path.join(folder, "restored")), shards=2)
    assert "stock in 1 shards, and the settings say 2" in restore(restored, place, expected=USAGE)
    restored = make_shop(Sqlite(os.path.join(folder, "restored")))
    with open(os.path.join(place, "order_0.db"), "r+b") as file:
        file.seek(5000)
        file.write(b"\xff")
    assert "order_0.db is not as the backup wrote it" in restore(restored, place, expected=USAGE)
    os.remove(os.path.join(place, "backup.json"))
    assert "is no backup" in restore(restored, place, expected=USAGE)
    assert "nothing to back up" in shop.command("backup", os.path.join(folder, "x"), data=os.path.join(folder, "nowhere"))[1]


def test_a_damaged_database_is_named_and_gives_no_backup(folder, make_shop, ask):
    place = Sqlite(os.path.join(folder, "shop"))
    shop = make_shop(place)
    running = shop.run()
    ask(shop).put("bagel", 7)
    running.stop()
    with sqlite3.connect(place.path("stock")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        page, = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'move'").fetchone()
        size, = database.execute("PRAGMA page_size").fetchone()
    with open(place.path("stock"), "r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\0" * size)
    _, words = backup(shop, folder, expected=FAILED)
    assert "stock/0: the database is damaged" in words


def test_a_restore_that_was_killed_leaves_what_no_actor_takes(database, folder, make_shop, ask):
    shop = make_shop(database)
    shop.run()
    ask(shop).put("bagel", 7)
    place, _ = backup(shop, folder)
    half = make_shop(make_mysql() if database.name == "mysql" else Sqlite(os.path.join(folder, "half")))
    restore(half, place)
    half.sql("UPDATE $shard SET shards = 0")
    half.start("run").wait_exit(USAGE, 20)
    assert "made for 0 shards" in half.processes[-1].log()
    half.database.drop()


# --- those who know more than what was restored ---


def test_a_subscriber_that_knows_what_is_gone_is_refused_and_not_left_in_silence(database, other_empty, folder, make_shop, ask):
    shop = make_shop(database)
    running = shop.run()
    client = ask(shop)
    ports = (shop.endpoint("stock"), f"tcp://127.0.0.1:{shop.base_port + EVENTS + OFFSETS['stock']}")
    subscriber = Subscriber(*ports, "ledger")
    client.put("bagel", 1)
    place, _ = backup(shop, folder)
    client.take("bagel", 1)
    client.take("bagel", 1)
    seen = wait_until(lambda: subscriber.next(200), what="the event that will be gone")
    subscriber.ack()
    running.kill9()
    restored = make_shop(other_empty)
    restored.base_port, restored.settings = shop.base_port, {**restored.settings, "LARDER_BASE_PORT": str(shop.base_port)}
    restore(restored, place)
    restored.run()
    ask(restored).take("bagel", 1)
    ask(restored).take("bagel", 1)
    with pytest.raises(Incident, match="other_incarnation|another incarnation"):
        while subscriber.next(500) or True:
            subscriber.ack()
    assert seen.seq >= 1
    subscriber.close()


# --- copies by hand ---


def copy_by_hand(database, place, names):
    os.makedirs(place, exist_ok=True)
    for name in names:
        for end in ("", "-wal"):
            if os.path.exists(database.path(name) + end):
                shutil.copy(database.path(name) + end, os.path.join(place, f"{name}_0.db{end}"))


@pytest.mark.parametrize("older", ["stock", "factory"])
def test_copies_that_were_made_one_after_the_other_are_mended_and_serve(older, folder, make_shop, ask):
    source = Sqlite(os.path.join(folder, "shop"))
    shop = make_shop(source, lead_time_ms=100)
    running = shop.run()
    client, place = ask(shop), os.path.join(folder, "copies")
    client.take("donut", 3)
    wait_until(lambda: client.level("donut")["on_hand"] == 10, what="the refill")
    running.stop()
    copy_by_hand(source, place, [older])
    running = shop.run()
    for _ in range(3):
        client.take("donut", 10)
        wait_until(lambda: client.level("donut")["on_hand"] == 10, what="one more refill")
    running.stop()
    copy_by_hand(source, place, [name for name in ACTORS if name != older])
    restored = make_shop(Sqlite(os.path.join(folder, "restored")), lead_time_ms=100)
    words = restore(restored, place, "--copies")
    assert "which are gone there" in words and "of copies" in words
    process = restored.run()
    client = ask(restored)
    client.take("donut", client.level("donut")["available"])
    wait_until(lambda: client.level("donut")["on_hand"] > 0, 20, "a refill in the restored shop")
    assert request(restored.http, "GET", "/readyz")[0] == 200
    assert " incident " not in process.log()
    said = restored.command("verify")[1]
    assert "has applied" not in said and "follows another database" not in said and "is noted as" not in said
