# SPDX-License-Identifier: MPL-2.0
"""A semi-synchronous pair of MariaDB servers: the primary is killed, its replica promoted, and the old primary comes back writable and
first in the list of hosts, at every moment of that. What was acknowledged is sold, and nothing twice."""


import pytest
from buyers import Book, Crowd
from mysql_server import SemiSynchronousPair
from patience import wait_until
from processes import Mysql, request

MENU = [f"bagel-{number}" for number in range(4)]
UNITS = 1_000_000


class Pair(Mysql):
    """Both servers as one database; it is read where `at` says."""

    def __init__(self, pair):
        self.pair = pair
        super().__init__(f"mysql://root@127.0.0.1:{pair.primary.port}/shop")
        self.settings = {"LARDER_DB": f"mysql://root@127.0.0.1:{pair.primary.port},127.0.0.1:{pair.replica.port}/shop"}

    def read_at(self, server):
        self.port = server.port


@pytest.fixture
def pair(folder):
    made = SemiSynchronousPair(folder)
    yield made
    made.close()


def sell_more(book):
    before = book.units()
    wait_until(lambda: book.units() >= before + 20, 60, "sales go on")


def come_back(pair, is_careless):
    """A careless one has forgotten that its commits have to wait for a replica."""
    if is_careless:
        pair.primary.options = [option for option in pair.primary.options if "semi-sync" not in option]
    pair.primary.start()


@pytest.mark.parametrize("moment", ["before the promotion", "behind the promotion", "after sales, careless"])
def test_an_old_primary_that_comes_back_takes_nothing_of_what_was_acknowledged(moment, pair, make_shop, ask):
    database = Pair(pair)
    shop = make_shop(database)
    running = shop.run()
    book = Book()
    for product in MENU:
        ask(shop).put(product, UNITS)
    with Crowd(shop, book, MENU, count=8, is_patient=True):
        sell_more(book)
        pair.primary.kill9()
        if moment == "before the promotion":
            come_back(pair, False)
            wait_until(pair.is_paired, 60, "they are a pair again")
            sell_more(book)
            pair.primary.kill9()
        pair.promote()
        database.read_at(pair.replica)
        if moment == "behind the promotion":
            come_back(pair, False)
        sell_more(book)
        if moment == "after sales, careless":
            come_back(pair, True)
        running.kill9()
        running = shop.run()
        sell_more(book)
    book.check(shop, dict.fromkeys(MENU, UNITS))


def test_an_old_primary_alone_is_refused_by_what_it_waits_for(pair, make_shop, ask):
    database = Pair(pair)
    shop = make_shop(database)
    running = shop.run()
    ask(shop).put("bagel", 7)
    pair.primary.kill9()
    pair.replica.kill9()
    come_back(pair, False)
    wait_until(lambda: "its commits wait for a replica, and none is connected" in running.log(), 60, "the reason")
    assert request(shop.http, "POST", "/checkout", '{"product":"bagel"}')[0] in (503, 504)
    pair.replica.start()
    wait_until(lambda: request(shop.http, "GET", "/readyz")[0] == 200, 60, "the pair serves again")
    assert ask(shop).level("bagel")["on_hand"] in (6, 7)
    shop.verify()
