/* SPDX-License-Identifier: MPL-2.0 */
/* What the exit status of `larder` says. */
#ifndef LARDER_EXIT_H
#define LARDER_EXIT_H

enum exit_status {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,  /* it cannot go on, or `verify` found a fault; standard error says why */
    EXIT_USAGE = 2,   /* a command, a flag or a setting is not as it must be: starting again will not help */
    EXIT_FENCED = 3,  /* another process has the shard */
    EXIT_REFUSED = 4, /* `ping` or `call`: the answer is a refusal, or none came */
    EXIT_NOTHING = 5  /* `verify`: there was nothing to look at, or not all that there should be */
};

#endif
