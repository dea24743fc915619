/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   The payment actor: owns charges and refunds, asks a provider for the money, and tells how each of them ended.
 *
 * MESSAGES
 *   payment.charge    asks for money, once for its id; answered at once with the charge as far as it is known
 *   payment.cancel    stops asking; what is paid is not cancelled, and a charge that was never seen is remembered
 *   payment.refund    pays back, never more than was paid
 *   payment.confirm   an employee says whether cash was paid
 *   payment.get, payment.list, payment.refunds   (payment_reading.c)
 *   payment.webhook   the provider tells (payment_webhook.c), also of what was not asked for (payment_told.c)
 *   due "charge", "refund", "told", "note"   calls to the provider (payment_provider.c), letters about webhooks
 *   Emits payment.succeeded failed refunded refund_failed (payment_money.c).
 *
 * STATE
 *   $charge, $refund, $webhook (payment_schema.def). A batch reads what its items name, decides in memory, and writes each changed
 *   row once (payment_book.c): new charges are one insert and no read. In memory only the last numbers and how many webhooks are
 *   parked.
 *
 * FAILURES
 *   Errors of the database end the batch; the kit rolls back and comes again with each item alone, and looks each up.
 *
 * LIMITS
 *   Pages show what was committed before their batch. Whose charge it is, is known to the order alone, which is asked.
 */
#include "payment.h"

#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "kit/base/memory.h"
#include "kit/dispatch.h"
#include "kit/telemetry/log.h"
#include "payment_state.h"

#define NO_CURRENCY "XXX" /* ISO 4217: no currency */

/* --- saying --- */

static void
answer(struct payment *payment, struct item *item, const struct payment_charge *charge)
{
    struct wire_charge body = payment_tell_charge(charge);
    item_answer(payment->batch, item, &body);
}

static void
refuse_unknown(struct payment *payment, struct item *item, const struct id *charge)
{
    char text[ID_TEXT_SIZE];
    id_format(charge, text);
    item_refuse(payment->batch, item, ERR_unknown_charge, "there is no charge %s", text);
}

static bool
is_remembered_only(const struct payment_charge *charge)
{
    return charge->method == PAYMENT_NO_METHOD;
}

/* --- charge --- */

/* What is wrong with it as it stands; NULL: nothing. */
static const char *
judge_charge(struct payment *payment, const struct wire_payment_charge *ask)
{
    enum payment_method method = payment_method_find(ask->method);
    if (method == PAYMENT_METHOD_COUNT || method == PAYMENT_NO_METHOD) {
        return "payment_charge.method: must be pix, credit_card, debit_card or money";
    }
    if (!payment_is_currency(ask->amount.currency)) {
        return "payment_charge.amount: currency must be three capital letters";
    }
    if (WIRE_HAS(ask, payment_charge, replaces)) {
        const struct payment_charge_slot *replaced = payment_book_charge(&payment->book, &ask->replaces);
        if (replaced != NULL && !id_equal(&replaced->charge.order, &ask->order)) {
            return "payment_charge.replaces: is the charge of another order";
        }
    }
    return NULL;
}

static void
fill_charge(struct payment_charge *charge, const struct wire_payment_charge *ask)
{
    charge->order = ask->order;
    charge->amount = ask->amount.amount;
    charge->method = payment_method_find(ask->method);
    memcpy(charge->currency, ask->amount.currency.data, 3);
    charge->currency[3] = '\0';
    if (WIRE_HAS(ask, payment_charge, replaces)) {
        charge->replaces = ask->replaces;
    }
}

/* It was cancelled before it came, or it is here and its answer is not. */
static void
answer_known(struct payment *payment, struct item *item, struct payment_charge_slot *slot)
{
    const struct wire_payment_charge *ask = item->body;
    struct payment_charge *charge = &slot->charge;
    bool is_late = is_remembered_only(charge);
    bool is_same = id_equal(&charge->order, &ask->order) &&
                   (is_late || (charge->amount == ask->amount.amount && charge->method == payment_method_find(ask->method)));
    if (!is_same) {
        item_refuse(payment->batch, item, ERR_idempotency_mismatch, "this id is the charge of another order or amount");
        return;
    }
    if (is_late) {
        fill_charge(charge, ask);
        slot->is_changed = true;
    }
    answer(payment, item, charge);
}

