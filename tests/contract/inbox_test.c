/* SPDX-License-Identifier: MPL-2.0 */
/*
 * What an actor follows: cursors, gaps, parked events, incidents. On both databases; the stock actor, which follows factory/0.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "../support/kit_place.h"
#include "stream.h"
#include "kit/base/clock.h"
#include "kit/stream/inbox.h"
#include "kit/telemetry/metrics.h"

#define START_MS 1700000000000

struct stage {
    const struct place *place;
    struct db *db;
    struct arena arena;
    struct inbox *inbox;
    struct id incarnation; /* of the factory */
    int64_t now_ms;
};

static void
open_inbox(struct stage *stage)
{
    stage->db = place_open(stage->place);
    stage->inbox = inbox_create(stage->db, "stock", "stock/0", &stage->place->settings);
    place_expect(stage->db, inbox_part.load(stage->inbox), ERR_ok);
    db_rollback(stage->db);
}

static void
start(struct stage *stage, const struct place *place)
{
    *stage = (struct stage){.place = place, .incarnation = id_new(), .now_ms = START_MS};
    clock_fake(stage->now_ms);
    open_inbox(stage);
}

static void
stop(struct stage *stage)
{
    inbox_part.destroy(stage->inbox);
    arena_fini(&stage->arena);
    db_close(&stage->db);
}

static void
restart(struct stage *stage)
{
    stop(stage);
    open_inbox(stage);
}

static void
pass_ms(struct stage *stage, int64_t ms)
{
    stage->now_ms += ms;
    clock_fake_advance_ms(ms);
}

/* An event of the factory as its two frames; they live as long as the arena's batch. */
struct frames {
    struct slice header;
    struct slice body;
};

static struct frames
make_frames(struct stage *stage, int64_t seq, const char *key)
{
    struct wire_event_header header = {0};
    WIRE_SET(&header, event_header, v, WIRE_VERSION);
    WIRE_SET(&header, event_header, id, id_new());
    WIRE_SET(&header, event_header, source, slice_of("factory/0"));
    WIRE_SET(&header, event_header, incarnation, stage->incarnation);
    WIRE_SET(&header, event_header, seq, seq);
    WIRE_SET(&header, event_header, type, slice_of("factory.produced"));
    WIRE_SET(&header, event_header, key, slice_of(key));
    WIRE_SET(&header, event_header, time, stage->now_ms);
    struct wire_factory_fact fact = {0};
    WIRE_SET(&fact, factory_fact, production, id_new());
    WIRE_SET(&fact, factory_fact, product, slice_of("donut"));
    WIRE_SET(&fact, factory_fact, quantity, seq);
    return (struct frames){arena_encode(&stage->arena, &event_header_body, &header),
                           arena_encode(&stage->arena, &factory_fact_body, &fact)};
}

static enum inbox_verdict
see(struct stage *stage, int64_t seq, const char *key, struct inbox_event *event)
{
    struct frames frames = make_frames(stage, seq, key);
    return inbox_see(stage->inbox, &stage->arena, 0, frames.header, frames.body, event);
}

static struct wire_event_header
head_header(const struct stage *stage, int64_t seq)
{
    struct wire_event_header header = {0};
    WIRE_SET(&header, event_header, v, WIRE_VERSION);
    WIRE_SET(&header, event_header, id, id_new());
    WIRE_SET(&header, event_header, source, slice_of("factory/0"));
    WIRE_SET(&header, event_header, incarnation, stage->incarnation);
    WIRE_SET(&header, event_header, seq, seq);
    WIRE_SET(&header, event_header, type, slice_of("head"));
    WIRE_SET(&header, event_header, key, slice_of(""));
    WIRE_SET(&header, event_header, time, stage->now_ms);
    return header;
}

static void
see_head(struct stage *stage, int64_t seq)
{
    struct inbox_event event;
    struct wire_event_header header = head_header(stage, seq);
    struct slice frame = arena_encode(&stage->arena, &event_header_body, &header);
    cr_expect(inbox_see(stage->inbox, &stage->arena, 0, frame, slice_of("\x80"), &event) == INBOX_NOTHING);
}

static void
commit(struct stage *stage)
{
    place_expect(stage->db, inbox_part.queue(stage->inbox), ERR_ok);
    place_expect(stage->db, db_commit(stage->db), ERR_ok);
    inbox_part.committed(stage->inbox);
}

static void
drop(struct stage *stage)
{
    place_expect(stage->db, inbox_part.queue(stage->inbox), ERR_ok);
    db_rollback(stage->db);
    inbox_part.dropped(stage->inbox);
}

/* Takes an event that must be the next, and commits what becomes of it: parked, or waiting, or applied. */
static void
apply(struct stage *stage, int64_t seq, const char *key)
{
    struct inbox_event event;
    cr_assert(see(stage, seq, key, &event) == INBOX_APPLY, "seq %lld", (long long)seq);
    cr_expect(event.header.seq == seq);
    cr_expect(event.type == EVENT_factory_produced);
    cr_expect(!inbox_must_park(stage->inbox, &event));
    inbox_applied_event(stage->inbox, &event);
    commit(stage);
}

static err
park_for(struct stage *stage, const struct inbox_event *event, int64_t attempts, int64_t due_ms)
{
    struct inbox_failure failure = {.attempts = attempts, .due_ms = due_ms, .reason = "because of the test"};
    return inbox_park(stage->inbox, event, &failure);
}

static void
park(struct stage *stage, int64_t seq, const char *key, int64_t due_ms)
{
    struct inbox_event event;
    cr_assert(see(stage, seq, key, &event) == INBOX_APPLY, "seq %lld", (long long)seq);
    place_expect(stage->db, park_for(stage, &event, 1, due_ms), ERR_ok);
    commit(stage);
}

static void
park_follower(struct stage *stage, int64_t seq, const char *key)
{
    struct inbox_event event;
    cr_assert(see(stage, seq, key, &event) == INBOX_APPLY, "seq %lld", (long long)seq);
    cr_assert(inbox_must_park(stage->inbox, &event), "seq %lld", (long long)seq);
    place_expect(stage->db, park_for(stage, &event, 0, INT64_MAX), ERR_ok);
    commit(stage);
}

/* The parked events whose turn it is now, as "seq,seq". */
static size_t
read_parked(struct stage *stage, struct inbox_event *events)
{
    size_t count = 0;
    if (inbox_next_parked_ms(stage->inbox) <= stage->now_ms) {
        place_expect(stage->db, inbox_read_parked(stage->inbox, &stage->arena, stage->now_ms, events, 8, &count), ERR_ok);
        db_rollback(stage->db);
    }
    return count;
}

static bool
wants_fetch(struct stage *stage, struct wire_fetch *fetch)
{
    struct inbox_question question = {0};
    enum inbox_asked asked = inbox_wants_fetch(stage->inbox, 0, stage->now_ms, 2000, &question);
    cr_expect(asked != INBOX_ASKS_DLQ);
    *fetch = question.fetch;
    return asked == INBOX_ASKS_SOURCE;
}

/* The dlq is asked, from this position. */
static void
expect_dlq_asked(struct stage *stage, int64_t position)
{
    struct inbox_question question = {0};
    cr_assert(inbox_wants_fetch(stage->inbox, 0, stage->now_ms, 2000, &question) == INBOX_ASKS_DLQ);
    cr_expect(question.dlq_fetch.position == position, "asked from position %lld", (long long)question.dlq_fetch.position);
    cr_expect(slice_equal(question.dlq_fetch.source, slice_of("factory/0")));
    cr_expect(slice_equal(question.dlq_fetch.subscriber, slice_of("stock/0")));
    cr_expect(question.dlq_fetch.limit == INBOX_PAGE_EVENTS);
}

