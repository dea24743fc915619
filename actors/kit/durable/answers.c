/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Stored answers: what a writing request was told, refusals of repeated ones included, so that asking again tells the same.
 *
 * STATE     $answer, clustered by a number made here, `request` unique beside it: that key is the idempotency.
 *
 * FAILURES  Two first attempts under one id: the second row violates the key, the batch is rolled back and runs again one by one,
 *           each looked up first.
 *
 * LIMITS    Rows are never taken away.
 */
#include "answers.h"

#include <stdlib.h>

#include "kit/base/memory.h"

struct answers {
    struct db *db;
    int64_t next; /* number of the next row */
    int64_t added;
};

struct answers *
answers_create(struct db *db)
{
    struct answers *answers = memory_new(1, sizeof *answers);
    answers->db = db;
    return answers;
}

static void
destroy(void *self)
{
    free(self);
}

static err
load(void *self)
{
    struct answers *answers = self;
    struct db_statement *read = db_statement(answers->db, "SELECT MAX(n) FROM $answer");
    err code = db_query(read);
    if (code != ERR_ok) {
        return code;
    }
    answers->next = db_next(read) && !db_is_null(read, 0) ? db_i64(read, 0) + 1 : 1;
    db_done(read);
    return ERR_ok;
}

err
answers_find(struct answers *answers, struct arena *arena, const struct id *requests, size_t count, struct answer *found,
             size_t *found_count)
{
    *found_count = 0;
    if (count == 0) {
        return ERR_ok;
    }
    struct db_in *in = db_in(answers->db, "SELECT request, fingerprint, fingerprint_kind, status, body FROM $answer {BY request}"
                                          " WHERE request IN (*)");
    for (size_t i = 0; i < count; i++) {
        db_in_id(in, &requests[i]);
    }
    for (struct db_statement *row = db_in_next(in); row != NULL; row = db_in_next(in)) {
        struct slice status = db_bytes(row, 3);
        struct answer *answer = &found[(*found_count)++];
        answer->request = db_id(row, 0);
        answer->fingerprint = (struct fingerprint){.hash = (uint64_t)db_i64(row, 1), .kind = db_i64(row, 2)};
        answer->status = err_find((const char *)status.data, status.size);
        answer->frame = arena_copy(arena, db_bytes(row, 4));
    }
    return db_in_end(in);
}

static struct db_rows *
rows_of(struct answers *answers)
{
    return db_rows(answers->db, "INSERT INTO $answer (n, request, fingerprint, fingerprint_kind, status, body, answered)", 7);
}

void
answers_add(struct answers *answers, const struct answer *answer, int64_t now_ms)
{
    struct db_rows *rows = rows_of(answers);
    db_rows_i64(rows, answers->next++);
    db_rows_id(rows, &answer->request);
    db_rows_i64(rows, (int64_t)answer->fingerprint.hash);
    db_rows_i64(rows, answer->fingerprint.kind);
    db_rows_text(rows, slice_of(err_symbol(answer->status)));
    db_rows_bytes(rows, answer->frame);
    db_rows_i64(rows, now_ms);
    answers->added++;
}

static err
queue(void *self)
{
    struct answers *answers = self;
    if (answers->added == 0) {
        return ERR_ok;
    }
    answers->added = 0;
    return db_rows_queue(rows_of(answers));
}

static void
dropped(void *self)
{
    struct answers *answers = self;
    answers->added = 0;
    db_rows_clear(rows_of(answers));
}

const struct part answers_part = {.load = load, .queue = queue, .dropped = dropped, .destroy = destroy};
