/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   HTTP calls out of an actor's loop: libcurl's multi interface in its socket-driven form. libcurl says which sockets it waits for
 *   and when it wants to be called; both become members of one epoll descriptor, the second as a timerfd, so the loop has a single
 *   descriptor to watch and no time-out to compute.
 *
 * STATE
 *   Every call without a result is in the list `transfers`. A call whose result was handed out is kept until the next outbound_next(),
 *   because the result's text is its buffer. Belongs to one thread.
 *
 * FAILURES
 *   A call that cannot even be started (the URL is no URL) ends like one that got no answer: by a result with status 0. Descriptors
 *   that cannot be had, and a library that cannot be set up, end the process.
 *
 * LIMITS
 *   http and https only; no redirects, no cookies, no compression. Certificates and names are verified. A proxy is taken from the
 *   environment, but never for a loopback address. An answer is read to OUTBOUND_TEXT_MAX bytes, then the connection is closed:
 *   what it said counts. A POST that meets a kept connection just closed by the other side is sent anew by libcurl, which is why each
 *   carries an Idempotency-Key, unless `is_once` gives it a new connection. A token is sent to the host of the URL and nowhere else.
 *   The number of connections is not bounded here: a call that libcurl lets wait for one is a call whose time runs before it begins.
 *
 *   Times are kept here and not by libcurl, which looks at the clock before it looks at the socket: a loop that was busy for longer
 *   than a call may take would throw away the answer that has come meanwhile. Here sockets are read first, and a time that was looked
 *   at late is extended by as much.
 *
 *   Names are looked up by threads of libcurl (its Debian build). Without CURLOPT_QUICK_EXIT it joins that thread when a call ends
 *   early, and the loop stands for as long as the resolver takes.
 */
#include "outbound.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <curl/curl.h>

#include "kit/base/clock.h"
#include "kit/base/memory.h"

#define CONNECTIONS_KEPT 32L
#define CONNECT_TIMEOUT_MS 2000
#define RETRY_AFTER_MAX_S INT64_C(86400)
#define LATE_US 20000 /* a time that is looked at so much later was not the other side's alone */
#define EVENTS_EACH 16

struct transfer {
    struct transfer *next;
    struct transfer *previous;
    CURL *easy;
    struct curl_slist *headers;
    struct id context_id;
    int64_t tag;
    int64_t started_us;
    int64_t timeout_us;  /* as given, for words */
    int64_t deadline_us; /* of the answer */
    int64_t connect_us;  /* of the connection; INT64_MAX once it is there */
    bool expects_missing;
    bool is_cut;
    size_t text_size;
    char text[OUTBOUND_TEXT_MAX];
    char error[CURL_ERROR_SIZE];
};

struct outbound {
    int epoll_fd;
    int timer_fd;
    CURLM *multi; /* NULL until the first call */
    struct transfer *transfers;
    struct transfer *failed;     /* could not be started */
    struct transfer *handed_out; /* owns the text of the last result */
    size_t count;
    int64_t library_us; /* when libcurl wants to be called; INT64_MAX: never */
    int64_t armed_us;   /* what the timer is set to */
};

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void
set_up_library(void)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        abort();
    }
}

/* --- the list of transfers --- */

static void
transfer_link(struct transfer **head, struct transfer *transfer)
{
    transfer->previous = NULL;
    transfer->next = *head;
    if (*head != NULL) {
        (*head)->previous = transfer;
    }
    *head = transfer;
}

static void
transfer_unlink(struct transfer **head, struct transfer *transfer)
{
    if (transfer->previous != NULL) {
        transfer->previous->next = transfer->next;
    } else {
        *head = transfer->next;
    }
    if (transfer->next != NULL) {
        transfer->next->previous = transfer->previous;
    }
    transfer->next = NULL;
    transfer->previous = NULL;
}

static void
transfer_destroy(struct transfer **transfer)
{
    if (*transfer == NULL) {
        return;
    }
    curl_easy_cleanup((*transfer)->easy);
    curl_slist_free_all((*transfer)->headers);
    free(*transfer);
    *transfer = NULL;
}

