/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Room for letters when the disk is full: a file of reserve_mib beside the SQLite file, given free when a commit finds no
 *           space, and made again when there is space for twice of it. And the bounds of letters_max.
 *
 * STATE     FOLDER/dlq_reserve, allocated and never written. On a server, or with reserve_mib 0, there is none.
 *
 * FAILURES  A reserve that cannot be made is told once in the log, and the dlq takes only burials until it can: its letters are what
 *           nobody may lose, requests handed over can be refused.
 *
 * LIMITS    The last tenth of letters_max is for burials. Where the file system does not allocate (one that compresses or copies on
 *           write), the reserve may be less than it seems.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "dlq_state.h"
#include "kit/telemetry/log.h"
#include "kit/base/memory.h"

#define BYTES_PER_MIB (INT64_C(1024) * 1024)

struct dlq_room {
    char path[640]; /* "": there is no reserve to keep */
    char folder[512];
    int64_t size;
    int64_t letters_max;
    bool is_there;
    bool is_told;
};

static bool
has_space(const struct dlq_room *room)
{
    struct statvfs disk;
    if (statvfs(room->folder, &disk) != 0) {
        return false;
    }
    return (uint64_t)disk.f_bavail * disk.f_frsize >= 2 * (uint64_t)room->size;
}

/* Of the size that it must have, on disk. */
static bool
is_made(const struct dlq_room *room)
{
    struct stat file;
    return stat(room->path, &file) == 0 && file.st_size == room->size && (int64_t)file.st_blocks * 512 >= room->size;
}

static int
make(const struct dlq_room *room)
{
    if (!has_space(room)) {
        return ENOSPC;
    }
    int fd = open(room->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (fd < 0) {
        return errno;
    }
    int failure = posix_fallocate(fd, 0, (off_t)room->size);
    (void)close(fd);
    if (failure != 0) {
        (void)unlink(room->path);
    }
    return failure;
}

struct dlq_room *
dlq_room_create(const struct settings *settings, const struct actor *actor)
{
    struct dlq_room *room = memory_new(1, sizeof *room);
    struct db_config config;
    struct err_text why;
    room->letters_max = settings->letters_max;
    room->size = settings->reserve_mib * BYTES_PER_MIB;
    err code = settings_db(settings, "dlq", actor_shard(actor), &config, &why);
    if (code == ERR_ok && config.driver == DB_SQLITE && room->size > 0) {
        (void)snprintf(room->folder, sizeof room->folder, "%s", config.path);
        (void)snprintf(room->path, sizeof room->path, "%s/dlq_reserve", config.path);
        room->is_there = is_made(room);
        dlq_room_tick(room);
    }
    return room;
}

void
dlq_room_destroy(struct dlq_room **room)
{
    free(*room);
    *room = NULL;
}

bool
dlq_room_release(struct dlq_room *room)
{
    if (!room->is_there) {
        return false;
    }
    room->is_there = false;
    room->is_told = true;
    if (unlink(room->path) != 0) {
        log_error("reserve_not_released", LOG_TEXT("path", room->path), LOG_I64("errno", errno));
        return false;
    }
    log_error("reserve_released", LOG_TEXT("path", room->path), LOG_I64("bytes", room->size));
    return true;
}

void
dlq_room_tick(struct dlq_room *room)
{
    if (room->path[0] == '\0' || room->is_there) {
        return;
    }
    int failure = make(room);
    room->is_there = failure == 0;
    if (failure != 0 && !room->is_told) {
        room->is_told = true;
        log_error("no_reserve", LOG_TEXT("path", room->path), LOG_I64("bytes", room->size), LOG_I64("errno", failure));
    } else if (failure == 0 && room->is_told) {
        room->is_told = false;
        log_info("reserve_made_again", LOG_TEXT("path", room->path), LOG_I64("bytes", room->size));
    }
}

bool
dlq_room_is_short(const struct dlq_room *room, int64_t letters)
{
    bool is_reserve_used = room->path[0] != '\0' && !room->is_there;
    return is_reserve_used || letters >= room->letters_max - room->letters_max / 10;
}

bool
dlq_room_is_full(const struct dlq_room *room, int64_t letters)
{
    return letters >= room->letters_max;
}
