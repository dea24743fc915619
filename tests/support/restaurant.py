# SPDX-License-Identifier: MPL-2.0
"""
PURPOSE   A restaurant whose parts are processes of their own, with a fault proxy between order and what it asks, and the proof that a
          broken evening still adds up.

LIFE      order, product and dlq count their ports from `shop.base_port`, stock and payment from `base`; the proxy binds the places at
          which order looks for those two, and those at which they look for the dlq. `tend` starts again whom a fault has killed, and
          is called by every wait.

PROOF     `prove` waits until every order is at an end, and compares what actors answer: the units that left with the orders that were
          paid, the money that stayed with their totals, and no hold; then `larder verify`.

FAILURES  AssertionError with the order and its timeline.
"""

import base64
import collections
import hashlib
import hmac
import json
import time
import uuid

from buyers import Answer, Asker
from fault_proxy import KILLS, FaultProxy
from larder_client import RETRY, Refused, Unknown, derived, pack, shard_of, uuid7
from patience import Deadline, stretched
from processes import DONE, EVENTS, OFFSETS, PROBES, SHARD, Shop, free_base_port, wait_until

SECRET = base64.b64decode("bGFyZGVyLWRlbW8td2ViaG9vay1zZWNyZXQ=")  # the simulated provider's known one
APPROVED, WAITS_FOR_WEBHOOK, REFUND_REFUSED = 1000, 1006, 1008  # by its last two digits the provider answers
PLENTY = 100_000
PAID = {"received", "in_preparation", "ready", "completed"}
ENDS = {"received", "completed", "cancelled", "payment_failed"}
ATTEMPT_MS = 500
RESTAURANT = {"request_timeout_ms": 500, "retry_first_ms": 20, "payment_delay_ms": 200, "behind_ms": 3600_000}


