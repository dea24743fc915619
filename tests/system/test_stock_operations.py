# SPDX-License-Identifier: MPL-2.0
"""Every operation of the stock actor: what it answers, refuses, replays to the byte, and keeps over a kill; proved by `verify`."""

import time
import uuid

import pytest
import zmq
from larder_client import pack, unpack, utc_ms
from processes import wait_until


class Client:
    """Requests to one shard of stock, each once."""

    def __init__(self, endpoint):
        self.raw, self.header = b"", {}
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.connect(endpoint)

    def send(self, op, body, request_id=None, again=False):
        request_id = request_id or uuid.uuid4().bytes
        header = {"v": 1, "id": request_id, "op": op, "deadline": utc_ms() + 10000}
        self.socket.send_multipart([pack({**header, "again": True} if again else header), pack(body)])
        return request_id

    def receive(self):
        assert self.socket.poll(10000), "no answer"
        header, body = self.socket.recv_multipart()
        return unpack(header), body

    def call(self, op, body, request_id=None, again=False):
        self.send(op, body, request_id, again)
        self.header, self.raw = self.receive()
        return self.header["status"], unpack(self.raw)

    def ok(self, op, body, request_id=None, again=False):
        status, reply = self.call(op, body, request_id, again)
        assert status == "ok", (op, body, status, reply)
        return reply

    def no(self, expected, op, body, request_id=None, again=False):
        status, reply = self.call(op, body, request_id, again)
        assert status == expected, (op, body, status, reply)
        return reply


@pytest.fixture
def shop(make_shop, database):
    made = make_shop(database, alarm_repeat_ms=600, hold_ttl_ms=60000, lead_time_ms=300)
    made.stock = made.actor("stock")
    yield made
    if not any("factory" in process.arguments for process in made.processes):
        made.actor("factory")
    made.verify()


@pytest.fixture
def stock(shop):
    return Client(shop.endpoint("stock"))


def lines(*pairs):
    return [{"product": p, "quantity": q} for p, q in pairs]


def test_a_sale_is_done_once_and_replayed_to_the_byte(shop, stock):
    stock.no("unknown_product", "stock.take", {"lines": lines(("donut", 1))})
    level = stock.ok("stock.adjust", {"product": "donut", "delta": 3, "reason": "new"})["levels"][0]
    assert level == {"product": "donut", "on_hand": 3, "reserved": 0, "available": 3, "incoming": 0, "version": 1}
    again = stock.send("stock.take", {"lines": lines(("donut", 1), ("donut", 1)), "reference": "r"})
    _, first = stock.receive()
    assert unpack(first)["levels"] == [{"product": "donut", "on_hand": 1, "reserved": 0, "available": 1, "incoming": 0, "version": 2}]
    stock.ok("stock.take", {"lines": lines(("donut", 1))})
    for attempt in (True, False):
        if not attempt:
            stock.ok("stock.adjust", {"product": "donut", "delta": 5})
        stock.ok("stock.take", {"lines": lines(("donut", 1), ("donut", 1)), "reference": "r"}, request_id=again, again=attempt)
        assert stock.raw == first and stock.header.get("replayed") is True
    stock.no("idempotency_mismatch", "stock.take", {"lines": lines(("donut", 2))}, request_id=again, again=True)
    stock.ok("stock.take", {"lines": lines(("donut", 5))})
    problem = stock.no("out_of_stock", "stock.take", {"lines": lines(("donut", 1))})
    assert (problem["product"], problem["asked"], problem["available"]) == ("donut", 1, 0), problem
    rows = shop.sql("SELECT COUNT(*) FROM $move")[0][0]
    for _ in range(5):
        stock.no("out_of_stock", "stock.take", {"lines": lines(("donut", 7))})
    assert shop.sql("SELECT COUNT(*) FROM $move")[0][0] == rows
    level = stock.ok("stock.get", {"product": "donut"})
    assert level["on_hand"] == 0 and level["reorder_at"] == 0 and level["lot"] == 1


