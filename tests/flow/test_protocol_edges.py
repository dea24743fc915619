# SPDX-License-Identifier: MPL-2.0
"""The edges of PROTOCOL.md: the same id twice, envelopes, names that are taken, letters to nobody, the wrong shard."""

import msgpack
import pytest
import zmq

from larder_client import Client, Refused, shard_of, utc_ms, uuid7
from processes import wait_until


def once(client, op, body, request_id, again=False):
    """One attempt: (status, body, whether it is a stored answer)."""
    try:
        answer = client.once(client.header(op, request_id, again=again), body)
    except Refused as refusal:
        return refusal.status, {}, refusal.replayed
    return answer.header["status"], answer.body, answer.header.get("replayed", False)


@pytest.fixture
def asker(shop):
    clients = {}

    def ask(actor):
        if actor not in clients:
            clients[actor] = shop.client(actor)
        return clients[actor]

    yield ask
    for client in clients.values():
        client.close()


# --- section 4: the same id twice is done once and answered the same ---


def hold(asker, product, units=1):
    asker("stock").ask("stock.adjust", {"product": product, "delta": units, "reason": "test"})
    held = uuid7()
    asker("stock").ask("stock.reserve", {"lines": [{"product": product, "quantity": units}]}, request_id=held)
    return held


def committed(asker, product):
    held = hold(asker, product)
    asker("stock").ask("stock.commit", {"hold": held})
    return held


def card(product):
    return {"product": product, "name": "A", "category": "other", "price": {"currency": "BRL", "amount": 100}}


def produced(asker, product):
    asker("stock").ask("stock.configure", {"product": product, "lot": 3})
    return asker("factory").get("factory.produce", {"product": product, "quantity": 3})["id"]


def charged(asker, method="money"):
    """A charge that an employee confirms by hand."""
    made, order = uuid7(), uuid7()
    asker("payment").ask("payment.charge", {"order": order, "amount": {"currency": "BRL", "amount": 1000}, "method": method}, request_id=made)
    return {"charge": made, "order": order}


def paid(asker):
    charge = charged(asker)["charge"]
    asker("payment").ask("payment.confirm", {"charge": charge})
    return charge


def person(name):
    return {"name": "Ana", "email": f"{uuid7().hex()}@example.com"}


def registered(asker, name):
    return asker("user").get("user.register", person(name))["user"]


def ordered(asker, product):
    asker("product").ask("product.put", card(product))
    asker("stock").ask("stock.adjust", {"product": product, "delta": 1, "reason": "test"})
    body = {"lines": [{"product": product, "quantity": 1}], "method": "money"}
    return wait_until(lambda: placed(asker, body), 10, "the menu's copy has the product")


def placed(asker, body):
    try:
        return asker("order").get("order.place", body)["id"]
    except Refused as refusal:
        assert refusal.status in ("unknown_product", "inactive_product"), refusal
        return None


def subscribed(asker, name):
    asker("stock").ask("any.subscribe", {"subscriber": name})
    return {"subscriber": name}


def hosted(asker, name):
    asker("dlq").ask("dlq.subscribe", {"name": name, "source": "stock/0"})
    return {"name": name, "source": "stock/0"}


def lasting(body):
    """What does not go on by itself between two looks: an order's saga ends when its units and its money are back."""
    return {field: value for field, value in body.items() if field not in ("saga", "version", "changed")}


TWICE = {
    "any.unsubscribe": ("stock", lambda ask, name: subscribed(ask, name)),
    "dlq.unsubscribe": ("dlq", lambda ask, name: hosted(ask, name[-48:])),
    "stock.commit": ("stock", lambda ask, name: {"hold": hold(ask, name)}),
    "stock.release": ("stock", lambda ask, name: {"hold": hold(ask, name)}),
    "stock.return": ("stock", lambda ask, name: {"hold": committed(ask, name)}),
    "stock.extend": ("stock", lambda ask, name: {"hold": hold(ask, name), "ttl_ms": 5000}),
    "stock.adjust": ("stock", lambda ask, name: {"product": name, "delta": 2, "reason": "test"}),
    "stock.count": ("stock", lambda ask, name: {"product": name, "counted": 4}),
    "product.put": ("product", lambda ask, name: card(name)),
    "payment.confirm": ("payment", lambda ask, name: {"charge": charged(ask)["charge"]}),
    "payment.cancel": ("payment", lambda ask, name: charged(ask)),
    "payment.refund": ("payment", lambda ask, name: {"charge": paid(ask)}),
    "user.register": ("user", lambda ask, name: person(name)),
    "user.erase": ("user", lambda ask, name: {"user": registered(ask, name)}),
    "order.cancel": ("order", lambda ask, name: {"order": ordered(ask, name)}),
    "factory.cancel": ("factory", lambda ask, name: {"id": produced(ask, name)}),
}


@pytest.mark.parametrize("op", TWICE)
def test_the_same_id_twice_is_answered_the_same_though_again_is_not_said(asker, product, op):
    actor, make = TWICE[op]
    body = make(asker, product)
    request_id = uuid7()
    first = once(asker(actor), op, body, request_id)
    assert first[0] == "ok", first
    for again in (False, True, False):
        told = once(asker(actor), op, body, request_id, again)
        assert (told[0], lasting(told[1])) == (first[0], lasting(first[1]))
    other = {**body, "hold": uuid7()} if "hold" in body else None
    if other:
        assert once(asker(actor), op, other, request_id)[0] == "idempotency_mismatch"