/* --- what libcurl wants to be woken for --- */

/* Steady time of the next thing to do, whosever it is. */
static void
set_timer(struct outbound *outbound)
{
    struct itimerspec spec = {0};
    int64_t next_us = outbound->failed != NULL ? 0 : outbound->library_us;
    for (const struct transfer *transfer = outbound->transfers; transfer != NULL; transfer = transfer->next) {
        next_us = transfer->deadline_us < next_us ? transfer->deadline_us : next_us;
        next_us = transfer->connect_us < next_us ? transfer->connect_us : next_us;
    }
    if (next_us == outbound->armed_us) {
        return;
    }
    outbound->armed_us = next_us;
    if (next_us != INT64_MAX) {
        int64_t left_us = next_us - clock_steady_us();
        spec.it_value.tv_sec = (time_t)(left_us > 0 ? left_us / 1000000 : 0);
        spec.it_value.tv_nsec = left_us > 0 ? (long)(left_us % 1000000) * 1000 : 1; /* 0 would disarm it */
    }
    if (timerfd_settime(outbound->timer_fd, 0, &spec, NULL) != 0) {
        abort();
    }
}

static int
on_timer(CURLM *multi, long timeout_ms, void *user)
{
    (void)multi;
    struct outbound *outbound = user;
    outbound->library_us = timeout_ms < 0 ? INT64_MAX : clock_steady_us() + (int64_t)timeout_ms * 1000;
    set_timer(outbound);
    return 0;
}

static int
on_socket(CURL *easy, curl_socket_t fd, int what, void *user, void *known)
{
    (void)easy;
    (void)known;
    const struct outbound *outbound = user;
    if (what == CURL_POLL_REMOVE) {
        /* It may be closed already, and then epoll has forgotten it by itself. */
        (void)epoll_ctl(outbound->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
        return 0;
    }
    struct epoll_event event = {.data.fd = fd};
    event.events |= what == CURL_POLL_OUT ? 0U : (uint32_t)EPOLLIN;
    event.events |= what == CURL_POLL_IN ? 0U : (uint32_t)EPOLLOUT;
    if (epoll_ctl(outbound->epoll_fd, EPOLL_CTL_MOD, fd, &event) == 0) {
        return 0;
    }
    return epoll_ctl(outbound->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -1;
}

static size_t
on_text(char *bytes, size_t size, size_t count, void *user)
{
    struct transfer *transfer = user;
    size_t given = size * count;
    size_t room = sizeof transfer->text - transfer->text_size;
    size_t taken = given < room ? given : room;
    memcpy(transfer->text + transfer->text_size, bytes, taken);
    transfer->text_size += taken;
    transfer->is_cut = taken < given;
    return taken; /* less than given ends the transfer */
}

/* --- life --- */

static void
watch(int epoll_fd, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        abort();
    }
}

struct outbound *
outbound_create(void)
{
    struct outbound *outbound = memory_new(1, sizeof *outbound);
    outbound->library_us = outbound->armed_us = INT64_MAX;
    outbound->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    outbound->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (outbound->epoll_fd < 0 || outbound->timer_fd < 0) {
        abort();
    }
    watch(outbound->epoll_fd, outbound->timer_fd);
    return outbound;
}

static void
destroy_all(struct outbound *outbound, struct transfer **head)
{
    struct transfer *transfer = *head;
    *head = NULL;
    while (transfer != NULL) {
        struct transfer *next = transfer->next;
        (void)curl_multi_remove_handle(outbound->multi, transfer->easy);
        transfer_destroy(&transfer);
        transfer = next;
    }
}

void
outbound_destroy(struct outbound **outbound)
{
    struct outbound *o = *outbound;
    *outbound = NULL;
    if (o == NULL) {
        return;
    }
    destroy_all(o, &o->transfers);
    destroy_all(o, &o->failed);
    transfer_destroy(&o->handed_out);
    (void)curl_multi_cleanup(o->multi);
    (void)close(o->timer_fd);
    (void)close(o->epoll_fd);
    free(o);
}

int
outbound_fd(const struct outbound *outbound)
{
    return outbound->epoll_fd;
}

size_t
outbound_count(const struct outbound *outbound)
{
    return outbound->count;
}

/* --- starting --- */

static void
set_up_multi(struct outbound *outbound)
{
    if (outbound->multi != NULL) {
        return;
    }
    pthread_once(&once, set_up_library);
    CURLM *multi = curl_multi_init();
    if (multi == NULL) {
        abort();
    }
    (void)curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    (void)curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, outbound);
    (void)curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer);
    (void)curl_multi_setopt(multi, CURLMOPT_TIMERDATA, outbound);
    (void)curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, CONNECTIONS_KEPT);
    outbound->multi = multi;
}

