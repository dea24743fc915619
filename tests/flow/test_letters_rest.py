# SPDX-License-Identifier: MPL-2.0
"""Letters and replays by REST. The fault is a shelf so full that a production does not fit on it: its event is refused by stock until
somebody makes room, or makes the event smaller."""

import uuid

import pytest

from larder_client import Client, pack, uuid7
from rest import Rest, until

FULL = 10**15 - 2
NOBODY = "0198f2a0-1c00-7a3b-8c4d-5e6f708192a3"
QUANTITY = 5


class Fault:
    """A running shop whose events can be made to fail."""

    def __init__(self, shop):
        self.shop = shop
        self.rest = Rest(shop.http)
        self.dlq = Client(shop.endpoint("dlq"))
        self.count = 0

    def close(self):
        self.dlq.close()

    def dead(self, product=None):
        """The letter of an event that stock refused until its attempts were used up."""
        self.count += 1
        product = product or f"p{self.count}"
        self.rest.post(f"/v1/stock/{product}:count", {"counted": FULL}).is_ok()
        self.rest.post("/v1/productions", {"product": product, "quantity": QUANTITY}).is_ok(201)
        return until(lambda: self.one(f"state=dead&key={product}"), 20, f"a dead letter about {product}")

    def one(self, query):
        found = self.rest.get(f"/v1/letters?{query}").is_ok()["data"]
        return found[0] if found else None

    def stale(self, product="bun"):
        """The id of a request that was of no use any more when it was handed over."""
        order = {"op": "stock.adjust", "request": uuid7(), "body": pack({"product": product, "delta": 7}), "useful_until": 1}
        return str(uuid.UUID(bytes=self.dlq.get("dlq.hand_over", order)["id"]))

    def make_room(self, product, units=QUANTITY):
        self.rest.post(f"/v1/stock/{product}:adjust", {"delta": -units}).is_ok()

    def on_hand(self, product):
        return self.rest.level(product)["on_hand"]

    def whole(self, letter):
        return self.rest.get(f"/v1/letters/{letter['id']}").is_ok()

    def do(self, letter, verb, **body):
        return self.rest.post(f"/v1/letters/{letter['id']}:{verb}", body)

    def await_replay(self, replay, state):
        def is_so():
            found = self.rest.get(f"/v1/replays/{replay}").is_ok()
            return found if found["state"] == state else None
        return until(is_so, 20, f"the replay is {state}")


@pytest.fixture
def fault(new_shop, database):
    shop = new_shop(database, retry_attempts=2, retry_first_ms=20, lead_time_ms=20)
    shop.run()
    made = Fault(shop)
    yield made
    made.close()


def values(fields):
    return {field["name"]: field["value"] for field in fields}


def test_a_letter_says_what_is_known(fault):
    letter = fault.dead("donut")
    assert (letter["kind"], letter["destination"], letter["source"]) == ("event", "stock/0", "factory/0")
    assert (letter["type"], letter["reason"], letter["units"], letter["attempts"]) == ("factory.produced", "would_overflow", QUANTITY, 2)
    whole = fault.whole(letter)
    assert set(whole) == {"letter", "fields", "history", "audit", "header", "body"}
    assert whole["letter"] == letter
    assert values(whole["fields"])["product"] == "donut"
    assert values(whole["fields"])["quantity"] == str(QUANTITY)
    assert [attempt["error"] for attempt in whole["history"]] == [letter["error"]] * 2
    assert whole["audit"] == []
    assert fault.rest.get(f"/v1/letters/{NOBODY}").is_problem("unknown_letter")
    assert "letter" in fault.rest.get("/v1/letters/x").is_problem("invalid_field")["detail"]
    fault.rest.get(f"/v1/letters/{letter['id']}?colour=red").is_problem("invalid_field")


