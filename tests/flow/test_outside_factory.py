# SPDX-License-Identifier: MPL-2.0
"""The outside factory, by the whole way: an empty shelf, the donut shop's message over real HTTP, the callback to the gateway."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from patience import stretched, wait_child, wait_until

HERE = pathlib.Path(__file__).resolve().parent
DEADLINE_S = 15


def load_shop():
    """The conftest beside this file: tests/system has one of the same name."""
    spec = importlib.util.spec_from_file_location("flow_conftest", HERE / "conftest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def post(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"}, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=stretched(5)) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def until(true, what):
    return wait_until(true, DEADLINE_S, what, pause_s=0.02)


class Factory:
    """tests/support/outside_factory.py as a process of its own."""

    def __init__(self, *options):
        program = HERE.parent / "support" / "outside_factory.py"
        self.process = subprocess.Popen(
            [sys.executable, str(program), *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.port = int(self.process.stdout.readline().split()[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def seen(self):
        with urllib.request.urlopen(self.url + "/seen", timeout=stretched(5)) as answer:
            return json.load(answer)

    def stop(self):
        if self.process.poll() is None:
            self.process.stdin.close()
            wait_child(self.process, 10)


class Place:
    """A shop whose factory is outside."""

    def __init__(self, folder, database):
        self.folder = folder
        self.database = database
        self.factory = None
        self.shop = None

    def start(self, *options, **settings):
        self.factory = Factory(*options)
        self.shop = load_shop().Shop(self.folder, self.database, factory_url=self.factory.url, retry_first_ms=20, **settings)
        self.shop.start()
        self.stock = self.shop.client("stock")
        self.productions = self.shop.client("factory")
        self.letters = self.shop.client("dlq")
        return self

    def close(self):
        if self.shop is not None:
            status = self.shop.stop()
            self.shop.context.destroy(linger=0)
            assert status == 0, self.shop.log.read_text()[-2000:]
        if self.factory is not None:
            self.factory.stop()

    def empty_the_shelf(self):
        units = self.available()
        status, body = post(f"http://127.0.0.1:{self.shop.http}/checkout", {"quantity": units})
        assert status < 300, body

    def available(self):
        return self.stock.get("stock.get", {"product": "donut"})["available"]

    def letter(self, state):
        """The only letter about a call, once it is in this state."""

        def find():
            found = self.letters.get("dlq.list", {"kind": "call"})["letters"]
            assert len(found) <= 1, found
            return found[0] if found and found[0]["state"] == state else None

        return until(find, f"there is a {state} letter")

    def whole(self, letter):
        return self.letters.get("dlq.show", {"letter": letter["id"]})

    def replay(self, letter):
        return self.letters.get("dlq.replay", {"letter": letter["id"]})

    def mode(self, **mode):
        status, body = post(self.factory.url + "/mode", mode)
        assert status == 200, body

    def latest(self):
        found = self.productions.get("factory.list", {"limit": 1})["productions"]
        return found[0] if found else {"status": "none"}


@pytest.fixture(params=load_shop().databases())
def place(request, tmp_path):
    database = None
    if request.param == "mysql":
        name = f"outside_{os.getpid()}_{time.monotonic_ns() % 10**9}"
        load_shop().create_database(name)
        database = os.environ["LARDER_TEST_DB"] + name
    place = Place(tmp_path, database)
    yield place
    place.close()


def test_an_empty_shelf_is_refilled_by_the_shops_own_message(place):
    place.start("--delay-ms", "200")
    place.empty_the_shelf()
    until(lambda: place.latest()["status"] == "requested", "the factory took the production")
    assert place.available() == 0
    until(lambda: place.available() == 10, "the callback filled the shelf")
    (request,) = place.factory.seen()["requests"]
    callback_url = request["body"].pop("CallbackUrl")
    assert request["path"] == "/api/manufactures"
    assert request["body"] == {
        "MessageGroupId": "stock-arrival-group",
        "MessageAttributeProductId": "donut",
        "MessageAttributeProductCnt": "10",
        "MessageAttributeFactoryId": "FF-500293",
        "MessageAttributeRequester": "larder",
    }
    assert callback_url.startswith(f"http://127.0.0.1:{place.shop.http}/callback/")
    assert callback_url.rsplit("/", 1)[1] not in place.shop.log.read_text()


def test_a_second_callback_changes_nothing(place):
    place.start("--callbacks", "2")
    place.empty_the_shelf()
    until(lambda: len(place.factory.seen()["callbacks"]) == 2, "both callbacks were answered")
    until(lambda: place.available() == 10, "the shelf was filled")
    assert [callback["status"] for callback in place.factory.seen()["callbacks"]] == [200, 200]
    callback_url = place.factory.seen()["requests"][0]["body"]["CallbackUrl"]
    status, body = post(callback_url, {})
    assert (status, body["status"]) == (200, "produced")
    assert place.stock.get("stock.get", {"product": "donut"})["incoming"] == 0
    assert place.available() == 10


def test_a_callback_that_nobody_was_given_is_refused(place):
    place.start("--callbacks", "0")
    status, body = post(f"http://127.0.0.1:{place.shop.http}/callback/{'x' * 43}", {})
    assert status == 404, body
    assert place.latest()["status"] == "none"


def test_a_factory_that_fails_is_called_again_with_the_same_message(place):
    place.start("--fail", "3")
    place.empty_the_shelf()
    until(lambda: place.available() == 10, "the shelf was filled")
    requests = place.factory.seen()["requests"]
    assert [request["status"] for request in requests] == [500, 500, 500, 201]
    assert len({json.dumps(request["body"], sort_keys=True) for request in requests}) == 1
    assert len({request["headers"]["Idempotency-Key"] for request in requests}) == 1
    assert place.latest()["attempts"] == 4


def test_a_factory_that_was_down_gets_the_production_also_after_a_kill(place):
    place.start(call_timeout_ms=200)
    place.factory.stop()
    place.empty_the_shelf()
    until(lambda: place.latest().get("attempts", 0) >= 2, "it was tried twice")
    assert "did not answer" in place.latest()["error"]
    place.shop.kill()
    place.factory = Factory("--port", str(place.factory.port))
    place.shop.start()
    until(lambda: place.available() == 10, "the shelf was filled")
    assert len({request["body"]["CallbackUrl"] for request in place.factory.seen()["requests"]}) == 1
    assert len(place.productions.get("factory.list")["productions"]) == 1


def test_a_callback_that_does_not_come_is_asked_for_again(place):
    place.start("--callbacks", "0", call_timeout_ms=100)
    place.empty_the_shelf()
    until(lambda: len(place.factory.seen()["requests"]) == 2, "it was asked again")
    first, second = place.factory.seen()["requests"]
    assert first["body"] == second["body"]
    status, body = post(first["body"]["CallbackUrl"], {})
    assert (status, body["status"]) == (200, "produced")
    until(lambda: place.available() == 10, "the shelf was filled")
    assert len(place.productions.get("factory.list")["productions"]) == 1


def test_a_slow_factory_is_given_up_in_time_and_its_call_is_a_letter(place):
    # Whoever has not heard after two of these times asks once more, and counts it: a disk that stands still for one must not end the test.
    place.start("--slow-ms", "3000", "--callbacks", "0", call_timeout_ms=500, retry_attempts=3)
    place.empty_the_shelf()
    letter = place.letter("dead")
    assert (letter["reason"], letter["attempts"]) == ("call_failed", 3)
    assert "did not answer" in letter["error"]
    assert place.latest()["status"] == "ordered"
    assert place.shop.log.read_text().count("error factory/0 outside_call_given_up") == 1


def test_a_factory_that_fails_for_good_is_a_letter_and_replayed_once_it_is_mended_refills_once(place):
    place.start("--fail", "1000000", retry_attempts=4)
    place.empty_the_shelf()
    letter = place.letter("dead")
    assert {key: letter[key] for key in ("kind", "reason", "destination", "type", "key", "attempts", "units")} == {
        "kind": "call",
        "reason": "call_failed",
        "destination": "factory/0",
        "type": "factory.call",
        "key": "donut",
        "attempts": 4,
        "units": 10,
    }
    assert letter["error"].startswith("the factory answered HTTP 500") and "out of flour" in letter["error"]
    whole = place.whole(letter)
    assert len(whole["history"]) == 4
    assert all("out of flour" in attempt["error"] for attempt in whole["history"])
    fields = {field["name"]: field["value"] for field in whole["fields"]}
    assert fields["MessageAttributeProductCnt"] == "10"
    capability = place.factory.seen()["requests"][0]["body"]["CallbackUrl"].rsplit("/", 1)[1]
    assert capability not in str(whole), "no secret in a letter"
    assert len(place.factory.seen()["requests"]) == 4, "it is not called any more by itself"

    place.replay(letter)
    until(lambda: place.letters.get("dlq.show", {"letter": letter["id"]})["letter"]["attempts"] == 5, "one more call")
    letter = place.letter("dead")
    assert len(place.factory.seen()["requests"]) == 5

    place.mode(fail=0)
    place.replay(letter)
    until(lambda: place.available() == 10, "the shelf was filled")
    place.letter("done")
    requests = place.factory.seen()["requests"]
    assert [request["status"] for request in requests] == [500] * 5 + [201]
    assert len({request["body"]["CallbackUrl"] for request in requests}) == 1
    assert place.latest()["status"] == "produced"
    assert len(place.productions.get("factory.list")["productions"]) == 1
    assert place.stock.get("stock.get", {"product": "donut"})["incoming"] == 0


def test_a_factory_that_accepts_and_never_calls_back_is_a_letter(place):
    place.start("--callbacks", "0", call_timeout_ms=100, retry_attempts=2)
    place.empty_the_shelf()
    letter = place.letter("dead")
    assert (letter["reason"], letter["units"]) == ("unacknowledged", 10)
    assert "accepted the production 2 times and never called back" in letter["error"]
    assert place.latest()["status"] == "requested"
    assert len(place.factory.seen()["requests"]) == 2
    status, body = post(place.factory.seen()["requests"][0]["body"]["CallbackUrl"], {})
    assert (status, body["status"]) == (200, "produced")
    place.letter("done")
    until(lambda: place.available() == 10, "the callback filled the shelf")
    assert len(place.factory.seen()["requests"]) == 2


def test_a_letter_is_done_when_its_production_is_cancelled(place):
    place.start("--fail", "1000000", retry_attempts=1)
    place.empty_the_shelf()
    place.letter("dead")
    assert place.productions.get("factory.cancel", {"id": place.latest()["id"]})["status"] == "failed"
    place.letter("done")


def test_a_call_that_was_given_up_is_still_a_letter_after_a_kill(place):
    place.start("--fail", "1000000", retry_attempts=2)
    place.empty_the_shelf()
    letter = place.letter("dead")
    place.shop.kill()
    place.shop.start()
    assert place.letter("dead")["attempts"] == letter["attempts"]
    place.mode(fail=0)
    place.replay(letter)
    until(lambda: place.available() == 10, "the shelf was filled")
    place.letter("done")
    assert len(place.factory.seen()["requests"]) == 3
