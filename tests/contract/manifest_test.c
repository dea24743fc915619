/* SPDX-License-Identifier: MPL-2.0 */
/* Whose a database is, and what there is of an installation: a place that is empty, and a database that is lost, are no beginnings. */
#include <criterion/criterion.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kit/place/identity.h"
#include "../support/kit_place.h"
#include "kit/place/kit_schema.h"
#include "kit/telemetry/log.h"
#include "kit/place/manifest.h"
#include "kit/place/neighbours.h"

enum { STARTERS = 8 };

static const struct db_step own_steps[] = {
    {100, "CREATE TABLE IF NOT EXISTS $level (product {I64} NOT NULL PRIMARY KEY) {TABLE_END}"},
};

static struct err_text why;

static err
enter(struct place *place, const char *actor, int shard, struct manifest_ticket *ticket)
{
    log_init(false, LOG_LEVEL_ERROR);
    return manifest_enter(&place->settings, actor, shard, ticket, &why);
}

static struct db *
open_of(struct place *place, const char *actor, int shard)
{
    struct db_config config;
    struct db *db = NULL;
    cr_assert(settings_db(&place->settings, actor, shard, &config, &why) == ERR_ok);
    cr_assert(db_open(&config, &db, &why) == ERR_ok, "%s", why.text);
    return db;
}

static void
run(struct db *db, const char *sql)
{
    cr_assert(db_run(db_statement(db, sql), NULL) == ERR_ok, "%s", db_error(db));
    cr_assert(db_commit(db) == ERR_ok, "%s", db_error(db));
}

/* A database as an older build made it: whole, and without a word of whose it is. */
static void
make_old(struct place *place, const char *actor, int shard, int shards)
{
    char sql[160];
    struct db *db = open_of(place, actor, shard);
    cr_assert(db_migrate(db, kit_steps, kit_step_count, &why) == ERR_ok, "%s", why.text);
    cr_assert(db_migrate(db, own_steps, 1, &why) == ERR_ok, "%s", why.text);
    snprintf(sql, sizeof sql,
             "INSERT INTO $shard (shard, shards, epoch, batch, seq, incarnation, connection) VALUES (%d, %d, 1, 1, 0, "
             "X'30313233343536373839616263646566', 0)",
             shard, shards);
    run(db, sql);
    db_close(&db);
}

/* As an actor does it at its first start. */
static struct manifest_ticket
make_new(struct place *place, const char *actor, int shard)
{
    struct manifest_ticket ticket;
    cr_assert(enter(place, actor, shard, &ticket) == ERR_ok, "%s", why.text);
    make_old(place, actor, shard, ticket.entry.of);
    struct db *db = open_of(place, actor, shard);
    cr_assert(identity_put(db, &ticket, &why) == ERR_ok, "%s", why.text);
    db_close(&db);
    cr_assert(manifest_made(&place->settings, &ticket, &why) == ERR_ok, "%s", why.text);
    return ticket;
}

static void
lose(struct place *place, const char *actor, int shard)
{
    static const char *const tables[] = {"schema_version", "shard",  "outbox", "position", "cursor", "parked", "due",
                                         "answer",         "burial", "trial",  "identity", "level"};
    char text[600];
    if (place->config.driver == DB_SQLITE) {
        snprintf(text, sizeof text, "%s/%s_%d.db", place->folder, actor, shard);
        cr_assert(unlink(text) == 0);
        return;
    }
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++) {
        snprintf(text, sizeof text, "DROP TABLE `%s`.`%s_%d_%s`", place->config.name, actor, shard, tables[i]);
        place_run(place, text);
    }
}

static err
check(struct place *place, const struct manifest_ticket *ticket)
{
    struct db *db = open_of(place, ticket->entry.actor, ticket->entry.shard);
    err code = identity_check(db, ticket, own_steps, 1, &why);
    db_close(&db);
    return code;
}

/* What an actor meets at its next start. */
static err
start_again(struct place *place, const char *actor, int shard)
{
    struct manifest_ticket ticket;
    err code = enter(place, actor, shard, &ticket);
    return code == ERR_ok ? check(place, &ticket) : code;
}

static enum manifest_state
state_of(struct place *place, const char *actor, int shard)
{
    struct manifest manifest;
    bool is_there = false;
    cr_assert(manifest_read(&place->settings, &manifest, &is_there, &why) == ERR_ok, "%s", why.text);
    cr_assert(is_there);
    const struct manifest_entry *entry = manifest_find(&manifest, actor, shard);
    cr_assert(entry != NULL);
    return entry->state;
}

