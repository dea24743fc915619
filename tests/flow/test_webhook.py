# SPDX-License-Identifier: MPL-2.0
"""Webhooks by the whole way: signed, posted to the gateway byte by byte, on disk before they are answered, applied once. And the command that
plays the provider."""

import base64
import hashlib
import hmac
import http.client
import json
import re
import threading
import time
import uuid

import pytest
import zmq

from larder_client import Client, uuid7
from patience import stretched
from processes import DONE, REFUSED, USAGE, wait_until

DEMO = "whsec_bGFyZGVyLWRlbW8td2ViaG9vay1zZWNyZXQ="
OWN = "whsec_" + base64.b64encode(b"a secret of this shop alone").decode()


def text(request_id):
    return str(uuid.UUID(bytes=bytes(request_id)))


def body_of(kind, charge, **data):
    return json.dumps({"type": kind, "data": {"charge": text(charge), **data}}).encode()


def signed(body, secret=DEMO, webhook_id=None, late_s=0):
    webhook_id = webhook_id or f"msg_{uuid.uuid4().hex}"
    timestamp = str(int(time.time()) - late_s)
    key = base64.b64decode(secret[len("whsec_"):])
    mac = hmac.new(key, f"{webhook_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return {"webhook-id": webhook_id, "webhook-timestamp": timestamp, "webhook-signature": "v1," + base64.b64encode(mac).decode(),
            "Content-Type": "application/json"}


