/* SPDX-License-Identifier: MPL-2.0 */
/*
 * http_server: connections and requests over epoll
 *
 * PURPOSE
 *   Reads requests, hands them to the owner one after the other, and sends the answers. The owner's thread calls; there is no lock.
 *
 * STATE
 *   A record per connection and one per request under way, both used again. A connection is registered once, edge-triggered, for all
 *   that can happen to it; what the kernel said and what was not used up yet is kept as `can_read`. Bytes are read into one buffer of
 *   the server; only what is left over (half a head, the next request) is copied to the connection, so an idle one holds no buffer.
 *   A request that is over is given back in http_server_run(), never within the owner's call that ended it.
 *
 * FAILURES
 *   What two readers could read differently is refused by the owner's words and the connection ends: shut for writing, read on for
 *   LINGER_MS or body_drain_max bytes so that the client gets to read why, closed. A client that has only ended its side gets its
 *   answer; one that is gone is noticed while it waits, and its request is over. Without descriptors nothing is accepted for
 *   ACCEPT_PAUSE_MS.
 *
 * LIMITS
 *   A head within HEAD_MS, of its first byte or, on a new connection, of its beginning (OVER_MS over the limit); a body and the
 *   reading of an answer within SLOW_MS and not IDLE_MS without a byte; IDLE_MS between two requests. Requests that a client sends
 *   before it has its answer wait in the kernel. Of all answers together UNREAD_MAX bytes may wait to be read; beyond that who has
 *   read nothing for longest is cut.
 *   All bytes go through channel_read() and channel_write(): TLS is to be put there (OpenSSL, as its libcrypto is linked already).
 *   An answer is one piece; a stream of events would be a phase beside PHASE_SENDING that asks the owner for more when it is writable.
 *
 * WHY
 *   Of 199 framings that must be refused (tests/flow/test_framing.py), libmicrohttpd 0.9.75 refused 28 in one answer in the gateway's
 *   words, this all; h2o 2.2.5 and http-parser 2.9.4 take folded lines, the first two lengths and bare LF as well. It also cost per
 *   answer 2 epoll_ctl, 2 recv and 1 send (suspending, resuming, looking for more) and cleared its pool; this costs 1 recv and 1 send.
 *   POST /checkout with 64 and 256 connections, SQLite, alternating rounds on two cores: 1.15 and 1.13 times the answers a second
 *   with 40 instead of 47 and 28 instead of 36 us of processor time for each, the actors' share included.
 */
#include "http_server.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "kit/base/clock.h"
#include "http_answer.h"
#include "kit/base/memory.h"
#include "kit/telemetry/log.h"

#define READ_SIZE ((size_t)65536)
#define HEAD_MS 10000
#define OVER_MS 2000
#define SLOW_MS 60000
#define IDLE_MS 30000
#define DRAIN_IDLE_MS 1000
#define LINGER_MS 2000
#define SWEEP_MS INT64_C(1000)
#define ACCEPT_PAUSE_MS INT64_C(100)
#define ACCEPTS_PER_ROUND 16
#define SPARES_MAX 64
#define UNREAD_MAX ((size_t)128 * 1024 * 1024)
#define KEPT_MAX ((size_t)64 * 1024)
#define TOO_LARGE "the body is larger than is taken here"
#define CONTINUE "HTTP/1.1 100 Continue\r\n\r\n"

/* What a connection is doing, and with it how long it may. */
enum phase { PHASE_FIRST, PHASE_IDLE, PHASE_HEAD, PHASE_BODY, PHASE_BUSY, PHASE_SENDING, PHASE_LINGER, PHASE_CLOSED };

