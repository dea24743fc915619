/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Claims about fingerprints of requests: what counts as the same request, and that those of earlier versions are believed.
 *
 * LIMITS   The numbers in here are in databases. None of them ever changes; a test that fails must not be mended by another number.
 */
#include <criterion/criterion.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kit/durable/fingerprint.h"

/* --- frames --- */

struct frame {
    uint8_t bytes[256];
    size_t size;
};

static unsigned
nibble(char digit)
{
    return (unsigned)(digit <= '9' ? digit - '0' : digit - 'a' + 10);
}

/* Reads "81 'lines' 01": hexadecimal bytes, and text in quotes, which gets the head of a short msgpack string before it. */
static struct frame
frame_of(const char *notation)
{
    struct frame frame = {.size = 0};
    for (const char *at = notation; *at != '\0';) {
        if (*at == ' ') {
            at++;
        } else if (*at == '\'') {
            size_t length = (size_t)(strchr(at + 1, '\'') - at - 1);
            frame.bytes[frame.size++] = (uint8_t)(0xa0 | length);
            memcpy(frame.bytes + frame.size, at + 1, length);
            frame.size += length;
            at += length + 2;
        } else {
            frame.bytes[frame.size++] = (uint8_t)(nibble(at[0]) << 4 | nibble(at[1]));
            at += 2;
        }
    }
    return frame;
}

static struct slice
bytes_of(const struct frame *frame)
{
    return (struct slice){frame->bytes, frame->size};
}

/* Of frames that the codec takes: a mistake in a test is not compared. */
static uint64_t
hash_of(enum op op, const char *notation)
{
    struct frame frame = frame_of(notation);
    struct err_text why = {""};
    void *body = calloc(1, wire_ops[op].request->size);
    cr_assert(wire_decode(wire_ops[op].request, bytes_of(&frame), body, &why) == ERR_ok, "%s: %s", notation, why.text);
    free(body);
    struct fingerprint made = fingerprint_of(op, bytes_of(&frame));
    cr_assert(made.kind == FINGERPRINT_NAMED);
    cr_expect(fingerprint_fits(&made, op, bytes_of(&frame)));
    return made.hash;
}

#define TAKE "82 'lines' 91 82 'product' 'donut' 'quantity' 02 'reference' 'r'"
#define COMMIT "82 'hold' c410 0102030405060708090a0b0c0d0e0f10 'reference' 'o'"

/* --- what is the same --- */

Test(fingerprint, the_order_of_fields_does_not_count)
{
    cr_expect(hash_of(OP_stock_take, TAKE) ==
              hash_of(OP_stock_take, "82 'reference' 'r' 'lines' 91 82 'quantity' 02 'product' 'donut'"));
    cr_expect(hash_of(OP_product_put, "84 'product' 'a' 'name' 'b' 'category' 'c' 'price' 82 'amount' 05 'currency' 'KRW'") ==
              hash_of(OP_product_put, "84 'price' 82 'currency' 'KRW' 'amount' 05 'category' 'c' 'name' 'b' 'product' 'a'"));
}

Test(fingerprint, the_form_of_numbers_texts_and_counts_does_not_count)
{
    cr_expect(hash_of(OP_stock_take, TAKE) ==
              hash_of(OP_stock_take, "de0002 d9056c696e6573 dd00000001 82 'product' da0005646f6e7574 'quantity' cf0000000000000002"
                                     " 'reference' db0000000172"));
    cr_expect(hash_of(OP_stock_adjust, "82 'product' 'a' 'delta' ff") ==
              hash_of(OP_stock_adjust, "82 'product' 'a' 'delta' d3ffffffffffffffff"));
}

Test(fingerprint, what_leaving_a_field_out_means_is_as_if_it_were_left_out)
{
    cr_expect(hash_of(OP_stock_take, "81 'lines' 91 82 'product' 'donut' 'quantity' 02") ==
              hash_of(OP_stock_take, "82 'lines' 91 82 'product' 'donut' 'quantity' 02 'reference' a0"));
    cr_expect(hash_of(OP_payment_confirm, "81 'charge' c410 0102030405060708090a0b0c0d0e0f10") ==
              hash_of(OP_payment_confirm, "82 'charge' c410 0102030405060708090a0b0c0d0e0f10 'approved' c3"));
    cr_expect(hash_of(OP_product_put, "84 'product' 'a' 'name' 'b' 'category' 'c' 'price' 82 'amount' 05 'currency' 'KRW'") ==
              hash_of(OP_product_put, "87 'product' 'a' 'name' 'b' 'category' 'c' 'price' 82 'amount' 05 'currency' 'KRW'"
                                      " 'images' 90 'description' a0 'active' c3"));
}

