/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Claims about proto/codec/wire.c, wire_decode.c and wire_encode.c.
 *
 * Frames are kept on the heap in buffers of their exact size, so that a sanitizer sees a read outside of them. Random messages
 * come from a fixed seed. msgpack-c is the second reader: it knows nothing of our tables.
 */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <msgpack.h>

#include "wire.h"

#include "../fuzz/random_message.h"

/* --- frames --- */

static struct slice
exact_copy(const void *bytes, size_t size)
{
    uint8_t *copy = malloc(size == 0 ? 1 : size);
    cr_assert_not_null(copy);
    memcpy(copy, bytes, size);
    return (struct slice){copy, size};
}

static unsigned
nibble(char digit)
{
    return (unsigned)(digit <= '9' ? digit - '0' : digit - 'a' + 10);
}

/* Reads "81 'lines' 01": hexadecimal bytes, and text in quotes, which gets the head of a short msgpack string before it. */
static struct slice
frame_of(const char *notation)
{
    uint8_t bytes[512];
    size_t size = 0;
    for (const char *at = notation; *at != '\0';) {
        if (*at == ' ') {
            at++;
        } else if (*at == '\'') {
            const char *end = strchr(at + 1, '\'');
            size_t length = (size_t)(end - at - 1);
            bytes[size++] = (uint8_t)(0xa0 | length);
            memcpy(bytes + size, at + 1, length);
            size += length;
            at = end + 1;
        } else {
            bytes[size++] = (uint8_t)(nibble(at[0]) << 4 | nibble(at[1]));
            at += 2;
        }
    }
    return exact_copy(bytes, size);
}

static const struct wire_body *
body_named(const char *name)
{
    for (int i = 0; i < WIRE_BODY_COUNT; i++) {
        if (strcmp(wire_bodies[i]->name, name) == 0) {
            return wire_bodies[i];
        }
    }
    cr_assert_fail("no body %s", name);
    return NULL;
}

/* --- refusals --- */

struct refusal {
    char body[24];
    char frame[160];
    char why[96];
    err code;
};

