/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   The outbox towards the dlq. What an actor gives up is a row here in the same transaction, and goes to the dlq until that
 *           has it on disk; so neither a crash nor an away dlq loses a letter, and nobody waits for it.
 *
 * MESSAGES  dlq.bury, sent by the loop (rows.c)
 *
 * STATE     $burial (n, letter, frame), sent in the order of n. A letter that is buried again, or settled, before it was confirmed
 *           gets a new row and a new n, so that the confirmation of the old row does not count for it. In memory numbers alone: up
 *           to which n rows are on disk, confirmed, and gone. Confirmed rows go with the next commit; after a crash in between they
 *           are sent again, and the dlq takes no notice.
 *
 * FAILURES  Anything but ok is repeated with back-off from FIRST_MS to LAST_MS, for ever.
 *
 * LIMITS    BURY_MAX letters and BURY_BYTES a message. A letter that is larger by itself goes without its frames.
 */
#include "burials.h"

#include <stdio.h>
#include <stdlib.h>

#include "kit/base/memory.h"
#include "kit/telemetry/log.h"
#include "kit/telemetry/metrics.h"

enum { BURY_MAX = 256, BURY_BYTES = 768 * 1024, BURY_HEAD = 64, FIRST_MS = 200, LAST_MS = 5000, LABEL_SIZE = 96 };

/* What the batch under way writes. */
struct queued {
    struct id id;
    struct slice frame; /* empty: only a row that is there is replaced */
    bool is_settled;
    bool is_note;     /* the frame is no burial: it gives way to the row that it replaces */
    int64_t replaces; /* n of the row that it replaces; 0 for none */
};

struct burials {
    struct db *db;
    const char *actor;
    struct arena *arena;   /* of the batch under way */
    int64_t last_n;        /* given out, this batch included */
    int64_t last_on_disk;  /* as of the last commit */
    int64_t sent_to;       /* of the message under way; 0: its outcome does not matter any more */
    int64_t confirmed_to;  /* rows up to here may go */
    int64_t gone_to;       /* rows up to here are gone */
    int64_t going_to;      /* rows up to here go with the batch under way */
    int64_t rows;          /* on disk */
    int64_t rows_of_batch; /* how many more it makes them */
    int64_t due_ms;        /* not sent before this */
    int64_t pause_ms;      /* 0: the last message was confirmed */
    bool is_sending;
    struct queued *letters;
    size_t count;
    size_t capacity;
    struct metric *waiting;
};

struct burials *
burials_create(struct db *db, const char *actor)
{
    struct burials *burials = memory_new(1, sizeof *burials);
    char labels[LABEL_SIZE];
    snprintf(labels, sizeof labels, "actor=\"%.64s\"", actor);
    burials->db = db;
    burials->actor = actor;
    burials->waiting = metric(METRIC_GAUGE, "larder_burials_waiting", labels, "Letters that the dlq has not confirmed yet.");
    return burials;
}

static void
destroy(void *self)
{
    struct burials *burials = self;
    free(burials->letters);
    free(burials);
}

/* Numbers never fall, also when all rows are gone: the outcome of an old message must not count for a new row. */
static err
load(void *self)
{
    struct burials *burials = self;
    struct db_statement *read = db_statement(burials->db, "SELECT COUNT(*), MIN(n), MAX(n) FROM $burial");
    err code = db_query(read);
    if (code != ERR_ok || !db_next(read)) {
        return code;
    }
    burials->rows = db_i64(read, 0);
    int64_t first = db_i64(read, 1);
    int64_t last = db_i64(read, 2);
    db_done(read);
    burials->last_n = last > burials->last_n ? last : burials->last_n;
    burials->last_on_disk = burials->rows > 0 ? last : burials->last_n;
    burials->confirmed_to = burials->gone_to = burials->going_to = burials->rows > 0 ? first - 1 : burials->last_n;
    burials->sent_to = 0;
    burials->count = 0;
    burials->rows_of_batch = 0;
    metric_set(burials->waiting, burials->rows);
    return ERR_ok;
}

/* --- inside the batch --- */

/* The entry of this letter, a new one when the batch has not met it. */
static struct queued *
letter_of(struct burials *burials, const struct id *id)
{
    for (size_t i = burials->count; i > 0; i--) {
        if (id_equal(&burials->letters[i - 1].id, id)) {
            return &burials->letters[i - 1];
        }
    }
    burials->letters = memory_grow(burials->letters, &burials->capacity, burials->count + 1, sizeof *burials->letters);
    struct queued *added = &burials->letters[burials->count++];
    *added = (struct queued){.id = *id};
    return added;
}

