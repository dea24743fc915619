/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Counts the bytes of large answers that libzmq holds for a peer: it counts messages alone, and a thousand pages of a
 *           peer that reads nothing are hundreds of megabytes.
 *
 * STATE     An account for each peer that something large is on its way to, found by its routing id. An answer holds a reference
 *           to its account until libzmq frees it, in its I/O thread: because it was sent, or because the peer has left.
 *
 * FAILURES  Over its bound a peer gets no further large answer: the caller counts it as dropped, and the client asks again under
 *           the same id, as for any reply that did not fit.
 *
 * LIMITS    Those of the header. Bytes in the kernel's buffers are not counted.
 */
#include "unread.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "kit/base/memory.h"

enum { PEER_ID_MAX = 255, BUCKETS = 256 };

/* `held` counts bytes, and OWNED as long as the account is in the table; who brings it to 0 frees it. */
#define OWNED (INT64_C(1) << 60)

struct account {
    _Atomic int64_t held;
    struct account *next; /* of its bucket */
    size_t size;
    uint8_t peer[PEER_ID_MAX];
};

struct unread {
    struct account *buckets[BUCKETS];
};

/* A body on its way. */
struct parcel {
    struct account *account;
    int64_t size;
    uint8_t bytes[];
};

static _Atomic int64_t held_by_all;

struct unread *
unread_create(void)
{
    struct unread *unread = memory_new(1, sizeof *unread);
    return unread;
}

static void
give_back(struct account *account, int64_t what)
{
    if (atomic_fetch_sub(&account->held, what) == what) {
        free(account);
    }
}

void
unread_destroy(struct unread **unread)
{
    if (*unread == NULL) {
        return;
    }
    for (size_t i = 0; i < BUCKETS; i++) {
        struct account *next = NULL;
        for (struct account *account = (*unread)->buckets[i]; account != NULL; account = next) {
            next = account->next;
            give_back(account, OWNED);
        }
    }
    free(*unread);
    *unread = NULL;
}

/* In libzmq's thread. */
static void
free_parcel(void *bytes, void *hint)
{
    struct parcel *parcel = hint;
    (void)bytes;
    atomic_fetch_sub(&held_by_all, parcel->size);
    give_back(parcel->account, parcel->size);
    free(parcel);
}

/* Of this peer; those in its bucket that hold nothing any more go. */
static struct account *
account_of(struct unread *unread, struct slice peer)
{
    uint32_t hash = 2166136261U;
    for (size_t i = 0; i < peer.size; i++) {
        hash = (hash ^ peer.data[i]) * 16777619U;
    }
    struct account **at = &unread->buckets[hash % BUCKETS];
    while (*at != NULL) {
        struct account *account = *at;
        if (account->size == peer.size && memcmp(account->peer, peer.data, peer.size) == 0) {
            return account;
        }
        if (atomic_load(&account->held) == OWNED) {
            *at = account->next;
            give_back(account, OWNED);
        } else {
            at = &account->next;
        }
    }
    struct account *made = memory_new(1, sizeof *made);
    atomic_init(&made->held, OWNED);
    made->size = peer.size;
    memcpy(made->peer, peer.data, peer.size);
    *at = made;
    return made;
}

static bool
is_over(struct account *account, int64_t more)
{
    int64_t held = atomic_load(&account->held) - OWNED + more;
    return held > UNREAD_PEER_MAX || (held > UNREAD_LEAST_MAX && atomic_load(&held_by_all) + more > UNREAD_ALL_MAX);
}

/* The routing id has no metadata when libzmq has read ahead; the header always has, of a peer on tcp. */
static bool
is_counted(struct message *request, struct slice body)
{
    return body.size >= UNREAD_LARGE && request->has_frames && request->envelope_count > 0 &&
           zmq_msg_size(&request->envelope[0]) <= PEER_ID_MAX && zmq_msg_gets(&request->header, "Peer-Address") != NULL;
}

enum message_sent
unread_reply(struct unread *unread, void *socket, struct message *request, struct slice header, struct slice body)
{
    if (!is_counted(request, body)) {
        return message_reply(socket, request, header, body);
    }
    struct slice peer = {zmq_msg_data(&request->envelope[0]), zmq_msg_size(&request->envelope[0])};
    struct account *account = account_of(unread, peer);
    int64_t size = (int64_t)body.size;
    if (is_over(account, size)) {
        return MESSAGE_FULL;
    }
    struct parcel *parcel = memory_room(sizeof *parcel + body.size);
    *parcel = (struct parcel){.account = account, .size = size};
    memcpy(parcel->bytes, body.data, body.size);
    atomic_fetch_add(&account->held, size);
    atomic_fetch_add(&held_by_all, size);
    zmq_msg_t frame;
    if (zmq_msg_init_data(&frame, parcel->bytes, body.size, free_parcel, parcel) != 0) {
        abort();
    }
    return message_reply_frame(socket, request, header, &frame);
}
