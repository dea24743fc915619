/* SPDX-License-Identifier: MPL-2.0 */
/* Settings: where they come from, what is refused and in which words, and which database they name. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kit/settings/settings.h"

static struct settings settings;
static struct err_text why;

static void
without_environment(void)
{
    clearenv();
}

static err
flags(int argc, char **argv)
{
    cr_assert_eq(settings_init(&settings, &why), ERR_ok);
    int left = argc;
    return settings_flags(&settings, &left, argv, &why);
}

TestSuite(settings, .init = without_environment);

Test(settings, defaults_pass_their_own_check)
{
    cr_assert_eq(settings_init(&settings, &why), ERR_ok);
    cr_assert_eq(settings_check(&settings, &why), ERR_ok, "%s", why.text);
    cr_assert_str_eq(settings.http, "127.0.0.1:8080");
    cr_assert_eq(settings.base_port, 4000);
    cr_assert_eq(settings.hold_ttl_ms, 900000);
}

Test(settings, environment_wins_over_the_default)
{
    setenv("LARDER_BASE_PORT", "4500", 1);
    setenv("LARDER_DATA", "/tmp/x", 1);
    cr_assert_eq(settings_init(&settings, &why), ERR_ok);
    cr_assert_eq(settings.base_port, 4500);
    cr_assert_str_eq(settings.data, "/tmp/x");
}

Test(settings, empty_variable_is_as_if_not_set)
{
    setenv("LARDER_BASE_PORT", "", 1);
    setenv("LARDER_LOG", "", 1);
    cr_assert_eq(settings_init(&settings, &why), ERR_ok);
    cr_assert_eq(settings.base_port, 4000);
    cr_assert_str_eq(settings.log, "text");
}

Test(settings, flag_wins_over_the_environment)
{
    setenv("LARDER_BASE_PORT", "4500", 1);
    char name[] = "--base-port";
    char value[] = "4600";
    cr_assert_eq(flags(2, (char *[]){name, value}), ERR_ok);
    cr_assert_eq(settings.base_port, 4600);
}

Test(settings, flags_are_taken_out_and_the_rest_keeps_its_order)
{
    char a[] = "stock.take";
    char b[] = "--base-port=4600";
    char c[] = "{}";
    char d[] = "--data";
    char e[] = "d";
    char f[] = "--";
    char g[] = "--not-a-flag";
    char *argv[] = {a, b, c, d, e, f, g};
    int argc = 7;
    cr_assert_eq(settings_init(&settings, &why), ERR_ok);
    cr_assert_eq(settings_flags(&settings, &argc, argv, &why), ERR_ok, "%s", why.text);
    cr_assert_eq(argc, 3);
    cr_assert_eq(argv[0], a);
    cr_assert_eq(argv[1], c);
    cr_assert_eq(argv[2], g);
    cr_assert_str_eq(settings.data, "d");
}

Test(settings, unknown_flag_is_refused_by_name)
{
    char flag[] = "--base-prot=1";
    cr_assert_eq(flags(1, (char *[]){flag}), ERR_wrong_setting);
    cr_assert_str_eq(why.text, "--base-prot: there is no such flag");
}

Test(settings, flag_without_its_value_is_refused)
{
    char flag[] = "--data";
    cr_assert_eq(flags(1, (char *[]){flag}), ERR_wrong_setting);
    cr_assert_str_eq(why.text, "--data: a value must follow");
}

struct number {
    char value[32];
    bool is_good;
};

ParameterizedTestParameters(settings, numbers)
{
    static struct number rows[] = {
        {"1024", true},  {"20000", true},  {"1023", false},  {"20001", false}, {"-4000", false}, {"4000.0", false},
        {"0x10", false}, {" 4000", false}, {"4000 ", false}, {"4e3", false},   {"", false},      {"99999999999999999999", false},
        {"-", false},    {"+4000", false},
    };
    return cr_make_param_array(struct number, rows, sizeof rows / sizeof rows[0]);
}

ParameterizedTest(struct number *row, settings, numbers, .init = without_environment)
{
    char flag[64];
    snprintf(flag, sizeof flag, "--base-port=%s", row->value);
    err code = flags(1, (char *[]){flag});
    cr_assert_eq(code, row->is_good ? ERR_ok : ERR_wrong_setting, "%s", row->value);
    if (!row->is_good) {
        char expected[128];
        snprintf(expected, sizeof expected, "--base-port: \"%s\" is not a whole number from 1024 to 20000", row->value);
        cr_assert_str_eq(why.text, expected);
    }
}

Test(settings, wrong_number_in_the_environment_is_named_as_there)
{
    setenv("LARDER_STOCK_SHARDS", "five", 1);
    cr_assert_eq(settings_init(&settings, &why), ERR_wrong_setting);
    cr_assert_str_eq(why.text, "LARDER_STOCK_SHARDS: \"five\" is not a whole number from 1 to 4");
}

struct check {
    char flag[64];
    char says[32]; /* empty: it is good */
};

