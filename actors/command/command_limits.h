/* SPDX-License-Identifier: MPL-2.0 */
/* Whether the machine gives a process what it needs, asked before anything is begun: libraries end a process that finds out later. */
#ifndef LARDER_COMMAND_LIMITS_H
#define LARDER_COMMAND_LIMITS_H

#include "err.h"
#include "kit/settings/settings.h"

/* What a process is to host. */
struct limits_load {
    int actors;
    int gateway_threads;
};

/* Raises the limit of open files as far as is allowed for `wanted`, without complaint. */
void
limits_raise_files(int64_t wanted);

/* Any command: some open files. ERR_wrong_setting says what is missing and how it is given. */
MUST_CHECK err
limits_check_command(struct err_text *why);

/* A process that serves: open files, threads and the address space for them. As limits_check_command(). */
MUST_CHECK err
limits_check(const struct limits_load *load, struct err_text *why);

#endif
