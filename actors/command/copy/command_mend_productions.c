/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Lets a factory that was copied before stock know what stock has counted of it. The ids of productions come of the alarms that
 *   caused them: the factory is told those alarms once more, and would make refills that stock takes for the ones that it has counted,
 *   so the shelf would stay empty for good.
 *
 * STATE
 *   Reads what stock_verify.h gives; what is written is factory_mend.h's.
 *
 * FAILURES
 *   Those of the databases.
 *
 * LIMITS
 *   When it was ordered is gone: the moment of the mending stands for it. What was under way in what is gone is ordered once more by
 *   its alarm; what a person had ordered is named by `larder verify`.
 */
#include "command_mend_productions.h"

#include <stdio.h>
#include <string.h>

#include "factory/factory_mend.h"
#include "kit/verify.h"
#include "stock/stock_verify.h"

enum { PAGE_ROWS = 200 };

/* A page of one shard of stock, in the order of the ids. */
static err
read_page(struct installation_part *stock, struct id *behind, struct factory_ended page[PAGE_ROWS], size_t *count, bool *has_more)
{
    int64_t seen = 0;
    struct db_statement *read = stock_select_productions_behind(stock->db, behind, PAGE_ROWS);
    err code = db_query(read);
    for (*count = 0; code == ERR_ok && db_next(read); seen++) {
        struct factory_ended ended = {.id = db_id(read, 0), .quantity = db_i64(read, 2)};
        verify_copy_text(ended.product, sizeof ended.product, db_bytes(read, 1));
        verify_copy_text(ended.status, sizeof ended.status, db_bytes(read, 3));
        *behind = ended.id;
        if (ended.quantity > 0 && (strcmp(ended.status, "produced") == 0 || strcmp(ended.status, "failed") == 0)) {
            page[(*count)++] = ended;
        }
    }
    *has_more = seen == PAGE_ROWS;
    return code;
}

static err
take_over_shard(struct factory_mending *factory, struct installation_part *stock)
{
    struct factory_ended page[PAGE_ROWS];
    struct id behind = {{0}};
    size_t count = 0;
    err code = ERR_ok;
    for (bool has_more = true; code == ERR_ok && has_more;) {
        code = read_page(stock, &behind, page, &count, &has_more);
        for (size_t i = 0; code == ERR_ok && i < count; i++) {
            code = factory_mend_take_over(factory, &page[i]);
        }
        code = code == ERR_ok ? db_commit(factory->db) : code;
    }
    return code;
}

err
command_mend_productions(struct installation *installation, struct err_text *why)
{
    struct installation_part *part = installation_find(installation, slice_of("factory/0"));
    struct factory_mending factory;
    if (part == NULL) {
        return ERR_ok;
    }
    err code = factory_mend_begin(&factory, part->db);
    for (size_t i = 0; code == ERR_ok && i < installation->count; i++) {
        if (strcmp(installation->parts[i].class->name, "stock") == 0) {
            code = take_over_shard(&factory, &installation->parts[i]);
        }
    }
    if (code != ERR_ok) {
        return err_say(why, code, "factory/0: its productions cannot be mended: %.300s", db_error(factory.db));
    }
    if (factory.taken > 0) {
        printf("factory/0 did not know the end of %lld productions that stock has counted: it does now\n", (long long)factory.taken);
    }
    return ERR_ok;
}
