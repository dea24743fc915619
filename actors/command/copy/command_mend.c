/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Makes an installation of copies: a new incarnation for each database, known to all that follow it here, and cursors and positions
 *   that agree with each other.
 *
 * STATE
 *   $shard, $outbox, $cursor, $position, $parked, and what dlq_mend.h writes. Whoever follows from outside keeps the old incarnation,
 *   and is refused: an incident, because it may know events that are gone.
 *
 * FAILURES
 *   A cursor that belonged to another database than the one that was copied, or to another past of it, was an incident: restoring is
 *   the decision to go on, and it is said from where.
 *
 * LIMITS
 *   Only positions are mended. What of an order, its holds and its charges does not agree, `larder verify` names.
 */
#include "command_mend.h"

#include <stdio.h>
#include <string.h>

#include "dlq/hosting/dlq_mend.h"
#include "kit/stream/past.h"
#include "kit/stream/renewal.h"

struct mending {
    struct installation *installation;
    struct id incarnations[INSTALLATION_PARTS_MAX]; /* the new ones */
    struct installation_part *dlq;                  /* NULL: it was never started */
};

/* A cursor that is looked at. */
struct followed {
    struct installation_part *subscriber;
    struct installation_part *source;
    struct id incarnation;
    int64_t position;
    struct id chain; /* zero: not known */
};

static err
fail(const struct installation_part *part, err code, struct err_text *why)
{
    return err_say(why, code, "%s: cannot be mended: %.300s", part->name, db_error(part->db));
}

static const struct id *
new_incarnation(const struct mending *mending, const struct installation_part *part)
{
    return &mending->incarnations[part - mending->installation->parts];
}

static err
read_number(struct db_statement *read, int64_t missing, int64_t *number)
{
    err code = db_query(read);
    bool is_there = code == ERR_ok && db_next(read) && !db_is_null(read, 0);
    *number = is_there ? db_i64(read, 0) : missing;
    db_done(read);
    return code;
}

/* --- the databases themselves --- */

static err
renew_shard(const struct mending *mending, struct installation_part *part)
{
    struct db_statement *renew = db_statement(part->db, "UPDATE $shard SET incarnation = ?, connection = 0 WHERE shard = ?");
    db_bind_id(renew, new_incarnation(mending, part));
    db_bind_i64(renew, part->shard);
    err code = db_queue(renew, 1);
    return code != ERR_ok ? code
                          : renewal_run(&(struct renewal){
                                .db = part->db,
                                .read = "SELECT seq, header FROM $outbox WHERE seq > ? ORDER BY seq LIMIT ?",
                                .write = "UPDATE $outbox SET header = ? WHERE seq = ?",
                                .incarnation = new_incarnation(mending, part),
                            });
}

/* --- cursors --- */

static err
forget_parked(const struct followed *followed, int64_t head, int64_t *forgotten)
{
    struct db_statement *forget = db_statement(followed->subscriber->db, "DELETE FROM $parked WHERE source = ? AND seq > ?");
    db_bind_text(forget, slice_of(followed->source->name));
    db_bind_i64(forget, head);
    return db_run(forget, forgotten);
}

/* It has applied what its source does not have any more. */
static err
set_back(const struct followed *followed)
{
    int64_t head = followed->source->position.seq;
    int64_t forgotten = 0;
    err code = forget_parked(followed, head, &forgotten);
    if (code == ERR_ok) {
        struct db_statement *move = db_statement(
            followed->subscriber->db, "UPDATE $cursor SET position = ?, delivered = delivered - ?, chain = NULL WHERE source = ?");
        db_bind_i64(move, head);
        db_bind_i64(move, followed->position - head - forgotten);
        db_bind_text(move, slice_of(followed->source->name));
        code = db_queue(move, 1);
    }
    printf("%s had applied events %lld to %lld of %s, which are gone there: what they did stays, and it follows from %lld\n",
           followed->subscriber->name, (long long)head + 1, (long long)followed->position, followed->source->name, (long long)head);
    return code;
}

/* Neither the source nor the dlq keeps what it has not applied yet. */
static err
set_forward(const struct followed *followed, int64_t kept_from)
{
    struct db_statement *move = db_statement(
        followed->subscriber->db, "UPDATE $cursor SET position = ?, discarded = discarded + ?, chain = NULL WHERE source = ?");
    db_bind_i64(move, kept_from - 1);
    db_bind_i64(move, kept_from - 1 - followed->position);
    db_bind_text(move, slice_of(followed->source->name));
    printf("%s never applied events %lld to %lld of %s, and nobody keeps them: it follows from %lld\n", followed->subscriber->name,
           (long long)followed->position + 1, (long long)kept_from - 1, followed->source->name, (long long)kept_from - 1);
    return db_queue(move, 1);
}

