# SPDX-License-Identifier: MPL-2.0
"""What one operation may make, another can say: sums, counts and texts at the ends of their bounds, over HTTP and ZeroMQ.

Whatever is asked here, the shop of this module has to end as it was told to, and nothing may be answered `internal`.
"""

import contextlib
import json
import subprocess
import uuid

import pytest

from larder_client import Client, Refused, utc_ms
from rest import until

import processes  # in tests/support, where rest looks

MOST = 10**9


def verify(shop):
    where = ["--db", shop.settings["db"]] if "db" in shop.settings else ["--data", str(shop.folder / "var")]
    done = subprocess.run([processes.LARDER, "verify", *where, "--base-port", str(shop.base)], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def fill(stock, product, units):
    while units > 0:
        step = min(units, MOST)
        level = stock.get("stock.adjust", {"product": product, "delta": step})["levels"][0]
        units -= step
    return level


# --- stock ---


def test_a_hold_of_two_lines_of_a_product_shows_their_sum(rest, stock, product):
    assert fill(stock, product, 2 * MOST)["on_hand"] == 2 * MOST
    lines = [{"product": product, "quantity": MOST}, {"product": product, "quantity": 1}]
    held = rest.post("/v1/holds", {"lines": lines}).is_ok(201)
    shown = rest.get(f"/v1/holds/{held['hold']}?product={product}").is_ok()
    assert shown["lines"] == [{"product": product, "quantity": MOST + 1}]
    assert shown["state"] == "open"
    found = stock.get("stock.hold", {"hold": uuid.UUID(held["hold"]).bytes, "product": product})
    assert found["lines"] == [{"product": product, "quantity": MOST + 1}]
    page = rest.get(f"/v1/stock/{product}/holds").is_ok()["data"]
    assert [hold["quantity"] for hold in page] == [MOST + 1]
    assert rest.level(product)["reserved"] == MOST + 1


def test_a_hold_of_a_thousand_lines_of_a_product_at_their_most(rest, stock, product):
    stock.get("stock.count", {"product": product, "counted": 10**15})
    lines = [{"product": product, "quantity": MOST}] * 1000
    held = stock.get("stock.reserve", {"lines": lines})
    shown = rest.get(f"/v1/holds/{uuid.UUID(bytes=held['hold'])}?product={product}").is_ok()
    assert shown["lines"] == [{"product": product, "quantity": 10**12}]
    moved = rest.get(f"/v1/stock/{product}/moves?limit=1").is_ok()["data"][0]
    assert moved["reserved_delta"] == 10**12
    stock.get("stock.commit", {"hold": held["hold"], "product": product})
    assert rest.level(product)["on_hand"] == 10**15 - 10**12


def test_a_shelf_takes_no_more_than_a_level_can_say(rest, stock, product):
    stock.get("stock.count", {"product": product, "counted": 10**15})
    rest.post(f"/v1/stock/{product}:adjust", {"delta": 1}).is_problem("would_overflow")
    refused = rest.post("/v1/takes", {"lines": [{"product": product, "quantity": MOST}] * 1000 + [{"product": product, "quantity": 1}]})
    refused.is_problem("invalid_field")
    taken = rest.post("/v1/takes", {"lines": [{"product": product, "quantity": MOST}] * 1000}).is_ok(201)
    assert taken["levels"][0]["on_hand"] == 10**15 - 10**12
    stock.get("stock.count", {"product": product, "counted": 5})
    short = rest.post("/v1/takes", {"lines": [{"product": product, "quantity": MOST}] * 1000}).is_problem("out_of_stock")
    assert (short["asked"], short["available"]) == (10**12, 5)


# --- letters ---


def burial(number, **more):
    key = number.to_bytes(8, "big")
    now = utc_ms()
    return {
        "letter": uuid.uuid4().bytes,
        "kind": "call",
        "destination": "factory/0",
        "reason": "call_failed",
        "error": "x" * 512,
        "attempts": 1,
        "first": now,
        "last": now,
        "history": [],
        "key": "k" * 64,
        "type": "t" * 64,
        "owner": "call",
        "due_key": key,
        **more,
    }


def test_what_is_at_stake_in_ten_thousand_letters_may_be_more_than_a_number_can_say(rest, dlq, shop):
    stake = {"units": 10**15, "amount": 10**15, "currency": "JPY"}
    for first in range(0, 10_240, 256):
        dlq.get("dlq.bury", {"burials": [burial(first + i, **stake) for i in range(256)]})
    counts = [count for count in dlq.get("dlq.stats")["counts"] if count.get("currency") == "JPY"]
    assert [(count["letters"], count["units"], count["amount"]) for count in counts] == [(10_240, 2**63 - 1, 2**63 - 1)]
    rest.get("/v1/letters:stats").is_ok()
    dry = dlq.get("dlq.start", {"filter": {"state": "dead", "destination": "factory/0"}, "dry_run": True})
    assert dry["total"] == 10_240 and dry["shares"][0]["units"] == 2**63 - 1
    page = dlq.get("dlq.list", {"limit": 1000})
    assert page["has_more"] and len(page["letters"]) > 500, "as many as fit into a frame"
    ids = [letter["id"] for letter in rest.get("/v1/letters?limit=1000").is_ok()["data"]]
    assert len(ids) == len(page["letters"])
    for letter in page["letters"][:100]:
        dlq.get("dlq.discard", {"letter": letter["id"], "reason": "r" * 255, "author": "a" * 64})
    counts = {count["state"]: count["units"] for count in dlq.get("dlq.stats")["counts"] if count.get("currency") == "JPY"}
    assert counts == {"dead": 2**63 - 1, "done": 100 * 10**15}, "their owner has no such rows: nothing is left to be done"
    assert "dlq/0: letters, counters, replays and kept events agree" in verify(shop), "though their owner knows none of them"


def test_a_letter_may_have_as_many_attempts_as_a_number_can_say(dlq):
    letter = burial(2**40, attempts=2**63 - 1, first=0, last=253402300799999)
    dlq.get("dlq.bury", {"burials": [letter]})
    shown = dlq.get("dlq.show", {"letter": letter["letter"]})["letter"]
    assert shown["attempts"] == 2**63 - 1 and shown["last"] == 253402300799999
    with contextlib.suppress(Refused):
        dlq.get("dlq.replay", {"letter": letter["letter"]})
    assert dlq.get("dlq.show", {"letter": letter["letter"]})["letter"]["attempts"] == 2**63 - 1


def test_a_request_of_nearly_a_frame_is_kept_for_later_and_can_be_shown(rest, dlq, product):
    row = {"product": product, "name": "n" * 1000, "category": "other", "amount": 1, "currency": "JPY", "description": "d" * 7900}
    rows = {"rows": [{**row, "images": "i" * 9000}] * 60}
    while len(body := json.dumps(rows, separators=(",", ":")).encode()) > 2**20:
        rows["rows"].pop()
    answer = rest.post("/v1/products:load", body, Prefer="respond-async")
    assert answer.status == 202, answer
    letter = answer.headers["Location"]
    until(lambda: rest.get(letter).is_ok()["letter"]["state"] == "done", what="it is done")
    whole = dlq.get("dlq.show", {"letter": uuid.UUID(letter.rsplit("/", 1)[1]).bytes})
    assert whole["letter"]["status"] == "ok" and len(whole["fields"]) == 64


# --- rows that were changed by hand ---


def test_rows_that_do_not_fit_together_are_internal_and_end_nobody(new_shop, database):
    shop = new_shop(database)
    running = shop.run()
    stock = Client(shop.endpoint("stock"))
    stock.get("stock.count", {"product": "tea", "counted": 10})
    hold = stock.get("stock.reserve", {"lines": [{"product": "tea", "quantity": 4}]})["hold"]
    gone = stock.get("stock.reserve", {"lines": [{"product": "tea", "quantity": 1}]})["hold"]
    shop.sql("UPDATE $hold SET quantity = 9 WHERE quantity = 4")
    shop.sql("UPDATE $hold SET product = 'nothing' WHERE quantity = 1")
    for broken in (hold, gone):
        with pytest.raises(Refused) as refused:
            stock.get("stock.commit", {"hold": broken})
        assert refused.value.status == "internal"
    assert stock.get("stock.get", {"product": "tea"})["reserved"] == 5
    stock.get("stock.take", {"lines": [{"product": "tea", "quantity": 5}]})
    assert "rows_do_not_agree" in running.log()
    stock.close()
