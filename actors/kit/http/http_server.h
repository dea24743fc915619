/* SPDX-License-Identifier: MPL-2.0 */
/*
 * An HTTP/1 server for one thread: connections over the owner's epoll set, requests handed over one after the other, answers sent as
 * they come. It knows no address and no status of the owner's.
 */
#ifndef LARDER_KIT_HTTP_SERVER_H
#define LARDER_KIT_HTTP_SERVER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "http_body.h"
#include "http_head.h"
#include "kit/telemetry/metrics.h"

struct epoll_event;
struct http_server;
struct http_connection;

/* One request, from its head to the last byte of its answer. The record is used again for later ones, of other connections too. */
struct http_request {
    void *owner; /* the owner's; NULL in a record that is new, and then kept */
    struct http_head head;
    struct wire_buffer body;
    struct wire_buffer lines; /* of the answer's head, by http_answer_line() */
    bool is_over_limit;       /* its connection is one too many: only what is asked in need is answered */
    bool is_unwanted;         /* the owner has no use for the body: it is read and thrown away */
    bool must_close;          /* the answer is the last of its connection */
    bool is_answered;

    /* the server's */
    struct http_request *next;
    struct http_connection *connection; /* NULL when the client has left, or has got its answer */
    struct http_body reading;
    struct wire_buffer out; /* head of the answer */
    struct slice content;
    size_t sent;
    size_t unread; /* bytes that are kept because the client has not read them */
};

/* What the owner is told, in the server's thread. */
struct http_owner {
    void *context;
    /* The head is good, a body may follow: may answer, which ends the connection when there is a body, or say that the body is
     * unwanted. */
    void (*head)(void *context, struct http_request *request);
    /* The request is whole: answer now or later. */
    void (*run)(void *context, struct http_request *request);
    /* It cannot be served. Answer now; of the head nothing but `is_head` can be relied on. */
    void (*refuse)(void *context, struct http_request *request, err code, const char *reason);
    /* It is over, answered or not: nothing of it may be touched after this. */
    void (*over)(void *context, struct http_request *request);
    /* The record goes: free `owner`. */
    void (*forget)(void *context, struct http_request *request);
};

/* Zero for what is not bounded or counted. */
struct http_limits {
    uint64_t body_max;       /* more is 413 */
    uint64_t body_drain_max; /* and so much is read, so that the client gets to read that */
    atomic_int *connections; /* open ones, of all servers that share the limit */
    int connections_max;     /* beyond it requests are over the limit */
    int connections_spare;   /* and beyond these the one that has shown no head for longest goes */
    struct metric *open;
    struct metric *swept;
    struct metric *not_accepted;
};

/* Serves what `listen_fd`, which belongs to the server from here on when this succeeds, accepts. Events of `epoll_fd` whose data.ptr
 * it has set (never below 4096 as a number) are to be given to http_server_event(). */
MUST_CHECK err
http_server_open(const struct http_owner *owner, const struct http_limits *limits, int epoll_fd, int listen_fd,
                 struct http_server **server, struct err_text *why);

void
http_server_event(struct http_server *server, const struct epoll_event *event);

/* What else is to be done: once per round of the owner's loop, behind the events. */
void
http_server_run(struct http_server *server, int64_t now_us);

/* When it wants to run next at the latest; 0 for at once. */
int64_t
http_server_next_us(const struct http_server *server);

/* Writes where the request comes from, terminated: an IPv4 address, or the network of an IPv6 address, whose last 64 bits a client
 * chooses itself. "" when the client has left. */
#define HTTP_PEER_SIZE 64
void
http_request_peer(const struct http_request *request, char peer[HTTP_PEER_SIZE]);

/* Adds a header to the answer. The value must be free of control characters. */
void
http_answer_line(struct http_request *request, const char *name, const char *value);

/* Sends the answer; `content` must live until the request is over. Called once per request. */
void
http_answer(struct http_server *server, struct http_request *request, int status, struct slice content);

/* Takes no more connections; each answer is the last of its connection, and idle ones end soon. */
void
http_server_drain(struct http_server *server);

/* Requests that are not over. */
int
http_server_in_flight(const struct http_server *server);

/* Refuses as unavailable the requests whose bodies have not come. */
void
http_server_finish(struct http_server *server);

void
http_server_close(struct http_server **server);

#endif
