/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Makes, derives, compares and writes identities.
 *
 *   A new one is a UUIDv7 (RFC 9562, section 5.7, counter by method 1 of section 6.2): 48 bits of milliseconds, a counter of
 *   26 bits (12 in rand_a, 14 in rand_b) that starts anew at a random value below its half in each millisecond, and 48 random
 *   bits. So the ids of one thread ascend as bytes, also when the clock goes back: then its last millisecond is kept.
 *
 *   A derived one is BLAKE2b with its full 64 bytes of output, of which the first 16 are kept, with version 8 and variant
 *   written over them.
 *
 * STATE
 *   Per thread: the last millisecond, the counter and a pool of random bytes, all forgotten in a forked child, so that two
 *   processes never make the same id. Per process: the random key of id_hash().
 *
 * FAILURES
 *   A system that has no random bytes ends the process: ids would no longer be unique.
 *
 * LIMITS
 *   id_hash() differs from process to process; it is for tables in memory alone.
 */
#include "id.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include <sodium.h>

#define POOL_SIZE 240  /* 24 ids; getrandom() gives all of up to 256 bytes at once */
#define RANDOM_SIZE 10 /* per id: 4 for a new counter, 6 for the tail */
#define COUNTER_MASK 0x3ffffffU
#define COUNTER_START_MASK 0x1ffffffU

struct generator {
    uint64_t time_ms;
    uint32_t counter;
    size_t left;
    uint8_t pool[POOL_SIZE];
};

static _Thread_local struct generator generator;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static uint8_t hash_key[crypto_shorthash_KEYBYTES];

static void
fill_random(uint8_t *bytes, size_t size)
{
    ssize_t got = 0;
    do {
        got = getrandom(bytes, size, 0);
    } while (got < 0 && errno == EINTR);
    if (got != (ssize_t)size) {
        abort();
    }
}

static void
forget_in_child(void)
{
    memset(&generator, 0, sizeof generator);
}

static void
prepare(void)
{
    if (sodium_init() < 0 || pthread_atfork(NULL, NULL, forget_in_child) != 0) {
        abort();
    }
    fill_random(hash_key, sizeof hash_key);
}

static const uint8_t *
take_random(void)
{
    if (generator.left == 0) {
        fill_random(generator.pool, sizeof generator.pool);
        generator.left = sizeof generator.pool;
    }
    generator.left -= RANDOM_SIZE;
    return generator.pool + generator.left;
}

static uint64_t
clock_ms(void)
{
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0) {
        abort();
    }
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void
mark(struct id *id, uint8_t version)
{
    id->bytes[6] = (uint8_t)((id->bytes[6] & 0x0f) | version << 4);
    id->bytes[8] = (uint8_t)((id->bytes[8] & 0x3f) | 0x80);
}

struct id
id_new(void)
{
    pthread_once(&once, prepare);
    const uint8_t *random = take_random();
    uint64_t now_ms = clock_ms();
    if (now_ms > generator.time_ms || generator.counter == COUNTER_MASK) {
        uint32_t start = 0;
        memcpy(&start, random, sizeof start);
        generator.counter = start & COUNTER_START_MASK;
        generator.time_ms = now_ms > generator.time_ms ? now_ms : generator.time_ms + 1;
    } else {
        generator.counter++;
    }
    struct id id;
    for (int i = 0; i < 6; i++) {
        id.bytes[i] = (uint8_t)(generator.time_ms >> (40 - 8 * i));
    }
    id.bytes[6] = (uint8_t)(generator.counter >> 22);
    id.bytes[7] = (uint8_t)(generator.counter >> 14);
    id.bytes[8] = (uint8_t)(generator.counter >> 8 & 0x3f);
    id.bytes[9] = (uint8_t)generator.counter;
    memcpy(id.bytes + 10, random + 4, 6);
    mark(&id, 7);
    return id;
}

static struct id
hash_of(const uint8_t *prefix, size_t prefix_size, const void *bytes, size_t size)
{
    pthread_once(&once, prepare);
    crypto_generichash_state state;
    uint8_t hash[crypto_generichash_BYTES_MAX];
    crypto_generichash_init(&state, NULL, 0, sizeof hash);
    crypto_generichash_update(&state, prefix, prefix_size);
    crypto_generichash_update(&state, bytes, size);
    crypto_generichash_final(&state, hash, sizeof hash);
    struct id id;
    memcpy(id.bytes, hash, sizeof id.bytes);
    mark(&id, 8);
    return id;
}

struct id
id_derive(const struct id *from, const char *step)
{
    return hash_of(from->bytes, sizeof from->bytes, step, strlen(step));
}

struct id
id_of_bytes(const void *bytes, size_t size)
{
    return hash_of(NULL, 0, bytes, size);
}

bool
id_equal(const struct id *a, const struct id *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

bool
id_is_zero(const struct id *id)
{
    static const struct id zero;
    return id_equal(id, &zero);
}

uint64_t
id_hash(const struct id *id)
{
    pthread_once(&once, prepare);
    uint64_t hash = 0;
    crypto_shorthash((unsigned char *)&hash, id->bytes, sizeof id->bytes, hash_key);
    return hash;
}

static bool
is_hyphen_at(size_t position)
{
    return position == 8 || position == 13 || position == 18 || position == 23;
}

void
id_format(const struct id *id, char text[ID_TEXT_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    size_t at = 0;
    for (size_t i = 0; i < ID_SIZE; i++) {
        if (is_hyphen_at(at)) {
            text[at++] = '-';
        }
        text[at++] = digits[id->bytes[i] >> 4];
        text[at++] = digits[id->bytes[i] & 0x0f];
    }
    text[at] = '\0';
}

static int
digit_value(char digit)
{
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    char lower = (char)(digit | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

bool
id_parse(const char *text, size_t size, struct id *id)
{
    if (size != ID_TEXT_SIZE - 1) {
        return false;
    }
    struct id parsed;
    size_t at = 0;
    for (size_t i = 0; i < ID_SIZE; i++) {
        if (is_hyphen_at(at) && text[at++] != '-') {
            return false;
        }
        int high = digit_value(text[at]);
        int low = digit_value(text[at + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        parsed.bytes[i] = (uint8_t)(high << 4 | low);
        at += 2;
    }
    *id = parsed;
    return true;
}
