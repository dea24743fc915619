/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   See http_asker.h. The body was made as msgpack, wrong or right; here it becomes JSON member by member, so that what is wrong with
 *   it is wrong there too.
 *
 * FAILURES
 *   No answer at all is a fault, as is one that cannot be read.
 *
 * LIMITS
 *   IPv4. One request per connection, which ends behind the answer.
 */
#include "http_asker.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <msgpack.h>

#include "judge.h"
#include "json.h"
#include "link.h"
#include "routes.h"

#define ANSWER_MAX (4 << 20)

static void
put(struct wire_buffer *out, const char *text)
{
    wire_buffer_append(out, text, strlen(text));
}

/* --- msgpack as JSON --- */

static void
put_json(const msgpack_object *value, struct wire_buffer *out);

static void
put_binary(const msgpack_object *value, struct wire_buffer *out)
{
    char text[ID_TEXT_SIZE];
    struct id id = {{0}};
    size_t size = value->via.bin.size < ID_SIZE ? value->via.bin.size : ID_SIZE;
    memcpy(id.bytes, value->via.bin.ptr, size);
    id_format(&id, text);
    json_write_text(slice_of(text), out);
}

static void
put_map(const msgpack_object *value, struct wire_buffer *out)
{
    put(out, "{");
    for (uint32_t i = 0; i < value->via.map.size; i++) {
        put(out, i > 0 ? "," : "");
        put_json(&value->via.map.ptr[i].key, out);
        put(out, ":");
        put_json(&value->via.map.ptr[i].val, out);
    }
    put(out, "}");
}

static void
put_array(const msgpack_object *value, struct wire_buffer *out)
{
    put(out, "[");
    for (uint32_t i = 0; i < value->via.array.size; i++) {
        put(out, i > 0 ? "," : "");
        put_json(&value->via.array.ptr[i], out);
    }
    put(out, "]");
}

static void
put_json(const msgpack_object *value, struct wire_buffer *out)
{
    char number[32];
    if (value->type == MSGPACK_OBJECT_MAP) {
        put_map(value, out);
    } else if (value->type == MSGPACK_OBJECT_ARRAY) {
        put_array(value, out);
    } else if (value->type == MSGPACK_OBJECT_STR) {
        json_write_text((struct slice){(const uint8_t *)value->via.str.ptr, value->via.str.size}, out);
    } else if (value->type == MSGPACK_OBJECT_BIN) {
        put_binary(value, out);
    } else if (value->type == MSGPACK_OBJECT_POSITIVE_INTEGER) {
        snprintf(number, sizeof number, "%llu", (unsigned long long)value->via.u64);
        put(out, number);
    } else if (value->type == MSGPACK_OBJECT_NEGATIVE_INTEGER) {
        snprintf(number, sizeof number, "%lld", (long long)value->via.i64);
        put(out, number);
    } else if (value->type == MSGPACK_OBJECT_BOOLEAN) {
        put(out, value->via.boolean ? "true" : "false");
    } else {
        put(out, value->type == MSGPACK_OBJECT_NIL ? "null" : "1.0");
    }
}

/* --- an address --- */

static const msgpack_object *
find_member(const msgpack_object *map, struct slice name)
{
    for (uint32_t i = 0; map->type == MSGPACK_OBJECT_MAP && i < map->via.map.size; i++) {
        const msgpack_object *key = &map->via.map.ptr[i].key;
        if (key->type == MSGPACK_OBJECT_STR &&
            slice_equal(name, (struct slice){(const uint8_t *)key->via.str.ptr, key->via.str.size})) {
            return &map->via.map.ptr[i].val;
        }
    }
    return NULL;
}

