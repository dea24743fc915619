# SPDX-License-Identifier: MPL-2.0
"""Every durable event has an id of its own: everything that raises one is done, also twice under one id, and all streams are read."""

import collections
import re
import uuid

import pytest

from larder_client import Refused, uuid7
from rest import ERRORS, ROOT, until

SOURCES = ("stock", "factory", "product", "user", "order", "payment")
CURRENCY = "BRL"
REFUSED, APPROVED, WAITS, REFUND_REFUSED = 1, 0, 6, 8  # by its last two digits the provider answers


def durable_types():
    text = (ROOT / "proto" / "tables" / "events.def").read_text()
    return {f"{owner}.{fact}" for owner, fact in re.findall(r"^EVENT\((\w+), (\w+), \w+, DURABLE,", text, re.M)}


class Streams:
    """What every source has told so far, published and fetched, from its first event on."""

    def __init__(self, shop):
        name = f"ids-{uuid.uuid4().hex[:8]}"
        self.subscribers = {source: shop.subscriber(source, name, from_start=True) for source in SOURCES}
        self.events = []

    def read(self):
        for subscriber in self.subscribers.values():
            while True:
                event = subscriber.next(timeout_ms=10)
                if event is None:
                    break
                self.events.append(event)
        return self.events

    def of(self, kind, key=None):
        return [event for event in self.read() if event.type == kind and key in (None, event.key)]

    def close(self):
        for subscriber in self.subscribers.values():
            subscriber.unsubscribe()
            subscriber.close()


@pytest.fixture(name="streams")
def make_streams(shop):
    made = Streams(shop)
    yield made
    made.close()


def prove_unique(streams):
    """No two of all events share an id; a place in a stream is told once."""
    events = streams.read()
    places = collections.Counter((event.header["source"], event.header["incarnation"], event.seq) for event in events)
    assert max(places.values()) == 1
    shared = [identity for identity, count in collections.Counter(event.header["id"] for event in events).items() if count > 1]
    assert not shared, [(event.type, event.key, event.seq) for event in events if event.header["id"] in shared]


def twice(client, op, body):
    """Under one id, without and then with `again`; what is refused the second time is refused."""
    request_id = uuid7()
    answers = []
    for again in (False, True):
        try:
            answers.append(client.ask(op, body, request_id=request_id, again=again).body)
        except Refused as refusal:
            assert ERRORS[refusal.status][0] in (404, 409, 422) and refusal.status != "invalid_field", refusal
            answers.append(refusal.status)
    return answers


def test_a_request_that_is_refused_and_then_sells_raises_two_events_with_two_ids(streams, stock, product):
    stock.get("stock.adjust", {"product": product, "delta": 1})
    stock.get("stock.configure", {"product": product, "reorder_at": 0, "order_up_to": 0})
    request_id = uuid7()
    line = {"lines": [{"product": product, "quantity": 2}]}
    with pytest.raises(Refused) as refusal:
        stock.ask("stock.take", line, request_id=request_id)
    assert refusal.value.status == "out_of_stock"
    first, = until(lambda: streams.of("stock.out", product))
    stock.get("stock.adjust", {"product": product, "delta": 1})
    stock.ask("stock.take", line, request_id=request_id, again=True)
    first, second = until(lambda: len(streams.of("stock.out", product)) == 2 and streams.of("stock.out", product))
    assert first.header["id"] != second.header["id"]
    assert first.seq < second.seq and first.body != second.body
    prove_unique(streams)


def test_a_refusal_repeated_under_one_id_orders_no_second_production(streams, stock, factory, product):
    stock.get("stock.adjust", {"product": product, "delta": 1})
    stock.get("stock.configure", {"product": product, "reorder_at": 0, "order_up_to": 7})
    request_id = uuid7()
    line = {"lines": [{"product": product, "quantity": 5}]}
    for again in (False, False, True, True, False):
        with pytest.raises(Refused):
            stock.ask("stock.take", line, request_id=request_id, again=again)
    until(lambda: streams.of("factory.produced", product), 20)
    until(lambda: stock.get("stock.get", {"product": product})["available"] == 7)
    with pytest.raises(Refused) as refusal:
        stock.ask("stock.take", line, request_id=request_id, again=True)
    assert refusal.value.replayed, "what was refused to who asks again stays so"
    assert [production["quantity"] for production in factory.get("factory.list", {"product": product})["productions"]] == [6]
    assert len(streams.of("stock.out", product)) == 1 == len(streams.of("factory.ordered", product))
    prove_unique(streams)