def signed(timestamp, webhook_id, body):
    mac = hmac.new(SECRET, f"{webhook_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(mac).decode()


def hold_of(order, shard=0, number=0):
    """The id of the hold that a round of an order has on a shard."""
    return derived(order + f"reserve/{number}/{shard}/do".encode())


class Restaurant:
    """`databases` are other addresses of the database for some of the actors: {name: LARDER_DB}. `together`: one process has all shards
    of stock."""

    def __init__(self, folder, database, shards=1, databases=None, together=False, **settings):
        self.databases = databases or {}
        self.is_together, self.is_unattended = together, False
        self.shop = Shop(folder, database, shards, **{**RESTAURANT, **settings})
        self.asker, self.proxy = Asker(self.shop), FaultProxy()
        self.base = self._other_base()
        self.routes()
        self.actors = {}  # (name, shard): Process
        for shard in range(1 if together else shards):
            self.start("stock", shard)
        for name in ("payment", "product", "dlq", "order"):
            self.start(name)
        self.put = collections.Counter()
        self.orders = []  # every order ever placed here
        self.eaten = set()  # those given up when the kitchen had begun: their units are gone

    def _other_base(self):
        """A block of ports that does not meet the shop's, with their events and probes."""
        def ports(base):
            return {base + offset + more + SHARD * shard for offset in OFFSETS.values() for more in (0, EVENTS, PROBES)
                    for shard in range(self.shop.shards)}
        while True:
            base = free_base_port(self.shop.shards)
            if not ports(base) & ports(self.shop.base_port):
                return base

    def routes(self):
        here, there = self.shop.base_port, self.base
        for shard in range(self.shop.shards):
            self.proxy.route("stock", here + OFFSETS["stock"] + SHARD * shard, there + OFFSETS["stock"] + SHARD * shard)
        self.proxy.route("payment", here + OFFSETS["payment"], there + OFFSETS["payment"])
        self.proxy.route("dlq", there + OFFSETS["dlq"], here + OFFSETS["dlq"])

    def close(self):
        self.asker.close()
        self.shop.close()
        self.proxy.close()

    # --- processes ---

    def base_of(self, name):
        return self.base if name in ("stock", "payment") else self.shop.base_port

    def start(self, name, shard=0):
        key = (name, shard)
        if key in self.actors:
            self.actors[key].start().wait_ready(f"127.0.0.1:{self.base_of(name) + OFFSETS[name] + SHARD * shard + PROBES}")
        else:
            more = {"db": self.databases[name]} if name in self.databases else {}
            self.actors[key] = self.shop.actor(name, *(["--shard", str(shard)] if name == "stock" and not self.is_together else []), base_port=self.base_of(name), **more)
        if name in ("stock", "payment"):
            self.proxy.revive(name, None if self.is_together else shard)

    def kill(self, name, shard=0):
        if name in ("stock", "payment"):
            self.proxy.leave(name, None if self.is_together else shard)
        self.actors[name, shard].kill9()

    def tend(self):
        """Starts again whom a fault has killed, unless they are to lie."""
        if self.is_unattended:
            return
        for process in self.proxy.take_killed():
            self.start(*next(key for key, running in self.actors.items() if running is process))

    def wait(self, condition, deadline_s=20, what="what was waited for"):
        def tended():
            self.tend()
            return condition()
        return wait_until(tended, deadline_s, what, pause_s=0.02)

    def arm(self, kind, op, **options):
        victim = None
        if kind in KILLS:
            victim = self.actors["order", 0] if kind.startswith("asker") else self.actors[op.split(".")[0], 0]
        return self.proxy.arm(kind, op, victim=victim, is_whole=self.is_together, **options)

    def has_struck(self, fault):
        """Whether the fault has met somebody, and whom it was to kill is dead or was."""
        return bool(fault.met) and (fault.has_killed or fault.victim is None)

    # --- requests, straight to those who answer them ---

    def endpoint(self, name, shard=0):
        return f"tcp://127.0.0.1:{self.base_of(name) + OFFSETS[name] + SHARD * shard}"

    def ok(self, op, body, shard=0, request_id=None, deadline_s=20):
        """The answer's body; whoever is killed meanwhile is started again."""
        request_id, deadline, again = request_id or uuid7(), Deadline(deadline_s), False
        while True:
            self.tend()
            try:
                answer = self.asker.client(self.endpoint(op.split(".")[0], shard)).ask(op, body, request_id, again, timeout_ms=int(stretched(ATTEMPT_MS)))
                return answer.body
            except Unknown:
                assert not deadline.has_passed(), f"{op} {body}: no answer within {deadline}"
            except Refused as refusal:
                raise AssertionError(f"{op} {body}: {refusal}") from None
            again = True

    def ask_all(self, op, bodies, ids=None, again=False, deadline_s=20):
        """One request for each body, all at once, each asked again with its id until its answer is final: [Answer]."""
        ids = ids or [uuid7() for _ in bodies]
        client = self.asker.client(self.endpoint(op.split(".")[0]))
        deadline, answers = Deadline(deadline_s), {}
        while len(answers) < len(ids):
            assert not deadline.has_passed(), f"{op}: {len(ids) - len(answers)} of {len(ids)} have no answer within {deadline}\n{self.timelines()}"
            self.tend()
            if client.socket.poll(ATTEMPT_MS, 2):  # POLLOUT
                for request_id, body in zip(ids, bodies):
                    if request_id not in answers:
                        client.socket.send_multipart([pack(client.header(op, request_id, again)), pack(body)])
                self._take_answers(client, ids, answers, again)
            again = True
        return [answers[request_id] for request_id in ids]

    def _take_answers(self, client, ids, answers, again):
        end = time.monotonic() + stretched(ATTEMPT_MS / 1000)
        while len(answers) < len(ids) and time.monotonic() < end:
            self.tend()
            try:
                reply = client.receive(20)
            except TimeoutError:
                continue
            is_final = reply.status == "ok" or reply.status not in RETRY and reply.header.get("again", False) == again
            if is_final and reply.header["id"] in ids:
                answers.setdefault(reply.header["id"], Answer(reply.status, reply.body, reply.replayed))

    # --- what a test says ---

    def offer(self, product, amount, units=PLENTY):
        """A product of the menu, and so many of it on its shelf."""
        self.ok("product.put", {"product": product, "name": product.capitalize(), "category": "other", "price": {"amount": amount, "currency": "BRL"}})
        shard = shard_of(product, self.shop.shards)
        if units:
            self.ok("stock.adjust", {"product": product, "delta": units}, shard)
        self.put[product] += units

    def place(self, *products, count=1, method="pix"):
        """Places orders for one of each product, all at once: (ids, answers)."""
        ids = [uuid7() for _ in range(count)]
        self.orders += ids
        body = {"lines": [{"product": product, "quantity": 1} for product in products], "method": method}
        return ids, self.ask_all("order.place", [body] * count, ids)

    def placed(self, *products, count=1, status="awaiting_payment"):
        """The same, and waits until they are in a status: ids."""
        ids, _ = self.place(*products, count=count)
        self.wait_status(ids, status)
        return ids

    def has_met(self, orders, what, outcome):
        """Whether the timeline of each has this."""
        return all((what, outcome) in {(entry["what"], entry["outcome"]) for entry in self.ok("order.timeline", {"order": order})["entries"]}
                   for order in orders)

    def order(self, order):
        return self.ok("order.get", {"order": order})

    def wait_status(self, orders, status, saga=None, deadline_s=20):
        def have_it():
            return all(found["status"] == status and saga in (None, found["saga"]) for found in map(self.order, orders))
        try:
            self.wait(have_it, deadline_s, f"{status} {saga or ''}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.timelines(orders)}") from None

    def charge_of(self, order):
        """The newest charge of an order; payment may not know of it yet."""
        return self.order(order)["charge"]

    def tell(self, kind, **data):
        """A webhook of the provider: its outcome."""
        body = json.dumps({"type": kind, "data": {name: str(uuid.UUID(bytes=value)) for name, value in data.items()}}).encode()
        timestamp, webhook_id = str(int(time.time())), f"msg_{uuid.uuid4().hex}"
        return self.ok("payment.webhook", {"webhook_id": webhook_id, "timestamp": timestamp, "signature": signed(timestamp, webhook_id, body),
                                           "body": body})["outcome"]

    def pay(self, orders, kind="charge.succeeded"):
        for order in orders:
            self.tell(kind, charge=self.charge_of(order))

    def cancel(self, orders):
        for answer in self.ask_all("order.cancel", [{"order": order} for order in orders]):
            assert answer.status == "ok", answer

    def cook(self, orders):
        for order in orders:
            self.ok("order.advance", {"order": order})
        self.eaten |= set(orders)

    def steal_holds(self, orders, shard=0):
        """Their units go back on the shelf behind order's back."""
        for order in orders:
            assert self.ok("stock.release", {"hold": hold_of(order, shard)}, shard)["levels"], "it held nothing"

    def letters(self, state="dead"):
        return self.ok("dlq.list", {"state": state})["letters"]

    def wait_stuck(self, orders):
        """They are stuck, and each has its letter: the letters."""
        self.wait(lambda: all(self.order(order)["saga"] == "stuck" for order in orders), what="stuck")
        self.wait(lambda: len(self.letters()) == len(orders), what="a letter for each")
        found = self.letters()
        assert {(letter["kind"], letter["reason"], letter["destination"]) for letter in found} == {("saga", "compensation_failed", "order/0")}, found
        return found

    def replay_letters(self):
        for letter in self.letters():
            status, words = self.shop.command("letters", "replay", str(uuid.UUID(bytes=letter["id"])), "--because", "mended")
            assert status == DONE, words

    # --- the proof ---

    def timelines(self, orders=None):
        """For the report of a failure: what happened to orders that are not at their end."""
        text = []
        for order in orders or self.orders:
            answer = self.asker.once("order.get", {"order": order}, endpoint=self.endpoint("order"))
            if answer is None or answer.status != "ok":
                text.append(f"{order.hex()}: {answer}")
            elif orders or not self.is_at_end(answer.body):
                history = self.ok("order.timeline", {"order": order})["entries"]
                text.append(f"{order.hex()}: {answer.body['status']}, saga {answer.body['saga']}")
                text += [f"    {entry['time']} {entry['what']} {entry['outcome']} -> {entry['status']} {entry.get('detail', '')}" for entry in history]
            if len(text) > 100:
                break
        return "\n".join(text)

    @staticmethod
    def is_at_end(order):
        return order["saga"] == "ended" and order["status"] in ENDS

    def all_orders(self):
        found, before = {}, {}
        while True:
            page = self.ok("order.list", {"limit": 100, **before})
            found.update({order["id"]: order for order in page["orders"]})
            if not page["has_more"]:
                return found
            before = {"before": page["orders"][-1]["number"]}

    def all_charges(self):
        found, before = [], {}
        while True:
            page = self.ok("payment.list", {"limit": 1000, **before})
            found += page["charges"]
            if not page["has_more"]:
                return found
            before = {"before": page["charges"][-1]["number"]}

    def prove(self, deadline_s=20):
        """Everything is at its end, and adds up: {id: order}."""
        try:
            self.wait(lambda: all(map(self.is_at_end, self.all_orders().values())), deadline_s, "every order at its end")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.timelines()}") from None
        found = self.all_orders()
        assert set(found) <= set(self.orders), "orders that nobody has placed"
        self._prove_money(found)
        self._prove_units(found)
        self.shop.verify()
        return found

    def _prove_money(self, found):
        kept = collections.Counter()
        for charge in self.all_charges():
            assert charge["order"] in found, f"a charge of no order: {charge}"
            if charge["status"] == "succeeded":
                kept[charge["order"]] += charge["amount"]["amount"] - charge["refunded"]
        for order, known in found.items():
            owed = known["total"]["amount"] if known["status"] in PAID else 0
            assert kept[order] == owed, f"{kept[order]} kept, {owed} owed\n{self.timelines([order])}"

    def _prove_units(self, found):
        sold = collections.Counter()
        for order, known in found.items():
            if known["status"] in PAID or order in self.eaten:
                sold.update({line["product"]: line["quantity"] for line in known["lines"]})
        for product, units in self.put.items():
            shard = shard_of(product, self.shop.shards)
            level = self.ok("stock.get", {"product": product}, shard)
            assert (level["on_hand"], level["reserved"]) == (units - sold[product], 0), f"{product}: {level}, sold are {sold[product]} of {units}"
            assert self.ok("stock.holds", {"product": product}, shard)["holds"] == []
