/* SPDX-License-Identifier: MPL-2.0 */
/* Signatures of webhooks, as Standard Webhooks has them: HMAC-SHA256 over "id.timestamp.body". */
#ifndef LARDER_PAYMENT_SIGNATURE_H
#define LARDER_PAYMENT_SIGNATURE_H

#include <stdbool.h>

#include "wire.h"

/* The secret of the simulated provider: known to everybody, and good only where nobody else can come, on loopback. */
#define PAYMENT_DEMO_SECRET "whsec_bGFyZGVyLWRlbW8td2ViaG9vay1zZWNyZXQ="

#define PAYMENT_KEY_MAX 64
#define PAYMENT_SIGNATURE_SIZE 48 /* "v1," and 44 of base64, and the terminator */

struct payment_key {
    uint8_t bytes[PAYMENT_KEY_MAX];
    size_t size; /* 0: there is none, and nothing is believed */
};

/* Of `whsec_` and base64 of 16 to 64 bytes; false when the text is not one. The library must have been set up (sodium_init). */
bool
payment_key_parse(const char *text, struct payment_key *key);

/* What is signed. */
struct payment_signed {
    struct slice id;
    struct slice timestamp;
    struct slice body;
};

void
payment_sign(const struct payment_key *key, const struct payment_signed *what, char signature[PAYMENT_SIGNATURE_SIZE]);

/* Whether one of the signatures, with blanks between them, is the right one. Takes the same time wherever a wrong one differs. */
bool
payment_is_signed(const struct payment_key *key, const struct payment_signed *what, struct slice signatures);

#endif