def test_a_replay_has_its_effect_once_and_only_when_the_fault_is_mended(fault):
    letter = fault.dead("donut")
    failed = fault.do(letter, "replay", author="ann", reason="try").is_ok()
    assert (failed["state"], failed["attempts"], failed["reason"]) == ("dead", 3, "would_overflow")
    assert fault.on_hand("donut") == FULL
    fault.make_room("donut")
    for _ in range(2):
        done = fault.do(letter, "replay", author="ann").is_ok()
        assert (done["id"], done["state"]) == (letter["id"], "done")
    assert fault.on_hand("donut") == FULL
    kinds = [move["kind"] for move in fault.rest.get("/v1/stock/donut/moves?limit=2").is_ok()["data"]]
    assert kinds == ["refill", "adjust"]
    audit = fault.whole(letter)["audit"]
    assert [(line["author"], line["action"]) for line in audit] == [("ann", "replay")] * len(audit) and len(audit) >= 2
    assert audit[0]["reason"] == "try"
    fault.rest.post(f"/v1/letters/{NOBODY}:replay").is_problem("unknown_letter")
    fault.rest.post(f"/v1/letters/{letter['id']}:replay", {"when": "now"}).is_problem("invalid_field")


def test_an_edit_keeps_the_original(fault):
    letter = fault.dead("donut")
    edited = fault.do(letter, "edit", changes=[{"name": "quantity", "value": "1"}], author="ann", reason="a typo").is_ok()
    assert values(edited["fields"])["quantity"] == "1"
    assert values(edited["original"])["quantity"] == str(QUANTITY)
    (line,) = edited["audit"]
    assert (line["author"], line["action"], line["reason"]) == ("ann", "edit", "a typo")
    assert "quantity" in line["detail"] and "5" in line["detail"] and "1" in line["detail"]
    assert fault.do(letter, "replay").is_ok()["state"] == "done"
    assert fault.on_hand("donut") == FULL + 1
    again = fault.do(letter, "edit", changes=[{"name": "quantity", "value": "2"}], reason="again")
    again.is_problem("not_editable")


@pytest.fixture
def kept_dead(fault):
    return fault, fault.dead("donut")


def test_a_bad_edit_changes_nothing(kept_dead):
    fault, letter = kept_dead
    before = fault.whole(letter)
    change = [{"name": "quantity", "value": "1"}]
    for body, field in (
        ({"changes": change}, "reason"),
        ({"reason": "x"}, "changes"),
        ({"changes": [], "reason": "x"}, "changes"),
        ({"changes": [{"name": "colour", "value": "red"}], "reason": "x"}, "colour"),
        ({"changes": [{"name": "quantity", "value": "many"}], "reason": "x"}, "quantity"),
        ({"changes": [{"name": "quantity", "value": "0"}], "reason": "x"}, "quantity"),
        ({"changes": [{"name": "quantity", "value": 1}], "reason": "x"}, "changes[0].value"),
        ({"changes": [{"field": "quantity", "value": "1"}], "reason": "x"}, "changes[0].field"),
        ({"changes": change * 2, "reason": "x"}, "quantity"),
        ({"changes": [{"name": "quantity", "value": str(QUANTITY)}], "reason": "x"}, "nothing"),
        ({"body": "gA", "reason": "x"}, "body"),
    ):
        assert field in fault.do(letter, "edit", **body).is_problem("invalid_field")["detail"], body
    fault.rest.post(f"/v1/letters/{NOBODY}:edit", {"changes": change, "reason": "x"}).is_problem("unknown_letter")
    assert fault.whole(letter) == before


def test_a_discard_needs_a_reason_and_can_be_taken_back(kept_dead):
    fault, letter = kept_dead
    assert "reason" in fault.do(letter, "discard", author="ann").is_problem("invalid_field")["detail"]
    fault.do(letter, "restore").is_problem("letter_closed")
    assert fault.do(letter, "discard", author="ann", reason="not worth it").is_ok()["state"] == "discarded"
    assert fault.do(letter, "discard", reason="once more").is_ok()["state"] == "discarded"
    fault.do(letter, "replay").is_problem("letter_closed")
    fault.make_room("donut")
    assert fault.do(letter, "restore", author="bob", reason="it is").is_ok()["state"] == "dead"
    assert fault.do(letter, "replay").is_ok()["state"] == "done"
    assert fault.on_hand("donut") == FULL
    audit = [(line["author"], line["action"]) for line in fault.whole(letter)["audit"]]
    assert audit[:2] == [("ann", "discard"), ("bob", "restore")]
    for verb in ("discard", "restore"):
        fault.rest.post(f"/v1/letters/{NOBODY}:{verb}", {"reason": "x"}).is_problem("unknown_letter")


