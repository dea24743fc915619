# SPDX-License-Identifier: MPL-2.0
"""
PURPOSE   Guests of a restaurant that order over REST, pay or walk away or change their minds, and write down what they were told; and
          the comparison with what the databases say when the evening is over.

          Each order has an Idempotency-Key of its own and is sent until its answer is final. What the payment provider does is decided by
          the last digits of the total, so by the dish (`DISHES`); of those that wait for a webhook some are paid, some too late.

FAILURES  AssertionError: no final answer in time, or what was told, orders, shelves and money differ.
"""

import collections
import json
import random
import threading
import time
import uuid

from buyers import Asker, People
from patience import wait_until
from processes import request
from restaurant import ENDS, PAID, signed

SIDE = "bread"
# approved, refused, lost and taken, lost and not taken, late, told twice, by webhook, told as refused later, paid back late, refused late
DISHES = {f"dish-{end:02d}": 1000 + end for end in (0, 1, 2, 3, 4, 5, 6, 7, 9, 10)}
BY_WEBHOOK = "dish-06"
PRICES = {SIDE: 300, **DISHES}
PATIENCE_S = 60


class Told:
    """What all guests were told. Any thread may write."""

    def __init__(self):
        self.lock = threading.Lock()
        self.placed = {}  # order: its lines
        self.refused = 0

    def write(self, order, lines):
        with self.lock:
            self.placed[order] = lines

    def write_refused(self):
        with self.lock:
            self.refused += 1

    def count(self):
        return len(self.placed) + self.refused


class Guest(threading.Thread):
    """Orders until it is stopped; its error is kept for join()."""

    def __init__(self, shop, told, seed, order_ttl_ms, has_bank=True):
        super().__init__(daemon=True)
        self.shop, self.told, self.random, self.order_ttl_ms, self.has_bank = shop, told, random.Random(seed), order_ttl_ms, has_bank
        self.stopped = threading.Event()
        self.error = None

    def run(self):
        try:
            with Asker(self.shop) as asker:
                while not self.stopped.is_set():
                    self.dine(asker)
        except Exception as error:  # pylint: disable=broad-except
            self.error = error

    def dine(self, asker):
        dish = self.random.choice(list(DISHES))
        lines = [{"product": dish, "quantity": 1}]
        if self.random.random() < 0.7:
            lines.append({"product": SIDE, "quantity": self.random.randint(1, 3)})
        status, order = asker.order("POST", "/v1/orders", {"lines": lines, "method": "pix"}, PATIENCE_S)
        assert status == 201 or order["type"].endswith(":out_of_stock"), (status, order)
        if status != 201:
            self.told.write_refused()
            return
        self.told.write(order["id"], lines)
        if self.has_bank and dish == BY_WEBHOOK and self.random.random() < 0.6:
            self.pay(asker, order["id"])
        if self.random.random() < 0.15:
            status, answer = asker.order("POST", f"/v1/orders/{order['id']}:cancel", {}, PATIENCE_S)
            assert status in (200, 409), (status, answer)

    def pay(self, asker, order):
        """By a webhook of its bank, sometimes when the order's time is over or nearly so. While payment is away there is no charge."""
        def is_asked_to_pay():
            seen.update(asker.order("GET", f"/v1/orders/{order}", None)[1])
            return "charge" in seen or seen["status"] in ENDS
        seen = {}
        wait_until(is_asked_to_pay, PATIENCE_S, "a charge", pause_s=0.05)
        if "charge" not in seen:
            return
        if self.random.random() < 0.4:
            self.stopped.wait(self.random.uniform(0.8, 1.2) * self.order_ttl_ms / 1000)
        body, webhook_id = json.dumps({"type": "charge.succeeded", "data": {"charge": seen["charge"]}}), f"msg_{uuid.uuid4().hex}"
        wait_until(lambda: self.tell(webhook_id, body), PATIENCE_S, "a webhook taken", pause_s=0.05)

    def tell(self, webhook_id, body):
        timestamp = str(int(time.time()))
        status, _, answer = request(self.shop.http, "POST", "/v1/payments/webhook", body, {
            "webhook-id": webhook_id, "webhook-timestamp": timestamp, "webhook-signature": signed(timestamp, webhook_id, body.encode())}, 3)
        assert status in (0, 200, 202, 204, 503, 504), (status, answer)
        return 200 <= status < 300


