# SPDX-License-Identifier: MPL-2.0
"""Requests that are done later: because the client asks for it (Prefer: respond-async), or because the factory is away. Each actor is a
process of its own here, so that it can be away."""

import uuid

import pytest

from rest import Rest, until

ASYNC = {"Prefer": "respond-async"}


class Place:
    """A shop with a gateway, of which some actors are there."""

    def __init__(self, shop):
        self.shop = shop
        self.rest = Rest(shop.http)
        self.running = {}

    def start(self, *names):
        for name in names:
            self.running[name] = self.shop.actor(name)
        if "gateway" in self.running:
            self.await_connection(*names)

    def open_gateway(self):
        self.running["gateway"] = self.shop.start("gateway")

        def lives():
            try:
                return self.rest.get("/livez").status == 200
            except OSError:
                return False
        until(lives, 20, "the gateway lives")

        self.await_connection(*(name for name in self.running if name != "gateway"))

    def hears(self, name):
        """Whether the gateway has a connection to this actor."""
        body = self.rest.get("/readyz").json
        return f"{name}/0" not in body.get("away", []) + body.get("optional_away", [])

    def await_connection(self, *names):
        for name in names:
            until(lambda name=name: self.hears(name), 10, f"the gateway hears {name}")

    def kill(self, name):
        self.running.pop(name).kill9()
        until(lambda: not self.hears(name), 10, f"the gateway knows that {name} is away")

    def ask(self, path, body=None, **headers):
        return self.rest.ask("POST", path, body, {name.replace("_", "-"): value for name, value in headers.items()})

    def kept(self, answer):
        """It is a letter, at its Location; returns it."""
        letter = answer.is_ok(202)
        assert answer.headers["Location"] == f"/v1/letters/{letter['id']}", answer
        assert (letter["kind"], letter["state"]) == ("request", "waiting"), letter
        return letter

    def letter(self, letter_id):
        return self.rest.get(f"/v1/letters/{letter_id}").is_ok()["letter"]

    def await_state(self, letter_id, state):
        def is_so():
            found = self.letter(letter_id)
            return found if found["state"] == state else None
        return until(is_so, 30, f"letter {letter_id} is {state}")

    def letters(self):
        return self.rest.pages("/v1/letters")[0]


@pytest.fixture
def place(new_shop, database):
    """Stock and the dlq are there, and nobody else yet."""
    made = Place(new_shop(database, request_timeout_ms=1500))
    made.start("stock", "dlq")
    return made


def open_shop(place, *names):
    place.start(*names)
    place.open_gateway()


def test_an_order_for_an_away_factory_is_a_letter_and_is_done_once_when_it_is_back(place):
    open_shop(place, "sales")
    place.ask("/checkout/donut", {"quantity": 3}).is_ok(200)
    answer = place.ask("/", {"product": "donut", "quantity": 4})
    letter = place.kept(answer)
    assert answer.headers["Preference-Applied"] is None
    assert (letter["destination"], letter["type"], letter["key"]) == ("factory/0", "factory.produce", "donut")
    assert (letter["units"], letter["attempts"]) == (4, 0)
    place.await_state(letter["id"], "waiting")

    place.start("factory")
    done = place.await_state(letter["id"], "done")
    assert (done["status"], done["attempts"]) == ("ok", 1)
    (production,) = place.rest.pages("/v1/productions")[0]
    assert (production["product"], production["quantity"], production["status"]) == ("donut", 4, "ordered")


def test_every_route_of_the_factory_is_kept_while_it_is_away(place):
    open_shop(place, "sales", "factory")
    place.ask("/checkout/donut", {"quantity": 3}).is_ok(200)
    made = place.ask("/v1/productions", {"product": "donut", "quantity": 2}).is_ok(201)
    place.kill("factory")
    cancel = place.kept(place.ask(f"/v1/productions/{made['id']}:cancel", {"reason": "no flour"}))
    unknown = place.kept(place.ask(f"/v1/productions/{uuid.uuid4()}:cancel"))
    callback = place.kept(place.ask("/callback/" + "A" * 43))
    assert cancel["key"] == made["id"]
    assert callback["key"] == "", "the callback's secret is its key"
    place.rest.get("/v1/productions").is_problem("unavailable")

    place.start("factory")
    assert place.await_state(cancel["id"], "done")["status"] == "ok"
    assert place.await_state(unknown["id"], "done")["status"] == "unknown_production"
    assert place.await_state(callback["id"], "done")["status"] == "unknown_capability"
    failed = place.rest.get(f"/v1/productions/{made['id']}").is_ok()
    assert (failed["status"], failed["error"]) == ("failed", "no flour")