static struct refusal refusals[] = {
    {"stock_get", "", "stock_get: the frame is empty", ERR_malformed},
    {"stock_get", "c1", "stock_get: a byte that msgpack does not have where a map is needed", ERR_malformed},
    {"stock_get", "90", "stock_get: a list where a map is needed", ERR_malformed},
    {"stock_get", "c0", "stock_get: nil where a map is needed", ERR_malformed},
    {"stock_get", "81", "stock_get: frame ends inside the map", ERR_malformed},
    {"stock_get", "de00", "stock_get: frame ends inside the map", ERR_malformed},
    {"stock_get", "df ffffffff", "stock_get: frame ends inside the map", ERR_malformed},
    {"stock_get", "81 'product'", "stock_get.product: frame ends inside the value", ERR_malformed},
    {"stock_get", "81 'product' a5 61", "stock_get.product: frame ends inside the value", ERR_malformed},
    {"stock_get", "81 'product' db ffffffff", "stock_get.product: frame ends inside the value", ERR_malformed},
    {"stock_get", "81 'product' d9", "stock_get.product: frame ends inside the value", ERR_malformed},
    {"stock_get", "81 'product' c1", "stock_get.product: a byte that msgpack does not have", ERR_malformed},
    {"stock_get", "81 'product' 'donut' 00", "stock_get: 1 bytes behind the map", ERR_malformed},
    {"stock_get", "81 01 'donut'", "stock_get: a whole number where a field's name is needed", ERR_malformed},
    {"stock_get", "81 c407 70726f64756374 'donut'", "stock_get: bytes where a field's name is needed", ERR_malformed},
    {"stock_get", "80", "stock_get.product: missing", ERR_invalid_field},
    {"stock_get", "82 'product' 'a' 'product' 'a'", "stock_get.product: given twice", ERR_invalid_field},
    {"stock_get", "82 'product' 'a' 'color' 'b'", "stock_get.color: no such field", ERR_invalid_field},
    {"stock_get", "82 'product' 'a' a3 610a62 01", "stock_get.a?b: no such field", ERR_invalid_field},
    {"stock_get", "82 'product' 'a' a2 c328 01", "stock_get.?(: no such field", ERR_invalid_field},
    {"stock_get", "82 'product' 'a' a0 01", "stock_get.: no such field", ERR_invalid_field},
    {"stock_get", "81 'product' c0", "stock_get.product: nil where text is needed", ERR_invalid_field},
    {"stock_get", "81 'product' 07", "stock_get.product: a whole number where text is needed", ERR_invalid_field},
    {"stock_get", "81 'product' c403 616263", "stock_get.product: bytes where text is needed", ERR_invalid_field},
    {"stock_get", "81 'product' d4 0000", "stock_get.product: an extension where text is needed", ERR_invalid_field},
    {"stock_get", "81 'product' a0", "stock_get.product: 0 bytes where 1 to 64 are allowed", ERR_invalid_field},
    {"stock_get", "81 'product' a3 610062", "stock_get.product: only letters, digits, - and _ are allowed", ERR_invalid_field},
    {"stock_get", "81 'product' a3 61c3a9", "stock_get.product: only letters, digits, - and _ are allowed", ERR_invalid_field},
    {"stock_line", "82 'product' 'a' 'quantity' 00", "stock_line.quantity: 0 is not between 1 and 1000000000", ERR_invalid_field},
    {"stock_line", "82 'product' 'a' 'quantity' ff", "stock_line.quantity: -1 is not between 1 and 1000000000", ERR_invalid_field},
    {"stock_line", "82 'product' 'a' 'quantity' ce 3b9aca01", "stock_line.quantity: 1000000001 is not between 1 and 1000000000",
     ERR_invalid_field},
    {"stock_line", "82 'product' 'a' 'quantity' cf 8000000000000000",
     "stock_line.quantity: more than 9223372036854775807 is not between 1 and 1000000000", ERR_invalid_field},
    {"stock_line", "82 'product' 'a' 'quantity' d3 8000000000000000",
     "stock_line.quantity: -9223372036854775808 is not between 1 and 1000000000", ERR_invalid_field},
    {"stock_line", "82 'product' 'a' 'quantity' ca 3f800000",
     "stock_line.quantity: a number with a fraction where a whole number is needed", ERR_invalid_field},
    {"stock_line", "82 'product' 'a' 'quantity' cb 3ff0000000000000",
     "stock_line.quantity: a number with a fraction where a whole number is needed", ERR_invalid_field},
    {"stock_line", "82 'product' 'a' 'quantity' '1'", "stock_line.quantity: text where a whole number is needed", ERR_invalid_field},
    {"stock_line", "82 'product' 'a' 'quantity' c3", "stock_line.quantity: true or false where a whole number is needed",
     ERR_invalid_field},
    {"stock_line", "82 'product' 'a' 'quantity' cf 00000001", "stock_line.quantity: frame ends inside the value", ERR_malformed},
    {"stock_take", "81 'lines' dd 10000000", "stock_take.lines: frame ends inside the value", ERR_malformed},
    {"stock_take", "81 'lines' 90", "stock_take.lines: 0 elements where 1 to 1000 are allowed", ERR_invalid_field},
    {"stock_take", "81 'lines' 80", "stock_take.lines: a map where a list is needed", ERR_invalid_field},
    {"stock_take", "81 'lines' 91 91 91 91 90", "stock_take.lines: an element is a list where a map is needed", ERR_invalid_field},
    {"stock_take", "81 'lines' 91 80", "stock_line.product: missing", ERR_invalid_field},
    {"stock_take", "81 'lines' 91 81 'product' 'a'", "stock_line.quantity: missing", ERR_invalid_field},
    {"stock_take", "81 'lines' 91 83 'product' 'a' 'quantity' 01 'quantity' 01", "stock_line.quantity: given twice",
     ERR_invalid_field},
    {"stock_take", "81 'lines' 92 82 'product' 'a' 'quantity' 01", "stock_take.lines: frame ends inside the value", ERR_malformed},
    {"stock_take", "82 'lines' 91 82 'product' 'a' 'quantity' 01 'reference' a2 c328", "stock_take.reference: not UTF-8",
     ERR_invalid_field},
    {"stock_take", "82 'lines' 91 82 'product' 'a' 'quantity' 01 'reference' a3 610062", "stock_take.reference: holds a NUL",
     ERR_invalid_field},
    {"factory_get", "81 'id' c40f 000102030405060708090a0b0c0d0e", "factory_get.id: not 16 bytes", ERR_invalid_field},
    {"factory_get", "81 'id' 'donut'", "factory_get.id: text where 16 bytes is needed", ERR_invalid_field},
    {"subscribe", "82 'subscriber' 'a' 'from_start' 01", "subscribe.from_start: a whole number where true or false is needed",
     ERR_invalid_field},
    {"nothing", "81 'a' 01", "nothing.a: no such field", ERR_invalid_field},
    {"sales_product", "82 'product' 'a' 'price' 05", "sales_product.price: a whole number where a map is needed", ERR_invalid_field},
    {"sales_product", "82 'product' 'a' 'price' 82 'amount' 01 'currency' 'BR'", "money.currency: 2 bytes where 3 to 3 are allowed",
     ERR_invalid_field},
    {"problem", "82 'detail' 'a' 'more' 9191919191919191 91 01", "problem: nested deeper than 8 levels", ERR_malformed},
    {"problem", "82 'detail' 'a' 'more' 91", "problem: frame ends inside a field", ERR_malformed},
    {"problem", "82 'detail' 'a' 'more' 91 c1", "problem: a byte that msgpack does not have", ERR_malformed},
};

