# SPDX-License-Identifier: MPL-2.0
"""Orders over REST, with the whole program behind it: the way of a guest's order, each outcome of its payment, and what is said twice."""

import concurrent.futures
import uuid

import pytest

from rest import until

PRICE = 2500


@pytest.fixture(name="dish")
def make_dish(rest, product):
    """A product of this test's own, on the menu and on the shelf."""
    return offer(rest, product, PRICE)


def offer(rest, sku, amount, units=100):
    card = {"product": sku, "name": f"Dish {sku}", "category": "burger", "price": {"amount": amount, "currency": "BRL"}}
    rest.post("/v1/products", card).is_ok(201)
    if units:
        rest.post(f"/v1/stock/{sku}:adjust", {"delta": units}).is_ok()
    return sku


def place(rest, sku, quantity=1, method="pix", **headers):
    return rest.post("/v1/orders", {"lines": [{"product": sku, "quantity": quantity}], "method": method, "note": "no onion"}, **headers)


def order_of(rest, identity):
    return rest.get(f"/v1/orders/{identity}").is_ok()


def ended(rest, identity, status):
    """The order when it is at its end, which is the one that is told."""
    def is_there():
        order = order_of(rest, identity)
        return order if (order["status"], order["saga"]) == (status, "ended") else None
    return until(is_there)


def timeline(rest, identity):
    entries, _ = rest.pages(f"/v1/orders/{identity}/timeline")
    assert [entry["n"] for entry in entries] == list(range(1, len(entries) + 1))
    return entries


def test_a_guests_order_from_the_menu_to_the_table(shop, rest, dish):
    subscriber = shop.subscriber("order", f"guest-{uuid.uuid4().hex[:8]}", from_start=False)
    answer = place(rest, dish, 2)
    placed = answer.is_ok(201)
    assert answer.headers["Location"] == f"/v1/orders/{placed['id']}"
    assert (placed["status"], placed["total"]) == ("awaiting_payment", {"amount": 2 * PRICE, "currency": "BRL"})
    assert placed["lines"] == [{"product": dish, "name": f"Dish {dish}", "quantity": 2, "unit_price": {"amount": PRICE, "currency": "BRL"}}]
    order = ended(rest, placed["id"], "received")
    assert "deadline" not in order and order["note"] == "no onion"
    assert rest.level(dish)["on_hand"] == 98 and rest.level(dish)["reserved"] == 0
    kitchen = rest.get("/v1/orders:kitchen").is_ok()["data"]
    assert [seen for seen in kitchen if seen["id"] == placed["id"]] == [order]
    for status in ("in_preparation", "ready", "completed"):
        assert rest.post(f"/v1/orders/{placed['id']}:advance", {"to": status}).is_ok()["status"] == status
    assert placed["id"] not in {seen["id"] for seen in rest.get("/v1/orders:kitchen").is_ok()["data"]}
    refused = rest.post(f"/v1/orders/{placed['id']}:advance", {}).is_problem("wrong_transition")
    assert (refused["order_status"], refused["allowed"]) == ("completed", [])
    told = [entry["status"] for entry in timeline(rest, placed["id"])]
    told_statuses = sorted(set(told), key=told.index)
    assert told_statuses == ["placed", "awaiting_payment", "received", "in_preparation", "ready", "completed"]
    heard = []
    while len(heard) < 6:
        event = subscriber.next()
        assert event is not None, heard
        if event.key == placed["id"]:
            heard.append((event.type, event.body["status"], event.body["tell"]))
    assert [status for _, status, _ in heard] == told_statuses
    assert all(kind == f"order.{status}" and f" {placed['number']} " in f"{tell} ".replace(".", " ") for kind, status, tell in heard), heard
    subscriber.unsubscribe()
    subscriber.close()


@pytest.mark.parametrize("cents, status", [
    (0, "received"), (1, "payment_failed"), (2, "received"), (3, "received"), (4, "received"), (5, "received"), (7, "received"),
    (10, "payment_failed"),
])
def test_each_outcome_of_the_simulated_provider(rest, product, cents, status):
    sku = offer(rest, product, 1000 + cents)
    placed = place(rest, sku).is_ok(201)
    order = ended(rest, placed["id"], status)
    left = 99 if status == "received" else 100
    assert rest.level(sku)["on_hand"] == left and rest.level(sku)["reserved"] == 0
    charge = rest.get(f"/v1/payments/{order['charge']}").is_ok()
    assert charge["status"] == ("succeeded" if status == "received" else "failed")
    told = [(entry["what"], entry["outcome"]) for entry in timeline(rest, placed["id"])]
    assert not [pair for pair in told if pair[1] in ("ignored", "late")], "what payment sorts out is no news here"


