/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   See values.h. The tables say what may stand in a field; `hints` says what makes sense there.
 *
 * STATE
 *   The maker's alone. Everything is drawn from its chance, in an order that does not depend on what the memory holds.
 *
 * LIMITS
 *   A field is broken in one place of a body at the most: what is refused is then known by its name.
 */
#include "values.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <msgpack.h>

#include "link.h"
#include "payment/provider/payment_signature.h"

const char *const values_products[MEMORY_PRODUCTS] = {
    "book-0", "book-1", "BOOK-0", "b", /* up to here the book counts */
    "donut",  "Donut",  "007",    "1e3", "-",   "_",
    "p10",    "p11",    "p12",    "p13", "p14", "longest-longest-longest-longest-longest-longest-longest-longest-",
};

static const char *const sources[MEMORY_SOURCES] = {"stock/0",   "stock/1", "stock/2", "factory/0",
                                                    "product/0", "user/0",  "order/0", "payment/0"};

enum from {
    FROM_WORDS,
    FROM_PRODUCT, /* any product */
    FROM_MENU,    /* a product that the book does not count */
    FROM_THING,   /* an id from the memory */
    FROM_NUMBER,  /* the latest number of a thing */
    FROM_SMALL,   /* a few */
    FROM_DELTA,
    FROM_TTL,
    FROM_LEVEL,    /* version of the shelf */
    FROM_CARD,     /* version of the card of the menu */
    FROM_PERSON,   /* version of the person */
    FROM_STANDING, /* position of a subscriber */
    FROM_SESSION,
    FROM_INCARNATION,
    FROM_SOURCE,
    FROM_FOLLOWED, /* a source that the actor follows */
    FROM_EVENT,    /* type of an event */
    FROM_SEQ,      /* its position */
    FROM_NAME,
    FROM_LATER,
    FROM_FRAME, /* a frame of what is handed over, buried or edited */
    FROM_WEBHOOK,
};

/* The first that fits counts. `body` NULL: of any body. */
struct hint {
    const char *body;
    const char *field;
    enum from from;
    enum thing thing;
    const char *words; /* with | between them */
};

#define NAMES                                                                                \
    "Donut|P\xc3\xa3o de queijo|\xf0\x9f\x8d\xa9|'; DROP TABLE x; --|<b>x</b>|\xe2\x80\xae|" \
    "\xd7\xa9\xd7\x9c\xd7\x95\xd7\x9d|e\xcc\x81\xcc\x81\xcc\x81|%s%n|\"\\"
#define METHODS "pix|credit_card|debit_card|money|pix|credit_card|debit_card|money|cheque"
#define STATUSES "placed|awaiting_payment|received|in_preparation|ready|completed|cancelled|payment_failed|gone"
#define OWNERS                                                                                                                       \
    "stock/0|stock/0|stock/0|stock/0|factory/0|factory/0|factory/0|order/0|order/0|order/0|payment/0|payment/0|payment/0|product/0|" \
    "user/0|sales/0|nobody/0|dlq/0|stock/1|stock/9|stock|dlq.x"

