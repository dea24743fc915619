/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Follows one source: events by SUB, what was missed by FETCH from its ROUTER, in order and without a gap; confirms what the
 *   program says is applied. Without a name it passes on what is published and no more.
 *
 * STATE
 *   The stream (position, what is missing), the one request that may be under way (subscribe or FETCH), the page that is being
 *   given out, and the frames of the event that the program was shown last. What is confirmed is the program's word; where the
 *   source keeps the position, events of other topics behind the last one given are confirmed with it. Whose turn the next FETCH is:
 *   the source's, or the dlq's: that keeps what the source no longer has, and is asked every second time while the source is away.
 *
 * FAILURES
 *   A source that is away, slow or overloaded costs time: the FETCH is repeated with back-off. Another incarnation, another past, a
 *   position that the source does not have, an unknown version or an event that cannot be read hold the subscriber: each call says so
 *   again.
 *   A published event that cannot be read is dropped; its position is then missing and a page brings it, or shows that it is broken.
 *
 * LIMITS
 *   One FETCH under way; while it is, published events wait in their socket, LINK_EVENTS_HWM at the most. One thread.
 */
#include "larder.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <zmq.h>

#include "link.h"
#include "message.h"
#include "stream.h"

#define PAGE_EVENTS 1000
#define READ_MAX 1000
#define ANSWER_MS 2000
#define CONFIRM_MS 1000
#define BACKOFF_FIRST_MS 50
#define BACKOFF_MAX_MS 2000
#define TOPIC_SIZE (2 * WIRE_NAME_MAX + 1)

enum asked { ASKED_NOTHING, ASKED_SUBSCRIBE, ASKED_FETCH, ASKED_DLQ };

struct larder_subscriber {
    zsock_t *sub;
    struct link_pulse pulse;
    zsock_t *dealer; /* NULL without a name */
    zsock_t *dlq;    /* NULL without an endpoint of it */
    void *events;
    void *requests;
    void *dlq_requests;
    char *name;
    char *source; /* with the dlq */
    char **topics;
    int topic_count;
    bool from_start;
    bool has_cursor;   /* the program keeps its position itself */
    bool is_known;     /* the source knows the name, as far as we know */
    bool has_position; /* the stream has a position to start from */

    struct stream stream;
    struct id chain;   /* at the stream's position; zero: not known */
    int64_t given;     /* the last event of the stream that the program was shown */
    int64_t confirmed; /* the program's word */
    int64_t reported;  /* what the source was told and has answered */
    int64_t report_due_ms;
    enum asked asked;
    int64_t asked_confirmed; /* the position in the FETCH under way */
    struct id asked_id;
    struct id subscribe_id; /* one identity over all attempts */
    bool subscribe_again;

    zmq_msg_t page; /* body of the answer */
    bool has_page;
    struct wire_list page_left;
    bool page_was_new; /* it held at least one event that was next */
    bool must_confirm;
    bool is_dlqs_turn;

    zmq_msg_t frames[3]; /* topic, header, body of the published event that was read last */
    struct wire_buffer header;
    struct wire_buffer body;
    err held;
    struct err_text why;
};

/* --- life --- */

static void *
allocate(size_t count, size_t size)
{
    void *memory = calloc(count > 0 ? count : 1, size);
    if (memory == NULL) {
        abort();
    }
    return memory;
}

static char *
copy_of(const char *text)
{
    size_t size = strlen(text) + 1;
    return memcpy(allocate(size, 1), text, size);
}

static err
check(const struct larder_subscription *subscription, struct err_text *why)
{
    if (subscription->events == NULL) {
        return err_say(why, ERR_wrong_setting, "the endpoint of the events is missing");
    }
    if (subscription->name == NULL) {
        return ERR_ok;
    }
    if (subscription->requests == NULL) {
        return err_say(why, ERR_wrong_setting, "a durable subscriber needs the endpoint of the requests too");
    }
    if (subscription->dlq != NULL && subscription->source == NULL) {
        return err_say(why, ERR_wrong_setting, "the dlq has to be told the name of the source");
    }
    size_t size = strlen(subscription->name);
    if (size < 1 || size > WIRE_NAME_MAX || !wire_is_utf8(slice_of(subscription->name))) {
        return err_say(why, ERR_wrong_setting, "the name of a subscriber has 1 to %d bytes of UTF-8", WIRE_NAME_MAX);
    }
    return ERR_ok;
}

