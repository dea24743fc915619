# SPDX-License-Identifier: MPL-2.0
"""Bad input by REST and by ZeroMQ: a clear refusal that names the field, nothing half done, and everybody else is served."""

import contextlib
import json
import socket
import struct
import subprocess
import time

import pytest
import zmq

from larder_client import pack, unpack, utc_ms, uuid7
from rest import Rest, until

import processes

ACTORS = ("stock", "sales", "factory")
MIB = 1024 * 1024


class State:
    """Everything that a request could have changed."""

    def __init__(self, rest, product):
        self.levels = rest.pages("/v1/stock?limit=1000")[0]
        self.moves = rest.pages(f"/v1/stock/{product}/moves")[0]
        self.holds = rest.pages(f"/v1/stock/{product}/holds")[0]
        self.productions = rest.pages("/v1/productions?limit=1000")[0]

    def __eq__(self, other):
        return vars(self) == vars(other)

    def __repr__(self):
        return repr(vars(self))


@pytest.fixture
def shelf(shop, rest, product):
    """A shelf of 5 with 2 of them held. Behind the test nothing has changed, and every actor answers."""
    rest.post(f"/v1/stock/{product}:adjust", {"delta": 5}).is_ok()
    rest.post(f"/v1/stock/{product}/holds", {"quantity": 2}).is_ok(201)
    before = State(rest, product)
    yield product
    assert State(rest, product) == before
    check_alive(shop, rest)


def check_alive(shop, rest):
    assert shop.process.poll() is None, shop.log.read_text()[-2000:]
    assert rest.get("/readyz").status == 200
    for actor in ACTORS:
        client = shop.client(actor)
        assert client.get("any.ping")["actor"] == actor
        client.close()


def deep(levels):
    return b'{"lines":' + b"[" * levels + b"]" * levels + b"}"


def lines(*ones):
    return {"lines": [{"product": product, "quantity": quantity} for product, quantity in ones]}


# --- by REST ---

# What stands for a quantity, and what is said about it.
QUANTITIES = {
    b"0": "from 1 to",
    b"-1": "from 1 to",
    b"1000000001": "from 1 to",
    b"9223372036854775807": "from 1 to",
    b"-9223372036854775808": "from 1 to",
    b"9223372036854775808": "larger than any number",
    b"-9223372036854775809": "larger than any number",
    b"18446744073709551617": "larger than any number",
    b"1" + b"0" * 400: "larger than any number",
    b"1e999": "larger than any number",
    b"1.0": "whole number",
    b"1.5": "whole number",
    b"1e0": "whole number",
    b"0.1": "whole number",
    b'"1"': "whole number",
    b"true": "whole number",
    b"null": "whole number",
    b"[1]": "whole number",
    b'{"a":1}': "whole number",
}


@pytest.mark.parametrize("quantity", QUANTITIES, ids=lambda text: text[:12].decode())
def test_a_quantity_that_is_none(rest, shelf, quantity):
    name = shelf.encode()
    for path, body in (
        ("/checkout", b'{"product":"%s","quantity":%s}' % (name, quantity)),
        ("/v1/checkouts", b'{"product":"%s","quantity":%s}' % (name, quantity)),
        ("/v1/takes", b'{"lines":[{"product":"%s","quantity":1},{"product":"%s","quantity":%s}]}' % (name, name, quantity)),
        (f"/v1/stock/{shelf}/holds", b'{"quantity":%s}' % quantity),
        (f"/checkout/{shelf}", b'{"quantity":%s}' % quantity),
        ("/", b'{"product":"%s","quantity":%s}' % (name, quantity)),
    ):
        detail = rest.post(path, body).is_problem("invalid_field")["detail"]
        assert "quantity: " in detail and QUANTITIES[quantity] in detail, detail
        if path == "/v1/takes" and QUANTITIES[quantity] != "larger than any number":
            assert detail.startswith("lines[1].quantity: "), detail


