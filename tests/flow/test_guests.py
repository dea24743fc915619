# SPDX-License-Identifier: MPL-2.0
"""Orders of guests: who shows an order's secret may read, pay again and cancel it, and nobody else but staff."""

import os
import re
import uuid

import pytest

from guarded import Guarded
from larder_client import Client, Tail
from processes import EVENTS, OFFSETS, told
from rest import Rest, until

SECRET = r"os1_[A-Za-z0-9_-]{32}"


@pytest.fixture(name="house")
def make_house(new_shop, database):
    """A guarded house of this test's own."""
    shop = new_shop(database, auth="required", log_level="debug")
    shop.run()
    guarded = Guarded(shop)
    yield guarded
    guarded.users.close()


class Guest:
    """Somebody without a token, and one order."""

    def __init__(self, house, body=None, method="money"):
        self.house, self.key = house, str(uuid.uuid4())
        self.body = body or {"lines": [{"product": house.dish(), "quantity": 1}], "method": method}
        self.placed = self.place().is_ok(201)
        self.id, self.secret = self.placed["id"], self.placed["secret"]
        self.path = f"/v1/orders/{self.id}"

    def place(self):
        return self.house.ask("POST", "/v1/orders", body=self.body, Idempotency_Key=self.key)

    def ask(self, method, more="", secret=None, token=None, body=None, **headers):
        return self.house.ask(method, self.path + more, token, body, Order_Secret=self.secret if secret is None else secret, **headers)

    def await_status(self, status, saga="ended"):
        def is_there():
            order = self.ask("GET").is_ok()
            return order if (order["status"], order["saga"]) == (status, saga) else None
        return until(is_there, 20, f"the order is {status}")

    def settle(self, approved):
        """The cashier says what became of the money."""
        def charge():
            order = self.ask("GET").is_ok()
            return order.get("charge") if order["status"] == "awaiting_payment" else None
        path = f"/v1/payments/{until(charge, 20, 'it has a charge')}:confirm"
        employee = self.house.token("employee")
        until(lambda: self.house.ask("POST", path, employee, {"approved": approved}).status == 200, 20, "payment knows the charge")


def wrong_secrets(guest, other):
    """Of everything that is not this order's secret, by what it is."""
    version, text = guest.secret.split("_", 1)
    return {"none of the other order": other.secret, "cut": guest.secret[:-1], "longer": guest.secret + "A", "of version 2": f"os2_{text}",
            "of version 0": f"os0_{text}", "of version 01": f"os01_{text}", "without a version": text, "in capitals": guest.secret.upper(),
            "padded": guest.secret + "=", "another last letter": guest.secret[:-1] + ("A" if guest.secret[-1] != "A" else "B"),
            "its version alone": version + "_", "not a secret": "x", "too long": "x" * 500, "not ASCII": "\xe9\xe9", "the order's id": guest.id}


def test_a_guest_pays_once_more_as_he_was_invited_to(house):
    guest = Guest(house)
    tail = Tail(f"tcp://127.0.0.1:{house.shop.base_port + EVENTS + OFFSETS['order']}", "order.payment_failed")
    assert re.fullmatch(SECRET, guest.secret) and "customer" not in guest.placed
    guest.settle(approved=False)
    failed = guest.await_status("payment_failed")
    told = tail.next(10000)
    tail.close()
    assert told is not None and guest.secret not in repr(told[1].body), "nothing secret is told to everybody"
    assert "secret" not in failed
    again = guest.ask("POST", ":pay", body={"method": "money"}).is_ok()
    assert "secret" not in again
    guest.settle(approved=True)
    paid = guest.await_status("received")["charge"]
    shown = {"Order_Secret": guest.secret}
    listed = house.ask("GET", f"/v1/payments?order={guest.id}", **shown).is_ok()["data"]
    assert [charge["status"] for charge in listed] == ["succeeded", "failed"] and listed[0]["replaces"] == failed["charge"]
    assert house.ask("GET", f"/v1/payments/{paid}", **shown).is_ok() == listed[0]
    assert house.ask("GET", f"/v1/payments/{failed['charge']}/refunds", **shown).is_ok()["data"] == []
    entries = guest.ask("GET", "/timeline").is_ok()["data"]
    assert [entry["what"] for entry in entries].count("order_pay") == 1


def test_a_guest_cancels(house):
    guest = Guest(house)
    key = str(uuid.uuid4())
    assert guest.ask("POST", ":cancel", Idempotency_Key=key).is_ok()["status"] == "cancelled"
    assert guest.ask("POST", ":cancel", Idempotency_Key=key).is_ok()["status"] == "cancelled"
    house.ask("POST", f"{guest.path}:cancel", Order_Secret="x", Idempotency_Key=key).is_problem("unknown_order")
    guest.ask("POST", ":cancel", Idempotency_Key="1").is_problem("invalid_field")


