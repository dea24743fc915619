/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Stored answers: found by id, once per id. On both databases.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "../support/kit_place.h"
#include "kit/durable/answers.h"

struct stage {
    struct db *db;
    struct arena arena;
    struct answers *answers;
};

static void
start(struct stage *stage, const struct place *place)
{
    *stage = (struct stage){.db = place_open(place)};
    stage->answers = answers_create(stage->db);
    place_expect(stage->db, answers_part.load(stage->answers), ERR_ok);
}

static void
stop(struct stage *stage)
{
    answers_part.destroy(stage->answers);
    arena_fini(&stage->arena);
    db_close(&stage->db);
}

static void
add(struct stage *stage, const struct id *request, err status, const char *frame)
{
    struct answer answer = {.request = *request,
                            .fingerprint = {.hash = UINT64_C(0xf000000000000001) + (uint64_t)status, .kind = FINGERPRINT_NAMED},
                            .status = status,
                            .frame = slice_of(frame)};
    answers_add(stage->answers, &answer, 1700000000000);
}

static err
commit(struct stage *stage)
{
    err code = answers_part.queue(stage->answers);
    if (code == ERR_ok) {
        code = db_commit(stage->db);
    }
    if (code != ERR_ok) {
        db_rollback(stage->db);
        answers_part.dropped(stage->answers);
    }
    return code;
}

static size_t
find(struct stage *stage, const struct id *requests, size_t count, struct answer *found)
{
    size_t found_count = 0;
    place_expect(stage->db, answers_find(stage->answers, &stage->arena, requests, count, found, &found_count), ERR_ok);
    db_rollback(stage->db);
    return found_count;
}

ON_BOTH(answers, are_found_again_as_they_were)
{
    struct stage stage;
    struct answer found[3];
    struct id ids[3] = {id_new(), id_new(), id_new()};
    start(&stage, place);
    add(&stage, &ids[0], ERR_ok, "sold");
    add(&stage, &ids[1], ERR_out_of_stock, "none left");
    place_expect(stage.db, commit(&stage), ERR_ok);
    cr_assert(find(&stage, ids, 3, found) == 2);
    const struct answer *refusal = id_equal(&found[0].request, &ids[1]) ? &found[0] : &found[1];
    const struct answer *sale = refusal == &found[0] ? &found[1] : &found[0];
    cr_expect(id_equal(&sale->request, &ids[0]));
    cr_expect(sale->status == ERR_ok);
    cr_expect(slice_equal(sale->frame, slice_of("sold")));
    cr_expect(refusal->status == ERR_out_of_stock);
    cr_expect(refusal->fingerprint.hash == UINT64_C(0xf000000000000001) + (uint64_t)ERR_out_of_stock, "all 64 bits come back");
    cr_expect(slice_equal(refusal->frame, slice_of("none left")));
    cr_expect(find(&stage, &ids[2], 1, found) == 0);
    cr_expect(find(&stage, ids, 0, found) == 0);
    stop(&stage);
}

ON_BOTH(answers, refuse_a_second_first_attempt)
{
    struct stage stage;
    struct answer found[2];
    struct id id = id_new();
    struct id beside = id_new();
    start(&stage, place);
    add(&stage, &id, ERR_ok, "first");
    place_expect(stage.db, commit(&stage), ERR_ok);
    add(&stage, &beside, ERR_ok, "beside");
    add(&stage, &id, ERR_ok, "second");
    place_expect(stage.db, commit(&stage), ERR_db_unique);
    cr_assert(find(&stage, &id, 1, found) == 1);
    cr_expect(slice_equal(found[0].frame, slice_of("first")));
    cr_expect(find(&stage, &beside, 1, found) == 0, "rolled back with it");
    add(&stage, &beside, ERR_ok, "beside");
    place_expect(stage.db, commit(&stage), ERR_ok);
    cr_expect(find(&stage, &beside, 1, found) == 1);
    stop(&stage);
}

ON_BOTH(answers, are_forgotten_when_the_batch_is_dropped)
{
    struct stage stage;
    struct answer found[1];
    struct id id = id_new();
    start(&stage, place);
    add(&stage, &id, ERR_ok, "never");
    answers_part.dropped(stage.answers);
    place_expect(stage.db, commit(&stage), ERR_ok);
    cr_expect(find(&stage, &id, 1, found) == 0);
    stop(&stage);
}

ON_BOTH(answers, are_numbered_on_after_a_restart)
{
    struct stage stage;
    struct answer found[600];
    static struct id ids[600];
    start(&stage, place);
    for (int i = 0; i < 600; i++) {
        ids[i] = id_new();
        add(&stage, &ids[i], ERR_ok, "x");
    }
    place_expect(stage.db, commit(&stage), ERR_ok);
    stop(&stage);
    start(&stage, place);
    struct id one_more = id_new();
    add(&stage, &one_more, ERR_ok, "");
    place_expect(stage.db, commit(&stage), ERR_ok);
    cr_expect(place_number(stage.db, "SELECT MAX(n) FROM $answer") == 601);
    cr_expect(find(&stage, ids, 600, found) == 600, "more than one chunk of keys");
    cr_expect(find(&stage, &one_more, 1, found) == 1);
    cr_expect(found[0].frame.size == 0);
    stop(&stage);
}
