/* SPDX-License-Identifier: MPL-2.0 */
/* What goes to an outside factory and what it may come back with: the donut shop's message, and the callback's secret. */
#ifndef LARDER_FACTORY_MESSAGE_H
#define LARDER_FACTORY_MESSAGE_H

#include <stdint.h>

#include "err.h"
#include "factory_store.h"
#include "id.h"
#include "kit/settings/settings.h"
#include "wire.h"

#define FACTORY_CAPABILITY_SIZE 44 /* 43 characters of base64url, and the terminator */
#define FACTORY_URL_SIZE (SETTING_TEXT_MAX + 128)

/* The capability of a production's callback: 32 bytes of BLAKE2b over its id, keyed with the secret, as base64url. The same for every
 * call about the same production. */
void
factory_capability_of(const uint8_t secret[FACTORY_SECRET_SIZE], const struct id *production,
                      char capability[FACTORY_CAPABILITY_SIZE]);

/* What is stored of a capability: 32 bytes of BLAKE2b over its characters. */
void
factory_capability_hash(struct slice capability, uint8_t hash[FACTORY_HASH_SIZE]);

/* Where productions are posted: the setting factory_url, with /api/manufactures when it has no path. */
void
factory_address_of(const struct settings *settings, char url[FACTORY_URL_SIZE]);

/* Where the outside factory says that it is done: public_url, or http:// and the gateway's address, and /callback/CAPABILITY. */
void
factory_callback_of(const struct settings *settings, const char *capability, char url[FACTORY_URL_SIZE]);

/* The message as JSON text, all values strings. The caller frees it. Never NULL. */
char *
factory_message_json(const struct factory_production *production, const char *callback_url);

/* Says in a sentence why a call did not succeed. An answer that repeats the capability is left out. */
void
factory_call_error(int http_status, struct slice text, const char *capability, struct err_text *error);

#endif
