# SPDX-License-Identifier: MPL-2.0
"""An outside payment provider, over real HTTP: whatever it answers or does not, each charge and each refund is taken there at most once, and
ends as it ended there."""

import random

import pytest
import zmq

from larder_client import Client, Refused, uuid7
from outside_payment import TOKEN, Provider, text
from processes import wait_until


class Till:
    """The payment actor and the dlq as processes of their own, beside a provider."""

    def __init__(self, shop, **settings):
        self.provider = Provider()
        self.shop = shop
        self.settings = {"payment_url": self.provider.url + "/", "payment_token": TOKEN, "retry_first_ms": 20, "call_timeout_ms": 300,
                         "retry_attempts": 4, **settings}
        self.context = zmq.Context()
        self.dlq_process = shop.actor("dlq")
        self.process = None
        self.start()
        self.letters = Client(shop.endpoint("dlq"), self.context)

    def start(self):
        self.process = self.shop.actor("payment", **self.settings)
        self.client = Client(self.shop.endpoint("payment"), self.context)

    def kill(self):
        self.process.kill9()
        self.client.close()

    def close(self):
        self.context.destroy(linger=0)
        self.provider.stop()

    def charge(self, amount=2500, **more):
        body = {"order": uuid7(), "amount": {"amount": amount, "currency": "BRL"}, "method": "pix", **more}
        return self.client.get("payment.charge", body)

    def get(self, charge):
        return self.client.get("payment.get", {"charge": charge["id"]})

    def wait(self, charge, status):
        def has_come():
            found = self.get(charge)
            return found if found["status"] == status else None

        return wait_until(has_come, what=f"the charge is {status}")

    def refund(self, charge, **more):
        return self.client.get("payment.refund", {"charge": charge["id"], **more})

    def wait_refund(self, refund, status):
        def has_come():
            found = self.client.get("payment.refunds", {"charge": refund["charge"]})["refunds"]
            return next((one for one in found if one["id"] == refund["id"] and one["status"] == status), None)

        return wait_until(has_come, what=f"the refund is {status}")

    def events(self):
        return [topic.rsplit(".", 1)[0] for (topic,) in self.shop.sql("SELECT topic FROM $outbox ORDER BY seq", actor="payment")]

    def letter(self, state):
        def has_come():
            found = self.letters.get("dlq.list", {"kind": "call"})["letters"]
            assert len(found) <= 1, found
            return found[0] if found and found[0]["state"] == state else None

        return wait_until(has_come, what=f"there is a {state} letter")

    def prove(self):
        """Nothing was taken twice; what ended here ended so there; sums add up."""
        seen = self.provider.seen()
        assert seen["doubles"] == 0
        for number, status, refunded, sum_of_refunds in self.shop.sql(
            "SELECT c.n, c.status, c.refunded, (SELECT COALESCE(SUM(r.amount), 0) FROM $refund r WHERE r.charge = c.id AND r.status = 'succeeded')"
            " FROM $charge c", actor="payment"):
            assert refunded == sum_of_refunds, (number, status)


@pytest.fixture
def till(database, new_shop):
    made = []

    def make(**settings):
        made.append(Till(new_shop(database), **settings))
        return made[-1]

    yield make
    for one in made:
        try:
            one.prove()
        finally:
            one.close()


def test_a_charge_is_created_once_with_its_key_and_the_token(till):
    till = till()
    first = till.charge(2599, method="credit_card")
    assert (first["status"], first["provider"]) == ("pending", "http")
    paid = till.wait(first, "succeeded")
    assert (paid["reference"], paid["attempts"]) == ("ref-1", 1)
    (call,) = till.provider.seen()["calls"]
    assert (call["method"], call["path"]) == ("POST", "/charges")
    assert call["headers"]["Idempotency-Key"] == text(first["id"])
    assert call["headers"]["Authorization"] == f"Bearer {TOKEN}"
    assert call["body"] == {"id": text(first["id"]), "amount": 2599, "currency": "BRL", "method": "credit_card", "order": text(first["order"])}
    assert till.events() == ["payment.succeeded"]
    assert TOKEN not in till.process.log()
    assert till.shop.sql("SELECT COUNT(*) FROM $due", actor="payment") == [(0,)]


