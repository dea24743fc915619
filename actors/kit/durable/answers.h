/* SPDX-License-Identifier: MPL-2.0 */
/* Answers of writing requests, kept under their ids, for actors whose effects do not carry the request's id themselves. */
#ifndef LARDER_KIT_ANSWERS_H
#define LARDER_KIT_ANSWERS_H

#include "kit/base/arena.h"
#include "kit/db/db.h"
#include "fingerprint.h"
#include "part.h"

struct answers;

struct answer {
    struct id request;
    struct fingerprint fingerprint;
    err status;
    struct slice frame;
};

struct answers *
answers_create(struct db *db);
extern const struct part answers_part;

/* Reads the answers of those ids that have one, in no order; up to `count` of them. */
MUST_CHECK err
answers_find(struct answers *answers, struct arena *arena, const struct id *requests, size_t count, struct answer *found,
             size_t *found_count);

/* Inside a batch: collects a row; the unique request makes a second first attempt fail the transaction. */
void
answers_add(struct answers *answers, const struct answer *answer, int64_t now_ms);

#endif