def test_without_its_secret_an_order_of_a_guest_is_not_there(house):
    """The answer to a wrong secret is that to an order that there is not, word by word."""
    guest, other = Guest(house), Guest(house)
    nowhere = str(uuid.uuid4())
    customer = house.token("customer", house.somebody)
    charge = until(lambda: guest.ask("GET").is_ok().get("charge"), 20, "it has a charge")
    until(lambda: house.ask("GET", f"/v1/payments/{charge}", Order_Secret=guest.secret).status == 200, 20, "payment knows it")
    for what, secret in wrong_secrets(guest, other).items():
        for path, symbol in ((f"/v1/payments/{charge}", "unknown_charge"), (f"/v1/payments/{charge}/refunds", "unknown_charge"),
                             (f"/v1/payments?order={guest.id}", "unknown_order")):
            assert house.ask("GET", path, Order_Secret=secret).is_problem(symbol), what
    house.ask("GET", f"/v1/payments/{charge}").is_problem("unauthenticated")
    for method, more, body in (("GET", "", None), ("GET", "/timeline", None), ("POST", ":cancel", None), ("POST", ":pay", {"method": "pix"})):
        for what, secret in wrong_secrets(guest, other).items():
            for token in (None, customer):
                refused = guest.ask(method, more, secret, token, body)
                expected = house.ask(method, f"/v1/orders/{nowhere}{more}", token, body, Order_Secret=secret)
                refused.is_problem("unknown_order")
                assert refused.detail.replace(guest.id, nowhere) == expected.detail, what
                assert {**refused.json, "detail": "", "instance": ""} == {**expected.json, "detail": "", "instance": ""}, what
        house.ask(method, guest.path + more, customer, body).is_problem("unknown_order")
        assert house.ask(method, guest.path + more, None, body).status == (404 if method == "GET" else 401)
    assert guest.ask("GET").is_ok()["status"] == "awaiting_payment", "and nothing was done to it"
    guest.ask("POST", ":advance").is_problem("unauthenticated")
    assert guest.ask("GET", token=customer).is_ok()["id"] == guest.id, "the secret is as good in the hand of who has signed in"
    for role in ("employee", "admin", "operator"):
        assert house.ask("GET", guest.path, house.token(role)).is_ok()["id"] == guest.id
    assert house.ask("POST", f"{guest.path}:cancel", house.token("employee")).is_ok()["status"] == "cancelled"


def test_an_order_with_a_customer_has_no_secret(house):
    (_, anns), guest = house.person(), Guest(house)
    order = house.order(anns)
    assert "secret" not in order
    house.ask("GET", f"/v1/orders/{order['id']}", None, Order_Secret=guest.secret).is_problem("unknown_order")
    assert "secret" not in house.ask("GET", f"/v1/orders/{order['id']}", anns).is_ok()


def test_placing_again_answers_the_same_secret_over_every_end(house):
    guest = Guest(house)
    again = guest.place()
    assert again.is_ok(201)["secret"] == guest.secret and again.headers["Idempotent-Replayed"] == "true"
    house.shop.processes[-1].stop()
    house.shop.run()
    assert guest.place().is_ok(201)["secret"] == guest.secret
    guest.ask("POST", ":cancel").is_ok()
    house.shop.processes[-1].kill9()
    house.shop.run()
    assert guest.place().is_ok(201)["secret"] == guest.secret
    assert guest.ask("GET").is_ok()["status"] == "cancelled"


def test_another_version_of_the_key_leaves_old_secrets_good_and_a_missing_one_ends_them(house):
    before = Guest(house)
    house.shop.processes[-1].stop()
    house.shop.sql(f"INSERT INTO $secret (version, since, secret) SELECT 2, MAX(placed) + 1, x'{'5a' * 32}' FROM $order", "order")
    house.shop.run()
    after = Guest(house)
    assert after.secret.startswith("os2_") and after.place().is_ok(201)["secret"] == after.secret
    assert before.ask("GET").status == 200 and before.place().is_ok(201)["secret"] == before.secret
    assert after.ask("GET").status == 200
    house.shop.processes[-1].stop()
    house.shop.sql("DELETE FROM $secret WHERE version = 1", "order")
    house.shop.run()
    before.ask("GET").is_problem("unknown_order")
    assert "secret" not in before.place().is_ok(201) and after.ask("GET").status == 200


