/* SPDX-License-Identifier: MPL-2.0 */
/* The proof of a place, and its parts in the order in which they look. */
#ifndef LARDER_COMMAND_VERIFY_H
#define LARDER_COMMAND_VERIFY_H

#include "command/command.h"
#include "command_verify_survey.h"

/* Proves what the settings name. Zero-initialise the survey but for the three that are said; afterwards it says what was found. */
MUST_CHECK err
verify_all(struct verify_survey *survey, const struct settings *settings, struct err_text *why);

/* --- the place: what is looked at, and why that --- */

/* The flag or variable that names the place, before the settings take their flags out of the line; NULL: none does. */
const char *
verify_place_named_by(const struct command_line *line);
/* The first line. */
MUST_CHECK err
verify_place_say(const struct verify_survey *survey, const struct settings *settings, struct err_text *why);
/* Whether all that the manifest lists is there, and each database says that it is the one that is listed. */
MUST_CHECK err
verify_place_check(struct verify_survey *survey, const struct settings *settings, struct err_text *why);
/* Whether the shop that answers where the settings look for one has this database open. Says it when that is another one: a fault
 * when nobody has named the place. */
void
verify_place_ask(struct verify_survey *survey, const struct settings *settings);

/* --- streams: every event is applied, parked, or still to come --- */

void
verify_marks_create(struct verify_survey *survey);
void
verify_marks_destroy(struct verify_survey *survey);

/* First, of each source in one snapshot: what it noted of its subscribers, and that it keeps what they have not confirmed. */
MUST_CHECK err
verify_read_positions(struct verify_survey *survey, const struct verify_source *source, struct err_text *why);
/* Then: what the dlq keeps for whom. */
MUST_CHECK err
verify_read_hostings(struct verify_survey *survey, struct err_text *why);
/* Then, of each subscriber: how far it is, and that its counters add up. The snapshot stays open. */
MUST_CHECK err
verify_read_cursors(struct verify_survey *survey, const struct verify_source *source, struct err_text *why);
/* Then, with the head of a source: what all that says together. */
MUST_CHECK err
verify_compare(struct verify_survey *survey, const struct verify_source *source, const struct id *incarnation, int64_t head);
/* At last what was heard of sources that are not there, and a line for each subscription. ERR_internal: there were more of them
 * than can be proved. */
MUST_CHECK err
verify_print_subscriptions(struct verify_survey *survey, struct err_text *why);

/* --- the rows that every actor has --- */

/* In the snapshot of the source's shard row, whose incarnation that is. */
MUST_CHECK err
verify_kit(struct verify_survey *survey, const struct verify_source *source, const struct id *incarnation);

/* --- letters: what was given up has its letter, and the other way round --- */

void
verify_rows_create(struct verify_survey *survey);
void
verify_rows_destroy(struct verify_survey *survey);

/* In the snapshot of the subscriber's cursors: the rows that were given up, and which of them the dlq may not know yet. */
MUST_CHECK err
verify_read_rows(struct verify_survey *survey, const struct verify_source *source, struct err_text *why);
/* After all of them. */
MUST_CHECK err
verify_compare_letters(struct verify_survey *survey, struct err_text *why);

/* --- orders: what their sagas have done elsewhere --- */

/* Each order that has ended beside its holds in stock and its charges in payment, and each charge beside its order. Prints a line;
 * nothing when order was never started. Snapshots of its own. */
MUST_CHECK err
verify_compare_orders(struct verify_survey *survey, struct err_text *why);
/* Charges beside their orders. How many there are; 0 when payment was never started. */
MUST_CHECK err
verify_compare_charges(struct verify_survey *survey, int64_t *charges, struct err_text *why);
/* What each shard of stock knows of productions beside the factory. Prints a line for each. */
MUST_CHECK err
verify_compare_productions(struct verify_survey *survey, struct err_text *why);

/* Charges beside what the payment provider says of them. Prints a line for each kind of provider. Snapshots of its own. */
MUST_CHECK err
verify_compare_provider(struct verify_survey *survey, const struct settings *settings, struct err_text *why);
/* The copies of the menu beside the menu. Prints a line for each; nothing when product was never started. */
MUST_CHECK err
verify_compare_menus(struct verify_survey *survey, struct err_text *why);

#endif
