# SPDX-License-Identifier: MPL-2.0
"""Accepted = delivered + discarded + parked + still to come, and what was given up has its letter: `verify` proves it, names what does
not add up, and is quiet while letters come and go."""

import re
import threading

import pytest
from buyers import Asker, Book, Crowd
from processes import DONE, FAILED, free_port, wait_until

FULL = 10**15
QUICK = {"lead_time_ms": 0, "retry_attempts": 2, "retry_first_ms": 10}


def fill(client, product):
    """No unit more fits on this shelf."""
    client.ok("stock.count", {"product": product, "counted": FULL})


def spoil(client, product, quantity=10):
    """A production whose units do not fit on the shelf: stock cannot apply factory.produced, and gives it up."""
    fill(client, product)
    return client.ok("factory.produce", {"product": product, "quantity": quantity})["id"]


def mend(client, product):
    client.ok("stock.adjust", {"product": product, "delta": -1000})


def letters(client, **filters):
    return client.ok("dlq.list", {"limit": 1000, **filters})["letters"]


def dead(client):
    return letters(client, state="dead")


def confirmed(shop):
    """Stock has heard that its burials are kept."""
    return shop.sql("SELECT COUNT(*) FROM $burial") == [(0,)]


@pytest.fixture
def spoilt(database, make_shop, ask):
    """A closed shop with some events given up, one of them discarded, and some replayed; and the ids of letters by product."""
    shop = make_shop(database, **QUICK)
    running = shop.run()
    client = ask(shop)
    names = [f"p{number}" for number in range(6)]
    for name in names:
        spoil(client, name)
    wait_until(lambda: len(dead(client)) == 6, what="six letters")
    known = {letter["key"]: letter for letter in dead(client)}
    mend(client, "p0")
    assert client.ok("dlq.replay", {"letter": known["p0"]["id"]})["state"] == "done"
    client.ok("dlq.discard", {"letter": known["p1"]["id"], "reason": "test"})
    client.put("donut", 5)
    wait_until(lambda: confirmed(shop), what="burials are confirmed")
    shop.verify()
    running.stop()
    shop.verify()
    return shop, known


def test_the_equation_is_printed_per_subscription(spoilt):
    shop, _ = spoilt
    status, words = shop.command("verify")
    assert status == DONE
    line = re.search(r"^factory/0 to stock/0: (\d+) events agree: (\d+) delivered, (\d+) discarded, (\d+) parked, (\d+) to come$", words, re.M)
    assert line, words
    head, delivered, discarded, parked, to_come = map(int, line.groups())
    assert head == delivered + discarded + parked + to_come and (discarded, parked, to_come) == (0, 5, 0)
    assert re.search(r"^dlq/0: .* agree: .*; 4 dead, 0 waiting$", words, re.M), words


@pytest.mark.parametrize("actor, damage, named", [
    ("stock", "DELETE FROM $parked WHERE event_key = 'p2'", "stock/0: of factory/0 it has taken"),
    ("stock", "UPDATE $cursor SET delivered = delivered + 1 WHERE source = 'factory/0'", "stock/0: of factory/0 it has taken"),
    ("stock", "UPDATE $cursor SET delivered = delivered + 1000 - position, position = 1000 WHERE source = 'factory/0'",
     "stock/0 has applied 1000 events, and the stream ends at 12"),
    ("factory", "UPDATE $position SET position = 13 WHERE subscriber = 'stock/0'", "stock/0 is noted as having applied 13 events"),
    ("factory", "UPDATE $position SET hosted = 13 WHERE subscriber = 'stock/0'", "the dlq is noted as keeping all up to 13 for stock/0"),
    ("dlq", "DELETE FROM $letter WHERE letter_key = 'p3'", "there is no letter about it"),
    ("dlq", "DELETE FROM $letter_frame WHERE n = (SELECT n FROM $letter WHERE letter_key = 'p3')", "its frames are gone"),
    ("dlq", "UPDATE $tally SET letters = letters + 1 WHERE state = 1", "the counters say"),
    ("dlq", "UPDATE $letter SET state = 1 WHERE letter_key = 'p0'", "stock/0 does not keep event"),
], ids=["parked", "delivered", "cursor", "noted", "hosted", "letter", "frames", "tally", "reopened"])
def test_what_was_changed_by_hand_is_named(spoilt, actor, damage, named):
    shop, _ = spoilt
    shop.sql(damage, actor=actor)
    status, words = shop.command("verify")
    assert status == FAILED and named in words, words


