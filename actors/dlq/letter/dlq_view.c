/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Letters as people see them: dlq.list, dlq.show, dlq.stats.
 *
 * STATE     None: an answer is made of the rows, and of the counters in memory.
 *
 * FAILURES  A name in a filter that is none is refused.
 *
 * LIMITS    An answer holds what fits into a frame: a page ends early and says that there is more; of a large letter the raw frames,
 *           then the original, then old audit lines are left out.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "dlq/hosting/dlq_host_store.h"
#include "dlq_rules.h"
#include "dlq/dlq_state.h"
#include "dlq_text.h"
#include "kit/base/sum.h"

#define COUNTS_MAX 1000
#define EVENTS_SHOWN 20
/* What a frame leaves for lists and frames beside everything else in an answer. */
#define ANSWER_MAX (WIRE_FRAME_MAX - 16384)

/* --- dlq.list --- */

err
dlq_handle_list(struct dlq *dlq, struct batch *batch, struct item *item)
{
    const struct wire_letter_filter *filter = item->body;
    int64_t limit = WIRE_HAS(filter, letter_filter, limit) ? filter->limit : DLQ_PAGE_LETTERS;
    struct err_text why = {""};
    struct db_statement *rows = NULL;
    struct dlq_letter letter;
    struct wire_list page = {0};
    bool has_more = false;
    err code = dlq_store_page(&dlq->store, filter, batch->now_ms, &rows, &why);
    if (code == ERR_invalid_field) {
        item_refuse(batch, item, code, "%s", why.text);
        return ERR_ok;
    }
    if (code != ERR_ok) {
        return code;
    }
    dlq->page.size = 0;
    while (!has_more && dlq_store_next(rows, &letter)) {
        has_more = page.count == limit || dlq->page.size > ANSWER_MAX - 8192;
        if (!has_more) {
            struct wire_letter body = dlq_letter_shown(dlq, &letter);
            wire_list_add(&page, &letter_body, &body, &dlq->page);
        }
    }
    db_done(rows);
    wire_list_end(&page, &dlq->page);
    struct wire_letter_page reply = {0};
    WIRE_SET(&reply, letter_page, letters, page);
    WIRE_SET(&reply, letter_page, has_more, has_more);
    item_answer(batch, item, &reply);
    return ERR_ok;
}

/* --- one letter with all there is --- */

static err
read_audit(struct dlq *dlq, struct arena *arena, int64_t n, size_t room, struct wire_list *audit)
{
    struct db_statement *rows = NULL;
    struct dlq_audit line;
    char action[17];
    struct wire_buffer bytes = {0};
    err code = dlq_store_audit(&dlq->store, n, &rows);
    if (code != ERR_ok) {
        return code;
    }
    while (dlq_store_next_audit(rows, &line, action)) {
        struct wire_letter_audit body = {0};
        WIRE_SET(&body, letter_audit, time, line.time_ms);
        WIRE_SET(&body, letter_audit, author, line.author);
        WIRE_SET(&body, letter_audit, action, slice_of(action));
        if (line.reason.size > 0) {
            WIRE_SET(&body, letter_audit, reason, line.reason);
        }
        if (line.detail.size > 0) {
            WIRE_SET(&body, letter_audit, detail, line.detail);
        }
        if (bytes.size > room) {
            bytes.size = 0; /* the oldest go */
            *audit = (struct wire_list){0};
        }
        wire_list_add(audit, &letter_audit_body, &body, &bytes);
    }
    struct slice copy = arena_copy(arena, wire_buffer_slice(&bytes));
    audit->data = copy.data;
    audit->size = copy.size;
    wire_buffer_fini(&bytes);
    return ERR_ok;
}

static bool
fits(size_t *used, size_t size)
{
    bool does = size > 0 && *used + size <= ANSWER_MAX;
    *used += does ? size : 0;
    return does;
}