# A body of /v1/stock/{p}/holds, the refusal, and what it names.
BODIES = {
    "an open brace": (b"{", "malformed", "not JSON"),
    "cut in a name": (b'{"quant', "malformed", "not JSON"),
    "cut behind a colon": (b'{"quantity":', "malformed", "quantity"),
    "cut behind a value": (b'{"quantity":1', "malformed", "not JSON"),
    "something behind it": (b'{"quantity":1}}', "malformed", "not JSON"),
    "two documents": (b'{"quantity":1}{"quantity":1}', "malformed", "not JSON"),
    "a list": (b"[1]", "malformed", "object"),
    "a text": (b'"quantity"', "malformed", ""),
    "a number": (b"1", "malformed", ""),
    "a word": (b"nul", "malformed", "not JSON"),
    "single quotes": (b"{'quantity':1}", "malformed", "not JSON"),
    "a last comma": (b'{"quantity":1,}', "malformed", "not JSON"),
    "a comment": (b'{"quantity":1 /* one */}', "malformed", "not JSON"),
    "a leading zero": (b'{"quantity":01}', "malformed", "quantity"),
    "no number": (b'{"quantity":NaN}', "malformed", "quantity"),
    "a byte order mark": (b'\xef\xbb\xbf{"quantity":1}', "malformed", "not JSON"),
    "UTF-16": ('{"quantity":1}'.encode("utf-16"), "malformed", "not JSON"),
    "a form": (b"quantity=1", "malformed", "not JSON"),
    "msgpack": (pack({"quantity": 1}), "malformed", "not JSON"),
    "a NUL in it": (b'{"quantity":1}\x00', "malformed", "not JSON"),
    "a NUL in a text": (b'{"quantity":1,"reference":"a\x00b"}', "malformed", "reference"),
    "an escaped NUL": (b'{"quantity":1,"reference":"a\\u0000b"}', "malformed", "reference"),
    "an escaped NUL in a name": (b'{"quantity":1,"a\\u0000b":1}', "malformed", ""),
    "bytes that are no UTF-8": (b'{"quantity":1,"reference":"\xc3\x28"}', "malformed", "reference"),
    "overlong UTF-8": (b'{"quantity":1,"reference":"\xc0\xaf"}', "malformed", "reference"),
    "half a surrogate": (b'{"quantity":1,"reference":"\\ud800"}', "malformed", "reference"),
    "a name twice": (b'{"quantity":1,"quantity":1}', "invalid_field", "quantity: is given twice"),
    "a name twice, once escaped": (b'{"quantity":1,"\\u0071uantity":1}', "invalid_field", "is given twice"),
    "an unknown name": (b'{"quantity":1,"refernce":"r"}', "invalid_field", "refernce: is not known"),
    "another case": (b'{"Quantity":1}', "invalid_field", "Quantity: is not known"),
    "no name": (b'{"":1,"quantity":1}', "invalid_field", "is not known"),
    "what the address says": (b'{"quantity":1,"product":"other"}', "invalid_field", "product: is given already"),
    "what is not there": (b"{}", "invalid_field", "quantity: is missing"),
    "no body": (b"", "invalid_field", "quantity: is missing"),
    "lines where there are none": (b'{"lines":[]}', "invalid_field", "lines: "),
    "a ttl of nothing": (b'{"quantity":1,"ttl_ms":0}', "invalid_field", "ttl_ms: "),
    "a ttl over a month": (b'{"quantity":1,"ttl_ms":2592000001}', "invalid_field", "ttl_ms: "),
    "an id of 15 bytes": (b'{"quantity":1,"replaces":"0198f2a0-1c00-7a3b-8c4d-5e6f708192"}', "invalid_field", "replaces: "),
    "an id of 17 bytes": (b'{"quantity":1,"replaces":"0198f2a0-1c00-7a3b-8c4d-5e6f708192a300"}', "invalid_field", "replaces: "),
    "an id with a letter": (b'{"quantity":1,"replaces":"0198f2a0-1c00-7a3b-8c4d-5e6f708192ag"}', "invalid_field", "replaces: "),
    "a long reference": (b'{"quantity":1,"reference":"%s"}' % (b"r" * 129), "invalid_field", "reference: "),
    "a number for a text": (b'{"quantity":1,"reference":7}', "invalid_field", "reference: must be text"),
    "a long name": (b'{"quantity":1,"%s":1}' % (b"n" * 5000), "invalid_field", "n: is not known"),
    "a name of markup": (b'{"quantity":1,"\\"<b>\\n":1}', "invalid_field", "is not known"),
}


