/* SPDX-License-Identifier: MPL-2.0 */
/* How an actor's proof of its own database reports: figures, and a sentence for each thing that does not add up. */
#ifndef LARDER_KIT_VERIFY_H
#define LARDER_KIT_VERIFY_H

#include <stdint.h>

struct verify_report {
    int64_t rows_checked; /* added to, so that one report serves several shards */
    int64_t faults;       /* added to; what `say` did not tell is counted too */
    int64_t now_ms;       /* 0: nobody has it open, and for it time stands still since its last commit */
    int64_t stuck_ms;     /* what stands still for longer is a fault; 0: nobody is to judge that */
    void (*say)(void *context, const char *sentence);
    void *context;
};

#endif