class Till:
    """`larder run`, and a client of payment."""

    def __init__(self, shop, **settings):
        self.shop = shop
        self.settings = settings
        self.process = shop.run(**settings)
        self.context = zmq.Context()
        self.client = Client(shop.endpoint("payment"), self.context)

    def close(self):
        self.context.destroy(linger=0)

    def post(self, body, headers):
        """(status, document)"""
        connection = http.client.HTTPConnection(self.shop.http, timeout=stretched(10))
        try:
            connection.request("POST", "/v1/payments/webhook", body, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def charge(self, amount=2506):
        body = {"order": uuid7(), "amount": {"amount": amount, "currency": "BRL"}, "method": "pix"}
        return self.client.get("payment.charge", body)

    def status(self, charge):
        return self.client.get("payment.get", {"charge": charge})["status"]

    def events(self):
        return [topic.rsplit(".", 1)[0] for (topic,) in self.shop.sql("SELECT topic FROM $outbox ORDER BY seq", actor="payment")]


@pytest.fixture
def till(database, new_shop):
    made = []

    def make(**settings):
        made.append(Till(new_shop(database), **settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_webhook_pays_a_charge_and_says_so_once(till):
    till = till()
    charge = till.charge()["id"]
    body = body_of("charge.succeeded", charge, reference="pix-42").replace(b": ", b" :   ") + b"\n"
    headers = signed(body)
    assert till.post(body, headers) == (200, {"outcome": "applied"})
    assert till.status(charge) == "succeeded"
    assert till.client.get("payment.get", {"charge": charge})["reference"] == "pix-42"
    assert till.post(body, headers) == (200, {"outcome": "ignored"})
    again = body_of("charge.failed", charge)
    assert till.post(again, signed(again)) == (200, {"outcome": "ignored"})
    assert till.events() == ["payment.succeeded"]


def test_a_webhook_before_its_charge_waits_for_it_also_over_a_kill(till):
    till = till()
    charge = uuid7()
    body = body_of("charge.succeeded", charge)
    assert till.post(body, signed(body)) == (202, {"outcome": "parked"})
    till.process.kill9()
    till.process = till.shop.run(**till.settings)
    asked = {"order": uuid7(), "amount": {"amount": 2506, "currency": "BRL"}, "method": "pix"}
    wait_until(lambda: till.client.get("payment.charge", asked, request_id=charge)["status"] == "succeeded", what="it is paid")
    assert till.events() == ["payment.succeeded"]


def test_many_deliveries_of_one_webhook_at_the_same_time_are_one_payment(till):
    till = till()
    charge = till.charge()["id"]
    body = body_of("charge.succeeded", charge)
    headers = signed(body)
    outcomes = []

    def deliver():
        outcomes.append(till.post(body, headers))

    threads = [threading.Thread(target=deliver) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(stretched(20))
    assert sorted(outcome["outcome"] for _, outcome in outcomes) == ["applied"] + ["ignored"] * 23
    assert till.events() == ["payment.succeeded"]


def test_what_is_not_signed_right_is_401_and_leaves_nothing(till):
    till = till()
    charge = till.charge()["id"]
    body = body_of("charge.succeeded", charge)
    good = signed(body)
    broken = [
        {},
        {**good, "webhook-signature": ""},
        {**good, "webhook-signature": good["webhook-signature"][:-3] + "AA="},
        {**good, "webhook-signature": good["webhook-signature"].replace("v1,", "v2,")},
        {**good, "webhook-id": good["webhook-id"] + "x"},
        {**good, "webhook-timestamp": str(int(good["webhook-timestamp"]) + 1)},
        {**good, "webhook-timestamp": "tomorrow"},
        signed(body, late_s=310),
        signed(body, late_s=-310),
        signed(body, secret=OWN),
        {name: value for name, value in good.items() if name != "webhook-id"},
        {name: value for name, value in good.items() if name != "webhook-timestamp"},
    ]
    for headers in broken:
        status, problem = till.post(body, headers)
        assert (status, problem["type"]) == (401, "urn:larder:problem:bad_signature"), (headers, problem)
    assert till.post(body + b" ", good)[0] == 401
    assert till.status(charge) == "pending"
    assert till.shop.sql("SELECT COUNT(*) FROM $webhook", actor="payment") == [(0,)]
    rotated = {**good, "webhook-signature": "v1,b2xk " + good["webhook-signature"]}
    assert till.post(body, rotated) == (200, {"outcome": "applied"})


def test_garbage_that_is_signed_is_refused_and_nothing_breaks(till):
    till = till()
    garbage = [b"", b"{", b"\x00\xff\xfe", b"[" * 60000, b'{"type":' + b"9" * 4000 + b"}", b'{"type":"charge.succeeded","data":{"charge":"\xff"}}',
               b'{"type":"charge.succeeded","data":{"charge":"' + b"0" * 36 + b'"}}', b'"charge.succeeded"']
    for body in garbage:
        status, problem = till.post(body, signed(body))
        assert status == 400, (body[:40], problem)
    unknown = b'{"type":"charge.refunded.partially","data":null}'
    assert till.post(unknown, signed(unknown)) == (200, {"outcome": "ignored"})
    long_reason = body_of("charge.failed", till.charge()["id"], reason="\u20ac\u0001" * 5000)
    assert till.post(long_reason, signed(long_reason)) == (200, {"outcome": "applied"})
    assert till.shop.sql("SELECT COUNT(*) FROM $webhook", actor="payment") == [(2,)], "what was signed and can be read is kept, also of a type that is not known"
    assert " error " not in till.process.log()


def test_a_secret_of_its_own_replaces_the_one_that_everybody_knows(till):
    till = till(webhook_secret=OWN)
    charge = till.charge()["id"]
    body = body_of("charge.succeeded", charge)
    assert till.post(body, signed(body))[0] == 401
    assert till.post(body, signed(body, secret=OWN)) == (200, {"outcome": "applied"})
    assert OWN not in till.process.log()


def test_without_a_secret_an_outside_provider_is_not_believed(till):
    till = till(payment_url="http://127.0.0.1:1/")
    charge = till.charge()["id"]
    body = body_of("charge.succeeded", charge)
    assert till.post(body, signed(body))[0] == 401
    assert "webhooks_are_refused" in till.process.log()


def test_the_command_plays_the_provider(till):
    till = till(payment_delay_ms=600000)
    charge = till.charge()["id"]
    status, words = till.shop.command("webhook", text(charge), "succeeded", "--reference", "by hand", "--id", "w-1")
    assert status == DONE, words
    assert f'{{"type":"charge.succeeded","data":{{"charge":"{text(charge)}","reference":"by hand"}}}}' in words
    assert f"POST http://{till.shop.http}/v1/payments/webhook" in words and "webhook-id: w-1" in words
    assert words.endswith('200 {"outcome":"applied"}\n')
    assert re.search(r"^webhook-signature: v1,[A-Za-z0-9+/]{43}=$", words, re.M)
    assert till.status(charge) == "succeeded"
    status, words = till.shop.command("webhook", text(charge), "failed", "--id", "w-1")
    assert (status, words[-26:]) == (DONE, '200 {"outcome":"ignored"}\n')
    late = till.charge(1009)["id"]
    refund = till.client.get("payment.refund", {"charge": late})
    assert refund["status"] == "pending"
    status, words = till.shop.command("webhook", text(late), "succeeded", "--refund", text(refund["id"]))
    assert status == DONE and '"outcome":"applied"' in words
    assert till.client.get("payment.get", {"charge": late})["refunded"] == 1009


def test_the_command_says_how_much_has_moved(till):
    till = till(payment_delay_ms=600000)
    charges = [till.charge()["id"] for _ in range(3)]
    for charge, arguments, told, outcome in (
            (charges[0], ("--amount", "2506", "--currency", "BRL"), '"amount":2506,"currency":"BRL"', "applied"),
            (charges[1], ("--amount", "2505", "--currency", "BRL"), '"amount":2505,"currency":"BRL"', "disputed"),
            (charges[2], ("--currency", "EUR"), '"currency":"EUR"', "disputed"),
            (charges[2], ("--amount", "0"), '"amount":0', "disputed"),
            (charges[0], ("--refund", text(uuid7()), "--amount", "6"), '"amount":6', "applied")):
        status, words = till.shop.command("webhook", text(charge), "succeeded", *arguments)
        assert status == DONE and told in words and words.endswith(f'200 {{"outcome":"{outcome}"}}\n'), words
    assert [till.status(charge) for charge in charges] == ["succeeded", "pending", "pending"]
    assert till.client.get("payment.get", {"charge": charges[1]})["came"] == {"amount": 2505, "currency": "BRL"}
    assert till.client.get("payment.get", {"charge": charges[0]})["refunded"] == 6
    for wrong in (("--amount", "-1"), ("--amount", "1.5"), ("--amount", ""), ("--amount", str(10**15 + 1)), ("--amount", "9" * 30), ("--amount",),
                  ("--currency", "brl"), ("--currency", "BRLX"), ("--currency", "")):
        status, words = till.shop.command("webhook", text(charges[1]), "succeeded", *wrong)
        assert status == USAGE and wrong[0] in words, f"{wrong}: {words}"


def test_the_command_says_what_is_wrong(till):
    till = till()
    charge = text(uuid7())
    assert till.shop.command("webhook")[0] == USAGE
    assert till.shop.command("webhook", "CP-1", "succeeded")[0] == USAGE
    assert till.shop.command("webhook", charge, "paid")[0] == USAGE
    assert till.shop.command("webhook", charge, "failed", "--refund", "x")[0] == USAGE
    assert till.shop.command("webhook", charge, "failed", webhook_secret="nonsense")[0] == USAGE
    status, words = till.shop.command("webhook", charge, "failed", webhook_secret=OWN)
    assert status == REFUSED and "401" in words
    status, words = till.shop.command("webhook", charge, "failed", "--url", "http://127.0.0.1:1/")
    assert status == REFUSED and "not answered" in words