static bool
is_loopback(const char *url)
{
    CURLU *parsed = curl_url();
    char *host = NULL;
    bool yes = false;
    if (curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK && curl_url_get(parsed, CURLUPART_HOST, &host, 0) == CURLUE_OK) {
        yes = strcasecmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 || strcmp(host, "[::1]") == 0;
    }
    curl_free(host);
    curl_url_cleanup(parsed);
    return yes;
}

static bool
is_post(const struct outbound_call *call)
{
    return call->json.size > 0;
}

static struct curl_slist *
headers_of(const struct outbound_call *call)
{
    static const char prefix[] = "Idempotency-Key: ";
    char key[sizeof prefix + ID_TEXT_SIZE];
    struct curl_slist *headers = curl_slist_append(NULL, "Accept: application/json");
    if (is_post(call)) {
        memcpy(key, prefix, sizeof prefix);
        id_format(id_is_zero(&call->key) ? &call->context_id : &call->key, key + sizeof prefix - 1);
        headers = curl_slist_append(headers, "Content-Type: application/json");
        headers = curl_slist_append(headers, "Expect:"); /* no second round trip for a small body */
        headers = curl_slist_append(headers, key);
    }
    return headers;
}

static void
set_request(struct transfer *transfer, const struct outbound_call *call)
{
    CURL *easy = transfer->easy;
    if (is_post(call)) {
        (void)curl_easy_setopt(easy, CURLOPT_POST, 1L);
        (void)curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->json.size);
        (void)curl_easy_setopt(easy, CURLOPT_COPYPOSTFIELDS, call->json.data);
    } else {
        (void)curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
    }
    (void)curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, call->is_once ? 1L : 0L);
    if (call->bearer != NULL && call->bearer[0] != '\0') {
        (void)curl_easy_setopt(easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BEARER);
        (void)curl_easy_setopt(easy, CURLOPT_XOAUTH2_BEARER, call->bearer);
    }
}

static void
set_options(struct transfer *transfer, const struct outbound_call *call)
{
    CURL *easy = transfer->easy;
    (void)curl_easy_setopt(easy, CURLOPT_URL, call->url);
    (void)curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    (void)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    (void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_USERAGENT, "larder");
    (void)curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer->headers);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_text);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
    (void)curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->error);
    (void)curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
    if (is_loopback(call->url)) {
        (void)curl_easy_setopt(easy, CURLOPT_PROXY, "");
    }
}

static int64_t
connect_us_of(const struct transfer *transfer)
{
    int64_t most_us = (int64_t)CONNECT_TIMEOUT_MS * 1000;
    return transfer->timeout_us < most_us ? transfer->timeout_us : most_us;
}