ParameterizedTestParameters(settings, checks)
{
    static struct check rows[] = {
        {"--http=127.0.0.1:80", ""},
        {"--http=127.9.9.9:80", ""},
        {"--http=localhost:8080", ""},
        {"--http=[::1]:8080", ""},
        {"--http=0.0.0.0:8080", "LARDER_HTTP: 0.0.0.0"},
        {"--http=[::]:8080", "LARDER_HTTP: ::"},
        {"--http=192.168.1.1:8080", "LARDER_HTTP: 192.168"},
        {"--http=example.org:8080", "LARDER_HTTP: example"},
        {"--http=8080", "LARDER_HTTP: \"8080\""},
        {"--http=127.0.0.1:65536", "LARDER_HTTP: \"127"},
        {"--http=127.0.0.1:", "LARDER_HTTP: \"127"},
        {"--http=::1:8080", "LARDER_HTTP: \"::1"},
        {"--bind=127.0.0.2", ""},
        {"--bind=0.0.0.0", "LARDER_BIND: 0.0.0.0"},
        {"--bind=*", "LARDER_BIND: \"*\""},
        {"--bind=eth0", "LARDER_BIND: \"eth0\""},
        {"--log=xml", "LARDER_LOG: \"xml\""},
        {"--log=json", ""},
        {"--log-level=loud", "LARDER_LOG_LEVEL: \"loud\""},
        {"--factory-url=http://127.0.0.1:9/x", ""},
        {"--factory-url=ftp://x", "LARDER_FACTORY_URL: not"},
        {"--factory-url=http://", "LARDER_FACTORY_URL: not"},
        {"--payment-url=pay.example", "LARDER_PAYMENT_URL: not"},
        {"--auth=required", ""},
        {"--auth=Open", "LARDER_AUTH: \"Open\""},
        {"--auth=", "LARDER_AUTH: \"\""},
        {"--public-url=shop", "LARDER_PUBLIC_URL: not"},
        {"--data=", "LARDER_DATA: must name"},
        {"--host=", "LARDER_HOST: \"\" is no"},
        {"--db=postgres://x", "LARDER_DB: "},
        {"--http=exa mple:80", "LARDER_HTTP: \"exa mple"},
        {"--host=a/b", "LARDER_HOST: \"a/b\""},
        {"--host=::1", ""},
        {"--factory-url=http://:80/x", "LARDER_FACTORY_URL: not"},
        {"--factory-url=http://a:99999", "LARDER_FACTORY_URL: not"},
        {"--factory-url=http://a:b", "LARDER_FACTORY_URL: not"},
        {"--factory-url=http://u:p@a:80/x", ""},
        {"--factory-url=http://[::1]:80", ""},
        {"--factory-url=http://[::1]", ""},
        {"--factory-url=http://a?b", "LARDER_FACTORY_URL: has"},
        {"--payment-url=http://a#b", "LARDER_PAYMENT_URL: has"},
        {"--payment-url=https://a.example/v1", ""},
        {"--payment-token=a b", "LARDER_PAYMENT_TOKEN: must"},
        {"--payment-token=a-b", ""},
        {"--webhook-secret=abc", "LARDER_WEBHOOK_SECRET: must"},
        {"--webhook-secret=whsec_", "LARDER_WEBHOOK_SECRET: must"},
        {"--webhook-secret=whsec_AAAA", "LARDER_WEBHOOK_SECRET: must"},
        {"--webhook-secret=whsec_AAAAAAAAAAAAAAAAAAAAAA==", ""},
        {"--webhook-secret=whsec_AAAAAAAAAAAAAAAAAAAAAA==!", "LARDER_WEBHOOK_SECRET: must"},
        {"--webhook-secret=", ""},
    };
    return cr_make_param_array(struct check, rows, sizeof rows / sizeof rows[0]);
}

ParameterizedTest(struct check *row, settings, checks, .init = without_environment)
{
    cr_assert_eq(flags(1, (char *[]){row->flag}), ERR_ok);
    err code = settings_check(&settings, &why);
    cr_assert_eq(code, row->says[0] == '\0' ? ERR_ok : ERR_wrong_setting, "%s", row->flag);
    if (row->says[0] != '\0') {
        cr_assert_eq(strncmp(why.text, row->says, strlen(row->says)), 0, "%s", why.text);
    }
}