static void
answer(struct stage *stage, enum inbox_asked asked, err code)
{
    inbox_fetched(stage->inbox, 0, &(struct inbox_answer){.asked = asked, .code = code, .detail = "because of the test"},
                  stage->now_ms);
}

static void
page_comes_from(struct stage *stage, enum inbox_asked asked, int64_t head, uint32_t count)
{
    struct wire_fetched page = {0};
    WIRE_SET(&page, fetched, incarnation, stage->incarnation);
    WIRE_SET(&page, fetched, head, head);
    WIRE_SET(&page, fetched, events, (struct wire_list){.count = count});
    inbox_fetched(stage->inbox, 0, &(struct inbox_answer){.asked = asked, .page = &page}, stage->now_ms);
}

static void
page_comes(struct stage *stage, int64_t head, uint32_t count)
{
    page_comes_from(stage, INBOX_ASKS_SOURCE, head, count);
}

static enum inbox_verdict
see_fetched(struct stage *stage, int64_t seq, const char *key, struct inbox_event *event)
{
    struct frames frames = make_frames(stage, seq, key);
    struct wire_fetched_event fetched = {0};
    WIRE_SET(&fetched, fetched_event, header, frames.header);
    WIRE_SET(&fetched, fetched_event, body, frames.body);
    return inbox_see_fetched(stage->inbox, &stage->arena, 0, &fetched, event);
}

/* The first question of every life, answered: nothing is missing. */
static void
confirm_start(struct stage *stage, int64_t position)
{
    struct wire_fetch fetch;
    cr_assert(wants_fetch(stage, &fetch));
    cr_assert(fetch.position == position, "asked from position %lld", (long long)fetch.position);
    page_comes(stage, position, 0);
}

static int64_t
incidents(void)
{
    return metric_value(metric(METRIC_COUNTER, "larder_incidents_total", "subscriber=\"stock/0\"", ""));
}

static int64_t
parked_rows(struct stage *stage)
{
    return place_number(stage->db, "SELECT COUNT(*) FROM $parked");
}

/* --- in order, once --- */

ON_BOTH(inbox, takes_each_event_once)
{
    struct stage stage;
    struct inbox_event event;
    start(&stage, place);
    cr_expect(inbox_stream_count(stage.inbox) == 1);
    cr_expect_str_eq(inbox_stream_actor(stage.inbox, 0), "factory");
    confirm_start(&stage, 0);
    apply(&stage, 1, "a");
    cr_expect(see(&stage, 1, "a", &event) == INBOX_NOTHING);
    apply(&stage, 2, "a");
    cr_expect(inbox_applied(stage.inbox, "factory/0") == 2);
    cr_expect(place_number(stage.db, "SELECT position FROM $cursor WHERE source = 'factory/0'") == 2);
    cr_expect(see(&stage, 2, "a", &event) == INBOX_NOTHING);
    stop(&stage);
}

ON_BOTH(inbox, takes_many_in_one_batch)
{
    struct stage stage;
    struct inbox_event event;
    start(&stage, place);
    confirm_start(&stage, 0);
    for (int64_t seq = 1; seq <= 20; seq++) {
        cr_assert(see(&stage, seq, "a", &event) == INBOX_APPLY);
        inbox_applied_event(stage.inbox, &event);
    }
    commit(&stage);
    cr_expect(place_number(stage.db, "SELECT position FROM $cursor") == 20);
    stop(&stage);
}

ON_BOTH(inbox, fetches_what_is_missing)
{
    struct stage stage;
    struct inbox_event event;
    struct wire_fetch fetch;
    start(&stage, place);
    confirm_start(&stage, 0);
    apply(&stage, 1, "a");
    cr_expect(see(&stage, 4, "a", &event) == INBOX_NOTHING, "a gap");
    cr_expect(inbox_next_ms(stage.inbox, stage.now_ms) <= stage.now_ms);
    cr_assert(wants_fetch(&stage, &fetch));
    cr_expect(fetch.position == 1);
    cr_expect(fetch.limit == INBOX_PAGE_EVENTS);
    cr_expect(slice_equal(fetch.subscriber, slice_of("stock/0")));
    cr_expect(id_equal(&fetch.incarnation, &stage.incarnation));
    cr_expect(inbox_is_fetching(stage.inbox, 0));
    cr_expect(!wants_fetch(&stage, &fetch), "one at a time");
    page_comes(&stage, 4, 3);
    for (int64_t seq = 2; seq <= 4; seq++) {
        cr_assert(see_fetched(&stage, seq, "a", &event) == INBOX_APPLY);
    }
    commit(&stage);
    cr_expect(!inbox_is_fetching(stage.inbox, 0));
    cr_expect(inbox_applied(stage.inbox, "factory/0") == 4);
    cr_expect(see(&stage, 4, "a", &event) == INBOX_NOTHING, "what was in the socket meanwhile");
    apply(&stage, 5, "a");
    stop(&stage);
}

ON_BOTH(inbox, fetches_when_the_head_is_ahead)
{
    struct stage stage;
    struct wire_fetch fetch;
    start(&stage, place);
    confirm_start(&stage, 0);
    cr_expect(!wants_fetch(&stage, &fetch));
    see_head(&stage, 3);
    cr_expect(wants_fetch(&stage, &fetch));
    stop(&stage);
}

/* A confirmation is no FETCH: the socket is read on while it is under way. */
ON_BOTH(inbox, confirms_at_once_and_one_at_a_time)
{
    struct stage stage;
    struct wire_fetch fetch;
    start(&stage, place);
    confirm_start(&stage, 0);
    cr_expect(!inbox_wants_confirm(stage.inbox, 0, stage.now_ms, &fetch), "there is nothing to confirm");
    apply(&stage, 1, "a");
    cr_expect(!wants_fetch(&stage, &fetch));
    cr_expect(inbox_next_ms(stage.inbox, stage.now_ms) <= stage.now_ms);
    cr_assert(inbox_wants_confirm(stage.inbox, 0, stage.now_ms, &fetch));
    cr_expect(fetch.position == 1);
    cr_expect(fetch.limit == 0);
    cr_expect(id_equal(&fetch.incarnation, &stage.incarnation));
    cr_expect(!inbox_is_fetching(stage.inbox, 0));
    apply(&stage, 2, "a");
    pass_ms(&stage, 5);
    cr_expect(!inbox_wants_confirm(stage.inbox, 0, stage.now_ms, &fetch), "one is under way");
    cr_expect(inbox_next_ms(stage.inbox, stage.now_ms) > stage.now_ms);
    inbox_confirmed(stage.inbox, 0, ERR_ok, stage.now_ms);
    cr_assert(inbox_wants_confirm(stage.inbox, 0, stage.now_ms, &fetch));
    cr_expect(fetch.position == 2);
    inbox_confirmed(stage.inbox, 0, ERR_ok, stage.now_ms);
    apply(&stage, 3, "a");
    cr_expect(!inbox_wants_confirm(stage.inbox, 0, stage.now_ms, &fetch), "not twice within a millisecond");
    cr_expect(inbox_next_ms(stage.inbox, stage.now_ms) == stage.now_ms + 1);
    pass_ms(&stage, 1);
    cr_assert(inbox_wants_confirm(stage.inbox, 0, stage.now_ms, &fetch));
    inbox_confirmed(stage.inbox, 0, ERR_ok, stage.now_ms);
    pass_ms(&stage, 5000);
    cr_expect(!inbox_wants_confirm(stage.inbox, 0, stage.now_ms, &fetch));
    cr_expect(!wants_fetch(&stage, &fetch));
    stop(&stage);
}