static const struct hint hints[] = {
    {"sales_show", "product", FROM_MENU, THING_NONE, NULL},
    {"sales_checkout", "product", FROM_MENU, THING_NONE, NULL},
    {"factory_produce", "product", FROM_MENU, THING_NONE, NULL},
    {"stock_configure", "product", FROM_MENU, THING_NONE, NULL},
    {"order_line", "product", FROM_MENU, THING_NONE, NULL},
    {"product_put", "product", FROM_MENU, THING_NONE, NULL},
    {"product_patch", "product", FROM_MENU, THING_NONE, NULL},
    {"product_row", "product", FROM_MENU, THING_NONE, NULL},
    {NULL, "product", FROM_PRODUCT, THING_NONE, NULL},
    {"stock_list", "after", FROM_PRODUCT, THING_NONE, NULL},
    {"product_list", "after", FROM_PRODUCT, THING_NONE, NULL},
    {"stock_holds", "after", FROM_THING, THING_HOLD, NULL},
    {"user_list", "after", FROM_THING, THING_USER, NULL},
    {"factory_list", "before", FROM_THING, THING_PRODUCTION, NULL},
    {"stock_moves", "before", FROM_LEVEL, THING_NONE, NULL},
    {"order_list", "before", FROM_NUMBER, THING_ORDER, NULL},
    {"payment_list", "before", FROM_NUMBER, THING_CHARGE, NULL},
    {"letter_filter", "before", FROM_NUMBER, THING_LETTER, NULL},
    {"dlq_replays", "before", FROM_NUMBER, THING_REPLAY, NULL},
    {"dlq_start", "rate", FROM_SMALL, THING_NONE, NULL},
    {NULL, "quantity", FROM_SMALL, THING_NONE, NULL},
    {NULL, "delta", FROM_DELTA, THING_NONE, NULL},
    {NULL, "counted", FROM_DELTA, THING_NONE, NULL},
    {"stock_configure", "reorder_at", FROM_SMALL, THING_NONE, NULL},
    {"stock_configure", "order_up_to", FROM_SMALL, THING_NONE, NULL},
    {"stock_configure", "lot", FROM_SMALL, THING_NONE, NULL},
    {"money", "amount", FROM_SMALL, THING_NONE, NULL},
    {"product_row", "amount", FROM_SMALL, THING_NONE, NULL},
    {"payment_refund", "amount", FROM_SMALL, THING_NONE, NULL},
    {NULL, "currency", FROM_WORDS, THING_NONE, "BRL|BRL|BRL|BRL|BRL|BRL|BRL|BRL|BRL|BRL|BRL|BRL|BRL|BRL|KRW|usd"},
    {NULL, "ttl_ms", FROM_TTL, THING_NONE, NULL},
    {NULL, "hold", FROM_THING, THING_HOLD, NULL},
    {"stock_reserve", "replaces", FROM_THING, THING_HOLD, NULL},
    {"payment_charge", "order", FROM_NUMBER, THING_NONE, NULL}, /* an order's own charges are the order's */
    {NULL, "order", FROM_THING, THING_ORDER, NULL},
    {"payment_refund", "charge", FROM_THING, THING_OWN_CHARGE, NULL},
    {"payment_charge", "replaces", FROM_THING, THING_OWN_CHARGE, NULL},
    {NULL, "charge", FROM_THING, THING_CHARGE, NULL},
    {NULL, "customer", FROM_THING, THING_USER, NULL},
    {NULL, "user", FROM_THING, THING_USER, NULL},
    {"burial", "letter", FROM_NUMBER, THING_NONE, NULL}, /* an id of its own */
    {"dlq_edit", "letter", FROM_THING, THING_BURIED, NULL},
    {NULL, "letter", FROM_THING, THING_LETTER, NULL},
    {"request_ref", "request", FROM_THING, THING_HANDED, NULL},
    {NULL, "replay", FROM_THING, THING_REPLAY, NULL},
    {"factory_get", "id", FROM_THING, THING_PRODUCTION, NULL},
    {"factory_cancel", "id", FROM_THING, THING_PRODUCTION, NULL},
    {"stock_count", "version", FROM_LEVEL, THING_NONE, NULL},
    {"user_change", "version", FROM_PERSON, THING_NONE, NULL},
    {NULL, "version", FROM_CARD, THING_NONE, NULL},
    {NULL, "method", FROM_WORDS, THING_NONE, METHODS},
    {"order_advance", "to", FROM_WORDS, THING_NONE, STATUSES},
    {"order_list", "status", FROM_WORDS, THING_NONE, STATUSES},
    {NULL, "role", FROM_WORDS, THING_NONE, "customer|customer|customer|customer|employee|employee|admin|operator|anonymous|king"},
    {NULL, "category", FROM_WORDS, THING_NONE,
     "burger|side|beverage|dessert|other|burger|side|other|burger|side|beverage|dessert|other|burger|side|soup"},
    {NULL, "email", FROM_WORDS, THING_NONE,
     "ana@example.com|ana@example.com|ANA@example.com|bia@example.com|bia@example.com|caio@example.com|duda@example.com|eva@example."
     "com|a@b|"
     "j\xc3\xb5\xc3\xa3o@example.com|x@example.com |gil@example.com"},
    {NULL, "cpf", FROM_WORDS, THING_NONE,
     "52998224725|529.982.247-25|11144477735|111.444.777-35|12345678909|11111111111|39053344705|00000000191|390.533.447-05|"
     "12345678900"},
    {NULL, "password", FROM_WORDS, THING_NONE,
     "correct horse|correct horse|correct horse|correct horse|battery staple|\xf0\x9f\x90\xb4\xf0\x9f\x90\xb4\xf0\x9f\x90\xb4|       "
     " "},
    {"product_put", "name", FROM_WORDS, THING_NONE, NAMES},
    {"product_patch", "name", FROM_WORDS, THING_NONE, NAMES},
    {"product_category", "name", FROM_WORDS, THING_NONE, NAMES},
    {"user_register", "name", FROM_WORDS, THING_NONE, NAMES},
    {"user_change", "name", FROM_WORDS, THING_NONE, NAMES},
    {"product_row", "name", FROM_WORDS, THING_NONE, NAMES},
    {NULL, "phone", FROM_WORDS, THING_NONE, "+55 (11) 99999-0000|123|119|119|119|+++"},
    {"product_row", "images", FROM_WORDS, THING_NONE, "https://example.com/a.png|http://a.b/c https://d.e/f|ftp://x| "},
    {NULL, "url", FROM_WORDS, THING_NONE,
     "https://example.com/a.png|http://a.b/c|https://example.com/b.png|http://a.b/d|https://d.e/f|ftp://x|https://"},
    {"dlq_fetch", "subscriber", FROM_WORDS, THING_NONE, "r0|r1|r2|r3|dlq.n0|nobody"},
    {NULL, "subscriber", FROM_NAME, THING_NONE, "r"},
    {"dlq_subscribe", "name", FROM_NAME, THING_NONE, "n"},
    {"dlq_receive", "name", FROM_NAME, THING_NONE, "n"},
    {"dlq_unsubscribe", "name", FROM_NAME, THING_NONE, "n"},
    {"fetch", "host", FROM_WORDS, THING_NONE, "dlq/0|r0|host"},
    {NULL, "source", FROM_SOURCE, THING_NONE, NULL},
    {"fetch", "position", FROM_STANDING, THING_NONE, NULL},
    {"dlq_fetch", "position", FROM_STANDING, THING_NONE, NULL},
    {"dlq_receive", "position", FROM_STANDING, THING_NONE, NULL},
    {"dlq_receive", "session", FROM_SESSION, THING_NONE, NULL},
    {NULL, "incarnation", FROM_INCARNATION, THING_NONE, NULL},
    {"letter_filter", "state", FROM_WORDS, THING_NONE, "waiting|dead|replaying|done|discarded|stale|lost"},
    {"letter_filter", "kind", FROM_WORDS, THING_NONE, "event|subscriber|request|call|saga|other"},
    {"letter_filter", "destination", FROM_WORDS, THING_NONE, OWNERS},
    {"letter_filter", "reason", FROM_WORDS, THING_NONE, "internal|call_failed|unacknowledged|unavailable|none"},
    {"burial", "kind", FROM_WORDS, THING_NONE, "event|call|saga|event|event|event|event|call|saga|event|event|request|other"},
    {"burial", "destination", FROM_WORDS, THING_NONE, OWNERS},
    {"burial", "reason", FROM_WORDS, THING_NONE, "internal|call_failed|poison|ok|invalid_field|internal|call_failed|poison|none"},
    {"burial", "type", FROM_EVENT, THING_NONE, NULL},
    {"burial", "seq", FROM_SEQ, THING_NONE, NULL},
    {"event_header", "seq", FROM_SEQ, THING_NONE, NULL},
    {"row", "source", FROM_FOLLOWED, THING_NONE, NULL},
    {"burial", "header", FROM_FRAME, THING_NONE, NULL},
    {"burial", "body", FROM_FRAME, THING_NONE, NULL},
    {"burial", "attempts", FROM_SMALL, THING_NONE, NULL},
    {"event_header", "type", FROM_EVENT, THING_NONE, NULL},
    {"event_header", "v", FROM_WORDS, THING_NONE, NULL},
    {"row", "owner", FROM_WORDS, THING_NONE, "call|charge|refund|saga|hold|order|letter|answers|x"},
    {"row", "seq", FROM_SMALL, THING_NONE, NULL},
    {"row_edit", "body", FROM_FRAME, THING_NONE, NULL},
    {"dlq_edit", "body", FROM_FRAME, THING_NONE, NULL},
    {"letter_field", "name", FROM_WORDS, THING_NONE, "quantity|quantity|product|product|lines[0].quantity|price.amount|version|x"},
    {"letter_field", "value", FROM_WORDS, THING_NONE, "1|12|7|3|-1|donut|true||99999999999999999999|1.0"},
    {"dlq_hand_over", "op", FROM_LATER, THING_NONE, NULL},
    {"dlq_hand_over", "shard", FROM_WORDS, THING_NONE, NULL},
    {"dlq_hand_over", "request", FROM_NUMBER, THING_NONE, NULL},
    {"dlq_hand_over", "body", FROM_FRAME, THING_NONE, NULL},
    {"payment_webhook", "webhook_id", FROM_WEBHOOK, THING_NONE, NULL},
    {"payment_webhook", "timestamp", FROM_WEBHOOK, THING_NONE, NULL},
    {"payment_webhook", "signature", FROM_WEBHOOK, THING_NONE, NULL},
    {"payment_webhook", "body", FROM_WEBHOOK, THING_NONE, NULL},
};

