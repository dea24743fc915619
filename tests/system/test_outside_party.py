# SPDX-License-Identifier: MPL-2.0
"""Outside parties that are slow, down, broken for one call or for all, or refuse us because a setting of ours is wrong: what waits in our
own queue is nobody's fault, an outage is one letter and a handful of lines, and everything goes on by itself."""

import os
import re
import subprocess
import time

import pytest
from factories import Factory
from outside_payment import TOKEN, Provider
from processes import free_port, request, wait_until
from test_replay import all_ok, await_end

IS_LONG = bool(os.environ.get("LARDER_LONG"))
REPLAYED = 20000 if IS_LONG else 2000
PATIENCE_S = 300 if IS_LONG else 60
PER_SECOND, AT_ONCE = 300, 20
QUICK = {"retry_first_ms": 20, "call_timeout_ms": 1000}


@pytest.fixture
def factory():
    """factory(**mode) is an outside factory; port= begins one where another was."""
    made = []

    def make(**mode):
        made.append(Factory(**{"callbacks": 0, **mode}))
        return made[-1]
    yield make
    for one in made:
        one.stop()


class Works:
    """dlq, stock and factory as processes, and products that are ordered from outside."""

    def __init__(self, shop, client, **settings):
        self.shop, self.client, self.settings = shop, client, settings
        self.processes = {name: shop.actor(name) for name in ("dlq", "stock")}
        self.start()

    def start(self):
        self.processes["factory"] = self.shop.actor("factory", **self.settings)

    def kill(self):
        self.processes["factory"].kill9()

    def produce(self, count, name="p"):
        products = [f"{name}{number}" for number in range(count)]
        all_ok(self.client, (("stock.configure", {"product": product}) for product in products))
        all_ok(self.client, (("factory.produce", {"product": product, "quantity": 1}) for product in products))

    def stats(self):
        return self.client.ok("dlq.stats", {})

    def letters(self, **filters):
        return self.client.ok("dlq.list", {"kind": "call", **filters})["letters"]

    def party(self, state, name="factory"):
        """The letter about the party, once it is in this state."""
        def find():
            found = [letter for letter in self.letters(type="outside.party") if letter["state"] == state and letter["key"] == name]
            return found[0] if found else None
        return wait_until(find, PATIENCE_S, f"the letter about {name} is {state}")

    def count(self, status):
        return self.shop.sql(f"SELECT COUNT(*) FROM $production WHERE status = '{status}'", "factory")[0][0]

    def wait_requested(self, count):
        wait_until(lambda: self.count("requested") == count, PATIENCE_S, f"{count} are taken", pause_s=0.1)

    def metric(self, name, **labels):
        text = request(self.shop.probe("factory"), "GET", "/metrics")[2].decode()
        inside = ",".join(f'{label}="{value}"' for label, value in {"party": "factory", **labels}.items())
        return float(re.search(rf"^{name}\{{{inside}\}} (\S+)$", text, re.M).group(1))

    def lines(self, *levels):
        return [line for process in self.shop.processes for line in process.log().splitlines() if line.split(" ")[1] in levels]


@pytest.fixture
def works(make_shop, ask):
    def make(database, **settings):
        shop = make_shop(database, **{**QUICK, **settings})
        return Works(shop, ask(shop))
    return make


def statuses(party):
    return {int(status): count for status, count in party.counts()["statuses"].items()}


# --- a party that is slow ---