/* A value as text in an address: what is not plain is escaped. */
static void
put_escaped(const msgpack_object *value, struct wire_buffer *out)
{
    struct wire_buffer json = {0};
    put_json(value, &json);
    bool is_text = json.size >= 2 && json.data[0] == '"';
    for (size_t i = is_text ? 1 : 0; i < json.size - (is_text ? 1U : 0U); i++) {
        char escaped[4];
        uint8_t byte = json.data[i];
        bool is_plain =
            (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || byte == '-' || byte == '_';
        snprintf(escaped, sizeof escaped, is_plain ? "%c" : "%%%02X", byte);
        put(out, escaped);
    }
    wire_buffer_fini(&json);
}

/* The pattern with its parameters filled in; `used` holds their names. */
static void
put_path(const struct route *route, const msgpack_object *map, struct slice used[ROUTES_PARAMETERS_MAX], size_t *used_count,
         struct wire_buffer *out)
{
    for (const char *at = route->pattern; *at != '\0'; at++) {
        if (*at != '{') {
            wire_buffer_append(out, at, 1);
            continue;
        }
        const char *end = strchr(at, '}');
        struct slice name = {(const uint8_t *)at + 1, (size_t)(end - at - 1)};
        const msgpack_object *value = find_member(map, name);
        if (value != NULL) {
            put_escaped(value, out);
        } else {
            put(out, "nothing");
        }
        used[(*used_count)++] = name;
        at = end;
    }
}

static bool
is_used(const msgpack_object *key, const struct slice *used, size_t used_count)
{
    for (size_t i = 0; i < used_count; i++) {
        if (key->type == MSGPACK_OBJECT_STR &&
            slice_equal(used[i], (struct slice){(const uint8_t *)key->via.str.ptr, key->via.str.size})) {
            return true;
        }
    }
    return false;
}

/* What the path does not say, as a query or as an object. */
static void
put_rest(const msgpack_object *map, bool is_query, const struct slice *used, size_t used_count, struct wire_buffer *out)
{
    bool is_first = true;
    put(out, is_query ? "" : "{");
    for (uint32_t i = 0; map->type == MSGPACK_OBJECT_MAP && i < map->via.map.size; i++) {
        const msgpack_object_kv *member = &map->via.map.ptr[i];
        if (is_used(&member->key, used, used_count)) {
            continue;
        }
        put(out, is_query ? (is_first ? "?" : "&") : (is_first ? "" : ","));
        is_first = false;
        if (is_query) {
            put_escaped(&member->key, out);
            put(out, "=");
            put_escaped(&member->val, out);
        } else {
            put_json(&member->key, out);
            put(out, ":");
            put_json(&member->val, out);
        }
    }
    put(out, is_query ? "" : "}");
}

static const struct route *
draw_route(struct chance *chance, enum op op)
{
    const struct route *fitting[8];
    size_t count = 0;
    for (int i = 0; i < ROUTE_COUNT && count < 8; i++) {
        if (routes[i].work == WORK_FORWARD && routes[i].op == op) {
            fitting[count++] = &routes[i];
        }
    }
    uint64_t drawn = chance_next(chance);
    return count == 0 ? NULL : fitting[drawn % count];
}

static void
put_head(struct chance *chance, const struct request *request, const struct route *route, struct slice body, struct wire_buffer *out)
{
    static const char *const extras[] = {"If-Match: \"1\"\r\n",
                                         "If-None-Match: *\r\n",
                                         "If-None-Match: \"1\"\r\n",
                                         "Prefer: respond-async\r\n",
                                         "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n",
                                         "Authorization: Bearer x.y.z\r\n"};
    char line[128], id[ID_TEXT_SIZE];
    uint64_t extra = chance_below(chance, 40);
    id_format(&request->id, id);
    put(out, " HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n");
    put(out, extra < sizeof extras / sizeof extras[0] ? extras[extra] : "");
    if (route->method != METHOD_GET && chance_one_in(chance, 2)) {
        snprintf(line, sizeof line, "Idempotency-Key: %s\r\n", id);
        put(out, line);
    }
    if (route->method != METHOD_GET) {
        snprintf(line, sizeof line, "Content-Type: application/json\r\nContent-Length: %zu\r\n", body.size);
        put(out, line);
    }
    put(out, "\r\n");
}

bool
http_write(struct chance *chance, const struct request *request, struct wire_buffer *out)
{
    static const char *const methods[] = {"GET ", "HEAD ", "POST ", "PUT ", "PATCH ", "DELETE ", "OPTIONS ", "OTHER "};
    const struct route *route = draw_route(chance, request->op);
    msgpack_unpacked unpacked;
    struct slice used[ROUTES_PARAMETERS_MAX];
    size_t used_count = 0;
    struct wire_buffer body = {0};
    if (route == NULL) {
        return false;
    }
    msgpack_unpacked_init(&unpacked);
    if (msgpack_unpack_next(&unpacked, (const char *)request->body.data, request->body.size, NULL) != MSGPACK_UNPACK_SUCCESS) {
        unpacked.data.type = MSGPACK_OBJECT_NIL;
    }
    put(out, methods[route->method]);
    put_path(route, &unpacked.data, used, &used_count, out);
    if (route->input == INPUT_QUERY) {
        put_rest(&unpacked.data, true, used, used_count, out);
    } else {
        put_rest(&unpacked.data, false, used, used_count, &body);
    }
    put_head(chance, request, route, wire_buffer_slice(&body), out);
    if (route->method != METHOD_GET) {
        wire_buffer_append(out, body.data, body.size);
    }
    msgpack_unpacked_destroy(&unpacked);
    wire_buffer_fini(&body);
    return true;
}

/* --- the wire --- */

static int
open_connection(const char *address)
{
    char host[64];
    const char *colon = strrchr(address, ':');
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(colon + 1))};
    snprintf(host, sizeof host, "%.*s", (int)(colon - address), address);
    inet_pton(AF_INET, host, &place.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&place, sizeof place) != 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

