/* SPDX-License-Identifier: MPL-2.0 */
/* The Prefer header (RFC 7240). */
#ifndef LARDER_PREFER_H
#define LARDER_PREFER_H

#include <stdbool.h>

#include "wire.h"

/* Whether the value of a Prefer header asks for `respond-async`. Other preferences, and what is no preference, are passed over. */
bool
prefer_is_async(struct slice value);

#endif
