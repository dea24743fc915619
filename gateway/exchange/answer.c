/* SPDX-License-Identifier: MPL-2.0 */
/*
 * answer: what the client gets
 *
 * PURPOSE
 *   The actor's reply becomes JSON with the status, the Location, the ETag and the Link that the route says, and a refusal, whoever
 *   has refused, a problem document.
 *
 * FAILURES
 *   What the actor refuses is passed on with its words and numbers. A problem that cannot be read is our own bug: a line in the log,
 *   and its code alone.
 *
 * LIMITS
 *   A Location is cut at EXCHANGE_LOCATION_MAX, an element of it at PAGE_TEXT_MAX.
 */
#include "answer.h"

#include <assert.h>
#include <stdio.h>

#include "field.h"
#include "intake.h"
#include "kit/telemetry/log.h"
#include "problem.h"

#define PAGE_LIMIT_DEFAULT 100
#define LETTER_LOCATION "/v1/letters/{id}"
#define REQUEST_LOCATION "/v1/requests/{request}"

void
answer_give(struct exchange *exchange, int status, enum exchange_content content)
{
    exchange->is_waiting = false;
    exchange->answer.status = status;
    exchange->answer.content = content;
}

void
answer_problem(struct exchange *exchange, err code, const struct wire_problem *problem)
{
    err told = problem_public(code);
    exchange->out.size = 0;
    exchange->link.size = 0;
    exchange->answer.is_later = err_http(told) == 503;
    problem_write(told, problem, &exchange->id, &exchange->out);
    answer_give(exchange, err_http(told), CONTENT_PROBLEM);
}

void
answer_refuse(struct exchange *exchange, err code, const char *detail)
{
    struct wire_problem problem = {0};
    WIRE_SET(&problem, problem, detail, slice_of(detail));
    answer_problem(exchange, code, &problem);
}

/* --- lists --- */

static void
put_link_character(struct exchange *exchange, uint8_t character)
{
    char text[4];
    if (character > 0x20 && character < 0x7f && strchr("<>\"\\", character) == NULL) {
        wire_buffer_append(&exchange->link, &character, 1);
        return;
    }
    (void)snprintf(text, sizeof text, "%%%02X", character);
    wire_buffer_append(&exchange->link, text, 3);
}

static void
put_link(struct exchange *exchange, const char *text)
{
    wire_buffer_append(&exchange->link, text, strlen(text));
}

/* Link: the same address and query with another cursor. */
static void
write_link(struct exchange *exchange)
{
    struct slice query = intake_query(exchange);
    struct slice pair;
    exchange->link.size = 0;
    put_link(exchange, "<");
    for (size_t i = 0; i < exchange->path_size; i++) {
        put_link_character(exchange, exchange->uri.data[i]);
    }
    put_link(exchange, "?cursor=");
    page_cursor_write(&exchange->page.last, &exchange->link);
    while (intake_next_pair(&query, &pair)) {
        if (pair.size >= 7 && memcmp(pair.data, "cursor=", 7) == 0) {
            continue;
        }
        put_link(exchange, "&");
        for (size_t i = 0; i < pair.size; i++) {
            put_link_character(exchange, pair.data[i]);
        }
    }
    put_link(exchange, ">; rel=\"next\"");
}

/* Whether the next shard is to be asked for the rest: it is full at the latest when all were. */
static bool
turns_to_next_shard(struct exchange *exchange)
{
    const struct wire_op *op = &wire_ops[exchange->match.route->op];
    struct page *page = &exchange->page;
    if (!routes_has(exchange->match.route, TRAIT_SPREAD) || page->has_more ||
        page->last.shard + 1 >= upstream_shards(exchange->upstream, op->owner)) {
        return false;
    }
    const int64_t *limit = field_value(op->request, &exchange->request, slice_of("limit"));
    page->room = (limit != NULL ? *limit : PAGE_LIMIT_DEFAULT) - page->count;
    page->last.shard++;
    page->last.size = 0;
    page->has_more = page->room <= 0;
    return !page->has_more;
}

/* False: it goes on with the next shard. */
static bool
answer_page(struct exchange *exchange, const struct wire_body *body, const union json_any *reply)
{
    page_add(&exchange->page, routes_page(exchange->match.route), body, reply, &exchange->out);
    if (turns_to_next_shard(exchange)) {
        return false;
    }
    page_end(&exchange->page, &exchange->out);
    if (exchange->page.has_more && routes_page(exchange->match.route) != NULL) {
        write_link(exchange);
    }
    answer_give(exchange, exchange->match.route->success, CONTENT_JSON);
    return true;
}

/* --- one thing --- */

