/* SPDX-License-Identifier: MPL-2.0 */
/* What `larder verify` looks at, and what was found. */
#ifndef LARDER_COMMAND_VERIFY_SURVEY_H
#define LARDER_COMMAND_VERIFY_SURVEY_H

#include <stdbool.h>
#include <stdint.h>

#include "kit/settings/settings.h"
#include "kit/db/db.h"
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

/* Opens, to read, the databases that the settings name and that are there. Others are absent. */
MUST_CHECK err
verify_survey_open(struct verify_survey *survey, const struct settings *settings, struct err_text *why);
void
verify_survey_say_absent(const struct verify_survey *survey);
void
verify_survey_close(struct verify_survey *survey);

/* Says a fault of a place on standard error, and counts it. */
void
verify_fault(struct verify_survey *survey, const char *place, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The code; one that is an error says that the database cannot be read. `source` may be NULL when it is ERR_ok. */
MUST_CHECK err
verify_unread(const struct verify_source *source, err code, struct err_text *why);

/* The source of that name; NULL: none of ours. */
const struct verify_source *
verify_find(const struct verify_survey *survey, const char *name);

/* Whether it is an actor of ours that was never started. */
bool
verify_is_absent(const struct verify_survey *survey, const char *name);

/* The snapshot of a source ends, whatever was read in it. */
MUST_CHECK err
verify_end_snapshot(const struct verify_source *source, err code, struct err_text *why);

/* --- what every actor has --- */

/* Where its stream ends. */
MUST_CHECK err
verify_read_head(const struct verify_source *source, int64_t *head);

/* How far it follows another. */
MUST_CHECK err
verify_read_cursor(const struct verify_source *source, const char *of, int64_t *position);

/* Whether it has an event about this that it could not apply. */
MUST_CHECK err
verify_is_parked(const struct verify_source *source, struct slice key, bool *is);

#endif
