# SPDX-License-Identifier: MPL-2.0
"""64 buyers, 5,000 units, and processes killed at any moment: sold is what the buyers were told is what the ledger says."""

import os
import random

import pytest
from buyers import Book, Crowd
from larder_client import shard_of
from processes import wait_until

IS_LONG = bool(os.environ.get("LARDER_LONG"))
UNITS = 50000 if IS_LONG else 5000
KILLS = 40 if IS_LONG else 6


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
        crowd.join(120)
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
        crowd.join(120)
    assert book.units() == sum(put.values())
    book.check(shop, put)


def test_nothing_is_lost_or_sold_twice_when_the_way_to_the_database_breaks(mysql, proxy, make_shop, ask):
    shop = make_shop(mysql, db=mysql.via(proxy.port)["LARDER_DB"])
    running = shop.run()
    book = Book()
    put = put_units(ask(shop), shelves(1))

    def break_it(chance: random.Random):
        met = proxy.commits_met
        fault = chance.choice(["cut", "hold_commit", "lose_commit_answer"])
        getattr(proxy, fault)()
        if fault != "cut":
            wait_until(lambda: proxy.commits_met > met, what=fault)
            if fault == "hold_commit":
                chance.choice([proxy.deliver, proxy.forget])()
    with Crowd(shop, book, put) as crowd:
        kill_now_and_then(crowd, book, break_it)
        crowd.join(120)
    assert running.is_running()
    assert book.units() == sum(put.values())
    book.check(shop, put)
