# SPDX-License-Identifier: MPL-2.0
"""The proxy that breaks sagas does what it says: each of its faults, met by a sale."""

import time

import pytest
from fault_proxy import (ASKER_KILLED_AFTER, ASKER_KILLED_BEFORE, KILLED_AFTER, KILLED_BEFORE, KILLS, REFUSED, REPLY_LATE, REPLY_LOST,
                         REQUEST_LATE, REQUEST_LOST, TWICE, FaultProxy)
from larder_client import RETRY, Subscriber, uuid7
from patience import stretched, wait_until
from processes import EVENTS, OFFSETS, free_base_port

UNITS = 100


class Counter:
    """Sales looks for stock where the proxy is; stock is elsewhere."""

    def __init__(self, shop, asker):
        self.shop, self.asker, self.proxy = shop, asker, FaultProxy()
        self.base = free_base_port()
        while abs(self.base - shop.base_port) in (EVENTS, 0):
            self.base = free_base_port()
        self.behind = f"tcp://127.0.0.1:{self.base + OFFSETS['stock']}"
        self.proxy.route("stock", shop.base_port + OFFSETS["stock"], self.base + OFFSETS["stock"])
        self.stock = shop.actor("stock", base_port=self.base)
        self.proxy.revive("stock")
        self.sales = shop.actor("sales")
        asker.ok("stock.adjust", {"product": "donut", "delta": UNITS}, endpoint=self.behind)

    def sell(self, request_id=None):
        """What one attempt is told; None when that is nothing, or that nothing is known."""
        answer = self.asker.once("sales.checkout", {"product": "donut"}, request_id, timeout_s=1)
        return None if answer is None or answer.status in RETRY else answer.status

    def left(self):
        return self.asker.ok("stock.get", {"product": "donut"}, endpoint=self.behind)["on_hand"]

    def start_killed(self):
        for process in wait_until(self.proxy.take_killed, 5, "somebody is killed"):
            process.start().wait_ready(f"127.0.0.1:{(self.base if process is self.stock else self.shop.base_port) + OFFSETS[process.arguments[1]] + 5000}")
            if process is self.stock:
                self.proxy.revive("stock")


@pytest.fixture
def counter(sqlite, make_shop, ask):
    shop = make_shop(sqlite)
    made = Counter(shop, ask(shop))
    yield made
    made.proxy.close()


def test_what_meets_no_fault_passes(counter):
    assert counter.sell() == "ok"
    assert counter.left() == UNITS - 1


# What the first attempt is told, and how many units have left after it; after the second one unit has left.
FATES = {REFUSED: ("out_of_stock", 0), REQUEST_LOST: (None, 0), REPLY_LOST: (None, 1), TWICE: ("ok", 1), REPLY_LATE: (None, 1),
         KILLED_BEFORE: (None, 0), KILLED_AFTER: (None, 1), ASKER_KILLED_BEFORE: (None, 0), ASKER_KILLED_AFTER: (None, 1)}


@pytest.mark.parametrize("kind", FATES)
def test_each_fault_meets_the_first_attempt(kind, counter):
    victim = {True: counter.sales, False: counter.stock}["asker" in kind] if kind in KILLS else None
    fault = counter.proxy.arm(kind, "stock.take", victim=victim, status="out_of_stock")
    request_id, (told, left) = uuid7(), FATES[kind]
    assert counter.sell(request_id) == told
    assert list(fault.met) == [request_id]
    if kind in KILLS:
        counter.start_killed()
    if kind != ASKER_KILLED_BEFORE:
        assert counter.left() == UNITS - left
    counter.proxy.disarm()
    again = counter.asker.ask("sales.checkout", {"product": "donut"}, request_id, again=True)
    assert again.status == "ok" and counter.left() == UNITS - 1


@pytest.mark.parametrize("kind", [REQUEST_LATE, ASKER_KILLED_BEFORE])
def test_a_request_that_is_kept_for_later_arrives_behind_the_one_that_came_later(kind, counter):
    fault = counter.proxy.arm(kind, "stock.take", victim=counter.sales if kind in KILLS else None, early_s=stretched(2))
    request_id, began = uuid7(), time.monotonic()
    counter.asker.send("sales.checkout", {"product": "donut"}, request_id, timeout_s=6)  # in 4 s another is sold, in 2 s it arrives
    wait_until(lambda: fault.met, what="the request")
    if kind in KILLS:
        counter.start_killed()
    counter.asker.ok("sales.checkout", {"product": "donut"})
    assert counter.left() == UNITS - 1
    wait_until(lambda: counter.left() == UNITS - 2, what="the late one")
    assert time.monotonic() - began > 2


def test_events_fall_silent_get_lost_and_come_twice(counter):
    source = Subscriber(f"tcp://127.0.0.1:{counter.shop.base_port + OFFSETS['stock']}",
                        f"tcp://127.0.0.1:{counter.shop.base_port + OFFSETS['stock'] + EVENTS}", "test/0")
    counter.asker.ok("stock.adjust", {"product": "probe", "delta": 1}, endpoint=counter.behind)

    def empty(product):
        counter.asker.ok("stock.adjust", {"product": product, "delta": 1}, endpoint=counter.behind)
        counter.asker.ok("stock.take", {"lines": [{"product": product, "quantity": 1}]}, endpoint=counter.behind)
    for number, fault in enumerate(("lose_events", "double_events")):
        getattr(counter.proxy, fault)("stock", 1)
        empty(f"p{number}")
        assert source.next().key == f"p{number}"
        assert source.next(300) is None
    counter.proxy.silence("stock")
    empty("q")
    assert source.next(500) is None
    counter.proxy.silence("stock", False)
    assert source.next().key == "q"
    source.unsubscribe()
    source.close()


def test_a_place_that_is_cut_takes_nothing_and_gives_nothing(counter):
    counter.proxy.cut("stock")
    assert counter.sell() is None
    counter.proxy.cut("stock", False)
    counter.asker.ok("sales.checkout", {"product": "donut"})
