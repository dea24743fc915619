# SPDX-License-Identifier: MPL-2.0
"""Never more is sold than there is, and what was told is what was sold: one identity over crashes, delays and refusals."""

import random
import time

from buyers import Asker, Book
from larder_client import uuid7
from processes import wait_until


def one(product="donut"):
    return {"lines": [{"product": product, "quantity": 1}]}


def test_the_last_unit_whose_reply_is_lost_is_told_to_the_one_who_bought_it(database, make_shop, ask):
    shop = make_shop(database)
    stock = shop.actor("stock")
    client = ask(shop)
    client.put("donut", 1)
    first, second = uuid7(), uuid7()
    book = Book()
    with Asker(shop) as deaf:
        deaf.send("stock.take", {**one(), "reference": "first"}, first)
        wait_until(lambda: shop.sql("SELECT on_hand FROM $level WHERE product = 'donut'") == [(0,)], what="sold on disk")
    stock.kill9()
    shop.actor("stock")
    assert client.ask("stock.take", {**one(), "reference": "second"}, second, again=True).status == "out_of_stock"
    told = client.ask("stock.take", {**one(), "reference": "first"}, first, again=True)
    assert told.status == "ok"
    book.write("first", one()["lines"])
    book.check(shop, {"donut": 1})


def test_the_last_unit_is_sold_once_when_stock_is_killed_before_it_replies(database, make_shop, ask):
    shop = make_shop(database)
    stock = shop.actor("stock")
    book = Book()
    rounds = 6
    for number in range(rounds):
        product = f"last-{number}"
        ids = {uuid7(): f"r{number}-{buyer}" for buyer in range(8)}
        with Asker(shop) as client:
            client.put(product, 1)
            for request_id, reference in ids.items():
                client.send("stock.take", {**one(product), "reference": reference}, request_id)
            time.sleep(random.uniform(0, 0.006))  # the moment is what the test is about
            stock.kill9()
        stock = shop.actor("stock")
        client = ask(shop)
        answers = {reference: client.ask("stock.take", {**one(product), "reference": reference}, request_id, again=True)
                   for request_id, reference in ids.items()}
        assert sorted(answer.status for answer in answers.values()) == ["ok"] + ["out_of_stock"] * 7
        for reference, answer in answers.items():
            if answer.status == "ok":
                book.write(reference, one(product)["lines"])
    book.check(shop, {f"last-{number}": 1 for number in range(rounds)})


def test_a_first_attempt_that_comes_after_its_refused_repetition_sells_nothing(database, make_shop, ask):
    shop = make_shop(database)
    stock = shop.actor("stock")
    client = ask(shop)
    client.put("donut", 1)
    assert client.take("donut").status == "ok"
    delayed = uuid7()
    refused = client.ask("stock.take", one(), delayed, again=True)
    assert refused.status == "out_of_stock"
    client.put("donut", 5)
    late = client.once("stock.take", one(), delayed, again=False)
    assert late.status == "out_of_stock"
    assert client.level("donut")["on_hand"] == 5
    stock.kill9()
    shop.actor("stock")
    assert client.ask("stock.take", one(), delayed, again=True).status == "out_of_stock"
    assert client.level("donut")["on_hand"] == 5
    shop.verify()


def test_an_id_that_was_used_for_another_sale_is_refused(database, make_shop, ask):
    shop = make_shop(database)
    shop.actor("stock")
    client = ask(shop)
    client.put("donut", 5)
    used = uuid7()
    assert client.ask("stock.take", one(), used).status == "ok"
    other = {"lines": [{"product": "donut", "quantity": 2}]}
    assert client.ask("stock.take", other, used, again=True).status == "idempotency_mismatch"
    assert client.once("stock.take", other, used).status == "idempotency_mismatch"
    assert client.level("donut")["on_hand"] == 4


def test_names_that_differ_in_case_are_two_products(database, make_shop, ask):
    shop = make_shop(database)
    shop.run()
    client = ask(shop)
    client.put("Donut", 5)
    assert client.take("Donut", 2).status == "ok"
    assert client.order("POST", "/checkout", {"product": "donut"})[0] == 201
    assert (client.level("donut")["on_hand"], client.level("Donut")["on_hand"]) == (2, 3)
    assert client.take("DONUT").status == "unknown_product"
    shop.verify()