def test_a_refusal_of_who_asked_before_is_final(shop, stock):
    stock.ok("stock.adjust", {"product": "donut", "delta": 3})
    request_id = stock.send("stock.take", {"lines": lines(("donut", 5))}, again=True)
    header, refused = stock.receive()
    assert header["status"] == "out_of_stock"
    stock.ok("stock.adjust", {"product": "donut", "delta": 3})
    for again in (False, True, False):
        stock.no("out_of_stock", "stock.take", {"lines": lines(("donut", 5))}, request_id=request_id, again=again)
        assert stock.raw == refused
    stock.no("idempotency_mismatch", "stock.take", {"lines": lines(("donut", 1))}, request_id=request_id)
    stock.no("unknown_product", "stock.take", {"lines": lines(("nothing", 5))}, again=True)
    assert stock.ok("stock.get", {"product": "donut"})["on_hand"] == 6


def test_lines_are_sold_all_or_none(shop, stock):
    for p in "abc":
        stock.ok("stock.adjust", {"product": p, "delta": 5})
    stock.no("out_of_stock", "stock.take", {"lines": lines(("a", 1), ("b", 6), ("c", 1))})
    stock.no("unknown_product", "stock.take", {"lines": lines(("a", 1), ("d", 6), ("c", 1))})
    stock.no("out_of_stock", "stock.take", {"lines": lines(("a", 3), ("b", 1), ("a", 3))})
    done = stock.ok("stock.take", {"lines": lines(("c", 3), ("a", 1), ("c", 2))})
    assert [(level["product"], level["on_hand"]) for level in done["levels"]] == [("c", 0), ("a", 4)]
    page = stock.ok("stock.list", {"limit": 2})
    assert [level["product"] for level in page["levels"]] == ["a", "b"] and page["has_more"] is True
    page = stock.ok("stock.list", {"limit": 2, "after": "b"})
    assert [level["product"] for level in page["levels"]] == ["c"] and page["has_more"] is False


def test_names_are_kept_to_the_letter(shop, stock):
    for i, p in enumerate(("donut", "Donut", "007", "7", "1e3", "1000")):
        stock.ok("stock.adjust", {"product": p, "delta": i + 1})
    shop.stock.kill9()
    shop.actor("stock")
    for i, p in enumerate(("donut", "Donut", "007", "7", "1e3", "1000")):
        assert stock.ok("stock.get", {"product": p})["on_hand"] == i + 1


def test_the_shelf_is_adjusted_counted_and_configured(shop, stock):
    stock.no("invalid_field", "stock.adjust", {"product": "x", "delta": 0})
    stock.no("would_go_negative", "stock.adjust", {"product": "x", "delta": -1})
    stock.no("unknown_product", "stock.get", {"product": "x"})
    stock.no("version_conflict", "stock.count", {"product": "x", "counted": 5, "version": 1})
    assert stock.ok("stock.count", {"product": "x", "counted": 5, "version": 0, "reason": "first"})["levels"][0]["version"] == 1
    problem = stock.no("version_conflict", "stock.count", {"product": "x", "counted": 5, "version": 0})
    assert problem["version"] == 1
    stock.ok("stock.count", {"product": "x", "counted": 10 ** 15})
    stock.no("would_overflow", "stock.adjust", {"product": "x", "delta": 1})
    hold = stock.ok("stock.reserve", {"lines": lines(("x", 7))})["hold"]
    stock.no("would_go_negative", "stock.count", {"product": "x", "counted": 6})
    stock.ok("stock.count", {"product": "x", "counted": 7})
    stock.no("would_go_negative", "stock.adjust", {"product": "x", "delta": -1})
    stock.ok("stock.release", {"hold": hold})
    request_id = stock.send("stock.configure", {"product": "x", "reorder_at": 3, "lot": 6})
    _, first = stock.receive()
    assert unpack(first)["levels"][0]["lot"] == 6
    stock.ok("stock.configure", {"product": "x", "order_up_to": 20})
    level = stock.ok("stock.get", {"product": "x"})
    assert (level["reorder_at"], level["order_up_to"], level["lot"]) == (3, 20, 6)
    stock.ok("stock.configure", {"product": "x", "reorder_at": 3, "lot": 6}, request_id=request_id, again=True)
    assert stock.raw == first


