# SPDX-License-Identifier: MPL-2.0
"""A thousand orders that nobody pays: one second behind the deadline of the last nothing is held any more, also over a restart."""

import pytest
from larder_client import utc_ms, uuid7
from processes import wait_until
from restaurant import WAITS_FOR_WEBHOOK

ORDERS = 1000
WINDOW = 100
UNITS = 3000
GRACE_MS = 1000
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


def check_the_end(shop, asker):
    """What was cancelled is told as that, and everything adds up."""
    found, before = [], {}
    while True:
        page = asker.ok("order.list", {"limit": 100, **before})
        found += page["orders"]
        if not page["has_more"]:
            break
        before = {"before": found[-1]["number"]}
    assert len(found) == ORDERS
    assert {(order["status"], order["reason"], order["saga"]) for order in found} == {("cancelled", "expired", "ended")}
    for product in ("burger", "soda"):
        assert (asker.level(product)["on_hand"], asker.level(product)["reserved"]) == (UNITS, 0)
        assert asker.ok("stock.holds", {"product": product})["holds"] == []
    shop.verify()


def test_nothing_is_held_one_second_after_the_deadline(database, make_shop, ask):
    shop = make_shop(database, order_ttl_ms=3000, **RESTAURANT)
    shop.run()
    asker = ask(shop)
    prepare(asker)
    deadline = place_all(asker, shop.endpoint("order"))
    wait_until(lambda: utc_ms() > deadline + GRACE_MS, what="a second after the last deadline")
    assert held(asker) == {"burger": 0, "soda": 0}
    check_the_end(shop, asker)


# After an end that was not asked for, order handles its first 256 due rows one by one. Alone on the machine all of it takes less than
# half a second (`make bench` says how long), but each of them waits for the disk, and beside other tests the disk is slow.
@pytest.mark.parametrize("end, is_late, grace_ms", [("stop", True, GRACE_MS), ("kill9", False, GRACE_MS), ("kill9", True, 4 * GRACE_MS)])
def test_nothing_is_held_one_second_after_the_deadline_over_a_restart(end, is_late, grace_ms, database, make_shop, ask):
    shop = make_shop(database, order_ttl_ms=4000, **RESTAURANT)
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
    begin = max(deadline, utc_ms())
    wait_until(lambda: utc_ms() > begin + grace_ms, what="a second more")
    assert held(asker) == {"burger": 0, "soda": 0}
    check_the_end(shop, asker)
