# SPDX-License-Identifier: MPL-2.0
"""Who may do what over HTTP: tokens of the user actor, roles of gateway/routes.def, and whose is whose."""

import base64
import hashlib
import hmac
import json
import re
import time
import uuid

import pytest

import processes
from guarded import Guarded
from larder_client import Client
from rest import ROOT, until

ROUTES = re.findall(r"^ROUTE\((\w+), (\w+), \"([^\"]+)\", (\w+), ", (ROOT / "gateway" / "routes.def").read_text(), re.M)
ROLES = ["ANONYMOUS", "CUSTOMER", "EMPLOYEE", "ADMIN", "OPERATOR"]
NOBODY = "0198f2a0-1c00-7a3b-8c4d-5e6f708192a3"


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guarded")
    shop = processes.Shop(str(folder), processes.Sqlite(str(folder)), auth="required", log_level="debug")
    shop.run()
    guarded = Guarded(shop)
    try:
        yield guarded
    finally:
        guarded.users.close()
        shop.close()


def is_challenged(answer, has_token):
    answer.is_problem("unauthenticated")
    challenge = answer.headers["WWW-Authenticate"]
    assert challenge.startswith("Bearer ") and ('error="invalid_token"' in challenge) == has_token, challenge
    return answer.detail


# --- roles ---


def test_every_route_says_its_least_role():
    text = (ROOT / "gateway" / "routes.def").read_text()
    assert len(ROUTES) == len(re.findall(r"^ROUTE\(", text, re.M)) >= 70
    assert {role for *_, role in ROUTES} <= set(ROLES)
    told = {least.split(":")[0].upper(): set(re.findall(r"`([A-Z]+ /[^`]*)`", routes))
            for least, routes in re.findall(r"^\| (\w+[^|]*) \| (`[A-Z]+ /.*) \|$", (ROOT / "proto" / "PROTOCOL.md").read_text(), re.M)}
    assert told == {role: {f"{method} {path}" for _, method, path, least in ROUTES if least == role} for role in told}
    assert set(told) == {role for *_, role in ROUTES}


@pytest.mark.parametrize("route", [name for name, *_ in ROUTES])
def test_less_than_the_least_role_is_refused(house, route):
    method, pattern, least = next((method, pattern, role) for name, method, pattern, role in ROUTES if name == route)
    path = re.sub(r"\{\w+\}", NOBODY, pattern)
    for role in ROLES:
        token = None if role == "ANONYMOUS" else house.token(role.lower(), house.somebody if role == "CUSTOMER" else None)
        answer = house.ask(method, path, token, body=b"[" if method != "GET" else None)
        if ROLES.index(role) >= ROLES.index(least):
            assert answer.status != 403 and "token" not in answer.detail, (role, answer)
        elif role == "ANONYMOUS":
            is_challenged(answer, has_token=False)
        else:
            answer.is_problem("forbidden")


def test_probes_need_no_token(house):
    for path in ("/livez", "/readyz"):
        assert house.ask("GET", path).status == 200
    assert "LARDER_METRICS=public" in house.ask("GET", "/metrics").is_problem("not_found")["detail"]


# --- tokens ---


def test_a_token_that_is_none_is_refused_everywhere(house):
    good = house.token("employee")
    for shown in ("", "Bearer", "Bearer ", f"Basic {good}", good, f"Bearer {good} {good}", f"Bearer {good}x", "Bearer a.b.c",
                  "Bearer " + "a" * 4097, f"Bearer {good[:-1]}", "Bearer ..", f"Bearer\t{good}"):
        for path in ("/v1/products", "/v1/orders:kitchen"):
            is_challenged(house.rest.get(path, Authorization=shown), has_token=True)
    assert house.ask("GET", "/v1/orders:kitchen", good).status == 200


def test_two_tokens_are_refused(house):
    line = f"Authorization: Bearer {house.token('employee')}"
    answer = house.rest.raw(house.rest.head("GET", "/v1/products", line, line))
    is_challenged(answer, has_token=True)


