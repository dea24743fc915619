/* SPDX-License-Identifier: MPL-2.0 */
/* PURPOSE   The words for roles, as the wire and the tokens have them. */
#include "role.h"

static const char *const names[ROLE_COUNT] = {
    [ROLE_ANONYMOUS] = "anonymous", [ROLE_CUSTOMER] = "customer", [ROLE_EMPLOYEE] = "employee",
    [ROLE_ADMIN] = "admin",         [ROLE_OPERATOR] = "operator",
};

const char *
role_name(enum role role)
{
    return names[role];
}

enum role
role_find(struct slice name)
{
    enum role role = ROLE_ANONYMOUS;
    while (role < ROLE_COUNT && !slice_equal(name, slice_of(names[role]))) {
        role++;
    }
    return role;
}
