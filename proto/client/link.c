/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Makes the sockets of clients and subscribers. All options are set here, before the connect, as later ones would not count for
 *   the first connection.
 *
 * STATE
 *   czmq's context; before it is first used ZSYS_SIGHANDLER is set to "false" unless the program has set it, as a library must not
 *   take its program's signals.
 *
 * FAILURES
 *   An endpoint that ZeroMQ does not understand is ERR_wrong_setting with its name; a peer that is away is none: the socket
 *   connects when it comes.
 *
 * LIMITS
 *   A peer that vanished is found by TCP: keep-alive when nothing is under way, ZMQ_TCP_MAXRT when something is, both within
 *   LINK_GONE_MS. Never by ZMTP's heartbeats: in libzmq 4.3.4 their timers abort the process (_io_error, _input_stopped) when the
 *   queue of a connection is full as it ends. inproc has no link to lose.
 */
#include "link.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "wire.h"

#define REQUESTS_HWM 4096
#define LINGER_MS 200
#define HANDSHAKE_MS 5000
#define KEEPALIVE_IDLE_S 4
#define KEEPALIVE_EVERY_S 2
#define KEEPALIVE_COUNT 3

#define HEADS_MISSED_MS 3500
#define ANSWERS_MISSED 3
#define DISCONNECT_LOOKS 50
#define RECONNECT_MS 50
#define RECONNECT_MAX_MS 1000

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void
leave_signals_alone(void)
{
    setenv("ZSYS_SIGHANDLER", "false", 0);
}

void
link_notice_loss(zsock_t *socket, int unread_ms)
{
    zsock_set_tcp_keepalive(socket, 1);
    zsock_set_tcp_keepalive_idle(socket, KEEPALIVE_IDLE_S);
    zsock_set_tcp_keepalive_intvl(socket, KEEPALIVE_EVERY_S);
    zsock_set_tcp_keepalive_cnt(socket, KEEPALIVE_COUNT);
    zsock_set_tcp_maxrt(socket, unread_ms);
    zsock_set_handshake_ivl(socket, HANDSHAKE_MS);
}

static err
open_socket(int type, const char *endpoint, zsock_t **out, struct err_text *why)
{
    pthread_once(&once, leave_signals_alone);
    zsock_t *socket = zsock_new(type);
    if (socket == NULL) {
        return err_say(why, ERR_overloaded, "no socket could be made for %s", endpoint);
    }
    int hwm = type == ZMQ_SUB ? LINK_EVENTS_HWM : REQUESTS_HWM;
    zsock_set_sndhwm(socket, hwm);
    zsock_set_rcvhwm(socket, hwm);
    zsock_set_linger(socket, LINGER_MS);
    zsock_set_maxmsgsize(socket, WIRE_FRAME_MAX);
    link_notice_loss(socket, LINK_GONE_MS);
    zsock_set_reconnect_ivl(socket, RECONNECT_MS);
    zsock_set_reconnect_ivl_max(socket, RECONNECT_MAX_MS);
    if (type == ZMQ_DEALER) {
        zsock_set_immediate(socket, 1);
    }
    if (zsock_connect(socket, "%s", endpoint) != 0) {
        zsock_destroy(&socket);
        return err_say(why, ERR_wrong_setting, "%s is not an address of ZeroMQ", endpoint);
    }
    *out = socket;
    return ERR_ok;
}

err
link_requests(const char *endpoint, zsock_t **dealer, struct err_text *why)
{
    return open_socket(ZMQ_DEALER, endpoint, dealer, why);
}

err
link_events(const char *endpoint, zsock_t **sub, struct err_text *why)
{
    return open_socket(ZMQ_SUB, endpoint, sub, why);
}

/* --- peers that are not heard --- */

void
link_heard(struct link_pulse *pulse, int64_t now_ms)
{
    pulse->heard_ms = now_ms;
    pulse->missed = 0;
}

/* A connection of a DEALER that waits for one (ZMQ_IMMEDIATE) is given up by libzmq's I/O thread: until it has, what is sent goes
 * into it and is lost, also when the new one is there. */
static void
await_disconnected(zsock_t *socket)
{
    for (int i = 0; i < DISCONNECT_LOOKS && (zsock_events(socket) & ZMQ_POLLOUT) != 0; i++) {
        zclock_sleep(1);
    }
}

/* On tcp: inproc has no connection that could be lost. */
static bool
connect_anew(zsock_t *socket)
{
    char *endpoint = zsock_last_endpoint(socket);
    bool is_tcp = endpoint != NULL && strncmp(endpoint, "tcp://", 6) == 0;
    if (is_tcp) {
        (void)zsock_disconnect(socket, "%s", endpoint);
        if (zsock_type(socket) == ZMQ_DEALER) {
            await_disconnected(socket);
        }
        is_tcp = zsock_connect(socket, "%s", endpoint) == 0;
    }
    zstr_free(&endpoint);
    return is_tcp;
}

bool
link_renew_events(zsock_t *sub, struct link_pulse *pulse, int64_t now_ms)
{
    if (pulse->heard_ms == 0 || now_ms - pulse->heard_ms < HEADS_MISSED_MS) {
        return false;
    }
    pulse->heard_ms = now_ms;
    return connect_anew(sub);
}

bool
link_missed(zsock_t *dealer, struct link_pulse *pulse, int64_t now_ms)
{
    if (pulse->missed++ == 0) {
        pulse->missed_ms = now_ms;
    }
    int64_t since_ms = pulse->heard_ms > 0 ? pulse->heard_ms : pulse->missed_ms;
    if (pulse->missed < ANSWERS_MISSED || now_ms - since_ms < LINK_SILENT_MS) {
        return false;
    }
    *pulse = (struct link_pulse){.heard_ms = now_ms};
    return connect_anew(dealer);
}

static int64_t
clock_us(clockid_t clock)
{
    struct timespec now;
    if (clock_gettime(clock, &now) != 0) {
        abort();
    }
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t
link_steady_ms(void)
{
    return clock_us(CLOCK_MONOTONIC) / 1000;
}

int64_t
link_steady_us(void)
{
    return clock_us(CLOCK_MONOTONIC);
}

int64_t
link_utc_ms(void)
{
    return clock_us(CLOCK_REALTIME) / 1000;
}
