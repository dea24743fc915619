/* SPDX-License-Identifier: MPL-2.0 */
/*
 * intake: what an HTTP request says, as the request of its operation
 *
 * PURPOSE
 *   Path, query, JSON body and the headers that mean a field become one struct of bodies.def. A webhook's body and headers become it
 *   as they came.
 *
 * FAILURES
 *   The first thing that is wrong is refused by the name of its field or header. A condition that the operation cannot promise to
 *   look at is refused rather than ignored.
 *
 * LIMITS
 *   A field is given once, in whichever place. A webhook has WEBHOOK_MAX bytes at the most.
 */
#include "intake.h"

#include "field.h"
#include "shared/demo.h"

#define WEBHOOK_MAX 65536

/* Decodes a piece of the address into `text`, where the same piece stands undecoded. */
static bool
decode(struct exchange *exchange, struct slice raw, bool is_query, struct slice *decoded)
{
    uint8_t *place = exchange->text.data + (raw.data - exchange->uri.data);
    decoded->data = place;
    return routes_decode(raw, is_query, place, &decoded->size);
}

static err
read_parameters(struct exchange *exchange, struct err_text *why)
{
    for (size_t i = 0; i < exchange->match.parameter_count; i++) {
        const struct route_parameter *parameter = &exchange->match.parameters[i];
        struct slice value;
        if (!decode(exchange, parameter->raw, false, &value)) {
            return err_say(why, ERR_invalid_field, "%.*s: is not UTF-8, or has a broken escape or a NUL", (int)parameter->name.size,
                           (const char *)parameter->name.data);
        }
        /* An address names the demo product by its alias too; else two shelves would go by names of one product. */
        bool is_product = slice_equal(parameter->name, slice_of("product"));
        err failed = json_reader_text(&exchange->reader, parameter->name, is_product ? demo_sku_of(value) : value, why);
        if (failed != ERR_ok) {
            return failed;
        }
    }
    return ERR_ok;
}

static err
read_cursor(struct exchange *exchange, struct slice value, struct err_text *why)
{
    const struct route_page *page = routes_page(exchange->match.route);
    err failed = page_cursor_read(value, &exchange->cursor, why);
    if (failed != ERR_ok || exchange->cursor.size == 0) {
        return failed;
    }
    struct slice last = {(const uint8_t *)exchange->cursor.text, exchange->cursor.size};
    if (json_reader_text(&exchange->reader, slice_of(page->cursor), last, why) != ERR_ok) {
        return err_say(why, ERR_invalid_field, "cursor: is not one that was given out here, or comes twice");
    }
    return ERR_ok;
}

static err
read_pair(struct exchange *exchange, struct slice pair, struct err_text *why)
{
    const uint8_t *equals = memchr(pair.data, '=', pair.size);
    size_t name_size = equals != NULL ? (size_t)(equals - pair.data) : pair.size;
    size_t value_at = equals != NULL ? name_size + 1 : pair.size;
    struct slice name;
    struct slice value;
    if (!decode(exchange, (struct slice){pair.data, name_size}, true, &name) ||
        !decode(exchange, (struct slice){pair.data + value_at, pair.size - value_at}, true, &value)) {
        return err_say(why, ERR_invalid_field, "the query is not UTF-8, or has a broken escape or a NUL");
    }
    if (routes_page(exchange->match.route) != NULL && slice_equal(name, slice_of("cursor"))) {
        return read_cursor(exchange, value, why);
    }
    return json_reader_text(&exchange->reader, name, value, why);
}

bool
intake_next_pair(struct slice *query, struct slice *pair)
{
    while (query->size > 0) {
        const uint8_t *end = memchr(query->data, '&', query->size);
        size_t size = end != NULL ? (size_t)(end - query->data) : query->size;
        size_t step = end != NULL ? size + 1 : size;
        *pair = (struct slice){query->data, size};
        query->data += step;
        query->size -= step;
        if (size > 0) {
            return true;
        }
    }
    return false;
}

struct slice
intake_query(const struct exchange *exchange)
{
    size_t at = exchange->path_size;
    if (at >= exchange->uri.size) {
        return (struct slice){0};
    }
    return (struct slice){exchange->uri.data + at + 1, exchange->uri.size - at - 1};
}

static err
read_query(struct exchange *exchange, struct err_text *why)
{
    struct slice query = intake_query(exchange);
    struct slice pair;
    while (intake_next_pair(&query, &pair)) {
        err failed = read_pair(exchange, pair, why);
        if (failed != ERR_ok) {
            return failed;
        }
    }
    return ERR_ok;
}