struct http_connection {
    struct http_connection *next;
    struct http_connection *previous;
    struct http_connection *next_ready;
    struct http_request *request; /* of PHASE_BODY, PHASE_BUSY and PHASE_SENDING */
    int fd;
    enum phase phase;
    int64_t since_us; /* in this phase */
    int64_t moved_us; /* when bytes came or went */
    bool can_read;    /* the kernel has bytes, or the end */
    bool has_ended;   /* the client will send no more */
    bool is_over_limit;
    bool is_listed; /* in `ready` */
    struct http_scan scan;
    struct wire_buffer in; /* what was read and not taken yet */
    uint64_t drained;      /* of PHASE_LINGER */
};

/* Newest first. */
struct connection_list {
    struct http_connection *first;
    struct http_connection *last;
};

struct http_server {
    struct http_owner owner;
    struct http_limits limits;
    int epoll_fd;
    int listen_fd;
    bool is_draining;
    bool is_pausing; /* nothing is accepted */
    int in_flight;
    size_t unread; /* bytes of answers that clients leave unread */
    int64_t next_sweep_us;
    int64_t accept_again_us;
    int64_t date_second;
    char date[HTTP_DATE_SIZE];
    struct connection_list usual;
    struct connection_list over_limit;
    struct http_connection *ready;  /* have something to do that no event will tell */
    struct http_connection *closed; /* events of this round may still name them */
    struct http_connection *free_connections;
    struct http_request *over; /* to be told and given back */
    struct http_request *free_requests;
    int spare_count;
    struct wire_buffer spares[SPARES_MAX];
    uint8_t bytes[READ_SIZE];
};

static void
count(struct metric *counted, int64_t by)
{
    if (counted != NULL) {
        metric_add(counted, by);
    }
}

static void
enter(struct http_connection *connection, enum phase phase)
{
    connection->phase = phase;
    connection->since_us = clock_steady_us();
    connection->moved_us = connection->since_us;
}

/* --- the channel --- */

/* Bytes of the client: how many, 0 at its end, -1 with errno. */
static ssize_t
channel_read(const struct http_connection *connection, uint8_t *bytes, size_t size)
{
    return recv(connection->fd, bytes, size, 0);
}

/* Bytes to the client: how many went, -1 with errno. */
static ssize_t
channel_write(const struct http_connection *connection, struct iovec *pieces, size_t piece_count)
{
    const struct msghdr message = {.msg_iov = pieces, .msg_iovlen = piece_count};
    return sendmsg(connection->fd, &message, MSG_NOSIGNAL);
}

/* --- records --- */

static struct connection_list *
list_of(struct http_server *server, const struct http_connection *connection)
{
    return connection->is_over_limit ? &server->over_limit : &server->usual;
}

static void
list_add(struct connection_list *list, struct http_connection *connection)
{
    connection->next = list->first;
    connection->previous = NULL;
    if (list->first != NULL) {
        list->first->previous = connection;
    } else {
        list->last = connection;
    }
    list->first = connection;
}

static void
list_remove(struct connection_list *list, struct http_connection *connection)
{
    *(connection->previous != NULL ? &connection->previous->next : &list->first) = connection->next;
    *(connection->next != NULL ? &connection->next->previous : &list->last) = connection->previous;
}

static void
make_ready(struct http_server *server, struct http_connection *connection)
{
    if (!connection->is_listed && connection->phase != PHASE_CLOSED) {
        connection->is_listed = true;
        connection->next_ready = server->ready;
        server->ready = connection;
    }
}

static struct http_request *
request_take(struct http_server *server, struct http_connection *connection)
{
    struct http_request *request = server->free_requests;
    if (request != NULL) {
        server->free_requests = request->next;
    } else {
        request = memory_new(1, sizeof *request);
        http_head_init(&request->head);
    }
    request->connection = connection;
    request->is_over_limit = connection->is_over_limit;
    connection->request = request;
    server->in_flight++;
    return request;
}

/* The connection, if it goes on, has nothing to do with it any more. */
static void
request_end(struct http_server *server, struct http_request *request)
{
    assert(request->connection != NULL);
    server->unread -= request->unread;
    request->unread = 0;
    request->connection->request = NULL;
    request->connection = NULL;
    request->next = server->over;
    server->over = request;
}

