# SPDX-License-Identifier: MPL-2.0
"""What PROTOCOL.md promises, asked of the running program by a client that was written from it."""

import pathlib
import re
import uuid

import msgpack
import pytest
import zmq

from larder_client import ZERO, Refused, derived, fnv1a, pack, unpack, utc_ms, uuid7

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "proto" / "PROTOCOL.md").read_text()


def line(product, quantity=1):
    return {"product": product, "quantity": quantity}


def put(stock, product, units):
    stock.ask("stock.adjust", {"product": product, "delta": units, "reason": "test"})


def level(stock, product):
    return stock.get("stock.get", {"product": product})


def refused(client, op, body=None, **options):
    with pytest.raises(Refused) as caught:
        client.ask(op, body, **options)
    return caught.value


# --- the document itself ---


def test_examples_are_whole_msgpack_maps():
    examples = re.findall(r"```hex (\w+)\n(.*?)```", DOCUMENT, re.S)
    assert len(examples) >= 14
    for name, text in examples:
        assert isinstance(msgpack.unpackb(bytes.fromhex(text), raw=False), dict), name


def test_vectors_of_ids_and_shards_agree():
    base = uuid.UUID("0198f2a0-1c00-7a3b-8c4d-5e6f708192a3").bytes
    steps = re.findall(r"step `(\w+)` \| `([0-9a-f-]{36})`", DOCUMENT)
    texts = re.findall(r"text `([^`]+)` \| `([0-9a-f-]{36})`", DOCUMENT)
    shards = re.findall(r"^\| `([\w-]+)` \| `0x([0-9a-f]{16})` \| (\d) \| (\d) \| (\d) \|$", DOCUMENT, re.M)
    assert len(steps) >= 2 and len(texts) >= 1 and len(shards) >= 5
    for step, expected in steps:
        assert str(uuid.UUID(bytes=derived(base + step.encode()))) == expected
    for text, expected in texts:
        assert str(uuid.UUID(bytes=derived(text.encode()))) == expected
    for sku, value, *modulo in shards:
        assert fnv1a(sku.encode()) == int(value, 16)
        assert [fnv1a(sku.encode()) % n for n in (2, 3, 4)] == [int(text) for text in modulo]


# --- requests and replies ---


def test_ping_says_who_answers(stock, factory, sales):
    assert stock.get("any.ping")["actor"] == "stock"
    assert factory.get("any.ping")["actor"] == "factory"
    assert sales.get("any.ping")["actor"] == "sales"
    assert stock.get("any.ping")["of"] == 1


def test_adjust_creates_and_get_reads(stock, product):
    assert refused(stock, "stock.get", {"product": product}).status == "unknown_product"
    done = stock.get("stock.adjust", {"product": product, "delta": 7, "reason": "increase", "reference": "r-1"})
    assert [(one["product"], one["on_hand"]) for one in done["levels"]] == [(product, 7)]
    now = level(stock, product)
    assert (now["on_hand"], now["reserved"], now["available"]) == (7, 0, 7)
    assert refused(stock, "stock.adjust", {"product": product, "delta": -8}).status == "would_go_negative"


def test_take_is_all_lines_or_none(stock, product):
    other = product[:-2] + "-b"
    put(stock, product, 5)
    put(stock, other, 1)
    done = stock.get("stock.take", {"lines": [line(product, 2), line(product, 1), line(other, 1)]})
    assert {one["product"]: one["on_hand"] for one in done["levels"]} == {product: 2, other: 0}
    refusal = refused(stock, "stock.take", {"lines": [line(product, 1), line(other, 1)]})
    assert (refusal.status, refusal.problem["product"]) == ("out_of_stock", other)
    assert (refusal.problem["asked"], refusal.problem["available"]) == (1, 0)
    assert level(stock, product)["on_hand"] == 2


def test_case_of_a_product_counts(stock, product):
    put(stock, product, 1)
    assert refused(stock, "stock.get", {"product": product.swapcase()}).status == "unknown_product"


