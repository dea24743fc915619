/* SPDX-License-Identifier: MPL-2.0 */
/* Claims about the door: which names are the gateway's, and whose pages may change something. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <stdio.h>

#include "door.h"

static struct err_text why;

static err
judge(const char *auth, const char *hosts, const struct door_visit *visit)
{
    struct settings settings;
    struct door *door = NULL;
    cr_assert_eq(settings_init(&settings, &why), ERR_ok);
    (void)snprintf(settings.auth, sizeof settings.auth, "%s", auth);
    (void)snprintf(settings.hosts, sizeof settings.hosts, "%s", hosts);
    (void)snprintf(settings.origins, sizeof settings.origins, "https://pos.example, http://localhost:3000");
    (void)snprintf(settings.public_url, sizeof settings.public_url, "https://shop.example/base");
    cr_assert_eq(door_create(&settings, &door, &why), ERR_ok, "%s", why.text);
    err verdict = door_judge(door, visit, &why);
    door_destroy(&door);
    return verdict;
}

struct host_row {
    char host[48];
    err verdict;
};

ParameterizedTestParameters(door, knows_its_names)
{
    static struct host_row rows[] = {
        {"localhost", ERR_ok},
        {"LocalHost:8080", ERR_ok},
        {"localhost.", ERR_ok},
        {"shop.localhost", ERR_ok},
        {"127.0.0.1:8080", ERR_ok},
        {"10.1.2.3", ERR_ok},
        {"[::1]:8080", ERR_ok},
        {"shop.example", ERR_ok},
        {"SHOP.example.:443", ERR_ok},
        {"inner", ERR_ok},
        {"INNER.:1", ERR_ok},
        {"a.wide.example", ERR_ok},
        {"a.b.Wide.example.", ERR_ok},
        {"", ERR_ok},
        {"wide.example", ERR_misdirected},
        {"xwide.example", ERR_misdirected},
        {"evil.example", ERR_misdirected},
        {"localhost.evil.example", ERR_misdirected},
        {"notlocalhost", ERR_misdirected},
        {"a.shop.example", ERR_misdirected},
        {"inner.evil", ERR_misdirected},
        {"127.1", ERR_misdirected},
        {"2130706433", ERR_misdirected},
        {"127.0.0.1.evil.example", ERR_misdirected},
        {"localhost..", ERR_misdirected},
    };
    return cr_make_param_array(struct host_row, rows, sizeof rows / sizeof *rows);
}

ParameterizedTest(struct host_row *row, door, knows_its_names)
{
    struct door_visit visit = {.host = slice_of(row->host), .is_safe = true};
    cr_assert_eq(judge("open", "inner, *.wide.example", &visit), row->verdict, "%s", row->host);
    cr_assert_eq(judge("required", "inner, *.wide.example", &visit), row->verdict, "%s", row->host);
    cr_assert_eq(judge("required", "", &visit), ERR_ok, "%s", row->host);
    visit.is_probe = true;
    cr_assert_eq(judge("open", "inner", &visit), ERR_ok, "%s", row->host);
}

struct origin_row {
    char host[32];
    char origin[40]; /* "-": none */
    bool is_from_foreign;
    err verdict;
};

