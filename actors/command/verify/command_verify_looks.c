/* SPDX-License-Identifier: MPL-2.0 */
/* PURPOSE  See command_verify_looks.h. Memory grows with what is suspect, up to VERIFY_SUSPECTS_MAX, and not with the tables. */
#include "command_verify_looks.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kit/base/memory.h"

/* --- suspects --- */

void
verify_suspect(struct verify_suspects *suspects, const void *suspect)
{
    if (suspects->count == VERIFY_SUSPECTS_MAX) {
        suspects->not_looked_at++;
        return;
    }
    suspects->all = memory_grow(suspects->all, &suspects->capacity, suspects->count + 1, suspects->size);
    memcpy((char *)suspects->all + suspects->count++ * suspects->size, suspect, suspects->size);
}

void *
verify_suspects_take(struct verify_suspects *suspects, size_t *count)
{
    void *all = suspects->all;
    *count = suspects->count;
    suspects->all = NULL;
    suspects->count = suspects->capacity = 0;
    return all;
}

void
verify_suspects_fini(struct verify_suspects *suspects)
{
    free(suspects->all);
    suspects->all = NULL;
}

void
verify_suspects_say_rest(const struct verify_suspects *suspects, struct verify_survey *survey, const struct verify_rest *rest)
{
    if (suspects->not_looked_at > 0) {
        fprintf(stderr, "%s: %" PRId64 " more %s and were not looked at again\n", rest->place, suspects->not_looked_at, rest->what);
        survey->faults += rest->differ > 0 ? suspects->not_looked_at : 0;
    }
}

/* --- looks --- */

err
verify_look_again(const struct verify_survey *survey, const struct verify_looks *looks, struct err_text *why)
{
    err code = ERR_ok;
    for (int look = 0; code == ERR_ok && look < looks->most && looks->is_in_doubt(looks->context); look++) {
        (void)poll(NULL, 0, survey->look_pause_ms);
        code = looks->look_again(looks->context, why);
    }
    return code;
}

err
verify_end_snapshot(const struct verify_source *source, err code, struct err_text *why)
{
    code = code == ERR_ok ? db_settle(source->db) : code;
    code = code == ERR_ok ? ERR_ok : verify_unread(source, code, why);
    db_rollback(source->db);
    return code;
}

err
verify_read_number(struct db_statement *read, int64_t *number)
{
    err code = db_query(read);
    *number = code == ERR_ok && db_next(read) ? db_i64(read, 0) : 0;
    db_done(read);
    return code;
}

void
verify_copy_text(char *text, size_t size, struct slice from)
{
    (void)snprintf(text, size, "%.*s", (int)from.size, from.size == 0 ? "" : (const char *)from.data);
}

/* --- names --- */

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
