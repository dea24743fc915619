/* SPDX-License-Identifier: MPL-2.0 */
/* What was put in under an id is found under it, before and after the table has grown and was emptied. */
#include <criterion/criterion.h>

#include "kit/base/id_index.h"

Test(id_index, finds_what_it_was_given)
{
    struct id_index index = {0};
    static int values[1000];
    cr_expect_null(id_index_get(&index, &(struct id){{1}}));
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 1000; i++) {
            struct id id = {{(uint8_t)i, (uint8_t)(i >> 8), 7}};
            id_index_add(&index, &id, &values[i]);
        }
        for (int i = 0; i < 1000; i++) {
            struct id id = {{(uint8_t)i, (uint8_t)(i >> 8), 7}};
            cr_assert_eq(id_index_get(&index, &id), &values[i]);
        }
        cr_expect_null(id_index_get(&index, &(struct id){{1, 2, 8}}));
        id_index_clear(&index);
        cr_expect_null(id_index_get(&index, &(struct id){{1, 0, 7}}));
    }
    id_index_fini(&index);
}