static bool
is_blank(struct slice text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] != ' ' && text.data[i] != '\t' && text.data[i] != '\r' && text.data[i] != '\n') {
            return false;
        }
    }
    return true;
}

/* If-Match is the version that the client has seen; only an operation that takes one can promise to look at it. */
static err
read_if_match(struct exchange *exchange, struct err_text *why)
{
    struct slice tag = exchange->head.if_match;
    if (field_find(wire_ops[exchange->match.route->op].request, slice_of("version")) == NULL) {
        return err_say(why, ERR_not_implemented, "If-Match: is not looked at here, so it is refused rather than ignored");
    }
    if (tag.size > 2 && tag.data[0] == '"' && tag.data[tag.size - 1] == '"') {
        tag = (struct slice){tag.data + 1, tag.size - 2};
    }
    /* a version of 0 is no ETag: on the wire it says that there must be none yet */
    if ((tag.size == 1 && tag.data[0] == '0') || json_reader_text(&exchange->reader, slice_of("version"), tag, why) != ERR_ok) {
        return err_say(why, ERR_invalid_field,
                       "If-Match: must be one ETag as it was given out, and `version` not in the body as well");
    }
    return ERR_ok;
}

/* If-None-Match: * asks to create and never to replace. */
static err
read_if_none_match(struct exchange *exchange, struct err_text *why)
{
    struct slice tag = exchange->head.if_none_match;
    if (!routes_has(exchange->match.route, TRAIT_CREATES)) {
        return err_say(why, ERR_not_implemented, "If-None-Match: is not looked at here, so it is refused rather than ignored");
    }
    if (tag.size != 1 || tag.data[0] != '*' ||
        json_reader_text(&exchange->reader, slice_of("version"), slice_of("0"), why) != ERR_ok) {
        return err_say(why, ERR_invalid_field, "If-None-Match: must be * here, without an If-Match and without `version` in the body");
    }
    return ERR_ok;
}

static err
read_conditions(struct exchange *exchange, struct err_text *why)
{
    err failed = ERR_ok;
    if ((wire_ops[exchange->match.route->op].traits & OP_WRITES) == 0) {
        return ERR_ok;
    }
    if (exchange->head.has_if_match) {
        failed = read_if_match(exchange, why);
    }
    if (failed == ERR_ok && exchange->head.has_if_none_match) {
        failed = read_if_none_match(exchange, why);
    }
    return failed;
}

/* A webhook is judged by its bytes, so they go on as they came. What cannot be a header of one is no signature. */
static err
read_webhook(struct exchange *exchange, struct err_text *why)
{
    const struct {
        const char *header;
        const char *field;
        struct slice value;
    } headers[] = {
        {"webhook-id", "webhook_id", exchange->head.webhook_id},
        {"webhook-timestamp", "timestamp", exchange->head.webhook_timestamp},
        {"webhook-signature", "signature", exchange->head.webhook_signature},
    };
    struct wire_payment_webhook *webhook = &exchange->request.payment_webhook_value;
    struct slice body = wire_buffer_slice(exchange->body);
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        if (headers[i].value.size > 0 &&
            json_reader_text(&exchange->reader, slice_of(headers[i].field), headers[i].value, why) != ERR_ok) {
            return err_say(why, ERR_bad_signature, "%s: cannot be that of a webhook", headers[i].header);
        }
    }
    if (body.size > WEBHOOK_MAX) {
        return err_say(why, ERR_too_large, "a webhook may have %d bytes", WEBHOOK_MAX);
    }
    WIRE_SET(webhook, payment_webhook, body, body);
    return ERR_ok;
}

err
intake_read(struct exchange *exchange, struct err_text *why)
{
    const struct route *route = exchange->match.route;
    struct slice body = wire_buffer_slice(exchange->body);
    json_reader_begin(&exchange->reader, wire_ops[route->op].request, &exchange->request, route->names);
    exchange->text.size = 0;
    wire_buffer_append(&exchange->text, exchange->uri.data, exchange->uri.size);
    err failed = read_parameters(exchange, why);
    if (failed == ERR_ok && route->input == INPUT_RAW) {
        failed = read_webhook(exchange, why);
    } else if (failed == ERR_ok && route->input != INPUT_NONE) {
        failed = read_query(exchange, why);
    }
    if (failed == ERR_ok && route->input == INPUT_JSON && !is_blank(body)) {
        failed = json_reader_object(&exchange->reader, body, why);
    }
    if (failed == ERR_ok) {
        failed = read_conditions(exchange, why);
    }
    return failed == ERR_ok ? json_reader_end(&exchange->reader, why) : failed;
}
