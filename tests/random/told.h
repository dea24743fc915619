/* SPDX-License-Identifier: MPL-2.0 */
/* What was told under each id, at each actor: what is asked again has to agree with it. */
#ifndef LARDER_RANDOM_TOLD_H
#define LARDER_RANDOM_TOLD_H

#include "wire.h"

struct told {
    struct id id;
    int where;    /* number of the actor's shard */
    bool is_used; /* the entry is */
    bool is_done; /* ok was heard */
    err refusal;  /* final: a refusal that says `again`; ERR_ok for none */
    enum op op;
    uint64_t asked;  /* hash of the request's body */
    uint64_t answer; /* hash of the answer's body */
    uint64_t number; /* of the request that heard it */
};

struct told_table {
    struct told *entries;
    size_t capacity; /* a power of two */
    size_t count;
};

/* Finds the entry, or makes one; it may move with the next call. */
struct told *
told_get(struct told_table *table, const struct id *id, int where);

void
told_fini(struct told_table *table);

/* FNV-1a. */
uint64_t
told_hash(struct slice bytes);

#endif
