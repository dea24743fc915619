/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The dlq's proof of its own rows, on both databases: quiet when all is well, and each kind of damage is named.
 *
 * PURPOSE   Every damage is done and proved inside a transaction that is rolled back, so that each meets the same sound rows.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "../support/kit_place.h"
#include "dlq/dlq.h"
#include "dlq/dlq_schema.h"
#include "dlq/letter/dlq_store.h"
#include "dlq/letter/dlq_tally.h"

#define NOW_MS INT64_C(1760000000000)
#define LETTERS 300

struct stage {
    struct db *db;
    char said[2048];
};

static void
listen(void *context, const char *sentence)
{
    struct stage *stage = context;
    size_t used = strlen(stage->said);
    snprintf(stage->said + used, sizeof stage->said - used, "%s\n", sentence);
}

static struct verify_report
verify(struct stage *stage)
{
    struct verify_report report = {.say = listen, .context = stage};
    stage->said[0] = '\0';
    place_expect(stage->db, dlq_verify(stage->db, &report), ERR_ok);
    return report;
}

static struct dlq_letter
a_letter(int64_t number)
{
    char name[32];
    snprintf(name, sizeof name, "letter %d", (int)number);
    struct dlq_letter letter = {
        .id = id_of_bytes(name, strlen(name)),
        .state = number % 3 == 0 ? DLQ_DONE : DLQ_DEAD,
        .kind = DLQ_EVENT,
        .reason = "internal",
        .destination = "stock/0",
        .key = "donut",
        .type = "factory.produced",
        .source = "factory/0",
        .seq = number,
        .to = DLQ_NONE,
        .attempts = 7,
        .first_ms = NOW_MS,
        .last_ms = NOW_MS,
        .changed_ms = NOW_MS,
        .opened_ms = NOW_MS + number,
        .units = number % 5 == 0 ? DLQ_NONE : 10,
        .amount = number % 7 == 0 ? 500 : DLQ_NONE,
        .useful_until_ms = DLQ_NONE,
        .status = ERR_COUNT,
    };
    if (number % 7 == 0) {
        strcpy(letter.currency, "BRL");
    }
    return letter;
}

/* The header of an event, as it was published. */
static struct slice
a_header(struct wire_buffer *out, const char *source, int64_t seq)
{
    struct wire_event_header header = {0};
    out->size = 0;
    WIRE_SET(&header, event_header, v, 1);
    WIRE_SET(&header, event_header, id, id_of_bytes(&seq, sizeof seq));
    WIRE_SET(&header, event_header, source, slice_of(source));
    WIRE_SET(&header, event_header, incarnation, id_of_bytes("here", 4));
    WIRE_SET(&header, event_header, seq, seq);
    WIRE_SET(&header, event_header, type, slice_of("factory.produced"));
    WIRE_SET(&header, event_header, key, slice_of("donut"));
    WIRE_SET(&header, event_header, time, NOW_MS);
    cr_assert(wire_encode(&event_header_body, &header, out));
    return (struct slice){out->data, out->size};
}

static void
keep(struct stage *stage, const char *source, int64_t seq)
{
    struct wire_buffer header = {0};
    struct db_statement *row = db_statement(stage->db, "INSERT INTO $kept (source, seq, header, body) VALUES (?, ?, ?, x'80')");
    db_bind_text(row, slice_of(source));
    db_bind_i64(row, seq);
    db_bind_bytes(row, a_header(&header, source, seq));
    place_expect(stage->db, db_run(row, NULL), ERR_ok);
    wire_buffer_fini(&header);
}

static void
run(struct stage *stage, const char *sql)
{
    int64_t matched = 0;
    place_expect(stage->db, db_run(db_statement(stage->db, sql), &matched), ERR_ok);
    cr_assert_gt(matched, 0, "nothing was changed: %s", sql);
}

/* Letters as the dlq writes them; a replay of three, and events kept for somebody, as it leaves them. */
static void
start(struct stage *stage, const struct place *place)
{
    struct err_text why = {""};
    struct wire_buffer header = {0};
    struct dlq_store store;
    *stage = (struct stage){.db = place_open(place)};
    cr_assert(db_migrate(stage->db, dlq_steps, DLQ_STEP_COUNT, &why) == ERR_ok, "%s", why.text);
    struct dlq_tally *tally = dlq_tally_create(stage->db);
    dlq_store_init(&store, stage->db);
    place_expect(stage->db, dlq_store_load(&store), ERR_ok);
    for (int64_t number = 1; number <= LETTERS; number++) {
        struct dlq_letter letter = a_letter(number);
        struct dlq_frames frames = {.header = a_header(&header, "factory/0", number), .body = slice_of("\x80")};
        dlq_store_insert(&store, &letter, &frames);
        dlq_tally_add(tally, &letter, 1);
    }
    place_expect(stage->db, dlq_store_flush(&store), ERR_ok);
    place_expect(stage->db, dlq_tally_queue(tally), ERR_ok);
    run(stage, "INSERT INTO $replay (n, id, state, filter, last_letter, selected_to, total, done, failed, rate, canary,"
               " stop_on_failure, author, reason, started, ended, stopped_by, error)"
               " SELECT 1, id, 'done', x'80', 300, 300, 2, 1, 1, 0, 0, 0, '', '', 1, 1, x'', '' FROM $letter WHERE n = 1");
    run(stage, "INSERT INTO $replay_letter (replay, place, letter, outcome) VALUES (1, 1, 1, 1), (1, 2, 2, 2), (1, 3, 4, 3)");
    run(stage, "INSERT INTO $hosting (source, subscriber, incarnation, is_client, session, position, copied, since)"
               " VALUES ('stock/0', 'factory/0', x'01', 0, x'', 10, 14, 1), ('stock/0', 'dlq.b', x'01', 1, x'', 12, 14, 0)");
    for (int64_t seq = 11; seq <= 14; seq++) {
        keep(stage, "stock/0", seq);
    }
    keep(stage, "stock/1", 13);
    place_expect(stage->db, db_commit(stage->db), ERR_ok);
    dlq_store_fini(&store);
    wire_buffer_fini(&header);
    dlq_tally_destroy(&tally);
}