ParameterizedTestParameters(wire_decode, refuses)
{
    return cr_make_param_array(struct refusal, refusals, sizeof refusals / sizeof refusals[0]);
}

ParameterizedTest(struct refusal *row, wire_decode, refuses)
{
    const struct wire_body *body = body_named(row->body);
    void *target = malloc(body->size);
    struct slice frame = frame_of(row->frame);
    struct err_text why;
    err code = wire_decode(body, frame, target, &why);
    cr_assert_eq(code, row->code, "%s: %s", row->frame, err_symbol(code));
    cr_assert_str_eq(why.text, row->why);
    cr_assert_neq(wire_decode(body, frame, target, NULL), ERR_ok);
    frame_free(frame);
    free(target);
}

Test(wire_decode, refuses_a_name_that_is_too_long_and_quotes_its_start)
{
    struct slice frame =
        frame_of("81 d9 32 6161616161616161616161616161616161616161616161616161616161616161616161616161616161616161616161616161 01");
    struct wire_stock_get get;
    struct err_text why;
    cr_assert_eq(wire_decode(&stock_get_body, frame, &get, &why), ERR_invalid_field);
    cr_assert_str_eq(why.text, "stock_get.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...: no such field");
    frame_free(frame);
}

Test(wire_decode, refuses_a_hundred_levels)
{
    uint8_t bytes[128] = {0x81, 0xa1, 'x'};
    memset(bytes + 3, 0x91, 100);
    bytes[103] = 0xc0;
    struct slice frame = exact_copy(bytes, 104);
    struct wire_request_header header;
    struct err_text why;
    cr_assert_eq(wire_decode(&request_header_body, frame, &header, &why), ERR_malformed);
    cr_assert_str_eq(why.text, "request_header: nested deeper than 8 levels");
    frame_free(frame);
}

Test(wire_decode, refuses_a_frame_above_the_limit)
{
    uint8_t *bytes = calloc(1, WIRE_FRAME_MAX + 1);
    struct wire_stock_get get;
    struct err_text why;
    bytes[0] = 0x80;
    cr_assert_eq(wire_decode(&stock_get_body, (struct slice){bytes, WIRE_FRAME_MAX + 1}, &get, &why), ERR_malformed);
    cr_assert_str_eq(why.text, "stock_get: a frame of 1048577 bytes, at most 1048576 are taken");
    free(bytes);
}

/* --- what is accepted --- */

struct number_row {
    char bytes[24];
    int64_t value;
};

ParameterizedTestParameters(wire_decode, takes_numbers_of_every_width)
{
    static struct number_row rows[] = {
        {"07", 7},
        {"cc07", 7},
        {"cd0007", 7},
        {"ce00000007", 7},
        {"cf0000000000000007", 7},
        {"d007", 7},
        {"d10007", 7},
        {"d200000007", 7},
        {"d30000000000000007", 7},
        {"f9", -7},
        {"d0f9", -7},
        {"d1fff9", -7},
        {"d2fffffff9", -7},
        {"d3fffffffffffffff9", -7},
        {"ccff", 255},
        {"cdffff", 65535},
        {"7f", 127},
        {"e0", -32},
        {"d080", -128},
        {"ce3b9aca00", 1000000000},
        {"d2c4653600", -1000000000},
    };
    return cr_make_param_array(struct number_row, rows, sizeof rows / sizeof rows[0]);
}

ParameterizedTest(struct number_row *row, wire_decode, takes_numbers_of_every_width)
{
    char notation[96];
    snprintf(notation, sizeof notation, "82 'product' 'a' 'delta' %s", row->bytes);
    struct slice frame = frame_of(notation);
    struct wire_stock_adjust adjust;
    struct err_text why = {""};
    cr_assert_eq(wire_decode(&stock_adjust_body, frame, &adjust, &why), ERR_ok, "%s", why.text);
    cr_assert_eq(adjust.delta, row->value);
    frame_free(frame);
}

struct accepted {
    char frame[160];
};

ParameterizedTestParameters(wire_decode, takes_text_lists_and_maps_of_every_width_in_any_order)
{
    static struct accepted rows[] = {
        {"82 'lines' 91 82 'product' 'donut' 'quantity' 02 'reference' 'R1'"},
        {"82 'reference' 'R1' 'lines' 91 82 'quantity' 02 'product' 'donut'"},
        {"de0002 d905 6c696e6573 dc0001 df00000002 'product' da0005 646f6e7574 'quantity' cd0002 'reference' db00000002 5231"},
        {"df00000002 'reference' d902 5231 'lines' dd00000001 de0002 'product' 'donut' 'quantity' 02"},
    };
    return cr_make_param_array(struct accepted, rows, sizeof rows / sizeof rows[0]);
}

