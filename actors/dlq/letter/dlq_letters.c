/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Taking letters and reading them: what opens and changes one, for all parts of the dlq; dlq.bury, dlq.list, dlq.show and
 *           dlq.stats.
 *
 * STATE     $letter and $letter_frame through dlq_store.c, the counters through dlq_tally.c, always together. A burial's id is the
 *           letter's: the unique key is what makes a repeated burial change nothing.
 *
 * FAILURES  All burials of a message are looked at before the first is kept, so that one that is wrong leaves nothing changed. At
 *           letters_max new ones are refused as overloaded, and whoever buries tries again. A change of state that is not allowed is
 *           our own fault: logged, and answered as internal.
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
#include "kit/telemetry/log.h"
#include "kit/telemetry/log_often.h"
#include "kit/base/sum.h"

#define COUNTS_MAX 1000
#define HISTORY_MAX 100
#define EVENTS_SHOWN 20
/* What a frame leaves for lists and frames beside everything else in an answer. */
#define ANSWER_MAX (WIRE_FRAME_MAX - 16384)

/* --- opening and changing --- */

static void
tell_dead(struct dlq *dlq, const struct dlq_letter *letter)
{
    dlq_meters_buried(dlq->meters, letter->reason);
    char group[2 * DLQ_TEXT_SIZE];
    (void)snprintf(group, sizeof group, "%s %s", letter->destination, letter->reason);
    log_often(LOG_LEVEL_WARN, "letter_dead", group, LOG_ID("letter", &letter->id), LOG_TEXT("destination", letter->destination),
              LOG_TEXT("reason", letter->reason), LOG_TEXT("type", letter->type), LOG_TEXT("key", letter->key),
              LOG_I64("attempts", letter->attempts), LOG_TEXT("error", letter->error));
}

void
dlq_open_letter(struct dlq *dlq, struct batch *batch, struct dlq_letter *letter, const struct dlq_frames *frames)
{
    letter->opened_ms = letter->changed_ms = batch->now_ms;
    dlq_store_insert(&dlq->store, letter, frames);
    dlq_tally_add(dlq->tally, letter, 1);
    if (letter->state == DLQ_DEAD) {
        tell_dead(dlq, letter);
    }
}

err
dlq_change_letter(struct dlq *dlq, struct batch *batch, struct dlq_letter *letter, const struct dlq_letter *before)
{
    if (!dlq_rules_may_change(before->state, letter->state)) {
        log_error("letter_cannot_change", LOG_ID("letter", &letter->id), LOG_TEXT("from", dlq_state_name(before->state)),
                  LOG_TEXT("to", dlq_state_name(letter->state)));
        return ERR_internal;
    }
    if (letter->state != before->state) {
        letter->changed_ms = batch->now_ms;
    }
    dlq_tally_add(dlq->tally, before, -1);
    dlq_tally_add(dlq->tally, letter, 1);
    return dlq_store_update(&dlq->store, letter);
}

/* --- dlq.bury --- */

struct burying {
    const struct wire_burial *burials;
    const struct wire_event_header *headers;
    size_t count;
    struct dlq_letter *known; /* those there are, and those that this message opens */
    size_t known_count;
    int64_t taken;
};

static struct dlq_letter *
find_known(const struct burying *burying, const struct id *id)
{
    for (size_t i = 0; i < burying->known_count; i++) {
        if (id_equal(&burying->known[i].id, id)) {
            return &burying->known[i];
        }
    }
    return NULL;
}

static struct slice
type_of(const struct wire_burial *burial, const struct wire_event_header *header)
{
    if (WIRE_HAS(burial, burial, type)) {
        return burial->type;
    }
    return header->type;
}

/* What its owner says is at stake, whatever a body says. */
static void
set_stake(struct dlq_letter *letter, const struct wire_burial *burial)
{
    if (WIRE_HAS(burial, burial, units)) {
        letter->units = burial->units;
    }
    if (WIRE_HAS(burial, burial, amount) && WIRE_HAS(burial, burial, currency)) {
        letter->amount = burial->amount;
        dlq_copy(letter->currency, sizeof letter->currency, burial->currency);
    }
}

