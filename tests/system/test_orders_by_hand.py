# SPDX-License-Identifier: MPL-2.0
"""Orders, holds, charges and menus lie in databases of their own: `verify` proves that they agree, names what was changed by hand, and
is quiet while orders come and go."""

import os
import re
import shutil
import tempfile
import threading
import uuid
from types import SimpleNamespace

import pytest
from buyers import Asker
from conftest import make_mysql
from larder_client import derived, shard_of, uuid7
from processes import DONE, FAILED, Shop, Sqlite, wait_until

SHARDS = 2
A = "soup"
B = next(name for name in (f"bread{number}" for number in range(99)) if shard_of(name, SHARDS) != shard_of(A, SHARDS))
PRICES = {A: 1200, B: 300, "refused": 1001, "pending": 1006}


def put(client, product, amount, units=100000):
    client.ok("product.put", {"product": product, "name": product.capitalize(), "category": "other",
                              "price": {"amount": amount, "currency": "BRL"}})
    client.put(product, units)


def place(client, *products):
    """An order with a line of one unit for each; its id."""
    order = uuid7()
    client.ok("order.place", {"lines": [{"product": product, "quantity": 1} for product in products], "method": "pix"}, request_id=order)
    return order


def seen(client, order):
    return client.ok("order.get", {"order": order})


def ended(client, order, status):
    wait_until(lambda: (seen(client, order)["status"], seen(client, order)["saga"]) == (status, "ended"), what=f"{status} and ended")
    return order


def advanced(client, order, *statuses):
    for status in statuses:
        client.ok("order.advance", {"order": order, "to": status})
    return order


def cancelled(client, order):
    client.ok("order.cancel", {"order": order})
    return ended(client, order, "cancelled")


def one_of_each(client):
    """Orders that ended in every way, by name."""
    def received():
        return ended(client, place(client, A, B), "received")
    pending = place(client, "pending", B)
    wait_until(lambda: seen(client, pending)["saga"] == "paying" and "charge" in seen(client, pending), what="it waits for its payment")
    return {
        "received": received(),
        "completed": advanced(client, received(), "in_preparation", "ready", "completed"),
        "unpaid": ended(client, place(client, "refused", B), "payment_failed"),
        "given_up": cancelled(client, pending),
        "returned": cancelled(client, received()),
        "wasted": cancelled(client, advanced(client, received(), "in_preparation")),
    }


@pytest.fixture(name="closed", scope="module", params=["sqlite", "mysql"])
def closed_shop(request):
    """A shop that was closed behind orders of every kind: it, and their ids."""
    folder = tempfile.mkdtemp(prefix="larder-s.")
    shop = Shop(folder, Sqlite(folder) if request.param == "sqlite" else make_mysql(), shards=SHARDS)
    try:
        running = shop.run()
        with Asker(shop) as client:
            for product, amount in PRICES.items():
                put(client, product, amount)
            orders = one_of_each(client)
        shop.verify()
        running.stop()
        shop.verify()
        yield SimpleNamespace(shop=shop, orders=orders)
    finally:
        shop.close()
        shutil.rmtree(folder, ignore_errors=True)


def literal(value):
    return f"x'{value.hex()}'"


def text(value):
    return str(uuid.UUID(bytes=value))


def hold_of(shop, order):
    """The hold of A's shard, and that shard."""
    shard = shard_of(A, SHARDS)
    rounds = shop.sql(f"SELECT holds FROM $order WHERE id = {literal(order)}", actor="order")[0][0]
    return derived(order + f"reserve/{rounds >> 8 * shard & 255}/{shard}/do".encode()), shard


NOBODY = bytes(15) + b"\x01"