static err
handle_charge(void *state, struct item *item)
{
    struct payment *payment = state;
    const struct wire_payment_charge *ask = item->body;
    const char *wrong = judge_charge(payment, ask);
    if (wrong != NULL) {
        item_refuse(payment->batch, item, ERR_invalid_field, "%s", wrong);
        return ERR_ok;
    }
    struct payment_charge_slot *slot = payment_book_charge(&payment->book, &item->id);
    if (slot != NULL) {
        answer_known(payment, item, slot);
        return ERR_ok;
    }
    slot = payment_book_add_charge(&payment->book, &item->id);
    fill_charge(&slot->charge, ask);
    slot->charge.provider = payment_provider_of(payment, slot->charge.method);
    err code = payment_apply_parked(payment, slot, item);
    if (code == ERR_ok && slot->charge.status == PAYMENT_PENDING && !payment_is_money_told(&slot->charge.came)) {
        code = payment_start_charge(payment, slot, item);
    }
    if (code == ERR_ok) {
        answer(payment, item, &slot->charge);
    }
    return code;
}

/* --- cancel --- */

/* So that its late original is not paid. */
static void
remember_cancelled(struct payment *payment, struct item *item)
{
    const struct wire_payment_cancel *ask = item->body;
    struct payment_charge_slot *slot = payment_book_add_charge(&payment->book, &ask->charge);
    slot->charge.order = ask->order;
    memcpy(slot->charge.currency, NO_CURRENCY, sizeof NO_CURRENCY);
    slot->charge.method = PAYMENT_NO_METHOD;
    slot->charge.provider = PAYMENT_BY_HAND;
    slot->charge.status = PAYMENT_CANCELLED;
    slot->charge.reason = slice_of("cancelled before it came");
    answer(payment, item, &slot->charge);
}

/* Calls about it go on where it may have been taken: a late success has to be seen. */
static err
handle_cancel(void *state, struct item *item)
{
    struct payment *payment = state;
    const struct wire_payment_cancel *ask = item->body;
    struct payment_charge_slot *slot = payment_book_charge(&payment->book, &ask->charge);
    if (slot == NULL) {
        remember_cancelled(payment, item);
        return payment_apply_parked(payment, payment_book_charge(&payment->book, &ask->charge), item);
    }
    if (!id_equal(&slot->charge.order, &ask->order)) {
        refuse_unknown(payment, item, &ask->charge);
        return ERR_ok;
    }
    if (slot->charge.status == PAYMENT_SUCCEEDED) {
        item_refuse(payment->batch, item, ERR_charge_closed, "it is paid");
        return ERR_ok;
    }
    if (slot->charge.status == PAYMENT_PENDING) {
        slot->charge.status = PAYMENT_CANCELLED;
        slot->charge.changed_ms = payment->batch->now_ms;
        slot->is_changed = true;
    }
    answer(payment, item, &slot->charge);
    return ERR_ok;
}

/* --- refund --- */

static void
answer_refund(struct payment *payment, struct item *item, const struct payment_refund *refund)
{
    const struct payment_charge_slot *of = payment_book_charge(&payment->book, &refund->charge);
    if (of == NULL) {
        item_refuse(payment->batch, item, ERR_internal, "the refund's charge is gone: larder verify names it");
        return;
    }
    struct wire_refund body = payment_tell_refund(&of->charge, refund);
    item_answer(payment->batch, item, &body);
}

/* How much is to be paid back; false: it cannot be. A charge over nothing can be paid back, as nothing. */
static bool
find_amount(const struct payment_charge *charge, const struct wire_payment_refund *ask, int64_t *amount)
{
    int64_t left = payment_left(charge->amount, charge->refunded, charge->refunding);
    *amount = WIRE_HAS(ask, payment_refund, amount) ? ask->amount : left;
    return charge->status == PAYMENT_SUCCEEDED && *amount <= left && (*amount > 0 || charge->amount == 0);
}

