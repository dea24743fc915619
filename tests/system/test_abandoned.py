# SPDX-License-Identifier: MPL-2.0
"""A thousand orders that nobody pays: one second behind the deadline of the last nothing is held any more, also over a restart."""

import pytest
from larder_client import utc_ms, uuid7
from patience import Deadline, stretched, wait_until
from restaurant import WAITS_FOR_WEBHOOK

ORDERS = 1000
WINDOW = 100
UNITS = 3000
GRACE_MS = 1000
ALONE = 256     # due rows that are handled one by one after an end that was not asked for
COMMITS = 100   # of a thousand rows that share theirs, and of the ticks beside them
RESTAURANT = {"retry_first_ms": 20, "behind_ms": 3600_000}


def place_all(asker, endpoint):
    """Places the orders, some at a time: the latest deadline."""
    lines = [{"product": "burger", "quantity": 2}, {"product": "soda", "quantity": 1}]
    deadline = 0
    for _ in range(0, ORDERS, WINDOW):
        ids = [asker.send("order.place", {"lines": lines, "method": "pix"}, uuid7(), endpoint=endpoint) for _ in range(WINDOW)]
        answers = asker.replies(ids, endpoint)
        assert len(answers) == WINDOW and {answer.status for answer in answers.values()} == {"ok"}, answers
        deadline = max(deadline, *(answer.body["deadline"] for answer in answers.values()))
    return deadline


def held(asker):
    return {product: asker.level(product)["reserved"] for product in ("burger", "soda")}


def prepare(asker):
    for product, amount in (("burger", WAITS_FOR_WEBHOOK), ("soda", 100)):
        asker.ok("product.put", {"product": product, "name": product, "category": "other", "price": {"amount": amount // (2 if product == "burger" else 1),
                                                                                                   "currency": "BRL"}})
        asker.put(product, UNITS)


def all_orders(asker):
    found, before = [], {}
    while True:
        page = asker.ok("order.list", {"limit": 100, **before})
        found += page["orders"]
        if not page["has_more"]:
            return found
        before = {"before": found[-1]["number"]}


def check_the_end(shop, asker):
    """What was cancelled is told as that, and everything adds up."""
    wait_until(lambda: all(order["saga"] == "ended" for order in all_orders(asker)), what="every saga at its end", pause_s=0.1)
    found = all_orders(asker)
    assert len(found) == ORDERS
    assert {(order["status"], order["reason"]) for order in found} == {("cancelled", "expired")}
    for product in ("burger", "soda"):
        assert (asker.level(product)["on_hand"], asker.level(product)["reserved"]) == (UNITS, 0)
        assert asker.ok("stock.holds", {"product": product})["holds"] == []
    shop.verify()


def commits(shop):
    """Each moves the row of the shard."""
    return {actor: shop.sql("SELECT batch FROM $shard", actor)[0][0] for actor in ("order", "stock")}


def commits_s(shop):
    """How long those of order and of whom it asks have taken since they were started."""
    told = shop.metrics()
    return sum(told[f'larder_commit_seconds_sum{{actor="{actor}/0"}}'] for actor in ("order", "payment", "stock"))


def check_in_time(shop, asker, begin, alone=0):
    """A second behind `begin` nothing is held. What counts is the work: `alone` of the due rows may have a commit each and all others
    share theirs, and a commit takes as long as the disk lets it. In the rest of the second there is time for all that is not a commit."""
    before_s = commits_s(shop)
    wait_until(lambda: utc_ms() > begin, what="the last deadline")
    deadline, before = Deadline(GRACE_MS / 1000), commits(shop)
    wait_until(lambda: held(asker) == {"burger": 0, "soda": 0}, what="nothing is held")
    took_ms = utc_ms() - begin
    deadline.has_passed()  # its time stands still from here
    after = commits(shop)
    made = {actor: after[actor] - before[actor] for actor in after}
    took_s = commits_s(shop) - before_s
    figures = f"{took_ms} ms, commits {made}, which took {took_s:.3f} s"
    assert made["order"] <= alone + COMMITS and made["stock"] <= COMMITS, figures
    assert took_ms <= GRACE_MS or deadline.left_s + took_s > 0, figures
    check_the_end(shop, asker)


def test_nothing_is_held_one_second_after_the_deadline(database, make_shop, ask):
    shop = make_shop(database, order_ttl_ms=int(stretched(3000)), **RESTAURANT)
    shop.run()
    asker = ask(shop)
    prepare(asker)
    deadline = place_all(asker, shop.endpoint("order"))
    check_in_time(shop, asker, deadline)


@pytest.mark.parametrize("end, is_late", [("stop", True), ("kill9", False), ("kill9", True)])
def test_nothing_is_held_one_second_after_the_deadline_over_a_restart(end, is_late, database, make_shop, ask):
    shop = make_shop(database, order_ttl_ms=int(stretched(4000)), **RESTAURANT)
    running = shop.run()
    asker = ask(shop)
    prepare(asker)
    deadline = place_all(asker, shop.endpoint("order"))
    assert held(asker) == {"burger": 2 * ORDERS, "soda": ORDERS}
    asker.close()
    getattr(running, end)()
    if is_late:
        wait_until(lambda: utc_ms() > deadline, what="the last deadline")
    shop.run()
    check_in_time(shop, asker, max(deadline, utc_ms()), ALONE if end == "kill9" else 0)
