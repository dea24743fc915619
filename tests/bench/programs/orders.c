/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Places orders over REST at a constant rate, whether or not earlier ones are answered, or as fast as its connections go.
 *
 *       orders HOST:PORT CONNECTIONS PRODUCTS COUNT RATE
 *
 *   COUNT orders of two lines each: `donut`, and one of p0 .. pPRODUCTS-1 picked at random. With a RATE the n-th order is due at
 *   n / RATE seconds; one that finds no connection free waits for one, and its latency counts from when it was due, so that a
 *   stall of the server is in the latency of all whom it kept waiting. RATE 0: each connection sends when it has its answer.
 *
 *   Prints one line of JSON: requests, refused (another status than 201), seconds from the first due time to the last answer,
 *   rate, p50_us, p99_us, max_us, and sent_late_p99_us: how much later than due they left, when the program itself or a lack of
 *   connections was to blame.
 *
 * FAILURES
 *   A connection that breaks, an answer that is no HTTP, no answer for 30 s: a sentence, exit 1.
 *
 * LIMITS
 *   IPv4. Answers need a Content-Length and fit in ANSWER_MAX.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kit/base/clock.h"

enum { CONNECTIONS_MAX = 1024, COUNT_MAX = 10000000, ANSWER_MAX = 65536, SILENCE_US = 30000000, EVENTS = 64 };

struct connection {
    int fd;
    int64_t due_us; /* of the order under way */
    size_t size;    /* of what has been read */
    char answer[ANSWER_MAX];
};

struct load {
    struct sockaddr_in address;
    const char *host;
    int64_t connections;
    int64_t products;
    int64_t count;
    int64_t rate;
    int epoll_fd;
    struct connection *all;
    struct connection *idle[CONNECTIONS_MAX];
    int64_t idle_count;
    int64_t start_us;
    int64_t sent;
    int64_t answered;
    int64_t refused;
    int64_t *latencies_us;
    int64_t *late_us;
    uint64_t dice;
};

static void
fail(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

static int64_t
pick(struct load *load, int64_t below)
{
    load->dice = load->dice * 6364136223846793005U + 1442695040888963407U;
    return (int64_t)((load->dice >> 33) % (uint64_t)below);
}

/* --- one order --- */

static void
send_order(struct load *load, int64_t due_us)
{
    struct connection *connection = load->idle[--load->idle_count];
    char body[256];
    char text[512];
    int size =
        snprintf(body, sizeof body,
                 "{\"lines\":[{\"product\":\"donut\",\"quantity\":1},{\"product\":\"p%lld\",\"quantity\":1}],\"method\":\"pix\"}",
                 (long long)pick(load, load->products));
    int whole = snprintf(text, sizeof text,
                         "POST /v1/orders HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
                         load->host, size, body);
    connection->due_us = due_us;
    connection->size = 0;
    load->late_us[load->sent++] = clock_steady_us() - due_us;
    if (send(connection->fd, text, (size_t)whole, MSG_NOSIGNAL) != whole) {
        fail("an order could not be sent", strerror(errno));
    }
}

/* Whether the answer is whole; `status` is its status then. */
static bool
is_whole(struct connection *connection, long *status)
{
    connection->answer[connection->size] = '\0';
    const char *end = strstr(connection->answer, "\r\n\r\n");
    if (end == NULL) {
        return false;
    }
    const char *length = strcasestr(connection->answer, "\r\nContent-Length:");
    if (strncmp(connection->answer, "HTTP/1.1 ", 9) != 0 || length == NULL || length > end) {
        fail("this is no answer", connection->answer);
    }
    *status = strtol(connection->answer + 9, NULL, 10);
    return connection->size >= (size_t)(end + 4 - connection->answer) + (size_t)strtol(length + 17, NULL, 10);
}

static void
receive(struct load *load, struct connection *connection)
{
    long status = 0;
    ssize_t got = recv(connection->fd, connection->answer + connection->size, ANSWER_MAX - 1 - connection->size, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (got <= 0) {
        fail("a connection broke", got == 0 ? "the server closed it, or its answer is too long" : strerror(errno));
    }
    connection->size += (size_t)got;
    if (!is_whole(connection, &status)) {
        return;
    }
    if (status != 201 && load->refused++ == 0) {
        fprintf(stderr, "%.600s\n", connection->answer);
    }
    load->latencies_us[load->answered++] = clock_steady_us() - connection->due_us;
    load->idle[load->idle_count++] = connection;
}

/* --- the load --- */

static void
connect_all(struct load *load)
{
    load->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    for (int64_t i = 0; i < load->connections; i++) {
        struct connection *connection = &load->all[i];
        int one = 1;
        connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(connection->fd, (const struct sockaddr *)&load->address, sizeof load->address) != 0) {
            fail(load->host, strerror(errno));
        }
        (void)setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = connection}};
        if (epoll_ctl(load->epoll_fd, EPOLL_CTL_ADD, connection->fd, &event) != 0) {
            fail("epoll", strerror(errno));
        }
        load->idle[load->idle_count++] = connection;
    }
}

