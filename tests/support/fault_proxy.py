# SPDX-License-Identifier: MPL-2.0
"""
PURPOSE   Stands between actors, passes requests, replies and events on, and is told by a test to be the network and the machines at
          their worst: a request answered with a refusal, lost, delivered twice or long after others; a reply lost or late; an actor
          killed before a request was done or after, and its asker killed in the same two moments; a stream of events that falls
          silent, loses or doubles what it says.

STATE     A thread that owns every socket. What a test calls is handed over to it and is done when the call returns. A `Route` is one
          actor (one shard) seen from one side: a ROUTER and an XPUB where it is looked for, a DEALER and a SUB where it is. A `Fault`
          meets the first attempt of every request it is meant for; later attempts pass, but a refusal, which is final for its id.

KILLS     Who is to be killed is killed here; the test starts it again (from its main thread, as processes.py asks) and says so by
          `revive`. Until then nobody listens where it was looked for, so that askers lose their connection as they would.

LIMITS    Askers are DEALERs, without an envelope of their own. Messages of an asker whose connection was lost are lost.
"""

import collections
import heapq
import itertools
import os
import queue
import threading
import time

import msgpack
import zmq
from patience import Deadline, stretched

HWM = 100_000
POLL_MS = 1000
GATHER_S = 0.15  # how long after the first request that is met others may come before somebody is killed
LATE_S = 0.1  # behind the asker's deadline
EARLY_S = 0.05  # before it
BIND_S = 5

REFUSED = "refused"
REQUEST_LOST = "request_lost"
REPLY_LOST = "reply_lost"
TWICE = "twice"
REPLY_LATE = "reply_late"
REQUEST_LATE = "request_late"
KILLED_BEFORE = "killed_before"
KILLED_AFTER = "killed_after"
ASKER_KILLED_BEFORE = "asker_killed_before"
ASKER_KILLED_AFTER = "asker_killed_after"
KINDS = [REFUSED, REQUEST_LOST, REPLY_LOST, TWICE, REPLY_LATE, REQUEST_LATE, KILLED_BEFORE, KILLED_AFTER, ASKER_KILLED_BEFORE, ASKER_KILLED_AFTER]
KILLS = KINDS[-4:]


class Fault:
    """What becomes of the requests of one operation. `victim` is the process to kill; `wanted` is how many requests to gather before;
    a request that is kept for later is delivered `early_s` before its deadline. A victim that is every shard of its actor `is_whole`."""

    def __init__(self, kind, op, wanted=1, victim=None, status=None, chosen=None, early_s=EARLY_S, is_whole=False):
        assert kind in KINDS and (victim is not None) == (kind in KILLS)
        self.kind, self.op, self.wanted, self.victim, self.status, self.early_s = kind, op, wanted, victim, status, early_s
        self.is_whole = is_whole
        self.chosen = chosen or (lambda body: True)
        self.met = {}  # id of a request: its frames
        self.swallowed = set()  # ids whose replies are lost
        self.is_gathering = False
        self.has_killed = False
        self.is_over = False

    def deadline_ms(self, request_id):
        """Until when the asker of this request waits."""
        return msgpack.unpackb(self.met[request_id][1], raw=False)["deadline"]

    def is_met_by(self, header, body):
        if self.is_over or header["op"] != self.op or not self.chosen(body):
            return False
        return header["id"] not in self.met or self.kind == REFUSED


