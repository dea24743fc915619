/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Proves that what stock knows of productions is what the factory says of them: each is of the factory, of the same product and as
 *   many units, and as far as stock has heard it.
 *
 *   Stock is read first for whether the factory has what stock knows of: it is written there before anybody hears of it. The other
 *   way round the factory is read first. What differs then is only suspect, because the shop may be open: it is looked at again,
 *   VERIFY_LOOKS_MAX times at most, until stock has heard all that the factory had told by then.
 *
 * STATE
 *   Reads only: $production and $shard of the factory; $production, $cursor and $parked of stock; $letter and $audit of the dlq.
 *
 * FAILURES
 *   Each is a sentence that names the product and the number of the production. What stock has not heard yet, or cannot apply, or
 *   somebody has discarded, is no fault; units that an operator has edited are what he has said.
 *
 * LIMITS
 *   Of each shard the first VERIFY_TOLD_MAX faults are told, all are counted. VERIFY_SUSPECTS_MAX are looked at again.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command_verify.h"
#include "command_verify_looks.h"
#include "kit/base/memory.h"
#include "wire.h"

#define CHUNK 512

enum verdict { AGREES, TO_COME, DIFFERS };

/* What one of them has of a production; `state` is 0 when it has nothing. */
struct side {
    char product[WIRE_NAME_MAX + 1];
    int64_t quantity;
    char state; /* o: open, p: produced, f: failed */
};

struct twin {
    struct id id;
    int64_t n; /* in the factory */
    struct side factory;
    struct side stock;
    bool has_no_factory;
    enum verdict verdict;
};

struct proof {
    struct verify_survey *survey;
    const struct verify_source *factory;
    const struct verify_source *stock;
    struct twin chunk[CHUNK];
    size_t count;
    struct verify_names names; /* of the chunk */
    struct verify_suspects suspects;
    int64_t head;      /* of the factory's stream, in the factory's snapshot */
    int64_t cursor;    /* of stock in it, in stock's snapshot */
    int64_t discarded; /* events of the factory that stock was told to forget */
    int64_t agreed;
    int64_t told;
};

/* --- rows --- */

/* Columns: product, quantity, state, from `first` on. */
static struct side
read_side(struct db_statement *row, int first)
{
    struct side side = {.quantity = db_i64(row, first + 1)};
    struct slice state = db_bytes(row, first + 2);
    verify_copy_text(side.product, sizeof side.product, db_bytes(row, first));
    side.state = 'o';
    if (slice_equal(state, slice_of("produced"))) {
        side.state = 'p';
    } else if (slice_equal(state, slice_of("failed"))) {
        side.state = 'f';
    }
    return side;
}

/* By the ids of the chunk. */
static err
read_sides(struct proof *proof, const struct verify_source *source, const char *sql)
{
    bool is_factory = source == proof->factory;
    struct db_in *in = db_in(source->db, sql);
    verify_names_clear(&proof->names);
    for (size_t i = 0; i < proof->count; i++) {
        db_in_id(in, &proof->chunk[i].id);
        verify_names_add(&proof->names, &proof->chunk[i].id, i, false);
        *(is_factory ? &proof->chunk[i].factory : &proof->chunk[i].stock) = (struct side){0};
    }
    for (struct db_statement *row = db_in_next(in); row != NULL; row = db_in_next(in)) {
        struct id id = db_id(row, 0);
        const struct verify_name *name = verify_names_find(&proof->names, &id);
        if (name != NULL) {
            struct twin *twin = &proof->chunk[name->number];
            *(is_factory ? &twin->factory : &twin->stock) = read_side(row, 1);
            twin->n = is_factory ? db_i64(row, 4) : twin->n;
        }
    }
    return db_in_end(in);
}

#define OF_FACTORY "SELECT id, product, quantity, status, n FROM $production WHERE id IN (*)"
#define OF_STOCK "SELECT production, product, quantity, state FROM $production WHERE production IN (*)"

static err
read_factory(struct proof *proof)
{
    err code = verify_read_number(db_statement(proof->factory->db, "SELECT seq FROM $shard WHERE shard = 0"), &proof->head);
    return code == ERR_ok ? read_sides(proof, proof->factory, OF_FACTORY) : code;
}

static err
read_stock(struct proof *proof)
{
    struct db *db = proof->stock->db;
    err code = verify_read_number(db_statement(db, "SELECT position FROM $cursor WHERE source = 'factory/0'"), &proof->cursor);
    if (code == ERR_ok) {
        code = verify_read_number(db_statement(db, "SELECT discarded FROM $cursor WHERE source = 'factory/0'"), &proof->discarded);
    }
    return code == ERR_ok ? read_sides(proof, proof->stock, OF_STOCK) : code;
}

/* --- judging --- */

/* Whether stock has an event about the product that it could not apply. */
static err
is_parked(const struct proof *proof, const struct twin *twin, bool *is)
{
    int64_t count = 0;
    struct db_statement *read =
        db_statement(proof->stock->db, "SELECT COUNT(*) FROM $parked WHERE source = 'factory/0' AND event_key = ?");
    db_bind_text(read, slice_of(twin->factory.product));
    err code = verify_read_number(read, &count);
    *is = count > 0;
    return code;
}

