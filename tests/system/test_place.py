# SPDX-License-Identifier: MPL-2.0
"""A place that is empty is no shop, and a database that is gone is no beginning: what is refused, in which words, and what is begun."""

import os
import shutil
import subprocess
import urllib.parse

import pytest
from conftest import make_mysql
from patience import stretched, wait_until
from processes import DONE, LARDER, OFFSETS, USAGE, Sqlite, request

ASK_FIRST = {"init": 0, "demo": 0}


def refused(shop, *arguments, **settings):
    """What it says when it does not start, and that this is a matter of its settings."""
    status, words = shop.command(*(arguments or ("run",)), **settings)
    assert status == USAGE, words
    return words


def files(folder):
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else None


def shelf(shop):
    return request(shop.http, "GET", "/product/donut")[0]


@pytest.mark.parametrize("command", [["run"], ["actor", "stock"], ["migrate"]])
def test_an_empty_place_that_a_setting_names_is_begun_by_init_alone(command, database, make_shop):
    shop = make_shop(database)
    if database.name == "sqlite":
        os.makedirs(database.folder)
    words = refused(shop, *command, **ASK_FIRST)
    assert "larder run" in words and "--init" in words, words
    assert database.name == "mysql" or files(database.folder) == []
    assert database.name == "sqlite" or database.run("SHOW TABLES") == []


def test_a_folder_that_is_not_there_is_not_made_without_init(sqlite, folder, make_shop):
    shop = make_shop(sqlite)
    assert sqlite.folder in refused(shop, **ASK_FIRST)
    assert files(sqlite.folder) is None
    assert "is not there" in refused(shop, data="another/place", **ASK_FIRST)
    assert "larder run --db sqlite:" in refused(shop, db=f"sqlite:{folder}/elsewhere", **ASK_FIRST)


@pytest.mark.parametrize("behind", ["\r", "\r\n", "\n", " ", "\t"])
def test_an_end_of_a_line_behind_a_place_is_refused_also_with_init(behind, sqlite, make_shop):
    assert "LARDER_DATA: ends in a" in refused(make_shop(sqlite), data=sqlite.folder + behind)
    assert files(sqlite.folder) is None


def test_parameters_of_a_database_address_are_refused_and_no_database_is_made(mysql, make_shop):
    shop = make_shop(mysql)
    for parameters in ("?charset=utf8mb4", "?", "?ssl=1&x=2"):
        assert "parameters" in refused(shop, db=mysql.url + parameters)
    address = urllib.parse.urlsplit(mysql.url)
    env = {**shop.env(), "DATABASE": f"{mysql.database}?charset=utf8mb4", "HOSTNAME": f"{address.hostname}:{address.port}", "USERNAME": "root"}
    del env["LARDER_DB"]
    done = subprocess.run([LARDER, "run"], env=env, capture_output=True, text=True, timeout=stretched(60), check=False)
    assert done.returncode == USAGE and "DATABASE" in done.stderr, done.stderr
    assert mysql.run(f"SHOW DATABASES LIKE '{mysql.database}_%'", use=False) == []


def test_a_database_of_a_server_is_not_made_without_init(mysql, make_shop):
    shop = make_shop(mysql)
    words = refused(shop, db=mysql.url + "_mistyped", **ASK_FIRST)
    assert "there is no database" in words and "--init" in words, words
    assert mysql.run(f"SHOW DATABASES LIKE '{mysql.database}_mistyped'", use=False) == []


def test_a_real_shop_has_no_donuts_that_nobody_has(database, make_shop):
    shop = make_shop(database, demo=0)
    running = shop.run()
    assert shelf(shop) == 404
    assert "installation_begun" in running.log()
    running.stop()
    running = shop.run(init=0)
    assert shelf(shop) == 404 and "database_new" not in running.log() and "installation_begun" not in running.log()


