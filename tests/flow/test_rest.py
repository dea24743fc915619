# SPDX-License-Identifier: MPL-2.0
"""Every address of gateway/routes.def, asked well and asked badly; headers, lists, problems, probes."""

import http.server
import json
import re
import threading
import time
import uuid

import pytest

from larder_client import pack, uuid7
from rest import ROOT, Rest, until

ROUTES = re.findall(r"^ROUTE\((\w+), (\w+), \"([^\"]+)\", \w+, (\w+), (\d+)", (ROOT / "gateway" / "routes.def").read_text(), re.M)
PROBES = re.findall(r"^PROBE\((\w+), \"([^\"]+)\"", (ROOT / "gateway" / "routes.def").read_text(), re.M)
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
NOBODY = "0198f2a0-1c00-7a3b-8c4d-5e6f708192a3"

# What a reply holds: always, and perhaps.
LEVEL = ({"product", "on_hand", "reserved", "available", "incoming", "version"}, {"reorder_at", "order_up_to", "lot"})
SHOWN = ({"product", "on_hand", "reserved", "available", "incoming", "version"}, {"name", "price"})
RECEIPT = ({"id", "product", "quantity", "available", "version"}, set())
DONE = ({"levels"}, set())
HELD = ({"levels", "hold"}, {"expires"})
MOVE = (
    {"request", "kind", "product", "delta", "reserved_delta", "on_hand", "reserved", "version", "time"},
    {"hold", "reason", "reference"},
)
HOLD = ({"hold", "product", "quantity", "expires"}, {"reference"})
KEPT = ({"hold", "state", "expires", "lines"}, {"reference"})
PRODUCTION = ({"id", "product", "quantity", "status", "ordered_at"}, {"due_at", "done_at", "attempts", "error"})
LETTER = (
    {"id", "number", "state", "kind", "reason", "error", "destination", "key", "attempts", "first", "last", "opened", "changed"},
    {"source", "seq", "to", "type", "units", "amount", "currency", "useful_until", "request", "replay", "status", "traceparent"},
)
WHOLE = ({"letter", "fields", "history", "audit", "body"}, {"header", "original"})
STATS = ({"counts", "dead", "waiting", "is_full"}, {"oldest_dead", "oldest_waiting"})
REPLAY = (
    {"id", "number", "state", "total", "done", "failed", "started"},
    {"rate", "canary", "stop_on_failure", "author", "reason", "ended", "stopped_by", "error", "shares", "under_way"},
)

CARD = ({"product", "name", "category", "price", "active", "version", "changed"}, {"description", "images"})
LOADED = ({"results", "created", "changed", "unchanged", "refused"}, set())
CATEGORY = ({"category", "name", "position"}, set())
PERSON = ({"user", "version"}, set())
WHO = ({"user", "role", "created", "changed", "version"}, {"name", "email", "phone", "address", "cpf", "erased"})
ERASURE = ({"user", "erased", "fields", "event"}, {"reason"})
SESSION = ({"token", "expires", "role", "user"}, set())
ORDER = (
    {"id", "number", "status", "saga", "lines", "total", "method", "placed", "changed", "version"},
    {"note", "customer", "charge", "reason", "deadline", "secret"},
)
ENTRY = ({"n", "time", "what", "outcome", "status"}, {"detail"})
CHARGE = (
    {"id", "number", "order", "amount", "method", "provider", "status", "refunded", "created", "changed"},
    {"replaces", "reference", "reason", "attempts"},
)
REFUND = ({"id", "charge", "order", "amount", "status", "created", "changed"}, {"reason", "attempts"})
DISH = {"name": "Burger", "category": "burger", "price": {"amount": 2500, "currency": "BRL"}}
PASSWORD = "correct horse battery"