def test_reserve_commit_and_release(stock, product):
    put(stock, product, 10)
    hold = uuid7()
    done = stock.get("stock.reserve", {"lines": [line(product, 4)], "ttl_ms": 60_000}, request_id=hold)
    assert done["hold"] == hold and done["expires"] > utc_ms()
    assert (level(stock, product)["reserved"], level(stock, product)["available"]) == (4, 6)
    page = stock.get("stock.holds", {"product": product})
    assert [(one["hold"], one["quantity"]) for one in page["holds"]] == [(hold, 4)]
    longer = stock.get("stock.extend", {"hold": hold, "product": product, "ttl_ms": 120_000})
    assert longer["expires"] > done["expires"]
    stock.ask("stock.commit", {"hold": hold, "product": product})
    assert (level(stock, product)["on_hand"], level(stock, product)["reserved"]) == (6, 0)
    assert refused(stock, "stock.release", {"hold": hold, "product": product}).status == "hold_closed"
    second = uuid7()
    stock.ask("stock.reserve", {"lines": [line(product, 6)]}, request_id=second)
    assert refused(stock, "stock.take", {"lines": [line(product)]}).status == "out_of_stock"
    stock.ask("stock.release", {"hold": second, "product": product})
    assert level(stock, product)["available"] == 6


def test_a_release_that_overtakes_its_reserve_bars_it(stock, product):
    put(stock, product, 3)
    hold = uuid7()
    stock.ask("stock.release", {"hold": hold, "product": product})
    refusal = refused(stock, "stock.reserve", {"lines": [line(product, 3)]}, request_id=hold)
    assert refusal.status == "hold_closed"
    assert level(stock, product)["available"] == 3


def test_a_hold_ends_by_itself(shop, stock, product):
    put(stock, product, 2)
    tail = shop.tail("stock", f"stock.changed.{product}")
    stock.ask("stock.reserve", {"lines": [line(product, 2)], "ttl_ms": 50})
    deadline = utc_ms() + 5000
    while level(stock, product)["available"] != 2:
        assert utc_ms() < deadline, "the hold did not end"
        tail.next(100)
    tail.close()


def test_count_and_its_version(stock, product):
    done = stock.get("stock.count", {"product": product, "counted": 12, "version": 0, "reason": "first"})
    version = done["levels"][0]["version"]
    stock.ask("stock.count", {"product": product, "counted": 11, "version": version})
    refusal = refused(stock, "stock.count", {"product": product, "counted": 9, "version": version})
    assert refusal.status == "version_conflict"
    assert refusal.problem["version"] > version
    assert level(stock, product)["on_hand"] == 11


def test_configure_and_list(stock, product):
    stock.ask("stock.configure", {"product": product, "reorder_at": 2, "order_up_to": 9, "lot": 3})
    now = level(stock, product)
    assert (now["reorder_at"], now["order_up_to"], now["lot"]) == (2, 9, 3)
    seen = []
    after = {}
    while True:
        page = stock.get("stock.list", {"limit": 2, **after})
        seen += [one["product"] for one in page["levels"]]
        if not page["has_more"]:
            break
        after = {"after": seen[-1]}
    assert product in seen
    assert seen == sorted(seen, key=str.encode)


def test_moves_carry_the_level_after_each(stock, product):
    put(stock, product, 5)
    first = uuid7()
    stock.ask("stock.take", {"lines": [line(product, 2)], "reference": "till 4"}, request_id=first)
    page = stock.get("stock.moves", {"product": product})
    take = page["moves"][0]
    assert (take["kind"], take["delta"], take["on_hand"], take["request"], take["reference"]) == ("take", -2, 3, first, "till 4")
    assert [move["kind"] for move in page["moves"]] == ["take", "adjust"]
    older = stock.get("stock.moves", {"product": product, "before": take["version"], "limit": 1})
    assert [move["kind"] for move in older["moves"]] == ["adjust"] and not older["has_more"]


def test_sales_sells_and_shows(sales, stock, product):
    put(stock, product, 3)
    sale = uuid7()
    receipt = sales.get("sales.checkout", {"product": product, "quantity": 2}, request_id=sale)
    assert (receipt["id"], receipt["quantity"], receipt["available"]) == (sale, 2, 1)
    assert sales.get("sales.show", {"product": product})["available"] == 1
    refusal = refused(sales, "sales.checkout", {"product": product, "quantity": 2})
    assert (refusal.status, refusal.problem["available"]) == ("out_of_stock", 1)


def test_a_final_refusal_is_the_answer_of_a_first_attempt_that_waits_for_another_actor_too(factory, stock, product):
    request_id = uuid7()
    assert refused(factory, "factory.produce", {"product": product}, request_id=request_id, again=True).status == "unknown_product"
    put(stock, product, 1)
    late = factory.once(factory.header("factory.produce", request_id), {"product": product})
    assert (late.status, late.replayed) == ("unknown_product", True)
    assert factory.get("factory.list", {"product": product})["productions"] == []