static void
set_value(struct dlq_letter *letter, const struct wire_burial *burial)
{
    const struct wire_body *body = dlq_rules_body(letter->kind, slice_of(letter->type));
    struct dlq_value value = dlq_rules_value(body, WIRE_HAS(burial, burial, body) ? burial->body : (struct slice){0});
    letter->units = value.units;
    letter->amount = value.amount;
    memcpy(letter->currency, value.currency, sizeof letter->currency);
    set_stake(letter, burial);
}

/* What a burial says each time. */
static void
set_outcome(struct dlq_letter *letter, const struct wire_burial *burial)
{
    dlq_copy(letter->reason, sizeof letter->reason, burial->reason);
    dlq_copy(letter->error, sizeof letter->error, burial->error);
    letter->attempts = burial->attempts;
    letter->last_ms = burial->last;
}

/* Of one that is not settled. */
static enum dlq_state
state_of(const struct wire_burial *burial)
{
    return WIRE_HAS(burial, burial, waiting) && burial->waiting ? DLQ_WAITING : DLQ_DEAD;
}

static struct dlq_letter
letter_of(const struct wire_burial *burial, const struct wire_event_header *header)
{
    struct dlq_letter letter = {
        .id = burial->letter,
        .state = state_of(burial),
        .kind = dlq_kind_find(burial->kind),
        .seq = WIRE_HAS(burial, burial, seq) ? burial->seq : DLQ_NONE,
        .to = DLQ_NONE,
        .first_ms = burial->first,
        .useful_until_ms = DLQ_NONE,
        .status = ERR_COUNT,
    };
    set_outcome(&letter, burial);
    dlq_copy(letter.destination, sizeof letter.destination, burial->destination);
    dlq_copy(letter.key, sizeof letter.key, burial->key);
    dlq_copy(letter.type, sizeof letter.type, type_of(burial, header));
    if (letter.kind == DLQ_EVENT) {
        dlq_copy(letter.source, sizeof letter.source, burial->source);
    } else {
        dlq_copy(letter.row_owner, sizeof letter.row_owner, burial->owner);
        letter.row_key_size = burial->due_key.size;
        memcpy(letter.row_key, burial->due_key.data, burial->due_key.size);
    }
    if (WIRE_HAS(burial, burial, traceparent)) {
        dlq_copy(letter.traceparent, sizeof letter.traceparent, burial->traceparent);
    } else if (WIRE_HAS(header, event_header, traceparent)) {
        dlq_copy(letter.traceparent, sizeof letter.traceparent, header->traceparent);
    }
    set_value(&letter, burial);
    return letter;
}

static void
open_buried(struct dlq *dlq, struct batch *batch, struct burying *burying, size_t number, enum dlq_state state)
{
    const struct wire_burial *burial = &burying->burials[number];
    struct dlq_letter *letter = &burying->known[burying->known_count++];
    *letter = letter_of(burial, &burying->headers[number]);
    letter->state = state;
    struct dlq_frames frames = {
        .header = WIRE_HAS(burial, burial, header) ? burial->header : (struct slice){0},
        .body = WIRE_HAS(burial, burial, body) ? burial->body : (struct slice){0},
        .history = {burial->history.data, burial->history.size},
        .history_count = burial->history.count,
    };
    dlq_open_letter(dlq, batch, letter, &frames);
}

static err
put_history(struct dlq *dlq, const struct dlq_letter *letter, const struct wire_burial *burial)
{
    struct arena arena = {0};
    struct dlq_frames frames;
    err code = dlq_store_frames(&dlq->store, &arena, letter->n, &frames);
    if (code == ERR_ok) {
        frames.history = (struct slice){burial->history.data, burial->history.size};
        frames.history_count = burial->history.count;
        if (WIRE_HAS(burial, burial, body)) {
            frames.body = burial->body;
        }
        code = dlq_store_put_frames(&dlq->store, letter->n, &frames);
    }
    arena_fini(&arena);
    return code;
}

