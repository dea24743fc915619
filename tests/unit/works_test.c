/* SPDX-License-Identifier: MPL-2.0 */
/* Work beside a loop: it is done elsewhere, in order, handed out once, and never lost. */
#include "../support/patience.h"
#include "kit/peers/works.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <criterion/criterion.h>

#include "kit/base/clock.h"

#define WAIT_MS patience_ms(5000)

struct piece {
    int number;
    bool waits; /* for the gate */
    pthread_t ran_on;
};

static _Atomic int run_count;
static _Atomic int discarded;
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static void
run(void *memory)
{
    struct piece *piece = memory;
    if (piece->waits) {
        pthread_mutex_lock(&gate);
        pthread_mutex_unlock(&gate);
    }
    piece->ran_on = pthread_self();
    atomic_fetch_add(&run_count, 1);
}

static void
discard(void *memory)
{
    free(memory);
    atomic_fetch_add(&discarded, 1);
}

static void
start(struct works *works, int number, bool waits)
{
    struct piece *piece = calloc(1, sizeof *piece);
    piece->number = number;
    piece->waits = waits;
    works_start(works, &(struct work){.id = id_of_bytes(&number, sizeof number), .run = run, .discard = discard, .memory = piece});
}

/* The next one that is done, waited for at the descriptor alone. */
static struct works_done
await(struct works *works)
{
    struct works_done done;
    struct pollfd readable = {.fd = works_fd(works), .events = POLLIN};
    while (!works_next(works, &done)) {
        cr_assert_eq(poll(&readable, 1, WAIT_MS), 1, "nobody tells of what is done");
        works_clear(works);
    }
    return done;
}

static int
number_of(const struct works_done *done)
{
    return ((const struct piece *)done->work.memory)->number;
}

Test(works, are_done_on_another_thread_in_order, .timeout = 20)
{
    struct works *works = works_create(8);
    for (int i = 0; i < 8; i++) {
        start(works, i, false);
    }
    for (int i = 0; i < 8; i++) {
        struct works_done done = await(works);
        const struct piece *piece = done.work.memory;
        struct id id = id_of_bytes(&i, sizeof i);
        cr_assert_eq(piece->number, i);
        cr_assert_eq(done.status, ERR_ok);
        cr_assert(id_equal(&done.work.id, &id));
        cr_assert_not(pthread_equal(piece->ran_on, pthread_self()));
        works_end(works, &done.work);
    }
    cr_assert_not(works_is_ready(works));
    cr_assert_eq(atomic_load(&discarded), 8);
    works_destroy(&works);
    cr_assert_eq(atomic_load(&discarded), 8);
    cr_assert_null(works);
}

Test(works, are_no_more_than_was_said, .timeout = 20)
{
    struct works *works = works_create(3);
    pthread_mutex_lock(&gate);
    start(works, 0, true);
    start(works, 1, false);
    cr_assert_eq(works_room(works), 1);
    start(works, 2, false);
    cr_assert_eq(works_room(works), 0);
    pthread_mutex_unlock(&gate);
    struct works_done done = await(works);
    cr_assert_eq(works_room(works), 0, "one that is handed out has not ended");
    works_end(works, &done.work);
    cr_assert_eq(works_room(works), 1);
    works_destroy(&works);
}

Test(works, come_again_when_they_are_given_back, .timeout = 20)
{
    struct works *works = works_create(2);
    start(works, 7, false);
    start(works, 8, false);
    struct works_done done = await(works);
    works_return(works, &done.work, ERR_unavailable);
    cr_assert(works_is_ready(works));
    cr_assert_eq(works_room(works), 0);
    done = await(works);
    cr_assert_eq(number_of(&done), 7);
    cr_assert_eq(done.status, ERR_unavailable);
    works_end(works, &done.work);
    done = await(works);
    cr_assert_eq(number_of(&done), 8);
    cr_assert_eq(done.status, ERR_ok);
    works_end(works, &done.work);
    works_destroy(&works);
}

Test(works, that_nobody_took_are_discarded_at_the_end, .timeout = 20)
{
    struct works *works = works_create(8);
    for (int i = 0; i < 6; i++) {
        start(works, i, false);
    }
    struct works_done done = await(works);
    works_return(works, &done.work, ERR_internal);
    works_destroy(&works);
    cr_assert_eq(atomic_load(&discarded), 6);
    cr_assert_leq(atomic_load(&run_count), 6);
}

