# SPDX-License-Identifier: MPL-2.0
"""A clock that was wrong and is put right: what waits ends within its patience, never before the whole of it, and it is said aloud."""

import re
import time
import uuid

import pytest

import processes
from guarded import Guarded
from patience import stretched
from rest import Rest, until
from wrong_clock import WrongClock

HOUR_S = 3600
DAY_S = 24 * HOUR_S
PATIENCE_S = 5
PATIENCE_MS = 1000 * PATIENCE_S
SLACK_S = 4  # for an actor's turns and a look now and then
WAITS, LATE = 6, 4  # by its last two digits the simulated provider answers
SETTINGS = {"lead_time_ms": PATIENCE_MS, "order_ttl_ms": PATIENCE_MS, "hold_ttl_ms": PATIENCE_MS, "payment_delay_ms": PATIENCE_MS,
            "alarm_repeat_ms": PATIENCE_MS, "request_timeout_ms": 1000}


class Shop:
    """A shop whose clock is `by_s` ahead, and what waits in it: a hold, one with a patience of its own and one that was extended, a refill,
    an order that nobody pays, and one whose charge is approved late."""

    def __init__(self, new_shop, database, folder, by_s=0):
        self.clock = WrongClock(str(folder), by_s)
        self.shop = new_shop(database, **SETTINGS)
        self.shop.settings.update(self.clock.settings)
        self.process = self.shop.run()
        self.rest = Rest(self.shop.http, probes=self.shop.probes)
        self.began = {}

    def restart(self, by_s):
        self.process.kill9()
        self.clock.set(by_s)
        self.process = self.shop.run()

    def offer(self, cents):
        sku = f"c{cents}-{uuid.uuid4().hex[:8]}"
        price = {"amount": 1000 + cents, "currency": "BRL"}
        self.rest.post("/v1/products", {"product": sku, "name": sku, "category": "burger", "price": price}).is_ok(201)
        self.rest.post(f"/v1/stock/{sku}:adjust", {"delta": 10}).is_ok()
        return sku

    def place(self, sku):
        body = {"lines": [{"product": sku, "quantity": 1}], "method": "pix"}
        answer = until(lambda: found if (found := self.rest.post("/v1/orders", body)).status == 201 else None, 10, "the menu is known")
        return answer.json["id"]

    def hold(self, sku, ttl_ms=None):
        body = {"quantity": 1, **({"ttl_ms": ttl_ms} if ttl_ms else {})}
        return self.rest.post(f"/v1/stock/{sku}/holds", body).is_ok(201)["hold"]

    def fill(self):
        """Everything waits; from when on is kept for each."""
        unpaid, late, self.shelf = self.offer(WAITS), self.offer(LATE), self.offer(0)
        self.long = self.offer(0)
        self.place_menu(unpaid, late)
        self.short_hold = self.noted("short", lambda: self.hold(self.shelf))
        self.long_hold = self.noted("long", lambda: self.hold(self.long, 2 * PATIENCE_MS))
        self.extended = self.noted("extended", lambda: self.hold(self.long, 1000 * HOUR_S))
        self.rest.post(f"/v1/stock/{self.long}/holds/{self.extended}:extend", {"ttl_ms": 2 * PATIENCE_MS}).is_ok()
        self.unpaid = self.noted("unpaid", lambda: self.place(unpaid))
        self.late = self.noted("late", lambda: self.place(late))
        self.refilled = f"r-{uuid.uuid4().hex[:8]}"
        self.rest.ask("PUT", f"/v1/stock/{self.refilled}", {"reorder_at": 0, "order_up_to": 7})
        self.noted("refill", lambda: until(lambda: self.rest.get(f"/v1/productions?product={self.refilled}").json["data"], 10))

    def place_menu(self, *skus):
        """The order's copy of the menu has them before the clock of anything starts."""
        for sku in skus:
            until(lambda one=sku: self.rest.get(f"/v1/products/{one}").status == 200, 10)

    def noted(self, name, act):
        self.began[name] = time.monotonic()
        return act()

    def order(self, identity):
        return self.rest.get(f"/v1/orders/{identity}").is_ok()

    @property
    def has_ended(self):
        """What is waited for, by name: whether it has come."""
        def is_open(sku, hold):
            answer = self.rest.get(f"/v1/stock/{sku}/holds/{hold}")
            return answer.is_ok()["state"] == "open"
        return {
            "short": lambda: not is_open(self.shelf, self.short_hold),
            "long": lambda: not is_open(self.long, self.long_hold),
            "extended": lambda: not is_open(self.long, self.extended),
            "unpaid": lambda: self.order(self.unpaid)["status"] in ("payment_failed", "cancelled"),
            "late": lambda: self.order(self.late)["status"] == "received",
            "refill": lambda: self.rest.level(self.refilled)["on_hand"] == 7,
        }

    def prove_ends(self, since, at_least=("short", "long", "extended", "unpaid")):
        """All of it ends within its patience from `since` on; what somebody may still pay for or take not before it."""
        waiting = dict(self.has_ended)
        patience = {name: 2 * PATIENCE_S if name in ("long", "extended") else PATIENCE_S for name in waiting}
        while waiting:
            for name, has_ended in list(waiting.items()):
                now = time.monotonic()
                if has_ended():
                    began = since if isinstance(since, float) else since[name]
                    if name in at_least:
                        assert time.monotonic() - began >= patience[name] - 0.5, f"{name} has ended after {now - began:.1f} s"
                    del waiting[name]
                else:
                    began = since if isinstance(since, float) else since[name]
                    assert now - began < patience[name] + stretched(SLACK_S), f"{name} still waits after {now - began:.1f} s"
            time.sleep(0.05)

    def said(self, word):
        """By how much, in milliseconds, each actor has said that its clock was set."""
        found = re.findall(rf"warn (\S+) {word} .*?by_ms=(\d+)", self.process.log())
        return {actor: int(by_ms) for actor, by_ms in found}

    def told(self, way):
        page = self.rest.told()
        return sum(int(count) for count in re.findall(rf'larder_clock_steps_total{{actor="[^"]*",way="{way}"}} (\d+)', page))


