/* SPDX-License-Identifier: MPL-2.0 */
#include "user.h"

static const struct db_step steps[] = {
    {100, "CREATE TABLE IF NOT EXISTS $placeholder (one {I64} NOT NULL PRIMARY KEY) {TABLE_END}"},
};

static err
user_open(struct actor *actor, void **state, struct err_text *why)
{
    (void)actor;
    (void)why;
    *state = NULL;
    return ERR_ok;
}

static void
user_close(void **state)
{
    *state = NULL;
}

static err
user_handle(void *state, struct batch *batch)
{
    (void)state;
    for (size_t i = 0; i < batch->count; i++) {
        if (batch->items[i].kind == ITEM_REQUEST) {
            item_refuse(batch, &batch->items[i], ERR_not_implemented, "not done yet");
        }
    }
    return ERR_ok;
}

const struct actor_class user_class = {
    .name = "user",
    .steps = steps,
    .step_count = 1,
    .open = user_open,
    .close = user_close,
    .handle = user_handle,
};

err
user_verify(struct db *db, struct verify_report *report)
{
    (void)db;
    (void)report;
    return ERR_ok;
}