def test_letters_are_found_by_what_they_are(fault):
    dead = [fault.dead() for _ in range(3)]
    stale = [fault.stale() for _ in range(2)]
    everything = fault.rest.pages("/v1/letters?limit=2")[0]
    assert [letter["number"] for letter in everything] == sorted((letter["number"] for letter in everything), reverse=True)
    assert {letter["id"] for letter in everything} == {letter["id"] for letter in dead} | set(stale)
    dead_ids, stale_ids = {letter["id"] for letter in dead}, set(stale)
    for query, expected in (
        ("state=dead", dead_ids), ("state=stale", stale_ids), ("kind=event", dead_ids), ("kind=request", stale_ids),
        ("destination=stock/0", dead_ids | stale_ids), ("destination=stock%2F1", set()), ("source=factory/0", dead_ids),
        ("type=factory.produced", dead_ids), ("type=stock.adjust", stale_ids), ("reason=would_overflow", dead_ids),
        ("key=" + dead[1]["key"], {dead[1]["id"]}), ("key=bun&state=stale", stale_ids), ("key=bun&state=dead", set()),
        (f"min_units={QUANTITY}", dead_ids), (f"min_units={QUANTITY + 1}", set()), ("min_amount=1", set()),
        ("older_than_ms=0", dead_ids | stale_ids), ("older_than_ms=3600000", set()), ("younger_than_ms=3600000", dead_ids | stale_ids),
    ):
        assert {letter["id"] for letter in fault.rest.pages(f"/v1/letters?{query}")[0]} == expected, query
    for query in ("state=lost", "kind=bird", "older_than_ms=-1", "limit=0", "limit=1001", "cursor=zz", "colour=red", "min_units=x"):
        name = query.split("=")[0]
        assert name in fault.rest.get(f"/v1/letters?{query}").is_problem("invalid_field")["detail"]


def test_stats_count_them(fault):
    empty = fault.rest.get("/v1/letters:stats").is_ok()
    assert (empty["counts"], empty["dead"], empty["waiting"], empty["is_full"]) == ([], 0, 0, False)
    for _ in range(2):
        fault.dead()
    fault.stale()
    stats = fault.rest.get("/v1/letters:stats").is_ok()
    assert (stats["dead"], stats["waiting"]) == (2, 0)
    counts = {(count["state"], count["destination"], count["reason"]): count for count in stats["counts"]}
    assert counts["dead", "stock/0", "would_overflow"]["letters"] == 2
    assert counts["dead", "stock/0", "would_overflow"]["units"] == 2 * QUANTITY
    assert counts["stale", "stock/0", "unavailable"]["letters"] == 1
    assert "oldest_dead" in stats


def test_a_selection_is_looked_at_and_then_replayed(fault):
    letters = [fault.dead() for _ in range(3)]
    chosen = {"filter": {"state": "dead", "reason": "would_overflow"}, "author": "ann", "reason": "there is room"}
    looked = fault.rest.post("/v1/replays", {**chosen, "dry_run": True})
    document = looked.is_ok(200)
    assert looked.headers["Location"] is None
    assert (document["state"], document["total"]) == ("dry_run", 3)
    assert document["shares"] == [{"destination": "stock/0", "reason": "would_overflow", "letters": 3, "units": 3 * QUANTITY}]
    assert fault.rest.pages("/v1/replays")[0] == []

    failed = fault.rest.post("/v1/replays", {**chosen, "canary": 1, "stop_on_failure": True}).is_ok(201)
    stopped = fault.await_replay(failed["id"], "stopped")
    assert (stopped["total"], stopped["done"], stopped["failed"]) == (3, 0, 1)
    assert stopped["stopped_by"] == letters[0]["id"]
    assert "would_overflow" in stopped["error"]

    for letter in letters:
        fault.make_room(letter["key"])
    started = fault.rest.post("/v1/replays", {**chosen, "canary": 1, "rate": 100})
    replay = started.is_ok(201)
    assert started.headers["Location"] == f"/v1/replays/{replay['id']}"
    done = fault.await_replay(replay["id"], "done")
    assert (done["total"], done["done"], done["failed"], done["author"], done["rate"], done["canary"]) == (3, 3, 0, "ann", 100, 1)
    for letter in letters:
        assert fault.on_hand(letter["key"]) == FULL
        found = fault.whole(letter)["letter"]
        assert (found["state"], found["replay"]) == ("done", replay["id"])
    listed = fault.rest.pages("/v1/replays?limit=1")[0]
    assert [found["id"] for found in listed] == [replay["id"], failed["id"]]