@pytest.mark.parametrize("case", BODIES)
def test_a_body_that_is_none(rest, shelf, case):
    body, symbol, named = BODIES[case]
    detail = rest.post(f"/v1/stock/{shelf}/holds", body).is_problem(symbol)["detail"]
    assert named in detail, detail


def test_every_truncation_of_a_body(rest, shelf):
    body = json.dumps({**lines((shelf, 1), (shelf, 1)), "reference": "till \\ \u20ac"}).encode()
    for size in range(1, len(body)):
        rest.post("/v1/takes", body[:size]).is_problem("malformed")


def is_refused(answer):
    """The body cannot be read or a field is wrong: which of both depends on how deep the reader gets. What is said."""
    assert answer.status == 400, answer
    symbol = answer.json["type"].rsplit(":", 1)[1]
    assert symbol in ("malformed", "invalid_field")
    return answer.is_problem(symbol)["detail"]


@pytest.mark.parametrize("levels", [3, 100, 2000, 5000, 100_000])
def test_nesting(rest, shelf, levels):
    for path in ("/v1/takes", "/checkout"):
        assert "lines" in is_refused(rest.post(path, deep(levels)))
    assert is_refused(rest.post("/checkout", b'{"quantity":' + b'{"a":' * levels + b"1" + b"}" * levels + b"}"))


@pytest.mark.parametrize(("body", "field"), [
    (lines(), "lines: "),
    (lines(*[("x", 1)] * 1001), "lines: "),
    ({"lines": None}, "lines: "),
    ({"lines": {}}, "lines: "),
    ({"lines": [1]}, "lines[0]"),
    ({"lines": [{}]}, "lines[0].product: is missing"),
    ({"lines": [{"product": "x"}]}, "lines[0].quantity: is missing"),
    ({"lines": [{"product": "x", "quantity": 1, "colour": 1}]}, "lines[0].colour: is not known"),
    (lines(("x", 1), ("", 1)), "lines[1].product: "),
    (lines(("x", 1), ("a" * 65, 1)), "lines[1].product: "),
    (lines(("x", 1), ("../donut", 1)), "lines[1].product: "),
    (lines(("x", 1), ("dönut", 1)), "lines[1].product: "),
])
def test_lines(rest, shelf, body, field):
    for path in ("/v1/takes", "/v1/holds"):
        assert field in rest.post(path, body).is_problem("invalid_field")["detail"]


def test_one_bad_line_spoils_all(rest, shelf):
    rest.post("/v1/takes", lines((shelf, 1), ("nowhere-to-be-found", 1))).is_problem("unknown_product")
    rest.post("/v1/holds", lines((shelf, 1), ("nowhere-to-be-found", 1))).is_problem("unknown_product")


@pytest.mark.parametrize("name", ["a" * 65, "..", ".", "a.b", "a%20b", "a+b", "%00", "a%00b", "donut%00", "..%2Fdonut", "a%2Fb",
                                  "a%5Cb", "%FF",
                                  "%C3%28", "%", "%2", "%zz", "d%C3%B6nut", "%22", "a%0D%0AX", "{p}"])
def test_a_name_in_an_address(rest, shelf, name):
    for path in ("/product/", "/procut/", "/v1/products/", "/v1/stock/"):
        assert rest.get(path + name).is_problem("invalid_field")["detail"].startswith("product: ")
    for path, body in (("/checkout/{}", {"quantity": 1}), ("/product/{}", {"quantity": 1}), ("/v1/stock/{}:adjust", {"delta": 1})):
        assert rest.post(path.format(name), body).is_problem("invalid_field")["detail"].startswith("product: ")


@pytest.mark.parametrize("path", ["/product/../v1/stock/donut", "/product/%2e%2e/product/donut", "/v1//stock", "/../../etc/passwd",
                                  "/v1/stock/..%2f/moves/x",
                                  "/product/donut/"])
def test_an_address_is_not_walked(rest, shelf, path):
    assert rest.get(path).status == 404


