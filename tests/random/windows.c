/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   See windows.h.
 *
 * STATE
 *   The requests that are under way. Between windows there are none, so the book can be added up.
 *
 * FAILURES
 *   A request that nobody answers within its time is a fault: every request is answered, also one that cannot be read.
 */
#include "windows.h"

#include <string.h>

#include "judge.h"
#include "link.h"

#define CONNECT_MS 20000
#define ATTEMPTS_MAX 200
#define PAUSE_MS 20

static bool
is_fine(const struct windows *windows)
{
    return windows->sequence->fault[0] == '\0';
}

static void
send_one(struct windows *windows, struct request *request)
{
    if (!post_send(windows->post, request, CONNECT_MS)) {
        sequence_complain(windows->sequence, request, "nobody takes it");
    }
}

bool
windows_send(struct windows *windows)
{
    struct chance chance = chance_of(~windows->sequence->seed, windows->window++);
    size_t wanted = chance_one_in(&chance, 2) ? 1 + chance_below(&chance, 4) : 1 + chance_below(&chance, WINDOW_MAX);
    for (windows->count = 0; windows->count < wanted && is_fine(windows);) {
        struct request *request = sequence_next(windows->sequence);
        if (request->way == WAY_HTTP) {
            windows->ask_http(windows->context, request);
        } else {
            windows->under_way[windows->count++] = request;
            send_one(windows, request);
        }
    }
    return is_fine(windows);
}

bool
windows_send_of(struct windows *windows, const struct chance *chances, size_t count)
{
    windows->window++;
    for (windows->count = 0; windows->count < count && is_fine(windows); windows->count++) {
        windows->under_way[windows->count] = sequence_next_of(windows->sequence, chances[windows->count]);
        send_one(windows, windows->under_way[windows->count]);
    }
    return is_fine(windows);
}

bool
windows_send_again(struct windows *windows)
{
    for (size_t i = 0; i < windows->count && is_fine(windows); i++) {
        if (windows->under_way[i]->is_under_way) {
            sequence_repeat(windows->sequence, windows->under_way[i]);
            send_one(windows, windows->under_way[i]);
        }
    }
    return is_fine(windows);
}

/* --- what comes --- */

/* By the number in its envelope, or by its id when it has none. */
static struct request *
find_request(struct windows *windows, struct letter_box *box)
{
    struct wire_reply_header header;
    struct err_text why;
    uint64_t number = UINT64_MAX;
    if (box->count > 3 && letter_box_frame(box, 0).size == sizeof number) {
        memcpy(&number, letter_box_frame(box, 0).data, sizeof number);
    }
    bool is_readable =
        box->count >= 2 && wire_decode(&reply_header_body, letter_box_frame(box, box->count - 2), &header, &why) == ERR_ok;
    for (size_t i = 0; i < windows->count; i++) {
        struct request *request = windows->under_way[i];
        bool is_its_place = request->actor == box->actor && request->shard == box->shard;
        bool is_its_id = is_readable && request->envelope < 2 && id_equal(&header.id, &request->id);
        if (is_its_place && (request->number == number || (number == UINT64_MAX && is_its_id))) {
            return request;
        }
    }
    return NULL;
}

static void
take_reply(struct windows *windows, struct letter_box *box)
{
    struct request *request = find_request(windows, box);
    if (request == NULL || !request->is_under_way) {
        return; /* an attempt of an earlier window, or of before a kill */
    }
    if (box->count != request->envelope + 2) {
        sequence_complain(windows->sequence, request, "its envelope of %d frames comes back as %d", request->envelope, box->count - 2);
        return;
    }
    judge_answer(windows->sequence, request, letter_box_frame(box, box->count - 2), letter_box_frame(box, box->count - 1));
}

/* What answers junk need not know which it was, but may not have failed at it. */
static void
take_junk(struct windows *windows, struct letter_box *box)
{
    struct request nobody = {.op = OP_COUNT, .actor = box->actor, .shard = box->shard};
    struct wire_reply_header header;
    struct err_text why;
    if (box->count < 2 || wire_decode(&reply_header_body, letter_box_frame(box, box->count - 2), &header, &why) != ERR_ok) {
        sequence_complain(windows->sequence, &nobody, "junk is answered with what cannot be read");
        return;
    }
    err status = err_find((const char *)header.status.data, header.status.size);
    if (status == ERR_COUNT || (err_disposition(status) == ERR_BUG && status != ERR_wrong_shard)) {
        sequence_complain(windows->sequence, &nobody, "junk is answered with %.*s", (int)header.status.size,
                          (const char *)header.status.data);
    }
}

static bool
take_one(struct windows *windows, int64_t timeout_ms)
{
    struct letter_box box;
    if (!post_receive(windows->post, timeout_ms, &box)) {
        return false;
    }
    if (box.kind == POST_REQUESTS) {
        take_reply(windows, &box);
    } else if (box.kind == POST_JUNK) {
        take_junk(windows, &box);
    } else if (box.count == 3) {
        judge_event(windows->sequence, letter_box_frame(&box, 0), letter_box_frame(&box, 1), letter_box_frame(&box, 2));
    }
    letter_box_fini(&box);
    return true;
}

