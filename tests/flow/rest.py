# SPDX-License-Identifier: MPL-2.0
"""An HTTP client for tests: whole requests with their headers, bytes as they are sent, and what every answer must be."""

import contextlib
import http.client
import json
import re
import socket
import sys
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT / "tests" / "support") not in sys.path:
    sys.path.insert(0, str(ROOT / "tests" / "support"))

# pylint: disable=wrong-import-position
import processes
from patience import stretched, wait_until

until = wait_until

PROBLEM = "urn:larder:problem:"


def errors():
    """symbol -> (HTTP status, words), from the table itself."""
    found = re.findall(r'^ERROR\((\w+), (\d+), \w+, "(.*)"\)$', (ROOT / "proto" / "tables" / "errors.def").read_text(), re.M)
    return {symbol: (int(status), words) for symbol, status, words in found}


ERRORS = errors()


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body, object_pairs_hook=without_doubles)

    @property
    def detail(self):
        return self.json.get("detail", "")

    def is_problem(self, symbol):
        """It is the refusal of that name, as RFC 9457 shapes it; returns the document."""
        status, words = ERRORS[symbol]
        assert self.status == status, self
        assert self.headers["Content-Type"] == "application/problem+json", self
        document = self.json
        assert document["type"] == PROBLEM + symbol, self
        assert (document["title"], document["status"]) == (words, status), self
        assert isinstance(document.get("detail", ""), str), self
        assert document["instance"].startswith("urn:uuid:"), self
        uuid.UUID(document["instance"][len("urn:uuid:"):])
        assert (self.headers["Retry-After"] is not None) == (status == 503), self
        return document

    def is_ok(self, status=200):
        assert self.status == status, self
        assert self.headers["Content-Type"] == "application/json", self
        return self.json

    def __repr__(self):
        return f"<{self.status} {dict(self.headers)} {self.body[:1000]!r}>"


def without_doubles(pairs):
    value = dict(pairs)
    assert len(value) == len(pairs), f"a name comes twice in {pairs}"
    return value


class Rest:
    """A gateway's address. Each request has a connection of its own unless `connection` is given."""

    def __init__(self, address, timeout_s=10, probes=None):
        self.address = address
        self.probes = probes
        self.host, port = address.rsplit(":", 1)
        self.port = int(port)
        self.timeout_s = stretched(timeout_s)

    def ask(self, method, path, body=None, headers=None):
        """`body`: bytes as they are, anything else as JSON."""
        sent = {"Content-Type": "application/json"} if body is not None else {}
        sent.update(headers or {})
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection = http.client.HTTPConnection(self.host, self.port, timeout=self.timeout_s)
        try:
            connection.request(method, path, content, {name: value for name, value in sent.items() if value is not None})
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def get(self, path, **headers):
        return self.ask("GET", path, headers=as_headers(headers))

    def post(self, path, body=None, **headers):
        return self.ask("POST", path, body, as_headers(headers))

    def level(self, product):
        return self.get(f"/v1/stock/{product}").is_ok()

    def pages(self, path):
        """Every element of a list, page after page as the Link headers say; and how many pages it took."""
        found, pages = [], 0
        while path:
            answer = self.get(path)
            document = answer.is_ok()
            assert set(document) == {"data", "has_more"}
            found += document["data"]
            pages += 1
            link = answer.headers["Link"]
            assert (link is not None) == document["has_more"], answer
            path = re.fullmatch(r'<([^>]*)>; rel="next"', link).group(1) if link else None
        return found, pages

    def told(self):
        """The page of metrics as it is now."""
        return processes.told(self.probes)

    def connect(self, timeout_s=None):
        made = socket.create_connection((self.host, self.port), timeout=stretched(timeout_s) if timeout_s else self.timeout_s)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def raw(self, data, timeout_s=None):
        """Sends bytes as they are and reads one answer; None when the connection ends without one."""
        with self.connect(timeout_s) as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(data)
            return read_answer(connection)

    def head(self, method, path, *lines):
        """The bytes of a head; `lines` are headers as they are. A body is JSON unless they say something else."""
        if method not in ("GET", "HEAD") and not any(line.lower().startswith("content-type") for line in lines):
            lines = ("Content-Type: application/json", *lines)
        return "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {self.address}", *lines, "", ""]).encode("latin-1")


def as_headers(named):
    return {name.replace("_", "-"): value for name, value in named.items()}


def read_answer(connection):
    """The next answer of a connection; one `100 Continue` before it is passed over. None when there is none."""
    try:
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return Answer(answer.status, answer.headers, answer.read())
    except (ConnectionError, http.client.RemoteDisconnected):
        return None


