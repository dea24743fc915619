/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   See judge.h.
 *
 * STATE
 *   The sequence's. What a good answer tells (ids, versions, positions) goes to the memory, what it changed to the book.
 *
 * LIMITS
 *   An answer is re-encoded and compared byte by byte, so a field that its table does not have is found as well, in all but the
 *   frames that it holds.
 */
#include "judge.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "json.h"

static bool
is_decoded(const struct wire_body *body, struct slice frame, void *target, struct err_text *why)
{
    if (wire_decode(body, frame, target, why) != ERR_ok) {
        return false;
    }
    struct wire_buffer again = {0};
    wire_encode(body, target, &again);
    bool is_same = slice_equal(wire_buffer_slice(&again), frame);
    wire_buffer_fini(&again);
    if (!is_same) {
        (void)err_say(why, ERR_internal, "%s has fields that its table does not have, or values in a longer form", body->name);
    }
    return is_same;
}

/* --- what an operation may say --- */

static bool
is_listed(const char *list, const char *word)
{
    size_t size = strlen(word);
    for (const char *at = strstr(list, word); at != NULL; at = strstr(at + 1, word)) {
        bool is_whole = (at == list || at[-1] == ' ') && (at[size] == '\0' || at[size] == ' ');
        if (is_whole) {
            return true;
        }
    }
    return false;
}

static bool
is_restaurant(const char *owner)
{
    return is_listed("product user order payment", owner);
}

static bool
may_refuse(const struct request *request, err status)
{
    const struct wire_op *op = &wire_ops[request->op];
    switch ((int)status) {
    case ERR_invalid_field:
    case ERR_deadline_exceeded:
    case ERR_unavailable:
    case ERR_overloaded:
        return true;
    case ERR_idempotency_mismatch:
        return (op->traits & OP_WRITES) != 0 && (op->traits & OP_REPEATS) == 0;
    case ERR_forbidden:
        return is_restaurant(op->owner) || is_listed(operations[request->op].refusals, err_symbol(status));
    case ERR_wrong_shard:
        return request->is_wrong_shard;
    default:
        return is_listed(operations[request->op].refusals, err_symbol(status));
    }
}

static void
check_status(struct sequence *sequence, const struct request *request, err status, const char *detail)
{
    if (request->expected != ERR_ok && status != request->expected && status != ERR_deadline_exceeded) {
        sequence_complain(sequence, request, "%s is answered, but it is %s by its frames (%s)", err_symbol(status),
                          err_symbol(request->expected), detail);
    } else if (request->expected == ERR_ok && status != ERR_ok && !may_refuse(request, status)) {
        sequence_complain(sequence, request, "%s is not for this operation to say (%s)", err_symbol(status), detail);
    }
}

/* --- what was said before --- */

/* An answer that says nothing about the request itself; or that is for whoever asked it in this role. */
static bool
is_about_now(const struct request *request, err status)
{
    bool is_theirs = status == ERR_forbidden || status == ERR_unknown_order || status == ERR_unknown_user ||
                     status == ERR_unknown_charge || status == ERR_wrong_transition;
    return err_disposition(status) == ERR_RETRY || (is_theirs && WIRE_HAS(&request->told, request_header, role));
}

static void
check_told(struct sequence *sequence, struct request *request, err status, struct slice body)
{
    const struct wire_op *op = &wire_ops[request->op];
    uint64_t asked = told_hash(wire_buffer_slice(&request->body));
    if ((op->traits & OP_WRITES) == 0 || operations[request->op].asked_again == READS || request->expected != ERR_ok) {
        return;
    }
    struct told *told = told_get(&sequence->told, &request->id, sequence_where(request));
    bool is_same = told->op == request->op && told->asked == asked;
    if (status == ERR_ok && told->is_done && !is_same) {
        sequence_complain(sequence, request, "done, though another request was done under its id (%llu)",
                          (unsigned long long)told->number);
    } else if (status == ERR_ok && told->is_done && operations[request->op].asked_again == SAME && told->answer != told_hash(body)) {
        sequence_complain(sequence, request, "answered otherwise than under the same id before (%llu)",
                          (unsigned long long)told->number);
    } else if (status == ERR_ok && told->refusal != ERR_ok && is_same && operations[request->op].asked_again == SAME) {
        sequence_complain(sequence, request, "done, though its final refusal was %s (%llu)", err_symbol(told->refusal),
                          (unsigned long long)told->number);
    } else if (status != ERR_ok && told->is_done && is_same && request->again && !is_about_now(request, status)) {
        sequence_complain(sequence, request, "%s, though it was done before (%llu)", err_symbol(status),
                          (unsigned long long)told->number);
    }
    if (status == ERR_ok && !told->is_done) {
        told->is_done = true;
        told->op = request->op;
        told->asked = asked;
        told->answer = told_hash(body);
        told->number = request->number;
    } else if (request->again && !told->is_done && told->refusal == ERR_ok && err_disposition(status) == ERR_REFUSE &&
               !is_about_now(request, status) && status != ERR_idempotency_mismatch) {
        told->refusal = status;
        told->op = request->op;
        told->asked = asked;
        told->number = request->number;
    }
}