def test_a_refusal_is_final_and_trying_again_is_a_new_linked_charge(till):
    till = till()
    till.provider.script(charges=["refuse", "approve"])
    refused = till.wait(till.charge(), "failed")
    assert refused["reason"] == "card declined"
    second = till.charge(order=refused["order"], replaces=refused["id"])
    assert second["id"] != refused["id"] and second["replaces"] == refused["id"]
    till.wait(second, "succeeded")
    assert till.provider.calls(refused["id"]) == [("POST", "refuse")]
    assert till.events() == ["payment.failed", "payment.succeeded"]


def test_a_4xx_is_a_refusal_with_its_reason(till):
    till = till()
    till.provider.script(charges=["deny"])
    assert till.wait(till.charge(), "failed")["reason"] == "this card is not taken"


def test_a_wrong_token_is_an_incident_and_told_to_nobody_and_the_charge_waits(till):
    till = till(payment_token="tok_wrong_9876543210")
    charge = till.charge()
    letter = till.letter("waiting")
    assert (letter["reason"], letter["key"], letter["destination"]) == ("party_refuses_us", "payment", "payment/0")
    assert "it answers HTTP 401" in letter["error"]
    waits = wait_until(lambda: till.get(charge) if till.get(charge).get("reason") else None, what="the charge says why")
    assert (waits["status"], waits["reason"]) == ("pending", "the provider answered HTTP 401 and repeated the token, which is left out")
    assert "error payment/0 outside_party_refuses_us" in till.process.log()
    assert "tok_wrong" not in till.process.log()
    for table, column in (("charge", "reason"), ("due", "payload"), ("outbox", "body"), ("answer", "body")):
        count = f"SELECT COUNT(*) FROM ${table} WHERE HEX({column}) LIKE '%{b'tok_wrong'.hex().upper()}%'"
        assert till.shop.sql(count, actor="payment") == [(0,)], table
    till.kill()
    till.settings["payment_token"] = TOKEN
    till.start()
    till.wait(charge, "succeeded")
    till.letter("done")
    assert till.shop.sql("SELECT COUNT(*) FROM $due", actor="payment") == [(0,)]


@pytest.mark.parametrize("word, calls", [
    ("lose", [("POST", "lose"), ("GET", "answer")]),
    ("hang", [("POST", "hang"), ("GET", "answer")]),
    ("garbage", [("POST", "garbage"), ("GET", "answer")]),
    ("drop", [("POST", "drop"), ("GET", "answer"), ("POST", "approve")]),
    ("error", [("POST", "error"), ("GET", "answer"), ("POST", "approve")]),
    ("busy", [("POST", "busy"), ("GET", "answer"), ("POST", "approve")]),
    ("twice", [("POST", "twice")]),
])
def test_what_is_not_clear_is_asked_for_before_it_is_told_again(till, word, calls):
    till = till()
    till.provider.script(charges=[word, "approve"])
    charge = till.charge()
    paid = till.wait(charge, "succeeded")
    assert till.provider.calls(charge["id"]) == calls
    assert paid["attempts"] == len(calls)
    assert len(till.provider.seen()["taken"]) == 1
    assert till.events() == ["payment.succeeded"]
    # The connection is whole again for the next one.
    till.wait(till.charge(), "succeeded")


def test_a_lost_answer_and_a_question_that_fails_are_asked_for_again(till):
    till = till()
    till.provider.script(charges=["lose"], ask=["error", "deaf", "answer"])
    charge = till.charge()
    till.wait(charge, "succeeded")
    assert till.provider.calls(charge["id"]) == [("POST", "lose"), ("GET", "error"), ("GET", "deaf"), ("GET", "answer")]