size_t
values_product_number(struct slice product)
{
    size_t number = 0;
    while (number < MEMORY_PRODUCTS && !slice_equal(product, slice_of(values_products[number]))) {
        number++;
    }
    return number;
}

size_t
values_source_number(struct slice source)
{
    size_t number = 0;
    while (number < MEMORY_SOURCES && !slice_equal(source, slice_of(sources[number]))) {
        number++;
    }
    return number;
}

/* --- writing --- */

static int
write_packed(void *buffer, const char *bytes, size_t size)
{
    wire_buffer_append(buffer, bytes, size);
    return 0;
}

static void
put_text(msgpack_packer *packer, struct slice text)
{
    msgpack_pack_str_with_body(packer, text.data, text.size);
}

static void
put_kind(msgpack_packer *packer, enum wire_kind kind, struct slice bytes)
{
    if (kind == WIRE_BYTES || kind == WIRE_ID) {
        msgpack_pack_bin_with_body(packer, bytes.data, bytes.size);
    } else {
        put_text(packer, bytes);
    }
}

/* --- values by the table alone --- */

static int64_t
draw_number(struct maker *maker, int64_t lo, int64_t hi)
{
    struct chance *chance = &maker->chance;
    switch (chance_below(chance, 6)) {
    case 0:
        return lo;
    case 1:
        return hi;
    case 2:
        return lo <= 0 && hi >= 0 ? 0 : lo;
    case 3:
        return hi - (hi > lo ? 1 : 0);
    case 4:
        return (uint64_t)hi - (uint64_t)lo > 300 ? lo + (int64_t)chance_below(chance, 300) : chance_between(chance, lo, hi);
    default:
        return chance_between(chance, lo, hi);
    }
}

