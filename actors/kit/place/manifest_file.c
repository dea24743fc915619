/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   The manifest of a folder: its file `installation`, lines of text.
 *
 *               larder installation 1
 *               id 01a1fb17-a069-7157-aafd-eb9319d22cae
 *               begun 1795238949123
 *               adopted 0
 *               stock/0 of 1 made
 *               end
 *
 * STATE     A new text is written beside it, synced, and renamed over it; then the folder is synced. Who changes it holds flock on
 *           installation.lock, as processes and the actors of one process start side by side.
 *
 * FAILURES  A file that does not end in `end`, has a line that is none, or is of a later version is refused by its name: it is never
 *           taken for no file.
 */
#include "manifest_store.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kit/base/clock.h"

#define TEXT_MAX 8192
#define PATH_SIZE (SETTING_TEXT_MAX + 32)
#define LOCK_RETRY_MS 5
#define MEMBER_MAX 999

static err
lock(struct manifest_store *store, struct err_text *why)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "%s/installation.lock", store->config.path);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0) {
        return err_say(why, ERR_wrong_setting, "%.160s cannot be opened: %s", path, strerror(errno));
    }
    int64_t until_us = clock_steady_us() + MANIFEST_LOCK_MS * INT64_C(1000);
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int reason = errno;
        if ((reason != EWOULDBLOCK && reason != EINTR) || clock_steady_us() > until_us) {
            close(fd);
            return err_say(why, ERR_wrong_setting, "%.160s cannot be locked: %s", path,
                           reason == EWOULDBLOCK ? "another process holds it and does not go on" : strerror(reason));
        }
        (void)poll(NULL, 0, LOCK_RETRY_MS);
    }
    store->lock_fd = fd;
    return ERR_ok;
}

static err
refuse(const char *folder, const char *reason, struct err_text *why)
{
    return err_say(why, ERR_wrong_setting,
                   "%.100s/installation, which says whose the databases here are, %s: restore it from a backup", folder, reason);
}

/* Cuts the next line off; false at the end, and for a last line that is not ended. */
static bool
next_line(char **rest, char **line)
{
    char *end = strchr(*rest, '\n');
    *line = *rest;
    if (end == NULL) {
        return false;
    }
    *end = '\0';
    *rest = end + 1;
    return true;
}

/* Takes these words off the front of the text. */
static bool
take_words(const char **text, const char *words)
{
    size_t size = strlen(words);
    if (strncmp(*text, words, size) != 0) {
        return false;
    }
    *text += size;
    return true;
}

/* Takes a number of digits off the front of the text; false when there is none, or a larger one than `most`. */
static bool
take_number(const char **text, int64_t most, int64_t *number)
{
    char *end = NULL;
    if ((*text)[0] < '0' || (*text)[0] > '9') {
        return false;
    }
    errno = 0;
    *number = strtoll(*text, &end, 10);
    *text = end;
    return errno == 0 && *number <= most;
}

/* A line of these words and a number, and nothing else. */
static bool
parse_number(const char *line, const char *words, int64_t most, int64_t *number)
{
    return take_words(&line, words) && take_number(&line, most, number) && line[0] == '\0';
}

static bool
parse_entry(const char *line, struct manifest *manifest)
{
    char actor[MANIFEST_ACTOR_MAX + 1] = "";
    int64_t shard = 0;
    int64_t of = 0;
    struct err_text why;
    enum manifest_state state = MANIFEST_MADE;
    size_t size = strspn(line, "abcdefghijklmnopqrstuvwxyz");
    if (size == 0 || size > MANIFEST_ACTOR_MAX) {
        return false;
    }
    memcpy(actor, line, size);
    line += size;
    return take_words(&line, "/") && take_number(&line, MEMBER_MAX, &shard) && take_words(&line, " of ") &&
           take_number(&line, MEMBER_MAX, &of) && take_words(&line, " ") &&
           manifest_state_parse(slice_of(line), &state, &why) == ERR_ok &&
           manifest_add(manifest, actor, (int)shard, (int)of, state) != NULL;
}

static bool
parse_head(char **rest, struct manifest *manifest)
{
    struct manifest_owner *installation = &manifest->installation;
    char *line = NULL;
    int64_t adopted = 0;
    if (!next_line(rest, &line) || strncmp(line, "id ", 3) != 0 || !id_parse(line + 3, strlen(line + 3), &installation->id)) {
        return false;
    }
    if (!next_line(rest, &line) || !parse_number(line, "begun ", INT64_MAX, &installation->begun_ms)) {
        return false;
    }
    if (!next_line(rest, &line) || !parse_number(line, "adopted ", 1, &adopted)) {
        return false;
    }
    installation->is_adopted = adopted != 0;
    return true;
}

