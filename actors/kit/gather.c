/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Fills a batch with what has come: requests from the ROUTER, events from the SUBs and from pages, replies to asks, due
 *           rows, parked events, HEADs that are watched, ended calls and works. Reads everything there is without
 *           waiting; what is wrong with a message is answered here.
 *
 * STATE     The records of the actor (actor_internal.h) and a table that folds equal ids within a batch.
 *
 * FAILURES  A message that cannot be read is refused at once, counted, and never becomes an item; one that has no envelope to answer
 *           along is dropped. A database that cannot be read leaves due rows for later.
 *
 * LIMITS    batch_max requests, and room for one page of events beside them, a batch; REFUSED_MAX that are refused here do not keep a
 *           batch from its commit.
 */
#include <assert.h>
#include <stdio.h>

#include "actor_internal.h"
#include "kit/base/clock.h"
#include "kit/telemetry/log.h"
#include "kit/sockets/zmtp.h"
#include "kit/sockets/zmtp_guard.h"

enum { FETCH_TIMEOUT_MS = 2000, BURY_TIMEOUT_MS = 2000, FAILURE_PAUSE_MS = 500, TRIED_MAX = 32, REFUSED_MAX = 1000 };

static void
database_failed(struct actor *actor, err code, int64_t now_ms)
{
    log_warn("read_failed", LOG_TEXT("code", err_symbol(code)), LOG_TEXT("database", db_error(actor->db)));
    actor->outage.pause_until_ms = now_ms + FAILURE_PAUSE_MS;
    db_rollback(actor->db);
    if (code == ERR_db_lost || code == ERR_db_unknown) {
        actor->outage.is_on = true;
        actor->outage.since_us = clock_steady_us();
    }
}

/* --- requests --- */

/* Refuses what never becomes an item. */
static void
refuse_message(struct actor *actor, struct message *message, const struct wire_request_header *request, err code, const char *detail)
{
    struct wire_reply_header header = {0};
    struct wire_problem problem = {0};
    WIRE_SET(&header, reply_header, v, WIRE_VERSION);
    WIRE_SET(&header, reply_header, id, request->id);
    if (WIRE_HAS(request, request_header, again) && request->again) {
        WIRE_SET(&header, reply_header, again, true);
    }
    WIRE_SET(&header, reply_header, status, slice_of(err_symbol(code)));
    WIRE_SET(&problem, problem, detail, slice_of(detail));
    replies_send_frames(actor, message, &header, arena_encode(&actor->arena, &problem_body, &problem));
    char labels[160];
    snprintf(labels, sizeof labels, "actor=\"%s\",status=\"%s\"", actor->name, err_symbol(code));
    metric_add(
        metric(METRIC_COUNTER, "larder_refused_messages_total", labels, "Messages that were refused before they were looked into."),
        1);
    /* The sentence names what the client sent, which may be somebody's. */
    log_debug("message_refused", LOG_TEXT("status", err_symbol(code)), LOG_TEXT("detail", actor->class->erases ? "" : detail),
              LOG_ID("req", &request->id));
}

/* Whether its id says what was done under it here. Where another actor answers, it is that one's to tell. */
static bool
is_keyed(const struct actor *actor, enum op op)
{
    return actor->db != NULL && (wire_ops[op].traits & (OP_WRITES | OP_FORWARDS)) == OP_WRITES;
}

