# SPDX-License-Identifier: MPL-2.0
"""What a web page can make a browser on this machine send: none of it is done, and programs are served as ever."""

import json

import pytest

import processes
from flow_conftest import Shop
from rest import Rest

ADMIN = {"name": "Eve", "email": "eve@example.com", "password": "correct horse", "role": "admin"}
BODY = json.dumps(ADMIN).encode()
FOREIGN = {
    "a page": {"Origin": "https://evil.example"},
    "a page of another port": {"Origin": "http://localhost:3000"},
    "a page of a file": {"Origin": "null"},
    "a page that fetches": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    "a page next door": {"Sec-Fetch-Site": "same-site"},
    "a page with both": {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
    "a page with no origin": {"Origin": ""},
}


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    shop = Shop(tmp_path_factory.mktemp("door"), origins="https://pos.example", hosts="shop.test, *.wide.test")
    shop.start()
    yield Rest(f"127.0.0.1:{shop.http}", probes=shop.probes)
    assert shop.stop() == 0


@pytest.mark.parametrize("page", FOREIGN)
def test_a_foreign_page_changes_nothing(house, page):
    before = house.level("donut")["version"]
    for kind in ("application/json", "text/plain", "application/x-www-form-urlencoded", None):
        for path in ("/v1/users", "/checkout", "/checkout/donut", "/", "/product/donut", "/v1/payments/webhook"):
            refused = house.ask("POST", path, BODY, {"Content-Type": kind, **FOREIGN[page]})
            assert "LARDER_ORIGINS" in refused.is_problem("forbidden")["detail"]
    for method, path in (("POST", "/checkout"), ("DELETE", "/v1/products/donut"), ("PATCH", "/v1/products/donut"),
                         ("PUT", "/v1/products/donut")):
        house.ask(method, path, None, FOREIGN[page]).is_problem("forbidden")
        house.ask(method, path, None, {**FOREIGN[page], "Authorization": "Bearer x"}).is_problem("forbidden")
    assert house.level("donut")["version"] == before
    house.ask("GET", "/product/donut", None, FOREIGN[page]).is_ok()


def test_pages_that_may_and_programs_are_served(house):
    body = json.dumps({"quantity": 1}).encode()
    for headers in ({}, {"Origin": "https://pos.example", "Sec-Fetch-Site": "cross-site"}, {"Origin": f"http://{house.address}"},
                    {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}):
        house.ask("POST", "/checkout/donut", body, {"Content-Type": "application/json", **headers}).is_ok()
        house.ask("POST", "/checkout", None, headers).is_ok(201)


def test_a_name_that_points_here_is_not_served(house):
    """DNS rebinding: the page's own name leads to loopback, so that the browser takes this for the page's own server."""
    before = house.level("donut")["version"]
    for name in ("evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "wide.test", "127.1"):
        headers = {"Host": name, "Origin": f"http://{name}"}
        for method, path in (("GET", "/product/donut"), ("POST", "/checkout"), ("GET", "/v1/orders"), ("GET", "/nowhere")):
            assert "LARDER_HOSTS" in house.ask(method, path, None, headers).is_problem("misdirected")["detail"]
        for path in ("/livez", "/readyz"):
            house.ask("GET", path, None, headers).is_ok()
    for name in ("localhost", "LOCALHOST.:1", "127.0.0.1", "[::1]:8080", "10.0.0.1", "shop.test", "Shop.Test.:80", "a.wide.test", "a.localhost"):
        house.ask("GET", "/product/donut", None, {"Host": name}).is_ok()
    assert house.level("donut")["version"] == before


def test_a_foreign_preflight_gets_no_permission(house):
    answer = house.ask("OPTIONS", "/checkout", None, {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"})
    assert answer.status == 204 and not [name for name in answer.headers if name.lower().startswith("access-control")]


def allowed(answer):
    return {name.lower()[len("access-control-"):]: value for name, value in answer.headers.items()
            if name.lower().startswith("access-control-")}


def test_a_page_that_may_is_told_so_by_its_browser(house):
    """Without these a browser sends no JSON for it and keeps every answer from it."""
    page = {"Origin": "https://pos.example", "Sec-Fetch-Site": "cross-site"}
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type,idempotency-key,order-secret"}
    preflight = house.ask("OPTIONS", "/v1/orders", None, {**page, **asks})
    told = allowed(preflight)
    assert preflight.status == 204 and preflight.headers["Vary"] == "Origin"
    assert told["allow-origin"] == "https://pos.example" and "POST" in told["allow-methods"].split(", ")
    assert {"Content-Type", "Idempotency-Key", "Order-Secret", "If-Match", "Authorization"} <= set(told["allow-headers"].split(", "))
    assert "allow-credentials" not in told
    body = json.dumps({"quantity": 1}).encode()
    for method, path, content in (("GET", "/product/donut", None), ("POST", "/checkout/donut", body), ("GET", "/nowhere", None),
                                  ("POST", "/checkout/donut", b"{")):
        answer = house.ask(method, path, content, {"Content-Type": "application/json", **page})
        assert allowed(answer)["allow-origin"] == "https://pos.example" and "Location" in allowed(answer)["expose-headers"]
        assert "allow-methods" not in allowed(answer)
    for headers in ({}, {"Origin": f"http://{house.address}"}, {"Origin": "https://pos.example:444"}, {"Origin": "http://pos.example"}):
        assert not allowed(house.ask("GET", "/product/donut", None, headers))


def test_a_whole_address_names_the_host_where_there_is_none(house):
    assert house.raw(b"POST http://evil.example/checkout HTTP/1.0\r\n\r\n").status == 421
    assert house.raw(b"GET http://localhost/product/donut HTTP/1.0\r\n\r\n").status == 200


def test_who_is_turned_away_is_counted_and_said_once(house):
    def count(reason):
        line = f'larder_http_turned_away_total{{reason="{reason}"}}'
        return processes.figures(house.told())[line]
    asks = {
        "origin": lambda: house.ask("POST", "/checkout", None, {"Origin": "null"}),
        "host": lambda: house.ask("GET", "/product/donut", None, {"Host": "evil.example"}),
        "type": lambda: house.ask("POST", "/checkout", BODY, {"Content-Type": "text/plain"}),
        "framing": lambda: house.raw(b"GET / HTTP/1.1\r\n\r\n"),
    }
    for reason, ask in asks.items():
        before = count(reason)
        for _ in range(3):
            ask()
        assert count(reason) == before + 3, reason


def test_the_house_with_a_lock_is_served_by_any_name_until_it_says_which(tmp_path):
    """A token is not what a page has; behind a proxy only the operator knows the names."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for folder, settings, symbol in ((tmp_path / "a", {}, None), (tmp_path / "b", {"hosts": "shop.example"}, "misdirected")):
        shop = Shop(folder, auth="required", **settings)
        shop.start()
        try:
            rest = Rest(f"127.0.0.1:{shop.http}")
            answer = rest.ask("GET", "/product/donut", None, {"Host": "front.example"})
            assert answer.status == 200 if symbol is None else answer.is_problem(symbol)
            rest.ask("POST", "/checkout", None, {"Origin": "https://evil.example"}).is_problem("forbidden")
        finally:
            shop.stop()


@pytest.mark.parametrize(("name", "value"), [("hosts", "a b"), ("hosts", "x:80"), ("origins", "shop.example"), ("origins", "https://x/")])
def test_a_door_that_cannot_be_is_refused_at_start(tmp_path, name, value):
    shop = Shop(tmp_path, **{name: value})
    with pytest.raises(RuntimeError, match=f"LARDER_{name.upper()}: |--{name}: "):
        shop.start()
    assert shop.process.returncode == 2
