/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   What stands in an actor until a person decides, from when it was noticed until it was resolved, by whom and why.
 *
 * STATE     $incident (id, about, kind, what, since, position, resolved, author, reason, done); resolved 0: it stands. Rows are never
 *           deleted. In memory those that stand, and those whose end is not written yet.
 *
 * FAILURES  One that is raised while the database is away is written when it is back. A rolled back batch takes a decision back, and
 *           what has ended by itself is written with the next one.
 *
 * LIMITS    STANDING_MAX stand at a time; more are in the log alone. What is said is cut to the columns' sizes.
 */
#include "incidents.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kit/base/clock.h"
#include "kit/base/memory.h"
#include "kit/telemetry/log.h"
#include "wire.h"

enum { STANDING_MAX = 256, AUTHOR_SIZE = 65, REASON_SIZE = 256 };

/* Plain values. */
struct standing {
    struct incident incident;
    bool is_stored;    /* its row is on disk */
    bool is_queued;    /* written by the batch under way as it is now */
    bool is_over;      /* by itself, or resolved by the batch under way */
    bool is_resolving; /* resolved by the batch under way */
    int64_t resolved_ms;
    char author[AUTHOR_SIZE];
    char reason[REASON_SIZE];
    char done[INCIDENT_DONE_SIZE];
};

struct incidents {
    struct db *db;
    struct standing all[STANDING_MAX];
    size_t count;
};

static const struct {
    const char *name;
    bool goes_on;
} kinds[] = {
#define GO_ON true
#define AGAIN false
#define INCIDENT(name, way, doc) {#name, way},
#include "incidents.def"
};

struct incidents *
incidents_create(struct db *db)
{
    struct incidents *incidents = memory_new(1, sizeof *incidents);
    incidents->db = db;
    return incidents;
}

void
incidents_destroy(struct incidents **incidents)
{
    free(*incidents);
    *incidents = NULL;
}

const char *
incidents_name(enum incident_kind kind)
{
    return kinds[kind].name;
}

bool
incidents_goes_on(enum incident_kind kind)
{
    return kinds[kind].goes_on;
}

/* INCIDENT_KINDS: a later build's. */
static enum incident_kind
find_kind(struct slice name)
{
    int kind = 0;
    while (kind < INCIDENT_KINDS && !slice_equal(name, slice_of(kinds[kind].name))) {
        kind++;
    }
    return (enum incident_kind)kind;
}

/* Cut to its place, never within a character. */
static void
copy(char *to, size_t size, struct slice text)
{
    text.size = text.size < size ? text.size : size - 1;
    while (text.size > 0 && !wire_is_utf8(text)) {
        text.size--;
    }
    snprintf(to, size, "%.*s", (int)text.size, text.size == 0 ? "" : (const char *)text.data);
}

static struct standing *
find(struct incidents *incidents, const char *about, enum incident_kind kind)
{
    for (size_t i = 0; i < incidents->count; i++) {
        struct standing *standing = &incidents->all[i];
        if (!standing->is_over && standing->incident.kind == kind && strcmp(standing->incident.about, about) == 0) {
            return standing;
        }
    }
    return NULL;
}

err
incidents_load(struct incidents *incidents)
{
    size_t kept = 0;
    for (size_t i = 0; i < incidents->count; i++) {
        if (!incidents->all[i].is_stored) {
            incidents->all[kept++] = incidents->all[i];
        }
    }
    incidents->count = kept;
    struct db_statement *read =
        db_statement(incidents->db, "SELECT id, about, kind, what, since, position FROM $incident WHERE resolved = 0 ORDER BY since");
    err code = db_query(read);
    while (code == ERR_ok && db_next(read)) {
        enum incident_kind kind = find_kind(db_bytes(read, 2));
        if (kind == INCIDENT_KINDS || incidents->count == STANDING_MAX) {
            continue;
        }
        struct standing *standing = &incidents->all[incidents->count++];
        *standing = (struct standing){.is_stored = true};
        standing->incident.id = db_id(read, 0);
        standing->incident.kind = kind;
        copy(standing->incident.about, sizeof standing->incident.about, db_bytes(read, 1));
        copy(standing->incident.what, sizeof standing->incident.what, db_bytes(read, 3));
        standing->incident.since_ms = db_i64(read, 4);
        standing->incident.position = db_i64(read, 5);
    }
    return code;
}

void
incidents_raise(struct incidents *incidents, const struct incident *raised)
{
    if (find(incidents, raised->about, raised->kind) != NULL || incidents->count == STANDING_MAX) {
        return;
    }
    struct standing *standing = &incidents->all[incidents->count++];
    *standing = (struct standing){.incident = *raised};
    standing->incident.id = id_new();
    standing->incident.since_ms = clock_utc_ms();
}