static err
connect_sockets(struct larder_subscriber *subscriber, const struct larder_subscription *subscription, struct err_text *why)
{
    err status = link_events(subscription->events, &subscriber->sub, why);
    if (status == ERR_ok && subscription->name != NULL) {
        status = link_requests(subscription->requests, &subscriber->dealer, why);
    }
    if (status == ERR_ok && subscription->name != NULL && subscription->dlq != NULL) {
        status = link_requests(subscription->dlq, &subscriber->dlq, why);
    }
    if (status != ERR_ok) {
        return status;
    }
    subscriber->events = zsock_resolve(subscriber->sub);
    if (subscriber->dealer != NULL) {
        subscriber->requests = zsock_resolve(subscriber->dealer);
    }
    if (subscriber->dlq != NULL) {
        subscriber->dlq_requests = zsock_resolve(subscriber->dlq);
    }
    /* A stream has no filter: what is filtered out at the source cannot be told from what is missing. */
    if (subscriber->dealer != NULL || subscriber->topic_count == 0) {
        zsock_set_subscribe(subscriber->sub, "");
        return ERR_ok;
    }
    for (int i = 0; i < subscriber->topic_count; i++) {
        zsock_set_subscribe(subscriber->sub, subscriber->topics[i]);
    }
    return ERR_ok;
}

err
larder_subscriber_create(const struct larder_subscription *subscription, struct larder_subscriber **out, struct err_text *why)
{
    err status = check(subscription, why);
    if (status != ERR_ok) {
        return status;
    }
    struct larder_subscriber *subscriber = allocate(1, sizeof *subscriber);
    subscriber->topic_count = subscription->topic_count;
    subscriber->topics = allocate((size_t)subscription->topic_count, sizeof *subscriber->topics);
    for (int i = 0; i < subscription->topic_count; i++) {
        subscriber->topics[i] = copy_of(subscription->topics[i]);
    }
    subscriber->name = subscription->name == NULL ? NULL : copy_of(subscription->name);
    subscriber->source = subscription->source == NULL ? NULL : copy_of(subscription->source);
    subscriber->from_start = subscription->from_start;
    subscriber->has_cursor = subscription->has_cursor;
    subscriber->is_known = subscription->has_cursor;
    subscriber->has_position = subscription->has_cursor;
    if (subscription->has_cursor) {
        stream_init(&subscriber->stream, &subscription->incarnation, subscription->position);
        subscriber->chain = subscription->chain;
        subscriber->given = subscription->position;
        subscriber->confirmed = subscription->position;
    } else {
        stream_init(&subscriber->stream, NULL, 0);
    }
    subscriber->subscribe_id = id_new();
    for (int i = 0; i < 3; i++) {
        zmq_msg_init(&subscriber->frames[i]);
    }
    zmq_msg_init(&subscriber->page);
    status = connect_sockets(subscriber, subscription, why);
    if (status != ERR_ok) {
        larder_subscriber_destroy(&subscriber);
        return status;
    }
    *out = subscriber;
    return ERR_ok;
}

static int64_t
to_confirm(const struct larder_subscriber *subscriber)
{
    bool may_pass = !subscriber->has_cursor && subscriber->confirmed >= subscriber->given;
    return may_pass && subscriber->stream.position > subscriber->confirmed ? subscriber->stream.position : subscriber->confirmed;
}

static bool
send_fetch(struct larder_subscriber *subscriber, int64_t limit);

void
larder_subscriber_destroy(struct larder_subscriber **subscriber)
{
    struct larder_subscriber *last = *subscriber;
    if (last == NULL) {
        return;
    }
    if (last->requests != NULL && last->has_position && last->is_known && to_confirm(last) > last->reported) {
        (void)send_fetch(last, 0);
    }
    zsock_destroy(&last->sub);
    zsock_destroy(&last->dealer);
    zsock_destroy(&last->dlq);
    for (int i = 0; i < 3; i++) {
        zmq_msg_close(&last->frames[i]);
    }
    zmq_msg_close(&last->page);
    wire_buffer_fini(&last->header);
    wire_buffer_fini(&last->body);
    for (int i = 0; i < last->topic_count; i++) {
        free(last->topics[i]);
    }
    free(last->topics);
    free(last->name);
    free(last->source);
    free(last);
    *subscriber = NULL;
}

int64_t
larder_subscriber_position(const struct larder_subscriber *subscriber)
{
    return subscriber->stream.position;
}

