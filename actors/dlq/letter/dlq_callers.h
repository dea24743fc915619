/* SPDX-License-Identifier: MPL-2.0 */
/* What operators do with a letter: written down, and told to them when it is done. For what acts on letters. */
#ifndef LARDER_DLQ_CALLERS_H
#define LARDER_DLQ_CALLERS_H

#include "dlq/dlq_state.h"
#include "dlq_asking.h"

/* What was done, in whose name; `detail` is what came of it. */
struct dlq_deed {
    enum asking_verb verb;
    struct slice author;
    struct slice reason;
    const char *detail;
};

/* Adds the line of audit. */
MUST_CHECK err
dlq_note_deed(struct dlq *dlq, struct batch *batch, const struct dlq_letter *letter, const struct dlq_deed *deed);

/* A line of audit and the letter for each that waits; after an edit the whole letter. */
MUST_CHECK err
dlq_callers_answer(struct dlq *dlq, struct batch *batch, const struct asking *asking, const struct dlq_letter *letter,
                   const char *detail);
void
dlq_callers_refuse(struct batch *batch, const struct asking *asking, err code, const char *detail);

/* A delivery of a request has an answer, whoever began it: it is not under way any more, whoever waits for it is answered with the
 * letter as it is now, and the replay that asked is told. */
MUST_CHECK err
dlq_callers_delivered(struct dlq *dlq, struct batch *batch, const struct dlq_outcome *outcome);

#endif
