/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Who people are, how they sign in, and how they are forgotten. Personal data lives here alone; everything else keeps a person's id
 *   and asks at the moment of telling.
 *
 * MESSAGES
 *   user.register, user.change (user_write.c); user.get, user.find, user.list; user.sign_in, user.issue, user.keys (user_token.c);
 *   user.erase, user.erasure (user_erase.c). Emits user.erased.
 *
 * STATE
 *   user_schema.def. Nothing personal is written but sealed (user_seal.c), and none of it is in an answer to a writing request, a
 *   refusal, an event, a log line or a letter. In memory: the actor's secret, the key that signs tokens, and the numbers given out
 *   last, read again after a rollback.
 *
 * FAILURES
 *   A person whose data cannot be opened is told as internal, and can still be erased. What somebody may not see is unknown_user,
 *   as if it were not there; what he may see and not do is forbidden.
 *
 * LIMITS
 *   A page of people ends before it would not fit a frame. Passwords: user_work.c. One process writes people.
 */
#include "user.h"

#include <stdlib.h>

#include <sodium.h>

#include "kit/base/memory.h"
#include "kit/dispatch.h"
#include "user_state.h"
#include "user_token.h"

#define SECRET_NAME "people"
#define WORKS_MAX 64
#define PAGE_DEFAULT 100
#define PAGE_BYTES_MAX ((size_t)900 * 1024)

/* --- reading --- */

static void
refuse_unknown(struct batch *batch, struct item *item)
{
    item_refuse(batch, item, ERR_unknown_user, "%s", err_words(ERR_unknown_user));
}

static void
answer_card(struct user_actor *actor, struct item *item, struct user_person *person)
{
    if (!user_people_open(actor, person)) {
        item_refuse(actor->batch, item, ERR_internal, "what is kept of this person cannot be opened");
        return;
    }
    struct wire_user_card card = user_people_card(person);
    item_answer(actor->batch, item, &card);
}

static err
handle_get(void *state, struct item *item)
{
    struct user_actor *actor = state;
    const struct wire_user_get *body = item->body;
    struct user_asker asker = {.role = item->role, .has_user = item->has_user, .user = item->user};
    struct user_person person;
    bool found = false;
    if (item->role < ROLE_CUSTOMER) {
        item_refuse(actor->batch, item, ERR_forbidden, "people are seen by themselves and by employees");
        return ERR_ok;
    }
    err code = user_rules_may_see(&asker, &body->user) ? user_store_find(&actor->store, &body->user, &person.row, &found) : ERR_ok;
    if (code != ERR_ok) {
        return code;
    }
    if (found) {
        answer_card(actor, item, &person);
    } else {
        refuse_unknown(actor->batch, item);
    }
    return ERR_ok;
}

static err
handle_find(void *state, struct item *item)
{
    struct user_actor *actor = state;
    const struct wire_user_find *body = item->body;
    bool has_email = WIRE_HAS(body, user_find, email);
    bool has_cpf = WIRE_HAS(body, user_find, cpf);
    char digits[USER_CPF_DIGITS + 1];
    struct user_person person;
    bool found = false;
    if (item->role < ROLE_EMPLOYEE) {
        item_refuse(actor->batch, item, ERR_forbidden, "people are looked for by employees");
        return ERR_ok;
    }
    if (has_email == has_cpf) {
        item_refuse(actor->batch, item, ERR_invalid_field, "user_find: an email or a cpf is needed, and not both");
        return ERR_ok;
    }
    if (has_cpf && !user_rules_cpf(body->cpf, digits)) {
        item_refuse(actor->batch, item, ERR_invalid_field, "user_find.cpf: this is no CPF");
        return ERR_ok;
    }
    err code = user_people_find(actor, has_email ? body->email : (struct slice){0}, has_cpf ? slice_of(digits) : (struct slice){0},
                                &person.row, &found);
    if (code != ERR_ok) {
        return code;
    }
    if (found) {
        answer_card(actor, item, &person);
    } else {
        refuse_unknown(actor->batch, item);
    }
    return ERR_ok;
}

static err
answer_page(struct user_actor *actor, struct item *item, int64_t after)
{
    const struct wire_user_list *body = item->body;
    int64_t limit = WIRE_HAS(body, user_list, limit) ? body->limit : PAGE_DEFAULT;
    struct wire_user_page page = {0};
    struct wire_list list = {0};
    struct user_person person;
    int64_t count = 0;
    bool has_more = false;
    err code = user_store_page(&actor->store, after, limit + 1);
    actor->page.size = 0;
    while (code == ERR_ok && user_store_next(&actor->store, &person.row)) {
        if (count == limit || actor->page.size > PAGE_BYTES_MAX) {
            has_more = true;
            db_done(actor->store.page);
            break;
        }
        (void)user_people_open(actor, &person); /* of one that cannot be opened there is what there is */
        struct wire_user_card card = user_people_card(&person);
        wire_list_add(&list, &user_card_body, &card, &actor->page);
        count++;
    }
    if (code != ERR_ok) {
        return code;
    }
    wire_list_end(&list, &actor->page);
    WIRE_SET(&page, user_page, users, list);
    WIRE_SET(&page, user_page, has_more, has_more);
    item_answer(actor->batch, item, &page);
    sodium_memzero(actor->page.data, actor->page.size);
    return ERR_ok;
}

