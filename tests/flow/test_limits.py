# SPDX-License-Identifier: MPL-2.0
"""What larder takes and no more: heads, bodies, connections, slowness; a second process; settings that are wrong, by their names."""

import contextlib
import os
import re
import socket
import time

import pytest

from rest import ROOT, Rest, read_answer, until

import processes

MIB = 1024 * 1024
CONNECTIONS = 16
SETTINGS = (ROOT / "actors" / "kit" / "settings" / "settings.def").read_text()
NUMBERS = [
    (name, int(lo), int(hi))
    for name, lo, hi in re.findall(r"^SETTING_NUMBER\((\w+), -?\d+, (-?\d+), (-?\d+),", SETTINGS, re.M)
]
TEXTS = re.findall(r"^SETTING_TEXT\((\w+),", SETTINGS, re.M)

slow = pytest.mark.skipif(os.environ.get("LARDER_LONG") != "1", reason="takes its time: LARDER_LONG=1")


# --- heads and bodies ---


@pytest.mark.parametrize(("size", "status"), [(7 * 1024, 200), (9 * 1024, 431), (15 * 1024, 431), (40 * 1024, 431), (300 * 1024, 431)])
def test_a_head_of_over_eight_kibibytes(rest, size, status):
    answer = rest.raw(rest.head("GET", "/livez", "X-Long: " + "x" * size))
    assert answer is not None and answer.status == status, answer
    if size == 9 * 1024:
        answer.is_problem("header_too_large")
    many = rest.raw(rest.head("GET", "/livez", *[f"X-{number}: {number:08d}" for number in range(size // 15)]))
    assert many is not None and many.status in (status, 431), many
    assert rest.get("/livez").status == 200


def test_an_address_of_over_eight_kibibytes(rest):
    for size, taken in ((4 * 1024, (404,)), (9 * 1024, (431,)), (40 * 1024, (414, 431))):
        answer = rest.raw(rest.head("GET", "/" + "a" * size))
        assert answer is not None and answer.status in taken, (size, answer)


def test_a_body_of_over_one_mebibyte(rest, product):
    body = b'{"quantity":1}'
    whole = body + b" " * (MIB - len(body))
    rest.post(f"/checkout/{product}", whole).is_ok()
    rest.post(f"/checkout/{product}", whole + b" ").is_problem("too_large")
    for size in (100 * MIB, 2**63 - 1):
        answer = rest.raw(rest.head("POST", f"/checkout/{product}", f"Content-Length: {size}") + body)
        answer.is_problem("too_large")
    rest.post("/livez", whole + b" ").is_problem("method_not_allowed")
    assert rest.level(product)["on_hand"] == 1


def test_an_endless_body_is_cut(rest, product):
    """Chunks without an end: at some point nobody reads them any more."""
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    with rest.connect() as endless:
        endless.sendall(rest.head("POST", f"/checkout/{product}", "Transfer-Encoding: chunked"))
        with pytest.raises(ConnectionError):
            for _ in range(64 * 16):
                endless.sendall(chunk)
    assert rest.get(f"/v1/stock/{product}").status == 404


# --- connections ---


def test_more_connections_than_are_taken(new_shop, sqlite):
    shop = new_shop(sqlite, connections=CONNECTIONS)
    shop.run()
    rest = Rest(shop.http)
    with contextlib.ExitStack() as stack:
        def is_full():
            """One more, used once, so that it is known to be counted."""
            more = stack.enter_context(rest.connect())
            more.sendall(rest.head("GET", "/v1/stock/donut"))
            answer = read_answer(more)
            if answer is not None and answer.status == 200:
                kept.append(more)
            return answer is None or answer.status != 200
        kept = []
        until(is_full, 10, "it is full", pause_s=0)
        assert len(kept) == CONNECTIONS
        refused = rest.raw(rest.head("POST", "/checkout", "Content-Length: 0"))
        refused.is_problem("overloaded")
        assert int(refused.headers["Retry-After"]) >= 1 and refused.headers["Connection"] == "close"
        crowd = [stack.enter_context(rest.connect()) for _ in range(100)]
        for path in ("/livez", "/readyz", "/livez"):
            answer = rest.raw(rest.head("GET", path))
            assert answer.status == 200 and answer.headers["Connection"] == "close", "probes are answered above the limit"
        for one in kept:
            one.sendall(rest.head("GET", "/v1/stock/donut"))
            assert read_answer(one).is_ok()["on_hand"] == 3
        del crowd
    until(lambda: rest.raw(rest.head("GET", "/v1/stock/donut")).status == 200, 5, "room again")
    assert rest.post("/checkout").is_ok(201)["available"] == 2


@slow
def test_a_head_of_one_byte_a_second_is_cut(rest):
    with rest.connect(2) as drop, rest.connect(2) as silent:
        began = time.monotonic()
        head = iter(rest.head("GET", "/livez", "X-Slow: " + "x" * 100))
        drop.settimeout(1)
        ended = False
        while not ended and time.monotonic() - began < 20:
            try:
                drop.sendall(bytes([next(head)]))
                ended = drop.recv(1) == b""
            except TimeoutError:
                continue
            except ConnectionError:
                ended = True
        assert ended and 8 < time.monotonic() - began < 13
        assert silent.recv(1) == b"", "who says nothing at all is cut as well"


# --- heads that two readers read differently ---

SMUGGLED = b"POST /checkout HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
FRAMINGS = {
    "two lengths": (["Content-Length: 2", "Content-Length: 60"], "malformed"),
    "a length twice": (["Content-Length: 2", "Content-Length: 2"], "malformed"),
    "chunks and a length": (["Transfer-Encoding: chunked", "Content-Length: 2"], "malformed"),
    "a length and chunks": (["Content-Length: 2", "transfer-encoding: CHUNKED"], "malformed"),
    "chunks twice": (["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], "malformed"),
    "an encoding that is not spoken": (["Transfer-Encoding: gzip, chunked"], "not_implemented"),
    "an encoding in disguise": (["Transfer-Encoding: xchunked"], "not_implemented"),
    "two hosts": (["Host: y", "Content-Length: 2"], "malformed"),
    "a blank before the colon": (["Content-Length : 2"], "malformed"),
    "two keys": (["Idempotency-Key: a", "Idempotency-Key: b", "Content-Length: 2"], "malformed"),
}


@pytest.mark.parametrize("case", FRAMINGS)
def test_a_body_of_doubtful_length(rest, case):
    """Refused, and nothing that stands behind it on the connection is taken for a request."""
    lines, symbol = FRAMINGS[case]
    before = rest.level("donut")["version"]
    with rest.connect() as connection:
        connection.sendall(rest.head("POST", "/checkout", *lines) + b"{}" + SMUGGLED)
        answer = read_answer(connection)
        answer.is_problem(symbol)
        assert answer.detail and answer.headers["Connection"] == "close"
        assert read_answer(connection) is None
    assert rest.level("donut")["version"] == before


@pytest.mark.parametrize("head", [
    b"POST /checkout HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    b"POST /checkout HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /checkout HTTP/1.1\r\nHost: x\r\nContent-Length: +2\r\n\r\n{}",
    b"POST /checkout HTTP/1.1\r\nHost: x\r\nContent-Length: 0x2\r\n\r\n{}",
    b"POST /checkout HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n{}",
    b"POST /checkout HTTP/1.1\r\nHost: x\r\nContent-Length: 2,2\r\n\r\n{}",
    b"POST /checkout HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    b"POST /checkout HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
    b"POST /checkout HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}\r\n0\r\n\r\n",
    b"POST /checkout HTTP/3.0\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
    b"POST /checkout\r\n\r\n",
    b"POST\r\n\r\n",
    b"\r\n\r\n\x01\x02\x03\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xaa" * 64 + b"\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
], ids=lambda head: repr(head[:70]))
def test_a_head_that_is_none(rest, head):
    before = rest.level("donut")["version"]
    with rest.connect(3) as connection:
        connection.sendall(head + SMUGGLED)
        answer = read_answer(connection)
        assert answer is None or answer.status in (400, 404, 405, 411, 413, 501, 505), answer
        with contextlib.suppress(ConnectionError):
            assert connection.recv(1) == b"", "the connection goes on"
    assert rest.level("donut")["version"] == before


def test_requests_behind_each_other_are_answered_in_order(rest, product):
    rest.post(f"/checkout/{product}", {"quantity": 3}).is_ok()
    body = b'{"product":"%s"}' % product.encode()
    one = rest.head("POST", "/checkout", f"Content-Length: {len(body)}") + body
    with rest.connect() as connection:
        connection.sendall(one * 3 + rest.head("GET", f"/v1/stock/{product}"))
        reader = connection.makefile("rb")
        data = b""
        while data.count(b"HTTP/1.1 ") < 4 or not data.rstrip().endswith(b"}"):
            data += reader.read1()
    statuses = [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", data)]
    assert statuses == [201, 201, 201, 200]
    assert re.findall(rb'"available":(\d)', data) == [b"2", b"1", b"0", b"0"]


# --- a second process ---


def refused_run(shop, *flags, command="run", **settings):
    """It ends by itself, badly, with one sentence; returns the status and what it said."""
    status, words = shop.command(command, *flags, deadline_s=20, **settings)
    assert status != 0, words
    assert 0 < len(words.strip().splitlines()) <= 20, words
    assert "Assert" not in words and "backtrace" not in words, words
    return status, words


def test_a_second_one_on_the_port(new_shop, sqlite, tmp_path):
    shop = new_shop(sqlite)
    shop.run()
    other = new_shop(sqlite)
    status, words = refused_run(other, "--http", shop.http, "--data", str(tmp_path / "other"))
    assert status in (processes.FAILED, processes.USAGE) and shop.http in words, words
    status, words = refused_run(other, "--base-port", str(shop.base_port), "--data", str(tmp_path / "another"))
    assert status in (processes.FAILED, processes.USAGE) and re.search(rf":{shop.base_port // 10}[1-8]\b", words), words
    assert Rest(shop.http).get("/readyz").status == 200


def test_a_second_one_on_the_folder(new_shop, sqlite):
    shop = new_shop(sqlite)
    shop.run()
    other = new_shop(sqlite)
    status, words = refused_run(other)
    assert status in (processes.FAILED, processes.USAGE, processes.FENCED), words
    assert sqlite.folder in words and "another process" in words, words
    rest = Rest(shop.http)
    assert rest.post("/checkout").is_ok(201)["available"] == 2
    shop.verify()


# --- settings ---


def spoilt(name, lo, hi):
    return [str(lo - 1), str(hi + 1), "x", "1.5", "1e3", " 1", "99999999999999999999", "-"]


@pytest.fixture
def idle_shop(new_shop, sqlite):
    return new_shop(sqlite)


def test_numbers_out_of_bounds_are_refused_by_name(idle_shop):
    assert len(NUMBERS) >= 12
    for name, lo, hi in NUMBERS:
        flag, variable = "--" + name.replace("_", "-"), f"LARDER_{name.upper()}"
        wrong = spoilt(name, lo, hi)
        for value in wrong[:3]:
            status, words = refused_run(idle_shop, f"{flag}={value}")
            assert status == processes.USAGE and f"{flag}: " in words and f"{lo} to {hi}" in words, (flag, value, words)
        for value in wrong[3:5]:
            status, words = refused_run(idle_shop, **{name: value})
            assert status == processes.USAGE and f"{variable}: " in words, (variable, value, words)
    for value in wrong:
        assert refused_run(idle_shop, f"{flag}={value}")[0] == processes.USAGE, value


@pytest.mark.parametrize(("name", "value"), [
    ("http", "8080"), ("http", "127.0.0.1:"), ("http", "127.0.0.1:99999"), ("http", "127.0.0.1:x"), ("http", "0.0.0.0:8080"),
    ("http", "10.1.2.3:80"),
    ("http", "[::]:8080"), ("http", ":8080"), ("http", "example.org:80"), ("bind", "0.0.0.0"), ("bind", "192.168.1.1"),
    ("bind", "*"), ("bind", "::"),
    ("bind", "nowhere.example"), ("public_url", "ftp://x"), ("public_url", "example.org"), ("factory_url", "file:///etc/passwd"),
    ("factory_url", "http://"), ("log", "xml"), ("log_level", "loud"), ("host", "a b"), ("db", "postgres://x/y"), ("db", "mysql://"),
    ("db", "mysql://h"),
    ("db", "mysql://h:x/y"), ("data", "x" * 5000),
])
def test_texts_that_cannot_be_are_refused_by_name(idle_shop, name, value):
    assert name in TEXTS
    flag, variable = "--" + name.replace("_", "-"), f"LARDER_{name.upper()}"
    for arguments, settings in (([f"{flag}={value}"], {}), ([], {name: value})):
        status, words = refused_run(idle_shop, *arguments, **settings)
        assert status == processes.USAGE, words
        assert f"{flag}: " in words or f"{variable}: " in words, words


@pytest.mark.parametrize("name", ["http", "bind"])
def test_an_address_for_everybody_needs_credentials(idle_shop, name):
    value = "0.0.0.0:8080" if name == "http" else "0.0.0.0"
    _, words = refused_run(idle_shop, f"--{name}", value)
    assert "loopback" in words and "credentials" in words, words


@pytest.mark.parametrize("arguments", [["--colour", "blue"], ["--http"], ["surplus"], ["-x"]])
def test_unknown_flags_are_refused(idle_shop, arguments):
    status, words = refused_run(idle_shop, *arguments)
    assert status == processes.USAGE and arguments[0] in words, words


@pytest.mark.parametrize("arguments", [["rnu"], ["actor"], ["actor", "baker"], ["actor", "stock", "--shard", "9"], ["call"],
                                       ["call", "stock.steal", "{}"],
                                       ["call", "stock.get", "{"], ["call", "stock.get", '{"prodct":"x"}'], ["ping"]])
def test_commands_that_cannot_be_are_refused(idle_shop, arguments):
    status, words = refused_run(idle_shop, *arguments[1:], command=arguments[0])
    assert status == processes.USAGE and words.strip(), words


@pytest.mark.parametrize("command", [["run"], ["actor", "stock"], ["verify"]])
def test_a_database_that_is_not_there_is_named(idle_shop, command):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        host, port = nobody.getsockname()
        url = f"mysql://shop:secret-word@{host}:{port}/shop"
        status, words = refused_run(idle_shop, *command[1:], command=command[0], db=url)
        assert status == processes.FAILED and f"{host}:{port}" in words, words
        assert "secret-word" not in words
        shops = {"HOSTNAME": f"{host}:{port}", "USERNAME": "shop", "PASSWORD": "secret-word", "DATABASE": "shop"}
        idle_shop.settings.update(shops)
        status, words = refused_run(idle_shop, *command[1:], command=command[0])
        assert status == processes.FAILED and f"{host}:{port}" in words, words
        assert "secret-word" not in words


def test_the_shops_settings_are_asked_for_by_name(idle_shop):
    idle_shop.settings["DATABASE"] = "shop"
    status, words = refused_run(idle_shop)
    assert status == processes.USAGE and "USERNAME: " in words, words
    idle_shop.settings.update({"USERNAME": "u", "PASSWORD": "p", "HOSTNAME": "a:b:c"})
    status, words = refused_run(idle_shop)
    assert status == processes.USAGE and "HOSTNAME: " in words, words


def test_a_folder_that_cannot_be_is_named(idle_shop, tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        status, words = refused_run(idle_shop, "--data", str(folder))
        assert status in (processes.FAILED, processes.USAGE) and str(folder) in words, words


def test_a_file_that_is_no_database_is_named(idle_shop, tmp_path):
    folder = tmp_path / "spoilt"
    folder.mkdir()
    (folder / "stock_0.db").write_bytes(b"this is no database, it is a note of somebody's\n" * 100)
    _, words = refused_run(idle_shop, "--data", str(folder))
    assert "stock_0.db" in words, words
