/* SPDX-License-Identifier: MPL-2.0 */
/* HTTP calls to the outside, against a server of this test that answers by the path it is asked for. */
#include "kit/peers/outbound.h"
#include "../support/patience.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <criterion/criterion.h>

#define DEADLINE_MS patience_ms(5000)
#define REQUEST_MAX 8192

static int listener = -1;
static int port;
static char last_request[REQUEST_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int kept_requests;

static int64_t
now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void
write_all(int fd, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);
        if (sent <= 0) {
            return;
        }
        bytes += sent;
        size -= (size_t)sent;
    }
}

static size_t
read_request(int fd, char request[REQUEST_MAX])
{
    size_t size = 0;
    while (size < REQUEST_MAX - 1) {
        ssize_t got = recv(fd, request + size, REQUEST_MAX - 1 - size, 0);
        if (got <= 0) {
            break;
        }
        size += (size_t)got;
        request[size] = '\0';
        const char *body = strstr(request, "\r\n\r\n");
        const char *length = strcasestr(request, "content-length:");
        bool is_get = strncmp(request, "GET ", 4) == 0;
        if (body != NULL && (is_get || (length != NULL && strlen(body + 4) >= strtoul(length + 15, NULL, 10)))) {
            break;
        }
    }
    request[size] = '\0';
    return size;
}

static void
answer_big(int fd)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n";
    char block[1000];
    memset(block, 'x', sizeof block);
    write_all(fd, head, sizeof head - 1);
    for (int i = 0; i < 1000; i++) {
        write_all(fd, block, sizeof block);
    }
}

static void
count_kept(void)
{
    pthread_mutex_lock(&lock);
    kept_requests++;
    pthread_mutex_unlock(&lock);
}

static void *
serve_one(void *argument)
{
    int fd = (int)(intptr_t)argument;
    char request[REQUEST_MAX];
    char rest[1];
    if (read_request(fd, request) == 0) {
        close(fd);
        return NULL;
    }
    pthread_mutex_lock(&lock);
    memcpy(last_request, request, sizeof last_request);
    pthread_mutex_unlock(&lock);
    if (strncmp(request, "POST /silent", 12) == 0) {
        (void)recv(fd, rest, 1, 0); /* until the caller has left */
    } else if (strncmp(request, "POST /big", 9) == 0) {
        answer_big(fd);
    } else if (strncmp(request, "POST /redirect", 14) == 0) {
        static const char text[] = "HTTP/1.1 302 Found\r\nLocation: /ok\r\nContent-Length: 0\r\n\r\n";
        write_all(fd, text, sizeof text - 1);
    } else if (strncmp(request, "POST /broken", 12) == 0) {
        static const char text[] = "HTTP/1.1 500 Oh\r\nContent-Length: 3\r\n\r\nbad";
        write_all(fd, text, sizeof text - 1);
    } else if (strncmp(request, "POST /keep", 10) == 0) {
        static const char text[] = "HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}";
        count_kept();
        write_all(fd, text, sizeof text - 1);
        if (read_request(fd, request) > 0) {
            count_kept();
        }
    } else if (strncmp(request, "GET /ok", 7) == 0) {
        static const char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        write_all(fd, text, sizeof text - 1);
    } else if (strncmp(request, "POST /ok", 8) == 0) {
        static const char text[] = "HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}";
        write_all(fd, text, sizeof text - 1);
    }
    close(fd); /* any other path: without a word */
    return NULL;
}

static void *
serve(void *argument)
{
    (void)argument;
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        pthread_t thread;
        if (fd < 0 || pthread_create(&thread, NULL, serve_one, (void *)(intptr_t)fd) != 0) {
            return NULL;
        }
        pthread_detach(thread);
    }
}

static void
start_server(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    pthread_t thread;
    listener = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert(bind(listener, (struct sockaddr *)&address, size) == 0 && listen(listener, 64) == 0);
    cr_assert(getsockname(listener, (struct sockaddr *)&address, &size) == 0);
    port = ntohs(address.sin_port);
    cr_assert(pthread_create(&thread, NULL, serve, NULL) == 0);
    pthread_detach(thread);
}

static bool
wait_result(struct outbound *outbound, struct outbound_result *result)
{
    int64_t end_ms = now_ms() + DEADLINE_MS;
    while (!outbound_next(outbound, result)) {
        struct pollfd ready = {.fd = outbound_fd(outbound), .events = POLLIN};
        int64_t left_ms = end_ms - now_ms();
        if (left_ms <= 0 || poll(&ready, 1, (int)left_ms) <= 0) {
            return false;
        }
    }
    return true;
}

static struct id
start_call(struct outbound *outbound, const char *path, int64_t timeout_ms)
{
    char url[128];
    struct id id = id_new();
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d%s", port, path);
    outbound_start(outbound,
                   &(struct outbound_call){.url = url, .json = slice_of("{\"a\":\"b\"}"), .timeout_ms = timeout_ms, .context_id = id});
    return id;
}