# route: (a good request, what its reply holds), (a bad one, its refusal). {p} is a shelf of 100, {h} a hold of 4 of them, {e} an open
# production, {l} a letter, {d} a discarded one, {r} a replay that is not done soon. {m} is a product of the menu, {u} a person with
# the address {mail}, {x} one that was erased; {o} an order to be paid by hand with the charge {c}, {k} one that the kitchen has, {f}
# one whose payment was refused, {z} a charge that was paid back.
CASES = {
    "shop_show": (("/product/{p}", None, SHOWN), ("/product/{none}", None, "unknown_product")),
    "shop_show_as_printed": (("/procut/{p}", None, SHOWN), ("/procut/{p}?colour=blue", None, "invalid_field")),
    "shop_checkout": (
        ("/checkout", {"product": "{p}", "quantity": 2}, RECEIPT),
        ("/checkout", {"product": "{p}", "quantity": 101}, "out_of_stock"),
    ),
    "shop_produce": (("/", {"product": "{p}", "quantity": 3}, PRODUCTION), ("/", {"product": "{none}"}, "unknown_product")),
    "shop_increase": (("/checkout/{p}", {"quantity": 5}, LEVEL), ("/checkout/{p}", {"quantity": -5}, "invalid_field")),
    "shop_increase_as_coded": (("/product/{p}", {"quantity": 5}, LEVEL), ("/product/{p}", {"delta": 5}, "invalid_field")),
    "products": (("/v1/products?limit=3&category=burger", None, CARD), ("/v1/products?limit=0", None, "invalid_field")),
    "product_post": (
        ("/v1/products", {"product": "{p}", **DISH, "description": "with cheese", "images": [{"url": "https://a.example/b.png"}]}, CARD),
        ("/v1/products", {"product": "{p}", **DISH, "category": "shoes"}, "unknown_category"),
    ),
    "product_load": (
        ("/v1/products:load", {"rows": [{"product": "{p}", "name": "Cola", "category": "beverage", "amount": 500, "currency": "BRL"}]},
         LOADED),
        ("/v1/products:load", {"rows": []}, "invalid_field"),
    ),
    "product": (("/v1/products/{m}", None, CARD), ("/v1/products/{none}", None, "unknown_product")),
    "product_put": (("/v1/products/{p}", DISH, CARD), ("/v1/products/{p}", {**DISH, "price": 25}, "invalid_field")),
    "product_patch": (
        ("/v1/products/{m}", {"active": False}, CARD),
        ("/v1/products/{m}", {"active": False, "version": 9}, "version_conflict"),
    ),
    "categories": (("/v1/categories", None, CATEGORY), ("/v1/categories?limit=1", None, "invalid_field")),
    "category_put": (
        ("/v1/categories/soup", {"name": "Soups", "position": 70}, CATEGORY),
        ("/v1/categories/soup", {"name": "Soups"}, "invalid_field"),
    ),
    "checkout": (("/v1/checkouts", {"product": "{p}"}, RECEIPT), ("/v1/checkouts", {"productSku": "{p}"}, "invalid_field")),
    "levels": (("/v1/stock?limit=3", None, LEVEL), ("/v1/stock?cursor=nonsense", None, "invalid_field")),
    "level": (("/v1/stock/{p}", None, LEVEL), ("/v1/stock/{none}", None, "unknown_product")),
    "level_put": (
        ("/v1/stock/{p}", {"reorder_at": 2, "order_up_to": 20, "lot": 5}, LEVEL),
        ("/v1/stock/{p}", {"lot": 0}, "invalid_field"),
    ),
    "level_patch": (("/v1/stock/{p}", {"reorder_at": 3}, LEVEL), ("/v1/stock/{p}", {"reorder_at": "3"}, "invalid_field")),
    "adjust": (
        ("/v1/stock/{p}:adjust", {"delta": -40, "reason": "broken", "reference": "r 1"}, LEVEL),
        ("/v1/stock/{p}:adjust", {"delta": -101}, "would_go_negative"),
    ),
    "count": (
        ("/v1/stock/{p}:count", {"counted": 77, "reason": "evening"}, LEVEL),
        ("/v1/stock/{p}:count", {"counted": 3}, "would_go_negative"),
    ),
    "moves": (("/v1/stock/{p}/moves", None, MOVE), ("/v1/stock/{none}/moves", None, "unknown_product")),
    "take": (
        ("/v1/takes", {"lines": [{"product": "{p}", "quantity": 2}, {"product": "{q}", "quantity": 1}]}, DONE),
        ("/v1/takes", {"lines": [{"product": "{p}", "quantity": 2}, {"product": "{q}", "quantity": 101}]}, "out_of_stock"),
    ),
    "product_holds": (("/v1/stock/{p}/holds", None, HOLD), ("/v1/stock/{none}/holds", None, "unknown_product")),
    "product_hold": (
        ("/v1/stock/{p}/holds", {"quantity": 2, "ttl_ms": 60000}, HELD),
        ("/v1/stock/{p}/holds", {"quantity": 97}, "out_of_stock"),
    ),
    "product_hold_extend": (
        ("/v1/stock/{p}/holds/{h}:extend", {"ttl_ms": 90000}, HELD),
        ("/v1/stock/{p}/holds/{nobody}:extend", {"ttl_ms": 1}, "unknown_hold"),
    ),
    "product_hold_commit": (
        ("/v1/stock/{p}/holds/{h}:commit", {"reference": "till 4"}, HELD),
        ("/v1/stock/{p}/holds/{nobody}:commit", None, "unknown_hold"),
    ),
    "product_hold_release": (
        ("/v1/stock/{p}/holds/{h}:release", None, HELD),
        ("/v1/stock/{p}/holds/short:release", None, "invalid_field"),
    ),
    "hold": (
        ("/v1/holds", {"lines": [{"product": "{p}", "quantity": 2}, {"product": "{q}", "quantity": 1}]}, HELD),
        ("/v1/holds", {"lines": []}, "invalid_field"),
    ),
    "hold_extend": (
        ("/v1/holds/{h}:extend", {"ttl_ms": 90000}, HELD),
        ("/v1/holds/{h}:extend", {"ttl_ms": 2592000001}, "invalid_field"),
    ),
    "product_hold_show": (("/v1/stock/{p}/holds/{h}", None, KEPT), ("/v1/stock/{p}/holds/{nobody}", None, "unknown_hold")),
    "hold_show": (("/v1/holds/{h}", None, KEPT), ("/v1/holds/x", None, "invalid_field")),
    "hold_commit": (("/v1/holds/{h}:commit", None, HELD), ("/v1/holds/{nobody}:commit", None, "unknown_hold")),
    "hold_release": (("/v1/holds/{h}:release", None, HELD), ("/v1/holds/{h}:release", {"why": "x"}, "invalid_field")),
    "productions": (("/v1/productions?limit=3", None, PRODUCTION), ("/v1/productions?limit=1001", None, "invalid_field")),
    "production_order": (
        ("/v1/productions", {"product": "{p}", "quantity": 3}, PRODUCTION),
        ("/v1/productions", {"product": "{p}", "quantity": 0}, "invalid_field"),
    ),
    "production": (("/v1/productions/{e}", None, PRODUCTION), ("/v1/productions/{nobody}", None, "unknown_production")),
    "production_cancel": (
        ("/v1/productions/{e}:cancel", {"reason": "no flour"}, PRODUCTION),
        ("/v1/productions/{nobody}:cancel", None, "unknown_production"),
    ),
    "callback": (None, ("/callback/" + "A" * 43, None, "unknown_capability")),
    "user_post": (
        ("/v1/users", {"name": "Ana", "email": "{p}@example.com", "password": PASSWORD}, PERSON),
        ("/v1/users", {"name": "Ana", "cpf": "111.111.111-11"}, "invalid_field"),
    ),
    "users": (("/v1/users?limit=3", None, WHO), ("/v1/users?limit=0", None, "invalid_field")),
    "user_find": (("/v1/users:find", {"email": "{mail}"}, WHO), ("/v1/users:find", {"email": "{p}@nowhere.example"}, "unknown_user")),
    "user": (("/v1/users/{u}", None, WHO), ("/v1/users/{nobody}", None, "unknown_user")),
    "user_patch": (("/v1/users/{u}", {"phone": "+55 11 90000-0000"}, PERSON), ("/v1/users/{u}", {"email": "at home"}, "invalid_field")),
    "user_delete": (("/v1/users/{u}", {"reason": "asked for it"}, ERASURE), ("/v1/users/{nobody}", None, "unknown_user")),
    "user_erasure": (("/v1/users/{x}/erasure", None, ERASURE), ("/v1/users/{nobody}/erasure", None, "unknown_user")),
    "session": (
        ("/v1/sessions", {"email": "{mail}", "password": PASSWORD}, SESSION),
        ("/v1/sessions", {"email": "{mail}", "password": "guessed wrong"}, "wrong_credentials"),
    ),
    "order_post": (
        ("/v1/orders", {"lines": [{"product": "{m}", "quantity": 2}], "method": "pix", "note": "no onions"}, ORDER),
        ("/v1/orders", {"lines": [{"product": "{m}", "quantity": 2}], "method": "pix", "total": 1}, "invalid_field"),
    ),
    "orders": (("/v1/orders?limit=3", None, ORDER), ("/v1/orders?limit=101", None, "invalid_field")),
    "kitchen": (("/v1/orders:kitchen", None, ORDER), ("/v1/orders:kitchen?limit=0", None, "invalid_field")),
    "order": (("/v1/orders/{o}", None, ORDER), ("/v1/orders/{nobody}", None, "unknown_order")),
    "order_timeline": (("/v1/orders/{o}/timeline", None, ENTRY), ("/v1/orders/{nobody}/timeline", None, "unknown_order")),
    "order_advance": (
        ("/v1/orders/{k}:advance", {"to": "in_preparation"}, ORDER),
        ("/v1/orders/{o}:advance", {"to": "ready"}, "wrong_transition"),
    ),
    "order_cancel": (("/v1/orders/{o}:cancel", None, ORDER), ("/v1/orders/{nobody}:cancel", None, "unknown_order")),
    "order_pay": (("/v1/orders/{f}:pay", {"method": "money"}, ORDER), ("/v1/orders/{o}:pay", None, "wrong_transition")),
    "payments": (("/v1/payments?limit=3", None, CHARGE), ("/v1/payments?limit=0", None, "invalid_field")),
    "payment": (("/v1/payments/{c}", None, CHARGE), ("/v1/payments/{nobody}", None, "unknown_charge")),
    "payment_refunds": (("/v1/payments/{z}/refunds", None, REFUND), ("/v1/payments/{nobody}/refunds", None, "unknown_charge")),
    "payment_confirm": (("/v1/payments/{c}:confirm", None, CHARGE), ("/v1/payments/{nobody}:confirm", None, "unknown_charge")),
    "webhook": (None, ("/v1/payments/webhook", {"type": "charge.succeeded"}, "bad_signature")),
    "letters": (("/v1/letters?limit=3&kind=request&key={p}", None, LETTER), ("/v1/letters?state=lost", None, "invalid_field")),
    "letter_stats": (("/v1/letters:stats", None, STATS), ("/v1/letters:stats?state=dead", None, "invalid_field")),
    "letter": (("/v1/letters/{l}", None, WHOLE), ("/v1/letters/{nobody}", None, "unknown_letter")),
    "letter_replay": (
        ("/v1/letters/{l}:replay", {"author": "ann", "reason": "stock is back"}, LETTER),
        ("/v1/letters/{nobody}:replay", None, "unknown_letter"),
    ),
    "letter_edit": (
        None,
        ("/v1/letters/{l}:edit", {"changes": [{"name": "delta", "value": "3"}], "reason": "typo"}, "not_editable"),
    ),
    "letter_discard": (
        ("/v1/letters/{l}:discard", {"author": "ann", "reason": "too old"}, LETTER),
        ("/v1/letters/{l}:discard", {"author": "ann"}, "invalid_field"),
    ),
    "letter_restore": (("/v1/letters/{d}:restore", None, LETTER), ("/v1/letters/{nobody}:restore", None, "unknown_letter")),
    "request": (("/v1/requests/{later}", None, LETTER), ("/v1/requests/{nobody}", None, "unknown_letter")),
    "replays": (("/v1/replays?limit=3", None, REPLAY), ("/v1/replays?limit=0", None, "invalid_field")),
    "replay_start": (
        ("/v1/replays", {"filter": {"state": "stale", "key": "{p}"}, "canary": 1, "stop_on_failure": True, "reason": "back"}, REPLAY),
        ("/v1/replays", {"filter": {"colour": "red"}}, "invalid_field"),
    ),
    "replay": (("/v1/replays/{r}", None, REPLAY), ("/v1/replays/{nobody}", None, "unknown_replay")),
    "replay_cancel": (("/v1/replays/{r}:cancel", {"author": "ann"}, REPLAY), ("/v1/replays/{nobody}:cancel", None, "unknown_replay")),
}