/* --- what it tells --- */

static void
check_levels(struct sequence *sequence, const struct request *request, struct wire_list levels)
{
    struct wire_stock_level level;
    while (wire_list_next(&levels, &stock_level_body, &level)) {
        if (level.available != level.on_hand - level.reserved || level.reserved > level.on_hand) {
            sequence_complain(sequence, request, "%.*s: %lld on hand, %lld reserved, %lld available", (int)level.product.size,
                              (const char *)level.product.data, (long long)level.on_hand, (long long)level.reserved,
                              (long long)level.available);
        }
        size_t product = values_product_number(level.product);
        if (product < MEMORY_PRODUCTS) {
            sequence->memory.levels[product] = level.version;
        }
    }
}

static void
put_thing(struct sequence *sequence, const struct request *request, enum thing thing, const struct id *id, int64_t version)
{
    struct known known = {.id = *id, .version = version};
    memory_put(&sequence->memory, thing,
               thing == THING_CHARGE && operations[request->op].thing == THING_ORDER ? request->charge_slot : request->slot, &known);
}

static void
take_stock(struct sequence *sequence, struct request *request, const void *answer, bool is_new)
{
    union json_any asked;
    struct err_text why;
    struct wire_stock_line line;
    const struct wire_stock_done *done = answer;
    check_levels(sequence, request, done->levels);
    if (wire_decode(wire_ops[request->op].request, wire_buffer_slice(&request->body), &asked, &why) != ERR_ok || !is_new) {
        return;
    }
    book_write(&sequence->book, request->op, &request->id, &asked, done);
    struct wire_list lines = asked.stock_reserve_value.lines;
    struct known hold = {.id = request->id};
    while (request->op == OP_stock_reserve && wire_list_next(&lines, &stock_line_body, &line)) {
        memcpy(hold.product, line.product.data, line.product.size);
        hold.product[line.product.size] = '\0';
        hold.is_booked = hold.is_booked || values_product_number(line.product) < VALUES_BOOK_PRODUCTS;
        memory_put(&sequence->memory, THING_HOLD, request->slot, &hold);
    }
}

static void
take_events(struct sequence *sequence, const struct request *request, const struct wire_fetched *fetched, struct standing *standing)
{
    struct wire_list events = fetched->events;
    struct wire_fetched_event event;
    struct err_text why;
    int64_t position = 0;
    while (wire_list_next(&events, &fetched_event_body, &event)) {
        struct wire_event_header header;
        union json_any body;
        if (!is_decoded(&event_header_body, event.header, &header, &why)) {
            sequence_complain(sequence, request, "an event's header: %s", why.text);
            return;
        }
        enum event_type type = wire_event_find((const char *)header.type.data, header.type.size);
        if (type == EVENT_COUNT || !is_decoded(wire_events[type].body, event.body, &body, &why)) {
            sequence_complain(sequence, request, "an event's body: %s", type == EVENT_COUNT ? "of no type" : why.text);
            return;
        }
        if (position != 0 && header.seq != position + 1) {
            sequence_complain(sequence, request, "event %lld follows %lld", (long long)header.seq, (long long)position);
        }
        position = header.seq;
    }
    standing->incarnation = fetched->incarnation;
    standing->position = position == 0 ? standing->position : position;
}

