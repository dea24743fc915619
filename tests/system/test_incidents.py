# SPDX-License-Identifier: MPL-2.0
"""What stands until a person decides: it is listed with its reason, says what deciding would do, goes on by it, and is remembered."""

import json
import os
import re
import shutil
import uuid

import pytest
from larder_client import Incident, Subscriber
from patience import wait_until
from processes import DONE, EVENTS, FAILED, OFFSETS, USAGE, request
from test_edges import all_applied, close_and_copy, remove

ID = re.compile(r"^([0-9a-f-]{36})  stands", re.M)

OTHER = re.compile("which are gone there: what they did stays|stays, though that is not the source's past")  # the copy may have come as far again


def readyz(address):
    return request(address, "GET", "/readyz")[0]


def standing(shop):
    """(ids, what is said) of what stands."""
    status, words = shop.command("incidents")
    ids = ID.findall(words)
    assert status == (FAILED if ids else DONE), words
    return ids, words


def resolve(shop, incident, *flags, expected=DONE):
    status, words = shop.command("incidents", "resolve", incident, "--reason", "the disk burned", "--author", "ana", *flags)
    assert status == expected, words
    return words


def put_back(sqlite, folder, actor):
    remove(sqlite, actor)
    shutil.copy(os.path.join(folder, "backup", f"{actor}_0.db"), sqlite.path(actor))


def goes_on(shop, client):
    """The loop of alarm and refill turns again."""
    client.take("donut", client.level("donut")["available"])
    wait_until(lambda: client.level("donut")["on_hand"] == 10, 20, "a refill")


def refill_twice(sqlite, folder, shop, client, running):
    """Two refills, copies of what was between them, and the shop is closed."""
    client.take("donut", 3)
    wait_until(lambda: client.level("donut")["on_hand"] == 10, what="the refill")
    close_and_copy(sqlite, running, folder)
    running.start().wait_ready(shop.http)
    client.take("donut", 10)
    wait_until(lambda: client.level("donut")["on_hand"] == 10, what="the second refill")
    wait_until(lambda: all_applied(shop), what="every event is applied")
    running.stop()


def make_older(sqlite, folder, shop, client, running, actor):
    """One of the databases is the one of before the last refill."""
    refill_twice(sqlite, folder, shop, client, running)
    put_back(sqlite, folder, actor)


@pytest.mark.parametrize("actor, stands", [("stock", "factory/0 refuses stock/0"), ("factory", "stock/0 refuses factory/0")])
def test_an_older_copy_is_listed_and_goes_on_when_somebody_decides(actor, stands, sqlite, folder, make_shop, ask):
    shop = make_shop(sqlite, lead_time_ms=100)
    running, client = shop.run(), ask(shop)
    make_older(sqlite, folder, shop, client, running, actor)
    running.start().wait_log(" incident ")
    wait_until(lambda: standing(shop)[0], what="it is listed")
    (incident,), words = standing(shop)
    assert stands in words and "since 20" in words and "1 stands, 0 are over" in words
    status, _, body = request(shop.http, "GET", "/readyz")
    assert status == 503 and json.loads(body)["away"] == [stands.split(" refuses ")[0]]
    assert "stands at event" in shop.command("verify")[1]

    words = resolve(shop, incident, expected=FAILED)
    assert "it would do this: " in words and OTHER.search(words) and "nothing is done without --yes" in words
    assert standing(shop)[0] == [incident], "nothing was done"
    words = resolve(shop, incident, "--yes")
    assert "done: " in words
    assert resolve(shop, incident, "--yes") .splitlines()[-1] == words.splitlines()[-1], "asked again it is what was done then"
    wait_until(lambda: readyz(shop.http) == 200, what="it serves again")
    assert standing(shop) == ([], "0 stand, 1 is over; --all shows them\n")
    said = shop.command("incidents", "list", "--all")[1]
    assert "decided by ana: the disk burned" in said and OTHER.search(said)
    goes_on(shop, ask(shop))
    running.stop()
    running.start().wait_ready(shop.http)
    assert standing(shop)[0] == [], "a restart does not bring it back"