static err
change_buried(struct dlq *dlq, struct batch *batch, struct dlq_letter *letter, const struct wire_burial *burial, bool is_done)
{
    struct dlq_letter before = *letter;
    letter->state = is_done ? DLQ_DONE : state_of(burial);
    if (!is_done) {
        set_outcome(letter, burial);
        if (WIRE_HAS(burial, burial, body)) {
            set_value(letter, burial);
        }
        set_stake(letter, burial);
    }
    if (letter->state == DLQ_DEAD) {
        tell_dead(dlq, letter);
    }
    err code = dlq_change_letter(dlq, batch, letter, &before);
    if (code == ERR_ok && !is_done) {
        code = put_history(dlq, letter, burial);
    }
    if (code == ERR_ok) {
        code = dlq_replay_note(dlq, batch, &(struct dlq_outcome){.letter = letter, .is_done = is_done});
    }
    return code;
}

/* An event that was retried because we asked: its owner tells it twice, and the answer says more, as it counts the attempt and
 * names the replay. An answer that is lost is asked for again, and is `gone`. */
static bool
is_to_be_answered(const struct dlq *dlq, const struct dlq_letter *letter)
{
    return letter->kind == DLQ_EVENT && dlq_owner_is_asking(dlq, letter->n);
}

static err
bury(struct dlq *dlq, struct batch *batch, struct burying *burying)
{
    for (size_t i = 0; i < burying->count; i++) {
        const struct wire_burial *burial = &burying->burials[i];
        struct dlq_letter *known = find_known(burying, &burial->letter);
        err code = ERR_ok;
        burying->taken++;
        switch (dlq_rules_burial(known, burial)) {
        case DLQ_NOTHING:
            burying->taken--;
            break;
        case DLQ_OPENS:
            open_buried(dlq, batch, burying, i, state_of(burial));
            break;
        case DLQ_OPENS_DONE:
            open_buried(dlq, batch, burying, i, DLQ_DONE);
            break;
        case DLQ_REOPENS:
            code = change_buried(dlq, batch, known, burial, false);
            break;
        case DLQ_SETTLES:
            if (is_to_be_answered(dlq, known)) {
                burying->taken--;
            } else {
                code = change_buried(dlq, batch, known, burial, true);
            }
            break;
        }
        if (code != ERR_ok) {
            return code;
        }
    }
    return ERR_ok;
}

/* Letters that the message would open, a repeated id counted twice. */
static int64_t
count_new(const struct burying *burying)
{
    int64_t count = 0;
    for (size_t i = 0; i < burying->count; i++) {
        enum dlq_effect effect = dlq_rules_burial(find_known(burying, &burying->burials[i].letter), &burying->burials[i]);
        count += effect == DLQ_OPENS || effect == DLQ_OPENS_DONE ? 1 : 0;
    }
    return count;
}

/* Reads the burials; ERR_invalid_field when one cannot be kept. */
static err
read_burials(struct batch *batch, const struct wire_dlq_bury *body, struct burying *burying, struct err_text *why)
{
    struct wire_list list = body->burials;
    struct wire_burial *burials = batch_alloc(batch, list.count * sizeof *burials);
    struct wire_event_header *headers = batch_alloc(batch, list.count * sizeof *headers);
    while (wire_list_next(&list, &burial_body, &burials[burying->count])) {
        err code = dlq_rules_check_burial(&burials[burying->count], burying->count, &headers[burying->count], why);
        if (code != ERR_ok) {
            return code;
        }
        burying->count++;
    }
    burying->burials = burials;
    burying->headers = headers;
    return ERR_ok;
}

