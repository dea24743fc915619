# SPDX-License-Identifier: MPL-2.0
"""A factory that is away while shelves run empty: a letter, its events kept by the dlq, and one refill each when it is back."""

import pytest

from larder_client import Client

from patience import stretched, wait_until

BEHIND_MS = int(stretched(400))
ORDER_UP_TO = 5
TRIMMED = 256  # a source trims so many events at once


class Laggard:
    """A shop without its factory."""

    def __init__(self, shop):
        self.shop = shop
        self.dlq_process, self.stock_process = shop.actor("dlq"), shop.actor("stock")
        self.stock, self.dlq = Client(shop.endpoint("stock")), Client(shop.endpoint("dlq"))

    def close(self):
        self.stock.close()
        self.dlq.close()

    def run_empty(self, count, prefix="p"):
        for number in range(count):
            product = f"{prefix}{number}"
            self.stock.get("stock.adjust", {"product": product, "delta": 1})
            self.stock.get("stock.configure", {"product": product, "reorder_at": 0, "order_up_to": ORDER_UP_TO})
            self.stock.get("stock.take", {"lines": [{"product": product, "quantity": 1}]})

    def letter(self):
        letters = self.dlq.get("dlq.list", {"kind": "subscriber", "destination": "factory/0"})["letters"]
        return letters[0] if letters else None

    def await_letter(self, state, to=0):
        def is_so():
            letter = self.letter()
            return letter if letter and letter["state"] == state and letter["to"] >= to else None
        return wait_until(is_so, 20, f"the letter is {state}, kept up to {to}")

    def oldest_kept_by_stock(self):
        return self.shop.sql("SELECT COALESCE(MIN(seq), 1000000) FROM $outbox")[0][0]

    def await_refills(self, count):
        def are_there():
            return self.shop.sql(f"SELECT COUNT(*) FROM $level WHERE on_hand = {ORDER_UP_TO}")[0][0] == count
        wait_until(are_there, 30, f"{count} refills")
        assert self.shop.sql("SELECT COUNT(*) FROM $production", "factory")[0][0] == count
        assert self.shop.sql("SELECT COUNT(*) FROM $level WHERE on_hand <> " + str(ORDER_UP_TO))[0][0] == 0


@pytest.fixture
def laggard(new_shop, database):
    made = Laggard(new_shop(database, behind_ms=BEHIND_MS, lead_time_ms=50))
    yield made
    made.close()


def test_a_shelf_that_ran_empty_while_the_factory_was_away_is_refilled_once(laggard):
    factory = laggard.shop.actor("factory")
    factory.kill9()
    laggard.run_empty(1)
    letter = laggard.await_letter("waiting", 1)
    assert letter["reason"] == "unacknowledged"
    assert (letter["source"], letter["destination"], letter["seq"]) == ("stock/0", "factory/0", 1)
    shown = laggard.dlq.get("dlq.show", {"letter": letter["id"]})
    assert shown["fields"] == [{"name": "1", "value": "stock.out p0"}]
    factory.start()
    assert laggard.await_letter("done")["id"] == letter["id"]
    laggard.await_refills(1)
    laggard.shop.verify()


def test_nobody_who_keeps_up_has_a_letter(laggard):
    laggard.shop.actor("factory")
    laggard.run_empty(20)
    laggard.await_refills(20)
    assert laggard.dlq.get("dlq.list", {"kind": "subscriber"})["letters"] == []


@pytest.mark.parametrize("is_stock_down", [False, True], ids=["stock-up", "stock-down"])
def test_a_factory_that_first_comes_after_stock_has_trimmed_gets_everything(laggard, is_stock_down):
    laggard.run_empty(TRIMMED + 10)
    laggard.await_letter("waiting", TRIMMED + 10)
    wait_until(lambda: laggard.oldest_kept_by_stock() > TRIMMED, 20, "stock trims what the dlq has")
    if is_stock_down:
        laggard.stock_process.stop()
    laggard.shop.actor("factory")
    wait_until(lambda: laggard.shop.sql("SELECT COUNT(*) FROM $production", "factory")[0][0] == TRIMMED + 10, 30, "every order")
    if is_stock_down:
        laggard.stock_process.start()
    laggard.await_letter("done")
    laggard.await_refills(TRIMMED + 10)
    laggard.shop.verify()
    wait_until(lambda: laggard.shop.sql("SELECT COUNT(*) FROM $kept", "dlq")[0][0] == 0, 10, "nothing is kept any more")


def test_a_dlq_that_is_killed_while_it_copies_goes_on(laggard):
    laggard.run_empty(40)
    laggard.await_letter("waiting")
    laggard.dlq_process.kill9()
    laggard.run_empty(40, "q")
    laggard.dlq_process.start()
    laggard.await_letter("waiting", 80)
    assert laggard.shop.sql("SELECT COUNT(*), MIN(seq), MAX(seq) FROM $kept", "dlq")[0] == (80, 1, 80)
    laggard.shop.actor("factory")
    laggard.await_letter("done")
    laggard.await_refills(80)
    laggard.shop.verify()
