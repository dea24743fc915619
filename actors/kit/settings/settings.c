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
 *   A variable that is set but empty counts as not set, as deployment tools leave such behind; but one that would have named where the
 *   data is says that the default place is not meant, and nothing is begun there. Unknown LARDER_* variables are
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

#include <sodium.h>

#include "utf8.h"

#define NAME_MAX_SIZE 64
#define SHOWN_VALUE_MAX 60

enum setting_kind { SETTING_IS_TEXT, SETTING_IS_NUMBER, SETTING_IS_SWITCH };

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
#define SETTING_SWITCH(name, doc) {#name, SETTING_IS_SWITCH, offsetof(struct settings, name), NULL, 0, 0, 1, doc},
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

/* What is wrong in every setting: values come out of files and variables, with the ends of their lines. The value is not repeated. */
static err
check_characters(const char *given, const char *value, bool may_have_blanks, struct err_text *why)
{
    size_t size = strlen(value);
    for (const char *at = value; *at != '\0'; at++) {
        bool is_end = strspn(at, "\r\n\t ") == strlen(at);
        if (is_end && (*at != ' ' || !may_have_blanks || strpbrk(at, "\r\n\t") != NULL)) {
            return err_say(why, ERR_wrong_setting, "%s: ends in a %s, as the text of a file does: leave it out", given,
                           strpbrk(at, "\r\n") != NULL ? "line break" : "blank");
        }
        if ((unsigned char)*at < 0x20 || *at == 0x7f) {
            return err_say(why, ERR_wrong_setting, "%s: has a control character (%d) at byte %zu", given, *at,
                           (size_t)(at - value) + 1);
        }
    }
    if (value[0] == ' ' && !may_have_blanks) {
        return err_say(why, ERR_wrong_setting, "%s: begins with a blank", given);
    }
    for (size_t at = 0; at < size;) {
        size_t length = utf8_character((const uint8_t *)value + at, size - at);
        if (length == 0) {
            return err_say(why, ERR_wrong_setting, "%s: is not UTF-8 at byte %zu", given, at + 1);
        }
        at += length;
    }
    return ERR_ok;
}

static bool
is_place(const struct setting *setting)
{
    return setting->offset == offsetof(struct settings, data) || setting->offset == offsetof(struct settings, db);
}