ON_BOTH(inbox, confirms_again_what_may_not_have_been_heard)
{
    struct stage stage;
    struct wire_fetch fetch;
    start(&stage, place);
    confirm_start(&stage, 0);
    apply(&stage, 1, "a");
    cr_assert(inbox_wants_confirm(stage.inbox, 0, stage.now_ms, &fetch));
    inbox_confirmed(stage.inbox, 0, ERR_deadline_exceeded, stage.now_ms);
    cr_expect(!inbox_wants_confirm(stage.inbox, 0, stage.now_ms, &fetch), "not at once");
    cr_expect(inbox_next_ms(stage.inbox, stage.now_ms) > stage.now_ms);
    pass_ms(&stage, 200);
    cr_assert(inbox_wants_confirm(stage.inbox, 0, stage.now_ms, &fetch));
    cr_expect(fetch.position == 1);
    inbox_confirmed(stage.inbox, 0, ERR_ok, stage.now_ms);
    cr_expect(!wants_fetch(&stage, &fetch), "nothing is in doubt");
    stop(&stage);
}

/* What is wrong is found out by a FETCH, in one place. */
ON_BOTH(inbox, doubts_its_position_when_a_confirmation_is_refused)
{
    struct stage stage;
    struct wire_fetch fetch;
    start(&stage, place);
    confirm_start(&stage, 0);
    apply(&stage, 1, "a");
    cr_assert(inbox_wants_confirm(stage.inbox, 0, stage.now_ms, &fetch));
    inbox_confirmed(stage.inbox, 0, ERR_other_incarnation, stage.now_ms);
    cr_expect(!inbox_has_incident(stage.inbox));
    cr_assert(wants_fetch(&stage, &fetch));
    answer(&stage, INBOX_ASKS_SOURCE, ERR_other_incarnation);
    cr_expect(inbox_has_incident(stage.inbox));
    stop(&stage);
}

ON_BOTH(inbox, confirms_only_what_is_on_disk)
{
    struct stage stage;
    struct wire_fetch fetch;
    struct inbox_event event;
    start(&stage, place);
    confirm_start(&stage, 0);
    apply(&stage, 1, "a");
    cr_assert(see(&stage, 2, "a", &event) == INBOX_APPLY);
    cr_assert(inbox_wants_confirm(stage.inbox, 0, stage.now_ms, &fetch));
    cr_expect(fetch.position == 1);
    see_head(&stage, 3);
    cr_expect(!wants_fetch(&stage, &fetch), "nothing is asked for in the middle of a batch");
    drop(&stage);
    cr_assert(wants_fetch(&stage, &fetch));
    cr_expect(fetch.position == 1);
    stop(&stage);
}

/* The loop sleeps until inbox_next_ms(): a moment that is past would make it spin. */
ON_BOTH(inbox, wants_nothing_while_an_answer_is_under_way)
{
    struct stage stage;
    struct wire_fetch fetch;
    start(&stage, place);
    confirm_start(&stage, 0);
    see_head(&stage, 3);
    cr_assert(wants_fetch(&stage, &fetch));
    pass_ms(&stage, 1500);
    cr_expect(!wants_fetch(&stage, &fetch));
    cr_expect(inbox_next_ms(stage.inbox, stage.now_ms) > stage.now_ms);
    answer(&stage, INBOX_ASKS_SOURCE, ERR_internal);
    cr_expect(!wants_fetch(&stage, &fetch), "not at once again");
    cr_expect(inbox_next_ms(stage.inbox, stage.now_ms) > stage.now_ms);
    pass_ms(&stage, 1000);
    cr_expect(wants_fetch(&stage, &fetch));
    cr_expect(!inbox_has_incident(stage.inbox));
    stop(&stage);
}

/* --- what the dlq keeps --- */

ON_BOTH(inbox, goes_on_at_the_dlq_until_it_has_no_more)
{
    struct stage stage;
    struct inbox_event event;
    struct wire_fetch fetch;
    start(&stage, place);
    cr_assert(wants_fetch(&stage, &fetch));
    answer(&stage, INBOX_ASKS_SOURCE, ERR_kept_elsewhere);
    expect_dlq_asked(&stage, 0);
    page_comes_from(&stage, INBOX_ASKS_DLQ, 2, 2);
    cr_assert(see_fetched(&stage, 1, "a", &event) == INBOX_APPLY);
    cr_assert(see_fetched(&stage, 2, "a", &event) == INBOX_APPLY);
    commit(&stage);
    cr_assert(inbox_wants_confirm(stage.inbox, 0, stage.now_ms, &fetch), "the source is told nevertheless");
    expect_dlq_asked(&stage, 2);
    page_comes_from(&stage, INBOX_ASKS_DLQ, 2, 0);
    cr_assert(wants_fetch(&stage, &fetch), "the source again, at once");
    cr_expect(fetch.position == 2);
    page_comes(&stage, 3, 1);
    cr_assert(see_fetched(&stage, 3, "a", &event) == INBOX_APPLY);
    commit(&stage);
    cr_expect(!wants_fetch(&stage, &fetch));
    cr_expect(!inbox_has_incident(stage.inbox));
    stop(&stage);
}

/* What it keeps may end before our position, or before what we know to exist: that is no source that lost its events. */
ON_BOTH(inbox, takes_a_short_dlq_for_no_incident)
{
    struct stage stage;
    struct wire_fetch fetch;
    start(&stage, place);
    confirm_start(&stage, 0);
    apply(&stage, 1, "a");
    apply(&stage, 2, "a");
    see_head(&stage, 9);
    cr_assert(wants_fetch(&stage, &fetch));
    answer(&stage, INBOX_ASKS_SOURCE, ERR_kept_elsewhere);
    expect_dlq_asked(&stage, 2);
    page_comes_from(&stage, INBOX_ASKS_DLQ, 1, 0);
    cr_expect(!inbox_has_incident(stage.inbox));
    cr_expect(!wants_fetch(&stage, &fetch), "not at once");
    cr_expect(inbox_next_ms(stage.inbox, stage.now_ms) > stage.now_ms);
    pass_ms(&stage, 200);
    cr_expect(wants_fetch(&stage, &fetch));
    stop(&stage);
}

