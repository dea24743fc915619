/* SPDX-License-Identifier: MPL-2.0 */
/* Claims about proto/codec/id.c. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "id.h"

static uint64_t
time_of(const struct id *id)
{
    uint64_t time_ms = 0;
    for (int i = 0; i < 6; i++) {
        time_ms = time_ms << 8 | id->bytes[i];
    }
    return time_ms;
}

Test(id_new, is_a_version_7_uuid_of_this_moment)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct id id = id_new();
    cr_assert_eq(id.bytes[6] >> 4, 7);
    cr_assert_eq(id.bytes[8] >> 6, 2);
    uint64_t now_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    cr_assert(time_of(&id) >= now_ms && time_of(&id) < now_ms + 5000);
}

Test(id_new, ascends_within_a_thread)
{
    struct id last = id_new();
    for (int i = 0; i < 300000; i++) {
        struct id next = id_new();
        cr_assert_lt(memcmp(last.bytes, next.bytes, ID_SIZE), 0);
        last = next;
    }
}

static void *
make_id(void *place)
{
    *(struct id *)place = id_new();
    return NULL;
}

Test(id_new, differs_between_threads)
{
    struct id ids[8];
    pthread_t threads[8];
    for (int i = 0; i < 8; i++) {
        cr_assert_eq(pthread_create(&threads[i], NULL, make_id, &ids[i]), 0);
    }
    for (int i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
        for (int j = 0; j < i; j++) {
            cr_assert(!id_equal(&ids[i], &ids[j]));
        }
    }
}

Test(id_new, does_not_repeat_random_bytes_in_a_forked_child)
{
    int ends[2];
    (void)id_new();
    cr_assert_eq(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        struct id id = id_new();
        _exit(write(ends[1], &id, sizeof id) == (ssize_t)sizeof id ? 0 : 1);
    }
    struct id mine = id_new();
    struct id theirs;
    cr_assert_eq(read(ends[0], &theirs, sizeof theirs), (ssize_t)sizeof theirs);
    cr_assert_eq(waitpid(child, NULL, 0), child);
    cr_assert_neq(memcmp(mine.bytes + 10, theirs.bytes + 10, 6), 0);
}

static struct id
id_from(const char *text)
{
    struct id id;
    cr_assert(id_parse(text, strlen(text), &id));
    return id;
}

/* The expected values come from Python: hashlib.blake2b(bytes).digest()[:16], version and variant written over. */
Test(id_derive, gives_what_another_implementation_gives)
{
    struct id from = id_from("00010203-0405-0607-0809-0a0b0c0d0e0f");
    struct id derived = id_derive(&from, "checkout");
    char text[ID_TEXT_SIZE];
    id_format(&derived, text);
    cr_assert_str_eq(text, "f10beec8-54b4-8e38-891b-079996ff75c0");
    struct id of_bytes = id_of_bytes("larder", 6);
    id_format(&of_bytes, text);
    cr_assert_str_eq(text, "9d2f570c-e331-81d4-8a6e-6e98fb59d148");
}

Test(id_derive, differs_by_step_and_by_origin)
{
    struct id from = id_new();
    struct id other = id_new();
    struct id a = id_derive(&from, "reserve");
    struct id b = id_derive(&from, "release");
    struct id c = id_derive(&other, "reserve");
    struct id again = id_derive(&from, "reserve");
    cr_assert(!id_equal(&a, &b) && !id_equal(&a, &c) && id_equal(&a, &again));
}

Test(id_text, is_read_back_as_it_was_written)
{
    struct id id = id_new();
    struct id parsed;
    char text[ID_TEXT_SIZE];
    id_format(&id, text);
    cr_assert_eq(strlen(text), ID_TEXT_SIZE - 1);
    cr_assert(id_parse(text, ID_TEXT_SIZE - 1, &parsed));
    cr_assert(id_equal(&id, &parsed));
}

Test(id_text, is_read_in_either_case)
{
    struct id lower = id_from("0190a6c1-7b2e-7abc-8def-0123456789ab");
    struct id upper = id_from("0190A6C1-7B2E-7ABC-8DEF-0123456789AB");
    cr_assert(id_equal(&lower, &upper));
    cr_assert_eq(lower.bytes[15], 0xab);
}

struct wrong_text {
    char text[48];
};

ParameterizedTestParameters(id_text, refuses)
{
    static struct wrong_text rows[] = {
        {""},
        {"0190a6c1-7b2e-7abc-8def-0123456789a"},
        {"0190a6c1-7b2e-7abc-8def-0123456789abc"},
        {"0190a6c17b2e7abc8def0123456789ab"},
        {"{190a6c1-7b2e-7abc-8def-0123456789ab"},
        {"0190a6c1-7b2e-7abc-8def-0123456789ag"},
        {"0190a6c1-7b2e-7abc-8def00123456789ab"},
        {"0190a6c17-b2e-7abc-8def-0123456789ab"},
        {" 190a6c1-7b2e-7abc-8def-0123456789ab"},
        {"-190a6c1-7b2e-7abc-8def-0123456789ab"},
        {"@190a6c1-7b2e-7abc-8def-0123456789ab"},
    };
    return cr_make_param_array(struct wrong_text, rows, sizeof rows / sizeof rows[0]);
}

ParameterizedTest(struct wrong_text *row, id_text, refuses)
{
    struct id id = {{1}};
    struct id before = id;
    cr_assert(!id_parse(row->text, strlen(row->text), &id), "%s", row->text);
    cr_assert(id_equal(&id, &before));
}

Test(id, is_zero_only_when_every_byte_is)
{
    struct id id = {0};
    cr_assert(id_is_zero(&id));
    id.bytes[15] = 1;
    cr_assert(!id_is_zero(&id));
}

Test(id_hash, is_the_same_for_equal_ids_and_spreads_the_others)
{
    unsigned counts[16] = {0};
    struct id id = id_new();
    struct id copy = id;
    cr_assert_eq(id_hash(&id), id_hash(&copy));
    for (int i = 0; i < 16000; i++) {
        struct id next = id_new();
        counts[id_hash(&next) & 15]++;
    }
    for (int i = 0; i < 16; i++) {
        cr_assert(counts[i] > 800 && counts[i] < 1200);
    }
}