struct id
larder_subscriber_incarnation(const struct larder_subscriber *subscriber)
{
    return subscriber->stream.incarnation;
}

struct id
larder_subscriber_chain(const struct larder_subscriber *subscriber)
{
    return subscriber->chain;
}

const char *
larder_subscriber_why(const struct larder_subscriber *subscriber)
{
    return subscriber->why.text;
}

void
larder_subscriber_ack(struct larder_subscriber *subscriber, int64_t position)
{
    if (position > subscriber->confirmed && position <= subscriber->stream.position) {
        subscriber->confirmed = position;
        subscriber->must_confirm = false;
    }
}

/* --- asking the source --- */

static bool
send_request(struct larder_subscriber *subscriber, enum op op, const struct id *id, bool again)
{
    struct wire_request_header header = {0};
    WIRE_SET(&header, request_header, v, WIRE_VERSION);
    WIRE_SET(&header, request_header, id, *id);
    WIRE_SET(&header, request_header, op, slice_of(wire_ops[op].name));
    WIRE_SET(&header, request_header, deadline, link_utc_ms() + ANSWER_MS);
    if (again) {
        WIRE_SET(&header, request_header, again, true);
    }
    subscriber->header.size = 0;
    wire_encode(&request_header_body, &header, &subscriber->header);
    void *peer = op == OP_dlq_fetch ? subscriber->dlq_requests : subscriber->requests;
    enum message_sent sent = message_send(peer, wire_buffer_slice(&subscriber->header), wire_buffer_slice(&subscriber->body));
    subscriber->asked_id = *id;
    return sent == MESSAGE_SENT;
}

static bool
send_fetch(struct larder_subscriber *subscriber, int64_t limit)
{
    struct wire_fetch fetch = {0};
    WIRE_SET(&fetch, fetch, subscriber, slice_of(subscriber->name));
    if (!id_is_zero(&subscriber->stream.incarnation)) {
        WIRE_SET(&fetch, fetch, incarnation, subscriber->stream.incarnation);
    }
    subscriber->asked_confirmed = to_confirm(subscriber);
    WIRE_SET(&fetch, fetch, position, subscriber->asked_confirmed);
    WIRE_SET(&fetch, fetch, limit, limit);
    subscriber->body.size = 0;
    wire_encode(&fetch_body, &fetch, &subscriber->body);
    struct id id = id_new();
    return send_request(subscriber, OP_any_fetch, &id, false);
}

static bool
send_dlq_fetch(struct larder_subscriber *subscriber)
{
    struct wire_dlq_fetch fetch = {0};
    WIRE_SET(&fetch, dlq_fetch, source, slice_of(subscriber->source));
    WIRE_SET(&fetch, dlq_fetch, subscriber, slice_of(subscriber->name));
    if (!id_is_zero(&subscriber->stream.incarnation)) {
        WIRE_SET(&fetch, dlq_fetch, incarnation, subscriber->stream.incarnation);
    }
    subscriber->asked_confirmed = to_confirm(subscriber);
    WIRE_SET(&fetch, dlq_fetch, position, subscriber->asked_confirmed);
    WIRE_SET(&fetch, dlq_fetch, limit, PAGE_EVENTS);
    subscriber->body.size = 0;
    wire_encode(&dlq_fetch_body, &fetch, &subscriber->body);
    struct id id = id_new();
    return send_request(subscriber, OP_dlq_fetch, &id, false);
}

static bool
send_subscribe(struct larder_subscriber *subscriber)
{
    struct wire_subscribe subscribe = {0};
    WIRE_SET(&subscribe, subscribe, subscriber, slice_of(subscriber->name));
    if (subscriber->from_start) {
        WIRE_SET(&subscribe, subscribe, from_start, true);
    }
    subscriber->body.size = 0;
    wire_encode(&subscribe_body, &subscribe, &subscriber->body);
    bool sent = send_request(subscriber, OP_any_subscribe, &subscriber->subscribe_id, subscriber->subscribe_again);
    subscriber->subscribe_again |= sent;
    return sent;
}

