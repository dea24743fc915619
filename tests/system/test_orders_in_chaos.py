# SPDX-License-Identifier: MPL-2.0
"""24 guests who order, pay, walk away and change their minds, while whatever serves them is killed, cut off or out of space: every
order ends, what was told is true, and units and money add up."""

import os
import random
import time

import pytest
from guests import Evening, Told, check, offer, settle
from outside_payment import TOKEN, Provider
from patience import stretched, wait_until
from processes import Sqlite
from test_outage import fill, small_disk

IS_LONG = bool(os.environ.get("LARDER_LONG"))
BREAKS = 60 if IS_LONG else 6
UNITS = 20000 if IS_LONG else 150     # few enough that some guests are refused
PATIENCE_S = 600 if IS_LONG else 60
ORDER_TTL_MS = int(stretched(1500))
RESTAURANT = {"order_ttl_ms": ORDER_TTL_MS, "payment_delay_ms": 100, "retry_first_ms": 20, "behind_ms": 3600_000}
ACTORS = ("user", "product", "order", "payment", "sales", "stock", "factory", "dlq")


def has_every_end(shop):
    """How many orders come to which end is a matter of speed, that some do is none: the evening goes on until they have."""
    ends = {status for status, in shop.sql("SELECT DISTINCT status FROM $order", "order")}
    return ends >= {"received", "cancelled", "payment_failed"}


def spend_evening(shop, client, break_it, has_bank=True):
    told, put = Told(), offer(client, UNITS)
    with Evening(shop, told, ORDER_TTL_MS, has_bank) as evening:
        evening.break_now_and_then(BREAKS, break_it)
        evening.go_on_until(lambda: has_every_end(shop), PATIENCE_S, "an order for every end")
    settle(shop, has_bank, PATIENCE_S)
    check(shop, told, put)


@pytest.mark.parametrize("shards", [1, 3])
def test_orders_end_and_add_up_when_the_whole_shop_is_killed(shards, database, make_shop, ask):
    shop = make_shop(database, shards=shards, **RESTAURANT)
    running = [shop.run()]

    def kill(_):
        running[0].kill9()
        running[0] = shop.run()
    spend_evening(shop, ask(shop), kill)


@pytest.mark.parametrize("shards", [1, 3])
def test_orders_end_and_add_up_when_actors_are_killed(shards, database, make_shop, ask):
    shop = make_shop(database, shards=shards, **RESTAURANT)
    actors = {(name,): shop.actor(name) for name in ACTORS if name != "stock"}
    actors |= {("stock", "--shard", str(shard)): shop.actor("stock", "--shard", str(shard)) for shard in range(shards)}
    gateway = [shop.gateway()]

    def kill(chance):
        name = chance.choice(["stock", "payment", "order", "order", "product", "gateway"])
        if name == "gateway":
            gateway[0].kill9()
            gateway[0] = shop.gateway()
        else:
            what = chance.choice([what for what in actors if what[0] == name])
            actors[what].kill9()
            actors[what] = shop.actor(*what)
    spend_evening(shop, ask(shop), kill)


def test_orders_end_and_add_up_when_the_way_to_the_database_breaks(mysql, proxy, make_shop, ask):
    shop = make_shop(mysql, db=mysql.via(proxy.port)["LARDER_DB"], **RESTAURANT)
    running = shop.run()

    def break_it(chance):
        met = proxy.commits_met
        fault = chance.choice(["cut", "hold", "lose"])
        proxy.swallows_kill = chance.random() < 0.3
        if fault == "cut":
            proxy.cut()
        elif fault == "lose":
            lost = chance.randint(1, 3)
            proxy.lose_commit_answer(lost)
            wait_until(lambda: proxy.commits_met >= met + lost, what="answers lost")
        else:
            proxy.hold_commit()
            wait_until(lambda: proxy.commits_met > met, what="a COMMIT held back")
            chance.choice([proxy.deliver, proxy.forget])()
    spend_evening(shop, ask(shop), break_it)
    assert running.is_running()


# How often the provider does what, of ten calls. It never does nothing but one thing for so long that a call is given up.
ANSWERS = {"approve": 3, "refuse": 1, "error": 1, "lose": 2, "drop": 1, "hang": 1, "garbage": 1}
REFUNDS = {"approve": 4, "error": 2, "lose": 2, "drop": 1, "hang": 1}
ASKED = {"answer": 6, "error": 2, "deaf": 2}


@pytest.fixture(name="provider")
def moody_provider():
    made = Provider()
    yield made
    made.stop()


def test_orders_end_and_add_up_when_the_provider_is_moody_and_payment_is_killed(provider, database, make_shop, ask):
    def moods(seed, weights, last):
        return random.Random(seed).choices(list(weights), list(weights.values()), k=20000) + [last]
    shop = make_shop(database, payment_url=provider.url, payment_token=TOKEN, call_timeout_ms=int(stretched(300)), retry_attempts=50, **RESTAURANT)
    seed = int(os.environ.get("LARDER_SEED") or random.randrange(1 << 30))
    provider.script(charges=moods(seed, ANSWERS, "approve"), refunds=moods(seed + 1, REFUNDS, "approve"), ask=moods(seed + 2, ASKED, "answer"))
    actors = {name: shop.actor(name) for name in ACTORS}
    shop.gateway()

    def kill(_):
        actors["payment"].kill9()
        actors["payment"] = shop.actor("payment")
    spend_evening(shop, ask(shop), kill, has_bank=False)
    seen = provider.seen()
    assert seen["doubles"] == 0
    kept = sum(entry["body"]["amount"] * (1 if entry["kind"] == "charges" else -1)
               for entry in seen["taken"].values() if entry["status"] == "succeeded")
    assert kept == shop.sql("SELECT SUM(total) FROM $order WHERE status = 'received'", "order")[0][0], f"LARDER_SEED={seed}"


def test_orders_end_and_add_up_when_the_disk_is_full_for_a_while(folder, make_shop, ask):
    with small_disk(os.path.join(folder, "disk"), 262144):
        shop = make_shop(Sqlite(os.path.join(folder, "disk")), **RESTAURANT)
        running = shop.run()
        ballast = os.path.join(folder, "disk", "ballast")

        def fill_it(chance):
            met = running.log().count("disk_is_full")
            fill(ballast)
            wait_until(lambda: running.log().count("disk_is_full") > met, what="no space")
            time.sleep(chance.uniform(0, 0.5))
            os.remove(ballast)
        spend_evening(shop, ask(shop), fill_it)
        assert running.is_running()
        running.stop()