void
outbound_start(struct outbound *outbound, const struct outbound_call *call)
{
    assert(call->timeout_ms > 0 && call->timeout_ms <= INT32_MAX);
    set_up_multi(outbound);
    struct transfer *transfer = memory_new(1, sizeof *transfer);
    transfer->easy = curl_easy_init();
    if (transfer->easy == NULL) {
        abort();
    }
    transfer->context_id = call->context_id;
    transfer->tag = call->tag;
    transfer->expects_missing = call->expects_missing;
    transfer->timeout_us = call->timeout_ms * 1000;
    transfer->started_us = clock_steady_us();
    transfer->deadline_us = transfer->started_us + transfer->timeout_us;
    transfer->connect_us = transfer->started_us + connect_us_of(transfer);
    transfer->headers = headers_of(call);
    set_options(transfer, call);
    set_request(transfer, call);
    outbound->count++;
    CURLMcode code = curl_multi_add_handle(outbound->multi, transfer->easy);
    if (code == CURLM_OK) {
        transfer_link(&outbound->transfers, transfer);
        set_timer(outbound);
        return;
    }
    transfer->text_size = strlen(curl_multi_strerror(code));
    memcpy(transfer->text, curl_multi_strerror(code), transfer->text_size);
    transfer_link(&outbound->failed, transfer);
    set_timer(outbound);
}

/* --- ending --- */

static void
hand_out(struct outbound *outbound, struct transfer *transfer, struct outbound_result *result)
{
    result->context_id = transfer->context_id;
    result->tag = transfer->tag;
    result->started_us = transfer->started_us;
    result->expects_missing = transfer->expects_missing;
    result->text = (struct slice){(const uint8_t *)transfer->text, transfer->text_size};
    outbound->handed_out = transfer;
    outbound->count--;
}

static bool
take_failed(struct outbound *outbound, struct outbound_result *result)
{
    struct transfer *transfer = outbound->failed;
    if (transfer == NULL) {
        return false;
    }
    transfer_unlink(&outbound->failed, transfer);
    *result = (struct outbound_result){.failure = OUTBOUND_MISLED};
    hand_out(outbound, transfer, result);
    return true;
}

static enum outbound_failure
failure_of(CURLcode code)
{
    switch ((int)code) {
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
        return OUTBOUND_MISLED;
    case CURLE_OPERATION_TIMEDOUT:
        return OUTBOUND_TIMED_OUT;
    default:
        return OUTBOUND_BROKEN;
    }
}

static void
say(struct transfer *transfer, const char *reason)
{
    transfer->text_size = strlen(reason) < sizeof transfer->text ? strlen(reason) : sizeof transfer->text;
    memcpy(transfer->text, reason, transfer->text_size);
}

static void
finish(struct outbound *outbound, CURL *easy, CURLcode code, struct outbound_result *result)
{
    char *private_data = NULL;
    long status = 0;
    curl_off_t retry_after_s = 0;
    (void)curl_easy_getinfo(easy, CURLINFO_PRIVATE, &private_data);
    struct transfer *transfer = (struct transfer *)(void *)private_data;
    bool is_answered = code == CURLE_OK || (transfer->is_cut && code == CURLE_WRITE_ERROR);
    if (is_answered) {
        (void)curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
        (void)curl_easy_getinfo(easy, CURLINFO_RETRY_AFTER, &retry_after_s);
    } else {
        say(transfer, transfer->error[0] != '\0' ? transfer->error : curl_easy_strerror(code));
    }
    (void)curl_multi_remove_handle(outbound->multi, easy);
    transfer_unlink(&outbound->transfers, transfer);
    *result = (struct outbound_result){.status = (int)status,
                                       .failure = is_answered ? OUTBOUND_ANSWERED : failure_of(code),
                                       .retry_after_ms =
                                           retry_after_s > RETRY_AFTER_MAX_S ? RETRY_AFTER_MAX_S * 1000 : retry_after_s * 1000};
    hand_out(outbound, transfer, result);
}

static bool
take_done(struct outbound *outbound, struct outbound_result *result)
{
    int left = 0;
    CURLMsg *message = NULL;
    while ((message = curl_multi_info_read(outbound->multi, &left)) != NULL) {
        if (message->msg == CURLMSG_DONE) {
            finish(outbound, message->easy_handle, message->data.result, result);
            return true;
        }
    }
    return false;
}

/* Whether everything is there that a request needs before it leaves: the name, the connection, TLS. */
static bool
is_connected(const struct transfer *transfer)
{
    curl_off_t ready_us = 0;
    (void)curl_easy_getinfo(transfer->easy, CURLINFO_PRETRANSFER_TIME_T, &ready_us);
    return ready_us > 0;
}