/* A map of this one field, with the value in its text. */
static struct frame
alone(const struct wire_field *field, const char *value)
{
    struct frame frame = {.bytes = {0x81}, .size = 1};
    struct slice name = slice_of(field->name);
    frame.bytes[frame.size++] = (uint8_t)(0xa0 | name.size);
    memcpy(frame.bytes + frame.size, name.data, name.size);
    frame.size += name.size;
    if (field->kind == WIRE_BOOL) {
        frame.bytes[frame.size++] = value[0] == 't' ? 0xc3 : 0xc2;
    } else if (field->kind == WIRE_I64) {
        int64_t number = strtoll(value, NULL, 10);
        frame.bytes[frame.size++] = 0xd3;
        for (int i = 7; i >= 0; i--) {
            frame.bytes[frame.size++] = (uint8_t)(number >> 8 * i);
        }
    } else if (field->kind == WIRE_LIST) {
        frame.bytes[frame.size++] = 0x90;
    } else {
        frame.bytes[frame.size++] = (uint8_t)(0xa0 | strlen(value));
        memcpy(frame.bytes + frame.size, value, strlen(value));
        frame.size += strlen(value);
    }
    return frame;
}

Test(fingerprint, every_field_that_says_what_leaving_it_out_means_is_as_if_it_were_left_out)
{
    const struct frame nothing = frame_of("80");
    int seen = 0;
    for (unsigned i = 0; i < WIRE_BODY_COUNT; i++) {
        for (size_t k = 0; k < wire_bodies[i]->field_count; k++) {
            const struct wire_field *field = &wire_bodies[i]->fields[k];
            if (field->otherwise == NULL) {
                continue;
            }
            struct frame same = alone(field, field->otherwise);
            struct frame other = alone(field, field->kind == WIRE_BOOL ? field->otherwise[0] == 't' ? "false" : "true" : "77");
            cr_expect(field->need == OPTIONAL, "%s.%s", wire_bodies[i]->name, field->name);
            cr_expect(wire_hash(wire_bodies[i], bytes_of(&same), NULL) == wire_hash(wire_bodies[i], bytes_of(&nothing), NULL), "%s.%s",
                      wire_bodies[i]->name, field->name);
            cr_expect(field->kind == WIRE_LIST ||
                          wire_hash(wire_bodies[i], bytes_of(&other), NULL) != wire_hash(wire_bodies[i], bytes_of(&nothing), NULL),
                      "%s.%s", wire_bodies[i]->name, field->name);
            seen++;
        }
    }
    cr_expect(seen >= 31, "one was taken away: what was stored of requests with it is another request's now");
}

/* --- what is another --- */

Test(fingerprint, another_value_field_order_of_a_list_or_operation_is_another)
{
    static const struct {
        enum op op;
        const char *notation;
    } all[] = {
        {OP_stock_take, TAKE},
        {OP_stock_reserve, TAKE},
        {OP_stock_take, "82 'lines' 91 82 'product' 'donut' 'quantity' 03 'reference' 'r'"},
        {OP_stock_take, "82 'lines' 91 82 'product' 'donus' 'quantity' 02 'reference' 'r'"},
        {OP_stock_take, "82 'lines' 91 82 'product' 'donut' 'quantity' 02 'reference' 's'"},
        {OP_stock_take, "81 'lines' 91 82 'product' 'donut' 'quantity' 02"},
        {OP_stock_take, "82 'lines' 92 82 'product' 'a' 'quantity' 01 82 'product' 'b' 'quantity' 02 'reference' 'r'"},
        {OP_stock_take, "82 'lines' 92 82 'product' 'b' 'quantity' 02 82 'product' 'a' 'quantity' 01 'reference' 'r'"},
        {OP_stock_take, "82 'lines' 92 82 'product' 'a' 'quantity' 02 82 'product' 'b' 'quantity' 01 'reference' 'r'"},
        {OP_stock_commit, COMMIT},
        {OP_stock_release, COMMIT},
        {OP_stock_return, COMMIT},
        {OP_stock_adjust, "83 'product' 'a' 'delta' 01 'reason' 'b'"},
        {OP_stock_adjust, "83 'product' 'a' 'delta' 01 'reference' 'b'"},
    };
    enum { COUNT = sizeof all / sizeof all[0] };
    for (size_t i = 0; i < COUNT; i++) {
        for (size_t k = 0; k < i; k++) {
            cr_expect(hash_of(all[i].op, all[i].notation) != hash_of(all[k].op, all[k].notation), "%zu and %zu", i, k);
        }
    }
}

Test(fingerprint, one_field_may_be_left_out_by_name)
{
    struct frame with = frame_of("82 'email' 'a@b' 'password' 'sesame!!'");
    struct frame without = frame_of("81 'email' 'a@b'");
    cr_expect(wire_hash(&user_register_body, bytes_of(&with), "password") == wire_hash(&user_register_body, bytes_of(&without), NULL));
    cr_expect(wire_hash(&user_register_body, bytes_of(&with), NULL) != wire_hash(&user_register_body, bytes_of(&without), NULL));
}

