# SPDX-License-Identifier: MPL-2.0
"""Money that moved at the provider without being asked for: refunds made by hand there, and charges over other money than was asked for. The
whole shop beside a provider; at the end of each test `verify` finds that all agrees, with the provider as well."""

import json

import pytest
import zmq

from larder_client import Client, Refused, uuid7
from outside_payment import TOKEN, Provider, text
from processes import DONE, FAILED, wait_until
from test_webhook import OWN, signed

PRICE = 1000


class House:
    """`larder run`, its provider, and one product that is to be had."""

    def __init__(self, shop, **settings):
        self.provider = Provider()
        self.shop = shop
        self.settings = {"payment_url": self.provider.url, "payment_token": TOKEN, "webhook_secret": OWN, "retry_first_ms": 20,
                         "call_timeout_ms": 300, "retry_attempts": 20, "request_timeout_ms": 1000, **settings}
        self.context = zmq.Context()
        self.clients = {}
        self.process = None
        self.start()
        self.ask("product.put", {"product": "soup", "name": "Soup", "category": "other", "price": {"amount": PRICE, "currency": "BRL"}})
        self.ask("stock.adjust", {"product": "soup", "delta": 10})

    def start(self):
        self.process = self.shop.run(**self.settings)
        self.clients = {name: Client(self.shop.endpoint(name), self.context)
                        for name in ("order", "payment", "product", "stock", "dlq")}

    def kill(self):
        self.process.kill9()
        for client in self.clients.values():
            client.close()
        self.start()

    def close(self):
        self.context.destroy(linger=0)
        self.provider.stop()

    def ask(self, op, body):
        return self.clients[op.split(".")[0]].get(op, body)

    def status(self, op, body):
        try:
            return self.ask(op, body)["status"]
        except Refused as refusal:
            return refusal.status

    def tell(self, kind, charge, webhook_id=None, **data):
        """A webhook: its outcome."""
        body = json.dumps({"type": kind, "data": {"charge": text(charge), **data}}).encode()
        headers = signed(body, OWN, webhook_id)
        return self.ask("payment.webhook", {"webhook_id": headers["webhook-id"], "timestamp": headers["webhook-timestamp"],
                                            "signature": headers["webhook-signature"], "body": body})["outcome"]

    def order(self, order):
        return self.ask("order.get", {"order": order})

    def place(self):
        return self.ask("order.place", {"lines": [{"product": "soup", "quantity": 1}], "method": "pix"})["id"]

    def wait_order(self, order, status, saga="ended"):
        def is_so():
            found = self.order(order)
            return found if (found["status"], found["saga"]) == (status, saga) else None
        return wait_until(is_so, what=f"the order is {status} and {saga}")

    def received(self):
        return self.wait_order(self.place(), "received")

    def paid(self, amount=PRICE):
        """A charge that is paid, of an order that is received."""
        assert amount == PRICE
        return self.received()["charge"]

    def charge(self, charge):
        return self.ask("payment.get", {"charge": charge})

    def refunds(self, charge):
        return self.ask("payment.refunds", {"charge": charge})["refunds"]

    def pay_back_by_hand(self, charge, amount):
        return self.provider.ask("/refund", {"charge": text(charge), "amount": amount})["reference"]

    def level(self):
        return self.ask("stock.get", {"product": "soup"})["available"]

    def letters(self, count):
        def are_there():
            found = self.ask("dlq.list", {"state": "dead"})["letters"]
            return found if len(found) == count else None
        return wait_until(are_there, what=f"{count} letters") if count else self.ask("dlq.list", {"state": "dead"})["letters"]

    def verify(self, status=DONE):
        found, words = self.shop.command("verify", **self.settings)
        assert found == status, words
        return words


@pytest.fixture
def house(database, new_shop):
    made = []

    def make(**settings):
        made.append(House(new_shop(database), **settings))
        return made[-1]

    yield make
    for one in made:
        try:
            assert one.provider.seen()["doubles"] == 0
        finally:
            one.close()


NAMES = {"key": lambda refund, reference: {"refund": text(refund)}, "number": lambda refund, reference: {"reference": reference},
         "both": lambda refund, reference: {"refund": text(refund), "reference": reference}}