/* Nothing came of it. Who was not asked this time is asked next, after a pause. */
static void
fail(struct larder_subscriber *subscriber)
{
    subscriber->is_dlqs_turn = subscriber->dlq != NULL && subscriber->has_position && !subscriber->is_dlqs_turn;
    int doublings = subscriber->stream.failures < 6 ? subscriber->stream.failures : 6;
    int64_t pause_ms = (int64_t)BACKOFF_FIRST_MS << doublings;
    subscriber->asked = ASKED_NOTHING;
    stream_fetch_failed(&subscriber->stream, link_steady_ms() + (pause_ms < BACKOFF_MAX_MS ? pause_ms : BACKOFF_MAX_MS));
}

static void
hold(struct larder_subscriber *subscriber, err code, const char *words)
{
    subscriber->held = err_say(&subscriber->why, code, "%s at position %lld", words, (long long)subscriber->stream.position);
}

static bool
has_news_to_confirm(const struct larder_subscriber *subscriber, int64_t now_ms)
{
    return to_confirm(subscriber) > subscriber->reported && now_ms >= subscriber->report_due_ms;
}

/* Sends what is due, if nothing is under way. */
static void
ask(struct larder_subscriber *subscriber, int64_t now_ms)
{
    struct stream *stream = &subscriber->stream;
    if (subscriber->asked != ASKED_NOTHING && now_ms >= stream->fetch_due_ms) {
        fail(subscriber);
    }
    if (subscriber->asked != ASKED_NOTHING || !stream_may_fetch(stream, now_ms)) {
        return;
    }
    bool sent = false;
    if (!subscriber->is_known || !subscriber->has_position) {
        sent = send_subscribe(subscriber);
        subscriber->asked = ASKED_SUBSCRIBE;
    } else if (subscriber->is_dlqs_turn && stream_wants_fetch(stream, now_ms) && !subscriber->must_confirm) {
        sent = send_dlq_fetch(subscriber);
        subscriber->asked = ASKED_DLQ;
    } else if (has_news_to_confirm(subscriber, now_ms) || (stream_wants_fetch(stream, now_ms) && !subscriber->must_confirm)) {
        sent = send_fetch(subscriber, PAGE_EVENTS);
        subscriber->asked = ASKED_FETCH;
        subscriber->report_due_ms = now_ms + CONFIRM_MS;
    } else {
        return;
    }
    stream_fetch_sent(stream, now_ms + ANSWER_MS);
    if (!sent) {
        fail(subscriber);
    }
}

static void
hear_subscribed(struct larder_subscriber *subscriber, struct slice frame)
{
    struct wire_subscribed subscribed;
    if (wire_decode(&subscribed_body, frame, &subscribed, NULL) != ERR_ok) {
        fail(subscriber);
        return;
    }
    subscriber->is_known = true;
    if (!subscriber->has_position) {
        stream_init(&subscriber->stream, &subscribed.incarnation, subscribed.position);
        subscriber->has_position = true;
        subscriber->given = subscribed.position;
        subscriber->confirmed = subscribed.position;
        subscriber->reported = subscribed.position;
    }
    subscriber->stream.is_fetching = false;
    subscriber->stream.fetch_due_ms = 0;
}

static bool
read_page(struct larder_subscriber *subscriber, struct message *message, struct wire_fetched *fetched)
{
    zmq_msg_move(&subscriber->page, &message->body);
    struct slice frame = {zmq_msg_data(&subscriber->page), zmq_msg_size(&subscriber->page)};
    return wire_decode(&fetched_body, frame, fetched, NULL) == ERR_ok;
}

static void
keep_page(struct larder_subscriber *subscriber, const struct wire_fetched *fetched)
{
    subscriber->has_page = true;
    subscriber->page_was_new = false;
    subscriber->page_left = fetched->events;
}

/* The page is kept: its events are given out one by one. */
static void
hear_page(struct larder_subscriber *subscriber, struct message *message)
{
    struct wire_fetched fetched;
    if (!read_page(subscriber, message, &fetched)) {
        fail(subscriber);
        return;
    }
    subscriber->reported = subscriber->asked_confirmed;
    switch (stream_fetch_arrived(&subscriber->stream, &fetched.incarnation, fetched.head, fetched.events.count)) {
    case STREAM_APPLY:
        keep_page(subscriber, &fetched);
        break;
    case STREAM_DUPLICATE:
    case STREAM_PASSING:
        break;
    case STREAM_GAP:
        fail(subscriber);
        break;
    case STREAM_OTHER_INCARNATION:
        hold(subscriber, ERR_other_incarnation, "the source has another database than the one followed so far");
        break;
    case STREAM_AHEAD:
        hold(subscriber, ERR_position_lost, "the source's stream ends before what was already applied");
        break;
    }
}