ParameterizedTestParameters(door, knows_whose_pages_may_change_something)
{
    static struct origin_row rows[] = {
        {"localhost:8080", "-", false, ERR_ok},
        {"localhost:8080", "-", true, ERR_forbidden},
        {"localhost:8080", "http://localhost:8080", false, ERR_ok},
        {"localhost:8080", "HTTP://LOCALHOST:8080", false, ERR_ok},
        {"localhost", "http://localhost:80", false, ERR_ok},
        {"localhost:80", "http://localhost", false, ERR_ok},
        {"[::1]:8080", "http://[::1]:8080", false, ERR_ok},
        {"localhost:8080", "http://localhost", false, ERR_forbidden},
        {"localhost:8080", "http://localhost:8081", false, ERR_forbidden},
        {"localhost:8080", "http://127.0.0.1:8080", false, ERR_forbidden},
        {"localhost:8080", "https://localhost:8080", false, ERR_forbidden},
        {"localhost:8080", "https://shop.example", false, ERR_ok},
        {"localhost:8080", "https://shop.example:443", true, ERR_ok},
        {"localhost:8080", "http://shop.example", false, ERR_forbidden},
        {"localhost:8080", "https://pos.example", true, ERR_ok},
        {"localhost:8080", "http://localhost:3000", true, ERR_ok},
        {"localhost:8080", "http://pos.example", false, ERR_forbidden},
        {"localhost:8080", "https://pos.example.evil.example", false, ERR_forbidden},
        {"localhost:8080", "https://evil.example", false, ERR_forbidden},
        {"localhost:8080", "https://pos.example/", false, ERR_forbidden},
        {"localhost:8080", "https://pos.example https://x", false, ERR_forbidden},
        {"localhost:8080", "null", false, ERR_forbidden},
        {"localhost:8080", "", false, ERR_forbidden},
        {"localhost:8080", "file://", false, ERR_forbidden},
        {"localhost:8080", "chrome-extension://x", false, ERR_forbidden},
        {"", "http://localhost", false, ERR_forbidden},
    };
    return cr_make_param_array(struct origin_row, rows, sizeof rows / sizeof *rows);
}

ParameterizedTest(struct origin_row *row, door, knows_whose_pages_may_change_something)
{
    struct door_visit visit = {.host = slice_of(row->host), .is_from_foreign = row->is_from_foreign};
    if (row->origin[0] != '-') {
        visit.origin = slice_of(row->origin);
        visit.origins = 1;
    }
    cr_assert_eq(judge("open", "", &visit), row->verdict, "%s from %s", row->host, row->origin);
    cr_assert_eq(judge("required", "", &visit), row->verdict, "%s from %s", row->host, row->origin);
    visit.is_safe = true;
    cr_assert_eq(judge("open", "", &visit), ERR_ok, "looking is free");
}

Test(door, takes_two_origins_for_none)
{
    struct door_visit visit = {.host = slice_of("localhost"), .origin = slice_of("http://localhost"), .origins = 2};
    cr_assert_eq(judge("open", "", &visit), ERR_forbidden);
}

struct setting_row {
    char origins[64];
    char hosts[64];
};

ParameterizedTestParameters(door, refuses_settings_that_cannot_be)
{
    static struct setting_row rows[] = {
        {"shop.example", ""},
        {"ftp://x", ""},
        {"https://x/", ""},
        {"null", ""},
        {"*", ""},
        {"https://", ""},
        {"https://a,,https://b", ""},
        {"", "a b"},
        {"", "x:80"},
        {"", "*"},
        {"", "*x"},
        {"", "http://x"},
        {"", "a,,b"},
        {"", "x/y"},
    };
    return cr_make_param_array(struct setting_row, rows, sizeof rows / sizeof *rows);
}

ParameterizedTest(struct setting_row *row, door, refuses_settings_that_cannot_be)
{
    struct settings settings;
    struct door *door = NULL;
    cr_assert_eq(settings_init(&settings, &why), ERR_ok);
    (void)snprintf(settings.origins, sizeof settings.origins, "%s", row->origins);
    (void)snprintf(settings.hosts, sizeof settings.hosts, "%s", row->hosts);
    cr_assert_eq(door_create(&settings, &door, &why), ERR_wrong_setting, "%s %s", row->origins, row->hosts);
    cr_assert(strstr(why.text, row->origins[0] != 0 ? "LARDER_ORIGINS: " : "LARDER_HOSTS: ") != NULL, "%s", why.text);
}

Test(door, takes_json_alone)
{
    cr_assert(door_is_json(slice_of("application/json")) && door_is_json(slice_of("Application/JSON; charset=utf-8")));
    cr_assert_not(door_is_json(slice_of("")) || door_is_json(slice_of("text/plain")) || door_is_json(slice_of("application/jsonx")) ||
                  door_is_json(slice_of("application/x-www-form-urlencoded")) ||
                  door_is_json(slice_of("text/plain;application/json")));
}