Test(works, that_never_came_cost_no_thread)
{
    struct works *works = works_create(8);
    struct works_done done;
    cr_assert_not(works_next(works, &done));
    works_clear(works);
    works_destroy(&works);
    works_destroy(&works);
}

/* The ring goes around many times while both sides move. */
Test(works, many_of_them, .timeout = 60)
{
    struct works *works = works_create(5);
    int started = 0;
    int ended = 0;
    while (ended < 5000) {
        while (started < 5000 && works_room(works) > 0) {
            start(works, started++, false);
        }
        struct works_done done = await(works);
        cr_assert_eq(number_of(&done), ended++);
        works_end(works, &done.work);
    }
    works_destroy(&works);
    cr_assert_eq(atomic_load(&run_count), 5000);
    cr_assert_eq(atomic_load(&discarded), 5000);
}

static struct work
piece_of(int number, uint64_t caller, int64_t deadline_ms, bool waits)
{
    struct piece *piece = calloc(1, sizeof *piece);
    piece->number = number;
    piece->waits = waits;
    return (struct work){.id = id_of_bytes(&number, sizeof number),
                         .caller = caller,
                         .subject = caller,
                         .deadline_ms = deadline_ms,
                         .run = run,
                         .discard = discard,
                         .memory = piece};
}

Test(works, of_who_has_most_make_room_for_another, .timeout = 20)
{
    struct works *works = works_create(4);
    pthread_mutex_lock(&gate);
    for (int i = 0; i < 4; i++) {
        struct work work = piece_of(i, 1, 0, i == 0);
        cr_assert(works_admits(works, NULL, 0, &work));
        works_start(works, &work);
    }
    struct work fifth = piece_of(4, 1, 0, false);
    cr_assert_not(works_admits(works, NULL, 0, &fifth), "one caller may have all places, and no more");
    discard(fifth.memory);
    struct work other = piece_of(9, 2, 0, false);
    cr_assert(works_admits(works, NULL, 0, &other));
    works_start(works, &other);
    struct works_done done = await(works);
    cr_assert_eq(done.status, ERR_overloaded, "who makes room hears it at once");
    cr_assert_eq(number_of(&done), 3);
    works_end(works, &done.work);
    pthread_mutex_unlock(&gate);
    static const int order[] = {0, 9, 1, 2};
    for (size_t i = 0; i < 4; i++) {
        done = await(works);
        cr_assert_eq(number_of(&done), order[i]);
        works_end(works, &done.work);
    }
    works_destroy(&works);
    cr_assert_eq(atomic_load(&run_count), 4);
}

Test(works, that_nobody_waits_for_are_not_run, .timeout = 20)
{
    struct works *works = works_create(4);
    pthread_mutex_lock(&gate);
    struct work first = piece_of(0, 1, 0, true);
    struct work late = piece_of(1, 2, clock_utc_ms() + 400, false);
    works_start(works, &first);
    works_start(works, &late);
    while (clock_utc_ms() <= late.deadline_ms) {
        (void)poll(NULL, 0, 10);
    }
    pthread_mutex_unlock(&gate);
    for (int i = 0; i < 2; i++) {
        struct works_done done = await(works);
        cr_assert_eq(done.status, number_of(&done) == 1 ? ERR_deadline_exceeded : ERR_ok);
        works_end(works, &done.work);
    }
    works_destroy(&works);
    cr_assert_eq(atomic_load(&run_count), 1);
}

/* Until a piece was timed each is taken to need 100 ms. */
Test(works, that_would_be_late_are_not_begun, .timeout = 20)
{
    struct works *works = works_create(64);
    pthread_mutex_lock(&gate);
    int admitted = 0;
    for (int i = 0; i < 64; i++) {
        struct work work = piece_of(i, 1, clock_utc_ms() + 5000, i == 0);
        if (works_admits(works, NULL, 0, &work)) {
            works_start(works, &work);
            admitted++;
        } else {
            discard(work.memory);
        }
    }
    cr_assert(admitted >= 20 && admitted <= 26, "%d", admitted);
    struct work other = piece_of(100, 2, clock_utc_ms() + 1000, false);
    cr_assert(works_admits(works, NULL, 0, &other), "the others' wait is short");
    discard(other.memory);
    pthread_mutex_unlock(&gate);
    works_destroy(&works);
}
