/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   An owner of rows that does as it is told, beside a dlq under test.
 * STATE     Per row what to answer and what was counted; under the lock, as the test's thread reads it while the owner's answers.
 * FAILURES  A message that no dlq may send fails the test.
 * LIMITS    The thread looks up each POLL_MS whether it is to end.
 */
#include "scripted_owner.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <czmq.h>

#include "message.h"
#include "kit/settings/topology.h"
#include "wire.h"

#define POLL_MS 5

struct row_state {
    enum owner_script script;
    int asked;
    int done;
    int purged;
    int aside;
    int edited;
};

struct scripted_owner {
    pthread_mutex_t lock;
    pthread_t thread;
    _Atomic bool is_ending;
    bool is_open;
    zsock_t *router;
    struct row_state rows[OWNER_ROWS + 1];
    int64_t asked;
    struct wire_buffer header;
    struct wire_buffer body;
};

struct scripted_owner *
scripted_owner_create(void)
{
    struct scripted_owner *owner = calloc(1, sizeof *owner);
    cr_assert(owner != NULL);
    pthread_mutex_init(&owner->lock, NULL);
    return owner;
}

void
scripted_owner_destroy(struct scripted_owner **owner)
{
    scripted_owner_close(*owner);
    wire_buffer_fini(&(*owner)->header);
    wire_buffer_fini(&(*owner)->body);
    pthread_mutex_destroy(&(*owner)->lock);
    free(*owner);
    *owner = NULL;
}

/* 253 bytes: whoever puts a word before it and cuts it at 255 again is in the middle of a character. */
#define TWELVE "\u20ac\u20ac\u20ac\u20ac\u20ac\u20ac\u20ac\u20ac\u20ac\u20ac\u20ac\u20ac"
#define LONGEST "x" TWELVE TWELVE TWELVE TWELVE TWELVE TWELVE TWELVE

static void
say(struct scripted_owner *owner, struct message *message, const struct wire_request_header *asked, err status, const char *outcome)
{
    struct wire_reply_header header = {0};
    struct wire_row_outcome body = {0};
    struct wire_problem problem = {0};
    owner->header.size = owner->body.size = 0;
    WIRE_SET(&header, reply_header, v, WIRE_VERSION);
    WIRE_SET(&header, reply_header, id, asked->id);
    if (WIRE_HAS(asked, request_header, again)) {
        WIRE_SET(&header, reply_header, again, asked->again);
    }
    WIRE_SET(&header, reply_header, status, slice_of(err_symbol(status)));
    if (status == ERR_ok) {
        WIRE_SET(&body, row_outcome, outcome, slice_of(outcome));
        if (strcmp(outcome, "failed") == 0) {
            WIRE_SET(&body, row_outcome, status, slice_of("would_overflow"));
            WIRE_SET(&body, row_outcome, error, slice_of("still too many"));
            WIRE_SET(&body, row_outcome, attempts, 8);
        }
        if (strcmp(outcome, "waiting") == 0) {
            WIRE_SET(&body, row_outcome, behind, 7);
        }
        wire_encode(&row_outcome_body, &body, &owner->body);
    } else {
        WIRE_SET(&problem, problem, detail, slice_of(status == ERR_internal ? LONGEST : "the owner is told to refuse"));
        wire_encode(&problem_body, &problem, &owner->body);
    }
    wire_encode(&reply_header_body, &header, &owner->header);
    enum message_sent sent =
        message_reply(zsock_resolve(owner->router), message, wire_buffer_slice(&owner->header), wire_buffer_slice(&owner->body));
    cr_assert(sent == MESSAGE_SENT || sent == MESSAGE_GONE);
}

static void
retry(struct scripted_owner *owner, struct message *message, const struct wire_request_header *asked, struct row_state *row)
{
    row->asked++;
    owner->asked++;
    switch (row->script) {
    case OWNER_DOES:
        say(owner, message, asked, ERR_ok, row->done > 0 ? "gone" : "done");
        row->done += row->done == 0;
        return;
    case OWNER_FAILS:
        say(owner, message, asked, ERR_ok, "failed");
        return;
    case OWNER_WAITS:
        say(owner, message, asked, ERR_ok, "waiting");
        return;
    case OWNER_STARTS:
        say(owner, message, asked, ERR_ok, "started");
        return;
    case OWNER_BUSY:
        say(owner, message, asked, ERR_unavailable, "");
        return;
    case OWNER_BREAKS:
        say(owner, message, asked, ERR_internal, "");
        return;
    case OWNER_SILENT:
        return;
    }
}

static struct row_state *
row_of(struct scripted_owner *owner, const struct wire_row *row)
{
    int64_t seq = WIRE_HAS(row, row, seq) ? row->seq : 0;
    return seq > 0 && seq <= OWNER_ROWS ? &owner->rows[seq] : &owner->rows[0];
}