def test_an_order_that_was_refused_is_paid_once_more(rest, product):
    sku = offer(rest, product, 1001)
    placed = place(rest, sku).is_ok(201)
    failed = ended(rest, placed["id"], "payment_failed")
    rest.ask("PATCH", f"/v1/products/{sku}", {"price": {"amount": 9000, "currency": "BRL"}}).is_ok()
    again = rest.post(f"/v1/orders/{placed['id']}:pay", {"method": "money"}).is_ok()
    assert (again["status"], again["method"], again["total"]["amount"]) == ("awaiting_payment", "money", 1001), "prices are frozen"
    charge = until(lambda: rest.get(f"/v1/payments/{again['charge']}").status == 200 and again["charge"])
    assert rest.get(f"/v1/payments/{charge}").is_ok()["replaces"] == failed["charge"]
    rest.post(f"/v1/payments/{charge}:confirm", {}).is_ok()
    ended(rest, placed["id"], "received")
    assert rest.level(sku)["on_hand"] == 99


def test_the_shelf_says_no(rest, product):
    sku = offer(rest, product, PRICE, units=3)
    problem = place(rest, sku, 4).is_problem("out_of_stock")
    assert (problem["product"], problem["asked"], problem["available"]) == (sku, 4, 3)
    order = ended(rest, problem["order"], "cancelled")
    assert order["reason"] == "out_of_stock" and rest.level(sku)["available"] == 3


def test_what_is_not_on_the_menu_is_no_order(rest, product):
    assert place(rest, product).is_problem("unknown_product")["product"] == product
    offer(rest, product, PRICE)
    rest.ask("PATCH", f"/v1/products/{product}", {"active": False}).is_ok()
    until(lambda: place(rest, product).status == 409, 10, "the order's copy of the menu has followed")
    place(rest, product).is_problem("inactive_product")
    assert "method" in place(rest, product, method="shells").is_problem("invalid_field")["detail"]
    answer = rest.post("/v1/orders", {"lines": [{"product": product, "quantity": 1, "price": 1}], "method": "pix"})
    assert "price" in answer.is_problem("invalid_field")["detail"], "a price is not the client's to say"


def test_a_key_is_one_order_however_often_and_however_fast(rest, dish):
    key = str(uuid.uuid4())
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: place(rest, dish, Idempotency_Key=key), range(8)))
    assert {answer.status for answer in answers} <= {201, 503}, answers
    placed = place(rest, dish, Idempotency_Key=key).is_ok(201)
    assert {answer.json["id"] for answer in answers if answer.status == 201} <= {placed["id"]}
    ended(rest, placed["id"], "received")
    answer = place(rest, dish, Idempotency_Key=key)
    assert answer.is_ok(201)["id"] == placed["id"] and answer.headers["Idempotent-Replayed"] == "true"
    place(rest, dish, 2, Idempotency_Key=key).is_problem("idempotency_mismatch")
    assert rest.level(dish)["on_hand"] == 99


def test_giving_up_before_and_after_the_kitchen_has_begun(rest, product):
    sku = offer(rest, product, 1006)  # waits for a webhook
    waiting = place(rest, sku).is_ok(201)
    assert rest.post(f"/v1/orders/{waiting['id']}:cancel", {}).is_ok()["status"] == "cancelled"
    ended(rest, waiting["id"], "cancelled")
    rest.ask("PATCH", f"/v1/products/{sku}", {"price": {"amount": 1000, "currency": "BRL"}}).is_ok()
    until(lambda: place(rest, sku).is_ok(201)["total"]["amount"] == 1000)
    for begun in (False, True):
        order = ended(rest, place(rest, sku).is_ok(201)["id"], "received")
        before = rest.level(sku)["on_hand"]
        if begun:
            rest.post(f"/v1/orders/{order['id']}:advance", {}).is_ok()
        rest.post(f"/v1/orders/{order['id']}:cancel", {}).is_ok()
        order = ended(rest, order["id"], "cancelled")
        assert order["reason"] == "by_employee"
        assert rest.get(f"/v1/payments/{order['charge']}").is_ok()["refunded"] == 1000
        assert rest.level(sku)["on_hand"] == before + (0 if begun else 1), "what was begun is used up"
        rest.post(f"/v1/orders/{order['id']}:cancel", {}).is_problem("wrong_transition")


def test_orders_are_listed_page_by_page(rest, dish):
    placed = [place(rest, dish).is_ok(201)["id"] for _ in range(5)]
    found, pages = rest.pages("/v1/orders?limit=2")
    assert pages > 2 and [order["id"] for order in found[:5]] == placed[::-1]
    for identity in placed:
        ended(rest, identity, "received")
    found, _ = rest.pages("/v1/orders?status=received&limit=3")
    assert {order["status"] for order in found} == {"received"} and set(placed) <= {order["id"] for order in found}
    rest.get("/v1/orders?status=eaten").is_problem("invalid_field")
    rest.get(f"/v1/orders/{uuid.uuid4()}").is_problem("unknown_order")
    rest.get(f"/v1/orders/{uuid.uuid4()}/timeline").is_problem("unknown_order")