/* Text of `size` bytes: of one character again and again, filled up with x. */
static void
fill_text(struct chance *chance, uint8_t *text, size_t size)
{
    static const char *const characters[] = {
        "x", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x8d\xa9", "\"", "\\", "\n", "\x01", "\xe2\x80\xae", "<", "\xcc\x81", " ", "'", "%"};
    const char *character = characters[chance_below(chance, sizeof characters / sizeof characters[0])];
    size_t width = strlen(character);
    for (size_t at = 0; at < size; at += width) {
        if (at + width > size) {
            memset(text + at, 'x', size - at);
            break;
        }
        memcpy(text + at, character, width);
    }
}

static void
fill_name(struct chance *chance, uint8_t *text, size_t size)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint64_t more = chance_next(chance);
    for (size_t i = 0; i < size; i++) {
        text[i] = (uint8_t)alphabet[(more >> i % 50) % 64];
    }
}

static size_t
draw_size(struct maker *maker, int64_t lo, int64_t hi)
{
    struct chance *chance = &maker->chance;
    int64_t most = hi > 20000 ? 20000 : hi;
    switch (chance_below(chance, 8)) {
    case 0:
        return (size_t)lo;
    case 1:
        return (size_t)most;
    case 2:
        return (size_t)chance_between(chance, lo, most);
    default:
        return (size_t)(lo + (int64_t)chance_below(chance, (uint64_t)(most - lo < 12 ? most - lo : 12) + 1));
    }
}

static void
put_bytes_of(struct maker *maker, const struct wire_field *field, size_t size, msgpack_packer *packer)
{
    uint8_t *bytes = malloc(size + 1);
    if (field->kind == WIRE_NAME) {
        fill_name(&maker->chance, bytes, size);
    } else if (field->kind == WIRE_STR) {
        fill_text(&maker->chance, bytes, size);
    } else {
        uint64_t more = chance_next(&maker->chance);
        for (size_t i = 0; i < size; i++) {
            bytes[i] = (uint8_t)(more >> i % 57);
        }
    }
    put_kind(packer, field->kind, (struct slice){bytes, size});
    free(bytes);
}

static void
put_list(struct maker *maker, const struct wire_field *field, uint64_t count, msgpack_packer *packer)
{
    msgpack_pack_array(packer, count);
    for (uint64_t i = 0; i < count; i++) {
        values_body(maker, field->element, packer->data);
    }
}

static uint64_t
draw_count(struct maker *maker, const struct wire_field *field)
{
    uint64_t lo = (uint64_t)field->lo;
    uint64_t hi = (uint64_t)field->hi;
    if (chance_one_in(&maker->chance, 150) && maker->depth <= 1) {
        return hi;
    }
    uint64_t count = chance_one_in(&maker->chance, 2) ? 1 : lo + chance_below(&maker->chance, 4);
    return count < lo ? lo : count > hi ? hi : count;
}

static void
put_by_table(struct maker *maker, const struct wire_field *field, msgpack_packer *packer)
{
    struct id id;
    switch ((enum wire_kind)field->kind) {
    case WIRE_BOOL:
        if (!chance_one_in(&maker->chance, strcmp(field->name, "active") == 0 ? 8 : 2)) {
            msgpack_pack_true(packer);
        } else {
            msgpack_pack_false(packer);
        }
        break;
    case WIRE_I64:
    case WIRE_TIME:
        msgpack_pack_int64(packer, draw_number(maker, field->lo, field->hi));
        break;
    case WIRE_STR:
    case WIRE_NAME:
    case WIRE_BYTES:
        put_bytes_of(maker, field, draw_size(maker, field->lo, field->hi), packer);
        break;
    case WIRE_ID:
        memset(id.bytes, 0, sizeof id.bytes);
        if (!chance_one_in(&maker->chance, 4)) {
            uint64_t drawn[2] = {chance_next(&maker->chance), chance_next(&maker->chance)};
            memcpy(id.bytes, drawn, sizeof id.bytes);
        }
        put_kind(packer, WIRE_ID, (struct slice){id.bytes, ID_SIZE});
        break;
    case WIRE_LIST:
        put_list(maker, field, draw_count(maker, field), packer);
        break;
    case WIRE_MAP:
        values_body(maker, field->element, packer->data);
        break;
    }
}

/* --- values that are wrong --- */