ON_BOTH(inbox, asks_the_dlq_every_second_time_while_the_source_is_away)
{
    struct stage stage;
    struct inbox_event event;
    struct wire_fetch fetch;
    start(&stage, place);
    for (int round = 0; round < 3; round++) {
        cr_assert(wants_fetch(&stage, &fetch));
        answer(&stage, INBOX_ASKS_SOURCE, round == 1 ? ERR_unavailable : ERR_deadline_exceeded);
        cr_expect(inbox_next_ms(stage.inbox, stage.now_ms) > stage.now_ms);
        pass_ms(&stage, 200);
        expect_dlq_asked(&stage, 0);
        answer(&stage, INBOX_ASKS_DLQ, round == 0 ? ERR_unknown_subscriber : round == 1 ? ERR_position_lost : ERR_unavailable);
        cr_expect(!inbox_has_incident(stage.inbox), "the dlq need not know us");
        cr_expect(inbox_next_ms(stage.inbox, stage.now_ms) > stage.now_ms);
        pass_ms(&stage, 200);
    }
    cr_assert(wants_fetch(&stage, &fetch));
    answer(&stage, INBOX_ASKS_SOURCE, ERR_unavailable);
    pass_ms(&stage, 200);
    expect_dlq_asked(&stage, 0);
    page_comes_from(&stage, INBOX_ASKS_DLQ, 1, 1);
    cr_assert(see_fetched(&stage, 1, "a", &event) == INBOX_APPLY, "whose incarnation is taken from the dlq");
    commit(&stage);
    cr_expect(place_number(stage.db, "SELECT position FROM $cursor") == 1);
    expect_dlq_asked(&stage, 1);
    page_comes_from(&stage, INBOX_ASKS_DLQ, 1, 0);
    cr_expect(wants_fetch(&stage, &fetch), "the position is still in doubt: only the source can say that nothing is missing");
    stop(&stage);
}

ON_BOTH(inbox, leaves_a_dlq_whose_page_brings_nothing_new)
{
    struct stage stage;
    struct inbox_event event;
    struct wire_fetch fetch;
    start(&stage, place);
    confirm_start(&stage, 0);
    apply(&stage, 1, "a");
    see_head(&stage, 5);
    cr_assert(wants_fetch(&stage, &fetch));
    answer(&stage, INBOX_ASKS_SOURCE, ERR_kept_elsewhere);
    expect_dlq_asked(&stage, 1);
    page_comes_from(&stage, INBOX_ASKS_DLQ, 5, 1);
    cr_expect(see_fetched(&stage, 1, "a", &event) == INBOX_NOTHING);
    cr_expect(!wants_fetch(&stage, &fetch));
    cr_expect(inbox_next_ms(stage.inbox, stage.now_ms) > stage.now_ms, "no circle without a pause");
    pass_ms(&stage, 200);
    cr_expect(wants_fetch(&stage, &fetch));
    stop(&stage);
}

ON_BOTH(inbox, does_not_take_another_stream_from_the_dlq)
{
    struct stage stage;
    struct wire_fetch fetch;
    start(&stage, place);
    confirm_start(&stage, 0);
    apply(&stage, 1, "a");
    see_head(&stage, 5);
    cr_assert(wants_fetch(&stage, &fetch));
    answer(&stage, INBOX_ASKS_SOURCE, ERR_kept_elsewhere);
    expect_dlq_asked(&stage, 1);
    struct id ours = stage.incarnation;
    stage.incarnation = id_new();
    page_comes_from(&stage, INBOX_ASKS_DLQ, 5, 4);
    stage.incarnation = ours;
    cr_expect(!inbox_has_incident(stage.inbox));
    pass_ms(&stage, 200);
    cr_expect(wants_fetch(&stage, &fetch));
    stop(&stage);
}

ON_BOTH(inbox, asks_the_dlq_before_it_takes_a_position_for_lost)
{
    struct stage stage;
    struct inbox_event event;
    struct wire_fetch fetch;
    start(&stage, place);
    cr_assert(wants_fetch(&stage, &fetch));
    answer(&stage, INBOX_ASKS_SOURCE, ERR_position_lost);
    expect_dlq_asked(&stage, 0);
    page_comes_from(&stage, INBOX_ASKS_DLQ, 1, 1);
    cr_assert(see_fetched(&stage, 1, "a", &event) == INBOX_APPLY);
    commit(&stage);
    expect_dlq_asked(&stage, 1);
    page_comes_from(&stage, INBOX_ASKS_DLQ, 1, 0);
    cr_expect(!inbox_has_incident(stage.inbox));
    cr_assert(wants_fetch(&stage, &fetch));
    answer(&stage, INBOX_ASKS_SOURCE, ERR_position_lost);
    expect_dlq_asked(&stage, 1);
    page_comes_from(&stage, INBOX_ASKS_DLQ, 1, 0);
    cr_expect(inbox_has_incident(stage.inbox), "nobody has it");
    cr_expect(inbox_next_ms(stage.inbox, stage.now_ms) == INT64_MAX);
    stop(&stage);
}

ON_BOTH(inbox, gives_up_on_a_lost_position_though_the_dlq_is_away)
{
    struct stage stage;
    struct wire_fetch fetch;
    int rounds = 0;
    start(&stage, place);
    while (!inbox_has_incident(stage.inbox) && rounds < 20) {
        cr_assert(wants_fetch(&stage, &fetch));
        answer(&stage, INBOX_ASKS_SOURCE, ERR_position_lost);
        expect_dlq_asked(&stage, 0);
        answer(&stage, INBOX_ASKS_DLQ, ERR_unavailable);
        pass_ms(&stage, 200);
        rounds++;
    }
    cr_expect(rounds == 5, "%d rounds", rounds);
    cr_expect(incidents() == 1);
    stop(&stage);
}

ON_BOTH(inbox, goes_back_when_the_batch_is_dropped)
{
    struct stage stage;
    struct inbox_event event;
    struct wire_fetch fetch;
    start(&stage, place);
    confirm_start(&stage, 0);
    apply(&stage, 1, "a");
    struct inbox_event second;
    cr_assert(see(&stage, 2, "a", &second) == INBOX_APPLY);
    cr_assert(see(&stage, 3, "a", &event) == INBOX_APPLY);
    drop(&stage);
    cr_expect(inbox_applied(stage.inbox, "factory/0") == 1);
    cr_expect(!inbox_take_again(stage.inbox, &event), "not its turn");
    cr_expect(inbox_take_again(stage.inbox, &second));
    commit(&stage);
    cr_expect(inbox_take_again(stage.inbox, &event));
    drop(&stage);
    cr_expect(wants_fetch(&stage, &fetch), "what was dropped comes again by FETCH");
    cr_expect(fetch.position == 2);
    stop(&stage);
}

ON_BOTH(inbox, goes_on_from_its_cursor_after_a_restart)
{
    struct stage stage;
    struct inbox_event event;
    start(&stage, place);
    confirm_start(&stage, 0);
    apply(&stage, 1, "a");
    apply(&stage, 2, "a");
    restart(&stage);
    cr_expect(inbox_applied(stage.inbox, "factory/0") == 2);
    struct wire_fetch fetch;
    cr_assert(wants_fetch(&stage, &fetch), "a restart asks what was missed");
    cr_expect(fetch.position == 2);
    cr_expect(id_equal(&fetch.incarnation, &stage.incarnation));
    page_comes(&stage, 3, 1);
    cr_expect(see_fetched(&stage, 2, "a", &event) == INBOX_NOTHING);
    cr_expect(see_fetched(&stage, 3, "a", &event) == INBOX_APPLY);
    commit(&stage);
    stop(&stage);
}

/* --- parked --- */

ON_BOTH(inbox, lets_other_keys_pass_a_parked_event)
{
    struct stage stage;
    struct inbox_event events[8];
    start(&stage, place);
    confirm_start(&stage, 0);
    park(&stage, 1, "bad", START_MS + 500);
    apply(&stage, 2, "good");
    park_follower(&stage, 3, "bad");
    apply(&stage, 4, "good");
    apply(&stage, 5, "badly");
    park_follower(&stage, 6, "bad");
    cr_expect(place_number(stage.db, "SELECT position FROM $cursor") == 6, "the cursor has passed them");
    cr_expect(parked_rows(&stage) == 3);
    cr_expect(read_parked(&stage, events) == 0, "not due");
    cr_expect(inbox_next_ms(stage.inbox, stage.now_ms) <= START_MS + 500);
    stop(&stage);
}