@pytest.mark.parametrize("when", ["before", "after", "twice", "late", "killed"])
def test_a_refund_of_ours_is_booked_once_whenever_and_by_whatever_name_it_is_told(house, when):
    house = house()
    charges = [house.received()["charge"] for _ in NAMES]
    word = {"before": "hang", "late": "lose", "killed": "hang"}.get(when, "approve")
    refunds = []
    for charge, name in zip(charges, NAMES):
        house.provider.script(refunds=[word, "approve"])
        refund = house.ask("payment.refund", {"charge": charge, "amount": 400})["id"]
        taken = wait_until(lambda: house.provider.seen()["taken"].get(text(refund)), what="the provider has taken it")
        refunds.append((charge, refund, taken["reference"], {**NAMES[name](refund, taken["reference"]), "amount": 400, "currency": "BRL"}))
    if when == "killed":
        house.kill()
    for charge, refund, reference, told in refunds:
        if when in ("after", "late"):
            wait_until(lambda: house.charge(charge)["refunded"] == 400, what="it is booked")
        for _ in range(2 if when == "twice" else 1):
            assert house.tell("refund.succeeded", charge, **told) in ("applied", "parked", "ignored")
    for charge, refund, reference, told in refunds:
        wait_until(lambda: house.charge(charge)["refunded"] == 400, what="it is booked")
        assert house.tell("refund.succeeded", charge, **told) in ("ignored", "parked")
        assert house.tell("refund.succeeded", charge, reference=reference, amount=400) in ("ignored", "parked")
    wait_until(lambda: house.shop.sql("SELECT COUNT(*) FROM $webhook WHERE parked IS NOT NULL", actor="payment") == [(0,)], what="none waits")
    wait_until(lambda: house.shop.sql("SELECT COUNT(*) FROM $due", actor="payment") == [(0,)], what="nothing is under way")
    for charge, refund, _, _ in refunds:
        assert [(one["id"], one["amount"]["amount"]) for one in house.refunds(charge)] == [(refund, 400)]
        assert house.charge(charge)["refunded"] == 400
    assert f"of {len(NAMES)} charges {len(NAMES)} agree" in house.verify()


@pytest.mark.parametrize("when", ["at once", "twice", "killed", "unpaid"])
@pytest.mark.parametrize("amount", [400, PRICE])
def test_a_refund_made_elsewhere_is_booked_once_whenever_it_is_told(house, when, amount):
    house = house()
    if when == "unpaid":
        house.provider.script(charges=["pending"])
        order = house.place()
        house.wait_order(order, "awaiting_payment", "paying")
        charge = wait_until(lambda: house.order(order).get("charge"), what="it has a charge")
        wait_until(lambda: house.provider.seen()["taken"].get(text(charge)), what="the provider has it")
    else:
        found = house.received()
        order, charge = found["id"], found["charge"]
    reference = house.pay_back_by_hand(charge, amount)
    told = {"reference": reference, "amount": amount, "currency": "BRL"}
    assert house.tell("refund.succeeded", charge, webhook_id="w-1", **told) == ("parked" if when == "unpaid" else "applied")
    if when == "killed":
        house.kill()
        assert house.tell("refund.succeeded", charge, webhook_id="w-1", **told) == "ignored"
    if when == "unpaid":
        house.provider.ask("/settle", {"id": text(charge), "status": "succeeded"})
        assert house.tell("charge.succeeded", charge, amount=PRICE, currency="BRL") == "applied"
    assert house.tell("refund.succeeded", charge, **told) == "ignored"
    assert house.charge(charge)["refunded"] == amount
    assert [one["is_elsewhere"] for one in house.refunds(charge)] == [True]
    if amount == PRICE:
        assert house.wait_order(order, "cancelled")["reason"] == "refunded"
        assert house.level() == 10, "its unit is back"
    else:
        house.wait_order(order, "received")
        assert house.status("payment.refund", {"charge": charge, "amount": PRICE - amount + 1}) == "not_refundable"
        house.ask("order.cancel", {"order": order})
        house.wait_order(order, "cancelled")
    assert house.charge(charge)["refunded"] == PRICE
    assert house.letters(0) == []
    words = house.verify()
    assert f"orders: BRL {PRICE} charged - {PRICE} paid back = 0, the totals of paid orders\n" in words
    assert "provider: of 1 charges 1 agree, 0 are to come, 0 do not agree" in words


def test_a_part_that_went_back_is_no_fault_of_a_right_order(house):
    house = house()
    by_us, by_hand = house.received(), house.received()
    house.ask("payment.refund", {"charge": by_us["charge"], "amount": 100})
    house.tell("refund.succeeded", by_hand["charge"], reference=house.pay_back_by_hand(by_hand["charge"], 30), amount=30)
    wait_until(lambda: house.charge(by_us["charge"])["refunded"] == 100, what="it has arrived")
    for order in (by_us, by_hand):
        wait_until(lambda: ("payment_refunded", "partial") in [
            (entry["what"], entry["outcome"]) for entry in house.ask("order.timeline", {"order": order["id"]})["entries"]], what="it is told")
        house.wait_order(order["id"], "received")
    assert "orders: BRL 2000 charged - 130 paid back = 1870, the totals of paid orders but for 130 of them that went back" in house.verify()


