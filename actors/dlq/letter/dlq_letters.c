/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   The letters there are: what opens, changes and finds one for all parts of the dlq, and says it to who asked.
 *
 * STATE     $letter and $letter_frame through dlq_store.c, the counters through dlq_tally.c, always together; the room that is left
 *           for more, and what monitoring sees of them.
 *
 * FAILURES  A change of state that is not allowed is our own fault: logged, and answered as internal.
 *
 * LIMITS    Of the attempts of a letter the first and the latest DLQ_HISTORY_MAX - 1 are kept.
 */
#include <stdio.h>

#include "dlq_asking.h"
#include "dlq_rules.h"
#include "dlq/dlq_state.h"
#include "kit/telemetry/log.h"
#include "kit/telemetry/log_often.h"

/* --- life --- */

static err
letters_open(struct dlq *dlq)
{
    struct db *db = actor_db(dlq->actor);
    dlq_store_init(&dlq->store, db);
    dlq->tally = dlq_tally_create(db);
    dlq->room = dlq_room_create(dlq->settings, dlq->actor);
    dlq->meters = dlq_meters_create();
    err code = dlq_store_load(&dlq->store);
    return code == ERR_ok ? dlq_tally_load(dlq->tally) : code;
}

static err
letters_queue(struct dlq *dlq, struct batch *batch)
{
    (void)batch;
    err code = dlq_store_flush(&dlq->store);
    return code == ERR_ok ? dlq_tally_queue(dlq->tally) : code;
}

static void
letters_committed(struct dlq *dlq)
{
    dlq_store_committed(&dlq->store);
    dlq_tally_committed(dlq->tally);
}

static void
letters_dropped(struct dlq *dlq)
{
    dlq_store_dropped(&dlq->store);
    dlq_tally_dropped(dlq->tally);
}

static err
letters_tick(struct dlq *dlq, struct batch *batch)
{
    dlq_room_tick(dlq->room);
    return dlq_meters_tick(dlq, batch->now_ms);
}

static void
letters_close(struct dlq *dlq)
{
    dlq_meters_destroy(&dlq->meters);
    dlq_room_destroy(&dlq->room);
    dlq_tally_destroy(&dlq->tally);
    dlq_store_fini(&dlq->store);
    wire_buffer_fini(&dlq->page);
}

/* --- opening and changing --- */

void
dlq_tell_dead(struct dlq *dlq, const struct dlq_letter *letter)
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
        dlq_tell_dead(dlq, letter);
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

/* --- finding and answering --- */

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

struct wire_letter
dlq_letter_shown(const struct dlq *dlq, const struct dlq_letter *letter)
{
    struct wire_letter body = dlq_letter_body(letter);
    if (letter->state != DLQ_DONE && askings_is_retrying(dlq->askings, letter->n)) {
        WIRE_SET(&body, letter, state, slice_of(dlq_state_name(DLQ_REPLAYING)));
    }
    return body;
}

void
dlq_answer_letter(struct dlq *dlq, struct batch *batch, struct item *item, const struct dlq_letter *letter)
{
    struct wire_letter body = dlq_letter_shown(dlq, letter);
    item_answer(batch, item, &body);
}

const struct dlq_part dlq_letters_part = {
    .open = letters_open,
    .queue = letters_queue,
    .committed = letters_committed,
    .dropped = letters_dropped,
    .tick = letters_tick,
    .close = letters_close,
};
