/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Decides the items of a batch one after the other on the levels and holds in memory: refuses, or writes lines of the
 *           ledger, moves the levels, emits what is news, sets and cancels due rows, and answers.
 * MESSAGES  stock.take reserve extend commit release return adjust count configure get; factory.ordered produced failed; due rows
 *           `hold` (16 bytes of its id: it ends) and `alarm` (product: it still stands). Emits stock.low out restocked changed.
 * STATE     Every request that is done leaves at least one line under its id in the ledger, which is its idempotency: a second
 *           first attempt breaks UNIQUE (request, line), and is then answered from the lines that are there. A request that is
 *           asked again and refused leaves a line of kind `refused`, so that a first attempt that comes late cannot be done any
 *           more. A refused first attempt leaves nothing, but an alarm that it raised.
 * FAILURES  Nothing is changed before it is known that a request will be done, but what a refusal makes of the alarm.
 * LIMITS    1,000 lines in a request. The hold of another shard cannot be told from one that never was.
 */
#include "stock_state.h"

#include <assert.h>
#include <inttypes.h>

/* --- guards --- */

static bool
guard_shard(struct stock *stock, struct slice product)
{
    if (stock_is_here(stock, product)) {
        return true;
    }
    stock_refuse_product(stock, ERR_wrong_shard, product);
    return false;
}

/* --- lines, alarms, answers --- */

/* Whether a refusal is news, and once more after a while, is the shelf's own state; it is told here. */
static void
tell_alarm(struct stock *stock, const struct level *level, enum alarm_news news)
{
    static const enum event_type events[] = {
        [NEWS_LOW] = EVENT_stock_low, [NEWS_OUT] = EVENT_stock_out, [NEWS_RESTOCKED] = EVENT_stock_restocked};
    if (news == NEWS_NOTHING) {
        return;
    }
    const struct shelf *shelf = &level->shelf;
    struct wire_stock_alarm alarm = {0};
    WIRE_SET(&alarm, stock_alarm, product, level_product(level));
    WIRE_SET(&alarm, stock_alarm, on_hand, shelf->on_hand);
    WIRE_SET(&alarm, stock_alarm, reserved, shelf->reserved);
    WIRE_SET(&alarm, stock_alarm, available, shelf_available(shelf));
    WIRE_SET(&alarm, stock_alarm, incoming, shelf->incoming);
    WIRE_SET(&alarm, stock_alarm, version, shelf->version);
    WIRE_SET(&alarm, stock_alarm, reorder_at, shelf->reorder_at);
    WIRE_SET(&alarm, stock_alarm, order_up_to, shelf->order_up_to);
    WIRE_SET(&alarm, stock_alarm, lot, shelf->lot);
    WIRE_SET(&alarm, stock_alarm, refused, shelf->wanted);
    WIRE_SET(&alarm, stock_alarm, factory_seq, actor_applied(stock->actor, "factory/0"));
    batch_emit(stock->batch, events[news], level_product(level), &alarm, stock->item);
}

static void
set_alarm_due(struct stock *stock, const struct level *level)
{
    struct due due = {
        .owner = STOCK_DUE_ALARM,
        .key = level_product(level),
        .due_ms = stock->batch->now_ms + stock->settings->alarm_repeat_ms,
    };
    batch_due(stock->batch, &due);
}

static void
raise_alarm(struct stock *stock, const struct level *level, enum alarm_news news)
{
    tell_alarm(stock, level, news);
    if (news == NEWS_LOW || news == NEWS_OUT) {
        set_alarm_due(stock, level);
    }
}

/* Puts a level among those that this item is about. */
static struct level *
mark(struct stock *stock, struct level *level)
{
    if (level->stamp != stock->stamp) {
        assert(stock->marked_count < STOCK_MARKED_MAX);
        level->stamp = stock->stamp;
        level->asked = 0;
        level->freed = 0;
        stock->marked[stock->marked_count++] = level;
    }
    return level;
}