/* Out of a file, or of a variable that was cut badly: in each setting, and before it is asked what the value means. */
Test(settings, ends_of_lines_and_control_characters_are_refused_in_every_setting_by_its_name)
{
    static const char *const names[] = {
#define SETTING_TEXT(name, fallback, doc) #name,
#define SETTING_NUMBER(name, fallback, lo, hi, doc) #name,
#include "kit/settings/settings.def"
    };
    static const struct {
        const char *value;
        const char *says;
    } rows[] = {
        {"4000\n", "line break"}, {"4000\r\n", "line break"}, {"4000\t", "blank"},  {"40\n00", "control character"},
        {"\x1b[2J", "control"},   {"\x7f", "control"},        {"\n", "line break"}, {"4000 \n", "line break"},
        {"\xff\xfe", "UTF-8"},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
            char variable[80];
            snprintf(variable, sizeof variable, "LARDER_%s", names[i]);
            for (char *at = variable; *at != '\0'; at++) {
                *at = (char)toupper((unsigned char)*at);
            }
            setenv(variable, rows[k].value, 1);
            cr_expect_eq(settings_init(&settings, &why), ERR_wrong_setting, "%s row %zu", variable, k);
            cr_expect_eq(strncmp(why.text, variable, strlen(variable)), 0, "%s", why.text);
            cr_expect_not_null(strstr(why.text, rows[k].says), "%s", why.text);
            unsetenv(variable);
        }
    }
}

Test(settings, blanks_around_a_text_are_refused)
{
    setenv("LARDER_DATA", "var ", 1);
    cr_expect_eq(settings_init(&settings, &why), ERR_wrong_setting);
    cr_expect_str_eq(why.text, "LARDER_DATA: ends in a blank, as the text of a file does: leave it out");
    setenv("LARDER_DATA", " var", 1);
    cr_expect_eq(settings_init(&settings, &why), ERR_wrong_setting);
    cr_expect_str_eq(why.text, "LARDER_DATA: begins with a blank");
    setenv("LARDER_DATA", "my var", 1);
    cr_expect_eq(settings_init(&settings, &why), ERR_ok);
}

Test(settings, secret_is_in_no_refusal)
{
    static const char *const flags_of[] = {"--webhook-secret=whsec_s3cret", "--payment-token=s3cret s3cret",
                                           "--factory-url=http://u:s3cret@a:x"};
    for (size_t i = 0; i < sizeof flags_of / sizeof flags_of[0]; i++) {
        char flag[80];
        snprintf(flag, sizeof flag, "%s", flags_of[i]);
        cr_assert_eq(flags(1, (char *[]){flag}), ERR_ok);
        cr_expect_eq(settings_check(&settings, &why), ERR_wrong_setting);
        cr_expect_null(strstr(why.text, "s3cret"), "%s", why.text);
    }
}

Test(settings, donut_shops_password_may_have_blanks_and_no_line_break)
{
    struct db_config config;
    setenv("DATABASE", "donut", 1);
    setenv("USERNAME", "baker", 1);
    setenv("PASSWORD", " two words ", 1);
    cr_assert_eq(settings_init(&settings, &why), ERR_ok);
    cr_expect_eq(settings_db(&settings, "stock", 0, &config, &why), ERR_ok, "%s", why.text);
    cr_expect_str_eq(config.password, " two words ");
    setenv("PASSWORD", "secret\n", 1);
    cr_expect_eq(settings_db(&settings, "stock", 0, &config, &why), ERR_wrong_setting);
    cr_expect_eq(strncmp(why.text, "PASSWORD: ends in a line break", 30), 0, "%s", why.text);
    cr_expect_null(strstr(why.text, "secret"));
}

Test(settings, listening_wide_is_refused_in_an_open_house)
{
    char flag[] = "--http=0.0.0.0:8080";
    cr_assert_eq(flags(1, (char *[]){flag}), ERR_ok);
    cr_assert_eq(settings_check(&settings, &why), ERR_wrong_setting);
    cr_assert_not_null(strstr(why.text, "LARDER_AUTH=required"));
}

Test(settings, listening_wide_needs_tokens)
{
    char http[] = "--http=0.0.0.0:8080";
    char auth[] = "--auth=required";
    cr_assert_eq(flags(2, (char *[]){http, auth}), ERR_ok);
    cr_assert_eq(settings_check(&settings, &why), ERR_ok, "%s", why.text);
}