static void
put_other_kind(struct maker *maker, msgpack_packer *packer)
{
    static const uint8_t raw[][3] = {{0xc1, 0, 0}, {0xd4, 0x01, 0x00}, {0xcf, 0xff, 0xff}};
    switch (chance_below(&maker->chance, 9)) {
    case 0:
        msgpack_pack_nil(packer);
        break;
    case 1:
        msgpack_pack_double(packer, 1.0);
        break;
    case 2:
        put_text(packer, slice_of("1"));
        break;
    case 3:
        msgpack_pack_int64(packer, 1);
        break;
    case 4:
        msgpack_pack_array(packer, 0);
        break;
    case 5:
        msgpack_pack_map(packer, 0);
        break;
    case 6:
        msgpack_pack_uint64(packer, UINT64_MAX);
        break;
    case 7:
        msgpack_pack_bin_with_body(packer, "0123456789abcde", 15);
        break;
    default:
        wire_buffer_append(packer->data, raw[chance_below(&maker->chance, 3)], 3);
    }
}

static void
put_beyond_text(struct maker *maker, const struct wire_field *field, msgpack_packer *packer)
{
    static const struct slice bad[] = {{(const uint8_t *)"a\0b", 3},         {(const uint8_t *)"\xc0\xaf\x80", 3},
                                       {(const uint8_t *)"\xed\xa0\x80", 3}, {(const uint8_t *)"\xf4\x90\x80\x80", 4},
                                       {(const uint8_t *)"a b\xff", 4},      {(const uint8_t *)"\xe2\x82", 2}};
    uint64_t which = chance_below(&maker->chance, 3);
    if (which == 0 && field->lo > 0) {
        put_bytes_of(maker, field, (size_t)field->lo - 1, packer);
    } else if (which == 1 && field->hi < 100000) {
        put_bytes_of(maker, field, (size_t)field->hi + 1, packer);
    } else {
        put_text(packer, bad[chance_below(&maker->chance, sizeof bad / sizeof bad[0])]);
    }
}

static void
put_broken(struct maker *maker, const struct wire_field *field, msgpack_packer *packer)
{
    bool is_other = chance_one_in(&maker->chance, 3);
    bool is_low = chance_one_in(&maker->chance, 2);
    bool is_number = field->kind == WIRE_I64 || field->kind == WIRE_TIME;
    if (!is_other && is_number && is_low && field->lo > INT64_MIN) {
        msgpack_pack_int64(packer, chance_one_in(&maker->chance, 2) ? field->lo - 1 : INT64_MIN);
    } else if (!is_other && is_number && field->hi < INT64_MAX) {
        msgpack_pack_int64(packer, chance_one_in(&maker->chance, 2) ? field->hi + 1 : INT64_MAX);
    } else if (!is_other && (field->kind == WIRE_STR || field->kind == WIRE_NAME || field->kind == WIRE_BYTES)) {
        put_beyond_text(maker, field, packer);
    } else if (!is_other && field->kind == WIRE_LIST) {
        put_list(maker, field, is_low && field->lo > 0 ? (uint64_t)field->lo - 1 : (uint64_t)field->hi + 1, packer);
    } else {
        put_other_kind(maker, packer);
    }
}

/* --- values that make sense --- */

static struct slice
draw_word(struct maker *maker, const char *words)
{
    uint64_t count = 1;
    for (const char *at = words; *at != '\0'; at++) {
        count += *at == '|';
    }
    uint64_t chosen = chance_below(&maker->chance, count);
    const char *from = words;
    for (; chosen > 0; chosen--) {
        from = strchr(from, '|') + 1;
    }
    const char *end = strchr(from, '|');
    return (struct slice){(const uint8_t *)from, end == NULL ? strlen(from) : (size_t)(end - from)};
}

