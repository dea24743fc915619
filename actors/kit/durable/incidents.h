/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What stands in an actor until a person decides, and what was decided: a row each, kept for good.
 *
 * Of each thing (a source that is followed) at most one of a kind stands. What is raised or over is written with the next batch.
 */
#ifndef LARDER_KIT_INCIDENTS_H
#define LARDER_KIT_INCIDENTS_H

#include "kit/base/arena.h"
#include "kit/db/db.h"

enum incident_kind {
#define INCIDENT(name, way, doc) INCIDENT_##name,
#include "incidents.def"
    INCIDENT_KINDS
};

#define INCIDENT_ABOUT_SIZE 80
#define INCIDENT_WHAT_SIZE 256
#define INCIDENT_DONE_SIZE 400

struct incident {
    struct id id;
    enum incident_kind kind;
    char about[INCIDENT_ABOUT_SIZE]; /* stock/0 */
    char what[INCIDENT_WHAT_SIZE];
    int64_t since_ms;
    int64_t position;
};

/* What a person has decided. */
struct incident_decision {
    struct slice author; /* may be empty */
    struct slice reason;
    const char *done; /* what it has changed */
    int64_t now_ms;
};

struct incidents;

struct incidents *
incidents_create(struct db *db);
void
incidents_destroy(struct incidents **incidents);

/* Reads those that stand. */
MUST_CHECK err
incidents_load(struct incidents *incidents);

const char *
incidents_name(enum incident_kind kind);

/* Whether resolving it goes on from where the source is; otherwise it is only tried once more. */
bool
incidents_goes_on(enum incident_kind kind);

/* Nothing happens when one of this kind stands already. */
void
incidents_raise(struct incidents *incidents, const struct incident *raised);

/* It is over without anybody's decision. */
void
incidents_end(struct incidents *incidents, const char *about, enum incident_kind kind, const char *why);

/* NULL: none of this id stands. */
const struct incident *
incidents_find(const struct incidents *incidents, const struct id *id);

/* Whether one of this kind stands. */
bool
incidents_stands(const struct incidents *incidents, const char *about, enum incident_kind kind);

/* What was decided of one that does not stand any more; `is_there` false: there never was one of this id. */
MUST_CHECK err
incidents_read_done(struct incidents *incidents, const struct id *id, struct arena *arena, struct slice *done, bool *is_there);

/* --- a batch --- */

/* Of one that stands: with the batch it is over. */
void
incidents_resolve(struct incidents *incidents, const struct id *id, const struct incident_decision *decision);

bool
incidents_is_due(const struct incidents *incidents);
MUST_CHECK err
incidents_queue(struct incidents *incidents);
void
incidents_committed(struct incidents *incidents);
void
incidents_dropped(struct incidents *incidents);

#endif
