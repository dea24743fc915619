/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   product.load: many products as rows of a file have them. Rows are judged one by one; what is wrong with one is said of it alone.
 *   Of several good rows about one product in a message the last one counts, the others change nothing: so a product that a message
 *   changes has one new version and one event, and a message that comes again finds everything as it says, and changes nothing.
 *
 * FAILURES
 *   A refused row leaves its product alone. With dry_run nothing is changed, and the answer is what it would have been.
 *
 * LIMITS
 *   1,000 rows. No answer is kept for a message that is asked again: its rows are compared with what there is.
 */
#include "product_state.h"

/* One row, read and judged. */
struct judged {
    struct wire_product_row row;
    struct product_said said;
    struct product_entry *entry; /* NULL: refused */
    struct err_text why;
};

static void
judge(struct product_actor *product, struct judged *judged)
{
    const struct wire_product_row *row = &judged->row;
    struct batch *batch = product->batch;
    judged->entry = NULL;
    judged->said = (struct product_said){
        .product = row->product,
        .name = row->name,
        .category = row->category,
        .currency = row->currency,
        .amount = row->amount,
        .is_active = !WIRE_HAS(row, product_row, active) || row->active,
    };
    if (WIRE_HAS(row, product_row, description)) {
        judged->said.description = row->description;
    }
    if (WIRE_HAS(row, product_row, images)) {
        char *images = batch_alloc(batch, row->images.size + 1);
        judged->said.images = (struct slice){(const uint8_t *)images, product_join_images(row->images, images)};
    }
    if (product_check(&judged->said, &judged->why) != ERR_ok) {
        return;
    }
    if (product_find_part(product, row->category) == NULL) {
        (void)err_say(&judged->why, ERR_unknown_category, "category: there is no %.*s", (int)row->category.size,
                      (const char *)row->category.data);
        return;
    }
    judged->entry = product_cards_get(&product->cards, row->product);
}

/* "created", "changed" or "unchanged"; makes it so unless it is only asked for. */
static const char *
apply(struct product_actor *product, const struct item *item, struct judged *judged, size_t number)
{
    struct product_entry *entry = judged->entry;
    bool is_dry = WIRE_HAS((const struct wire_product_load *)item->body, product_load, dry_run) &&
                  ((const struct wire_product_load *)item->body)->dry_run;
    const struct product_record *before = entry->now;
    if (entry->row != number || (before != NULL && product_is_same(&before->said, &judged->said))) {
        return "unchanged";
    }
    if (!is_dry) {
        product_change(product, item, entry, &judged->said);
    }
    return before == NULL ? "created" : "changed";
}

static void
add_result(struct product_actor *product, struct wire_product_loaded *loaded, const struct judged *judged,
           struct wire_product_result *result)
{
    WIRE_SET(result, product_result, product, judged->row.product);
    if (judged->entry == NULL) {
        WIRE_SET(result, product_result, error, slice_of(judged->why.text));
    }
    wire_list_add(&loaded->results, &product_result_body, result, &product->list);
    int64_t *count = &loaded->refused;
    if (judged->entry != NULL) {
        bool is_created = slice_equal(result->outcome, slice_of("created"));
        bool is_changed = slice_equal(result->outcome, slice_of("changed"));
        count = is_created ? &loaded->created : is_changed ? &loaded->changed : &loaded->unchanged;
    }
    (*count)++;
}

err
product_handle_load(void *state, struct item *item)
{
    struct product_actor *product = state;
    const struct wire_product_load *load = item->body;
    struct batch *batch = product->batch;
    struct wire_list rows = load->rows;
    struct judged *judged = batch_alloc(batch, (rows.count + 1) * sizeof *judged);
    struct wire_product_loaded loaded = {0};
    size_t count = 0;
    for (; wire_list_next(&rows, &product_row_body, &judged[count].row); count++) {
        judge(product, &judged[count]);
        if (judged[count].entry != NULL) {
            judged[count].entry->row = count + 1;
        }
    }
    WIRE_SET(&loaded, product_loaded, results, (struct wire_list){0});
    WIRE_SET(&loaded, product_loaded, created, 0);
    WIRE_SET(&loaded, product_loaded, changed, 0);
    WIRE_SET(&loaded, product_loaded, unchanged, 0);
    WIRE_SET(&loaded, product_loaded, refused, 0);
    product->list.size = 0;
    for (size_t i = 0; i < count; i++) {
        struct wire_product_result result = {0};
        const char *outcome = judged[i].entry == NULL ? "refused" : apply(product, item, &judged[i], i + 1);
        WIRE_SET(&result, product_result, row, (int64_t)i + 1);
        WIRE_SET(&result, product_result, outcome, slice_of(outcome));
        add_result(product, &loaded, &judged[i], &result);
    }
    wire_list_end(&loaded.results, &product->list);
    item_answer(batch, item, &loaded);
    return ERR_ok;
}
