/* SPDX-License-Identifier: MPL-2.0 */
/* What the parts of the factory share: factory.c (messages), factory_production.c (how one begins and ends), factory_outside.c (calls
 * to an outside factory). Not for others. */
#ifndef LARDER_FACTORY_STATE_H
#define LARDER_FACTORY_STATE_H

#include "kit/actor.h"
#include "factory_message.h"
#include "factory_rules.h"
#include "factory_store.h"
#include "shared/outcall.h"

/* Owners of due rows; the key is the production's id. */
#define OWNER_PRODUCTION "production"
#define OWNER_CALL "call"

struct factory {
    struct actor *actor;
    const struct settings *settings;
    struct batch *batch; /* under way */
    struct factory_store store;
    struct wire_buffer page;
    bool has_last_n;
    int64_t last_n;
    bool has_secret;
    uint8_t secret[FACTORY_SECRET_SIZE];
};

/* What is to be produced, and in whose name. */
struct wish {
    struct slice product;
    int64_t quantity;
    struct id id;
    const struct item *cause;
};

/* Whether productions are made by an outside factory. */
static inline bool
factory_is_outside(const struct factory *factory)
{
    return factory->settings->factory_url[0] != '\0';
}

/* --- factory_production.c --- */

/* What a production's callback has to show, made of the secret, which is made when there is none. */
MUST_CHECK err
factory_capability(struct factory *factory, const struct id *production, char capability[FACTORY_CAPABILITY_SIZE]);

/* Opens a production, on a shelf that has none open. A wish that was granted before is found again by its id. */
MUST_CHECK err
factory_begin(struct factory *factory, const struct wish *wish, struct factory_production *production);

/* Ends an open production, whose status says how: its units are to be put on the shelf, or will not come. */
MUST_CHECK err
factory_end(struct factory *factory, struct factory_production *production, const struct item *cause);

/* Ends it as produced. */
MUST_CHECK err
factory_finish(struct factory *factory, struct factory_production *production, const struct item *cause);

/* The shelf of a product, and its open production if it has one. */
MUST_CHECK err
factory_find_open(struct factory *factory, struct slice product, struct factory_shelf *shelf, struct factory_production *production,
                  bool *is_open);

void
factory_set_due(struct batch *batch, const char *owner, const struct factory_production *production, int64_t due_ms);

/* It has ended otherwise than by its due rows: they go, and a letter about its calls is closed. */
MUST_CHECK err
factory_stop(struct factory *factory, const struct factory_production *production);

/* --- factory_outside.c --- */

/* How often an outside factory is called in vain, and how long its callback may take before it is called once more. */
struct retry
factory_retry(const struct settings *settings);
struct retry
factory_patience(const struct settings *settings);

/* A production's time has come: to be done, or to be called for. */
MUST_CHECK err
factory_handle_due(struct factory *factory, const struct item *item);

/* A call has ended. */
MUST_CHECK err
factory_handle_outcome(struct factory *factory, const struct item *item);

/* --- factory_retime.c --- */

/* The clock was set: says when this due row is due, and moves what belongs to it. */
MUST_CHECK err
factory_retime(const struct retiming *retiming, struct due_row *row);

#endif