def test_holds_are_made_replaced_moved_and_closed_once(shop, stock):
    for p in "ab":
        stock.ok("stock.adjust", {"product": p, "delta": 10})
    held = uuid.uuid4().bytes
    done = stock.ok("stock.reserve", {"lines": lines(("a", 4), ("b", 2)), "ttl_ms": 60000, "reference": "cart"}, request_id=held)
    first = stock.raw
    assert done["hold"] == held and [(level["reserved"], level["available"]) for level in done["levels"]] == [(4, 6), (2, 8)]
    page = stock.ok("stock.holds", {"product": "a"})
    assert page["holds"] == [{"hold": held, "product": "a", "quantity": 4, "expires": done["expires"], "reference": "cart"}]
    longer = stock.ok("stock.extend", {"hold": held, "ttl_ms": 120000})
    assert longer["expires"] > done["expires"]
    replaced = uuid.uuid4().bytes
    stock.no("out_of_stock", "stock.reserve", {"lines": lines(("a", 11)), "replaces": held})
    done = stock.ok("stock.reserve", {"lines": lines(("a", 10)), "replaces": held}, request_id=replaced)
    raw = stock.raw
    assert [(level["product"], level["reserved"]) for level in done["levels"]] == [("a", 10)]
    stock.ok("stock.reserve", {"lines": lines(("a", 10)), "replaces": held}, request_id=replaced, again=True)
    assert stock.raw == raw
    assert stock.ok("stock.get", {"product": "b"})["reserved"] == 0
    stock.ok("stock.reserve", {"lines": lines(("a", 4), ("b", 2)), "ttl_ms": 60000, "reference": "cart"}, request_id=held, again=True)
    assert stock.raw == first
    stock.no("hold_closed", "stock.commit", {"hold": held})
    stock.no("hold_closed", "stock.extend", {"hold": held, "ttl_ms": 5})
    assert stock.ok("stock.release", {"hold": held}) == {"levels": [], "hold": held}
    commit = uuid.uuid4().bytes
    done = stock.ok("stock.commit", {"hold": replaced, "reference": "paid"}, request_id=commit)
    raw = stock.raw
    assert [(level["on_hand"], level["reserved"]) for level in done["levels"]] == [(0, 0)]
    stock.ok("stock.commit", {"hold": replaced, "reference": "paid"}, request_id=commit, again=True)
    assert stock.raw == raw
    stock.no("hold_closed", "stock.commit", {"hold": replaced})
    stock.no("hold_closed", "stock.release", {"hold": replaced})
    stock.no("hold_closed", "stock.reserve", {"lines": lines(("b", 1)), "replaces": replaced})
    stock.no("unknown_hold", "stock.commit", {"hold": uuid.uuid4().bytes})
    stock.no("unknown_hold", "stock.extend", {"hold": uuid.uuid4().bytes, "ttl_ms": 9})
    assert stock.ok("stock.holds", {"product": "a"})["holds"] == []
    assert shop.sql("SELECT COUNT(*) FROM $due WHERE owner = 'hold'")[0][0] == 0


def test_a_committed_hold_is_returned_once(shop, stock):
    for p in "ab":
        stock.ok("stock.adjust", {"product": p, "delta": 10})
    hold = stock.ok("stock.reserve", {"lines": lines(("a", 4), ("b", 10))})["hold"]
    problem = stock.no("hold_closed", "stock.return", {"hold": hold})
    assert "is open" in problem["detail"], problem
    stock.no("unknown_hold", "stock.return", {"hold": uuid.uuid4().bytes})
    stock.ok("stock.commit", {"hold": hold})
    request_id = uuid.uuid4().bytes
    body = {"hold": hold, "product": "a", "reference": "the customer left"}
    done = stock.ok("stock.return", body, request_id=request_id)
    raw = stock.raw
    assert [(level["product"], level["on_hand"], level["reserved"]) for level in done["levels"]] == [("a", 10, 0), ("b", 10, 0)]
    assert done["hold"] == hold and "expires" not in done
    stock.ok("stock.take", {"lines": lines(("a", 1))})
    for again in (True, False):
        stock.ok("stock.return", body, request_id=request_id, again=again)
        assert stock.raw == raw and stock.header.get("replayed") is True
    stock.no("idempotency_mismatch", "stock.return", {"hold": hold}, request_id=request_id, again=True)
    other = uuid.uuid4().bytes
    for again in (False, True):
        assert stock.ok("stock.return", {"hold": hold}, request_id=other, again=again) == {"levels": [], "hold": hold}
    assert stock.ok("stock.hold", {"hold": hold})["state"] == "returned"
    assert stock.ok("stock.get", {"product": "a"})["on_hand"] == 9
    stock.no("hold_closed", "stock.commit", {"hold": hold})
    stock.no("hold_closed", "stock.extend", {"hold": hold, "ttl_ms": 9})
    stock.no("hold_closed", "stock.release", {"hold": hold})
    moves = stock.ok("stock.moves", {"product": "b"})["moves"]
    assert [(move["kind"], move["delta"], move["reserved_delta"]) for move in moves[:2]] == [("return", 10, 0), ("commit", -10, -10)]
    assert moves[0]["hold"] == hold and moves[0]["reference"] == "the customer left"