def test_factory_has_one_open_production_per_product(shop, factory, stock, product):
    put(stock, product, 1)
    facts = shop.subscriber("factory", f"test/{product[-30:]}", from_start=False)
    first = factory.get("factory.produce", {"product": product, "quantity": 5})
    second = factory.get("factory.produce", {"product": product, "quantity": 7})
    assert first["id"] == second["id"] and second["quantity"] == 5
    kinds = []
    while "factory.produced" not in kinds:
        fact = facts.next(10_000)
        assert fact is not None, "the production did not end"
        if fact.key == product:
            kinds.append(fact.type)
    assert kinds == ["factory.ordered", "factory.produced"]
    facts.unsubscribe()
    facts.close()
    assert factory.get("factory.get", {"id": first["id"]})["status"] == "produced"
    listed = factory.get("factory.list", {"product": product})["productions"]
    assert [one["id"] for one in listed] == [first["id"]]
    tail = shop.tail("stock", "stock.changed.")
    deadline = utc_ms() + 5000
    while level(stock, product)["on_hand"] != 6:
        assert utc_ms() < deadline, "the units did not come to the shelf"
        tail.next(100)
    tail.close()


def test_a_callback_without_its_secret_is_refused(factory):
    assert refused(factory, "factory.callback", {"capability": "A" * 43}).status == "unknown_capability"


def test_replies_of_a_pipeline_find_their_requests(stock, product):
    put(stock, product, 500)
    ids = {uuid7() for _ in range(500)}
    for request_id in ids:
        stock.send_frames([pack(stock.header("stock.take", request_id)), pack({"lines": [line(product)]})])
    replies = [stock.receive() for _ in ids]
    assert {reply.header["id"] for reply in replies} == ids
    assert {reply.status for reply in replies} == {"ok"}
    assert level(stock, product)["on_hand"] == 0


# --- identity ---


@pytest.mark.parametrize("again", [False, True])
def test_the_same_id_twice_is_one_effect_and_one_answer(stock, product, again):
    put(stock, product, 5)
    sale = uuid7()
    body = {"lines": [line(product, 2)]}
    first = stock.ask("stock.take", body, request_id=sale)
    put(stock, product, 100)
    second = stock.ask("stock.take", body, request_id=sale, again=again)
    assert second.body["levels"][0]["on_hand"] == first.body["levels"][0]["on_hand"] == 3
    assert level(stock, product)["on_hand"] == 103
    if again:
        assert second.replayed and not first.replayed


def test_the_same_id_twice_at_once_is_one_effect(stock, product):
    put(stock, product, 5)
    sale = uuid7()
    for again in (False, True, True):
        stock.send_frames([pack(stock.header("stock.take", sale, again=again)), pack({"lines": [line(product, 2)]})])
    assert [stock.receive().status for _ in range(3)] == ["ok"] * 3
    assert level(stock, product)["on_hand"] == 3


def test_a_refusal_asked_for_again_is_final_for_its_id(stock, product):
    put(stock, product, 1)
    sale = uuid7()
    body = {"lines": [line(product, 2)]}
    assert refused(stock, "stock.take", body, request_id=sale, again=True).status == "out_of_stock"
    put(stock, product, 10)
    stored = refused(stock, "stock.take", body, request_id=sale, again=True)
    assert stored.status == "out_of_stock" and stored.replayed
    late_first = stock.once(stock.header("stock.take", sale), body)
    assert late_first.status != "ok", "a first attempt that comes late must not be done after its refusal was believed"
    assert level(stock, product)["on_hand"] == 11


def test_a_first_refusal_is_not_remembered(stock, product):
    put(stock, product, 1)
    sale = uuid7()
    body = {"lines": [line(product, 2)]}
    assert refused(stock, "stock.take", body, request_id=sale).status == "out_of_stock"
    put(stock, product, 10)
    assert stock.ask("stock.take", body, request_id=sale, again=True).status == "ok"