/* An empty page: the source goes on from here, and is asked at once when the dlq had something before. */
static void
hear_dlq_page(struct larder_subscriber *subscriber, struct message *message)
{
    struct wire_fetched fetched;
    struct stream *stream = &subscriber->stream;
    bool is_usable =
        read_page(subscriber, message, &fetched) &&
        stream_fetch_arrived_elsewhere(stream, &fetched.incarnation, fetched.head, fetched.events.count) != STREAM_OTHER_INCARNATION;
    if (is_usable && fetched.events.count > 0) {
        stream->failures = 0;
        keep_page(subscriber, &fetched);
    } else if (is_usable && stream->failures == 0) {
        subscriber->is_dlqs_turn = false;
    } else {
        fail(subscriber);
    }
}

static void
hear_refusal(struct larder_subscriber *subscriber, err status, struct slice frame)
{
    struct wire_problem problem;
    if (status == ERR_unknown_subscriber && subscriber->is_known) {
        subscriber->is_known = false;
        subscriber->from_start = true;
        subscriber->subscribe_id = id_new();
        subscriber->subscribe_again = false;
        fail(subscriber);
    } else if (status == ERR_kept_elsewhere && subscriber->dlq != NULL) {
        stream_fetch_failed(&subscriber->stream, link_steady_ms());
        subscriber->is_dlqs_turn = true;
    } else if (status != ERR_COUNT && status != ERR_kept_elsewhere && err_disposition(status) == ERR_RETRY) {
        fail(subscriber);
    } else {
        bool is_read = wire_decode(&problem_body, frame, &problem, NULL) == ERR_ok;
        subscriber->held = err_say(&subscriber->why, status == ERR_COUNT ? ERR_internal : status, "the source refused: %.*s",
                                   is_read ? (int)problem.detail.size : 0, is_read ? (const char *)problem.detail.data : "");
    }
}

static void
hear(struct larder_subscriber *subscriber, struct message *message)
{
    struct wire_reply_header header;
    bool is_ours = wire_decode(&reply_header_body, message_header(message), &header, NULL) == ERR_ok &&
                   subscriber->asked != ASKED_NOTHING && id_equal(&header.id, &subscriber->asked_id);
    if (!is_ours) {
        return;
    }
    enum asked asked = subscriber->asked;
    subscriber->asked = ASKED_NOTHING;
    if (header.v != WIRE_VERSION) {
        hold(subscriber, ERR_unknown_version, "the source speaks another version");
        return;
    }
    bool is_dlq = asked == ASKED_DLQ;
    err status = err_find((const char *)header.status.data, header.status.size);
    if (status != ERR_ok && is_dlq) {
        fail(subscriber); /* it need not know us */
    } else if (is_dlq) {
        hear_dlq_page(subscriber, message);
    } else if (status != ERR_ok) {
        hear_refusal(subscriber, status, message_body(message));
    } else if (asked == ASKED_SUBSCRIBE) {
        hear_subscribed(subscriber, message_body(message));
    } else {
        hear_page(subscriber, message);
    }
}

static void
hear_peer(struct larder_subscriber *subscriber, void *peer)
{
    while (peer != NULL && !subscriber->has_page && subscriber->held == ERR_ok) {
        struct message message = {0};
        enum message_result result = message_receive(peer, false, &message);
        if (result == MESSAGE_OK) {
            hear(subscriber, &message);
        }
        message_fini(&message);
        if (result == MESSAGE_NONE || result == MESSAGE_CLOSED) {
            return;
        }
    }
}

static void
hear_all(struct larder_subscriber *subscriber)
{
    hear_peer(subscriber, subscriber->requests);
    hear_peer(subscriber, subscriber->dlq_requests);
}

/* --- events --- */

static bool
is_wanted(const struct larder_subscriber *subscriber, const struct wire_event_header *header)
{
    char topic[TOPIC_SIZE + 1];
    size_t size = header->type.size + 1 + header->key.size;
    memcpy(topic, header->type.data, header->type.size);
    topic[header->type.size] = '.';
    if (header->key.size > 0) {
        memcpy(topic + header->type.size + 1, header->key.data, header->key.size);
    }
    for (int i = 0; i < subscriber->topic_count; i++) {
        size_t prefix_size = strlen(subscriber->topics[i]);
        if (prefix_size <= size && memcmp(topic, subscriber->topics[i], prefix_size) == 0) {
            return true;
        }
    }
    return subscriber->topic_count == 0;
}