/* Moves the level and completes the line that says so. */
static void
apply(struct stock *stock, struct level *level, struct move *move, int64_t delta, int64_t reserved_delta)
{
    if (!shelf_can_apply(&level->shelf, delta, reserved_delta)) {
        stock->is_broken = true;
        return;
    }
    stock_levels_touch(stock->levels, level, stock->item);
    move->request = stock->item->id;
    move->line = stock->line++;
    move->product = level_product(level);
    move->delta = delta;
    move->reserved_delta = reserved_delta;
    move->previous = level->shelf.last_move;
    move->time_ms = stock->batch->now_ms;
    move->fingerprint = stock->item->fingerprint;
    shelf_apply(&level->shelf, delta, reserved_delta, stock_store_next_move(stock->store));
    move->on_hand = level->shelf.on_hand;
    move->reserved = level->shelf.reserved;
    move->incoming = level->shelf.incoming;
    move->version = level->shelf.version;
}

static void
change(struct stock *stock, struct level *level, struct move *move, int64_t delta, int64_t reserved_delta)
{
    apply(stock, level, move, delta, reserved_delta);
    stock_store_add_move(stock->store, move);
}

static void
settle_alarms(struct stock *stock)
{
    for (size_t i = 0; i < stock->marked_count; i++) {
        raise_alarm(stock, stock->marked[i], shelf_settle(&stock->marked[i]->shelf));
    }
}

/* Answers with the levels that were asked for. */
static void
answer_done(struct stock *stock, const struct id *hold, int64_t expires_ms, bool with_configuration)
{
    struct wire_list levels = {0};
    for (size_t i = 0; i < stock->marked_count; i++) {
        const struct level *level = stock->marked[i];
        if (level->asked > 0) {
            struct wire_stock_level shown = stock_levels_show(level_product(level), &level->shelf, with_configuration);
            wire_list_add(&levels, &stock_level_body, &shown, &stock->elements);
        }
    }
    wire_list_end(&levels, &stock->elements);
    struct wire_stock_done done = stock_done_of(levels, hold, expires_ms);
    item_answer(stock->batch, stock->item, &done);
}

/* --- units --- */

static bool
guard_lines(struct stock *stock, struct wire_list lines)
{
    if (stock->of == 1) {
        return true;
    }
    struct wire_stock_line line;
    struct slice here = {0};
    struct slice away = {0};
    while (wire_list_next(&lines, &stock_line_body, &line)) {
        *(stock_is_here(stock, line.product) ? &here : &away) = line.product;
    }
    if (away.size == 0) {
        return true;
    }
    stock_refuse_product(stock, here.size == 0 ? ERR_wrong_shard : ERR_spans_shards, away);
    return false;
}

/* Marks the products of the lines with what is asked of each. */
static bool
sum_lines(struct stock *stock, struct wire_list lines)
{
    if (!guard_lines(stock, lines)) {
        return false;
    }
    struct wire_stock_line line;
    while (wire_list_next(&lines, &stock_line_body, &line)) {
        struct level *level = stock_levels_find(stock->levels, line.product);
        if (level == NULL) {
            stock_refuse_product(stock, ERR_unknown_product, line.product);
            return false;
        }
        mark(stock, level)->asked += line.quantity;
    }
    return true;
}

static void
note_refusal(struct stock *stock, struct level *level)
{
    struct shelf noted = level->shelf;
    bool is_noted = false;
    enum alarm_news news = shelf_note_refusal(&noted, level->asked - level->freed, &is_noted);
    if (!is_noted) {
        return;
    }
    stock_levels_touch(stock->levels, level, stock->item);
    level->shelf = noted;
    raise_alarm(stock, level, news);
}

/* Whether all that is asked for is there; the first product that is not is named, all of them take note. */
static bool
guard_units(struct stock *stock)
{
    const struct level *missing = NULL;
    for (size_t i = 0; i < stock->marked_count; i++) {
        struct level *level = stock->marked[i];
        if (shelf_can_give(&level->shelf, level->asked, level->freed) != ERR_ok) {
            note_refusal(stock, level);
            missing = missing == NULL ? level : missing;
        }
    }
    if (missing == NULL) {
        return true;
    }
    int64_t available = shelf_available(&missing->shelf) + missing->freed;
    struct slice product = level_product(missing);
    struct wire_problem problem = stock_problem_of(product);
    WIRE_SET(&problem, problem, asked, missing->asked);
    WIRE_SET(&problem, problem, available, available);
    WIRE_SET(&problem, problem, version, missing->shelf.version);
    stock_refuse(stock, ERR_out_of_stock, &problem, "%.*s: %" PRId64 " asked for, %" PRId64 " available", (int)product.size,
                 (const char *)product.data, missing->asked, available);
    return false;
}

