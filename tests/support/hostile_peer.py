#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""
What a hostile peer does, in a process of its own that takes only the time which nobody else wants:

    result = run("flood_and_reset", port, seconds=2, ping=True)

An attack is a function of a port and of named values. What it returns is what run() returns.
"""

import contextlib
import json
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "flow"))

# pylint: disable=wrong-import-position
from bystanders import behind
from larder_client import pack, utc_ms, uuid7
from raw_zmtp import COMMAND, MORE, Peer, frame, message, ping


@contextlib.contextmanager
def running(attack, port, **values):
    """Runs it beside the block; ends it with the block."""
    child = subprocess.Popen([sys.executable, os.path.abspath(__file__), attack, str(port), json.dumps(values)], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, text=True, preexec_fn=behind)
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def run(attack, port, deadline_s=60, **values):
    with running(attack, port, **values) as child:
        words, _ = child.communicate(timeout=deadline_s)
        assert child.returncode == 0, f"{attack} failed: {words}"
        return json.loads(words)


def started(child):
    """Waits until a holding attack has all that it wants to hold; what it says of it."""
    return json.loads(child.stdout.readline())


def _request(op, body):
    return message(pack({"v": 1, "id": uuid7(), "op": op, "deadline": utc_ms() + 600_000}), body)


def _load(rows):
    return pack({"dry_run": True, "rows": [{"product": f"p{i}", "name": "x" * 60, "amount": 1, "currency": "EUR", "category": "other"}
                                           for i in range(rows)]})


def _until(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        yield


# --- requests ---


def flood_and_reset(port, rows=20, pings=True, ttl_ds=0, rounds=3, wait_s=1.5):
    """Asks more than is answered, reads nothing, and leaves with a reset."""
    body = _load(rows)
    data = b"".join(_request("product.load", body) + (ping(ttl_ds) if pings else b"") for _ in range(40_000 // rows))
    sent = 0
    for _ in range(rounds):
        peer = Peer(port)
        sent += peer.pour(data, 0.3, 1)
        time.sleep(ttl_ds / 10 * 1.2)
        peer.reset()
        time.sleep(wait_s)
    return sent


def heartbeats(port, kind="DEALER", rounds=8):
    """PINGs of all sizes, alone and behind requests, and leaves in the middle of them."""
    cut = 0
    for size in range(rounds):
        peer = Peer(port, kind.encode())
        peer.send(ping(1, bytes(size)) * 3 + _request("any.ping", pack({})) + ping(1)[:-1])
        time.sleep(0.2)
        peer.reset() if size % 2 else peer.close()
        peer = Peer(port, kind.encode())
        peer.send(frame(b"\x04PING" + bytes(size % 3), COMMAND) if size % 3 < 2 else ping())
        cut += size % 3 < 2 and peer.is_closed(2)
        peer.close()
    return cut


def endless_message(port, part=60_000, seconds=2):
    """One message that has always one more part. How many bytes were taken, and whether it was cut."""
    data = frame(bytes(part), MORE) * (60_000 // (part + 2) + 1)
    peer = Peer(port)
    sent = peer.pour(data, 1, seconds)
    return sent, peer.is_closed(2)


def junk(port, seconds=2):
    """Messages that cannot be read, as many as there is time for; answers are read."""
    peer = Peer(port)
    data = message(b"junk", b"more", b"and more") * 500
    sent = 0
    for _ in _until(seconds):
        sent += peer.pour(data, 0.05, 0.1)
        peer.socket.settimeout(0.01)
        with contextlib.suppress(OSError):
            peer.socket.recv(1 << 20)
    return sent


def unread_answers(port, requests=600, rows=1000):
    """Asks for large answers, reads none, and stays."""
    peer = Peer(port, receive_buffer=4096)
    body = _load(rows)
    sent = 0
    peer.socket.settimeout(3)
    with contextlib.suppress(OSError):
        for sent in range(1, requests + 1):
            peer.send(_request("product.load", body))
            time.sleep(0.004)
    print(json.dumps(sent), flush=True)
    sys.stdin.read()


def large_requests(port, seconds=3, connections=4):
    """Large requests on several connections, faster than they are done."""
    peers = [Peer(port) for _ in range(connections)]
    data = b"".join(_request("product.load", _load(1000)) for _ in range(30))
    sent = 0
    for _ in _until(seconds):
        for at, peer in enumerate(peers):
            sent += peer.pour(data, 0.05, 0.2)
            if peer.is_closed(0.001):
                peer.close()
                peers[at] = Peer(port)
    return sent


def names(port, size=400, seconds=1):
    """Calls itself by a name as long as it is taken; how many requests were done so."""
    peer = Peer(port, identity=os.urandom(size))
    done = 0
    for _ in _until(seconds):
        peer.send(_request("any.ping", pack({})))
        peer.receive_frame()
        peer.receive_frame()
        done += 1
    return done


# --- events ---


def subscription(prefix, is_on=True, is_command=False):
    if is_command:
        return frame((b"\x09SUBSCRIBE" if is_on else b"\x06CANCEL") + prefix, COMMAND)
    return frame((b"\x01" if is_on else b"\x00") + prefix)


def _subscriber(port, **values):
    """Connects until it is let in."""
    while True:
        try:
            return Peer(port, b"SUB", **values)
        except OSError:
            time.sleep(0.001)


def long_prefixes(port, size=1 << 20, count=5, is_command=False):
    """How many connections of so many were cut for it."""
    cut = 0
    for _ in range(count):
        peer = _subscriber(port)
        with contextlib.suppress(OSError):
            peer.send(subscription(os.urandom(size), True, is_command))
        cut += peer.is_closed(2)
        peer.close()
    return cut


def many_prefixes(port, size=60, seconds=2, is_command=False):
    """Small ones without end, on one connection after the other; how many connections were cut."""
    data = b"".join(subscription(os.urandom(size), True, is_command) for _ in range(20_000))
    cut = 0
    for _ in _until(seconds):
        peer = _subscriber(port)
        peer.pour(data, 0.5, seconds)
        cut += peer.is_closed(1)
        peer.close()
    return cut


def prefixes_of_many(port, connections=100, count=8, size=60):
    """So many connections, each with less than is cut; they stay. How many are left of them."""
    peers = [_subscriber(port) for _ in range(connections)]
    for peer in peers:
        with contextlib.suppress(OSError):
            peer.send(b"".join(subscription(os.urandom(size)) for _ in range(count)))
    time.sleep(1)
    print(json.dumps(sum(not peer.is_closed(0.02) for peer in peers)), flush=True)
    sys.stdin.read()


def churn(port, seconds=2):
    """Subscribes and unsubscribes the same, and what was never subscribed, as fast as it goes; how often it was cut."""
    data = b"".join(subscription(b"stock.out.donut") + subscription(b"stock.out.donut", False) + subscription(os.urandom(40), False)
                    for _ in range(5000))
    cut = 0
    for _ in _until(seconds):
        peer = _subscriber(port)
        peer.pour(data, 0.5, seconds)
        cut += peer.is_closed(1)
        peer.close()
    return cut


def come_and_go(port, size=50, count=9, seconds=3):
    """Subscribes to some prefixes, leaves and comes again, as fast as it goes; how often it was taken."""
    taken = 0
    for _ in _until(seconds):
        with contextlib.suppress(OSError):
            peer = _subscriber(port)
            peer.send(b"".join(subscription(os.urandom(size)) for _ in range(count)))
            peer.close()
            taken += 1
    return taken


def unread_events(port, connections=4):
    """Subscribes to everything and reads nothing."""
    peers = [_subscriber(port, receive_buffer=4096) for _ in range(connections)]
    for peer in peers:
        peer.send(subscription(b""))
    print(json.dumps(len(peers)), flush=True)
    sys.stdin.read()


# --- connections ---


def silent(port, connections=2000, handshake=False, kind="DEALER"):
    """Opens so many connections and says nothing. How many were opened."""
    peers = []
    with contextlib.suppress(OSError):
        for _ in range(connections):
            with contextlib.suppress(ConnectionError, TimeoutError):
                peers.append(Peer(port, kind.encode(), handshake=handshake, timeout_s=2))
    print(json.dumps(len(peers)), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](int(sys.argv[2]), **json.loads(sys.argv[3]))))