static err
handle_refund(void *state, struct item *item)
{
    struct payment *payment = state;
    const struct wire_payment_refund *ask = item->body;
    int64_t amount = 0;
    struct payment_refund_slot *slot = payment_book_refund(&payment->book, &item->id);
    if (slot != NULL) {
        answer_refund(payment, item, &slot->refund);
        return ERR_ok;
    }
    struct payment_charge_slot *of = payment_book_charge(&payment->book, &ask->charge);
    if (of == NULL) {
        refuse_unknown(payment, item, &ask->charge);
        return ERR_ok;
    }
    if (payment_has_told_refund(of) && of->charge.status == PAYMENT_SUCCEEDED) {
        item_refuse(payment->batch, item, ERR_unavailable,
                    "a refund of this charge was told by the provider, and whether it is one of ours is not known yet; ask again");
        return ERR_ok;
    }
    bool is_rest = !WIRE_HAS(ask, payment_refund, amount);
    if (is_rest && of->charge.refunding > 0 && payment_left(of->charge.amount, of->charge.refunded, of->charge.refunding) > 0) {
        item_refuse(payment->batch, item, ERR_unavailable,
                    "another refund of this charge is under way, and what is left is not known before it has ended; ask again");
        return ERR_ok;
    }
    if (!find_amount(&of->charge, ask, &amount)) {
        item_refuse(payment->batch, item, ERR_not_refundable, "%s",
                    of->charge.status == PAYMENT_SUCCEEDED ? "so much is not left of the charge" : "the charge is not paid");
        return ERR_ok;
    }
    slot = payment_book_add_refund(&payment->book, &item->id);
    slot->refund.charge = ask->charge;
    slot->refund.amount = amount;
    of->charge.refunding += amount;
    of->is_changed = true;
    err code = payment_start_refund(payment, slot, item);
    if (code == ERR_ok) {
        answer_refund(payment, item, &slot->refund);
    }
    return code;
}

/* --- by hand --- */

static err
handle_confirm(void *state, struct item *item)
{
    struct payment *payment = state;
    const struct wire_payment_confirm *ask = item->body;
    struct payment_charge_slot *slot = payment_book_charge(&payment->book, &ask->charge);
    bool is_approved = !WIRE_HAS(ask, payment_confirm, approved) || ask->approved;
    enum payment_status wanted = is_approved ? PAYMENT_SUCCEEDED : PAYMENT_FAILED;
    struct payment_words words = {.reference = slice_of(""), .reason = slice_of(is_approved ? "" : "it was not paid at the counter")};
    if (slot == NULL) {
        refuse_unknown(payment, item, &ask->charge);
    } else if (slot->charge.provider != PAYMENT_BY_HAND) {
        item_refuse(payment->batch, item, ERR_invalid_field, "payment_confirm.charge: is not paid by hand");
    } else if (slot->charge.status != PAYMENT_PENDING && slot->charge.status != wanted) {
        item_refuse(payment->batch, item, ERR_charge_closed, "it is %s", payment_status_name(slot->charge.status));
    } else {
        (void)payment_settle_charge(payment, slot, is_approved ? VERDICT_SUCCEEDED : VERDICT_FAILED, &words, item);
        answer(payment, item, &slot->charge);
    }
    return ERR_ok;
}

/* --- a batch --- */

static void
want_charge(void *state, struct item *item, const void *field)
{
    struct payment *payment = state;
    const struct wire_payment_charge *ask = field;
    if (batch_is_looked_up(payment->batch, item)) {
        payment_book_want_charge(&payment->book, &item->id);
    }
    if (WIRE_HAS(ask, payment_charge, replaces)) {
        payment_book_want_charge(&payment->book, &ask->replaces);
    }
    payment_book_want_parked(&payment->book, &item->id);
}

static void
want_webhook(void *state, struct item *item, const void *field)
{
    struct payment *payment = state;
    struct payment_note *note = payment_read_webhook(payment, item);
    bool is_refund = false;
    (void)field;
    payment->notes[item - payment->batch->items] = note;
    if (note == NULL) {
        return;
    }
    payment_book_want_told(&payment->book, &note->told);
    if (payment_verdict_of_type(note->type, &is_refund) == VERDICT_COUNT) {
        return;
    }
    payment_book_want_charge(&payment->book, &note->charge);
    if (!id_is_zero(&note->refund)) {
        payment_book_want_refund(&payment->book, &note->refund);
    }
    if (is_refund) {
        payment_book_want_refunds_of(&payment->book, &note->charge);
    }
    payment_book_want_parked(&payment->book, &note->charge);
}