def test_a_row_without_a_letter_is_named_by_its_event(spoilt):
    shop, known = spoilt
    shop.sql("DELETE FROM $letter WHERE letter_key = 'p4'", actor="dlq")
    _, words = shop.command("verify")
    assert f"event {known['p4']['seq']} of factory/0, id " in words, words


def test_a_letter_without_a_row_is_named_by_its_id(spoilt):
    shop, known = spoilt
    shop.sql("DELETE FROM $parked WHERE event_key = 'p4'")
    shop.sql("UPDATE $cursor SET delivered = delivered + 1 WHERE source = 'factory/0'")
    _, words = shop.command("verify")
    text = known["p4"]["id"].hex()
    uuid = "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))
    assert f"letter {uuid} is dead, but stock/0 does not keep event {known['p4']['seq']} of factory/0" in words, words


def test_an_outside_call_that_was_given_up_has_its_letter(database, make_shop, ask):
    shop = make_shop(database, **QUICK, factory_url=f"http://127.0.0.1:{free_port()}")
    running = shop.run()
    client = ask(shop)
    client.put("p0", 1)
    client.ok("factory.produce", {"product": "p0", "quantity": 5})
    wait_until(lambda: len(dead(client)) == 1, what="the letter of the call")
    wait_until(lambda: shop.sql("SELECT COUNT(*) FROM $burial", actor="factory") == [(0,)], what="the burial is confirmed")
    assert dead(client)[0]["kind"] == "call"
    shop.verify()
    running.stop()
    shop.verify()
    shop.sql("UPDATE $letter SET row_owner = 'nobody'", actor="dlq")
    status, words = shop.command("verify")
    assert status == FAILED and 'factory/0: the row of "' in words and "there is no letter about it" in words, words
    assert "dlq/0: letter " in words and 'does not keep the row of "nobody"' in words, words


def test_the_first_event_that_a_source_lost_is_named(database, make_shop, ask):
    shop = make_shop(database, lead_time_ms=0)
    running = shop.run()
    client = ask(shop)
    for number in range(5):
        client.put(f"p{number}", 1)
        client.ok("factory.produce", {"product": f"p{number}", "quantity": 1})
    wait_until(lambda: shop.sql("SELECT MAX(seq) FROM $outbox", actor="factory") == [(10,)], what="ten events")
    wait_until(lambda: shop.sql("SELECT position FROM $cursor WHERE source = 'factory/0'") == [(10,)], what="stock has them")
    running.stop()
    shop.sql("UPDATE $position SET position = 2, hosted = 0", actor="factory")
    shop.sql("UPDATE $cursor SET position = 2, delivered = 2, chain = NULL WHERE source = 'factory/0'")
    shop.verify()
    shop.sql("DELETE FROM $outbox WHERE seq = 6 OR seq = 8", actor="factory")
    status, words = shop.command("verify")
    assert status == FAILED and "factory/0: event 6 is not kept any more" in words, words