@pytest.mark.parametrize("again", [False, True])
def test_another_body_under_an_id_is_refused(stock, product, again):
    put(stock, product, 5)
    sale = uuid7()
    stock.ask("stock.take", {"lines": [line(product, 1)]}, request_id=sale)
    refusal = refused(stock, "stock.take", {"lines": [line(product, 2)]}, request_id=sale, again=again)
    assert refusal.status == "idempotency_mismatch"
    assert level(stock, product)["on_hand"] == 4


def test_a_checkout_keeps_its_id_down_to_the_ledger(sales, stock, product):
    put(stock, product, 5)
    sale = uuid7()
    body = {"product": product, "quantity": 1}
    for again in (False, True):
        assert sales.ask("sales.checkout", body, request_id=sale, again=again).body["id"] == sale
    moves = stock.get("stock.moves", {"product": product})["moves"]
    assert [move["request"] for move in moves if move["kind"] == "take"] == [sale]


def test_a_request_behind_its_deadline_is_not_done(stock, product):
    put(stock, product, 5)
    header = {**stock.header("stock.take", uuid7()), "deadline": utc_ms() - 1000}
    assert stock.once(header, {"lines": [line(product)]}).status == "deadline_exceeded"
    assert level(stock, product)["on_hand"] == 5


# --- what is refused ---

SKU = "x"

BAD_BODIES = [
    ("stock.take", {"lines": [line(SKU, 0)]}, "stock_line.quantity"),
    ("stock.take", {"lines": [line(SKU, -1)]}, "stock_line.quantity"),
    ("stock.take", {"lines": [line(SKU, 1.0)]}, "stock_line.quantity"),
    ("stock.take", {"lines": [line(SKU, "1")]}, "stock_line.quantity"),
    ("stock.take", {"lines": [line(SKU, 10**9 + 1)]}, "stock_line.quantity"),
    ("stock.take", {"lines": [line(SKU, 2**64 - 1)]}, "stock_line.quantity"),
    ("stock.take", {"lines": [line(SKU, None)]}, "stock_line.quantity"),
    ("stock.take", {"lines": [{"product": SKU}]}, "stock_line.quantity"),
    ("stock.take", {"lines": [line("")]}, "stock_line.product"),
    ("stock.take", {"lines": [line("a" * 65)]}, "stock_line.product"),
    ("stock.take", {"lines": [line("a b")]}, "stock_line.product"),
    ("stock.take", {"lines": [line("a\0b")]}, "stock_line.product"),
    ("stock.take", {"lines": []}, "stock_take.lines"),
    ("stock.take", {"lines": [line(SKU)] * 1001}, "stock_take.lines"),
    ("stock.take", {"lines": {}}, "stock_take.lines"),
    ("stock.take", {}, "stock_take.lines"),
    ("stock.take", {"lines": [line(SKU)], "refernce": "r"}, "refernce"),
    ("stock.take", {"lines": [line(SKU)], "reference": "r" * 129}, "stock_take.reference"),
    ("stock.adjust", {"product": SKU, "delta": 0}, "stock_adjust.delta"),
    ("stock.commit", {"hold": b"short"}, "stock_commit.hold"),
    ("stock.count", {"product": SKU, "counted": -1}, "stock_count.counted"),
    ("stock.reserve", {"lines": [line(SKU)], "ttl_ms": 0}, "stock_reserve.ttl_ms"),
    ("stock.list", {"limit": 1001}, "stock_list.limit"),
]


@pytest.mark.parametrize(("op", "body", "field"), BAD_BODIES)
def test_a_refusal_names_the_field(stock, op, body, field):
    refusal = refused(stock, op, body)
    assert refusal.status == "invalid_field"
    assert field in refusal.detail


def test_duplicate_keys_and_invalid_utf8_are_refused_by_name(stock):
    twice = b"\x81\xa5lines\x91\x83" + b"\xa7product\xa1x" + b"\xa8quantity\x01" + b"\xa8quantity\x02"
    reply = stock.once(stock.header("stock.take", uuid7()), twice)
    assert reply.status == "invalid_field" and "stock_line.quantity: given twice" in reply.body["detail"]
    latin = b"\x82\xa5lines\x91\x82\xa7product\xa1x\xa8quantity\x01\xa9reference\xa2\xc3\x28"
    reply = stock.once(stock.header("stock.take", uuid7()), latin)
    assert reply.status == "invalid_field" and "stock_take.reference" in reply.body["detail"]


