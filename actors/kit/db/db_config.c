/* SPDX-License-Identifier: MPL-2.0 */
/*
 * Where a database is: reads its URL.
 *
 * PURPOSE   sqlite:FOLDER, mysql://user[:password]@host[:port][,host...]/name, mysql://user[:password]@unix(/path)/name.
 *           User, password and name may hold %XX; a password with `/`, `@` or `%` has to.
 * FAILURES  ERR_wrong_setting with a sentence that names the part and never quotes the URL, because a password may stand in any
 *           part of a URL that was mistyped.
 * LIMITS    No parameters: what stands behind a `?` would else be part of the database's name, and one of that name be made. Ports
 *           1..65535; an IPv6 address stands in brackets. The prefix is not in the URL: the caller sets it.
 */
#include "db.h"

#include <ctype.h>
#include <string.h>

#define SHAPE "sqlite:FOLDER or mysql://user[:password]@host[:port][,host...]/name"

static int
hex_value(char digit)
{
    if (isdigit((unsigned char)digit)) {
        return digit - '0';
    }
    int lower = tolower((unsigned char)digit);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* Copies `from` with %XX decoded; false when it does not fit, is cut short or holds a NUL. */
static bool
copy_decoded(struct slice from, char *to, size_t capacity)
{
    size_t length = 0;
    for (size_t i = 0; i < from.size; i++) {
        int value = from.data[i];
        if (value == '%') {
            if (i + 2 >= from.size) {
                return false;
            }
            int high = hex_value((char)from.data[i + 1]);
            int low = hex_value((char)from.data[i + 2]);
            if (high < 0 || low < 0) {
                return false;
            }
            value = high * 16 + low;
            i += 2;
        }
        if (value == 0 || length + 1 >= capacity) {
            return false;
        }
        to[length++] = (char)value;
    }
    to[length] = '\0';
    return true;
}

static bool
copy_plain(struct slice from, char *to, size_t capacity)
{
    if (from.size >= capacity) {
        return false;
    }
    memcpy(to, from.data, from.size);
    to[from.size] = '\0';
    return true;
}

/* Cuts `text` at the first `end`: what stands before it is returned, `text` goes on behind it. */
static struct slice
cut(struct slice *text, char end)
{
    struct slice head = *text;
    const uint8_t *found = text->size > 0 ? memchr(text->data, end, text->size) : NULL;
    if (found == NULL) {
        *text = (struct slice){text->data + text->size, 0};
        return head;
    }
    head.size = (size_t)(found - text->data);
    *text = (struct slice){found + 1, text->size - head.size - 1};
    return head;
}

static bool
is_port(struct slice text)
{
    long port = 0;
    for (size_t i = 0; i < text.size; i++) {
        if (!isdigit(text.data[i]) || port > 65535) {
            return false;
        }
        port = port * 10 + (text.data[i] - '0');
    }
    return text.size > 0 && port >= 1 && port <= 65535;
}

static bool
is_host(struct slice text)
{
    struct slice rest = text;
    if (text.size > 0 && text.data[0] == '[') {
        struct slice address = cut(&rest, ']');
        bool is_closed = address.size < text.size;
        bool has_port = rest.size > 0 && rest.data[0] == ':';
        return is_closed && address.size > 1 && (has_port ? is_port((struct slice){rest.data + 1, rest.size - 1}) : rest.size == 0);
    }
    struct slice host = cut(&rest, ':');
    bool has_port = host.size < text.size;
    return host.size > 0 && (!has_port || is_port(rest));
}

static err
parse_hosts(struct slice hosts, struct db_config *config, struct err_text *why)
{
    struct slice rest = hosts;
    struct slice host;
    do {
        host = cut(&rest, ',');
        if (!is_host(host)) {
            return err_say(why, ERR_wrong_setting, "the database URL: a host has to be host or host:port, with a port of 1 to 65535");
        }
    } while (host.data + host.size < hosts.data + hosts.size);
    if (!copy_plain(hosts, config->hosts, sizeof config->hosts)) {
        return err_say(why, ERR_wrong_setting, "the database URL: the list of hosts is too long");
    }
    return ERR_ok;
}

static err
parse_login(struct slice login, struct db_config *config, struct err_text *why)
{
    struct slice password = login;
    struct slice user = cut(&password, ':');
    if (user.size == 0 || !copy_decoded(user, config->user, sizeof config->user)) {
        return err_say(why, ERR_wrong_setting,
                       "the database URL: it needs a user before the @, at most %zu bytes, with %%XX for special characters",
                       sizeof config->user - 1);
    }
    if (!copy_decoded(password, config->password, sizeof config->password)) {
        return err_say(why, ERR_wrong_setting, "the database URL: the password has at most %zu bytes, and %%XX for special characters",
                       sizeof config->password - 1);
    }
    return ERR_ok;
}

static err
refuse_parameters(struct err_text *why)
{
    return err_say(why, ERR_wrong_setting,
                   "the database URL: parameters behind a ? are not known here; leave them out (a ? that is meant is "
                   "written %%3F)");
}

static bool
has_parameters(struct slice text)
{
    return text.size > 0 && memchr(text.data, '?', text.size) != NULL;
}

static err
parse_name(struct slice name, struct db_config *config, struct err_text *why)
{
    if (has_parameters(name)) {
        return refuse_parameters(why);
    }
    if (name.size == 0) {
        return err_say(why, ERR_wrong_setting, "the database URL: it names no database; write %s", SHAPE);
    }
    if (memchr(name.data, '/', name.size) != NULL || !copy_decoded(name, config->name, DB_NAME_MAX + 1)) {
        return err_say(why, ERR_wrong_setting, "the database URL: the name of the database has at most %d bytes and no slash",
                       DB_NAME_MAX);
    }
    return ERR_ok;
}

/* What stands behind `login@unix(`. */
static err
parse_socket(struct slice rest, struct db_config *config, struct err_text *why)
{
    static const char scheme[] = "unix:";
    struct slice path = cut(&rest, ')');
    memcpy(config->hosts, scheme, sizeof scheme - 1);
    if (path.size == 0 || path.data[0] != '/' || memchr(path.data, ',', path.size) != NULL || rest.size == 0 || rest.data[0] != '/' ||
        !copy_plain(path, config->hosts + sizeof scheme - 1, sizeof config->hosts - (sizeof scheme - 1))) {
        return err_say(why, ERR_wrong_setting, "the database URL: a socket is written unix(/path/to/socket)/name");
    }
    return parse_name((struct slice){rest.data + 1, rest.size - 1}, config, why);
}

static err
parse_mysql(const char *text, struct db_config *config, struct err_text *why)
{
    static const char mark[] = "@unix(";
    const char *socket = strstr(text, mark);
    struct slice all = slice_of(text);
    struct slice login;
    if (socket != NULL) {
        login = (struct slice){all.data, (size_t)(socket - text)};
    } else {
        struct slice behind = all;
        struct slice authority = cut(&behind, '/');
        login = cut(&authority, '@');
        if (login.data + login.size == authority.data + authority.size || authority.size == 0) {
            return err_say(why, ERR_wrong_setting, "the database URL: it needs user@host; write %s", SHAPE);
        }
        err code = has_parameters(authority) ? refuse_parameters(why) : parse_hosts(authority, config, why);
        if (code == ERR_ok) {
            code = parse_name(behind, config, why);
        }
        if (code != ERR_ok) {
            return code;
        }
    }
    err code = parse_login(login, config, why);
    if (code == ERR_ok && socket != NULL) {
        code = parse_socket(slice_of(socket + sizeof mark - 1), config, why);
    }
    return code;
}

err
db_config_parse(const char *url, struct db_config *config, struct err_text *why)
{
    static const char sqlite[] = "sqlite:";
    static const char mysql[] = "mysql://";
    memset(config, 0, sizeof *config);
    if (strncmp(url, sqlite, sizeof sqlite - 1) == 0) {
        struct slice folder = slice_of(url + sizeof sqlite - 1);
        config->driver = DB_SQLITE;
        if (has_parameters(folder)) {
            return refuse_parameters(why);
        }
        if (folder.size == 0 || !copy_plain(folder, config->path, sizeof config->path)) {
            return err_say(why, ERR_wrong_setting, "the database URL: sqlite: needs a folder of at most %zu bytes",
                           sizeof config->path - 1);
        }
        return ERR_ok;
    }
    if (strncmp(url, mysql, sizeof mysql - 1) == 0) {
        config->driver = DB_MYSQL;
        return parse_mysql(url + sizeof mysql - 1, config, why);
    }
    return err_say(why, ERR_wrong_setting, "the database URL: it has to be %s", SHAPE);
}