ON_BOTH(inbox, tries_parked_events_of_a_key_in_order)
{
    struct stage stage;
    struct inbox_event events[8];
    start(&stage, place);
    confirm_start(&stage, 0);
    park(&stage, 1, "bad", START_MS + 500);
    park_follower(&stage, 2, "bad");
    park(&stage, 3, "worse", START_MS + 600);
    park_follower(&stage, 4, "bad");
    pass_ms(&stage, 550);
    cr_assert(read_parked(&stage, events) == 1);
    cr_expect(events[0].header.seq == 1);
    cr_expect(events[0].is_parked);
    cr_expect(events[0].attempts == 1);
    cr_expect(events[0].type == EVENT_factory_produced);
    place_expect(stage.db, park_for(&stage, &events[0], 2, stage.now_ms + 1000), ERR_ok);
    commit(&stage);
    cr_expect(read_parked(&stage, events) == 0, "backs off");
    cr_expect(parked_rows(&stage) == 4);
    pass_ms(&stage, 1000);
    cr_assert(read_parked(&stage, events) == 2);
    struct inbox_event *first = events[0].header.seq == 1 ? &events[0] : &events[1];
    cr_expect(first->header.seq == 1);
    cr_expect(first->attempts == 2);
    inbox_applied_event(stage.inbox, first);
    commit(&stage);
    for (int64_t seq = 2; seq <= 4; seq += 2) {
        cr_assert(read_parked(&stage, events) == 2);
        first = slice_equal(events[0].header.key, slice_of("bad")) ? &events[0] : &events[1];
        cr_expect(first->header.seq == seq, "not seq %lld", (long long)first->header.seq);
        cr_expect(first->attempts == 0);
        inbox_applied_event(stage.inbox, first);
        commit(&stage);
    }
    cr_expect(parked_rows(&stage) == 1);
    apply(&stage, 5, "bad");
    stop(&stage);
}

/* A follower has no time of its own: it is the head's end that lets it go, also when the process ended in between. */
ON_BOTH(inbox, lets_followers_go_after_a_restart)
{
    struct stage stage;
    struct inbox_event events[8];
    start(&stage, place);
    confirm_start(&stage, 0);
    park(&stage, 1, "bad", START_MS);
    park_follower(&stage, 2, "bad");
    cr_assert(read_parked(&stage, events) == 1);
    inbox_applied_event(stage.inbox, &events[0]);
    commit(&stage);
    restart(&stage);
    cr_assert(read_parked(&stage, events) == 1);
    cr_expect(events[0].header.seq == 2);
    struct inbox_event later;
    confirm_start(&stage, 2);
    cr_assert(see(&stage, 3, "bad", &later) == INBOX_APPLY);
    cr_expect(inbox_must_park(stage.inbox, &later));
    stop(&stage);
}

ON_BOTH(inbox, keeps_the_time_of_a_parked_event_over_a_restart)
{
    struct stage stage;
    struct inbox_event events[8];
    start(&stage, place);
    confirm_start(&stage, 0);
    park(&stage, 1, "bad", START_MS + 500);
    restart(&stage);
    cr_expect(inbox_next_parked_ms(stage.inbox) == START_MS + 500);
    cr_expect(read_parked(&stage, events) == 0);
    stop(&stage);
}

/* The row is still there when the batch that took it away is rolled back: so must be what memory knows of it. */
ON_BOTH(inbox, remembers_a_parked_event_whose_batch_was_dropped)
{
    struct stage stage;
    struct inbox_event events[8];
    struct inbox_event later;
    start(&stage, place);
    confirm_start(&stage, 0);
    park(&stage, 1, "bad", START_MS);
    cr_assert(read_parked(&stage, events) == 1);
    inbox_applied_event(stage.inbox, &events[0]);
    drop(&stage);
    cr_expect(parked_rows(&stage) == 1);
    cr_expect(inbox_next_parked_ms(stage.inbox) == START_MS, "it is tried again");
    cr_assert(see(&stage, 2, "bad", &later) == INBOX_APPLY);
    cr_expect(inbox_must_park(stage.inbox, &later), "nobody overtakes it");
    drop(&stage);
    cr_assert(read_parked(&stage, events) == 1);
    place_expect(stage.db, park_for(&stage, &events[0], 2, START_MS + 100), ERR_ok);
    commit(&stage);
    cr_expect(inbox_next_parked_ms(stage.inbox) == START_MS + 100);
    pass_ms(&stage, 100);
    cr_assert(read_parked(&stage, events) == 1);
    inbox_applied_event(stage.inbox, &events[0]);
    commit(&stage);
    cr_expect(parked_rows(&stage) == 0);
    cr_expect(inbox_next_parked_ms(stage.inbox) == INT64_MAX);
    apply(&stage, 2, "bad");
    stop(&stage);
}

ON_BOTH(inbox, forgets_a_parking_that_was_dropped)
{
    struct stage stage;
    struct inbox_event event;
    start(&stage, place);
    confirm_start(&stage, 0);
    cr_assert(see(&stage, 1, "bad", &event) == INBOX_APPLY);
    place_expect(stage.db, park_for(&stage, &event, 1, START_MS), ERR_ok);
    drop(&stage);
    cr_expect(inbox_next_parked_ms(stage.inbox) == INT64_MAX);
    cr_assert(inbox_take_again(stage.inbox, &event));
    cr_expect(!inbox_must_park(stage.inbox, &event));
    inbox_applied_event(stage.inbox, &event);
    commit(&stage);
    cr_expect(parked_rows(&stage) == 0);
    apply(&stage, 2, "bad");
    stop(&stage);
}

ON_BOTH(inbox, gives_back_several_changes_of_one_batch)
{
    struct stage stage;
    struct inbox_event events[8];
    struct inbox_event event;
    start(&stage, place);
    confirm_start(&stage, 0);
    park(&stage, 1, "a", START_MS);
    park_follower(&stage, 2, "a");
    park(&stage, 3, "b", START_MS);
    cr_assert(read_parked(&stage, events) == 2);
    inbox_applied_event(stage.inbox, &events[0]);
    inbox_applied_event(stage.inbox, &events[1]);
    cr_assert(see(&stage, 4, "c", &event) == INBOX_APPLY);
    place_expect(stage.db, park_for(&stage, &event, 1, START_MS + 9), ERR_ok);
    drop(&stage);
    cr_assert(read_parked(&stage, events) == 2);
    cr_expect(events[0].header.seq + events[1].header.seq == 1 + 3);
    for (int round = 0; round < 2; round++) {
        size_t count = read_parked(&stage, events);
        for (size_t i = 0; i < count; i++) {
            inbox_applied_event(stage.inbox, &events[i]);
        }
        commit(&stage);
    }
    cr_expect(parked_rows(&stage) == 0);
    cr_expect(inbox_next_parked_ms(stage.inbox) == INT64_MAX);
    stop(&stage);
}

