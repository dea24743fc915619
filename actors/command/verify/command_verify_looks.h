/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What databases of a shop that is open say differently is only suspect, because they are read one after the other: what is suspect is
 * kept, and looked at again until it agrees, or waits for somebody who does not move, or was looked at often enough.
 */
#ifndef LARDER_COMMAND_VERIFY_LOOKS_H
#define LARDER_COMMAND_VERIFY_LOOKS_H

#include "command_verify_survey.h"

#define VERIFY_SUSPECTS_MAX 20000
#define VERIFY_LOOKS_MAX 10

/* Zero-initialise but for `size`. */
struct verify_suspects {
    size_t size; /* of one */
    void *all;
    size_t count;
    size_t capacity;
    int64_t not_looked_at; /* beyond VERIFY_SUSPECTS_MAX */
};

/* Keeps a copy. */
void
verify_suspect(struct verify_suspects *suspects, const void *suspect);

/* All that are suspect, as the caller's, to be freed; none is left. */
void *
verify_suspects_take(struct verify_suspects *suspects, size_t *count);

void
verify_suspects_fini(struct verify_suspects *suspects);

/* Those beyond VERIFY_SUSPECTS_MAX: "`place`: 3 more `what`"; they are faults when `differ` others are. */
struct verify_rest {
    const char *place;
    const char *what;
    int64_t differ;
};

void
verify_suspects_say_rest(const struct verify_suspects *suspects, struct verify_survey *survey, const struct verify_rest *rest);

struct verify_looks {
    int most; /* looks */
    bool (*is_in_doubt)(void *context);
    err (*look_again)(void *context, struct err_text *why);
    void *context;
};

/* A pause before each. */
MUST_CHECK err
verify_look_again(const struct verify_survey *survey, const struct verify_looks *looks, struct err_text *why);

/* The snapshot of a source ends, whatever was read in it. */
MUST_CHECK err
verify_end_snapshot(const struct verify_source *source, err code, struct err_text *why);

/* The one number of a query; 0: it finds nothing. */
MUST_CHECK err
verify_read_number(struct db_statement *read, int64_t *number);

void
verify_copy_text(char *text, size_t size, struct slice from);

/* --- ids by which rows of two databases find one another --- */

struct verify_name {
    struct id id;
    size_t number; /* whatever the caller names */
    bool is_marked;
};

/* Zero-initialise; sorted by the first look-up behind an addition. */
struct verify_names {
    struct verify_name *all;
    size_t count;
    size_t capacity;
    bool is_sorted;
};

void
verify_names_clear(struct verify_names *names);
void
verify_names_fini(struct verify_names *names);
void
verify_names_add(struct verify_names *names, const struct id *id, size_t number, bool is_marked);

/* NULL: nothing has that id. */
const struct verify_name *
verify_names_find(struct verify_names *names, const struct id *id);

#endif
