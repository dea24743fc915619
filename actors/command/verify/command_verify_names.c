/* SPDX-License-Identifier: MPL-2.0 */
/* PURPOSE  See command_verify_names.h. */
#include "command_verify_names.h"

#include <stdlib.h>
#include <string.h>

#include "kit/base/memory.h"

static int
compare_names(const void *a, const void *b)
{
    return memcmp(&((const struct verify_name *)a)->id, &((const struct verify_name *)b)->id, sizeof(struct id));
}

void
verify_names_clear(struct verify_names *names)
{
    names->count = 0;
    names->is_sorted = false;
}

void
verify_names_fini(struct verify_names *names)
{
    free(names->all);
    *names = (struct verify_names){0};
}

void
verify_names_add(struct verify_names *names, const struct id *id, size_t number, bool is_marked)
{
    names->all = memory_grow(names->all, &names->capacity, names->count + 1, sizeof *names->all);
    names->all[names->count++] = (struct verify_name){.id = *id, .number = number, .is_marked = is_marked};
    names->is_sorted = false;
}

const struct verify_name *
verify_names_find(struct verify_names *names, const struct id *id)
{
    struct verify_name wanted = {.id = *id};
    if (names->count == 0) {
        return NULL;
    }
    if (!names->is_sorted) {
        qsort(names->all, names->count, sizeof *names->all, compare_names);
        names->is_sorted = true;
    }
    return bsearch(&wanted, names->all, names->count, sizeof *names->all, compare_names);
}
