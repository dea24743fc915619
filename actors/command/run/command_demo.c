/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Gives an empty shop the demo product of demo.h: stock 3, refilled by 10 when the shelf is empty, and its name and price on the
 *   menu.
 *
 *   Three requests, as anybody could send them: stock.adjust, then stock.configure (the other way round the still empty shelf would
 *   order its refill at once), then product.put. Their ids are derived from the incarnations of the databases, so that a start that
 *   was cut off between them is taken up by the next one, and nothing is put there twice. A shop that has donuts and had no menu
 *   gets this one card too; a card that somebody has changed stays as it is.
 *
 * FAILURES
 *   A stock that does not answer is the caller's failure to start. A donut shop without a menu is whole: a product actor that does
 *   not answer is a warning.
 */
#include "command_demo.h"

#include "command/command_client.h"
#include "command/command_table.h"
#include "shared/demo.h"
#include "kit/telemetry/log.h"

#define REASON "demo"

/* Empty, or with nothing but a demo product that was filled and not configured. */
static err
shard_is_empty(struct larder_client *client, int shard, bool *is_empty, struct err_text *why)
{
    struct wire_stock_list list = {0};
    WIRE_SET(&list, stock_list, limit, 2);
    struct wire_stock_levels page;
    struct larder_options options = {.shard = shard};
    err code = stock_client_list(client, &options, &list, &page, why);
    if (code != ERR_ok) {
        return code;
    }
    struct wire_stock_level level;
    *is_empty = true;
    while (wire_list_next(&page.levels, &stock_level_body, &level)) {
        bool is_begun = demo_is_sku(level.product) && level.on_hand == DEMO_STOCK && level.version == 1;
        *is_empty = *is_empty && is_begun;
    }
    return ERR_ok;
}

static err
configure(struct larder_client *client, const struct id *incarnation, struct err_text *why)
{
    struct wire_stock_configure body = {0};
    WIRE_SET(&body, stock_configure, product, slice_of(DEMO_PRODUCT));
    WIRE_SET(&body, stock_configure, reorder_at, 0);
    WIRE_SET(&body, stock_configure, order_up_to, DEMO_REFILL);
    WIRE_SET(&body, stock_configure, lot, DEMO_REFILL);
    struct larder_options options = {.id = id_derive(incarnation, "demo configure"), .again = true};
    return stock_client_configure(client, &options, &body, NULL, why);
}

static err
fill(struct larder_client *client, const struct id *incarnation, struct err_text *why)
{
    struct wire_stock_adjust body = {0};
    WIRE_SET(&body, stock_adjust, product, slice_of(DEMO_PRODUCT));
    WIRE_SET(&body, stock_adjust, delta, DEMO_STOCK);
    WIRE_SET(&body, stock_adjust, reason, slice_of(REASON));
    struct larder_options options = {.id = id_derive(incarnation, "demo adjust"), .again = true};
    return stock_client_adjust(client, &options, &body, NULL, why);
}

static err
stock_shelf(struct larder_client *client, int shards, struct err_text *why)
{
    for (int shard = 0; shard < shards; shard++) {
        bool is_empty = false;
        err code = shard_is_empty(client, shard, &is_empty, why);
        if (code != ERR_ok || !is_empty) {
            return code;
        }
    }
    struct wire_pong pong = {0};
    struct larder_options options = {.shard = wire_shard_of(slice_of(DEMO_PRODUCT), shards)};
    err code = any_client_ping(client, &options, &(struct wire_nothing){0}, &pong, why);
    if (code != ERR_ok) {
        return code;
    }
    struct id incarnation = pong.incarnation;
    code = fill(client, &incarnation, why);
    if (code == ERR_ok) {
        code = configure(client, &incarnation, why);
    }
    if (code == ERR_ok) {
        log_info("demo_product", LOG_TEXT("product", DEMO_PRODUCT), LOG_I64("on_hand", DEMO_STOCK), LOG_I64("refill", DEMO_REFILL));
    }
    return code;
}