def test_a_selection_of_stale_requests_is_delivered(fault):
    letters = [fault.stale("bun") for _ in range(4)]
    fault.stale("bread")
    replay = fault.rest.post("/v1/replays", {"filter": {"state": "stale", "key": "bun"}}).is_ok(201)
    done = fault.await_replay(replay["id"], "done")
    assert (done["total"], done["done"], done["failed"]) == (4, 4, 0)
    assert fault.on_hand("bun") == 28
    for letter in letters:
        whole = fault.whole({"id": letter})
        assert (whole["letter"]["state"], whole["letter"]["status"]) == ("done", "ok")
        assert values(whole["answer"])["levels[0].product"] == "bun"


def test_a_replay_is_cancelled(fault):
    for _ in range(20):
        fault.stale()
    replay = fault.rest.post("/v1/replays", {"filter": {"state": "stale"}, "rate": 1}).is_ok(201)["id"]
    cancelled = fault.rest.post(f"/v1/replays/{replay}:cancel", {"author": "ann"}).is_ok()
    assert cancelled["state"] == "cancelled"
    ended = fault.await_replay(replay, "cancelled")
    assert ended["done"] < 20 and "ended" in ended
    fault.rest.post(f"/v1/replays/{replay}:cancel").is_problem("replay_closed")


def test_a_bad_replay_is_refused_and_begins_nothing(kept_dead):
    fault, _ = kept_dead
    for body, field in (
        (None, "filter"),
        ({"filter": []}, "filter"),
        ({"filter": {"colour": "red"}}, "filter.colour"),
        ({"filter": {"state": "lost"}}, "state"),
        ({"filter": {"state": "done"}}, "state"),
        ({"filter": {"limit": 3}}, "limit"),
        ({"filter": {}, "rate": 0}, "rate"),
        ({"filter": {}, "canary": 10001}, "canary"),
        ({"filter": {}, "dry_run": "yes"}, "dry_run"),
    ):
        assert field in fault.rest.post("/v1/replays", body).is_problem("invalid_field")["detail"], body
    fault.rest.post("/v1/replays", {"filter": {"key": "nothing"}}).is_problem("unknown_letter")
    fault.rest.get(f"/v1/replays/{NOBODY}").is_problem("unknown_replay")
    fault.rest.post(f"/v1/replays/{NOBODY}:cancel").is_problem("unknown_replay")
    fault.rest.get("/v1/replays/x").is_problem("invalid_field")
    assert fault.rest.get("/v1/replays").is_ok() == {"data": [], "has_more": False}


def test_the_same_key_starts_one_replay(fault):
    fault.stale()
    body = {"filter": {"state": "stale"}}
    first = fault.rest.post("/v1/replays", body, Idempotency_Key="r1").is_ok(201)
    again = fault.rest.post("/v1/replays", body, Idempotency_Key="r1")
    assert again.is_ok(201)["id"] == first["id"]
    assert again.headers["Idempotent-Replayed"] == "true"
    fault.rest.post("/v1/replays", {"filter": {"state": "dead"}}, Idempotency_Key="r1").is_problem("idempotency_mismatch")