static struct standing *
standing_of(struct sequence *sequence, const struct request *request, struct slice source, struct slice name, bool is_session)
{
    static struct standing nobody;
    char own[32];
    snprintf(own, sizeof own, "%s/%d", sequence_actors[request->actor], request->shard);
    size_t number = values_source_number(source.size == 0 ? slice_of(own) : source);
    bool is_ours = name.size == 2 && name.data[1] >= '0' && name.data[1] < '0' + MEMORY_NAMES;
    if (number == MEMORY_SOURCES || !is_ours) {
        nobody = (struct standing){0};
        return &nobody;
    }
    return is_session ? &sequence->memory.sessions[number][name.data[1] - '0']
                      : &sequence->memory.subscribers[number][name.data[1] - '0'];
}

static void
take_streams(struct sequence *sequence, const struct request *request, const union json_any *asked, const union json_any *answer)
{
    const struct wire_dlq_session *session = &answer->dlq_session_value;
    const struct wire_subscribed *subscribed = &answer->subscribed_value;
    struct standing *standing;
    if (request->op == OP_any_fetch) {
        standing = standing_of(sequence, request, (struct slice){0}, asked->fetch_value.subscriber, false);
        take_events(sequence, request, &answer->fetched_value, standing);
    } else if (request->op == OP_any_subscribe) {
        standing = standing_of(sequence, request, (struct slice){0}, asked->subscribe_value.subscriber, false);
        *standing = (struct standing){.incarnation = subscribed->incarnation, .position = subscribed->position, .is_known = true};
    } else if (request->op == OP_dlq_fetch) {
        standing = standing_of(sequence, request, asked->dlq_fetch_value.source, asked->dlq_fetch_value.subscriber, false);
        take_events(sequence, request, &answer->fetched_value, standing);
    } else if (request->op == OP_dlq_subscribe) {
        standing = standing_of(sequence, request, asked->dlq_subscribe_value.source, asked->dlq_subscribe_value.name, true);
        *standing = (struct standing){session->session, session->incarnation, session->position, true};
    } else if (request->op == OP_dlq_receive) {
        standing = standing_of(sequence, request, asked->dlq_receive_value.source, asked->dlq_receive_value.name, true);
        take_events(sequence, request, &answer->fetched_value, standing);
    }
}

static void
take_things(struct sequence *sequence, const struct request *request, const union json_any *answer)
{
    const struct wire_body *reply = wire_ops[request->op].reply;
    struct memory *memory = &sequence->memory;
    enum thing thing = operations[request->op].thing;
    if (reply == &order_body) {
        const struct wire_order *order = &answer->order_value;
        memory->numbers[THING_ORDER] = order->number;
        if (thing == THING_ORDER) {
            put_thing(sequence, request, THING_ORDER, &order->id, 0);
        }
        if (thing == THING_ORDER && WIRE_HAS(order, order, charge)) {
            put_thing(sequence, request, THING_CHARGE, &order->charge, 0);
        }
    } else if (reply == &charge_body) {
        memory->numbers[THING_CHARGE] = answer->charge_value.number;
        if (thing == THING_OWN_CHARGE) {
            put_thing(sequence, request, THING_OWN_CHARGE, &answer->charge_value.id, 0);
        }
    } else if (reply == &production_body && thing == THING_PRODUCTION) {
        put_thing(sequence, request, THING_PRODUCTION, &answer->production_value.id, 0);
    } else if (reply == &user_ref_body && thing == THING_USER) {
        put_thing(sequence, request, THING_USER, &answer->user_ref_value.user, answer->user_ref_value.version);
    } else if (reply == &replay_body && thing == THING_REPLAY) {
        memory->numbers[THING_REPLAY] = answer->replay_value.number;
        put_thing(sequence, request, THING_REPLAY, &answer->replay_value.id, 0);
    } else if (reply == &letter_body && thing == THING_LETTER) {
        put_thing(sequence, request, THING_LETTER, &answer->letter_value.id, 0);
        if (WIRE_HAS(&answer->letter_value, letter, request)) {
            put_thing(sequence, request, THING_HANDED, &answer->letter_value.request, 0);
        }
    } else if (reply == &letter_page_body) {
        struct wire_list letters = answer->letter_page_value.letters;
        struct wire_letter letter;
        if (wire_list_next(&letters, &letter_body, &letter)) {
            memory->numbers[THING_LETTER] = letter.number;
            put_thing(sequence, request, THING_LETTER, &letter.id, 0);
        }
    } else if (reply == &product_card_body) {
        size_t product = values_product_number(answer->product_card_value.product);
        if (product < MEMORY_PRODUCTS) {
            memory->cards[product] = answer->product_card_value.version;
        }
    }
}