def drive_shelf(stock, product):
    twice(stock, "stock.adjust", {"product": product, "delta": 5})
    twice(stock, "stock.configure", {"product": product, "reorder_at": 2, "order_up_to": 5})
    twice(stock, "stock.take", {"lines": [{"product": product, "quantity": 3}]})  # low
    until(lambda: stock.get("stock.get", {"product": product})["available"] >= 5, 20, "it is refilled")
    twice(stock, "stock.take", {"lines": [{"product": product, "quantity": 5}]})  # out
    until(lambda: stock.get("stock.get", {"product": product})["available"] >= 5, 20, "it is refilled again")
    hold, _ = twice(stock, "stock.reserve", {"lines": [{"product": product, "quantity": 5}]})
    twice(stock, "stock.release", {"hold": hold["hold"]})
    twice(stock, "stock.count", {"product": product, "counted": 9})


def give_up_a_production(factory, product):
    """Its units may be there before it is given up: then another one is."""
    production, _ = twice(factory, "factory.produce", {"product": product, "quantity": 3})
    answers = twice(factory, "factory.cancel", {"id": production["id"]})
    return isinstance(answers[0], dict)


def drive_orders(shop, rest, stock, product):
    orders, menu = shop.client("order"), shop.client("product")

    def status_of(order):
        return orders.get("order.get", {"order": order})["status"]

    def place(cents):
        sku = f"{product[:50]}-{cents}"
        twice(menu, "product.put", {"product": sku, "name": sku, "category": "burger", "price": {"amount": 1000 + cents, "currency": CURRENCY}})
        twice(stock, "stock.adjust", {"product": sku, "delta": 10})
        until(lambda: rest.get(f"/v1/products/{sku}").status == 200)
        placed = []

        def is_placed():
            try:
                placed[:] = twice(orders, "order.place", {"lines": [{"product": sku, "quantity": 1}], "method": "pix"})
            except Refused:
                return False
            return isinstance(placed[0], dict)
        until(is_placed, 10, "the order's copy of the menu has followed")
        assert placed[0]["id"] == placed[1]["id"]
        return placed[0]["id"]

    paid, failed, kept, given_up, waiting = (place(cents) for cents in (APPROVED, REFUSED, REFUND_REFUSED, APPROVED, WAITS))
    for order in (paid, kept, given_up):
        until(lambda one=order: status_of(one) == "received", 20)
    until(lambda: status_of(failed) == "payment_failed", 20)
    for to in ("in_preparation", "ready", "completed"):
        twice(orders, "order.advance", {"order": paid, "to": to})
    for order in (kept, given_up, waiting):
        twice(orders, "order.cancel", {"order": order})
    twice(orders, "order.pay", {"order": failed, "method": "pix"})
    for client in (orders, menu):
        client.close()


def drive_people(shop):
    people = shop.client("user")
    person, _ = twice(people, "user.register", {"name": "A. Person", "email": f"{uuid.uuid4().hex[:12]}@example.org", "password": "Secret-9-words"})
    twice(people, "user.erase", {"user": person["user"]})
    people.close()


def test_no_two_events_share_an_id_whatever_raises_them(shop, streams, rest, stock, factory, product):
    drive_shelf(stock, product)
    until(lambda: give_up_a_production(factory, product), 20, "a production is given up in time")
    drive_orders(shop, rest, stock, product)
    drive_people(shop)
    until(lambda: {event.type for event in streams.read()} >= durable_types(), 20, "every durable type of events.def was told")
    prove_unique(streams)
    again = Streams(shop)
    fetched = {(event.header["source"], event.seq): event.header["id"] for event in again.read()}
    again.close()
    for event in streams.events:
        assert fetched.get((event.header["source"], event.seq), event.header["id"]) == event.header["id"], "published or fetched, it is one event"
    assert all(len(event.header["id"]) == 16 and any(event.header["id"]) for event in streams.events)