class Route:
    """`actor` is found where it is looked for: requests at port `front`, events at `front` + 100; it is at port `back`."""

    def __init__(self, proxy, actor, front, back, with_events):
        self.proxy, self.actor, self.front, self.back, self.with_events = proxy, actor, front, back, with_events
        self.is_deaf = self.is_mute = False
        self.lost_events = self.doubled_events = 0
        self.loses_fetches = False
        self.faces = []
        self.dealer = self._socket(zmq.DEALER)
        self.dealer.connect(f"tcp://127.0.0.1:{back}")
        self.sub = self._socket(zmq.SUB) if with_events else None
        if self.sub:
            self.sub.setsockopt(zmq.SUBSCRIBE, b"")
            self.sub.connect(f"tcp://127.0.0.1:{back + 100}")
        self.router = self.xpub = None
        self.open()

    def _socket(self, kind):
        socket = self.proxy.context.socket(kind)
        for option in (zmq.SNDHWM, zmq.RCVHWM):
            socket.setsockopt(option, HWM)
        socket.setsockopt(zmq.LINGER, 0)
        if kind in (zmq.DEALER, zmq.SUB):
            socket.setsockopt(zmq.RECONNECT_IVL, 20)
            socket.setsockopt(zmq.RECONNECT_IVL_MAX, 100)
        if kind == zmq.DEALER:
            socket.setsockopt(zmq.IMMEDIATE, 1)
        return socket

    def _bound(self, kind, port):
        deadline = Deadline(BIND_S)
        while True:
            socket = self._socket(kind)
            try:
                socket.bind(f"tcp://127.0.0.1:{port}")
                return socket
            except zmq.ZMQError:
                socket.close()
                assert not deadline.has_passed(), f"port {port} does not get free"
                time.sleep(0.005)

    def open(self):
        if self.router is None:
            self.router = self._bound(zmq.ROUTER, self.front)
            self.xpub = self._bound(zmq.XPUB, self.front + 100) if self.with_events else None

    def close_front(self):
        for socket in (self.router, self.xpub):
            if socket:
                socket.close()
        self.router = self.xpub = None

    def close(self):
        self.close_front()
        self.dealer.close()
        if self.sub:
            self.sub.close()

    # --- messages ---

    def forward(self, frames):
        """A request as it came from the asker: [asker, header, body]. An actor that is not there takes nothing."""
        asker, header, body = frames
        try:
            self.dealer.send_multipart([asker, b"", header, body], zmq.DONTWAIT)
        except zmq.ZMQError:
            pass

    def answer(self, asker, header, body):
        if self.router:
            self.router.send_multipart([asker, header, body])

    def refuse(self, frames, header, status):
        reply = {"v": 1, "id": header["id"], "status": status}
        if header.get("again"):
            reply["again"] = True
        detail = {"detail": f"{header['op']}: the test says no"}
        self.answer(frames[0], msgpack.packb(reply, use_bin_type=True), msgpack.packb(detail, use_bin_type=True))

    def take_requests(self):
        while self.router:
            try:
                frames = self.router.recv_multipart(zmq.DONTWAIT)
            except zmq.ZMQError:
                return
            if len(frames) == 3 and not self.is_deaf:
                self.proxy.meet_request(self, frames, msgpack.unpackb(frames[1], raw=False), msgpack.unpackb(frames[2], raw=False))

    def take_replies(self):
        while True:
            try:
                asker, _, header, body = self.dealer.recv_multipart(zmq.DONTWAIT)
            except zmq.ZMQError:
                return
            if not self.is_deaf:
                self.proxy.meet_reply(self, (asker, header, body), msgpack.unpackb(header, raw=False))

    def take_events(self):
        while self.sub:
            try:
                frames = self.sub.recv_multipart(zmq.DONTWAIT)
            except zmq.ZMQError:
                return
            if self.xpub is None or self.is_mute:
                continue
            is_durable = msgpack.unpackb(frames[1], raw=False)["seq"] > 0 and not frames[0].startswith(f"{self.actor}.head".encode())
            if is_durable and self.lost_events > 0:
                self.lost_events -= 1
                continue
            self.xpub.send_multipart(frames)
            if is_durable and self.doubled_events > 0:
                self.doubled_events -= 1
                self.xpub.send_multipart(frames)

    def take_subscriptions(self):
        while self.xpub:
            try:
                self.xpub.recv(zmq.DONTWAIT)
            except zmq.ZMQError:
                return