class Evening(People):
    """Many guests at once. `has_bank`: of those that wait for a webhook some are paid; not with an outside provider, which knows best."""

    def __init__(self, shop, told, order_ttl_ms, has_bank=True, count=24):
        super().__init__(lambda seed: Guest(shop, told, seed, order_ttl_ms, has_bank), count, 2 * PATIENCE_S)
        self.told = told

    def break_now_and_then(self, rounds, break_it):
        """`break_it` at random moments, while orders come."""
        for number in range(rounds):
            seen, more = self.told.count(), self.random.randint(10, 60)
            wait_until(lambda before=seen, wanted=more: self.told.count() >= before + wanted or self.errors(), PATIENCE_S,
                       f"orders before break {number}", pause_s=self.random.uniform(0.001, 0.02))
            if self.errors():
                return
            break_it(self.random)

    def go_on_until(self, condition, deadline_s, what):
        """While orders come."""
        wait_until(lambda: condition() or self.errors(), deadline_s, what, pause_s=0.2)


# --- the shop ---


def offer(client, units):
    """The dishes on the menu and on their shelves: {product: units}."""
    for product, amount in PRICES.items():
        client.ok("product.put", {"product": product, "name": product, "category": "other", "price": {"amount": amount, "currency": "BRL"}})
        client.put(product, units)
    return dict.fromkeys(PRICES, units)


def settle(shop, has_bank, deadline_s):
    """Until nothing is under way any more: no call to the provider, no word of payment that order has not heard, no saga. What waits for
    a bank's webhook is asked for now and then for ever."""
    def is_settled():
        return ((has_bank or shop.sql("SELECT COUNT(*) FROM $due", "payment")[0][0] == 0)
                and shop.sql("SELECT position FROM $cursor WHERE source = 'payment/0'", "order") == shop.sql("SELECT seq FROM $shard", "payment")
                and shop.sql("SELECT COUNT(*) FROM $due WHERE owner IN ('saga', 'stray')", "order")[0][0] == 0)
    wait_until(is_settled, deadline_s, "every saga at its end", pause_s=0.05)


def check(shop, told, put):
    """Told, orders, shelves and money agree."""
    found = {}
    for order, status, amount in shop.sql("SELECT HEX(id), status, total FROM $order", "order"):
        found[str(uuid.UUID(order))] = (status, amount)
    assert {status for status, _ in found.values()} <= ENDS, collections.Counter(status for status, _ in found.values())
    assert set(told.placed) <= set(found), f"told and not there: {set(told.placed) - set(found)}"
    untold = {order: status for order, (status, _) in found.items() if order not in told.placed and status != "cancelled"}
    assert not untold, f"there, and nobody was told: {untold}"
    sold = collections.Counter()
    for order, lines in told.placed.items():
        if found[order][0] in PAID:
            sold.update({line["product"]: line["quantity"] for line in lines})
    levels = {product: (on_hand, reserved) for shard in range(shop.shards)
              for product, on_hand, reserved in shop.sql("SELECT product, on_hand, reserved FROM $level", shard=shard)}
    wrong = {product: (levels[product], sold[product]) for product, units in put.items() if levels[product] != (units - sold[product], 0)}
    assert not wrong, f"product: ((on hand, reserved), sold), and {put} were put there: {wrong}"
    kept = shop.sql("SELECT COALESCE(SUM(amount - refunded), 0) FROM $charge WHERE status = 'succeeded'", "payment")[0][0]
    assert kept == sum(amount for status, amount in found.values() if status in PAID)
    shop.verify()
    return collections.Counter(status for status, _ in found.values())