@pytest.fixture
def shelf(rest, product, dlq):
    """A shelf of 100 with a hold of 4, beside another; with what else is asked for."""
    other = product[:-2] + "-q"
    for sku in (product, other):
        rest.post(f"/v1/stock/{sku}:adjust", {"delta": 100}).is_ok()
    hold = rest.post(f"/v1/stock/{product}/holds", {"quantity": 4}).is_ok(201)["hold"]
    return Shelf(rest, dlq, {"p": product, "q": other, "h": hold, "none": product[:-2] + "-n", "nobody": NOBODY})


class Shelf(dict):
    """What a request speaks of; the rarer things are made when they are asked for."""

    def __init__(self, rest, dlq, names):
        super().__init__(names)
        self.rest, self.dlq = rest, dlq

    def __missing__(self, name):
        makers = {"e": self.production, "l": self.letter, "d": self.discarded, "r": self.replay, "m": self.dish, "u": self.person,
                  "mail": self.address, "x": self.erased, "o": self.unpaid, "c": self.charge, "k": self.cooking, "f": self.refused,
                  "z": self.paid_back, "later": self.later}
        self[name] = makers[name]()
        return self[name]

    def later(self):
        """A request that is done later."""
        return self.rest.post("/checkout", {"product": self["p"]}, Prefer="respond-async").is_ok(202)["request"]

    def dish(self, amount=2500):
        """On the menu and on a shelf of its own."""
        sku = f"{self['p'][:-6]}-m{amount}"[-64:]
        self.rest.ask("PUT", f"/v1/products/{sku}", {**DISH, "price": {"amount": amount, "currency": "BRL"}}).is_ok()
        self.rest.post(f"/v1/stock/{sku}:adjust", {"delta": 100}).is_ok()
        return sku

    def address(self):
        mail = f"{self['p'][-40:]}@example.com"
        self["u"] = self.rest.post("/v1/users", {"name": "Ana", "email": mail, "password": PASSWORD}).is_ok(201)["user"]
        return mail

    def person(self):
        return self["mail"] and self["u"]

    def erased(self):
        user = self.rest.post("/v1/users", {"email": f"x-{self['p'][-40:]}@example.com"}).is_ok(201)["user"]
        self.rest.ask("DELETE", f"/v1/users/{user}").is_ok()
        return user

    def order(self, sku, method, *statuses):
        """Placed, and then in one of these statuses."""
        placed = self.rest.post("/v1/orders", {"lines": [{"product": sku, "quantity": 1}], "method": method}).is_ok(201)["id"]
        until(lambda: self.rest.get(f"/v1/orders/{placed}").is_ok()["status"] in statuses, 10, f"the order is {statuses}")
        return placed

    def unpaid(self):
        return self.order(self["m"], "money", "awaiting_payment")

    def cooking(self):
        return self.order(self["m"], "pix", "received")

    def refused(self):
        refused = self.order(self.dish(2501), "pix", "payment_failed")
        until(lambda: self.rest.get(f"/v1/orders/{refused}").is_ok()["saga"] == "ended", 10, "nothing is held any more")
        return refused

    def charge_of(self, order):
        return until(lambda: self.rest.get(f"/v1/orders/{order}").is_ok().get("charge"), 10, "the order has a charge")

    def charge(self):
        charge = self.charge_of(self["o"])
        until(lambda: self.rest.get(f"/v1/payments/{charge}").status == 200, 10, "payment has it")
        return charge

    def paid_back(self):
        charge = self.charge_of(self["k"])
        self.rest.post(f"/v1/orders/{self['k']}:cancel").is_ok()
        until(lambda: self.rest.get(f"/v1/payments/{charge}/refunds").is_ok()["data"], 10, "it is paid back")
        return charge

    def production(self):
        return self.rest.post("/v1/productions", {"product": self["p"], "quantity": 3}).is_ok(201)["id"]

    def letter(self):
        """A request that was of no use any more when it was handed over."""
        order = {"op": "stock.adjust", "request": uuid7(), "body": pack({"product": self["p"], "delta": 7}), "useful_until": 1}
        return str(uuid.UUID(bytes=self.dlq.get("dlq.hand_over", order)["id"]))

    def discarded(self):
        letter = self.letter()
        self.rest.post(f"/v1/letters/{letter}:discard", {"reason": "too old"}).is_ok()
        return letter

    def replay(self):
        for _ in range(5):
            self.letter()
        return self.rest.post("/v1/replays", {"filter": {"state": "stale", "key": self["p"]}, "rate": 1}).is_ok(201)["id"]


