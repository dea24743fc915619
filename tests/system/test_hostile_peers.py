# SPDX-License-Identifier: MPL-2.0
"""
What a ZeroMQ peer can do to a running larder, in one process and as processes of their own: it lives, others hardly notice, and what the
peer took comes back when it has left.
"""

import contextlib
import os
import resource
import sys
import time

import pytest
from bystanders import Bystanders
from buyers import Asker
from hostile_peer import run, running, started
from patience import stretched
from processes import EVENTS, OFFSETS
from raw_zmtp import COMMAND, LONG, MORE, Peer, frame, greeting, ping, ready

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "flow"))

# pylint: disable=wrong-import-position
from larder_client import Client

pytestmark = pytest.mark.alone

CALM_S, ATTACK_S = 2, 4
SLACK_MIB = 48


@pytest.fixture(params=["run", "processes"])
def shop(request, make_shop, sqlite):
    """At the end every process runs, has said of nothing that it was a mistake of its own, and all that was sold is right."""
    opened = make_shop(sqlite)
    if request.param == "run":
        opened.run()
    else:
        for actor in ("stock", "factory", "dlq", "product", "sales", "user", "payment", "order"):
            opened.actor(actor)
        opened.gateway()
    yield opened
    for process in opened.processes:
        assert process.is_running(), process.describe()
        assert "Assertion" not in process.log(), process.describe()
    opened.verify()


def port_of(shop, actor, events=False):
    return shop.base_port + OFFSETS[actor] + (EVENTS if events else 0)


@contextlib.contextmanager
def undisturbed(shop, slack_mib=SLACK_MIB):
    """Customers buy before, during and after the block, and are as fast as before; what was taken comes back."""
    with Bystanders(shop.http, [process.pid for process in shop.processes]) as others:
        others.calm(CALM_S)
        with others.attack():
            began = time.monotonic()
            yield others
            time.sleep(max(0, ATTACK_S - (time.monotonic() - began)))
        others.calm(CALM_S)
    others.were_not_disturbed(factor=3)
    others.memory_came_back(slack_mib)
    others.descriptors_came_back()


def answers(shop, actor):
    """A client that comes new is answered."""
    client = Client(shop.endpoint(actor))
    try:
        return client.ask("any.ping", {}, timeout_ms=5000).status == "ok"
    finally:
        client.close()


# --- what ends libzmq ---


@pytest.mark.parametrize("values", [{"pings": False, "rows": 1000, "wait_s": 6, "rounds": 1}, {}, {"ttl_ds": 5, "rounds": 2}],
                         ids=["until a heartbeat would come", "with pings", "with pings that have a ttl"])
def test_a_peer_that_floods_and_leaves_with_a_reset_ends_nobody(shop, values):
    assert run("flood_and_reset", port_of(shop, "product"), **values) > 10_000_000
    assert answers(shop, "product")


def test_pings_of_every_size_end_nobody_and_a_short_one_its_own_connection(shop):
    assert run("heartbeats", port_of(shop, "stock")) == 6
    assert run("heartbeats", port_of(shop, "stock", events=True), kind="SUB") == 6
    assert answers(shop, "stock")


FOREIGN = {
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "ZMTP 1": b"\x01\x00" + b"\x05\x00junk",
    "ZMTP 2": greeting(1)[:12] + b"\x00\x00" + frame(b"junk"),
    "a message before READY": greeting() + frame(b"junk"),
    "another command before READY": greeting() + ping(),
    "a READY too large": greeting() + ready(b"DEALER", more=bytes(600)),
    "a length of 2^63": greeting() + ready(b"DEALER") + bytes([LONG]) + b"\xff" * 8,
    "flags that are none": greeting() + ready(b"DEALER") + bytes([0xF8, 1, 0]),
    "a command with more": greeting() + ready(b"DEALER") + frame(b"\x04PING\0\0", COMMAND | MORE),
    "an empty command": greeting() + ready(b"DEALER") + frame(b"", COMMAND),
    "a SUBSCRIBE for a ROUTER": greeting() + ready(b"DEALER") + frame(b"\x09SUBSCRIBEx", COMMAND),
    "too many parts": greeting() + ready(b"DEALER") + frame(b"", MORE) * 100,
}


def test_what_is_no_zmtp_within_bounds_ends_its_connection_at_once(shop):
    for events in (False, True):
        for name, data in FOREIGN.items():
            if events and name in ("a SUBSCRIBE for a ROUTER", "too many parts"):
                continue
            peer = Peer(port_of(shop, "stock", events), handshake=False)
            with contextlib.suppress(OSError):
                peer.send(data)
            assert peer.is_closed(3), f"{name}, events={events}: it is still there"
            peer.close()
    assert answers(shop, "stock")