static void
check_call(const char *path, int64_t timeout_ms, int status, const char *text)
{
    struct outbound *outbound = outbound_create();
    struct outbound_result result;
    struct id id = start_call(outbound, path, timeout_ms);
    cr_assert(wait_result(outbound, &result), "no result in time");
    cr_expect(id_equal(&result.context_id, &id));
    cr_expect_eq(result.status, status, "status %d", result.status);
    cr_expect(text == NULL || slice_equal(result.text, slice_of(text)), "text '%.*s'", (int)result.text.size,
              (const char *)result.text.data);
    cr_expect_not(outbound_next(outbound, &result));
    cr_expect_eq(outbound_count(outbound), 0);
    outbound_destroy(&outbound);
}

/* --- a resolver that takes its time --- */

#define SLOW_HOST "slow.test"
#define RESOLVER_MS 3000

typedef int
resolver(const char *, const char *, const struct addrinfo *, struct addrinfo **);

/* Stands before the C library's, also for libcurl. */
int
getaddrinfo(const char *restrict node, const char *restrict service, const struct addrinfo *restrict hints,
            struct addrinfo **restrict found)
{
    resolver *real = NULL;
    void *symbol = dlsym(RTLD_NEXT, "getaddrinfo");
    memcpy(&real, &symbol, sizeof real);
    if (node != NULL && strcmp(node, SLOW_HOST) == 0) {
        (void)poll(NULL, 0, RESOLVER_MS);
        return EAI_AGAIN;
    }
    return real(node, service, hints, found);
}

TestSuite(outbound, .init = start_server, .timeout = 20);

Test(outbound, hands_out_status_and_text)
{
    check_call("/ok", 3000, 201, "{}");
}

Test(outbound, an_error_status_is_an_answer)
{
    check_call("/broken", 3000, 500, "bad");
}

Test(outbound, does_not_follow_a_redirect)
{
    check_call("/redirect", 3000, 302, "");
}

Test(outbound, a_silent_server_ends_in_time_without_a_status)
{
    int64_t start_ms = now_ms();
    check_call("/silent", 200, 0, NULL);
    cr_expect(now_ms() - start_ms < 2000);
}

Test(outbound, a_connection_closed_without_a_word_says_why)
{
    struct outbound *outbound = outbound_create();
    struct outbound_result result;
    start_call(outbound, "/hangs-up", 3000);
    cr_assert(wait_result(outbound, &result));
    cr_expect_eq(result.status, 0);
    cr_expect(result.text.size > 0);
    outbound_destroy(&outbound);
}

Test(outbound, cuts_a_long_answer)
{
    struct outbound *outbound = outbound_create();
    struct outbound_result result;
    start_call(outbound, "/big", 3000);
    cr_assert(wait_result(outbound, &result));
    cr_expect_eq(result.status, 200);
    cr_expect_eq(result.text.size, OUTBOUND_TEXT_MAX);
    outbound_destroy(&outbound);
}

Test(outbound, sends_the_json_with_its_type_and_its_key)
{
    char key[sizeof "Idempotency-Key: " + ID_TEXT_SIZE];
    char text[ID_TEXT_SIZE];
    struct outbound *outbound = outbound_create();
    struct outbound_result result;
    struct id id = start_call(outbound, "/ok", 3000);
    cr_assert(wait_result(outbound, &result));
    id_format(&id, text);
    (void)snprintf(key, sizeof key, "Idempotency-Key: %s", text);
    pthread_mutex_lock(&lock);
    cr_expect(strstr(last_request, key) != NULL, "%s", last_request);
    cr_expect(strstr(last_request, "Content-Type: application/json") != NULL);
    cr_expect(strstr(last_request, "\r\n\r\n{\"a\":\"b\"}") != NULL);
    pthread_mutex_unlock(&lock);
    outbound_destroy(&outbound);
}

/* Starts it at /ok and waits; what was received is in last_request. */
static struct outbound_result
run_call(struct outbound *outbound, struct outbound_call *call)
{
    char url[128];
    struct outbound_result result;
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d/ok", port);
    call->url = url;
    call->timeout_ms = 3000;
    outbound_start(outbound, call);
    cr_assert(wait_result(outbound, &result), "no result in time");
    return result;
}