static err
is_on_the_shelf(struct larder_client *client, bool *is_there, struct err_text *why)
{
    struct wire_stock_get get = {0};
    WIRE_SET(&get, stock_get, product, slice_of(DEMO_PRODUCT));
    err code = stock_client_get(client, NULL, &get, NULL, why);
    *is_there = code == ERR_ok;
    return code == ERR_unknown_product ? ERR_ok : code;
}

static err
is_on_the_menu(struct larder_client *client, bool *is_there, struct err_text *why)
{
    struct wire_product_get get = {0};
    WIRE_SET(&get, product_get, product, slice_of(DEMO_PRODUCT));
    err code = product_client_get(client, NULL, &get, NULL, why);
    *is_there = code == ERR_ok;
    return code == ERR_unknown_product ? ERR_ok : code;
}

static err
put_card(struct larder_client *client, struct err_text *why)
{
    struct wire_pong pong = {0};
    err code = any_client_ping(client, NULL, &(struct wire_nothing){0}, &pong, why);
    if (code != ERR_ok) {
        return code;
    }
    struct wire_product_put put = {0};
    struct wire_money price = {0};
    WIRE_SET(&price, money, amount, DEMO_PRICE_AMOUNT);
    WIRE_SET(&price, money, currency, slice_of(DEMO_PRICE_CURRENCY));
    WIRE_SET(&put, product_put, product, slice_of(DEMO_PRODUCT));
    WIRE_SET(&put, product_put, name, slice_of(DEMO_NAME));
    WIRE_SET(&put, product_put, description, slice_of(DEMO_DESCRIPTION));
    WIRE_SET(&put, product_put, category, slice_of(DEMO_CATEGORY));
    WIRE_SET(&put, product_put, price, price);
    WIRE_SET(&put, product_put, version, 0);
    struct larder_options options = {.id = id_derive(&pong.incarnation, "demo put"), .again = true};
    code = product_client_put(client, &options, &put, NULL, why);
    if (code == ERR_ok) {
        log_info("demo_card", LOG_TEXT("product", DEMO_PRODUCT), LOG_I64("amount", DEMO_PRICE_AMOUNT),
                 LOG_TEXT("currency", DEMO_PRICE_CURRENCY));
    }
    /* Somebody was faster. */
    return code == ERR_version_conflict ? ERR_ok : code;
}

static err
fill_menu(const struct settings *settings, struct err_text *why)
{
    struct command_peers peers = {.settings = settings, .actor = "product"};
    struct larder_client *client = NULL;
    int shards = 0;
    err code = command_client_create(&peers, &client, &shards, why);
    if (code != ERR_ok) {
        return code;
    }
    bool is_there = false;
    code = is_on_the_menu(client, &is_there, why);
    if (code == ERR_ok && !is_there) {
        code = put_card(client, why);
    }
    larder_client_destroy(&client);
    if (err_disposition(code) == ERR_RETRY) {
        log_warn("menu_is_away", LOG_TEXT("product", DEMO_PRODUCT), LOG_TEXT("reason", why->text));
        return ERR_ok;
    }
    return code;
}

err
demo_fill_shop(const struct settings *settings, struct err_text *why)
{
    struct command_peers peers = {.settings = settings, .actor = "stock"};
    struct larder_client *client = NULL;
    int shards = 0;
    bool is_there = false;
    err code = command_client_create(&peers, &client, &shards, why);
    if (code == ERR_ok) {
        code = stock_shelf(client, shards, why);
    }
    if (code == ERR_ok) {
        code = is_on_the_shelf(client, &is_there, why);
    }
    larder_client_destroy(&client);
    return code == ERR_ok && is_there ? fill_menu(settings, why) : code;
}

static enum exit_status
demo_run(struct command_line *line)
{
    struct err_text why;
    err code = command_rest_checked(line, 0, 0, &why);
    if (code == ERR_ok) {
        code = demo_fill_shop(&line->settings, &why);
    }
    return code == ERR_ok ? EXIT_DONE : command_complain(line, code, &why);
}

const struct command demo_command = {
    .name = "demo",
    .arguments = "",
    .summary = "put the demo product into an empty shop that runs as processes of their own",
    .help = "`larder run` does it by itself. A shelf that has a product stays as it is, and so does a card on the menu.\n",
    .has_settings = true,
    .run = demo_run,
};