static void
empty(struct wire_buffer *buffer)
{
    buffer->size = 0;
    if (buffer->capacity > KEPT_MAX) {
        wire_buffer_fini(buffer);
    }
}

/* Tells the owner which requests are over. Not to be called from within the owner's calls. */
static void
give_back(struct http_server *server)
{
    while (server->over != NULL) {
        struct http_request *request = server->over;
        server->over = request->next;
        server->owner.over(server->owner.context, request);
        request->is_over_limit = false;
        request->is_unwanted = false;
        request->must_close = false;
        request->is_answered = false;
        request->sent = 0;
        empty(&request->body);
        empty(&request->lines);
        empty(&request->out);
        request->next = server->free_requests;
        server->free_requests = request;
        server->in_flight--;
    }
}

/* --- connections --- */

static void
keep_spare(struct http_server *server, struct wire_buffer *buffer)
{
    buffer->size = 0;
    if (buffer->capacity > 0 && buffer->capacity <= KEPT_MAX && server->spare_count < SPARES_MAX) {
        server->spares[server->spare_count++] = *buffer;
        *buffer = (struct wire_buffer){0};
    } else {
        wire_buffer_fini(buffer);
    }
}

static void
connection_close(struct http_server *server, struct http_connection *connection)
{
    if (connection->phase == PHASE_CLOSED) {
        return;
    }
    connection->phase = PHASE_CLOSED;
    (void)close(connection->fd);
    connection->fd = -1;
    if (connection->request != NULL) {
        request_end(server, connection->request);
    }
    keep_spare(server, &connection->in);
    list_remove(list_of(server, connection), connection);
    connection->next = server->closed;
    server->closed = connection;
    if (server->limits.connections != NULL) {
        atomic_fetch_sub(server->limits.connections, 1);
    }
    count(server->limits.open, -1);
}

/* The answer is sent, but the client may not have read it, and would not if the kernel had to refuse what it sends behind. */
static void
linger(struct http_server *server, struct http_connection *connection)
{
    connection->drained = 0;
    keep_spare(server, &connection->in);
    (void)shutdown(connection->fd, SHUT_WR);
    enter(connection, PHASE_LINGER);
    make_ready(server, connection);
}

static void
connection_open(struct http_server *server, int fd)
{
    struct http_connection *connection = server->free_connections;
    if (connection != NULL) {
        server->free_connections = connection->next;
    } else {
        connection = memory_room(sizeof *connection);
    }
    *connection = (struct http_connection){.fd = fd};
    enter(connection, PHASE_FIRST);
    int open = server->limits.connections != NULL ? atomic_fetch_add(server->limits.connections, 1) + 1 : 1;
    connection->is_over_limit = server->limits.connections_max > 0 && open > server->limits.connections_max;
    list_add(list_of(server, connection), connection);
    count(server->limits.open, 1);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = connection};
    if (epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        log_warn("connection_not_watched", LOG_TEXT("reason", strerror(errno)));
        connection_close(server, connection);
    }
}

/* Among those that are one too many, the one that has waited longest without a request makes room. */
static void
make_room(struct http_server *server)
{
    struct http_connection *connection = server->over_limit.last;
    while (connection != NULL && connection->request != NULL) {
        connection = connection->previous;
    }
    if (connection != NULL) {
        count(server->limits.swept, 1);
        connection_close(server, connection);
    }
}

/* --- accepting --- */

static void
pause_accepting(struct http_server *server)
{
    struct epoll_event event = {.events = 0, .data.ptr = server};
    log_debug("not_accepted", LOG_TEXT("reason", strerror(errno)));
    count(server->limits.not_accepted, 1);
    server->is_pausing = true;
    server->accept_again_us = clock_steady_us() + ACCEPT_PAUSE_MS * 1000;
    (void)epoll_ctl(server->epoll_fd, EPOLL_CTL_MOD, server->listen_fd, &event);
}

