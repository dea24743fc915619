/* SPDX-License-Identifier: MPL-2.0 */
/*
 * door: requests that a page of somebody else's makes a browser send
 *
 * PURPOSE
 *   Host must be a name of this gateway's, else a page whose name was made to point here (DNS rebinding) would be of one origin with
 *   it: an IP address, a name of loopback, the host of LARDER_PUBLIC_URL, one of LARDER_HOSTS. What changes something must not come
 *   from a foreign page: by Origin, and where there is none by Sec-Fetch-Site. That holds with a token as well as without, with a body
 *   or without. Programs send neither header, and go on. A page of LARDER_ORIGINS is told so (CORS), as a browser asks before it sends
 *   JSON and shows no answer without it.
 *
 * STATE
 *   What the settings say, read once. Origins and hosts are compared without the case of letters and without a last dot.
 *
 * FAILURES
 *   421 for a host and 403 for an origin, each with a sentence that names the setting.
 *
 * LIMITS
 *   Hosts are judged where who comes in may do everything (LARDER_AUTH=open), and elsewhere once LARDER_HOSTS is set: a rebound page
 *   has no token, and a house behind a proxy serves names that only its operator knows. The gateway itself speaks http, so https on
 *   its own name is foreign until LARDER_PUBLIC_URL says so.
 */
#include "door.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "kit/base/memory.h"
#include "kit/http/http_head.h"

#define LIST_MAX 64

struct origin {
    bool is_secure;
    struct slice name;
    int port;
};

struct door {
    bool judges_hosts;
    bool has_public;
    struct origin public_origin;
    size_t origin_count;
    struct origin origins[LIST_MAX];
    size_t host_count;
    struct slice hosts[LIST_MAX]; /* "*.x" for everything below x */
};

/* --- names --- */

static struct slice
without_last_dot(struct slice name)
{
    if (name.size > 1 && name.data[name.size - 1] == '.') {
        name.size--;
    }
    return name;
}

static bool
is_same_name(struct slice one, struct slice other)
{
    one = without_last_dot(one);
    other = without_last_dot(other);
    return one.size == other.size && strncasecmp((const char *)one.data, (const char *)other.data, one.size) == 0;
}

static bool
ends_with(struct slice name, struct slice tail)
{
    name = without_last_dot(name);
    tail = without_last_dot(tail);
    return name.size > tail.size &&
           strncasecmp((const char *)name.data + name.size - tail.size, (const char *)tail.data, tail.size) == 0;
}

static bool
is_address(struct slice name)
{
    char text[INET6_ADDRSTRLEN];
    uint8_t address[16];
    if (name.size == 0 || name.size >= sizeof text) {
        return false;
    }
    memcpy(text, name.data, name.size);
    text[name.size] = 0;
    return inet_pton(AF_INET, text, address) == 1 || inet_pton(AF_INET6, text, address) == 1;
}

/* RFC 6761: what ends in localhost resolves to loopback everywhere. The others are Debian's. */
static bool
is_loopback_name(struct slice name)
{
    return is_same_name(name, slice_of("localhost")) || ends_with(name, slice_of(".localhost")) ||
           is_same_name(name, slice_of("localhost.localdomain")) || is_same_name(name, slice_of("ip6-localhost")) ||
           is_same_name(name, slice_of("ip6-loopback"));
}

/* scheme://host[:port], and with `has_path` what may follow it in a URL. */
static bool
read_origin(struct slice text, bool has_path, struct origin *origin)
{
    bool is_plain = text.size > 7 && strncasecmp((const char *)text.data, "http://", 7) == 0;
    origin->is_secure = text.size > 8 && strncasecmp((const char *)text.data, "https://", 8) == 0;
    if (!is_plain && !origin->is_secure) {
        return false;
    }
    size_t at = is_plain ? 7 : 8;
    size_t end = at;
    while (end < text.size && !(has_path && text.data[end] == '/')) {
        end++;
    }
    if (!http_split_host((struct slice){text.data + at, end - at}, &origin->name, &origin->port)) {
        return false;
    }
    if (origin->port == 0) {
        origin->port = is_plain ? 80 : 443;
    }
    return true;
}

static bool
is_same_origin(const struct origin *one, const struct origin *other)
{
    return one->is_secure == other->is_secure && one->port == other->port && is_same_name(one->name, other->name);
}

/* --- settings --- */

/* Takes the next piece of a list by comma, without the blanks around it. */
static bool
next_piece(struct slice *list, struct slice *piece)
{
    if (list->size == 0) {
        return false;
    }
    const uint8_t *comma = memchr(list->data, ',', list->size);
    size_t size = comma != NULL ? (size_t)(comma - list->data) : list->size;
    size_t step = comma != NULL ? size + 1 : size;
    *piece = (struct slice){list->data, size};
    *list = (struct slice){list->data + step, list->size - step};
    while (piece->size > 0 && piece->data[0] == ' ') {
        *piece = (struct slice){piece->data + 1, piece->size - 1};
    }
    while (piece->size > 0 && piece->data[piece->size - 1] == ' ') {
        piece->size--;
    }
    return true;
}

