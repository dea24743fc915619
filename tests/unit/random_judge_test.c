/* SPDX-License-Identifier: MPL-2.0 */
/* What the random sequence takes for an answer: a request that is never taken as answered is a fault that the shop does not have. */
#include "../random/judge.h"

#include <criterion/criterion.h>

static struct sequence sequence;

static void
begin(void)
{
    sequence_init(&sequence, 6, 1);
}

static void
end(void)
{
    sequence_fini(&sequence);
}

TestSuite(random_judge, .init = begin, .fini = end);

/* What an actor answers to a header that it cannot read: nothing of it. */
static void
refuse_unread(struct request *request)
{
    static const struct id zero;
    struct wire_reply_header header = {0};
    struct wire_problem problem = {0};
    struct wire_buffer frames[2] = {0};
    WIRE_SET(&header, reply_header, v, WIRE_VERSION);
    WIRE_SET(&header, reply_header, id, zero);
    WIRE_SET(&header, reply_header, status, slice_of("malformed"));
    WIRE_SET(&problem, problem, detail, slice_of("it cannot be read"));
    wire_encode(&reply_header_body, &header, &frames[0]);
    wire_encode(&problem_body, &problem, &frames[1]);
    judge_answer(&sequence, request, wire_buffer_slice(&frames[0]), wire_buffer_slice(&frames[1]));
    wire_buffer_fini(&frames[0]);
    wire_buffer_fini(&frames[1]);
}

/* One in 80 has a bad header, and more than one in ten of those was to say `again`. */
Test(random_judge, takes_the_refusal_of_a_bad_header_however_often_it_was_sent)
{
    int bad = 0;
    for (int number = 0; number < 8000; number++) {
        struct request *request = sequence_next(&sequence);
        if (!request->is_header_bad) {
            continue;
        }
        for (int attempt = 0; attempt < bad % 3; attempt++) {
            sequence_repeat(&sequence, request);
        }
        refuse_unread(request);
        cr_assert(request->was_answered && !request->is_under_way, "request %d", number);
        cr_assert(sequence.fault[0] == '\0', "%s", sequence.fault);
        bad++;
    }
    cr_assert(bad > 30, "%d", bad);
}
