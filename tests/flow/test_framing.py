# SPDX-License-Identifier: MPL-2.0
"""Requests that two readers could read differently: refused in one answer of larder's own, and the connection ends. What is odd but
has one meaning is served. Each is sent at once, and again byte by byte."""

import contextlib
import re
import socket
import time

import pytest

from flow_conftest import Shop
from rest import ERRORS, Rest, until

HOST = b"Host: localhost\r\n"
BUY = b"POST /checkout HTTP/1.1\r\n" + HOST
SEE = b"GET /livez HTTP/1.1\r\n" + HOST
SMUGGLED = BUY + b"Content-Length: 0\r\n\r\n"


def see(*lines):
    """A request without a body; lines are headers as they are, with their ends."""
    return SEE + b"".join(lines) + b"\r\n"


def line(first, *lines):
    return first + b"\r\n" + HOST + b"".join(lines) + b"\r\n"


def buy(*lines, body=b"{}"):
    return BUY + b"".join(lines) + b"\r\n" + body


def length(value, body=b"{}"):
    return buy(b"Content-Length:" + value + b"\r\n", body=body)


def coding(value, body=b"2\r\n{}\r\n0\r\n\r\n"):
    return buy(b"Transfer-Encoding:" + value + b"\r\n", body=body)


def chunks(body):
    return coding(b" chunked", body)


def host(*lines):
    return b"GET /livez HTTP/1.1\r\n" + b"".join(lines) + b"\r\n"


