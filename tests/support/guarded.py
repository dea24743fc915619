# SPDX-License-Identifier: MPL-2.0
"""
PURPOSE   A house in which nobody without a token may do more than everybody (LARDER_AUTH=required), and people in it.
"""

import functools
import uuid

from larder_client import Client
from rest import Rest

PASSWORD = "correct horse battery"
DISH = {"name": "Burger", "category": "burger", "price": {"amount": 2500, "currency": "BRL"}}


class Guarded:
    def __init__(self, shop):
        self.shop, self.rest = shop, Rest(shop.http)
        self.users = Client(shop.endpoint("user"))

    @functools.cached_property
    def somebody(self):
        return self.person()[0]

    def token(self, role, user=None, **more):
        body = {"role": role, **({"user": uuid.UUID(user).bytes} if user else {}), **more}
        return self.users.get("user.issue", body)["token"]

    def ask(self, method, path, token=None, body=None, **headers):
        shown = {"Authorization": f"Bearer {token}"} if token else {}
        return self.rest.ask(method, path, body, {**shown, **{name.replace("_", "-"): value for name, value in headers.items()}})

    def person(self, **more):
        """Somebody who has registered and signed in: (id, token)."""
        mail = f"{uuid.uuid4().hex}@example.com"
        made = self.ask("POST", "/v1/users", body={"name": "Ana", "email": mail, "password": PASSWORD, **more}).is_ok(201)["user"]
        session = self.ask("POST", "/v1/sessions", body={"email": mail, "password": PASSWORD}).is_ok(201)
        assert (session["user"], session["role"]) == (made, "customer")
        return made, session["token"]

    def dish(self, amount=2500):
        sku, employee = f"d-{uuid.uuid4().hex[:12]}", self.token("employee")
        self.ask("PUT", f"/v1/products/{sku}", employee, {**DISH, "price": {"amount": amount, "currency": "BRL"}}).is_ok()
        self.ask("POST", f"/v1/stock/{sku}:adjust", employee, {"delta": 100}).is_ok()
        return sku

    def order(self, token=None, method="money", **more):
        body = {"lines": [{"product": self.dish(), "quantity": 1}], "method": method, **more}
        return self.ask("POST", "/v1/orders", token, body).is_ok(201)