# name, whose database, what is done to it, how it is undone, the order it is about, words that must be there
DAMAGES = [
    ("hold_open_again", "stock", "UPDATE $hold SET state = 'open' WHERE hold = {hold}", "UPDATE $hold SET state = 'committed' WHERE hold = {hold}",
     "received", "units are still held for it"),
    ("hold_gone", "stock", "UPDATE $hold SET hold = {nobody} WHERE hold = {hold}", "UPDATE $hold SET hold = {hold} WHERE hold = {nobody}",
     "completed", "the units that stock has sold for it are not its lines"),
    ("hold_of_less", "stock", "UPDATE $hold SET quantity = quantity + 1 WHERE hold = {hold}",
     "UPDATE $hold SET quantity = quantity - 1 WHERE hold = {hold}", "received", "the units that stock has sold for it are not its lines"),
    ("sold_though_returned", "stock", "UPDATE $hold SET state = 'committed' WHERE hold = {hold}",
     "UPDATE $hold SET state = 'returned' WHERE hold = {hold}", "returned", "stock has sold units for it"),
    ("returned_though_eaten", "stock", "UPDATE $hold SET state = 'returned' WHERE hold = {hold}",
     "UPDATE $hold SET state = 'committed' WHERE hold = {hold}", "wasted", "the units that stock has sold for it are not its lines"),
    ("line", "order", "UPDATE $line SET quantity = quantity + 1 WHERE n = {n}", "UPDATE $line SET quantity = quantity - 1 WHERE n = {n}",
     "received", "the units that stock has sold for it are not its lines"),
    ("paid_back", "payment", "UPDATE $charge SET refunded = amount WHERE order_id = {order}",
     "UPDATE $charge SET refunded = 0 WHERE order_id = {order}", "completed", "1500 charged, 1500 paid back"),
    ("not_paid_back", "payment", "UPDATE $charge SET refunded = refunded - 1 WHERE order_id = {order}",
     "UPDATE $charge SET refunded = refunded + 1 WHERE order_id = {order}", "wasted", "1500 charged, 1499 paid back"),
    ("paid_less", "payment", "UPDATE $charge SET amount = amount - 1 WHERE order_id = {order}",
     "UPDATE $charge SET amount = amount + 1 WHERE order_id = {order}", "received", "1499 charged, 0 paid back"),
    ("paid_otherwise", "payment", "UPDATE $charge SET currency = 'USD' WHERE order_id = {order}",
     "UPDATE $charge SET currency = 'BRL' WHERE order_id = {order}", "received", "1 is taken and not paid back"),
    ("paid_though_given_up", "payment", "UPDATE $charge SET status = 'succeeded' WHERE order_id = {order}",
     "UPDATE $charge SET status = 'cancelled' WHERE order_id = {order}", "given_up", "1 is taken and not paid back"),
    ("still_asked_for", "payment", "UPDATE $charge SET status = 'pending' WHERE order_id = {order}",
     "UPDATE $charge SET status = 'failed' WHERE order_id = {order}", "unpaid", "and 1 pending"),
    ("another_charge", "payment", "UPDATE $charge SET id = {nobody} WHERE order_id = {order}",
     "UPDATE $charge SET id = {charge} WHERE order_id = {order}", "received", "it is not the order's own"),
    ("charge_without_order", "payment", "UPDATE $charge SET order_id = {nobody} WHERE order_id = {order}",
     "UPDATE $charge SET order_id = {order} WHERE order_id = {nobody}", "received", f"there is no order {text(NOBODY)}"),
    ("order_without_money", "order", "UPDATE $order SET status = 'received' WHERE id = {order}",
     "UPDATE $order SET status = 'payment_failed' WHERE id = {order}", "unpaid", "0 are taken and not paid back"),
    ("money_without_order", "order", "UPDATE $order SET status = 'payment_failed' WHERE id = {order}",
     "UPDATE $order SET status = 'received' WHERE id = {order}", "received", "1 is taken and not paid back"),
    ("no_order", "order", "UPDATE $order SET id = {nobody} WHERE id = {order}", "UPDATE $order SET id = {order} WHERE id = {nobody}",
     "received", "but there is no order"),
]


@pytest.mark.parametrize("damage", DAMAGES, ids=[damage[0] for damage in DAMAGES])
def test_what_was_changed_by_hand_is_named_by_its_order(damage, closed):
    _, actor, do, undo, which, named = damage
    shop, order = closed.shop, closed.orders[which]
    hold, shard = hold_of(shop, order)
    number = shop.sql(f"SELECT n FROM $order WHERE id = {literal(order)}", actor="order")[0][0]
    names = {"hold": literal(hold), "order": literal(order), "n": number, "nobody": literal(NOBODY),
             "charge": literal(derived(order + b"charge/1/0/do"))}
    if "{charge}" in undo:
        names["charge"] = literal(charge_of(shop, order))
    where = shard if actor == "stock" else 0
    try:
        shop.database.sql(actor, where, do.format(**names))
        status, words = shop.command("verify")
        assert status == FAILED and named in words and text(order) in words, words
        others = [name for name, other in closed.orders.items() if other != order and text(other) in words]
        assert not others, f"{others} are named as well\n{words}"
    finally:
        shop.database.sql(actor, where, undo.format(**names))
    shop.verify()


def charge_of(shop, order):
    found = shop.sql(f"SELECT hex(charge) FROM $order WHERE id = {literal(order)}", actor="order")[0][0]
    return bytes.fromhex(str(found).zfill(32))


def test_the_sums_are_printed_for_each_currency(closed):
    status, words = closed.shop.command("verify")
    assert status == DONE
    assert re.search(r"^orders: 6 have ended and agree with their holds and charges, 0 are under way, 0 are stuck, 0 have news to come;", words, re.M), words
    assert "orders: BRL 6000 charged - 3000 paid back = 3000, the totals of paid orders" in words, words


@pytest.mark.parametrize("follower", ["sales", "order"])
@pytest.mark.parametrize("do, undo, named", [
    ("UPDATE $card SET amount = 1 WHERE product = '{product}'", "UPDATE $card SET amount = {amount} WHERE product = '{product}'", ", 1 BRL, "),
    ("UPDATE $card SET version = 9 WHERE product = '{product}'", "UPDATE $card SET version = 1 WHERE product = '{product}'", "has version 9, "),
    ("UPDATE $card SET product = 'ghost' WHERE product = '{product}'", "UPDATE $card SET product = '{product}' WHERE product = 'ghost'",
     "ghost: the copy of the menu has it, but it is not on the menu"),
], ids=["price", "version", "product"])
def test_a_copy_of_the_menu_that_was_changed_by_hand_is_named(follower, do, undo, named, closed):
    names = {"product": A, "amount": PRICES[A]}
    try:
        closed.shop.sql(do.format(**names), actor=follower)
        status, words = closed.shop.command("verify")
        assert status == FAILED and f"{follower}/0: " in words and named in words and A in words, words
    finally:
        closed.shop.sql(undo.format(**names), actor=follower)
    closed.shop.verify()