static void
write_location(struct exchange *exchange, const char *from, const struct wire_body *body, const union json_any *reply)
{
    char *out = exchange->answer.location;
    const char *out_end = out + EXCHANGE_LOCATION_MAX - PAGE_TEXT_MAX - 1;
    while (*from != 0 && out < out_end) {
        if (*from != '{') {
            *out++ = *from++;
            continue;
        }
        struct slice field = {(const uint8_t *)from + 1, strcspn(from, "}") - 1};
        size_t size = page_field_text(body, reply, field, out);
        if (size == 0 && exchange->match.parameter_count > 0 && slice_equal(field, exchange->match.parameters[0].name)) {
            struct slice raw = exchange->match.parameters[0].raw;
            size = raw.size < PAGE_TEXT_MAX ? raw.size : PAGE_TEXT_MAX;
            memcpy(out, raw.data, size);
        }
        out += size;
        from += field.size + 2;
    }
    *out = 0;
}

/* Whether the client has this version already: one of its tags is ours, or it takes any. */
static bool
is_known_to_client(const struct exchange *exchange)
{
    struct slice tags = exchange->head.if_none_match;
    size_t size = strlen(exchange->answer.etag);
    if (tags.size == 0 || exchange->match.route->method != METHOD_GET || size == 0) {
        return false;
    }
    return (tags.size == 1 && tags.data[0] == '*') || memmem(tags.data, tags.size, exchange->answer.etag, size) != NULL;
}

/* The reply with its version as ETag. */
static void
answer_tagged(struct exchange *exchange, const struct wire_body *body, const void *reply)
{
    const int64_t *version = field_value(body, reply, slice_of("version"));
    assert(version != NULL);
    (void)snprintf(exchange->answer.etag, EXCHANGE_ETAG_MAX, "\"%lld\"", (long long)*version);
    if (is_known_to_client(exchange)) {
        answer_give(exchange, 304, CONTENT_NONE);
        return;
    }
    json_write(body, reply, &exchange->out);
    answer_give(exchange, exchange->match.route->success, CONTENT_JSON);
}

/* The route's own, unless nothing was made or what was asked is not done yet. */
static int
status_of(const struct exchange *exchange, const struct wire_body *body, const union json_any *reply)
{
    const struct route *route = exchange->match.route;
    const char *flag = routes_made_unless(route);
    const struct route_accepted *accepted = routes_accepted(route);
    const bool *is_unmade = flag == NULL ? NULL : field_value(wire_ops[route->op].request, &exchange->request, slice_of(flag));
    const struct slice *word = accepted == NULL ? NULL : field_value(body, reply, slice_of(accepted->field));
    if (is_unmade != NULL && *is_unmade) {
        return 200;
    }
    return word != NULL && slice_equal(*word, slice_of(accepted->word)) ? 202 : route->success;
}

bool
answer_reply(struct exchange *exchange, const struct wire_body *body, const union json_any *reply)
{
    const struct route *route = exchange->match.route;
    struct wire_stock_level level;
    int status = status_of(exchange, body, reply);
    if (route->reply == REPLY_PAGE || route->reply == REPLY_LIST) {
        return answer_page(exchange, body, reply);
    }
    if (route->reply == REPLY_LEVEL) {
        struct wire_list levels = reply->stock_done_value.levels;
        if (wire_list_next(&levels, &stock_level_body, &level)) {
            answer_tagged(exchange, &stock_level_body, &level);
            return true;
        }
    }
    if (route->location[0] != 0 && status == route->success) {
        write_location(exchange, route->location, body, reply);
    }
    if (route->reply == REPLY_TAGGED) {
        answer_tagged(exchange, body, reply);
        return true;
    }
    json_write(body, reply, &exchange->out);
    answer_give(exchange, status, CONTENT_JSON);
    return true;
}

/* In the gateway's own words. A request of a LATER route has failed twice by the time that the dlq is not there either. */
static void
refuse_here(struct exchange *exchange, const struct upstream_reply *reply)
{
    char detail[ERR_TEXT_MAX];
    if (exchange->call.op != OP_dlq_hand_over || exchange->head.prefers_async) {
        answer_refuse(exchange, reply->status, reply->why);
        return;
    }
    (void)snprintf(detail, sizeof detail, "%s/%d is not there, and it cannot be kept for later: %s",
                   wire_ops[exchange->match.route->op].owner, exchange->shard, reply->why);
    answer_refuse(exchange, reply->status, detail);
}

void
answer_refusal(struct exchange *exchange, const struct upstream_reply *reply)
{
    struct err_text why;
    struct wire_problem problem;
    if (reply->why != NULL) {
        refuse_here(exchange, reply);
        return;
    }
    if (wire_decode(&problem_body, reply->body, &problem, &why) != ERR_ok) {
        log_error("unreadable_problem", LOG_TEXT("route", exchange_route_name(exchange)), LOG_TEXT("why", why.text),
                  LOG_ID("req", &exchange->id));
        answer_problem(exchange, reply->status, NULL);
        return;
    }
    answer_problem(exchange, reply->status, &problem);
}

void
answer_kept(struct exchange *exchange, const union json_any *letter)
{
    exchange->answer.is_async_applied = exchange->head.prefers_async;
    exchange->out.size = 0;
    json_write(&letter_body, letter, &exchange->out);
    write_location(exchange, exchange->asker.role >= ROLE_ADMIN ? LETTER_LOCATION : REQUEST_LOCATION, &letter_body, letter);
    answer_give(exchange, 202, CONTENT_JSON);
}
