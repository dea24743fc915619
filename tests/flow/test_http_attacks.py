# SPDX-License-Identifier: MPL-2.0
"""Attacks over HTTP on a running shop, in one process and as processes: it lives, nobody else waits, and what they cost comes back."""

import contextlib
import json
import os
import re
import resource
import socket
import subprocess
import sys

import pytest

import processes
from bystanders import Bystanders, behind
from patience import stretched

pytestmark = pytest.mark.alone

SECONDS = 1.5 if os.environ.get("LARDER_LONG") != "1" else 20
BUY = b"POST /checkout HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = BUY + b"Transfer-Encoding: chunked\r\n\r\n"

# Runs in a process of its own: ADDRESS COUNT SECONDS, what each connection sends, whether it sends that again and again and reads. Who
# is turned out comes back, ten in ten milliseconds: the attacker's own processor time is not to be the attack.
ATTACKER = """
import selectors, socket, sys, time
address, count, seconds, sent, again, reads = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), bytes.fromhex(sys.argv[4]), *sys.argv[5:7]
host, port = address.rsplit(":", 1)
ends, open_ones, told = time.monotonic() + seconds, {}, 0
select = selectors.DefaultSelector()
def more():
    one = socket.socket()
    one.setblocking(False)
    one.connect_ex((host, int(port)))
    open_ones[one] = 0
    select.register(one, selectors.EVENT_READ | selectors.EVENT_WRITE)
def end(one):
    select.unregister(one)
    open_ones.pop(one)
    one.close()
while time.monotonic() < ends:
    for _ in range(min(count - len(open_ones), 10)):
        more()
    time.sleep(0.01)
    for key, events in select.select(0.05):
        one = key.fileobj
        try:
            if events & selectors.EVENT_WRITE and open_ones[one] < len(sent):
                open_ones[one] += one.send(sent[open_ones[one]:])
            elif events & selectors.EVENT_WRITE and again == "yes" and reads == "no":
                open_ones[one] = 0
            elif not events & selectors.EVENT_READ:
                select.modify(one, selectors.EVENT_READ)
            if events & selectors.EVENT_READ and reads == "yes":
                data = one.recv(1 << 20)
                told += data.count(b"HTTP/1.1 ")
                if not data:
                    end(one)
                elif again == "yes" and b"HTTP/1.1 " in data:
                    open_ones[one] = 0
                    select.modify(one, selectors.EVENT_READ | selectors.EVENT_WRITE)
            elif events & selectors.EVENT_READ:
                if not one.recv(1, socket.MSG_PEEK):
                    end(one)
                else:
                    select.modify(one, selectors.EVENT_WRITE)
        except OSError:
            end(one)
print(told)
"""


class Attack:
    """What `count` connections send at once: where, what, whether again and again, and whether they read what comes."""

    def __init__(self, where, count, sent, again=False, reads=True):
        self.where, self.count, self.sent, self.again, self.reads = where, count, sent, again, reads

    def run(self, shop):
        address = shop.probes if self.where == "probes" else shop.http
        done = subprocess.run([sys.executable, "-c", ATTACKER, address, str(self.count), str(SECONDS), self.sent.hex(), "yes" if self.again else "no",
                               "yes" if self.reads else "no"], preexec_fn=behind, capture_output=True, text=True, check=True,
                              timeout=stretched(SECONDS + 20))
        return int(done.stdout)


def ask(path):
    return b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path


ATTACKS = {
    "64 scrapers": Attack("probes", 64, ask(b"/metrics"), again=True),
    "a chunk's line without an end": Attack("http", 100, CHUNKED + b"0" * 30000),
    "an extension without an end": Attack("http", 100, CHUNKED + b"2;" + b"a" * 30000),
    "a trailer without an end": Attack("http", 100, CHUNKED + b"0\r\nX: " + b"a" * 30000),
    "a chunk's line that stops": Attack("http", 300, CHUNKED + b"2;a"),
    "a head that stops": Attack("http", 300, BUY + b"X: " + b"a" * 7000),
    "a body that stops": Attack("http", 300, BUY + b"Content-Type: application/json\r\nContent-Length: 500000\r\n\r\n" + b" " * 20000),
    "nothing": Attack("http", 300, b""),
    "refused heads": Attack("http", 64, BUY + b"X: a\r\n b\r\n\r\n"),
    "requests behind each other that nobody reads": Attack("http", 20, ask(b"/v1/stock?limit=1000") * 200, again=True, reads=False),
    "a form of a page": Attack("http", 64, BUY + b"Origin: https://evil.example\r\nContent-Length: 2\r\n\r\n{}"),
}


@pytest.fixture(params=["run", "processes"])
def place(request, new_shop, sqlite):
    shop = new_shop(sqlite)
    if request.param == "run":
        watched = [shop.run().pid]
    else:
        started = [shop.actor("stock"), shop.actor("factory"), shop.actor("sales"), shop.gateway()]
        watched = [each.pid for each in started]
    yield shop, watched