def filled(value, names):
    if isinstance(value, str):
        return re.sub(r"\{(\w+)\}", lambda match: names[match.group(1)], value)
    if isinstance(value, list):
        return [filled(element, names) for element in value]
    if isinstance(value, dict):
        return {name: filled(element, names) for name, element in value.items()}
    return value


def check_shape(value, shape):
    always, perhaps = shape
    assert always <= set(value) <= always | perhaps, value
    for name in ("id", "hold", "request", "user", "order", "charge"):
        if name in value:
            assert str(uuid.UUID(value[name])) == value[name]
    for name in ("time", "expires", "ordered_at", "due_at", "done_at", "first", "last", "opened", "changed", "started", "ended", "placed",
                 "deadline", "created", "erased"):
        if name in value and type(value[name]) is str:
            assert TIME.fullmatch(value[name]), value
    for name in ("on_hand", "reserved", "available", "incoming", "version", "quantity", "delta"):
        if name in value:
            assert type(value[name]) is int, value
    for name in ("price", "total", "amount"):
        if isinstance(value.get(name), dict):
            assert set(value[name]) == {"amount", "currency"} and type(value[name]["amount"]) is int, value
    for level in value.get("levels", []):
        check_shape(level, LEVEL)
    if "letter" in value:
        check_shape(value["letter"], LETTER)


def ledger(rest, product):
    """What somebody did; a refill may come at any time, also for what was refused."""
    return [move for move in rest.pages(f"/v1/stock/{product}/moves")[0] if move["kind"] not in ("refill", "refused")]


def method_of(route):
    return next(method for name, method, *_ in ROUTES if name == route)


# --- every route ---


def test_every_route_has_its_cases():
    assert len(ROUTES) >= 30
    assert {name for name, *_ in ROUTES} == set(CASES)
    assert [path for _, path in PROBES] == ["/livez", "/readyz", "/metrics"]


