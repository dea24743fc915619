/* SPDX-License-Identifier: MPL-2.0 */
/*
 * A log line that one fault says thousands of times: the first is written at once, with its words; of those that follow within a
 * second the latest is written when the second is over, with the number of the others as `more`.
 *
 *     log_often(LOG_LEVEL_WARN, "letter_dead", destination, LOG_ID("letter", &id), LOG_TEXT("reason", reason));
 *     ...
 *     log_often_flush();    in the loop of each thread that says such lines, about once a second
 *     log_often_end();      when the thread ends
 *
 * What is said belongs to its thread: no lock is taken, and a line bears the name of the actor whose it is.
 */
#ifndef LARDER_KIT_LOG_OFTEN_H
#define LARDER_KIT_LOG_OFTEN_H

#include "log.h"

/* Lines of one event with the same key are one group; "" groups all lines of the event. The key is cut at 95 bytes. `event` must live
 * for ever. Of the fields the first 8 are kept, and of a text what the log would show of it. */
void
log_often_write(enum log_level level, const char *event, const char *key, const struct log_field *fields, size_t count);

/* At least one field. The array ends with a sentinel that is not printed. */
#define log_often(line_level, line_event, line_group, ...)                                                              \
    log_often_write((line_level), (line_event), (line_group), ((const struct log_field[]){__VA_ARGS__, {.key = NULL}}), \
                    sizeof((const struct log_field[]){__VA_ARGS__, {.key = NULL}}) / sizeof(struct log_field) - 1)

/* Writes what is held back of this thread and whose second is over. */
void
log_often_flush(void);

/* Writes all that is held back of this thread, and frees what it was kept in. */
void
log_often_end(void);

#endif
