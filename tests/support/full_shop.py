# SPDX-License-Identifier: MPL-2.0
"""
PURPOSE   A small shop in which something of everything has happened, and which is closed: sales, holds in every state, orders that ended
          in every way and some under way, people who were erased, money that went back, productions done, open and given up, letters in
          their states, replays, subscribers that are behind. What happens and its order are the same every time.

FAILURES  AssertionError from what it stands on.
"""

import json
import time
import uuid

from buyers import Asker
from larder_client import pack, shard_of, uuid7
from processes import FAR_MS, Shop, wait_until
from restaurant import signed

SHARDS = 2
QUICK = {"retry_attempts": 2, "retry_first_ms": 10, "behind_ms": 500, "payment_delay_ms": 200}
A = "soup"
B = next(name for name in (f"bread{number}" for number in range(99)) if shard_of(name, SHARDS) != shard_of(A, SHARDS))
PRICES = {A: 1200, B: 300, "refused": 1001, "webhook": 1006, "keeps-money": 1008}
SPOILT = [f"p{number}" for number in range(6)]
FULL = 10**15


def person(name, cpf):
    return {"name": name, "email": f"{name}@example.com", "cpf": cpf, "password": "long enough", "phone": "11 999", "address": "Rua 1"}


class FullShop:
    def __init__(self, folder, database):
        self.shop = Shop(folder, database, shards=SHARDS, **QUICK)
        self.asker = None
        with Asker(self.shop) as self.asker:
            for day in (self.quick_day, self.slow_day, self.day_of_dead_factory, self.day_without_dlq, self.day_without_stock):
                day()

    def ok(self, op, body, **options):
        return self.asker.ok(op, body, **options)

    def wait(self, condition, what):
        return wait_until(condition, 20, what)

    def on_every_shard(self, do):
        for name in (A, B):
            do(name, self.shop.endpoint("stock", shard_of(name, SHARDS)))

    # --- days ---

    def quick_day(self):
        """Productions are done at once."""
        running = self.shop.run(lead_time_ms=0)
        self.menu()
        self.on_every_shard(self.shelves)
        self.people()
        self.orders()
        self.letters()
        self.subscribers()
        self.wait_quiet()
        running.stop()

    def slow_day(self):
        """Productions take long, and what cannot be applied is tried again much later."""
        running = self.shop.run(lead_time_ms=FAR_MS, retry_first_ms=600000)
        self.produce("open")
        self.ok("factory.cancel", {"id": self.produce("cancelled")})
        self.ok("stock.configure", {"product": "low", "reorder_at": 2, "order_up_to": 20, "lot": 5})
        self.ok("stock.adjust", {"product": "low", "delta": 3})
        self.asker.take("low", 2)
        self.wait(lambda: self.asker.level("low")["incoming"] > 0, "a refill of what is low")
        self.wait_quiet()
        running.stop()
        running = self.shop.run(lead_time_ms=0, retry_first_ms=600000)
        self.spoil("tried")
        self.wait(lambda: self.parked("tried", 0), "an event that will be tried again")
        self.order_under_way("webhook")
        self.order_under_way(B, method="money")
        running.stop()

    def day_of_dead_factory(self):
        running = self.shop.run(factory_url="http://127.0.0.1:1/")
        self.produce("uncalled")
        self.wait(lambda: self.letters_of("uncalled"), "a letter about a call")
        self.wait_quiet()
        running.stop()

    def day_without_dlq(self):
        parts = [self.shop.actor("stock", "--shard", str(shard)) for shard in range(SHARDS)] + [self.shop.actor("factory", lead_time_ms=0)]
        self.spoil("unburied")
        self.wait(lambda: self.parked("unburied", 1) and self.has_heard("stock", "factory"), "an event that was given up")
        for part in parts:
            part.stop()

    def day_without_stock(self):
        parts = [self.shop.actor(name) for name in ("product", "payment", "order")]
        body = {"lines": [{"product": A, "quantity": 1}, {"product": B, "quantity": 1}], "method": "pix"}
        self.asker.send("order.place", body)
        self.wait(lambda: self.shop.sql("SELECT COUNT(*) FROM $order WHERE saga = 'reserving'", "order") == [(1,)], "an order that waits for stock")
        for part in parts:
            part.stop()

    # --- what happens ---

    def menu(self):
        for product, amount in PRICES.items():
            self.ok("product.put", {"product": product, "name": product.capitalize(), "category": "other", "description": f"A {product}.",
                                    "images": [{"url": f"https://example.com/{product}.png"}], "price": {"amount": amount, "currency": "BRL"}})
        self.ok("product.patch", {"product": A, "description": "Warm."})
        self.ok("product.put", {"product": "off", "name": "Off", "category": "dessert", "price": {"amount": 5, "currency": "BRL"}, "active": False})
        self.ok("product.categorise", {"category": "season", "name": "Of the season", "position": 60})
        for product in PRICES:
            self.ok("stock.adjust", {"product": product, "delta": 1000})

    def shelves(self, name, endpoint):
        def hold(quantity=2, **more):
            return self.ok("stock.reserve", {"lines": [{"product": name, "quantity": quantity}], "reference": "a table", **more})["hold"]
        self.ok("stock.configure", {"product": name, "reorder_at": 3, "order_up_to": 40, "lot": 10})
        for _ in range(3):
            self.asker.take(name)
        assert self.asker.take("nothing" + name).status != "ok"
        hold()
        for verb, state in (("commit", "committed"), ("release", "released"), ("return", "returned")):
            held = hold()
            if verb == "return":
                self.ok("stock.commit", {"hold": held, "product": name, "reference": "paid"})
            self.ok(f"stock.{verb}", {"hold": held, "product": name, **({"reference": "meal"} if verb == "commit" else {})})
            assert self.ok("stock.hold", {"hold": held, "product": name})["state"] == state
        moved = hold()
        self.ok("stock.extend", {"hold": moved, "product": name, "ttl_ms": FAR_MS})
        hold(replaces=hold(), quantity=1)
        short = hold(ttl_ms=1)
        self.wait(lambda: self.ok("stock.hold", {"hold": short, "product": name})["state"] == "expired", "a hold that has ended")
        self.ok("stock.release", {"hold": uuid7(), "product": name})
        self.ok("stock.count", {"product": name, "counted": self.asker.level(name)["on_hand"] - 1, "reason": "spilt"})
        small = f"small-{name}"
        while shard_of(small, SHARDS) != shard_of(name, SHARDS):
            small += "l"
        self.ok("stock.configure", {"product": small, "order_up_to": 5, "lot": 5})
        self.ok("stock.adjust", {"product": small, "delta": 1})
        for _ in range(2):
            self.asker.take(small)
        self.wait(lambda: self.asker.level(small)["on_hand"] >= 4, "a refill")

    def people(self):
        self.customer = self.ok("user.register", person("ann", "52998224725"))["user"]
        self.ok("user.change", {"user": self.customer, "phone": "11 888"})
        gone = self.ok("user.register", person("bob", "11144477735"))["user"]
        self.order_seen(self.place(A, customer=gone, note="for bob"), "received")
        self.ok("user.erase", {"user": gone, "reason": "asked for it"})
        assert self.asker.ask("user.register", person("ann", "52998224725")).status != "ok"

    def place(self, *products, method="pix", **more):
        body = {"lines": [{"product": product, "quantity": 1} for product in products], "method": method, **more}
        return self.ok("order.place", body)["id"]

    def order_seen(self, order, status, saga="ended"):
        def is_so():
            seen = self.ok("order.get", {"order": order})
            return (seen["status"], seen["saga"]) == (status, saga) and seen
        return self.wait(is_so, f"an order that is {status}, its saga {saga}")

    def order_under_way(self, product, **more):
        order = self.place(product, B, **more)
        self.wait(lambda: self.ok("order.get", {"order": order}).get("charge"), "a charge")
        return order

    def tell(self, kind, webhook_id=None, **data):
        body = json.dumps({"type": kind, "data": {name: str(uuid.UUID(bytes=value)) for name, value in data.items()}}).encode()
        timestamp, webhook_id = str(int(time.time())), webhook_id or f"msg_{uuid.uuid4().hex}"
        return self.ok("payment.webhook", {"webhook_id": webhook_id, "timestamp": timestamp, "signature": signed(timestamp, webhook_id, body),
                                           "body": body})["outcome"]

    def orders(self):
        for statuses in ((), ("in_preparation",), ("in_preparation", "ready"), ("in_preparation", "ready", "completed")):
            order = self.place(A, B, customer=self.customer, note="no onions")
            self.order_seen(order, "received")
            for status in statuses:
                self.ok("order.advance", {"order": order, "to": status})
        self.cancel(self.order_seen(self.place(A, B), "received")["id"])
        eaten = self.order_seen(self.place(A), "received")["id"]
        self.ok("order.advance", {"order": eaten, "to": "in_preparation"})
        self.cancel(eaten)
        self.order_seen(self.place("refused", B), "payment_failed")
        late = self.order_under_way("webhook")
        self.cancel(late)
        charge = self.ok("order.get", {"order": late})["charge"]
        self.tell("charge.succeeded", charge=charge)
        paid = self.order_under_way("webhook")
        charge = self.ok("order.get", {"order": paid})["charge"]
        self.tell("charge.succeeded", charge=charge)
        self.order_seen(paid, "received")
        self.tell("charge.succeeded", charge=charge)
        self.tell("charge.succeeded", charge=uuid7())
        by_hand = self.order_under_way(A, method="money")
        self.ok("payment.confirm", {"charge": self.ok("order.get", {"order": by_hand})["charge"]})
        self.order_seen(by_hand, "received")
        kept = self.order_seen(self.place("keeps-money"), "received")["id"]
        self.ok("order.cancel", {"order": kept})
        self.wait(lambda: self.ok("order.get", {"order": kept})["saga"] == "stuck", "money that the provider keeps")
        self.wait(lambda: self.letters_of(kind="saga"), "a letter about a saga")

    def cancel(self, order):
        self.ok("order.cancel", {"order": order})
        self.order_seen(order, "cancelled")

    def produce(self, product):
        self.ok("stock.configure", {"product": product})
        return self.ok("factory.produce", {"product": product, "quantity": 4})["id"]

    def spoil(self, product):
        """A production that does not fit on its shelf."""
        self.ok("stock.count", {"product": product, "counted": FULL})
        self.ok("factory.produce", {"product": product, "quantity": 10})

    def mend(self, product):
        self.ok("stock.adjust", {"product": product, "delta": -1000})

    def parked(self, product, state):
        rows = self.shop.sql(f"SELECT state FROM $parked WHERE event_key = '{product}'", shard=shard_of(product, SHARDS))
        return rows and rows[0][0] == state

    def letters_of(self, key=None, **filters):
        return self.ok("dlq.list", {"limit": 1000, **({"key": key} if key else {}), **filters})["letters"]

    def letters(self):
        for product in SPOILT:
            self.spoil(product)
            self.wait(lambda wanted=product: self.letters_of(wanted), "a letter")
        known = {product: self.letters_of(product)[0]["id"] for product in SPOILT}
        self.mend("p0")
        self.ok("dlq.replay", {"letter": known["p0"], "author": "ada", "reason": "shelf cleared"})
        self.ok("dlq.discard", {"letter": known["p1"], "reason": "counted by hand"})
        self.ok("dlq.edit", {"letter": known["p4"], "changes": [{"name": "quantity", "value": "7"}], "reason": "miscounted"})
        self.mend("p2")
        for key in ("p2", "p3"):
            replay = self.ok("dlq.start", {"filter": {"key": key}, "author": "ada", "reason": "once more", "rate": 100})["id"]
            self.wait(lambda wanted=replay: self.ok("dlq.status", {"replay": wanted})["state"] != "running", "the end of a replay")
        body = pack({"product": A, "delta": 1})
        self.ok("dlq.hand_over", {"op": "stock.adjust", "request": uuid7(), "body": body, "useful_until": 1})
        later = uuid7()
        self.ok("dlq.hand_over", {"op": "stock.adjust", "request": later, "body": body})
        self.wait(lambda: self.ok("dlq.outcome", {"request": later})["state"] == "done", "a request that was delivered")

    def subscribers(self):
        """One with a database of its own that has fallen behind, one without."""
        follower = self.asker.client(self.shop.endpoint("stock", 0))
        known = follower.ask("any.subscribe", {"subscriber": "audit", "from_start": True}).body
        follower.ask("any.fetch", {"subscriber": "audit", "incarnation": known["incarnation"], "position": 0, "limit": 1})
        self.ok("dlq.subscribe", {"name": "watcher", "source": "stock/1", "from_start": True})
        self.asker.take(A)
        self.asker.take(B)
        self.wait(lambda: len(self.letters_of(kind="subscriber")) >= 2, "a letter about each subscriber that is behind")
        kept = "SELECT subscriber FROM $hosting WHERE copied > 0 AND subscriber IN ('audit', 'dlq.watcher') ORDER BY 1"
        self.wait(lambda: self.shop.sql(kept, "dlq") == [("audit",), ("dlq.watcher",)], "events that are kept for both")

    def has_heard(self, actor, owner):
        """Whether each shard of an actor has taken all events of another."""
        head = self.shop.sql("SELECT seq FROM $shard", owner)
        return all(self.shop.sql(f"SELECT position FROM $cursor WHERE source = '{owner}/0'", actor, shard=shard) == head
                   for shard in range(SHARDS if actor == "stock" else 1))

    def wait_quiet(self):
        """No event on its way, no burial that is not confirmed."""
        def is_quiet():
            follows = all(self.has_heard(*pair) for pair in (("order", "payment"), ("stock", "factory"), ("order", "product")))
            return follows and all(self.shop.sql("SELECT COUNT(*) FROM $burial", actor) == [(0,)] for actor in ("stock", "factory", "order"))
        self.wait(is_quiet, "nothing under way")
