/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE  See command_verify_comparison.h.
 *
 * LIMITS   Memory grows with what is suspect, up to VERIFY_SUSPECTS_MAX, and not with the tables. How many more there were is said,
 *          and is a fault when one of the others is. VERIFY_TOLD_MAX are told.
 */
#include "command_verify_comparison.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kit/base/memory.h"

static void *
suspect_at(const struct verify_comparison *comparison, size_t at)
{
    return (char *)comparison->suspects + at * comparison->size;
}

static enum verify_verdict
verdict_of(const struct verify_comparison *comparison, size_t at)
{
    enum verify_verdict verdict;
    memcpy(&verdict, suspect_at(comparison, at), sizeof verdict);
    return verdict;
}

void
verify_suspect(struct verify_comparison *comparison, const void *suspect)
{
    if (comparison->count == VERIFY_SUSPECTS_MAX) {
        comparison->not_looked_at++;
        return;
    }
    comparison->suspects = memory_grow(comparison->suspects, &comparison->capacity, comparison->count + 1, comparison->size);
    memcpy(suspect_at(comparison, comparison->count++), suspect, comparison->size);
}

int64_t
verify_count_verdict(const struct verify_comparison *comparison, enum verify_verdict verdict)
{
    int64_t count = 0;
    for (size_t i = 0; i < comparison->count; i++) {
        count += verdict_of(comparison, i) == verdict ? 1 : 0;
    }
    return count;
}

/* Until nothing is suspect, or what is left waits for somebody who does not move. */
static bool
is_in_doubt(const struct verify_comparison *comparison)
{
    bool has_moved = comparison->heard != comparison->heard_before;
    return comparison->count > 0 && (verify_count_verdict(comparison, VERIFY_DIFFERS) > 0 || has_moved);
}

/* Those that are suspect no more go. */
static void
sort_out(struct verify_comparison *comparison)
{
    size_t left = 0;
    for (size_t i = 0; i < comparison->count; i++) {
        enum verify_verdict verdict = verdict_of(comparison, i);
        if (verdict == VERIFY_TO_COME || verdict == VERIFY_DIFFERS) {
            memmove(suspect_at(comparison, left++), suspect_at(comparison, i), comparison->size);
        } else if (comparison->settle != NULL) {
            comparison->settle(comparison->context, suspect_at(comparison, i));
        }
    }
    comparison->count = left;
}

static err
look_again(struct verify_comparison *comparison, struct err_text *why)
{
    err code = ERR_ok;
    comparison->heard_before = comparison->heard;
    for (size_t first = 0; code == ERR_ok && first < comparison->count; first += VERIFY_CHUNK) {
        size_t count = comparison->count - first < VERIFY_CHUNK ? comparison->count - first : VERIFY_CHUNK;
        code = comparison->look_again(comparison->context, suspect_at(comparison, first), count, why);
    }
    if (code == ERR_ok) {
        sort_out(comparison);
    }
    return code;
}

static void
tell(struct verify_comparison *comparison)
{
    int64_t differ = 0;
    for (size_t i = 0; i < comparison->count; i++) {
        if (verdict_of(comparison, i) != VERIFY_DIFFERS) {
            continue;
        }
        if (++differ <= VERIFY_TOLD_MAX) {
            comparison->tell(comparison->context, suspect_at(comparison, i));
        } else {
            comparison->survey->faults++;
        }
    }
    if (comparison->not_looked_at > 0) {
        fprintf(stderr, "%s: %" PRId64 " more %s and were not looked at again\n", comparison->place, comparison->not_looked_at,
                comparison->rest);
        comparison->survey->faults += differ > 0 ? comparison->not_looked_at : 0;
    }
}

err
verify_conclude(struct verify_comparison *comparison, struct err_text *why)
{
    err code = ERR_ok;
    for (int look = 0; code == ERR_ok && look < comparison->looks_max && is_in_doubt(comparison); look++) {
        (void)poll(NULL, 0, comparison->survey->look_pause_ms);
        code = look_again(comparison, why);
    }
    if (code == ERR_ok) {
        tell(comparison);
    }
    return code;
}

void
verify_comparison_fini(struct verify_comparison *comparison)
{
    free(comparison->suspects);
    comparison->suspects = NULL;
    comparison->count = comparison->capacity = 0;
}
