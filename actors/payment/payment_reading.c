/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Reading charges and refunds. Whose they are is the order's to say, as is who shows the right secret: who is not staff
 *           is asked for there, in his own name, and reads on when order lets him read the order. Nothing of it is kept here, so
 *           charges of before are read in the same way, and a customer who was erased is forgotten in one place.
 *
 * MESSAGES  payment.get, payment.list, payment.refunds; asks order.get
 *
 * STATE     In memory the readers that wait for order, by a number that the ask bears: a reply may come when the state was made anew.
 *
 * FAILURES  What order refuses is not there: unknown_charge, in the words for a charge that there is not. Order away or silent:
 *           unavailable.
 *
 * LIMITS    Who is not staff lists the charges of one order.
 */
#include "payment_state.h"

#include <stdlib.h>
#include <string.h>

#include "kit/base/memory.h"

#define PAGE_DEFAULT 100
#define PAGE_MAX 1000

struct payment_reader {
    struct payment_reader *next;
    uint64_t number;
    struct waiter *waiter;
    bool is_new;      /* by the batch under way */
    bool is_answered; /* by the batch under way */
    enum op op;
    struct id charge; /* of payment.get and payment.refunds */
    struct wire_payment_list list;
};

/* Who is answered, and what he reads: a request of this batch, or one that waited for order. */
struct reading {
    struct item *item;
    struct waiter *waiter;
    enum op op;
    struct id charge;
    struct wire_payment_list list;
};

/* --- saying --- */

static void
say(struct payment *payment, const struct reading *reading, const void *reply)
{
    struct waiter *waiter = reading->waiter;
    if (waiter != NULL) {
        waiter_answer(payment->batch, &waiter, reply);
    } else {
        item_answer(payment->batch, reading->item, reply);
    }
}

static void
refuse(struct payment *payment, const struct reading *reading, err code, const char *detail)
{
    struct waiter *waiter = reading->waiter;
    struct wire_problem problem = {0};
    WIRE_SET(&problem, problem, detail, slice_of(detail));
    if (waiter != NULL) {
        waiter_refuse(payment->batch, &waiter, code, &problem);
    } else {
        item_refuse_with(payment->batch, reading->item, code, &problem);
    }
}

static void
refuse_unknown(struct payment *payment, const struct reading *reading)
{
    bool is_list = reading->op == OP_payment_list;
    char text[ID_TEXT_SIZE];
    struct err_text why;
    id_format(is_list ? &reading->list.order : &reading->charge, text);
    err code =
        err_say(&why, is_list ? ERR_unknown_order : ERR_unknown_charge, "there is no %s %s", is_list ? "order" : "charge", text);
    refuse(payment, reading, code, why.text);
}

/* --- reading --- */

static err
answer_page(struct payment *payment, const struct reading *reading)
{
    static const struct id any = {{0}};
    const struct wire_payment_list *ask = &reading->list;
    const struct id *order = WIRE_HAS(ask, payment_list, order) ? &ask->order : &any;
    int64_t before = WIRE_HAS(ask, payment_list, before) ? ask->before : INT64_MAX;
    int64_t limit = WIRE_HAS(ask, payment_list, limit) ? ask->limit : PAGE_DEFAULT;
    int64_t count = 0;
    struct db_statement *rows = NULL;
    struct wire_list page = {0};
    err code = payment_store_page(&payment->store, order, before, limit + 1, &rows);
    if (code != ERR_ok) {
        return code;
    }
    payment->page.size = 0;
    while (db_next(rows)) {
        if (count++ < limit) {
            struct payment_charge charge = payment_store_charge(rows);
            struct wire_charge body = payment_tell_charge(&charge);
            wire_list_add(&page, &charge_body, &body, &payment->page);
        }
    }
    wire_list_end(&page, &payment->page);
    struct wire_charge_page reply = {0};
    WIRE_SET(&reply, charge_page, charges, page);
    WIRE_SET(&reply, charge_page, has_more, count > limit);
    say(payment, reading, &reply);
    return ERR_ok;
}

static err
answer_refunds(struct payment *payment, const struct reading *reading, const struct payment_charge *charge)
{
    int64_t count = 0;
    struct db_statement *rows = NULL;
    struct wire_list page = {0};
    err code = payment_store_page_refunds(&payment->store, &charge->id, PAGE_MAX + 1, &rows);
    if (code != ERR_ok) {
        return code;
    }
    payment->page.size = 0;
    while (db_next(rows)) {
        if (count++ < PAGE_MAX) {
            struct payment_refund refund = payment_store_refund(rows);
            struct wire_refund body = payment_tell_refund(charge, &refund);
            wire_list_add(&page, &refund_body, &body, &payment->page);
        }
    }
    wire_list_end(&page, &payment->page);
    struct wire_refund_page reply = {0};
    WIRE_SET(&reply, refund_page, refunds, page);
    WIRE_SET(&reply, refund_page, has_more, count > PAGE_MAX);
    say(payment, reading, &reply);
    return ERR_ok;
}