def test_what_is_pending_is_asked_for_until_it_is_known(till):
    till = till(call_timeout_ms=100)
    till.provider.script(charges=["pending"])
    charge = till.charge()
    wait_until(lambda: till.get(charge).get("reference"), what="it was taken")
    till.provider.ask("/settle", {"id": text(charge["id"]), "status": "failed"})
    assert till.wait(charge, "failed")["attempts"] == 2
    assert till.events() == ["payment.failed"]


def test_a_provider_that_is_away_is_a_letter_and_replayed_once_it_is_back_takes_once(till):
    till = till()
    till.provider.stop()
    charge = till.charge(2599)
    letter = till.letter("dead")
    assert {key: letter[key] for key in ("kind", "reason", "destination", "type", "key", "attempts", "amount", "currency")} == {
        "kind": "call", "reason": "call_failed", "destination": "payment/0", "type": "payment.charge_call",
        "key": text(charge["order"]), "attempts": 4, "amount": 2599, "currency": "BRL"}
    whole = till.letters.get("dlq.show", {"letter": letter["id"]})
    assert len(whole["history"]) == 4 and "did not answer" in whole["history"][0]["error"]
    assert {field["name"]: field["value"] for field in whole["fields"]}["id"] == text(charge["id"])
    assert TOKEN not in str(whole)
    assert till.get(charge)["status"] == "pending"
    till.kill()
    till.start()
    till.letters.get("dlq.replay", {"letter": letter["id"]})
    wait_until(lambda: till.letters.get("dlq.show", {"letter": letter["id"]})["letter"]["attempts"] == 5, what="one more question")
    letter = till.letter("dead")
    till.provider = Provider(till.provider.port)
    till.letters.get("dlq.replay", {"letter": letter["id"]})
    till.wait(charge, "succeeded")
    till.letter("done")
    assert till.provider.calls(charge["id"]) == [("GET", "answer"), ("POST", "approve")]
    assert till.events() == ["payment.succeeded"]


def test_a_cancelled_charge_that_was_taken_is_found_and_told(till):
    till = till()
    till.provider.script(charges=["lose"], ask=["error", "error", "answer"])
    charge = till.charge()
    cancelled = till.client.get("payment.cancel", {"charge": charge["id"], "order": charge["order"]})
    assert cancelled["status"] == "cancelled"
    till.wait(charge, "succeeded")
    assert till.events() == ["payment.succeeded"]


def test_a_cancelled_charge_that_was_not_taken_is_never_told_again(till):
    till = till()
    till.provider.script(charges=["drop"], ask=["error", "answer"])
    charge = till.charge()
    assert till.client.get("payment.cancel", {"charge": charge["id"], "order": charge["order"]})["status"] == "cancelled"
    wait_until(lambda: till.shop.sql("SELECT COUNT(*) FROM $due", actor="payment") == [(0,)], what="nothing is asked any more")
    assert till.provider.calls(charge["id"]) == [("POST", "drop"), ("GET", "error"), ("GET", "answer")]
    assert till.get(charge)["status"] == "cancelled"
    assert till.events() == []


def test_refunds_go_the_same_way(till):
    till = till()
    till.provider.script(refunds=["lose", "drop", "approve", "refuse", "approve"])
    charge = till.wait(till.charge(1000), "succeeded")
    lost = till.refund(charge, amount=100)
    assert lost["status"] == "pending"
    till.wait_refund(lost, "succeeded")
    dropped = till.refund(charge, amount=200)
    till.wait_refund(dropped, "succeeded")
    assert till.provider.calls(dropped["id"]) == [("POST", "drop"), ("GET", "answer"), ("POST", "approve")]
    refused = till.refund(charge)
    assert refused["amount"]["amount"] == 700
    assert till.wait_refund(refused, "failed")["reason"] == "card declined"
    till.wait_refund(till.refund(charge), "succeeded")
    assert till.get(charge)["refunded"] == 1000
    with pytest.raises(Refused) as refusal:
        till.refund(charge, amount=1)
    assert refusal.value.status == "not_refundable"
    assert till.events() == ["payment.succeeded", "payment.refunded", "payment.refunded", "payment.refund_failed", "payment.refunded"]
    bodies = [call["body"] for call in till.provider.seen()["calls"] if call["path"] == "/refunds"]
    assert bodies[0] == {"id": text(lost["id"]), "charge": text(charge["id"]), "amount": 100}


