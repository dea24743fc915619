# SPDX-License-Identifier: MPL-2.0
"""Thousands of letters, half of their shelves mended: a canary, a filtered replay, and dlq and stock killed in the middle of it."""

import random

import pytest
from larder_client import pack, uuid7
from processes import wait_until

FULL = 10 ** 15
WINDOW = 512
KINDS = {"mended": 20, "broken": 10}


def all_ok(client, requests):
    """Requests by the hundred, not one after the other."""
    requests = list(requests)
    for at in range(0, len(requests), WINDOW):
        sent = {client.send(op, body, timeout_s=30): client.endpoint(op, body) for op, body in requests[at:at + WINDOW]}
        for endpoint in set(sent.values()):
            ids = {request_id for request_id, to in sent.items() if to == endpoint}
            answers = client.replies(ids, endpoint, 30)
            assert len(answers) == len(ids) and all(answer.status == "ok" for answer in answers.values()), answers


def products_of(count):
    """In turn one that will be mended and one that stays broken."""
    return [f"{kind}{number}" for number in range(count // 2) for kind in KINDS]


def quantity_of(product):
    return KINDS[product.rstrip("0123456789")]


def make_letters(shop, client, count):
    """As many productions as do not fit on their shelves, each a letter; then every second shelf is emptied."""
    products = products_of(count)
    all_ok(client, (("stock.count", {"product": product, "counted": FULL}) for product in products))
    all_ok(client, (("factory.produce", {"product": product, "quantity": quantity_of(product)}) for product in products))
    wait_until(lambda: client.ok("dlq.stats", {})["dead"] == count, 60, "letters", pause_s=0.1)
    mended = [product for product in products if product.startswith("mended")]
    all_ok(client, (("stock.count", {"product": product, "counted": 0}) for product in mended))
    return mended


def start_shop(make_shop, database):
    shop = make_shop(database, lead_time_ms=0, retry_attempts=1, hold_after=0, log_level="error")
    actors = {name: shop.actor(name) for name in ("dlq", "stock", "factory")}
    return shop, actors


def await_end(client, replay, deadline_s=120):
    def ended():
        status = client.ok("dlq.status", {"replay": replay})
        return status if "ended" in status else None
    return wait_until(ended, deadline_s, "the end of the replay", pause_s=0.05)


def refills(shop):
    return sorted(shop.sql("SELECT product, delta FROM $move WHERE kind = 'refill'"))


def replay_while_killing(shop, actors, client, mended, kills):
    """The mended half, found by what is at stake; whoever is killed in the middle of it comes back."""
    chance = random.Random()
    replay = client.ok("dlq.start", {"filter": {"min_units": KINDS["mended"]}, "rate": max(len(mended) // 3, 100), "reason": "mended"})["id"]
    wait_until(lambda: client.ok("dlq.status", {"replay": replay})["state"] != "selecting", 30, "selected")
    for number in range(kills):
        def has_come_far(wanted=len(mended) * (number + 1) // (kills + 2)):
            return client.ok("dlq.status", {"replay": replay})["done"] >= wanted
        wait_until(has_come_far, 60, f"letters before kill {number}", pause_s=chance.uniform(0.001, 0.02))
        name = ("dlq", "stock")[number % 2]
        actors[name].kill9()
        actors[name] = shop.actor(name)
    return await_end(client, replay)


@pytest.mark.parametrize("kind, count, kills", [("sqlite", 10000, 10), ("mysql", 1500, 4)])
def test_each_letter_has_its_effect_once_whoever_is_killed(kind, count, kills, request, make_shop, ask):
    shop, actors = start_shop(make_shop, request.getfixturevalue(kind))
    client = ask(shop)
    mended = make_letters(shop, client, count)

    # The canary meets a shelf that is still full: nothing behind it is tried.
    canary = client.ok("dlq.start", {"filter": {}, "canary": 10, "author": "ann", "reason": "is it mended?"})
    stopped = await_end(client, canary["id"])
    assert stopped["state"] == "stopped" and stopped["failed"] >= 1, stopped
    assert "would_overflow" in stopped["error"] and stopped["total"] == count, stopped
    culprit = client.ok("dlq.show", {"letter": stopped["stopped_by"]})["letter"]
    assert culprit["key"].startswith("broken") and culprit["state"] == "dead" and culprit["attempts"] == 2, culprit
    assert stopped["done"] + stopped["failed"] <= 10
    assert len(refills(shop)) == stopped["done"] <= 10

    ended = replay_while_killing(shop, actors, client, mended, kills)
    assert (ended["state"], ended["failed"]) == ("done", 0), ended
    assert ended["done"] == ended["total"] == len(mended) - stopped["done"], ended
    assert refills(shop) == sorted((product, KINDS["mended"]) for product in mended)
    stats = client.ok("dlq.stats", {})
    assert stats["dead"] == count - len(mended), stats
    shop.verify()


def test_a_replay_waits_for_an_owner_that_is_away(database, make_shop, ask):
    shop, actors = start_shop(make_shop, database)
    client = ask(shop)
    mended = make_letters(shop, client, 200)
    actors["stock"].kill9()
    replay = client.ok("dlq.start", {"filter": {"min_units": KINDS["mended"]}, "stop_on_failure": True})["id"]
    wait_until(lambda: client.ok("dlq.status", {"replay": replay})["state"] == "running", 30, "selected")
    actors["stock"] = shop.actor("stock")
    ended = await_end(client, replay)
    assert (ended["state"], ended["done"], ended["failed"]) == ("done", len(mended), 0), ended
    assert refills(shop) == sorted((product, KINDS["mended"]) for product in mended)
    shop.verify()


def test_edit_and_discard_act_on_the_row_of_the_owner(database, make_shop, ask):
    shop, _ = start_shop(make_shop, database)
    client = ask(shop)
    make_letters(shop, client, 4)

    def letter_of(product):
        return client.ok("dlq.list", {"key": product})["letters"][0]["id"]
    whole = client.ok("dlq.edit", {"letter": letter_of("mended0"), "changes": [{"name": "quantity", "value": "7"}], "reason": "miscounted"})
    assert {"name": "quantity", "value": "20"} in whole["original"] and {"name": "quantity", "value": "7"} in whole["fields"]
    assert client.ok("dlq.replay", {"letter": letter_of("mended0"), "author": "ann"})["state"] == "done"
    assert client.level("mended0")["on_hand"] == 7
    assert client.ok("dlq.discard", {"letter": letter_of("mended1"), "reason": "not wanted"})["state"] == "discarded"
    refused = client.ask("dlq.replay", {"letter": letter_of("mended1")})
    assert refused.status == "letter_closed", refused
    # What comes later for the same shelf is not kept back by what was given up.
    client.ok("factory.produce", {"product": "mended1", "quantity": 3})
    wait_until(lambda: client.level("mended1")["on_hand"] == 3, 20, "the next production")
    assert client.ok("dlq.restore", {"letter": letter_of("mended1")})["state"] == "dead"
    assert client.ok("dlq.replay", {"letter": letter_of("mended1")})["state"] == "done"
    assert client.level("mended1")["on_hand"] == 23
    assert client.ok("dlq.replay", {"letter": letter_of("mended1")})["state"] == "done", "pressing twice is once"
    assert client.level("mended1")["on_hand"] == 23
    still = client.ok("dlq.replay", {"letter": letter_of("broken0")})
    assert (still["state"], still["reason"], still["attempts"]) == ("dead", "would_overflow", 2), still
    shop.verify()


def test_requests_whose_time_was_over_are_delivered_once_by_a_replay(database, make_shop, ask):
    shop, actors = start_shop(make_shop, database)
    client = ask(shop)
    client.put("donut", 5)
    bodies = [{"op": "stock.adjust", "request": uuid7(), "body": pack({"product": "donut", "delta": 1}), "useful_until": 1} for _ in range(50)]
    for body in bodies:
        assert client.ok("dlq.hand_over", body)["state"] == "stale"
    refused = client.ask("dlq.start", {"filter": {}})
    assert refused.status == "unknown_letter", "stale letters are replayed when they are asked for"
    replay = client.ok("dlq.start", {"filter": {"state": "stale"}, "rate": 100})["id"]
    actors["dlq"].kill9()
    actors["dlq"] = shop.actor("dlq")
    ended = await_end(client, replay)
    assert (ended["state"], ended["done"], ended["failed"]) == ("done", 50, 0), ended
    assert client.level("donut")["on_hand"] == 55
    letter = client.ok("dlq.list", {"state": "done", "kind": "request"})["letters"][0]
    assert letter["status"] == "ok" and letter["replay"] == replay, letter
    shop.verify()