def test_what_order_has_not_heard_yet_is_no_fault(database, make_shop, ask):
    """Somebody pays a charge that was given up, and a price changes, while order is away."""
    shop = make_shop(database)
    for actor in ("stock", "factory", "product", "payment"):
        shop.actor(actor)
    order_actor = shop.actor("order")
    client = ask(shop)
    put(client, "pending", PRICES["pending"])
    order = place(client, "pending")
    wait_until(lambda: seen(client, order)["saga"] == "paying" and "charge" in seen(client, order), what="it waits for its payment")
    charge = seen(client, order)["charge"]
    cancelled(client, order)
    shop.verify()
    order_actor.stop()
    put(client, "pending", PRICES["pending"] + 100)
    shop.actor("sales")
    shop.gateway()
    status, words = shop.command("webhook", text(charge), "succeeded")
    assert status == DONE, words
    status, words = shop.command("verify")
    assert status == DONE and "1 have news to come" in words, words
    assert re.search(r"^product/0 to order/0: the copy of the menu agrees: 1 products, 1 to come$", words, re.M), words
    shop.actor("order")
    paid_back = f"SELECT refunded FROM $charge WHERE id = {literal(charge)}"
    wait_until(lambda: shop.sql(paid_back, actor="payment") == [(PRICES["pending"],)], what="the money is back")
    wait_until(lambda: "0 have news to come" in shop.command("verify")[1], what="order has heard it")
    shop.verify()


def test_an_order_actor_that_is_gone_with_its_database_is_missed(sqlite, make_shop, ask):
    shop = make_shop(sqlite)
    running = shop.run()
    client = ask(shop)
    put(client, A, PRICES[A])
    order = ended(client, place(client, A), "received")
    wait_until(lambda: shop.sql("SELECT position FROM $position WHERE subscriber = 'order/0'", actor="payment") == [(1,)], what="it is noted")
    shop.verify()
    running.stop()
    for suffix in ("", "-wal", "-shm"):
        if os.path.exists(sqlite.path("order") + suffix):
            os.remove(sqlite.path("order") + suffix)
    status, words = shop.command("verify")
    assert status == FAILED and "order/0: was never started" in words, words
    assert "payment/0: order/0 is noted as having applied 1 events, but it was never started" in words, words
    assert f"there is no order {text(order)}" in words, words


class Guests(threading.Thread):
    """Place orders that end in every way, until they are told to leave."""

    def __init__(self, shop):
        super().__init__(daemon=True)
        self.shop, self.rounds, self.error, self.is_leaving = shop, 0, None, False

    def run(self):
        try:
            with Asker(self.shop) as client:
                while not self.is_leaving:
                    one_of_each(client)
                    self.rounds += 1
        except Exception as error:  # pylint: disable=broad-exception-caught
            self.error = error


def test_verify_is_quiet_while_orders_come_and_go(database, make_shop, ask):
    shop = make_shop(database, shards=SHARDS)
    shop.run()
    client = ask(shop)
    for product, amount in PRICES.items():
        put(client, product, amount)
    crowd = [Guests(shop) for _ in range(3)]
    for guests in crowd:
        guests.start()
    for number in range(5):
        before = [guests.rounds for guests in crowd]
        put(client, A, PRICES[A] + 100 * number, 0)
        shop.verify()
        wait_until(lambda seen_before=before: all(guests.error or guests.rounds > rounds for guests, rounds in zip(crowd, seen_before)), 30,
                   f"orders beside proof {number}")
    for guests in crowd:
        guests.is_leaving = True
    for guests in crowd:
        guests.join(60)
        assert guests.error is None, guests.error
    shop.verify()


def test_an_order_that_costs_nothing_and_is_given_up_leaves_nothing_to_pay_back(database, make_shop, ask):
    shop = make_shop(database)
    shop.run()
    client = ask(shop)
    put(client, A, 0)
    kept = ended(client, place(client, A), "received")
    cancelled(client, ended(client, place(client, A), "received"))
    shop.verify()
    assert seen(client, kept)["status"] == "received"


def test_an_order_that_was_refused_for_good_is_not_placed_by_a_late_first_attempt(database, make_shop, ask):
    shop = make_shop(database)
    shop.run()
    client, order = ask(shop), uuid7()
    body = {"lines": [{"product": A, "quantity": 1}], "method": "pix"}
    assert client.ask("order.place", body, request_id=order, again=True).status == "unknown_product"
    put(client, A, 1200)
    late = client.once("order.place", body, request_id=order)
    assert (late.status, late.replayed) == ("unknown_product", True)
    assert client.ask("order.get", {"order": order}).status == "unknown_order"