def part(value):
    return base64.urlsafe_b64encode(value if isinstance(value, bytes) else json.dumps(value).encode()).rstrip(b"=").decode()


def forged(head, claims, secret):
    signed = f"{part(head)}.{part(claims)}"
    digest = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}.get(head["alg"])
    return f"{signed}.{part(hmac.new(secret, signed.encode(), digest).digest()) if digest else ''}"


def test_the_public_key_is_no_secret(house):
    """A verifier that lets the token choose the algorithm takes HMAC with the text that everybody knows."""
    (key,) = house.users.get("user.keys")["keys"]
    now = int(time.time())
    claims = {"iss": "larder", "sub": NOBODY, "role": "admin", "iat": now, "exp": now + 600}
    for algorithm in ("HS256", "HS384", "HS512", "none", "None", "ES256"):
        for pem in (key["pem"], key["pem"].strip(), "", key["kid"]):
            token = forged({"alg": algorithm, "typ": "JWT", "kid": key["kid"]}, claims, pem.encode())
            for made in (token, token.rstrip("."), token + "AAAA"):
                is_challenged(house.ask("GET", "/v1/letters", made), has_token=True)
    head, payload, signature = house.token("customer", house.somebody).split(".")
    padded = json.loads(base64.urlsafe_b64decode(payload + "=="))
    is_challenged(house.ask("GET", "/v1/letters", f"{head}.{part({**padded, 'role': 'admin'})}.{signature}"), has_token=True)
    stolen = part({**json.loads(base64.urlsafe_b64decode(head + "==")), "kid": "../../etc/passwd"})
    is_challenged(house.ask("GET", "/v1/letters", f"{stolen}.{payload}.{signature}"), has_token=True)


def test_a_token_ends(house):
    token = house.token("employee", ttl_ms=2000)
    assert house.ask("GET", "/v1/orders:kitchen", token).status == 200
    late = until(lambda: (answer := house.ask("GET", "/v1/orders:kitchen", token)).status == 401 and answer, 10, "it has expired")
    assert "expired" in is_challenged(late, has_token=True)


def test_tokens_are_in_no_log(house):
    token = house.token("admin")
    house.ask("GET", "/v1/users?limit=1", token).is_ok()
    house.ask("POST", "/v1/users", token, {"colour": "red"}).is_problem("invalid_field")
    is_challenged(house.ask("GET", "/v1/users", token[:-4] + "AAAA"), has_token=True)
    words = house.shop.describe() + "".join(process.log() for process in house.shop.processes)
    assert "route=users" in words, "nothing was logged"
    for secret in (token, token.split(".")[1], token.split(".")[2], "Bearer "):
        assert secret not in words


def test_a_key_belongs_to_who_used_it(house):
    sku, key = house.dish(), str(uuid.uuid4())
    body = {"lines": [{"product": sku, "quantity": 1}], "method": "money"}
    (ann, anns), (_, bobs) = house.person(), house.person()
    first = house.ask("POST", "/v1/orders", anns, body, Idempotency_Key=key).is_ok(201)
    again = house.ask("POST", "/v1/orders", house.token("customer", ann), body, Idempotency_Key=key)
    assert again.is_ok(201)["id"] == first["id"] and again.headers["Idempotent-Replayed"] == "true"
    assert house.ask("POST", "/v1/orders", bobs, body, Idempotency_Key=key).is_ok(201)["id"] != first["id"]
    assert house.ask("POST", "/v1/orders", None, body, Idempotency_Key=key).is_ok(201)["id"] != first["id"]


# --- whose is whose ---


def test_people_see_themselves_alone(house):
    (ann, anns), (bob, _) = house.person(), house.person()
    assert house.ask("GET", f"/v1/users/{ann}", anns).is_ok()["name"] == "Ana"
    house.ask("GET", f"/v1/users/{bob}", anns).is_problem("unknown_user")
    house.ask("PATCH", f"/v1/users/{bob}", anns, {"name": "Bobby"}).is_problem("unknown_user")
    house.ask("DELETE", f"/v1/users/{bob}", anns).is_problem("unknown_user")
    assert house.ask("GET", f"/v1/users/{bob}", house.token("employee")).is_ok()["user"] == bob
    house.ask("DELETE", f"/v1/users/{ann}", anns).is_ok()