static err
find_letters(struct dlq *dlq, struct batch *batch, struct burying *burying)
{
    struct id *ids = batch_alloc(batch, burying->count * sizeof *ids);
    for (size_t i = 0; i < burying->count; i++) {
        ids[i] = burying->burials[i].letter;
    }
    return dlq_store_find_many(&dlq->store, ids, burying->count, burying->known, &burying->known_count);
}

static err
bury_all(struct dlq *dlq, struct batch *batch, struct item *item, struct burying *burying)
{
    err code = find_letters(dlq, batch, burying);
    if (code != ERR_ok) {
        return code;
    }
    int64_t new_letters = count_new(burying);
    if (new_letters > 0 && dlq_room_is_full(dlq->room, dlq_tally_total(dlq->tally) + new_letters - 1)) {
        item_refuse(batch, item, ERR_overloaded, "the dlq has as many letters as it may have (letters_max); keep it and come again");
        return ERR_ok;
    }
    code = bury(dlq, batch, burying);
    if (code == ERR_ok) {
        struct wire_dlq_buried reply = {0};
        WIRE_SET(&reply, dlq_buried, taken, burying->taken);
        item_answer(batch, item, &reply);
    }
    return code;
}

err
dlq_handle_bury(struct dlq *dlq, struct batch *batch, struct item *item)
{
    struct burying burying = {0};
    struct err_text why = {""};
    err code = read_burials(batch, item->body, &burying, &why);
    if (code != ERR_ok) {
        item_refuse(batch, item, code, "%s", why.text);
        return ERR_ok;
    }
    /* Too large for the batch's memory when many such messages share it. A letter is there or opened, so there is one for each. */
    burying.known = malloc(burying.count * sizeof *burying.known);
    if (burying.known == NULL) {
        abort();
    }
    code = bury_all(dlq, batch, item, &burying);
    free(burying.known);
    return code;
}

/* --- reading --- */

err
dlq_get_letter(struct dlq *dlq, struct batch *batch, struct item *item, const struct id *id, struct dlq_letter *letter, bool *found)
{
    err code = dlq_store_find(&dlq->store, id, letter, found);
    if (code == ERR_ok && !*found) {
        char text[ID_TEXT_SIZE];
        id_format(id, text);
        item_refuse(batch, item, ERR_unknown_letter, "there is no letter %s", text);
    }
    return code;
}

/* While its owner is asked a letter is being replayed; that is not worth a row. */
static struct wire_letter
body_of(const struct dlq *dlq, const struct dlq_letter *letter)
{
    struct wire_letter body = dlq_letter_body(letter);
    if (letter->state != DLQ_DONE && dlq_owner_is_asking(dlq, letter->n)) {
        WIRE_SET(&body, letter, state, slice_of(dlq_state_name(DLQ_REPLAYING)));
    }
    return body;
}

void
dlq_answer_letter(struct dlq *dlq, struct batch *batch, struct item *item, const struct dlq_letter *letter)
{
    struct wire_letter body = body_of(dlq, letter);
    item_answer(batch, item, &body);
}

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
            struct wire_letter body = body_of(dlq, &letter);
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
    bool has_history = frames.history_count >= 0 && frames.history_count <= HISTORY_MAX;
    struct wire_list history = {.data = frames.history.data, .size = frames.history.size, .count = (uint32_t)frames.history_count};
    size_t used = fields.size + (has_history ? history.size : 0);
    code = code == ERR_ok ? read_audit(dlq, arena, letter->n, (ANSWER_MAX - used) / 2, &audit) : code;
    used += audit.size;
    *whole = (struct wire_letter_whole){0};
    WIRE_SET(whole, letter_whole, letter, body_of(dlq, letter));
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

err
dlq_answer_whole(struct dlq *dlq, struct batch *batch, struct item *item, const struct dlq_letter *letter)
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
    return code == ERR_ok && found ? dlq_answer_whole(dlq, batch, item, &letter) : code;
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