@pytest.mark.parametrize("after", [1, 2])
def test_an_older_copy_that_has_gone_on_is_resolved(after, sqlite, folder, make_shop, ask):
    shop = make_shop(sqlite)
    stock, factory = shop.actor("stock"), shop.actor("factory")
    client = ask(shop)

    def sell_out():
        client.put("bagel", 1)
        assert [client.take("bagel").status for _ in range(2)] == ["ok", "out_of_stock"]

    def is_applied():
        return shop.sql("SELECT position FROM $cursor", "factory") == shop.sql("SELECT seq FROM $shard")
    sell_out()
    wait_until(is_applied, what="the first event is applied")
    close_and_copy(sqlite, stock, folder)
    stock.start().wait_ready(shop.probe("stock"))
    sell_out()
    wait_until(is_applied, what="the second event is applied")
    factory.stop()
    stock.stop()
    put_back(sqlite, folder, "stock")
    stock.start().wait_ready(shop.probe("stock"))
    for _ in range(after):
        sell_out()
    status, words = shop.command("verify")
    assert status == FAILED and "it has had other events than those that factory/0 has applied" in words, words
    factory.start().wait_log("has another past")
    wait_until(lambda: standing(shop)[0], what="it is listed")
    (incident,), words = standing(shop)
    assert "another past" in words
    assert "that is not the source's past" in resolve(shop, incident, "--yes")
    wait_until(lambda: readyz(shop.probe("factory")) == 200, what="it serves again")
    wait_until(is_applied, what="it follows")
    sell_out()
    wait_until(is_applied, what="it follows what is new")


def test_an_older_copy_is_noticed_also_where_nothing_was_told_of_what_is_gone(sqlite, folder, make_shop, ask):
    shop = make_shop(sqlite, lead_time_ms=100)
    running, client = shop.run(), ask(shop)
    client.put("bagel", 1000)
    close_and_copy(sqlite, running, folder)
    running.start().wait_ready(shop.http)
    for _ in range(40):  # none of these is an event
        assert client.take("bagel").status == "ok"
    wait_until(lambda: shop.sql("SELECT batch FROM $cursor WHERE batch >= 20", "factory"), 30, "the factory has written down how far stock was")
    running.stop()
    put_back(sqlite, folder, "stock")
    status, words = shop.command("verify")
    assert status == FAILED and "was heard to have made" in words, words
    running.start().wait_log("has made fewer commits", 30)
    wait_until(lambda: standing(shop)[0], what="it is listed")
    (incident,), words = standing(shop)
    assert "factory/0 refuses stock/0" in words
    resolve(shop, incident, "--yes")
    wait_until(lambda: readyz(shop.http) == 200, what="it serves again")
    goes_on(shop, ask(shop))
    shop.verify()


@pytest.mark.parametrize("actor", ["stock", "factory"])
def test_a_new_database_in_the_place_of_one_is_resolved(actor, database, make_shop, ask):
    shop = make_shop(database, lead_time_ms=100)
    running, client = shop.run(), ask(shop)
    client.take("donut", 3)
    wait_until(lambda: client.level("donut")["on_hand"] == 10, what="the refill")
    wait_until(lambda: all_applied(shop), what="every event is applied")
    running.stop()
    other = "x'" + uuid.uuid4().hex + "'"
    shop.sql(f"UPDATE $shard SET incarnation = {other}", actor)
    shop.sql("DELETE FROM $outbox", actor)
    running.start().wait_log(" incident ")
    wait_until(lambda: standing(shop)[0], what="it is listed")
    (incident,), words = standing(shop)
    assert "database" in words
    assert "follows the database of" in resolve(shop, incident, "--yes")
    wait_until(lambda: readyz(shop.http) == 200, what="it serves again")
    goes_on(shop, ask(shop))


