/* SPDX-License-Identifier: MPL-2.0 */
/* The table of routes.def: which address and method is which operation, and what of the path is a parameter. */
#ifndef LARDER_ROUTES_H
#define LARDER_ROUTES_H

#include <stdbool.h>

#include "err.h"
#include "json.h"
#include "role.h"
#include "wire.h"

#define ROUTES_PARAMETERS_MAX 2
#define ROUTES_ALLOW_SIZE 64

enum route_method { METHOD_GET, METHOD_HEAD, METHOD_POST, METHOD_PUT, METHOD_PATCH, METHOD_DELETE, METHOD_OPTIONS, METHOD_OTHER };
enum route_work { WORK_FORWARD, WORK_LIVE, WORK_READY, WORK_METRICS };
enum route_input { INPUT_QUERY, INPUT_JSON, INPUT_RAW, INPUT_NONE };
enum route_reply { REPLY_BODY, REPLY_TAGGED, REPLY_LEVEL, REPLY_PAGE, REPLY_LIST };

/* What routes.def says of each. */
enum route_trait {
    TRAIT_LATER,
    TRAIT_PERSONAL,
    TRAIT_JUDGED,
    TRAIT_PEER,
    TRAIT_SECRET,
    TRAIT_SIGNED,
    TRAIT_CREATES,
    TRAIT_SPREAD,
    TRAIT_COUNT
};

enum route_number {
#define ROUTE(name, method, pattern, role, op, success, input, names, reply, location, doc) ROUTE_##name,
#define PROBE(name, pattern, work, doc) ROUTE_##name,
#include "routes.def"
    ROUTE_COUNT
};

struct route {
    const char *name;
    const char *pattern;
    const char *location; /* "" for none */
    const char *doc;
    const struct json_name *names;
    enum route_method method;
    enum route_work work;
    enum op op;     /* of WORK_FORWARD */
    enum role role; /* the least that may ask */
    enum route_input input;
    enum route_reply reply;
    int success;
};

/* How a list goes on; both are names of fields. */
struct route_page {
    const char *cursor;
    const char *element;
};

/* How a reply says that what was asked is not done yet. */
struct route_accepted {
    const char *field;
    const char *word;
};

/* A segment of the path as it stands in the address. */
struct route_parameter {
    struct slice name;
    struct slice raw;
};

struct route_match {
    const struct route *route; /* NULL unless ERR_ok */
    struct route_parameter parameters[ROUTES_PARAMETERS_MAX];
    size_t parameter_count;
    uint32_t methods; /* bits of the methods that the address takes; 0 when there is no such address */
};

/* In the order of routes.def. */
extern const struct route routes[ROUTE_COUNT];

/* METHOD_OTHER for what is not known. */
enum route_method
routes_method(const char *name);

/* Matches the path, raw and without its query, as routes_normalise() left it. HEAD is GET. ERR_not_found or
 * ERR_method_not_allowed (also for OPTIONS) otherwise; `match->methods` is set either way. */
MUST_CHECK err
routes_match(enum route_method method, struct slice path, struct route_match *match);

/* NULL when the route is not a page. */
const struct route_page *
routes_page(const struct route *route);

bool
routes_has(const struct route *route, enum route_trait trait);

/* The flag of the request with which nothing is made; NULL when there is none. */
const char *
routes_made_unless(const struct route *route);

/* NULL when what was answered is always done. */
const struct route_accepted *
routes_accepted(const struct route *route);

/* The value of an Allow header, e.g. "GET, HEAD, OPTIONS"; terminated. */
void
routes_allow(uint32_t methods, char allow[ROUTES_ALLOW_SIZE]);

/* Decodes the escapes of characters that need none (RFC 3986, 6.2.2.2), in place; returns the new size. Escaped separators stay. */
size_t
routes_normalise(uint8_t *path, size_t size);

/* Decodes all escapes to `out`, which has room for `raw.size` bytes and may be where they are. False: an incomplete escape, a NUL,
 * or what comes out is not UTF-8. `is_query`: a plus is a space. */
bool
routes_decode(struct slice raw, bool is_query, uint8_t *out, size_t *size);

#endif
