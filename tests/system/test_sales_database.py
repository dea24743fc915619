# SPDX-License-Identifier: MPL-2.0
"""Sales loses its own database and stock does not: it refuses at once, comes back by itself, and what waited for stock is answered."""

import pytest
from larder_client import Client, pack, uuid7
from processes import wait_until

BODY = {"product": "donut", "quantity": 2}


@pytest.fixture
def shop(mysql, proxy, make_shop):
    made = make_shop(mysql)
    made.stock = made.actor("stock")
    made.product = made.actor("product")
    made.sales = made.actor("sales", db=mysql.via(proxy.port)["LARDER_DB"])
    return made


@pytest.fixture
def client(shop):
    made = {actor: Client(shop.endpoint(actor)) for actor in ("stock", "product", "sales")}
    made["stock"].get("stock.adjust", {"product": "donut", "delta": 10})
    made["product"].get("product.put", {"product": "donut", "name": "Ring", "category": "dessert",
                                        "price": {"amount": 1, "currency": "BRL"}})
    wait_until(lambda: made["sales"].get("sales.show", {}).get("name") == "Ring", what="the menu")
    yield made
    for one in made.values():
        one.close()


def status_of(client, op, body, sale=None):
    return client.once(client.header(op, sale or uuid7()), body).status


def test_it_refuses_while_its_database_is_away_and_sells_once_after_it(shop, client, proxy):
    sales, sale = client["sales"], uuid7()
    proxy.refuse(True)
    shop.sales.wait_log("database_away")
    assert status_of(sales, "sales.checkout", BODY, sale) == "unavailable"
    assert status_of(sales, "sales.show", {}) == "unavailable"
    proxy.refuse(False)
    for _ in range(2):
        assert sales.ask("sales.checkout", BODY, request_id=sale, again=True).body["available"] == 8
    assert sales.get("sales.show", {})["name"] == "Ring"


@pytest.mark.parametrize("count", [1, 600])
def test_what_waits_for_stock_is_answered_though_the_database_was_away_meanwhile(shop, client, proxy, count):
    sales = client["sales"]
    client["stock"].get("stock.adjust", {"product": "donut", "delta": 2 * count})
    shop.stock.freeze()
    ids = [uuid7() for _ in range(count)]
    for sale in ids:
        sales.send_frames([pack(sales.header("sales.checkout", sale, timeout_ms=30000)), pack(BODY)])
    proxy.refuse(True)
    shop.sales.wait_log("database_away")
    proxy.refuse(False)
    shop.sales.wait_log("database_back")
    shop.stock.thaw()
    answers = [sales.receive(20000) for _ in ids]
    assert {answer.status for answer in answers} == {"ok"}
    assert sorted(answer.body["id"] for answer in answers) == sorted(ids)
    assert sales.get("sales.show", {})["available"] == 10
    shop.sales.stop()