/* What only an outsider makes: no order knows of this charge, no owner of this letter's row. */
static void
add_outside(struct sequence *sequence, const struct id *id)
{
    char text[ID_TEXT_SIZE];
    id_format(id, text);
    wire_buffer_append(&sequence->outside, text, ID_TEXT_SIZE - 1);
    wire_buffer_append(&sequence->outside, "\n", 1);
}

static void
take_outside(struct sequence *sequence, const struct request *request)
{
    union json_any asked;
    struct err_text why;
    struct wire_burial burial;
    if (wire_decode(wire_ops[request->op].request, wire_buffer_slice(&request->body), &asked, &why) != ERR_ok) {
        return;
    }
    if (request->op == OP_payment_charge) {
        add_outside(sequence, &request->id);
    } else if (request->op == OP_dlq_hand_over) {
        add_outside(sequence, &asked.dlq_hand_over_value.request);
    }
    struct wire_list burials = asked.dlq_bury_value.burials;
    while (request->op == OP_dlq_bury && wire_list_next(&burials, &burial_body, &burial)) {
        struct known letter = {.id = burial.letter};
        add_outside(sequence, &burial.letter);
        if (slice_equal(burial.kind, slice_of("event"))) {
            memory_put(&sequence->memory, THING_BURIED, request->slot, &letter);
        }
    }
}

static void
take_answer(struct sequence *sequence, struct request *request, const union json_any *answer, bool is_new)
{
    union json_any asked;
    struct err_text why;
    const struct wire_body *reply = wire_ops[request->op].reply;
    if (wire_decode(wire_ops[request->op].request, wire_buffer_slice(&request->body), &asked, &why) != ERR_ok) {
        return;
    }
    if (reply == &stock_done_body) {
        take_stock(sequence, request, answer, is_new);
    } else if (reply == &stock_levels_body) {
        check_levels(sequence, request, answer->stock_levels_value.levels);
    } else {
        take_things(sequence, request, answer);
        take_streams(sequence, request, &asked, answer);
    }
}

/* --- an answer --- */

static err
read_header(struct sequence *sequence, const struct request *request, struct slice frame)
{
    struct wire_reply_header header;
    struct err_text why;
    static const struct id zero;
    if (!is_decoded(&reply_header_body, frame, &header, &why)) {
        sequence_complain(sequence, request, "the reply's header: %s", why.text);
        return ERR_COUNT;
    }
    bool is_again = WIRE_HAS(&header, reply_header, again) && header.again;
    err status = err_find((const char *)header.status.data, header.status.size);
    if (header.v != WIRE_VERSION || !id_equal(&header.id, request->is_header_bad ? &zero : &request->id)) {
        sequence_complain(sequence, request, "the reply has another version or id");
    } else if (request->attempts > 0 && is_again != request->again && status != ERR_ok) {
        return ERR_COUNT; /* the refusal of an attempt that was given up */
    } else if (request->attempts == 0 && is_again != request->again) {
        sequence_complain(sequence, request, "the reply says another `again`");
    } else if (status == ERR_COUNT) {
        sequence_complain(sequence, request, "%.*s is no status", (int)header.status.size, (const char *)header.status.data);
    }
    return status;
}

static void
count(struct sequence *sequence, const struct request *request, err status)
{
    struct tally *tally = &sequence->tallies[request->op];
    tally->ok += status == ERR_ok;
    tally->refused += status != ERR_ok;
    tally->statuses[status]++;
    tally->by_http += request->way == WAY_HTTP;
}

