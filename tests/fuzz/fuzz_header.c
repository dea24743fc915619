/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Any bytes as each of the three headers: refused with a sentence, or read without touching a byte outside of the frame. One
 * input in eight is made anew from the tables.
 */
#include <stdlib.h>
#include <string.h>

#include "random_message.h"
#include "wire.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t
LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);
size_t
LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);

static void
require(bool holds)
{
    if (!holds) {
        abort();
    }
}

static void
judge(err code, const struct err_text *why, const char *body)
{
    require(code == ERR_ok || code == ERR_malformed || code == ERR_invalid_field);
    if (code != ERR_ok) {
        require(strncmp(why->text, body, strlen(body)) == 0);
        require(wire_is_utf8(slice_of(why->text)));
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size == 0 ? 1 : size);
    require(copy != NULL);
    memcpy(copy, data, size);
    struct slice frame = {copy, size};
    struct err_text why = {""};
    struct wire_request_header request;
    struct wire_reply_header reply;
    struct wire_event_header event;
    err code = wire_decode(&request_header_body, frame, &request, &why);
    judge(code, &why, "request_header");
    if (code == ERR_ok) {
        require(wire_is_utf8(request.op) && request.deadline >= 0);
    }
    judge(wire_decode(&reply_header_body, frame, &reply, &why), &why, "reply_header");
    judge(wire_decode(&event_header_body, frame, &event, &why), &why, "event_header");
    free(copy);
    return 0;
}

size_t
LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    static const struct wire_body *const headers[] = {&request_header_body, &reply_header_body, &event_header_body};
    if (seed % 8 == 0) {
        struct material material;
        material_init(&material, (uint64_t)seed + 1);
        struct slice frame = random_frame(&material, headers[seed / 8 % 3]);
        if (frame.size <= max_size) {
            memcpy(data, frame.data, frame.size);
            size = frame.size;
        }
        frame_free(frame);
        material_fini(&material);
    }
    return LLVMFuzzerMutate(data, size, max_size);
}