static void
go_on_accepting(struct http_server *server)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = server};
    server->is_pausing = false;
    if (server->listen_fd >= 0) {
        (void)epoll_ctl(server->epoll_fd, EPOLL_CTL_MOD, server->listen_fd, &event);
    }
}

/* True: there may be more. */
static bool
accept_some(struct http_server *server)
{
    const struct http_limits *limits = &server->limits;
    for (int i = 0; i < ACCEPTS_PER_ROUND; i++) {
        int fd = accept4(server->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
            pause_accepting(server);
            return false;
        }
        if (fd < 0 && errno == EAGAIN) {
            return false;
        }
        if (fd < 0) {
            continue; /* of a client that has left already */
        }
        connection_open(server, fd);
        if (limits->connections_max > 0 && atomic_load(limits->connections) > limits->connections_max + limits->connections_spare) {
            make_room(server);
        }
    }
    return true;
}

/* --- answers --- */

/* All of the answer has been given to the kernel. */
static void
answer_sent(struct http_server *server, struct http_connection *connection)
{
    struct http_request *request = connection->request;
    bool must_close = request->must_close;
    bool is_whole = request->reading.place == HTTP_BODY_DONE;
    request_end(server, request);
    if (!must_close) {
        enter(connection, PHASE_IDLE);
        if (connection->in.size > 0 || connection->can_read) {
            make_ready(server, connection);
        }
    } else if (is_whole && connection->in.size == 0 && !connection->can_read) {
        connection_close(server, connection);
    } else {
        linger(server, connection);
    }
}

static void
send_on(struct http_server *server, struct http_connection *connection)
{
    struct http_request *request = connection->request;
    size_t whole = request->out.size + request->content.size;
    while (request->sent < whole) {
        size_t head_sent = request->sent < request->out.size ? request->sent : request->out.size;
        size_t content_sent = request->sent - head_sent;
        /* sendmsg() only reads; its structure is not const. */
        union {
            const uint8_t *bytes;
            void *data;
        } content = {.bytes = request->content.data != NULL ? request->content.data + content_sent : NULL};
        struct iovec pieces[] = {{request->out.data + head_sent, request->out.size - head_sent},
                                 {content.data, request->content.size - content_sent}};
        ssize_t sent = channel_write(connection, pieces, 2);
        if (sent < 0 && errno == EINTR) {
            continue;
        }
        if (sent < 0 && errno == EAGAIN) {
            return;
        }
        if (sent < 0) {
            connection_close(server, connection);
            return;
        }
        request->sent += (size_t)sent;
        connection->moved_us = clock_steady_us();
    }
    answer_sent(server, connection);
}

void
http_request_peer(const struct http_request *request, char peer[HTTP_PEER_SIZE])
{
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof address;
    peer[0] = 0;
    if (request->connection == NULL || getpeername(request->connection->fd, (struct sockaddr *)&address, &size) != 0) {
        return;
    }
    if (address.ss_family == AF_INET) {
        (void)inet_ntop(AF_INET, &((struct sockaddr_in *)&address)->sin_addr, peer, HTTP_PEER_SIZE);
    } else if (address.ss_family == AF_INET6) {
        struct in6_addr *network = &((struct sockaddr_in6 *)&address)->sin6_addr;
        if (!IN6_IS_ADDR_V4MAPPED(network)) {
            memset(network->s6_addr + 8, 0, 8);
        }
        (void)inet_ntop(AF_INET6, network, peer, HTTP_PEER_SIZE);
    }
}

void
http_answer_line(struct http_request *request, const char *name, const char *value)
{
    wire_buffer_append(&request->lines, name, strlen(name));
    wire_buffer_append(&request->lines, ": ", 2);
    wire_buffer_append(&request->lines, value, strlen(value));
    wire_buffer_append(&request->lines, "\r\n", 2);
}