def test_what_was_not_sold_is_not_returned(shop, stock):
    stock.ok("stock.adjust", {"product": "a", "delta": 10})
    released = stock.ok("stock.reserve", {"lines": lines(("a", 1))})["hold"]
    stock.ok("stock.release", {"hold": released})
    expired = stock.ok("stock.reserve", {"lines": lines(("a", 1)), "ttl_ms": 1000})["hold"]
    wait_until(lambda: stock.ok("stock.hold", {"hold": expired})["state"] == "expired", what="the hold ends")
    early = uuid.uuid4().bytes
    stock.ok("stock.release", {"hold": early})
    for hold in (released, expired, early):
        request_id = uuid.uuid4().bytes
        for again in (True, False):
            stock.no("hold_closed", "stock.return", {"hold": hold}, request_id=request_id, again=again)
    assert stock.ok("stock.get", {"product": "a"})["on_hand"] == 10


def test_a_return_that_the_shelf_cannot_hold_changes_nothing(shop, stock):
    for p in "ab":
        stock.ok("stock.adjust", {"product": p, "delta": 5})
    hold = stock.ok("stock.reserve", {"lines": lines(("a", 2), ("b", 3))})["hold"]
    stock.ok("stock.commit", {"hold": hold})
    stock.ok("stock.count", {"product": "b", "counted": 10 ** 15 - 2})
    problem = stock.no("would_overflow", "stock.return", {"hold": hold})
    assert problem["product"] == "b", problem
    assert stock.ok("stock.get", {"product": "a"})["on_hand"] == 3
    assert stock.ok("stock.hold", {"hold": hold})["state"] == "committed"
    stock.ok("stock.count", {"product": "b", "counted": 10 ** 15 - 3})
    assert [level["on_hand"] for level in stock.ok("stock.return", {"hold": hold})["levels"]] == [5, 10 ** 15]


def test_returns_of_one_batch_count_once_and_outlive_a_kill(shop, stock):
    stock.ok("stock.adjust", {"product": "a", "delta": 2})
    hold = stock.ok("stock.reserve", {"lines": lines(("a", 2))})["hold"]
    stock.ok("stock.commit", {"hold": hold})
    shop.stock.kill9()
    shop.stock = shop.actor("stock")
    stock.ok("any.ping", {})
    shop.stock.freeze()
    for _ in range(3):
        stock.send("stock.return", {"hold": hold})
    stock.send("stock.take", {"lines": lines(("a", 2))})
    shop.stock.thaw()
    answers = [stock.receive() for _ in range(4)]
    assert [header["status"] for header, _ in answers] == ["ok"] * 4
    assert [len(unpack(body)["levels"]) for _, body in answers] == [1, 0, 0, 1]
    shop.stock.kill9()
    shop.stock = shop.actor("stock")
    assert stock.ok("stock.get", {"product": "a"})["on_hand"] == 0
    assert stock.ok("stock.hold", {"hold": hold})["state"] == "returned"


def test_the_largest_requests_are_whole(shop, stock):
    old, new = (lines(*((f"{side}-{number}", 2) for number in range(1000))) for side in ("old", "new"))
    for line in old + new:
        stock.send("stock.adjust", {"product": line["product"], "delta": 2})
    for _ in old + new:
        assert stock.receive()[0]["status"] == "ok"
    held = stock.ok("stock.reserve", {"lines": old})["hold"]
    done = stock.ok("stock.reserve", {"lines": new, "replaces": held})
    first = stock.raw
    assert [level["product"] for level in done["levels"]] == [line["product"] for line in new]
    assert stock.ok("stock.get", {"product": "old-999"})["reserved"] == 0
    stock.ok("stock.reserve", {"lines": new, "replaces": held}, request_id=done["hold"], again=True)
    assert stock.raw == first
    stock.no("out_of_stock", "stock.take", {"lines": old[1:] + new[999:]})
    assert len(stock.ok("stock.commit", {"hold": done["hold"]})["levels"]) == 1000
    assert len(stock.ok("stock.return", {"hold": done["hold"]})["levels"]) == 1000
    assert len(stock.ok("stock.take", {"lines": old})["levels"]) == 1000