void
judge_answer(struct sequence *sequence, struct request *request, struct slice header, struct slice body)
{
    union json_any answer;
    struct err_text why;
    err status = read_header(sequence, request, header);
    if (status == ERR_COUNT) {
        return;
    }
    request->was_answered = true;
    request->is_under_way = false;
    const struct wire_body *reply = status == ERR_ok ? wire_ops[request->op].reply : &problem_body;
    sequence_log(sequence, request, err_symbol(status), reply, body);
    request->status = status;
    if (!is_decoded(reply, body, &answer, &why)) {
        sequence_complain(sequence, request, "the answer (%s): %s", err_symbol(status), why.text);
        return;
    }
    count(sequence, request, status);
    struct slice detail = status == ERR_ok ? (struct slice){0} : answer.problem_value.detail;
    char words[256];
    snprintf(words, sizeof words, "%.*s", (int)detail.size, detail.size == 0 ? "" : (const char *)detail.data);
    check_status(sequence, request, status, words);
    bool is_new = status == ERR_ok && !told_get(&sequence->told, &request->id, sequence_where(request))->is_done;
    check_told(sequence, request, status, body);
    bool may_be_done = status == ERR_ok || (request->attempts > 0 && err_disposition(status) == ERR_RETRY); /* by another attempt */
    if (may_be_done) {
        take_outside(sequence, request);
    }
    if (status == ERR_ok) {
        take_answer(sequence, request, &answer, is_new);
    }
}

bool
judge_is_open(const struct request *request)
{
    bool is_shelf = wire_ops[request->op].reply == &stock_done_body;
    return request->is_under_way || (is_shelf && request->expected == ERR_ok && err_disposition(request->status) == ERR_RETRY);
}

/* --- over HTTP --- */

void
judge_http(struct sequence *sequence, struct request *request, int status, struct slice body)
{
    static const char prefix[] = "urn:larder:problem:";
    json_error_t error;
    json_t *root = json_loadb((const char *)body.data, body.size, JSON_REJECT_DUPLICATES, &error);
    char words[16];
    err code = ERR_ok;
    request->was_answered = true;
    request->is_under_way = false;
    snprintf(words, sizeof words, "%d", status);
    sequence_log(sequence, request, words, NULL, body);
    if (root == NULL && status != 304) {
        sequence_complain(sequence, request, "HTTP %d with a body that is not JSON: %s", status, error.text);
    } else if (status >= 400) {
        const char *type = json_string_value(json_object_get(root, "type"));
        code = type == NULL || strncmp(type, prefix, sizeof prefix - 1) != 0
                   ? ERR_COUNT
                   : err_find(type + sizeof prefix - 1, strlen(type) - sizeof prefix + 1);
        if (code == ERR_COUNT || err_http(code) != status) {
            sequence_complain(sequence, request, "HTTP %d with the problem %s", status, type == NULL ? "of no type" : type);
        }
    } else if (status < 200) {
        sequence_complain(sequence, request, "HTTP %d", status);
    }
    if (code != ERR_COUNT && (err_disposition(code) == ERR_BUG || (status == 500 && code != ERR_ok))) {
        sequence_complain(sequence, request, "HTTP %d: %.*s", status, (int)body.size, (const char *)body.data);
    }
    if (code != ERR_COUNT) {
        count(sequence, request, code);
    }
    request->status = code;
    json_decref(root);
}

/* --- events --- */

void
judge_event(struct sequence *sequence, struct slice topic, struct slice header, struct slice body)
{
    static const struct request nobody = {.op = OP_COUNT};
    struct wire_event_header read;
    union json_any any;
    struct err_text why;
    if (!is_decoded(&event_header_body, header, &read, &why)) {
        sequence_complain(sequence, &nobody, "the header of the event %.*s: %s", (int)topic.size, (const char *)topic.data, why.text);
        return;
    }
    enum event_type type = wire_event_find((const char *)read.type.data, read.type.size);
    bool is_head = slice_equal(read.type, slice_of("head"));
    if (!is_head && type == EVENT_COUNT) {
        sequence_complain(sequence, &nobody, "an event of no type: %.*s", (int)topic.size, (const char *)topic.data);
    } else if (!is_decoded(is_head ? &head_body : wire_events[type].body, body, &any, &why)) {
        sequence_complain(sequence, &nobody, "the body of the event %.*s: %s", (int)topic.size, (const char *)topic.data, why.text);
    }
}
