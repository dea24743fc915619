# SPDX-License-Identifier: MPL-2.0
"""The measure that attacks are judged by: it must see a customer who waits, memory that stays and descriptors that stay."""

import socket
import time

import pytest

from bystanders import Bystanders
from patience import stretched

pytestmark = pytest.mark.alone


@pytest.fixture
def shop(make_shop, sqlite):
    return make_shop(sqlite)


@pytest.fixture
def process(shop):
    return shop.run()


def test_customers_beside_whom_nothing_happens_are_not_disturbed(shop, process):
    with Bystanders(shop.http, [process.pid]) as others:
        others.calm(1)
        with others.attack():
            time.sleep(1)
    others.were_not_disturbed()
    others.memory_came_back(16)
    others.descriptors_came_back(slack=12)


def test_a_shop_that_stands_still_is_seen(shop, process):
    with Bystanders(shop.http, [process.pid]) as others:
        others.calm(1)
        with others.attack():
            process.freeze()
            time.sleep(stretched(0.5))
            process.thaw()
            time.sleep(0.5)
    with pytest.raises(AssertionError, match="p99 over"):
        others.were_not_disturbed()


def test_descriptors_that_stay_are_seen(shop, process):
    host, port = shop.http.rsplit(":", 1)
    with Bystanders(shop.http, [process.pid]) as others:
        others.calm(0.1)
        kept = [socket.create_connection((host, int(port))) for _ in range(40)]
        with others.attack():
            time.sleep(0.1)
    with pytest.raises(AssertionError, match="descriptors now"):
        others.descriptors_came_back(deadline_s=0.5)
    for connection in kept:
        connection.close()
    others.descriptors_came_back()