static const char *
date_now(struct http_server *server)
{
    int64_t utc_ms = clock_utc_ms();
    if (utc_ms / 1000 != server->date_second || server->date[0] == 0) {
        server->date_second = utc_ms / 1000;
        http_date(utc_ms, server->date);
    }
    return server->date;
}

void
http_answer(struct http_server *server, struct http_request *request, int status, struct slice content)
{
    struct http_connection *connection = request->connection;
    assert(!request->is_answered);
    request->is_answered = true;
    if (connection == NULL) {
        return;
    }
    request->must_close = request->must_close || !request->head.keeps_alive || request->reading.place != HTTP_BODY_DONE ||
                          request->is_over_limit || server->is_draining;
    struct http_answer answer = {.status = status, .date = date_now(server), .lines = wire_buffer_slice(&request->lines)};
    answer.content_size = content.size;
    if (request->must_close) {
        answer.connection = HTTP_SAYS_CLOSE;
    } else if (request->head.is_1_0) {
        answer.connection = HTTP_SAYS_KEEP_ALIVE;
    }
    http_answer_write(&answer, &request->out);
    bool is_sent = http_answer_has_content(status) && !request->head.is_head;
    request->content = is_sent ? content : (struct slice){NULL, 0};
    enter(connection, PHASE_SENDING);
    send_on(server, connection);
    if (connection->phase == PHASE_SENDING) {
        request->unread = request->content.size;
        server->unread += request->unread;
    }
}

/* --- requests --- */

static void
refuse(struct http_server *server, struct http_request *request, err code, const char *reason)
{
    request->must_close = true;
    server->owner.refuse(server->owner.context, request, code, reason);
    assert(request->is_answered);
}

static void
run(struct http_server *server, struct http_connection *connection)
{
    struct http_request *request = connection->request;
    enter(connection, PHASE_BUSY);
    if (!request->is_unwanted && http_body_is_too_large(&request->reading)) {
        server->owner.refuse(server->owner.context, request, ERR_too_large, TOO_LARGE);
        return;
    }
    server->owner.run(server->owner.context, request);
}

/* A head is whole, and what is behind it is known. */
static void
begin_request(struct http_server *server, struct http_connection *connection, struct slice bytes, bool has_more)
{
    struct http_request *request = request_take(server, connection);
    request->reading = (struct http_body){.place = HTTP_BODY_LINE}; /* not whole, whatever is answered now */
    enter(connection, PHASE_BODY);
    if (!http_head_read(&request->head, bytes)) {
        refuse(server, request, request->head.code, request->head.refusal);
        return;
    }
    http_body_begin(&request->reading, &request->head);
    request->reading.most = (size_t)server->limits.body_max;
    server->owner.head(server->owner.context, request);
    if (request->is_answered) {
        return;
    }
    bool will_wait = request->head.expects_continue && !request->head.is_1_0 && !has_more;
    if (request->head.length > (will_wait ? server->limits.body_max : server->limits.body_drain_max)) {
        refuse(server, request, ERR_too_large, TOO_LARGE);
        return;
    }
    request->reading.into = request->is_unwanted ? NULL : &request->body;
    if (request->reading.place == HTTP_BODY_DONE) {
        run(server, connection);
    } else if (will_wait) {
        struct iovec piece = {(char[]){CONTINUE}, sizeof CONTINUE - 1};
        if (channel_write(connection, &piece, 1) != (ssize_t)sizeof CONTINUE - 1) {
            connection_close(server, connection);
        }
    }
}

static size_t
take_head(struct http_server *server, struct http_connection *connection, struct slice bytes)
{
    struct http_scan *scan = &connection->scan;
    size_t size = 0;
    switch (http_scan_head(scan, bytes.data, bytes.size)) {
    case HTTP_MORE:
        if (connection->phase != PHASE_FIRST && connection->phase != PHASE_HEAD) {
            enter(connection, PHASE_HEAD);
        }
        return 0;
    case HTTP_WHOLE:
        size = scan->at;
        *scan = (struct http_scan){0};
        begin_request(server, connection, (struct slice){bytes.data, size}, bytes.size > size);
        return size;
    case HTTP_BAD:
        break;
    }
    struct http_request *request = request_take(server, connection);
    http_head_spoil(&request->head, bytes);
    request->reading = (struct http_body){.place = HTTP_BODY_LINE};
    refuse(server, request, scan->code, scan->refusal);
    return bytes.size;
}

