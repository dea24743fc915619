# SPDX-License-Identifier: MPL-2.0
"""What one operation may make, another can say: sums, counts and texts at the ends of their bounds, over HTTP and ZeroMQ.

Whatever is asked here, the shop of this module has to end as it was told to, and nothing may be answered `internal`.
"""

import uuid

MOST = 10**9


def fill(stock, product, units):
    while units > 0:
        step = min(units, MOST)
        level = stock.get("stock.adjust", {"product": product, "delta": step})["levels"][0]
        units -= step
    return level


# --- stock ---


def test_a_hold_of_two_lines_of_a_product_shows_their_sum(rest, stock, product):
    assert fill(stock, product, 2 * MOST)["on_hand"] == 2 * MOST
    lines = [{"product": product, "quantity": MOST}, {"product": product, "quantity": 1}]
    held = rest.post("/v1/holds", {"lines": lines}).is_ok(201)
    shown = rest.get(f"/v1/holds/{held['hold']}?product={product}").is_ok()
    assert shown["lines"] == [{"product": product, "quantity": MOST + 1}]
    assert shown["state"] == "open"
    found = stock.get("stock.hold", {"hold": uuid.UUID(held["hold"]).bytes, "product": product})
    assert found["lines"] == [{"product": product, "quantity": MOST + 1}]
    page = rest.get(f"/v1/stock/{product}/holds").is_ok()["data"]
    assert [hold["quantity"] for hold in page] == [MOST + 1]
    assert rest.level(product)["reserved"] == MOST + 1


def test_a_hold_of_a_thousand_lines_of_a_product_at_their_most(rest, stock, product):
    stock.get("stock.count", {"product": product, "counted": 10**15})
    lines = [{"product": product, "quantity": MOST}] * 1000
    held = stock.get("stock.reserve", {"lines": lines})
    shown = rest.get(f"/v1/holds/{uuid.UUID(bytes=held['hold'])}?product={product}").is_ok()
    assert shown["lines"] == [{"product": product, "quantity": 10**12}]
    moved = rest.get(f"/v1/stock/{product}/moves?limit=1").is_ok()["data"][0]
    assert moved["reserved_delta"] == 10**12
    stock.get("stock.commit", {"hold": held["hold"], "product": product})
    assert rest.level(product)["on_hand"] == 10**15 - 10**12