static void
want_shown(void *state, struct item *item, const void *field)
{
    (void)item;
    payment_book_want_charge(&((struct payment *)state)->book, field);
}

static void
want_changed(void *state, struct item *item, const void *field)
{
    struct payment *payment = state;
    if (item->op == OP_payment_refund && batch_is_looked_up(payment->batch, item)) {
        payment_book_want_refund(&payment->book, &item->id);
    }
    payment_book_want_charge(&payment->book, field);
    payment_book_want_parked(&payment->book, field);
}

static const struct dispatch requests[OP_COUNT] = {
    [OP_payment_charge] = {want_charge, 0, handle_charge},
    [OP_payment_cancel] = {want_changed, offsetof(struct wire_payment_cancel, charge), handle_cancel},
    [OP_payment_refund] = {want_changed, offsetof(struct wire_payment_refund, charge), handle_refund},
    [OP_payment_confirm] = {want_shown, offsetof(struct wire_payment_confirm, charge), handle_confirm},
    [OP_payment_webhook] = {want_webhook, 0, payment_handle_webhook},
    [OP_payment_get] = {want_shown, offsetof(struct wire_payment_get, charge), payment_read},
    [OP_payment_refunds] = {want_shown, offsetof(struct wire_payment_refunds, charge), payment_read},
    [OP_payment_list] = {.handle = payment_read},
};

static void
want_by_id(struct payment *payment, bool is_refund, const struct id *id)
{
    if (is_refund) {
        payment_book_want_refund(&payment->book, id);
    } else {
        payment_book_want_charge(&payment->book, id);
        payment_book_want_parked(&payment->book, id);
    }
}

static void
want_due(struct payment *payment, const struct item *item)
{
    struct id id;
    memcpy(id.bytes, item->key.data, ID_SIZE);
    if (slice_equal(item->owner, slice_of(OWNER_NOTE))) {
        payment_book_want_note(&payment->book, &id);
    } else {
        want_by_id(payment, slice_equal(item->owner, slice_of(OWNER_REFUND)), &id);
    }
}

static void
want_all(struct payment *payment)
{
    for (size_t i = 0; i < payment->batch->count; i++) {
        struct item *item = &payment->batch->items[i];
        if (item->kind == ITEM_REQUEST) {
            dispatch_want(requests, payment, item);
        } else if (item->kind == ITEM_DUE && item->key.size == ID_SIZE) {
            want_due(payment, item);
        } else if (item->kind == ITEM_CALL) {
            want_by_id(payment, payment_call_is_refund(item), &item->context_id);
        } else if (item->kind == ITEM_REPLY) {
            payment_want_of_reader(payment, item);
        }
    }
}

/* What changes something is the staff's, but what a provider signs. */
static err
handle_request(struct payment *payment, struct item *item)
{
    bool is_staffs = (wire_ops[item->op].traits & OP_WRITES) != 0 && item->op != OP_payment_webhook;
    if (is_staffs && !payment_is_staff(item)) {
        item_refuse(payment->batch, item, ERR_forbidden, "%s is not for everybody", wire_ops[item->op].name);
        return ERR_ok;
    }
    return dispatch_handle(requests, payment, item);
}

static err
handle_due(struct payment *payment, const struct item *item)
{
    if (slice_equal(item->owner, slice_of(OWNER_NOTE))) {
        return payment_handle_note(payment, item);
    }
    bool is_told = slice_equal(item->owner, slice_of(OWNER_TOLD)) && item->key.size == ID_SIZE;
    return is_told ? payment_handle_told(payment, item) : payment_handle_due(payment, item);
}

static err
handle_item(struct payment *payment, struct item *item)
{
    switch (item->kind) {
    case ITEM_REQUEST:
        return handle_request(payment, item);
    case ITEM_DUE:
        return handle_due(payment, item);
    case ITEM_CALL:
        return payment_handle_outcome(payment, item);
    case ITEM_REPLY:
        return payment_read_on(payment, item);
    case ITEM_EVENT:
    case ITEM_WORK:
    case ITEM_HEAD:
        return ERR_ok;
    }
    return ERR_internal;
}

