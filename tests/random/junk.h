/* SPDX-License-Identifier: MPL-2.0 */
/* What nobody should send: mutated frames, too many or too few of them, bytes that are no ZMTP and no HTTP, to every port. */
#ifndef LARDER_RANDOM_JUNK_H
#define LARDER_RANDOM_JUNK_H

#include "post.h"
#include "sequence.h"

struct junk {
    struct post *post;
    struct sequence *sequence;
    const char *http; /* NULL: no gateway */
    int base_port;    /* 0: no tcp */
};

/* Some of it, as the seed and the number say. Answers come as POST_JUNK, or are not waited for. */
void
junk_throw(struct junk *junk, uint64_t number);

#endif
