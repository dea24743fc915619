# SPDX-License-Identifier: MPL-2.0
"""An empty shelf orders its own refill, once, whoever dies on the way and whoever comes late."""

from processes import wait_until
from test_chaos import check_productions, is_quiet

QUICK_MS = 300


def sell_out(client, product="donut"):
    level = client.level(product)
    if level["available"]:
        assert client.take(product, level["available"]).status == "ok"


def productions(shop, product="donut"):
    return shop.sql(f"SELECT status, quantity FROM $production WHERE product = '{product}' ORDER BY n", actor="factory")


def refills(shop, product="donut"):
    return [delta for (delta,) in shop.sql(f"SELECT delta FROM $move WHERE product = '{product}' AND kind = 'refill' AND delta > 0 ORDER BY n")]


def wait_level(client, on_hand, product="donut", deadline_s=15):
    wait_until(lambda: client.level(product)["on_hand"] == on_hand, deadline_s, f"{on_hand} of {product} on the shelf")


def test_a_shelf_of_ten_that_was_asked_for_fifty_and_then_sold_out_still_refills(database, make_shop, ask):
    shop = make_shop(database, lead_time_ms=QUICK_MS)
    shop.run()
    client = ask(shop)
    client.put("bagel", 10, order_up_to=10, lot=10)
    assert client.take("bagel", 50).status == "out_of_stock"
    wait_until(lambda: client.level("bagel")["on_hand"] > 10, what="the refill of what was refused")
    for episode in range(3):
        sell_out(client, "bagel")
        wait_until(lambda: client.level("bagel")["on_hand"] > 0, what=f"refill {episode}")
    assert client.level("bagel")["incoming"] == 0
    shop.verify()


def test_a_shelf_refused_and_sold_out_before_the_refill_comes_is_filled_again(database, make_shop, ask):
    shop = make_shop(database, lead_time_ms=1000)
    shop.run()
    client = ask(shop)
    client.put("bagel", 10, order_up_to=10, lot=10)
    assert client.take("bagel", 50).status == "out_of_stock"
    sell_out(client, "bagel")
    wait_until(lambda: client.level("bagel")["on_hand"] > 0, what="the first refill")
    sell_out(client, "bagel")
    wait_until(lambda: client.level("bagel")["on_hand"] > 0, what="the second refill")
    shop.verify()


def test_a_factory_killed_while_the_shelf_runs_empty_refills_once_after_its_restart(database, make_shop, ask):
    shop = make_shop(database, lead_time_ms=QUICK_MS)
    shop.actor("stock")
    client = ask(shop)
    client.put("donut", 3, order_up_to=10, lot=10)
    factory = shop.actor("factory")
    factory.freeze()
    sell_out(client)
    factory.kill9()
    shop.actor("factory")
    wait_level(client, 10)
    assert productions(shop) == [("produced", 10)]
    assert refills(shop) == [10]
    shop.verify()


def test_an_alarm_that_fell_by_itself_is_on_its_way_until_the_factory_has_heard_it(database, make_shop, ask):
    """Somebody held all of it for a moment: the shelf looks as if nothing were to come, and one refill does."""
    shop = make_shop(database, lead_time_ms=QUICK_MS)
    shop.actor("stock")
    client = ask(shop)
    factory = shop.actor("factory")
    client.put("p0", 3)
    client.ok("stock.configure", {"product": "p0", "order_up_to": 20, "lot": 10})
    wait_until(lambda: is_quiet(shop), what="quiet")
    factory.freeze()
    hold = client.ok("stock.reserve", {"lines": [{"product": "p0", "quantity": 3}], "ttl_ms": 600000})["hold"]
    client.ok("stock.release", {"hold": hold, "product": "p0"})
    level = client.level("p0")
    assert (level["on_hand"], level["available"], level["incoming"], productions(shop, "p0")) == (3, 3, 0, [])
    assert not is_quiet(shop), "stock.out has been told and not heard"
    factory.thaw()
    wait_level(client, 23, "p0")
    wait_until(lambda: is_quiet(shop), what="quiet")
    assert productions(shop, "p0") == [("produced", 20)]
    assert check_productions(shop) == [("p0", 20)]
    assert client.level("p0")["on_hand"] == 23
    shop.verify()


def test_a_factory_killed_at_every_step_produces_once(database, make_shop, ask):
    shop = make_shop(database, lead_time_ms=QUICK_MS)
    stock = shop.actor("stock")
    client = ask(shop)
    client.put("donut", 3, order_up_to=10, lot=10)
    factory = shop.actor("factory")
    for number, step in enumerate(("ordered", "produced", "counted"), 1):
        sell_out(client)
        if step == "counted":
            wait_until(lambda made=number: len(refills(shop)) == made, what="counted")
        else:
            wait_until(lambda made=number, states=("ordered", "produced")[("ordered", "produced").index(step):]:
                       len(productions(shop)) == made and productions(shop)[-1][0] in states, what=step)
        factory.kill9()
        stock.kill9()
        stock, factory = shop.actor("stock"), shop.actor("factory")
        wait_level(client, 10)
        assert productions(shop) == [("produced", 10)] * number
        assert refills(shop) == [10] * number
    shop.verify()


def test_a_subscriber_that_comes_for_the_first_time_much_later_sees_everything_once(database, make_shop, ask):
    shop = make_shop(database, lead_time_ms=QUICK_MS)
    stock = shop.actor("stock")
    client = ask(shop)
    names = [f"p{number}" for number in range(40)]
    for name in names:
        client.put(name, 2, order_up_to=5, lot=5)
        sell_out(client, name)
    stock.stop()
    stock = shop.actor("stock")
    head = client.ok("any.ping", {}, endpoint=shop.endpoint("stock"))["seq"]
    assert head >= len(names)
    shop.actor("factory")
    for name in names:
        wait_level(client, 5, name)
    for name in names:
        assert productions(shop, name) == [("produced", 5)]
        assert refills(shop, name) == [5]
    wait_until(lambda: shop.sql("SELECT position FROM $cursor WHERE source = 'stock/0'", actor="factory")[0][0] >= head, what="the cursor")
    shop.verify()


def test_three_shards_are_refilled_by_one_factory(database, make_shop, ask):
    shop = make_shop(database, shards=3, lead_time_ms=QUICK_MS)
    shop.run()
    client = ask(shop)
    names = [f"p{number}" for number in range(9)]
    for name in names:
        client.put(name, 2, order_up_to=5, lot=5)
        sell_out(client, name)
    for name in names:
        wait_level(client, 5, name)
        assert productions(shop, name) == [("produced", 5)]
    shop.verify()
