# SPDX-License-Identifier: MPL-2.0
"""An event that stock cannot apply, while the dlq is killed: nobody stops, its letter comes later, and its effect comes by a replay."""

from processes import wait_until

FULL = 10 ** 15


def parked(shop):
    """(key, state) of the rows in order; state 1: buried."""
    return shop.sql("SELECT event_key, state FROM $parked ORDER BY seq")


def test_a_killed_dlq_stops_nobody_and_the_letter_comes_later(database, make_shop, ask):
    shop = make_shop(database, lead_time_ms=0, retry_attempts=3, retry_first_ms=50, log_level="error")
    actors = {name: shop.actor(name) for name in ("dlq", "stock", "factory")}
    client = ask(shop)
    client.ok("stock.count", {"product": "full", "counted": FULL})
    client.ok("stock.count", {"product": "good", "counted": 0})
    actors["dlq"].kill9()

    client.ok("factory.produce", {"product": "full", "quantity": 10})
    wait_until(lambda: ("full", 1) in parked(shop), 20, "the event is given up")
    client.ok("factory.produce", {"product": "full", "quantity": 5})
    client.ok("factory.produce", {"product": "good", "quantity": 7})
    wait_until(lambda: client.level("good")["on_hand"] == 7, 20, "events of other keys go on")
    client.ok("stock.take", {"lines": [{"product": "good", "quantity": 1}]})
    assert client.level("full")["on_hand"] == FULL
    assert {key for key, _ in parked(shop)} == {"full"} and len(parked(shop)) == 3, "its own key waits behind it"

    actors["dlq"] = shop.actor("dlq")
    wait_until(lambda: client.ok("dlq.stats", {})["dead"] == 1, 20, "the letter")
    letter = client.ok("dlq.list", {"state": "dead"})["letters"][0]
    assert (letter["reason"], letter["destination"], letter["key"], letter["units"]) == ("would_overflow", "stock/0", "full", 10)
    assert str(FULL) in letter["error"] and letter["attempts"] == 3
    assert len(client.ok("dlq.show", {"letter": letter["id"]})["history"]) == 3

    client.ok("stock.count", {"product": "full", "counted": 0})
    assert client.ok("dlq.replay", {"letter": letter["id"]})["state"] == "done"
    wait_until(lambda: client.level("full")["on_hand"] == 15, 20, "its effect, and that of the one behind it")
    assert parked(shop) == []
    assert client.ok("dlq.replay", {"letter": letter["id"]})["state"] == "done", "pressing twice is once"
    assert client.level("full")["on_hand"] == 15
    shop.verify()