# --- what costs memory and time: requests ---


@pytest.mark.parametrize("part", [60_000, 0], ids=["of large parts", "of empty parts"])
def test_a_message_that_does_not_end_is_cut(shop, part):
    with undisturbed(shop) as others:
        sent, is_cut = run("endless_message", port_of(shop, "stock"), part=part)
    assert is_cut and sent < 20_000_000, sent
    others.memory_stayed(SLACK_MIB)


def test_messages_that_cannot_be_read_keep_nobody_from_being_answered(shop):
    with undisturbed(shop):
        assert run("junk", port_of(shop, "stock")) > 0


def test_a_peer_that_reads_no_answers_holds_some_megabytes(shop):
    with undisturbed(shop) as others:
        with running("unread_answers", port_of(shop, "product")) as reader:
            assert started(reader) > 400
            assert answers(shop, "product")
    others.memory_stayed(64)


def test_large_requests_that_wait_are_bounded_by_their_bytes(shop):
    with undisturbed(shop, slack_mib=96) as others:
        assert run("large_requests", port_of(shop, "product")) > 10_000_000
    others.memory_stayed(256)
    assert answers(shop, "product")


# --- events ---


@pytest.mark.parametrize("is_command", [False, True], ids=["messages", "commands"])
def test_long_prefixes_are_not_taken(shop, is_command):
    with undisturbed(shop) as others:
        assert run("long_prefixes", port_of(shop, "stock", events=True), is_command=is_command) == 5
        assert run("long_prefixes", port_of(shop, "stock", events=True), size=300, is_command=is_command) == 5
    others.memory_stayed(SLACK_MIB)


@pytest.mark.parametrize("is_command", [False, True], ids=["messages", "commands"])
def test_many_prefixes_of_one_peer_are_not_taken(shop, is_command):
    with undisturbed(shop) as others:
        assert run("many_prefixes", port_of(shop, "stock", events=True), is_command=is_command) > 0
    others.memory_stayed(SLACK_MIB)


def test_the_prefixes_of_all_peers_together_are_bounded(shop):
    with undisturbed(shop) as others:
        with running("prefixes_of_many", port_of(shop, "stock", events=True)) as many:
            assert 1 <= started(many) <= 40
    others.memory_stayed(SLACK_MIB)


def test_subscribing_and_unsubscribing_without_end_is_cut(shop):
    with undisturbed(shop):
        assert run("churn", port_of(shop, "stock", events=True)) > 0


def test_subscribers_that_come_and_go_do_not_hold_up_who_publishes(shop):
    waits = []
    with running("come_and_go", port_of(shop, "stock", events=True)) as crowd:
        while crowd.poll() is None:
            began = time.monotonic()
            assert answers(shop, "stock")
            waits.append(time.monotonic() - began)
        assert int(crowd.stdout.read()) > 100
    assert max(waits) < stretched(1.5), sorted(waits)[-5:]


def test_subscribers_that_read_nothing_hold_some_megabytes(shop):
    with undisturbed(shop) as others:
        with running("unread_events", port_of(shop, "stock", events=True)) as reader:
            assert started(reader) == 4
            assert shop.command("bench", "--op", "stock.take", "--product", others.product, "--seconds", "1", "--window", "64")[0] == 0
    others.memory_stayed(64)


# --- connections ---


@pytest.mark.parametrize("handshake", [False, True], ids=["before the handshake", "after it"])
def test_connections_that_say_nothing_starve_nobody(shop, handshake):
    with undisturbed(shop):
        for events, kind in ((False, "DEALER"), (True, "SUB")):
            with running("silent", port_of(shop, "stock", events), handshake=handshake, kind=kind) as crowd:
                assert started(crowd) > 300
                assert answers(shop, "stock")


@pytest.mark.parametrize("events, kind", [(False, "DEALER"), (True, "SUB")], ids=["requests", "events"])
def test_a_crowd_at_one_socket_leaves_a_place_at_the_others_when_descriptors_are_few(shop, events, kind):
    for process in shop.processes:
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (512, 512))
    with running("silent", port_of(shop, "product", events), connections=300, handshake=True, kind=kind) as crowd:
        assert started(crowd) >= 112
        for actor in ("stock", "product", "dlq"):
            assert answers(shop, actor), actor
