/* SPDX-License-Identifier: MPL-2.0 */
/* What the parts of `larder verify` share: the databases that are looked at, and what was found. */
#ifndef LARDER_COMMAND_VERIFY_H
#define LARDER_COMMAND_VERIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "command/command.h"
#include "kit/db/db.h"
#include "kit/settings/settings.h"
#include "kit/verify.h"

#define VERIFY_SOURCES_MAX 16
#define VERIFY_NAME_SIZE 68
#define VERIFY_LOOK_PAUSE_MS 100

struct verify_proof {
    const char *actor;
    const char *what; /* what agrees */
    err (*verify)(struct db *db, struct verify_report *report);
    bool is_optional; /* it need not have been started ever */
    bool is_dlq;      /* it has no stream */
};

struct verify_source {
    const struct verify_proof *proof;
    int shard;
    int of;
    char name[VERIFY_NAME_SIZE]; /* stock/0 */
    struct db *db;
    bool is_open; /* in the shop that was asked */
    int64_t head; /* of its stream, when it was proved */
};

struct verify_marks;
struct verify_rows;

struct verify_survey {
    struct verify_source sources[VERIFY_SOURCES_MAX];
    size_t count;
    char absent[VERIFY_SOURCES_MAX][VERIFY_NAME_SIZE]; /* those that were never started */
    size_t absent_count;
    const struct verify_source *dlq; /* NULL: it was never started */
    struct verify_marks *marks;      /* command_verify_streams.c */
    struct verify_rows *rows;        /* command_verify_letters.c */
    int look_pause_ms;               /* between two looks at what may be under way */
    const char *named_by;            /* the flag or variable that says where to look; NULL: the default place */
    bool asks_shop;                  /* whether the shop that is running is asked */
    int64_t rows_checked;
    int64_t missing; /* databases that should be there, and are not */
    int64_t faults;
    int64_t stuck_ms; /* what stands still for longer is a fault */
};

/* Proves what the settings name. Zero-initialise the survey but for the three that are said; afterwards it says what was found. */
MUST_CHECK err
verify_all(struct verify_survey *survey, const struct settings *settings, struct err_text *why);

/* Says a fault of a place on standard error, and counts it. */
void
verify_fault(struct verify_survey *survey, const char *place, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* A database that cannot be read. */
MUST_CHECK err
verify_unread(const struct verify_source *source, err code, struct err_text *why);

/* The source of that name; NULL: none of ours. */
const struct verify_source *
verify_find(const struct verify_survey *survey, const char *name);

/* Whether it is an actor of ours that was never started. */
bool
verify_is_absent(const struct verify_survey *survey, const char *name);

void
verify_copy_name(char name[VERIFY_NAME_SIZE], struct slice text);

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