static err
payment_handle(void *state, struct batch *batch)
{
    struct payment *payment = state;
    payment->batch = batch;
    payment->notes = batch_alloc(batch, (batch->count + 1) * sizeof *payment->notes);
    err code = payment_book_begin(&payment->book, batch);
    if (code == ERR_ok) {
        want_all(payment);
        code = payment_book_read(&payment->book);
    }
    for (size_t i = 0; i < batch->count && code == ERR_ok; i++) {
        code = handle_item(payment, &batch->items[i]);
    }
    return code == ERR_ok ? payment_book_write(&payment->book) : code;
}

/* --- life --- */

static void
payment_committed(void *state)
{
    struct payment *payment = state;
    payment_readers_settle(payment, true);
    payment_meters_settle(payment->meters, true);
}

static void
payment_dropped(void *state)
{
    struct payment *payment = state;
    payment_book_drop(&payment->book);
    payment_readers_settle(payment, false);
    payment_meters_settle(payment->meters, false);
}

/* Whether the gateway's address is one that nobody else can reach. */
static bool
is_alone(const struct settings *settings)
{
    return strncmp(settings->http, "127.", 4) == 0 || strncasecmp(settings->http, "localhost:", 10) == 0 ||
           strncmp(settings->http, "[::1]:", 6) == 0;
}

static bool
is_url(const char *url)
{
    const char *host = strncmp(url, "http://", 7) == 0 ? url + 7 : strncmp(url, "https://", 8) == 0 ? url + 8 : "";
    return host[0] != '\0' && host[0] != '/' && strpbrk(url, " \t\r\n\"?#") == NULL;
}

/* Checks what this actor alone needs, and finds the key of webhooks. */
static err
read_settings(const struct settings *settings, struct payment_key *key, struct err_text *why)
{
    bool is_simulated = settings->payment_url[0] == '\0';
    *key = (struct payment_key){.size = 0};
    if (!is_simulated && !is_url(settings->payment_url)) {
        return err_say(why, ERR_wrong_setting, "LARDER_PAYMENT_URL: not a URL that begins with http:// or https://");
    }
    for (const char *at = settings->payment_token; *at != '\0'; at++) {
        if (*at <= ' ' || *at > '~') {
            return err_say(why, ERR_wrong_setting, "LARDER_PAYMENT_TOKEN: must be printable characters without blanks");
        }
    }
    if (settings->webhook_secret[0] != '\0') {
        return payment_key_parse(settings->webhook_secret, key)
                   ? ERR_ok
                   : err_say(why, ERR_wrong_setting, "LARDER_WEBHOOK_SECRET: must be whsec_ and the base64 of 16 to 64 bytes");
    }
    if (is_simulated && is_alone(settings)) {
        (void)payment_key_parse(PAYMENT_DEMO_SECRET, key);
    } else {
        log_warn("webhooks_are_refused", LOG_TEXT("because", "LARDER_WEBHOOK_SECRET is not set"));
    }
    return ERR_ok;
}

static err
payment_open(struct actor *actor, void **state, struct err_text *why)
{
    const struct settings *settings = actor_settings(actor);
    struct payment_key key;
    if (sodium_init() < 0) {
        abort();
    }
    err code = read_settings(settings, &key, why);
    if (code != ERR_ok) {
        return code;
    }
    struct payment *payment = memory_new(1, sizeof *payment);
    payment->actor = actor;
    payment->settings = settings;
    payment->key = key;
    payment->meters = payment_meters_create();
    payment_store_init(&payment->store, actor_db(actor));
    payment->book.store = &payment->store;
    *state = payment;
    return ERR_ok;
}

static void
payment_close(void **state)
{
    struct payment *payment = *state;
    *state = NULL;
    if (payment == NULL) {
        return;
    }
    payment_readers_close(payment);
    payment_meters_destroy(&payment->meters);
    payment_book_fini(&payment->book);
    wire_buffer_fini(&payment->page);
    sodium_memzero(&payment->key, sizeof payment->key);
    free(payment);
}

static const char *const peers[] = {"order", NULL};

static const struct db_step steps[] = {
#include "payment_schema.def"
};

const struct actor_class payment_class = {
    .name = "payment",
    .peers = peers,
    .steps = steps,
    .step_count = sizeof steps / sizeof steps[0],
    .makes_calls = true,
    .retime = payment_retime,
    .open = payment_open,
    .close = payment_close,
    .handle = payment_handle,
    .committed = payment_committed,
    .dropped = payment_dropped,
};
