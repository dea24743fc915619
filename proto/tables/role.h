/* SPDX-License-Identifier: MPL-2.0 */
/* In whose name something is asked. Each may do what those before it may. */
#ifndef LARDER_ROLE_H
#define LARDER_ROLE_H

#include "wire.h"

enum role { ROLE_ANONYMOUS, ROLE_CUSTOMER, ROLE_EMPLOYEE, ROLE_ADMIN, ROLE_OPERATOR, ROLE_COUNT };

/* "anonymous", "customer", ... */
const char *
role_name(enum role role);

/* ROLE_COUNT for a word that is none. */
enum role
role_find(struct slice name);

#endif
