/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   The rules about people.
 *
 * LIMITS    An e-mail address is judged by its shape: no quoted names, no comments, no addresses of hosts. Beyond ASCII every
 *           character is taken as it is, and its case counts.
 */
#include "user_rules.h"

#include <string.h>

#define EMAIL_NAME_MAX 64
#define EMAIL_LABEL_MAX 63
#define PHONE_DIGITS_MIN 3

/* --- CPF --- */

static bool
is_digit(uint8_t character)
{
    return character >= '0' && character <= '9';
}

/* The digit that follows from the `count` before it. */
static int
check_digit(const char *digits, int count)
{
    int sum = 0;
    for (int i = 0; i < count; i++) {
        sum += (digits[i] - '0') * (count + 1 - i);
    }
    int rest = sum % 11;
    return rest < 2 ? 0 : 11 - rest;
}

/* NNN.NNN.NNN-NN, each of the three signs there or not. */
static bool
take_digits(struct slice text, char digits[USER_CPF_DIGITS + 1])
{
    size_t count = 0;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t character = text.data[i];
        bool is_before_sign = i + 1 < text.size && is_digit(text.data[i + 1]) && i > 0 && is_digit(text.data[i - 1]);
        if (is_digit(character)) {
            if (count == USER_CPF_DIGITS) {
                return false;
            }
            digits[count++] = (char)character;
        } else if (!is_before_sign || !((character == '.' && (count == 3 || count == 6)) || (character == '-' && count == 9))) {
            return false;
        }
    }
    digits[count] = '\0';
    return count == USER_CPF_DIGITS;
}

bool
user_rules_cpf(struct slice text, char digits[USER_CPF_DIGITS + 1])
{
    char found[USER_CPF_DIGITS + 1];
    if (!take_digits(text, found) || strspn(found, (const char[]){found[0], '\0'}) == USER_CPF_DIGITS) {
        return false;
    }
    if (check_digit(found, 9) != found[9] - '0' || check_digit(found, 10) != found[10] - '0') {
        return false;
    }
    memcpy(digits, found, sizeof found);
    return true;
}

/* --- e-mail --- */

static bool
is_letter_or_digit(uint8_t character)
{
    return is_digit(character) || (character >= 'a' && character <= 'z') || (character >= 'A' && character <= 'Z') ||
           character >= 0x80;
}

static bool
is_name(struct slice name)
{
    if (name.size == 0 || name.size > EMAIL_NAME_MAX || name.data[0] == '.' || name.data[name.size - 1] == '.') {
        return false;
    }
    for (size_t i = 0; i < name.size; i++) {
        uint8_t character = name.data[i];
        bool is_sign = character != '\0' && strchr("!#$%&'*+-/=?^_`{|}~.", character) != NULL;
        bool is_second_dot = character == '.' && name.data[i - 1] == '.';
        if (is_second_dot || !(is_sign || is_letter_or_digit(character))) {
            return false;
        }
    }
    return true;
}

static bool
is_label(struct slice label)
{
    if (label.size == 0 || label.size > EMAIL_LABEL_MAX || label.data[0] == '-' || label.data[label.size - 1] == '-') {
        return false;
    }
    for (size_t i = 0; i < label.size; i++) {
        if (label.data[i] != '-' && !is_letter_or_digit(label.data[i])) {
            return false;
        }
    }
    return true;
}

static bool
is_domain(struct slice domain)
{
    size_t labels = 0;
    size_t start = 0;
    for (size_t i = 0; i <= domain.size; i++) {
        if (i < domain.size && domain.data[i] != '.') {
            continue;
        }
        if (!is_label((struct slice){domain.data + start, i - start})) {
            return false;
        }
        labels++;
        start = i + 1;
    }
    return labels >= 2;
}

bool
user_rules_email(struct slice text)
{
    const uint8_t *at = text.size == 0 ? NULL : memchr(text.data, '@', text.size);
    if (at == NULL || text.size > USER_EMAIL_MAX) {
        return false;
    }
    size_t before = (size_t)(at - text.data);
    return is_name((struct slice){text.data, before}) && is_domain((struct slice){at + 1, text.size - before - 1});
}

struct slice
user_rules_email_lower(struct slice text, char lower[USER_EMAIL_MAX])
{
    size_t size = text.size < USER_EMAIL_MAX ? text.size : USER_EMAIL_MAX;
    for (size_t i = 0; i < size; i++) {
        bool is_upper = text.data[i] >= 'A' && text.data[i] <= 'Z';
        lower[i] = (char)(is_upper ? text.data[i] + ('a' - 'A') : text.data[i]);
    }
    return (struct slice){(const uint8_t *)lower, size};
}

/* --- telephone --- */

bool
user_rules_phone(struct slice text)
{
    size_t digits = 0;
    for (size_t i = 0; i < text.size; i++) {
        digits += is_digit(text.data[i]) ? 1 : 0;
        if (!is_digit(text.data[i]) && (text.data[i] == '\0' || strchr("+-() ", text.data[i]) == NULL)) {
            return false;
        }
    }
    return digits >= PHONE_DIGITS_MIN;
}

/* --- who may --- */

static bool
is_oneself(const struct user_asker *asker, const struct id *whom)
{
    return asker->role >= ROLE_CUSTOMER && asker->has_user && id_equal(&asker->user, whom);
}

bool
user_rules_may_see(const struct user_asker *asker, const struct id *whom)
{
    return asker->role >= ROLE_EMPLOYEE || is_oneself(asker, whom);
}

bool
user_rules_may_change(const struct user_asker *asker, const struct id *whom)
{
    return asker->role >= ROLE_ADMIN || is_oneself(asker, whom);
}

bool
user_rules_is_role_of_person(enum role role)
{
    return role == ROLE_CUSTOMER || role == ROLE_EMPLOYEE || role == ROLE_ADMIN;
}

bool
user_rules_may_give(const struct user_asker *asker, enum role role)
{
    return user_rules_is_role_of_person(role) && asker->role >= ROLE_ADMIN;
}
