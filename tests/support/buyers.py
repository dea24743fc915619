# SPDX-License-Identifier: MPL-2.0
"""
PURPOSE   Clients of a shop that write down what they were told, and the comparison with what the database says.

          An `Asker` speaks ZeroMQ and HTTP for one thread. `ask` and `order` repeat under the same id or key until there is an answer
          that is final.

          A `Book` holds what was told. Each purchase has a reference of its own, which the ledger keeps: so told and sold are compared
          purchase by purchase.

FAILURES  AssertionError: no final answer in time, or book and ledger differ.
"""

import collections
import json
import os
import random
import sys
import threading
import time
import uuid
from typing import NamedTuple

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "flow"))

# pylint: disable=wrong-import-position
from larder_client import Client, Refused, pack, shard_of, uuid7
from patience import Deadline, stretched, wait_until
from processes import request

LATER_HTTP = {0, 503, 504}


class Answer(NamedTuple):
    status: str
    body: dict
    replayed: bool = False


class Asker:
    """For one thread."""

    def __init__(self, shop):
        self.shop = shop
        self.clients = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for client in self.clients.values():
            client.close()
        self.clients.clear()

    def client(self, endpoint):
        if endpoint not in self.clients:
            self.clients[endpoint] = Client(endpoint)
        return self.clients[endpoint]

    def endpoint(self, op, body):
        """Where the owner of the operation is, and the shard of the product."""
        owner = op.split(".")[0]
        product = body.get("product") or next((line["product"] for line in body.get("lines", [])), None)
        return self.shop.endpoint(owner, shard_of(product, self.shop.shards) if owner == "stock" and product else 0)

    def send(self, op, body, request_id=None, again=False, timeout_s=5, endpoint=None):
        """Sends, and does not wait for a reply. Returns the id."""
        client, timeout_ms = self.client(endpoint or self.endpoint(op, body)), int(stretched(timeout_s * 1000))
        request_id = request_id or uuid7()
        client.send_frames([pack(client.header(op, request_id, again, timeout_ms)), pack(body)], timeout_ms)
        return request_id

    def replies(self, ids, endpoint, deadline_s=10):
        """What came for the ids that were sent there: {id: Answer}, less than all when the time is over."""
        found, end = {}, time.monotonic() + stretched(deadline_s)
        while len(found) < len(ids):
            try:
                reply = self.client(endpoint).receive(int((end - time.monotonic()) * 1000))
            except TimeoutError:
                break
            if reply.header["id"] in ids:
                found[reply.header["id"]] = Answer(reply.status, reply.body, reply.replayed)
        return found

    def once(self, op, body, request_id=None, again=False, timeout_s=5, endpoint=None):
        """One attempt: its Answer, or None when none came. A late answer to it is never seen."""
        endpoint = endpoint or self.endpoint(op, body)
        try:
            request_id = self.send(op, body, request_id, again, timeout_s, endpoint)
            return self.replies([request_id], endpoint, timeout_s)[request_id]
        except (TimeoutError, KeyError):
            self.clients.pop(endpoint).close()
            return None

    def ask(self, op, body, request_id=None, again=False, deadline_s=30, endpoint=None):
        """Asks until there is a final answer, always under the same id."""
        client = self.client(endpoint or self.endpoint(op, body))
        try:
            reply = client.ask(op, body, request_id, again, timeout_ms=int(stretched(deadline_s * 1000)))
            return Answer("ok", reply.body, reply.replayed)
        except Refused as refusal:
            return Answer(refusal.status, refusal.problem, refusal.replayed)

    def ok(self, op, body, **options):
        answer = self.ask(op, body, **options)
        assert answer.status == "ok", f"{op} {body}: {answer}"
        return answer.body

    def order(self, method, path, body, deadline_s=30, attempt_s=3):
        """The same by HTTP, under one Idempotency-Key: (status, body)."""
        key = uuid.uuid4().hex
        deadline = Deadline(deadline_s)
        while True:
            status, _, answer = request(self.shop.http, method, path, json.dumps(body), {"Idempotency-Key": key}, attempt_s)
            if status not in LATER_HTTP:
                return status, json.loads(answer)
            assert not deadline.has_passed(), f"{method} {path}: no final answer within {deadline}, the last one is {status} {answer}"
            time.sleep(0.02)

    # --- what tests say often ---

    def put(self, product, quantity, **settings):
        """A shelf with so many units, and no refill unless the settings say so."""
        if settings:
            self.ok("stock.configure", {"product": product, **settings})
        if quantity:
            self.ok("stock.adjust", {"product": product, "delta": quantity})

    def level(self, product):
        return self.ok("stock.get", {"product": product})

    def take(self, product, quantity=1, **options):
        return self.ask("stock.take", {"lines": [{"product": product, "quantity": quantity}]}, **options)