static size_t
take_body(struct http_server *server, struct http_connection *connection, struct slice bytes)
{
    struct http_request *request = connection->request;
    size_t taken = 0;
    enum http_found found = http_body_take(&request->reading, bytes, &taken);
    connection->moved_us = clock_steady_us();
    if (found == HTTP_BAD) {
        refuse(server, request, ERR_malformed, request->reading.refusal);
        return bytes.size;
    }
    if (found == HTTP_WHOLE) {
        run(server, connection);
    } else if (http_body_comes_to(&request->reading) > server->limits.body_drain_max) {
        refuse(server, request, ERR_too_large, TOO_LARGE);
        return bytes.size;
    }
    return taken;
}

static size_t
take_rest(struct http_server *server, struct http_connection *connection, struct slice bytes)
{
    connection->drained += bytes.size;
    if (connection->drained > server->limits.body_drain_max) {
        connection_close(server, connection);
    }
    return bytes.size;
}

/* --- reading --- */

static bool
is_reading(const struct http_connection *connection)
{
    return connection->phase != PHASE_BUSY && connection->phase != PHASE_SENDING && connection->phase != PHASE_CLOSED;
}

/* How many of the bytes are of use now. */
static size_t
take(struct http_server *server, struct http_connection *connection, struct slice bytes)
{
    size_t used = 0;
    while (used < bytes.size && is_reading(connection)) {
        struct slice rest = {bytes.data + used, bytes.size - used};
        size_t taken = 0;
        if (connection->phase == PHASE_LINGER) {
            taken = take_rest(server, connection, rest);
        } else if (connection->phase == PHASE_BODY) {
            taken = take_body(server, connection, rest);
        } else {
            taken = take_head(server, connection, rest);
        }
        give_back(server);
        if (taken == 0) {
            break;
        }
        used += taken;
    }
    return used;
}

/* Takes what was left over before; what is still left moves to the front. */
static void
take_kept(struct http_server *server, struct http_connection *connection)
{
    struct wire_buffer bytes = connection->in;
    connection->in = (struct wire_buffer){0};
    size_t used = take(server, connection, wire_buffer_slice(&bytes));
    bytes.size -= used;
    memmove(bytes.data, bytes.data + used, bytes.size);
    if (bytes.size == 0 || connection->phase == PHASE_CLOSED || connection->phase == PHASE_LINGER) {
        keep_spare(server, &bytes);
    } else {
        connection->in = bytes;
    }
}

static void
take_new(struct http_server *server, struct http_connection *connection, struct slice bytes)
{
    if (connection->in.size > 0) {
        wire_buffer_append(&connection->in, bytes.data, bytes.size);
        take_kept(server, connection);
        return;
    }
    size_t used = take(server, connection, bytes);
    if (used == bytes.size || connection->phase == PHASE_CLOSED || connection->phase == PHASE_LINGER) {
        return;
    }
    if (connection->in.data == NULL && server->spare_count > 0) {
        connection->in = server->spares[--server->spare_count];
    }
    wire_buffer_append(&connection->in, bytes.data + used, bytes.size - used);
}

/* Takes what is there, but reads once only: others are waiting too. */
static void
go_on(struct http_server *server, struct http_connection *connection)
{
    if (connection->in.size > 0 && is_reading(connection)) {
        take_kept(server, connection);
    }
    if (!is_reading(connection) || !connection->can_read) {
        return;
    }
    ssize_t got = channel_read(connection, server->bytes, READ_SIZE);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        connection->can_read = errno == EINTR;
    } else if (got <= 0) {
        connection_close(server, connection);
    } else {
        connection->can_read = (size_t)got == READ_SIZE || connection->has_ended;
        take_new(server, connection, (struct slice){server->bytes, (size_t)got});
    }
    if (connection->can_read && is_reading(connection)) {
        make_ready(server, connection);
    }
}