/* What its actor said to a request. */
static struct wire_list
answer_of(const struct dlq_letter *letter, const struct dlq_frames *frames, struct arena *arena)
{
    enum op op = wire_op_find(letter->type, strlen(letter->type));
    if (letter->kind != DLQ_REQUEST || op == OP_COUNT) {
        return (struct wire_list){0};
    }
    return dlq_text_fields(letter->status == ERR_ok ? wire_ops[op].reply : &problem_body, frames->answer, arena);
}

/* Of a subscriber that is behind: the first events that it has not confirmed, as far as they are kept, each as `seq: type key`. */
static err
events_of(struct dlq *dlq, struct arena *arena, const struct dlq_letter *letter, struct wire_list *fields)
{
    struct dlq_kept_range range = {.source = letter->source, .after = letter->seq - 1, .to = letter->to, .limit = EVENTS_SHOWN};
    struct wire_list events = {0};
    struct wire_buffer kept = {0};
    struct wire_buffer bytes = {0};
    struct wire_fetched_event event;
    struct wire_event_header header;
    struct err_text why;
    int64_t last = 0;
    err code = dlq_host_store_read(dlq->store.db, &range, &events, &kept, &last);
    wire_list_end(&events, &kept);
    while (code == ERR_ok && wire_list_next(&events, &fetched_event_body, &event)) {
        if (wire_decode(&event_header_body, event.header, &header, &why) == ERR_ok) {
            char seq[24];
            char text[2 * DLQ_TEXT_SIZE];
            struct wire_letter_field field = {0};
            (void)snprintf(seq, sizeof seq, "%" PRId64, header.seq);
            (void)snprintf(text, sizeof text, "%.*s %.*s", (int)header.type.size, (const char *)header.type.data, (int)header.key.size,
                           (const char *)header.key.data);
            WIRE_SET(&field, letter_field, name, slice_of(seq));
            WIRE_SET(&field, letter_field, value, slice_of(text));
            wire_list_add(fields, &letter_field_body, &field, &bytes);
        }
    }
    struct slice copy = arena_copy(arena, wire_buffer_slice(&bytes));
    fields->data = copy.data;
    fields->size = copy.size;
    wire_buffer_fini(&kept);
    wire_buffer_fini(&bytes);
    return code;
}

/* Slices of the answer lie in the arena and in `letter`. */
static err
whole_of(struct dlq *dlq, struct arena *arena, const struct dlq_letter *letter, struct wire_letter_whole *whole)
{
    struct dlq_frames frames;
    struct wire_list audit = {0};
    const struct wire_body *body = dlq_rules_body(letter->kind, slice_of(letter->type));
    err code = dlq_store_frames(&dlq->store, arena, letter->n, &frames);
    if (code != ERR_ok) {
        return code;
    }
    if (dlq_rules_is_secret(body)) {
        frames.body = (struct slice){0};
    }
    struct wire_list fields = dlq_text_fields(body, frames.body, arena);
    if (letter->kind == DLQ_SUBSCRIBER && letter->state == DLQ_WAITING) {
        code = events_of(dlq, arena, letter, &fields);
    }
    struct wire_list answer = answer_of(letter, &frames, arena);
    struct wire_list original = dlq_text_fields(body, frames.original, arena);
    bool has_history = frames.history_count >= 0 && frames.history_count <= DLQ_HISTORY_MAX;
    struct wire_list history = {.data = frames.history.data, .size = frames.history.size, .count = (uint32_t)frames.history_count};
    size_t used = fields.size + (has_history ? history.size : 0);
    code = code == ERR_ok ? read_audit(dlq, arena, letter->n, (ANSWER_MAX - used) / 2, &audit) : code;
    used += audit.size;
    *whole = (struct wire_letter_whole){0};
    WIRE_SET(whole, letter_whole, letter, dlq_letter_shown(dlq, letter));
    WIRE_SET(whole, letter_whole, fields, fields);
    WIRE_SET(whole, letter_whole, history, has_history ? history : (struct wire_list){0});
    WIRE_SET(whole, letter_whole, audit, audit);
    if (fits(&used, answer.size)) {
        WIRE_SET(whole, letter_whole, answer, answer);
    }
    if (fits(&used, original.size)) {
        WIRE_SET(whole, letter_whole, original, original);
    }
    if (fits(&used, frames.header.size)) {
        WIRE_SET(whole, letter_whole, header, frames.header);
    }
    if (fits(&used, frames.body.size)) {
        WIRE_SET(whole, letter_whole, body, frames.body);
    }
    return code;
}

