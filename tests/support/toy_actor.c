/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   The smallest actor that has everything an actor may have: levels in memory with a copy for the batch under way, a ledger,
 *           events, due rows, deferred requests, a subscription.
 *
 * STATE     $tally and $entry; in memory the totals as committed and as of the batch. Requests that wait for a peer live outside the
 *           state, as what a reply brings back must outlive a state that is opened anew.
 *
 * LIMITS    TOY_PRODUCTS_MAX products, TOY_ASKS_MAX deferred requests in the life of a process.
 */
#include "patience.h"
#include "toy_actor.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { TOY_PRODUCTS_MAX = 512, TOY_ASKS_MAX = 4096, GATE_MAX_MS = 10000 };

struct tally {
    char product[WIRE_NAME_MAX + 1];
    int64_t total;
    int64_t version;
    bool is_changed;
};

struct memory {
    struct tally tallies[TOY_PRODUCTS_MAX];
    size_t count;
    int64_t n; /* of the last entry */
};

struct toy {
    struct actor *actor;
    struct memory committed;
    struct memory working;
    struct wire_buffer list;
};

/* A deferred request. */
struct asked {
    struct waiter *waiter;
    char product[WIRE_NAME_MAX + 1];
    int64_t delta;
};

static const struct db_step toy_steps[] = {
    {100, "CREATE TABLE IF NOT EXISTS $tally (product {NAME 64} NOT NULL PRIMARY KEY, total {I64} NOT NULL, CHECK (total >= 0)) "
          "{TABLE_END}"},
    {101, "CREATE TABLE IF NOT EXISTS $entry (n {I64} NOT NULL PRIMARY KEY, request {BYTES 16} NOT NULL, product {NAME 64} NOT NULL, "
          "delta {I64} NOT NULL) {TABLE_END}"},
};

static struct asked asks[TOY_ASKS_MAX];
static size_t ask_count;
static _Atomic bool is_healed;
static _Atomic int stubborn_count;
static _Atomic bool has_room;
static sem_t gate_entered;
static sem_t gate_open;

__attribute__((constructor)) static void
make_gate(void)
{
    sem_init(&gate_entered, 0, 0);
    sem_init(&gate_open, 0, 0);
}

static bool
wait_for(sem_t *semaphore)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += patience_ms(GATE_MAX_MS) / 1000;
    return sem_timedwait(semaphore, &until) == 0;
}

void
toy_await_gate(void)
{
    cr_assert(wait_for(&gate_entered), "the actor did not come to the gate");
}

void
toy_open_gate(void)
{
    sem_post(&gate_open);
}

void
toy_heal(void)
{
    atomic_store(&is_healed, true);
}

int
toy_stubborn(void)
{
    return atomic_load(&stubborn_count);
}

static bool
is_text(struct slice slice, const char *text)
{
    return slice_equal(slice, slice_of(text));
}

static struct tally *
find(struct memory *memory, struct slice product)
{
    for (size_t i = 0; i < memory->count; i++) {
        if (is_text(product, memory->tallies[i].product)) {
            return &memory->tallies[i];
        }
    }
    return NULL;
}

static struct tally *
get(struct memory *memory, struct slice product)
{
    struct tally *found = find(memory, product);
    if (found == NULL && memory->count < TOY_PRODUCTS_MAX) {
        found = &memory->tallies[memory->count++];
        *found = (struct tally){.total = 0};
        snprintf(found->product, sizeof found->product, "%.*s", (int)product.size, (const char *)product.data);
    }
    cr_assert(found != NULL);
    return found;
}

static struct wire_stock_level
level_of(const struct tally *tally)
{
    int64_t shown = tally->total < 0 ? 0 : tally->total;
    struct wire_stock_level level = {0};
    WIRE_SET(&level, stock_level, product, slice_of(tally->product));
    WIRE_SET(&level, stock_level, on_hand, shown);
    WIRE_SET(&level, stock_level, reserved, 0);
    WIRE_SET(&level, stock_level, available, shown);
    WIRE_SET(&level, stock_level, incoming, 0);
    WIRE_SET(&level, stock_level, version, tally->version);
    return level;
}