Test(fingerprint, a_frame_that_is_cut_off_says_something_and_is_not_read_behind_its_end)
{
    struct frame frame = frame_of(TAKE);
    for (size_t size = 0; size < frame.size; size++) {
        uint8_t *exact = malloc(size == 0 ? 1 : size);
        memcpy(exact, frame.bytes, size);
        (void)wire_hash(&stock_take_body, (struct slice){exact, size}, NULL);
        free(exact);
    }
}

/* --- what is stored --- */

Test(fingerprint, what_is_stored_never_changes)
{
    cr_expect(hash_of(OP_stock_take, TAKE) == UINT64_C(0x467adb80f96010a9), "%016" PRIx64, hash_of(OP_stock_take, TAKE));
    cr_expect(hash_of(OP_stock_commit, COMMIT) == UINT64_C(0x8cb9a22d08d60e27), "%016" PRIx64, hash_of(OP_stock_commit, COMMIT));
    cr_expect(FINGERPRINT_RAW == 0 && FINGERPRINT_NAMED == 1);
}

static bool
fits_raw(uint64_t hash, enum op op, const char *notation)
{
    struct frame frame = frame_of(notation);
    return fingerprint_fits(&(struct fingerprint){.hash = hash, .kind = FINGERPRINT_RAW}, op, bytes_of(&frame));
}

/* The hashes were made by the code of those versions. */
Test(fingerprint, those_of_every_earlier_version_are_believed)
{
    cr_expect(fits_raw(UINT64_C(0x0a3ad073e23b0ff8), OP_stock_take, TAKE), "when stock.take was number 4");
    cr_expect(fits_raw(UINT64_C(0x84fa1b03a44be1d3), OP_stock_take, TAKE), "when stock.take was number 8");
    cr_expect(fits_raw(UINT64_C(0x148441cda4487d40), OP_stock_commit, COMMIT), "when stock.commit was number 7");
    cr_expect(fits_raw(UINT64_C(0x0b609f03140ca4e5), OP_stock_commit, COMMIT), "when stock.commit was number 11");
}

Test(fingerprint, one_of_an_earlier_version_is_that_of_its_request_alone)
{
    cr_expect_not(fits_raw(UINT64_C(0x0a3ad073e23b0ff8), OP_stock_reserve, TAKE), "stock.reserve never was number 4");
    cr_expect_not(fits_raw(UINT64_C(0x84fa1b03a44be1d3), OP_stock_reserve, TAKE));
    cr_expect_not(fits_raw(UINT64_C(0x0b609f03140ca4e5), OP_stock_release, COMMIT));
    cr_expect_not(
        fits_raw(UINT64_C(0x84fa1b03a44be1d3), OP_stock_take, "82 'lines' 91 82 'product' 'donut' 'quantity' 03 'reference' 'r'"));
}

Test(fingerprint, of_a_kind_that_is_not_known_fits_nothing)
{
    struct frame frame = frame_of(TAKE);
    struct fingerprint later = fingerprint_of(OP_stock_take, bytes_of(&frame));
    later.kind = 2;
    cr_expect_not(fingerprint_fits(&later, OP_stock_take, bytes_of(&frame)));
}