def test_what_the_dlq_keeps_for_one_that_is_behind_is_proved(database, make_shop, ask):
    shop = make_shop(database, behind_ms=300)
    shop.run().stop()
    dlq, stock = shop.actor("dlq"), shop.actor("stock")
    client = ask(shop)
    for number in range(6):
        client.put(f"p{number}", 1, reorder_at=0, order_up_to=10, lot=10)
        assert client.take(f"p{number}").status == "ok"
    head = shop.sql("SELECT seq FROM $shard")[0][0]
    assert head >= 6
    kept = "SELECT copied FROM $hosting WHERE source = 'stock/0' AND subscriber = 'factory/0'"
    wait_until(lambda: shop.sql(kept, actor="dlq") == [(head,)], what="all is copied")
    wait_until(lambda: shop.sql("SELECT hosted FROM $position WHERE subscriber = 'factory/0'") == [(head,)], what="stock knows it")
    shop.verify()
    stock.stop()
    dlq.stop()
    shop.verify()
    shop.sql("DELETE FROM $outbox WHERE seq < 5")
    shop.verify()
    shop.sql("DELETE FROM $kept WHERE seq = 3", actor="dlq")
    status, words = shop.command("verify")
    assert status == FAILED and "factory/0 of stock/0: event 3 is not kept" in words, words
    shop.sql("DELETE FROM $hosting", actor="dlq")
    status, words = shop.command("verify")
    assert status == FAILED and f"the dlq is noted as keeping all up to {head} for factory/0" in words, words


def test_a_dlq_that_was_never_started_is_said_and_is_no_fault(database, make_shop, ask):
    shop = make_shop(database, **QUICK)
    stock = shop.actor("stock")
    factory = shop.actor("factory")
    client = ask(shop)
    spoil(client, "p0")
    wait_until(lambda: shop.sql("SELECT COUNT(*) FROM $burial") == [(1,)], what="a burial that nobody takes")
    stock.stop()
    factory.stop()
    status, words = shop.command("verify")
    assert status == DONE and "dlq/0: was never started" in words, words
    shop.sql("DELETE FROM $burial")
    status, words = shop.command("verify")
    assert status == FAILED and "the dlq was never started" in words, words


class Trouble(threading.Thread):
    """Spoils productions, replays, discards and restores letters, until it is told to end."""

    def __init__(self, shop):
        super().__init__(daemon=True)
        self.shop, self.rounds, self.error, self.is_ending = shop, 0, None, False

    def run(self):
        try:
            with Asker(self.shop) as client:
                while not self.is_ending:
                    self.round(client)
                    self.rounds += 1
        except Exception as error:  # pylint: disable=broad-exception-caught
            self.error = error

    def round(self, client):
        names = [f"t{self.rounds}-{number}" for number in range(4)]
        for name in names:
            spoil(client, name)
        wait_until(lambda: {letter["key"] for letter in dead(client)} >= set(names), what="letters of this round")
        known = {letter["key"]: letter["id"] for letter in dead(client)}
        for name in names:
            mend(client, name)
        client.ok("dlq.replay", {"letter": known[names[0]]})
        client.ok("dlq.discard", {"letter": known[names[1]], "reason": "test"})
        client.ok("dlq.restore", {"letter": known[names[1]]})
        started = client.ok("dlq.start", {"filter": {"state": "dead"}})
        wait_until(lambda: client.ok("dlq.status", {"replay": started["id"]})["state"] == "done", what="the replay")

    def stop(self):
        self.is_ending = True
        self.join(60)
        assert self.error is None, self.error


def test_verify_is_quiet_while_letters_come_and_go(database, make_shop, ask):
    shop = make_shop(database, **QUICK)
    shop.run()
    client, book = ask(shop), Book()
    put = {f"p{number}": 100000 for number in range(4)}
    for product, units in put.items():
        client.put(product, units)
    trouble = Trouble(shop)
    trouble.start()
    with Crowd(shop, book, put, count=4) as crowd:
        for number in range(8):
            rounds, sold = trouble.rounds, book.units()
            shop.verify()
            wait_until(lambda before=rounds: trouble.rounds > before or trouble.error, 30, f"letters beside proof {number}")
            assert book.units() > sold and trouble.error is None, trouble.error
        trouble.stop()
        crowd.stop()
    shop.verify()
    book.check(shop, put)