ON_BOTH(inbox, takes_nothing_more_while_too_many_are_parked)
{
    struct stage stage;
    struct inbox_event event;
    struct inbox_event events[8];
    struct wire_fetch fetch;
    start(&stage, place);
    confirm_start(&stage, 0);
    park(&stage, 1, "bad", START_MS);
    struct db_rows *copies = db_rows(stage.db, "INSERT INTO $parked (source, seq, event_key, header, body, attempts, due, error)", 8);
    struct frames frames = make_frames(&stage, 1, "bad");
    for (int64_t seq = -100000; seq < 0; seq++) {
        db_rows_text(copies, slice_of("factory/0"));
        db_rows_i64(copies, seq);
        db_rows_text(copies, slice_of("bad"));
        db_rows_bytes(copies, frames.header);
        db_rows_bytes(copies, slice_of("\x80"));
        db_rows_i64(copies, 0);
        db_rows_i64(copies, START_MS);
        db_rows_text(copies, slice_of("by hand"));
    }
    place_expect(stage.db, db_rows_queue(copies), ERR_ok);
    place_expect(stage.db, db_commit(stage.db), ERR_ok);
    restart(&stage);
    confirm_start(&stage, 1);
    cr_expect(see(&stage, 2, "good", &event) == INBOX_NOTHING);
    cr_assert(wants_fetch(&stage, &fetch));
    cr_expect(fetch.limit == 0, "it only confirms");
    page_comes(&stage, 2, 0);
    cr_expect(!wants_fetch(&stage, &fetch), "not at once again");
    cr_assert(read_parked(&stage, events) == 1);
    inbox_applied_event(stage.inbox, &events[0]);
    commit(&stage);
    pass_ms(&stage, 300);
    cr_assert(wants_fetch(&stage, &fetch));
    cr_expect(fetch.limit == INBOX_PAGE_EVENTS);
    page_comes(&stage, 2, 1);
    cr_expect(see_fetched(&stage, 2, "good", &event) == INBOX_APPLY);
    commit(&stage);
    stop(&stage);
}

/* Thousands of keys fail: those that are due are found, in whatever order they came, and a dropped batch leaves no trace. */
ON_BOTH(inbox, finds_what_is_due_among_thousands_of_keys)
{
    enum { MANY = 5000 };
    struct stage stage;
    struct inbox_event event;
    struct inbox_event events[8];
    char key[16];
    start(&stage, place);
    confirm_start(&stage, 0);
    for (int64_t seq = 1; seq <= MANY; seq++) {
        snprintf(key, sizeof key, "k%d", (int)(seq * 7919 % MANY));
        cr_assert(see(&stage, seq, key, &event) == INBOX_APPLY);
        cr_assert(!inbox_must_park(stage.inbox, &event));
        place_expect(stage.db, park_for(&stage, &event, 1, START_MS + 1 + seq * 7919 % MANY), ERR_ok);
    }
    commit(&stage);
    for (int life = 0; life < 2; life++) {
        cr_expect(inbox_next_parked_ms(stage.inbox) == START_MS + 1);
        size_t count = 0;
        place_expect(stage.db, inbox_read_parked(stage.inbox, &stage.arena, START_MS + 3, events, 8, &count), ERR_ok);
        cr_expect(count == 3, "%zu of 3", count);
        for (size_t i = 0; i < count; i++) {
            inbox_applied_event(stage.inbox, &events[i]);
        }
        cr_expect(inbox_next_parked_ms(stage.inbox) == START_MS + 4);
        drop(&stage);
        restart(&stage);
    }
    cr_expect(parked_rows(&stage) == MANY);
    stop(&stage);
}

ON_BOTH(inbox, never_tries_a_buried_head_by_itself)
{
    struct stage stage;
    struct inbox_event event;
    struct inbox_event events[8];
    start(&stage, place);
    confirm_start(&stage, 0);
    cr_assert(see(&stage, 1, "bad", &event) == INBOX_APPLY);
    struct inbox_failure failure = {.attempts = 7, .due_ms = INT64_MAX, .is_buried = true, .reason = "because of the test"};
    place_expect(stage.db, inbox_park(stage.inbox, &event, &failure), ERR_ok);
    commit(&stage);
    park_follower(&stage, 2, "bad");
    for (int life = 0; life < 2; life++) {
        cr_expect(inbox_next_parked_ms(stage.inbox) == INT64_MAX);
        pass_ms(&stage, 3600000);
        cr_expect(read_parked(&stage, events) == 0);
        restart(&stage);
    }
    struct inbox_place found;
    place_expect(stage.db, inbox_find_parked(stage.inbox, &stage.arena, slice_of("factory/0"), 2, &event, &found), ERR_ok);
    cr_expect(found.found == INBOX_FOUND_BEHIND && found.head == 1);
    place_expect(stage.db, inbox_find_parked(stage.inbox, &stage.arena, slice_of("factory/0"), 1, &event, &found), ERR_ok);
    cr_expect(found.found == INBOX_FOUND_HEAD && event.state == PARKED_BURIED && event.attempts == 7);
    place_expect(stage.db, inbox_discard_parked(stage.inbox, &event, false), ERR_ok);
    drop(&stage);
    cr_expect(inbox_next_parked_ms(stage.inbox) == INT64_MAX, "taken back");
    place_expect(stage.db, inbox_discard_parked(stage.inbox, &event, false), ERR_ok);
    commit(&stage);
    cr_assert(read_parked(&stage, events) == 1);
    cr_expect(events[0].header.seq == 2);
    stop(&stage);
}

/* Position, what was applied, what was given up and what is kept add up, also when batches are dropped. */
ON_BOTH(inbox, counts_what_it_applied_and_what_was_given_up)
{
    struct stage stage;
    struct inbox_event event;
    struct inbox_event events[8];
    const char *fault = "SELECT COUNT(*) FROM $cursor WHERE position <> delivered + discarded + (SELECT COUNT(*) FROM $parked)";
    start(&stage, place);
    confirm_start(&stage, 0);
    apply(&stage, 1, "a");
    park(&stage, 2, "b", START_MS);
    park_follower(&stage, 3, "b");
    cr_expect(place_number(stage.db, fault) == 0);
    cr_assert(read_parked(&stage, events) == 1);
    inbox_applied_event(stage.inbox, &events[0]);
    drop(&stage);
    inbox_applied_event(stage.inbox, &events[0]);
    commit(&stage);
    cr_expect(place_number(stage.db, fault) == 0);
    cr_expect(place_number(stage.db, "SELECT delivered FROM $cursor") == 2);
    restart(&stage);
    struct inbox_place found;
    place_expect(stage.db, inbox_find_parked(stage.inbox, &stage.arena, slice_of("factory/0"), 3, &event, &found), ERR_ok);
    place_expect(stage.db, inbox_discard_parked(stage.inbox, &event, true), ERR_ok);
    commit(&stage);
    cr_expect(place_number(stage.db, fault) == 0);
    cr_expect(place_number(stage.db, "SELECT discarded FROM $cursor") == 1);
    cr_expect(place_number(stage.db, "SELECT position FROM $cursor") == 3);
    stop(&stage);
}

/* --- held --- */

