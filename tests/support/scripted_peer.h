/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Stands in for one shard of an actor that others ask and follow: a thread with its ROUTER and its PUB. It does what stock, payment
 * and product do for an order, idempotent by id as they are, or what the test says; it keeps what was asked, and what it did.
 *
 * Every ask of one id must say the same: another body under an id that was used fails the test, as it would be refused by the real
 * one.
 */
#ifndef LARDER_TESTS_SCRIPTED_PEER_H
#define LARDER_TESTS_SCRIPTED_PEER_H

#include <stdbool.h>
#include <stdint.h>

#include "wire.h"

enum peer_script {
    PEER_DOES,    /* does it and says so */
    PEER_REFUSES, /* does nothing and says `status` */
    PEER_SILENT,  /* does nothing and says nothing */
    PEER_LOSES,   /* does it and says nothing */
    PEER_TARRIES  /* does nothing, and says `status` when the same is asked again, just before it answers that */
};

struct scripted_peer;

/* Binds its addresses within this process, and begins to answer. Before whoever asks it is started. */
struct scripted_peer *
scripted_peer_open(const char *actor, int shard);
void
scripted_peer_close(struct scripted_peer **peer);

/* What becomes of the next `times` asks of an operation; then it does as it should. */
void
scripted_peer_set(struct scripted_peer *peer, enum op op, enum peer_script script, err status, int times);

/* Takes nothing in meanwhile: what is asked waits, and is answered then. */
void
scripted_peer_pause(struct scripted_peer *peer, bool is_paused);

/* Forgets how often it was asked and what it did; not what it knows. */
void
scripted_peer_forget_counts(struct scripted_peer *peer);

/* How charges and refunds are answered: "pending" (as it begins), "succeeded" or "failed". */
void
scripted_peer_set_money(struct scripted_peer *peer, const char *charges, const char *refunds);

/* How often it was asked, how often that had an effect, and the latest id. */
int
scripted_peer_asked(struct scripted_peer *peer, enum op op);
int
scripted_peer_done(struct scripted_peer *peer, enum op op);
struct id
scripted_peer_latest(struct scripted_peer *peer, enum op op);

/* The latest request, into the struct of its body; what it borrows lives until the peer is closed. */
void
scripted_peer_latest_body(struct scripted_peer *peer, enum op op, void *body);

/* Whether an id was ever asked for without `again` after it had been asked for before. */
bool
scripted_peer_forgot_again(struct scripted_peer *peer);

/* Of stock: holds that are open, and those whose units have left and not come back. */
int
scripted_peer_held(struct scripted_peer *peer);
int
scripted_peer_sold(struct scripted_peer *peer);

/* Publishes a durable event; who was not there fetches it. */
void
scripted_peer_emit(struct scripted_peer *peer, enum event_type type, struct slice key, const void *body);

#endif
