/* SPDX-License-Identifier: MPL-2.0 */
/* What the dlq has asked the owners of rows and has no answer to yet: one question per letter at a time, and who waits for it. Lives
 * as long as the thread, as the questions themselves do: the state of the actor may be opened anew while they are under way. */
#ifndef LARDER_DLQ_ASKING_H
#define LARDER_DLQ_ASKING_H

#include <stdbool.h>
#include <stdint.h>

#include "dlq_letter.h"
#include "id.h"
#include "wire.h"

struct waiter;

enum asking_verb { ASKING_RETRY, ASKING_EDIT, ASKING_DISCARD, ASKING_PURGE, ASKING_RESTORE };

/* A request that waits for the answer. */
struct asking_caller {
    struct asking_caller *next;
    struct waiter *waiter;
    char author[65]; /* empty: not said */
    char reason[256];
    bool is_new; /* since the last commit */
};

struct asking {
    struct asking *next; /* of its bucket */
    int64_t n;           /* the letter's */
    struct id letter;
    int64_t attempts; /* the letter's, when its owner was asked */
    enum asking_verb verb;
    struct asking_caller *callers;
    uint8_t *body; /* ASKING_EDIT: the new body; owned */
    size_t body_size;
    char *diff;       /* ASKING_EDIT: what it changes, in words; owned */
    bool is_new;      /* asked by the batch under way, and gone when that is dropped */
    bool is_answered; /* by the batch under way, and not when that is dropped */
    bool is_touched;
};

struct askings;

/* Those of this thread. */
struct askings *
askings_get(void);

/* The one that waits for an answer; NULL for none. */
struct asking *
askings_find(const struct askings *askings, int64_t n);

/* Whether the owner is being asked to retry this letter now. */
bool
askings_is_retrying(const struct askings *askings, int64_t n);

/* There must be none of this letter. */
struct asking *
askings_add(struct askings *askings, const struct dlq_letter *letter, enum asking_verb verb);

/* Texts are cut to fit. */
void
askings_add_caller(struct askings *askings, struct asking *asking, struct waiter *waiter, struct slice author, struct slice reason);

/* What an edit has to remember; copied. */
void
asking_set_edit(struct asking *asking, struct slice body, const char *diff);

/* It is not found any more, and freed with the commit. */
void
askings_answered(struct askings *askings, struct asking *asking);

void
askings_committed(struct askings *askings);
void
askings_dropped(struct askings *askings);

#endif
