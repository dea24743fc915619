/* SPDX-License-Identifier: MPL-2.0 */
/* PURPOSE   Walks the parts of an actor. See part.h. */
#include "part.h"

#include <assert.h>

void
parts_add(struct parts *parts, const struct part *part, void *self)
{
    assert(parts->count < PARTS_MAX);
    parts->list[parts->count].part = part;
    parts->list[parts->count++].self = self;
}

err
parts_load(const struct parts *parts)
{
    err code = ERR_ok;
    for (size_t i = 0; code == ERR_ok && i < parts->count; i++) {
        code = parts->list[i].part->load(parts->list[i].self);
    }
    return code;
}

bool
parts_are_due(const struct parts *parts)
{
    bool is_due = false;
    for (size_t i = 0; !is_due && i < parts->count; i++) {
        is_due = parts->list[i].part->is_due != NULL && parts->list[i].part->is_due(parts->list[i].self);
    }
    return is_due;
}

err
parts_queue(const struct parts *parts)
{
    err code = ERR_ok;
    for (size_t i = 0; code == ERR_ok && i < parts->count; i++) {
        code = parts->list[i].part->queue(parts->list[i].self);
    }
    return code;
}

void
parts_committed(const struct parts *parts)
{
    for (size_t i = 0; i < parts->count; i++) {
        if (parts->list[i].part->committed != NULL) {
            parts->list[i].part->committed(parts->list[i].self);
        }
    }
}

void
parts_dropped(const struct parts *parts)
{
    for (size_t i = 0; i < parts->count; i++) {
        parts->list[i].part->dropped(parts->list[i].self);
    }
}

void
parts_destroy(struct parts *parts)
{
    while (parts->count > 0) {
        parts->count--;
        parts->list[parts->count].part->destroy(parts->list[parts->count].self);
    }
}