def test_a_refund_without_an_outcome_is_a_letter(till):
    till = till()
    charge = till.wait(till.charge(2000), "succeeded")
    till.provider.script(refunds=["error"], ask=["error"])
    refund = till.refund(charge)
    letter = till.letter("dead")
    assert (letter["type"], letter["amount"], letter["key"]) == ("payment.refund_call", 2000, text(charge["order"]))
    with pytest.raises(Refused):
        till.refund(charge)
    till.provider.script(refunds=["approve"], ask=["answer"])
    till.letters.get("dlq.replay", {"letter": letter["id"]})
    till.wait_refund(refund, "succeeded")
    till.letter("done")


def test_a_kill_between_the_answer_and_the_call_loses_nothing_and_takes_nothing_twice(till):
    till = till(call_timeout_ms=200)
    chance = random.Random(7)
    words = ["approve", "lose", "drop", "hang", "error", "approve"]
    charges = []
    for round_number in range(6):
        till.provider.script(charges=[words[round_number], "approve"])
        for _ in range(3):
            charges.append(till.charge())
        if chance.random() < 0.5:
            wait_until(lambda: till.provider.calls(charges[-1]["id"]), what="it was called")
        till.kill()
        till.start()
    for charge in charges:
        till.wait(charge, "succeeded")
    seen = till.provider.seen()
    assert sorted(seen["taken"]) == sorted(text(charge["id"]) for charge in charges)
    assert till.events() == ["payment.succeeded"] * len(charges)


def test_who_may_do_what(till):
    till = till()
    charge = till.wait(till.charge(), "succeeded")

    def ask(op, body, role):
        till.client.socket.poll(1000, zmq.POLLOUT)
        return till.client.once(till.client.header(op, uuid7(), role=role), body).status

    of = {"charge": charge["id"]}
    for role in ("anonymous", "customer"):
        assert ask("payment.get", of, role) == "unavailable", "whose it is order would say, and that is away"
        assert ask("payment.refunds", of, role) == "unavailable"
        assert ask("payment.list", {}, role) == "invalid_field", "they name an order"
        assert ask("payment.confirm", of, role) == "forbidden"
        assert ask("payment.refund", of, role) == "forbidden"
        assert ask("payment.cancel", {**of, "order": charge["order"]}, role) == "forbidden"
        assert ask("payment.charge", {"order": uuid7(), "amount": {"amount": 1, "currency": "BRL"}, "method": "pix"}, role) == "forbidden"
        assert ask("payment.webhook", {"body": b"{}"}, role) == "bad_signature"
    for role in ("employee", "admin", "operator"):
        assert ask("payment.get", of, role) == "ok"
        assert ask("payment.list", {}, role) == "ok"
    assert len(till.client.get("payment.list")["charges"]) == 1


@pytest.mark.parametrize("name, value, words", [
    ("payment_url", "ftp://bank", "LARDER_PAYMENT_URL"),
    ("payment_url", "http://", "LARDER_PAYMENT_URL"),
    ("payment_token", "two words", "LARDER_PAYMENT_TOKEN"),
    ("webhook_secret", "secret", "LARDER_WEBHOOK_SECRET"),
    ("webhook_secret", "whsec_dG9vc2hvcnQ=", "LARDER_WEBHOOK_SECRET"),
])
def test_a_wrong_setting_is_refused_by_its_name(new_shop, sqlite, name, value, words):
    shop = new_shop(sqlite)
    process = shop.start("actor", "payment", **{name: value})
    process.wait_exit(deadline_s=10)
    assert words in process.log()
    if name != "payment_url":
        assert value not in process.log()
