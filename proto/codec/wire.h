/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Messages as C structs, and the table-driven codec between them and msgpack.
 *
 * bodies.def lists every map that goes over the wire, headers included; this file makes of it a struct with one `has` bit per
 * field, and a descriptor that the codec, the JSON transcoder, the documents and the tests read. Decoding allocates nothing:
 * text and lists are slices of the frame and live as long as it does.
 */
#ifndef LARDER_WIRE_H
#define LARDER_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "err.h"
#include "id.h"

#define WIRE_VERSION 1
#define WIRE_FRAME_MAX 1048576
#define WIRE_NAME_MAX 64
#define WIRE_DEPTH_MAX 8

/* Borrowed bytes; text is UTF-8 and not terminated. */
struct slice {
    const uint8_t *data;
    size_t size;
};

static inline struct slice
slice_of(const char *text)
{
    return (struct slice){(const uint8_t *)text, strlen(text)};
}

static inline bool
slice_equal(struct slice a, struct slice b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

enum wire_kind {
    WIRE_BOOL,  /* bool */
    WIRE_I64,   /* int64_t, lo..hi */
    WIRE_TIME,  /* int64_t, UTC milliseconds, lo..hi; RFC 3339 in JSON */
    WIRE_STR,   /* struct slice, UTF-8 without NUL, lo..hi bytes */
    WIRE_NAME,  /* struct slice, [A-Za-z0-9_-], lo..hi bytes: a SKU or the name of an actor */
    WIRE_BYTES, /* struct slice, lo..hi bytes; not in JSON */
    WIRE_ID,    /* struct id; a UUID's text in JSON */
    WIRE_LIST,  /* struct wire_list, lo..hi elements of one body */
    WIRE_MAP    /* an embedded struct of another body */
};

enum wire_need { REQUIRED, OPTIONAL };

/* CLOSED refuses unknown fields by name, OPEN skips them (headers, events, replies: they may grow). */
enum wire_growth { CLOSED, OPEN };

struct wire_body;

struct wire_field {
    const char *name;
    const char *doc;
    const struct wire_body *element; /* of WIRE_LIST and WIRE_MAP */
    int64_t lo;
    int64_t hi;
    size_t offset; /* in the struct */
    uint8_t name_size;
    uint8_t kind;          /* enum wire_kind */
    uint8_t need;          /* enum wire_need */
    const char *otherwise; /* what leaving it out says, as text; NULL: nothing that could be said */
};

/* One map: its fields in the order of bodies.def, which is also the order of the bits in `has`. */
struct wire_body {
    const char *name;
    const char *doc;
    const struct wire_field *fields;
    size_t field_count;
    uint64_t required; /* bits that must be set in `has` */
    size_t size;       /* of the struct */
    uint8_t growth;    /* enum wire_growth */
};

/* Encoded elements one after the other; read with wire_list_next(), made with wire_list_add(). */
struct wire_list {
    const uint8_t *data;
    size_t size;
    uint32_t count;
    bool is_broken; /* an element could not be said and is not there: a body with this list cannot be said either */
};

/* --- one struct, one set of bits and one descriptor per body --- */

#define C_BOOL bool
#define C_I64 int64_t
#define C_TIME int64_t
#define C_STR struct slice
#define C_NAME struct slice
#define C_BYTES struct slice
#define C_ID struct id
#define C_LIST(element_name) struct wire_list
#define C_MAP(element_name) struct wire_##element_name

/* clang-format off */
#define BODY(body_name, growth, doc) \
    struct wire_##body_name {               \
        uint64_t has;
#define FIELD(body_name, field_name, type, need, lo, hi, doc) C_##type field_name;
#define BODY_END(body_name) };
#include "bodies.def"

#define BODY(body_name, growth, doc) enum body_name##_bits {
#define FIELD(body_name, field_name, type, need, lo, hi, doc) body_name##_BIT_##field_name,
#define BODY_END(body_name)        \
        body_name##_FIELD_COUNT    \
    };                             \
    _Static_assert(body_name##_FIELD_COUNT <= 64, #body_name);
#include "bodies.def"
/* clang-format on */

#define BODY(body_name, growth, doc) extern const struct wire_body body_name##_body;
#include "bodies.def"

/* Every body, in the order of bodies.def. */
enum wire_body_number {
#define BODY(body_name, growth, doc) WIRE_BODY_##body_name,
#include "bodies.def"
    WIRE_BODY_COUNT
};

extern const struct wire_body *const wire_bodies[WIRE_BODY_COUNT];

/* Whether, and that, a field is there: WIRE_HAS(&take, stock_take, reference). */
#define WIRE_HAS(pointer, body_name, field_name) (((pointer)->has >> body_name##_BIT_##field_name) & 1U)
#define WIRE_SET(pointer, body_name, field_name, ...) \
    ((pointer)->field_name = __VA_ARGS__, (pointer)->has |= UINT64_C(1) << body_name##_BIT_##field_name)

/* --- operations --- */

#define OP_READS 0x0U
#define OP_WRITES 0x1U    /* changes something: keyed by its id */
#define OP_ROUTED 0x2U    /* goes to the shard of its product */
#define OP_FORWARDS 0x4U  /* answered by another actor's answer */
#define OP_REPEATS 0x8U   /* done twice it is done once, by what it says and not by its id: nobody keeps its answer */
#define OP_SOLD_OUT 0x20U /* a first attempt that a sold-out shelf refuses is not looked up: it is answered from memory */
#define OP_WAITS 0x10U    /* its answer may wait for another actor's: what its id was told is looked up first, on every attempt */

enum op {
#define OP(owner, verb, request, reply, traits, doc) OP_##owner##_##verb,
#include "messages.def"
    OP_COUNT
};

struct wire_op {
    const char *name;  /* "stock.take" */
    const char *owner; /* "stock"; "any" for what every actor answers */
    const char *doc;
    const struct wire_body *request;
    const struct wire_body *reply;
    uint32_t traits;
};

/* The table made of messages.def, indexed by enum op. */
extern const struct wire_op wire_ops[OP_COUNT];

/* OP_COUNT when there is none of that name. */
enum op
wire_op_find(const char *name, size_t size);

/* --- events --- */

enum event_type {
#define EVENT(owner, verb, body, fate, doc) EVENT_##owner##_##verb,
#define SUBSCRIBER(source, subscriber)
#include "events.def"
    EVENT_COUNT
};

enum event_fate { DURABLE, PASSING };

struct wire_event {
    const char *name;  /* "stock.out" */
    const char *owner; /* "stock" */
    const char *doc;
    const struct wire_body *body;
    enum event_fate fate;
};

extern const struct wire_event wire_events[EVENT_COUNT];

enum event_type
wire_event_find(const char *name, size_t size);

/* --- reading --- */

/* Reads one map that fills the frame to its last byte. On ERR_OK `target` (a struct of the body) is filled; otherwise it holds
 * nothing of use and `why` names the field: "stock_line.quantity: given twice". ERR_malformed: not msgpack, cut short, trailing
 * bytes, nested too deep. ERR_invalid_field: missing, unknown, twice, wrong type, out of bounds, not UTF-8. */
MUST_CHECK err
wire_decode(const struct wire_body *body, struct slice frame, void *target, struct err_text *why);

/* Takes the next element; false at the end, or where the bytes are none. A list out of a message has been checked by wire_decode(),
 * one out of a row may have been changed by hand. `list` is a cursor: copy it to walk twice. */
bool
wire_list_next(struct wire_list *list, const struct wire_body *element, void *target);

/* --- comparing --- */

/* What a frame of this body says as a number, whatever the order of its fields and the form of its values, and whether it says what
 * leaving a field out says or leaves it out. The frame must have passed wire_decode(). One field may be left out by name; NULL: none.
 * The numbers are stored: they never change. */
uint64_t
wire_hash(const struct wire_body *body, struct slice frame, const char *without);

/* The same with the name of what it is for. */
uint64_t
wire_hash_named(const char *name, uint64_t hash);

/* --- writing --- */

/* A growing buffer. Zero-initialise it; wire_buffer_fini() frees it; setting `size` to 0 reuses it. */
struct wire_buffer {
    uint8_t *data;
    size_t size;
    size_t capacity;
};

void
wire_buffer_append(struct wire_buffer *buffer, const void *bytes, size_t size);
void
wire_buffer_fini(struct wire_buffer *buffer);

static inline struct slice
wire_buffer_slice(const struct wire_buffer *buffer)
{
    return (struct slice){buffer->data, buffer->size};
}

/* Appends the map of all fields whose bit is set. False, and nothing is appended, when the body's table does not have what is said
 * (what we send, we must be able to read): a required field without its bit, a value out of bounds, a text of another shape, a list
 * with such an element, more than WIRE_FRAME_MAX bytes. wire_fault() tells which. Who does not look has an empty frame, which is
 * never sent. */
bool
wire_encode(const struct wire_body *body, const void *source, struct wire_buffer *out);

/* Appends one element to the bytes of a list under construction (zero-initialise it) and counts it in `list`. All elements of a
 * list go to one buffer, one after the other; wire_list_end(), before anything else is appended there, points the list at them
 * (the buffer may move while it grows). The body that holds the list is encoded to another buffer. False: the element cannot be
 * said, and with it the list. */
bool
wire_list_add(struct wire_list *list, const struct wire_body *element, const void *source, struct wire_buffer *out);
void
wire_list_end(struct wire_list *list, const struct wire_buffer *out);

enum wire_fault_kind {
    WIRE_FAULT_BOUNDS, /* the number `value` */
    WIRE_FAULT_SIZE,   /* bytes of a text or a frame, elements of a list */
    WIRE_FAULT_SHAPE,  /* not UTF-8, or no name */
    WIRE_FAULT_MISSING
};

struct wire_fault {
    enum wire_fault_kind kind;
    const struct wire_body *body;   /* NULL: there was none yet */
    const struct wire_field *field; /* NULL: the frame as a whole */
    int64_t value;
};

/* Why the latest body or element that this thread could not encode was refused. */
const struct wire_fault *
wire_fault(void);

/* The same in words that name body, field, value and bounds; returns `code`. */
err
wire_fault_say(struct err_text *why, err code);

/* --- values --- */

/* 1..WIRE_NAME_MAX characters of [A-Za-z0-9_-]. */
bool
wire_is_name(struct slice text);

/* Well-formed UTF-8 (no overlong forms, surrogates or values above U+10FFFF) without NUL. */
bool
wire_is_utf8(struct slice text);

/* The shard of a product: FNV-1a of 64 bits over its bytes, modulo the number of shards. */
int
wire_shard_of(struct slice product, int shards);

#endif