err
stock_decide_take(void *state, struct item *item)
{
    struct stock *stock = state;
    const struct wire_stock_take *take = item->body;
    if (!sum_lines(stock, take->lines) || !guard_units(stock)) {
        return ERR_ok;
    }
    struct move move = {.kind = MOVE_TAKE, .reference = take->reference};
    for (size_t i = 0; i < stock->marked_count; i++) {
        change(stock, stock->marked[i], &move, -stock->marked[i]->asked, 0);
    }
    settle_alarms(stock);
    answer_done(stock, NULL, 0, false);
    return ERR_ok;
}

/* --- holds --- */

static void
set_hold_due(struct stock *stock, const struct held *held)
{
    struct due due = {
        .owner = STOCK_DUE_HOLD,
        .key = {held->id.bytes, ID_SIZE},
        .due_ms = held->expires_ms,
    };
    batch_due(stock->batch, &due);
}

static void
close_hold(struct stock *stock, struct held *held, enum hold_state state)
{
    held->state = state;
    held->is_changed = true;
    if (stock->item->kind == ITEM_REQUEST) {
        batch_due_cancel(stock->batch, STOCK_DUE_HOLD, (struct slice){held->id.bytes, ID_SIZE});
    }
}

static void
add_held_line(struct stock *stock, struct held *held, struct slice product, int64_t quantity)
{
    assert(held->line_count < held->line_capacity);
    held->lines[held->line_count++] = (struct held_line){stock_store_next_hold_line(stock->store), product, quantity};
}

static void
make_hold(struct stock *stock, struct held *held, size_t line_capacity, struct slice reference)
{
    assert(!held->exists);
    held->exists = true;
    held->is_new = true;
    held->is_changed = true;
    held->reference = reference;
    held->lines = batch_alloc(stock->batch, line_capacity * sizeof *held->lines);
    held->line_capacity = line_capacity;
    held->line_count = 0;
}

/* A release that came before its reserve: that one must not be done any more. */
static void
bury_hold(struct stock *stock, struct held *held, struct slice reference)
{
    make_hold(stock, held, 1, reference);
    add_held_line(stock, held, slice_of(""), 0);
    held->state = HOLD_RELEASED;
}

/* Marks the products of an open or committed hold: their levels were read with it. */
static void
mark_hold(struct stock *stock, const struct held *held, bool is_freed)
{
    for (size_t i = 0; i < held->line_count; i++) {
        struct level *level = stock_levels_find(stock->levels, held->lines[i].product);
        if (level == NULL) {
            stock->is_broken = true;
            continue;
        }
        (void)mark(stock, level);
        if (is_freed) {
            level->freed += held->lines[i].quantity;
        } else {
            level->asked += held->lines[i].quantity;
        }
    }
}

/* Gives back what a hold that is replaced had, as a part of the reserve. */
static void
free_replaced(struct stock *stock, struct held *replaced, struct slice reference)
{
    if (!replaced->exists) {
        bury_hold(stock, replaced, reference);
    }
    if (replaced->state != HOLD_OPEN) {
        return;
    }
    struct move move = {.kind = MOVE_RELEASE, .has_hold = true, .hold = replaced->id, .reference = reference};
    for (size_t i = 0; i < stock->marked_count; i++) {
        if (stock->marked[i]->freed > 0) {
            change(stock, stock->marked[i], &move, 0, -stock->marked[i]->freed);
        }
    }
    close_hold(stock, replaced, HOLD_RELEASED);
}

/* Whether the hold that is to be replaced may be; marks its units as freed. */
static bool
guard_replaced(struct stock *stock, const struct held *replaced)
{
    if (id_equal(&replaced->id, &stock->item->id)) {
        struct wire_problem problem = {0};
        stock_refuse(stock, ERR_invalid_field, &problem, "stock_reserve.replaces: is the id of this very request");
        return false;
    }
    if (!replaced->exists) {
        return true;
    }
    if (hold_can_release(replaced->state) != ERR_ok) {
        stock_refuse_hold(stock, ERR_hold_closed, &replaced->id);
        return false;
    }
    if (replaced->state == HOLD_OPEN) {
        mark_hold(stock, replaced, true);
    }
    return true;
}