ParameterizedTest(struct accepted *row, wire_decode, takes_text_lists_and_maps_of_every_width_in_any_order)
{
    struct slice frame = frame_of(row->frame);
    struct wire_stock_take take;
    struct wire_stock_line line;
    struct err_text why = {""};
    cr_assert_eq(wire_decode(&stock_take_body, frame, &take, &why), ERR_ok, "%s", why.text);
    cr_assert(WIRE_HAS(&take, stock_take, reference) && slice_equal(take.reference, slice_of("R1")));
    cr_assert_eq(take.lines.count, 1);
    cr_assert(wire_list_next(&take.lines, &stock_line_body, &line));
    cr_assert(slice_equal(line.product, slice_of("donut")));
    cr_assert_eq(line.quantity, 2);
    cr_assert(!wire_list_next(&take.lines, &stock_line_body, &line));
    frame_free(frame);
}

Test(wire_decode, skips_unknown_fields_of_a_body_that_may_grow)
{
    struct slice frame = frame_of("85 'a' 01 'detail' 'no' 'b' 92 81 'x' c0 c7020000 00 'c' cb0000000000000000 'asked' 05");
    struct wire_problem problem;
    struct err_text why = {""};
    cr_assert_eq(wire_decode(&problem_body, frame, &problem, &why), ERR_ok, "%s", why.text);
    cr_assert(slice_equal(problem.detail, slice_of("no")));
    cr_assert_eq(problem.asked, 5);
    cr_assert(!WIRE_HAS(&problem, problem, available));
    frame_free(frame);
}

Test(wire_decode, skips_eight_levels_of_an_unknown_field)
{
    struct slice frame = frame_of("82 'detail' 'a' 'more' 9191919191919191 01");
    struct wire_problem problem;
    cr_assert_eq(wire_decode(&problem_body, frame, &problem, NULL), ERR_ok);
    frame_free(frame);
}

Test(wire_decode, leaves_what_was_not_given_zero)
{
    struct slice frame = frame_of("80");
    struct wire_sales_checkout checkout;
    memset(&checkout, 0xff, sizeof checkout);
    cr_assert_eq(wire_decode(&sales_checkout_body, frame, &checkout, NULL), ERR_ok);
    cr_assert_eq(checkout.has, 0);
    cr_assert_eq(checkout.quantity, 0);
    cr_assert_eq(checkout.product.size, 0);
    frame_free(frame);
}

Test(wire_decode, fills_an_embedded_map)
{
    struct slice frame = frame_of("87 'product' 'a' 'price' 82 'amount' 07 'currency' 'BRL' 'on_hand' 01 'reserved' 00"
                                  "'available' 01 'incoming' 00 'version' 01");
    struct wire_sales_product product;
    struct err_text why = {""};
    cr_assert_eq(wire_decode(&sales_product_body, frame, &product, &why), ERR_ok, "%s", why.text);
    cr_assert(WIRE_HAS(&product, sales_product, price) && WIRE_HAS(&product.price, money, currency));
    cr_assert_eq(product.price.amount, 7);
    cr_assert(slice_equal(product.price.currency, slice_of("BRL")));
    frame_free(frame);
}

/* --- random messages --- */

static struct slice
exact_random_frame(struct material *material, const struct wire_body *body)
{
    struct slice roomy = random_frame(material, body);
    struct slice frame = exact_copy(roomy.data, roomy.size);
    frame_free(roomy);
    return frame;
}

/* Whether the frame, decoded and encoded again, gives a frame that decodes and encodes to itself. */
static bool
is_stable(const struct wire_body *body, struct slice frame)
{
    struct wire_buffer once = {0};
    struct wire_buffer twice = {0};
    struct err_text why = {""};
    void *target = malloc(body->size);
    bool stable = wire_decode(body, frame, target, &why) == ERR_ok;
    if (stable) {
        wire_encode(body, target, &once);
        struct slice copy = exact_copy(once.data, once.size);
        stable = wire_decode(body, copy, target, &why) == ERR_ok;
        cr_assert(stable, "%s", why.text);
        wire_encode(body, target, &twice);
        cr_assert(slice_equal(wire_buffer_slice(&once), wire_buffer_slice(&twice)), "%s", body->name);
        frame_free(copy);
    }
    wire_buffer_fini(&once);
    wire_buffer_fini(&twice);
    free(target);
    return stable;
}

Test(wire_codec, reads_back_every_body_as_it_was_written)
{
    struct material material;
    material_init(&material, 20240229);
    for (int round = 0; round < 50 * WIRE_BODY_COUNT; round++) {
        const struct wire_body *body = wire_bodies[round % WIRE_BODY_COUNT];
        struct slice frame = exact_random_frame(&material, body);
        struct wire_buffer again = {0};
        void *target = malloc(body->size);
        struct err_text why = {""};
        cr_assert_eq(wire_decode(body, frame, target, &why), ERR_ok, "%s", why.text);
        wire_encode(body, target, &again);
        cr_assert(slice_equal(frame, wire_buffer_slice(&again)), "%s", body->name);
        wire_buffer_fini(&again);
        free(target);
        frame_free(frame);
    }
    material_fini(&material);
}

