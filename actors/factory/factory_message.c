/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   The donut shop's message to its factory, kept to the letter: MessageGroupId, MessageAttributeProductId,
 *   MessageAttributeProductCnt, MessageAttributeFactoryId, MessageAttributeRequester, CallbackUrl, all of them strings. And the
 *   secret part of CallbackUrl.
 *
 *   Whoever knows a callback's address can finish that one production. The capability in it is computed from the production's id and
 *   the secret of this database whenever it is needed, and only its hash is stored: a call that is made again carries the same
 * address, and who reads the table of productions cannot call back.
 *
 * FAILURES
 *   None that is the caller's: the settings were checked at start.
 *
 * LIMITS
 *   A production's product is written as it is named here, also in MessageAttributeProductId; the demo product has its own
 *   factory's id, every other one "factory".
 */
#include "factory_message.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <sodium.h>

#include "shared/demo.h"

#define GROUP "stock-arrival-group"
#define REQUESTER "larder"
#define OTHER_FACTORY "factory"
#define DEFAULT_PATH "/api/manufactures"
#define TELLTALE_SIZE 8 /* so much of a capability in an answer means that the answer repeats it */

void
factory_capability_of(const uint8_t secret[FACTORY_SECRET_SIZE], const struct id *production, char capability[FACTORY_CAPABILITY_SIZE])
{
    uint8_t bytes[32];
    (void)crypto_generichash(bytes, sizeof bytes, production->bytes, sizeof production->bytes, secret, FACTORY_SECRET_SIZE);
    (void)sodium_bin2base64(capability, FACTORY_CAPABILITY_SIZE, bytes, sizeof bytes, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

void
factory_capability_hash(struct slice capability, uint8_t hash[FACTORY_HASH_SIZE])
{
    (void)crypto_generichash(hash, FACTORY_HASH_SIZE, capability.data, capability.size, NULL, 0);
}

void
factory_address_of(const struct settings *settings, char url[FACTORY_URL_SIZE])
{
    const char *scheme_end = strstr(settings->factory_url, "://");
    const char *host = scheme_end != NULL ? scheme_end + 3 : settings->factory_url;
    const char *path = strpbrk(host, "/?#") != NULL ? "" : DEFAULT_PATH;
    (void)snprintf(url, FACTORY_URL_SIZE, "%s%s", settings->factory_url, path);
}

void
factory_callback_of(const struct settings *settings, const char *capability, char url[FACTORY_URL_SIZE])
{
    size_t size = strlen(settings->public_url);
    while (size > 0 && settings->public_url[size - 1] == '/') {
        size--;
    }
    if (size > 0) {
        (void)snprintf(url, FACTORY_URL_SIZE, "%.*s/callback/%s", (int)size, settings->public_url, capability);
    } else {
        (void)snprintf(url, FACTORY_URL_SIZE, "http://%s/callback/%s", settings->http, capability);
    }
}

char *
factory_message_json(const struct factory_production *production, const char *callback_url)
{
    char quantity[24];
    bool is_demo = demo_is_sku(slice_of(production->product));
    (void)snprintf(quantity, sizeof quantity, "%" PRId64, production->quantity);
    json_t *message =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "MessageGroupId", GROUP, "MessageAttributeProductId", production->product,
                  "MessageAttributeProductCnt", quantity, "MessageAttributeFactoryId", is_demo ? DEMO_FACTORY : OTHER_FACTORY,
                  "MessageAttributeRequester", REQUESTER, "CallbackUrl", callback_url);
    char *text = json_dumps(message, JSON_COMPACT | JSON_PRESERVE_ORDER);
    if (text == NULL) {
        abort(); /* out of memory, or a setting that is not UTF-8 */
    }
    json_decref(message);
    return text;
}

void
factory_call_error(int http_status, struct slice text, const char *capability, struct err_text *error)
{
    int size = (int)text.size;
    const char *words = size > 0 ? (const char *)text.data : "";
    char telltale[TELLTALE_SIZE + 1];
    assert(strlen(capability) >= TELLTALE_SIZE);
    memcpy(telltale, capability, TELLTALE_SIZE);
    telltale[TELLTALE_SIZE] = '\0';
    if (memmem(words, text.size, telltale, TELLTALE_SIZE) != NULL) {
        (void)err_say(error, ERR_ok, "the factory answered HTTP %d and repeated the callback's address, which is left out",
                      http_status);
    } else if (http_status == 0) {
        (void)err_say(error, ERR_ok, "the factory did not answer: %.*s", size, words);
    } else if (size == 0) {
        (void)err_say(error, ERR_ok, "the factory answered HTTP %d", http_status);
    } else {
        (void)err_say(error, ERR_ok, "the factory answered HTTP %d: %.*s", http_status, size, words);
    }
}
