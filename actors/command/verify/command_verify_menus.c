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
 *   Reads only: $product and $shard of product; $card, $cursor and $parked of its followers.
 *
 * FAILURES
 *   Each is a sentence that names the product. What a follower has not been told yet, or has parked, is counted and no fault.
 *
 * LIMITS
 *   Of each copy the first VERIFY_TOLD_MAX faults are told, all are counted. Of what differs VERIFY_SUSPECTS_MAX are looked at
 *   again; how many more there were is said, and is a fault when one of these is.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command_verify.h"
#include "command_verify_looks.h"

#define RANGE 10000
#define COPIED "name, amount, currency, is_active, version"

static const char *const followers[] = {"sales/0", "order/0"};

/* What a copy has of a product; `version` 0: nothing. */
struct entry {
    char name[513];
    char currency[4];
    int64_t amount;
    int64_t is_active;
    int64_t version;
};

enum verdict { AGREES, TO_COME, DIFFERS };

struct suspect {
    char product[WIRE_NAME_MAX + 1];
    struct entry original; /* as the menu had it in this round */
    struct entry copy;
    enum verdict verdict;
};

struct comparison {
    const struct verify_source *menu;
    const struct verify_source *follower;
    struct verify_suspects suspects;
    int64_t products;
    int64_t head;          /* of the menu's stream, in the menu's snapshot */
    int64_t cursor;        /* of the follower, in its snapshot */
    int64_t cursor_before; /* in the look before; -1: this is the first */
};

/* One of two tables that are read side by side; `product` is empty at the end. */
struct side {
    struct db_statement *rows;
    char product[WIRE_NAME_MAX + 1];
    struct entry entry;
    int64_t read; /* of this range */
    bool is_over;
};

/* --- rows --- */

/* The columns COPIED, from `first` on. */
static struct entry
read_entry(struct db_statement *row, int first)
{
    struct entry entry = {.amount = db_i64(row, first + 1), .is_active = db_i64(row, first + 3), .version = db_i64(row, first + 4)};
    verify_copy_text(entry.name, sizeof entry.name, db_bytes(row, first));
    verify_copy_text(entry.currency, sizeof entry.currency, db_bytes(row, first + 2));
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
        db_bind_text(side->rows, slice_of(side->product));
        db_bind_i64(side->rows, RANGE);
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
    side->entry = read_entry(side->rows, 1);
    return ERR_ok;
}

static err
side_first(struct side *side, struct db *db, const char *sql)
{
    *side = (struct side){.rows = db_statement(db, sql), .read = RANGE};
    return side_next(side);
}

/* --- the first look --- */