void
incidents_end(struct incidents *incidents, const char *about, enum incident_kind kind, const char *why)
{
    struct standing *standing = find(incidents, about, kind);
    if (standing != NULL) {
        standing->is_over = true;
        standing->resolved_ms = clock_utc_ms();
        copy(standing->done, sizeof standing->done, slice_of(why));
    }
}

const struct incident *
incidents_find(const struct incidents *incidents, const struct id *id)
{
    for (size_t i = 0; i < incidents->count; i++) {
        if (!incidents->all[i].is_over && id_equal(&incidents->all[i].incident.id, id)) {
            return &incidents->all[i].incident;
        }
    }
    return NULL;
}

bool
incidents_stands(const struct incidents *incidents, const char *about, enum incident_kind kind)
{
    for (size_t i = 0; i < incidents->count; i++) {
        const struct standing *standing = &incidents->all[i];
        if (!standing->is_over && standing->incident.kind == kind && strcmp(standing->incident.about, about) == 0) {
            return true;
        }
    }
    return false;
}

err
incidents_read_done(struct incidents *incidents, const struct id *id, struct arena *arena, struct slice *done, bool *is_there)
{
    for (size_t i = 0; i < incidents->count; i++) {
        const struct standing *standing = &incidents->all[i];
        if (standing->is_over && id_equal(&standing->incident.id, id)) { /* and not written yet */
            *done = slice_of(standing->done);
            *is_there = true;
            return ERR_ok;
        }
    }
    struct db_statement *read = db_statement(incidents->db, "SELECT done FROM $incident WHERE id = ? AND resolved <> 0");
    db_bind_id(read, id);
    err code = db_query(read);
    *is_there = code == ERR_ok && db_next(read);
    if (*is_there) {
        *done = arena_copy(arena, db_bytes(read, 0));
    }
    db_done(read);
    return code;
}

/* --- a batch --- */

void
incidents_resolve(struct incidents *incidents, const struct id *id, const struct incident_decision *decision)
{
    for (size_t i = 0; i < incidents->count; i++) {
        struct standing *standing = &incidents->all[i];
        if (!standing->is_over && id_equal(&standing->incident.id, id)) {
            standing->is_over = standing->is_resolving = true;
            standing->resolved_ms = decision->now_ms;
            copy(standing->author, sizeof standing->author, decision->author);
            copy(standing->reason, sizeof standing->reason, decision->reason);
            copy(standing->done, sizeof standing->done, slice_of(decision->done));
        }
    }
}

static bool
is_to_be_written(const struct standing *standing)
{
    return !standing->is_stored || standing->is_over;
}

bool
incidents_is_due(const struct incidents *incidents)
{
    for (size_t i = 0; i < incidents->count; i++) {
        if (is_to_be_written(&incidents->all[i])) {
            return true;
        }
    }
    return false;
}

err
incidents_queue(struct incidents *incidents)
{
    if (!incidents_is_due(incidents)) {
        return ERR_ok;
    }
    struct db_rows *rows =
        db_rows(incidents->db, "REPLACE INTO $incident (id, about, kind, what, since, position, resolved, author, reason, done)", 10);
    for (size_t i = 0; i < incidents->count; i++) {
        struct standing *standing = &incidents->all[i];
        if (is_to_be_written(standing)) {
            standing->is_queued = true;
            db_rows_id(rows, &standing->incident.id);
            db_rows_text(rows, slice_of(standing->incident.about));
            db_rows_text(rows, slice_of(kinds[standing->incident.kind].name));
            db_rows_text(rows, slice_of(standing->incident.what));
            db_rows_i64(rows, standing->incident.since_ms);
            db_rows_i64(rows, standing->incident.position);
            db_rows_i64(rows, standing->is_over ? standing->resolved_ms : 0);
            db_rows_text(rows, slice_of(standing->author));
            db_rows_text(rows, slice_of(standing->reason));
            db_rows_text(rows, slice_of(standing->done));
        }
    }
    return db_rows_queue(rows);
}

void
incidents_committed(struct incidents *incidents)
{
    size_t kept = 0;
    for (size_t i = 0; i < incidents->count; i++) {
        struct standing *standing = &incidents->all[i];
        if (standing->is_queued && standing->is_over) {
            log_info("incident_is_over", LOG_TEXT("about", standing->incident.about),
                     LOG_TEXT("kind", kinds[standing->incident.kind].name), LOG_TEXT("done", standing->done),
                     LOG_TEXT("reason", standing->reason), LOG_ID("incident", &standing->incident.id));
        } else {
            standing->is_stored = standing->is_stored || standing->is_queued;
            standing->is_queued = false;
            incidents->all[kept++] = *standing;
        }
    }
    incidents->count = kept;
}

void
incidents_dropped(struct incidents *incidents)
{
    for (size_t i = 0; i < incidents->count; i++) {
        struct standing *standing = &incidents->all[i];
        standing->is_queued = false;
        if (standing->is_resolving) {
            standing->is_over = standing->is_resolving = false;
            standing->author[0] = standing->reason[0] = standing->done[0] = '\0';
        }
    }
}
