# SPDX-License-Identifier: MPL-2.0
"""A production that will not come is given up, and the shelf that still needs it orders another one."""

import uuid

import pytest

from larder_client import Client, Refused, utc_ms


def wait_for(ask, wanted, seconds=10):
    deadline = utc_ms() + seconds * 1000
    while True:
        got = ask()
        if wanted(got):
            return got
        assert utc_ms() < deadline, got


def test_a_cancelled_production_leaves_the_shelf_free_to_order_again(new_shop, database):
    shop = new_shop(database, lead_time_ms=600_000, alarm_repeat_ms=300)
    shop.run()
    stock, factory = Client(shop.endpoint("stock")), Client(shop.endpoint("factory"))
    stock.ask("stock.configure", {"product": "bagel", "order_up_to": 4})
    first = wait_for(lambda: factory.get("factory.list", {"product": "bagel"})["productions"], len)[0]
    wait_for(lambda: stock.get("stock.get", {"product": "bagel"}), lambda level: level["incoming"] == 4)

    given_up = factory.get("factory.cancel", {"id": first["id"], "reason": "the oven is broken"})
    assert (given_up["status"], given_up["error"]) == ("failed", "the oven is broken")
    with pytest.raises(Refused) as again:
        factory.get("factory.cancel", {"id": first["id"]})
    assert again.value.status == "production_closed"
    with pytest.raises(Refused) as unknown:
        factory.get("factory.cancel", {"id": uuid.uuid4().bytes})
    assert unknown.value.status == "unknown_production"

    second = wait_for(lambda: factory.get("factory.list", {"product": "bagel"})["productions"], lambda found: len(found) == 2)[0]
    assert (second["status"], second["quantity"]) == ("ordered", 4)
    wait_for(lambda: stock.get("stock.get", {"product": "bagel"}), lambda level: level["incoming"] == 4)
    assert stock.get("stock.get", {"product": "bagel"})["on_hand"] == 0
    stock.close()
    factory.close()
