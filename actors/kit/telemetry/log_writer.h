/* SPDX-License-Identifier: MPL-2.0 */
/*
 * A thread that writes what the process says on standard error, so that nobody who has work to do waits for whoever reads there.
 *
 *     log_writer_start() -> log_writer_put()..., from any thread -> log_writer_stop()
 */
#ifndef LARDER_KIT_LOG_WRITER_H
#define LARDER_KIT_LOG_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"

/* No line is longer: a pipe takes so much as a whole or not at all (PIPE_BUF), and lines of several processes do not mix. */
#define LOG_LINE_MAX ((size_t)4096)

/* Starts the thread, once per process. From here on `stderr` (the stream, hence also assert() and libraries) goes the same way.
 * `lost_line` writes the line that says how many were lost, at most LOG_LINE_MAX bytes, and returns its size. */
MUST_CHECK err
log_writer_start(size_t (*lost_line)(char *line, int64_t lost), struct err_text *why);

/* Takes whole lines, at most LOG_LINE_MAX bytes; never waits. What does not fit is counted, and said when there is room again. False:
 * there is no thread, write it yourself. */
bool
log_writer_put(const char *lines, size_t size);

/* Waits until everything is written, as long as somebody reads and `most_ms` at the most, and ends the thread. Where nobody reads, the
 * thread stays behind, and what is still said goes nowhere. */
void
log_writer_stop(int64_t most_ms);

/* Gives the thread a moment to write what is left, for a process that ends at once. May be called by a handler of signals. */
void
log_writer_last_words(void);

#endif
