/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Proves that the copies of the menu, which sales and order keep in their own databases, are the menu.
 *
 *   The menu is read in one snapshot, then each copy in one of its own, side by side in the order of their SKUs. What differs is only
 * suspect: the shop may be open. It is looked at again, VERIFY_LOOKS_MAX times at most, the menu first and the copy after it: when the
 * copy's cursor has come to where the menu's stream ended then, it must have what the menu had, or something newer that the menu has
 * in the next round.
 *
 * STATE
 *   Reads only, what product_verify.h and menu.h give, and $shard, $cursor and $parked.
 *
 * FAILURES
 *   Each is a sentence that names the product. What a follower has not been told yet, or has parked, is counted and no fault.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command_verify.h"
#include "command_verify_comparison.h"
#include "product/product_verify.h"
#include "shared/menu.h"

#define RANGE 10000
#define MENU "product/0"

static const char *const followers[] = {"sales/0", "order/0"};

/* What a copy has of a product; `version` 0: nothing. */
struct entry {
    char name[513];
    char currency[4];
    int64_t amount;
    int64_t is_active;
    int64_t version;
};

struct suspect {
    enum verify_verdict verdict;
    char product[WIRE_NAME_MAX + 1];
    struct entry original; /* as the menu had it in this round */
    struct entry copy;
};

struct proof {
    const struct verify_source *menu;
    const struct verify_source *follower;
    struct verify_comparison comparison;
    int64_t products;
    int64_t head; /* of the menu's stream, in the menu's snapshot; how far the follower is, the comparison has heard */
};

/* One of two tables that are read side by side; `product` is empty at the end. */
struct side {
    struct db *db;
    struct db_statement *(*select)(struct db *db, struct slice product, int64_t most);
    struct db_statement *rows;
    char product[WIRE_NAME_MAX + 1];
    struct entry entry;
    int64_t read; /* of this range */
    bool is_over;
};

/* --- rows --- */

/* Columns: product, name, amount, currency, is_active, version. */
static struct entry
read_entry(struct db_statement *row)
{
    struct entry entry = {.amount = db_i64(row, 2), .is_active = db_i64(row, 4), .version = db_i64(row, 5)};
    verify_copy_text(entry.name, sizeof entry.name, db_bytes(row, 1));
    verify_copy_text(entry.currency, sizeof entry.currency, db_bytes(row, 3));
    return entry;
}

static bool
is_same(const struct entry *a, const struct entry *b)
{
    return a->version == b->version && a->amount == b->amount && a->is_active == b->is_active && strcmp(a->name, b->name) == 0 &&
           strcmp(a->currency, b->currency) == 0;
}

static err
side_next(struct side *side)
{
    if (side->is_over) {
        return ERR_ok;
    }
    if (side->read == RANGE) { /* at the start of a range */
        side->rows = side->select(side->db, slice_of(side->product), RANGE);
        err code = db_query(side->rows);
        if (code != ERR_ok) {
            return code;
        }
        side->read = 0;
    }
    if (!db_next(side->rows)) {
        side->is_over = true;
        return ERR_ok;
    }
    side->read++;
    verify_copy_text(side->product, sizeof side->product, db_bytes(side->rows, 0));
    side->entry = read_entry(side->rows);
    return ERR_ok;
}

/* --- the first look --- */

static err
read_sides(struct proof *proof)
{
    struct side menu = {.db = proof->menu->db, .select = product_select_behind, .read = RANGE};
    struct side copy = {.db = proof->follower->db, .select = menu_select_behind, .read = RANGE};
    err code = side_next(&menu);
    code = code == ERR_ok ? side_next(&copy) : code;
    while (code == ERR_ok && !(menu.is_over && copy.is_over)) {
        int order = menu.is_over ? 1 : copy.is_over ? -1 : strcmp(menu.product, copy.product);
        proof->products += order <= 0 ? 1 : 0;
        if (order != 0 || !is_same(&menu.entry, &copy.entry)) {
            struct suspect found = {.verdict = VERIFY_DIFFERS};
            memcpy(found.product, order <= 0 ? menu.product : copy.product, sizeof found.product);
            verify_suspect(&proof->comparison, &found);
        }
        if (order <= 0) {
            code = side_next(&menu);
        }
        if (code == ERR_ok && order >= 0) {
            code = side_next(&copy);
        }
    }
    return code;
}

/* --- the next looks --- */