static err
parse(const char *folder, char *text, struct manifest *manifest, struct err_text *why)
{
    char *rest = text;
    char *line = NULL;
    int64_t version = 0;
    if (!next_line(&rest, &line) || !parse_number(line, "larder installation ", INT64_MAX, &version)) {
        return refuse(folder, "cannot be read", why);
    }
    if (version != MANIFEST_VERSION) {
        return err_say(why, ERR_wrong_setting, "%.100s/installation is of version %lld; this build knows %d: run a later larder",
                       folder, (long long)version, MANIFEST_VERSION);
    }
    if (!parse_head(&rest, manifest)) {
        return refuse(folder, "cannot be read", why);
    }
    while (next_line(&rest, &line)) {
        if (strcmp(line, "end") == 0) {
            return rest[0] == '\0' ? ERR_ok : refuse(folder, "goes on behind its end", why);
        }
        if (!parse_entry(line, manifest)) {
            return refuse(folder, "has a line that cannot be read", why);
        }
    }
    return refuse(folder, "has no end", why);
}

err
manifest_file_read(const char *folder, struct manifest *manifest, bool *is_there, struct err_text *why)
{
    char path[PATH_SIZE];
    char text[TEXT_MAX + 1];
    size_t size = 0;
    ssize_t got = 1;
    *manifest = (struct manifest){0};
    *is_there = false;
    snprintf(path, sizeof path, "%s/installation", folder);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT ? ERR_ok : err_say(why, ERR_wrong_setting, "%.160s cannot be opened: %s", path, strerror(errno));
    }
    while (got > 0 && size < TEXT_MAX) {
        got = read(fd, text + size, TEXT_MAX - size);
        size += got > 0 ? (size_t)got : 0;
    }
    int reason = errno;
    close(fd);
    if (got < 0) {
        return err_say(why, ERR_wrong_setting, "%.160s cannot be read: %s", path, strerror(reason));
    }
    text[size] = '\0';
    *is_there = true;
    return strlen(text) == size && size < TEXT_MAX ? parse(folder, text, manifest, why) : refuse(folder, "cannot be read", why);
}

err
manifest_file_open(struct manifest_store *store, struct manifest *manifest, bool *is_there, struct err_text *why)
{
    err code = lock(store, why);
    if (code != ERR_ok) {
        return code;
    }
    code = manifest_file_read(store->config.path, manifest, is_there, why);
    if (code != ERR_ok) {
        manifest_store_close(store);
    }
    return code;
}

static bool
write_synced(const char *path, const char *text)
{
    size_t size = strlen(text);
    size_t written = 0;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    bool is_fine = fd >= 0;
    while (is_fine && written < size) {
        ssize_t put = write(fd, text + written, size - written);
        is_fine = put > 0 || (put < 0 && errno == EINTR);
        written += put > 0 ? (size_t)put : 0;
    }
    is_fine = is_fine && fsync(fd) == 0;
    int reason = errno;
    if (fd >= 0) {
        close(fd);
    }
    errno = reason;
    return is_fine;
}

static bool
sync_folder(const char *folder)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool is_fine = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0) {
        close(fd);
    }
    return is_fine;
}

err
manifest_file_save(struct manifest_store *store, const struct manifest *manifest, struct err_text *why)
{
    char text[TEXT_MAX];
    char id[ID_TEXT_SIZE];
    char path[PATH_SIZE];
    char beside[PATH_SIZE];
    const struct manifest_owner *installation = &manifest->installation;
    id_format(&installation->id, id);
    int size = snprintf(text, sizeof text, "larder installation %d\nid %s\nbegun %lld\nadopted %d\n", MANIFEST_VERSION, id,
                        (long long)installation->begun_ms, installation->is_adopted ? 1 : 0);
    for (size_t i = 0; i < manifest->count; i++) {
        const struct manifest_entry *entry = &manifest->entries[i];
        size += snprintf(text + size, sizeof text - (size_t)size, "%s/%d of %d %s\n", entry->actor, entry->shard, entry->of,
                         manifest_state_name(entry->state));
    }
    snprintf(text + size, sizeof text - (size_t)size, "end\n");
    snprintf(path, sizeof path, "%s/installation", store->config.path);
    snprintf(beside, sizeof beside, "%s/installation.new", store->config.path);
    if (!write_synced(beside, text) || rename(beside, path) != 0 || !sync_folder(store->config.path)) {
        return err_say(why, ERR_wrong_setting, "%.160s cannot be written: %s", path, strerror(errno));
    }
    return ERR_ok;
}

void
manifest_store_close(struct manifest_store *store)
{
    if (store->lock_fd >= 0) {
        close(store->lock_fd);
        store->lock_fd = -1;
    }
    db_close(&store->db); /* the server gives its lock back */
}
