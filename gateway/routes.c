/* SPDX-License-Identifier: MPL-2.0 */
/*
 * routes: from method and path to an operation
 *
 * PURPOSE
 *   Reads routes.def into a table and matches paths against it, without I/O and without memory of its own. A path is compared as
 *   it came: it is split at its slashes first, and a parameter is decoded by its user, so `%2F` never becomes a separator and a
 *   verb's colon cannot be smuggled in as `%3A`.
 *
 * FAILURES
 *   not_found when no pattern fits; method_not_allowed when one fits but not with this method, with the methods that would do.
 *
 * LIMITS
 *   The table is walked; with its some 80 patterns that is well below a microsecond, as most differ in the first characters.
 */
#include "routes.h"

#define NAMES(set) static const struct json_name set##_names[] = {
#define NAME(given, field, how) {given, field, JSON_##how},
#define NAMES_END               \
    {                           \
        NULL, NULL, JSON_HIDDEN \
    }                           \
    }                           \
    ;
#include "routes.def"

const struct route routes[ROUTE_COUNT] = {
#define ROUTE(name, method, pattern, role, op, success, input, names, reply, location, doc) \
    {#name,        pattern, location,    doc,           names##_names, METHOD_##method,     \
     WORK_FORWARD, OP_##op, ROLE_##role, INPUT_##input, REPLY_##reply, success},
#define PROBE(name, pattern, work, doc) \
    {#name, pattern, "", doc, NULL, METHOD_GET, WORK_##work, OP_COUNT, ROLE_ANONYMOUS, INPUT_NONE, REPLY_BODY, 200},
#include "routes.def"
};

static const struct route_page pages[ROUTE_COUNT] = {
#define PAGE(route, cursor, element) [ROUTE_##route] = {#cursor, #element},
#include "routes.def"
};

static const bool traits[TRAIT_COUNT][ROUTE_COUNT] = {
#define TRAIT(route, trait) [TRAIT_##trait][ROUTE_##route] = true,
#include "routes.def"
};

static const char *const flags[ROUTE_COUNT] = {
#define MADE_UNLESS(route, field) [ROUTE_##route] = #field,
#include "routes.def"
};

static const struct route_accepted accepted[ROUTE_COUNT] = {
#define ACCEPTED(route, field, word) [ROUTE_##route] = {#field, #word},
#include "routes.def"
};

static const char *const method_names[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"};

enum route_method
routes_method(const char *name)
{
    for (size_t i = 0; i < sizeof method_names / sizeof *method_names; i++) {
        if (strcmp(name, method_names[i]) == 0) {
            return (enum route_method)i;
        }
    }
    return METHOD_OTHER;
}

/* Takes one `{name}` with what follows it in its segment; `*pattern` is behind the brace. */
static bool
match_segment(const char **pattern, struct slice *path, struct route_parameter *parameter)
{
    const char *name = *pattern;
    const char *tail = strchr(name, '}') + 1;
    size_t tail_size = strcspn(tail, "/");
    const uint8_t *slash = path->size > 0 ? memchr(path->data, '/', path->size) : NULL;
    size_t size = slash != NULL ? (size_t)(slash - path->data) : path->size;
    if (size <= tail_size || memcmp(path->data + size - tail_size, tail, tail_size) != 0) {
        return false;
    }
    parameter->name = (struct slice){(const uint8_t *)name, (size_t)(tail - name) - 1};
    parameter->raw = (struct slice){path->data, size - tail_size};
    *pattern = tail + tail_size;
    path->data += size;
    path->size -= size;
    return memchr(parameter->raw.data, ':', parameter->raw.size) == NULL;
}

static bool
match_pattern(const char *pattern, struct slice path, struct route_match *match)
{
    match->parameter_count = 0;
    while (*pattern != 0) {
        if (*pattern == '{') {
            pattern++;
            if (!match_segment(&pattern, &path, &match->parameters[match->parameter_count++])) {
                return false;
            }
            continue;
        }
        if (path.size == 0 || path.data[0] != (uint8_t)*pattern) {
            return false;
        }
        pattern++;
        path.data++;
        path.size--;
    }
    return path.size == 0;
}

err
routes_match(enum route_method method, struct slice path, struct route_match *match)
{
    struct route_match tried = {0};
    enum route_method wanted = method == METHOD_HEAD ? METHOD_GET : method;
    *match = (struct route_match){0};
    for (size_t i = 0; i < ROUTE_COUNT; i++) {
        if (!match_pattern(routes[i].pattern, path, &tried)) {
            continue;
        }
        if (routes[i].method == wanted) {
            *match = tried;
            match->route = &routes[i];
            match->methods = 1U << wanted;
            return ERR_ok;
        }
        match->methods |= 1U << routes[i].method;
    }
    return match->methods == 0 ? ERR_not_found : ERR_method_not_allowed;
}

const struct route_page *
routes_page(const struct route *route)
{
    const struct route_page *page = &pages[route - routes];
    return page->cursor != NULL ? page : NULL;
}

bool
routes_has(const struct route *route, enum route_trait trait)
{
    return traits[trait][route - routes];
}

const char *
routes_made_unless(const struct route *route)
{
    return flags[route - routes];
}

const struct route_accepted *
routes_accepted(const struct route *route)
{
    const struct route_accepted *how = &accepted[route - routes];
    return how->field != NULL ? how : NULL;
}

void
routes_allow(uint32_t methods, char allow[ROUTES_ALLOW_SIZE])
{
    size_t size = 0;
    if (methods & 1U << METHOD_GET) {
        methods |= 1U << METHOD_HEAD;
    }
    methods |= 1U << METHOD_OPTIONS;
    for (size_t i = 0; i < sizeof method_names / sizeof *method_names; i++) {
        if ((methods & 1U << i) == 0) {
            continue;
        }
        if (size > 0) {
            memcpy(allow + size, ", ", 2);
            size += 2;
        }
        memcpy(allow + size, method_names[i], strlen(method_names[i]));
        size += strlen(method_names[i]);
    }
    allow[size] = 0;
}

static int
digit_of(uint8_t character)
{
    if (character >= '0' && character <= '9') {
        return character - '0';
    }
    if (character >= 'a' && character <= 'f') {
        return character - 'a' + 10;
    }
    return character >= 'A' && character <= 'F' ? character - 'A' + 10 : -1;
}

/* The byte of an escape at the start of `raw`; -1 when it is none. */
static int
escape_of(struct slice raw)
{
    if (raw.size < 3 || raw.data[0] != '%' || digit_of(raw.data[1]) < 0 || digit_of(raw.data[2]) < 0) {
        return -1;
    }
    return digit_of(raw.data[1]) * 16 + digit_of(raw.data[2]);
}

static bool
is_unreserved(int character)
{
    return (character >= 'a' && character <= 'z') || (character >= 'A' && character <= 'Z') ||
           (character >= '0' && character <= '9') || character == '-' || character == '.' || character == '_' || character == '~';
}

size_t
routes_normalise(uint8_t *path, size_t size)
{
    size_t written = 0;
    for (size_t at = 0; at < size; at++) {
        int byte = escape_of((struct slice){path + at, size - at});
        if (is_unreserved(byte)) {
            path[written++] = (uint8_t)byte;
            at += 2;
        } else {
            path[written++] = path[at];
        }
    }
    return written;
}

bool
routes_decode(struct slice raw, bool is_query, uint8_t *out, size_t *size)
{
    size_t written = 0;
    for (size_t at = 0; at < raw.size; at++) {
        uint8_t character = raw.data[at];
        if (character == '%') {
            int byte = escape_of((struct slice){raw.data + at, raw.size - at});
            if (byte <= 0) {
                return false;
            }
            character = (uint8_t)byte;
            at += 2;
        } else if (is_query && character == '+') {
            character = ' ';
        }
        out[written++] = character;
    }
    *size = written;
    return wire_is_utf8((struct slice){out, written});
}