static err
read_origins(struct door *door, const char *text, struct err_text *why)
{
    struct slice list = slice_of(text);
    struct slice piece;
    while (next_piece(&list, &piece)) {
        if (door->origin_count == LIST_MAX || !read_origin(piece, false, &door->origins[door->origin_count])) {
            return err_say(why, ERR_wrong_setting, "LARDER_ORIGINS: \"%.*s\" is not http://NAME[:PORT] or https://NAME[:PORT]",
                           (int)piece.size, (const char *)piece.data);
        }
        door->origin_count++;
    }
    return ERR_ok;
}

static err
read_hosts(struct door *door, const char *text, struct err_text *why)
{
    struct slice list = slice_of(text);
    struct slice piece;
    while (next_piece(&list, &piece)) {
        struct slice name = piece;
        struct slice split;
        int port = 0;
        if (name.size > 2 && name.data[0] == '*' && name.data[1] == '.') {
            name = (struct slice){name.data + 2, name.size - 2};
        }
        if (door->host_count == LIST_MAX || !http_split_host(name, &split, &port) || port != 0) {
            return err_say(why, ERR_wrong_setting, "LARDER_HOSTS: \"%.*s\" is neither a name without a port nor *.NAME",
                           (int)piece.size, (const char *)piece.data);
        }
        door->hosts[door->host_count++] = name.data == piece.data ? split : piece;
    }
    return ERR_ok;
}

err
door_create(const struct settings *settings, struct door **door, struct err_text *why)
{
    struct door *made = memory_new(1, sizeof *made);
    made->judges_hosts = strcmp(settings->auth, "required") != 0 || settings->hosts[0] != 0;
    made->has_public = read_origin(slice_of(settings->public_url), true, &made->public_origin);
    err failed = read_origins(made, settings->origins, why);
    if (failed == ERR_ok) {
        failed = read_hosts(made, settings->hosts, why);
    }
    if (failed != ERR_ok) {
        door_destroy(&made);
        return failed;
    }
    *door = made;
    return ERR_ok;
}

void
door_destroy(struct door **door)
{
    free(*door);
    *door = NULL;
}

/* --- judging --- */

static bool
is_own_host(const struct door *door, struct slice name)
{
    if (is_address(name) || is_loopback_name(name) || (door->has_public && is_same_name(name, door->public_origin.name))) {
        return true;
    }
    for (size_t i = 0; i < door->host_count; i++) {
        struct slice host = door->hosts[i];
        bool is_below = host.data[0] == '*';
        if (is_below ? ends_with(name, (struct slice){host.data + 1, host.size - 1}) : is_same_name(name, host)) {
            return true;
        }
    }
    return false;
}

static bool
is_listed(const struct door *door, const struct origin *origin)
{
    for (size_t i = 0; i < door->origin_count; i++) {
        if (is_same_origin(origin, &door->origins[i])) {
            return true;
        }
    }
    return false;
}

static bool
is_allowed_origin(const struct door *door, const struct door_visit *visit)
{
    struct origin origin;
    struct origin own = {0};
    if (visit->origins != 1 || !read_origin(visit->origin, false, &origin)) {
        return false;
    }
    if (http_split_host(visit->host, &own.name, &own.port)) {
        own.port = own.port == 0 ? 80 : own.port;
        if (is_same_origin(&origin, &own)) {
            return true;
        }
    }
    return (door->has_public && is_same_origin(&origin, &door->public_origin)) || is_listed(door, &origin);
}

bool
door_is_listed(const struct door *door, const struct door_visit *visit)
{
    struct origin origin;
    return visit->origins == 1 && read_origin(visit->origin, false, &origin) && is_listed(door, &origin);
}

err
door_judge(const struct door *door, const struct door_visit *visit, struct err_text *why)
{
    struct slice name;
    int port = 0;
    if (visit->is_probe) {
        return ERR_ok;
    }
    /* HTTP/1.0 without a Host comes from no browser */
    if (door->judges_hosts && visit->host.size > 0 && !(http_split_host(visit->host, &name, &port) && is_own_host(door, name))) {
        return err_say(why, ERR_misdirected, "Host: this gateway has no such name; LARDER_HOSTS says which it has");
    }
    if (visit->is_safe || (visit->origins == 0 && !visit->is_from_foreign) || is_allowed_origin(door, visit)) {
        return ERR_ok;
    }
    return err_say(why, ERR_forbidden, "%s: pages of others may not change anything here; LARDER_ORIGINS says whose may",
                   visit->origins > 0 ? "Origin" : "Sec-Fetch-Site");
}

bool
door_is_json(struct slice content_type)
{
    size_t size = 0;
    while (size < content_type.size && content_type.data[size] != ';' && content_type.data[size] != ' ' &&
           content_type.data[size] != '\t') {
        size++;
    }
    return http_same((struct slice){content_type.data, size}, "application/json");
}