def test_holds_are_paged_in_the_order_they_were_made(shop, stock):
    stock.ok("stock.adjust", {"product": "a", "delta": 10})
    ids = [stock.ok("stock.reserve", {"lines": lines(("a", 1))})["hold"] for _ in range(5)]
    stock.ok("stock.release", {"hold": ids[2]})
    page = stock.ok("stock.holds", {"product": "a", "limit": 2})
    assert [hold["hold"] for hold in page["holds"]] == ids[:2] and page["has_more"]
    page = stock.ok("stock.holds", {"product": "a", "limit": 2, "after": ids[2]})
    assert [hold["hold"] for hold in page["holds"]] == ids[3:] and not page["has_more"]
    stock.no("unknown_hold", "stock.holds", {"product": "a", "after": uuid.uuid4().bytes})
    stock.no("unknown_product", "stock.holds", {"product": "b"})


def test_a_reserve_that_comes_behind_its_release_is_refused(shop, stock):
    stock.ok("stock.adjust", {"product": "a", "delta": 10})
    for again in (False, True):
        hold = uuid.uuid4().bytes
        release = uuid.uuid4().bytes
        assert stock.ok("stock.release", {"hold": hold, "product": "a"}, request_id=release) == {"levels": [], "hold": hold}
        assert stock.ok("stock.release", {"hold": hold, "product": "a"}, request_id=release, again=True) == {"levels": [], "hold": hold}
        stock.ok("stock.release", {"hold": hold})
        stock.no("hold_closed", "stock.reserve", {"lines": lines(("a", 1))}, request_id=hold, again=again)
        stock.no("hold_closed", "stock.reserve", {"lines": lines(("a", 1))}, request_id=hold, again=not again)
    replaced = uuid.uuid4().bytes
    stock.ok("stock.reserve", {"lines": lines(("a", 1)), "replaces": replaced})
    stock.no("hold_closed", "stock.reserve", {"lines": lines(("a", 1))}, request_id=replaced)
    assert stock.ok("stock.get", {"product": "a"})["reserved"] == 1


def test_a_batch_sees_its_own_holds_and_products(shop, stock):
    stock.ok("stock.adjust", {"product": "a", "delta": 10})
    shop.stock.freeze()
    hold, other, early = (uuid.uuid4().bytes for _ in range(3))
    stock.send("stock.reserve", {"lines": lines(("a", 4))}, request_id=hold)
    stock.send("stock.extend", {"hold": hold, "ttl_ms": 5000})
    stock.send("stock.reserve", {"lines": lines(("a", 10)), "replaces": hold}, request_id=other)
    stock.send("stock.take", {"lines": lines(("a", 1))})
    stock.send("stock.commit", {"hold": other})
    stock.send("stock.release", {"hold": hold})
    stock.send("stock.release", {"hold": early})
    stock.send("stock.reserve", {"lines": lines(("a", 1))}, request_id=early)
    stock.send("stock.adjust", {"product": "new", "delta": 2})
    stock.send("stock.take", {"lines": lines(("new", 2))})
    stock.send("stock.get", {"product": "new"})
    shop.stock.thaw()
    answers = [stock.receive() for _ in range(11)]
    statuses = [header["status"] for header, _ in answers]
    assert statuses == ["ok"] * 3 + ["out_of_stock"] + ["ok"] * 3 + ["hold_closed"] + ["ok"] * 3
    assert unpack(answers[10][1])["version"] == 2
    assert stock.ok("stock.get", {"product": "a"})["on_hand"] == 0


def test_holds_end_by_themselves_also_over_a_kill(shop, stock):
    stock.ok("stock.adjust", {"product": "a", "delta": 10})
    hold = stock.ok("stock.reserve", {"lines": lines(("a", 10)), "ttl_ms": 300})["hold"]
    stock.ok("stock.adjust", {"product": "b", "delta": 1})
    longer = stock.ok("stock.reserve", {"lines": lines(("b", 1)), "ttl_ms": 5000})["hold"]
    stock.ok("stock.extend", {"hold": longer, "ttl_ms": 60000})
    shop.stock.kill9()
    shop.stock = shop.actor("stock")
    wait_until(lambda: stock.ok("stock.get", {"product": "a"})["reserved"] == 0, 5)
    assert stock.ok("stock.get", {"product": "b"})["reserved"] == 1
    stock.no("hold_expired", "stock.commit", {"hold": hold})
    stock.no("hold_expired", "stock.extend", {"hold": hold, "ttl_ms": 10})
    assert stock.ok("stock.release", {"hold": hold})["levels"] == []
    kinds = [move["kind"] for move in stock.ok("stock.moves", {"product": "a"})["moves"]]
    assert kinds == ["expire", "reserve", "adjust"], kinds