def test_an_incident_is_over_by_itself_when_the_right_database_is_back(sqlite, folder, make_shop, ask):
    shop = make_shop(sqlite, lead_time_ms=100)
    running, client = shop.run(), ask(shop)
    refill_twice(sqlite, folder, shop, client, running)
    right = os.path.join(folder, "right")
    shutil.copytree(sqlite.folder, right)
    put_back(sqlite, folder, "factory")
    running.start().wait_log(" incident ")
    wait_until(lambda: standing(shop)[0], what="it is listed")
    running.stop()
    assert standing(shop)[0], "it is listed while the shop is closed as well"
    remove(sqlite, "factory")
    shutil.copy(os.path.join(right, "factory_0.db"), sqlite.path("factory"))
    running.start().wait_ready(shop.http)
    wait_until(lambda: not standing(shop)[0], what="it is over")
    assert "found to be the one that is followed" in shop.command("incidents", "--all")[1]
    shop.verify()


def test_what_cannot_be_resolved_says_why(sqlite, folder, make_shop, ask):
    shop = make_shop(sqlite, lead_time_ms=100)
    running, client = shop.run(), ask(shop)
    assert standing(shop) == ([], "0 stand, 0 are over\n")
    nobody = str(uuid.uuid4())
    assert "no such incident" in resolve(shop, nobody, "--yes", expected=USAGE)
    assert "--reason says why" in shop.command("incidents", "resolve", nobody)[1]
    assert "is no id" in resolve(shop, "donut", "--yes", expected=USAGE)
    peer = client.client(shop.endpoint("factory"))
    body = {"incident": uuid.UUID(nobody).bytes, "reason": "because"}
    for role in ("anonymous", "customer", "employee", "admin"):
        assert peer.once({**peer.header("any.resolve", uuid.uuid4().bytes), "role": role}, body).status == "forbidden"
    assert peer.once(peer.header("any.resolve", uuid.uuid4().bytes), body).status == "not_found"
    make_older(sqlite, folder, shop, client, running, "factory")
    running.start().wait_log(" incident ")
    wait_until(lambda: standing(shop)[0], what="it is listed")
    (incident,), _ = standing(shop)
    running.stop()
    assert "stock/0" in resolve(shop, incident, "--yes", expected=FAILED), "the actor has to run"


def test_a_source_that_is_held_is_listed_until_it_goes_on(sqlite, make_shop, ask):
    shop = make_shop(sqlite, hold_after=1, retry_first_ms=20)
    running, client = shop.run(), ask(shop)
    shop.sql("CREATE TRIGGER no BEFORE INSERT ON production BEGIN SELECT RAISE(ABORT, 'broken'); END", "factory")
    client.take("donut", 3)
    running.wait_log("source_held", 20)
    wait_until(lambda: standing(shop)[0], what="it is listed")
    assert "factory/0 holds stock/0" in standing(shop)[1]
    (incident,), _ = standing(shop)
    assert "tries stock/0 once more" in resolve(shop, incident, expected=FAILED)
    shop.sql("DROP TRIGGER no", "factory")
    resolve(shop, incident, "--yes")
    assert standing(shop)[0] == []


@pytest.mark.parametrize("after", [1, 2])
def test_a_client_that_kept_the_chain_notices_an_older_copy_that_has_gone_on(after, sqlite, folder, make_shop, ask):
    shop = make_shop(sqlite)
    stock = shop.actor("stock")
    client = ask(shop)
    ports = (shop.endpoint("stock"), f"tcp://127.0.0.1:{shop.base_port + EVENTS + OFFSETS['stock']}")

    def sell_out():
        client.put("bagel", 1)
        assert [client.take("bagel").status for _ in range(2)] == ["ok", "out_of_stock"]

    def follow(cursor=None):
        subscriber = Subscriber(*ports, "ledger", cursor=cursor)
        event = wait_until(lambda: subscriber.next(200), what="the event")
        subscriber.ack()
        cursor = subscriber.cursor
        subscriber.close()
        return event.seq, cursor
    sell_out()
    seq, cursor = follow()
    close_and_copy(sqlite, stock, folder)
    stock.start().wait_ready(shop.probe("stock"))
    sell_out()
    later, cursor = follow(cursor)
    assert later > seq
    stock.stop()
    put_back(sqlite, folder, "stock")
    stock.start().wait_ready(shop.probe("stock"))
    for _ in range(after):
        sell_out()
    subscriber = Subscriber(*ports, "ledger", cursor=cursor)
    with pytest.raises(Incident, match="another past"):
        while subscriber.next(2000, confirm=False) or True:
            pass
    subscriber.close()