ON_BOTH(dlq_verify, is_quiet_when_all_is_well)
{
    struct stage stage;
    start(&stage, place);
    struct verify_report report = verify(&stage);
    cr_expect(report.faults == 0 && stage.said[0] == '\0', "%s", stage.said);
    cr_expect_geq(report.rows_checked, LETTERS);
    db_close(&stage.db);
}

ON_BOTH(dlq_verify, names_what_was_changed_by_hand)
{
    static const struct {
        const char *sql;
        const char *named;
    } damages[] = {
        {"UPDATE $tally SET letters = letters + 1 WHERE state = 1 AND currency = ''", "the counters say"},
        {"UPDATE $tally SET units = units - 1 WHERE state = 3 AND currency = 'BRL'", "the counters say"},
        {"UPDATE $tally SET amount = amount + 5 WHERE state = 3 AND currency = 'BRL'", "the counters say"},
        {"DELETE FROM $tally WHERE state = 3 AND currency = 'BRL'", "the counters say 0 letters"},
        {"UPDATE $letter SET state = 4 WHERE n = 7", "discarded, stock/0, internal: the counters say 0 letters"},
        {"UPDATE $letter SET state = 77 WHERE n = 7", "its state or its kind is none"},
        {"DELETE FROM $letter WHERE n = 299", "the counters say"},
        {"UPDATE $letter SET id = x'0102030405060708090a0b0c0d0e0f10' WHERE n = 7 OR n = 8", "more than one letter has this id"},
        {"INSERT INTO $merged (one, n) VALUES (1, 5)", "it cannot be found by its id any more"},
        {"DELETE FROM $letter_frame WHERE n = 7", "its frames are gone"},
        {"UPDATE $letter SET opened = 5 WHERE n = 200", "outside of the bounds that filters trust"},
        {"UPDATE $letter SET seq = 8 WHERE n = 7", "another event than the one that lies in it"},
        {"UPDATE $letter SET letter_key = 'bagel' WHERE n = 7", "another event than the one that lies in it"},
        {"UPDATE $letter SET attempts = -1 WHERE n = 7", "none that the dlq writes"},
        {"UPDATE $letter_frame SET history_count = 1 WHERE n = 7", "its history is not as long as it says"},
        {"UPDATE $zone SET reasons = 0 WHERE zone = 0", "outside of the bounds that filters trust"},
        {"UPDATE $kept SET header = x'80' WHERE seq = 12", "no event or another"},
        {"INSERT INTO $audit (n, letter, replay, time, author, action, reason, detail) VALUES (1, 9999, 0, 1, '', 'edit', '', '')",
         "entry 1 of the audit is about nothing"},
        {"UPDATE $letter SET state = 0, kind = 2 WHERE n = 8", "no due row will deliver it"},
        {"UPDATE $replay SET failed = 0 WHERE n = 1", "its counters are not those of its letters"},
        {"UPDATE $replay_letter SET outcome = 0 WHERE place = 2", "its counters are not those of its letters"},
        {"UPDATE $replay_letter SET letter = 9999 WHERE place = 2", "a letter that there is not"},
        {"DELETE FROM $kept WHERE source = 'stock/0' AND seq = 13", "dlq.b of stock/0: event 13 is not kept"},
        {"DELETE FROM $kept WHERE source = 'stock/0' AND seq = 11", "factory/0 of stock/0: event 11 is not kept"},
        {"UPDATE $hosting SET copied = 15 WHERE subscriber = 'factory/0'", "factory/0 of stock/0: event 15 is not kept"},
        {"UPDATE $hosting SET copied = 9 WHERE subscriber = 'factory/0'", "less was copied (9) than it has applied (10)"},
    };
    struct stage stage;
    start(&stage, place);
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        run(&stage, damages[i].sql);
        struct verify_report report = verify(&stage);
        cr_expect(report.faults > 0 && strstr(stage.said, damages[i].named) != NULL, "%s: %s", damages[i].sql, stage.said);
        db_rollback(stage.db);
    }
    cr_expect_eq(verify(&stage).faults, 0, "%s", stage.said);
    db_close(&stage.db);
}

ON_BOTH(dlq_verify, tells_some_and_counts_all)
{
    struct stage stage;
    start(&stage, place);
    run(&stage, "DELETE FROM $letter_frame");
    struct verify_report report = verify(&stage);
    size_t lines = 0;
    for (const char *at = stage.said; (at = strchr(at, '\n')) != NULL; at++) {
        lines++;
    }
    cr_expect_eq(report.faults, LETTERS, "%d faults", (int)report.faults);
    cr_expect_eq(lines, 20, "%d lines", (int)lines);
    db_rollback(stage.db);
    db_close(&stage.db);
}
