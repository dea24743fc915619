# SPDX-License-Identifier: MPL-2.0
"""What sales says of a product: stock's figures, with name and price from its copy of the menu, whoever is away."""

import pytest
from larder_client import Client, pack, uuid7
from processes import wait_until

WORDS = {"name", "price"}


@pytest.fixture
def place(new_shop, database):
    """A shop whose stock, product and sales are processes of their own."""
    shop = new_shop(database)
    shop.stock, shop.product, shop.sales = (shop.actor(name) for name in ("stock", "product", "sales"))
    ask(shop, "stock", "stock.adjust", {"product": "x-burger", "delta": 5})
    return shop


def ask(shop, actor, op, body, **options):
    client = Client(shop.endpoint(actor))
    try:
        return client.get(op, body, **options)
    finally:
        client.close()


def put(shop, product="x-burger", amount=2590, **more):
    body = {"product": product, "name": f"{product} {amount}", "category": "burger", "price": {"amount": amount, "currency": "BRL"}}
    return ask(shop, "product", "product.put", {**body, **more})


def show(shop, product="x-burger"):
    return ask(shop, "sales", "sales.show", {"product": product})


def await_amount(shop, amount, product="x-burger"):
    wait_until(lambda: show(shop, product).get("price") == {"amount": amount, "currency": "BRL"}, what=f"a price of {amount}")


def test_name_and_price_are_what_product_said_last(place):
    shown = show(place)
    assert not WORDS & set(shown) and shown["available"] == 5
    put(place)
    await_amount(place, 2590)
    shown = show(place)
    assert shown["name"] == "x-burger 2590" and shown["available"] == 5
    put(place, amount=2790)
    await_amount(place, 2790)
    assert show(place)["name"] == "x-burger 2790"
    put(place, amount=2800, active=False)
    await_amount(place, 2800)
    assert ask(place, "sales", "sales.checkout", {"product": "x-burger"})["available"] == 4


def test_the_menu_stays_while_product_is_away_and_over_a_restart(place):
    put(place)
    await_amount(place, 2590)
    place.product.kill9()
    assert show(place)["name"] == "x-burger 2590"
    place.sales.kill9()
    place.sales = place.actor("sales")
    assert show(place)["name"] == "x-burger 2590"
    assert ask(place, "sales", "sales.checkout", {"product": "x-burger", "quantity": 2})["available"] == 3
    place.actor("product")
    put(place, amount=3000)
    await_amount(place, 3000)
    assert place.sql("SELECT name, amount, currency, version FROM $card", actor="sales")[0] == ("x-burger 3000", 3000, "BRL", 2)


def test_what_was_changed_while_sales_was_away_is_known_when_it_is_back(place):
    place.sales.kill9()
    for amount in (1, 2, 3):
        put(place, amount=amount)
    put(place, product="fries", amount=9)
    ask(place, "stock", "stock.adjust", {"product": "fries", "delta": 1})
    place.actor("sales")
    await_amount(place, 3)
    await_amount(place, 9, "fries")


def test_without_a_menu_sales_shows_and_sells(new_shop, database):
    shop = new_shop(database)
    shop.actor("stock")
    shop.actor("sales")
    ask(shop, "stock", "stock.adjust", {"product": "donut", "delta": 3})
    shown = show(shop, "donut")
    assert not WORDS & set(shown) and shown["available"] == 3
    sale = uuid7()
    for again in (False, True):
        receipt = ask(shop, "sales", "sales.checkout", {"product": "donut", "quantity": 2}, request_id=sale, again=again)
        assert (receipt["id"], receipt["available"]) == (sale, 1)
    assert shop.sql("SELECT COUNT(*) FROM $answer", actor="sales")[0][0] == 0, "a sale is kept by stock alone"


def test_a_shelf_that_was_filled_before_there_was_a_menu_gets_its_card(new_shop, database):
    shop = new_shop(database)
    first = shop.actor("stock")
    ask(shop, "stock", "stock.adjust", {"product": "donut", "delta": 7})
    first.stop()
    for _ in range(2):
        running = shop.run()
        wait_until(lambda: show(shop, "donut").get("name") == "Donut", what="the card")
        assert show(shop, "donut")["price"] == {"amount": 19900, "currency": "KRW"} and show(shop, "donut")["on_hand"] == 7
        running.stop()
    running = shop.run()
    put(shop, product="donut", amount=5)
    await_amount(shop, 5, "donut")
    running.stop()
    shop.run()
    await_amount(shop, 5, "donut")
    assert ask(shop, "product", "product.get", {"product": "donut"})["version"] == 2


def test_a_shop_with_products_of_its_own_gets_no_donut(new_shop, database):
    shop = new_shop(database)
    first = shop.actor("stock")
    ask(shop, "stock", "stock.adjust", {"product": "bagel", "delta": 7})
    first.stop()
    shop.run()
    assert ask(shop, "product", "product.list", {})["products"] == []


@pytest.mark.parametrize("count", [2, 20])
def test_one_sale_asked_for_several_times_at_once_is_one_sale(place, count):
    """All of them wait for stock in one batch of sales."""
    client = Client(place.endpoint("sales"))
    header = client.header("sales.checkout", uuid7())
    assert client.once(client.header("any.ping", uuid7()), {}).status == "ok"
    place.sales.freeze()
    for _ in range(count):
        client.send_frames([pack(header), pack({"product": "x-burger", "quantity": 2})])
    client.send_frames([pack(header), pack({"product": "x-burger", "quantity": 1})])
    place.sales.thaw()
    replies = [client.receive() for _ in range(count + 1)]
    client.close()
    told = [(reply.body["id"], reply.body["available"]) for reply in replies if reply.status == "ok"]
    assert told == [(header["id"], 3)] * count
    assert [reply.status for reply in replies if reply.status != "ok"] == ["idempotency_mismatch"]
    assert show(place)["available"] == 3