err
stock_decide_reserve(void *state, struct item *item)
{
    struct stock *stock = state;
    const struct wire_stock_reserve *reserve = item->body;
    struct held *held = stock_held(stock, &stock->item->id);
    struct held *replaced = WIRE_HAS(reserve, stock_reserve, replaces) ? stock_held(stock, &reserve->replaces) : NULL;
    if (held->exists) {
        stock_refuse_hold(stock, ERR_hold_closed, &held->id);
        return ERR_ok;
    }
    if (!sum_lines(stock, reserve->lines)) {
        return ERR_ok;
    }
    size_t product_count = stock->marked_count;
    if ((replaced != NULL && !guard_replaced(stock, replaced)) || !guard_units(stock)) {
        return ERR_ok;
    }
    if (replaced != NULL) {
        free_replaced(stock, replaced, reserve->reference);
    }
    make_hold(stock, held, product_count, reserve->reference);
    held->state = HOLD_OPEN;
    held->expires_ms =
        stock->batch->now_ms + (WIRE_HAS(reserve, stock_reserve, ttl_ms) ? reserve->ttl_ms : stock->settings->hold_ttl_ms);
    struct move move = {
        .kind = MOVE_RESERVE, .has_hold = true, .hold = held->id, .expires_ms = held->expires_ms, .reference = reserve->reference};
    for (size_t i = 0; i < product_count; i++) {
        struct level *level = stock->marked[i];
        change(stock, level, &move, 0, level->asked);
        add_held_line(stock, held, level_product(level), level->asked);
    }
    set_hold_due(stock, held);
    settle_alarms(stock);
    answer_done(stock, &held->id, held->expires_ms, false);
    return ERR_ok;
}

/* The hold, if it may be committed or extended. */
static struct held *
guard_hold(struct stock *stock, const struct id *id)
{
    struct held *held = stock_held(stock, id);
    err status = held->exists ? hold_can_go_on(held->state, held->expires_ms, stock->batch->now_ms) : ERR_unknown_hold;
    if (status == ERR_ok) {
        return held;
    }
    stock_refuse_hold(stock, status, id);
    return NULL;
}

err
stock_decide_extend(void *state, struct item *item)
{
    struct stock *stock = state;
    const struct wire_stock_extend *extend = item->body;
    if (WIRE_HAS(extend, stock_extend, product) && !guard_shard(stock, extend->product)) {
        return ERR_ok;
    }
    struct held *held = guard_hold(stock, &extend->hold);
    if (held == NULL) {
        return ERR_ok;
    }
    held->expires_ms = stock->batch->now_ms + extend->ttl_ms;
    held->is_changed = true;
    mark_hold(stock, held, false);
    struct move move = {.kind = MOVE_EXTEND, .has_hold = true, .hold = held->id, .expires_ms = held->expires_ms};
    for (size_t i = 0; i < stock->marked_count; i++) {
        change(stock, stock->marked[i], &move, 0, 0);
    }
    set_hold_due(stock, held);
    answer_done(stock, &held->id, held->expires_ms, false);
    return ERR_ok;
}

err
stock_decide_commit(void *state, struct item *item)
{
    struct stock *stock = state;
    const struct wire_stock_commit *commit = item->body;
    if (WIRE_HAS(commit, stock_commit, product) && !guard_shard(stock, commit->product)) {
        return ERR_ok;
    }
    struct held *held = guard_hold(stock, &commit->hold);
    if (held == NULL) {
        return ERR_ok;
    }
    mark_hold(stock, held, false);
    struct move move = {.kind = MOVE_COMMIT, .has_hold = true, .hold = held->id, .reference = commit->reference};
    for (size_t i = 0; i < stock->marked_count; i++) {
        change(stock, stock->marked[i], &move, -stock->marked[i]->asked, -stock->marked[i]->asked);
    }
    close_hold(stock, held, HOLD_COMMITTED);
    settle_alarms(stock);
    answer_done(stock, &held->id, 0, false);
    return ERR_ok;
}

