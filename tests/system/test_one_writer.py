# SPDX-License-Identifier: MPL-2.0
"""One writer per shard, whatever the network, the scheduler or an operator does: nothing doubled, nothing lost, no stale answer."""

import contextlib
import random
import threading
import time

import pytest
from buyers import Asker, Book
from larder_client import uuid7
from patience import stretched
from processes import DONE, FENCED, USAGE, Shop, wait_until


def lines(product="donut", quantity=1):
    return [{"product": product, "quantity": quantity}]


def count_lines(shop, reference):
    return shop.sql(f"SELECT COUNT(*) FROM $move WHERE reference = '{reference}' AND kind = 'take'")[0][0]


# --- a COMMIT whose fate its writer does not know ---


@pytest.mark.parametrize("fate", ["answer_lost", "delivered_late", "never_delivered", "delivered_meanwhile", "its_connection_stays"])
def test_a_commit_held_back_while_the_writer_reconnects_counts_once(fate, mysql, proxy, make_shop, ask):
    shop = make_shop(mysql)
    stock = shop.actor("stock", db=mysql.via(proxy.port)["LARDER_DB"])
    client = ask(shop)
    client.put("donut", 10)
    # Where a KILL does its work, the old connection has nothing to say any more; the other two fates are those where it fails.
    proxy.swallows_kill = fate in ("delivered_meanwhile", "its_connection_stays")
    if fate == "answer_lost":
        proxy.lose_commit_answer()
    else:
        proxy.hold_commit()
    with Asker(shop) as other:
        held = other.send("stock.take", {"lines": lines(), "reference": "held"}, timeout_s=20)
        wait_until(lambda: proxy.commits_met == 1, what="a COMMIT on its way")
        if fate == "delivered_meanwhile":
            stock.wait_log("database_lost")
            proxy.deliver()
        elif fate == "never_delivered":
            proxy.forget()
        answer = client.ask("stock.take", {"lines": lines(), "reference": "held"}, held, again=True)
        assert answer.status == "ok"
        proxy.deliver()
        for reference in ("next", "and-next"):
            client.ok("stock.take", {"lines": lines(), "reference": reference})
        # Whatever the first attempt was told, if it was told, is not a contradiction.
        first = other.replies([held], shop.endpoint("stock"), 0.1)
        assert all(told.status in ("ok", "unavailable") for told in first.values()), first
    found = "commit_found_again" in stock.log()
    assert found == (fate in ("answer_lost", "delivered_meanwhile")), stock.log()
    assert [count_lines(shop, reference) for reference in ("held", "next", "and-next")] == [1, 1, 1]
    assert client.level("donut")["on_hand"] == 7
    stock.stop()
    shop.verify()


@pytest.mark.parametrize("times", [2, 3, 5])
def test_a_writer_whose_taking_again_is_not_answered_does_not_take_itself_for_somebody_else(times, mysql, proxy, make_shop, ask):
    shop = make_shop(mysql)
    stock = shop.actor("stock", db=mysql.via(proxy.port)["LARDER_DB"])
    client = ask(shop)
    client.put("donut", 10)
    proxy.lose_commit_answer(times)
    assert client.take("donut").status == "ok"
    wait_until(lambda: proxy.commits_met == times, what="so many answers lost")
    assert client.take("donut").status == "ok"
    assert client.level("donut")["on_hand"] == 8
    assert stock.is_running(), stock.log()
    stock.stop()
    shop.verify()


# --- a successor ---


def successor(shop):
    """A second shop on the same database, with ports of its own."""
    other = Shop(shop.folder, shop.database)
    other.processes = shop.processes
    return other


class Load(threading.Thread):
    """Sells one unit after the other and writes down what it was told."""

    def __init__(self, shop, name):
        super().__init__(daemon=True)
        self.shop, self.label, self.told, self.ended = shop, name, [], threading.Event()

    def run(self):
        with Asker(self.shop) as asker:
            while not self.ended.is_set():
                reference = f"{self.label}-{len(self.told)}"
                answer = asker.once("stock.take", {"lines": lines(), "reference": reference}, timeout_s=1)
                self.told.append((reference, answer is not None and answer.status == "ok"))


