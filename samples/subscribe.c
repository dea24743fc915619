/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Follows a source of larder without a database of its own: the dlq keeps the subscription.
 *
 *     subscribe tcp://127.0.0.1:4008 stock/0 till-7 [credit [count]]
 *
 * Prints a line per event, `seq type key`, when it is processed, and acknowledges it with the next question. Killed at any moment it
 * goes on where it was: an event may be printed twice, none is skipped. A new name begins at the oldest event that the source keeps.
 * Ends by itself after `count` events, or (status 3) when another process subscribes under its name.
 *
 * Outside of this tree: cc subscribe.c $(pkg-config --cflags --libs larder)
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "larder.h"

enum { WAIT_MS = 5000, PAUSE_FIRST_MS = 100, PAUSE_MAX_MS = 2000, REPLACED = 3 };

struct subscription {
    struct larder_client *client;
    struct slice name;
    struct slice source;
    struct id session;
    int64_t position; /* the last event processed */
    int64_t credit;
    int64_t left; /* events until the end; -1: for ever */
};

static void
pause_ms(int64_t ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    (void)nanosleep(&time, NULL);
}

/* Whether to ask again, after a pause that doubles. Says why not. */
static bool
is_worth_another(err status, const struct err_text *why, int64_t *pause)
{
    if (err_disposition(status) != ERR_RETRY) {
        (void)fprintf(stderr, "%s: %s\n", err_symbol(status), why->text);
        return false;
    }
    pause_ms(*pause);
    *pause = 2 * *pause < PAUSE_MAX_MS ? 2 * *pause : PAUSE_MAX_MS;
    return true;
}

static err
subscribe(struct subscription *subscription)
{
    struct wire_dlq_subscribe body = {0};
    WIRE_SET(&body, dlq_subscribe, name, subscription->name);
    WIRE_SET(&body, dlq_subscribe, source, subscription->source);
    WIRE_SET(&body, dlq_subscribe, from_start, true);
    struct larder_options options = {.id = id_new()};
    struct wire_dlq_session session;
    struct err_text why = {""};
    int64_t pause = PAUSE_FIRST_MS;
    err status = ERR_ok;
    do {
        status = dlq_client_subscribe(subscription->client, &options, &body, &session, &why);
        options.again = true;
    } while (status != ERR_ok && is_worth_another(status, &why, &pause));
    if (status == ERR_ok) {
        subscription->session = session.session;
        subscription->position = session.position;
    }
    return status;
}

/* Here is where an event has its effect. */
static void
process(const struct wire_event_header *header)
{
    printf("%" PRId64 " %.*s %.*s\n", header->seq, (int)header->type.size, (const char *)header->type.data, (int)header->key.size,
           (const char *)header->key.data);
    (void)fflush(stdout);
}

/* A page's events in order; the position moves with each. */
static err
process_page(struct subscription *subscription, const struct wire_fetched *page)
{
    struct wire_list events = page->events;
    struct wire_fetched_event event;
    struct wire_event_header header;
    struct err_text why = {""};
    while (subscription->left != 0 && wire_list_next(&events, &fetched_event_body, &event)) {
        err status = wire_decode(&event_header_body, event.header, &header, &why);
        if (status != ERR_ok) {
            (void)fprintf(stderr, "an event cannot be read: %s\n", why.text);
            return status;
        }
        process(&header);
        subscription->position = header.seq;
        subscription->left -= subscription->left > 0 ? 1 : 0;
    }
    return ERR_ok;
}

/* Acknowledges what was processed and processes what comes next. A receive may wait as long as its deadline: one attempt. */
static err
receive(struct subscription *subscription)
{
    struct wire_dlq_receive body = {0};
    WIRE_SET(&body, dlq_receive, name, subscription->name);
    WIRE_SET(&body, dlq_receive, source, subscription->source);
    WIRE_SET(&body, dlq_receive, session, subscription->session);
    WIRE_SET(&body, dlq_receive, position, subscription->position);
    WIRE_SET(&body, dlq_receive, credit, subscription->left == 0 ? 0 : subscription->credit);
    struct larder_options options = {.timeout_ms = WAIT_MS, .attempt_ms = WAIT_MS};
    struct wire_fetched page;
    struct err_text why = {""};
    int64_t pause = PAUSE_FIRST_MS;
    err status = ERR_ok;
    do {
        status = dlq_client_receive(subscription->client, &options, &body, &page, &why);
    } while (status != ERR_ok && is_worth_another(status, &why, &pause));
    return status == ERR_ok ? process_page(subscription, &page) : status;
}

int
main(int argc, char **argv)
{
    struct err_text why = {""};
    struct subscription subscription = {.credit = 16, .left = -1};
    if (argc < 4 || argc > 6) {
        (void)fprintf(stderr, "usage: %s ENDPOINT SOURCE NAME [CREDIT [COUNT]]\n", argv[0]);
        return 2;
    }
    const char *const dlq[] = {argv[1]};
    subscription.source = slice_of(argv[2]);
    subscription.name = slice_of(argv[3]);
    subscription.credit = argc > 4 ? strtoll(argv[4], NULL, 10) : subscription.credit;
    subscription.left = argc > 5 ? strtoll(argv[5], NULL, 10) : subscription.left;
    if (!wire_is_name(subscription.name) || subscription.name.size > 48 || subscription.source.size > 64 || subscription.credit < 1 ||
        subscription.credit > 256) {
        (void)fprintf(stderr, "NAME has 1 to 48 of A-Z a-z 0-9 - _, CREDIT is 1 to 256\n");
        return 2;
    }
    err status = larder_client_create(dlq, 1, &subscription.client, &why);
    if (status != ERR_ok) {
        (void)fprintf(stderr, "%s\n", why.text);
        return 2;
    }
    status = subscribe(&subscription);
    while (status == ERR_ok && subscription.left != 0) {
        status = receive(&subscription);
    }
    if (status == ERR_ok) {
        status = receive(&subscription); /* only acknowledges */
    }
    larder_client_destroy(&subscription.client);
    return status == ERR_ok ? 0 : status == ERR_session_replaced ? REPLACED : 1;
}
