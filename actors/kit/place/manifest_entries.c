/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   The entries of a manifest as values: found, added and set, and the words for their states. What reads, writes and judges
 *           manifests stands on it.
 */
#include "manifest_store.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static const char *const state_names[] = {
    [MANIFEST_MAKING] = "making", [MANIFEST_MADE] = "made", [MANIFEST_ABSENT] = "absent", [MANIFEST_GIVEN_UP] = "given-up"};

const char *
manifest_state_name(enum manifest_state state)
{
    return state_names[state];
}

err
manifest_state_parse(struct slice name, enum manifest_state *state, struct err_text *why)
{
    for (size_t i = 0; i < sizeof state_names / sizeof state_names[0]; i++) {
        if (slice_equal(name, slice_of(state_names[i]))) {
            *state = (enum manifest_state)i;
            return ERR_ok;
        }
    }
    return err_say(why, ERR_wrong_setting, "the manifest has the unknown state \"%.*s\"", (int)name.size, (const char *)name.data);
}

const struct manifest_entry *
manifest_find(const struct manifest *manifest, const char *actor, int shard)
{
    for (size_t i = 0; i < manifest->count; i++) {
        if (manifest->entries[i].shard == shard && strcmp(manifest->entries[i].actor, actor) == 0) {
            return &manifest->entries[i];
        }
    }
    return NULL;
}

struct manifest_entry *
manifest_add(struct manifest *manifest, const char *actor, int shard, int of, enum manifest_state state)
{
    if (manifest->count == MANIFEST_ENTRIES_MAX) {
        return NULL;
    }
    struct manifest_entry *entry = &manifest->entries[manifest->count++];
    *entry = (struct manifest_entry){.shard = shard, .of = of, .state = state};
    snprintf(entry->actor, sizeof entry->actor, "%s", actor);
    return entry;
}

struct manifest_entry *
manifest_find_to_change(struct manifest *manifest, const char *actor, int shard)
{
    const struct manifest_entry *found = manifest_find(manifest, actor, shard);
    return found == NULL ? NULL : &manifest->entries[found - manifest->entries];
}

void
manifest_set(struct manifest *manifest, const char *actor, int shard, int of, enum manifest_state state)
{
    struct manifest_entry *entry = manifest_find_to_change(manifest, actor, shard);
    entry = entry == NULL ? manifest_add(manifest, actor, shard, of, state) : entry;
    assert(entry != NULL); /* there is room for all actors */
    entry->state = state;
}