static void
emit(struct batch *batch, const struct tally *tally, const struct item *cause)
{
    struct wire_stock_level level = level_of(tally);
    struct wire_stock_alarm alarm = {0};
    WIRE_SET(&alarm, stock_alarm, product, level.product);
    WIRE_SET(&alarm, stock_alarm, on_hand, level.on_hand);
    WIRE_SET(&alarm, stock_alarm, reserved, 0);
    WIRE_SET(&alarm, stock_alarm, available, level.available);
    WIRE_SET(&alarm, stock_alarm, incoming, 0);
    WIRE_SET(&alarm, stock_alarm, version, level.version);
    WIRE_SET(&alarm, stock_alarm, reorder_at, 0);
    WIRE_SET(&alarm, stock_alarm, order_up_to, 0);
    WIRE_SET(&alarm, stock_alarm, lot, 1);
    WIRE_SET(&alarm, stock_alarm, refused, 0);
    WIRE_SET(&alarm, stock_alarm, factory_seq, actor_applied(batch->actor, "factory/0"));
    batch_emit(batch, EVENT_stock_low, level.product, &alarm, cause);
    batch_emit(batch, EVENT_stock_changed, level.product, &level, cause);
}

/* The one way of a change: memory, ledger, events. */
static const struct tally *
change(struct toy *toy, struct batch *batch, struct slice product, int64_t delta, const struct item *cause)
{
    struct tally *tally = get(&toy->working, product);
    tally->total += delta;
    tally->version++;
    tally->is_changed = true;
    struct db_rows *entries = db_rows(actor_db(toy->actor), "INSERT INTO $entry (n, request, product, delta)", 4);
    db_rows_i64(entries, ++toy->working.n);
    db_rows_id(entries, &cause->id);
    db_rows_text(entries, product);
    db_rows_i64(entries, delta);
    emit(batch, tally, cause);
    return tally;
}

/* stock.adjust is answered with the level in a list of one; its bytes live until the next call. */
static struct wire_stock_done
done_of(struct toy *toy, const struct tally *tally)
{
    struct wire_stock_level level = level_of(tally);
    struct wire_list levels = {0};
    struct wire_stock_done done = {0};
    toy->list.size = 0;
    wire_list_add(&levels, &stock_level_body, &level, &toy->list);
    wire_list_end(&levels, &toy->list);
    WIRE_SET(&done, stock_done, levels, levels);
    return done;
}

/* Poison of the worst kind. */
static void
kill_process(void)
{
    if (!atomic_load(&is_healed)) {
        _exit(TOY_KILLED);
    }
}

/* --- requests --- */

static void
ask_factory(struct batch *batch, struct item *item, const struct wire_stock_adjust *adjust)
{
    cr_assert(ask_count < TOY_ASKS_MAX);
    struct asked *asked = &asks[ask_count++];
    *asked = (struct asked){.waiter = item_defer(batch, item), .delta = adjust->delta};
    snprintf(asked->product, sizeof asked->product, "%.*s", (int)adjust->product.size, (const char *)adjust->product.data);
    struct wire_factory_get get = {0};
    WIRE_SET(&get, factory_get, id, item->id);
    batch_ask(batch, &(struct ask){.actor = "factory",
                                   .op = OP_factory_get,
                                   .id = item->id,
                                   .again = item->again,
                                   .deadline_ms = item->deadline_ms,
                                   .traceparent = item->traceparent,
                                   .body = &get,
                                   .context = asked});
}

static void
run_nothing(void *memory)
{
    (void)memory;
}

static void
work(struct batch *batch, struct item *item, const struct wire_stock_adjust *adjust)
{
    struct asked *asked = calloc(1, sizeof *asked);
    cr_assert(asked != NULL);
    *asked = (struct asked){.delta = adjust->delta};
    snprintf(asked->product, sizeof asked->product, "%.*s", (int)adjust->product.size, (const char *)adjust->product.data);
    cr_assert(batch_work(batch, &(struct work){.id = item->id, .run = run_nothing, .discard = free, .memory = asked}));
    asked->waiter = item_defer(batch, item);
}

