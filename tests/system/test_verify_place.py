# SPDX-License-Identifier: MPL-2.0
"""`larder verify` says first what it reads and last what it found, and never that nothing agrees: a place that is empty, missing, partly
there, read-only, or another one than the running shop's."""

import os
import shutil
import subprocess

import pytest
from processes import DONE, FAILED, LARDER, Sqlite, Mysql
from patience import stretched

NOTHING = 5


def verify(shop, *arguments, folder=None, without=(), prefix=()):
    """Run in a folder, without some of the variables: (exit status, words)."""
    env = {name: value for name, value in shop.env().items() if name not in without}
    done = subprocess.run([*prefix, LARDER, "verify", *arguments], cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=stretched(30), check=False)
    return done.returncode, done.stdout.decode()


@pytest.fixture(name="closed")
def closed_shop(database, make_shop, ask):
    shop = make_shop(database, shards=2)
    running = shop.run()
    ask(shop).put("bagel", 5)
    running.stop()
    return shop


def test_the_first_line_says_what_is_read_and_the_last_what_was_found(closed):
    status, words = verify(closed)
    first, last = words.splitlines()[0], words.splitlines()[-1]
    if isinstance(closed.database, Sqlite):
        assert first == f"verify reads the files in {os.path.realpath(closed.database.folder)} (LARDER_DATA)"
    else:
        assert closed.database.database in first and first.endswith("(LARDER_DB)") and "root@" not in first
    assert status == DONE and last.startswith("all agrees: 9 databases, ") and last.endswith(" rows"), words
    closed.sql("UPDATE $level SET on_hand = on_hand + 1 WHERE product = 'bagel'", shard=int(len(closed.sql("SELECT 1 FROM $level WHERE product = 'bagel'")) == 0))
    status, words = verify(closed)
    assert status == FAILED and words.splitlines()[-1] == "1 faults" and "all agrees" not in words, words


def test_the_flag_is_named_when_it_is_given(sqlite, make_shop):
    shop = make_shop(sqlite)
    shop.run().stop()
    for given in (["--data", sqlite.folder], [f"--data={sqlite.folder}"]):
        status, words = verify(shop, *given)
        assert status == DONE and words.splitlines()[0].endswith("(--data)"), words


@pytest.mark.parametrize("is_made", [True, False], ids=["empty", "missing"])
def test_a_place_where_nothing_is_does_not_agree(is_made, closed, folder):
    if isinstance(closed.database, Sqlite):
        place = os.path.join(folder, "elsewhere")
        if is_made:
            os.mkdir(place)
        status, words = verify(closed, "--data", place)
        assert os.path.exists(place) == is_made
    else:
        name = closed.database.database + "_x"
        if is_made:
            closed.database.run(f"CREATE DATABASE `{name}`")
        status, words = verify(closed, "--db", closed.database.url.replace(closed.database.database, name))
        there = closed.database.run(f"SHOW DATABASES LIKE '{name}'") != []
        closed.database.run(f"DROP DATABASE IF EXISTS `{name}`")
        assert there == is_made
    assert status == (NOTHING if is_made or isinstance(closed.database, Sqlite) else FAILED) and "agree" not in words, words


def remove(database, actor, shard):
    if isinstance(database, Mysql):
        tables = [name for (name,) in database.run(f"SHOW TABLES LIKE '{actor}\\_{shard}\\_%'")]
        database.run("DROP TABLE " + ", ".join(f"`{name}`" for name in tables))
    else:
        os.remove(database.path(actor, shard))


@pytest.mark.parametrize("actor, shard", [("stock", 1), ("factory", 0)])
def test_a_database_that_should_be_there_is_missed_by_name(actor, shard, closed):
    remove(closed.database, actor, shard)
    status, words = verify(closed)
    assert status == NOTHING and f"{actor}/{shard}: its database is not there" in words and "all agrees" not in words, words


def test_what_was_heard_of_an_actor_that_is_gone_names_it(closed):
    remove(closed.database, "product", 0)
    status, words = verify(closed)
    assert status == FAILED and "sales/0: it has taken 1 events of product/0, whose database is not there" in words, words


# --- the shop that is running ---


def test_a_flag_that_was_forgotten_is_told_by_the_shop_that_is_running(sqlite, make_shop, folder):
    other = make_shop(Sqlite(os.path.join(folder, "other")))
    other.run().stop()
    shop = make_shop(sqlite)
    shop.run()
    status, words = verify(shop, folder=os.path.join(folder, "other"), without=["LARDER_DATA"])
    assert "the default" in words.splitlines()[0] and status == FAILED, words
    assert f"stock/0: the shop that answers at {shop.endpoint('stock')} serves another database" in words, words
    assert "all agrees" not in words
    status, words = verify(shop)
    assert status == DONE and f"stock/0: it is open in the shop that answers at {shop.endpoint('stock')}" in words, words


def test_a_copy_that_is_named_is_proved_beside_the_shop_and_the_difference_is_noted(sqlite, make_shop, ask, folder):
    shop = make_shop(sqlite)
    running = shop.run()
    running.stop()
    copy = os.path.join(folder, "copy")
    shutil.copytree(sqlite.folder, copy)
    shop.run()
    client = ask(shop)
    client.put("bagel", 1, reorder_at=0)
    client.take("bagel")
    assert client.take("bagel").status != "ok"
    status, words = verify(shop, "--data", copy)
    assert status == DONE and "serves a later copy of this database" in words, words


# --- a place that may only be read ---


@pytest.fixture(name="reader")
def somebody_else(folder):
    """How to run something that may read all of the folder and write nothing there."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    os.chmod(folder, 0o755)
    return ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]


def let_read(place):
    os.chmod(place, 0o755)
    for name in os.listdir(place):
        os.chmod(os.path.join(place, name), 0o644)


def test_a_closed_shop_is_proved_by_somebody_who_may_only_read(sqlite, make_shop, reader):
    shop = make_shop(sqlite)
    shop.run().stop()
    let_read(sqlite.folder)
    status, words = verify(shop, prefix=reader)
    assert status == DONE and "all agrees" in words, words


def test_a_log_that_cannot_be_read_without_writing_is_told_as_it_is(sqlite, make_shop, reader):
    shop = make_shop(sqlite)
    shop.run().kill9()
    for name in os.listdir(sqlite.folder):
        if name.endswith("-shm"):
            os.remove(os.path.join(sqlite.folder, name))
    let_read(sqlite.folder)
    status, words = verify(shop, prefix=reader)
    assert status == FAILED and "write-ahead log" in words and "No such file" not in words, words


def test_a_file_that_may_not_be_read_is_told_as_it_is(sqlite, make_shop, reader):
    shop = make_shop(sqlite)
    shop.run().stop()
    let_read(sqlite.folder)
    os.chmod(sqlite.path("order"), 0o600)
    status, words = verify(shop, prefix=reader)
    assert status == FAILED and f"the database file {sqlite.path('order')} may not be read by this user" in words, words


# --- others that would look at nothing ---


def test_a_tail_that_hears_nobody_says_so(sqlite, make_shop):
    tail = make_shop(sqlite).start("tail", "stock.")
    tail.wait_log("none of 8 sources was heard")
    tail.kill9()


def test_a_tail_that_hears_a_shop_where_nothing_happens_says_nothing(sqlite, make_shop):
    shop = make_shop(sqlite)
    shop.run()
    tail = shop.start("tail", "--heads", "--count", "40")
    tail.wait_exit(DONE, deadline_s=30)
    assert "was heard" not in tail.log()