@pytest.mark.parametrize("route", [name for name in CASES if CASES[name][0]])
def test_a_good_request(rest, shelf, route):
    path, body, shape = CASES[route][0]
    for name in {"productions": "e", "letters": "l", "replays": "r", "replay_start": "l", "products": "m", "users": "u", "orders": "o",
                 "kitchen": "k", "payments": "c"}.get(route, ""):
        assert shelf[name]
    success, pattern = next((int(status), pattern) for name, _, pattern, _, status in ROUTES if name == route)
    answer = rest.ask(method_of(route), filled(path, shelf), filled(body, shelf))
    value = answer.is_ok(success)
    if "data" in value:
        assert set(value) == {"data", "has_more"} and type(value["has_more"]) is bool
        assert value["data"], "the list is empty"
        for element in value["data"]:
            check_shape(element, shape)
    else:
        check_shape(value, shape)
    if shape in (LEVEL, CARD, PERSON, WHO) and "data" not in value and route != "user_find":
        assert answer.headers["ETag"] == f'"{value["version"]}"'
    if success == 201 and route not in ("shop_checkout", "checkout", "take", "session"):
        made = value.get("hold") or value.get("id") or value.get("user") or value["product"]
        parent = filled(pattern, {"product": shelf["p"]}) if pattern != "/" else "/v1/productions"
        assert answer.headers["Location"] == f"{parent}/{made}"
    assert answer.headers["Idempotent-Replayed"] is None


@pytest.mark.parametrize("route", list(CASES))
def test_a_bad_request(rest, shelf, route):
    path, body, symbol = CASES[route][1]
    before = ledger(rest, shelf["p"])
    answer = rest.ask(method_of(route), filled(path, shelf), filled(body, shelf))
    document = answer.is_problem(symbol)
    assert document["detail"], "it says nothing"
    assert ledger(rest, shelf["p"]) == before
    if symbol == "unknown_product":
        assert shelf["none"] in (document.get("product"), *document["detail"].replace(":", " ").split())


@pytest.mark.parametrize("path", sorted({pattern for _, _, pattern, *_ in ROUTES} | {path for _, path in PROBES}))
def test_another_method_is_refused_with_those_that_do(rest, path):
    address = re.sub(r"\{\w+\}", "x", path)
    methods = {method for _, method, pattern, *_ in ROUTES if pattern == path} or {"GET"}
    expected = methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
    answer = rest.ask("DELETE" if "DELETE" not in methods else "PUT", address)
    answer.is_problem("method_not_allowed")
    assert set(answer.headers["Allow"].split(", ")) >= expected
    options = rest.ask("OPTIONS", address)
    assert (options.status, options.body) == (204, b"")
    assert options.headers["Allow"] == answer.headers["Allow"]


@pytest.mark.parametrize("path", ["/nothing", "/v1", "/v1/", "/v1/stock/", "/product/", "/v1/stock/a/b", "/checkout/", "//",
                                  "/v1/takes/x"])
def test_what_is_at_no_address_is_not_found(rest, path):
    rest.get(path).is_problem("not_found")


def test_head_is_get_without_its_body(rest, shelf):
    for path in (f"/v1/stock/{shelf['p']}", "/livez", "/v1/stock?limit=1"):
        asked, head = rest.get(path), rest.ask("HEAD", path)
        assert (head.status, head.body) == (200, b"")
        for name in ("Content-Type", "Content-Length", "ETag"):
            assert head.headers[name] == asked.headers[name]


# --- the donut shop's own bodies ---


MESSAGE = {
    "MessageGroupId": "stock-arrival-group",
    "MessageAttributeProductId": "{p}",
    "MessageAttributeProductCnt": "10",
    "MessageAttributeFactoryId": "FF-500293",
    "MessageAttributeRequester": "larder",
    "CallbackUrl": "https://example.invalid/product/donut",
}


def test_the_shops_message_orders_a_production(rest, product):
    rest.post(f"/checkout/{product}", {"quantity": 1}).is_ok()
    made = rest.post("/", filled(MESSAGE, {"p": product})).is_ok(201)
    assert (made["product"], made["quantity"]) == (product, 10)


@pytest.mark.parametrize("place", ["/checkout/", "/product/"])
def test_the_shops_message_fills_a_shelf(rest, product, place):
    level = rest.post(place + product, filled(MESSAGE, {"p": "another"})).is_ok()
    assert (level["product"], level["on_hand"]) == (product, 10)
    (move,), _ = rest.pages(f"/v1/stock/{product}/moves")
    assert (move["kind"], move["delta"], move["reason"]) == ("adjust", 10, "increase")
    for count in ("0", "-1", "1.5", "1e3", "ten", "", "99999999999999999999"):
        refused = rest.post(place + product, filled({**MESSAGE, "MessageAttributeProductCnt": count}, {"p": product}))
        assert "MessageAttributeProductCnt" in refused.is_problem("invalid_field")["detail"]
    both = rest.post(place + product, {"quantity": 1, "MessageAttributeProductCnt": "1"})
    both.is_problem("invalid_field")
    assert rest.level(product)["on_hand"] == 10


def test_the_demo_products_alias(rest):
    rest.post("/checkout/donut", {"quantity": 50}).is_ok()
    assert rest.post("/checkout", {"productSku": "CP-502101", "quantity": 2}).is_ok(201)["product"] == "donut"
    assert rest.get("/product/CP-502101").is_ok()["product"] == "donut"
    assert rest.post("/checkout").is_ok(201)["product"] == "donut"
    twice = rest.post("/checkout", {"productSku": "CP-502101", "product": "donut"})
    assert twice.is_problem("invalid_field")["detail"].split(":")[0] in ("productSku", "product")