static bool
is_head(const struct wire_event_header *header)
{
    return slice_equal(header->type, slice_of("head"));
}

static void
show(const struct wire_event_header *header, struct slice body, struct larder_event *event)
{
    event->type = wire_event_find((const char *)header->type.data, header->type.size);
    event->header = *header;
    event->body = body;
}

/* An event or a HEAD of a source that was put back to an older copy of itself and has come as far again. */
static bool
has_other_past(struct larder_subscriber *subscriber, const struct wire_event_header *header)
{
    struct stream_told told = {.is_head = is_head(header), .seq = header->seq, .id = header->id};
    if (WIRE_HAS(header, event_header, chain)) {
        told.chain = header->chain;
    }
    bool is_other = id_equal(&header->incarnation, &subscriber->stream.incarnation) &&
                    stream_is_other_past(&subscriber->stream, &subscriber->chain, &told);
    if (is_other) {
        hold(subscriber, ERR_other_past, "the source has had other events than those that were given: it is an older copy of itself");
    }
    return is_other;
}

/* Whether this event is to be shown. Moves the stream. */
static bool
follow(struct larder_subscriber *subscriber, const struct wire_event_header *header)
{
    if (has_other_past(subscriber, header)) {
        return false;
    }
    switch (stream_see_event(&subscriber->stream, &header->incarnation, header->seq)) {
    case STREAM_APPLY:
        stream_take(&subscriber->stream, header->seq);
        subscriber->chain = WIRE_HAS(header, event_header, chain) ? header->chain : (struct id){{0}};
        subscriber->page_was_new = true;
        if (is_wanted(subscriber, header)) {
            subscriber->given = header->seq;
            return true;
        }
        return false;
    case STREAM_PASSING:
        return is_wanted(subscriber, header);
    case STREAM_OTHER_INCARNATION:
        hold(subscriber, ERR_other_incarnation, "an event of another database than the one followed so far came");
        return false;
    case STREAM_DUPLICATE:
    case STREAM_GAP:
    case STREAM_AHEAD:
        break;
    }
    return false;
}

static void
end_page(struct larder_subscriber *subscriber)
{
    subscriber->has_page = false;
    if (subscriber->page_was_new || subscriber->held != ERR_ok || subscriber->stream.head <= subscriber->stream.position) {
        return;
    }
    if (subscriber->asked_confirmed < subscriber->stream.position) {
        subscriber->must_confirm = to_confirm(subscriber) <= subscriber->asked_confirmed;
    } else {
        fail(subscriber);
    }
}

/* The next event of the page that is to be shown. */
static bool
take_from_page(struct larder_subscriber *subscriber, struct larder_event *event)
{
    struct wire_fetched_event fetched;
    while (subscriber->has_page && subscriber->held == ERR_ok) {
        if (!wire_list_next(&subscriber->page_left, &fetched_event_body, &fetched)) {
            end_page(subscriber);
            return false;
        }
        struct wire_event_header header;
        if (wire_decode(&event_header_body, fetched.header, &header, NULL) != ERR_ok) {
            hold(subscriber, ERR_malformed, "the source has an event that cannot be read");
        } else if (header.v != WIRE_VERSION) {
            hold(subscriber, ERR_unknown_version, "the source has an event of another version");
        } else if (follow(subscriber, &header)) {
            show(&header, fetched.body, event);
            return true;
        }
    }
    return false;
}

/* Reads one published message; false when there is none. `count` is the number of its frames; only the first three are kept. */
static bool
receive_frames(struct larder_subscriber *subscriber, int *count)
{
    bool has_more = true;
    for (*count = 0; has_more; (*count)++) {
        zmq_msg_t frame;
        zmq_msg_init(&frame);
        if (zmq_msg_recv(&frame, subscriber->events, ZMQ_DONTWAIT) < 0) {
            return false;
        }
        has_more = zmq_msg_more(&frame) != 0;
        if (*count < 3) {
            zmq_msg_move(&subscriber->frames[*count], &frame);
        }
        zmq_msg_close(&frame);
    }
    return true;
}

static struct slice
frame_of(struct larder_subscriber *subscriber, int which)
{
    return (struct slice){zmq_msg_data(&subscriber->frames[which]), zmq_msg_size(&subscriber->frames[which])};
}

