/* SPDX-License-Identifier: MPL-2.0 */
/*
 * The first byte picks a method, the rest is a path as it comes in a request's first line. Whatever matches must have parameters
 * that lie inside the path, hold no separator, and decode within their own size; cursors and keys are read from the same bytes.
 */
#include <stdlib.h>
#include <string.h>

#include "key.h"
#include "exchange/page.h"
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

static void
require_parameter(const struct route_parameter *parameter, struct slice path)
{
    uint8_t *out = malloc(parameter->raw.size);
    size_t size = 0;
    require(out != NULL && parameter->raw.size > 0 && parameter->name.size > 0);
    require(parameter->raw.data >= path.data && parameter->raw.data + parameter->raw.size <= path.data + path.size);
    require(memchr(parameter->raw.data, '/', parameter->raw.size) == NULL &&
            memchr(parameter->raw.data, ':', parameter->raw.size) == NULL);
    if (routes_decode(parameter->raw, false, out, &size)) {
        require(size <= parameter->raw.size && wire_is_utf8((struct slice){out, size}));
    }
    free(out);
}

static void
try_others(struct slice text)
{
    struct page_cursor cursor;
    struct key key;
    struct err_text why;
    if (page_cursor_read(text, &cursor, &why) == ERR_ok) {
        struct wire_buffer out = {0};
        struct page_cursor back;
        page_cursor_write(&cursor, &out);
        require(page_cursor_read(wire_buffer_slice(&out), &back, &why) == ERR_ok);
        require(back.shard == cursor.shard && back.size == cursor.size && memcmp(back.text, cursor.text, back.size) == 0);
        wire_buffer_fini(&out);
    }
    if (key_parse(text, &key, &why) == ERR_ok) {
        require(key.size >= 1 && key.size <= KEY_MAX);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct route_match match;
    char allow[ROUTES_ALLOW_SIZE];
    if (size == 0) {
        return 0;
    }
    uint8_t *path = malloc(size);
    require(path != NULL);
    memcpy(path, data + 1, size - 1);
    size_t path_size = routes_normalise(path, size - 1);
    require(path_size <= size - 1 && routes_normalise(path, path_size) <= path_size);
    struct slice text = {path, path_size};
    err result = routes_match((enum route_method)(data[0] % (METHOD_OTHER + 1)), text, &match);
    require((result == ERR_ok) == (match.route != NULL));
    require((result == ERR_not_found) == (match.methods == 0));
    routes_allow(match.methods, allow);
    require(strlen(allow) < sizeof allow);
    for (size_t i = 0; i < match.parameter_count; i++) {
        require_parameter(&match.parameters[i], text);
    }
    try_others(text);
    free(path);
    return 0;
}