/* From which event on everything up to the head is there, with the source or, for this subscriber, with the dlq. */
static err
find_kept(const struct mending *mending, const struct followed *followed, int64_t *kept_from)
{
    struct db_statement *oldest = db_statement(followed->source->db, "SELECT MIN(seq) FROM $outbox");
    err code = read_number(oldest, followed->source->position.seq + 1, kept_from);
    if (code != ERR_ok || mending->dlq == NULL || followed->position >= *kept_from - 1) {
        return code;
    }
    int64_t hosted = 0;
    code = read_number(dlq_select_copied(mending->dlq->db, slice_of(followed->source->name), slice_of(followed->subscriber->name),
                                         followed->position),
                       0, &hosted);
    *kept_from = hosted >= *kept_from - 1 ? followed->position + 1 : *kept_from;
    return code;
}

/* Positions of two databases cannot be compared: it begins anew, with what is kept. */
static err
begin_anew(const struct followed *followed)
{
    int64_t kept_from = 0;
    int64_t forgotten = 0;
    struct db_statement *oldest = db_statement(followed->source->db, "SELECT MIN(seq) FROM $outbox");
    err code = read_number(oldest, followed->source->position.seq + 1, &kept_from);
    if (code == ERR_ok) {
        code = forget_parked(followed, 0, &forgotten);
    }
    struct db_statement *move = db_statement(
        followed->subscriber->db, "UPDATE $cursor SET position = ?, delivered = ?, discarded = 0, chain = NULL WHERE source = ?");
    db_bind_i64(move, kept_from - 1);
    db_bind_i64(move, kept_from - 1);
    db_bind_text(move, slice_of(followed->source->name));
    printf("%s followed another database of %s than the one that is here, to event %lld: it follows this one from %lld\n",
           followed->subscriber->name, followed->source->name, (long long)followed->position, (long long)kept_from - 1);
    return code == ERR_ok ? db_queue(move, 1) : code;
}

static err
forget_chain(const struct followed *followed)
{
    struct db_statement *forget = db_statement(followed->subscriber->db, "UPDATE $cursor SET chain = NULL WHERE source = ?");
    db_bind_text(forget, slice_of(followed->source->name));
    printf("%s has followed another past of %s, which is an older copy that has gone on: what it applied up to %lld stays, and it "
           "follows "
           "from there\n",
           followed->subscriber->name, followed->source->name, (long long)followed->position);
    return db_queue(forget, 1);
}

static err
mend_cursor(const struct mending *mending, const struct followed *followed)
{
    struct db_statement *renew =
        db_statement(followed->subscriber->db, "UPDATE $cursor SET incarnation = ?, batch = 0 WHERE source = ?");
    int64_t kept_from = 0;
    bool is_other = false;
    db_bind_id(renew, new_incarnation(mending, followed->source));
    db_bind_text(renew, slice_of(followed->source->name));
    err code = db_queue(renew, 1);
    if (code == ERR_ok && !id_equal(&followed->incarnation, &followed->source->position.incarnation)) {
        return begin_anew(followed);
    }
    if (code == ERR_ok && followed->position > followed->source->position.seq) {
        return set_back(followed);
    }
    if (code == ERR_ok) {
        code = past_is_other(followed->source->db, followed->source->shard, &(struct past){followed->position, followed->chain},
                             &is_other);
    }
    if (code == ERR_ok && is_other) {
        return forget_chain(followed);
    }
    if (code == ERR_ok) {
        code = find_kept(mending, followed, &kept_from);
    }
    return code == ERR_ok && followed->position < kept_from - 1 ? set_forward(followed, kept_from) : code;
}

