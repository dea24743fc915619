/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Proves per source and subscriber that every event is delivered, finally discarded, parked or still to come.
 *
 *   Of the source, in one snapshot: it keeps without a gap what is above the lowest position of its subscribers; a subscriber that is
 *   behind counts by what the dlq has confirmed to keep for it. Of the subscriber, in one snapshot: its position is what was
 *   delivered, what was discarded and what is parked. Between them: the source was told no more than the subscriber has applied, and
 *   no more than the dlq has; nobody is ahead of the head; what was applied is the source's past, by the chains that both keep. The
 *   dlq proves by itself that it keeps what it says.
 *
 * FAILURES
 *   Each is a sentence that names the first event or the numbers that do not agree.
 *
 * LIMITS
 *   MARKS_MAX positions, hostings and cursors each. Subscribers that are no actors of ours are only known by what sources noted.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command_verify.h"
#include "dlq/dlq_verify.h"
#include "kit/base/memory.h"
#include "kit/stream/past.h"

#define MARKS_MAX 256

/* How far `subscriber` is in the stream of `source`. */
struct mark {
    char source[VERIFY_NAME_SIZE];
    char subscriber[VERIFY_NAME_SIZE];
    struct id incarnation; /* of a cursor or hosting */
    struct id chain;       /* of a cursor; zero: not known */
    int64_t batch;         /* of a cursor: commits that the source was heard to have made */
    int64_t position;
    int64_t hosted; /* of a position: confirmed by a host; of a hosting: copied */
    int64_t delivered;
    int64_t discarded;
    int64_t parked;
    bool is_standing; /* of a hosting: of a client, not ended, and the source has given events for it */
};

struct marks {
    struct mark all[MARKS_MAX];
    size_t count;
};

struct verify_marks {
    struct marks positions; /* what sources noted */
    struct marks hostings;  /* what the dlq keeps */
    struct marks cursors;   /* what subscribers applied */
};

void
verify_marks_create(struct verify_survey *survey)
{
    survey->marks = memory_new(1, sizeof *survey->marks);
}

void
verify_marks_destroy(struct verify_survey *survey)
{
    free(survey->marks);
    survey->marks = NULL;
}

static struct mark *
mark_add(struct marks *marks, struct slice source, struct slice subscriber)
{
    if (marks->count == MARKS_MAX) {
        return NULL;
    }
    struct mark *mark = &marks->all[marks->count++];
    verify_copy_text(mark->source, sizeof mark->source, source);
    verify_copy_text(mark->subscriber, sizeof mark->subscriber, subscriber);
    return mark;
}

static const struct mark *
mark_find(const struct marks *marks, const char *source, const char *subscriber)
{
    for (size_t i = 0; i < marks->count; i++) {
        if (strcmp(marks->all[i].source, source) == 0 && strcmp(marks->all[i].subscriber, subscriber) == 0) {
            return &marks->all[i];
        }
    }
    return NULL;
}

/* --- the source --- */

/* The shard's seq is the head, and everything above `lowest` is there. */
static err
check_outbox(struct verify_survey *survey, const struct verify_source *source, int64_t lowest, int64_t head)
{
    struct db_statement *read = db_statement(source->db, "SELECT COUNT(*), COALESCE(MAX(seq), 0) FROM $outbox WHERE seq > ?");
    db_bind_i64(read, lowest);
    err code = db_query(read);
    if (code != ERR_ok || !db_next(read)) {
        return code;
    }
    int64_t count = db_i64(read, 0);
    int64_t last = db_i64(read, 1);
    db_done(read);
    if (last > head) {
        verify_fault(survey, source->name, "event %lld is kept, but the stream ends at %lld", (long long)last, (long long)head);
    } else if (count != head - lowest) {
        int64_t missing = 0;
        const char *sql = "SELECT seq FROM $outbox WHERE seq > ? ORDER BY seq LIMIT ?";
        code = verify_find_gap(&(struct verify_walk){.db = source->db, .sql = sql}, lowest, &missing);
        verify_fault(survey, source->name,
                     "event %lld is not kept any more, though not all have confirmed it: they stand at %lld or later",
                     (long long)missing, (long long)lowest);
    }
    return code;
}