Test(outbound, without_json_it_is_a_get_with_nothing_of_a_post)
{
    struct outbound *outbound = outbound_create();
    struct outbound_call call = {.context_id = id_new(), .tag = 7};
    struct outbound_result result = run_call(outbound, &call);
    cr_expect_eq(result.status, 200, "status %d", result.status);
    cr_expect_eq(result.tag, 7);
    pthread_mutex_lock(&lock);
    cr_expect_eq(strncmp(last_request, "GET /ok HTTP/1.1\r\n", 18), 0, "%s", last_request);
    cr_expect_null(strstr(last_request, "Idempotency-Key"));
    cr_expect_null(strstr(last_request, "Content-Type"));
    cr_expect_null(strstr(last_request, "Authorization"));
    pthread_mutex_unlock(&lock);
    outbound_destroy(&outbound);
}

Test(outbound, a_key_of_its_own_and_a_token_are_sent_and_the_context_is_not)
{
    char key[sizeof "Idempotency-Key: " + ID_TEXT_SIZE];
    char key_text[ID_TEXT_SIZE];
    char context_text[ID_TEXT_SIZE];
    struct outbound *outbound = outbound_create();
    struct outbound_call call = {.json = slice_of("{}"), .context_id = id_new(), .tag = -1, .key = id_new(), .bearer = "s3cret.t0ken"};
    struct outbound_result result = run_call(outbound, &call);
    id_format(&call.key, key_text);
    id_format(&call.context_id, context_text);
    (void)snprintf(key, sizeof key, "Idempotency-Key: %s", key_text);
    cr_expect(id_equal(&result.context_id, &call.context_id));
    cr_expect_eq(result.tag, -1);
    pthread_mutex_lock(&lock);
    cr_expect_not_null(strstr(last_request, key), "%s", last_request);
    cr_expect_null(strstr(last_request, context_text));
    cr_expect_not_null(strstr(last_request, "Authorization: Bearer s3cret.t0ken\r\n"), "%s", last_request);
    pthread_mutex_unlock(&lock);
    outbound_destroy(&outbound);
}

/* Two POSTs to a server that closes a kept connection without a word: how many of them it has read. */
static int
count_received(bool is_once)
{
    struct outbound *outbound = outbound_create();
    struct outbound_result result;
    pthread_mutex_lock(&lock);
    kept_requests = 0;
    pthread_mutex_unlock(&lock);
    start_call(outbound, "/keep", 3000);
    cr_assert(wait_result(outbound, &result), "no result in time");
    char url[128];
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d/keep", port);
    outbound_start(outbound, &(struct outbound_call){
                                 .url = url, .json = slice_of("{}"), .timeout_ms = 3000, .context_id = id_new(), .is_once = is_once});
    cr_assert(wait_result(outbound, &result), "no result in time");
    cr_expect_eq(result.status, 201, "status %d", result.status);
    outbound_destroy(&outbound);
    pthread_mutex_lock(&lock);
    int received = kept_requests;
    pthread_mutex_unlock(&lock);
    return received;
}

Test(outbound, one_that_is_sent_once_is_not_sent_anew_by_the_library)
{
    cr_expect_eq(count_received(false), 3, "libcurl takes the connection for one that had ended before, and sends anew");
    cr_expect_eq(count_received(true), 2);
}

Test(outbound, what_is_no_http_url_is_a_result_too)
{
    static const char *const urls[] = {"", "nonsense://host/x", "file:///etc/passwd", "http://", "http://127.0.0.1:1/refused"};
    struct outbound *outbound = outbound_create();
    struct outbound_result result;
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        struct id id = id_new();
        outbound_start(outbound,
                       &(struct outbound_call){.url = urls[i], .json = slice_of("{}"), .timeout_ms = 2000, .context_id = id});
        cr_assert(wait_result(outbound, &result), "no result for '%s'", urls[i]);
        cr_expect(id_equal(&result.context_id, &id));
        cr_expect_eq(result.status, 0, "'%s' gave %d", urls[i], result.status);
        cr_expect(result.text.size > 0);
    }
    outbound_destroy(&outbound);
}

Test(outbound, no_proxy_of_the_environment_stands_before_loopback)
{
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    check_call("/ok", 3000, 201, "{}");
}

Test(outbound, a_hundred_calls_at_once_each_get_their_own_result)
{
    enum { CALLS = 100 };
    struct outbound *outbound = outbound_create();
    struct outbound_result result;
    struct id ids[CALLS];
    bool seen[CALLS] = {false};
    for (int i = 0; i < CALLS; i++) {
        ids[i] = start_call(outbound, i % 2 == 0 ? "/ok" : "/broken", 4000);
    }
    for (int done = 0; done < CALLS; done++) {
        cr_assert(wait_result(outbound, &result), "only %d results", done);
        int i = 0;
        while (i < CALLS && !id_equal(&ids[i], &result.context_id)) {
            i++;
        }
        cr_assert(i < CALLS && !seen[i]);
        seen[i] = true;
        cr_expect_eq(result.status, i % 2 == 0 ? 201 : 500);
    }
    cr_expect_eq(outbound_count(outbound), 0);
    outbound_destroy(&outbound);
}