def test_roles_are_given_by_those_who_may(house):
    ann, anns = house.person()
    for token in (anns, house.token("employee")):
        house.ask("PATCH", f"/v1/users/{ann}", token, {"role": "admin"}).is_problem("forbidden")
    for token in (None, anns):
        body = {"email": f"{uuid.uuid4().hex}@example.com", "role": "employee"}
        assert house.ask("POST", "/v1/users", token, body).status in (401, 403)
    house.ask("PATCH", f"/v1/users/{ann}", house.token("admin"), {"role": "employee"}).is_ok()
    assert house.ask("GET", "/v1/orders:kitchen", anns).status == 403, "the token is what it was"


def test_an_order_is_its_customers(house):
    (ann, anns), (bob, bobs) = house.person(), house.person()
    order = house.order(anns)
    assert order["customer"] == ann
    path = f"/v1/orders/{order['id']}"
    for token in (bobs, None):
        for method, more in (("GET", ""), ("GET", "/timeline")):
            house.ask(method, path + more, token).is_problem("unknown_order")
    for verb in (":cancel", ":pay"):
        house.ask("POST", path + verb, bobs).is_problem("unknown_order")
        is_challenged(house.ask("POST", path + verb), has_token=False)
    for token in (anns, house.token("employee")):
        assert house.ask("GET", path, token).is_ok()["id"] == order["id"]
    assert [one["id"] for one in house.ask("GET", "/v1/orders", anns).is_ok()["data"]] == [order["id"]]
    assert house.ask("GET", "/v1/orders", bobs).is_ok()["data"] == []
    assert all(one.get("customer") == bob for one in house.ask("GET", f"/v1/orders?customer={bob}", bobs).is_ok()["data"])
    body = {"lines": [{"product": house.dish(), "quantity": 1}], "method": "money", "customer": ann}
    house.ask("POST", "/v1/orders", bobs, body).is_problem("forbidden")
    assert house.ask("POST", path + ":cancel", anns).is_ok()["status"] == "cancelled"


def test_somebody_elses_list_tells_nothing(house):
    (ann, anns), (_, bobs) = house.person(), house.person()
    house.order(anns)
    answer = house.ask("GET", f"/v1/orders?customer={ann}", bobs)
    assert answer.status in (403, 404) or answer.is_ok()["data"] == []


def test_a_charge_tells_nothing_to_others(house):
    (_, anns), (_, bobs) = house.person(), house.person()
    path = f"/v1/orders/{house.order(anns)['id']}"
    charge = until(lambda: house.ask("GET", path, anns).is_ok().get("charge"), 10, "it has a charge")
    employee = house.token("employee")
    until(lambda: house.ask("GET", f"/v1/payments/{charge}", employee).status == 200, 10, "payment has it")
    nowhere = str(uuid.uuid4())
    for more in ("", "/refunds"):
        refused = house.ask("GET", f"/v1/payments/{charge}{more}", bobs)
        refused.is_problem("unknown_charge")
        assert refused.detail.replace(charge, nowhere) == house.ask("GET", f"/v1/payments/{nowhere}{more}", bobs).detail
        is_challenged(house.ask("GET", f"/v1/payments/{charge}{more}"), has_token=False)
    house.ask("POST", f"/v1/payments/{charge}:confirm", anns).is_problem("forbidden")