def test_nobody_else_waits_for_an_attacker(place):
    """All attacks with the same customers, calm in between: what one leaves behind would be seen by the next, and a busy machine is
    busy for both."""
    shop, watched = place
    with Bystanders(shop.http, watched) as others:
        for name, attack in ATTACKS.items():
            others.calm(1)
            with others.attack():
                attack.run(shop)
            for pid in watched:
                assert processes.request(shop.probes, "GET", "/livez")[0] == 200 and os.path.exists(f"/proc/{pid}"), name
        others.calm(1)
    print(others.figures())
    others.were_not_disturbed(factor=3)
    others.memory_came_back(48)
    others.descriptors_came_back()


def test_probes_are_answered_while_all_connections_are_taken(new_shop, sqlite):
    """Also while those who are one too many come and come and say nothing."""
    shop = new_shop(sqlite, connections=64)
    shop.run()
    with contextlib.ExitStack() as stack:
        host, port = shop.http.rsplit(":", 1)
        silent = []
        for _ in range(300):
            silent.append(stack.enter_context(socket.create_connection((host, int(port)), timeout=stretched(5))))
            if len(silent) > 64 and len(silent) % 20 == 0:
                for path in ("/livez", "/readyz"):
                    assert processes.request(shop.http, "GET", path)[0] == 200, len(silent)
                assert processes.request(shop.http, "GET", "/v1/stock/donut")[0] == 503
                assert processes.request(shop.probes, "GET", "/livez")[0] == 200
    processes.wait_until(lambda: processes.request(shop.http, "GET", "/v1/stock/donut")[0] == 200, 10, "room again")


def test_without_descriptors_nothing_spins_and_all_comes_back(new_shop, sqlite):
    shop = new_shop(sqlite)
    process = shop.run()
    with contextlib.ExitStack() as stack:
        soft, hard = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (len(os.listdir(f"/proc/{process.pid}/fd")) + 20, hard))
        host, port = shop.http.rsplit(":", 1)
        crowd = [stack.enter_context(socket.create_connection((host, int(port)), timeout=stretched(5))) for _ in range(60)]
        used = cpu_s(process.pid)
        processes.wait_until(lambda: counted(shop) != 0, 5, "it has noticed")
        assert cpu_s(process.pid) - used < 2
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (soft, hard))
        crowd[-1].sendall(ask(b"/livez"))
        crowd[-1].settimeout(stretched(5))
        assert crowd[-1].recv(4096).startswith(b"HTTP/1.1 200 ")


def counted(shop):
    """Pauses in accepting; None while nobody can ask."""
    status, _, text = processes.request(shop.probes, "GET", "/metrics", timeout_s=1)
    found = re.search(r"^larder_http_accepts_paused_total (\d+)$", text.decode(), re.M)
    return int(found.group(1)) if status == 200 and found else None


def cpu_s(pid):
    fields = open(f"/proc/{pid}/stat", encoding="ascii", errors="replace").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def resident_mib(pid):
    return int(re.search(r"^VmRSS:\s+(\d+) kB$", open(f"/proc/{pid}/status", encoding="ascii").read(), re.M).group(1)) / 1024


def test_answers_that_nobody_reads_hold_so_much_memory_and_no_more(new_shop, sqlite):
    """Pages of 4 MB, left unread by more connections than 128 MiB are enough for: who has left his for longest is cut."""
    shop = new_shop(sqlite)
    process = shop.run()
    dish = json.dumps({"name": "x", "description": "\x01" * 2000, "category": "other", "price": {"amount": 1, "currency": "BRL"}})
    for number in range(330):
        assert processes.request(shop.http, "PUT", f"/v1/products/dish-{number}", dish)[0] == 200
    assert len(processes.request(shop.http, "GET", "/v1/products?limit=1000")[2]) > 3_900_000
    host, port = shop.http.rsplit(":", 1)
    before = resident_mib(process.pid)
    with contextlib.ExitStack() as stack:
        readers = []
        for number in range(70):
            one = stack.enter_context(socket.socket())
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096 if number < 69 else 65536)
            one.settimeout(stretched(10))
            one.connect((host, int(port)))
            one.sendall(ask(b"/v1/products?limit=1000"))
            assert one.recv(15).startswith(b"HTTP/1.1 200")
            readers.append(one)
        assert resident_mib(process.pid) - before < 200
        assert processes.request(shop.http, "GET", "/v1/stock/donut")[0] == 200
        assert processes.figures(processes.told(shop.probes))["larder_http_slow_clients_total"] >= 30
        got = 0
        while got < 3_900_000:
            piece = readers[-1].recv(1 << 20)
            assert piece, f"the latest reader was cut after {got} bytes"
            got += len(piece)