Test(outbound, a_silent_call_does_not_hold_up_another)
{
    struct outbound *outbound = outbound_create();
    struct outbound_result result;
    start_call(outbound, "/silent", 4000);
    struct id quick = start_call(outbound, "/ok", 3000);
    cr_assert(wait_result(outbound, &result));
    cr_expect(id_equal(&result.context_id, &quick));
    outbound_destroy(&outbound);
    cr_expect_null(outbound);
}

Test(outbound, is_idle_without_calls)
{
    struct outbound *outbound = outbound_create();
    struct outbound_result result;
    struct pollfd ready = {.fd = outbound_fd(outbound), .events = POLLIN};
    cr_expect_not(outbound_next(outbound, &result));
    cr_expect_eq(poll(&ready, 1, 0), 0);
    outbound_destroy(&outbound);
    outbound_destroy(&outbound);
}

/* --- whose time it is --- */

static void
expect_words(const struct outbound_result *result, const char *words)
{
    cr_expect(memmem(result->text.data, result->text.size, words, strlen(words)) != NULL, "'%.*s'", (int)result->text.size,
              (const char *)result->text.data);
}

Test(outbound, words_tell_no_answer_from_no_connection)
{
    struct outbound *outbound = outbound_create();
    struct outbound_result result;
    start_call(outbound, "/silent", 200);
    cr_assert(wait_result(outbound, &result));
    cr_expect_eq(result.failure, OUTBOUND_TIMED_OUT);
    expect_words(&result, "no answer within 200 ms");
    outbound_destroy(&outbound);
}

/* A listener whose queue is full drops what would connect, as a host that is not there does. */
Test(outbound, a_connection_that_does_not_come_about_says_so)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    struct outbound *outbound = outbound_create();
    struct outbound_result result;
    char url[64];
    int full = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert(bind(full, (struct sockaddr *)&address, size) == 0 && listen(full, 0) == 0);
    cr_assert(getsockname(full, (struct sockaddr *)&address, &size) == 0);
    for (int i = 0; i < 4; i++) {
        int taken = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(taken, (struct sockaddr *)&address, size);
    }
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d/", ntohs(address.sin_port));
    outbound_start(outbound, &(struct outbound_call){.url = url, .json = slice_of("{}"), .timeout_ms = 400, .context_id = id_new()});
    cr_assert(wait_result(outbound, &result));
    cr_expect_eq(result.failure, OUTBOUND_TIMED_OUT);
    expect_words(&result, "no connection within 400 ms");
    outbound_destroy(&outbound);
    close(full);
}

Test(outbound, an_answer_that_came_while_nobody_here_listened_counts)
{
    struct outbound *outbound = outbound_create();
    struct outbound_result result;
    struct pollfd unread = {.fd = -1};
    start_call(outbound, "/ok", 100);
    cr_assert_eq(poll(&unread, 1, 400), 0, "a loop that is busy with something else");
    cr_assert(wait_result(outbound, &result));
    cr_expect_eq(result.status, 201, "%.*s", (int)result.text.size, (const char *)result.text.data);
    outbound_destroy(&outbound);
}

Test(outbound, a_slow_resolver_holds_up_neither_the_loop_nor_its_end)
{
    struct outbound *outbound = outbound_create();
    struct outbound_result result;
    int64_t start_ms = now_ms();
    outbound_start(outbound, &(struct outbound_call){
                                 .url = "http://" SLOW_HOST "/", .json = slice_of("{}"), .timeout_ms = 300, .context_id = id_new()});
    cr_assert(wait_result(outbound, &result));
    expect_words(&result, "its name was not resolved within 300 ms");
    struct id quick = start_call(outbound, "/ok", 3000);
    cr_assert(wait_result(outbound, &result));
    cr_expect(id_equal(&result.context_id, &quick));
    outbound_start(outbound, &(struct outbound_call){
                                 .url = "http://" SLOW_HOST "/", .json = slice_of("{}"), .timeout_ms = 3000, .context_id = id_new()});
    cr_expect_not(outbound_next(outbound, &result));
    outbound_destroy(&outbound);
    cr_expect_lt(now_ms() - start_ms, RESOLVER_MS, "nobody waited for the resolver");
}

Test(outbound, an_address_that_is_none_is_our_own_fault)
{
    static const char *const urls[] = {"nonsense://host/x", "http://"};
    struct outbound *outbound = outbound_create();
    struct outbound_result result;
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        outbound_start(outbound,
                       &(struct outbound_call){.url = urls[i], .json = slice_of("{}"), .timeout_ms = 3000, .context_id = id_new()});
        cr_assert(wait_result(outbound, &result));
        cr_expect_eq(result.failure, OUTBOUND_MISLED, "%s", urls[i]);
    }
    outbound_destroy(&outbound);
}
