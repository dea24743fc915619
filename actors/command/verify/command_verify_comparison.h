/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What databases of a shop that is open say differently is only suspect, because they are read one after the other: what is suspect is
 * kept, and looked at again until it agrees, or waits for somebody who does not move, or was looked at often enough. Then the first
 * that differ are told, and all are counted.
 */
#ifndef LARDER_COMMAND_VERIFY_COMPARISON_H
#define LARDER_COMMAND_VERIFY_COMPARISON_H

#include "command_verify_survey.h"

#define VERIFY_SUSPECTS_MAX 20000
#define VERIFY_LOOKS_MAX 10
#define VERIFY_CHUNK 512

/* The first member of a suspect is its verdict. */
enum verify_verdict { VERIFY_AGREES, VERIFY_UNDER_WAY, VERIFY_TO_COME, VERIFY_DIFFERS };

struct verify_comparison {
    struct verify_survey *survey;
    const char *place; /* of which it is told */
    const char *rest;  /* what those are that are not looked at again: "orders did not agree" */
    size_t size;       /* of a suspect */
    int looks_max;
    /* Looks at up to VERIFY_CHUNK suspects in snapshots of its own, and gives each its verdict. */
    err (*look_again)(void *context, void *suspects, size_t count, struct err_text *why);
    /* One that is suspect no more: it agrees, or is under way. NULL: nobody wants to know. */
    void (*settle)(void *context, const void *suspect);
    void (*tell)(void *context, const void *suspect);
    void *context;
    int64_t heard;        /* how far the one who follows has come, as the looks say it; equal: nothing of it is waited for */
    int64_t heard_before; /* as of the look before */

    void *suspects;
    size_t count;
    size_t capacity;
    int64_t not_looked_at; /* beyond VERIFY_SUSPECTS_MAX */
};

/* Keeps a copy. */
void
verify_suspect(struct verify_comparison *comparison, const void *suspect);

/* Looks again, with a pause before each look, and tells what differs then. */
MUST_CHECK err
verify_conclude(struct verify_comparison *comparison, struct err_text *why);

/* Suspects of that verdict. */
int64_t
verify_count_verdict(const struct verify_comparison *comparison, enum verify_verdict verdict);

void
verify_comparison_fini(struct verify_comparison *comparison);

#endif
