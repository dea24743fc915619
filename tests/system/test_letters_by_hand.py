# SPDX-License-Identifier: MPL-2.0
"""What an operator does with `larder letters` on a running shop, and what becomes of the stock."""

import json
import uuid

import pytest
from processes import DONE, FAILED, wait_until
from test_conservation import QUICK, dead, mend, spoil


@pytest.fixture
def spoilt(database, make_shop, ask):
    """An open shop, and four letters of productions that did not fit on their shelves: ids by product."""
    shop = make_shop(database, **QUICK)
    shop.run()
    client = ask(shop)
    for number in range(4):
        spoil(client, f"p{number}")
    wait_until(lambda: len(dead(client)) == 4, what="four letters")
    return shop, client, {letter["key"]: str(uuid.UUID(bytes=letter["id"])) for letter in dead(client)}


def run(shop, *arguments):
    return shop.command("letters", *arguments)


def document(shop, *arguments):
    status, words = run(shop, *arguments, "--json")
    assert status == DONE, words
    return json.loads(words)


def on_hand(client, product):
    return client.level(product)["on_hand"]


def test_letters_are_listed_counted_and_shown(spoilt):
    shop, _, ids = spoilt
    status, words = run(shop, "list", "--state", "dead")
    assert status == DONE and all(letter in words for letter in ids.values())
    assert [entry["key"] for entry in document(shop, "list", "--key", "p2")["data"]] == ["p2"]
    assert document(shop, "list", "--key", "p2", "--older-than", "1h")["data"] == []
    page = document(shop, "list", "--limit", "3")
    assert [entry["number"] for entry in page["data"]] == [4, 3, 2] and page["has_more"] is True
    assert run(shop, "stats")[1].startswith("4 dead (the oldest ")
    assert document(shop, "stats")["dead"] == 4
    status, words = run(shop, "show", ids["p1"])
    assert status == DONE and "quantity" in words and "would_overflow" in words and "factory.produced" in words
    assert len(document(shop, "show", ids["p1"])["history"]) == 2


def test_a_letter_is_replayed_once_its_cause_is_mended(spoilt):
    shop, client, ids = spoilt
    status, words = run(shop, "replay", ids["p0"])
    assert status == FAILED and "would_overflow" in words, words
    mend(client, "p0")
    before = on_hand(client, "p0")
    assert run(shop, "replay", ids["p0"], "--because", "shelf cleared", "--author", "ada") == (DONE, f"{ids['p0']}  done\n")
    assert on_hand(client, "p0") == before + 10
    assert run(shop, "replay", ids["p0"]) == (DONE, f"{ids['p0']}  done\n")
    assert on_hand(client, "p0") == before + 10
    told = document(shop, "show", ids["p0"])["audit"]
    assert any(line["author"] == "ada" and line.get("reason") == "shelf cleared" for line in told), told
    shop.verify()


def test_a_canary_ends_a_replay_and_the_rest_stays_dead(spoilt):
    shop, client, _ = spoilt
    status, words = run(shop, "replay", "--all", "--dry-run")
    assert status == DONE and "4 letters would be replayed" in words
    status, words = run(shop, "replay", "--all", "--canary", "1")
    assert status == FAILED and "stopped" in words and "would_overflow" in words, words
    assert len(dead(client)) == 4
    replay = document(shop, "replays")["data"][0]
    assert replay["state"] == "stopped" and run(shop, "cancel", replay["id"])[0] == FAILED
    shop.verify()


def test_all_that_a_filter_finds_is_replayed(spoilt):
    shop, client, _ = spoilt
    for number in range(4):
        mend(client, f"p{number}")
    before = {f"p{number}": on_hand(client, f"p{number}") for number in range(4)}
    assert run(shop, "replay", "--all", "--key", "p1")[0] == DONE
    assert {letter["key"] for letter in dead(client)} == {"p0", "p2", "p3"}
    status, words = run(shop, "replay", "--all", "--rate", "1000")
    assert status == DONE and "3 of 3 done, 0 failed" in words, words
    assert {name: on_hand(client, name) for name in before} == {name: units + 10 for name, units in before.items()}
    shop.verify()


def test_a_letter_is_edited_and_then_goes(spoilt):
    shop, client, ids = spoilt
    status, words = run(shop, "edit", ids["p2"], "quantity=three", "--reason", "lot was 3")
    assert status != DONE and "quantity" in words, words
    client.ok("stock.adjust", {"product": "p2", "delta": -3})
    status, words = run(shop, "edit", ids["p2"], "quantity=3", "--reason", "lot was 3")
    assert status == DONE and "message before it was edited" in words, words
    before = on_hand(client, "p2")
    status, words = run(shop, "replay", ids["p2"])
    assert status == DONE, words
    assert on_hand(client, "p2") == before + 3
    shop.verify()


def test_a_letter_is_discarded_and_restored(spoilt):
    shop, client, ids = spoilt
    assert run(shop, "discard", ids["p3"], "--reason", "counted by hand") == (DONE, f"{ids['p3']}  discarded\n")
    assert {letter["key"] for letter in dead(client)} == {"p0", "p1", "p2"}
    assert run(shop, "replay", ids["p3"])[0] == FAILED
    shop.verify()
    assert run(shop, "restore", ids["p3"]) == (DONE, f"{ids['p3']}  dead\n")
    mend(client, "p3")
    assert run(shop, "replay", ids["p3"])[0] == DONE
    shop.verify()


def test_mistakes_get_a_sentence(spoilt):
    shop, _, _ = spoilt
    status, words = run(shop, "list", "--state", "ded")
    assert status == 2 and "ded" in words, words
    status, words = run(shop, "show", str(uuid.uuid4()))
    assert status == FAILED and "letter" in words, words
    assert run(shop, "replay", "--all", "--key", "nothing-has-this")[0] != 2
