/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Reads settings.def into a struct: defaults, then LARDER_NAME from the environment, then --name from the command line; checks
 *   each; finds the database.
 *
 * FAILURES
 *   ERR_wrong_setting, with a sentence that begins with the name as it was given (LARDER_BASE_PORT or --base-port) and says the
 *   value and the bounds. A value that may hold a password is never repeated.
 *
 * LIMITS
 *   A variable that is set but empty counts as not set, as deployment tools leave such behind. Unknown LARDER_* variables are
 *   passed over: Kubernetes makes some of the names of services. Unknown flags are refused.
 *   The donut shop's HOSTNAME USERNAME PASSWORD DATABASE are only looked at when DATABASE is set: every container has a HOSTNAME.
 */
#include "settings.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define NAME_MAX_SIZE 64
#define SHOWN_VALUE_MAX 60

enum setting_kind { SETTING_IS_TEXT, SETTING_IS_NUMBER };

struct setting {
    const char *name; /* base_port */
    enum setting_kind kind;
    size_t offset;
    const char *fallback_text;
    int64_t fallback_number;
    int64_t lo;
    int64_t hi;
    const char *doc;
};

static const struct setting table[] = {
#define SETTING_TEXT(name, fallback, doc) {#name, SETTING_IS_TEXT, offsetof(struct settings, name), fallback, 0, 0, 0, doc},
#define SETTING_NUMBER(name, fallback, lo, hi, doc) \
    {#name, SETTING_IS_NUMBER, offsetof(struct settings, name), NULL, fallback, lo, hi, doc},
#include "settings.def"
};

#define TABLE_COUNT (sizeof table / sizeof table[0])

static void
variable_name(const struct setting *setting, char name[NAME_MAX_SIZE])
{
    snprintf(name, NAME_MAX_SIZE, "LARDER_%s", setting->name);
    for (char *at = name; *at != '\0'; at++) {
        *at = (char)toupper((unsigned char)*at);
    }
}

static void
flag_name(const struct setting *setting, char name[NAME_MAX_SIZE])
{
    snprintf(name, NAME_MAX_SIZE, "--%s", setting->name);
    for (char *at = name; *at != '\0'; at++) {
        if (*at == '_') {
            *at = '-';
        }
    }
}

static bool
parse_number(const char *text, int64_t *number)
{
    const char *digits = text + (text[0] == '-' ? 1 : 0);
    if (digits[0] == '\0' || strspn(digits, "0123456789") != strlen(digits)) {
        return false;
    }
    errno = 0;
    long long value = strtoll(text, NULL, 10);
    if (errno != 0) {
        return false;
    }
    *number = value;
    return true;
}

static char *
text_at(struct settings *settings, const struct setting *setting)
{
    return (char *)settings + setting->offset;
}

static void
number_put(struct settings *settings, const struct setting *setting, int64_t number)
{
    memcpy((char *)settings + setting->offset, &number, sizeof number);
}

/* `given` is the name by which the user gave it. */
static err
setting_put(struct settings *settings, const struct setting *setting, const char *given, const char *value, struct err_text *why)
{
    if (setting->kind == SETTING_IS_TEXT) {
        if (strlen(value) >= SETTING_TEXT_MAX) {
            return err_say(why, ERR_wrong_setting, "%s: longer than %d bytes", given, SETTING_TEXT_MAX - 1);
        }
        memset(text_at(settings, setting), 0, SETTING_TEXT_MAX);
        memcpy(text_at(settings, setting), value, strlen(value));
        return ERR_ok;
    }
    int64_t number = 0;
    if (!parse_number(value, &number) || number < setting->lo || number > setting->hi) {
        return err_say(why, ERR_wrong_setting, "%s: \"%.*s\" is not a whole number from %lld to %lld", given, SHOWN_VALUE_MAX, value,
                       (long long)setting->lo, (long long)setting->hi);
    }
    number_put(settings, setting, number);
    return ERR_ok;
}

err
settings_init(struct settings *settings, struct err_text *why)
{
    memset(settings, 0, sizeof *settings);
    for (size_t i = 0; i < TABLE_COUNT; i++) {
        const struct setting *setting = &table[i];
        if (setting->kind == SETTING_IS_NUMBER) {
            number_put(settings, setting, setting->fallback_number);
        } else {
            memcpy(text_at(settings, setting), setting->fallback_text, strlen(setting->fallback_text) + 1);
        }
        char name[NAME_MAX_SIZE];
        variable_name(setting, name);
        const char *value = getenv(name);
        if (value == NULL || value[0] == '\0') {
            continue;
        }
        err code = setting_put(settings, setting, name, value, why);
        if (code != ERR_ok) {
            return code;
        }
    }
    return ERR_ok;
}

static const struct setting *
flag_find(const char *argument, size_t size, char name[NAME_MAX_SIZE])
{
    for (size_t i = 0; i < TABLE_COUNT; i++) {
        flag_name(&table[i], name);
        if (strlen(name) == size && memcmp(name, argument, size) == 0) {
            return &table[i];
        }
    }
    return NULL;
}

/* Takes the flag at argv[*at], and its value when that is an argument of its own; *at then stands on the last one taken. */
static err
flag_take(struct settings *settings, int *at, int argc, char **argv, struct err_text *why)
{
    const char *argument = argv[*at];
    size_t size = strcspn(argument, "=");
    char name[NAME_MAX_SIZE];
    const struct setting *setting = flag_find(argument, size, name);
    if (setting == NULL) {
        int shown = size < SHOWN_VALUE_MAX ? (int)size : SHOWN_VALUE_MAX;
        return err_say(why, ERR_wrong_setting, "%.*s: there is no such flag", shown, argument);
    }
    if (argument[size] == '=') {
        return setting_put(settings, setting, name, argument + size + 1, why);
    }
    if (*at + 1 >= argc) {
        return err_say(why, ERR_wrong_setting, "%s: a value must follow", name);
    }
    *at += 1;
    return setting_put(settings, setting, name, argv[*at], why);
}

err
settings_flags(struct settings *settings, int *argc, char **argv, struct err_text *why)
{
    int kept = 0;
    bool are_flags_over = false;
    for (int at = 0; at < *argc; at++) {
        bool is_flag = !are_flags_over && argv[at][0] == '-' && argv[at][1] != '\0';
        if (!is_flag) {
            argv[kept++] = argv[at];
            continue;
        }
        if (strcmp(argv[at], "--") == 0) {
            are_flags_over = true;
            continue;
        }
        err code = flag_take(settings, &at, *argc, argv, why);
        if (code != ERR_ok) {
            return code;
        }
    }
    *argc = kept;
    return ERR_ok;
}

static bool
is_loopback(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (strcasecmp(host, "localhost") == 0) {
        return true;
    }
    if (inet_pton(AF_INET, host, &v4) == 1) {
        return ntohl(v4.s_addr) >> 24 == 127;
    }
    return inet_pton(AF_INET6, host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

static bool
is_port(const char *text)
{
    int64_t port = 0;
    return parse_number(text, &port) && port >= 0 && port <= 65535;
}

/* Splits HOST:PORT or [HOST]:PORT; false when it is neither. */
static bool
split_address(const char *text, char host[SETTING_TEXT_MAX], const char **port)
{
    const char *colon = strrchr(text, ':');
    if (colon == NULL || colon == text) {
        return false;
    }
    size_t size = (size_t)(colon - text);
    bool is_bracketed = text[0] == '[' && text[size - 1] == ']' && size > 2;
    if (!is_bracketed && memchr(text, ':', size) != NULL) {
        return false;
    }
    memcpy(host, is_bracketed ? text + 1 : text, is_bracketed ? size - 2 : size);
    host[is_bracketed ? size - 2 : size] = '\0';
    *port = colon + 1;
    return true;
}

/* Whoever can reach the gateway of an open house may do everything, so only this machine may reach it. */
static err
check_http(const char *address, const char *auth, struct err_text *why)
{
    char host[SETTING_TEXT_MAX];
    const char *port = NULL;
    if (!split_address(address, host, &port) || !is_port(port)) {
        return err_say(why, ERR_wrong_setting, "LARDER_HTTP: \"%.*s\" is not ADDRESS:PORT", SHOWN_VALUE_MAX, address);
    }
    if (!is_loopback(host) && strcmp(auth, "required") != 0) {
        return err_say(why, ERR_wrong_setting,
                       "LARDER_HTTP: %.*s is not a loopback address; others need credentials: LARDER_AUTH=required", SHOWN_VALUE_MAX,
                       host);
    }
    return ERR_ok;
}

static err
check_bind(const char *address, struct err_text *why)
{
    struct in_addr v4;
    if (strcasecmp(address, "localhost") != 0 && inet_pton(AF_INET, address, &v4) != 1) {
        return err_say(why, ERR_wrong_setting, "LARDER_BIND: \"%.*s\" is not an IPv4 address", SHOWN_VALUE_MAX, address);
    }
    if (!is_loopback(address)) {
        return err_say(why, ERR_wrong_setting,
                       "LARDER_BIND: %.*s is not a loopback address; others need credentials, and these are not there yet",
                       SHOWN_VALUE_MAX, address);
    }
    return ERR_ok;
}

static err
check_url(const char *name, const char *url, struct err_text *why)
{
    size_t scheme = 0;
    if (strncmp(url, "http://", 7) == 0) {
        scheme = 7;
    } else if (strncmp(url, "https://", 8) == 0) {
        scheme = 8;
    }
    if (url[0] == '\0' || (scheme > 0 && url[scheme] != '\0' && url[scheme] != '/' && strpbrk(url, " \t\r\n\"") == NULL)) {
        return ERR_ok;
    }
    return err_say(why, ERR_wrong_setting, "%s: not a URL that begins with http:// or https://", name);
}

static err
check_choice(const char *name, const char *value, const char *const *choices, struct err_text *why)
{
    char all[80] = "";
    for (const char *const *choice = choices; *choice != NULL; choice++) {
        if (strcmp(*choice, value) == 0) {
            return ERR_ok;
        }
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", all[0] == '\0' ? "" : ", ", *choice);
    }
    return err_say(why, ERR_wrong_setting, "%s: \"%.*s\" is none of %s", name, SHOWN_VALUE_MAX, value, all);
}

err
settings_check(const struct settings *settings, struct err_text *why)
{
    static const char *const shapes[] = {"text", "json", NULL};
    static const char *const levels[] = {"debug", "info", "warn", "error", NULL};
    static const char *const houses[] = {"open", "required", NULL};
    err code = check_choice("LARDER_AUTH", settings->auth, houses, why);
    if (code == ERR_ok) {
        code = check_http(settings->http, settings->auth, why);
    }
    if (code == ERR_ok) {
        code = check_bind(settings->bind, why);
    }
    if (code == ERR_ok) {
        code = check_url("LARDER_PUBLIC_URL", settings->public_url, why);
    }
    if (code == ERR_ok) {
        code = check_url("LARDER_FACTORY_URL", settings->factory_url, why);
    }
    if (code == ERR_ok) {
        code = check_url("LARDER_PAYMENT_URL", settings->payment_url, why);
    }
    if (code == ERR_ok) {
        code = check_choice("LARDER_LOG", settings->log, shapes, why);
    }
    if (code == ERR_ok) {
        code = check_choice("LARDER_LOG_LEVEL", settings->log_level, levels, why);
    }
    if (code == ERR_ok && settings->data[0] == '\0') {
        code = err_say(why, ERR_wrong_setting, "LARDER_DATA: must name a folder");
    }
    if (code == ERR_ok && (settings->host[0] == '\0' || strpbrk(settings->host, " /") != NULL)) {
        code = err_say(why, ERR_wrong_setting, "LARDER_HOST: \"%.*s\" is no host", SHOWN_VALUE_MAX, settings->host);
    }
    if (code == ERR_ok) {
        struct db_config config;
        code = settings_db(settings, "stock", 0, &config, why);
    }
    return code;
}

static const char *
variable_or_empty(const char *name)
{
    const char *value = getenv(name);
    return value == NULL ? "" : value;
}

/* Copies one of the donut shop's variables; `optional` ones may be empty. */
static err
shop_copy(const char *name, char *target, size_t size, bool optional, struct err_text *why)
{
    const char *value = variable_or_empty(name);
    if (value[0] == '\0' && !optional) {
        return err_say(why, ERR_wrong_setting, "%s: must be set, because DATABASE is", name);
    }
    if (strlen(value) >= size) {
        return err_say(why, ERR_wrong_setting, "%s: longer than %zu bytes", name, size - 1);
    }
    memcpy(target, value, strlen(value) + 1);
    return ERR_ok;
}

/* HOST, HOST:PORT or the path of a socket. libmysqlclient takes "localhost" for the socket whatever port is given, and the donut
 * shop's driver did not. */
static err
shop_host(struct db_config *config, struct err_text *why)
{
    const char *given = variable_or_empty("HOSTNAME");
    if (given[0] == '\0') {
        given = "127.0.0.1";
    }
    char host[SETTING_TEXT_MAX];
    if (strlen(given) >= sizeof host - 16) {
        return err_say(why, ERR_wrong_setting, "HOSTNAME: longer than %zu bytes", sizeof host - 17);
    }
    if (given[0] == '/' || strncmp(given, "unix:", 5) == 0) {
        snprintf(config->hosts, sizeof config->hosts, "%s%s", given[0] == '/' ? "unix:" : "", given);
        return ERR_ok;
    }
    const char *port = "3306";
    if (strchr(given, ':') == NULL) {
        snprintf(host, sizeof host, "%s", given);
    } else if (!split_address(given, host, &port) || !is_port(port)) {
        return err_say(why, ERR_wrong_setting, "HOSTNAME: \"%.*s\" is neither HOST nor HOST:PORT", SHOWN_VALUE_MAX, given);
    }
    const char *shown = strcasecmp(host, "localhost") == 0 ? "127.0.0.1" : host;
    bool is_v6 = strchr(shown, ':') != NULL;
    snprintf(config->hosts, sizeof config->hosts, "%s%.480s%s:%s", is_v6 ? "[" : "", shown, is_v6 ? "]" : "", port);
    return ERR_ok;
}

static err
shop_config(struct db_config *config, struct err_text *why)
{
    config->driver = DB_MYSQL;
    err code = shop_copy("DATABASE", config->name, sizeof config->name, false, why);
    if (code == ERR_ok) {
        code = shop_copy("USERNAME", config->user, sizeof config->user, false, why);
    }
    if (code == ERR_ok) {
        code = shop_copy("PASSWORD", config->password, sizeof config->password, true, why);
    }
    return code == ERR_ok ? shop_host(config, why) : code;
}

err
settings_db(const struct settings *settings, const char *actor, int shard, struct db_config *config, struct err_text *why)
{
    struct db_config found;
    memset(&found, 0, sizeof found);
    err code = ERR_ok;
    if (settings->db[0] != '\0') {
        struct err_text reason;
        code = db_config_parse(settings->db, &found, &reason);
        if (code != ERR_ok) {
            return err_say(why, code, "LARDER_DB: %s", reason.text);
        }
    } else if (variable_or_empty("DATABASE")[0] != '\0') {
        code = shop_config(&found, why);
    } else {
        found.driver = DB_SQLITE;
        snprintf(found.path, sizeof found.path, "%s", settings->data);
    }
    if (code != ERR_ok) {
        return code;
    }
    snprintf(found.prefix, sizeof found.prefix, "%s_%d", actor, shard);
    *config = found;
    return ERR_ok;
}

static void
print_markdown(FILE *out, const struct setting *setting, const char *variable, const char *flag)
{
    if (setting->kind == SETTING_IS_NUMBER) {
        fprintf(out, "| `%s` | `%s` | %lld | %lld to %lld | %s |\n", variable, flag, (long long)setting->fallback_number,
                (long long)setting->lo, (long long)setting->hi, setting->doc);
        return;
    }
    bool is_empty = setting->fallback_text[0] == '\0';
    fprintf(out, "| `%s` | `%s` | %s%s%s | | %s |\n", variable, flag, is_empty ? "" : "`", setting->fallback_text, is_empty ? "" : "`",
            setting->doc);
}

static void
print_column(FILE *out, const struct setting *setting, const char *variable, const char *flag)
{
    fprintf(out, "  %-22s %s\n", flag, setting->doc);
    if (setting->kind == SETTING_IS_NUMBER) {
        fprintf(out, "  %-22s   %s, %lld to %lld, default %lld\n", "", variable, (long long)setting->lo, (long long)setting->hi,
                (long long)setting->fallback_number);
    } else {
        fprintf(out, "  %-22s   %s, default %s\n", "", variable, setting->fallback_text[0] == '\0' ? "none" : setting->fallback_text);
    }
}

void
settings_print(FILE *out, int markdown)
{
    if (markdown != 0) {
        fprintf(out, "| variable | flag | default | bounds | what it says |\n| --- | --- | --- | --- | --- |\n");
    }
    for (size_t i = 0; i < TABLE_COUNT; i++) {
        char variable[NAME_MAX_SIZE];
        char flag[NAME_MAX_SIZE];
        variable_name(&table[i], variable);
        flag_name(&table[i], flag);
        if (markdown != 0) {
            print_markdown(out, &table[i], variable, flag);
        } else {
            print_column(out, &table[i], variable, flag);
        }
    }
}