def test_unknown_operations_and_versions_are_refused(stock, product):
    assert refused(stock, "stock.juggle").status == "unknown_op"
    assert refused(stock, "factory.list").status == "unknown_op"
    request_id = uuid7()
    reply = stock.once({**stock.header("any.ping", request_id), "v": 2}, {})
    assert reply.status == "unknown_version" and reply.header["id"] == request_id
    assert refused(stock, "stock.take", {"lines": [line(product)]}).status == "unknown_product"


def test_unknown_header_fields_are_skipped(stock):
    assert stock.once(stock.header("any.ping", uuid7(), colour="blue"), {}).status == "ok"


def test_every_truncation_is_answered_and_does_nothing(stock, product):
    put(stock, product, 5)
    request_id = uuid7()
    header = pack(stock.header("stock.take", request_id))
    body = pack({"lines": [line(product)]})
    for size in range(1, len(header)):
        reply = stock.once(header[:size], body)
        assert reply.status in ("malformed", "invalid_field"), size
        assert reply.header["id"] in (ZERO, request_id)
    for size in range(1, len(body)):
        reply = stock.once(header, body[:size])
        assert (reply.status, reply.header["id"]) == ("malformed", request_id), size
    for frames in ([header, body + b"\x00"], [header + b"\xc0", body]):
        assert stock.once(*frames).status == "malformed"
    assert level(stock, product)["on_hand"] == 5
    assert stock.once(header, body).status == "ok"


@pytest.mark.parametrize("frames", [[b"\x80"], [b"\x80"] * 3, [b"", b"\x80"], [b"\x80"] * 40, [b"", b""], [b"\xc1", b"\xc1"]])
def test_other_shapes_of_messages_are_malformed(stock, frames):
    stock.send_frames(frames)
    reply = stock.socket.recv_multipart()
    assert unpack(reply[-2])["status"] in ("malformed", "invalid_field")
    assert unpack(reply[-2])["id"] == ZERO
    assert stock.get("any.ping")["actor"] == "stock"


def test_deep_nesting_and_huge_counts_are_refused(stock):
    deep = b"\x81\xa5lines" + b"\x91" * 100 + b"\xc0"
    assert stock.once(stock.header("stock.take", uuid7()), deep).status in ("malformed", "invalid_field")
    for count in (b"\xdd\x10\x00\x00\x00", b"\xdf\xff\xff\xff\xff"):
        assert stock.once(stock.header("stock.take", uuid7()), b"\x81\xa5lines" + count).status in ("malformed", "invalid_field")


def test_a_req_socket_is_answered_with_its_envelope(shop):
    for correlate in (0, 1):
        socket = shop.context.socket(zmq.REQ)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.REQ_CORRELATE, correlate)
        socket.connect(shop.requests("stock"))
        request_id = uuid7()
        socket.send_multipart([pack({"v": 1, "id": request_id, "op": "any.ping", "deadline": utc_ms() + 5000}), pack({})])
        assert socket.poll(5000)
        header, body = socket.recv_multipart()
        assert (unpack(header)["id"], unpack(body)["actor"]) == (request_id, "stock")
        socket.close()


def test_an_oversized_frame_closes_only_its_own_connection(shop, stock):
    rude = shop.client("stock")
    rude.send_frames([pack(rude.header("any.ping", uuid7())), bytes(2 * 1024 * 1024)])
    with pytest.raises(TimeoutError):
        rude.receive(300)
    rude.close()
    assert stock.get("any.ping")["actor"] == "stock"


# --- events ---


def empty_the_shelf(stock, product, times=1):
    """Each makes one stock.out and one stock.restocked."""
    stock.ask("stock.configure", {"product": product, "reorder_at": 0, "order_up_to": 0})
    for _ in range(times):
        put(stock, product, 1)
        stock.ask("stock.take", {"lines": [line(product)]})


def follow(subscriber, product, wanted):
    """The types and positions of a product's events until there are `wanted` stock.out."""
    seen = []
    while sum(kind == "stock.out" for kind, _ in seen) < wanted:
        event = subscriber.next(5000)
        assert event is not None, f"only {seen} came"
        if event.key == product:
            seen.append((event.type, event.seq))
    return seen


