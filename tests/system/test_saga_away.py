# SPDX-License-Identifier: MPL-2.0
"""
A step of an order's saga that finds everybody away whom it asks: one process has both shards of stock, and dies of the step's first
request; payment likewise. It lies until the order has asked in vain, order itself is killed meanwhile or not, and once it is back every
order ends without anybody looking, with units and money adding up.

The cases of one database share a restaurant, as those of test_saga.py do. Every second one of step and database is restarted;
LARDER_LONG=1 has each both ways, and stock killed behind the deed as well as before it.
"""

import itertools
import os
import uuid

import pytest
from fault_proxy import KILLED_AFTER, KILLED_BEFORE
from larder_client import shard_of, uuid7
from processes import FAILED, figures, told
from restaurant import APPROVED, WAITS_FOR_WEBHOOK
from test_saga import ORDERS, STEPS, Street

IS_LONG = bool(os.environ.get("LARDER_LONG"))
SHARDS = 2
ENDED = {"ended", "stuck"}
AWAY = {"unavailable", "deadline_exceeded"}


def kinds(op):
    """What payment has done it tells by an event as well, so nobody need stand for its answer."""
    return (KILLED_BEFORE, KILLED_AFTER) if IS_LONG and op.startswith("stock.") else (KILLED_BEFORE,)


def cases():
    """(database, step, restarted, kind of the kill)"""
    for number, (step, database) in enumerate(itertools.product(STEPS, ("sqlite", "mysql"))):
        for restarted in (False, True) if IS_LONG else ((number // 2 + number % 2) % 2 == 1,):
            for kind in kinds(STEPS[step].op):
                yield pytest.param(database, step, restarted, kind, id=f"{step}-{'restarted' if restarted else 'stays'}-{kind}-{database}")


@pytest.fixture(scope="module", name="street")
def make_street():
    street = Street()
    yield street
    for database in list(street.open):
        street.close(database)


def shelves(house, kind):
    """One product on each shard; together they cost what the provider knows the kind by."""
    amount = {"approved": APPROVED, "waits": WAITS_FOR_WEBHOOK}[kind]
    names = [next(name for name in (f"{kind}-{number}" for number in range(99)) if shard_of(name, SHARDS) == shard) for shard in range(SHARDS)]
    for shard, name in enumerate(names):
        if not house.put[name]:
            house.offer(name, amount // 2 + (amount % 2 if shard == 0 else 0))
    return names


def has_asked_in_vain(house, orders, op):
    """Each stands before somebody who is away, and one at least in the step that is meant: others may be a step behind it."""
    steps = [{entry["what"] for entry in house.ok("order.timeline", {"order": order})["entries"] if entry["outcome"] in AWAY} for order in orders]
    return all(steps) and any(op.replace(".", "_") in found for found in steps)


@pytest.mark.parametrize("database, step, restarted, kind", cases())
def test_a_step_that_finds_everybody_away_is_asked_again(database, step, restarted, kind, street, request):
    with street.restaurant(request, database, shards=SHARDS, together=True) as house:
        case = STEPS[step](house, lambda kind: shelves(house, kind))
        case.prepare()
        fault = house.arm(kind, case.op, wanted=ORDERS, chosen=case.is_chosen)
        house.is_unattended = True
        if step == "reserve":
            place_unanswered(house, case)
        else:
            case.go()
        # Where all is slow the order's time may be over before the answer comes that kills.
        house.wait(lambda: house.has_struck(fault) and has_asked_in_vain(house, case.orders, case.op), what="killed, and asked in vain")
        assert not {house.order(order)["saga"] for order in case.orders} & ENDED
        if restarted:
            house.kill("order")
            house.start("order")
        house.is_unattended = False
        house.wait_status(case.orders, case.status, "ended")
        house.prove()


def place_unanswered(house, case):
    """Nobody can be told yet whether the units are held; who asks again under the id is told that, and does not hang."""
    body = {"lines": [{"product": product, "quantity": 1} for product in shelves(house, "approved")], "method": "pix"}
    case.orders = [uuid7() for _ in range(ORDERS)]
    house.orders += case.orders
    for again in (False, True):
        for order in case.orders:
            house.asker.send("order.place", body, order, again=again, endpoint=house.endpoint("order"))
        answers = house.asker.replies(case.orders, house.endpoint("order"))
        assert {answer.status for answer in answers.values()} == {"unavailable"} and len(answers) == ORDERS, answers


@pytest.mark.parametrize("database", ["sqlite", "mysql"])
def test_an_order_that_stands_is_named_by_the_metric_and_by_verify_until_it_has_gone_on(database, street, request):
    with street.restaurant(request, database, shards=SHARDS, together=True, stuck_ms=2000) as house:
        house.shop.actor("factory").stop()  # verify wants to see its database
        orders = house.placed(*shelves(house, "waits"), count=ORDERS)
        house.kill("stock")
        house.pay(orders[:1])
        watch = house.shop.probe("order")
        house.wait(lambda: figures(told(watch))["larder_orders_standing"] == 1, what="one of them stands; the others may still be paid for")
        status, words = house.shop.command("verify")
        assert status == FAILED and words.count("its saga has stood in committing for") == 1, words
        assert str(uuid.UUID(bytes=orders[0])) in words, words
        house.start("stock")
        house.wait_status(orders[:1], "received", "ended")
        house.wait(lambda: figures(told(watch))["larder_orders_standing"] == 0, what="none stands any more")
        house.cancel(orders[1:])
        house.wait_status(orders[1:], "cancelled", "ended")
        house.prove()
