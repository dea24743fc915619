# SPDX-License-Identifier: MPL-2.0
"""64 buyers, 5,000 units, and processes killed at any moment: sold is what the buyers were told is what the ledger says."""

import os
import random

import pytest
from buyers import Book, Crowd
from larder_client import derived, shard_of
from processes import wait_until

IS_LONG = bool(os.environ.get("LARDER_LONG"))
UNITS = 50000 if IS_LONG else 5000
KILLS = 40 if IS_LONG else 6
PATIENCE_S = 1200 if IS_LONG else 120
ALARM_NONE = 1  # of stock_rules.h


def shelves(shards):
    """Products on every shard, three for each."""
    names = [f"p{number}" for number in range(200)]
    return [name for shard in range(shards) for name in [name for name in names if shard_of(name, shards) == shard][:3]]


def put_units(client, products):
    put = {product: UNITS // len(products) for product in products}
    for product, units in put.items():
        client.put(product, units)
    return put


def kill_now_and_then(crowd, book, kill):
    """Kills at random moments, while there is something to buy."""
    for number in range(KILLS):
        sold, more = book.units(), crowd.random.randint(1, UNITS // KILLS)
        wait_until(lambda before=sold, wanted=more: book.units() >= before + wanted or not crowd.is_busy(), 60, f"sales before kill {number}",
                   pause_s=crowd.random.uniform(0.001, 0.02))
        if not crowd.is_busy():
            return
        kill(crowd.random)


@pytest.mark.parametrize("shards", [1, 3])
def test_nothing_is_lost_or_sold_twice_when_the_whole_shop_is_killed(shards, sqlite, make_shop, ask):
    shop = make_shop(sqlite, shards=shards)
    running = [shop.run()]
    book = Book()
    put = put_units(ask(shop), shelves(shards))

    def kill(_):
        running[0].kill9()
        running[0] = shop.run()
    with Crowd(shop, book, put) as crowd:
        kill_now_and_then(crowd, book, kill)
        crowd.join(PATIENCE_S)
    assert book.units() == sum(put.values())
    book.check(shop, put)


@pytest.mark.parametrize("shards", [1, 3])
def test_nothing_is_lost_or_sold_twice_when_stock_is_killed(shards, mysql, make_shop, ask):
    shop = make_shop(mysql, shards=shards)
    stocks = [shop.actor("stock", "--shard", str(shard)) for shard in range(shards)]
    shop.actor("sales")
    shop.actor("factory")
    shop.gateway(gateway_threads=2)
    book = Book()
    put = put_units(ask(shop), shelves(shards))

    def kill(chance: random.Random):
        shard = chance.randrange(shards)
        stocks[shard].kill9()
        stocks[shard] = shop.actor("stock", "--shard", str(shard))
    with Crowd(shop, book, put) as crowd:
        kill_now_and_then(crowd, book, kill)
        crowd.join(PATIENCE_S)
    assert book.units() == sum(put.values())
    book.check(shop, put)


def test_nothing_is_lost_or_sold_twice_when_the_way_to_the_database_breaks(mysql, proxy, make_shop, ask):
    shop = make_shop(mysql, db=mysql.via(proxy.port)["LARDER_DB"])
    running = shop.run()
    book = Book()
    put = put_units(ask(shop), shelves(1))

    def break_it(chance: random.Random):
        met, lost = proxy.commits_met, chance.randint(1, 3)
        fault = chance.choice(["cut", "hold", "lose"])
        proxy.swallows_kill = chance.random() < 0.3
        if fault == "cut":
            proxy.cut()
        elif fault == "lose":
            proxy.lose_commit_answer(lost)
            wait_until(lambda: proxy.commits_met == met + lost, what="answers lost")
        else:
            proxy.hold_commit()
            wait_until(lambda: proxy.commits_met > met, what="a COMMIT held back")
            chance.choice([proxy.deliver, proxy.forget])()
    with Crowd(shop, book, put) as crowd:
        kill_now_and_then(crowd, book, break_it)
        crowd.join(PATIENCE_S)
    assert running.is_running()
    assert book.units() == sum(put.values())
    book.check(shop, put)


# --- refills and holds ---


def told_and_heard(shop):
    """What the factory and each shard of stock have told, and what the other has heard of it: {(speaker, hearer): (told, heard)}."""
    found = {}
    cursors = dict(shop.sql("SELECT source, position FROM $cursor", actor="factory"))
    told = shop.sql("SELECT seq FROM $shard", actor="factory")[0][0]
    for shard in range(shop.shards):
        stock = f"stock/{shard}"
        found[stock, "factory/0"] = (shop.sql("SELECT seq FROM $shard", shard=shard)[0][0], cursors.get(stock, 0))
        found["factory/0", stock] = (told, dict(shop.sql("SELECT source, position FROM $cursor", shard=shard)).get("factory/0", 0))
    return found


def is_quiet(shop):
    """Nothing will be refilled any more: no shelf's alarm stands, no production is open, and stock and the factory have heard all of
    each other. An alarm is on its way until then, and ordered when all else looks done: one that a refused buyer has raised, and one
    that fell by itself when what was held came back. The rows are read one after the other, so nothing may have been told meanwhile."""
    before = told_and_heard(shop)
    return (all(told == heard for told, heard in before.values())
            and not shop.sql("SELECT n FROM $production WHERE status <> 'produced'", actor="factory")
            and all(not shop.sql(f"SELECT product FROM $level WHERE incoming > 0 OR alarm > {ALARM_NONE}", shard=shard) for shard in range(shop.shards))
            and told_and_heard(shop) == before)


def refills(shop):
    """What was counted on the shelves: (id of the request in the ledger, product, units) of each refill."""
    return sorted(row for shard in range(shop.shards)
                  for row in shop.sql("SELECT HEX(request), product, delta FROM $move WHERE kind = 'refill' AND delta > 0", shard=shard))


def check_productions(shop):
    """Each production is one refill, by its id, and no refill is of none; of a product one is open at a time. Returns the productions."""
    made = shop.sql("SELECT HEX(id), product, quantity, ordered_at, done_at FROM $production ORDER BY n", actor="factory")
    ids = [(derived(bytes.fromhex(production) + b"stock.refill").hex().upper(), product, units) for production, product, units, _, _ in made]
    assert refills(shop) == sorted(ids)
    ended = {}
    for _, product, _, ordered_ms, done_ms in made:
        assert ordered_ms >= ended.get(product, 0), f"{product}: ordered while one was open: {made}"
        ended[product] = done_ms
    return [(product, units) for _, product, units, _, _ in made]


@pytest.mark.parametrize("shards", [1, 3])
def test_each_production_is_counted_once_whoever_is_killed(shards, database, make_shop, ask):
    shop = make_shop(database, shards=shards, lead_time_ms=50, alarm_repeat_ms=500)
    actors = {name: shop.actor(name) for name in ("stock", "factory", "sales")}
    shop.gateway()
    client, book, products = ask(shop), Book(), shelves(shards)
    for product in products:
        client.put(product, 5, order_up_to=20, lot=10)

    def kill(chance: random.Random):
        name = chance.choice(list(actors))
        actors[name].kill9()
        actors[name] = shop.actor(name)
    with Crowd(shop, book, products, count=16, is_patient=True) as crowd:
        for number in range(2 * KILLS):
            sold = book.units()
            wait_until(lambda before=sold: book.units() >= before + 30, 30, f"sales before kill {number}", pause_s=crowd.random.uniform(0.001, 0.03))
            kill(crowd.random)
        crowd.stop()
    wait_until(lambda: is_quiet(shop), 20, "every production is on its shelf", pause_s=0.1)
    quiet, produced = told_and_heard(shop), check_productions(shop)
    book.check(shop, {product: 5 + sum(units for name, units in produced if name == product) for product in products})
    assert told_and_heard(shop) == quiet


def test_holds_end_once_whatever_is_killed(database, make_shop, ask):
    shop = make_shop(database)
    stock = shop.actor("stock")
    client, chance = ask(shop), random.Random()
    client.put("donut", 1000)
    holds = []
    for _ in range(4):
        made = []
        for _ in range(60):
            body = {"lines": [{"product": "donut", "quantity": 1}], "ttl_ms": chance.choice([300, 700, 600000])}
            made.append((client.send("stock.reserve", body), body))
        stock.kill9()
        stock = shop.actor("stock")
        for hold, body in made:
            assert client.ask("stock.reserve", body, hold, again=True).status == "ok"
            holds.append(hold)
    for hold in holds:
        ended = client.ask(f"stock.{chance.choice(['commit', 'release'])}", {"hold": hold, "product": "donut"})
        assert ended.status in ("ok", "hold_expired"), ended
    committed = -shop.sql("SELECT COALESCE(SUM(delta), 0) FROM $move WHERE kind = 'commit'")[0][0]
    level = client.level("donut")
    assert (level["on_hand"], level["reserved"]) == (1000 - committed, 0)
    assert shop.sql("SELECT COUNT(*) FROM $hold WHERE state = 'committed'") == [(committed,)]
    shop.verify()