static struct id
letter_of(const struct batch *batch, struct slice product)
{
    struct id what = id_of_bytes(product.data, product.size);
    return batch_letter_id(batch, &what);
}

static void
bury(struct batch *batch, struct slice product)
{
    struct wire_burial burial = {0};
    WIRE_SET(&burial, burial, letter, letter_of(batch, product));
    WIRE_SET(&burial, burial, kind, slice_of("call"));
    WIRE_SET(&burial, burial, reason, slice_of(err_symbol(ERR_call_failed)));
    WIRE_SET(&burial, burial, error, slice_of("nobody there"));
    WIRE_SET(&burial, burial, attempts, 7);
    WIRE_SET(&burial, burial, first, batch->now_ms);
    WIRE_SET(&burial, burial, last, batch->now_ms);
    WIRE_SET(&burial, burial, history, (struct wire_list){0});
    WIRE_SET(&burial, burial, key, product);
    WIRE_SET(&burial, burial, owner, slice_of("toy"));
    WIRE_SET(&burial, burial, due_key, product);
    batch_bury(batch, &burial);
}

static void
handle_adjust(struct toy *toy, struct batch *batch, struct item *item)
{
    const struct wire_stock_adjust *adjust = item->body;
    struct slice reason = WIRE_HAS(adjust, stock_adjust, reason) ? adjust->reason : (struct slice){0};
    const struct tally *tally = get(&toy->working, adjust->product);
    if (is_text(reason, "mute")) {
        return;
    }
    if (is_text(reason, "ask")) {
        ask_factory(batch, item, adjust);
        return;
    }
    if (is_text(reason, "work")) {
        work(batch, item, adjust);
        return;
    }
    if (is_text(reason, "kills")) {
        kill_process();
    }
    if (is_text(reason, "gate")) {
        sem_post(&gate_entered);
        cr_assert(wait_for(&gate_open), "nobody opened the gate");
    }
    if (is_text(reason, "never")) {
        batch_due(batch, &(struct due){.owner = "toy", .key = adjust->product, .due_ms = DUE_NEVER, .attempts = 7});
    } else if (is_text(reason, "bury")) {
        bury(batch, adjust->product);
    } else if (is_text(reason, "settle")) {
        struct id letter = letter_of(batch, adjust->product);
        batch_settle(batch, &letter);
    } else if (is_text(reason, "later")) {
        batch_due(batch, &(struct due){.owner = "toy", .key = adjust->product, .due_ms = batch->now_ms + adjust->delta});
    } else if (is_text(reason, "cancel")) {
        batch_due_cancel(batch, "toy", adjust->product);
    } else if (tally->total + adjust->delta < 0 && !is_text(reason, "free")) {
        item_refuse(batch, item, ERR_would_go_negative, "%s has %lld", tally->product, (long long)tally->total);
        return;
    } else {
        tally = change(toy, batch, adjust->product, adjust->delta, item);
    }
    struct wire_stock_done done = done_of(toy, tally);
    if (is_text(reason, "unsaid")) {
        WIRE_SET(&done, stock_done, expires, INT64_MAX);
    } else if (is_text(reason, "hidden")) {
        struct wire_stock_level level = level_of(tally);
        WIRE_SET(&level, stock_level, incoming, -1);
        batch_emit(batch, EVENT_stock_changed, adjust->product, &level, item);
    }
    item_answer(batch, item, &done);
}

static void
handle_request(struct toy *toy, struct batch *batch, struct item *item)
{
    if (item->op == OP_stock_adjust) {
        handle_adjust(toy, batch, item);
        return;
    }
    if (item->op != OP_stock_get) {
        item_refuse(batch, item, ERR_not_implemented, "a toy does not do %s", wire_ops[item->op].name);
        return;
    }
    const struct wire_stock_get *get_body = item->body;
    const struct tally *tally = find(&toy->working, get_body->product);
    if (tally == NULL) {
        item_refuse(batch, item, ERR_unknown_product, "there is none");
        return;
    }
    struct wire_stock_level level = level_of(tally);
    level.version = is_text(get_body->product, "unsaid") ? -1 : level.version;
    item_answer(batch, item, &level);
}

