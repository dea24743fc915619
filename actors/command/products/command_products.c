/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   `larder products`, and its part `list`: the menu as it is, for a person, for a program, or as the file that `load` takes.
 *
 * MESSAGES
 *   product.list.
 *
 * FAILURES
 *   Refusals and silence end with EXIT_REFUSED and a sentence on standard error. What was printed before stays printed.
 *
 * LIMITS
 *   Read in pages of PAGE products; each is a table of its own, so columns may shift between pages. A product that is changed
 *   meanwhile is shown as it is when its page is read.
 */
#include "command_products.h"

#include <inttypes.h>

#include "command/command_client.h"
#include "command/command_table.h"
#include "csv.h"
#include "json.h"
#include "larder.h"
#include "command/text_table.h"

#define PAGE 500
#define TIMEOUT_MS_MAX 600000
#define NAME_SIZE 65

enum shape { AS_TABLE, AS_JSON, AS_CSV };

struct listing {
    enum shape shape;
    int64_t timeout_ms;
    const char *category;
    int64_t shown;
};

static const struct text_column columns[] = {
    {"PRODUCT", false},  {"CATEGORY", false}, {"AMOUNT", true}, {"CURRENCY", false},
    {"FOR SALE", false}, {"VERSION", true},   {"NAME", false},
};

static void
add_row(struct text_table *table, const struct wire_product_card *card)
{
    text_table_add(table, card->product);
    text_table_add(table, card->category);
    text_table_add_number(table, card->price.amount);
    text_table_add(table, card->price.currency);
    text_table_add(table, slice_of(card->active ? "yes" : "no"));
    text_table_add_number(table, card->version);
    text_table_add(table, card->name);
}

/* The columns of `larder products load`, in its order. */
static void
add_record(struct wire_buffer *out, const struct wire_product_card *card)
{
    char amount[24];
    struct wire_buffer images = {0};
    struct wire_list list = card->images;
    struct wire_product_image image;
    (void)snprintf(amount, sizeof amount, "%" PRId64, card->price.amount);
    while (WIRE_HAS(card, product_card, images) && wire_list_next(&list, &product_image_body, &image)) {
        wire_buffer_append(&images, " ", images.size > 0 ? 1 : 0);
        wire_buffer_append(&images, image.url.data, image.url.size);
    }
    csv_write(card->product, out);
    csv_write(card->name, out);
    csv_write(WIRE_HAS(card, product_card, description) ? card->description : slice_of(""), out);
    csv_write(card->category, out);
    csv_write(slice_of(amount), out);
    csv_write(card->price.currency, out);
    csv_write(wire_buffer_slice(&images), out);
    wire_buffer_append(out, card->active ? "true\n" : "false\n", card->active ? 5 : 6);
    wire_buffer_fini(&images);
}

static void
show_start(const struct listing *listing)
{
    if (listing->shape == AS_JSON) {
        fputs("{\"data\":[", stdout);
    } else if (listing->shape == AS_CSV) {
        puts("product,name,description,category,amount,currency,images,active");
    }
}

/* Shows a page; `last` becomes its last product. */
static void
show_page(struct listing *listing, struct wire_list list, char last[NAME_SIZE])
{
    struct wire_product_card card;
    struct text_table table = {0};
    struct wire_buffer out = {0};
    bool is_table = listing->shape == AS_TABLE && list.count > 0;
    if (is_table) {
        text_table_begin(&table, columns, sizeof columns / sizeof columns[0]);
    }
    for (; wire_list_next(&list, &product_card_body, &card); listing->shown++) {
        (void)snprintf(last, NAME_SIZE, "%.*s", (int)card.product.size, (const char *)card.product.data);
        if (is_table) {
            add_row(&table, &card);
        } else if (listing->shape == AS_CSV) {
            add_record(&out, &card);
        } else {
            wire_buffer_append(&out, ",", listing->shown > 0 ? 1 : 0);
            json_write(&product_card_body, &card, &out);
        }
    }
    if (is_table) {
        text_table_print(&table, stdout, text_width(stdout));
    }
    text_write(stdout, wire_buffer_slice(&out));
    wire_buffer_fini(&out);
}