static int64_t
due_us(const struct load *load, int64_t number)
{
    return load->start_us + number * 1000000 / load->rate;
}

static void
send_due(struct load *load)
{
    while (load->sent < load->count && load->idle_count > 0) {
        int64_t now_us = clock_steady_us();
        int64_t due = load->rate == 0 ? now_us : due_us(load, load->sent);
        if (due > now_us) {
            return;
        }
        send_order(load, due);
    }
}

/* Until an answer comes, or the next order is due and has a connection. */
static int
wait_for_more(struct load *load, struct epoll_event events[EVENTS])
{
    int64_t wait_us = SILENCE_US;
    if (load->rate > 0 && load->sent < load->count && load->idle_count > 0) {
        wait_us = due_us(load, load->sent) - clock_steady_us();
        wait_us = wait_us < 0 ? 0 : wait_us;
    }
    struct timespec wait = {.tv_sec = wait_us / 1000000, .tv_nsec = wait_us % 1000000 * 1000};
    int count = epoll_pwait2(load->epoll_fd, events, EVENTS, &wait, NULL);
    if (count == 0 && wait_us == SILENCE_US) {
        fail("orders", "no answer for 30 s");
    }
    return count;
}

static void
run(struct load *load)
{
    struct epoll_event events[EVENTS];
    load->start_us = clock_steady_us();
    while (load->answered < load->count) {
        send_due(load);
        int count = wait_for_more(load, events);
        for (int i = 0; i < count; i++) {
            receive(load, events[i].data.ptr);
        }
    }
}

/* --- figures --- */

static int
compare(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a;
    int64_t right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

static long long
quantile(const int64_t *sorted, int64_t count, int64_t percent)
{
    return (long long)sorted[(count - 1) * percent / 100];
}

static void
report(struct load *load)
{
    double seconds = (double)(clock_steady_us() - load->start_us) / 1e6;
    qsort(load->latencies_us, (size_t)load->count, sizeof *load->latencies_us, compare);
    qsort(load->late_us, (size_t)load->count, sizeof *load->late_us, compare);
    printf("{\"requests\":%lld,\"refused\":%lld,\"seconds\":%.6f,\"rate\":%.0f,\"p50_us\":%lld,\"p99_us\":%lld,\"max_us\":%lld,"
           "\"sent_late_p99_us\":%lld}\n",
           (long long)load->count, (long long)load->refused, seconds, (double)load->count / seconds,
           quantile(load->latencies_us, load->count, 50), quantile(load->latencies_us, load->count, 99),
           quantile(load->latencies_us, load->count, 100), quantile(load->late_us, load->count, 99));
}

static int64_t
number(const char *text, int64_t low, int64_t high, const char *what)
{
    char *end = NULL;
    int64_t value = strtoll(text, &end, 10);
    if (*text == '\0' || *end != '\0' || value < low || value > high) {
        fail(what, "no such number");
    }
    return value;
}

static void
parse(struct load *load, char **argv)
{
    char host[64];
    snprintf(host, sizeof host, "%s", argv[1]);
    char *colon = strrchr(host, ':');
    if (colon == NULL) {
        fail(argv[1], "HOST:PORT is wanted");
    }
    *colon = '\0';
    load->host = argv[1];
    load->address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)number(colon + 1, 1, 65535, "port"))};
    if (inet_pton(AF_INET, host, &load->address.sin_addr) != 1) {
        fail(host, "no IPv4 address");
    }
    load->connections = number(argv[2], 1, CONNECTIONS_MAX, "CONNECTIONS");
    load->products = number(argv[3], 1, 1000000, "PRODUCTS");
    load->count = number(argv[4], 1, COUNT_MAX, "COUNT");
    load->rate = number(argv[5], 0, 1000000, "RATE");
}

int
main(int argc, char **argv)
{
    static struct load load = {.dice = 88172645463325252U};
    if (argc != 6) {
        fprintf(stderr, "usage: orders HOST:PORT CONNECTIONS PRODUCTS COUNT RATE\n");
        return 2;
    }
    parse(&load, argv);
    load.all = calloc((size_t)load.connections, sizeof *load.all);
    load.latencies_us = calloc((size_t)load.count, sizeof *load.latencies_us);
    load.late_us = calloc((size_t)load.count, sizeof *load.late_us);
    if (load.all == NULL || load.latencies_us == NULL || load.late_us == NULL) {
        abort();
    }
    connect_all(&load);
    run(&load);
    report(&load);
    return 0;
}
