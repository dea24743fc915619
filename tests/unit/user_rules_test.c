/* SPDX-License-Identifier: MPL-2.0 */
/* What a CPF, an e-mail address and a telephone number look like, and who may do what to whom. */
#include "user/user_rules.h"

#include <stdio.h>

#include <criterion/criterion.h>
#include <criterion/parameterized.h>

struct text_row {
    char text[96];
    bool is_one;
};

#define COUNT(rows) (sizeof rows / sizeof rows[0])

ParameterizedTestParameters(user_rules, cpf)
{
    static struct text_row rows[] = {
        {"111.444.777-35", true},  {"11144477735", true},      {"529.982.247-25", true},
        {"52998224725", true},     {"123.456.789-09", true},   {"000.000.001-91", true},
        {"00000000191", true},     {"529982247-25", true},     {"529.982.24725", true},
        {"111.444.777-36", false}, {"111.444.777-45", false},  {"52998224752", false},
        {"111.111.111-11", false}, {"00000000000", false},     {"99999999999", false},
        {"1114447773", false},     {"111444777355", false},    {"", false},
        {"11144477735 ", false},   {" 11144477735", false},    {"1114.44.777-35", false},
        {"111-444-777-35", false}, {"111..444.777-35", false}, {"111.444.777-3-5", false},
        {".11144477735", false},   {"11144477735.", false},    {"111.444.777--35", false},
        {"1114447773a", false},    {"111 444 777 35", false},  {"abcdefghijk", false},
        {"-1144477735", false},
    };
    return cr_make_param_array(struct text_row, rows, COUNT(rows));
}

ParameterizedTest(const struct text_row *row, user_rules, cpf)
{
    char digits[USER_CPF_DIGITS + 1] = "untouched!";
    cr_assert_eq(user_rules_cpf(slice_of(row->text), digits), row->is_one, "%s", row->text);
    if (!row->is_one) {
        cr_assert_str_eq(digits, "untouched!");
    }
}

Test(user_rules, a_cpf_is_its_digits)
{
    char digits[USER_CPF_DIGITS + 1];
    cr_assert(user_rules_cpf(slice_of("111.444.777-35"), digits));
    cr_assert_str_eq(digits, "11144477735");
}

/* Of a hundred endings of nine digits exactly one is right. */
Test(user_rules, nine_digits_have_one_ending)
{
    static const char *const starts[] = {"111444777", "529982247", "000000001", "987654321", "100000000", "123456780"};
    for (size_t i = 0; i < COUNT(starts); i++) {
        int right = 0;
        for (int ending = 0; ending < 100; ending++) {
            char text[16];
            char digits[USER_CPF_DIGITS + 1];
            snprintf(text, sizeof text, "%s%02d", starts[i], ending);
            right += user_rules_cpf(slice_of(text), digits) ? 1 : 0;
        }
        cr_assert_eq(right, 1, "%s has %d", starts[i], right);
    }
}

ParameterizedTestParameters(user_rules, email)
{
    static struct text_row rows[] = {
        {"ana@example.com", true},
        {"Ana.Souza+order@Example.COM.br", true},
        {"a@b.co", true},
        {"o'neill@example.org", true},
        {"jo\xc3\xa3o@correio.com", true},
        {"ana@caf\xc3\xa9.com.br", true},
        {"", false},
        {"ana", false},
        {"@example.com", false},
        {"ana@", false},
        {"ana@example", false},
        {"ana@@example.com", false},
        {"ana@exa@mple.com", false},
        {"ana souza@example.com", false},
        {"ana@exa mple.com", false},
        {".ana@example.com", false},
        {"ana.@example.com", false},
        {"an..a@example.com", false},
        {"ana@.example.com", false},
        {"ana@example.com.", false},
        {"ana@example..com", false},
        {"ana@-example.com", false},
        {"ana@example-.com", false},
        {"ana@[127.0.0.1]", false},
        {"\"ana\"@example.com", false},
        {"ana@example.com\n", false},
        {"ana\t@example.com", false},
        {"<ana@example.com>", false},
        {"ana,b@example.com", false},
    };
    return cr_make_param_array(struct text_row, rows, COUNT(rows));
}

ParameterizedTest(const struct text_row *row, user_rules, email)
{
    cr_assert_eq(user_rules_email(slice_of(row->text)), row->is_one, "%s", row->text);
}

Test(user_rules, an_email_address_is_compared_in_lower_case)
{
    char lower[USER_EMAIL_MAX];
    cr_assert(slice_equal(user_rules_email_lower(slice_of("Ana.Souza+X@Example.COM"), lower), slice_of("ana.souza+x@example.com")));
}

Test(user_rules, an_email_address_has_an_end)
{
    char text[300];
    memset(text, 'a', sizeof text);
    memcpy(text + 65, "@example.com", 13);
    cr_assert_not(user_rules_email(slice_of(text)));
    cr_assert(user_rules_email(slice_of(text + 1)));
}

ParameterizedTestParameters(user_rules, phone)
{
    static struct text_row rows[] = {
        {"+55 (11) 98765-4321", true},
        {"190", true},
        {"19", false},
        {"+-()", false},
        {"call me", false},
        {"+55.11", false},
        {"", false},
    };
    return cr_make_param_array(struct text_row, rows, COUNT(rows));
}

ParameterizedTest(const struct text_row *row, user_rules, phone)
{
    cr_assert_eq(user_rules_phone(slice_of(row->text)), row->is_one, "%s", row->text);
}

struct may_row {
    enum role role;
    bool is_self;
    bool may_see;
    bool may_change;
    bool may_give;
};

ParameterizedTestParameters(user_rules, who_may)
{
    static struct may_row rows[] = {
        {ROLE_ANONYMOUS, false, false, false, false}, {ROLE_ANONYMOUS, true, false, false, false},
        {ROLE_CUSTOMER, false, false, false, false},  {ROLE_CUSTOMER, true, true, true, false},
        {ROLE_EMPLOYEE, false, true, false, false},   {ROLE_EMPLOYEE, true, true, true, false},
        {ROLE_ADMIN, false, true, true, true},        {ROLE_ADMIN, true, true, true, true},
        {ROLE_OPERATOR, false, true, true, true},
    };
    return cr_make_param_array(struct may_row, rows, COUNT(rows));
}

ParameterizedTest(const struct may_row *row, user_rules, who_may)
{
    struct id whom = id_of_bytes("whom", 4);
    struct id other = id_of_bytes("other", 5);
    struct user_asker asker = {.role = row->role, .has_user = true, .user = row->is_self ? whom : other};
    cr_assert_eq(user_rules_may_see(&asker, &whom), row->may_see);
    cr_assert_eq(user_rules_may_change(&asker, &whom), row->may_change);
    cr_assert_eq(user_rules_may_give(&asker, ROLE_ADMIN), row->may_give);
    cr_assert_eq(user_rules_may_give(&asker, ROLE_CUSTOMER), row->may_give);
    cr_assert_not(user_rules_may_give(&asker, ROLE_OPERATOR));
    cr_assert_not(user_rules_may_give(&asker, ROLE_ANONYMOUS));
    asker.has_user = false;
    cr_assert_eq(user_rules_may_see(&asker, &whom), row->role >= ROLE_EMPLOYEE);
}
