/* SPDX-License-Identifier: MPL-2.0 */
/* The examples in PROTOCOL.md are what the codec reads and writes. Runs in the root of the source tree. */
#include "wire.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#define FENCE "```hex "
#define LINE_SIZE 1024
#define EXAMPLES 16 /* a document that lost some must not pass */

union any_body {
    uint64_t has;
#define BODY(body_name, growth, doc) struct wire_##body_name of_##body_name;
#include "bodies.def"
};

static const struct wire_body *
body_named(const char *line)
{
    const char *name = line + strlen(FENCE);
    size_t size = strcspn(name, "\n");
    for (int i = 0; i < WIRE_BODY_COUNT; i++) {
        if (strlen(wire_bodies[i]->name) == size && memcmp(wire_bodies[i]->name, name, size) == 0) {
            return wire_bodies[i];
        }
    }
    return NULL;
}

static void
read_bytes(FILE *file, struct wire_buffer *bytes)
{
    char line[LINE_SIZE];
    while (fgets(line, sizeof line, file) != NULL && strncmp(line, "```", 3) != 0) {
        for (char *at = line; *at != '\n';) {
            char *end = NULL;
            unsigned char byte = (unsigned char)strtoul(at, &end, 16);
            cr_assert_neq(end, at, "not hexadecimal: %s", line);
            wire_buffer_append(bytes, &byte, 1);
            at = end;
        }
    }
}

static void
check_example(const struct wire_body *body, struct slice bytes)
{
    union any_body target;
    struct err_text why = {""};
    struct wire_buffer again = {0};
    cr_assert_eq(wire_decode(body, bytes, &target, &why), ERR_ok, "%s: %s", body->name, why.text);
    wire_encode(body, &target, &again);
    cr_expect(slice_equal(wire_buffer_slice(&again), bytes), "%s is not written as it is shown", body->name);
    wire_buffer_fini(&again);
}

Test(protocol, examples_are_real)
{
    FILE *file = fopen("proto/PROTOCOL.md", "r");
    cr_assert_not_null(file);
    char line[LINE_SIZE];
    int examples = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, FENCE, strlen(FENCE)) != 0) {
            continue;
        }
        const struct wire_body *body = body_named(line);
        cr_assert_not_null(body, "there is no body for %s", line);
        struct wire_buffer bytes = {0};
        read_bytes(file, &bytes);
        check_example(body, wire_buffer_slice(&bytes));
        wire_buffer_fini(&bytes);
        examples++;
    }
    cr_assert_eq(fclose(file), 0);
    cr_expect_eq(examples, EXAMPLES);
}

/* The vectors that the document gives for ids and shards. */
Test(protocol, vectors_are_real)
{
    struct id request;
    char text[ID_TEXT_SIZE];
    cr_assert(id_parse("0198f2a0-1c00-7a3b-8c4d-5e6f708192a3", ID_TEXT_SIZE - 1, &request));
    struct id derived = id_derive(&request, "take");
    id_format(&derived, text);
    cr_expect_str_eq(text, "c03311f1-a512-8bb4-9e54-da0269f4aef3");
    derived = id_of_bytes("POST /checkout key-1", 20);
    id_format(&derived, text);
    cr_expect_str_eq(text, "3ea547ff-dc79-83cb-b3f7-6b2e7656d9ea");
    cr_expect_eq(wire_shard_of(slice_of("Donut"), 3), 2);
    cr_expect_eq(wire_shard_of(slice_of("CP-502101"), 4), 2);
}