Test(wire_codec, refuses_every_frame_that_is_cut_short_or_too_long)
{
    struct material material;
    material_init(&material, 7);
    for (int i = 0; i < WIRE_BODY_COUNT; i++) {
        const struct wire_body *body = wire_bodies[i];
        struct slice frame = exact_random_frame(&material, body);
        void *target = malloc(body->size);
        size_t step = frame.size / 400 + 1;
        for (size_t size = 0; size < frame.size; size += step) {
            struct slice cut = exact_copy(frame.data, size);
            cr_assert_eq(wire_decode(body, cut, target, NULL), ERR_malformed, "%s of %zu bytes", body->name, size);
            frame_free(cut);
        }
        uint8_t *longer = calloc(1, frame.size + 1);
        memcpy(longer, frame.data, frame.size);
        cr_assert_eq(wire_decode(body, (struct slice){longer, frame.size + 1}, target, NULL), ERR_malformed);
        free(longer);
        free(target);
        frame_free(frame);
    }
    material_fini(&material);
}

Test(wire_codec, takes_or_refuses_every_mutated_frame_and_stays_inside_it)
{
    struct material material;
    material_init(&material, 99);
    unsigned taken = 0;
    unsigned rounds = 400 * WIRE_BODY_COUNT;
    for (unsigned round = 0; round < rounds; round++) {
        const struct wire_body *body = wire_bodies[round % WIRE_BODY_COUNT];
        struct slice original = random_frame(&material, body);
        uint8_t *bytes = malloc(original.size);
        struct slice frame = {bytes, original.size};
        memcpy(bytes, original.data, original.size);
        frame_free(original);
        for (uint64_t changes = 1 + random_below(&material, 3); changes > 0; changes--) {
            size_t reach = frame.size < 200 ? frame.size : 200;
            bytes[random_below(&material, reach)] = (uint8_t)random_below(&material, 256);
        }
        taken += is_stable(body, frame) ? 1 : 0;
        frame_free(frame);
    }
    cr_assert(taken > rounds / 20 && taken < rounds, "%u of %u", taken, rounds);
    material_fini(&material);
}

/* --- the second reader --- */

static void
assert_same_body(const struct wire_body *body, const void *source, const msgpack_object *object);

static void
assert_same_bytes(const struct wire_field *field, struct slice bytes, const msgpack_object *object)
{
    if (field->kind == WIRE_BYTES) {
        cr_assert_eq(object->type, MSGPACK_OBJECT_BIN);
        cr_assert(slice_equal(bytes, (struct slice){(const uint8_t *)object->via.bin.ptr, object->via.bin.size}));
    } else {
        cr_assert_eq(object->type, MSGPACK_OBJECT_STR);
        cr_assert(slice_equal(bytes, (struct slice){(const uint8_t *)object->via.str.ptr, object->via.str.size}));
    }
}

static void
assert_same_list(const struct wire_field *field, struct wire_list list, const msgpack_object *object)
{
    cr_assert_eq(object->type, MSGPACK_OBJECT_ARRAY);
    cr_assert_eq(object->via.array.size, list.count);
    void *element = malloc(field->element->size);
    for (uint32_t i = 0; i < object->via.array.size; i++) {
        cr_assert(wire_list_next(&list, field->element, element));
        assert_same_body(field->element, element, &object->via.array.ptr[i]);
    }
    cr_assert(!wire_list_next(&list, field->element, element));
    free(element);
}

static void
assert_same_number(int64_t number, const msgpack_object *object)
{
    if (number < 0) {
        cr_assert_eq(object->type, MSGPACK_OBJECT_NEGATIVE_INTEGER);
        cr_assert_eq(object->via.i64, number);
    } else {
        cr_assert_eq(object->type, MSGPACK_OBJECT_POSITIVE_INTEGER);
        cr_assert_eq(object->via.u64, (uint64_t)number);
    }
}

static void
assert_same_field(const struct wire_field *field, const void *place, const msgpack_object *object)
{
    int64_t number = 0;
    struct slice bytes;
    struct wire_list list;
    switch ((enum wire_kind)field->kind) {
    case WIRE_BOOL:
        cr_assert_eq(object->type, MSGPACK_OBJECT_BOOLEAN);
        cr_assert_eq(object->via.boolean, *(const bool *)place);
        break;
    case WIRE_I64:
    case WIRE_TIME:
        memcpy(&number, place, sizeof number);
        assert_same_number(number, object);
        break;
    case WIRE_STR:
    case WIRE_NAME:
    case WIRE_BYTES:
        memcpy(&bytes, place, sizeof bytes);
        assert_same_bytes(field, bytes, object);
        break;
    case WIRE_ID:
        cr_assert_eq(object->type, MSGPACK_OBJECT_BIN);
        cr_assert_eq(object->via.bin.size, ID_SIZE);
        cr_assert_eq(memcmp(object->via.bin.ptr, place, ID_SIZE), 0);
        break;
    case WIRE_LIST:
        memcpy(&list, place, sizeof list);
        assert_same_list(field, list, object);
        break;
    case WIRE_MAP:
        assert_same_body(field->element, place, object);
        break;
    }
}