/* Puts the units of an open hold back. */
static void
give_back(struct stock *stock, struct held *held, enum move_kind kind, struct slice reference)
{
    mark_hold(stock, held, false);
    struct move move = {.kind = kind, .has_hold = true, .hold = held->id, .reference = reference};
    for (size_t i = 0; i < stock->marked_count; i++) {
        change(stock, stock->marked[i], &move, 0, -stock->marked[i]->asked);
    }
    close_hold(stock, held, kind == MOVE_EXPIRE ? HOLD_EXPIRED : HOLD_RELEASED);
    settle_alarms(stock);
}

/* It changed nothing: a line beside all chains, so that the request is known when it is asked again. */
static void
note_done_before(struct stock *stock, enum move_kind kind, const struct held *held, struct slice product, struct slice reference)
{
    struct move move = {
        .request = stock->item->id,
        .line = stock->line++,
        .kind = kind,
        .product = product,
        .time_ms = stock->batch->now_ms,
        .fingerprint = stock->item->fingerprint,
        .has_hold = true,
        .hold = held->id,
        .reference = reference,
    };
    stock_store_add_move(stock->store, &move);
}

err
stock_decide_release(void *state, struct item *item)
{
    struct stock *stock = state;
    const struct wire_stock_release *release = item->body;
    if (WIRE_HAS(release, stock_release, product) && !guard_shard(stock, release->product)) {
        return ERR_ok;
    }
    struct held *held = stock_held(stock, &release->hold);
    if (held->exists && hold_can_release(held->state) != ERR_ok) {
        stock_refuse_hold(stock, ERR_hold_closed, &held->id);
        return ERR_ok;
    }
    if (!held->exists) {
        bury_hold(stock, held, release->reference);
    }
    if (held->state == HOLD_OPEN) {
        give_back(stock, held, MOVE_RELEASE, release->reference);
    } else {
        note_done_before(stock, MOVE_RELEASE, held, release->product, release->reference);
    }
    answer_done(stock, &held->id, 0, false);
    return ERR_ok;
}

/* --- what is on the shelf --- */

static const struct shelf new_shelf = {.lot = 1, .alarm = ALARM_ASLEEP};

/* The figures of a product that need not exist yet. */
static const struct shelf *
shelf_of(const struct stock *stock, struct slice product)
{
    const struct level *level = stock_levels_find(stock->levels, product);
    return level == NULL ? &new_shelf : &level->shelf;
}

static void
refuse_change(struct stock *stock, err code, struct slice product)
{
    const struct shelf *shelf = shelf_of(stock, product);
    struct wire_problem problem = stock_problem_of(product);
    WIRE_SET(&problem, problem, available, shelf_available(shelf));
    WIRE_SET(&problem, problem, version, shelf->version);
    stock_refuse(stock, code, &problem, "%.*s: %" PRId64 " on hand, %" PRId64 " of them reserved, version %" PRId64 ": %s",
                 (int)product.size, (const char *)product.data, shelf->on_hand, shelf->reserved, shelf->version, err_words(code));
}

/* One change of one product that is created when it is not there. */
static void
change_one(struct stock *stock, struct slice product, struct move *move, int64_t delta)
{
    struct level *level = mark(stock, stock_levels_add(stock->levels, product));
    level->asked = 1;
    change(stock, level, move, delta, 0);
    settle_alarms(stock);
    answer_done(stock, NULL, 0, false);
}

/* Puts the units of a committed hold back on the shelf; false when one of the shelves cannot take them. */
static bool
take_back(struct stock *stock, struct held *held, struct slice reference)
{
    mark_hold(stock, held, false);
    for (size_t i = 0; i < stock->marked_count; i++) {
        err status = shelf_can_adjust(&stock->marked[i]->shelf, stock->marked[i]->asked);
        if (status != ERR_ok) {
            refuse_change(stock, status, level_product(stock->marked[i]));
            return false;
        }
    }
    struct move move = {.kind = MOVE_RETURN, .has_hold = true, .hold = held->id, .reference = reference};
    for (size_t i = 0; i < stock->marked_count; i++) {
        change(stock, stock->marked[i], &move, stock->marked[i]->asked, 0);
    }
    held->state = HOLD_RETURNED;
    held->is_changed = true;
    settle_alarms(stock);
    return true;
}

