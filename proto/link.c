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
 *   Heartbeats find a dead peer on tcp after 6 s; inproc has none and needs none.
 */
#include "link.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "wire.h"

#define REQUESTS_HWM 4096
#define LINGER_MS 200
#define HEARTBEAT_MS 2000
#define HEARTBEAT_TIMEOUT_MS 6000
#define RECONNECT_MS 50
#define RECONNECT_MAX_MS 1000

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void
leave_signals_alone(void)
{
    setenv("ZSYS_SIGHANDLER", "false", 0);
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
    zsock_set_heartbeat_ivl(socket, HEARTBEAT_MS);
    zsock_set_heartbeat_timeout(socket, HEARTBEAT_TIMEOUT_MS);
    zsock_set_heartbeat_ttl(socket, HEARTBEAT_TIMEOUT_MS);
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