@pytest.fixture(name="clocked")
def make_clocked(new_shop, database, tmp_path):
    return lambda by_s=0: Shop(new_shop, database, tmp_path, by_s)


@pytest.mark.parametrize("ahead_s", [400 * DAY_S, 5 * HOUR_S], ids=["400-days", "5-hours"])
def test_what_waits_ends_in_time_after_a_restart_with_the_right_clock(clocked, ahead_s):
    shop = clocked(ahead_s)
    shop.fill()
    before = time.monotonic()
    shop.restart(0)
    shop.prove_ends(before)
    assert {"stock/0", "order/0", "payment/0", "factory/0"} <= set(shop.said("clock_went_back"))
    assert all(abs(by_ms / 1000 - ahead_s) < stretched(60) for by_ms in shop.said("clock_went_back").values())
    assert shop.told("back") >= 4 and shop.told("forward") == 0
    shop.restart(0)
    assert not shop.said("clock_went_back"), "it is said once, and not at each start"


@pytest.mark.parametrize("ahead_s", [400 * DAY_S, 5 * HOUR_S], ids=["400-days", "5-hours"])
def test_what_waits_ends_in_time_when_the_clock_is_put_right_while_it_runs(clocked, ahead_s):
    shop = clocked(ahead_s)
    shop.fill()
    before = time.monotonic()
    shop.clock.set(0)
    shop.prove_ends(before)
    assert {"stock/0", "order/0", "payment/0", "factory/0"} <= set(shop.said("clock_went_back"))
    assert shop.told("back") >= 4


def test_nothing_ends_before_its_time_when_the_clock_jumps_ahead(clocked):
    shop = clocked()
    shop.fill()
    shop.clock.set(5 * HOUR_S)
    shop.prove_ends(shop.began, at_least=("short", "long", "extended", "unpaid", "late", "refill"))
    assert {"stock/0", "order/0", "payment/0", "factory/0"} <= set(shop.said("clock_went_forward"))
    assert all(abs(by_ms / 1000 - 5 * HOUR_S) < stretched(10) for by_ms in shop.said("clock_went_forward").values())
    assert shop.told("forward") >= 4 and shop.told("back") == 0


def test_a_shop_that_was_closed_for_a_weekend_says_nothing_of_its_clock(clocked):
    shop = clocked()
    shop.rest.get("/product/donut").is_ok()
    shop.restart(2 * DAY_S)
    assert shop.rest.post("/checkout").status == 201
    assert not shop.said("clock_went_back") and not shop.said("clock_went_forward")


TOKEN_S = 6


@pytest.mark.parametrize("restarted", [False, True], ids=["while-it-runs", "with-a-restart"])
def test_who_signed_in_by_a_clock_that_was_ahead_stays_signed_in_for_as_long_as_that_was_given(new_shop, sqlite, tmp_path, restarted):
    clock = WrongClock(str(tmp_path), 400 * DAY_S)
    shop = new_shop(sqlite, auth="required", token_ttl_ms=1000 * TOKEN_S)
    shop.settings.update(clock.settings)
    process = shop.run()
    house = Guarded(shop)
    person, token = house.person()
    if restarted:
        process.kill9()
    clock.set(0)
    put_right = time.monotonic()
    process = shop.run() if restarted else process
    assert house.ask("GET", f"/v1/users/{person}", token).status == 200, "nobody is signed out"
    until(lambda: "token_key_retired" in process.log(), 10, "its key signs no more")
    other, fresh = house.person()
    assert house.ask("GET", f"/v1/users/{other}", fresh).status == 200, "somebody new signs in"
    late = until(lambda: (answer := house.ask("GET", f"/v1/users/{person}", token)).status == 401 and answer, TOKEN_S + SLACK_S + 2,
                 "the token has ended")
    assert "expired" in late.json["detail"] and time.monotonic() - put_right >= TOKEN_S - 1
    assert "token_key_retired" not in house_after_restart(shop, process), "it is retired once"
    house.users.close()


def house_after_restart(shop, process):
    process.stop()
    return shop.run().log()


def test_a_gateway_of_its_own_says_that_its_clock_was_set(new_shop, sqlite, tmp_path):
    clock = WrongClock(str(tmp_path))
    shop = new_shop(sqlite)
    for actor in ("dlq", "stock", "factory", "product", "user", "payment", "order", "sales"):
        shop.actor(actor)
    shop.settings.update(clock.settings)
    gateway = shop.gateway()
    for by_s, way in ((5 * HOUR_S, "forward"), (0, "back")):
        clock.set(by_s)
        until(lambda word=f"clock_went_{way}": re.search(rf"warn gateway/\d+ {word} .*?by_ms=(1799|1800)\d{{4}} ", gateway.log()), 10, way)
        told = Rest(shop.http, probes=shop.probes).told()
        assert f'larder_clock_steps_total{{actor="gateway",way="{way}"}} 1' in told