def test_a_body_says_that_it_is_json(rest, product):
    """A page may send a form, a text or nothing said without asking first, so none of these is taken for JSON."""
    sent = json.dumps({"quantity": 5}).encode()
    for kind in ("application/json; charset=utf-8", "application/json", "Application/JSON"):
        rest.ask("POST", f"/checkout/{product}", sent, {"Content-Type": kind}).is_ok()
    for kind in ("application/x-www-form-urlencoded", "text/plain", None):
        for path in (f"/checkout/{product}", "/checkout", "/", f"/product/{product}", "/v1/users"):
            rest.ask("POST", path, sent, {"Content-Type": kind}).is_problem("unsupported_media_type")
    assert rest.level(product)["on_hand"] == 15


class Outside(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append(body)
        answer = b'{"data":{"id":"7"}}'
        self.send_response(201)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def test_a_callback_is_taken_once(new_shop, sqlite):
    with http.server.HTTPServer(("127.0.0.1", 0), Outside) as factory:
        factory.seen = []
        threading.Thread(target=factory.serve_forever, daemon=True).start()
        shop = new_shop(sqlite, factory_url=f"http://127.0.0.1:{factory.server_port}")
        shop.run()
        rest = Rest(shop.http)
        rest.post("/checkout", {"quantity": 3}).is_ok(201)
        (message,) = until(lambda: factory.seen, 10, "the factory is asked")
        factory.shutdown()
    path = message["CallbackUrl"][len(f"http://{shop.http}"):]
    for _ in range(2):
        done = rest.post(path, {"anything": ["is", "taken"]}).is_ok()
        check_shape(done, PRODUCTION)
        assert done["status"] == "produced"
    until(lambda: rest.level("donut")["on_hand"] == 10, 5, "ten on the shelf")
    assert rest.level("donut")["incoming"] == 0


# --- conditions ---


def test_the_menu_is_changed_at_the_version_that_was_read(rest, shelf):
    path = f"/v1/products/{shelf['m']}"
    asked = rest.get(path)
    tag = asked.headers["ETag"]
    assert tag == f'"{asked.is_ok()["version"]}"'
    assert (rest.get(path, If_None_Match=tag).status, rest.get(path, If_None_Match='"0"').status) == (304, 200)
    changed = rest.ask("PATCH", path, {"name": "Big burger"}, {"If-Match": tag})
    assert changed.is_ok()["name"] == "Big burger" and changed.headers["ETag"] != tag
    for method, body in (("PATCH", {"name": "Bigger burger"}), ("PUT", DISH)):
        assert rest.ask(method, path, body, {"If-Match": tag}).is_problem("version_conflict")["version"] == changed.json["version"]
        assert "If-Match" in rest.ask(method, path, body, {"If-Match": "*"}).is_problem("invalid_field")["detail"]
    rest.ask("PUT", path, DISH, {"If-None-Match": "*"}).is_problem("version_conflict")
    assert "If-None-Match" in rest.ask("PUT", path, DISH, {"If-None-Match": tag}).is_problem("invalid_field")["detail"]
    assert rest.get(path).is_ok()["name"] == "Big burger"
    rest.ask("PUT", f"/v1/products/{shelf['p']}", DISH, {"If-None-Match": "*"}).is_ok()


def test_a_person_is_changed_at_the_version_that_was_read(rest, shelf):
    path = f"/v1/users/{shelf['u']}"
    tag = rest.get(path).headers["ETag"]
    assert rest.get(path, If_None_Match=tag).status == 304
    changed = rest.ask("PATCH", path, {"phone": "+55 11 91111-1111"}, {"If-Match": tag})
    assert changed.is_ok()["version"] > 0 and changed.headers["ETag"] != tag
    rest.ask("PATCH", path, {"phone": "+55 11 92222-2222"}, {"If-Match": tag}).is_problem("version_conflict")
    assert rest.get(path).is_ok()["phone"] == "+55 11 91111-1111"


def test_an_etag_spares_a_second_reading(rest, shelf):
    path = f"/v1/stock/{shelf['p']}"
    tag = rest.get(path).headers["ETag"]
    for known in (tag, f'"0", {tag}', "*", f"W/{tag}"):
        answer = rest.get(path, If_None_Match=known)
        assert (answer.status, answer.body, answer.headers["ETag"]) == (304, b"", tag)
    for other in ('"0"', f'"1{tag[1:]}'):
        rest.get(path, If_None_Match=other).is_ok()
    rest.post(f"{path}:adjust", {"delta": 1}).is_ok()
    changed = rest.get(path, If_None_Match=tag)
    changed.is_ok()
    assert changed.headers["ETag"] != tag


def test_a_count_holds_for_the_version_that_was_read(rest, shelf):
    path = f"/v1/stock/{shelf['p']}"
    tag = rest.get(path).headers["ETag"]
    counted = rest.post(f"{path}:count", {"counted": 50}, If_Match=tag)
    assert counted.is_ok()["on_hand"] == 50
    late = rest.post(f"{path}:count", {"counted": 40}, If_Match=tag)
    assert late.is_problem("version_conflict")["version"] == counted.json["version"]
    for wrong in ("", "*", '"x"', f"{tag}, {tag}", "W/" + tag):
        assert "If-Match" in rest.post(f"{path}:count", {"counted": 40}, If_Match=wrong).is_problem("invalid_field")["detail"]
    both = rest.post(f"{path}:count", {"counted": 40, "version": 1}, If_Match=counted.headers["ETag"])
    assert "If-Match" in both.is_problem("invalid_field")["detail"]
    unheeded = rest.post(f"{path}:adjust", {"delta": 1}, If_Match=tag)
    assert "If-Match" in unheeded.is_problem("not_implemented")["detail"]
    assert rest.level(shelf["p"])["on_hand"] == 50


def test_a_key_is_one_request(rest, shelf):
    path = f"/v1/stock/{shelf['p']}:adjust"
    key = str(uuid.uuid4())
    first = rest.post(path, {"delta": 3}, Idempotency_Key=key)
    again = rest.post(path, {"delta": 3}, Idempotency_Key=f'"{key}"')
    assert (again.status, again.json, again.headers["Idempotent-Replayed"]) == (200, first.json, "true")
    assert first.headers["Idempotent-Replayed"] is None
    rest.post(path, {"delta": 4}, Idempotency_Key=key).is_problem("idempotency_mismatch")
    assert rest.post("/checkout", {"product": shelf["p"]}, Idempotency_Key=key).is_ok(201)
    assert rest.level(shelf["p"])["on_hand"] == 102
    for wrong in ("", '""', "a b", '"a', "ü", "k" * 256):
        refused = rest.post(path, {"delta": 3}, Idempotency_Key=wrong)
        assert "Idempotency-Key" in refused.is_problem("invalid_field")["detail"]


# --- lists ---


def test_lists_are_read_page_by_page(rest, product):
    skus = [f"{product[-50:]}-{number}" for number in range(5)]
    for sku in skus:
        rest.post(f"/v1/stock/{sku}:adjust", {"delta": 9}).is_ok()
        rest.ask("PUT", f"/v1/products/{sku}", {**DISH, "category": "dessert"}).is_ok()
    for path in ("/v1/stock", "/v1/products"):
        found, pages = rest.pages(f"{path}?limit=2")
        names = [one["product"] for one in found]
        assert pages >= 3 and set(skus) <= set(names)
        assert names == sorted(set(names), key=str.encode)
        assert names == [one["product"] for one in rest.pages(f"{path}?limit=1000")[0]]

    holds = [rest.post(f"/v1/stock/{skus[0]}/holds", {"quantity": 1}).is_ok(201)["hold"] for _ in range(5)]
    found, pages = rest.pages(f"/v1/stock/{skus[0]}/holds?limit=2")
    assert (pages, [one["hold"] for one in found]) == (3, holds)

    moves, pages = rest.pages(f"/v1/stock/{skus[0]}/moves?limit=2")
    assert (pages, [one["version"] for one in moves]) == (3, [6, 5, 4, 3, 2, 1])
    assert [one["kind"] for one in moves] == ["reserve"] * 5 + ["adjust"]


def test_productions_are_read_page_by_page(rest, product):
    made = []
    for number in range(3):
        sku = f"{product[-50:]}-{number}"
        rest.post(f"/v1/stock/{sku}:adjust", {"delta": 1}).is_ok()
        made.append(rest.post("/v1/productions", {"product": sku, "quantity": 1}).is_ok(201)["id"])
    found, pages = rest.pages("/v1/productions?limit=2")
    ids = [one["id"] for one in found]
    assert pages >= 2 and len(set(ids)) == len(ids)
    assert [one for one in ids if one in made] == made[::-1], "newest first"
    only, _ = rest.pages(f"/v1/productions?product={product[-50:]}-1")
    assert [one["id"] for one in only] == [made[1]]


def test_a_list_over_three_shards_is_whole(new_shop, sqlite):
    shop = new_shop(sqlite, stock_shards=3)
    shop.run()
    rest = Rest(shop.http)
    skus = {f"sku-{number}" for number in range(12)}
    for sku in skus:
        rest.post(f"/v1/stock/{sku}:adjust", {"delta": 2}).is_ok()
    for limit in (1, 5, 12, 13, 1000):
        found, _ = rest.pages(f"/v1/stock?limit={limit}")
        names = [one["product"] for one in found]
        assert len(names) == 13 and set(names) == skus | {"donut"}, limit
    began = time.monotonic()
    for _ in range(20):
        rest.pages("/v1/stock?limit=13")
    assert time.monotonic() - began < 5, "the next shard's question waited for something else to happen"
    lines = [{"product": sku, "quantity": 1} for sku in sorted(skus)]
    rest.post("/v1/takes", {"lines": lines}).is_problem("spans_shards")
    hold = rest.post("/v1/stock/sku-3/holds", {"quantity": 1}).is_ok(201)["hold"]
    assert "product" in rest.post(f"/v1/holds/{hold}:commit").is_problem("invalid_field")["detail"]
    rest.post(f"/v1/holds/{hold}:commit", {"product": "sku-3"}).is_ok()
    assert sum(one["on_hand"] for one in rest.pages("/v1/stock")[0]) == 12 * 2 - 1 + 3


# --- traces ---


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize("path", ["/checkout", "/v1/takes"])
def test_a_trace_goes_through_to_the_events(shop, rest, product, path):
    rest.post(f"/checkout/{product}", {"quantity": 1}).is_ok()
    body = {"product": product} if path == "/checkout" else {"lines": [{"product": product, "quantity": 1}]}
    events = shop.subscriber("stock", f"trace/{product[-30:]}", from_start=False)
    rest.post(path, body, traceparent=TRACE).is_ok(201)
    event = events.next(5000)
    while event.key != product:
        event = events.next(5000)
    events.unsubscribe()
    events.close()
    assert (event.type, event.header["traceparent"]) == ("stock.out", TRACE)


@pytest.mark.parametrize("given", [None, "00-" + "0" * 32 + "-b7ad6b7169203331-01", TRACE.upper(), "x" * 55, "00-zz"])
def test_a_trace_that_is_none_is_replaced_by_the_requests_own(shop, rest, product, given):
    rest.post(f"/checkout/{product}", {"quantity": 1}).is_ok()
    events = shop.subscriber("stock", f"trace/{product[-30:]}", from_start=False)
    sold = rest.post("/checkout", {"product": product}, **({"traceparent": given} if given else {})).is_ok(201)
    event = events.next(5000)
    while event.key != product:
        event = events.next(5000)
    events.unsubscribe()
    events.close()
    version, trace, span, _ = event.header["traceparent"].split("-")
    assert (version, trace) == ("00", uuid.UUID(sold["id"]).hex) and int(span, 16) > 0


# --- probes ---


def parse_metrics(text):
    """(name, labels) -> value; everything that the format asks for is checked."""
    kinds, samples, current = {}, {}, None
    label = r'[a-zA-Z_]\w*="(?:[^"\\\n]|\\[\\"n])*"'
    for line in text.removesuffix("\n").split("\n"):
        if match := re.fullmatch(r"# HELP (\S+) .+", line):
            current = match.group(1)
            assert current not in kinds, f"{current} stands in two places"
        elif match := re.fullmatch(r"# TYPE (\S+) (counter|gauge|histogram)", line):
            assert match.group(1) == current
            kinds[current] = match.group(2)
        else:
            match = re.fullmatch(rf"([a-zA-Z_:][\w:]*)(?:\{{({label}(?:,{label})*)\}})? (\S+)", line)
            assert match, f"no sample: {line!r}"
            name, labels, value = match.groups()
            base = re.sub(r"_(bucket|sum|count)$", "", name) if kinds.get(current) == "histogram" else name
            assert base == current, f"{name} stands under {current}"
            key = (name, tuple(sorted(re.findall(label, labels or ""))))
            assert key not in samples, f"{line} is there twice"
            samples[key] = float(value)
    for (name, labels), count in samples.items():
        if name.endswith("_count") and kinds.get(name[: -len("_count")]) == "histogram":
            check_histogram(samples, name[: -len("_count")], labels, count)
    return samples


def check_histogram(samples, name, labels, count):
    buckets = {}
    for (other, its_labels), value in samples.items():
        if other == name + "_bucket" and set(labels) <= set(its_labels) and len(its_labels) == len(labels) + 1:
            (edge,) = set(its_labels) - set(labels)
            buckets[float(edge[len('le="'):-1].replace("+Inf", "inf"))] = value
    values = [buckets[edge] for edge in sorted(buckets)]
    assert values == sorted(values) and values[-1] == count, name
    assert (name + "_sum", labels) in samples


def test_metrics_are_prometheus_text(rest, shelf):
    name = ("larder_http_requests_total", ('route="shop_checkout"', 'status="201"'))
    asked = Rest(rest.probes).get("/metrics")
    assert asked.status == 200 and asked.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    before = parse_metrics(rest.told())
    for _ in range(3):
        rest.post("/checkout", {"product": shelf["p"]}).is_ok(201)
    after = parse_metrics(rest.told())
    assert after[name] == before.get(name, 0) + 3
    assert all(after[key] >= value for key, value in before.items() if key[0].endswith("_total"))


def test_the_actors_tell_their_metrics_too(new_shop, sqlite):
    shop = new_shop(sqlite)
    shop.actor("stock")
    probe = Rest(shop.probe("stock"))
    assert ("larder_batches_total", ('actor="stock/0"',)) in parse_metrics(probe.get("/metrics").body.decode())
    assert probe.get("/livez").status == 200 and probe.get("/readyz").status == 200


def test_without_stock_it_says_so_and_comes_back(new_shop, database):
    shop = new_shop(database, request_timeout_ms=1000)
    stock = shop.actor("stock")
    shop.actor("factory")
    shop.actor("sales")
    shop.gateway()
    rest = Rest(shop.http)
    rest.post("/checkout/donut", {"quantity": 5}).is_ok()
    assert rest.get("/readyz").is_ok() == {"status": "ready", "optional_away": ["user/0", "product/0", "order/0", "payment/0", "dlq/0"]}
    stock.kill9()

    key = str(uuid.uuid4())
    until(lambda: rest.get("/readyz").status == 503, 5, "not ready")
    assert "stock/0" in rest.get("/readyz").json["away"]
    assert rest.get("/livez").is_ok() == {"status": "alive"}
    assert Rest(shop.probes).get("/metrics").status == 200
    tried = (("GET", "/v1/stock/donut", None), ("GET", "/product/donut", None), ("POST", "/checkout", {"quantity": 2}))
    for method, path, body in tried:
        answer = rest.ask(method, path, body, {"Idempotency-Key": key})
        assert answer.status in (503, 504), answer
        answer.is_problem("unavailable" if answer.status == 503 else "deadline_exceeded")
    direct = until(lambda: (found := rest.get("/v1/stock/donut")).status == 503 and found, 5, "503 for what goes to stock alone")
    assert int(direct.headers["Retry-After"]) >= 1
    assert "stock" in direct.is_problem("unavailable")["detail"]

    shop.actor("stock")
    until(lambda: rest.get("/readyz").status == 200, 10, "ready again")
    until(lambda: rest.post("/checkout", {"quantity": 2}, Idempotency_Key=key).status == 201, 10, "sold with the same key")
    assert rest.level("donut")["on_hand"] == 3


def test_a_hold_is_found_at_its_location_also_when_it_has_ended(rest, shelf):
    made = rest.post("/v1/holds", {"lines": [{"product": shelf["p"], "quantity": 2}, {"product": shelf["q"], "quantity": 3}]})
    made.is_ok(201)
    open_hold = rest.get(made.headers["Location"]).is_ok()
    assert open_hold["state"] == "open"
    assert sorted((line["product"], line["quantity"]) for line in open_hold["lines"]) == sorted([(shelf["p"], 2), (shelf["q"], 3)])
    rest.post(made.headers["Location"] + ":commit").is_ok()
    ended = rest.get(made.headers["Location"]).is_ok()
    assert (ended["state"], ended["lines"]) == ("committed", open_hold["lines"])


def test_the_alias_in_an_address_is_the_same_shelf(rest):
    before = rest.get("/v1/stock/donut").is_ok()["on_hand"]
    rest.post("/checkout/CP-502101", {"quantity": 2}).is_ok()
    assert rest.get("/v1/stock/CP-502101").is_ok()["product"] == "donut"
    assert rest.get("/product/CP-502101").is_ok()["on_hand"] == before + 2
