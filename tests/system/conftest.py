# SPDX-License-Identifier: MPL-2.0
"""
What every system test stands on: a folder, a database of its own, a shop; and the processes' logs beside each failure.

LARDER names the binary. MySQL tests need a server: `tests/support/mariadb.sh run /usr/bin/python3 -m pytest tests/system`.
LARDER_LONG=1 lets the chaos last longer; LARDER_SEED=N repeats its choices.
"""

import os
import shutil
import sys
import tempfile
import uuid

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "support"))

# pylint: disable=wrong-import-position
from alone import pytest_configure, pytest_pyfunc_call
from buyers import Asker
from mysql_proxy import MysqlProxy
from processes import LARDER, Mysql, Shop, Sqlite


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    report = (yield).get_result()
    if report.failed:
        for shop in getattr(item, "shops", []):
            report.sections.append(("larder", shop.describe()))


@pytest.fixture
def folder():
    path = tempfile.mkdtemp(prefix="larder-s.")
    yield path
    shutil.rmtree(path, ignore_errors=True)


def make_mysql():
    server = os.environ.get("LARDER_TEST_DB_TCP")
    assert server, "LARDER_TEST_DB_TCP is not set: run this by tests/support/mariadb.sh run"
    return Mysql(f"{server}s_{uuid.uuid4().hex[:12]}")


@pytest.fixture
def mysql():
    return make_mysql()


@pytest.fixture
def sqlite(folder):
    return Sqlite(folder)


@pytest.fixture(params=["sqlite", "mysql"])
def database(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def make_shop(request, folder):
    assert os.access(LARDER, os.X_OK), f"{LARDER} is not there: make all"
    request.node.shops = []

    def make(database, shards=1, **settings):
        shop = Shop(folder, database, shards, **settings)
        request.node.shops.append(shop)
        return shop
    yield make
    for shop in request.node.shops:
        shop.close()


@pytest.fixture
def ask(request):
    """ask(shop) is a client of that shop."""
    askers = []

    def make(shop):
        askers.append(Asker(shop))
        return askers[-1]
    yield make
    for asker in askers:
        asker.close()


@pytest.fixture
def proxy(mysql):
    made = MysqlProxy(mysql.host, mysql.port)
    yield made
    made.close()