def test_the_ledger_is_paged_from_anywhere(shop, stock):
    stock.ok("stock.adjust", {"product": "a", "delta": 5000})
    stock.ok("stock.adjust", {"product": "b", "delta": 5000})
    count = 2100
    for _ in range(0, count, 300):
        for number in range(300):
            stock.send("stock.take", {"lines": lines(("a", 1)) if number % 3 else lines(("a", 1), ("b", 1))})
        for _ in range(300):
            assert stock.receive()[0]["status"] == "ok"
    versions, before = [], {}
    while True:
        page = stock.ok("stock.moves", {"product": "a", "limit": 1000, **before})
        versions += [move["version"] for move in page["moves"]]
        before = {"before": versions[-1]}
        if not page["has_more"]:
            break
    assert versions == list(range(count + 1, 0, -1))
    for first in (1, 2, 255, 256, 257, 258, 512, 513, 700, 2048, 2049, 2101, 2102, 99999):
        page = stock.ok("stock.moves", {"product": "a", "limit": 3, "before": first})
        top = min(first - 1, count + 1)
        assert [move["version"] for move in page["moves"]] == [v for v in (top, top - 1, top - 2) if v > 0]
        assert page["has_more"] == (top > 3)
    assert len(stock.ok("stock.moves", {"product": "a"})["moves"]) == 100
    move = stock.ok("stock.moves", {"product": "b", "limit": 1})["moves"][0]
    assert move["kind"] == "take" and move["delta"] == -1 and "hold" not in move
    stock.no("unknown_product", "stock.moves", {"product": "c"})


@pytest.fixture
def alarms(shop, stock):
    """alarms(n): the first n durable events, as (topic, body)."""
    socket = zmq.Context.instance().socket(zmq.SUB)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SUBSCRIBE, b"stock.")
    socket.connect(f"tcp://127.0.0.1:{shop.base_port + 106}")

    def stands():
        stock.ok("stock.adjust", {"product": "probe", "delta": 1})
        return socket.poll(20)
    wait_until(stands, 5, "the subscription")
    seen = []

    def first(count):
        while len(seen) < count:
            assert socket.poll(5000), f"only {seen}"
            topic, _, body = socket.recv_multipart()
            if topic.startswith((b"stock.low.", b"stock.out.", b"stock.restocked.")):
                seen.append((topic.decode(), unpack(body)))
        return seen
    yield first
    socket.close()


def test_a_shelf_calls_once_for_each_rise_and_again_later(shop, stock, alarms):
    stock.ok("stock.adjust", {"product": "donut", "delta": 10})
    stock.ok("stock.configure", {"product": "donut", "reorder_at": 2, "order_up_to": 10, "lot": 5})
    stock.no("out_of_stock", "stock.take", {"lines": lines(("donut", 50))})
    stock.no("out_of_stock", "stock.take", {"lines": lines(("donut", 60))})
    began = time.monotonic()
    stock.ok("stock.take", {"lines": lines(("donut", 10))})
    (refused_topic, refused), (out_topic, out), (again_topic, again) = alarms(3)
    assert time.monotonic() - began > 0.5, "it was raised again at once"
    assert refused_topic == out_topic == again_topic == "stock.out.donut"
    assert (refused["available"], refused["refused"], refused["lot"], refused["reorder_at"]) == (10, 50, 5, 2)
    assert (out["available"], out["refused"]) == (0, 50)
    assert again == out
    stock.ok("stock.adjust", {"product": "donut", "delta": 1000})
    wait_until(lambda: alarms(len(alarms(0)) + 1)[-1][0] == "stock.restocked.donut", 5)
    shop.stock.kill9()
    shop.stock = shop.actor("stock")
    stock.ok("stock.take", {"lines": lines(("donut", 999))})