ON_BOTH(inbox, stands_still_while_a_dependency_is_away)
{
    struct stage stage;
    struct inbox_event event;
    struct inbox_event later;
    struct wire_fetch fetch;
    start(&stage, place);
    confirm_start(&stage, 0);
    apply(&stage, 1, "a");
    cr_assert(see(&stage, 2, "a", &event) == INBOX_APPLY);
    drop(&stage);
    cr_assert(inbox_take_again(stage.inbox, &event));
    drop(&stage);
    inbox_hold(stage.inbox, &event, stage.now_ms + 300);
    cr_assert(inbox_wants_confirm(stage.inbox, 0, stage.now_ms, &fetch), "what came before it is told");
    inbox_confirmed(stage.inbox, 0, ERR_ok, stage.now_ms);
    cr_expect(see(&stage, 3, "b", &later) == INBOX_NOTHING);
    cr_expect(!wants_fetch(&stage, &fetch));
    int64_t next_ms = inbox_next_ms(stage.inbox, stage.now_ms);
    cr_expect(next_ms > stage.now_ms && next_ms <= stage.now_ms + 300);
    pass_ms(&stage, 300);
    cr_assert(wants_fetch(&stage, &fetch));
    cr_expect(fetch.position == 1);
    page_comes(&stage, 3, 2);
    cr_expect(see_fetched(&stage, 2, "a", &later) == INBOX_APPLY);
    cr_expect(see_fetched(&stage, 3, "b", &later) == INBOX_APPLY);
    commit(&stage);
    stop(&stage);
}

/* --- incidents --- */

ON_BOTH(inbox, stands_at_another_incarnation_and_says_so_once)
{
    struct stage stage;
    struct inbox_event event;
    struct wire_fetch fetch;
    start(&stage, place);
    confirm_start(&stage, 0);
    apply(&stage, 1, "a");
    struct id ours = stage.incarnation;
    stage.incarnation = id_new();
    cr_expect(see(&stage, 2, "a", &event) == INBOX_NOTHING);
    cr_expect(inbox_has_incident(stage.inbox));
    cr_expect(incidents() == 1);
    see_head(&stage, 7);
    cr_expect(see(&stage, 3, "a", &event) == INBOX_NOTHING);
    stage.incarnation = ours;
    cr_expect(see(&stage, 2, "a", &event) == INBOX_NOTHING, "nothing goes on by itself");
    pass_ms(&stage, 60000);
    cr_expect(!wants_fetch(&stage, &fetch));
    cr_expect(inbox_next_ms(stage.inbox, stage.now_ms) == INT64_MAX);
    cr_expect(incidents() == 1, "said once");
    cr_expect(place_number(stage.db, "SELECT position FROM $cursor") == 1);
    stop(&stage);
}

/* An event, or HEAD with an empty key, that says what past it has. */
static enum inbox_verdict
see_chained(struct stage *stage, int64_t seq, const char *key, struct id *chain)
{
    struct inbox_event event;
    struct wire_event_header header = {0};
    struct err_text why;
    bool is_head = key[0] == '\0';
    struct frames frames = make_frames(stage, seq, key);
    cr_assert(wire_decode(&event_header_body, frames.header, &header, &why) == ERR_ok);
    *chain = is_head ? *chain : stream_chain(chain, &header.id);
    WIRE_SET(&header, event_header, type, slice_of(is_head ? "head" : "factory.produced"));
    WIRE_SET(&header, event_header, chain, *chain);
    struct slice frame = arena_encode(&stage->arena, &event_header_body, &header);
    enum inbox_verdict verdict = inbox_see(stage->inbox, &stage->arena, 0, frame, frames.body, &event);
    if (verdict == INBOX_APPLY) {
        inbox_applied_event(stage->inbox, &event);
    }
    return verdict;
}

ON_BOTH(inbox, stands_at_a_source_that_has_passed_its_cursor_with_another_past)
{
    struct stage stage;
    struct id chain = {{0}};
    struct id other = {{0}};
    start(&stage, place);
    confirm_start(&stage, 0);
    for (int64_t seq = 1; seq <= 3; seq++) {
        cr_expect(see_chained(&stage, seq, "a", &chain) == INBOX_APPLY);
        other = seq == 1 ? chain : other; /* a copy of then, which goes on by itself */
        commit(&stage);
    }
    struct id id = id_new();
    other = stream_chain(&other, &id);
    other = stream_chain(&other, &id);
    restart(&stage);
    confirm_start(&stage, 3);
    cr_expect(see_chained(&stage, 4, "a", &other) == INBOX_NOTHING);
    cr_expect(inbox_has_incident(stage.inbox));
    cr_expect(incidents() == 1);
    cr_expect(place_number(stage.db, "SELECT position FROM $cursor") == 3);
    stop(&stage);
}

ON_BOTH(inbox, stands_at_a_head_of_another_past_at_its_very_position)
{
    struct stage stage;
    struct id chain = {{0}};
    start(&stage, place);
    confirm_start(&stage, 0);
    cr_expect(see_chained(&stage, 1, "a", &chain) == INBOX_APPLY);
    commit(&stage);
    cr_expect(see_chained(&stage, 1, "", &chain) == INBOX_NOTHING);
    cr_expect(!inbox_has_incident(stage.inbox), "it is the past that was followed");
    struct id other = id_new();
    cr_expect(see_chained(&stage, 1, "", &other) == INBOX_NOTHING);
    cr_expect(inbox_has_incident(stage.inbox));
    stop(&stage);
}

ON_BOTH(inbox, knows_its_sources_past_again_after_a_rolled_back_batch)
{
    struct stage stage;
    struct id chain = {{0}};
    start(&stage, place);
    confirm_start(&stage, 0);
    cr_expect(see_chained(&stage, 1, "a", &chain) == INBOX_APPLY);
    commit(&stage);
    struct id before = chain;
    cr_expect(see_chained(&stage, 2, "a", &chain) == INBOX_APPLY);
    drop(&stage);
    cr_expect(see_chained(&stage, 2, "b", &before) == INBOX_APPLY, "what was rolled back is not its past");
    commit(&stage);
    cr_expect(!inbox_has_incident(stage.inbox));
    stop(&stage);
}

ON_BOTH(inbox, follows_a_source_that_keeps_no_chain_and_takes_up_one_that_begins_to)
{
    struct stage stage;
    struct id chain = {{0}};
    start(&stage, place);
    confirm_start(&stage, 0);
    apply(&stage, 1, "a");
    cr_expect(see_chained(&stage, 2, "a", &chain) == INBOX_APPLY);
    commit(&stage);
    cr_expect(see_chained(&stage, 3, "a", &chain) == INBOX_APPLY);
    commit(&stage);
    apply(&stage, 4, "a"); /* a build of before has had it for a while */
    cr_expect(see_chained(&stage, 5, "a", &chain) == INBOX_APPLY);
    commit(&stage);
    cr_expect(!inbox_has_incident(stage.inbox));
    stop(&stage);
}

ON_BOTH(inbox, stands_when_the_source_ends_before_its_cursor)
{
    struct stage stage;
    struct wire_fetch fetch;
    start(&stage, place);
    confirm_start(&stage, 0);
    apply(&stage, 1, "a");
    apply(&stage, 2, "a");
    restart(&stage);
    cr_assert(wants_fetch(&stage, &fetch));
    page_comes(&stage, 1, 0);
    cr_expect(inbox_has_incident(stage.inbox));
    cr_expect(incidents() == 1);
    stop(&stage);
}

/* A HEAD with all that it says. */
static void
see_whole_head(struct stage *stage, int64_t seq, int64_t oldest, int64_t batch)
{
    struct inbox_event event;
    struct wire_event_header header = head_header(stage, seq);
    struct wire_head head = {0};
    WIRE_SET(&header, event_header, batch, batch);
    WIRE_SET(&head, head, head, seq);
    WIRE_SET(&head, head, oldest, oldest);
    WIRE_SET(&head, head, positions, (struct wire_list){0});
    cr_expect(inbox_see(stage->inbox, &stage->arena, 0, arena_encode(&stage->arena, &event_header_body, &header),
                        arena_encode(&stage->arena, &head_body, &head), &event) == INBOX_NOTHING);
}

