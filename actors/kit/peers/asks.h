/* SPDX-License-Identifier: MPL-2.0 */
/* The requests that an actor has under way to other actors: one DEALER per peer, and exactly one outcome for each. */
#ifndef LARDER_KIT_ASKS_H
#define LARDER_KIT_ASKS_H

#include "message.h"
#include "kit/settings/settings.h"
#include "wire.h"

/* Whose ask it is: the actor's own; the inbox's: a FETCH, or a mere confirmation; that of the burials: dlq.bury. */
enum ask_owner { ASK_OF_ACTOR, ASK_OF_INBOX, ASK_OF_CONFIRMATION, ASK_OF_BURIALS };

#define ASK_TRACEPARENT_SIZE 55

struct ask_sent {
    struct id id;
    bool again;
    int64_t deadline_ms;
    enum op op;
    enum ask_owner owner;
    int failures;             /* how often its outcome could not be handled; 0 when it is sent */
    uint8_t traceparent_size; /* 0: none */
    uint8_t traceparent[ASK_TRACEPARENT_SIZE];
    void *context;
};

struct ask_outcome {
    struct ask_sent ask;
    err status; /* ERR_unavailable, ERR_deadline_exceeded: no answer came */
    bool replayed;
    struct message message; /* open when `has_message`: the reply's frames; to be closed with message_fini() */
    bool has_message;
};

struct asks;

/* The sockets wake `wakeup_fd`. */
struct asks *
asks_create(const struct settings *settings, int wakeup_fd);
void
asks_destroy(struct asks **asks);

/* Connects to every shard of an actor, so that the first ask finds a connection. */
void
asks_connect(struct asks *asks, const char *actor);

/* Sends [header][body] to a peer, connecting first when there is no socket yet. Whatever happens, one outcome comes. */
void
asks_send(struct asks *asks, const char *actor, int shard, const struct ask_sent *ask, struct slice header, struct slice body);

/* An outcome that was taken out could not be handled: it comes once more, as this failure and with `failures` one more, at once or not
 * before `later_ms` (UTC; 0: at once). */
void
asks_fail(struct asks *asks, const struct ask_sent *ask, err failure, int64_t later_ms);

/* How many are without an outcome, or have one that comes once more. */
size_t
asks_count(const struct asks *asks);

/* The clock was set by so much: who waits for an answer waits as long as before. */
void
asks_retime(struct asks *asks, int64_t by_ms);

/* Whether asks_next() may find something without waiting for a deadline. */
bool
asks_is_ready(const struct asks *asks);

/* When the next one is given up, in UTC milliseconds; INT64_MAX when none is under way. Never late. */
int64_t
asks_next_ms(const struct asks *asks);

/* Takes out the next outcome: a reply, one that could not be sent, or one whose time is over. */
bool
asks_next(struct asks *asks, int64_t now_ms, struct ask_outcome *outcome);

#endif
