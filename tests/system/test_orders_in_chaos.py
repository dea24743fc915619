# SPDX-License-Identifier: MPL-2.0
"""24 guests who order, pay, walk away and change their minds, while whatever serves them is killed, cut off or out of space: every
order ends, what was told is true, and units and money add up."""

import os
import time

import pytest
from guests import Evening, Told, check, offer, settle
from processes import Sqlite, request, wait_until
from test_outage import fill, small_disk

IS_LONG = bool(os.environ.get("LARDER_LONG"))
BREAKS = 60 if IS_LONG else 6
UNITS = 20000 if IS_LONG else 150     # few enough that some guests are refused
ORDER_TTL_MS = 1500
RESTAURANT = {"order_ttl_ms": ORDER_TTL_MS, "payment_delay_ms": 100, "retry_first_ms": 20, "behind_ms": 3600_000}
ACTORS = ("user", "product", "order", "payment", "sales", "stock", "factory", "dlq")


def spend_evening(shop, client, break_it):
    told, put = Told(), offer(client, UNITS)
    with Evening(shop, told, ORDER_TTL_MS) as evening:
        evening.break_now_and_then(BREAKS, break_it)
    settle(shop)
    ends = check(shop, told, put)
    assert ends["received"] > 0 and ends["cancelled"] > 0 and ends["payment_failed"] > 0, ends


@pytest.mark.parametrize("shards", [1, 3])
def test_orders_end_and_add_up_when_the_whole_shop_is_killed(shards, database, make_shop, ask):
    shop = make_shop(database, shards=shards, **RESTAURANT)
    running = [shop.run()]

    def kill(_):
        running[0].kill9()
        running[0] = shop.run()
    spend_evening(shop, ask(shop), kill)


def test_orders_end_and_add_up_when_actors_are_killed(database, make_shop, ask):
    shop = make_shop(database, **RESTAURANT)
    actors = {name: shop.actor(name) for name in ACTORS}
    gateway = [shop.gateway()]

    def kill(chance):
        name = chance.choice(["stock", "payment", "order", "order", "product", "gateway"])
        if name == "gateway":
            gateway[0].kill9()
            gateway[0] = shop.gateway()
        else:
            actors[name].kill9()
            actors[name] = shop.actor(name)
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
