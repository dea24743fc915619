/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   One epoll descriptor for everything that can wake a loop.
 * FAILURES  A descriptor that cannot be added is our own bug and asserts; an interrupted wait returns with nothing ready.
 * LIMITS    EVENTS_MAX sources are reported at a time; the others are found by the next wait.
 */
#include "wakeup.h"

#include <assert.h>
#include <limits.h>
#include <stddef.h>
#include <sys/epoll.h>

#include <zmq.h>

enum { EVENTS_MAX = 32 };

int
wakeup_open(void)
{
    int fd = epoll_create1(EPOLL_CLOEXEC);
    assert(fd >= 0);
    return fd;
}

static void
add(int wakeup_fd, struct wake_source *source, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = source};
    int code = epoll_ctl(wakeup_fd, EPOLL_CTL_ADD, fd, &event);
    assert(code == 0);
}

void
wakeup_add_socket(int wakeup_fd, struct wake_source *source, void *socket)
{
    int fd = -1;
    size_t size = sizeof fd;
    int code = zmq_getsockopt(socket, ZMQ_FD, &fd, &size);
    assert(code == 0);
    source->is_ready = true;
    add(wakeup_fd, source, fd, EPOLLIN | EPOLLET);
}

void
wakeup_add_fd(int wakeup_fd, struct wake_source *source, int fd)
{
    add(wakeup_fd, source, fd, EPOLLIN);
}

void
wakeup_wait(int wakeup_fd, int64_t timeout_ms)
{
    struct epoll_event events[EVENTS_MAX];
    int count = epoll_wait(wakeup_fd, events, EVENTS_MAX, timeout_ms > INT_MAX ? INT_MAX : (int)timeout_ms);
    for (int i = 0; i < count; i++) {
        struct wake_source *source = events[i].data.ptr;
        source->is_ready = true;
    }
}