def make_letters(works, party, count):
    """Every call is answered with a no to its own message, so each is a letter; then the factory is well, and slow."""
    party.mode(status=422)
    works.produce(count)
    wait_until(lambda: works.stats()["dead"] == count, PATIENCE_S, "letters", pause_s=0.2)
    party.mode(status=0, slow_ms=1000 * AT_ONCE // PER_SECOND, at_once=AT_ONCE)


def test_a_replay_waits_for_a_healthy_slow_party_and_kills_no_letter(database, works, factory):
    party = factory()
    works = works(database, factory_url=party.url)
    make_letters(works, party, REPLAYED)
    assert statuses(party) == {422: REPLAYED}, "a no to a message is not asked for twice"
    started = time.monotonic()
    replay = works.client.ok("dlq.start", {"filter": {"state": "dead"}, "author": "t", "reason": "t"})["id"]
    before = 0
    while True:
        status = works.client.ok("dlq.status", {"replay": replay})
        assert before <= status["done"] + status["failed"] <= status["total"] and status["failed"] == 0, status
        before = status["done"]
        if "ended" in status:
            break
        assert time.monotonic() - started < PATIENCE_S + REPLAYED / 100, status
        time.sleep(0.05)
    assert (status["state"], status["done"], status.get("under_way", 0)) == ("done", REPLAYED, 0)
    assert works.stats()["dead"] == 0 and works.letters(state="dead") == []
    assert party.accepted() == REPLAYED
    assert 4 < party.counts()["most"] <= 32
    assert not [line for line in works.lines("warn", "error") if "resolve host" in line]
    # Those that are not called back are called again after their patience.
    assert works.metric("larder_outside_calls_total", outcome="answered") >= 2 * REPLAYED
    works.wait_requested(REPLAYED)


def test_a_canary_a_rate_and_a_stop_mean_what_they_meant(database, works, factory):
    party = factory()
    works = works(database, factory_url=party.url)
    make_letters(works, party, 300)
    party.mode(poison="p150")
    replay = works.client.ok("dlq.start", {"filter": {"state": "dead"}, "author": "t", "reason": "t", "canary": 5, "rate": 100,
                                           "stop_on_failure": True})["id"]
    ended = await_end(works.client, replay)
    assert ended["state"] == "stopped" and ended["failed"] == 1 and ended["done"] >= 5, ended

    def settled():
        status = works.client.ok("dlq.status", {"replay": replay})
        return None if status.get("under_way") else status
    final = wait_until(settled, what="what was under way has come in")
    assert final["done"] >= ended["done"] and final["failed"] == 1
    assert works.stats()["dead"] == 300 - final["done"], "counts of the replay and of letters agree"
    log = works.processes["dlq"].log()
    assert re.search(rf"replay_ended .*state=stopped total=300 done={final['done']} failed=1 under_way=0", log), log


def test_calls_wait_for_their_turn_over_a_kill(database, works, factory):
    party = factory(slow_ms=100, at_once=4)
    works = works(database, factory_url=party.url)
    works.produce(100)
    works.kill()
    works.start()
    works.wait_requested(100)
    assert party.accepted() == 100 and works.stats()["dead"] == 0


def test_a_party_that_says_later_is_asked_later_and_no_attempt_is_counted(sqlite, works, factory):
    party = factory(status=429)
    works = works(sqlite, factory_url=party.url, retry_attempts=1)
    works.produce(20)
    wait_until(lambda: statuses(party).get(429, 0) >= 4, what="it said so")
    party.mode(status=0)
    works.wait_requested(20)
    assert works.stats()["dead"] == 0
    assert statuses(party)[429] <= 12, "Retry-After is kept"


# --- a party that is down ---


def await_outage(works, count, reason="party_down"):
    letter = works.party("waiting")
    assert (letter["reason"], letter["destination"]) == (reason, "factory/0"), letter
    assert works.metric("larder_party_state") == {"party_down": 1, "party_refuses_us": 2}[reason]
    wait_until(lambda: works.metric("larder_party_calls_waiting") >= count - 10, what="the others wait")
    assert 0 <= time.time() - works.metric("larder_party_down_since_seconds") < PATIENCE_S
    return letter


def expect_over(works, count, dead=0):
    works.wait_requested(count - dead)
    works.party("done")
    wait_until(lambda: works.metric("larder_party_state") == 0, what="it is up")
    wait_until(lambda: works.metric("larder_party_calls_waiting") == 0, what="nobody waits")
    assert works.stats()["dead"] == dead


def test_an_outage_of_a_factory_that_is_not_there_is_one_letter_and_a_handful_of_lines(database, works, factory):
    port = free_port()
    works = works(database, factory_url=f"http://127.0.0.1:{port}")
    works.produce(1000)
    await_outage(works, 1000)
    party = factory(port=port)
    expect_over(works, 1000)
    assert party.accepted() == 1000
    said = works.lines("warn", "error")
    assert 2 <= len(said) < 40, said
    assert sum("outside_party_is_down party=factory" in line for line in said) == 1
    assert sum("outside_party_is_back party=factory" in line for line in said) == 1
    assert len(works.letters()) == 1, "and no other letter"
    works.shop.verify()


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 503}, {"slow_ms": 3000}], ids=["broken", "busy", "silent"])
def test_an_outage_for_everybody_is_the_partys(sqlite, works, factory, fault):
    party = factory(**fault)
    works = works(sqlite, factory_url=party.url, call_timeout_ms=200)
    works.produce(200)
    await_outage(works, 200)
    party.mode(status=0, slow_ms=0)
    expect_over(works, 200)


