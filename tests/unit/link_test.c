/* SPDX-License-Identifier: MPL-2.0 */
/* When a peer that is not heard is connected anew: seen by the one connected to. The clock is the test's. */
#include <criterion/criterion.h>
#include <string.h>

#include "link.h"

#define HEARD_AT 1000
#define THREE_HEADS_MS 3500
#define ANSWER_WITHIN_MS 20000

static char endpoint[64];

static zsock_t *
open_bound(int type)
{
    zsock_t *socket = zsock_new(type);
    cr_assert(socket != NULL);
    zsock_set_rcvtimeo(socket, ANSWER_WITHIN_MS);
    int port = zsock_bind(socket, "tcp://127.0.0.1:*");
    cr_assert(port > 0);
    snprintf(endpoint, sizeof endpoint, "tcp://127.0.0.1:%d", port);
    return socket;
}

/* What an XPUB is told: 1 and a topic for a subscription, 0 and the topic for its end. */
static int
told(zsock_t *publisher)
{
    zframe_t *frame = zframe_recv(publisher);
    cr_assert(frame != NULL, "nothing was heard of it");
    int word = zframe_data(frame)[0];
    cr_expect(zframe_size(frame) == 5 && memcmp(zframe_data(frame) + 1, "head", 4) == 0);
    zframe_destroy(&frame);
    return word;
}

Test(link, a_source_of_which_three_heads_are_missed_is_connected_to_anew)
{
    struct link_pulse pulse = {0};
    struct err_text why;
    zsock_t *sub = NULL;
    zsock_t *publisher = open_bound(ZMQ_XPUB);
    zsock_set_xpub_verboser(publisher, 1);
    cr_assert(link_events(endpoint, &sub, &why) == ERR_ok, "%s", why.text);
    zsock_set_subscribe(sub, "head");
    cr_expect(told(publisher) == 1);
    cr_expect(!link_renew_events(sub, &pulse, 1000000), "one that was never heard is waited for by libzmq");
    link_heard(&pulse, HEARD_AT);
    cr_expect(!link_renew_events(sub, &pulse, HEARD_AT + THREE_HEADS_MS - 1));
    cr_expect(link_renew_events(sub, &pulse, HEARD_AT + THREE_HEADS_MS));
    while (told(publisher) == 0) { /* the old connection's end, if it was noticed before the new one came */
    }
    cr_expect(!link_renew_events(sub, &pulse, HEARD_AT + THREE_HEADS_MS + 1), "the new connection has its time too");
    zsock_set_rcvtimeo(sub, ANSWER_WITHIN_MS);
    zstr_send(publisher, "head");
    char *heard = zstr_recv(sub);
    cr_expect_str_eq(heard, "head");
    zstr_free(&heard);
    zsock_destroy(&sub);
    zsock_destroy(&publisher);
}

/* The routing id under which the ROUTER hears a DEALER: another one for each connection. */
static zframe_t *
ask(zsock_t *dealer, zsock_t *router)
{
    cr_assert(zstr_send(dealer, "ping") == 0);
    zframe_t *peer = zframe_recv(router);
    char *words = zstr_recv(router);
    cr_assert(words != NULL, "the request was lost");
    zstr_free(&words);
    return peer;
}

Test(link, a_peer_that_misses_three_answers_is_connected_to_anew)
{
    struct link_pulse pulse = {0};
    struct err_text why;
    zsock_t *dealer = NULL;
    zsock_t *router = open_bound(ZMQ_ROUTER);
    cr_assert(link_requests(endpoint, &dealer, &why) == ERR_ok, "%s", why.text);
    zsock_set_sndtimeo(dealer, ANSWER_WITHIN_MS);
    zframe_t *before = ask(dealer, router);
    link_heard(&pulse, HEARD_AT);
    cr_expect(!link_missed(dealer, &pulse, HEARD_AT + LINK_SILENT_MS));
    cr_expect(!link_missed(dealer, &pulse, HEARD_AT + LINK_SILENT_MS));
    link_heard(&pulse, HEARD_AT + LINK_SILENT_MS);
    for (int i = 0; i < 20; i++) {
        cr_expect(!link_missed(dealer, &pulse, HEARD_AT + 2 * LINK_SILENT_MS - 1), "slow, but it was heard not long ago");
    }
    cr_expect(link_missed(dealer, &pulse, HEARD_AT + 2 * LINK_SILENT_MS));
    cr_expect(!link_missed(dealer, &pulse, HEARD_AT + 2 * LINK_SILENT_MS + 1), "the new connection has its time too");
    zframe_t *after = ask(dealer, router);
    cr_expect(!zframe_eq(before, after), "it is another connection");
    zframe_destroy(&before);
    zframe_destroy(&after);
    zsock_destroy(&dealer);
    zsock_destroy(&router);
}

Test(link, a_peer_that_was_never_heard_is_given_its_time)
{
    struct link_pulse pulse = {0};
    struct err_text why;
    zsock_t *dealer = NULL;
    zsock_t *router = open_bound(ZMQ_ROUTER);
    cr_assert(link_requests(endpoint, &dealer, &why) == ERR_ok, "%s", why.text);
    for (int i = 0; i < 3; i++) {
        cr_expect(!link_missed(dealer, &pulse, HEARD_AT + i));
    }
    cr_expect(link_missed(dealer, &pulse, HEARD_AT + LINK_SILENT_MS));
    zsock_destroy(&dealer);
    zsock_destroy(&router);
}