MALFORMED = {
    # lines
    "a folded header": see(b"X: a\r\n b\r\n"),
    "a folded header by a tab": see(b"X: a\r\n\tb\r\n"),
    "a folded length": buy(b"Content-Length:\r\n 2\r\n"),
    "a length folded behind a name": buy(b"X: y\r\n Content-Length: 2\r\n"),
    "a folded coding": buy(b"Transfer-Encoding:\r\n chunked\r\n", body=b"2\r\n{}\r\n0\r\n\r\n"),
    "a folded key": buy(b"Idempotency-Key:\r\n k\r\n", b"Content-Length: 2\r\n"),
    "a folded authorization": see(b"Authorization: Bearer\r\n x\r\n"),
    "a folded condition": see(b"If-Match: \"1\"\r\n ,\"2\"\r\n"),
    "a folded host": host(b"Host: local\r\n host\r\n"),
    "a fold right behind the first line": b"GET /livez HTTP/1.1\r\n X: y\r\n" + HOST + b"\r\n",
    "a line of blanks": see(b"  \r\n"),
    "an empty name": see(b": x\r\n"),
    "an empty name and value": see(b":\r\n"),
    "no colon": see(b"X\r\n"),
    "a blank before the colon": see(b"X : y\r\n"),
    "a tab before the colon": see(b"X\t: y\r\n"),
    "a blank in a name": see(b"X Y: z\r\n"),
    "a blank behind the length's name": buy(b"Content-Length : 2\r\n"),
    "a blank behind the coding's name": buy(b"Transfer-Encoding : chunked\r\n", body=b"2\r\n{}\r\n0\r\n\r\n"),
    "a blank behind the host's name": host(b"Host : localhost\r\n"),
    "brackets in a name": see(b"X[1]: y\r\n"),
    "a slash in a name": see(b"X/Y: z\r\n"),
    "quotes in a name": see(b"\"X\": y\r\n"),
    "an at sign in a name": see(b"X@Y: z\r\n"),
    "letters beyond ASCII in a name": see("é: x\r\n".encode()),
    "a DEL in a name": see(b"X\x7f: y\r\n"),
    "a NUL in a name": see(b"X\x00Y: z\r\n"),
    "a NUL in a value": see(b"X: y\x00z\r\n"),
    "a NUL in a key": buy(b"Idempotency-Key: a\x00b\r\n", b"Content-Length: 2\r\n"),
    "a NUL in a host": host(b"Host: localhost\x00.evil.example\r\n"),
    "a NUL in a length": length(b" 2\x00"),
    "a NUL in an address": line(b"GET /livez\x00x HTTP/1.1"),
    "a NUL in a method": line(b"G\x00ET /livez HTTP/1.1"),
    "a NUL behind the version": line(b"GET /livez HTTP/1.1\x00"),
    "a bell in a value": see(b"X: y\x07\r\n"),
    "an escape in a value": see(b"X: \x1b[31m\r\n"),
    "a DEL in a value": see(b"X: y\x7f\r\n"),
    "a vertical tab in a value": see(b"X: y\x0bz\r\n"),
    "a form feed in a value": see(b"X: y\x0cz\r\n"),
    "a vertical tab before a length": length(b"\x0b2"),
    "a control character in an address": line(b"GET /li\x01vez HTTP/1.1"),
    "a tab in the first line": line(b"GET\t/livez HTTP/1.1"),
    "a DEL in an address": line(b"GET /livez\x7f HTTP/1.1"),
    "letters beyond ASCII in an address": line("GET /livéz HTTP/1.1".encode()),
    "a lone LF behind the first line": b"GET /livez HTTP/1.1\n" + HOST + b"\r\n",
    "a lone LF behind a header": SEE + b"X: y\nZ: w\r\n\r\n",
    "a lone LF as the last line": SEE + b"X: y\r\n\n",
    "only LFs": b"GET /livez HTTP/1.1\nHost: localhost\n\n",
    "a lone CR in a value": see(b"X: y\rz\r\n"),
    "a lone CR and a lone LF in one value": see(b"X: y\rz\n"),
    "a lone CR in a name": see(b"X\rY: z\r\n"),
    "a lone CR in the first line": line(b"GET /livez\r HTTP/1.1"),
    "CR CR LF": see(b"X: y\r\r\n"),
    "a CR before a hidden length": buy(b"X: y\rContent-Length: 2\r\n", body=b""),
    # codings
    "chunked twice in a line": coding(b" chunked, chunked"),
    "chunked in two lines": buy(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: chunked\r\n", body=b"0\r\n\r\n"),
    "identity": coding(b" identity"),
    "chunked, identity": coding(b" chunked, identity"),
    "identity, chunked": coding(b" identity, chunked"),
    "chunked before gzip": coding(b" chunked, gzip"),
    "an empty coding": coding(b""),
    "a comma and chunked": coding(b" ,chunked"),
    "chunked and a comma": coding(b" chunked,"),
    "chunked with a semicolon": coding(b" chunked;"),
    "chunked in quotes": coding(b" \"chunked\""),
    "chunked and something": coding(b" chunked x"),
    "chunked behind a tab": coding(b"\tchunked"),
    "chunked behind two blanks": coding(b"  chunked"),
    "chunked before a blank": coding(b" chunked "),
    "a coding and a length": buy(b"Transfer-Encoding: chunked\r\n", b"Content-Length: 12\r\n", body=b"2\r\n{}\r\n0\r\n\r\n"),
    "a length and a coding": buy(b"Content-Length: 2\r\n", b"Transfer-Encoding: chunked\r\n", body=b"2\r\n{}\r\n0\r\n\r\n"),
    "a coding in HTTP/1.0": b"POST /checkout HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    # lengths
    "+2": length(b" +2"),
    "-2": length(b" -2"),
    "2, 2": length(b" 2, 2"),
    "2,2": length(b" 2,2"),
    "2 2": length(b" 2 2"),
    "0x2": length(b" 0x2"),
    "2.0": length(b" 2.0"),
    "2e0": length(b" 2e0"),
    "1_0": length(b" 1_0"),
    "an empty length": length(b""),
    "a length of blanks": length(b"   "),
    "a length in quotes": length(b" \"2\""),
    "a length of letters": length(b" two"),
    "other digits": length(" ٢".encode()),
    "a length behind two blanks": length(b"  2"),
    "a length behind a tab": length(b"\t2"),
    "a length before a blank": length(b" 2 "),
    "two to the 64": length(b" 18446744073709551616"),
    "two to the 64 and two": length(b" 18446744073709551618"),
    "thirty nines": length(b" " + b"9" * 30),
    "two lengths": buy(b"Content-Length: 2\r\n", b"Content-Length: 60\r\n"),
    "a length twice": buy(b"Content-Length: 2\r\n", b"Content-Length: 2\r\n"),
    "a length twice in other letters": buy(b"Content-Length: 2\r\n", b"CONTENT-LENGTH: 2\r\n"),
    # hosts
    "no host": host(),
    "two hosts": host(b"Host: localhost\r\n", b"Host: localhost\r\n"),
    "an empty host": host(b"Host:\r\n"),
    "a host of blanks": host(b"Host:   \r\n"),
    "a host with a blank": host(b"Host: local host\r\n"),
    "a host with a path": host(b"Host: localhost/x\r\n"),
    "a host with a user": host(b"Host: a@localhost\r\n"),
    "a host with a query": host(b"Host: localhost?x\r\n"),
    "a host in brackets": host(b"Host: [localhost]\r\n"),
    "an open bracket": host(b"Host: [::1\r\n"),
    "something behind a bracket": host(b"Host: [::1]x\r\n"),
    "a list of hosts": host(b"Host: localhost, evil.example\r\n"),
    "a port of letters": host(b"Host: localhost:http\r\n"),
    "a port without digits": host(b"Host: localhost:\r\n"),
    "a port beyond ports": host(b"Host: localhost:65536\r\n"),
    "a port with a sign": host(b"Host: localhost:+80\r\n"),
    "two ports": host(b"Host: localhost:80:80\r\n"),
    "only a port": host(b"Host: :80\r\n"),
    "an escaped host": host(b"Host: localhost%00\r\n"),
    "a host with a backslash": host(b"Host: localhost\\evil\r\n"),
    "a host with a semicolon": host(b"Host: localhost;x\r\n"),
    "a host beyond ASCII": host("Host: lócalhost\r\n".encode()),
    "a scheme in a host": host(b"Host: http://localhost\r\n"),
    "an address of another host": line(b"GET http://evil.example/livez HTTP/1.1"),
    "an address of another port": line(b"GET http://localhost:81/livez HTTP/1.1"),
    "an address with a user": line(b"GET http://a@localhost/livez HTTP/1.1"),
    "an address without a host": line(b"GET http:///livez HTTP/1.1"),
    "an address of another scheme": line(b"GET ftp://localhost/livez HTTP/1.1"),
    # first lines
    "no address": line(b"GET HTTP/1.1"),
    "no version": line(b"GET /livez"),
    "two blanks before the address": line(b"GET  /livez HTTP/1.1"),
    "two blanks behind the address": line(b"GET /livez  HTTP/1.1"),
    "a blank at the front": line(b" GET /livez HTTP/1.1"),
    "a blank at the end": line(b"GET /livez HTTP/1.1 "),
    "a blank in the address": line(b"GET /li vez HTTP/1.1"),
    "an address without a slash": line(b"GET livez HTTP/1.1"),
    "an authority as address": line(b"GET localhost:80 HTTP/1.1"),
    "CONNECT": line(b"CONNECT localhost:80 HTTP/1.1"),
    "CONNECT with a path": line(b"CONNECT /livez HTTP/1.1"),
    "a star for GET": line(b"GET * HTTP/1.1"),
    "a fragment": line(b"GET /livez#x HTTP/1.1"),
    "a method with a colon": line(b"GE:T /livez HTTP/1.1"),
    "a method in brackets": line(b"(GET) /livez HTTP/1.1"),
    "HTTP/0.9": line(b"GET /livez HTTP/0.9"),
    "HTTP/1.2": line(b"GET /livez HTTP/1.2"),
    "HTTP/1": line(b"GET /livez HTTP/1"),
    "HTTP/1.10": line(b"GET /livez HTTP/1.10"),
    "HTTP/01.1": line(b"GET /livez HTTP/01.1"),
    "HTTP/+1.1": line(b"GET /livez HTTP/+1.1"),
    "http/1.1": line(b"GET /livez http/1.1"),
    "HTP/1.1": line(b"GET /livez HTP/1.1"),
    "ICE/1.0": line(b"GET /livez ICE/1.0"),
    "RTSP/1.0": line(b"OPTIONS * RTSP/1.0"),
    "two empty lines first": b"\r\n\r\n" + see(),
    "bytes of TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xaa" * 64 + b"\r\n\r\n",
    # chunks
    "a chunk of letters": chunks(b"zz\r\n{}\r\n0\r\n\r\n"),
    "a chunk below nothing": chunks(b"-2\r\n{}\r\n0\r\n\r\n"),
    "a chunk with a sign": chunks(b"+2\r\n{}\r\n0\r\n\r\n"),
    "a chunk with 0x": chunks(b"0x2\r\n{}\r\n0\r\n\r\n"),
    "a chunk behind a blank": chunks(b" 2\r\n{}\r\n0\r\n\r\n"),
    "a chunk before a blank": chunks(b"2 \r\n{}\r\n0\r\n\r\n"),
    "a chunk before a tab": chunks(b"2\t\r\n{}\r\n0\r\n\r\n"),
    "a chunk and something": chunks(b"2 x\r\n{}\r\n0\r\n\r\n"),
    "a chunk without a size": chunks(b"\r\n{}\r\n0\r\n\r\n"),
    "a chunk of only an extension": chunks(b";x\r\n{}\r\n0\r\n\r\n"),
    "a chunk of 2 to the 64": chunks(b"10000000000000000\r\n{}\r\n0\r\n\r\n"),
    "a chunk of 17 digits": chunks(b"00000000000000002\r\n{}\r\n0\r\n\r\n"),
    "a chunk's line without CR": chunks(b"2\n{}\r\n0\r\n\r\n"),
    "a chunk's line with two CRs": chunks(b"2\r\r\n{}\r\n0\r\n\r\n"),
    "a chunk that is longer than it says": chunks(b"2\r\n{} \r\n0\r\n\r\n"),
    "a chunk without an end": chunks(b"2\r\n{}0\r\n\r\n"),
    "a chunk that ends without CR": chunks(b"2\r\n{}\n0\r\n\r\n"),
    "a NUL in an extension": chunks(b"2;a=\x00\r\n{}\r\n0\r\n\r\n"),
    "a LF in an extension": chunks(b"2;a=b\nc\r\n{}\r\n0\r\n\r\n"),
    "a CR in an extension": chunks(b"2;a=b\rc\r\n{}\r\n0\r\n\r\n"),
    "an endless size of a chunk": chunks(b"0" * 40000),
    "an endless extension": chunks(b"2;" + b"a" * 40000),
    "an endless trailer": chunks(b"2\r\n{}\r\n0\r\nX: " + b"a" * 40000),
    "endless trailers": chunks(b"2\r\n{}\r\n0\r\n" + b"X: a\r\n" * 5000),
    "a length as trailer": chunks(b"2\r\n{}\r\n0\r\nContent-Length: 5\r\n\r\n"),
    "a coding as trailer": chunks(b"2\r\n{}\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "a key as trailer": chunks(b"2\r\n{}\r\n0\r\nIdempotency-Key: k\r\n\r\n"),
    **{f"{name} as trailer": chunks(b"2\r\n{}\r\n0\r\n" + name.encode() + b": x\r\n\r\n") for name in (
        "Host", "Authorization", "If-Match", "if-none-match", "Order-Secret", "Origin", "Sec-Fetch-Site", "Prefer", "webhook-id",
        "Connection", "Content-Type", "Content-Encoding", "Trailer")},
    "a folded trailer": chunks(b"2\r\n{}\r\n0\r\nX: a\r\n b\r\n\r\n"),
    "a trailer with a NUL": chunks(b"2\r\n{}\r\n0\r\nX: a\x00\r\n\r\n"),
    "a trailer without a name": chunks(b"2\r\n{}\r\n0\r\n: a\r\n\r\n"),
    "a last line without CR": chunks(b"2\r\n{}\r\n0\r\n\n"),
    # what means two things
    "two keys": buy(b"Idempotency-Key: a\r\n", b"Idempotency-Key: b\r\n", b"Content-Length: 2\r\n"),
    "two types": buy(b"Content-Type: application/json\r\n", b"Content-Type: text/plain\r\n", b"Content-Length: 2\r\n"),
    "two conditions": see(b"If-Match: \"1\"\r\n", b"If-Match: \"2\"\r\n"),
}

OTHERS = {
    "gzip": (coding(b" gzip"), "not_implemented"),
    "gzip, chunked": (coding(b" gzip, chunked"), "not_implemented"),
    "deflate": (coding(b" deflate"), "not_implemented"),
    "xchunked": (coding(b" xchunked"), "not_implemented"),
    "an unknown method": (line(b"BREW /livez HTTP/1.1"), "not_implemented"),
    "a method in small letters": (line(b"get /livez HTTP/1.1"), "not_implemented"),
    "HTTP/2.0": (line(b"GET /livez HTTP/2.0"), "version_not_supported"),
    "HTTP/3.0": (line(b"GET /livez HTTP/3.0"), "version_not_supported"),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "version_not_supported"),
    "a head over 8 KiB": (see(b"X: " + b"a" * 8192 + b"\r\n"), "header_too_large"),
    "headers over 8 KiB": (see(*(b"X%d: y\r\n" % number for number in range(1000))), "header_too_large"),
    "an address over 8 KiB": (line(b"GET /" + b"a" * 8192 + b" HTTP/1.1"), "header_too_large"),
    "a method over 8 KiB": (line(b"G" * 9000 + b" / HTTP/1.1"), "header_too_large"),
    "a name over 8 KiB": (see(b"X" * 9000 + b": y\r\n"), "header_too_large"),
    "a length over everything": (length(b" 18446744073709551615"), "too_large"),
    "a chunk over everything": (chunks(b"ffffffffffffffff\r\n{}"), "too_large"),
    "a chunk over 8 MiB": (chunks(b"2\r\n{}\r\n800000\r\n"), "too_large"),
    "a length over 8 MiB": (length(b" 8388609"), "too_large"),
}

SERVED = {
    "300 short headers": (see(*(b"X-%d: %d\r\n" % (number, number) for number in range(300))), 200),
    "2,000 of the shortest headers": (see(*(b"a:\r\n" for _ in range(2000))), 200),
    "8,000 bytes of cookies": (see(b"Cookie: " + b"; ".join(b"c%d=%s" % (n, b"v" * 90) for n in range(80)) + b"\r\n"), 200),
    "one header of 8,000 bytes": (see(b"X: " + b"y" * 8000 + b"\r\n"), 200),
    "a query of 8,000 bytes": (line(b"GET /livez?" + b"&".join([b"a=bcdef"] * 1000) + b" HTTP/1.1"), 200),
    "a head of exactly 8 KiB": (see(b"X: " + b"y" * (8192 - len(see()) - 5) + b"\r\n"), 200),
    "an empty value": (see(b"X:\r\n", b"Y: \r\n"), 200),
    "tabs and blanks around a value": (see(b"X: \t y \t \r\n"), 200),
    "letters beyond ASCII in a value": (see("X: é\r\n".encode()), 200),
    "every character of a name": (see(b"!#$%&'*+-.^_`|~09azAZ: x\r\n"), 200),
    "an empty line first": (b"\r\n" + see(), 200),
    "a host with a port": (host(b"Host: localhost:8080\r\n"), 200),
    "a host in capitals": (host(b"HOST: LOCALHOST\r\n"), 200),
    "an IPv6 host": (host(b"Host: [::1]:8080\r\n"), 200),
    "an IPv4 host": (host(b"Host:127.0.0.1\r\n"), 200),
    "a whole address": (line(b"GET http://localhost/livez HTTP/1.1"), 200),
    "a whole address with the port that is meant anyway": (line(b"GET HTTP://LOCALHOST:80/livez HTTP/1.1"), 200),
    "a star for OPTIONS": (line(b"OPTIONS * HTTP/1.1"), 204),
    "HTTP/1.0": (b"GET /livez HTTP/1.0\r\n\r\n", 200),
    "HTTP/1.0 that stays": (b"GET /livez HTTP/1.0\r\n" + HOST + b"Connection: keep-alive\r\n\r\n", 200),
    "HTTP/1.0 that stays and ends": (b"GET /livez HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", 200),
    "an upgrade that nobody heeds": (see(b"Connection: upgrade\r\n", b"Upgrade: websocket\r\n"), 200),
    "an upgrade to HTTP/2": (see(b"Connection: Upgrade, HTTP2-Settings\r\n", b"Upgrade: h2c\r\n", b"HTTP2-Settings: AAMAAABk\r\n"), 200),
    "a length of 0": (see(b"Content-Length: 0\r\n"), 200),
    "a length with noughts": (see(b"Content-Length: 0002\r\n") + b"{}", 200),
    "a length without a blank": (see(b"Content-Length:2\r\n") + b"{}", 200),
    "chunks": (see(b"Transfer-Encoding: chunked\r\n") + b"1\r\n{\r\n01\r\n}\r\n000\r\n\r\n", 200),
    "chunks in capitals": (see(b"TRANSFER-ENCODING: CHUNKED\r\n") + b"A\r\n{        }\r\n0\r\n\r\n", 200),
    "extensions": (see(b"Transfer-Encoding: chunked\r\n") + b"2;a;b=c\r\n{}\r\n0;last\r\n\r\n", 200),
    "trailers": (see(b"Transfer-Encoding: chunked\r\n") + b"2\r\n{}\r\n0\r\nX-Sum: 1\r\nY: \r\n\r\n", 200),
}


@pytest.fixture(scope="module")
def front(tmp_path_factory):
    shop = Shop(tmp_path_factory.mktemp("framing"))
    shop.start()
    rest = Rest(f"127.0.0.1:{shop.http}")
    rest.process = shop.process
    yield rest
    assert shop.stop() == 0


def send(connection, data, is_dribbled):
    """Everything, as far as it is taken: who is refused early may not get rid of the rest."""
    with contextlib.suppress(ConnectionError):
        if not is_dribbled:
            connection.sendall(data)
        for at in range(len(data) if is_dribbled else 0):
            connection.sendall(data[at:at + 1])


def read_all(connection):
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65536):
            data += piece
    return data