static void
answer(struct scripted_owner *owner, struct message *message)
{
    struct wire_request_header asked;
    struct wire_row row;
    struct wire_row_edit edit;
    struct wire_row_discard discard;
    struct err_text why = {""};
    cr_assert(wire_decode(&request_header_body, message_header(message), &asked, &why) == ERR_ok, "%s", why.text);
    enum op op = wire_op_find((const char *)asked.op.data, asked.op.size);
    if (op == OP_any_retry) {
        cr_assert(wire_decode(&row_body, message_body(message), &row, &why) == ERR_ok, "%s", why.text);
        retry(owner, message, &asked, row_of(owner, &row));
    } else if (op == OP_any_restore) {
        cr_assert(wire_decode(&row_body, message_body(message), &row, &why) == ERR_ok, "%s", why.text);
        row_of(owner, &row)->aside = 0;
        say(owner, message, &asked, ERR_ok, "restored");
    } else if (op == OP_any_edit) {
        cr_assert(wire_decode(&row_edit_body, message_body(message), &edit, &why) == ERR_ok, "%s", why.text);
        row_of(owner, &edit.row)->edited++;
        say(owner, message, &asked, ERR_ok, "edited");
    } else if (op == OP_any_discard) {
        cr_assert(wire_decode(&row_discard_body, message_body(message), &discard, &why) == ERR_ok, "%s", why.text);
        bool is_final = WIRE_HAS(&discard, row_discard, is_final) && discard.is_final;
        row_of(owner, &discard.row)->aside = 1;
        row_of(owner, &discard.row)->purged += is_final;
        say(owner, message, &asked, ERR_ok, "discarded");
    } else {
        say(owner, message, &asked, ERR_unavailable, ""); /* what a dlq asks every source */
    }
}

static void *
run(void *argument)
{
    struct scripted_owner *owner = argument;
    zmq_pollitem_t item = {.socket = zsock_resolve(owner->router), .events = ZMQ_POLLIN};
    while (!atomic_load(&owner->is_ending)) {
        struct message message;
        (void)zmq_poll(&item, 1, POLL_MS);
        while (message_receive(zsock_resolve(owner->router), true, &message) == MESSAGE_OK) {
            pthread_mutex_lock(&owner->lock);
            answer(owner, &message);
            pthread_mutex_unlock(&owner->lock);
            message_fini(&message);
        }
    }
    return NULL;
}

void
scripted_owner_open(struct scripted_owner *owner, const struct settings *settings)
{
    char endpoint[ENDPOINT_MAX];
    owner->router = zsock_new(ZMQ_ROUTER);
    zsock_set_linger(owner->router, 0);
    zsock_set_sndhwm(owner->router, 10000);
    topology_bind(settings, "stock", 0, ENDPOINT_REQUESTS, endpoint);
    cr_assert(zsock_bind(owner->router, "%s", endpoint) >= 0, "%s", endpoint);
    atomic_store(&owner->is_ending, false);
    owner->is_open = true;
    cr_assert(pthread_create(&owner->thread, NULL, run, owner) == 0);
}

void
scripted_owner_close(struct scripted_owner *owner)
{
    if (!owner->is_open) {
        return;
    }
    atomic_store(&owner->is_ending, true);
    cr_assert(pthread_join(owner->thread, NULL) == 0);
    zsock_destroy(&owner->router);
    owner->is_open = false;
}

void
scripted_owner_set(struct scripted_owner *owner, int64_t from, int64_t to, enum owner_script script)
{
    pthread_mutex_lock(&owner->lock);
    for (int64_t seq = from; seq <= to; seq++) {
        owner->rows[seq].script = script;
    }
    pthread_mutex_unlock(&owner->lock);
}

static struct row_state
look(struct scripted_owner *owner, int64_t seq)
{
    pthread_mutex_lock(&owner->lock);
    struct row_state row = owner->rows[seq];
    pthread_mutex_unlock(&owner->lock);
    return row;
}

int
scripted_owner_asked(struct scripted_owner *owner, int64_t seq)
{
    return look(owner, seq).asked;
}

int
scripted_owner_done(struct scripted_owner *owner, int64_t seq)
{
    return look(owner, seq).done;
}

int64_t
scripted_owner_asked_in_all(struct scripted_owner *owner)
{
    pthread_mutex_lock(&owner->lock);
    int64_t asked = owner->asked;
    pthread_mutex_unlock(&owner->lock);
    return asked;
}

int
scripted_owner_purged(struct scripted_owner *owner, int64_t seq)
{
    return look(owner, seq).purged;
}

int
scripted_owner_is_aside(struct scripted_owner *owner, int64_t seq)
{
    return look(owner, seq).aside;
}

int
scripted_owner_edited(struct scripted_owner *owner, int64_t seq)
{
    return look(owner, seq).edited;
}