class Book:
    """What buyers were told. Any thread may write."""

    def __init__(self):
        self.lock = threading.Lock()
        self.sold = collections.Counter()

    def write(self, reference, lines):
        with self.lock:
            for line in lines:
                self.sold[reference, line["product"]] += line["quantity"]

    def units(self):
        return sum(self.sold.values())

    def check(self, shop, put):
        """`put` is what was put on the shelves: {product: units}. Told, sold, ledger and shelves have to agree."""
        ledger, levels = collections.Counter(), {}
        for shard in range(shop.shards):
            for reference, product, delta in shop.sql("SELECT reference, product, delta FROM $move WHERE kind IN ('take', 'commit') AND "
                                                      "delta <> 0", shard=shard):
                ledger[reference, product] -= delta
            for product, on_hand, reserved in shop.sql("SELECT product, on_hand, reserved FROM $level", shard=shard):
                levels[product] = (on_hand, reserved)
        assert ledger == self.sold, f"told but not sold: {self.sold - ledger}, sold but not told: {ledger - self.sold}"
        for product, units in put.items():
            sold = sum(count for (_, name), count in ledger.items() if name == product)
            assert levels[product] == (units - sold, 0), f"{product}: {levels[product]}, of {units} put there {sold} are sold"
            assert sold <= units
        shop.verify()


class Buyer(threading.Thread):
    """Buys in every way there is, until every shelf refuses it (a patient one: until it is stopped); its error is kept for join()."""

    def __init__(self, shop, book, products, seed, is_patient=False):
        super().__init__(daemon=True)
        self.shop, self.book, self.products, self.random = shop, book, products, random.Random(seed)
        self.is_patient = is_patient
        self.stopped = threading.Event()
        self.error = None

    def run(self):
        try:
            with Asker(self.shop) as asker:
                while self.products and not self.stopped.is_set():
                    self.buy(asker)
        except Exception as error:  # pylint: disable=broad-except
            self.error = error

    def buy(self, asker):
        first = self.random.choice(self.products)
        lines = [{"product": first, "quantity": self.random.randint(1, 3)}]
        reference = f"r{uuid.uuid4().hex}"
        way = self.random.choice([self.take, self.take, self.take_several, self.hold, self.check_out, self.hold_by_http])
        if not way(asker, lines, reference) and not self.is_patient:
            self.leave_if_empty(asker, first)

    def leave_if_empty(self, asker, product):
        if not self.take(asker, [{"product": product, "quantity": 1}], f"r{uuid.uuid4().hex}"):
            self.products = [left for left in self.products if left != product]

    def settle(self, answer, lines, reference):
        """True for a sale, which is written down; False for a shelf that has not so many."""
        assert answer.status in ("ok", "out_of_stock"), answer
        if answer.status == "ok":
            self.book.write(reference, lines)
        return answer.status == "ok"

    def take(self, asker, lines, reference):
        return self.settle(asker.ask("stock.take", {"lines": lines, "reference": reference}), lines, reference)

    def take_several(self, asker, lines, reference):
        shard = shard_of(lines[0]["product"], self.shop.shards)
        others = [product for product in self.products if product != lines[0]["product"] and shard_of(product, self.shop.shards) == shard]
        lines += [{"product": product, "quantity": self.random.randint(1, 2)} for product in self.random.sample(others, min(2, len(others)))]
        return self.take(asker, lines, reference)

    def check_out(self, asker, lines, reference):
        status, body = asker.order("POST", "/checkout", {**lines[0], "reference": reference})
        assert status == 201 or body["type"].endswith(":out_of_stock"), (status, body)
        if status == 201:
            self.book.write(reference, lines)
        return status == 201

    def hold(self, asker, lines, reference):
        made = asker.ask("stock.reserve", {"lines": lines, "ttl_ms": 600000, "reference": reference})
        assert made.status in ("ok", "out_of_stock"), made
        if made.status != "ok":
            return False
        body = {"hold": made.body["hold"], "product": lines[0]["product"], "reference": reference}
        if self.random.random() < 0.5:
            return self.settle(asker.ask("stock.commit", body), lines, reference)
        asker.ok("stock.release", body)
        return True

    def hold_by_http(self, asker, lines, reference):
        path = f"/v1/stock/{lines[0]['product']}/holds"
        status, body = asker.order("POST", path, {"quantity": lines[0]["quantity"], "ttl_ms": 600000, "reference": reference})
        assert status == 201 or body["type"].endswith(":out_of_stock"), (status, body)
        if status != 201:
            return False
        verb = self.random.choice(["commit", "release"])
        ended, answer = asker.order("POST", f"{path}/{body['hold']}:{verb}", {"reference": reference})
        assert ended == 200, (ended, answer)
        if verb == "commit":
            self.book.write(reference, lines)
        return True


class People:
    """Many threads at once, each with a `stopped` event and an `error`; `make(seed)` makes one. LARDER_SEED=N repeats their choices."""

    def __init__(self, make, count, patience_s):
        seed = int(os.environ.get("LARDER_SEED") or random.randrange(1 << 30))
        print(f"LARDER_SEED={seed}")
        self.people, self.patience_s = [make(seed + number) for number in range(count)], patience_s
        self.random = random.Random(seed - 1)

    def __enter__(self):
        for one in self.people:
            one.start()
        return self

    def __exit__(self, kind, *_):
        self.stop()
        if kind is None:
            self.join(self.patience_s)

    def is_busy(self):
        return any(one.is_alive() for one in self.people)

    def stop(self):
        for one in self.people:
            one.stopped.set()

    def errors(self):
        return [one.error for one in self.people if one.error is not None]

    def join(self, deadline_s):
        wait_until(lambda: not self.is_busy(), deadline_s, "all of them are done")
        errors = self.errors()
        if errors:
            raise AssertionError(f"{len(errors)} of them failed, the first: {errors[0]}") from errors[0]


class Crowd(People):
    """Many buyers at once."""

    def __init__(self, shop, book, products, count=64, **options):
        super().__init__(lambda seed: Buyer(shop, book, list(products), seed, **options), count, 60)
