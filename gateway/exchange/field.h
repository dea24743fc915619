/* SPDX-License-Identifier: MPL-2.0 */
/* A field of any body by its name, where a route's column says which one it is about. */
#ifndef LARDER_FIELD_H
#define LARDER_FIELD_H

#include "wire.h"

/* NULL when the body has none of this name. */
const struct wire_field *
field_find(const struct wire_body *body, struct slice name);

/* The value in a struct of this body; NULL when there is no such field, or it is not set. */
const void *
field_value(const struct wire_body *body, const void *source, struct slice name);

#endif