/* What the menu, or a copy of it, has of the suspects. */
static err
read_entries(struct db_in *in, struct suspect *suspects, size_t count, bool are_copies)
{
    for (size_t i = 0; i < count; i++) {
        *(are_copies ? &suspects[i].copy : &suspects[i].original) = (struct entry){0};
        db_in_text(in, slice_of(suspects[i].product));
    }
    for (struct db_statement *row = db_in_next(in); row != NULL; row = db_in_next(in)) {
        for (size_t i = 0; i < count; i++) {
            if (slice_equal(db_bytes(row, 0), slice_of(suspects[i].product))) {
                *(are_copies ? &suspects[i].copy : &suspects[i].original) = read_entry(row);
            }
        }
    }
    return db_in_end(in);
}

/* Whether the menu has something that the follower has been told of, and that is not in its copy. */
static err
judge(const struct proof *proof, struct suspect *found)
{
    bool is_parked = false;
    bool is_older = found->copy.version < found->original.version;
    err code = is_older ? verify_is_parked(proof->follower, slice_of(found->product), &is_parked) : ERR_ok;
    if (is_same(&found->original, &found->copy)) {
        found->verdict = VERIFY_AGREES;
    } else if (is_older && (proof->comparison.heard < proof->head || is_parked)) {
        found->verdict = VERIFY_TO_COME;
    } else {
        found->verdict = VERIFY_DIFFERS;
    }
    return code;
}

static err
look_again(void *context, void *suspects, size_t count, struct err_text *why)
{
    struct proof *proof = context;
    err code = verify_read_head(proof->menu, &proof->head);
    code = code == ERR_ok ? read_entries(product_select(proof->menu->db), suspects, count, false) : code;
    code = verify_end_snapshot(proof->menu, code, why);
    if (code != ERR_ok) {
        return code;
    }
    code = verify_read_cursor(proof->follower, MENU, &proof->comparison.heard);
    code = code == ERR_ok ? read_entries(menu_select(proof->follower->db), suspects, count, true) : code;
    for (size_t i = 0; code == ERR_ok && i < count; i++) {
        code = judge(proof, (struct suspect *)suspects + i);
    }
    return verify_end_snapshot(proof->follower, code, why);
}

/* --- what came out --- */

static void
tell(void *context, const void *told)
{
    const struct proof *proof = context;
    struct verify_survey *survey = proof->comparison.survey;
    const struct suspect *found = told;
    const struct entry *menu = &found->original;
    const struct entry *copy = &found->copy;
    if (menu->version == 0) {
        verify_fault(survey, proof->follower->name, "%s: the copy of the menu has it, but it is not on the menu", found->product);
    } else if (copy->version == 0) {
        verify_fault(survey, proof->follower->name, "%s: it is on the menu, and its event was applied, but the copy does not have it",
                     found->product);
    } else {
        verify_fault(
            survey, proof->follower->name,
            "%s: the copy of the menu has version %lld, \"%.64s\", %lld %s, %s; the menu has version %lld, \"%.64s\", %lld %s, %s",
            found->product, (long long)copy->version, copy->name, (long long)copy->amount, copy->currency,
            copy->is_active != 0 ? "for sale" : "not for sale", (long long)menu->version, menu->name, (long long)menu->amount,
            menu->currency, menu->is_active != 0 ? "for sale" : "not for sale");
    }
}

static err
compare(struct proof *proof, struct err_text *why)
{
    err code = read_sides(proof);
    code = verify_unread(proof->menu, code, why);
    db_rollback(proof->menu->db);
    db_rollback(proof->follower->db);
    code = code == ERR_ok ? verify_conclude(&proof->comparison, why) : code;
    if (code == ERR_ok && verify_count_verdict(&proof->comparison, VERIFY_DIFFERS) == 0) {
        int64_t to_come = verify_count_verdict(&proof->comparison, VERIFY_TO_COME) + proof->comparison.not_looked_at;
        printf("%s to %s: the copy of the menu agrees: %lld products, %lld to come\n", proof->menu->name, proof->follower->name,
               (long long)proof->products, (long long)to_come);
    }
    verify_comparison_fini(&proof->comparison);
    return code;
}

err
verify_compare_menus(struct verify_survey *survey, struct err_text *why)
{
    const struct verify_source *menu = verify_find(survey, MENU);
    err code = ERR_ok;
    for (size_t i = 0; menu != NULL && code == ERR_ok && i < sizeof followers / sizeof followers[0]; i++) {
        struct proof proof = {.menu = menu, .follower = verify_find(survey, followers[i])};
        proof.comparison = (struct verify_comparison){
            .survey = survey,
            .place = followers[i],
            .rest = "products differ from the menu",
            .size = sizeof(struct suspect),
            .looks_max = VERIFY_LOOKS_MAX,
            .look_again = look_again,
            .tell = tell,
            .context = &proof,
            .heard = -1,
        };
        code = proof.follower == NULL ? ERR_ok : compare(&proof, why);
    }
    return code;
}