err
verify_read_positions(struct verify_survey *survey, const struct verify_source *source, struct err_text *why)
{
    int64_t head = 0;
    err code = verify_read_head(source, &head);
    int64_t lowest = head;
    struct db_statement *read = db_statement(source->db, "SELECT subscriber, position, hosted FROM $position ORDER BY subscriber");
    if (code == ERR_ok) {
        code = db_query(read);
    }
    while (code == ERR_ok && db_next(read)) {
        struct mark *mark = mark_add(&survey->marks->positions, slice_of(source->name), db_bytes(read, 0));
        int64_t position = db_i64(read, 1);
        int64_t hosted = db_i64(read, 2);
        int64_t settled = hosted > position ? hosted : position;
        lowest = settled < lowest ? settled : lowest;
        if (mark != NULL) {
            mark->position = position;
            mark->hosted = hosted;
        }
    }
    if (code == ERR_ok) {
        code = check_outbox(survey, source, lowest, head);
    }
    if (code == ERR_ok) {
        code = db_settle(source->db);
    }
    code = verify_unread(source, code, why);
    db_rollback(source->db);
    return code;
}

/* --- the dlq --- */

err
verify_read_hostings(struct verify_survey *survey, struct err_text *why)
{
    if (survey->dlq == NULL) {
        return ERR_ok;
    }
    struct db_statement *read = dlq_select_hostings(survey->dlq->db);
    err code = db_query(read);
    while (code == ERR_ok && db_next(read)) {
        struct mark *mark = mark_add(&survey->marks->hostings, db_bytes(read, 0), db_bytes(read, 1));
        if (mark != NULL) {
            bool is_client = db_i64(read, 3) != 0;
            mark->hosted = db_i64(read, 5);
            mark->incarnation = db_id(read, 2);
            mark->is_standing = is_client && db_is_null(read, 6) && mark->hosted > 0;
            mark->position = is_client ? mark->hosted : db_i64(read, 4); /* for a client the dlq itself is the subscriber */
        }
    }
    if (code == ERR_ok) {
        code = db_settle(survey->dlq->db);
    }
    code = verify_unread(survey->dlq, code, why);
    db_rollback(survey->dlq->db);
    return code;
}

/* --- the subscriber --- */

static void
check_cursor(struct verify_survey *survey, const struct verify_source *subscriber, const struct mark *mark)
{
    int64_t sum = mark->delivered + mark->discarded + mark->parked;
    if (mark->position != sum) {
        verify_fault(survey, subscriber->name,
                     "of %s it has taken %lld events, but %lld delivered, %lld discarded and %lld parked make %lld", mark->source,
                     (long long)mark->position, (long long)mark->delivered, (long long)mark->discarded, (long long)mark->parked,
                     (long long)sum);
    }
}

err
verify_read_cursors(struct verify_survey *survey, const struct verify_source *source, struct err_text *why)
{
    struct db_statement *read = db_statement(source->db, "SELECT source, incarnation, position, delivered, discarded, chain, batch,"
                                                         " (SELECT COUNT(*) FROM $parked p WHERE p.source = c.source)"
                                                         " FROM $cursor c ORDER BY source");
    err code = db_query(read);
    while (code == ERR_ok && db_next(read)) {
        struct mark *mark = mark_add(&survey->marks->cursors, db_bytes(read, 0), slice_of(source->name));
        if (mark != NULL) {
            mark->incarnation = db_id(read, 1);
            mark->position = db_i64(read, 2);
            mark->delivered = db_i64(read, 3);
            mark->discarded = db_i64(read, 4);
            mark->chain = db_id(read, 5);
            mark->batch = db_i64(read, 6);
            mark->parked = db_i64(read, 7);
            check_cursor(survey, source, mark);
        }
    }
    struct db_statement *beyond =
        db_statement(source->db, "SELECT p.source, p.seq FROM $parked p LEFT JOIN $cursor c ON c.source = p.source"
                                 " WHERE c.source IS NULL OR p.seq > c.position ORDER BY p.source, p.seq LIMIT 1");
    if (code == ERR_ok) {
        code = db_query(beyond);
    }
    if (code == ERR_ok && db_next(beyond)) {
        struct slice name = db_bytes(beyond, 0);
        verify_fault(survey, source->name, "event %lld of %.*s is parked, but its cursor has not come there",
                     (long long)db_i64(beyond, 1), (int)name.size, (const char *)name.data);
    }
    db_done(beyond);
    if (code == ERR_ok) {
        code = db_settle(source->db);
    }
    return verify_unread(source, code, why);
}

/* --- between them --- */

