# SPDX-License-Identifier: MPL-2.0
"""
PURPOSE   Databases that earlier commits have made are opened by this larder: whatever their clients ask again is answered as it was, and
          done once; every saga ends; units and money add up.

          tests/fixtures/make made them, and says what they hold: orders in every state of the saga, with the step undone or done and not
          known, sales under ids and keys, holds, a production, a letter, events that nobody has heard.
"""

import collections
import glob
import io
import json
import os
import subprocess
import tarfile

import msgpack
import pytest
from buyers import LATER_HTTP, Asker
from patience import stretched
from processes import DONE, ROOT, Shop, request, wait_until
from restaurant import REFUND_REFUSED, RESTAURANT, Restaurant

FIXTURES = os.path.join(ROOT, "tests", "fixtures")
COMMITS = ["7a91d01", "78ca81a", "735b57a"]  # the first that places orders, the last of that day, the last before steps were frozen
# the first hour, the last before the restaurant, the one whose order, payment, product and user were empty places
DONUT_COMMITS = ["87ea139", "11694f5", "69f4e14"]
STOCK_OPS = {"stock.take", "stock.adjust", "stock.reserve", "stock.commit", "stock.release", "stock.configure"}


def restore(database, commit):
    """Puts the fixture where the shop looks for it: what its clients were told."""
    with tarfile.open(os.path.join(FIXTURES, f"{commit}-{database.name}.tar.xz")) as archive:
        files = {member.name: archive.extractfile(member).read() for member in archive.getmembers()}
    told = msgpack.unpackb(files.pop("told.msgpack"), raw=False)
    if database.name == "sqlite":
        os.makedirs(database.folder)
        for name, data in files.items():
            with open(os.path.join(database.folder, name), "wb") as file:
                file.write(data)
    else:
        subprocess.run(database.client(), input=files["dump.sql"], check=True, timeout=stretched(60))
    return told


class Opened(Restaurant):
    """The whole shop in one process on a fixture."""

    def __init__(self, folder, database, told):  # pylint: disable=super-init-not-called
        self.shop = Shop(folder, database, **{**RESTAURANT, "request_timeout_ms": 3000})
        self.asker, self.proxy, self.told = Asker(self.shop), None, told
        self.base = self.shop.base_port
        self.orders = [order for orders in told["orders"].values() for order in orders]
        self.eaten = set(told["eaten"])
        self.put = collections.Counter({product: units for product, units in told["put"].items() if product not in ("soup", "bread", "refill")})

    def close(self):
        self.asker.close()
        self.shop.close()

    def tend(self):
        pass

    def migrate(self):
        status, words = self.shop.command("migrate")
        assert status == DONE, words
        return words

    # --- what clients ask again ---

    def ask_again(self):
        for known in self.told["asked"]:
            answer = self.asker.ask(known["op"], known["body"], request_id=known["id"], again=True)
            assert answer.status == "ok", (known, answer)
            if known["is_done"] and known["op"] in STOCK_OPS:
                assert answer.body == known["answer"], (known, answer)
            if known["op"] == "order.place":
                assert answer.body["id"] == known["id"], (known, answer)

    def post_again(self):
        for known in self.told["http"]:
            status, answer = self.wait(lambda sale=known: self.post(sale), what="a final answer")
            assert (status, json.loads(answer)) == (known["status"], json.loads(known["answer"])), (known, status, answer)

    def post(self, sale):
        status, _, answer = request(self.shop.http, "POST", sale["path"], sale["body"], {"Idempotency-Key": sale["key"]})
        return None if status in LATER_HTTP else (status, answer)

    # --- what is on the shelves ---

    def expected(self, product):
        """Units on hand: what was put there, and every request counted once."""
        holds = {known["answer"]["hold"]: known["body"]["lines"] for known in self.told["asked"] if known["op"] == "stock.reserve"}
        left = self.told["put"][product]
        for known in self.told["asked"]:
            lines = {"stock.take": lambda body: body["lines"], "stock.commit": lambda body: holds[body["hold"]]}.get(known["op"], lambda body: [])(known["body"])
            left -= sum(line["quantity"] for line in lines if line["product"] == product)
            if known["op"] == "stock.adjust" and known["body"]["product"] == product:
                left += known["body"]["delta"]
        return left - sum(sale["quantity"] for sale in map(json.loads, (known["body"] for known in self.told["http"])) if sale["product"] == product)

    def prove_shelves(self):
        for product in ("soup", "bread"):
            level = self.ok("stock.get", {"product": product})
            holds = self.ok("stock.holds", {"product": product})["holds"]
            assert (level["on_hand"], level["reserved"]) == (self.expected(product), sum(hold["quantity"] for hold in holds)), (product, level, holds)
        wait_until(lambda: self.ok("stock.get", {"product": "refill"})["on_hand"] == self.expected("refill") + self.produced(),
                   what="the refill is counted once")

    def produced(self):
        """It was due an hour after the shop was frozen: with the younger ones it may be due while this runs."""
        return self.shop.sql("SELECT COALESCE(SUM(quantity), 0) FROM $production WHERE product = 'refill' AND status = 'produced'", "factory")[0][0]

    def mend_stuck(self):
        """The provider says that the refund which it had refused has been made after all."""
        for order in self.told["orders"]["stuck"]:
            assert self.order(order)["saga"] == "stuck"
            charge = self.charge_of(order)
            refund, = self.ok("payment.refunds", {"charge": charge})["refunds"]
            self.tell("refund.succeeded", charge=charge, refund=refund["id"])
            assert self.order(order)["total"]["amount"] == REFUND_REFUSED


