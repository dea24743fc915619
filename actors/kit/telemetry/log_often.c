/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Log lines in groups: see log_often.h.
 *
 * STATE     Per thread a table of GROUPS_MAX groups, made by the first line. A group is one event with one key; its second begins with
 *           the line that was written. The line that is held back is a copy, because its fields point to what is gone by then.
 *
 * FAILURES  With more groups than there is room for, all of them within their second, a line joins any group of its event, and its own
 *           key is lost: somebody who can choose the keys cannot choose the number of lines.
 *
 * LIMITS    A thread that does not flush keeps its last line for itself until it says one more of that group.
 */
#include "log_often.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kit/base/clock.h"
#include "kit/base/memory.h"

enum { GROUPS_MAX = 32, KEY_SIZE = 96, FIELDS_MAX = 8, TEXT_MAX = 260, PERIOD_US = 1000000 };

struct kept_field {
    struct log_field field;
    struct id id;
    char text[TEXT_MAX]; /* longer than what the log shows, so that the log cuts and marks it */
};

struct group {
    const char *event; /* NULL: free */
    char key[KEY_SIZE];
    int64_t since_us;
    int64_t held_back; /* lines since then; of them the latest is `fields` */
    enum log_level level;
    size_t count;
    struct kept_field fields[FIELDS_MAX];
};

static _Thread_local struct group *groups;

/* --- a line that is held back --- */

static void
keep(struct group *group, enum log_level level, const struct log_field *fields, size_t count)
{
    group->level = level;
    group->held_back++;
    group->count = count < FIELDS_MAX ? count : FIELDS_MAX;
    for (size_t i = 0; i < group->count; i++) {
        struct kept_field *kept = &group->fields[i];
        struct slice text =
            fields[i].kind == LOG_KIND_SLICE ? fields[i].slice : slice_of(fields[i].text == NULL ? "" : fields[i].text);
        kept->field = fields[i];
        if (fields[i].kind == LOG_KIND_ID) {
            kept->id = *fields[i].id;
        } else if (fields[i].kind != LOG_KIND_I64) {
            kept->field.kind = LOG_KIND_SLICE;
            kept->field.slice.size = text.size < TEXT_MAX ? text.size : TEXT_MAX;
            if (text.size > 0) {
                memcpy(kept->text, text.data, kept->field.slice.size);
            }
        }
    }
}

static void
write_kept(struct group *group, int64_t now_us)
{
    struct log_field fields[FIELDS_MAX + 1];
    size_t count = group->count;
    for (size_t i = 0; i < count; i++) {
        fields[i] = group->fields[i].field;
        fields[i].id = &group->fields[i].id;
        fields[i].slice.data = (const uint8_t *)group->fields[i].text;
    }
    if (group->held_back > 1) {
        fields[count++] = LOG_I64("more", group->held_back - 1);
    }
    log_write(group->level, group->event, fields, count);
    group->held_back = 0;
    group->since_us = now_us;
}

/* --- groups --- */

static bool
is_over(const struct group *group, int64_t now_us)
{
    return now_us - group->since_us >= PERIOD_US;
}

static void
close_over(struct group *group, int64_t now_us)
{
    if (group->event == NULL || !is_over(group, now_us)) {
        return;
    }
    if (group->held_back > 0) {
        write_kept(group, now_us);
    } else {
        group->event = NULL;
    }
}

static struct group *
find_group(const char *event, const char *key)
{
    for (size_t i = 0; i < GROUPS_MAX; i++) {
        if (groups[i].event != NULL && strcmp(groups[i].event, event) == 0 && strncmp(groups[i].key, key, KEY_SIZE - 1) == 0) {
            return &groups[i];
        }
    }
    return NULL;
}

/* A place for a group that there is none of; with none left one of the same event. NULL: neither. */
static struct group *
find_place(const char *event, int64_t now_us)
{
    struct group *kin = NULL;
    for (size_t i = 0; i < GROUPS_MAX; i++) {
        close_over(&groups[i], now_us);
        if (groups[i].event == NULL) {
            return &groups[i];
        }
        kin = strcmp(groups[i].event, event) == 0 ? &groups[i] : kin;
    }
    return kin;
}

void
log_often_write(enum log_level level, const char *event, const char *key, const struct log_field *fields, size_t count)
{
    int64_t now_us = clock_steady_us();
    if (groups == NULL) {
        groups = memory_new(GROUPS_MAX, sizeof *groups);
    }
    struct group *group = find_group(event, key);
    if (group != NULL) {
        close_over(group, now_us);
    }
    if (group == NULL || group->event == NULL) {
        group = find_place(event, now_us);
    }
    if (group != NULL && group->event == NULL) {
        group->event = event;
        group->since_us = now_us;
        group->held_back = 0;
        (void)snprintf(group->key, sizeof group->key, "%s", key);
        log_write(level, event, fields, count);
    } else if (group != NULL) {
        keep(group, level, fields, count);
    } else {
        log_write(level, event, fields, count);
    }
}

void
log_often_flush(void)
{
    int64_t now_us = clock_steady_us();
    for (size_t i = 0; groups != NULL && i < GROUPS_MAX; i++) {
        close_over(&groups[i], now_us);
    }
}

void
log_often_end(void)
{
    int64_t now_us = clock_steady_us();
    for (size_t i = 0; groups != NULL && i < GROUPS_MAX; i++) {
        if (groups[i].event != NULL && groups[i].held_back > 0) {
            write_kept(&groups[i], now_us);
        }
    }
    free(groups);
    groups = NULL;
}