def told_of(house, refund, kind):
    """The provider settles a refund of ours that it had left open, and tells."""
    house.provider.ask("/settle", {"id": text(refund), "status": "failed" if kind == "refund.failed" else "succeeded"})
    return kind, {"refund": text(refund)}


@pytest.mark.parametrize("amount", [400, PRICE])
@pytest.mark.parametrize("kind", ["refund.failed", "refund.succeeded"])
def test_what_another_refund_of_a_cancelled_order_leaves_unpaid_goes_back_as_well(house, kind, amount):
    house = house()
    order = house.received()
    house.provider.script(refunds=["pending", "approve"])
    other = house.ask("payment.refund", {"charge": order["charge"], "amount": amount})["id"]
    wait_until(lambda: house.provider.seen()["taken"].get(text(other)), what="the provider has it")
    house.ask("order.cancel", {"order": order["id"]})
    wait_until(lambda: ("payment_refund", "unavailable" if amount < PRICE else "not_refundable") in [
        (entry["what"], entry["outcome"]) for entry in house.ask("order.timeline", {"order": order["id"]})["entries"]],
        what="it waits for the other, or is a letter where nothing is left beside it")
    if amount == PRICE:
        assert [letter["amount"] for letter in house.letters(1)] == [PRICE]
    kind, data = told_of(house, other, kind)
    house.tell(kind, order["charge"], **data)
    house.wait_order(order["id"], "cancelled")
    assert house.charge(order["charge"])["refunded"] == PRICE
    wait_until(lambda: house.letters(0) == [], what="no letter is open")
    house.verify()


@pytest.mark.parametrize("second", ["approve", "refuse"])
def test_what_is_left_is_paid_back_when_ours_fails_and_a_part_went_back_elsewhere_meanwhile(house, second):
    house = house()
    order = house.received()
    house.provider.script(refunds=["pending", second])
    house.ask("order.cancel", {"order": order["id"]})
    (ours,) = wait_until(lambda: house.refunds(order["charge"]), what="it is being paid back")
    wait_until(lambda: house.provider.seen()["taken"].get(text(ours["id"])), what="the provider has it")
    reference = house.pay_back_by_hand(order["charge"], 400)
    assert house.tell("refund.succeeded", order["charge"], reference=reference, amount=400, currency="BRL") == "parked"
    kind, data = told_of(house, ours["id"], "refund.failed")
    house.tell(kind, order["charge"], **data)
    if second == "refuse":
        house.wait_order(order["id"], "cancelled", "stuck")
        wait_until(lambda: len(house.refunds(order["charge"])) == 3, what="what is left was refused as well")
        wait_until(lambda: [letter["amount"] for letter in house.letters(1)] == [600], what="what is left is at stake")
        house.provider.script(refunds=["approve"])
        house.ask("dlq.replay", {"letter": house.letters(1)[0]["id"]})
    house.wait_order(order["id"], "cancelled")
    assert house.charge(order["charge"])["refunded"] == PRICE
    wait_until(lambda: house.letters(0) == [], what="no letter is open")
    house.verify()


def test_what_the_kitchen_has_begun_and_was_paid_back_is_a_letter_with_its_price(house):
    house = house()
    order = house.received()
    house.ask("order.advance", {"order": order["id"], "to": "in_preparation"})
    reference = house.pay_back_by_hand(order["charge"], PRICE)
    assert house.tell("refund.succeeded", order["charge"], reference=reference) == "applied"
    (letter,) = house.letters(1)
    assert {name: letter[name] for name in ("kind", "type", "reason", "amount", "currency", "key")} == {
        "kind": "saga", "type": "order.paid_back", "reason": "money_differs", "amount": PRICE, "currency": "BRL", "key": text(order["id"])}
    house.wait_order(order["id"], "in_preparation")
    house.verify()
    house.ask("order.cancel", {"order": order["id"]})
    house.wait_order(order["id"], "cancelled")
    wait_until(lambda: house.ask("dlq.list", {"state": "dead"})["letters"] == [], what="its letter is settled")
    assert house.level() == 9, "the food is used up"
    house.verify()


