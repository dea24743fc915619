/* SPDX-License-Identifier: MPL-2.0 */
/* Ids by which rows of two databases find one another. */
#ifndef LARDER_COMMAND_VERIFY_NAMES_H
#define LARDER_COMMAND_VERIFY_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#include "id.h"

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