static void
assert_same_body(const struct wire_body *body, const void *source, const msgpack_object *object)
{
    uint64_t has = 0;
    uint32_t at = 0;
    memcpy(&has, source, sizeof has);
    cr_assert_eq(object->type, MSGPACK_OBJECT_MAP);
    for (size_t i = 0; i < body->field_count; i++) {
        if ((has >> i & 1) == 0) {
            continue;
        }
        cr_assert_lt(at, object->via.map.size);
        const msgpack_object_kv *entry = &object->via.map.ptr[at++];
        cr_assert_eq(entry->key.type, MSGPACK_OBJECT_STR);
        struct slice name = {(const uint8_t *)entry->key.via.str.ptr, entry->key.via.str.size};
        cr_assert(slice_equal(name, slice_of(body->fields[i].name)));
        assert_same_field(&body->fields[i], (const uint8_t *)source + body->fields[i].offset, &entry->val);
    }
    cr_assert_eq(at, object->via.map.size);
}

Test(wire_encode, writes_what_msgpack_c_reads)
{
    struct material material;
    material_init(&material, 4711);
    for (int round = 0; round < 20 * WIRE_BODY_COUNT; round++) {
        const struct wire_body *body = wire_bodies[round % WIRE_BODY_COUNT];
        struct slice frame = exact_random_frame(&material, body);
        void *target = malloc(body->size);
        cr_assert_eq(wire_decode(body, frame, target, NULL), ERR_ok);
        msgpack_unpacked unpacked;
        size_t end = 0;
        msgpack_unpacked_init(&unpacked);
        cr_assert_eq(msgpack_unpack_next(&unpacked, (const char *)frame.data, frame.size, &end), MSGPACK_UNPACK_SUCCESS);
        cr_assert_eq(end, frame.size);
        assert_same_body(body, target, &unpacked.data);
        msgpack_unpacked_destroy(&unpacked);
        free(target);
        frame_free(frame);
    }
    material_fini(&material);
}

/* --- writing --- */

Test(wire_encode, leaves_out_what_is_not_set)
{
    struct wire_sales_checkout checkout = {0};
    struct wire_buffer out = {0};
    checkout.quantity = 9;
    wire_encode(&sales_checkout_body, &checkout, &out);
    cr_assert_eq(out.size, 1);
    cr_assert_eq(out.data[0], 0x80);
    wire_buffer_fini(&out);
    cr_assert_null(out.data);
}

Test(wire_encode, appends_to_what_the_buffer_holds)
{
    struct wire_stock_get get = {0};
    struct wire_buffer out = {0};
    WIRE_SET(&get, stock_get, product, slice_of("a"));
    wire_buffer_append(&out, "x", 1);
    wire_encode(&stock_get_body, &get, &out);
    cr_assert_eq(out.size, 12);
    cr_assert_eq(memcmp(out.data,
                        "x\x81\xa7product\xa1"
                        "a",
                        12),
                 0);
    wire_buffer_fini(&out);
}

/* Nothing is written, and the fault is this one. */
static void
expect_unsaid(const struct wire_body *body, const void *source, enum wire_fault_kind kind, const char *words)
{
    struct wire_buffer out = {0};
    struct err_text why;
    wire_buffer_append(&out, "before", 6);
    cr_assert_not(wire_encode(body, source, &out), "%s", words);
    cr_assert_eq(out.size, 6, "something of it was written");
    cr_assert_eq(wire_fault()->kind, kind);
    cr_assert_eq(wire_fault_say(&why, ERR_internal), ERR_internal);
    cr_assert_str_eq(why.text, words);
    wire_buffer_fini(&out);
}

Test(wire_encode, does_not_say_a_body_without_a_required_field)
{
    struct wire_stock_get get = {0};
    expect_unsaid(&stock_get_body, &get, WIRE_FAULT_MISSING, "stock_get.product: missing");
}

Test(wire_encode, does_not_say_a_number_out_of_bounds)
{
    struct wire_sales_checkout checkout = {0};
    WIRE_SET(&checkout, sales_checkout, quantity, 0);
    expect_unsaid(&sales_checkout_body, &checkout, WIRE_FAULT_BOUNDS, "sales_checkout.quantity: 0 is not in 1..1000000000");
    WIRE_SET(&checkout, sales_checkout, quantity, INT64_MAX);
    expect_unsaid(&sales_checkout_body, &checkout, WIRE_FAULT_BOUNDS,
                  "sales_checkout.quantity: 9223372036854775807 is not in 1..1000000000");
}