/* Whether an operator has given an event about the product another body. */
static err
is_edited(const struct proof *proof, const struct twin *twin, bool *is)
{
    int64_t count = 0;
    *is = false;
    if (proof->survey->dlq == NULL) {
        return ERR_ok;
    }
    struct db_statement *read =
        db_statement(proof->survey->dlq->db, "SELECT COUNT(*) FROM $audit a JOIN $letter l ON l.n = a.letter"
                                             " WHERE a.action = 'edit' AND l.destination = ? AND l.letter_key = ?");
    db_bind_text(read, slice_of(proof->stock->name));
    db_bind_text(read, slice_of(twin->factory.product));
    err code = verify_read_number(read, &count);
    db_rollback(proof->survey->dlq->db);
    *is = count > 0;
    return code;
}

/* Stock knows no more than the factory, and no less than it was told. */
static err
judge(const struct proof *proof, struct twin *twin)
{
    const struct side *factory = &twin->factory;
    const struct side *stock = &twin->stock;
    bool is_excused = false;
    err code = ERR_ok;
    twin->has_no_factory = factory->state == 0;
    bool is_same = stock->state == 0 || (stock->quantity == factory->quantity && strcmp(stock->product, factory->product) == 0);
    twin->verdict = is_same && stock->state == factory->state ? AGREES : DIFFERS;
    if (twin->has_no_factory || twin->verdict == AGREES) {
        return ERR_ok;
    }
    if (!is_same) {
        code = is_edited(proof, twin, &is_excused);
        is_excused = is_excused && strcmp(stock->product, factory->product) == 0;
        twin->verdict = is_excused ? AGREES : DIFFERS;
    } else if (stock->state == 0 || stock->state == 'o') {
        code = is_parked(proof, twin, &is_excused);
        twin->verdict = is_excused || proof->discarded > 0 || proof->cursor < proof->head ? TO_COME : DIFFERS;
    }
    return code;
}

/* --- the looks --- */

/* A page of one table; `after` is where it ends. */
static err
read_page(struct proof *proof, const struct verify_source *source, struct db_statement *rows, int64_t *after)
{
    bool is_factory = source == proof->factory;
    err code = db_query(rows);
    for (proof->count = 0; code == ERR_ok && db_next(rows); proof->count++) {
        proof->chunk[proof->count] = (struct twin){.id = db_id(rows, 0), .n = is_factory ? db_i64(rows, 1) : 0};
        *after = db_i64(rows, 1);
    }
    return code;
}

/* The productions of the shard's products, as the factory has them. */
static void
drop_others(struct proof *proof)
{
    size_t left = 0;
    for (size_t i = 0; i < proof->count; i++) {
        if (wire_shard_of(slice_of(proof->chunk[i].factory.product), proof->stock->of) == proof->stock->shard) {
            proof->chunk[left++] = proof->chunk[i];
        }
    }
    proof->count = left;
}

static err
judge_chunk(struct proof *proof)
{
    err code = ERR_ok;
    for (size_t i = 0; code == ERR_ok && i < proof->count; i++) {
        code = judge(proof, &proof->chunk[i]);
        proof->agreed += proof->chunk[i].verdict == AGREES ? 1 : 0;
        if (proof->chunk[i].verdict != AGREES) {
            verify_suspect(&proof->suspects, &proof->chunk[i]);
        }
    }
    return code;
}

/* Each of the factory's, the factory first. */
static err
look_first(struct proof *proof, struct err_text *why)
{
    struct db_statement *rows = db_statement(proof->factory->db, "SELECT id, n FROM $production WHERE n > ? ORDER BY n LIMIT ?");
    int64_t after = 0;
    err code = ERR_ok;
    for (bool has_more = true; code == ERR_ok && has_more;) {
        db_bind_i64(rows, after);
        db_bind_i64(rows, CHUNK);
        code = read_page(proof, proof->factory, rows, &after);
        has_more = proof->count == CHUNK;
        if (code == ERR_ok) {
            code = read_factory(proof);
        }
        code = code == ERR_ok ? ERR_ok : verify_unread(proof->factory, code, why);
        if (code == ERR_ok) {
            drop_others(proof);
            code = read_stock(proof);
            code = code == ERR_ok ? judge_chunk(proof) : code;
            code = code == ERR_ok ? ERR_ok : verify_unread(proof->stock, code, why);
        }
    }
    db_rollback(proof->factory->db);
    db_rollback(proof->stock->db);
    return code;
}

static int64_t
count_verdict(const struct proof *proof, enum verdict verdict)
{
    const struct twin *suspects = proof->suspects.all;
    int64_t count = 0;
    for (size_t i = 0; i < proof->suspects.count; i++) {
        count += suspects[i].verdict == verdict ? 1 : 0;
    }
    return count;
}

static bool
is_in_doubt(void *context)
{
    return count_verdict(context, DIFFERS) > 0;
}