def is_one_refusal(data, symbol):
    """One head, one problem document of that name, the word that it ends, and nothing behind it."""
    status = ERRORS[symbol][0]
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), data
    assert data.count(b"HTTP/1.1 ") == 1, data
    headers = dict(each.split(": ", 1) for each in head.decode().split("\r\n")[1:])
    assert headers["Content-Type"] == "application/problem+json" and headers["Connection"] == "close", data
    assert len(body) == int(headers["Content-Length"]), data
    assert b'"type":"urn:larder:problem:%s"' % symbol.encode() in body and b'"detail":"' in body, data


@pytest.mark.parametrize("is_dribbled", [False, True], ids=["whole", "dribbled"])
@pytest.mark.parametrize("case", [*MALFORMED, *OTHERS])
def test_what_could_be_read_in_two_ways_is_refused_once(front, case, is_dribbled):
    data, symbol = OTHERS.get(case) or (MALFORMED[case], "malformed")
    before = front.level("donut")["version"]
    if is_dribbled and len(data) > 2000:
        data, is_dribbled = data[:-1], False
    with front.connect(5) as connection:
        send(connection, data + (b"" if is_dribbled else SMUGGLED), is_dribbled)
        is_one_refusal(read_all(connection), symbol)
    assert front.level("donut")["version"] == before