Test(wire_encode, does_not_say_text_of_another_shape)
{
    struct wire_problem problem = {0};
    WIRE_SET(&problem, problem, detail, slice_of("\xff"));
    expect_unsaid(&problem_body, &problem, WIRE_FAULT_SHAPE, "problem.detail: its 1 bytes are not of its shape");
    WIRE_SET(&problem, problem, detail, (struct slice){(const uint8_t *)"a\0b", 3});
    expect_unsaid(&problem_body, &problem, WIRE_FAULT_SHAPE, "problem.detail: its 3 bytes are not of its shape");
    WIRE_SET(&problem, problem, detail, slice_of(""));
    WIRE_SET(&problem, problem, product, slice_of("two words"));
    expect_unsaid(&problem_body, &problem, WIRE_FAULT_SHAPE, "problem.product: its 9 bytes are not of its shape");
}

Test(wire_encode, does_not_say_a_text_that_is_too_long_or_too_short)
{
    char text[257];
    struct wire_problem problem = {0};
    memset(text, 'a', sizeof text);
    WIRE_SET(&problem, problem, detail, (struct slice){(const uint8_t *)text, 256});
    expect_unsaid(&problem_body, &problem, WIRE_FAULT_SIZE, "problem.detail: a size of 256 is not in 0..255");
    WIRE_SET(&problem, problem, detail, slice_of(""));
    WIRE_SET(&problem, problem, status, slice_of(""));
    expect_unsaid(&problem_body, &problem, WIRE_FAULT_SIZE, "problem.status: a size of 0 is not in 1..16");
}

Test(wire_encode, names_the_body_that_is_embedded)
{
    struct wire_sales_product product = {0};
    WIRE_SET(&product, sales_product, product, slice_of("tea"));
    WIRE_SET(&product, sales_product, price, (struct wire_money){0});
    WIRE_SET(&product.price, money, amount, -1);
    WIRE_SET(&product.price, money, currency, slice_of("EUR"));
    WIRE_SET(&product, sales_product, on_hand, 0);
    WIRE_SET(&product, sales_product, reserved, 0);
    WIRE_SET(&product, sales_product, available, 0);
    WIRE_SET(&product, sales_product, incoming, 0);
    WIRE_SET(&product, sales_product, version, 0);
    expect_unsaid(&sales_product_body, &product, WIRE_FAULT_BOUNDS, "money.amount: -1 is not in 0..1000000000000000");
}

Test(wire_encode, does_not_say_a_frame_that_nobody_would_take)
{
    static uint8_t bytes[WIRE_FRAME_MAX];
    struct wire_fetched_event event = {0};
    WIRE_SET(&event, fetched_event, header, (struct slice){bytes, sizeof bytes});
    WIRE_SET(&event, fetched_event, body, (struct slice){bytes, 1});
    expect_unsaid(&fetched_event_body, &event, WIRE_FAULT_SIZE, "fetched_event: a size of 1048597 is not in 0..1048576");
    WIRE_SET(&event, fetched_event, header, (struct slice){bytes, sizeof bytes - 21});
    struct wire_buffer out = {0};
    cr_assert(wire_encode(&fetched_event_body, &event, &out));
    cr_assert_eq(out.size, WIRE_FRAME_MAX);
    wire_buffer_fini(&out);
}

Test(wire_list, with_an_element_that_cannot_be_said_breaks_its_body)
{
    struct wire_stock_take take = {0};
    struct wire_stock_line line = {0};
    struct wire_list lines = {0};
    struct wire_buffer elements = {0};
    WIRE_SET(&line, stock_line, product, slice_of("tea"));
    for (int64_t quantity = 2; quantity >= 0; quantity--) {
        WIRE_SET(&line, stock_line, quantity, quantity);
        cr_assert_eq(wire_list_add(&lines, &stock_line_body, &line, &elements), quantity > 0);
    }
    wire_list_end(&lines, &elements);
    cr_assert_eq(lines.count, 2);
    WIRE_SET(&take, stock_take, lines, lines);
    expect_unsaid(&stock_take_body, &take, WIRE_FAULT_BOUNDS, "stock_line.quantity: 0 is not in 1..1000000000");
    wire_buffer_fini(&elements);
}

Test(wire_list, of_bytes_that_are_none_ends)
{
    struct wire_stock_line line;
    struct wire_list lines = {.data = (const uint8_t *)"\x82\xa7product", .size = 9, .count = 3};
    cr_assert_not(wire_list_next(&lines, &stock_line_body, &line));
    cr_assert_eq(lines.count, 0);
    lines = (struct wire_list){.count = 1};
    cr_assert_not(wire_list_next(&lines, &stock_line_body, &line));
}

