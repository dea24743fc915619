/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   The databases that `larder verify` looks at: opened to read, found by their name, and the faults that are told of them.
 *
 * FAILURES
 *   A database of a later build is refused. A donut shop has stock and factory; another actor that was never started is said.
 */
#include "command_verify_survey.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "command/run/command_process.h"
#include "dlq/dlq.h"
#include "factory/factory.h"
#include "kit/settings/topology.h"
#include "kit/place/actor_schema.h"
#include "order/order.h"
#include "payment/payment.h"
#include "product/product.h"
#include "shared/menu.h"
#include "stock/stock.h"
#include "user/user.h"

static const struct verify_proof proofs[] = {
    {.actor = "stock", .what = "ledger, levels and holds", .verify = stock_verify},
    {.actor = "factory", .what = "productions", .verify = factory_verify},
    {.actor = "product", .what = "products and their versions", .verify = product_verify, .is_optional = true},
    {.actor = "sales", .what = "cards of the menu", .verify = menu_verify, .is_optional = true},
    {.actor = "user", .what = "people", .verify = user_verify, .is_optional = true},
    {.actor = "order", .what = "orders and their sagas", .verify = order_verify, .is_optional = true},
    {.actor = "payment", .what = "charges and refunds", .verify = payment_verify, .is_optional = true},
    {.actor = "dlq", .what = "letters, counters, replays and kept events", .verify = dlq_verify, .is_optional = true, .is_dlq = true},
};

