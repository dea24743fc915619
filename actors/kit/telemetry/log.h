/* SPDX-License-Identifier: MPL-2.0 */
/*
 * One line per event on standard error: time, level, actor, event id, key=value. With LARDER_LOG=json the same as JSON objects.
 *
 *     log_warn("peer_away", LOG_TEXT("peer", name), LOG_I64("waited_ms", waited), LOG_ID("req", &id));
 *
 * Text from outside is escaped and cut at 256 bytes. warn = we coped, error = somebody must look. There is no formatter for
 * secrets or personal data.
 */
#ifndef LARDER_KIT_LOG_H
#define LARDER_KIT_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"
#include "id.h"
#include "wire.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

enum log_kind { LOG_KIND_I64, LOG_KIND_TEXT, LOG_KIND_SLICE, LOG_KIND_ID };

struct log_field {
    const char *key;
    enum log_kind kind;
    int64_t number;
    const char *text;
    struct slice slice;
    const struct id *id;
};

#define LOG_I64(key_name, value) ((struct log_field){.key = (key_name), .kind = LOG_KIND_I64, .number = (value)})
#define LOG_TEXT(key_name, value) ((struct log_field){.key = (key_name), .kind = LOG_KIND_TEXT, .text = (value)})
#define LOG_SLICE(key_name, value) ((struct log_field){.key = (key_name), .kind = LOG_KIND_SLICE, .slice = (value)})
#define LOG_ID(key_name, value) ((struct log_field){.key = (key_name), .kind = LOG_KIND_ID, .id = (value)})

/* Sets the shape and the least level for the whole process; call before threads start. */
void
log_init(bool json, enum log_level least);

/* From here on a thread of its own writes, so that nobody waits for whoever reads standard error; call before threads that work. */
MUST_CHECK err
log_start(struct err_text *why);

/* Waits until all lines are written, as long as somebody reads, and `most_ms` at the most. */
void
log_stop(int64_t most_ms);

/* Names the actor of this thread in its lines, e.g. "stock/0". The text is copied. */
void
log_actor(const char *name);

void
log_write(enum log_level level, const char *event, const struct log_field *fields, size_t count);

/* At least one field each. The array ends with a sentinel that is not printed. */
#define log_at(level, event, ...)                                                         \
    log_write((level), (event), ((const struct log_field[]){__VA_ARGS__, {.key = NULL}}), \
              sizeof((const struct log_field[]){__VA_ARGS__, {.key = NULL}}) / sizeof(struct log_field) - 1)
#define log_debug(event, ...) log_at(LOG_LEVEL_DEBUG, event, __VA_ARGS__)
#define log_info(event, ...) log_at(LOG_LEVEL_INFO, event, __VA_ARGS__)
#define log_warn(event, ...) log_at(LOG_LEVEL_WARN, event, __VA_ARGS__)
#define log_error(event, ...) log_at(LOG_LEVEL_ERROR, event, __VA_ARGS__)

#endif