static err
list_products(struct listing *listing, struct larder_client *client, struct err_text *why)
{
    struct larder_options options = {.timeout_ms = listing->timeout_ms};
    struct wire_product_list body = {0};
    struct wire_product_page page = {.has_more = true};
    char last[NAME_SIZE] = "";
    WIRE_SET(&body, product_list, limit, PAGE);
    if (listing->category != NULL) {
        WIRE_SET(&body, product_list, category, slice_of(listing->category));
    }
    for (bool is_first = true; page.has_more; is_first = false) {
        if (!is_first) {
            WIRE_SET(&body, product_list, after, slice_of(last));
        }
        err code = product_client_list(client, &options, &body, &page, why);
        if (code != ERR_ok) {
            return code;
        }
        if (is_first) {
            show_start(listing);
        }
        page.has_more = page.has_more && page.products.count > 0;
        show_page(listing, page.products, last);
    }
    if (listing->shape == AS_JSON) {
        puts("],\"has_more\":false}");
    } else if (listing->shape == AS_TABLE && listing->shown == 0) {
        puts("no products");
    }
    return ERR_ok;
}

static err
take_listing(struct command_line *line, struct listing *listing, struct err_text *why)
{
    bool is_json = false;
    bool is_csv = false;
    const struct command_option options[] = {
        {"--json", .is_there = &is_json},
        {"--csv", .is_there = &is_csv},
        {"--category", .text = &listing->category},
        {"--timeout-ms", .number = &listing->timeout_ms, .lo = 1, .hi = TIMEOUT_MS_MAX},
        {0},
    };
    err code = command_take(line, options, why);
    listing->shape = is_csv ? AS_CSV : is_json ? AS_JSON : AS_TABLE;
    if (is_json && is_csv) {
        return err_say(why, ERR_wrong_setting, "--csv: not together with --json");
    }
    if (code == ERR_ok) {
        code = command_rest(line, 0, 0, why);
    }
    if (code == ERR_ok && listing->category != NULL &&
        (strlen(listing->category) > 32 || !wire_is_name(slice_of(listing->category)))) {
        code = err_say(why, ERR_wrong_setting, "--category: \"%.40s\" is no short name of a category", listing->category);
    }
    return code;
}

static enum exit_status
list_run(struct command_line *line)
{
    struct listing listing = {.timeout_ms = LARDER_TIMEOUT_MS};
    struct larder_client *client = NULL;
    struct err_text why;
    int shards = 0;
    err code = take_listing(line, &listing, &why);
    if (code == ERR_ok) {
        code = command_client_create(&(struct command_peers){.settings = &line->settings, .actor = "product"}, &client, &shards, &why);
    }
    if (code != ERR_ok) {
        return command_complain(line, code, &why);
    }
    code = list_products(&listing, client, &why);
    larder_client_destroy(&client);
    if (code != ERR_ok) {
        (void)command_complain(line, ERR_internal, &why);
        return EXIT_REFUSED;
    }
    return EXIT_DONE;
}

const struct command products_list_command = {
    .name = "list",
    .arguments = "[--category CATEGORY] [--json | --csv]",
    .summary = "show the menu, ordered by SKU",
    .help = "--json prints {\"data\":[...],\"has_more\":false}, --csv the file that `larder products load` takes.\n"
            "--timeout-ms N (5000): how long each page is waited for. Settings: --host, --base-port.\n"
            "\n"
            "Exit status: 0 done, 2 something given is wrong, 4 refused or not answered.\n"
            "\n"
            "  larder products list --category dessert\n"
            "  larder products list --csv > menu.csv\n",
    .run = list_run,
};

static const struct command *const parts[] = {&products_load_command, &products_list_command, NULL};

const struct command products_command = {
    .name = "products",
    .arguments = "COMMAND",
    .summary = "load the menu from a file, and show it",
    .help = "`larder products COMMAND --help` tells more of each.\n",
    .parts = parts,
};
