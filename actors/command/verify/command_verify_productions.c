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
 *   Reads only, what factory_verify.h, stock_verify.h and dlq_verify.h give, and $shard, $cursor and $parked.
 *
 * FAILURES
 *   Each is a sentence that names the product and the number of the production. What stock has not heard yet, or cannot apply, or
 *   somebody has discarded, is no fault; units that an operator has edited are what he has said.
 *
 * LIMITS
 *   Productions that the factory does not have are all told.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command_verify.h"
#include "command_verify_comparison.h"
#include "command_verify_names.h"
#include "dlq/dlq_verify.h"
#include "factory/factory_verify.h"
#include "kit/base/memory.h"
#include "stock/stock_verify.h"
#include "wire.h"

#define FACTORY "factory/0"

/* What one of them has of a production; `state` is 0 when it has nothing. */
struct side {
    char product[WIRE_NAME_MAX + 1];
    int64_t quantity;
    char state; /* o: open, p: produced, f: failed */
};

struct twin {
    enum verify_verdict verdict;
    struct id id;
    int64_t n; /* in the factory */
    struct side factory;
    struct side stock;
};

struct proof {
    struct verify_survey *survey;
    const struct verify_source *factory;
    const struct verify_source *stock;
    struct twin twins[VERIFY_CHUNK]; /* of the first look */
    struct twin *chunk;              /* what is looked at together */
    size_t count;
    struct verify_names names; /* of the chunk */
    struct verify_comparison comparison;
    int64_t head;      /* of the factory's stream, in the factory's snapshot */
    int64_t cursor;    /* of stock in it, in stock's snapshot */
    int64_t discarded; /* events of the factory that stock was told to forget */
    int64_t agreed;
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
read_sides(struct proof *proof, struct db_in *in, bool is_factory)
{
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
        }
    }
    return db_in_end(in);
}

static err
read_factory(struct proof *proof)
{
    return read_sides(proof, factory_select(proof->factory->db), true);
}

static err
read_stock(struct proof *proof)
{
    err code = verify_read_cursor(proof->stock, FACTORY, &proof->cursor);
    if (code == ERR_ok) {
        code = verify_read_number(db_statement(proof->stock->db, "SELECT discarded FROM $cursor WHERE source = '" FACTORY "'"),
                                  &proof->discarded);
    }
    return code == ERR_ok ? read_sides(proof, stock_select_productions(proof->stock->db), false) : code;
}

/* --- judging --- */

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
        dlq_select_edits(proof->survey->dlq->db, slice_of(proof->stock->name), slice_of(twin->factory.product));
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
    bool is_same = stock->state == 0 || (stock->quantity == factory->quantity && strcmp(stock->product, factory->product) == 0);
    twin->verdict = is_same && stock->state == factory->state ? VERIFY_AGREES : VERIFY_DIFFERS;
    if (twin->verdict == VERIFY_AGREES) {
        return ERR_ok;
    }
    if (!is_same) {
        code = is_edited(proof, twin, &is_excused);
        is_excused = is_excused && strcmp(stock->product, factory->product) == 0;
        twin->verdict = is_excused ? VERIFY_AGREES : VERIFY_DIFFERS;
    } else if (stock->state == 0 || stock->state == 'o') {
        code = verify_is_parked(proof->stock, slice_of(factory->product), &is_excused);
        twin->verdict = is_excused || proof->discarded > 0 || proof->cursor < proof->head ? VERIFY_TO_COME : VERIFY_DIFFERS;
    }
    return code;
}

/* --- the looks --- */

/* A page of the factory's, as far as they are of the shard's products; `after` is where it ends. */
static err
read_page(struct proof *proof, int64_t *after, bool *has_more)
{
    int64_t seen = 0;
    err code = verify_read_head(proof->factory, &proof->head);
    struct db_statement *rows = factory_select_behind(proof->factory->db, *after, VERIFY_CHUNK);
    code = code == ERR_ok ? db_query(rows) : code;
    for (proof->count = 0; code == ERR_ok && db_next(rows); seen++) {
        *after = db_i64(rows, 4);
        if (wire_shard_of(db_bytes(rows, 1), proof->stock->of) == proof->stock->shard) {
            proof->chunk[proof->count++] = (struct twin){.id = db_id(rows, 0), .n = *after, .factory = read_side(rows, 1)};
        }
    }
    *has_more = seen == VERIFY_CHUNK;
    return code;
}

