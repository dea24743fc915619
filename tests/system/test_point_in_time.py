# SPDX-License-Identifier: MPL-2.0
"""MariaDB's own way back to a moment: a dump of the running shop, the binary log up to a place, and larder's backup and restore behind it,
by which whoever knows more is refused. The recipe of the README."""

import collections
import os
import subprocess

import pytest
from buyers import Book, Crowd
from mysql_server import MysqlServer
from patience import stretched, wait_until
from processes import DONE, Mysql
from test_backup import backup, restore, sold

MENU = [f"bagel-{number}" for number in range(4)]
SALES = 60
LOGGED = ("--log-bin=log", "--binlog-format=ROW", "--sync-binlog=1", "--server-id=1")


@pytest.fixture
def servers(folder):
    made = [MysqlServer(folder, "shop", LOGGED), MysqlServer(folder, "restored")]
    yield made
    for server in made:
        server.kill9()


def client(server):
    return ["-h", "127.0.0.1", "-P", str(server.port), "-u", "root"]


def run(words, **streams):
    done = subprocess.run(words, stderr=subprocess.PIPE, timeout=stretched(60), check=False, **streams)
    assert done.returncode == 0, f"{words}: {done.stderr.decode(errors='replace')}"


def dump(server, path):
    with open(path, "wb") as file:
        run(["mariadb-dump", "--no-defaults", *client(server), "--single-transaction", "--master-data=2", "--databases", "shop"], stdout=file)


def place_in_log(path):
    """File and position of the binary log at which the dump was made."""
    with open(path, encoding="utf-8", errors="replace") as file:
        line = next(line for line in file if line.startswith("-- CHANGE MASTER TO"))
    return line.split("'")[1], int(line.split("MASTER_LOG_POS=")[1].split(";")[0])


def bring_back(path, source, target, stop):
    """The dump, and what the log has behind it: up to a position, or a time."""
    with open(path, "rb") as file:
        run(["mariadb", "--no-defaults", *client(target)], stdin=file)
    name, start = place_in_log(path)
    with subprocess.Popen(["mariadb-binlog", "--no-defaults", "--skip-annotate-row-events", f"--start-position={start}", stop, "--database=shop", os.path.join(source.data, name)],
                          stdout=subprocess.PIPE) as log:
        run(["mariadb", "--no-defaults", *client(target)], stdin=log.stdout)
    assert log.returncode == 0


@pytest.mark.parametrize("by", ["position", "time"])
def test_a_dump_and_the_log_up_to_a_moment_are_a_shop_of_that_moment(by, servers, folder, make_shop, ask):
    server, target = servers
    shop = make_shop(Mysql(f"mysql://root@127.0.0.1:{server.port}/shop"))
    running, book, path = shop.run(), Book(), os.path.join(folder, "dump.sql")
    for product in MENU:
        ask(shop).put(product, 100_000)
    with Crowd(shop, book, MENU, count=8, is_patient=True):
        wait_until(lambda: book.units() >= SALES, 60, "sales before the dump")
        dump(server, path)
        at_dump = book.units()
        wait_until(lambda: book.units() >= at_dump + SALES, 60, "sales behind the dump")
        with book.lock:
            before = collections.Counter(book.sold)
        ((_, position, *_),) = server.sql("SHOW MASTER STATUS")
        ((moment,),) = server.sql("SELECT NOW() + INTERVAL 1 SECOND")
        wait_until(lambda: server.sql(f"SELECT NOW() > '{moment}' + INTERVAL 1 SECOND") == [["1"]], 60, "the moment is over")
        at_moment = book.units()
        wait_until(lambda: book.units() >= at_moment + SALES, 60, "sales that are to be gone")
    running.kill9()
    bring_back(path, server, target, f"--stop-position={position}" if by == "position" else f"--stop-datetime={moment}")

    brought = make_shop(Mysql(f"mysql://root@127.0.0.1:{target.port}/shop"))
    assert brought.command("verify")[0] == DONE, brought.command("verify")[1]
    kept = sold(brought)
    assert not before - kept, "answered before the moment, and not there"
    assert not kept - sold(shop) and kept != sold(shop), "what came behind it is gone"
    place, words = backup(brought, folder)
    assert "nobody was selling" in words
    restored = make_shop(Mysql(f"mysql://root@127.0.0.1:{target.port}/again"))
    restore(restored, place)
    assert sold(restored) == kept
    assert restored.sql("SELECT HEX(incarnation) FROM $shard") != shop.sql("SELECT HEX(incarnation) FROM $shard"), "whoever knows more is refused"
    restored.run()
    assert ask(restored).take(MENU[0]).status == "ok"
    restored.verify()