static err
read_sides(struct comparison *comparison)
{
    struct side menu;
    struct side copy;
    err code =
        side_first(&menu, comparison->menu->db, "SELECT product, " COPIED " FROM $product WHERE product > ? ORDER BY product LIMIT ?");
    if (code == ERR_ok) {
        code = side_first(&copy, comparison->follower->db,
                          "SELECT product, " COPIED " FROM $card WHERE product > ? ORDER BY product LIMIT ?");
    }
    while (code == ERR_ok && !(menu.is_over && copy.is_over)) {
        int order = menu.is_over ? 1 : copy.is_over ? -1 : strcmp(menu.product, copy.product);
        comparison->products += order <= 0 ? 1 : 0;
        if (order != 0 || !is_same(&menu.entry, &copy.entry)) {
            struct suspect found = {.verdict = DIFFERS};
            (void)snprintf(found.product, sizeof found.product, "%s", order <= 0 ? menu.product : copy.product);
            verify_suspect(&comparison->suspects, &found);
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

static err
read_one(struct db *db, const char *sql, const char *product, struct entry *entry)
{
    struct db_statement *read = db_statement(db, sql);
    db_bind_text(read, slice_of(product));
    err code = db_query(read);
    *entry = (struct entry){0};
    if (code == ERR_ok && db_next(read)) {
        *entry = read_entry(read, 0);
    }
    db_done(read);
    return code;
}

static err
read_menu(struct comparison *comparison)
{
    struct db *db = comparison->menu->db;
    struct db_statement *head = db_statement(db, "SELECT seq FROM $shard WHERE shard = 0");
    err code = verify_read_number(head, &comparison->head);
    struct suspect *suspects = comparison->suspects.all;
    for (size_t i = 0; code == ERR_ok && i < comparison->suspects.count; i++) {
        struct suspect *found = &suspects[i];
        code = read_one(db, "SELECT " COPIED " FROM $product WHERE product = ?", found->product, &found->original);
    }
    return code;
}

/* Whether the menu has something that the follower has been told of, and that is not in its copy. */
static err
judge(const struct comparison *comparison, struct suspect *found)
{
    int64_t parked = 0;
    const struct entry *menu = &found->original;
    const struct entry *copy = &found->copy;
    err code = read_one(comparison->follower->db, "SELECT " COPIED " FROM $card WHERE product = ?", found->product, &found->copy);
    if (code == ERR_ok && copy->version < menu->version) {
        struct db_statement *read = db_statement(comparison->follower->db, "SELECT COUNT(*) FROM $parked WHERE event_key = ?");
        db_bind_text(read, slice_of(found->product));
        code = verify_read_number(read, &parked);
    }
    if (is_same(menu, copy)) {
        found->verdict = AGREES;
    } else if (copy->version < menu->version && (comparison->cursor < comparison->head || parked > 0)) {
        found->verdict = TO_COME;
    } else {
        found->verdict = DIFFERS;
    }
    return code;
}

static err
read_copies(struct comparison *comparison)
{
    struct db_statement *read = db_statement(comparison->follower->db, "SELECT position FROM $cursor WHERE source = ?");
    db_bind_text(read, slice_of(comparison->menu->name));
    comparison->cursor_before = comparison->cursor;
    err code = verify_read_number(read, &comparison->cursor);
    struct suspect *suspects = comparison->suspects.all;
    size_t left = 0;
    for (size_t i = 0; code == ERR_ok && i < comparison->suspects.count; i++) {
        code = judge(comparison, &suspects[i]);
        if (suspects[i].verdict != AGREES) {
            suspects[left++] = suspects[i];
        }
    }
    comparison->suspects.count = code == ERR_ok ? left : comparison->suspects.count;
    return code;
}

static int64_t
count_verdict(const struct comparison *comparison, enum verdict verdict)
{
    const struct suspect *suspects = comparison->suspects.all;
    int64_t count = 0;
    for (size_t i = 0; i < comparison->suspects.count; i++) {
        count += suspects[i].verdict == verdict ? 1 : 0;
    }
    return count;
}

static err
look_again(void *context, struct err_text *why)
{
    struct comparison *comparison = context;
    err code = verify_end_snapshot(comparison->menu, read_menu(comparison), why);
    return code == ERR_ok ? verify_end_snapshot(comparison->follower, read_copies(comparison), why) : code;
}

/* Until nothing is suspect, or what is left waits for a follower that does not move. */
static bool
is_in_doubt(void *context)
{
    const struct comparison *comparison = context;
    bool has_moved = comparison->cursor != comparison->cursor_before;
    return comparison->suspects.count > 0 && (count_verdict(comparison, DIFFERS) > 0 || has_moved);
}

/* --- what came out --- */

static void
tell(struct verify_survey *survey, const struct comparison *comparison, const struct suspect *found)
{
    const struct entry *menu = &found->original;
    const struct entry *copy = &found->copy;
    if (menu->version == 0) {
        verify_fault(survey, comparison->follower->name, "%s: the copy of the menu has it, but it is not on the menu", found->product);
    } else if (copy->version == 0) {
        verify_fault(survey, comparison->follower->name,
                     "%s: it is on the menu, and its event was applied, but the copy does not have it", found->product);
    } else {
        verify_fault(
            survey, comparison->follower->name,
            "%s: the copy of the menu has version %lld, \"%.64s\", %lld %s, %s; the menu has version %lld, \"%.64s\", %lld %s, %s",
            found->product, (long long)copy->version, copy->name, (long long)copy->amount, copy->currency,
            copy->is_active != 0 ? "for sale" : "not for sale", (long long)menu->version, menu->name, (long long)menu->amount,
            menu->currency, menu->is_active != 0 ? "for sale" : "not for sale");
    }
}

static void
tell_all(struct verify_survey *survey, const struct comparison *comparison)
{
    const struct suspect *suspects = comparison->suspects.all;
    int64_t differ = 0;
    for (size_t i = 0; i < comparison->suspects.count; i++) {
        if (suspects[i].verdict == DIFFERS && ++differ <= VERIFY_TOLD_MAX) {
            tell(survey, comparison, &suspects[i]);
        }
    }
    survey->faults += differ > VERIFY_TOLD_MAX ? differ - VERIFY_TOLD_MAX : 0;
    verify_suspects_say_rest(&comparison->suspects, survey,
                             &(struct verify_rest){comparison->follower->name, "products differ from the menu", differ});
    if (differ == 0) {
        int64_t to_come = count_verdict(comparison, TO_COME) + comparison->suspects.not_looked_at;
        printf("%s to %s: the copy of the menu agrees: %lld products, %lld to come\n", comparison->menu->name,
               comparison->follower->name, (long long)comparison->products, (long long)to_come);
    }
}

err
verify_compare_menus(struct verify_survey *survey, struct err_text *why)
{
    const struct verify_source *menu = verify_find(survey, "product/0");
    err code = ERR_ok;
    for (size_t i = 0; menu != NULL && code == ERR_ok && i < sizeof followers / sizeof followers[0]; i++) {
        struct comparison comparison = {
            .menu = menu, .follower = verify_find(survey, followers[i]), .cursor = -1, .cursor_before = -2};
        comparison.suspects.size = sizeof(struct suspect);
        if (comparison.follower == NULL) {
            continue;
        }
        code = read_sides(&comparison);
        code = code == ERR_ok ? ERR_ok : verify_unread(menu, code, why);
        db_rollback(menu->db);
        db_rollback(comparison.follower->db);
        if (code == ERR_ok) {
            code = verify_look_again(survey, &(struct verify_looks){VERIFY_LOOKS_MAX, is_in_doubt, look_again, &comparison}, why);
        }
        if (code == ERR_ok) {
            tell_all(survey, &comparison);
        }
        verify_suspects_fini(&comparison.suspects);
    }
    return code;
}