/* What a source was told of a subscriber, by itself and by its host. */
static void
compare_position(struct verify_survey *survey, const struct mark *position)
{
    const struct mark *cursor = mark_find(&survey->marks->cursors, position->source, position->subscriber);
    const struct mark *hosting = mark_find(&survey->marks->hostings, position->source, position->subscriber);
    int64_t applied = cursor == NULL ? 0 : cursor->position;
    bool is_ours = verify_find(survey, position->subscriber) != NULL;
    if (is_ours && applied < position->position) {
        verify_fault(survey, position->source, "%s is noted as having applied %lld events; its own database says %lld",
                     position->subscriber, (long long)position->position, (long long)applied);
    }
    if (position->position > 0 && verify_is_absent(survey, position->subscriber)) {
        verify_fault(survey, position->source, "%s is noted as having applied %lld events, but it was never started",
                     position->subscriber, (long long)position->position);
    }
    if (hosting != NULL && !is_ours && hosting->hosted < position->position) {
        verify_fault(survey, position->source, "%s is noted as having %lld events; the dlq, which keeps them, says %lld",
                     position->subscriber, (long long)position->position, (long long)hosting->hosted);
    }
    if (hosting != NULL && hosting->hosted < position->hosted) {
        verify_fault(survey, position->source, "the dlq is noted as keeping all up to %lld for %s; its own database says %lld",
                     (long long)position->hosted, position->subscriber, (long long)hosting->hosted);
    } else if (hosting == NULL && is_ours && position->hosted > position->position && applied < position->hosted) {
        verify_fault(survey, position->source,
                     "the dlq is noted as keeping all up to %lld for %s, which stands at %lld; it keeps nothing",
                     (long long)position->hosted, position->subscriber, (long long)applied);
    }
    if (hosting != NULL && is_ours && applied < hosting->position) {
        verify_fault(survey, position->source, "the dlq takes %s for having applied %lld events; its own database says %lld",
                     position->subscriber, (long long)hosting->position, (long long)applied);
    }
}

/* Whether the source has the position in the snapshot of its shard row, which is a later one than that of the marks. */
static bool
has_position(const struct verify_source *source, const char *subscriber)
{
    struct db_statement *read = db_statement(source->db, "SELECT COUNT(*) FROM $position WHERE subscriber = ?");
    db_bind_text(read, slice_of(subscriber));
    bool has = db_query(read) == ERR_ok && db_next(read) && db_i64(read, 0) > 0;
    db_done(read);
    return has;
}

/* A client's subscription is a position at the source and a hosting at the dlq. One that is ended meanwhile loses its position
 * first. */
static void
compare_clients(struct verify_survey *survey, const struct verify_source *source)
{
    static const char client[] = "dlq.";
    const struct verify_marks *marks = survey->marks;
    for (size_t i = 0; survey->dlq != NULL && i < marks->positions.count; i++) {
        const struct mark *position = &marks->positions.all[i];
        if (strcmp(position->source, source->name) == 0 && strncmp(position->subscriber, client, sizeof client - 1) == 0 &&
            mark_find(&marks->hostings, source->name, position->subscriber) == NULL && has_position(source, position->subscriber)) {
            verify_fault(survey, source->name, "%s has a position, but the dlq keeps nothing for it", position->subscriber);
        }
    }
    for (size_t i = 0; i < marks->hostings.count; i++) {
        const struct mark *hosting = &marks->hostings.all[i];
        if (strcmp(hosting->source, source->name) == 0 && hosting->is_standing &&
            mark_find(&marks->positions, source->name, hosting->subscriber) == NULL && !has_position(source, hosting->subscriber)) {
            verify_fault(survey, source->name, "the dlq keeps events for %s, which has no position here", hosting->subscriber);
        }
    }
}

/* Of a source that tells few events its commits are all that others know. */
static err
compare_batch(struct verify_survey *survey, const struct verify_source *source, const struct mark *cursor)
{
    struct db_statement *read = db_statement(source->db, "SELECT batch FROM $shard WHERE shard = ? AND batch < ?");
    db_bind_i64(read, source->shard);
    db_bind_i64(read, cursor->batch);
    err code = db_query(read);
    if (code == ERR_ok && db_next(read)) {
        verify_fault(survey, source->name, "it has made %lld commits, and was heard to have made %lld by %s: it is an older copy",
                     (long long)db_i64(read, 0), (long long)cursor->batch, cursor->subscriber);
    }
    db_done(read);
    return code;
}