bool
http_exchange(const char *address, struct slice bytes, int64_t timeout_ms, struct wire_buffer *answer)
{
    int fd = open_connection(address);
    if (fd < 0) {
        return false;
    }
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    uint8_t piece[16384];
    size_t sent = 0;
    int64_t end_ms = link_steady_ms() + timeout_ms;
    while (link_steady_ms() < end_ms && answer->size < ANSWER_MAX) {
        wait.events = (short)(POLLIN | (sent < bytes.size ? POLLOUT : 0));
        if (poll(&wait, 1, (int)(end_ms - link_steady_ms())) <= 0) {
            break;
        }
        if ((wait.revents & POLLOUT) != 0) {
            ssize_t put_out = send(fd, bytes.data + sent, bytes.size - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
            sent = put_out < 0 ? bytes.size : sent + (size_t)put_out;
        }
        if ((wait.revents & (POLLIN | POLLHUP | POLLERR)) != 0) {
            ssize_t came = recv(fd, piece, sizeof piece, MSG_DONTWAIT);
            if (came == 0 || (came < 0 && errno != EAGAIN)) {
                break;
            }
            wire_buffer_append(answer, piece, came < 0 ? 0 : (size_t)came);
        }
    }
    close(fd);
    return true;
}

static void
judge_bytes(struct sequence *sequence, struct request *request, struct wire_buffer *answer)
{
    wire_buffer_append(answer, "", 1);
    const char *text = (const char *)answer->data;
    const char *end = answer->size < 2 ? NULL : strstr(text, "\r\n\r\n");
    int status = end != NULL && strncmp(text, "HTTP/1.1 ", 9) == 0 ? atoi(text + 9) : 0;
    if (status == 0) {
        sequence_complain(sequence, request, "no answer over HTTP, or none that can be read: %.200s",
                          answer->size < 2 ? "nothing" : text);
        return;
    }
    size_t head = (size_t)(end + 4 - text);
    judge_http(sequence, request, status, (struct slice){answer->data + head, answer->size - 1 - head});
}

void
http_ask(void *context, struct request *request)
{
    struct http_asker *asker = context;
    struct chance chance = chance_of(asker->sequence->seed ^ UINT64_C(0x48545450), request->number);
    struct wire_buffer bytes = {0};
    struct wire_buffer answer = {0};
    request->is_under_way = false;
    if (http_write(&chance, request, &bytes)) {
        if (http_exchange(asker->address, wire_buffer_slice(&bytes), HTTP_TRIES_MS, &answer)) {
            judge_bytes(asker->sequence, request, &answer);
        } else {
            sequence_complain(asker->sequence, request, "nobody listens on %s", asker->address);
        }
    }
    wire_buffer_fini(&bytes);
    wire_buffer_fini(&answer);
}