def test_a_shop_of_before_has_a_key_at_its_next_start(house):
    guest = Guest(house)
    house.shop.processes[-1].stop()
    house.shop.sql("DELETE FROM $secret", "order")
    house.shop.run()
    guest.ask("GET").is_problem("unknown_order")
    told = guest.place().is_ok(201)["secret"]
    assert re.fullmatch(SECRET, told) and told != guest.secret
    assert guest.ask("GET", secret=told).is_ok()["id"] == guest.id


def test_over_zeromq_the_secret_stands_in_the_header(house):
    guest, orders = Guest(house), Client(house.shop.endpoint("order"))
    order = uuid.UUID(guest.id).bytes

    def ask(op, **more):
        return orders.once(orders.header(op, uuid.uuid4().bytes, role="anonymous", **more), {"order": order})
    for op in ("order.get", "order.timeline", "order.cancel", "order.pay"):
        for wrong in ({}, {"secret": "x"}, {"secret": guest.secret + "A"}, {"user": uuid.uuid4().bytes}):
            assert ask(op, **wrong).status == "unknown_order", (op, wrong)
    assert ask("order.get", secret=guest.secret).body["id"] == order
    assert ask("order.cancel", secret=guest.secret).body["status"] == "cancelled"
    orders.close()


def test_two_secrets_are_refused(house):
    guest = Guest(house)
    line = f"Order-Secret: {guest.secret}"
    assert house.rest.raw(house.rest.head("GET", guest.path, line, line)).status == 400


def test_keys_of_guests_are_uuids(house):
    body = {"lines": [{"product": house.dish(), "quantity": 1}], "method": "money"}
    for key in ("1", "my-order", str(uuid.uuid1()), uuid.uuid4().hex, "00000000-0000-0000-0000-000000000000"):
        refused = house.ask("POST", "/v1/orders", body=body, Idempotency_Key=key).is_problem("invalid_field")
        assert "Idempotency-Key" in refused["detail"] and "UUID" in refused["detail"]
        house.ask("POST", "/v1/users", body={"email": "x@example.com"}, Idempotency_Key=key).is_problem("invalid_field")
        house.ask("POST", "/checkout", body={"product": body["lines"][0]["product"]}, Idempotency_Key=key).is_problem("invalid_field")
    for key in (str(uuid.uuid4()), str(uuid.uuid4()).upper(), f'"{uuid.uuid4()}"'):
        first = house.ask("POST", "/v1/orders", body=body, Idempotency_Key=key).is_ok(201)
        assert house.ask("POST", "/v1/orders", body=body, Idempotency_Key=key).is_ok(201) == first
    _, anns = house.person()
    assert house.ask("POST", "/v1/orders", anns, body, Idempotency_Key="1").status == 201


def is_in_files(folder, text):
    for where, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(where, name), "rb") as file:
                if text.encode() in file.read():
                    return os.path.join(where, name)
    return None


def test_a_secret_is_kept_nowhere(new_shop, sqlite):
    """Not in a database, a log, a metric or a letter: also not in that of an order that was placed for later, which an operator may."""
    shop = new_shop(sqlite, log_level="debug")
    shop.run()
    rest = Rest(shop.http)
    rest.post("/v1/products", {"product": "kept", "name": "Kept", "category": "burger", "price": {"amount": 2501, "currency": "BRL"}}).is_ok(201)
    rest.post("/v1/stock/kept:adjust", {"delta": 9}).is_ok()
    body = {"lines": [{"product": "kept", "quantity": 1}], "method": "pix"}
    keys = [str(uuid.uuid4()), str(uuid.uuid4())]
    letter = rest.post("/v1/orders", body, Idempotency_Key=keys[0], Prefer="respond-async").is_ok(202)
    done = until(lambda: (seen := rest.get(f"/v1/letters/{letter['id']}").is_ok())["letter"]["state"] == "done" and seen, 20, "it is placed")
    placed = [rest.post("/v1/orders", body, Idempotency_Key=key).is_ok(201) for key in keys]
    assert placed[0]["id"] == letter["request"] and all(re.fullmatch(SECRET, order["secret"]) for order in placed)
    rest.get(f"/v1/orders/{placed[0]['id']}", Order_Secret=placed[0]["secret"]).is_ok()
    texts = [str(done), str(rest.get("/v1/letters").body), told(shop.probes)]
    for order in placed:
        until(lambda order=order: rest.get(f"/v1/orders/{order['id']}").json["status"] == "payment_failed", 20, "it is refused")
        assert rest.post(f"/v1/orders/{order['id']}:pay", {"method": "debit_card"}, Order_Secret=order["secret"]).is_ok()
    shop.processes[-1].kill9()
    for order in placed:
        assert not any(order["secret"] in text for text in texts)
        assert is_in_files(shop.folder, order["id"]), "the files are looked at"
        assert is_in_files(shop.folder, order["secret"]) is None and is_in_files(shop.folder, order["secret"][4:]) is None