@contextlib.contextmanager
def load(shop, name, count=4):
    threads = [Load(shop, f"{name}-{number}") for number in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield threads
    finally:
        for thread in threads:
            thread.ended.set()
        for thread in threads:
            thread.join(stretched(10))


def told_ok(threads):
    return {reference for thread in threads for reference, is_ok in thread.told if is_ok}


def ledger(shop):
    return [reference for (reference,) in shop.sql("SELECT reference FROM $move WHERE kind = 'take'")]


def test_a_writer_stopped_at_any_moment_is_fenced_by_its_successor(mysql, make_shop, ask):
    shop = make_shop(mysql)
    shops = [shop, successor(shop)]
    writer = shop.actor("stock")
    ask(shop).put("donut", 1000000)
    told = set()
    for number in range(4):
        shop, other = shops[number % 2], shops[(number + 1) % 2]
        with load(shop, f"w{number}") as threads:
            wait_until(lambda: len(told_ok(threads)) > 20, what="sales under way")
            time.sleep(random.uniform(0, 0.01))  # the moment is what the test is about
            writer.freeze()
            successor_writer = other.actor("stock")
            assert ask(other).take("donut").status == "ok"
            writer.thaw()
            writer.wait_exit(FENCED)
        told |= told_ok(threads)
        writer = successor_writer
    sold = ledger(shops[0])
    assert len(sold) == len(set(sold) - {None}) + sold.count(None), "a sale is in the ledger twice"
    assert told <= set(sold), f"told but not sold: {told - set(sold)}"
    writer.stop()
    shops[0].verify()


def test_a_writer_stopped_between_proof_and_commit_commits_nothing_behind_its_successor(mysql, proxy, make_shop, ask):
    shop = make_shop(mysql)
    other = successor(shop)
    writer = shop.actor("stock", db=mysql.via(proxy.port)["LARDER_DB"])
    ask(shop).put("donut", 10)
    client = ask(shop)
    proxy.delay_commit()
    held = client.send("stock.take", {"lines": lines(), "reference": "held"}, timeout_s=20)
    wait_until(lambda: proxy.commits_met == 1, what="the shard is proved, the COMMIT is not there yet")
    writer.freeze()
    other.actor("stock")
    assert ask(other).take("donut", 10).status == "ok"
    proxy.deliver()
    writer.thaw()
    writer.wait_exit(FENCED)
    told = client.replies([held], shop.endpoint("stock"), 0.1)
    assert all(answer.status == "unavailable" for answer in told.values()), told
    assert count_lines(other, "held") == 0
    assert ask(other).ask("stock.take", {"lines": lines(), "reference": "held"}, held, again=True).status == "out_of_stock"
    other.verify()


def test_a_fenced_writer_stops_answering_within_a_second_also_reads(mysql, make_shop, ask):
    shop = make_shop(mysql)
    other = successor(shop)
    writer = shop.actor("stock")
    client = ask(shop)
    client.put("donut", 10)
    assert client.level("donut")["on_hand"] == 10
    other.actor("stock")
    taken = time.monotonic()
    ask(other).take("donut", 4)
    last_ok = taken
    while (answer := client.once("stock.get", {"product": "donut"}, timeout_s=0.5)) is not None or time.monotonic() < taken + 1.2:
        if answer is not None and answer.status == "ok":
            last_ok = time.monotonic()
        assert time.monotonic() < taken + 5
    assert last_ok - taken <= 1.0, "a read was answered that late"
    writer.wait_exit(FENCED)
    assert client.ask("stock.get", {"product": "donut"}, endpoint=other.endpoint("stock")).body["on_hand"] == 6


def test_a_fenced_writer_sells_nothing_from_memory(mysql, make_shop, ask):
    shop = make_shop(mysql)
    other = successor(shop)
    writer = shop.actor("stock")
    client = ask(shop)
    client.put("donut", 10)
    other.actor("stock")
    assert ask(other).take("donut", 10).status == "ok"
    stale = client.once("stock.take", {"lines": lines(), "reference": "stale"}, timeout_s=2)
    assert stale is None or stale.status == "unavailable", stale
    writer.wait_exit(FENCED)
    assert count_lines(other, "stale") == 0


def test_a_second_process_on_the_same_folder_is_refused_with_a_sentence(sqlite, make_shop, ask):
    shop = make_shop(sqlite)
    writer = shop.run()
    other = successor(shop)
    for arguments in (["run"], ["actor", "stock"]):
        second = other.start(*arguments)
        second.wait_exit(USAGE)
        assert "another" in second.log() and sqlite.folder in second.log()
    assert ask(shop).level("donut")["on_hand"] == 3
    assert writer.stop() < 5


def test_a_second_process_of_one_actor_is_refused_with_a_sentence(sqlite, make_shop):
    shop = make_shop(sqlite)
    shop.actor("stock")
    other = successor(shop)
    second = other.start("actor", "stock")
    second.wait_exit(USAGE)
    assert "another" in second.log() and sqlite.folder in second.log()
    other.actor("factory").stop(DONE)


# --- a row that somebody else holds ---


def test_a_row_lock_of_somebody_else_fails_only_the_request_that_needs_it(mysql, make_shop, ask):
    shop = make_shop(mysql)
    stock = shop.actor("stock")
    client = ask(shop)
    names = [f"p{number}" for number in range(8)]
    for name in names:
        client.put(name, 5)
    book = Book()
    with mysql.locked("stock", 0, "SELECT * FROM $level WHERE product = 'p3' FOR UPDATE"):
        stock.freeze()
        ids = {}
        for name in names:
            request_id = uuid7()
            ids[request_id] = name
            client.send("stock.take", {"lines": lines(name), "reference": name}, request_id, timeout_s=15)
        stock.thaw()
        answers = client.replies(ids, shop.endpoint("stock"), 15)
        assert len(answers) == len(names)
        told = {ids[request_id]: answer.status for request_id, answer in answers.items()}
        assert told == {name: "unavailable" if name == "p3" else "ok" for name in names}
        assert count_lines(shop, "p3") == 0
    culprit = next(request_id for request_id, name in ids.items() if name == "p3")
    assert client.ask("stock.take", {"lines": lines("p3"), "reference": "p3"}, culprit, again=True).status == "ok"
    for name in names:
        book.write(name, lines(name))
    book.check(shop, {name: 5 for name in names})