def test_a_tail_sees_what_happens_under_its_prefix(shop, stock, product):
    tail = shop.tail("stock", f"stock.out.{product}")
    deadline = utc_ms() + 5000
    heads = shop.tail("stock", "head")
    topic, head = heads.next(5000)
    assert topic == "head" and head.type == "head" and head.key == "" and head.seq == head.body["head"]
    assert "factory/0" in {position["subscriber"] for position in head.body["positions"]}
    empty_the_shelf(stock, product)
    topic, event = tail.next(deadline - utc_ms())
    assert topic == f"stock.out.{product}"
    assert (event.type, event.key, event.header["source"]) == ("stock.out", product, "stock/0")
    assert event.body["available"] == 0
    heads.close()
    tail.close()


def test_a_late_subscriber_sees_everything_in_order(shop, stock, product):
    name = f"late/{product[-30:]}"
    early = shop.subscriber("stock", name, from_start=False)
    early.close()
    empty_the_shelf(stock, product, times=30)
    late = shop.subscriber("stock", name, limit=7)
    seen = follow(late, product, 30)
    assert late.fetches > 1
    positions = [seq for _, seq in seen]
    assert positions == sorted(set(positions))
    late.unsubscribe()
    late.close()


def test_a_gap_is_repaired(shop, stock, product):
    subscriber = shop.subscriber("stock", f"gap/{product[-30:]}", from_start=False)
    deadline = utc_ms() + 10_000
    while subscriber.heard == 0:
        assert utc_ms() < deadline, "nothing is published, not even HEAD"
        subscriber.next(100)
    fetches = subscriber.fetches
    subscriber.drop_published = 1
    empty_the_shelf(stock, product, times=5)
    seen = follow(subscriber, product, 5)
    assert len({seq for _, seq in seen}) == len(seen)
    assert subscriber.drop_published == 0 and subscriber.fetches > fetches
    subscriber.unsubscribe()
    subscriber.close()


def test_a_subscriber_that_comes_back_goes_on_behind_its_cursor(shop, stock, product):
    name = f"back/{product[-30:]}"
    subscriber = shop.subscriber("stock", name, from_start=False)
    empty_the_shelf(stock, product, times=2)
    first = follow(subscriber, product, 2)
    subscriber.ack()
    cursor = (subscriber.incarnation, subscriber.position)
    subscriber.close()
    empty_the_shelf(stock, product, times=2)
    again = shop.subscriber("stock", name, cursor=cursor)
    second = follow(again, product, 2)
    assert not {seq for _, seq in first} & {seq for _, seq in second}
    again.ack()
    kept = again.client.get("any.subscribe", {"subscriber": name})
    assert kept["position"] == again.position, "a known name keeps its position"
    again.unsubscribe()
    again.close()


def test_what_is_not_confirmed_comes_again(shop, stock, product):
    name = f"crash/{product[-30:]}"
    subscriber = shop.subscriber("stock", name, from_start=False)
    empty_the_shelf(stock, product)
    event = subscriber.next(5000, confirm=False)
    subscriber.close()
    again = shop.subscriber("stock", name)
    assert again.next(5000).seq == event.seq
    again.unsubscribe()
    again.close()


def test_positions_and_incarnations_that_cannot_be_are_refused(shop, stock, product):
    name = f"wrong/{product[-30:]}"
    body = {"subscriber": name, "position": 0, "limit": 1}
    assert refused(stock, "any.fetch", body).status == "unknown_subscriber"
    known = stock.get("any.subscribe", {"subscriber": name})
    here = {"subscriber": name, "incarnation": known["incarnation"], "limit": 10}
    assert refused(stock, "any.fetch", {**here, "position": known["head"] + 10**6}).status == "position_lost"
    assert refused(stock, "any.fetch", {**here, "position": known["position"], "incarnation": uuid7()}).status == "other_incarnation"
    stock.ask("any.unsubscribe", {"subscriber": name})
    assert refused(stock, "any.unsubscribe", {"subscriber": name}).status == "unknown_subscriber"
    assert refused(stock, "any.fetch", {**here, "position": known["position"]}).status == "unknown_subscriber"


def test_a_hold_is_read_open_and_ended(stock, product):
    put(stock, product, 5)
    hold = stock.get("stock.reserve", {"lines": [line(product, 2)]})["hold"]
    kept = stock.get("stock.hold", {"hold": hold})
    assert (kept["state"], kept["lines"]) == ("open", [line(product, 2)])
    stock.ask("stock.release", {"hold": hold})
    assert stock.get("stock.hold", {"hold": hold})["state"] == "released"
    assert refused(stock, "stock.hold", {"hold": uuid7()}).status == "unknown_hold"
