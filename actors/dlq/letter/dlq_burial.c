/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   dlq.bury: what others could not process becomes letters, or changes those there are.
 *
 * STATE     A burial's id is the letter's: that it is looked for first is what makes a repeated burial change nothing.
 *
 * FAILURES  All burials of a message are looked at before the first is kept, so that one that is wrong leaves nothing changed. At
 *           letters_max new ones are refused as overloaded, and whoever buries tries again.
 *
 * LIMITS    As many in a message as its frame holds.
 */
#include <stdlib.h>

#include "dlq_asking.h"
#include "dlq_rules.h"
#include "dlq/dlq_state.h"
#include "kit/base/memory.h"

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
        dlq_tell_dead(dlq, letter);
    }
    err code = dlq_change_letter(dlq, batch, letter, &before);
    if (code == ERR_ok && !is_done) {
        code = put_history(dlq, letter, burial);
    }
    if (code == ERR_ok) {
        code = dlq_runs_note(dlq, batch, &(struct dlq_outcome){.letter = letter, .is_done = is_done});
    }
    return code;
}

/* An event that was retried because we asked: its owner tells it twice, and the answer says more, as it counts the attempt and
 * names the replay. An answer that is lost is asked for again, and is `gone`. */
static bool
is_to_be_answered(const struct dlq *dlq, const struct dlq_letter *letter)
{
    return letter->kind == DLQ_EVENT && askings_is_retrying(dlq->askings, letter->n);
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
    burying.known = memory_room(burying.count * sizeof *burying.known);
    code = bury_all(dlq, batch, item, &burying);
    free(burying.known);
    return code;
}
