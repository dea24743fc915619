/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Who is let in before anybody looks at what is asked: a browser lets every page of the world send requests to this machine, and a
 * page's own name may be made to point here. Pure functions over what the settings and one head say.
 */
#ifndef LARDER_DOOR_H
#define LARDER_DOOR_H

#include <stdbool.h>

#include "err.h"
#include "kit/settings/settings.h"
#include "wire.h"

struct door;

/* What one head says of where it comes from. */
struct door_visit {
    struct slice host;    /* a valid one, or empty */
    struct slice origin;  /* the Origin header */
    int origins;          /* how many there are */
    bool is_from_foreign; /* Sec-Fetch-Site: anything but same-origin and none */
    bool is_safe;         /* GET, HEAD, OPTIONS */
    bool is_probe;        /* asks how this process does: supervisors ask by whatever name they have */
};

/* Reads LARDER_ORIGINS, LARDER_HOSTS and LARDER_PUBLIC_URL of `settings`, which must outlive the door. */
MUST_CHECK err
door_create(const struct settings *settings, struct door **door, struct err_text *why);

/* ERR_misdirected: the request was meant for another name. ERR_forbidden: it comes from a page of somebody else's. */
MUST_CHECK err
door_judge(const struct door *door, const struct door_visit *visit, struct err_text *why);

/* The one Origin is of LARDER_ORIGINS: its page may read the answer. The text of such a one is below DOOR_ORIGIN_SIZE. */
#define DOOR_ORIGIN_SIZE 320
bool
door_is_listed(const struct door *door, const struct door_visit *visit);

/* The type of a body that is read as JSON. */
bool
door_is_json(struct slice content_type);

void
door_destroy(struct door **door);

#endif