def test_who_was_never_subscribed_cannot_leave(asker, product):
    body = subscribed(asker, product)
    assert once(asker("stock"), "any.unsubscribe", body, uuid7())[0] == "ok"
    assert once(asker("stock"), "any.unsubscribe", body, uuid7())[0] == "unknown_subscriber"


# --- section 2: envelopes ---


@pytest.mark.parametrize("frames", range(10))
def test_an_envelope_has_at_most_eight_frames(shop, frames):
    """`frames` of the sender's own, the empty one included."""
    socket = shop.context.socket(zmq.DEALER)
    socket.linger = 0
    try:
        socket.connect(shop.requests("stock"))
        request_id = uuid7()
        header = {"v": 1, "id": request_id, "op": "any.ping", "deadline": utc_ms() + 5000}
        envelope = [b"%d" % number for number in range(frames - 1)] + [b""] if frames else []
        socket.send_multipart([*envelope, msgpack.packb(header), msgpack.packb({})])
        assert socket.poll(5000)
        answer = socket.recv_multipart()
        status = msgpack.unpackb(answer[-2])["status"]
        if frames <= 8:
            assert status == "ok" and answer[:-2] == envelope
        else:
            assert status == "malformed"
    finally:
        socket.close()


# --- names of the house ---


@pytest.mark.parametrize("name", ["dlq/0", "stock/0", "factory/7", "user/0", "gateway"])
def test_a_name_of_an_actor_is_not_taken_by_a_stranger(asker, name):
    expected = "ok" if name == "gateway" else "forbidden"
    assert once(asker("stock"), "any.subscribe", {"subscriber": name}, uuid7())[0] == expected
    if expected == "ok":
        assert once(asker("stock"), "any.unsubscribe", {"subscriber": name}, uuid7())[0] == "ok"


def test_an_actor_stays_subscribed(asker):
    assert once(asker("stock"), "any.unsubscribe", {"subscriber": "factory/0"}, uuid7())[0] == "forbidden"
    assert once(asker("stock"), "any.subscribe", {"subscriber": "factory/0"}, uuid7())[0] == "ok"


# --- letters to nobody ---


def burial(destination, letter, **more):
    now = utc_ms()
    return {"letter": letter, "kind": "call", "destination": destination, "reason": "call_failed", "error": "gone", "attempts": 7, "first": now,
            "last": now, "history": [], "key": "k", "type": "x.call", "owner": "x", "due_key": b"k", **more}


@pytest.mark.parametrize("destination", ["nobody/0", "stock/9", "sales/0", "nobody", "stock/x"])
def test_a_letter_that_nobody_has_a_row_of_is_taken_and_can_be_ended(asker, destination):
    dlq = asker("dlq")
    letter = uuid7()
    assert dlq.get("dlq.bury", {"burials": [burial(destination, letter)]})["taken"] == 1
    status, told, _ = once(dlq, "dlq.replay", {"letter": letter}, uuid7())
    if destination == "sales/0":  # which is there, and has no such row any more
        assert (status, told["state"]) == ("ok", "done")
        return
    assert status == "letter_closed"
    told = dlq.get("dlq.discard", {"letter": letter, "reason": "nobody is there"})
    assert told["state"] == "discarded"
    assert dlq.get("dlq.discard", {"letter": letter, "reason": "nobody is there"})["state"] == "discarded"


def test_a_letter_to_nobody_that_was_discarded_can_be_taken_back(asker):
    dlq = asker("dlq")
    letter = uuid7()
    dlq.ask("dlq.bury", {"burials": [burial("nobody/0", letter)]})
    assert dlq.get("dlq.discard", {"letter": letter, "reason": "nobody is there"})["state"] == "discarded"
    assert dlq.get("dlq.restore", {"letter": letter})["state"] == "dead"
    assert dlq.get("dlq.discard", {"letter": letter, "reason": "nobody is there"})["state"] == "discarded"


def test_a_letter_of_an_event_that_its_destination_never_had_can_be_ended(asker):
    dlq = asker("dlq")
    letter = uuid7()
    one = burial("stock/0", letter, kind="event", source="user/0", seq=10**6)
    del one["owner"], one["due_key"]
    assert dlq.get("dlq.bury", {"burials": [one]})["taken"] == 1
    assert once(dlq, "dlq.replay", {"letter": letter}, uuid7())[0] == "not_found"
    assert dlq.get("dlq.discard", {"letter": letter, "reason": "it was never here"})["state"] == "discarded"


# --- the wrong shard ---


def test_a_hold_is_not_unknown_at_the_wrong_shard(new_shop, sqlite):
    shop = new_shop(sqlite, stock_shards=3)
    shop.run()
    names = {shard_of(f"p{number}", 3): f"p{number}" for number in range(50)}
    context = zmq.Context()
    try:
        here, away = (Client(shop.endpoint("stock", shard), context) for shard in (0, 1))
        made = uuid7()
        here.ask("stock.adjust", {"product": names[0], "delta": 1, "reason": "test"})
        here.ask("stock.reserve", {"lines": [{"product": names[0], "quantity": 1}]}, request_id=made)
        body = {"hold": made, "product": names[0]}
        assert once(here, "stock.hold", body, uuid7())[0] == "ok"
        for op, more in (("stock.hold", {}), ("stock.commit", {}), ("stock.release", {}), ("stock.return", {}), ("stock.extend", {"ttl_ms": 5000})):
            assert once(away, op, {**body, **more}, uuid7())[0] == "wrong_shard", op
        for op in ("stock.get", "stock.moves", "stock.holds"):
            assert once(away, op, {"product": names[0]}, uuid7())[0] == "wrong_shard", op
        here.close()
        away.close()
    finally:
        context.destroy(linger=0)