#define EXPECT_REFUSED(code, words)                                 \
    do {                                                            \
        cr_expect_eq((code), ERR_wrong_setting, "%s", why.text);    \
        cr_expect(strstr(why.text, words) != NULL, "%s", why.text); \
    } while (0)

ON_BOTH(manifest, lists_a_database_before_it_is_made)
{
    struct manifest_ticket ticket;
    cr_assert(enter(place, "stock", 0, &ticket) == ERR_ok, "%s", why.text);
    cr_expect_eq(ticket.entry.state, MANIFEST_MAKING);
    cr_expect_eq(state_of(place, "stock", 0), MANIFEST_MAKING);
    cr_assert(manifest_made(&place->settings, &ticket, &why) == ERR_ok, "%s", why.text);
    cr_expect_eq(state_of(place, "stock", 0), MANIFEST_MADE);
}

ON_BOTH(manifest, refuses_to_begin_at_a_place_that_a_setting_names)
{
    struct manifest_ticket ticket;
    place->settings.init = 0;
    place->settings.is_place_given = true;
    EXPECT_REFUSED(enter(place, "stock", 0, &ticket), "--init");
    place->settings.init = 1;
    cr_expect(enter(place, "stock", 0, &ticket) == ERR_ok, "%s", why.text);
}

ON_BOTH(manifest, begins_one_installation_however_often_it_is_told_to)
{
    struct manifest_ticket first = make_new(place, "stock", 0);
    struct manifest_ticket second = make_new(place, "dlq", 0);
    struct manifest_ticket third;
    cr_assert(enter(place, "stock", 0, &third) == ERR_ok, "%s", why.text);
    cr_expect(id_equal(&first.installation.id, &second.installation.id));
    cr_expect(id_equal(&first.installation.id, &third.installation.id));
    cr_expect_eq(third.entry.state, MANIFEST_MADE);
}

ON_BOTH(manifest, refuses_a_database_that_is_listed_and_missing)
{
    (void)make_new(place, "stock", 0);
    (void)make_new(place, "dlq", 0);
    lose(place, "dlq", 0);
    EXPECT_REFUSED(start_again(place, "dlq", 0), "dlq_0");
    EXPECT_REFUSED(start_again(place, "dlq", 0), "installation");
    cr_expect_eq(start_again(place, "stock", 0), ERR_ok, "%s", why.text);
    cr_expect_eq(state_of(place, "dlq", 0), MANIFEST_MADE);
}

ON_BOTH(manifest, makes_what_was_never_listed)
{
    struct manifest_ticket ticket;
    (void)make_new(place, "stock", 0);
    cr_assert(enter(place, "order", 0, &ticket) == ERR_ok, "%s", why.text);
    cr_expect_eq(ticket.entry.state, MANIFEST_MAKING);
}

ON_BOTH(manifest, goes_on_where_a_first_start_was_killed)
{
    struct manifest_ticket ticket;
    cr_assert(enter(place, "stock", 0, &ticket) == ERR_ok, "%s", why.text);
    cr_expect_eq(start_again(place, "stock", 0), ERR_ok, "before anything of it was made: %s", why.text);
    struct db *db = open_of(place, "stock", 0);
    cr_assert(db_migrate(db, kit_steps, kit_step_count, &why) == ERR_ok);
    db_close(&db);
    cr_expect_eq(start_again(place, "stock", 0), ERR_ok, "with its schema and nothing else: %s", why.text);
    db = open_of(place, "stock", 0);
    cr_assert(identity_put(db, &ticket, &why) == ERR_ok, "%s", why.text);
    db_close(&db);
    cr_expect_eq(start_again(place, "stock", 0), ERR_ok, "with its identity: %s", why.text);
}

ON_BOTH(manifest, begins_empty_what_was_given_up_and_only_once)
{
    struct manifest_ticket ticket;
    (void)make_new(place, "stock", 0);
    (void)make_new(place, "dlq", 0);
    EXPECT_REFUSED(manifest_give_up(&place->settings, "dlq", 0, &why), "moved away");
    EXPECT_REFUSED(manifest_give_up(&place->settings, "order", 0, &why), "not listed");
    lose(place, "dlq", 0);
    cr_assert(manifest_give_up(&place->settings, "dlq", 0, &why) == ERR_ok, "%s", why.text);
    ticket = make_new(place, "dlq", 0);
    cr_expect_eq(ticket.entry.state, MANIFEST_MAKING);
    lose(place, "dlq", 0);
    EXPECT_REFUSED(start_again(place, "dlq", 0), "dlq_0");
}