/* --- the owner's loop --- */

void
http_server_event(struct http_server *server, const struct epoll_event *event)
{
    struct http_connection *connection = event->data.ptr;
    if (event->data.ptr == server) {
        if (server->listen_fd >= 0 && !server->is_pausing) {
            (void)accept_some(server);
        }
        return;
    }
    if (connection->phase == PHASE_CLOSED) {
        return;
    }
    bool is_gone = (event->events & EPOLLERR) != 0 || ((event->events & EPOLLHUP) != 0 && connection->phase != PHASE_LINGER);
    if (is_gone) {
        connection_close(server, connection);
        return;
    }
    connection->has_ended = connection->has_ended || (event->events & EPOLLRDHUP) != 0;
    connection->can_read = connection->can_read || (event->events & (EPOLLIN | EPOLLRDHUP)) != 0;
    if (connection->phase == PHASE_SENDING && (event->events & EPOLLOUT) != 0) {
        send_on(server, connection);
    }
    go_on(server, connection);
}

static int64_t
allowed_ms(const struct http_server *server, const struct http_connection *connection)
{
    switch (connection->phase) {
    case PHASE_FIRST:
        return connection->is_over_limit ? OVER_MS : HEAD_MS;
    case PHASE_HEAD:
        return HEAD_MS;
    case PHASE_IDLE:
        return server->is_draining ? DRAIN_IDLE_MS : IDLE_MS;
    case PHASE_BODY:
    case PHASE_SENDING:
        return SLOW_MS;
    case PHASE_LINGER:
        return LINGER_MS;
    case PHASE_BUSY:
    case PHASE_CLOSED:
        break;
    }
    return INT64_MAX / 1000;
}

static bool
is_slow(const struct http_server *server, const struct http_connection *connection, int64_t now_us)
{
    bool must_move = connection->phase == PHASE_BODY || connection->phase == PHASE_SENDING;
    return (now_us - connection->since_us) / 1000 >= allowed_ms(server, connection) ||
           (must_move && (now_us - connection->moved_us) / 1000 >= IDLE_MS);
}

static void
sweep_list(struct http_server *server, struct connection_list *list, int64_t now_us)
{
    struct http_connection *next = NULL;
    for (struct http_connection *connection = list->first; connection != NULL; connection = next) {
        next = connection->next;
        if (!is_slow(server, connection, now_us)) {
            continue;
        }
        if (connection->phase != PHASE_IDLE && connection->phase != PHASE_LINGER) {
            count(server->limits.swept, 1);
            log_debug("slow_client", LOG_I64("phase", (int64_t)connection->phase));
        }
        connection_close(server, connection);
    }
}

/* The connection that has left its answer alone for longest, or `stalest`. */
static struct http_connection *
find_stalest(const struct connection_list *list, struct http_connection *stalest)
{
    for (struct http_connection *connection = list->first; connection != NULL; connection = connection->next) {
        if (connection->phase == PHASE_SENDING && (stalest == NULL || connection->moved_us < stalest->moved_us)) {
            stalest = connection;
        }
    }
    return stalest;
}

/* Answers of some megabytes that thousands leave unread would take all memory before they are slow. */
static void
bound_unread(struct http_server *server)
{
    while (server->unread > UNREAD_MAX) {
        struct http_connection *connection = find_stalest(&server->over_limit, find_stalest(&server->usual, NULL));
        assert(connection != NULL);
        count(server->limits.swept, 1);
        connection_close(server, connection);
    }
}