err
stock_decide_return(void *state, struct item *item)
{
    struct stock *stock = state;
    const struct wire_stock_return *returned = item->body;
    if (WIRE_HAS(returned, stock_return, product) && !guard_shard(stock, returned->product)) {
        return ERR_ok;
    }
    struct held *held = stock_held(stock, &returned->hold);
    if (!held->exists) {
        stock_refuse_hold(stock, ERR_unknown_hold, &held->id);
        return ERR_ok;
    }
    if (hold_can_return(held->state) != ERR_ok) {
        struct wire_problem problem = {0};
        char text[ID_TEXT_SIZE];
        id_format(&held->id, text);
        stock_refuse(stock, ERR_hold_closed, &problem, "hold %s is %s: its units have not left", text, hold_state_word(held->state));
        return ERR_ok;
    }
    if (held->state == HOLD_RETURNED) {
        note_done_before(stock, MOVE_RETURN, held, returned->product, returned->reference);
    } else if (!take_back(stock, held, returned->reference)) {
        return ERR_ok;
    }
    answer_done(stock, &held->id, 0, false);
    return ERR_ok;
}

err
stock_decide_adjust(void *state, struct item *item)
{
    struct stock *stock = state;
    const struct wire_stock_adjust *adjust = item->body;
    if (!guard_shard(stock, adjust->product)) {
        return ERR_ok;
    }
    if (adjust->delta == 0) {
        struct wire_problem problem = stock_problem_of(adjust->product);
        stock_refuse(stock, ERR_invalid_field, &problem, "stock_adjust.delta: must not be 0");
        return ERR_ok;
    }
    err status = shelf_can_adjust(shelf_of(stock, adjust->product), adjust->delta);
    if (status != ERR_ok) {
        refuse_change(stock, status, adjust->product);
        return ERR_ok;
    }
    struct move move = {.kind = MOVE_ADJUST, .reason = adjust->reason, .reference = adjust->reference};
    change_one(stock, adjust->product, &move, adjust->delta);
    return ERR_ok;
}

err
stock_decide_count(void *state, struct item *item)
{
    struct stock *stock = state;
    const struct wire_stock_count *count = item->body;
    if (!guard_shard(stock, count->product)) {
        return ERR_ok;
    }
    const struct shelf *shelf = shelf_of(stock, count->product);
    err status = shelf_can_count(shelf, count->counted, WIRE_HAS(count, stock_count, version) ? &count->version : NULL);
    if (status != ERR_ok) {
        refuse_change(stock, status, count->product);
        return ERR_ok;
    }
    struct move move = {.kind = MOVE_COUNT, .reason = count->reason, .reference = count->reference};
    change_one(stock, count->product, &move, count->counted - shelf->on_hand);
    return ERR_ok;
}

err
stock_decide_configure(void *state, struct item *item)
{
    struct stock *stock = state;
    const struct wire_stock_configure *configure = item->body;
    if (!guard_shard(stock, configure->product)) {
        return ERR_ok;
    }
    struct level *level = mark(stock, stock_levels_add(stock->levels, configure->product));
    level->asked = 1;
    struct move move = {.kind = MOVE_CONFIGURE};
    apply(stock, level, &move, 0, 0);
    if (WIRE_HAS(configure, stock_configure, reorder_at)) {
        level->shelf.reorder_at = configure->reorder_at;
    }
    if (WIRE_HAS(configure, stock_configure, order_up_to)) {
        level->shelf.order_up_to = configure->order_up_to;
    }
    if (WIRE_HAS(configure, stock_configure, lot)) {
        level->shelf.lot = configure->lot;
    }
    shelf_wake(&level->shelf);
    settle_alarms(stock);
    answer_done(stock, NULL, 0, true);
    /* The ledger does not keep configurations: this answer is kept whole. */
    move.answer = item_answered_frame(stock->item);
    stock_store_add_move(stock->store, &move);
    return ERR_ok;
}

err
stock_decide_get(void *state, struct item *item)
{
    struct stock *stock = state;
    const struct wire_stock_get *get = item->body;
    if (!guard_shard(stock, get->product)) {
        return ERR_ok;
    }
    const struct level *level = stock_levels_find(stock->levels, get->product);
    if (level == NULL) {
        stock_refuse_product(stock, ERR_unknown_product, get->product);
        return ERR_ok;
    }
    struct wire_stock_level shown = stock_levels_show(level_product(level), &level->shelf, true);
    item_answer(stock->batch, stock->item, &shown);
    return ERR_ok;
}

