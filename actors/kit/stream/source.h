/* SPDX-License-Identifier: MPL-2.0 */
/* An actor's own stream of events: outbox, durable subscribers, FETCH and HEAD. */
#ifndef LARDER_KIT_SOURCE_H
#define LARDER_KIT_SOURCE_H

#include "kit/base/arena.h"
#include "kit/db/db.h"
#include "kit/settings/settings.h"
#include "kit/durable/part.h"
#include "kit/durable/shard.h"
#include "wire.h"

struct source;

/* What is emitted; everything is copied or encoded at once. */
struct source_fact {
    enum event_type type;
    struct id cause; /* what it comes of; zero: nothing that has an id */
    struct slice key;
    int64_t time_ms;
    struct slice traceparent;
    const void *body; /* struct of the event's body */
};

/* `name` is "stock/0". Loading reads the subscribers, and makes those known that events.def names; after a commit it publishes, HEAD
 * behind events that moved it. */
struct source *
source_create(const char *name, const char *actor, const struct settings *settings, struct shard *shard);
extern const struct part source_part;

/* From here on it is heard: a raw PUB socket. */
void
source_publish_on(struct source *source, void *publisher);

/* --- inside a batch --- */

/* Adds an event to the batch; a durable one gets the next seq, and with it an id that no other event has, whatever causes both. */
void
source_emit(struct source *source, struct arena *arena, const struct source_fact *fact);

/* The seq that the next durable event will get. */
int64_t
source_next_seq(const struct source *source);

/* How many durable events the batch has. */
int64_t
source_emitted(const struct source *source);

/* Publishes HEAD. */
void
source_publish_head(struct source *source);

/* --- what subscribers ask; outside of queued writes --- */

/* Confirms, and reads what is behind the position. With `host` it is the host's position that is confirmed: what he keeps for the
 * subscriber is trimmed here. ERR_kept_elsewhere: what comes next is with the host. */
MUST_CHECK err
source_fetch(struct source *source, struct arena *arena, const struct wire_fetch *fetch, struct wire_fetched *reply,
             struct err_text *why);

/* Both write: they belong into the batch's transaction. */
MUST_CHECK err
source_subscribe(struct source *source, const struct wire_subscribe *subscribe, struct wire_subscribed *reply, struct err_text *why);
MUST_CHECK err
source_unsubscribe(struct source *source, const struct wire_unsubscribe *unsubscribe, struct err_text *why);

#endif
