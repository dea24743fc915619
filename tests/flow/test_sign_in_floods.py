# SPDX-License-Identifier: MPL-2.0
"""One caller does not take all places in which passwords are hashed: somebody quiet signs in as he does without a flood."""

import json
import statistics
import subprocess
import sys
import time
import uuid

import pytest

import processes
from guarded import PASSWORD, Guarded
from patience import stretched
from rest import ROOT

pytestmark = pytest.mark.alone

FLOODERS = 64
FACTOR = 3
ROUNDS = 8


@pytest.fixture(name="house", scope="module")
def make_house(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flooded")
    shop = processes.Shop(str(folder), processes.Sqlite(str(folder)), auth="required")
    shop.run()
    guarded = Guarded(shop)
    try:
        yield guarded
    finally:
        guarded.users.close()
        shop.close()


class Flood:
    """So many that sign in without a pause, as long as the block runs; `told` is what they were answered."""

    def __init__(self, house, accounts, addresses):
        command = [sys.executable, str(ROOT / "tests" / "support" / "sign_in_flood.py"), house.shop.http, str(FLOODERS), accounts, str(addresses)]
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.told = None

    def __enter__(self):
        assert self.child.stdout.readline() == "ready\n", "nobody was refused"
        return self

    def __exit__(self, *_):
        self.told = json.loads(self.child.communicate(timeout=stretched(60))[0])


def register(house):
    mail = f"{uuid.uuid4().hex}@example.com"
    house.ask("POST", "/v1/users", body={"email": mail, "password": PASSWORD}).is_ok(201)
    return mail


def sign_in(house, mail):
    """How long it took, in milliseconds."""
    began = time.monotonic()
    house.ask("POST", "/v1/sessions", body={"email": mail, "password": PASSWORD}).is_ok(201)
    return (time.monotonic() - began) * 1000


# what they guess at, from how many addresses (0: the quiet one's own), and whether the quiet one has signed in before
FLOODS = {"one account from one address": ("victim@example.com", 1, False), "accounts that there are not from one address": ("new", 1, False),
          "one account from many addresses": ("victim@example.com", FLOODERS, False), "one account from his own address": ("victim@example.com", 0, False),
          "many accounts from his own address": ("many", 0, True), "accounts that there are not from his own address": ("new", 0, True)}


@pytest.mark.parametrize("flood", FLOODS)
def test_a_quiet_person_signs_in_during_a_flood(house, flood):
    accounts, addresses, is_known = FLOODS[flood]
    known = register(house)
    calm = statistics.median(sign_in(house, known) for _ in range(ROUNDS))
    quiet = known if is_known else register(house)
    with Flood(house, accounts, addresses) as attack:
        began = time.monotonic()
        flooded = [sign_in(house, quiet) for _ in range(ROUNDS)]
        took = (time.monotonic() - began) * 1000
    calm = statistics.median([calm, *(sign_in(house, known) for _ in range(ROUNDS))])
    told = attack.told
    hash_ms = took / (told["looked_at"] + ROUNDS)  # of a machine that the flood keeps busy as well
    assert statistics.median(flooded) <= FACTOR * max(calm, hash_ms), (calm, hash_ms, sorted(flooded), told)
    assert set(told["statuses"]) <= {"401", "503", "504"}, told
    assert told["statuses"].get("504", 0) <= 0.01 * sum(told["statuses"].values()), "nobody waits for nothing"
    assert told["statuses"]["503"] > 0 and told["without_retry_after"] == 0, told
    assert told["refused_ms"] < calm, "who is refused hears it at once"