static err
handle_list(void *state, struct item *item)
{
    struct user_actor *actor = state;
    const struct wire_user_list *body = item->body;
    struct user_row last = {0};
    bool found = true;
    if (item->role < ROLE_EMPLOYEE) {
        item_refuse(actor->batch, item, ERR_forbidden, "people are listed by employees");
        return ERR_ok;
    }
    err code = WIRE_HAS(body, user_list, after) ? user_store_find(&actor->store, &body->after, &last, &found) : ERR_ok;
    if (code != ERR_ok) {
        return code;
    }
    if (!found) {
        item_refuse(actor->batch, item, ERR_unknown_user, "user_list.after: there is no such person");
        return ERR_ok;
    }
    return answer_page(actor, item, last.n);
}

/* --- the class --- */

static const struct dispatch requests[OP_COUNT] = {
    [OP_user_register] = {.handle = user_handle_register},
    [OP_user_get] = {.handle = handle_get},
    [OP_user_find] = {.handle = handle_find},
    [OP_user_list] = {.handle = handle_list},
    [OP_user_change] = {.handle = user_handle_change},
    [OP_user_sign_in] = {.handle = user_token_handle_sign_in},
    [OP_user_issue] = {.handle = user_token_handle_issue},
    [OP_user_keys] = {.handle = user_token_handle_keys},
    [OP_user_erase] = {.handle = user_handle_erase},
    [OP_user_erasure] = {.handle = user_handle_erasure},
};

static err
handle_work(struct user_actor *actor, const struct item *item)
{
    const struct user_work *work = item->context;
    struct user_caller caller = work->caller;
    if (item->status == ERR_overloaded || item->status == ERR_deadline_exceeded) {
        user_refuse(actor->batch, &caller, item->status, "too many passwords were to be looked at before this one");
        return ERR_ok;
    }
    if (item->status != ERR_ok) {
        user_refuse(actor->batch, &caller, item->status, "the database could not do it now; ask again with the same id");
        return ERR_ok;
    }
    return work->kind == USER_WORK_HASH ? user_handle_hashed(actor, work, &caller) : user_token_handle_verified(actor, work, &caller);
}

static err
user_handle(void *state, struct batch *batch)
{
    struct user_actor *actor = state;
    err code = ERR_ok;
    actor->batch = batch;
    actor->is_erasing = false;
    if (!actor->has_numbers) {
        code = user_store_last(&actor->store, &actor->last_n, &actor->last_request);
        actor->has_numbers = code == ERR_ok;
    }
    for (size_t i = 0; code == ERR_ok && i < batch->count; i++) {
        struct item *item = &batch->items[i];
        if (item->kind == ITEM_REQUEST) {
            code = dispatch_handle(requests, actor, item);
        } else if (item->kind == ITEM_WORK) {
            code = handle_work(actor, item);
        }
    }
    return code;
}

/* Every writing request is looked up when it is handled, also one that is not said to be asked again. */
static err
user_recall_none(void *state, struct batch *batch)
{
    (void)state;
    (void)batch;
    return ERR_ok;
}

static void
user_committed(void *state)
{
    struct user_actor *actor = state;
    if (actor->is_erasing) {
        actor->is_erasing = false;
        actor->traces_committed = actor->traces.size;
        user_scrub(actor);
    }
}

static void
user_dropped(void *state)
{
    struct user_actor *actor = state;
    actor->has_numbers = false;
    actor->has_key = false;
    actor->is_erasing = false;
    actor->traces.size = actor->traces_committed;
}

static err
user_tick(void *state, struct batch *batch)
{
    struct user_actor *actor = state;
    (void)batch;
    if (actor->is_scrub_wanted) {
        user_scrub(actor);
    }
    return ERR_ok;
}

static err
load_secret(struct user_actor *actor)
{
    uint8_t master[USER_SECRET_MAX];
    size_t size = 0;
    err code = user_store_find_secret(&actor->store, SECRET_NAME, master, &size);
    if (code == ERR_ok && size == 0) {
        size = USER_SECRET_SIZE;
        randombytes_buf(master, size);
        code = user_store_insert_secret(&actor->store, SECRET_NAME, (struct slice){master, size});
    }
    if (code == ERR_ok && size == USER_SECRET_SIZE) {
        user_seal_derive(master, &actor->secret);
    }
    sodium_memzero(master, sizeof master);
    return code == ERR_ok && size != USER_SECRET_SIZE ? ERR_internal : code;
}

static err
user_open(struct actor *actor, void **state, struct err_text *why)
{
    struct user_actor *made = memory_new(1, sizeof *made);
    if (sodium_init() < 0) {
        abort();
    }
    made->actor = actor;
    made->settings = actor_settings(actor);
    made->is_scrub_wanted = true; /* a run before may have ended between an erasure and its end */
    user_store_init(&made->store, actor_db(actor));
    *state = made;
    err code = load_secret(made);
    if (code == ERR_internal) {
        return err_say(why, code, "the secret of people is not one: it was changed by hand");
    }
    return code;
}

static void
user_close(void **state)
{
    struct user_actor *actor = *state;
    *state = NULL;
    if (actor != NULL) {
        wire_buffer_fini(&actor->page);
        sodium_memzero(actor->traces.data, actor->traces.size);
        wire_buffer_fini(&actor->traces);
        sodium_memzero(actor, sizeof *actor);
        free(actor);
    }
}

static const struct db_step steps[] = {
#include "user_schema.def"
};

const struct actor_class user_class = {
    .name = "user",
    .steps = steps,
    .step_count = sizeof steps / sizeof steps[0],
    .erases = true,
    .works_max = WORKS_MAX,
    .open = user_open,
    .close = user_close,
    .handle = user_handle,
    .committed = user_committed,
    .dropped = user_dropped,
    .recall = user_recall_none,
    .tick = user_tick,
    .retime = user_retime,
};