static err
judge_chunk(struct proof *proof)
{
    err code = ERR_ok;
    for (size_t i = 0; code == ERR_ok && i < proof->count; i++) {
        code = judge(proof, &proof->chunk[i]);
    }
    return code;
}

static void
settle(void *context, const void *twin)
{
    struct proof *proof = context;
    (void)twin;
    proof->agreed++;
}

/* Each of the factory's, the factory first. */
static err
look_first(struct proof *proof, struct err_text *why)
{
    int64_t after = 0;
    err code = ERR_ok;
    for (bool has_more = true; code == ERR_ok && has_more;) {
        code = read_page(proof, &after, &has_more);
        code = verify_unread(proof->factory, code, why);
        if (code == ERR_ok) {
            code = read_stock(proof);
            code = code == ERR_ok ? judge_chunk(proof) : code;
            code = verify_unread(proof->stock, code, why);
        }
        for (size_t i = 0; code == ERR_ok && i < proof->count; i++) {
            if (proof->chunk[i].verdict == VERIFY_AGREES) {
                proof->agreed++;
            } else {
                verify_suspect(&proof->comparison, &proof->chunk[i]);
            }
        }
    }
    db_rollback(proof->factory->db);
    db_rollback(proof->stock->db);
    return code;
}

static err
look_again(void *context, void *suspects, size_t count, struct err_text *why)
{
    struct proof *proof = context;
    proof->chunk = suspects;
    proof->count = count;
    err code = verify_read_head(proof->factory, &proof->head);
    code = verify_end_snapshot(proof->factory, code == ERR_ok ? read_factory(proof) : code, why);
    if (code == ERR_ok) {
        code = read_stock(proof);
        code = verify_end_snapshot(proof->stock, code == ERR_ok ? judge_chunk(proof) : code, why);
    }
    return code;
}

/* Each of stock's is the factory's. Stock first: those that the factory lacks then it never had. */
static err
look_for_strangers(struct proof *proof, struct err_text *why)
{
    struct id after = {{0}};
    err code = ERR_ok;
    for (proof->count = VERIFY_CHUNK; code == ERR_ok && proof->count == VERIFY_CHUNK;) {
        struct db_statement *rows = stock_select_productions_behind(proof->stock->db, &after, VERIFY_CHUNK);
        code = db_query(rows);
        for (proof->count = 0; code == ERR_ok && db_next(rows); proof->count++) {
            after = db_id(rows, 0);
            proof->chunk[proof->count] = (struct twin){.id = after, .stock = read_side(rows, 1)};
        }
        code = verify_end_snapshot(proof->stock, code, why);
        code = code == ERR_ok ? verify_end_snapshot(proof->factory, read_factory(proof), why) : code;
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
tell(void *context, const void *told)
{
    const struct proof *proof = context;
    const struct twin *twin = told;
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
    code = code == ERR_ok ? verify_conclude(&proof->comparison, why) : code;
    if (code == ERR_ok && proof->survey->faults == faults) {
        printf("%s to %s: the productions agree: %" PRId64 ", %" PRId64 " to come\n", proof->factory->name, proof->stock->name,
               proof->agreed, verify_count_verdict(&proof->comparison, VERIFY_TO_COME));
    }
    return code;
}

err
verify_compare_productions(struct verify_survey *survey, struct err_text *why)
{
    const struct verify_source *factory = verify_find(survey, FACTORY);
    err code = ERR_ok;
    for (size_t i = 0; factory != NULL && code == ERR_ok && i < survey->count; i++) {
        if (strcmp(survey->sources[i].proof->actor, "stock") != 0) {
            continue;
        }
        struct proof *proof = memory_new(1, sizeof *proof);
        proof->survey = survey;
        proof->factory = factory;
        proof->stock = &survey->sources[i];
        proof->chunk = proof->twins;
        proof->comparison = (struct verify_comparison){
            .survey = survey,
            .place = proof->stock->name,
            .rest = "productions differ from the factory's",
            .size = sizeof(struct twin),
            .looks_max = VERIFY_LOOKS_MAX,
            .look_again = look_again,
            .settle = settle,
            .tell = tell,
            .context = proof,
        };
        code = prove_shard(proof, why);
        verify_comparison_fini(&proof->comparison);
        verify_names_fini(&proof->names);
        free(proof);
    }
    return code;
}