def test_an_outage_lasts_over_a_kill(database, works, factory):
    port = free_port()
    works = works(database, factory_url=f"http://127.0.0.1:{port}")
    works.produce(50)
    letter = await_outage(works, 50)
    works.kill()
    works.start()
    assert works.party("waiting")["id"] == letter["id"]
    factory(port=port)
    expect_over(works, 50)
    assert [found["id"] for found in works.letters()] == [letter["id"]]
    works.shop.verify()


def test_an_outage_is_tried_by_hand_without_waiting_for_the_pause(sqlite, works, factory):
    port = free_port()
    works = works(sqlite, factory_url=f"http://127.0.0.1:{port}", retry_first_ms=3600, retry_attempts=2)
    works.produce(50)
    letter = await_outage(works, 50)
    wait_until(lambda: works.party("waiting")["attempts"] >= 4, 60, "pauses of half a minute")
    party = factory(port=port)
    works.client.ok("dlq.replay", {"letter": letter["id"]})
    wait_until(lambda: party.accepted() > 0, 5, "it is tried")


def test_a_letter_that_is_replayed_while_the_party_is_down_waits_and_goes_by_itself(sqlite, works, factory):
    party = factory(status=422)
    works = works(sqlite, factory_url=party.url)
    works.produce(30)
    wait_until(lambda: works.stats()["dead"] == 30, what="letters")
    party.stop()
    works.produce(30, name="q")
    works.party("waiting")
    replay = works.client.ok("dlq.start", {"filter": {"state": "dead"}, "author": "t", "reason": "t", "stop_on_failure": True})["id"]
    held = wait_until(lambda: [found for found in works.letters(state="waiting") if found["type"] == "factory.call"], what="they wait")
    assert "connect" in held[0]["error"], held[0]
    assert "ended" not in works.client.ok("dlq.status", {"replay": replay})
    factory(port=party.port)
    ended = await_end(works.client, replay)
    assert (ended["state"], ended["done"], ended["failed"]) == ("done", 30, 0)
    expect_over(works, 60)


def test_what_only_one_call_meets_is_its_own_fault(sqlite, works, factory):
    party = factory(poison="p7")
    works = works(sqlite, factory_url=party.url, retry_attempts=6)
    works.produce(40)
    for number in range(6):
        works.produce(10, name=f"more{number}-")
    (letter,) = wait_until(lambda: works.letters(state="dead"), PATIENCE_S, what="its letter")
    assert (letter["key"], letter["reason"], letter["attempts"]) == ("p7", "call_failed", 6)
    works.wait_requested(99)
    assert works.letters(type="outside.party") == []


# --- a setting of ours that is wrong ---


@pytest.mark.parametrize("status", [401, 403, 407, 404, 405, 301])
def test_an_answer_that_means_all_calls_is_an_incident_and_no_calls_own(sqlite, works, factory, status):
    party = factory(status=status)
    works = works(sqlite, factory_url=party.url, retry_attempts=1)
    works.produce(20)
    letter = await_outage(works, 20, "party_refuses_us")
    assert f"HTTP {status}" in letter["error"]
    party.mode(status=0)
    expect_over(works, 20)


def self_signed(folder):
    path = os.path.join(folder, "cert.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1", "-keyout", path, "-out", path + ".crt"],
                   check=True, capture_output=True)
    with open(path, "a", encoding="ascii") as whole, open(path + ".crt", encoding="ascii") as certificate:
        whole.write(certificate.read())
    return path


@pytest.mark.parametrize("wrong", ["https", "path", "certificate"])
def test_a_wrong_address_is_an_incident_and_mended_by_a_restart(sqlite, folder, works, factory, wrong):
    party = factory()
    url = {"https": party.url.replace("http:", "https:"), "path": party.url + "/elsewhere"}.get(wrong)
    if wrong == "certificate":
        url = factory(cert=self_signed(folder)).url.replace("http:", "https:")
    works = works(sqlite, factory_url=url, retry_attempts=1)
    works.produce(20)
    await_outage(works, 20, "party_refuses_us")
    works.processes["factory"].stop()
    works.settings["factory_url"] = party.url
    works.start()
    expect_over(works, 20)
    works.shop.verify()