@pytest.mark.parametrize("case", [name for name, data in MALFORMED.items() if data.startswith(b"GET /livez")])
def test_a_refused_head_request_has_no_body(front, case):
    """However early it is refused: else the body is what somebody before takes for the next answer."""
    for before in (b"", b"\r\n"):
        with front.connect(5) as connection:
            send(connection, before + MALFORMED[case].replace(b"GET ", b"HEAD ", 1), False)
            head, _, body = read_all(connection).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ") and not body


@pytest.mark.parametrize("is_dribbled", [False, True], ids=["whole", "dribbled"])
@pytest.mark.parametrize("case", SERVED)
def test_what_has_one_meaning_is_served(front, case, is_dribbled):
    data, status = SERVED[case]
    closes = b"HTTP/1.0\r\n" in data and b": keep-alive\r\n" not in data
    with front.connect(5) as connection:
        send(connection, data, is_dribbled and len(data) < 2000)
        if not closes:
            send(connection, see(b"Connection: close\r\n"), False)
        statuses = re.findall(rb"HTTP/1\.1 (\d+)", read_all(connection))
    assert statuses == [b"%d" % status] + ([] if closes else [b"200"])


def test_a_refusal_of_an_endless_body_can_be_read(front):
    """413, also where the body never ends, and to a client that sends on and only then reads."""
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    with front.connect() as endless:
        endless.sendall(BUY + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(160):
                endless.sendall(chunk)
        is_one_refusal(read_all(endless), "too_large")


def cpu_s(process):
    fields = open(f"/proc/{process.pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


@pytest.mark.parametrize("stuck", [
    BUY + b"Transfer-Encoding: chunked\r\n\r\n" + b"0" * 20000,
    BUY + b"Transfer-Encoding: chunked\r\n\r\n2;" + b"a" * 20000,
    BUY + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: " + b"a" * 20000,
    BUY + b"Transfer-Encoding: chunked\r\n\r\n2;a",
    BUY + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{",
    BUY + b"Content-Length: 100000\r\n\r\n" + b" " * 70000,
    SEE + b"X: " + b"y" * 8000,
    SEE[:-1],
    b"\r",
], ids=lambda data: repr(data[-20:]))
def test_a_request_that_stops_in_the_middle_costs_no_time(front, stuck):
    """A chunk's line longer than the buffer once made the loop spin for as long as the connection lasted."""
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            send(stack.enter_context(front.connect()), stuck, False)
        assert front.get("/livez").status == 200
        used, began = cpu_s(front.process), time.monotonic()
        until(lambda: time.monotonic() - began > 1 or front.get("/livez").status != 200, 5, "a second", pause_s=0.05)
        spent = (cpu_s(front.process) - used) / (time.monotonic() - began)
        assert spent < 0.4, f"{spent:.0%} of a processor while nothing is asked"


def test_who_has_only_ended_its_side_gets_its_answer(front):
    with front.connect() as half:
        half.sendall(see())
        half.shutdown(socket.SHUT_WR)
        assert read_all(half).startswith(b"HTTP/1.1 200 ")
