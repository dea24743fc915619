/* SPDX-License-Identifier: MPL-2.0 */
/* Memory of one batch: aligned, apart, kept until the reset, used again after it. */
#include <criterion/criterion.h>
#include <stdalign.h>
#include <stdint.h>
#include <string.h>

#include "kit/base/arena.h"

Test(arena, gives_aligned_memory)
{
    struct arena arena = {0};
    for (size_t size = 0; size < 300; size++) {
        void *piece = arena_alloc(&arena, size);
        cr_assert(piece != NULL);
        cr_assert((uintptr_t)piece % alignof(max_align_t) == 0, "%zu bytes", size);
        memset(piece, 0xff, size);
    }
    arena_fini(&arena);
}

Test(arena, keeps_pieces_apart)
{
    enum { MANY = 4000 };
    static uint8_t *pieces[MANY];
    struct arena arena = {0};
    for (size_t i = 0; i < MANY; i++) {
        pieces[i] = arena_alloc(&arena, 1 + i % 200);
        memset(pieces[i], (int)(i % 251), 1 + i % 200);
    }
    for (size_t i = 0; i < MANY; i++) {
        for (size_t k = 0; k < 1 + i % 200; k++) {
            cr_assert(pieces[i][k] == i % 251, "piece %zu was written over", i);
        }
    }
    arena_fini(&arena);
}

Test(arena, takes_pieces_larger_than_a_block)
{
    struct arena arena = {0};
    uint8_t *small = arena_alloc(&arena, 10);
    uint8_t *large = arena_alloc(&arena, 3000000);
    uint8_t *behind = arena_alloc(&arena, 10);
    memset(small, 1, 10);
    memset(large, 2, 3000000);
    memset(behind, 3, 10);
    cr_expect(small[9] == 1);
    cr_expect(large[0] == 2 && large[2999999] == 2);
    cr_expect(behind[0] == 3);
    arena_fini(&arena);
}

Test(arena, uses_its_memory_again_after_a_reset)
{
    struct arena arena = {0};
    void *first = arena_alloc(&arena, 100);
    for (int round = 0; round < 100; round++) {
        arena_reset(&arena);
        cr_assert(arena_alloc(&arena, 100) == first);
        for (int i = 0; i < 20; i++) {
            memset(arena_alloc(&arena, 50000), 0xaa, 50000);
        }
        memset(arena_alloc(&arena, 200000), 0xbb, 200000);
    }
    arena_fini(&arena);
}

/* A small block left over from before a large one must not be written beyond its end. */
Test(arena, passes_over_a_kept_block_that_is_too_small)
{
    struct arena arena = {0};
    for (int round = 0; round < 10; round++) {
        for (size_t size = 1000; size < 400000; size *= 3) {
            size_t now = round % 2 == 0 ? size : 400000 - size;
            memset(arena_alloc(&arena, now), round, now);
        }
        arena_reset(&arena);
    }
    arena_fini(&arena);
}

Test(arena, copies_bytes)
{
    struct arena arena = {0};
    char text[] = "a donut";
    struct slice copy = arena_copy(&arena, slice_of(text));
    memset(text, 'x', sizeof text - 1);
    cr_expect(slice_equal(copy, slice_of("a donut")));
    struct slice empty = arena_copy(&arena, (struct slice){0});
    cr_expect(empty.size == 0);
    cr_expect(empty.data != NULL);
    arena_fini(&arena);
}

Test(arena, encodes_bodies_that_stay)
{
    struct arena arena = {0};
    struct wire_stock_get first = {0};
    struct wire_stock_get second = {0};
    WIRE_SET(&first, stock_get, product, slice_of("donut"));
    WIRE_SET(&second, stock_get, product, slice_of("bagel"));
    struct slice one = arena_encode(&arena, &stock_get_body, &first);
    struct slice other = arena_encode(&arena, &stock_get_body, &second);
    struct wire_stock_get read;
    struct err_text why = {""};
    cr_assert(wire_decode(&stock_get_body, one, &read, &why) == ERR_ok, "%s", why.text);
    cr_expect(slice_equal(read.product, slice_of("donut")));
    cr_assert(wire_decode(&stock_get_body, other, &read, &why) == ERR_ok, "%s", why.text);
    cr_expect(slice_equal(read.product, slice_of("bagel")));
    arena_fini(&arena);
}

Test(arena, may_end_empty_and_twice)
{
    struct arena arena = {0};
    arena_reset(&arena);
    arena_fini(&arena);
    arena_fini(&arena);
    cr_expect(arena_alloc(&arena, 1) != NULL);
    arena_fini(&arena);
}
