/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Who has a letter dealt with: what he did is written down, and he is answered when it is known what came of it.
 *
 * STATE     $audit; the callers of dlq_asking.c.
 *
 * FAILURES  Errors of the database go up: nobody is told what was not written.
 *
 * LIMITS    Author and reason as long as the audit keeps them.
 */
#include "dlq_callers.h"

#include "kit/telemetry/log.h"

static const char *const actions[] = {[ASKING_RETRY] = "replay",
                                      [ASKING_EDIT] = "edit",
                                      [ASKING_DISCARD] = "discard",
                                      [ASKING_PURGE] = "purge",
                                      [ASKING_RESTORE] = "restore"};

err
dlq_note_deed(struct dlq *dlq, struct batch *batch, const struct dlq_letter *letter, const struct dlq_deed *deed)
{
    struct dlq_audit audit = {.letter = letter->n,
                              .time_ms = batch->now_ms,
                              .author = deed->author,
                              .action = actions[deed->verb],
                              .reason = deed->reason,
                              .detail = slice_of(deed->detail)};
    log_info("letter_changed_by_operator", LOG_TEXT("action", audit.action), LOG_ID("letter", &letter->id),
             LOG_SLICE("author", deed->author), LOG_TEXT("detail", deed->detail));
    return dlq_store_add_audit(&dlq->store, &audit);
}

void
dlq_callers_refuse(struct batch *batch, const struct asking *asking, err code, const char *detail)
{
    struct wire_problem problem = {0};
    WIRE_SET(&problem, problem, detail, slice_of(detail));
    for (const struct asking_caller *caller = asking->callers; caller != NULL; caller = caller->next) {
        struct waiter *waiter = caller->waiter;
        waiter_refuse(batch, &waiter, code, &problem);
    }
}

err
dlq_callers_answer(struct dlq *dlq, struct batch *batch, const struct asking *asking, const struct dlq_letter *letter,
                   const char *detail)
{
    struct wire_letter body = dlq_letter_body(letter);
    err code = ERR_ok;
    for (const struct asking_caller *caller = asking->callers; code == ERR_ok && caller != NULL; caller = caller->next) {
        struct dlq_deed deed = {asking->verb, slice_of(caller->author), slice_of(caller->reason), detail};
        struct waiter *waiter = caller->waiter;
        code = dlq_note_deed(dlq, batch, letter, &deed);
        if (code == ERR_ok && asking->verb == ASKING_EDIT) {
            code = dlq_answer_whole_later(dlq, batch, &waiter, letter);
        } else if (code == ERR_ok) {
            waiter_answer(batch, &waiter, &body);
        }
    }
    return code;
}

err
dlq_callers_delivered(struct dlq *dlq, struct batch *batch, const struct dlq_outcome *outcome)
{
    struct asking *asking = askings_find(dlq->askings, outcome->letter->n);
    if (asking != NULL) {
        const char *detail = outcome->is_done ? "delivered" : dlq_state_name(outcome->letter->state);
        askings_answered(dlq->askings, asking);
        err code = dlq_callers_answer(dlq, batch, asking, outcome->letter, detail);
        if (code != ERR_ok) {
            return code;
        }
    }
    return dlq_runs_note(dlq, batch, outcome);
}