/* He may. */
static err
answer(struct payment *payment, const struct reading *reading)
{
    if (reading->op == OP_payment_list) {
        return answer_page(payment, reading);
    }
    const struct payment_charge_slot *slot = payment_book_charge(&payment->book, &reading->charge);
    if (slot == NULL) {
        refuse_unknown(payment, reading);
        return ERR_ok;
    }
    if (reading->op == OP_payment_refunds) {
        return answer_refunds(payment, reading, &slot->charge);
    }
    struct wire_charge body = payment_tell_charge(&slot->charge);
    say(payment, reading, &body);
    return ERR_ok;
}

/* --- who waits for order --- */

static void *
context_of(const struct payment_reader *reader)
{
    uintptr_t number = (uintptr_t)reader->number;
    void *context = NULL;
    memcpy(&context, &number, sizeof context);
    return context;
}

static struct payment_reader *
find_reader(const struct payment *payment, const void *context)
{
    struct payment_reader *reader = payment->readers;
    while (reader != NULL && reader->number != (uint64_t)(uintptr_t)context) {
        reader = reader->next;
    }
    return reader;
}

static void
ask_order(struct payment *payment, const struct reading *reading, const struct id *order)
{
    struct payment_reader *reader = memory_new(1, sizeof *reader);
    struct wire_order_get get = {0};
    struct item *item = reading->item;
    *reader = (struct payment_reader){.next = payment->readers,
                                      .number = ++payment->last_reader,
                                      .waiter = item_defer(payment->batch, item),
                                      .is_new = true,
                                      .op = reading->op,
                                      .charge = reading->charge,
                                      .list = reading->list};
    payment->readers = reader;
    WIRE_SET(&get, order_get, order, *order);
    batch_ask(payment->batch, &(struct ask){.actor = "order",
                                            .op = OP_order_get,
                                            .id = id_new(),
                                            .deadline_ms = item->deadline_ms,
                                            .traceparent = item->traceparent,
                                            .asker = item,
                                            .body = &get,
                                            .context = context_of(reader)});
}

void
payment_want_of_reader(struct payment *payment, const struct item *item)
{
    const struct payment_reader *reader = find_reader(payment, item->context);
    if (reader != NULL && reader->op != OP_payment_list) {
        payment_book_want_charge(&payment->book, &reader->charge);
    }
}

void
payment_readers_settle(struct payment *payment, bool is_on_disk)
{
    struct payment_reader **at = &payment->readers;
    while (*at != NULL) {
        struct payment_reader *reader = *at;
        bool is_gone = is_on_disk ? reader->is_answered : reader->is_new;
        reader->is_new = reader->is_answered = false;
        if (is_gone) {
            *at = reader->next;
            free(reader);
        } else {
            at = &reader->next;
        }
    }
}

void
payment_readers_close(struct payment *payment)
{
    while (payment->readers != NULL) {
        struct payment_reader *reader = payment->readers;
        payment->readers = reader->next;
        waiter_mark_patient(reader->waiter);
        free(reader);
    }
}

/* --- the requests --- */

err
payment_read(void *state, struct item *item)
{
    struct payment *payment = state;
    struct reading reading = {.item = item, .op = item->op};
    if (item->op == OP_payment_list) {
        reading.list = *(const struct wire_payment_list *)item->body;
    } else if (item->op == OP_payment_refunds) {
        reading.charge = ((const struct wire_payment_refunds *)item->body)->charge;
    } else {
        reading.charge = ((const struct wire_payment_get *)item->body)->charge;
    }
    if (payment_is_staff(item)) {
        return answer(payment, &reading);
    }
    if (item->op == OP_payment_list && !WIRE_HAS(&reading.list, payment_list, order)) {
        refuse(payment, &reading, ERR_invalid_field, "payment_list.order: missing; only employees list the charges of all orders");
        return ERR_ok;
    }
    const struct payment_charge_slot *slot = item->op == OP_payment_list ? NULL : payment_book_charge(&payment->book, &reading.charge);
    if (item->op != OP_payment_list && slot == NULL) {
        refuse_unknown(payment, &reading);
        return ERR_ok;
    }
    ask_order(payment, &reading, slot != NULL ? &slot->charge.order : &reading.list.order);
    return ERR_ok;
}

err
payment_read_on(struct payment *payment, const struct item *item)
{
    struct payment_reader *reader = find_reader(payment, item->context);
    if (reader == NULL || reader->is_answered) {
        return ERR_ok; /* the state was made anew since it was asked */
    }
    struct reading reading = {.waiter = reader->waiter, .op = reader->op, .charge = reader->charge, .list = reader->list};
    reader->is_answered = true;
    if (item->status == ERR_ok) {
        return answer(payment, &reading);
    }
    if (err_disposition(item->status) == ERR_REFUSE) {
        refuse_unknown(payment, &reading);
    } else {
        refuse(payment, &reading, ERR_unavailable, "whose it is cannot be told now, as order does not answer; ask again");
    }
    return ERR_ok;
}