/* The next published event that is to be shown. Ends after READ_MAX others, so that confirming goes on beside a flood of them. */
static bool
take_published(struct larder_subscriber *subscriber, struct larder_event *event)
{
    int count = 0;
    for (int read = 0; read < READ_MAX && subscriber->held == ERR_ok && receive_frames(subscriber, &count); read++) {
        struct wire_event_header header;
        link_heard(&subscriber->pulse, link_steady_ms());
        if (count != 3 || wire_decode(&event_header_body, frame_of(subscriber, 1), &header, NULL) != ERR_ok) {
            continue;
        }
        if (header.v != WIRE_VERSION) {
            hold(subscriber, ERR_unknown_version, "an event of another version came");
        } else if (subscriber->requests == NULL) {
            if (!is_head(&header) && is_wanted(subscriber, &header)) {
                show(&header, frame_of(subscriber, 2), event);
                return true;
            }
        } else if (is_head(&header)) {
            if (!has_other_past(subscriber, &header) &&
                stream_see_head(&subscriber->stream, &header.incarnation, header.seq) == STREAM_OTHER_INCARNATION) {
                hold(subscriber, ERR_other_incarnation, "the source has another database than the one followed so far");
            }
        } else if (follow(subscriber, &header)) {
            show(&header, frame_of(subscriber, 2), event);
            return true;
        }
    }
    return false;
}

/* --- waiting --- */

/* Whether published events are read: not while a page is under way, behind which they will be duplicates or next. */
static bool
is_listening(const struct larder_subscriber *subscriber)
{
    return subscriber->requests == NULL || (subscriber->has_position && !subscriber->stream.is_fetching);
}

static void
wait_until(struct larder_subscriber *subscriber, int64_t until_ms)
{
    int64_t now_ms = link_steady_ms();
    int64_t wake_ms = until_ms;
    if (subscriber->requests != NULL) {
        int64_t due_ms = subscriber->stream.fetch_due_ms > now_ms ? subscriber->stream.fetch_due_ms : subscriber->report_due_ms;
        wake_ms = due_ms > now_ms && due_ms < wake_ms ? due_ms : wake_ms;
    }
    void *sockets[] = {subscriber->requests, subscriber->dlq_requests, is_listening(subscriber) ? subscriber->events : NULL};
    zmq_pollitem_t items[3];
    int count = 0;
    for (int i = 0; i < 3; i++) {
        if (sockets[i] != NULL) {
            items[count++] = (zmq_pollitem_t){.socket = sockets[i], .events = ZMQ_POLLIN};
        }
    }
    (void)zmq_poll(items, count, wake_ms > now_ms ? (long)(wake_ms - now_ms) : 0);
}

/* Another version on a mere tail stops nothing: the next call goes on behind it. */
static err
held_status(struct larder_subscriber *subscriber)
{
    err status = subscriber->held;
    if (subscriber->requests == NULL) {
        subscriber->held = ERR_ok;
    }
    return status;
}

err
larder_subscriber_next(struct larder_subscriber *subscriber, int64_t timeout_ms, struct larder_event *event)
{
    int64_t until_ms = link_steady_ms() + timeout_ms;
    for (;;) {
        hear_all(subscriber);
        if (take_from_page(subscriber, event) || (is_listening(subscriber) && take_published(subscriber, event))) {
            return ERR_ok;
        }
        if (subscriber->held != ERR_ok) {
            return held_status(subscriber);
        }
        int64_t now_ms = link_steady_ms();
        if (subscriber->requests != NULL) {
            ask(subscriber, now_ms);
        }
        bool hears_heads = subscriber->requests != NULL || subscriber->topic_count == 0;
        if (hears_heads && is_listening(subscriber)) {
            (void)link_renew_events(subscriber->sub, &subscriber->pulse, now_ms);
        }
        if (subscriber->must_confirm) {
            return ERR_overloaded;
        }
        if (now_ms >= until_ms) {
            return ERR_deadline_exceeded;
        }
        wait_until(subscriber, until_ms);
    }
}

err
larder_event_decode(const struct larder_event *event, void *target, struct err_text *why)
{
    if (event->type >= EVENT_COUNT) {
        return err_say(why, ERR_not_found, "events of the type %.*s are not known here", (int)event->header.type.size,
                       (const char *)event->header.type.data);
    }
    return wire_decode(wire_events[event->type].body, event->body, target, why);
}