/* `given` is the name by which the user gave it. */
static err
setting_put(struct settings *settings, const struct setting *setting, const char *given, const char *value, struct err_text *why)
{
    err code = check_characters(given, value, setting->kind == SETTING_IS_NUMBER, why);
    if (code != ERR_ok) {
        return code;
    }
    if (setting->kind == SETTING_IS_SWITCH && strcmp(value, "0") != 0 && strcmp(value, "1") != 0) {
        return err_say(why, ERR_wrong_setting, "%s: \"%.*s\" is neither 0 nor 1", given, SHOWN_VALUE_MAX, value);
    }
    settings->is_place_given = settings->is_place_given || is_place(setting);
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
    settings->is_place_given = getenv("DATABASE") != NULL;
    for (size_t i = 0; i < TABLE_COUNT; i++) {
        const struct setting *setting = &table[i];
        if (setting->kind != SETTING_IS_TEXT) {
            number_put(settings, setting, setting->fallback_number);
        } else {
            memcpy(text_at(settings, setting), setting->fallback_text, strlen(setting->fallback_text) + 1);
        }
        char name[NAME_MAX_SIZE];
        variable_name(setting, name);
        const char *value = getenv(name);
        settings->is_place_given = settings->is_place_given || (value != NULL && is_place(setting));
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
    if (setting->kind == SETTING_IS_SWITCH) {
        return setting_put(settings, setting, name, "1", why);
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

static bool
is_host(const char *host)
{
    struct in6_addr v6;
    static const char characters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
    return host[0] != '\0' && (strspn(host, characters) == strlen(host) || inet_pton(AF_INET6, host, &v6) == 1);
}

/* --- what the content of a text must be; the settings are there for what one cannot say without another --- */

/* Whoever can reach the gateway of an open house may do everything, so only this machine may reach it. */
static err
check_http(const char *name, const char *address, const struct settings *settings, struct err_text *why)
{
    char host[SETTING_TEXT_MAX];
    const char *port = NULL;
    if (!split_address(address, host, &port) || !is_port(port) || !is_host(host)) {
        return err_say(why, ERR_wrong_setting, "%s: \"%.*s\" is not ADDRESS:PORT", name, SHOWN_VALUE_MAX, address);
    }
    if (!is_loopback(host) && strcmp(settings->auth, "required") != 0) {
        return err_say(why, ERR_wrong_setting, "%s: %.*s is not a loopback address; others need credentials: LARDER_AUTH=required",
                       name, SHOWN_VALUE_MAX, host);
    }
    return ERR_ok;
}

static err
check_bind(const char *name, const char *address, const struct settings *settings, struct err_text *why)
{
    struct in_addr v4;
    (void)settings;
    if (strcasecmp(address, "localhost") != 0 && inet_pton(AF_INET, address, &v4) != 1) {
        return err_say(why, ERR_wrong_setting, "%s: \"%.*s\" is not an IPv4 address", name, SHOWN_VALUE_MAX, address);
    }
    if (!is_loopback(address)) {
        return err_say(why, ERR_wrong_setting,
                       "%s: %.*s is not a loopback address; others need credentials, and these are not there yet", name,
                       SHOWN_VALUE_MAX, address);
    }
    return ERR_ok;
}

/* HOST, HOST:PORT, [V6] or [V6]:PORT, with who signs in there before it. */
static bool
is_authority(const char *text, size_t size)
{
    char authority[SETTING_TEXT_MAX];
    char host[SETTING_TEXT_MAX];
    const char *port = NULL;
    snprintf(authority, sizeof authority, "%.*s", (int)size, text);
    const char *at = strrchr(authority, '@');
    const char *rest = at == NULL ? authority : at + 1;
    bool is_bare_v6 = rest[0] == '[' && rest[strlen(rest) - 1] == ']';
    if (strchr(rest, ':') == NULL || is_bare_v6) {
        snprintf(host, sizeof host, "%.*s", (int)(is_bare_v6 ? strlen(rest) - 2 : strlen(rest)), rest + (is_bare_v6 ? 1 : 0));
        return is_host(host);
    }
    return split_address(rest, host, &port) && is_port(port) && strcmp(port, "0") != 0 && is_host(host);
}

/* Paths are put behind it. The value is not repeated: it may hold a password. */
static err
check_url(const char *name, const char *url, const struct settings *settings, struct err_text *why)
{
    size_t scheme = strncmp(url, "http://", 7) == 0 ? 7 : strncmp(url, "https://", 8) == 0 ? 8 : 0;
    (void)settings;
    if (url[0] == '\0') {
        return ERR_ok;
    }
    if (scheme == 0) {
        return err_say(why, ERR_wrong_setting, "%s: not a URL that begins with http:// or https://", name);
    }
    if (strpbrk(url, " \"<>\\^`{|}?#") != NULL) {
        return err_say(why, ERR_wrong_setting, "%s: has a character that no address of a server has", name);
    }
    if (!is_authority(url + scheme, strcspn(url + scheme, "/"))) {
        return err_say(why, ERR_wrong_setting, "%s: not a URL with a host, and a port of 1 to 65535 if any", name);
    }
    return ERR_ok;
}

static err
check_token(const char *name, const char *token, const struct settings *settings, struct err_text *why)
{
    (void)settings;
    for (const char *at = token; *at != '\0'; at++) {
        if (*at <= ' ' || *at > '~') {
            return err_say(why, ERR_wrong_setting, "%s: must be printable characters without blanks", name);
        }
    }
    return ERR_ok;
}

/* As payment reads it, see payment_signature.c. */
static err
check_secret(const char *name, const char *secret, const struct settings *settings, struct err_text *why)
{
    static const char prefix[] = "whsec_";
    uint8_t key[64];
    size_t size = 0;
    const char *end = NULL;
    (void)settings;
    if (secret[0] == '\0') {
        return ERR_ok;
    }
    const char *base64 = secret + sizeof prefix - 1;
    bool is_good =
        strncmp(secret, prefix, sizeof prefix - 1) == 0 &&
        sodium_base642bin(key, sizeof key, base64, strlen(base64), NULL, &size, &end, sodium_base64_VARIANT_ORIGINAL) == 0 &&
        *end == '\0' && size >= 16;
    sodium_memzero(key, sizeof key);
    return is_good ? ERR_ok : err_say(why, ERR_wrong_setting, "%s: must be whsec_ and the base64 of 16 to 64 bytes", name);
}

static err
check_folder(const char *name, const char *folder, const struct settings *settings, struct err_text *why)
{
    (void)settings;
    return folder[0] != '\0' ? ERR_ok : err_say(why, ERR_wrong_setting, "%s: must name a folder", name);
}

static err
check_host(const char *name, const char *host, const struct settings *settings, struct err_text *why)
{
    (void)settings;
    return is_host(host) ? ERR_ok : err_say(why, ERR_wrong_setting, "%s: \"%.*s\" is no host", name, SHOWN_VALUE_MAX, host);
}

static err
check_db(const char *name, const char *url, const struct settings *settings, struct err_text *why)
{
    struct db_config config;
    (void)name;
    (void)url;
    return settings_db(settings, "stock", 0, &config, why);
}

static err
check_id(const char *name, const char *text, const struct settings *settings, struct err_text *why)
{
    struct id id;
    (void)settings;
    bool is_good = text[0] == '\0' || id_parse(text, strlen(text), &id);
    return is_good ? ERR_ok
                   : err_say(why, ERR_wrong_setting, "%s: \"%.*s\" is no id as `larder installation show` prints it", name,
                             SHOWN_VALUE_MAX, text);
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

static const char *const shapes[] = {"text", "json", NULL};
static const char *const levels[] = {"debug", "info", "warn", "error", NULL};
static const char *const houses[] = {"open", "required", NULL};
static const char *const places[] = {"probes", "public", NULL};

/* One row for each text: `choices`, or what looks at it. */
static const struct {
    const char *name;
    size_t offset;
    const char *const *choices;
    err (*check)(const char *name, const char *value, const struct settings *settings, struct err_text *why);
} contents[] = {
    {"LARDER_AUTH", offsetof(struct settings, auth), houses, NULL},
    {"LARDER_HTTP", offsetof(struct settings, http), NULL, check_http},
    {"LARDER_BIND", offsetof(struct settings, bind), NULL, check_bind},
    {"LARDER_HOST", offsetof(struct settings, host), NULL, check_host},
    {"LARDER_PUBLIC_URL", offsetof(struct settings, public_url), NULL, check_url},
    {"LARDER_FACTORY_URL", offsetof(struct settings, factory_url), NULL, check_url},
    {"LARDER_PAYMENT_URL", offsetof(struct settings, payment_url), NULL, check_url},
    {"LARDER_PAYMENT_TOKEN", offsetof(struct settings, payment_token), NULL, check_token},
    {"LARDER_WEBHOOK_SECRET", offsetof(struct settings, webhook_secret), NULL, check_secret},
    {"LARDER_METRICS", offsetof(struct settings, metrics), places, NULL},
    {"LARDER_LOG", offsetof(struct settings, log), shapes, NULL},
    {"LARDER_LOG_LEVEL", offsetof(struct settings, log_level), levels, NULL},
    {"LARDER_DATA", offsetof(struct settings, data), NULL, check_folder},
    {"LARDER_DB", offsetof(struct settings, db), NULL, check_db},
    {"LARDER_INSTALLATION", offsetof(struct settings, installation), NULL, check_id},
};

err
settings_check(const struct settings *settings, struct err_text *why)
{
    err code = ERR_ok;
    for (size_t i = 0; code == ERR_ok && i < sizeof contents / sizeof contents[0]; i++) {
        const char *value = (const char *)settings + contents[i].offset;
        code = contents[i].choices != NULL ? check_choice(contents[i].name, value, contents[i].choices, why)
                                           : contents[i].check(contents[i].name, value, settings, why);
    }
    return code;
}

static const char *
variable_or_empty(const char *name)
{
    const char *value = getenv(name);
    return value == NULL ? "" : value;
}

/* Copies one of the donut shop's variables; the `optional` one is the password: it may be empty, and have blanks anywhere. */
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
    err code = check_characters(name, value, optional, why);
    if (code == ERR_ok && strcmp(name, "DATABASE") == 0 && strpbrk(value, "?/") != NULL) {
        code = err_say(why, ERR_wrong_setting, "%s: has a ? or a /; it is a name, without an address or parameters", name);
    }
    if (code != ERR_ok) {
        return code;
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
    err code = check_characters("HOSTNAME", given, false, why);
    if (code != ERR_ok) {
        return code;
    }
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
    found.must_exist = found.driver == DB_MYSQL && !settings->init;
    snprintf(found.prefix, sizeof found.prefix, "%s_%d", actor, shard);
    *config = found;
    return ERR_ok;
}

static void
print_markdown(FILE *out, const struct setting *setting, const char *variable, const char *flag)
{
    if (setting->kind != SETTING_IS_TEXT) {
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
    if (setting->kind != SETTING_IS_TEXT) {
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
