/* SPDX-License-Identifier: MPL-2.0 */
/* Decisions about letters, without a database: what a burial may look like and what it does, how a letter may change, what is at
 * stake. */
#ifndef LARDER_DLQ_RULES_H
#define LARDER_DLQ_RULES_H

#include "dlq_letter.h"

/* What a burial does to the letter of its id. */
enum dlq_effect {
    DLQ_NOTHING,    /* a copy that came late, or the end of what is not known here */
    DLQ_OPENS,      /* there was none */
    DLQ_OPENS_DONE, /* there was none, and it is settled already */
    DLQ_REOPENS,    /* tried again meanwhile, in vain: dead, with the new history */
    DLQ_SETTLES     /* finished after all: done */
};

/* `known` is the letter there is, or NULL. */
enum dlq_effect
dlq_rules_burial(const struct dlq_letter *known, const struct wire_burial *burial);

/* Whether a burial can be kept: a kind that is buried, with all that its owner will be asked by; frames that are frames. Refusals
 * are ERR_invalid_field and name "burials[`number`].field". A settled one needs less. `header` is filled for an event. */
MUST_CHECK err
dlq_rules_check_burial(const struct wire_burial *burial, size_t number, struct wire_event_header *header, struct err_text *why);

/* Whether a letter may go from one state to another. */
bool
dlq_rules_may_change(enum dlq_state from, enum dlq_state to);

/* What is at stake, from the names of a body's fields: units (quantity and the like, summed over lists) and money. DLQ_NONE and an
 * empty currency where there is none, also for a frame that does not decode. */
struct dlq_value {
    int64_t units;
    int64_t amount;
    char currency[4];
};
struct dlq_value
dlq_rules_value(const struct wire_body *body, struct slice frame);

/* The descriptor of a letter's message, by its kind and type; NULL: unknown, or JSON of a call. */
const struct wire_body *
dlq_rules_body(enum dlq_kind kind, struct slice type);

/* Whether a message is itself a secret, which letters do not show: the callback of an outside factory. */
bool
dlq_rules_is_secret(const struct wire_body *body);

#endif