ON_BOTH(inbox, stands_at_a_source_that_has_made_fewer_commits_than_before)
{
    struct stage stage;
    start(&stage, place);
    confirm_start(&stage, 0);
    apply(&stage, 1, "a");
    see_whole_head(&stage, 1, 2, 100);
    pass_ms(&stage, 20000);
    cr_assert(inbox_part.is_due(stage.inbox));
    commit(&stage);
    cr_expect(place_number(stage.db, "SELECT batch FROM $cursor") == 100);
    restart(&stage);
    confirm_start(&stage, 1);
    for (int64_t batch = 50; batch < 52; batch++) {
        see_whole_head(&stage, 1, 2, batch);
        pass_ms(&stage, 3000);
    }
    see_whole_head(&stage, 1, 2, 100);
    see_whole_head(&stage, 1, 2, 52);
    see_whole_head(&stage, 1, 2, 53);
    cr_expect(!inbox_has_incident(stage.inbox), "one that was stopped has a successor who has come as far");
    pass_ms(&stage, 5000);
    see_whole_head(&stage, 1, 2, 54);
    cr_expect(inbox_has_incident(stage.inbox));
    commit(&stage);
    cr_expect(place_number(stage.db, "SELECT COUNT(*) FROM $incident WHERE kind = 'went_back' AND resolved = 0") == 1);
    cr_expect(place_number(stage.db, "SELECT batch FROM $cursor") == 100);
    stop(&stage);
}

static struct id
read_incident(struct stage *stage)
{
    struct db_statement *read = db_statement(stage->db, "SELECT id FROM $incident WHERE resolved = 0");
    place_expect(stage->db, db_query(read), ERR_ok);
    cr_assert(db_next(read));
    struct id id = db_id(read, 0);
    db_done(read);
    db_rollback(stage->db);
    return id;
}

static err
resolve(struct stage *stage, bool is_decided, struct slice *words)
{
    struct err_text why;
    struct inbox_decision decision = {
        .incident = read_incident(stage), .author = slice_of("ana"), .reason = slice_of("the disk burned")};
    decision.is_decided = is_decided;
    decision.now_ms = stage->now_ms;
    return inbox_resolve(stage->inbox, &stage->arena, &decision, words, &why);
}

ON_BOTH(inbox, goes_back_to_where_the_source_ends_when_somebody_decides)
{
    struct stage stage;
    struct wire_fetch fetch;
    struct slice words;
    const char *fault = "SELECT COUNT(*) FROM $cursor WHERE position <> delivered + discarded + (SELECT COUNT(*) FROM $parked)";
    start(&stage, place);
    confirm_start(&stage, 0);
    apply(&stage, 1, "a");
    park(&stage, 2, "b", INT64_MAX);
    apply(&stage, 3, "c");
    park(&stage, 4, "d", INT64_MAX);
    restart(&stage);
    cr_assert(wants_fetch(&stage, &fetch));
    page_comes(&stage, 2, 0);
    cr_assert(inbox_has_incident(stage.inbox));
    cr_assert(inbox_part.is_due(stage.inbox));
    commit(&stage);
    cr_expect(resolve(&stage, false, &words) == ERR_unavailable, "the source was not heard yet");
    see_whole_head(&stage, 2, 1, 7);
    place_expect(stage.db, resolve(&stage, false, &words), ERR_ok);
    place_expect(stage.db, resolve(&stage, true, &words), ERR_ok);
    drop(&stage);
    cr_expect(inbox_has_incident(stage.inbox) && place_number(stage.db, "SELECT position FROM $cursor") == 4, "taken back");
    place_expect(stage.db, resolve(&stage, true, &words), ERR_ok);
    commit(&stage);
    cr_expect(!inbox_has_incident(stage.inbox));
    cr_expect(place_number(stage.db, fault) == 0);
    cr_expect(place_number(stage.db, "SELECT position FROM $cursor") == 2);
    cr_expect(place_number(stage.db, "SELECT COUNT(*) FROM $parked") == 1);
    cr_expect(place_number(stage.db, "SELECT COUNT(*) FROM $incident WHERE resolved > 0 AND author = 'ana' AND reason <> ''") == 1);
    confirm_start(&stage, 2);
    apply(&stage, 3, "e");
    restart(&stage);
    cr_expect(!inbox_has_incident(stage.inbox));
    stop(&stage);
}

ON_BOTH(inbox, stands_when_the_source_refuses_it)
{
    struct stage stage;
    struct wire_fetch fetch;
    start(&stage, place);
    cr_assert(wants_fetch(&stage, &fetch));
    answer(&stage, INBOX_ASKS_SOURCE, ERR_unknown_subscriber);
    cr_expect(inbox_has_incident(stage.inbox));
    pass_ms(&stage, 10000);
    cr_expect(!wants_fetch(&stage, &fetch));
    stop(&stage);
}

ON_BOTH(inbox, stands_at_an_event_of_an_unknown_version)
{
    struct stage stage;
    struct inbox_event event;
    start(&stage, place);
    confirm_start(&stage, 0);
    struct wire_event_header header = {0};
    WIRE_SET(&header, event_header, v, WIRE_VERSION + 1);
    WIRE_SET(&header, event_header, id, id_new());
    WIRE_SET(&header, event_header, source, slice_of("factory/0"));
    WIRE_SET(&header, event_header, incarnation, stage.incarnation);
    WIRE_SET(&header, event_header, seq, 1);
    WIRE_SET(&header, event_header, type, slice_of("factory.produced"));
    WIRE_SET(&header, event_header, key, slice_of("a"));
    WIRE_SET(&header, event_header, time, stage.now_ms);
    struct slice frame = arena_encode(&stage.arena, &event_header_body, &header);
    cr_expect(inbox_see(stage.inbox, &stage.arena, 0, frame, slice_of("\x80"), &event) == INBOX_NOTHING);
    cr_expect(inbox_has_incident(stage.inbox));
    stop(&stage);
}

ON_BOTH(inbox, takes_an_event_of_an_unknown_type)
{
    struct stage stage;
    struct inbox_event event;
    start(&stage, place);
    confirm_start(&stage, 0);
    struct wire_event_header header = {0};
    WIRE_SET(&header, event_header, v, WIRE_VERSION);
    WIRE_SET(&header, event_header, id, id_new());
    WIRE_SET(&header, event_header, source, slice_of("factory/0"));
    WIRE_SET(&header, event_header, incarnation, stage.incarnation);
    WIRE_SET(&header, event_header, seq, 1);
    WIRE_SET(&header, event_header, type, slice_of("factory.moved"));
    WIRE_SET(&header, event_header, key, slice_of("a"));
    WIRE_SET(&header, event_header, time, stage.now_ms);
    struct slice frame = arena_encode(&stage.arena, &event_header_body, &header);
    cr_expect(inbox_see(stage.inbox, &stage.arena, 0, frame, slice_of("\x80"), &event) == INBOX_APPLY);
    cr_expect(event.type == EVENT_COUNT);
    commit(&stage);
    apply(&stage, 2, "a");
    stop(&stage);
}