/* --- facts of the factory --- */

static enum production_state
fact_told(enum event_type event)
{
    if (event == EVENT_factory_ordered) {
        return PRODUCTION_ORDERED;
    }
    return event == EVENT_factory_produced ? PRODUCTION_PRODUCED : PRODUCTION_FAILED;
}

static void
apply_step(struct stock *stock, const struct wire_factory_fact *fact, const struct production_step *step)
{
    struct level *level = mark(stock, stock_levels_add(stock->levels, fact->product));
    stock_levels_touch(stock->levels, level, stock->item);
    /* Never below nothing: a level that was changed by hand must not stop the stream; verify names it. */
    int64_t incoming = level->shelf.incoming + step->incoming_delta;
    level->shelf.incoming = incoming > 0 ? incoming : 0;
    if (step->delta > 0) {
        struct move move = {.kind = MOVE_REFILL};
        apply(stock, level, &move, step->delta, 0);
        move.request = id_derive(&fact->production, "stock.refill");
        stock_store_add_move(stock->store, &move);
    }
    settle_alarms(stock);
}

void
stock_decide_event(struct stock *stock, struct item *item)
{
    bool is_fact =
        item->event == EVENT_factory_ordered || item->event == EVENT_factory_produced || item->event == EVENT_factory_failed;
    const struct wire_factory_fact *fact = item->body;
    if (!is_fact || !stock_is_here(stock, fact->product)) {
        return;
    }
    struct known_production *known = stock_known_production(stock, &fact->production);
    struct production_step step = production_step(known->state, known->quantity, fact_told(item->event), fact->quantity);
    if (step.next == known->state) {
        return;
    }
    const struct shelf *shelf = shelf_of(stock, fact->product);
    if (shelf_can_adjust(shelf, step.delta) != ERR_ok || shelf_can_expect(shelf, step.incoming_delta) != ERR_ok) {
        item_refuse(stock->batch, item, ERR_would_overflow, "%.*s: %" PRId64 " on hand, %" PRId64 " on their way, %" PRId64 " more",
                    (int)fact->product.size, (const char *)fact->product.data, shelf->on_hand, shelf->incoming, fact->quantity);
        return;
    }
    known->state = step.next;
    known->product = fact->product;
    known->quantity = fact->quantity;
    known->is_changed = true;
    if (step.delta != 0 || step.incoming_delta != 0) {
        apply_step(stock, fact, &step);
    }
}

/* --- due rows --- */

static void
end_hold(struct stock *stock, const struct id *id)
{
    struct held *held = stock_held(stock, id);
    if (!held->exists || held->state != HOLD_OPEN) {
        return;
    }
    if (held->expires_ms > stock->batch->now_ms) {
        set_hold_due(stock, held);
        return;
    }
    give_back(stock, held, MOVE_EXPIRE, held->reference);
}

static void
repeat_alarm(struct stock *stock, struct slice product)
{
    const struct level *level = stock_levels_find(stock->levels, product);
    if (level == NULL) {
        return;
    }
    bool is_standing = false;
    tell_alarm(stock, level, shelf_repeat(&level->shelf, &is_standing));
    if (is_standing) {
        set_alarm_due(stock, level);
    }
}

void
stock_decide_due(struct stock *stock, struct item *item)
{
    if (slice_equal(item->owner, slice_of(STOCK_DUE_HOLD)) && item->key.size == ID_SIZE) {
        struct id id;
        memcpy(id.bytes, item->key.data, ID_SIZE);
        end_hold(stock, &id);
    } else if (slice_equal(item->owner, slice_of(STOCK_DUE_ALARM))) {
        repeat_alarm(stock, item->key);
    }
}

/* --- live screens --- */

void
stock_tell_changes(struct stock *stock)
{
    for (size_t i = 0; i < stock_levels_touched_count(stock->levels); i++) {
        const struct level *level = stock_levels_touched(stock->levels, i);
        const struct shelf *before = stock_levels_before(stock->levels, i);
        if (before == NULL || before->version != level->shelf.version || before->incoming != level->shelf.incoming) {
            struct wire_stock_level shown = stock_levels_show(level_product(level), &level->shelf, true);
            batch_emit(stock->batch, EVENT_stock_changed, level_product(level), &shown, level->cause);
        }
    }
}
