# SPDX-License-Identifier: MPL-2.0
"""A client of larder, written from proto/PROTOCOL.md and nothing else: requests that keep their id, and a durable subscriber.

It is here to show that the document is enough, and to test the running program with other eyes than its own.
"""

import hashlib
import os
import random
import sys
import time

import msgpack
import zmq

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))

# pylint: disable=wrong-import-position
from patience import stretched

VERSION = 1
ZERO = bytes(16)
WAIT_MS, ATTEMPT_MS = int(stretched(5000)), int(stretched(1000))

# Section 5: what may be repeated. Every other status that is not ok is final.
RETRY = {"unavailable", "overloaded", "deadline_exceeded", "db_busy", "db_lost", "db_unknown", "db_full", "db_readonly"}


def utc_ms():
    return time.time_ns() // 1_000_000


def uuid7():
    """16 bytes of RFC 9562, version 7."""
    value = bytearray(utc_ms().to_bytes(6, "big") + os.urandom(10))
    value[6] = value[6] & 0x0F | 0x70
    value[8] = value[8] & 0x3F | 0x80
    return bytes(value)


def derived(data):
    """Section 4: the id of bytes; of a step it is derived(id + step)."""
    value = bytearray(hashlib.blake2b(data, digest_size=64).digest()[:16])
    value[6] = value[6] & 0x0F | 0x80
    value[8] = value[8] & 0x3F | 0x80
    return bytes(value)


def chained(before, event_id):
    """Section 8: the chain at an event, of the chain before it and its id."""
    return derived(before + event_id)


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def shard_of(product, shards):
    return fnv1a(product.encode()) % shards


def pack(value):
    return msgpack.packb(value, use_bin_type=True)


def unpack(frame):
    return msgpack.unpackb(frame, raw=False)


class Refused(Exception):
    def __init__(self, status, problem, replayed=False):
        super().__init__(f"{status}: {problem.get('detail', '')}")
        self.status = status
        self.problem = problem
        self.detail = problem.get("detail", "")
        self.replayed = replayed


class Unknown(Exception):
    """No final answer in time: ask again with this id."""

    def __init__(self, request_id):
        super().__init__("it is not known whether it was done")
        self.request_id = request_id


class Reply:
    def __init__(self, header, body):
        self.header = header
        self.body = body
        self.status = header["status"]
        self.replayed = header.get("replayed", False)


def connect(context, kind, endpoint):
    socket = context.socket(kind)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 4)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, 2)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, 3)
    socket.setsockopt(zmq.TCP_MAXRT, 10000)
    socket.setsockopt(zmq.HANDSHAKE_IVL, 5000)
    socket.setsockopt(zmq.RECONNECT_IVL, 50)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
    if kind == zmq.DEALER:
        socket.setsockopt(zmq.IMMEDIATE, 1)
    if kind == zmq.SUB:
        socket.setsockopt(zmq.RCVHWM, 100_000)
    socket.connect(endpoint)
    return socket


class Client:
    """Requests to one actor (one shard of it)."""

    def __init__(self, endpoint, context=None):
        self.context = context or zmq.Context.instance()
        self.socket = connect(self.context, zmq.DEALER, endpoint)

    def close(self):
        self.socket.close()

    def header(self, op, request_id, again=False, timeout_ms=WAIT_MS, **more):
        header = {"v": VERSION, "id": request_id, "op": op, "deadline": utc_ms() + timeout_ms}
        if again:
            header["again"] = True
        return {**header, **more}

    def send_frames(self, frames, timeout_ms=WAIT_MS):
        """Waits for a connection, then sends."""
        if not self.socket.poll(timeout_ms, zmq.POLLOUT):
            raise TimeoutError("nobody is connected")
        self.socket.send_multipart(frames)

    def receive(self, timeout_ms=WAIT_MS):
        """The next reply, whosesoever it is."""
        if not self.socket.poll(max(timeout_ms, 0), zmq.POLLIN):
            raise TimeoutError("no reply came")
        header, body = self.socket.recv_multipart()
        return Reply(unpack(header), unpack(body))

    def once(self, header, body, timeout_ms=WAIT_MS):
        """One attempt; whatever is answered comes back as a Reply."""
        self.send_frames([header if isinstance(header, bytes) else pack(header), body if isinstance(body, bytes) else pack(body)])
        return self.receive(timeout_ms)

    def ask(self, op, body=None, request_id=None, again=False, timeout_ms=WAIT_MS, attempt_ms=ATTEMPT_MS):
        """Section 11."""
        request_id = request_id or uuid7()
        header = self.header(op, request_id, timeout_ms=timeout_ms)
        until = time.monotonic() + timeout_ms / 1000
        attempts = 0
        pause_s = 0.05
        while time.monotonic() < until:
            said_again = again or attempts > 0
            if not self.socket.poll(int((until - time.monotonic()) * 1000) + 1, zmq.POLLOUT):
                break
            self.socket.send_multipart([pack({**header, "again": said_again}), pack(body or {})])
            attempts += 1
            reply = self._final(request_id, said_again, min(until, time.monotonic() + attempt_ms / 1000))
            if reply == "later":
                time.sleep(min(pause_s * random.uniform(0.75, 1.25), max(until - time.monotonic(), 0)))
                pause_s = min(pause_s * 2, 1)
            elif reply is not None:
                return reply
        raise Unknown(request_id)

    def _final(self, request_id, said_again, until):
        """A Reply that is ok, "later", or None after silence; raises a refusal of the latest attempt."""
        while time.monotonic() < until:
            try:
                reply = self.receive(int((until - time.monotonic()) * 1000) + 1)
            except TimeoutError:
                return None
            if reply.header["id"] != request_id:
                continue
            if reply.status == "ok":
                return reply
            if reply.header.get("again", False) != said_again:
                continue
            if reply.status in RETRY:
                return "later"
            raise Refused(reply.status, reply.body, reply.replayed)
        return None

    def get(self, op, body=None, **options):
        return self.ask(op, body, **options).body