static struct db_config
config_of(const char *actor, int shard)
{
    struct db_config config;
    cr_assert_eq(settings_init(&settings, &why), ERR_ok);
    cr_assert_eq(settings_db(&settings, actor, shard, &config, &why), ERR_ok, "%s", why.text);
    return config;
}

Test(settings, database_is_a_file_in_the_data_folder_without_any)
{
    struct db_config config = config_of("stock", 2);
    cr_assert_eq(config.driver, DB_SQLITE);
    cr_assert_str_eq(config.path, "var");
    cr_assert_str_eq(config.prefix, "stock_2");
}

Test(settings, hostname_alone_changes_nothing)
{
    setenv("HOSTNAME", "db.example", 1);
    cr_assert_eq(config_of("stock", 0).driver, DB_SQLITE);
}

static void
shop(const char *hostname)
{
    setenv("DATABASE", "donut", 1);
    setenv("USERNAME", "baker", 1);
    setenv("PASSWORD", "s3cret", 1);
    if (hostname != NULL) {
        setenv("HOSTNAME", hostname, 1);
    }
}

Test(settings, donut_shops_variables_count_when_database_is_set)
{
    shop("db.example");
    struct db_config config = config_of("factory", 0);
    cr_assert_eq(config.driver, DB_MYSQL);
    cr_assert_str_eq(config.hosts, "db.example:3306");
    cr_assert_str_eq(config.name, "donut");
    cr_assert_str_eq(config.user, "baker");
    cr_assert_str_eq(config.password, "s3cret");
    cr_assert_str_eq(config.prefix, "factory_0");
}

struct host {
    char given[48];
    char becomes[48]; /* empty: refused */
};

ParameterizedTestParameters(settings, hosts)
{
    static struct host rows[] = {
        {"localhost", "127.0.0.1:3306"},
        {"localhost:3307", "127.0.0.1:3307"},
        {"LOCALHOST", "127.0.0.1:3306"},
        {"10.0.0.5:3310", "10.0.0.5:3310"},
        {"[::1]:3306", "[::1]:3306"},
        {"/run/my.sock", "unix:/run/my.sock"},
        {"db:port", ""},
        {":3306", ""},
        {"db:70000", ""},
    };
    return cr_make_param_array(struct host, rows, sizeof rows / sizeof rows[0]);
}

ParameterizedTest(struct host *row, settings, hosts, .init = without_environment)
{
    struct db_config config;
    shop(row->given);
    cr_assert_eq(settings_init(&settings, &why), ERR_ok);
    err code = settings_db(&settings, "stock", 0, &config, &why);
    cr_assert_eq(code, row->becomes[0] == '\0' ? ERR_wrong_setting : ERR_ok);
    if (row->becomes[0] == '\0') {
        cr_assert_eq(strncmp(why.text, "HOSTNAME: ", 10), 0, "%s", why.text);
    } else {
        cr_assert_str_eq(config.hosts, row->becomes);
    }
}

Test(settings, larder_db_wins_over_the_donut_shops_variables)
{
    shop("db.example");
    setenv("LARDER_DB", "mysql://root@127.0.0.1:3399/other", 1);
    struct db_config config = config_of("stock", 0);
    cr_assert_str_eq(config.name, "other");
    cr_assert_str_eq(config.user, "root");
}

Test(settings, database_without_a_user_is_refused_by_name)
{
    setenv("DATABASE", "donut", 1);
    cr_assert_eq(settings_init(&settings, &why), ERR_ok);
    cr_assert_eq(settings_check(&settings, &why), ERR_wrong_setting);
    cr_assert_str_eq(why.text, "USERNAME: must be set, because DATABASE is");
}

Test(settings, password_is_in_no_refusal)
{
    setenv("LARDER_DB", "mysql://root:s3cret@host:99999/x", 1);
    cr_assert_eq(settings_init(&settings, &why), ERR_ok);
    cr_assert_eq(settings_check(&settings, &why), ERR_wrong_setting);
    cr_assert_null(strstr(why.text, "s3cret"), "%s", why.text);
}

Test(settings, table_lists_every_setting_with_its_names)
{
    char text[32768] = "";
    FILE *out = fmemopen(text, sizeof text, "w");
    settings_print(out, 1);
    fclose(out);
#define SETTING_TEXT(name, fallback, doc) cr_assert_not_null(strstr(text, doc));
#define SETTING_NUMBER(name, fallback, lo, hi, doc) cr_assert_not_null(strstr(text, doc));
#include "kit/settings/settings.def"
    cr_assert_not_null(strstr(text, "| `LARDER_BASE_PORT` | `--base-port` | 4000 | 1024 to 20000 |"));
}