/* What came of an ask or of work. The waiter is taken out of a copy: the batch may be dropped, and then it comes again. */
static void
handle_outcome(struct toy *toy, struct batch *batch, struct item *item)
{
    const struct asked *asked = item->context;
    struct waiter *waiter = asked->waiter;
    if (strcmp(asked->product, "stubborn") == 0 && !atomic_load(&is_healed)) {
        atomic_fetch_add(&stubborn_count, 1);
        (void)change(toy, batch, slice_of(asked->product), -1, item);
        return;
    }
    if (item->status != ERR_ok) {
        waiter_refuse(batch, &waiter, item->status, item->body == NULL ? &(struct wire_problem){0} : item->body);
        return;
    }
    const struct tally *tally = change(toy, batch, slice_of(asked->product), asked->delta, item);
    struct wire_stock_done done = done_of(toy, tally);
    waiter_answer(batch, &waiter, &done);
}

/* --- events, timers --- */

static void
handle_event(struct toy *toy, struct batch *batch, struct item *item)
{
    if (item->event != EVENT_factory_produced) {
        return;
    }
    const struct wire_factory_fact *fact = item->body;
    if (is_text(fact->product, "kills")) {
        kill_process();
    }
    bool is_poison = fact->product.size >= 6 && memcmp(fact->product.data, "poison", 6) == 0;
    if (is_poison && !atomic_load(&is_healed)) {
        item_refuse(batch, item, ERR_internal, "poison");
    } else if (is_text(fact->product, "away") && !atomic_load(&is_healed)) {
        item_refuse(batch, item, ERR_unavailable, "a dependency is away");
    } else {
        (void)change(toy, batch, fact->product, is_text(fact->product, "breaks") ? -fact->quantity : fact->quantity, item);
    }
}

/* What is read from another thread, all of it at once. */
static pthread_mutex_t heads_lock = PTHREAD_MUTEX_INITIALIZER;
static struct toy_heads heads;

struct toy_heads
toy_heads_seen(void)
{
    pthread_mutex_lock(&heads_lock);
    struct toy_heads seen = heads;
    pthread_mutex_unlock(&heads_lock);
    return seen;
}

static void
count_heads(const struct batch *batch)
{
    int64_t most = 0;
    pthread_mutex_lock(&heads_lock);
    for (size_t i = 0; i < batch->count; i++) {
        const struct item *item = &batch->items[i];
        if (item->kind != ITEM_HEAD) {
            continue;
        }
        const struct wire_head *head = item->body;
        if (is_text(item->header->source, "factory/0")) {
            heads.count++;
            heads.seq = item->header->seq;
            heads.head = head->head;
            most++;
        } else {
            heads.other_count++;
        }
    }
    heads.most = most > heads.most ? most : heads.most;
    pthread_mutex_unlock(&heads_lock);
}

static void
handle_item(struct toy *toy, struct batch *batch, struct item *item)
{
    switch (item->kind) {
    case ITEM_REQUEST:
        handle_request(toy, batch, item);
        break;
    case ITEM_EVENT:
        handle_event(toy, batch, item);
        break;
    case ITEM_REPLY:
    case ITEM_WORK:
        handle_outcome(toy, batch, item);
        break;
    case ITEM_DUE:
        if (is_text(item->key, "kills")) {
            kill_process();
        }
        (void)change(toy, batch, item->key, 1, item);
        if (is_text(item->key, "hidden") && !atomic_load(&is_healed)) {
            batch_emit(batch, EVENT_stock_changed, item->key, &(struct wire_stock_level){0}, item);
        }
        break;
    case ITEM_CALL:
    case ITEM_HEAD:
        break;
    }
}

/* --- the class --- */