def test_a_query(rest, shelf):
    for query, named in (
        ("limit=0", "limit"), ("limit=1001", "limit"), ("limit=-1", "limit"), ("limit=1.0", "limit"), ("limit=", "limit"),
        ("limit=1e1", "limit"),
        ("limit=99999999999999999999", "limit"), ("limit=5&limit=5", "limit"), ("colour=blue", "colour"), ("cursor=", "cursor"),
        ("cursor=%00", ""), ("cursor=MDo!", "cursor"), ("cursor=" + "A" * 300, "cursor"), ("%FF=1", ""), ("limit=%", ""),
    ):
        assert named in rest.get(f"/v1/stock/{shelf}/moves?{query}").is_problem("invalid_field")["detail"], query


@pytest.mark.parametrize("identity", ["0198f2a0-1c00-7a3b-8c4d-5e6f708192", "0198f2a0-1c00-7a3b-8c4d-5e6f708192a3a3", "x", "%00",
                                      "0" * 40])
def test_an_id_in_an_address(rest, shelf, identity):
    for verb in ("extend", "commit", "release"):
        body = {"ttl_ms": 1000} if verb == "extend" else None
        assert "hold: " in rest.post(f"/v1/holds/{identity}:{verb}", body).is_problem("invalid_field")["detail"]
    assert "id: " in rest.get(f"/v1/productions/{identity}").is_problem("invalid_field")["detail"]


def test_a_change_of_nothing(rest, shelf):
    assert "delta" in rest.post(f"/v1/stock/{shelf}:adjust", {"delta": 0}).is_problem("invalid_field")["detail"]
    for delta in (-4, -(10**9)):
        rest.post(f"/v1/stock/{shelf}:adjust", {"delta": delta}).is_problem("would_go_negative")
    assert "delta" in rest.post(f"/v1/stock/{shelf}:adjust", {"delta": -(10**9) - 1}).is_problem("invalid_field")["detail"]
    assert "counted" in rest.post(f"/v1/stock/{shelf}:count", {"counted": 10**15 + 1}).is_problem("invalid_field")["detail"]
    assert "version" in rest.post(f"/v1/stock/{shelf}:count", {"counted": 9, "version": -1}).is_problem("invalid_field")["detail"]