def test_a_refill_is_expected_and_counted(shop, stock):
    shop.actor("factory")
    stock.ok("stock.adjust", {"product": "donut", "delta": 3})
    stock.ok("stock.configure", {"product": "donut", "order_up_to": 10})
    stock.ok("stock.take", {"lines": lines(("donut", 3))})
    wait_until(lambda: shop.sql("SELECT COUNT(*) FROM $production") == [(1,)], 5, "the order is known")
    wait_until(lambda: stock.ok("stock.get", {"product": "donut"})["on_hand"] == 10, 5)
    level = stock.ok("stock.get", {"product": "donut"})
    assert level["incoming"] == 0
    moves = stock.ok("stock.moves", {"product": "donut"})["moves"]
    assert [move["kind"] for move in moves] == ["refill", "take", "configure", "adjust"]


def test_products_lie_on_one_shard_each(make_shop, database):
    shop = make_shop(database, shards=3)
    for shard in range(3):
        shop.actor("stock", "--shard", str(shard))
    shop.actor("factory")
    clients = [Client(shop.endpoint("stock", shard)) for shard in range(3)]
    home = {}
    for product in (f"p-{number}" for number in range(30)):
        for shard, client in enumerate(clients):
            status, _ = client.call("stock.adjust", {"product": product, "delta": 5})
            assert status == "ok" and product not in home or status == "wrong_shard"
            if status == "ok":
                home[product] = shard
    assert len(home) == 30 and set(home.values()) == {0, 1, 2}
    here, also_here = [product for product in home if home[product] == 0][:2]
    away = next(product for product in home if home[product] == 1)
    clients[0].no("spans_shards", "stock.take", {"lines": lines((here, 1), (away, 1))})
    clients[0].no("wrong_shard", "stock.take", {"lines": lines((away, 1))})
    clients[0].no("wrong_shard", "stock.moves", {"product": away})
    clients[0].no("wrong_shard", "stock.release", {"hold": uuid.uuid4().bytes, "product": away})
    clients[0].ok("stock.take", {"lines": lines((here, 1), (also_here, 1))})
    shop.verify()


CHANGES = [
    ("UPDATE $level SET on_hand = on_hand + 1 WHERE product = 'donut'", "donut: the level says 4 on hand, the ledger 3"),
    ("UPDATE $level SET reserved = 0 WHERE product = 'donut'", "donut: the level says 0 reserved, the ledger 1"),
    ("UPDATE $level SET incoming = 8 WHERE product = 'donut'", "donut: the level says 8 incoming, the open productions 0"),
    ("UPDATE $level SET alarm = 4 WHERE product = 'donut'", "donut: 3 on hand, 1 reserved"),
    ("UPDATE $move SET on_hand = 9 WHERE product = 'donut' AND version = 2", "donut: line 5 says 9 on hand, but 5 and -1 make 4"),
    ("DELETE FROM $move WHERE product = 'donut' AND version = 2", "the ledger goes from line 4 to line 6"),
    ("DELETE FROM $level WHERE product = 'donut'", "donut: it has no level"),
    ("UPDATE $hold SET quantity = 7 WHERE product = 'donut'", "donut: the level says 1 reserved, the open holds 7"),
    ("UPDATE $hold SET state = 'released' WHERE product = 'sold'", "sold: the ledger committed +2 units more than the holds say"),
    ("UPDATE $hold SET state = 'returned' WHERE product = 'sold'", "sold: the ledger took -2 units more back than the holds say"),
    ("UPDATE $hold SET state = 'committed' WHERE product = 'back'", "back: the ledger took +2 units more back than the holds say"),
]


@pytest.mark.parametrize("change, words", CHANGES, ids=[words for _, words in CHANGES])
def test_verify_names_what_was_changed_by_hand(make_shop, database, change, words):
    shop = make_shop(database)
    shop.actor("stock")
    shop.actor("factory")
    client = Client(shop.endpoint("stock"))
    for product in ("eclair", "donut"):
        client.ok("stock.adjust", {"product": product, "delta": 5})
        client.ok("stock.take", {"lines": lines((product, 1))})
        client.ok("stock.take", {"lines": lines((product, 1))})
    client.ok("stock.reserve", {"lines": lines(("donut", 1))})
    for product in ("sold", "back"):
        client.ok("stock.adjust", {"product": product, "delta": 5})
        hold = client.ok("stock.reserve", {"lines": lines((product, 2))})["hold"]
        client.ok("stock.commit", {"hold": hold})
    client.ok("stock.return", {"hold": hold})
    shop.verify()
    shop.sql(change)
    status, text = shop.command("verify")
    assert status == 1 and words in text and "eclair" not in text, text