class FaultProxy:
    def __init__(self):
        self.context = zmq.Context()
        self.routes = []
        self.faults = []
        self.killed = set()  # processes that wait to be started again
        self.passed = collections.Counter()  # requests by op, as they came
        self.timers, self.order_of_timers = [], itertools.count()
        self.calls = queue.SimpleQueue()
        self.bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.error = None
        self.is_ending = False
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    # --- what a test says ---

    def route(self, actor, front, back, with_events=True):
        return self._do(lambda: self.routes.append(Route(self, actor, front, back, with_events)) or self.routes[-1])

    def arm(self, *args, **options):
        fault = Fault(*args, **options)
        self._do(lambda: self.faults.append(fault))
        return fault

    def disarm(self):
        """No fault any more; requests that are held for later are delivered at their time."""
        def change():
            for fault in self.faults:
                fault.is_over = True
            self.faults.clear()
            for route in self.routes:
                route.is_deaf = route.is_mute = route.loses_fetches = False
                route.lost_events = route.doubled_events = 0
        self._do(change)

    def silence(self, actor, is_silent=True):
        """Nothing that the actor says of its own accord is heard: neither events nor pages of them."""
        def change():
            for route in self.of(actor):
                route.is_mute = route.loses_fetches = is_silent
        self._do(change)

    def cut(self, actor, is_cut=True, shard=None):
        """Nothing passes, in either direction. Connections stay."""
        def change():
            for route in self.of(actor, shard):
                route.is_deaf = route.is_mute = is_cut
        self._do(change)

    def lose_events(self, actor, count):
        """The next durable events are lost on their way; the actor still has them for who fetches."""
        self._do(lambda: [setattr(route, "lost_events", count) for route in self.of(actor)])

    def double_events(self, actor, count):
        self._do(lambda: [setattr(route, "doubled_events", count) for route in self.of(actor)])

    def leave(self, actor, shard=None):
        """Nobody listens any more where the actor is looked for."""
        self._do(lambda: [route.close_front() for route in self.of(actor, shard)])

    def revive(self, actor, shard=None):
        """The actor is there again."""
        def change():
            for route in self.of(actor, shard):
                assert route.dealer.poll(int(stretched(BIND_S * 1000)), zmq.POLLOUT), f"{actor} is not there"
                route.open()
        self._do(change)

    def take_killed(self):
        """Who was killed and is to be started again."""
        def change():
            killed, self.killed = self.killed, set()
            return killed
        return self._do(change)

    def of(self, actor, shard=None):
        routes = [route for route in self.routes if route.actor == actor]
        return routes if shard is None else [routes[shard]]

    def close(self):
        self.is_ending = True
        os.eventfd_write(self.bell, 1)
        self.thread.join(stretched(10))
        self.context.destroy(linger=0)
        os.close(self.bell)

    # --- in the thread ---

    def _do(self, what):
        assert self.error is None, f"the proxy ended: {self.error!r}"
        answers = queue.SimpleQueue()
        self.calls.put((what, answers))
        os.eventfd_write(self.bell, 1)
        return answers.get(timeout=stretched(10))

    def _run(self):
        try:
            while not self.is_ending:
                self._turn()
        except Exception as error:  # pylint: disable=broad-except
            self.error = error
        for route in self.routes:
            route.close()

    def _turn(self):
        poller = zmq.Poller()
        poller.register(self.bell, zmq.POLLIN)
        for route in self.routes:
            for socket in (route.router, route.xpub, route.dealer, route.sub):
                if socket:
                    poller.register(socket, zmq.POLLIN)
        wait_ms = POLL_MS if not self.timers else max(0, min(POLL_MS, int((self.timers[0][0] - time.monotonic()) * 1000) + 1))
        if dict(poller.poll(wait_ms)).get(self.bell):
            os.eventfd_read(self.bell)
        while not self.calls.empty():
            what, answers = self.calls.get()
            answers.put(what())
        for route in self.routes:
            route.take_replies()
            route.take_events()
            route.take_requests()
            route.take_subscriptions()
        while self.timers and self.timers[0][0] <= time.monotonic():
            heapq.heappop(self.timers)[2]()

    def _later(self, delay_s, what):
        heapq.heappush(self.timers, (time.monotonic() + max(delay_s, 0), next(self.order_of_timers), what))

    def meet_request(self, route, frames, header, body):
        self.passed[header["op"]] += 1
        if header["op"] == "any.fetch" and route.loses_fetches:
            return
        fault = next((fault for fault in self.faults if fault.is_met_by(header, body)), None)
        if fault is None:
            route.forward(frames)
            return
        fault.met[header["id"]] = frames
        getattr(self, f"_request_{fault.kind}")(fault, route, frames, header)

    def meet_reply(self, route, frames, header):
        fault = next((fault for fault in self.faults if not fault.is_over and header["id"] in fault.met), None)
        meet = getattr(self, f"_reply_{fault.kind}", None) if fault else None
        if meet:
            meet(fault, route, frames, header)
        else:
            route.answer(*frames)

    def _until_deadline_s(self, fault, request_id):
        return fault.deadline_ms(request_id) / 1000 - time.time()

    # --- each fault: what becomes of the request, and of the reply where it has a fate of its own ---

    def _request_refused(self, fault, route, frames, header):
        route.refuse(frames, header, fault.status)

    def _request_request_lost(self, fault, route, frames, header):
        pass

    def _request_reply_lost(self, fault, route, frames, header):
        route.forward(frames)

    def _reply_reply_lost(self, fault, route, frames, header):
        if header["id"] in fault.swallowed:
            route.answer(*frames)
        fault.swallowed.add(header["id"])

    def _request_twice(self, fault, route, frames, header):
        route.forward(frames)
        route.forward(frames)

    def _request_reply_late(self, fault, route, frames, header):
        route.forward(frames)

    def _reply_reply_late(self, fault, route, frames, header):
        if header["id"] in fault.swallowed:
            route.answer(*frames)
            return
        fault.swallowed.add(header["id"])
        self._later(self._until_deadline_s(fault, header["id"]) + LATE_S, lambda: route.answer(*frames))

    def _request_request_late(self, fault, route, frames, header):
        """It comes at the last moment at which it may still be done."""
        self._later(self._until_deadline_s(fault, header["id"]) - fault.early_s, lambda: route.forward(frames))

    def _request_killed_before(self, fault, route, frames, header):
        if not fault.is_gathering:
            fault.victim.freeze()
        route.forward(frames)
        self._gather(fault, len(fault.met), lambda: self._kill(fault, route))

    def _request_killed_after(self, fault, route, frames, header):
        route.forward(frames)

    def _reply_killed_after(self, fault, route, frames, header):
        fault.swallowed.add(header["id"])
        self._gather(fault, len(fault.swallowed), lambda: self._kill(fault, route))

    def _request_asker_killed_before(self, fault, route, frames, header):
        """What it had asked comes long after it has asked again."""
        self._request_request_late(fault, route, frames, header)
        self._gather(fault, len(fault.met), lambda: self._kill(fault, None))

    def _request_asker_killed_after(self, fault, route, frames, header):
        route.forward(frames)

    def _reply_asker_killed_after(self, fault, route, frames, header):
        fault.swallowed.add(header["id"])
        self._gather(fault, len(fault.swallowed), lambda: self._kill(fault, None))

    def _gather(self, fault, count, kill):
        """Kills when as many as wanted have come, or some time after the first."""
        if count >= fault.wanted:
            self._later(0, kill)
        elif not fault.is_gathering:
            self._later(GATHER_S, kill)
        fault.is_gathering = True

    def _kill(self, fault, route):
        if fault.is_over:
            return
        fault.is_over = fault.has_killed = True
        self.faults.remove(fault)
        fault.victim.kill9()
        self.killed.add(fault.victim)
        if route:
            for left in self.of(route.actor) if fault.is_whole else [route]:
                left.close_front()