def test_a_customer_reads_what_he_paid_and_got_back(house):
    (_, anns), (_, bobs) = house.person(), house.person()
    placed = house.order(anns)
    path, employee = f"/v1/orders/{placed['id']}", house.token("employee")
    charge = until(lambda: house.ask("GET", path, anns).is_ok().get("charge"), 10, "it has a charge")
    until(lambda: house.ask("POST", f"/v1/payments/{charge}:confirm", employee).status == 200, 10, "it is paid")
    until(lambda: house.ask("GET", path, anns).is_ok()["status"] == "received", 10, "and received")
    assert house.ask("POST", f"{path}:cancel", employee).is_ok()["status"] == "cancelled"
    until(lambda: house.ask("GET", f"/v1/payments/{charge}", anns).is_ok()["refunded"] == placed["total"]["amount"], 20, "it is paid back")
    mine = house.ask("GET", f"/v1/payments/{charge}", anns).is_ok()
    assert mine == house.ask("GET", f"/v1/payments/{charge}", employee).is_ok() and mine["order"] == placed["id"]
    (refund,) = house.ask("GET", f"/v1/payments/{charge}/refunds", anns).is_ok()["data"]
    assert (refund["charge"], refund["amount"]) == (charge, placed["total"])
    assert house.ask("GET", f"/v1/payments?order={placed['id']}", anns).is_ok()["data"] == [mine]
    house.ask("GET", f"/v1/payments?order={placed['id']}", bobs).is_problem("unknown_order")
    for more in ("", "?limit=5"):
        house.ask("GET", f"/v1/payments{more}", anns).is_problem("invalid_field")
    is_challenged(house.ask("GET", f"/v1/payments?order={placed['id']}"), has_token=False)


def test_whose_a_charge_is_cannot_be_told_while_order_is_away(new_shop, sqlite):
    shop = new_shop(sqlite, auth="required", request_timeout_ms=2000)
    for name in ("stock", "factory", "dlq", "sales", "product", "user", "payment"):
        shop.actor(name)
    order = shop.actor("order")
    shop.gateway()
    house = Guarded(shop)
    _, anns = house.person()
    path = f"/v1/orders/{house.order(anns)['id']}"
    charge = until(lambda: house.ask("GET", path, anns).is_ok().get("charge"), 10, "it has a charge")
    until(lambda: house.ask("GET", f"/v1/payments/{charge}", anns).status == 200, 10, "payment has it")
    order.kill9()
    away = house.ask("GET", f"/v1/payments/{charge}", anns)
    assert away.status in (503, 504), away
    assert house.ask("GET", f"/v1/payments/{charge}", house.token("employee")).status == 200, "staff need not be known to order"
    shop.actor("order")
    until(lambda: house.ask("GET", f"/v1/payments/{charge}", anns).status == 200, 10, "order is back")
    house.users.close()


def test_nothing_personal_is_kept_for_later(house):
    _, anns = house.person()
    order = house.order(anns)["id"]
    for path, token in (("/v1/users", None), (f"/v1/orders/{order}:cancel", anns), ("/v1/orders", anns), ("/v1/payments/webhook", None)):
        body = {"lines": [{"product": "x", "quantity": 1}], "method": "pix"} if path == "/v1/orders" else None
        assert "respond-async" in house.ask("POST", path, token, body, Prefer="respond-async").is_problem("not_implemented")["detail"]
    assert house.ask("GET", "/v1/letters?kind=request", house.token("admin")).is_ok()["data"] == []


