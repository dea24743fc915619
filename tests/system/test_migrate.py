# SPDX-License-Identifier: MPL-2.0
"""`larder migrate` brings databases up to date and does nothing else; a shop whose database user may not make tables runs then; a database
of a later build is refused by whatever would write to it."""

import uuid

import pytest
from processes import DONE, FAILED, OFFSETS, USAGE

KEPT = ["dlq", "factory", "order", "payment", "product", "sales", "stock", "user"]
assert set(KEPT) == set(OFFSETS)


@pytest.fixture(name="small_user")
def small_user_of(mysql):
    """Settings with which a database user reads and writes rows, and makes nothing."""
    name = f"small_{uuid.uuid4().hex[:8]}"
    mysql.run(f"CREATE USER {name}@'%'; GRANT SELECT, INSERT, UPDATE, DELETE ON `{mysql.database}`.* TO {name}@'%'", use=False)
    yield {"db": f"mysql://{name}@{mysql.host}:{mysql.port}/{mysql.database}"}
    mysql.run(f"DROP USER {name}@'%'", use=False)


def lines(words):
    return dict(line.split("/0: ") for line in words.splitlines() if "/0: " in line)  # beside them the log says what is new


def test_migrate_makes_what_is_missing_and_says_what_it_did(database, make_shop):
    shop = make_shop(database)
    status, words = shop.command("migrate")
    assert status == DONE and sorted(lines(words)) == KEPT, words
    assert {said.split(",")[0] for said in lines(words).values()} == {"made"}, words
    shop.sql("DELETE FROM $schema_version WHERE version = 102", "order")
    shop.sql("DROP INDEX order_customer" + (" ON $order" if database.name == "mysql" else ""), "order")
    status, words = shop.command("migrate")
    assert status == DONE and lines(words)["order"] == "done: step 102", words
    assert {said for name, said in lines(words).items() if name != "order"} == {"nothing to do"}, words
    assert shop.sql("SELECT COUNT(*) FROM $shard") == [(0,)], "it takes no shard"
    shop.run().stop()
    shop.verify()


def test_a_shop_whose_user_may_not_make_tables_runs_behind_migrate(mysql, small_user, make_shop, ask):
    shop = make_shop(mysql)
    run = shop.start("run", **small_user)
    run.wait_exit(FAILED, deadline_s=20)
    assert "lacks the tables larder_installation and larder_member" in run.log() and "larder migrate" in run.log(), run.log()
    assert shop.command("migrate")[0] == DONE
    assert shop.command("migrate", **small_user)[0] == DONE, "there is nothing to do"
    run = shop.start("run", **small_user).wait_ready(shop.http)
    client = ask(shop)
    client.put("soup", 3)
    assert client.take("soup").status == "ok"
    run.stop()
    shop.sql("DELETE FROM $schema_version WHERE version = 102", "order")
    shop.sql("DROP INDEX order_customer ON $order", "order")
    run = shop.start("run", **small_user)
    run.wait_exit(FAILED, deadline_s=20)
    assert "the schema of order_0 lacks step 102" in run.log(), run.log()
    status, words = shop.command("migrate", **small_user)
    assert status == FAILED and "order_0 lacks step 102" in words, words


def test_a_database_of_a_later_build_is_refused_by_its_name_and_its_step(database, make_shop):
    shop = make_shop(database)
    shop.run().stop()
    shop.sql("INSERT INTO $schema_version (version, applied, oldest) VALUES (190, 1, 1)", "payment")
    shop.run().stop()  # one that allows this build
    shop.sql("INSERT INTO $schema_version (version, applied, oldest) VALUES (191, 1, 1000)", "payment")
    run = shop.start("run")
    run.wait_exit(USAGE, deadline_s=20)
    actor = shop.start("actor", "payment")
    actor.wait_exit(USAGE, deadline_s=20)
    for said in (run.log(), actor.log(), *(shop.command(command)[1] for command in ("migrate", "verify"))):
        assert "payment_0" in said and "builds before 1000 must not run on step 191" in said, said
    assert [shop.command(command)[0] for command in ("migrate", "verify")] == [USAGE, USAGE]
    other = shop.actor("stock")  # its database is as it was
    other.stop()
