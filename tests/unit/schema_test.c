/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Steps of schemas that were published are never edited: databases have what their first text made.
 *
 * STATE     published_steps.def has every step of every list with the hash of its text. A step that is changed, removed or not
 *           listed fails by a sentence that says what to do.
 */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kit/actor.h"
#include "command/run/command_process.h"
#include "kit/place/kit_schema.h"

struct frozen {
    char list[16];
    int version;
    uint64_t hash;
};

#define PUBLISHED(list, version, hash) {#list, version, UINT64_C(hash)},
static const struct frozen frozen[] = {
#include "published_steps.def"
};
#undef PUBLISHED
#define FROZEN_COUNT (sizeof frozen / sizeof frozen[0])

struct list {
    const char *name;
    const struct db_step *steps;
    size_t count;
};

static const char *const actors[] = {"user", "product", "order", "payment", "stock", "sales", "factory", "dlq"};
#define LISTS (sizeof actors / sizeof actors[0] + 1)

static struct list
list_at(size_t number)
{
    if (number == 0) {
        return (struct list){"kit", kit_steps, kit_step_count};
    }
    const struct actor_class *class = process_class(actors[number - 1]);
    return (struct list){class->name, class->steps, class->step_count};
}

static uint64_t
hash_of(const char *sql)
{
    unsigned char bytes[crypto_generichash_BYTES_MIN];
    uint64_t hash = 0;
    crypto_generichash(bytes, sizeof bytes, (const unsigned char *)sql, strlen(sql), NULL, 0);
    memcpy(&hash, bytes, sizeof hash);
    return hash;
}

static const struct frozen *
find(const char *list, int version)
{
    for (size_t i = 0; i < FROZEN_COUNT; i++) {
        if (frozen[i].version == version && strcmp(frozen[i].list, list) == 0) {
            return &frozen[i];
        }
    }
    return NULL;
}

Test(schema, no_published_step_was_edited)
{
    for (size_t i = 0; i < LISTS; i++) {
        struct list list = list_at(i);
        for (size_t k = 0; k < list.count; k++) {
            const struct db_step *step = &list.steps[k];
            const struct frozen *old = find(list.name, step->version);
            cr_expect(old == NULL || old->hash == hash_of(step->sql),
                      "step %d of %s was edited after it was published, and databases have what its first text made: put that text"
                      " back and add a new step behind it, with {UNLESS ...} where it mends",
                      step->version, list.name);
        }
    }
}

Test(schema, every_step_is_among_the_published)
{
    for (size_t i = 0; i < LISTS; i++) {
        struct list list = list_at(i);
        for (size_t k = 0; k < list.count; k++) {
            cr_expect(find(list.name, list.steps[k].version) != NULL,
                      "step %d of %s is new: with this commit it is published and frozen. Add to tests/unit/published_steps.def:\n"
                      "PUBLISHED(%s, %d, 0x%016" PRIx64 ")",
                      list.steps[k].version, list.name, list.name, list.steps[k].version, hash_of(list.steps[k].sql));
        }
    }
}

Test(schema, no_published_step_was_removed)
{
    for (size_t i = 0; i < FROZEN_COUNT; i++) {
        bool is_there = false;
        for (size_t k = 0; k < LISTS; k++) {
            struct list list = list_at(k);
            for (size_t j = 0; j < list.count && strcmp(list.name, frozen[i].list) == 0; j++) {
                is_there = is_there || list.steps[j].version == frozen[i].version;
            }
        }
        cr_expect(is_there, "step %d of %s was published and is gone: databases that are made now would lack it", frozen[i].version,
                  frozen[i].list);
    }
}

Test(schema, no_list_has_two_steps_of_one_number)
{
    for (size_t i = 0; i < LISTS; i++) {
        struct list list = list_at(i);
        for (size_t k = 0; k < list.count; k++) {
            bool is_kits = list.steps[k].version < 80;
            cr_expect(is_kits == (i == 0), "step %d of %s: the kit has the numbers below 80, and nobody else", list.steps[k].version,
                      list.name);
            for (size_t j = 0; j < k; j++) {
                cr_expect(list.steps[j].version != list.steps[k].version, "step %d stands twice in %s", list.steps[k].version,
                          list.name);
            }
        }
    }
}