void
http_server_run(struct http_server *server, int64_t now_us)
{
    struct http_connection *connection = server->ready;
    server->ready = NULL;
    while (connection != NULL) {
        struct http_connection *next = connection->next_ready;
        connection->is_listed = false;
        if (connection->phase != PHASE_CLOSED) {
            go_on(server, connection);
        }
        connection = next;
    }
    if (now_us >= server->next_sweep_us) {
        server->next_sweep_us = now_us + SWEEP_MS * 1000;
        sweep_list(server, &server->usual, now_us);
        sweep_list(server, &server->over_limit, now_us);
    }
    if (server->is_pausing && now_us >= server->accept_again_us) {
        go_on_accepting(server);
    }
    bound_unread(server);
    give_back(server);
    while (server->closed != NULL) {
        connection = server->closed;
        server->closed = connection->next;
        connection->next = server->free_connections;
        server->free_connections = connection;
    }
}

int64_t
http_server_next_us(const struct http_server *server)
{
    if (server->ready != NULL || server->over != NULL) {
        return 0;
    }
    return server->is_pausing && server->accept_again_us < server->next_sweep_us ? server->accept_again_us : server->next_sweep_us;
}

int
http_server_in_flight(const struct http_server *server)
{
    return server->in_flight;
}

/* --- the end --- */

void
http_server_drain(struct http_server *server)
{
    if (server->is_draining) {
        return;
    }
    /* whoever is connected already, as far as the kernel is concerned, still gets an answer */
    while (accept_some(server)) {
    }
    server->is_draining = true;
    (void)close(server->listen_fd);
    server->listen_fd = -1;
    server->next_sweep_us = 0;
}

static void
finish_list(struct http_server *server, struct connection_list *list)
{
    struct http_connection *next = NULL;
    for (struct http_connection *connection = list->first; connection != NULL; connection = next) {
        next = connection->next;
        if (connection->phase == PHASE_BODY) {
            refuse(server, connection->request, ERR_unavailable, "the process ends, and the body has not come");
        }
    }
    give_back(server);
}

void
http_server_finish(struct http_server *server)
{
    finish_list(server, &server->usual);
    finish_list(server, &server->over_limit);
}

static void
free_records(struct http_server *server)
{
    while (server->free_connections != NULL) {
        struct http_connection *connection = server->free_connections;
        server->free_connections = connection->next;
        free(connection);
    }
    while (server->free_requests != NULL) {
        struct http_request *request = server->free_requests;
        server->free_requests = request->next;
        server->owner.forget(server->owner.context, request);
        http_head_fini(&request->head);
        wire_buffer_fini(&request->body);
        wire_buffer_fini(&request->lines);
        wire_buffer_fini(&request->out);
        free(request);
    }
    while (server->spare_count > 0) {
        wire_buffer_fini(&server->spares[--server->spare_count]);
    }
}

void
http_server_close(struct http_server **server)
{
    struct http_server *closed = *server;
    *server = NULL;
    if (closed == NULL) {
        return;
    }
    while (closed->usual.first != NULL) {
        connection_close(closed, closed->usual.first);
    }
    while (closed->over_limit.first != NULL) {
        connection_close(closed, closed->over_limit.first);
    }
    if (closed->listen_fd >= 0) {
        (void)close(closed->listen_fd);
    }
    closed->ready = NULL;
    http_server_run(closed, 0);
    free_records(closed);
    free(closed);
}

err
http_server_open(const struct http_owner *owner, const struct http_limits *limits, int epoll_fd, int listen_fd,
                 struct http_server **server, struct err_text *why)
{
    struct http_server *made = memory_new(1, sizeof *made);
    made->owner = *owner;
    made->limits = *limits;
    made->epoll_fd = epoll_fd;
    made->listen_fd = listen_fd;
    int on = 1;
    (void)setsockopt(listen_fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* what is accepted has it too */
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = made};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listen_fd, &event) != 0) {
        free(made);
        return err_say(why, ERR_internal, "cannot watch the listening socket: %s", strerror(errno));
    }
    *server = made;
    return ERR_ok;
}