/* Frames that are too large are left out: the row has them. */
static struct slice
encode(struct arena *arena, const struct wire_burial *burial)
{
    struct wire_burial less = *burial;
    size_t frames = (WIRE_HAS(&less, burial, body) ? less.body.size : 0) + (WIRE_HAS(&less, burial, header) ? less.header.size : 0);
    struct slice frame = frames < BURY_BYTES ? arena_encode(arena, &burial_body, &less) : (struct slice){0};
    if (frame.size > 0 && frame.size <= BURY_BYTES - BURY_HEAD) {
        return frame;
    }
    less.has &= ~(UINT64_C(1) << burial_BIT_header | UINT64_C(1) << burial_BIT_body);
    return arena_encode(arena, &burial_body, &less);
}

void
burials_add(struct burials *burials, struct arena *arena, const struct wire_burial *burial)
{
    struct queued *letter = letter_of(burials, &burial->letter);
    struct wire_burial whole = *burial;
    WIRE_SET(&whole, burial, destination, slice_of(burials->actor));
    burials->arena = arena;
    letter->frame = encode(arena, &whole);
    letter->is_settled = letter->is_note = false;
}

/* A letter that the dlq has already is known to it by its id: the rest only fills what a burial must have. */
static struct slice
encode_note(const struct burials *burials, struct arena *arena, const struct id *id, int64_t now_ms)
{
    struct wire_burial note = {0};
    WIRE_SET(&note, burial, letter, *id);
    WIRE_SET(&note, burial, kind, slice_of("call"));
    WIRE_SET(&note, burial, destination, slice_of(burials->actor));
    WIRE_SET(&note, burial, reason, slice_of(err_symbol(ERR_ok)));
    WIRE_SET(&note, burial, error, slice_of(""));
    WIRE_SET(&note, burial, attempts, 1);
    WIRE_SET(&note, burial, first, now_ms);
    WIRE_SET(&note, burial, last, now_ms);
    WIRE_SET(&note, burial, history, (struct wire_list){0});
    WIRE_SET(&note, burial, key, slice_of(""));
    WIRE_SET(&note, burial, settled, true);
    return encode(arena, &note);
}

void
burials_settle(struct burials *burials, struct arena *arena, const struct id *id, int64_t now_ms)
{
    struct queued *letter = letter_of(burials, id);
    burials->arena = arena;
    letter->is_settled = true;
    if (letter->frame.size == 0) {
        letter->frame = encode_note(burials, arena, id, now_ms);
        letter->is_note = true;
    }
}

static bool
is_due(void *self)
{
    const struct burials *burials = self;
    return burials->confirmed_to > burials->gone_to;
}

/* Finds the rows of the batch's letters that are not confirmed yet. */
static err
find_rows(struct burials *burials)
{
    struct db_in *in = db_in(burials->db, "SELECT letter, n FROM $burial {BY letter} WHERE letter IN (*)");
    for (size_t i = 0; i < burials->count; i++) {
        burials->letters[i].replaces = 0;
        db_in_id(in, &burials->letters[i].id);
    }
    for (struct db_statement *row = db_in_next(in); row != NULL; row = db_in_next(in)) {
        struct id id = db_id(row, 0);
        int64_t n = db_i64(row, 1);
        if (n > burials->confirmed_to) {
            letter_of(burials, &id)->replaces = n;
        }
    }
    return db_in_end(in);
}

/* The row that is there, or the frame of this batch, with the word that it is finished. */
static err
settle_frame(struct burials *burials, struct arena *arena, struct queued *letter)
{
    if (letter->replaces > 0 && (letter->is_note || letter->frame.size == 0)) {
        struct db_statement *read = db_statement(burials->db, "SELECT frame FROM $burial WHERE n = ?");
        db_bind_i64(read, letter->replaces);
        err code = db_query(read);
        if (code == ERR_ok && db_next(read)) {
            letter->frame = arena_copy(arena, db_bytes(read, 0));
            db_done(read);
        }
        if (code != ERR_ok) {
            return code;
        }
    }
    struct wire_burial burial;
    struct err_text why;
    if (letter->frame.size == 0) {
        return ERR_ok;
    }
    if (wire_decode(&burial_body, letter->frame, &burial, &why) != ERR_ok) {
        log_error("burial_cannot_be_read", LOG_ID("letter", &letter->id), LOG_TEXT("why", why.text));
        return ERR_ok;
    }
    WIRE_SET(&burial, burial, settled, true);
    letter->frame = arena_encode(arena, &burial_body, &burial);
    return ERR_ok;
}

static err
queue_letters(struct burials *burials, struct arena *arena)
{
    struct db_rows *rows = db_rows(burials->db, "INSERT INTO $burial (n, letter, frame)", 3);
    struct db_statement *forget = db_statement(burials->db, "DELETE FROM $burial WHERE n = ?");
    for (size_t i = 0; i < burials->count; i++) {
        struct queued *letter = &burials->letters[i];
        err code = letter->is_settled ? settle_frame(burials, arena, letter) : ERR_ok;
        if (code == ERR_ok && letter->frame.size > 0 && letter->replaces > 0) {
            db_bind_i64(forget, letter->replaces);
            code = db_queue(forget, 1);
            burials->rows_of_batch--;
        }
        if (code != ERR_ok) {
            return code;
        }
        if (letter->frame.size > 0) {
            db_rows_i64(rows, ++burials->last_n);
            db_rows_id(rows, &letter->id);
            db_rows_bytes(rows, letter->frame);
            burials->rows_of_batch++;
        }
    }
    return db_rows_queue(rows);
}