def test_what_is_done_later_is_told_to_who_asked(house):
    sku = house.dish()
    (ann, anns), (_, bobs) = house.person(), house.person()
    admin, employee, operator = (house.token(role) for role in ("admin", "employee", "operator"))

    def later(token, path="/checkout", body=None, **headers):
        return house.ask("POST", path, token, body or {"product": sku}, Prefer="respond-async", **headers)

    def outcome(path, token):
        return until(lambda: (seen := house.ask("GET", path, token).is_ok())["state"] == "done" and seen, 20, "it is done")
    for token, who in ((anns, [anns, house.token("customer", ann)]), (None, [None]), (employee, [employee, house.token("employee")])):
        kept = later(token)
        path = kept.headers["Location"]
        assert path == f"/v1/requests/{kept.is_ok(202)['request']}"
        for asker in [*who, admin, operator]:
            done = outcome(path, asker)
            assert done["status"] == "ok" and "answer" not in done and "fields" not in done
        for other in {anns, bobs, None, employee} - set(who):
            house.ask("GET", path, other).is_problem("unknown_letter")
    sold_out = later(anns, body={"product": sku, "quantity": 5000})
    assert outcome(sold_out.headers["Location"], anns)["status"] == "out_of_stock", "a refusal is an outcome"
    assert later(admin).headers["Location"].startswith("/v1/letters/"), "who may read letters is shown the letter"
    request, nowhere = sold_out.json["request"], str(uuid.uuid4())
    letters = Client(house.shop.endpoint("dlq"))
    body = {"request": uuid.UUID(request).bytes}
    assert letters.get("dlq.outcome", body)["status"] == "out_of_stock", "an operator"
    for who, status in (({"role": "customer", "user": uuid.UUID(ann).bytes}, "ok"), ({"role": "customer"}, "unknown_letter"),
                        ({"role": "anonymous"}, "unknown_letter"), ({"role": "employee"}, "unknown_letter"), ({"role": "admin"}, "ok")):
        assert letters.once(letters.header("dlq.outcome", uuid.uuid4().bytes, **who), body).status == status, who
    letters.close()
    foreign = house.ask("GET", f"/v1/requests/{request}", bobs)
    assert foreign.detail.replace(request, nowhere) == house.ask("GET", f"/v1/requests/{nowhere}", bobs).detail
    later(None, Idempotency_Key="1").is_problem("invalid_field")
    key = str(uuid.uuid4())
    assert later(None, Idempotency_Key=key).is_ok(202)["id"] == later(None, Idempotency_Key=key).is_ok(202)["id"]


# --- the way of a token ---


def test_issuing_is_not_for_the_network(house):
    for path in ("/v1/tokens", "/v1/users:issue", "/v1/sessions:issue"):
        house.ask("POST", path, house.token("admin"), {"role": "operator"}).is_problem("not_found")


def test_known_tokens_stay_good_while_user_is_away(new_shop, sqlite):
    shop = new_shop(sqlite, auth="required", request_timeout_ms=1000)
    for name in ("stock", "factory", "sales"):
        shop.actor(name)
    user = shop.actor("user")
    shop.gateway()
    house = Guarded(shop)
    until(lambda: "user/0" not in house.rest.get("/readyz").json["optional_away"], 10, "the gateway hears user")
    token, other = house.token("employee"), house.token("employee", ttl_ms=600000)
    assert house.ask("GET", "/v1/stock/none/moves", token).status == 404
    house.users.close()
    user.kill9()
    assert house.ask("GET", "/v1/stock/none/moves", token).status == 404
    assert house.ask("GET", "/v1/stock/none/moves", other).status == 404, "its key is known"

    shop.processes[-1].kill9()
    shop.gateway()
    away = house.ask("GET", "/v1/stock/none/moves", token)
    assert "keys" in away.is_problem("unavailable")["detail"]
    assert house.ask("GET", "/v1/stock").status == 200, "who shows no token does not need them"
    shop.actor("user")
    until(lambda: house.ask("GET", "/v1/stock/none/moves", token).status == 404, 10, "the keys have come")


def test_an_open_house_takes_a_token_at_its_word(shop, rest):
    users = shop.client("user")
    ann = rest.post("/v1/users", {"email": f"{uuid.uuid4().hex}@example.com"}).is_ok(201)["user"]
    token = users.get("user.issue", {"role": "customer", "user": uuid.UUID(ann).bytes})["token"]
    users.close()
    assert rest.get("/v1/orders:kitchen").status == 200, "nobody is the operator"
    rest.get("/v1/orders:kitchen", Authorization=f"Bearer {token}").is_problem("forbidden")
    is_challenged(rest.get("/v1/products", Authorization="Bearer x"), has_token=True)


def test_an_open_house_does_not_listen_wide(new_shop, sqlite):
    shop = new_shop(sqlite)
    status, words = shop.command("run", http="0.0.0.0:0")
    assert status == processes.USAGE and "LARDER_HTTP" in words and "LARDER_AUTH=required" in words
    status, words = shop.command("run", auth="closed")
    assert status == processes.USAGE and "LARDER_AUTH" in words