/* An older copy that has gone on stands as far as the one that was followed, or farther, and has had other events. */
static err
compare_past(struct verify_survey *survey, const struct verify_source *source, const struct mark *cursor)
{
    bool is_other = false;
    err code = past_is_other(source->db, source->shard, &(struct past){cursor->position, cursor->chain}, &is_other);
    if (code == ERR_ok && is_other) {
        verify_fault(survey, source->name,
                     "up to event %lld it has had other events than those that %s has applied: one of them is an "
                     "older copy that has gone on",
                     (long long)cursor->position, cursor->subscriber);
    }
    return code == ERR_ok ? compare_batch(survey, source, cursor) : code;
}

err
verify_compare(struct verify_survey *survey, const struct verify_source *source, const struct id *incarnation, int64_t head)
{
    err code = ERR_ok;
    for (size_t i = 0; i < survey->marks->cursors.count; i++) {
        const struct mark *cursor = &survey->marks->cursors.all[i];
        if (strcmp(cursor->source, source->name) != 0) {
            continue;
        }
        if (!id_equal(&cursor->incarnation, incarnation)) {
            verify_fault(survey, source->name, "%s follows another database than the one that is here", cursor->subscriber);
        } else if (cursor->position > head) {
            verify_fault(survey, source->name, "%s has applied %lld events, and the stream ends at %lld", cursor->subscriber,
                         (long long)cursor->position, (long long)head);
        } else if (code == ERR_ok) {
            code = compare_past(survey, source, cursor);
        }
    }
    compare_clients(survey, source);
    for (size_t i = 0; i < survey->marks->hostings.count; i++) {
        const struct mark *hosting = &survey->marks->hostings.all[i];
        if (strcmp(hosting->source, source->name) == 0 && !id_is_zero(&hosting->incarnation) &&
            !id_equal(&hosting->incarnation, incarnation)) {
            verify_fault(survey, source->name, "the dlq keeps events for %s that are of another database than the one that is here",
                         hosting->subscriber);
        }
    }
    for (size_t i = 0; i < survey->marks->positions.count; i++) {
        if (strcmp(survey->marks->positions.all[i].source, source->name) == 0) {
            compare_position(survey, &survey->marks->positions.all[i]);
        }
    }
    return code;
}

/* A source keeps a position of whoever follows it, from before the first event that it gives out. */
static void
compare_cursors(struct verify_survey *survey)
{
    for (size_t i = 0; i < survey->marks->cursors.count; i++) {
        const struct mark *cursor = &survey->marks->cursors.all[i];
        if (cursor->position > 0 && verify_find(survey, cursor->source) != NULL &&
            mark_find(&survey->marks->positions, cursor->source, cursor->subscriber) == NULL) {
            verify_fault(survey, cursor->source, "it has no position of %s, which has taken %lld events", cursor->subscriber,
                         (long long)cursor->position);
        }
    }
}

/* Of a source that was never started nobody has heard anything. */
static void
compare_absent(struct verify_survey *survey)
{
    for (size_t i = 0; i < survey->marks->cursors.count; i++) {
        const struct mark *cursor = &survey->marks->cursors.all[i];
        if (cursor->position > 0 && verify_is_absent(survey, cursor->source)) {
            verify_fault(survey, cursor->subscriber, "it has taken %lld events of %s, whose database is not there",
                         (long long)cursor->position, cursor->source);
        }
    }
}

err
verify_print_subscriptions(struct verify_survey *survey, struct err_text *why)
{
    const struct verify_marks *marks = survey->marks;
    compare_cursors(survey);
    compare_absent(survey);
    for (size_t i = 0; i < marks->cursors.count; i++) {
        const struct mark *cursor = &marks->cursors.all[i];
        const struct verify_source *source = verify_find(survey, cursor->source);
        bool agrees = cursor->position == cursor->delivered + cursor->discarded + cursor->parked;
        if (source == NULL || source->head < cursor->position || !agrees) {
            continue;
        }
        printf("%s to %s: %lld events agree: %lld delivered, %lld discarded, %lld parked, %lld to come\n", cursor->source,
               cursor->subscriber, (long long)source->head, (long long)cursor->delivered, (long long)cursor->discarded,
               (long long)cursor->parked, (long long)(source->head - cursor->position));
    }
    if (marks->positions.count == MARKS_MAX || marks->cursors.count == MARKS_MAX || marks->hostings.count == MARKS_MAX) {
        return err_say(why, ERR_internal, "more than %d subscribers: what is between databases was not proved for all", MARKS_MAX - 1);
    }
    return ERR_ok;
}