static err
look_again(void *context, struct err_text *why)
{
    struct proof *proof = context;
    size_t count = 0;
    struct twin *suspects = verify_suspects_take(&proof->suspects, &count);
    err code = ERR_ok;
    for (size_t first = 0; code == ERR_ok && first < count; first += CHUNK) {
        proof->count = count - first < CHUNK ? count - first : CHUNK;
        memcpy(proof->chunk, suspects + first, proof->count * sizeof *proof->chunk);
        code = verify_end_snapshot(proof->factory, read_factory(proof), why);
        if (code == ERR_ok) {
            code = read_stock(proof);
            code = verify_end_snapshot(proof->stock, code == ERR_ok ? judge_chunk(proof) : code, why);
        }
    }
    free(suspects);
    return code;
}

/* Each of stock's is the factory's. Stock first: those that the factory lacks then it never had. */
static err
look_for_strangers(struct proof *proof, struct err_text *why)
{
    struct db_statement *rows =
        db_statement(proof->stock->db, "SELECT production FROM $production WHERE production > ? ORDER BY production LIMIT ?");
    struct id after = {{0}};
    err code = ERR_ok;
    for (proof->count = CHUNK; code == ERR_ok && proof->count == CHUNK;) {
        db_bind_id(rows, &after);
        db_bind_i64(rows, CHUNK);
        code = db_query(rows);
        for (proof->count = 0; code == ERR_ok && db_next(rows); proof->count++) {
            after = db_id(rows, 0);
            proof->chunk[proof->count] = (struct twin){.id = after};
        }
        code = verify_end_snapshot(proof->stock, code == ERR_ok ? read_sides(proof, proof->stock, OF_STOCK) : code, why);
        code = code == ERR_ok ? verify_end_snapshot(proof->factory, read_sides(proof, proof->factory, OF_FACTORY), why) : code;
        for (size_t i = 0; code == ERR_ok && i < proof->count; i++) {
            const struct twin *twin = &proof->chunk[i];
            if (twin->factory.state == 0) {
                char text[ID_TEXT_SIZE];
                id_format(&twin->id, text);
                verify_fault(proof->survey, proof->stock->name, "%s: it knows of the production %s, which the factory does not have",
                             twin->stock.product, text);
            }
        }
    }
    return code;
}

/* --- what came out --- */

static const char *
state_word(char state)
{
    return state == 'p' ? "produced" : state == 'f' ? "failed" : state == 'o' ? "ordered" : "unknown";
}

static void
tell(struct proof *proof, const struct twin *twin)
{
    if (twin->has_no_factory || twin->verdict != DIFFERS) {
        return; /* nothing, or told as a stranger */
    }
    if (proof->told++ >= VERIFY_TOLD_MAX) {
        proof->survey->faults++;
        return;
    }
    verify_fault(proof->survey, proof->stock->name,
                 "production %" PRId64 " is %s, %" PRId64 " of %s, and stock has heard all of it, but has it as %s, %" PRId64 " of %s",
                 twin->n, state_word(twin->factory.state), twin->factory.quantity, twin->factory.product,
                 state_word(twin->stock.state), twin->stock.quantity, twin->stock.product);
}

static err
prove_shard(struct proof *proof, struct err_text *why)
{
    int64_t faults = proof->survey->faults;
    err code = look_for_strangers(proof, why);
    if (code == ERR_ok) {
        code = look_first(proof, why);
    }
    if (code == ERR_ok) {
        code = verify_look_again(proof->survey, &(struct verify_looks){VERIFY_LOOKS_MAX, is_in_doubt, look_again, proof}, why);
    }
    const struct twin *suspects = proof->suspects.all;
    int64_t differ = code == ERR_ok ? count_verdict(proof, DIFFERS) : 0;
    for (size_t i = 0; code == ERR_ok && i < proof->suspects.count; i++) {
        tell(proof, &suspects[i]);
    }
    if (code == ERR_ok) {
        verify_suspects_say_rest(&proof->suspects, proof->survey,
                                 &(struct verify_rest){proof->stock->name, "productions differ from the factory's", differ});
    }
    if (code == ERR_ok && proof->survey->faults == faults) {
        printf("%s to %s: the productions agree: %" PRId64 ", %" PRId64 " to come\n", proof->factory->name, proof->stock->name,
               proof->agreed, count_verdict(proof, TO_COME));
    }
    return code;
}

err
verify_compare_productions(struct verify_survey *survey, struct err_text *why)
{
    const struct verify_source *factory = verify_find(survey, "factory/0");
    err code = ERR_ok;
    for (size_t i = 0; factory != NULL && code == ERR_ok && i < survey->count; i++) {
        if (strcmp(survey->sources[i].proof->actor, "stock") != 0) {
            continue;
        }
        struct proof *proof = memory_new(1, sizeof *proof);
        proof->suspects.size = sizeof(struct twin);
        proof->survey = survey;
        proof->factory = factory;
        proof->stock = &survey->sources[i];
        code = prove_shard(proof, why);
        verify_suspects_fini(&proof->suspects);
        verify_names_fini(&proof->names);
        free(proof);
    }
    return code;
}