@pytest.fixture(name="open_fixture")
def open_fixture_of(request, folder):
    opened = []
    request.node.shops = []

    def open_it(database, commit):
        house = Opened(folder, database, restore(database, commit))
        opened.append(house)
        request.node.shops.append(house.shop)
        return house
    yield open_it
    for house in opened:
        house.close()


@pytest.mark.parametrize("commit", COMMITS)
def test_a_shop_of_an_earlier_commit_goes_on(commit, database, open_fixture):
    house = open_fixture(database, commit)
    assert "done: step" in house.migrate()
    assert set(line.split(": ")[1] for line in house.migrate().splitlines() if "/0: " in line) == {"nothing to do"}
    house.shop.run()
    house.post_again()
    house.ask_again()
    house.wait(lambda: len(house.letters()) == 1, what="the letter of the order that is stuck")
    house.mend_stuck()
    for order in house.told["orders"]["in_preparation"]:
        house.ok("order.advance", {"order": order, "to": "ready"})
        house.ok("order.advance", {"order": order, "to": "completed"})
    found = house.prove(20)
    assert len(found) == len(house.orders)
    house.prove_shelves()
    house.post_again()
    house.ask_again()
    house.prove_shelves()
    house.shop.verify()


@pytest.mark.parametrize("commit", DONUT_COMMITS)
def test_a_shop_from_before_there_were_orders_takes_some(commit, database, open_fixture):
    house = open_fixture(database, commit)
    house.migrate()
    house.shop.run()
    status, _, answer = request(house.shop.http, "GET", "/v1/productions")
    assert status == 200 and "refill" in answer.decode(), (status, answer)
    house.ok("product.put", {"product": "soup", "name": "Soup", "category": "other", "price": {"amount": 700, "currency": "BRL"}})
    order = house.ok("order.place", {"lines": [{"product": "soup", "quantity": 1}], "method": "pix"})["id"]
    house.wait_status([order], "received", "ended")
    house.shop.verify()


@pytest.mark.parametrize("commit", DONUT_COMMITS)
def test_what_was_sold_before_there_were_orders_is_not_sold_again(commit, database, open_fixture):
    house = open_fixture(database, commit)
    house.shop.run()
    house.post_again()
    house.ask_again()
    house.prove_shelves()
    house.shop.verify()