/* Reads header and body into the record. Other than ERR_ok: `why` says what is wrong with it. */
static err
read_request(struct actor *actor, struct record *record, struct wire_request_header *header, int64_t now_ms, struct err_text *why)
{
    struct item *item = &record->item;
    err code = wire_decode(&request_header_body, message_header(&record->message), header, why);
    if (code != ERR_ok) {
        header->id = (struct id){{0}};
        header->has = 0;
        return ERR_malformed;
    }
    if (header->v != WIRE_VERSION) {
        return err_say(why, ERR_unknown_version, "version %lld is not spoken here, version %d is", (long long)header->v, WIRE_VERSION);
    }
    if (id_is_zero(&header->id)) {
        return err_say(why, ERR_invalid_field,
                       "request_header.id: 16 zero bytes are no id: they stand for one that could not be read");
    }
    item->op = wire_op_find((const char *)header->op.data, header->op.size);
    if (item->op == OP_COUNT ||
        (strcmp(wire_ops[item->op].owner, actor->class->name) != 0 && strcmp(wire_ops[item->op].owner, "any") != 0)) {
        return err_say(why, ERR_unknown_op, "%s does not know the operation %.*s", actor->class->name, (int)header->op.size,
                       (const char *)header->op.data);
    }
    if (header->deadline < now_ms) {
        return err_say(why, ERR_deadline_exceeded, "its deadline was %lld ms ago", (long long)(now_ms - header->deadline));
    }
    const struct wire_body *body = wire_ops[item->op].request;
    void *target = arena_alloc(&actor->arena, body->size);
    item->kind = ITEM_REQUEST;
    item->id = header->id;
    item->again = WIRE_HAS(header, request_header, again) && header->again;
    item->deadline_ms = header->deadline;
    item->role = WIRE_HAS(header, request_header, role) ? role_find(header->role) : ROLE_OPERATOR;
    item->has_user = WIRE_HAS(header, request_header, user);
    item->user = header->user;
    item->peer = WIRE_HAS(header, request_header, peer) ? header->peer : message_peer(&record->message);
    item->secret = WIRE_HAS(header, request_header, secret) ? header->secret : (struct slice){0};
    item->traceparent = WIRE_HAS(header, request_header, traceparent) ? header->traceparent : (struct slice){0};
    item->frame = message_body(&record->message);
    item->body = target;
    if (item->role == ROLE_COUNT) {
        return err_say(why, ERR_invalid_field, "request_header.role: there is no such role");
    }
    code = wire_decode(body, item->frame, target, why);
    if (code == ERR_ok && is_keyed(actor, item->op)) {
        bool is_by_bytes = (wire_ops[item->op].traits & OP_REPEATS) != 0;
        item->fingerprint = is_by_bytes ? fingerprint_of_bytes(item->frame) : fingerprint_of(item->op, item->frame);
    }
    return code;
}

static void
note_read(const struct actor *actor, struct message *message)
{
    size_t size = message->has_frames ? message_header(message).size + message_body(message).size : 0;
    int fd = size >= ZMTP_LARGE ? zmq_msg_get(&message->body, ZMQ_SRCFD) : -1; /* none on inproc */
    if (fd >= 0) {
        zmtp_guard_read(actor->port, fd, (int64_t)size);
    }
}

static void
collect_requests(struct actor *actor, int64_t now_ms)
{
    bool is_first = actor->records.count == 0;
    int64_t refused = 0;
    while (actor->sockets.router_source.is_ready && actor->records.count < (size_t)actor->settings->batch_max &&
           refused < REFUSED_MAX) {
        struct record *record = records_add(&actor->records);
        enum message_result result = message_receive(actor->sockets.raw_router, true, &record->message);
        if (result == MESSAGE_NONE || result == MESSAGE_CLOSED) {
            actor->sockets.router_source.is_ready = false;
            actor->records.count--;
            zmtp_guard_emptied(actor->port);
            return;
        }
        note_read(actor, &record->message);
        struct wire_request_header header = {0};
        struct err_text why = {"a request is an envelope and two frames"};
        err code = result == MESSAGE_OK ? read_request(actor, record, &header, now_ms, &why) : ERR_malformed;
        if (code != ERR_ok) {
            refuse_message(actor, &record->message, &header, code, why.text);
            message_fini(&record->message);
            actor->records.count--;
            refused++;
            continue;
        }
        record->has_message = true;
        record->is_again = record->item.again;
        if (is_first) {
            records_begin_folds(&actor->records);
            is_first = false;
        }
        if (is_keyed(actor, record->item.op)) {
            records_fold(&actor->records, actor->records.count - 1);
        }
    }
}

/* --- events --- */

static void
add_event(struct actor *actor, const struct inbox_event *event)
{
    struct record *record = records_add(&actor->records);
    assert(record != NULL);
    record_take_event(actor, record, event);
}