static bool
toy_make_room(void *state)
{
    (void)state;
    return !atomic_exchange(&has_room, true);
}

static bool
needs_room(const struct batch *batch)
{
    bool needs = false;
    for (size_t i = 0; i < batch->count && !atomic_load(&has_room); i++) {
        const struct item *item = &batch->items[i];
        const struct wire_stock_adjust *adjust = item->kind == ITEM_REQUEST && item->op == OP_stock_adjust ? item->body : NULL;
        needs = needs || (adjust != NULL && WIRE_HAS(adjust, stock_adjust, reason) && is_text(adjust->reason, "full"));
    }
    return needs;
}

static err
toy_handle(void *state, struct batch *batch)
{
    if (needs_room(batch)) {
        return ERR_db_full;
    }
    struct toy *toy = state;
    struct db *db = actor_db(toy->actor);
    count_heads(batch);
    for (size_t i = 0; i < batch->count; i++) {
        handle_item(toy, batch, &batch->items[i]);
    }
    err code = db_rows_queue(db_rows(db, "INSERT INTO $entry (n, request, product, delta)", 4));
    struct db_rows *tallies = db_rows(db, "REPLACE INTO $tally (product, total)", 2);
    for (size_t i = 0; i < toy->working.count; i++) {
        struct tally *tally = &toy->working.tallies[i];
        if (tally->is_changed) {
            db_rows_text(tallies, slice_of(tally->product));
            db_rows_i64(tallies, tally->total);
            tally->is_changed = false;
        }
    }
    return code == ERR_ok ? db_rows_queue(tallies) : code;
}

static void
copy(struct memory *to, const struct memory *from)
{
    to->n = from->n;
    to->count = from->count;
    memcpy(to->tallies, from->tallies, from->count * sizeof from->tallies[0]);
}

static void
toy_committed(void *state)
{
    struct toy *toy = state;
    copy(&toy->committed, &toy->working);
}

static void
toy_dropped(void *state)
{
    struct toy *toy = state;
    copy(&toy->working, &toy->committed);
}

static err
read_memory(struct toy *toy)
{
    struct db *db = actor_db(toy->actor);
    struct db_statement *read = db_statement(db, "SELECT product, total FROM $tally ORDER BY product");
    err code = db_query(read);
    while (code == ERR_ok && db_next(read)) {
        get(&toy->committed, db_bytes(read, 0))->total = db_i64(read, 1);
    }
    struct db_statement *last = db_statement(db, "SELECT COALESCE(MAX(n), 0) FROM $entry");
    code = code == ERR_ok ? db_query(last) : code;
    if (code == ERR_ok && db_next(last)) {
        toy->committed.n = db_i64(last, 0);
        db_done(last);
    }
    copy(&toy->working, &toy->committed);
    return code;
}

static err
toy_open(struct actor *actor, void **state, struct err_text *why)
{
    struct toy *toy = calloc(1, sizeof *toy);
    if (toy == NULL) {
        abort();
    }
    toy->actor = actor;
    err code = read_memory(toy);
    if (code != ERR_ok) {
        free(toy);
        return err_say(why, code, "the toy's tables cannot be read");
    }
    *state = toy;
    return ERR_ok;
}

static void
toy_close(void **state)
{
    struct toy *toy = *state;
    wire_buffer_fini(&toy->list);
    free(toy);
    *state = NULL;
}

const struct actor_class toy_class = {
    .name = "stock",
    .steps = toy_steps,
    .step_count = sizeof toy_steps / sizeof toy_steps[0],
    .works_max = 4,
    .open = toy_open,
    .close = toy_close,
    .handle = toy_handle,
    .committed = toy_committed,
    .dropped = toy_dropped,
    .make_room = toy_make_room,
};

const struct actor_class toy_watching_class = {
    .name = "stock",
    .steps = toy_steps,
    .step_count = sizeof toy_steps / sizeof toy_steps[0],
    .watches = true,
    .open = toy_open,
    .close = toy_close,
    .handle = toy_handle,
    .committed = toy_committed,
    .dropped = toy_dropped,
};