static bool
has_field(const struct wire_body *body, const char *name)
{
    for (size_t i = 0; i < body->field_count; i++) {
        if (strcmp(body->fields[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* What is done beside the book ends no hold that the book counts on. */
static const struct known *
thing_of(const struct maker *maker, enum thing thing)
{
    const struct known *known = memory_get(maker->memory, thing, maker->picks.slots[thing]);
    return known->is_booked && maker->is_beside_book ? &maker->memory->nobody[thing] : known;
}

/* The product of a body that names a hold is the hold's. */
static void
put_product(struct maker *maker, const struct wire_body *body, bool is_menu, msgpack_packer *packer)
{
    const struct known *hold = thing_of(maker, THING_HOLD);
    uint64_t first = is_menu || maker->is_beside_book ? VALUES_BOOK_PRODUCTS : 0;
    uint64_t drawn = chance_below(&maker->chance, MEMORY_PRODUCTS - first) + first;
    bool is_in_line = strstr(body->name, "_line") != NULL || strcmp(body->name, "product_row") == 0;
    if (!is_in_line) {
        drawn = maker->picks.product % (MEMORY_PRODUCTS - first) + first;
    }
    bool is_of_hold = has_field(body, "hold") && hold->product[0] != '\0';
    put_text(packer, slice_of(is_of_hold ? hold->product : values_products[drawn]));
}

static const struct standing *
standing_of(const struct maker *maker, const struct wire_body *body)
{
    uint64_t source = maker->picks.source % MEMORY_SOURCES;
    if (strcmp(body->name, "fetch") == 0 && maker->own_source >= 0) {
        return &maker->memory->subscribers[maker->own_source][maker->picks.name];
    }
    return strcmp(body->name, "dlq_receive") == 0 ? &maker->memory->sessions[source][maker->picks.name]
                                                  : &maker->memory->subscribers[source][maker->picks.name];
}

static int64_t
draw_near(struct maker *maker, int64_t number)
{
    static const int64_t beside[] = {0, 0, 0, 0, 1, -1, 2, 100};
    int64_t other = number + beside[chance_below(&maker->chance, sizeof beside / sizeof beside[0])];
    return other < 0 ? 0 : other;
}

static int64_t
draw_small(struct maker *maker, const struct wire_field *field, bool is_delta)
{
    static const int64_t amounts[] = {0, 1, 2, 3, 5, 10, 100, 101, 101, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 110, 2406};
    int64_t number = strcmp(field->name, "amount") == 0 ? amounts[chance_below(&maker->chance, sizeof amounts / sizeof amounts[0])]
                                                        : (int64_t)chance_below(&maker->chance, 5) + (field->lo < 1 ? 0 : field->lo);
    if (is_delta) {
        number = chance_one_in(&maker->chance, 4) ? -number : 7 * number;
    }
    return number < field->lo ? field->lo : number > field->hi ? field->hi : number;
}

static int64_t
draw_ttl(struct maker *maker, const struct wire_field *field)
{
    int64_t choice[] = {field->lo, 30, 200, 60000, 60000, 60000, 600000, 600000, 600000, field->hi};
    int64_t number = choice[chance_below(&maker->chance, sizeof choice / sizeof choice[0])];
    return number < field->lo ? field->lo : number;
}

static int64_t
draw_version(struct maker *maker, const struct hint *hint)
{
    const struct memory *memory = maker->memory;
    uint64_t product = maker->picks.product % (MEMORY_PRODUCTS - VALUES_BOOK_PRODUCTS) + VALUES_BOOK_PRODUCTS;
    if (hint->from == FROM_LEVEL) {
        product = maker->is_beside_book ? product : maker->picks.product % MEMORY_PRODUCTS;
        return draw_near(maker, memory->levels[product]);
    }
    return draw_near(maker, hint->from == FROM_CARD ? memory->cards[product]
                                                    : memory_get(memory, THING_USER, maker->picks.slots[THING_USER])->version);
}

/* An id that is nobody's yet; the same in every run. */
static void
put_own_id(struct maker *maker, msgpack_packer *packer)
{
    uint64_t drawn = chance_next(&maker->chance);
    struct id id = id_of_bytes(&drawn, sizeof drawn);
    put_kind(packer, WIRE_ID, (struct slice){id.bytes, ID_SIZE});
}

/* --- frames within frames --- */

static const struct wire_body *
body_within(const struct maker *maker, const struct wire_body *body, const struct wire_field *field)
{
    if (strcmp(field->name, "header") == 0) {
        return &event_header_body;
    }
    return strcmp(body->name, "dlq_hand_over") == 0 ? wire_ops[maker->picks.later].request : wire_events[maker->picks.event].body;
}

static void
put_frame(struct maker *maker, const struct wire_body *body, const struct wire_field *field, msgpack_packer *packer)
{
    struct wire_buffer frame = {0};
    bool was_beside = maker->is_beside_book;
    maker->is_beside_book = true;
    values_body(maker, body_within(maker, body, field), &frame);
    maker->is_beside_book = was_beside;
    put_kind(packer, WIRE_BYTES, wire_buffer_slice(&frame));
    wire_buffer_fini(&frame);
}

/* A webhook that is signed as the simulated provider signs; its fields follow from the picks. */
static void
put_webhook(struct maker *maker, const struct wire_field *field, msgpack_packer *packer)
{
    static const char *const types[] = {"charge.succeeded", "charge.failed", "refund.succeeded", "refund.failed", "charge.unknown"};
    char id[64], timestamp[32], body[256], charge[ID_TEXT_SIZE], signature[PAYMENT_SIGNATURE_SIZE];
    struct payment_key key;
    id_format(&memory_get(maker->memory, THING_CHARGE, maker->picks.slots[THING_CHARGE])->id, charge);
    snprintf(id, sizeof id, "msg-%llu", (unsigned long long)(maker->picks.product % 1000));
    snprintf(timestamp, sizeof timestamp, "%lld", (long long)(link_utc_ms() / 1000));
    snprintf(body, sizeof body, "{\"type\":\"%s\",\"data\":{\"charge\":\"%s\"}}", types[maker->picks.source % 5], charge);
    (void)payment_key_parse(PAYMENT_DEMO_SECRET, &key);
    payment_sign(&key, &(struct payment_signed){slice_of(id), slice_of(timestamp), slice_of(body)}, signature);
    const char *text = strcmp(field->name, "webhook_id") == 0  ? id
                       : strcmp(field->name, "timestamp") == 0 ? timestamp
                       : strcmp(field->name, "signature") == 0 ? signature
                                                               : body;
    put_kind(packer, field->kind, slice_of(text));
}

static void
put_number_word(struct maker *maker, const struct hint *hint, const struct wire_field *field, msgpack_packer *packer)
{
    if (hint->words != NULL) {
        put_kind(packer, field->kind, draw_word(maker, hint->words));
    } else {
        msgpack_pack_int64(packer, field->lo == 0 && field->hi == INT64_MAX ? 1 : (int64_t)chance_below(&maker->chance, 3));
    }
}

static void
put_text_hinted(struct maker *maker, const struct wire_body *body, const struct hint *hint, msgpack_packer *packer)
{
    char text[32];
    if (hint->from == FROM_SOURCE) {
        put_text(packer, slice_of(sources[maker->picks.source % MEMORY_SOURCES]));
    } else if (hint->from == FROM_FOLLOWED) {
        put_text(packer, slice_of(maker->own_source == 3 ? "stock/0" : maker->own_source == 6 ? "payment/0" : "factory/0"));
    } else if (hint->from == FROM_EVENT) {
        put_text(packer, slice_of(wire_events[maker->picks.event].name));
    } else if (hint->from == FROM_NAME) {
        snprintf(text, sizeof text, "%s%d", hint->words, (int)maker->picks.name);
        put_text(packer, slice_of(text));
    } else if (hint->from == FROM_LATER) {
        put_text(packer, slice_of(wire_ops[maker->picks.later].name));
    } else {
        put_product(maker, body, hint->from == FROM_MENU, packer);
    }
}

static void
put_hinted(struct maker *maker, const struct wire_body *body, const struct wire_field *field, const struct hint *hint,
           msgpack_packer *packer)
{
    const struct id *id = NULL;
    switch (hint->from) {
    case FROM_WORDS:
        put_number_word(maker, hint, field, packer);
        break;
    case FROM_PRODUCT:
    case FROM_MENU:
    case FROM_SOURCE:
    case FROM_FOLLOWED:
    case FROM_EVENT:
    case FROM_NAME:
    case FROM_LATER:
        put_text_hinted(maker, body, hint, packer);
        break;
    case FROM_THING:
        id = &thing_of(maker, hint->thing)->id;
        break;
    case FROM_NUMBER:
        if (hint->thing == THING_NONE) {
            put_own_id(maker, packer);
        } else {
            int64_t number = draw_near(maker, maker->memory->numbers[hint->thing]);
            msgpack_pack_int64(packer, number < field->lo ? field->lo : number);
        }
        break;
    case FROM_SEQ:
        msgpack_pack_int64(packer, 1 + (int64_t)(maker->picks.product % 4));
        break;
    case FROM_SMALL:
    case FROM_DELTA:
        msgpack_pack_int64(packer, draw_small(maker, field, hint->from == FROM_DELTA));
        break;
    case FROM_TTL:
        msgpack_pack_int64(packer, draw_ttl(maker, field));
        break;
    case FROM_LEVEL:
    case FROM_CARD:
    case FROM_PERSON: {
        int64_t version = draw_version(maker, hint);
        msgpack_pack_int64(packer, version < field->lo ? field->lo : version);
        break;
    }
    case FROM_STANDING:
        msgpack_pack_int64(packer, draw_near(maker, standing_of(maker, body)->position));
        break;
    case FROM_SESSION:
        id = &standing_of(maker, body)->session;
        break;
    case FROM_INCARNATION:
        id = &standing_of(maker, body)->incarnation;
        break;
    case FROM_FRAME:
        put_frame(maker, body, field, packer);
        break;
    case FROM_WEBHOOK:
        put_webhook(maker, field, packer);
        break;
    }
    if (id != NULL) {
        put_kind(packer, WIRE_ID, (struct slice){id->bytes, ID_SIZE});
    }
}

static const struct hint *
find_hint(const struct wire_body *body, const struct wire_field *field)
{
    for (size_t i = 0; i < sizeof hints / sizeof hints[0]; i++) {
        if (strcmp(hints[i].field, field->name) == 0 && (hints[i].body == NULL || strcmp(hints[i].body, body->name) == 0)) {
            return &hints[i];
        }
    }
    return NULL;
}

static void
put_value(struct maker *maker, const struct wire_body *body, const struct wire_field *field, msgpack_packer *packer)
{
    const struct hint *hint = find_hint(body, field);
    bool is_by_table = chance_one_in(&maker->chance, maker->is_wild ? 2 : 80) && !maker->is_plain;
    if (hint != NULL && !is_by_table) {
        put_hinted(maker, body, field, hint, packer);
    } else {
        put_by_table(maker, field, packer);
    }
}

/* --- bodies --- */

enum trouble { TROUBLE_VALUE, TROUBLE_MISSING, TROUBLE_TWICE, TROUBLE_UNKNOWN, TROUBLE_COUNT };

/* Of bodies that say a thing in one of two ways: a row is an event's or a due one, an edit has changes or a body. */
static bool
is_of_first_way(const char *field)
{
    return strcmp(field, "source") == 0 || strcmp(field, "seq") == 0 || strcmp(field, "changes") == 0;
}

/* What is mostly refused, or takes long. */
static bool
is_seldom(const char *field)
{
    return strcmp(field, "version") == 0 || strcmp(field, "password") == 0;
}

static uint64_t
draw_fields(struct maker *maker, const struct wire_body *body)
{
    uint64_t has = 0;
    bool is_rare = body == &letter_filter_body;
    bool is_by_email = chance_one_in(&maker->chance, 2);
    bool is_first_way = !chance_one_in(&maker->chance, 4);
    for (size_t i = 0; i < body->field_count; i++) {
        uint64_t drawn = chance_below(&maker->chance, 8);
        bool is_there = drawn < (is_rare ? 1 : is_seldom(body->fields[i].name) ? 2 : 4);
        if ((body == &user_find_body || body == &user_sign_in_body) && drawn != 0) {
            is_there = strcmp(body->fields[i].name, is_by_email ? "email" : "cpf") == 0;
        }
        if (strcmp(body->fields[i].name, "customer") == 0 || strcmp(body->fields[i].name, "shard") == 0) {
            is_there = drawn == 0;
        } else if (body == &burial_body &&
                   (strcmp(body->fields[i].name, "header") == 0 || strcmp(body->fields[i].name, "body") == 0)) {
            is_there = is_first_way;
        } else if (body == &letter_filter_body && maker->depth > 1 && i >= letter_filter_BIT_before) {
            is_there = false;
        } else if (maker->is_plain) {
            is_there = !is_seldom(body->fields[i].name) || body == &user_register_body;
        } else if (body == &burial_body || strcmp(body->fields[i].name, "rate") == 0) {
            is_there = drawn < 7;
        } else if ((body == &row_body || body == &dlq_edit_body) && drawn != 0) {
            is_there = is_first_way == is_of_first_way(body->fields[i].name);
        }
        has |= (uint64_t)(body->fields[i].need == REQUIRED || is_there || body == &payment_webhook_body) << i;
    }
    return has;
}

/* One field, as often and in such a way as the trouble says. */
static void
put_field(struct maker *maker, const struct wire_body *body, const struct wire_field *field, enum trouble trouble,
          msgpack_packer *packer)
{
    if (trouble == TROUBLE_MISSING) {
        return;
    }
    put_text(packer, slice_of(field->name));
    if (trouble == TROUBLE_VALUE) {
        put_broken(maker, field, packer);
        return;
    }
    put_value(maker, body, field, packer);
    if (trouble == TROUBLE_TWICE || trouble == TROUBLE_UNKNOWN) {
        put_text(packer, slice_of(trouble == TROUBLE_TWICE ? field->name : "refernce"));
        put_value(maker, body, field, packer);
    }
}

void
values_body(struct maker *maker, const struct wire_body *body, struct wire_buffer *out)
{
    msgpack_packer packer;
    msgpack_packer_init(&packer, out, write_packed);
    maker->depth++;
    uint64_t has = draw_fields(maker, body);
    int count = __builtin_popcountll(has);
    enum trouble trouble = TROUBLE_COUNT;
    int troubled = -1;
    if (maker->break_at < VALUES_NEVER) {
        troubled = maker->break_at < count ? maker->break_at : -1;
        maker->break_at = troubled >= 0 ? VALUES_NEVER : maker->break_at - count;
        trouble = (enum trouble)chance_below(&maker->chance, TROUBLE_COUNT);
    }
    int more = troubled < 0 || trouble == TROUBLE_VALUE ? 0 : trouble == TROUBLE_MISSING ? -1 : 1;
    msgpack_pack_map(&packer, (size_t)(count + more));
    for (int at = 0; has != 0; at++) {
        int index = maker->is_reversed ? 63 - __builtin_clzll(has) : __builtin_ctzll(has);
        has &= ~(UINT64_C(1) << index);
        put_field(maker, body, &body->fields[index], at == troubled ? trouble : TROUBLE_COUNT, &packer);
    }
    maker->depth--;
}

/* Mostly one that can be done later. */
static enum op
draw_later(struct chance *chance)
{
    uint64_t op = chance_below(chance, OP_COUNT);
    uint64_t count = OP_COUNT;
    bool is_any = chance_one_in(chance, 8);
    while (!is_any && count-- > 0 &&
           ((wire_ops[op].traits & OP_WRITES) == 0 || wire_ops[op].owner[0] == 'a' || wire_ops[op].owner[0] == 'd')) {
        op = (op + 1) % OP_COUNT;
    }
    return (enum op)op;
}

void
values_begin(struct maker *maker)
{
    struct picks *picks = &maker->picks;
    struct chance *chance = &maker->chance;
    for (int thing = 0; thing < THING_COUNT; thing++) {
        picks->slots[thing] = chance_next(chance);
    }
    picks->product = chance_next(chance);
    uint64_t near = chance_below(chance, 4);
    uint64_t source = chance_next(chance);
    picks->source = near < 2 ? source : near == 2 ? 0 : 3;
    picks->name = chance_below(chance, chance_one_in(chance, 4) ? MEMORY_NAMES : 2);
    picks->later = draw_later(chance);
    picks->event = (enum event_type)chance_below(chance, EVENT_COUNT);
    maker->is_wild = chance_one_in(chance, 8);
    maker->is_reversed = chance_one_in(chance, 8);
    maker->break_at = chance_one_in(chance, 8) ? (int)chance_below(chance, 7) : VALUES_NEVER;
    maker->depth = 0;
}