static struct request *
first_under_way(struct windows *windows)
{
    for (size_t i = 0; i < windows->count; i++) {
        if (windows->under_way[i]->is_under_way) {
            return windows->under_way[i];
        }
    }
    return NULL;
}

static void
collect(struct windows *windows)
{
    int64_t end_ms = link_steady_ms() + SEQUENCE_TIMEOUT_MS + windows->patience_ms;
    while (is_fine(windows) && first_under_way(windows) != NULL) {
        int64_t left_ms = end_ms - link_steady_ms();
        if (left_ms <= 0) {
            sequence_complain(windows->sequence, first_under_way(windows), "nobody has answered it");
            return;
        }
        (void)take_one(windows, left_ms > 100 ? 100 : left_ms);
    }
}

/* --- the book --- */

/* Asks without a place in the sequence: it is the book's own question. */
static bool
ask_ledger(struct windows *windows, size_t product, struct letter_box *box)
{
    struct request request = {.op = OP_stock_moves, .envelope = 2, .number = UINT64_MAX - 1 - windows->window, .actor = 5};
    struct wire_stock_moves body = {0};
    struct slice name = slice_of(values_products[product]);
    int64_t end_ms = link_steady_ms() + CONNECT_MS;
    request.id = id_new();
    request.shard = wire_shard_of(name, windows->sequence->shards);
    WIRE_SET(&body, stock_moves, product, name);
    WIRE_SET(&body, stock_moves, limit, 1000);
    WIRE_SET(&request.told, request_header, v, WIRE_VERSION);
    WIRE_SET(&request.told, request_header, id, request.id);
    WIRE_SET(&request.told, request_header, op, slice_of("stock.moves"));
    WIRE_SET(&request.told, request_header, deadline, link_utc_ms() + CONNECT_MS);
    wire_encode(&request_header_body, &request.told, &request.header);
    wire_encode(&stock_moves_body, &body, &request.body);
    bool is_sent = post_send(windows->post, &request, CONNECT_MS);
    wire_buffer_fini(&request.header);
    wire_buffer_fini(&request.body);
    while (is_sent && link_steady_ms() < end_ms) {
        if (!post_receive(windows->post, 100, box)) {
            continue;
        }
        if (box->kind == POST_REQUESTS && box->count == 4 && letter_box_frame(box, 0).size == sizeof request.number &&
            memcmp(letter_box_frame(box, 0).data, &request.number, sizeof request.number) == 0) {
            return true;
        }
        letter_box_fini(box);
    }
    return false;
}

/* Refills came by themselves: the ledger says which. */
static void
read_refills(struct windows *windows, size_t product)
{
    struct letter_box box;
    struct wire_stock_ledger ledger;
    struct wire_stock_move move;
    struct err_text why;
    if (!ask_ledger(windows, product, &box)) {
        return;
    }
    if (wire_decode(&stock_ledger_body, letter_box_frame(&box, 3), &ledger, &why) == ERR_ok) {
        struct wire_list moves = ledger.moves;
        while (wire_list_next(&moves, &stock_move_body, &move)) {
            if (slice_equal(move.kind, slice_of("refill"))) {
                book_refill(&windows->sequence->book, product, &move);
            }
        }
    }
    letter_box_fini(&box);
}

static void
ask_open_ones(struct windows *windows)
{
    bool is_any = true;
    for (int attempt = 0; is_any && attempt < ATTEMPTS_MAX && is_fine(windows); attempt++) {
        is_any = false;
        for (size_t i = 0; i < windows->count; i++) {
            if (judge_is_open(windows->under_way[i])) {
                is_any = true;
                sequence_repeat(windows->sequence, windows->under_way[i]);
                send_one(windows, windows->under_way[i]);
            }
        }
        if (is_any) {
            (void)take_one(windows, PAUSE_MS);
            collect(windows);
        }
    }
    if (is_any && is_fine(windows)) {
        sequence_complain(windows->sequence, windows->under_way[0], "the window never comes to an end");
    }
}

bool
windows_settle(struct windows *windows)
{
    struct err_text why;
    collect(windows);
    ask_open_ones(windows);
    for (size_t product = 0; product < VALUES_BOOK_PRODUCTS && is_fine(windows); product++) {
        if (book_has_gap(&windows->sequence->book, product)) {
            read_refills(windows, product);
        }
    }
    if (is_fine(windows) && !book_settle(&windows->sequence->book, &why)) {
        struct request nobody = {.number = windows->sequence->number, .op = OP_COUNT, .actor = 5};
        sequence_complain(windows->sequence, &nobody, "the book: %s", why.text);
    }
    return is_fine(windows);
}