def test_a_sale_is_made_later_when_the_client_prefers_so(place):
    open_shop(place, "sales", "factory")
    place.ask("/checkout/donut", {"quantity": 5}).is_ok(200)
    place.kill("stock")
    answer = place.ask("/checkout", {"quantity": 2}, **ASYNC)
    sale = place.kept(answer)
    assert answer.headers["Preference-Applied"] == "respond-async"
    too_many = place.kept(place.ask("/checkout", {"quantity": 9}, Prefer="wait=1, Respond-Async; x=y"))
    place.ask("/checkout", {"quantity": 1}, Prefer="wait=5").is_problem("unavailable")
    assert place.letter(sale["id"])["state"] in ("waiting", "replaying")

    place.start("stock")
    assert place.await_state(sale["id"], "done")["status"] == "ok"
    refused = place.await_state(too_many["id"], "done")
    assert refused["status"] == "out_of_stock"
    assert "out_of_stock" in refused["error"]
    takes = [move for move in place.rest.pages("/v1/stock/donut/moves")[0] if move["kind"] == "take"]
    assert [(move["request"], move["delta"]) for move in takes] == [(sale["request"], -2)]


def test_the_same_key_is_the_same_letter_and_one_effect(place):
    open_shop(place, "sales")
    place.ask("/checkout/donut", {"quantity": 5}).is_ok(200)
    first = place.kept(place.ask("/", {"product": "donut", "quantity": 4}, Idempotency_Key="k1"))
    again = place.ask("/", {"product": "donut", "quantity": 4}, Idempotency_Key="k1")
    assert again.is_ok(202)["id"] == first["id"]
    assert again.headers["Idempotent-Replayed"] == "true"
    place.ask("/", {"product": "donut", "quantity": 5}, Idempotency_Key="k1").is_problem("idempotency_mismatch")
    assert len(place.letters()) == 1

    place.start("factory")
    place.await_state(first["id"], "done")
    made = place.ask("/", {"product": "donut", "quantity": 4}, Idempotency_Key="k1")
    assert made.headers["Idempotent-Replayed"] == "true"
    (production,) = place.rest.pages("/v1/productions")[0]
    assert made.is_ok(201)["id"] == production["id"]


def test_bad_input_is_refused_at_once_and_makes_no_letter(place):
    open_shop(place)
    for path, body, field in (("/", {"quantity": 0}, "quantity"), ("/", {"colour": "red"}, "colour"), ("/", b"{", "JSON"),
                              ("/v1/productions/x:cancel", None, "id"), ("/callback/short", None, "capability")):
        assert field in place.ask(path, body).detail
    for path, body, field in (("/checkout", {"quantity": -1}, "quantity"), ("/v1/stock/donut:adjust", {}, "delta"),
                              ("/v1/takes", {"lines": []}, "lines")):
        assert field in place.ask(path, body, **ASYNC).is_problem("invalid_field")["detail"]
    place.rest.ask("GET", "/v1/stock/none", headers=ASYNC).is_problem("unknown_product")
    assert place.letters() == []


def test_without_the_dlq_nothing_is_kept_and_everything_else_is_done(place):
    open_shop(place, "sales", "factory")
    place.kill("dlq")
    ready = place.rest.get("/readyz")
    assert ready.is_ok() == {"status": "ready", "optional_away": ["user/0", "product/0", "order/0", "payment/0", "dlq/0"]}
    place.ask("/checkout/donut", {"quantity": 5}, **ASYNC).is_problem("unavailable")
    assert place.ask("/checkout/donut", {"quantity": 5}).is_ok(200)["on_hand"] == 5
    place.rest.get("/v1/letters").is_problem("unavailable")
    place.kill("factory")
    assert "factory/0 is not there" in place.ask("/").is_problem("unavailable")["detail"]


def test_a_killed_dlq_delivers_what_it_has_taken(place):
    open_shop(place, "sales")
    place.ask("/checkout/donut", {"quantity": 5}).is_ok(200)
    letters = [place.kept(place.ask("/checkout", {"quantity": 1, "reference": f"{n}"}, **ASYNC))["id"] for n in range(3)]
    ordered = place.kept(place.ask("/", {"product": "donut", "quantity": 4}))["id"]
    place.kill("dlq")
    place.start("dlq", "factory")
    for letter in (*letters, ordered):
        assert place.await_state(letter, "done")["status"] == "ok"
    takes = [move for move in place.rest.pages("/v1/stock/donut/moves")[0] if move["kind"] == "take"]
    assert len(takes) == 3
    assert len(place.rest.pages("/v1/productions")[0]) == 1