/* How many events, parked events or due rows are taken of one place. Few while they run one by one: requests come between. */
static size_t
most(const struct actor *actor, size_t usual)
{
    return actor->parts.trial != NULL && trial_is_on(actor->parts.trial) && usual > TRIED_MAX ? TRIED_MAX : usual;
}

/* For a page, and what is due behind it. */
static bool
has_room(const struct actor *actor)
{
    return actor->records.capacity - actor->records.count > INBOX_PAGE_EVENTS + GATHER_DUE_MAX + GATHER_PARKED_MAX;
}

/* Takes one event message off a SUB; false when there is none. A message of another shape is dropped: the gap is fetched. */
static bool
receive_event(struct actor *actor, size_t stream)
{
    void *raw = zsock_resolve(actor->sockets.events[stream]);
    zmq_msg_t frames[3];
    int count = 0;
    bool has_more = true;
    while (has_more) {
        zmq_msg_t frame;
        zmq_msg_init(&frame);
        if (zmq_msg_recv(&frame, raw, ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(&frame);
            break;
        }
        has_more = zmq_msg_more(&frame) != 0;
        if (count < 3) {
            frames[count] = frame;
        } else {
            zmq_msg_close(&frame);
        }
        count++;
    }
    if (count > 0) {
        link_heard(&actor->sockets.events_pulses[stream], clock_steady_us() / 1000);
    }
    if (count == 3) {
        struct inbox_event event;
        struct slice header = {zmq_msg_data(&frames[1]), zmq_msg_size(&frames[1])};
        struct slice body = {zmq_msg_data(&frames[2]), zmq_msg_size(&frames[2])};
        if (inbox_see(actor->parts.inbox, &actor->arena, stream, header, body, &event) == INBOX_APPLY) {
            add_event(actor, &event);
        }
    }
    for (int i = 0; i < count && i < 3; i++) {
        zmq_msg_close(&frames[i]);
    }
    return count > 0;
}

static void
collect_events(struct actor *actor)
{
    for (size_t i = 0; actor->parts.inbox != NULL && i < inbox_stream_count(actor->parts.inbox); i++) {
        for (size_t taken = 0; taken < most(actor, INBOX_PAGE_EVENTS) && has_room(actor) && !inbox_is_fetching(actor->parts.inbox, i);
             taken++) {
            if (!actor->sockets.events_sources[i].is_ready || !receive_event(actor, i)) {
                actor->sockets.events_sources[i].is_ready = false;
                break;
            }
        }
    }
}

/* The stream that an ask of the inbox was about. */
static size_t
stream_of(const struct actor *actor, const struct ask_sent *ask)
{
    return (size_t)((struct wake_source *)ask->context - actor->sockets.events_sources);
}

static void
collect_page(struct actor *actor, const struct ask_outcome *outcome, int64_t now_ms)
{
    size_t stream = stream_of(actor, &outcome->ask);
    struct wire_fetched page = {0};
    struct err_text why = {""};
    err code = outcome->status;
    if (code == ERR_ok) {
        struct message message = outcome->message;
        code = wire_decode(&fetched_body, arena_copy(&actor->arena, message_body(&message)), &page, &why);
    } else {
        snprintf(why.text, sizeof why.text, "%s", err_words(code));
    }
    enum inbox_asked asked = outcome->ask.op == OP_dlq_fetch ? INBOX_ASKS_DLQ : INBOX_ASKS_SOURCE;
    inbox_fetched(actor->parts.inbox, stream, &(struct inbox_answer){asked, code, why.text, &page}, now_ms);
    struct wire_fetched_event fetched;
    size_t limit = actor->records.count + INBOX_PAGE_EVENTS; /* a source that gives more than was asked for is not trusted */
    while (code == ERR_ok && actor->records.count < limit && wire_list_next(&page.events, &fetched_event_body, &fetched)) {
        struct inbox_event event;
        if (inbox_see_fetched(actor->parts.inbox, &actor->arena, stream, &fetched, &event) == INBOX_APPLY) {
            add_event(actor, &event);
        }
    }
}

static void
ask(struct actor *actor, const char *peer, int shard, struct ask_sent *ask, struct slice body)
{
    struct wire_request_header header = {0};
    ask->id = id_new();
    WIRE_SET(&header, request_header, v, WIRE_VERSION);
    WIRE_SET(&header, request_header, id, ask->id);
    WIRE_SET(&header, request_header, op, slice_of(wire_ops[ask->op].name));
    WIRE_SET(&header, request_header, deadline, ask->deadline_ms);
    asks_send(actor->peers.asks, peer, shard, ask, arena_encode(&actor->arena, &request_header_body, &header), body);
}

/* Of a stream: what is missing, or what is on disk. */
static void
ask_source(struct actor *actor, size_t stream, enum ask_owner owner, const struct wire_fetch *fetch, int64_t now_ms)
{
    struct ask_sent sent = {.deadline_ms = now_ms + FETCH_TIMEOUT_MS,
                            .op = OP_any_fetch,
                            .owner = owner,
                            .context = &actor->sockets.events_sources[stream]};
    ask(actor, inbox_stream_actor(actor->parts.inbox, stream), inbox_stream_shard(actor->parts.inbox, stream), &sent,
        arena_encode(&actor->arena, &fetch_body, fetch));
}

static void
ask_dlq(struct actor *actor, size_t stream, const struct wire_dlq_fetch *fetch, int64_t now_ms)
{
    struct ask_sent sent = {.deadline_ms = now_ms + FETCH_TIMEOUT_MS,
                            .op = OP_dlq_fetch,
                            .owner = ASK_OF_INBOX,
                            .context = &actor->sockets.events_sources[stream]};
    ask(actor, "dlq", 0, &sent, arena_encode(&actor->arena, &dlq_fetch_body, fetch));
}

/* The next dlq.bury, when it is time. */
static err
send_burials(struct actor *actor, int64_t now_ms)
{
    if (actor->parts.burials == NULL || actor_is_paused(actor, now_ms) || burials_next_ms(actor->parts.burials) > now_ms) {
        return ERR_ok;
    }
    struct slice frame;
    err code = burials_next(actor->parts.burials, &actor->arena, &frame);
    if (code == ERR_ok && frame.size > 0) {
        struct ask_sent sent = {.deadline_ms = now_ms + BURY_TIMEOUT_MS, .op = OP_dlq_bury, .owner = ASK_OF_BURIALS};
        ask(actor, "dlq", 0, &sent, frame);
    }
    return code;
}

void
gather_missing(struct actor *actor, int64_t now_ms)
{
    for (size_t i = 0; actor->parts.inbox != NULL && i < inbox_stream_count(actor->parts.inbox); i++) {
        struct inbox_question asked;
        switch (inbox_wants_fetch(actor->parts.inbox, i, now_ms, FETCH_TIMEOUT_MS, &asked)) {
        case INBOX_ASKS_SOURCE:
            ask_source(actor, i, ASK_OF_INBOX, &asked.fetch, now_ms);
            break;
        case INBOX_ASKS_DLQ:
            ask_dlq(actor, i, &asked.dlq_fetch, now_ms);
            break;
        case INBOX_ASKS_NOBODY:
            break;
        }
        if (inbox_wants_confirm(actor->parts.inbox, i, now_ms, &asked.fetch)) {
            ask_source(actor, i, ASK_OF_CONFIRMATION, &asked.fetch, now_ms);
        }
    }
    err code = send_burials(actor, now_ms);
    if (code != ERR_ok) {
        database_failed(actor, code, now_ms);
    }
}

/* --- replies, due rows, calls --- */

static void
add_reply(struct actor *actor, struct ask_outcome *outcome)
{
    struct record *record = records_add(&actor->records);
    struct item *item = &record->item;
    struct err_text why = {""};
    item->kind = ITEM_REPLY;
    item->id = outcome->ask.id;
    item->again = outcome->ask.again;
    item->deadline_ms = outcome->ask.deadline_ms;
    item->op = outcome->ask.op;
    item->status = outcome->status;
    item->replayed = outcome->replayed;
    item->context = outcome->ask.context;
    item->traceparent = arena_copy(&actor->arena, (struct slice){outcome->ask.traceparent, outcome->ask.traceparent_size});
    struct ask_sent *ask = arena_alloc(&actor->arena, sizeof *ask);
    *ask = outcome->ask;
    record->ask = ask;
    const struct wire_body *body = item->status == ERR_ok ? wire_ops[item->op].reply : &problem_body;
    if (outcome->has_message) {
        record->message = outcome->message;
        record->has_message = true;
        item->frame = message_body(&record->message);
        void *target = arena_alloc(&actor->arena, body->size);
        if (wire_decode(body, item->frame, target, &why) == ERR_ok) {
            item->body = target;
            return;
        }
        item->status = ERR_internal;
    }
    struct wire_problem *problem = arena_alloc(&actor->arena, sizeof *problem);
    *problem = (struct wire_problem){0};
    WIRE_SET(problem, problem, detail, slice_of(err_words(item->status)));
    item->frame = arena_encode(&actor->arena, &problem_body, problem);
    item->body = problem;
}

static void
collect_replies(struct actor *actor, int64_t now_ms)
{
    struct ask_outcome outcome;
    for (int taken = 0; taken < actor->settings->batch_max && has_room(actor); taken++) {
        if (!asks_next(actor->peers.asks, now_ms, &outcome)) {
            return;
        }
        switch (outcome.ask.owner) {
        case ASK_OF_ACTOR:
            add_reply(actor, &outcome);
            continue;
        case ASK_OF_INBOX:
            collect_page(actor, &outcome, now_ms);
            break;
        case ASK_OF_CONFIRMATION:
            inbox_confirmed(actor->parts.inbox, stream_of(actor, &outcome.ask), outcome.status, now_ms);
            break;
        case ASK_OF_BURIALS:
            burials_outcome(actor->parts.burials, outcome.status, now_ms);
            break;
        }
        if (outcome.has_message) {
            message_fini(&outcome.message);
        }
    }
}

static void
add_due(struct actor *actor, const struct due_row *row)
{
    char step[64];
    snprintf(step, sizeof step, "due/%.*s/%lld", (int)row->owner.size, (const char *)row->owner.data, (long long)row->due_ms);
    struct id key = id_of_bytes(row->key.data, row->key.size);
    struct id id = id_derive(&key, step);
    record_take_due(records_add(&actor->records), row, &id);
}

/* One that somebody asked for goes with his request. */
static void
add_parked(struct actor *actor, const struct inbox_event *event)
{
    if (actor->records.retry_count == 0 || !records_have_event(&actor->records, event)) {
        add_event(actor, event);
    }
}

/* Outside calls whose turn has come: as many as the other side takes now, and as there is room for beside what is due. */
static void
collect_turns(struct actor *actor, size_t due, int64_t now_ms)
{
    if (actor->peers.outcalls == NULL || due_rows_turns(actor->parts.due_rows) == 0) {
        return;
    }
    size_t max = (size_t)outcalls_room(actor->peers.outcalls);
    size_t left = most(actor, GATHER_DUE_MAX) - due;
    max = max < left ? max : left;
    if (max == 0) {
        return;
    }
    struct due_row *rows = arena_alloc(&actor->arena, max * sizeof *rows);
    size_t count = 0;
    err code = due_rows_read_turns(actor->parts.due_rows, &actor->arena, rows, max, &count);
    if (code != ERR_ok) {
        database_failed(actor, code, now_ms);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (!records_have_due(&actor->records, rows[i].owner, rows[i].key)) {
            add_due(actor, &rows[i]);
        }
    }
}

static void
collect_due(struct actor *actor, int64_t now_ms)
{
    size_t due = 0;
    if (actor->db == NULL || actor->outage.is_on || now_ms < actor->outage.pause_until_ms) {
        return;
    }
    if (due_rows_next_ms(actor->parts.due_rows) <= now_ms) {
        struct due_row *rows = arena_alloc(&actor->arena, GATHER_DUE_MAX * sizeof *rows);
        err code = due_rows_read(actor->parts.due_rows, &actor->arena, now_ms, rows, most(actor, GATHER_DUE_MAX), &due);
        if (code != ERR_ok) {
            database_failed(actor, code, now_ms);
            return;
        }
        for (size_t i = 0; i < due; i++) {
            add_due(actor, &rows[i]);
        }
    }
    collect_turns(actor, due, now_ms);
    if (inbox_next_parked_ms(actor->parts.inbox) <= now_ms) {
        struct inbox_event *events = arena_alloc(&actor->arena, GATHER_PARKED_MAX * sizeof *events);
        size_t count = 0;
        err code = inbox_read_parked(actor->parts.inbox, &actor->arena, now_ms, events, most(actor, GATHER_PARKED_MAX), &count);
        if (code != ERR_ok) {
            database_failed(actor, code, now_ms);
            return;
        }
        for (size_t i = 0; i < count; i++) {
            add_parked(actor, &events[i]);
        }
    }
}

static void
collect_heads(struct actor *actor, int64_t now_ms)
{
    if (actor->peers.watches == NULL) {
        return;
    }
    watches_read(actor->peers.watches);
    struct watched *watched = arena_alloc(&actor->arena, sizeof *watched);
    while (!actor_is_paused(actor, now_ms) && has_room(actor) && watches_next(actor->peers.watches, &actor->arena, watched)) {
        struct item *item = &records_add(&actor->records)->item;
        item->kind = ITEM_HEAD;
        item->id = watched->header.id;
        item->header = &watched->header;
        item->body = &watched->head;
        item->frame = watched->frame;
        watched = arena_alloc(&actor->arena, sizeof *watched);
    }
}

static void
collect_calls(struct actor *actor)
{
    struct outbound_result result;
    enum call_blame blame = CALL_ANSWERED;
    actor->sockets.outcalls_source.is_ready = false;
    while (actor->peers.outcalls != NULL && has_room(actor) && outcalls_next(actor->peers.outcalls, &result, &blame)) {
        struct item *item = &records_add(&actor->records)->item;
        item->kind = ITEM_CALL;
        item->id = result.context_id;
        item->context_id = result.context_id;
        item->call_tag = result.tag;
        item->call_status = result.status;
        item->call_blame = blame;
        item->text = arena_copy(&actor->arena, result.text);
    }
}

/* Those that cannot be taken now stay where they are. */
static void
collect_works(struct actor *actor, int64_t now_ms)
{
    struct works_done done;
    if (actor->peers.works == NULL) {
        return;
    }
    actor->sockets.works_source.is_ready = false;
    works_clear(actor->peers.works);
    while (!actor_is_paused(actor, now_ms) && has_room(actor) && works_next(actor->peers.works, &done)) {
        struct work *work = arena_alloc(&actor->arena, sizeof *work);
        *work = done.work;
        struct record *record = records_add(&actor->records);
        record->work = work;
        record->item.kind = ITEM_WORK;
        record->item.id = work->id;
        record->item.context = work->memory;
        record->item.status = done.status;
    }
}

static void
collect_retries(struct actor *actor, int64_t now_ms)
{
    err code = row_requests_take(actor, now_ms);
    if (code != ERR_ok) {
        database_failed(actor, code, now_ms);
    }
}

/* --- all of it --- */

bool
gather_held(struct actor *actor, int64_t now_ms)
{
    size_t first = actor->records.count;
    collect_requests(actor, now_ms);
    for (size_t i = first; i < actor->records.count; i++) {
        const struct item *item = &actor->records.list[i].item;
        bool is_end = item->op == OP_any_pause && item->role == ROLE_OPERATOR && ((const struct wire_pause *)item->body)->for_ms == 0;
        if (is_end) {
            return true;
        }
    }
    return false;
}

void
gather_all(struct actor *actor, int64_t now_ms)
{
    collect_requests(actor, now_ms);
    if (!actor_is_paused(actor, now_ms)) {
        collect_retries(actor, now_ms);
        collect_replies(actor, now_ms);
    }
    if (!actor->outage.is_on) {
        collect_events(actor);
    }
    collect_heads(actor, now_ms);
    collect_calls(actor);
    collect_works(actor, now_ms);
    collect_due(actor, now_ms);
}