/* --- names --- */

Test(wire_op_find, finds_every_operation_by_its_name_alone)
{
    for (unsigned op = 0; op < OP_COUNT; op++) {
        const char *name = wire_ops[op].name;
        size_t size = strlen(name);
        size_t owner_size = strlen(wire_ops[op].owner);
        cr_assert_eq(wire_op_find(name, size), op);
        enum op cut = wire_op_find(name, size - 1);
        cr_assert(cut == OP_COUNT || strlen(wire_ops[cut].name) == size - 1, "%s is found by a part of its name", name);
        cr_assert(strncmp(name, wire_ops[op].owner, owner_size) == 0 && name[owner_size] == '.');
    }
    cr_assert_eq(wire_op_find("stock.steal", 11), OP_COUNT);
    cr_assert_eq(wire_op_find("", 0), OP_COUNT);
}

Test(wire_event_find, finds_every_event_by_its_name_alone)
{
    for (unsigned event = 0; event < EVENT_COUNT; event++) {
        const char *name = wire_events[event].name;
        cr_assert_eq(wire_event_find(name, strlen(name)), event);
        cr_assert_eq(wire_event_find(name, strlen(name) - 1), EVENT_COUNT);
    }
}

Test(wire_bodies, have_each_name_once)
{
    for (int i = 0; i < WIRE_BODY_COUNT; i++) {
        cr_assert_eq(body_named(wire_bodies[i]->name), wire_bodies[i]);
    }
}

/* --- values --- */

struct text_row {
    char bytes[32];
    bool is_utf8;
    bool is_name;
};

ParameterizedTestParameters(wire_text, is_judged)
{
    static struct text_row rows[] = {
        {"donut", true, true},
        {"CP-502101", true, true},
        {"a_b-C9", true, true},
        {"", true, false},
        {"do nut", true, false},
        {"a.b", true, false},
        {"a/b", true, false},
        {"0123456\xc3\xa9 0123456789abcdef", true, false},
        {"\xe2\x82\xac\xf0\x9f\x8d\xa9", true, false},
        {"\xf4\x8f\xbf\xbf", true, false},
        {"\xed\x9f\xbf\xee\x80\x80", true, false},
        {"\xc0\x80", false, false},
        {"\xc1\xbf", false, false},
        {"\xe0\x9f\xbf", false, false},
        {"\xf0\x8f\xbf\xbf", false, false},
        {"\xed\xa0\x80", false, false},
        {"\xf4\x90\x80\x80", false, false},
        {"\xf5\x80\x80\x80", false, false},
        {"\x80", false, false},
        {"abcdefg\xc3", false, false},
        {"abcdefgh\xe2\x82", false, false},
        {"\xc3\x28", false, false},
        {"\xe2\x28\xa1", false, false},
        {"\xf0\x9f\x28\xa1", false, false},
        {"01234567\xff", false, false},
    };
    return cr_make_param_array(struct text_row, rows, sizeof rows / sizeof rows[0]);
}

ParameterizedTest(struct text_row *row, wire_text, is_judged)
{
    struct slice text = exact_copy(row->bytes, strlen(row->bytes));
    cr_assert_eq(wire_is_utf8(text), row->is_utf8, "%s", row->bytes);
    cr_assert_eq(wire_is_name(text), row->is_name, "%s", row->bytes);
    frame_free(text);
}

Test(wire_text, holds_no_nul_at_any_place)
{
    for (size_t at = 0; at < 20; at++) {
        uint8_t bytes[20];
        memset(bytes, 'a', sizeof bytes);
        cr_assert(wire_is_utf8((struct slice){bytes, sizeof bytes}));
        bytes[at] = 0;
        cr_assert(!wire_is_utf8((struct slice){bytes, sizeof bytes}), "at %zu", at);
    }
}

Test(wire_text, is_not_a_name_beyond_64_bytes)
{
    char name[WIRE_NAME_MAX + 2];
    memset(name, 'a', sizeof name);
    cr_assert(wire_is_name((struct slice){(const uint8_t *)name, WIRE_NAME_MAX}));
    cr_assert(!wire_is_name((struct slice){(const uint8_t *)name, WIRE_NAME_MAX + 1}));
}

/* The sums are those of the FNV authors' test vectors: cbf29ce484222325, af63dc4c8601ec8c, 85944171f73967e8. */
Test(wire_shard_of, is_fnv_1a_modulo_the_shards)
{
    cr_assert_eq(wire_shard_of(slice_of(""), 1000), 37);
    cr_assert_eq(wire_shard_of(slice_of("a"), 1000), 996);
    cr_assert_eq(wire_shard_of(slice_of("foobar"), 1000), 968);
    cr_assert_eq(wire_shard_of(slice_of("foobar"), 1), 0);
}