def test_the_default_place_begins_by_itself_with_the_demo(sqlite, folder, make_shop):
    shop = make_shop(sqlite)
    env = {name: value for name, value in shop.env().items() if name not in ("LARDER_DATA", "LARDER_INIT", "LARDER_DEMO")}
    with subprocess.Popen([LARDER, "run"], env=env, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as child:
        try:
            said = b""
            while b" started version=" not in said:
                line = child.stderr.readline()
                assert line, said
                said += line
            assert shelf(shop) == 200 and b"installation_begun" in said
        finally:
            child.kill()
    env["LARDER_DATA"] = ""
    shutil.rmtree(os.path.join(folder, "var"))
    done = subprocess.run([LARDER, "run"], env=env, cwd=folder, capture_output=True, text=True, timeout=stretched(60), check=False)
    assert done.returncode == USAGE and "--init" in done.stderr, "a variable that is set to nothing names no place: " + done.stderr


@pytest.mark.parametrize("actor", sorted(OFFSETS))
def test_a_database_that_is_gone_is_refused_by_name_whatever_init_says(actor, sqlite, make_shop):
    shop = make_shop(sqlite)
    shop.run().stop()
    kept = files(sqlite.folder)
    os.rename(sqlite.path(actor), sqlite.path(actor) + ".away")
    for settings in ({}, ASK_FIRST):
        words = refused(shop, **settings)
        assert f"{actor}_0.db is missing" in words and f"installation give-up {actor}/0" in words, words
    assert not os.path.exists(sqlite.path(actor))
    os.rename(sqlite.path(actor) + ".away", sqlite.path(actor))
    shop.run().stop()
    assert files(sqlite.folder) == kept
    shop.verify()


def test_tables_that_are_gone_are_refused_by_name(mysql, make_shop):
    shop = make_shop(mysql)
    shop.run().stop()
    tables = [name for (name,) in mysql.run("SHOW TABLES LIKE 'dlq\\_0\\_%'")]
    mysql.run("SET FOREIGN_KEY_CHECKS=0; " + "".join(f"DROP TABLE `{name}`;" for name in tables))
    words = refused(shop)
    assert "dlq_0" in words and "installation" in words, words
    assert mysql.run("SHOW TABLES LIKE 'dlq\\_0\\_%'") == []


def test_all_that_are_missing_are_named_at_once(sqlite, make_shop):
    shop = make_shop(sqlite)
    shop.run().stop()
    os.remove(sqlite.path("dlq"))
    os.remove(sqlite.path("order"))
    words = refused(shop)
    assert "dlq" in words and "order" in words, words


def test_another_file_in_the_place_of_one_is_refused_by_name(sqlite, folder, make_shop):
    shop = make_shop(sqlite)
    shop.run().stop()
    os.makedirs(os.path.join(folder, "second"))
    second = Sqlite(os.path.join(folder, "second"))
    make_shop(second).run().stop()
    shutil.copy(sqlite.path("dlq"), os.path.join(folder, "dlq.kept"))
    for other, said in ((sqlite.path("stock"), "that of stock/0, not of dlq/0"), (second.path("dlq"), "of installation")):
        shutil.copy(other, sqlite.path("dlq"))
        assert said in refused(shop), said
    open(sqlite.path("dlq"), "wb").close()
    assert "dlq/0" in refused(shop), "an empty file"
    shutil.copy(os.path.join(folder, "dlq.kept"), sqlite.path("dlq"))
    shop.run().stop()
    shop.verify()


def test_a_database_that_was_given_up_begins_empty_and_says_so(sqlite, make_shop):
    shop = make_shop(sqlite)
    shop.run().stop()
    os.remove(sqlite.path("sales"))
    shop.give_up("sales")
    running = shop.run(**ASK_FIRST)
    assert "database_new" in running.log() and "it was given up" in running.log()
    status, words = shop.command("installation", "show")
    assert status == DONE and "sales/0 of 1: made" in words, words


@pytest.mark.parametrize("new", [3, 9])
def test_a_first_start_that_was_killed_goes_on(new, database, make_shop):
    shop = make_shop(database)
    started = shop.start("run")
    wait_until(lambda: started.log().count("database_new") >= new or " started version=" in started.log(), what="so many are being made")
    started.kill9()
    shop.run(**ASK_FIRST).stop()
    shop.verify()
    status, words = shop.command("installation", "show")
    assert status == DONE and words.count(": made") == len(OFFSETS), words


def test_an_actor_that_was_never_there_is_made_and_said(database, make_shop):
    shop = make_shop(database)
    shop.actor("stock")
    factory = shop.actor("factory", **ASK_FIRST)
    line, = [line for line in factory.log().splitlines() if "database_new" in line]
    assert " warn " in line and "factory_0" in line, line


# --- beside another installation ---

def installation_of(shop, **settings):
    status, words = shop.command("installation", "show", **settings)
    assert status == DONE, words
    return words.split()[1].rstrip(",")


def readiness(shop, actor):
    status, _, body = request(shop.probe(actor), "GET", "/readyz")
    return status, body.decode()


def test_a_place_that_is_empty_beside_a_shop_that_is_open_is_not_begun(sqlite, folder, make_shop):
    shop = make_shop(sqlite)
    shop.actor("stock")
    other = os.path.join(folder, "other")
    status, words = shop.command("actor", "order", data=other)
    assert status == USAGE and f"installation {installation_of(shop)}" in words and "--installation" in words, words
    assert not os.path.exists(os.path.join(other, "installation"))
    joined = shop.actor("order", data=other, installation=installation_of(shop))
    assert installation_of(shop, data=other) == installation_of(shop), joined.log()


def test_a_newer_shop_that_meets_an_older_one_serves_nobody_until_it_is_gone(database, folder, make_shop, ask):
    shop = make_shop(database)
    shop.actor("stock").stop()
    other = {"data": os.path.join(folder, "other"), "db": ""}
    shop.actor("factory", **other).stop()
    ids = {installation_of(shop), installation_of(shop, **other)}
    stock = shop.actor("stock")
    factory = shop.start("actor", "factory", **other)
    factory.wait_log(" older_installation ")
    wait_until(lambda: readiness(shop, "factory")[0] == 503, what="readyz says no")
    assert all(each in readiness(shop, "factory")[1] for each in ids), readiness(shop, "factory")
    assert readiness(shop, "stock")[0] == 200, "the older one goes on"
    answer = ask(shop).once("factory.list", {})
    assert answer.status == "unavailable", answer
    stock.stop()
    wait_until(lambda: readiness(shop, "factory")[0] == 200, what="it serves when the other is gone")
    shop.actor("stock")
    wait_until(lambda: readiness(shop, "factory")[0] == 503, what="it notices one that comes while it serves")


def test_a_place_of_another_installation_than_the_one_named_is_refused(database, make_shop):
    shop = make_shop(database)
    shop.actor("stock").stop()
    ours, theirs = installation_of(shop), "01a22181-a66b-7416-b5a8-da5dda1175f6"
    words = refused(shop, "actor", "stock", installation=theirs)
    assert ours in words and theirs in words, words
    assert "LARDER_INSTALLATION" in refused(shop, "actor", "stock", installation="monday")
    shop.actor("stock", installation=ours)


def test_a_shop_of_an_older_build_gives_way_to_nobody(sqlite, folder, make_shop):
    shop = make_shop(sqlite)
    other = {"data": os.path.join(folder, "other")}
    shop.actor("factory", **other).stop()
    shop.actor("stock").stop()
    shop.sql("DROP TABLE $identity")
    shop.sql("DELETE FROM $schema_version WHERE version = 40")
    os.remove(os.path.join(sqlite.folder, "installation"))
    stock = shop.actor("stock", **ASK_FIRST)
    assert "installation_adopted" in stock.log()
    shop.start("actor", "factory", **other).wait_log(" older_installation ")
    wait_until(lambda: readiness(shop, "factory")[0] == 503, what="it was begun, so it is the newer one")
    assert readiness(shop, "stock")[0] == 200


# --- copies and proofs of it ---

def test_a_restored_place_is_of_the_same_installation(database, folder, make_shop):
    shop = make_shop(database)
    shop.run().stop()
    backup = os.path.join(folder, "backup")
    status, words = shop.command("backup", backup)
    assert status == DONE, words
    assert installation_of(shop, data=backup, db="") == installation_of(shop)
    for new in (Sqlite(os.path.join(folder, "new")), make_mysql()):
        copy = make_shop(new, **ASK_FIRST)
        new.drop()
        status, words = copy.command("restore", backup)
        assert status == DONE, words
        assert installation_of(copy) == installation_of(shop)
        copy.run().stop()
        copy.verify()


def test_a_backup_of_a_place_that_lacks_a_database_is_refused(sqlite, folder, make_shop):
    shop = make_shop(sqlite)
    shop.run().stop()
    os.remove(sqlite.path("dlq"))
    assert "dlq/0: listed in the manifest and missing" in refused(shop, "backup", os.path.join(folder, "backup"))


def test_verify_names_what_is_listed_and_missing_and_what_is_anothers(sqlite, folder, make_shop):
    shop = make_shop(sqlite)
    shop.run().stop()
    shop.verify()
    os.rename(sqlite.path("sales"), os.path.join(folder, "sales.kept"))
    status, words = shop.command("verify")
    assert status != DONE and f"sales/0: its database is listed in the manifest of installation {installation_of(shop)}" in words, words
    os.rename(os.path.join(folder, "sales.kept"), sqlite.path("sales"))
    os.makedirs(os.path.join(folder, "second"))
    second = make_shop(Sqlite(os.path.join(folder, "second")))
    second.run().stop()
    shutil.copy(second.database.path("sales"), sqlite.path("sales"))
    status, words = shop.command("verify")
    assert status != DONE and f"sales/0: its database is of installation {installation_of(second)}" in words, words