def test_a_body_of_two_mebibytes(rest, shelf):
    for body in (b" " * (2 * MIB), json.dumps(lines(*[(shelf, 1)] * (2 * MIB // 40))).encode()):
        rest.post("/v1/takes", body).is_problem("too_large")
    refused = rest.raw(rest.head("POST", "/v1/takes", f"Content-Length: {2 * MIB}", "Expect: 100-continue"))
    refused.is_problem("too_large")
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    refused = rest.raw(rest.head("POST", "/v1/takes", "Transfer-Encoding: chunked") + chunk * 32 + b"0\r\n\r\n")
    refused.is_problem("too_large")


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "multipart/form-data; boundary=x", "application/jsonx", "json"])
def test_a_body_of_another_kind(rest, shelf, kind):
    refused = rest.ask("POST", f"/v1/stock/{shelf}:adjust", b'{"delta":1}', {"Content-Type": kind})
    assert "Content-Type" in refused.is_problem("unsupported_media_type")["detail"]


@pytest.mark.parametrize("line", [b"GET /product/donut\0x", b"GET /product/\0", b"GET /product/donut\0", b"GET /pro\0duct/donut",
                                  b"GET \0", b"GET /product/donut?a=\0b"])
def test_a_raw_nul_in_an_address(rest, shelf, line):
    assert "NUL" in rest.raw(line + b" HTTP/1.1\r\nHost: x\r\n\r\n").is_problem("malformed")["detail"]


# --- clients that behave badly ---


def connections(rest):
    return processes.figures(rest.told())["larder_http_connections"]


@pytest.mark.parametrize("is_reset", [False, True])
def test_who_leaves_in_the_middle_has_bought_nothing(rest, shelf, is_reset):
    body = json.dumps({"product": shelf}).encode()
    head = rest.head("POST", "/checkout", "Content-Type: application/json", f"Content-Length: {len(body)}")
    for sent in (b"", head[:3], head[:-2], head, head + body[:1], head + body[:-1]):
        for _ in range(10):
            with rest.connect() as leaver:
                leaver.sendall(sent)
                if is_reset:
                    leaver.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    until(lambda: connections(rest) == 0, 5, "their connections are gone")


def test_who_leaves_before_the_answer_has_bought_once(rest, product):
    rest.post(f"/v1/stock/{product}:adjust", {"delta": 100}).is_ok()
    body = json.dumps({"product": product}).encode()
    for number in range(20):
        with rest.connect() as leaver:
            key = f"Idempotency-Key: {product}-{number}"
            leaver.sendall(rest.head("POST", "/checkout", f"Content-Length: {len(body)}", key) + body)
    for number in range(20):
        rest.post("/checkout", body, Idempotency_Key=f"{product}-{number}").is_ok(201)
    assert rest.level(product)["on_hand"] == 80


def test_a_reader_that_never_reads_over_http(rest, shelf):
    probes = Rest(rest.probes)
    with contextlib.ExitStack() as stack:
        for where, path in ((rest, "/v1/stock?limit=1000"), (probes, "/metrics")):
            rude = stack.enter_context(where.connect())
            rude.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            rude.setblocking(False)
            sent = 0
            with contextlib.suppress(BlockingIOError):
                while sent < 3000:
                    rude.send(where.head("GET", path))
                    sent += 1
        for _ in range(50):
            began = time.monotonic()
            rest.level(shelf)
            assert probes.get("/livez").status == 200
            assert time.monotonic() - began < 1


def test_a_reader_that_never_reads_over_zeromq(shop, rest, product):
    units = 20_000
    rest.post(f"/v1/stock/{product}:adjust", {"delta": units}).is_ok()
    rude = shop.context.socket(zmq.DEALER)
    for option, value in ((zmq.LINGER, 0), (zmq.RCVHWM, 1), (zmq.RCVBUF, 4096), (zmq.SNDHWM, 0), (zmq.IMMEDIATE, 1)):
        rude.setsockopt(option, value)
    rude.connect(shop.requests("stock"))
    assert rude.poll(5000, zmq.POLLOUT)
    deadline = utc_ms() + 60_000
    body = pack(lines((product, 1)))
    for _ in range(units):
        rude.send_multipart([pack({"v": 1, "id": uuid7(), "op": "stock.take", "deadline": deadline}), body])
    patient = shop.client("stock")
    for _ in range(20):
        assert patient.get("any.ping", timeout_ms=5000)["actor"] == "stock"
    until(lambda: rest.level(product)["on_hand"] == 0, 30, "every one of them is done")
    with open(f"/proc/{shop.process.pid}/status", encoding="ascii") as status:
        peak_kib = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    assert peak_kib < 256 * 1024, f"it needed {peak_kib} KiB"
    assert rude.poll(5000), "the first replies are there"
    rude.close()
    patient.close()
    check_alive(shop, rest)


# --- by ZeroMQ ---

LIST_OF_100 = b"\x81\xa5lines" + b"\x91" * 100 + b"\xc0"
MAP_OF_100 = b"\x81\xa8quantity" + b"\x81\xa1a" * 100 + b"\xc0"

# actor, operation, body (a value, or bytes as they are), status, what is named.
MESSAGES = [
    *[(actor, op, body, "invalid_field", field) for body, field in (
        ({"quantity": 0}, "quantity"), ({"quantity": -1}, "quantity"), ({"quantity": 1.0}, "quantity"),
        ({"quantity": 1.5}, "quantity"),
        ({"quantity": "1"}, "quantity"), ({"quantity": None}, "quantity"), ({"quantity": True}, "quantity"),
        ({"quantity": [1]}, "quantity"),
        ({"quantity": 10**9 + 1}, "quantity"), ({"quantity": 2**63 - 1}, "quantity"), ({"quantity": 2**63}, "quantity"),
        ({"quantity": 2**64 - 1}, "quantity"), ({"quantity": -(2**63)}, "quantity"), ({"quantty": 1}, "quantty"),
        ({"product": "a" * 65}, "product"), ({"product": ""}, "product"), ({"product": "../x"}, "product"),
        ({"product": "a\0b"}, "product"),
        ({"product": b"x"}, "product"), ({"product": 7}, "product"), ({"product": "dönut"}, "product"),
        (b"\x82\xa8quantity\x01\xa8quantity\x01", "quantity: given twice"), (b"\x81\xa7product\xa2\xc3\x28", "product"),
    ) for actor, op in (("sales", "sales.checkout"), ("factory", "factory.produce"))],
    *[(actor, op, body, "malformed", "") for body in (
        b"\x80\x80", b"\xc1", b"\x01", b"\x91\x01", b"\xa1x", b"{}", b"\x81\xa8quantity", b"\x81\xa8quan", b"\xdf\xff\xff\xff\xff",
        b"\x81\x01\x01",
        b"\xc7\x01\x05\x00",
    ) for actor, op in (("sales", "sales.checkout"), ("factory", "factory.produce"), ("stock", "stock.take"))],
    *[("stock", op, body, "invalid_field", field) for op in ("stock.take", "stock.reserve") for body, field in (
        (lines(), "lines"), (lines(*[("x", 1)] * 1001), "lines"), (lines(("x", 1), ("x", 0)), "quantity"),
        (lines(("x", 1), ("x", 1.0)), "quantity"),
        (lines(("x", 1), ("a\0b", 1)), "product"), (lines(("x", 1), ("x" * 65, 1)), "product"),
        ({"lines": [{"product": "x"}]}, "quantity"),
        ({"lines": [{"product": "x", "quantity": 1, "colour": 1}]}, "colour"),
    )],
    ("stock", "stock.reserve", {**lines(("x", 1)), "ttl_ms": 2592000001}, "invalid_field", "ttl_ms"),
    ("stock", "stock.reserve", {**lines(("x", 1)), "replaces": bytes(15)}, "invalid_field", "replaces"),
    ("stock", "stock.reserve", {**lines(("x", 1)), "replaces": bytes(17)}, "invalid_field", "replaces"),
    ("stock", "stock.reserve", {**lines(("x", 1)), "replaces": "0198f2a0-1c00-7a"}, "invalid_field", "replaces"),
    ("stock", "stock.commit", {"hold": bytes(15)}, "invalid_field", "hold"),
    ("stock", "stock.release", {}, "invalid_field", "hold"),
    ("stock", "stock.adjust", {"product": "x", "delta": 0}, "invalid_field", "delta"),
    ("stock", "stock.adjust", {"product": "x", "delta": 10**9 + 1}, "invalid_field", "delta"),
    ("stock", "stock.count", {"product": "x", "counted": -1}, "invalid_field", "counted"),
    ("stock", "stock.configure", {"product": "x", "lot": 0}, "invalid_field", "lot"),
    ("stock", "stock.get", {"product": "nowhere-to-be-found"}, "unknown_product", "nowhere-to-be-found"),
    ("stock", "stock.take", lines(("nowhere-to-be-found", 1)), "unknown_product", "nowhere-to-be-found"),
    ("sales", "sales.checkout", {"product": "nowhere-to-be-found"}, "unknown_product", "nowhere-to-be-found"),
    ("sales", "sales.show", {"product": "nowhere-to-be-found"}, "unknown_product", "nowhere-to-be-found"),
    ("factory", "factory.produce", {"product": "nowhere-to-be-found"}, "unknown_product", "nowhere-to-be-found"),
    ("factory", "factory.get", {"id": bytes(15)}, "invalid_field", "id"),
    ("factory", "factory.list", {"limit": 1001}, "invalid_field", "limit"),
]


def test_messages(shop, shelf):
    clients = {actor: shop.client(actor) for actor in ACTORS}
    wrong = []
    for actor, op, body, status, named in MESSAGES:
        request_id = uuid7()
        reply = clients[actor].once(clients[actor].header(op, request_id), body)
        detail = reply.body.get("detail", "")
        statuses = {status, "invalid_field"} if status == "malformed" else {status}
        if reply.status not in statuses or reply.header["id"] != request_id or not detail or named not in detail:
            wrong.append((actor, op, body if len(repr(body)) < 200 else "...", reply.status, detail))
    for client in clients.values():
        client.close()
    assert not wrong, "\n".join(map(repr, wrong))


@pytest.mark.parametrize("actor", ACTORS)
def test_headers(shop, shelf, actor):
    client = shop.client(actor)
    good = client.header("any.ping", uuid7())
    without = lambda name: {key: value for key, value in good.items() if key != name}  # noqa: E731
    for header, status, named in (
        ({**good, "v": 2}, "unknown_version", "2"), ({**good, "v": 0}, "unknown_version", ""), ({**good, "v": "1"}, "malformed", "v"),
        ({**good, "op": "stock.steal"}, "unknown_op", "stock.steal"), ({**good, "op": ""}, "malformed", "op"),
        ({**good, "op": "x" * 65}, "malformed", "op"),
        ({**good, "op": 7}, "malformed", "op"), ({**good, "deadline": utc_ms() - 1000}, "deadline_exceeded", ""),
        ({**good, "deadline": 0}, "deadline_exceeded", ""), ({**good, "deadline": -1}, "malformed", "deadline"),
        ({**good, "deadline": 1.5}, "malformed", "deadline"), ({**good, "id": bytes(15)}, "malformed", "id"),
        ({**good, "id": bytes(17)}, "malformed", "id"),
        ({**good, "id": "0198f2a0-1c00-7a"}, "malformed", "id"), ({**good, "again": 1}, "malformed", "again"),
        ({**good, "traceparent": "00"}, "malformed", "traceparent"), (without("v"), "malformed", "v"),
        (without("id"), "malformed", "id"),
        (without("op"), "malformed", "op"), (without("deadline"), "malformed", "deadline"), (pack(good) + b"\x00", "malformed", ""),
        (b"\x91\x01", "malformed", ""), (b"\xff", "malformed", ""), (b"\x81\xa1v" + b"\x91" * 100 + b"\x01", "malformed", ""),
    ):
        reply = client.once(header, {})
        detail = reply.body["detail"]
        assert reply.status == status or (status, reply.status) == ("malformed", "invalid_field"), (header, reply.status, detail)
        assert named in detail, (header, detail)
    client.close()


@pytest.mark.parametrize("actor", ACTORS)
def test_deep_messages(shop, shelf, actor):
    client = shop.client(actor)
    op = {"stock": "stock.take", "sales": "sales.checkout", "factory": "factory.produce"}[actor]
    for body in (LIST_OF_100, MAP_OF_100):
        reply = client.once(client.header(op, uuid7()), body)
        assert reply.status in ("malformed", "invalid_field") and reply.body["detail"]
    client.close()


@pytest.mark.parametrize("actor", ACTORS)
def test_frames_of_two_mebibytes(shop, shelf, actor):
    for frames in ([bytes(2 * MIB), b"\x80"], [b"\x80", bytes(2 * MIB)]):
        rude = shop.client(actor)
        rude.send_frames(frames)
        with pytest.raises(TimeoutError):
            rude.receive(100)
        rude.close()


@pytest.mark.parametrize("actor", ACTORS)
def test_other_shapes_of_messages(shop, shelf, actor):
    client = shop.client(actor)
    for frames in ([b"\x80"], [b""], [b"", b""], [b"\x80"] * 3, [b"x"] * 50, [b"", b"\x80"], [b"\x00" * 100] * 2):
        client.send_frames(frames)
        reply = client.socket.recv_multipart() if client.socket.poll(5000) else None
        assert reply, f"{frames} is not answered"
        assert unpack(reply[-2])["status"] in ("malformed", "invalid_field")
    client.close()


def test_a_plain_tcp_client_at_an_actors_port(shop, shelf):
    for data in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x00" * 100, b"\xff" * 4096, b""):
        with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", shop.base + 6), timeout=processes.stretched(5)) as stranger:
            stranger.sendall(data)


# --- at the end ---


def test_everything_agrees(shop):
    database = [f"--db={shop.settings['db']}"] if "db" in shop.settings else [f"--data={shop.folder / 'var'}"]
    done = subprocess.run([processes.LARDER, "verify", *database], capture_output=True, text=True, timeout=processes.stretched(30), check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    errors = [line for line in shop.log.read_text().splitlines() if " error " in line]
    assert not errors, errors
