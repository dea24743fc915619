/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The first byte picks a body, the rest is JSON text. What is taken must encode to a frame that the wire's own decoder takes, be
 * written as JSON that jansson takes, and that JSON must be taken again and encode to the same frame.
 */
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "routes.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool holds)
{
    if (!holds) {
        abort();
    }
}

/* Reads the text by the names of a route, or of none. */
static bool
read_as(struct json_reader *reader, const struct wire_body *body, const struct json_name *names, union json_any *value,
        struct slice text)
{
    struct err_text why = {""};
    json_reader_begin(reader, body, value, names);
    err failed = json_reader_object(reader, text, &why);
    failed = failed == ERR_ok ? json_reader_end(reader, &why) : failed;
    require(failed == ERR_ok || failed == ERR_malformed || failed == ERR_invalid_field);
    require((failed == ERR_ok) == (why.text[0] == '\0') && wire_is_utf8(slice_of(why.text)));
    return failed == ERR_ok;
}

static void
require_round_trip(const struct wire_body *body, const union json_any *value)
{
    struct json_reader reader = {0};
    struct wire_buffer frame = {0};
    struct wire_buffer text = {0};
    struct wire_buffer again = {0};
    union json_any decoded;
    struct err_text why;
    wire_encode(body, value, &frame);
    require(wire_decode(body, wire_buffer_slice(&frame), &decoded, &why) == ERR_ok);
    json_write(body, &decoded, &text);
    require(read_as(&reader, body, NULL, &decoded, wire_buffer_slice(&text)));
    wire_encode(body, &decoded, &again);
    require(slice_equal(wire_buffer_slice(&frame), wire_buffer_slice(&again)));
    json_reader_fini(&reader);
    wire_buffer_fini(&frame);
    wire_buffer_fini(&text);
    wire_buffer_fini(&again);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    struct json_reader reader = {0};
    union json_any value;
    size_t number = data[0] % (WIRE_BODY_COUNT + ROUTE_COUNT);
    const struct route *route = number < WIRE_BODY_COUNT ? NULL : &routes[number - WIRE_BODY_COUNT];
    struct slice text = {data + 1, size - 1};
    if (route != NULL && route->work != WORK_FORWARD) {
        return 0;
    }
    const struct wire_body *body = route == NULL ? wire_bodies[number] : wire_ops[route->op].request;
    if (read_as(&reader, body, route == NULL ? NULL : route->names, &value, text)) {
        require_round_trip(body, &value);
    }
    json_reader_fini(&reader);
    return 0;
}
