/* SPDX-License-Identifier: MPL-2.0 */
/* What is decided about people without looking anything up: what a CPF, an e-mail address and a telephone number must look like, and
 * who may do what to whom. Pure: the same input gives the same answer. */
#ifndef LARDER_USER_RULES_H
#define LARDER_USER_RULES_H

#include <stdbool.h>

#include "role.h"
#include "wire.h"

#define USER_CPF_DIGITS 11
#define USER_EMAIL_MAX 254

/* Eleven digits of which the last two follow from the others (Receita Federal: weights 10..2 and 11..2, modulo 11). Written bare, or
 * with points and hyphen where they belong, 111.444.777-35. Eleven times the same digit is none, although it adds up. `digits` is
 * written only when it is one. */
bool
user_rules_cpf(struct slice text, char digits[USER_CPF_DIGITS + 1]);

/* One @, something that may stand before it, a domain with a dot behind it. Whether mail arrives is not known. */
bool
user_rules_email(struct slice text);

/* As it is compared: A to Z in lower case. `text` must be an e-mail address. */
struct slice
user_rules_email_lower(struct slice text, char lower[USER_EMAIL_MAX]);

/* Digits, at least three of them, and + - ( ) and spaces. */
bool
user_rules_phone(struct slice text);

/* In whose name something is asked. */
struct user_asker {
    enum role role;
    bool has_user;
    struct id user;
};

/* To see a person: oneself, or as an employee. */
bool
user_rules_may_see(const struct user_asker *asker, const struct id *whom);

/* To change or erase a person: oneself, or as an admin. */
bool
user_rules_may_change(const struct user_asker *asker, const struct id *whom);

/* The role of a person can be customer, employee or admin. */
bool
user_rules_is_role_of_person(enum role role);

/* To give this role to a person. */
bool
user_rules_may_give(const struct user_asker *asker, enum role role);

#endif