static err
mend_cursors(const struct mending *mending, struct installation_part *subscriber)
{
    struct followed all[INSTALLATION_PARTS_MAX];
    size_t count = 0;
    struct db_statement *read =
        db_statement(subscriber->db, "SELECT source, incarnation, position, chain FROM $cursor ORDER BY source");
    err code = db_query(read);
    while (code == ERR_ok && count < INSTALLATION_PARTS_MAX && db_next(read)) {
        struct installation_part *source = installation_find(mending->installation, db_bytes(read, 0));
        if (source != NULL) {
            all[count++] = (struct followed){subscriber, source, db_id(read, 1), db_i64(read, 2), db_id(read, 3)};
        }
    }
    db_done(read);
    for (size_t i = 0; code == ERR_ok && i < count; i++) {
        code = mend_cursor(mending, &all[i]);
    }
    return code;
}

/* --- what sources noted of those that follow them --- */

static err
lower_position(struct installation_part *source, const char *subscriber, const char *column, int64_t most)
{
    char sql[128];
    snprintf(sql, sizeof sql, "UPDATE $position SET %s = ? WHERE subscriber = ? AND %s > ?", column, column);
    struct db_statement *lower = db_statement(source->db, sql);
    int64_t matched = 0;
    db_bind_i64(lower, most);
    db_bind_text(lower, slice_of(subscriber));
    db_bind_i64(lower, most);
    err code = db_run(lower, &matched);
    if (code == ERR_ok && matched > 0) {
        printf("%s had noted more of %s than is true: it is %lld\n", source->name, subscriber, (long long)most);
    }
    return code;
}

/* The cursors are mended: no source may think that more is confirmed, or kept by the dlq. */
static err
mend_positions(const struct mending *mending, struct installation_part *source)
{
    err code = ERR_ok;
    for (size_t i = 0; code == ERR_ok && i < mending->installation->count; i++) {
        struct installation_part *subscriber = &mending->installation->parts[i];
        int64_t applied = 0;
        int64_t copied = 0;
        struct db_statement *cursor = db_statement(subscriber->db, "SELECT position FROM $cursor WHERE source = ?");
        db_bind_text(cursor, slice_of(source->name));
        code = read_number(cursor, 0, &applied);
        if (code == ERR_ok) {
            code = lower_position(source, subscriber->name, "position", applied);
        }
        if (code == ERR_ok && mending->dlq != NULL) {
            code = read_number(dlq_select_copied(mending->dlq->db, slice_of(source->name), slice_of(subscriber->name), INT64_MAX),
                               applied, &copied);
        }
        if (code == ERR_ok) {
            code = lower_position(source, subscriber->name, "hosted", mending->dlq == NULL || copied < applied ? applied : copied);
        }
    }
    return code;
}

/* --- all --- */

static err
open_part(const struct mending *mending, struct installation_part *part)
{
    (void)mending;
    struct db_statement *open = db_statement(part->db, "UPDATE $shard SET shards = ? WHERE shard = ?");
    db_bind_i64(open, part->of);
    db_bind_i64(open, part->shard);
    return db_queue(open, 1);
}

/* What is done is committed at once: a server ends a writer that is idle, and nobody takes what is closed. */
static err
for_all(struct mending *mending, err (*mend)(const struct mending *, struct installation_part *), struct err_text *why)
{
    err code = ERR_ok;
    for (size_t i = 0; code == ERR_ok && i < mending->installation->count; i++) {
        struct installation_part *part = &mending->installation->parts[i];
        code = mend(mending, part);
        code = code == ERR_ok ? db_commit(part->db) : code;
        code = code == ERR_ok ? ERR_ok : fail(part, code, why);
        if (code == ERR_ok && mending->dlq != NULL) {
            code = db_commit(mending->dlq->db);
            code = code == ERR_ok ? ERR_ok : fail(mending->dlq, code, why);
        }
    }
    return code;
}

static err
renew_all(const struct mending *mending, struct installation_part *part)
{
    err code = renew_shard(mending, part);
    return code != ERR_ok || mending->dlq == NULL
               ? code
               : dlq_mend_source(mending->dlq->db, slice_of(part->name), &part->position.incarnation, new_incarnation(mending, part));
}

err
command_mend(struct installation *installation, struct err_text *why)
{
    struct mending mending = {.installation = installation, .dlq = installation_find(installation, slice_of("dlq/0"))};
    for (size_t i = 0; i < installation->count; i++) {
        mending.incarnations[i] = id_new();
    }
    err code = for_all(&mending, renew_all, why);
    if (code == ERR_ok) {
        code = for_all(&mending, mend_cursors, why);
    }
    if (code == ERR_ok) {
        code = for_all(&mending, mend_positions, why);
    }
    return code == ERR_ok ? for_all(&mending, open_part, why) : code;
}