static err
answer_whole(struct dlq *dlq, struct batch *batch, struct item *item, const struct dlq_letter *letter)
{
    struct arena arena = {0};
    struct wire_letter_whole whole;
    err code = whole_of(dlq, &arena, letter, &whole);
    if (code == ERR_ok) {
        item_answer(batch, item, &whole);
    }
    arena_fini(&arena);
    return code;
}

err
dlq_answer_whole_later(struct dlq *dlq, struct batch *batch, struct waiter **waiter, const struct dlq_letter *letter)
{
    struct arena arena = {0};
    struct wire_letter_whole whole;
    err code = whole_of(dlq, &arena, letter, &whole);
    if (code == ERR_ok) {
        waiter_answer(batch, waiter, &whole);
    }
    arena_fini(&arena);
    return code;
}

err
dlq_handle_show(struct dlq *dlq, struct batch *batch, struct item *item)
{
    const struct wire_letter_ref *ref = item->body;
    struct dlq_letter letter;
    bool found = false;
    err code = dlq_get_letter(dlq, batch, item, &ref->letter, &letter, &found);
    return code == ERR_ok && found ? answer_whole(dlq, batch, item, &letter) : code;
}

/* --- dlq.stats --- */

static void
add_count(struct wire_list *list, struct wire_buffer *bytes, const struct dlq_count *count)
{
    struct wire_letter_count body = {0};
    WIRE_SET(&body, letter_count, state, slice_of(dlq_state_name(count->state)));
    WIRE_SET(&body, letter_count, destination, slice_of(count->destination));
    WIRE_SET(&body, letter_count, reason, slice_of(count->reason));
    WIRE_SET(&body, letter_count, letters, count->letters);
    WIRE_SET(&body, letter_count, units, sum_shown(count->units));
    if (count->currency[0] != '\0') {
        WIRE_SET(&body, letter_count, amount, sum_shown(count->amount));
        WIRE_SET(&body, letter_count, currency, slice_of(count->currency));
    }
    wire_list_add(list, &letter_count_body, &body, bytes);
}

err
dlq_handle_stats(struct dlq *dlq, struct batch *batch, struct item *item)
{
    struct wire_list counts = {0};
    int64_t oldest_dead = 0;
    int64_t oldest_waiting = 0;
    err code = dlq_store_oldest(&dlq->store, DLQ_DEAD, &oldest_dead);
    if (code == ERR_ok) {
        code = dlq_store_oldest(&dlq->store, DLQ_WAITING, &oldest_waiting);
    }
    if (code != ERR_ok) {
        return code;
    }
    dlq->page.size = 0;
    const struct dlq_count *count = NULL;
    for (size_t i = 0; i < COUNTS_MAX && (count = dlq_tally_get(dlq->tally, i)) != NULL; i++) {
        add_count(&counts, &dlq->page, count);
    }
    wire_list_end(&counts, &dlq->page);
    struct wire_letter_stats reply = {0};
    WIRE_SET(&reply, letter_stats, counts, counts);
    WIRE_SET(&reply, letter_stats, dead, dlq_tally_letters(dlq->tally, DLQ_DEAD));
    WIRE_SET(&reply, letter_stats, waiting, dlq_tally_letters(dlq->tally, DLQ_WAITING));
    if (oldest_dead > 0) {
        WIRE_SET(&reply, letter_stats, oldest_dead, oldest_dead);
    }
    if (oldest_waiting > 0) {
        WIRE_SET(&reply, letter_stats, oldest_waiting, oldest_waiting);
    }
    WIRE_SET(&reply, letter_stats, is_full, dlq_room_is_short(dlq->room, dlq_tally_total(dlq->tally)));
    item_answer(batch, item, &reply);
    return ERR_ok;
}