void
verify_fault(struct verify_survey *survey, const char *place, const char *format, ...)
{
    char sentence[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    survey->faults++;
    fprintf(stderr, "%s: %s\n", place, sentence);
}

err
verify_unread(const struct verify_source *source, err code, struct err_text *why)
{
    return code == ERR_ok ? ERR_ok : err_say(why, code, "%s: the database cannot be read: %s", source->name, db_error(source->db));
}

const struct verify_source *
verify_find(const struct verify_survey *survey, const char *name)
{
    for (size_t i = 0; i < survey->count; i++) {
        if (strcmp(survey->sources[i].name, name) == 0) {
            return &survey->sources[i];
        }
    }
    return NULL;
}

bool
verify_is_absent(const struct verify_survey *survey, const char *name)
{
    for (size_t i = 0; i < survey->absent_count; i++) {
        if (strcmp(survey->absent[i], name) == 0) {
            return true;
        }
    }
    return false;
}

err
verify_end_snapshot(const struct verify_source *source, err code, struct err_text *why)
{
    code = code == ERR_ok ? db_settle(source->db) : code;
    code = verify_unread(source, code, why);
    db_rollback(source->db);
    return code;
}

/* --- what every actor has --- */

err
verify_read_head(const struct verify_source *source, int64_t *head)
{
    struct db_statement *read = db_statement(source->db, "SELECT seq FROM $shard WHERE shard = ?");
    db_bind_i64(read, source->shard);
    return verify_read_number(read, head);
}

err
verify_read_cursor(const struct verify_source *source, const char *of, int64_t *position)
{
    struct db_statement *read = db_statement(source->db, "SELECT position FROM $cursor WHERE source = ?");
    db_bind_text(read, slice_of(of));
    return verify_read_number(read, position);
}

err
verify_is_parked(const struct verify_source *source, struct slice key, bool *is)
{
    int64_t count = 0;
    struct db_statement *read = db_statement(source->db, "SELECT COUNT(*) FROM $parked WHERE event_key = ?");
    db_bind_text(read, key);
    err code = verify_read_number(read, &count);
    *is = count > 0;
    return code;
}

/* --- databases --- */

static bool
has_file(const struct db_config *config)
{
    char path[sizeof config->path + DB_PREFIX_MAX + 8];
    snprintf(path, sizeof path, "%s/%s.db", config->path, config->prefix);
    return config->driver != DB_SQLITE || access(path, F_OK) == 0;
}

/* Whether the tables are there that an actor makes at its first start, and it has. */
static err
has_tables(const struct verify_source *source, bool *are_there, struct err_text *why)
{
    struct db_statement *read = db_statement(
        source->db, "SELECT EXISTS (SELECT 1 FROM $shard) OR EXISTS (SELECT 1 FROM $cursor) OR EXISTS (SELECT 1 FROM $position)"
                    " OR EXISTS (SELECT 1 FROM $outbox) OR EXISTS (SELECT 1 FROM $answer)");
    err code = db_query(read);
    bool has_started = code == ERR_ok && db_next(read) && db_i64(read, 0) != 0;
    db_done(read);
    if (code == ERR_ok) {
        code = db_settle(source->db);
    }
    *are_there = code == ERR_ok && has_started;
    if (code == ERR_db_bug) { /* there is no such table */
        code = ERR_ok;
    }
    code = verify_unread(source, code, why);
    db_rollback(source->db);
    return code;
}

/* A database of a later build is refused; steps that are missing are said, as what is read may be of them. */
static err
read_schema(const struct verify_source *source, struct err_text *why)
{
    struct db_schema schema;
    struct err_text reason = {""};
    err code = actor_schema_read(process_class(source->proof->actor), source->db, &schema, &reason);
    if (code != ERR_ok) {
        return err_say(why, code, "%s: %s", source->name, reason.text);
    }
    if (schema.is_there && schema.missing > 0) {
        printf("%s: its schema lacks step%s %s: `larder migrate` or a start does that\n", source->name, schema.missing == 1 ? "" : "s",
               schema.steps);
    }
    return ERR_ok;
}

static err
open_source(struct verify_source *source, const struct settings *settings, bool *is_there, struct err_text *why)
{
    struct db_config config;
    err code = settings_db(settings, source->proof->actor, source->shard, &config, why);
    config.read_only = true;
    *is_there = code == ERR_ok && has_file(&config);
    if (*is_there) {
        code = db_open(&config, &source->db, why);
    }
    if (code == ERR_ok && *is_there) {
        code = has_tables(source, is_there, why);
    }
    if (code == ERR_ok && *is_there) {
        code = read_schema(source, why);
    }
    if (code == ERR_ok && !*is_there) {
        db_close(&source->db);
    }
    return code;
}

/* An actor that need not be there was never started; another is missing. */
static void
note_absent(struct verify_survey *survey, const struct verify_source *source)
{
    memcpy(survey->absent[survey->absent_count++], source->name, sizeof source->name);
    survey->missing += source->proof->is_optional ? 0 : 1;
}

void
verify_survey_say_absent(const struct verify_survey *survey)
{
    for (size_t i = 0; i < survey->absent_count; i++) {
        bool is_needed = false;
        for (size_t k = 0; k < sizeof proofs / sizeof proofs[0]; k++) {
            size_t size = strlen(proofs[k].actor);
            is_needed |=
                !proofs[k].is_optional && strncmp(survey->absent[i], proofs[k].actor, size) == 0 && survey->absent[i][size] == '/';
        }
        if (is_needed) {
            fprintf(stderr, "%s: its database is not there\n", survey->absent[i]);
        } else {
            printf("%s: was never started\n", survey->absent[i]);
        }
    }
}

err
verify_survey_open(struct verify_survey *survey, const struct settings *settings, struct err_text *why)
{
    for (size_t i = 0; i < sizeof proofs / sizeof proofs[0]; i++) {
        int of = topology_shards(settings, proofs[i].actor);
        for (int shard = 0; shard < of; shard++) {
            struct verify_source *source = &survey->sources[survey->count];
            bool is_there = true;
            *source = (struct verify_source){.proof = &proofs[i], .shard = shard, .of = of};
            snprintf(source->name, sizeof source->name, "%s/%d", proofs[i].actor, shard);
            err code = open_source(source, settings, &is_there, why);
            if (code != ERR_ok) {
                db_close(&source->db);
                return code;
            }
            if (!is_there) {
                note_absent(survey, source);
                continue;
            }
            survey->count++;
            if (proofs[i].is_dlq) {
                survey->dlq = source;
            }
        }
    }
    return ERR_ok;
}

void
verify_survey_close(struct verify_survey *survey)
{
    for (size_t i = 0; i < survey->count; i++) {
        db_close(&survey->sources[i].db);
    }
}