static void
say_timeout(struct transfer *transfer, bool is_answer_late)
{
    char words[128];
    curl_off_t name_us = 0;
    int64_t waited_us = is_answer_late ? transfer->timeout_us : connect_us_of(transfer);
    (void)curl_easy_getinfo(transfer->easy, CURLINFO_NAMELOOKUP_TIME_T, &name_us);
    const char *what = is_answer_late ? "no answer" : name_us > 0 ? "no connection" : "its name was not resolved";
    (void)snprintf(words, sizeof words, "%s within %lld ms", what, (long long)waited_us / 1000);
    say(transfer, words);
}

/* Whose time is over. One that we look at late gets as much more: meanwhile nobody here has listened. */
static bool
take_expired(struct outbound *outbound, struct outbound_result *result)
{
    int64_t now_us = clock_steady_us();
    for (struct transfer *transfer = outbound->transfers; transfer != NULL; transfer = transfer->next) {
        transfer->connect_us = transfer->connect_us <= now_us && is_connected(transfer) ? INT64_MAX : transfer->connect_us;
        bool is_answer_late = transfer->deadline_us <= now_us && transfer->connect_us > now_us;
        int64_t *over_us = is_answer_late ? &transfer->deadline_us : &transfer->connect_us;
        int64_t late_us = now_us - *over_us;
        if (late_us < 0) {
            continue;
        }
        if (late_us > LATE_US) {
            transfer->deadline_us = transfer->deadline_us <= now_us ? now_us + late_us : transfer->deadline_us;
            *over_us = now_us + late_us;
            continue;
        }
        say_timeout(transfer, is_answer_late);
        (void)curl_multi_remove_handle(outbound->multi, transfer->easy);
        transfer_unlink(&outbound->transfers, transfer);
        *result = (struct outbound_result){.failure = OUTBOUND_TIMED_OUT};
        hand_out(outbound, transfer, result);
        return true;
    }
    return false;
}

static void
drive_socket(struct outbound *outbound, const struct epoll_event *event)
{
    int running = 0;
    int mask = 0;
    mask |= (event->events & EPOLLIN) != 0 ? CURL_CSELECT_IN : 0;
    mask |= (event->events & EPOLLOUT) != 0 ? CURL_CSELECT_OUT : 0;
    mask |= (event->events & (EPOLLERR | EPOLLHUP)) != 0 ? CURL_CSELECT_ERR : 0;
    (void)curl_multi_socket_action(outbound->multi, event->data.fd, mask, &running);
}

static void
drive_library(struct outbound *outbound)
{
    uint64_t expirations = 0;
    int running = 0;
    if (read(outbound->timer_fd, &expirations, sizeof expirations) > 0) {
        outbound->armed_us = INT64_MAX;
    }
    if (outbound->library_us <= clock_steady_us()) {
        outbound->library_us = INT64_MAX;
        (void)curl_multi_socket_action(outbound->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    }
}

/* Everything that has come. False: nothing had. */
static bool
drive(struct outbound *outbound)
{
    struct epoll_event events[EVENTS_EACH];
    int count = epoll_wait(outbound->epoll_fd, events, EVENTS_EACH, 0);
    bool is_timer = false;
    for (int i = 0; i < count; i++) {
        if (events[i].data.fd == outbound->timer_fd) {
            is_timer = true;
        } else {
            drive_socket(outbound, &events[i]);
        }
    }
    if (is_timer) {
        drive_library(outbound);
    }
    return count > 0;
}

bool
outbound_next(struct outbound *outbound, struct outbound_result *result)
{
    transfer_destroy(&outbound->handed_out);
    if (outbound->multi == NULL) {
        return false;
    }
    for (;;) {
        if (take_failed(outbound, result) || take_done(outbound, result)) {
            set_timer(outbound);
            return true;
        }
        if (drive(outbound)) {
            continue;
        }
        bool has_expired = take_expired(outbound, result);
        set_timer(outbound);
        return has_expired;
    }
}