/* As they stood in the history of messages.def when fingerprints by name began. */
static const struct {
    const char *name;
    uint8_t numbers[8];
} history[] = {
    {"any.ping", {0}},
    {"any.fetch", {1}},
    {"any.subscribe", {2}},
    {"any.unsubscribe", {3}},
    {"any.retry", {4}},
    {"any.edit", {5}},
    {"any.discard", {6}},
    {"any.restore", {7}},
    {"stock.take", {4, 8, 9}},
    {"stock.reserve", {5, 9, 10}},
    {"stock.extend", {6, 10, 11}},
    {"stock.commit", {7, 11, 12}},
    {"stock.release", {8, 12, 13}},
    {"stock.return", {13, 14}},
    {"stock.adjust", {9, 13, 14, 15}},
    {"stock.count", {10, 14, 15, 16}},
    {"stock.configure", {11, 15, 16, 17}},
    {"stock.get", {12, 16, 17, 18}},
    {"stock.list", {13, 17, 18, 19}},
    {"stock.moves", {14, 18, 19, 20}},
    {"stock.holds", {15, 19, 20, 21}},
    {"stock.hold", {16, 20, 21, 22}},
    {"sales.show", {16, 17, 21, 22, 23}},
    {"sales.checkout", {17, 18, 22, 23, 24}},
    {"factory.produce", {18, 19, 23, 24, 25}},
    {"factory.get", {19, 20, 24, 25, 26}},
    {"factory.list", {20, 21, 25, 26, 27}},
    {"factory.cancel", {21, 22, 26, 27, 28}},
    {"factory.callback", {21, 22, 23, 27, 28, 29}},
    {"product.put", {29}},
    {"product.patch", {30, 31}},
    {"product.get", {31, 32}},
    {"product.list", {32, 33}},
    {"product.load", {33, 34}},
    {"product.categories", {34, 35}},
    {"product.categorise", {35, 36}},
    {"user.register", {36, 37}},
    {"user.get", {37, 38}},
    {"user.find", {38, 39}},
    {"user.list", {39, 40}},
    {"user.change", {40, 41}},
    {"user.sign_in", {41, 42}},
    {"user.issue", {42, 43}},
    {"user.keys", {43, 44}},
    {"user.erase", {44, 45}},
    {"user.erasure", {45, 46}},
    {"order.place", {46, 47}},
    {"order.get", {47, 48}},
    {"order.list", {48, 49}},
    {"order.kitchen", {49, 50}},
    {"order.advance", {50}},
    {"order.cancel", {51}},
    {"order.pay", {52, 53}},
    {"order.timeline", {53, 54}},
    {"payment.charge", {54, 55}},
    {"payment.cancel", {55, 56}},
    {"payment.refund", {56}},
    {"payment.confirm", {57, 58}},
    {"payment.get", {58, 59}},
    {"payment.list", {59, 60}},
    {"payment.refunds", {60, 61}},
    {"payment.webhook", {61, 62}},
    {"dlq.bury", {28, 62, 63}},
    {"dlq.list", {29, 63, 64}},
    {"dlq.show", {30, 64, 65}},
    {"dlq.stats", {31, 65, 66}},
    {"dlq.replay", {32, 66}},
    {"dlq.edit", {33, 67}},
    {"dlq.discard", {34, 68}},
    {"dlq.restore", {35, 69, 70}},
    {"dlq.start", {36, 70, 71}},
    {"dlq.status", {37, 71, 72}},
    {"dlq.replays", {38, 72, 73}},
    {"dlq.cancel", {39, 73, 74}},
    {"dlq.hand_over", {40, 74, 75}},
    {"dlq.outcome", {75, 76}},
    {"dlq.fetch", {41, 75, 76, 77}},
    {"dlq.subscribe", {42, 76, 77}},
    {"dlq.receive", {43, 77, 78, 79}},
    {"dlq.unsubscribe", {44, 78, 79, 80}},
};

static uint64_t
raw_of(uint64_t number)
{
    return ((UINT64_C(14695981039346656037) ^ number) ^ 0x80) * UINT64_C(1099511628211);
}

Test(fingerprint, no_number_that_an_operation_ever_had_is_dropped)
{
    for (size_t i = 0; i < sizeof history / sizeof history[0]; i++) {
        enum op op = wire_op_find(history[i].name, strlen(history[i].name));
        cr_assert(op != OP_COUNT, "%s was taken away: what was done under its ids is another request's now", history[i].name);
        for (size_t k = 0; k < 8 && (k == 0 || history[i].numbers[k] != 0); k++) {
            cr_expect(fits_raw(raw_of(history[i].numbers[k]), op, "80"), "%s, number %d", history[i].name, history[i].numbers[k]);
        }
    }
}

/* Whether a body that one takes may be one that the other takes: no field that one needs is unknown to the other. */
static bool
may_be_one(const struct wire_body *a, const struct wire_body *b)
{
    bool may = true;
    for (size_t i = 0; i < a->field_count; i++) {
        size_t k = 0;
        while (k < b->field_count && strcmp(a->fields[i].name, b->fields[k].name) != 0) {
            k++;
        }
        may = may && (a->fields[i].need == OPTIONAL || k < b->field_count);
    }
    return may;
}

/* Where two operations of an actor had one number, their bodies tell them apart; in stock the kind of the ledger's line. */
Test(fingerprint, operations_that_shared_a_number_have_other_bodies)
{
    for (unsigned a = 0; a < OP_COUNT; a++) {
        for (unsigned b = 0; b < OP_COUNT; b++) {
            bool both_write = (wire_ops[a].traits & wire_ops[b].traits & OP_WRITES) != 0;
            bool is_pair =
                a != b && both_write && strcmp(wire_ops[a].owner, wire_ops[b].owner) == 0 && strcmp(wire_ops[a].owner, "stock") != 0;
            for (uint64_t number = 0; is_pair && number < 256; number++) {
                bool share = fits_raw(raw_of(number), (enum op)a, "80") && fits_raw(raw_of(number), (enum op)b, "80");
                cr_expect(!share || !may_be_one(wire_ops[a].request, wire_ops[b].request) ||
                              !may_be_one(wire_ops[b].request, wire_ops[a].request),
                          "%s and %s", wire_ops[a].name, wire_ops[b].name);
            }
        }
    }
}