@pytest.mark.parametrize("word", ["less", "foreign"])
@pytest.mark.parametrize("by", ["answer", "webhook"])
def test_other_money_than_was_asked_for_cooks_nothing_and_is_a_letter(house, word, by):
    house = house(order_ttl_ms=3000)
    house.provider.script(charges=["pending" if by == "webhook" else word])
    order = house.place()
    charge = wait_until(lambda: house.order(order).get("charge"), what="it has a charge")
    came = {"amount": PRICE - 1, "currency": "BRL"} if word == "less" else {"amount": PRICE, "currency": "EUR"}
    if by == "webhook":
        wait_until(lambda: house.provider.seen()["taken"].get(text(charge)), what="the provider has it")
        assert house.tell("charge.succeeded", charge, **came) == "disputed"
        assert house.tell("charge.succeeded", charge) == "disputed", "that says less than what was told before"
    (letter,) = house.letters(1)
    assert {name: letter[name] for name in ("type", "reason", "amount", "currency", "key")} == {
        "type": "payment.charge_call", "reason": "money_differs", "key": text(order), **came}
    assert f"{PRICE} BRL were asked for" in house.ask("dlq.show", {"letter": letter["id"]})["history"][0]["error"]
    assert house.charge(charge)["came"] == came
    assert house.wait_order(order, "cancelled")["reason"] == "expired"
    assert house.charge(charge)["status"] == "cancelled"
    assert house.level() == 10
    house.verify()


def test_the_right_money_that_comes_after_other_money_pays_the_order(house):
    house = house()
    house.provider.script(charges=["pending"])
    order = house.place()
    charge = wait_until(lambda: house.order(order).get("charge"), what="it has a charge")
    wait_until(lambda: house.provider.seen()["taken"].get(text(charge)), what="the provider has it")
    assert house.tell("charge.succeeded", charge, amount=1, currency="BRL") == "disputed"
    (letter,) = house.letters(1)
    house.provider.ask("/settle", {"id": text(charge), "status": "succeeded"})
    house.ask("dlq.replay", {"letter": letter["id"]})
    house.wait_order(order, "received")
    wait_until(lambda: house.ask("dlq.list", {"state": "dead"})["letters"] == [], what="its letter is closed")
    assert "came" not in house.charge(charge)
    house.verify()


def test_money_for_a_charge_that_nobody_knows_is_a_letter(house):
    house = house()
    nobody = uuid7()
    assert house.tell("charge.succeeded", nobody, amount=700, currency="BRL") == "parked"
    (letter,) = house.letters(1)
    assert (letter["type"], letter["reason"], letter["amount"], letter["key"]) == ("payment.webhook", "money_differs", 700, text(nobody))


def test_types_that_are_not_known_are_kept_and_counted(house):
    house = house()
    charge = house.paid()
    for kind, data in (("dispute.created", {"amount": "much"}), ("charge.dispute.closed", {}), ("x" * 300, {"amount": -1, "refund": 7})):
        assert house.tell(kind, charge, **data) == "ignored"
    body = b'{"type":"payout.paid","data":[1]}'
    headers = signed(body, OWN)
    assert house.ask("payment.webhook", {"webhook_id": headers["webhook-id"], "timestamp": headers["webhook-timestamp"],
                                         "signature": headers["webhook-signature"], "body": body})["outcome"] == "ignored"
    assert house.shop.metrics()['larder_payment_webhooks_total{outcome="unknown_type"}'] == 4
    assert house.shop.sql("SELECT COUNT(*) FROM $webhook WHERE outcome = 'ignored'", actor="payment") == [(4,)]
    house.verify()


def test_verify_names_what_the_provider_says_otherwise_and_what_it_does_not_say(house):
    house = house()
    charge = house.paid()
    assert "provider: of 1 charges 1 agree" in house.verify()
    house.provider.script(ask=["terse"])
    assert "it does not say how much of 1 charges is paid back" in house.verify()
    house.provider.script(ask=["cannot"])
    assert "it cannot say what became of 1 charges: they were not compared" in house.verify()
    house.provider.script(ask=["answer"])
    house.pay_back_by_hand(charge, 10)
    words = house.verify(FAILED)
    assert f"charge {text(charge)} is succeeded, {PRICE} BRL, 0 paid back, but the provider says succeeded, {PRICE} BRL, 10 paid back" in words
    assert house.tell("refund.succeeded", charge, reference="hand-1", amount=10) == "applied"
    assert "provider: of 1 charges 1 agree" in house.verify()
    house.provider.ask("/settle", {"id": text(charge), "status": "failed"})
    assert "but the provider says failed" in house.verify(FAILED)
    house.provider.stop()
    assert "it cannot say what became of 1 charges" in house.verify()
    house.provider = Provider(house.provider.port)
    assert "that it does not know it" in house.verify(FAILED)


def test_verify_says_of_which_charges_nobody_has_books(database, new_shop):
    shop = new_shop(database)
    shop.run()
    with zmq.Context() as context:
        client = Client(shop.endpoint("payment"), context)
        for method in ("pix", "money"):
            charge = client.get("payment.charge", {"order": uuid7(), "amount": {"amount": 0, "currency": "BRL"}, "method": method})
            assert charge["status"] == "succeeded"
        client.close()
    status, words = shop.command("verify")
    assert status == DONE, words
    assert "the simulated one keeps no books: 1 charges were not compared with it" in words
    assert "1 charges were paid by hand: nobody else has books of them" in words