class Event:
    def __init__(self, header, body):
        self.header = header
        self.body = body
        self.seq = header["seq"]
        self.type = header["type"]
        self.key = header["key"]


class Incident(Exception):
    pass


class Tail:
    """What is published from now on, under a prefix."""

    def __init__(self, events, prefix="", context=None):
        self.events, self.prefix = events, prefix.encode()
        self.heard = None
        self.socket = connect(context or zmq.Context.instance(), zmq.SUB, events)
        self.socket.setsockopt(zmq.SUBSCRIBE, self.prefix)

    def close(self):
        self.socket.close()

    def _renew(self):
        """Section 1: a source that was heard and has then said nothing for three HEADs is connected anew. Only who hears HEAD can tell."""
        if not self.prefix and self.heard is not None and time.monotonic() - self.heard > 3.5:
            self.socket.disconnect(self.events)
            self.socket.connect(self.events)
            self.heard = time.monotonic()

    def next(self, timeout_ms=WAIT_MS):
        """(topic, Event) or None."""
        if not self.socket.poll(timeout_ms, zmq.POLLIN):
            self._renew()
            return None
        topic, header, body = self.socket.recv_multipart()
        self.heard = time.monotonic()
        return topic.decode(), Event(unpack(header), unpack(body))


class Subscriber:
    """A durable subscriber of one source, section 8. The cursor is (incarnation, position), or with the chain there as a third."""

    def __init__(self, requests, events, name, cursor=None, from_start=True, limit=1000, context=None):
        self.name = name
        self.limit = limit
        self.client = Client(requests, context)
        self.tail = Tail(events, "", context)
        self.page = []
        self.fetches = 0
        self.heard = 0  # published messages that came, HEAD included
        self.drop_published = 0  # for tests: so many published events are lost on their way
        self.head = 0
        if cursor is None:
            body = {"subscriber": name}
            if from_start:
                body["from_start"] = True
            known = self.client.get("any.subscribe", body)
            cursor = (known["incarnation"], known["position"])
            self.head = known["head"]
        self.incarnation, self.position = cursor[:2]
        self.chain = cursor[2] if len(cursor) > 2 else None
        self.confirmed = self.position
        self.in_doubt = True

    def close(self):
        self.tail.close()
        self.client.close()

    def unsubscribe(self):
        self.client.ask("any.unsubscribe", {"subscriber": self.name})

    def ack(self, position=None):
        """Everything up to here (or up to the cursor) is applied."""
        self.confirmed = self.position if position is None else position
        self._fetch(0)

    def _fetch(self, limit):
        try:
            page = self.client.get(
                "any.fetch",
                {"subscriber": self.name, "incarnation": self.incarnation, "position": self.confirmed, "limit": limit},
            )
        except Refused as refusal:
            if refusal.status in ("other_incarnation", "position_lost"):
                raise Incident(str(refusal)) from refusal
            raise
        self.fetches += 1
        if page["incarnation"] != self.incarnation:
            raise Incident("another incarnation")
        self.head = max(self.head, page["head"])
        return page

    def _see(self, event):
        """The event if it is next, else None."""
        if event.header["v"] != VERSION:
            raise Incident("another version")
        if event.header["incarnation"] != self.incarnation:
            raise Incident("another incarnation")
        self.head = max(self.head, event.seq)
        is_head = event.type == "head"
        if event.seq == self.position + (0 if is_head else 1):
            self._compare(event, is_head)
        if is_head or event.seq != self.position + 1:
            return None
        self.position, self.chain = event.seq, event.header.get("chain")
        return event

    def _compare(self, event, is_head):
        """What the source says of its past is what was given here, as far as both know it."""
        told = event.header.get("chain")
        if self.chain is not None and told is not None and told != (self.chain if is_head else chained(self.chain, event.header["id"])):
            raise Incident("another past")

    @property
    def cursor(self):
        return self.incarnation, self.position, self.chain

    def _refill(self):
        page = self._fetch(self.limit)
        self.in_doubt = False
        self.page = [Event(unpack(element["header"]), unpack(element["body"])) for element in page["events"]]

    def next(self, timeout_ms=WAIT_MS, confirm=True):
        """The next durable event in order, or None. With `confirm`, what was given before counts as applied."""
        if confirm:
            self.confirmed = self.position
        until = time.monotonic() + timeout_ms / 1000
        while True:
            while self.page:
                event = self._see(self.page.pop(0))
                if event:
                    return event
            if self.in_doubt or self.head > self.position:
                self._refill()
                continue
            left_ms = int((until - time.monotonic()) * 1000)
            published = self.tail.next(left_ms) if left_ms > 0 else None
            if published is None:
                return None
            self.heard += 1
            event = published[1]
            if event.type != "head" and event.seq == 0:
                continue
            if event.type != "head" and self.drop_published > 0:
                self.drop_published -= 1
                continue
            if event.type == "head" and event.seq < self.position:
                continue
            event = self._see(event)
            if event:
                return event