static err
queue(void *self)
{
    struct burials *burials = self;
    burials->going_to = burials->gone_to;
    burials->rows_of_batch = 0;
    if (is_due(burials)) {
        int64_t gone = 0;
        struct db_statement *forget = db_statement(burials->db, "DELETE FROM $burial WHERE n <= ?");
        db_bind_i64(forget, burials->confirmed_to);
        err code = db_run(forget, &gone);
        if (code != ERR_ok) {
            return code;
        }
        burials->going_to = burials->confirmed_to;
        burials->rows_of_batch -= gone;
    }
    if (burials->count == 0) {
        return ERR_ok;
    }
    err code = burials->last_on_disk > burials->confirmed_to ? find_rows(burials) : ERR_ok;
    return code == ERR_ok ? queue_letters(burials, burials->arena) : code;
}

static void
committed(void *self)
{
    struct burials *burials = self;
    burials->gone_to = burials->going_to;
    burials->rows += burials->rows_of_batch;
    burials->rows_of_batch = 0;
    burials->last_on_disk = burials->last_n;
    burials->count = 0;
    metric_set(burials->waiting, burials->rows);
}

static void
dropped(void *self)
{
    struct burials *burials = self;
    burials->going_to = burials->gone_to;
    burials->rows_of_batch = 0;
    burials->last_n = burials->last_on_disk;
    burials->count = 0;
}

const struct part burials_part = {
    .load = load, .is_due = is_due, .queue = queue, .committed = committed, .dropped = dropped, .destroy = destroy};

/* --- sending --- */

int64_t
burials_next_ms(const struct burials *burials)
{
    return burials->is_sending || burials->last_on_disk <= burials->confirmed_to ? INT64_MAX : burials->due_ms;
}

/* How far a message reaches: rows are measured before they are read. */
static err
measure(struct burials *burials, int64_t *to)
{
    struct db_statement *read = db_statement(burials->db, "SELECT n, LENGTH(frame) FROM $burial WHERE n > ? ORDER BY n LIMIT 256");
    _Static_assert(BURY_MAX == 256, "as the query says");
    db_bind_i64(read, burials->confirmed_to);
    int64_t bytes = BURY_HEAD;
    err code = db_query(read);
    *to = 0;
    while (code == ERR_ok && db_next(read)) {
        bytes += db_i64(read, 1);
        if (*to > 0 && bytes > BURY_BYTES) {
            db_done(read);
            break;
        }
        *to = db_i64(read, 0);
    }
    return code;
}

err
burials_next(struct burials *burials, struct arena *arena, struct slice *frame)
{
    int64_t to = 0;
    *frame = (struct slice){0};
    err code = measure(burials, &to);
    if (code != ERR_ok || to == 0) {
        return code;
    }
    struct wire_dlq_bury bury = {0};
    struct wire_list list = {0};
    struct wire_buffer elements = {0};
    struct db_statement *read = db_statement(burials->db, "SELECT frame FROM $burial WHERE n > ? AND n <= ? ORDER BY n");
    db_bind_i64(read, burials->confirmed_to);
    db_bind_i64(read, to);
    code = db_query(read);
    while (code == ERR_ok && db_next(read)) {
        struct slice element = db_bytes(read, 0);
        wire_buffer_append(&elements, element.data, element.size);
        list.size += element.size;
        list.count++;
    }
    if (code == ERR_ok && list.count > 0) {
        wire_list_end(&list, &elements);
        WIRE_SET(&bury, dlq_bury, burials, list);
        *frame = arena_encode(arena, &dlq_bury_body, &bury);
        burials->sent_to = to;
        burials->is_sending = true;
    }
    wire_buffer_fini(&elements);
    return code;
}

void
burials_outcome(struct burials *burials, err status, int64_t now_ms)
{
    burials->is_sending = false;
    if (status == ERR_ok) {
        burials->confirmed_to = burials->sent_to > burials->confirmed_to ? burials->sent_to : burials->confirmed_to;
        burials->pause_ms = 0;
        burials->due_ms = 0;
        return;
    }
    if (burials->pause_ms == 0) {
        log_warn("burial_not_confirmed", LOG_TEXT("status", err_symbol(status)), LOG_I64("waiting", burials->rows));
    }
    burials->pause_ms = burials->pause_ms == 0 ? FIRST_MS : burials->pause_ms * 2;
    burials->pause_ms = burials->pause_ms > LAST_MS ? LAST_MS : burials->pause_ms;
    burials->due_ms = now_ms + burials->pause_ms;
}