ON_BOTH(manifest, adopts_the_databases_of_an_older_build)
{
    struct manifest_ticket stock;
    struct manifest_ticket dlq;
    place->settings.init = 0;
    place->settings.is_place_given = true;
    place->settings.stock_shards = 2;
    {
        struct db_config config;
        place->settings.init = 1; /* the server's database itself is there already */
        cr_assert(settings_db(&place->settings, "stock", 0, &config, &why) == ERR_ok);
        make_old(place, "stock", 0, 2);
        make_old(place, "stock", 1, 2);
        make_old(place, "factory", 0, 1);
        make_old(place, "dlq", 0, 1);
        place->settings.init = 0;
    }
    cr_assert(enter(place, "stock", 0, &stock) == ERR_ok, "%s", why.text);
    cr_assert(enter(place, "dlq", 0, &dlq) == ERR_ok, "%s", why.text);
    static const struct id zeros;
    cr_expect(stock.installation.is_adopted);
    cr_expect(memcmp(&stock.installation.id, &zeros, NEIGHBOURS_AGE_SIZE) == 0, "nobody is older");
    cr_expect(id_equal(&stock.installation.id, &dlq.installation.id));
    cr_expect_eq(stock.entry.state, MANIFEST_MADE);
    cr_expect_eq(stock.entry.of, 2);
    cr_expect_eq(check(place, &stock), ERR_ok, "%s", why.text);
    cr_expect_eq(state_of(place, "factory", 0), MANIFEST_MADE);
    cr_expect_eq(start_again(place, "order", 0), ERR_ok, "that build had no orders here: %s", why.text);
}

ON_BOTH(manifest, takes_an_old_place_with_a_gap_for_no_beginning)
{
    make_old(place, "stock", 0, 1);
    make_old(place, "order", 0, 1);
    cr_expect_eq(start_again(place, "stock", 0), ERR_ok, "%s", why.text);
    EXPECT_REFUSED(start_again(place, "dlq", 0), "dlq_0");
    EXPECT_REFUSED(start_again(place, "payment", 0), "payment_0");
    make_old(place, "dlq", 0, 1);
    cr_expect_eq(start_again(place, "dlq", 0), ERR_ok, "it was put back: %s", why.text);
    cr_expect_eq(state_of(place, "dlq", 0), MANIFEST_MADE);
}

ON_BOTH(manifest, keeps_its_number_of_shards)
{
    struct manifest_ticket ticket;
    (void)make_new(place, "stock", 0);
    place->settings.stock_shards = 2;
    EXPECT_REFUSED(enter(place, "stock", 0, &ticket), "made for 1 shards");
    EXPECT_REFUSED(enter(place, "stock", 1, &ticket), "made for 1 shards");
}

ON_BOTH(identity, refuses_the_database_of_another_installation)
{
    struct manifest_ticket ticket = make_new(place, "stock", 0);
    ticket.installation.id = id_new();
    EXPECT_REFUSED(check(place, &ticket), "of installation");
}

ON_BOTH(identity, refuses_that_of_another_actor_or_shard)
{
    struct manifest_ticket ticket = make_new(place, "stock", 0);
    struct manifest_ticket other = ticket;
    struct db *db = open_of(place, "stock", 0);
    snprintf(other.entry.actor, sizeof other.entry.actor, "dlq");
    EXPECT_REFUSED(identity_check(db, &other, own_steps, 1, &why), "that of stock/0, not of dlq/0");
    other = ticket;
    other.entry.shard = 1;
    EXPECT_REFUSED(identity_check(db, &other, own_steps, 1, &why), "that of stock/0, not of stock/1");
    db_close(&db);
}

ON_BOTH(identity, refuses_an_old_database_in_the_place_of_a_new_one)
{
    struct manifest_ticket ticket = make_new(place, "stock", 0);
    struct db *db = open_of(place, "stock", 0);
    run(db, "DELETE FROM $identity");
    EXPECT_REFUSED(identity_check(db, &ticket, own_steps, 1, &why), "identity");
    ticket.installation.is_adopted = true;
    cr_expect_eq(identity_check(db, &ticket, own_steps, 1, &why), ERR_ok, "an adopted place may get an older copy back: %s", why.text);
    ticket.entry.shard = 1;
    EXPECT_REFUSED(identity_check(db, &ticket, own_steps, 1, &why), "that of shard 0");
    db_close(&db);
}