def test_a_no_that_only_one_call_meets_is_final_once_another_was_answered(sqlite, works, factory):
    party = factory(status=403)
    works = works(sqlite, factory_url=party.url)
    works.produce(1)
    works.party("waiting")
    party.mode(status=0)
    works.produce(3, name="q")
    works.wait_requested(4)


class Kitchen:
    """An order's actors beside a provider, and a pie."""

    def __init__(self, shop, client):
        self.shop, self.client = shop, client
        self.actors = {name: shop.actor(name) for name in ("product", "stock", "order", "payment", "dlq")}
        client.put("pie", 10)
        client.ok("product.put", {"product": "pie", "name": "Pie", "category": "other", "price": {"amount": 500, "currency": "BRL"}})
        wait_until(self.knows_menu, what="the order's menu")

    def knows_menu(self):
        return self.shop.sql("SELECT position FROM $cursor WHERE source = 'product/0'", "order") == [(1,)]

    def place(self, quantity):
        return self.client.ok("order.place", {"lines": [{"product": "pie", "quantity": quantity}], "method": "pix"})["id"]

    def order(self, order):
        return self.client.ok("order.get", {"order": order})

    def wait_status(self, order, status):
        return wait_until(lambda: self.order(order) if self.order(order)["status"] == status else None, 20, f"it is {status}")

    def wait_reserved(self, units):
        wait_until(lambda: self.client.level("pie")["reserved"] == units, what=f"{units} are reserved")

    def incidents(self, state="waiting"):
        return self.client.ok("dlq.list", {"state": state, "type": "outside.party"})["letters"]


@pytest.fixture
def provider():
    made = []

    def make(**options):
        made.append(Provider(**options))
        return made[-1]
    yield make
    for one in made:
        one.stop()


@pytest.mark.parametrize("fault", ["token", "forbidden", "nowhere", "moved"])
def test_orders_wait_for_a_provider_that_refuses_us_and_go_on_when_that_is_mended(database, make_shop, ask, provider, fault):
    bank = provider(token="tok_rotated_0123" if fault == "token" else TOKEN)
    if fault != "token":
        bank.script(charges=[fault])
    shop = make_shop(database, payment_url=bank.url, payment_token=TOKEN, **QUICK)
    kitchen = Kitchen(shop, ask(shop))
    orders = [kitchen.place(1) for _ in range(3)]
    given_up = kitchen.place(3)
    (letter,) = wait_until(kitchen.incidents, what="the incident")
    assert (letter["reason"], letter["key"]) == ("party_refuses_us", "payment")
    kitchen.client.ok("order.cancel", {"order": given_up})
    kitchen.wait_reserved(3)
    for order in orders:
        assert kitchen.order(order)["status"] == "awaiting_payment"
    if fault == "token":
        kitchen.actors["payment"].stop()
        shop.actor("payment", payment_token="tok_rotated_0123")
    else:
        bank.script(charges=["approve"])
    for order in orders:
        kitchen.wait_status(order, "received")
    assert kitchen.order(given_up)["status"] == "cancelled"
    assert len(bank.seen()["taken"]) == 3 and bank.seen()["doubles"] == 0
    wait_until(lambda: len(kitchen.incidents("done")) == 1, what="the incident is over")
    assert kitchen.client.ok("dlq.stats", {})["dead"] == 0


def test_an_order_that_waits_for_a_wrong_token_ends_at_its_deadline_as_any_that_is_not_paid(database, make_shop, ask, provider):
    bank = provider(token="tok_rotated_0123")
    shop = make_shop(database, payment_url=bank.url, payment_token=TOKEN, order_ttl_ms=1000, **QUICK)
    kitchen = Kitchen(shop, ask(shop))
    order = kitchen.place(2)
    assert kitchen.wait_status(order, "cancelled")["reason"] == "expired"
    kitchen.wait_reserved(0)


def test_ten_orders_of_which_the_provider_refuses_one_end_as_each_was_answered(sqlite, make_shop, ask, provider):
    bank = provider()
    bank.script(charges=["approve", "deny", "approve"])
    shop = make_shop(sqlite, payment_url=bank.url, payment_token=TOKEN, **QUICK)
    kitchen = Kitchen(shop, ask(shop))
    orders = [kitchen.place(1) for _ in range(10)]
    wait_until(lambda: sorted(kitchen.order(order)["status"] for order in orders) == ["payment_failed"] + 9 * ["received"], 20, "they end")
    assert kitchen.incidents() == [] and kitchen.incidents("done") == []
