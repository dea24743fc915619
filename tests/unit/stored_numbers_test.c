/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Numbers that stand in databases mean the same in every build.
 *
 * STATE     stored_numbers.def has every integer column of every schema with what it holds, and the values of each enum of which one
 *           stands in a database. A column that is not listed fails by its name, an enum's constant that is not listed does not
 *           compile (-Wswitch-enum), nor does one whose value is another.
 */
#include <criterion/criterion.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kit/actor.h"
#include "kit/peers/calls.h"
#include "command/run/command_process.h"
#include "dlq/letter/dlq_letter.h"
#include "dlq/replay/dlq_replay_store.h"
#include "dlq/search/dlq_zones.h"
#include "kit/durable/due_rows.h"
#include "kit/durable/fingerprint.h"
#include "kit/stream/inbox.h"
#include "kit/place/kit_schema.h"
#include "order/order_row.h"
#include "kit/peers/party.h"
#include "stock/stock_rules.h"
#include "user/user_state.h"

/* --- values --- */

#define STORED(name)
#define VALUE(constant, number) _Static_assert((constant) == (number), #constant " stands in databases as " #number);
#define SENTINEL(constant)
#define STORED_END
#define FIXED(constant, number) _Static_assert((constant) == (number), #constant " stands in databases as " #number);
#include "stored_numbers.def"

/* Only compiled: a constant of the enum that has no line is an error here. */
#define STORED(name)                                                 \
    __attribute__((unused)) static void list_##name(enum name value) \
    {                                                                \
        switch (value) {
#define VALUE(constant, number) case constant:
#define SENTINEL(constant) case constant:
#define STORED_END \
    break;         \
    }              \
    }
#include "stored_numbers.def"

/* What a column may hold. */
enum what {
    WHAT_number,
    WHAT_flag,
#define STORED(name) WHAT_##name,
#define VALUE(constant, number)
#define SENTINEL(constant)
#define STORED_END
#include "stored_numbers.def"
};

/* --- columns --- */

enum { NAME_SIZE = 32, COLUMNS_MAX = 512 };

struct column {
    char schema[NAME_SIZE];
    char table[NAME_SIZE];
    char name[NAME_SIZE];
};

static const struct {
    struct column column;
    enum what what; /* which has to be one that there is */
} listed[] = {
#define COLUMN(schema, table, column, what) {{#schema, #table, #column}, WHAT_##what},
#include "stored_numbers.def"
};

#define LISTED_COUNT (sizeof listed / sizeof listed[0])

static bool
is_same(const struct column *a, const struct column *b)
{
    return strcmp(a->schema, b->schema) == 0 && strcmp(a->table, b->table) == 0 && strcmp(a->name, b->name) == 0;
}

/* The word that ends before `end`. */
static void
word_before(const char *start, const char *end, char word[NAME_SIZE])
{
    while (end > start && end[-1] == ' ') {
        end--;
    }
    const char *first = end;
    while (first > start && (isalnum((unsigned char)first[-1]) || first[-1] == '_')) {
        first--;
    }
    (void)snprintf(word, NAME_SIZE, "%.*s", (int)(end - first), first);
}

/* The integer columns that a step makes; the table is the one that was named last behind TABLE. */
static size_t
read_step(const char *schema, const char *sql, struct column *columns, size_t count)
{
    char table[NAME_SIZE] = "";
    for (const char *at = sql; *at != '\0'; at++) {
        if (strncmp(at, "TABLE ", 6) == 0) {
            const char *name = strchr(at, '$');
            cr_assert(name != NULL, "%s", sql);
            (void)snprintf(table, sizeof table, "%.*s", (int)strspn(name + 1, "abcdefghijklmnopqrstuvwxyz_"), name + 1);
        } else if (strncmp(at, "{I64}", 5) == 0) {
            struct column column = {0};
            (void)snprintf(column.schema, sizeof column.schema, "%s", schema);
            (void)snprintf(column.table, sizeof column.table, "%s", table);
            word_before(sql, at, column.name);
            size_t i = 0;
            while (i < count && !is_same(&columns[i], &column)) {
                i++;
            }
            if (i == count) {
                cr_assert(count < COLUMNS_MAX);
                columns[count++] = column;
            }
        }
    }
    return count;
}

static size_t
read_schemas(struct column *columns)
{
    static const char *const actors[] = {"user", "product", "order", "payment", "stock", "sales", "factory", "dlq"};
    size_t count = 0;
    for (size_t i = 0; i < kit_step_count; i++) {
        count = read_step("kit", kit_steps[i].sql, columns, count);
    }
    for (size_t i = 0; i < sizeof actors / sizeof actors[0]; i++) {
        const struct actor_class *class = process_class(actors[i]);
        for (size_t k = 0; k < class->step_count; k++) {
            count = read_step(actors[i], class->steps[k].sql, columns, count);
        }
    }
    return count;
}

Test(stored_numbers, every_integer_column_says_what_it_holds)
{
    static struct column columns[COLUMNS_MAX];
    size_t count = read_schemas(columns);
    cr_expect(count > 100, "%zu columns", count);
    for (size_t i = 0; i < count; i++) {
        size_t k = 0;
        while (k < LISTED_COUNT && !is_same(&listed[k].column, &columns[i])) {
            k++;
        }
        cr_expect(k < LISTED_COUNT, "COLUMN(%s, %s, %s, ...) is missing in stored_numbers.def: is it a number, a flag or an enum?",
                  columns[i].schema, columns[i].table, columns[i].name);
    }
    for (size_t k = 0; k < LISTED_COUNT; k++) {
        size_t i = 0;
        while (i < count && !is_same(&listed[k].column, &columns[i])) {
            i++;
        }
        cr_expect(i < count, "no schema has %s.%s.%s any more", listed[k].column.schema, listed[k].column.table,
                  listed[k].column.name);
    }
}