ON_BOTH(identity, refuses_an_old_database_without_the_tables_of_its_actor)
{
    static const struct db_step letters[] = {
        {100, "CREATE TABLE IF NOT EXISTS $letter (letter {I64} NOT NULL PRIMARY KEY) {TABLE_END}"}};
    struct manifest_ticket ticket;
    make_old(place, "stock", 0, 1);
    cr_assert(enter(place, "stock", 0, &ticket) == ERR_ok, "%s", why.text);
    struct db *db = open_of(place, "stock", 0);
    EXPECT_REFUSED(identity_check(db, &ticket, letters, 1, &why), "letter");
    db_close(&db);
}

ON_BOTH(identity, refuses_one_that_has_lost_its_shard_row)
{
    struct manifest_ticket ticket = make_new(place, "stock", 0);
    ticket.entry.state = MANIFEST_MADE;
    struct db *db = open_of(place, "stock", 0);
    run(db, "DELETE FROM $shard");
    EXPECT_REFUSED(identity_check(db, &ticket, own_steps, 1, &why), "shard");
    db_close(&db);
}

static void *
start_one(void *argument)
{
    static const char *const actors[STARTERS] = {"user", "product", "order", "payment", "sales", "stock", "factory", "dlq"};
    static _Atomic int next;
    struct place *place = argument;
    struct manifest_ticket *ticket = calloc(1, sizeof *ticket);
    struct err_text reason = {""};
    err code = manifest_enter(&place->settings, actors[next++], 0, ticket, &reason);
    code = code == ERR_ok ? manifest_made(&place->settings, ticket, &reason) : code;
    cr_assert(code == ERR_ok, "%s", reason.text);
    return ticket;
}

ON_BOTH(manifest, is_one_for_all_that_start_side_by_side)
{
    pthread_t threads[STARTERS];
    struct manifest_ticket *tickets[STARTERS];
    struct manifest manifest;
    bool is_there = false;
    log_init(false, LOG_LEVEL_ERROR);
    for (int i = 0; i < STARTERS; i++) {
        cr_assert(pthread_create(&threads[i], NULL, start_one, place) == 0);
    }
    for (int i = 0; i < STARTERS; i++) {
        void *ticket = NULL;
        pthread_join(threads[i], &ticket);
        tickets[i] = ticket;
    }
    cr_assert(manifest_read(&place->settings, &manifest, &is_there, &why) == ERR_ok && is_there, "%s", why.text);
    cr_expect_eq(manifest.count, STARTERS);
    for (int i = 0; i < STARTERS; i++) {
        cr_expect(id_equal(&tickets[i]->installation.id, &manifest.installation.id));
        cr_expect_eq(manifest.entries[i].state, MANIFEST_MADE);
        free(tickets[i]);
    }
}

static void
refuses_a_manifest_that_is_not_whole(struct place *place);
ON_ONE(manifest_sqlite, refuses_a_manifest_that_is_not_whole, DB_SQLITE)

static void
refuses_a_manifest_that_is_not_whole(struct place *place)
{
    static const char *const texts[] = {
        "",
        "larder installation 1\n",
        "larder installation 1\nid 01a1fb17-a069-7157-aafd-eb9319d22cae\nbegun 1\nadopted 0\nstock/0 of 1 made\n",
        "larder installation 1\nid 01a1fb17-a069-7157-aafd-eb9319d22cae\nbegun 1\nadopted 0\nstock/0 of 1 gone\nend\n",
        "larder installation 1\nid 01a1fb17-a069-7157-aafd-eb9319d22ca\nbegun 1\nadopted 0\nend\n",
        "larder installation 1\nid 01a1fb17-a069-7157-aafd-eb9319d22cae\nbegun 1\nadopted 0\nend\nstock/0 of 1 made\n",
        "larder installation 2\nid 01a1fb17-a069-7157-aafd-eb9319d22cae\nend\n",
    };
    char path[600];
    struct manifest_ticket ticket;
    (void)make_new(place, "stock", 0);
    snprintf(path, sizeof path, "%s/installation", place->folder);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        FILE *file = fopen(path, "w");
        cr_assert(file != NULL && fputs(texts[i], file) >= 0 && fclose(file) == 0);
        EXPECT_REFUSED(enter(place, "stock", 0, &ticket), "installation");
    }
    cr_assert(unlink(path) == 0);
    cr_expect_eq(start_again(place, "stock", 0), ERR_ok, "its databases say whose they are: %s", why.text);
    EXPECT_REFUSED(start_again(place, "dlq", 0), "dlq_0");
}
