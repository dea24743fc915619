/* SPDX-License-Identifier: MPL-2.0 */
/*
 * A sequence of requests that follows from a seed, and the judgement of every answer. It opens no socket: whoever has one sends what
 * sequence_next() makes and gives back what comes.
 *
 *     sequence_init() -> ( sequence_next()... send... -> judge_answer()... -> sequence_rest() )... -> sequence_fini()
 */
#ifndef LARDER_RANDOM_SEQUENCE_H
#define LARDER_RANDOM_SEQUENCE_H

#include <stdio.h>

#include "book.h"
#include "chance.h"
#include "memory.h"
#include "told.h"
#include "values.h"
#include "wire.h"

#define SEQUENCE_ACTORS 8
#define SEQUENCE_SHARDS_MAX 4
#define SEQUENCE_KEPT 512       /* requests that can be repeated or are under way */
#define SEQUENCE_ENVELOPE_MAX 8 /* and the identity that ROUTER puts before it */
#define SEQUENCE_TIMEOUT_MS 8000

enum asked_again { READS, SAME, AS_IT_IS };

/* What operations.def knows of an operation. */
struct operation {
    uint32_t weight;
    enum thing thing;
    enum asked_again asked_again;
    const char *refusals;
};

extern const struct operation operations[OP_COUNT];

/* What an operation was answered so far. */
struct tally {
    uint64_t sent;
    uint64_t ok;
    uint64_t refused;
    uint64_t by_http;
    uint64_t statuses[ERR_COUNT];
};

enum way { WAY_FRAMES, WAY_HTTP, WAY_JUNK };

struct request {
    uint64_t number;
    enum way way;
    int actor; /* index into sequence_actors */
    int shard;
    enum op op; /* OP_COUNT: none that there is */
    struct id id;
    bool again;
    bool is_wrong_shard; /* on purpose */
    int envelope;        /* frames of it, the empty one included; 0 for none at all */
    err expected;        /* a refusal that follows from the frames alone; ERR_ok: the actor decides */
    bool is_header_bad;  /* answered under the zero id */
    uint64_t slot;       /* of the thing that it may make */
    uint64_t charge_slot;
    int64_t patience_ms; /* until its deadline */
    struct wire_buffer header;
    struct wire_buffer body;
    struct wire_request_header told; /* the header before it was encoded; its text lives in `words` */
    char words[2][80];
    bool is_under_way;
    bool was_answered;
    err status;
    int attempts;
};

struct sequence {
    uint64_t seed;
    uint64_t number; /* of the next request */
    int shards;      /* of stock */
    bool has_http;
    struct request *kept; /* a ring of SEQUENCE_KEPT by number */
    struct memory memory;
    struct book book;
    struct told_table told;
    struct tally tallies[OP_COUNT];
    struct wire_buffer outside; /* ids, a line each, of what `larder verify` has to find without its other half */
    FILE *log;                  /* a line for each request and answer; may be NULL */
    char fault[1024];           /* what is wrong; empty for nothing */
};

/* "user", "product", ...: the order of the ports. */
extern const char *const sequence_actors[SEQUENCE_ACTORS];

void
sequence_init(struct sequence *sequence, uint64_t seed, int shards);
void
sequence_fini(struct sequence *sequence);

/* Makes the next request. It lives until SEQUENCE_KEPT more were made. */
struct request *
sequence_next(struct sequence *sequence);

/* The same from another chance than that of the seed and its number: a fuzzer's. */
struct request *
sequence_next_of(struct sequence *sequence, struct chance chance);

/* The same once more, with `again` and a new deadline: nobody has answered it, or with words that say to ask again. */
void
sequence_repeat(struct sequence *sequence, struct request *request);

/* Number of an actor's shard, for tables. */
static inline int
sequence_where(const struct request *request)
{
    return request->actor * SEQUENCE_SHARDS_MAX + request->shard;
}

/* Writes what is wrong, once; the first word counts. */
void
sequence_complain(struct sequence *sequence, const struct request *request, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* A line of the log: what was asked, or what was answered (`status` not NULL). */
void
sequence_log(struct sequence *sequence, const struct request *request, const char *status, const struct wire_body *body,
             struct slice frame);

#endif
