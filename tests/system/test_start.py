# SPDX-License-Identifier: MPL-2.0
"""A process opens the databases of its actors side by side, lets none of them be reached before all are open, and says who failed."""

import contextlib
import socket

import pytest
from processes import DONE, OFFSETS, USAGE, wait_until

NAMES = ["dlq", "stock", "factory", "product", "user", "payment", "order", "sales"]
KEPT = [name for name in NAMES if name != "sales"]


@contextlib.contextmanager
def schema_is_held(mysql, *actors):
    """As another starter would, who is in the middle of it: nobody makes the tables of these actors meanwhile."""
    with contextlib.ExitStack() as held:
        for actor in actors:
            held.enter_context(mysql.locked(actor, 0, f"SELECT GET_LOCK('larder:{actor}_0', 20)"))
        yield


def has_its_tables(mysql, actor):
    """The row of its shard is the last thing that an actor makes before it is open."""
    tables = mysql.run(f"SHOW TABLES LIKE '{actor}_0_shard'")
    return bool(tables) and mysql.sql(actor, 0, "SELECT COUNT(*) FROM $shard WHERE epoch > 0") == [(1,)]


def accepts(shop, actor):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", shop.base_port + OFFSETS[actor]), 1):
        return True
    return False


@pytest.mark.parametrize("slow", ["dlq", "order"])
def test_the_others_do_not_wait_for_one_whose_database_is_slow_and_none_is_reached_before_it(slow, mysql, make_shop):
    shop = make_shop(mysql)
    with schema_is_held(mysql, slow):
        run = shop.start("run")
        for name in KEPT:
            if name != slow:
                wait_until(lambda name=name: has_its_tables(mysql, name), what=f"{name} is open")
        assert not has_its_tables(mysql, slow)
        assert "actor_started" not in run.log()
        assert [name for name in NAMES if accepts(shop, name)] == []
    run.wait_ready(shop.http)
    started = [line.split()[2] for line in run.log().splitlines() if "actor_started" in line]
    assert started == [f"{name}/0" for name in NAMES], run.log()
    run.stop()


def test_the_first_that_fails_is_named_and_the_others_end_cleanly(database, make_shop):
    shop = make_shop(database)
    shop.run().stop()
    run = shop.start("run", stock_shards=2)  # its database was made for one
    run.wait_exit(USAGE, deadline_s=20)
    assert "stock/0: " in run.log() and "actor_started" not in run.log(), run.log()
    again = shop.run()
    assert "run_before_did_not_end_cleanly" not in again.log()
    again.stop()


def test_a_port_that_is_taken_ends_the_start_in_order(database, make_shop):
    shop = make_shop(database)
    with socket.create_server(("127.0.0.1", shop.base_port + OFFSETS["payment"])):
        run = shop.start("run")
        run.wait_exit(USAGE, deadline_s=20)
    assert "is another larder running?" in run.log() and "payment" in run.log(), run.log()
    assert shop.run().stop(DONE) < 5
