/* SPDX-License-Identifier: MPL-2.0 */
/* The probe server, asked over a socket as a supervisor would. */
#include <criterion/criterion.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kit/telemetry/metrics.h"
#include "kit/http/probe.h"

static atomic_bool is_ready_now;

static bool
is_ready(void *context)
{
    cr_assert_eq(context, &is_ready_now);
    return atomic_load(&is_ready_now);
}

static struct probe *
start(void)
{
    struct probe *probe = NULL;
    struct err_text why;
    cr_assert_eq(probe_start("127.0.0.1", 0, is_ready, &is_ready_now, &probe, &why), ERR_ok, "%s", why.text);
    cr_assert_gt(probe_port(probe), 0);
    return probe;
}

/* The whole answer to one request. */
static const char *
ask(const struct probe *probe, const char *method, const char *path)
{
    static char answer[65536];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)probe_port(probe))};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    cr_assert_eq(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    char request[256];
    int size = snprintf(request, sizeof request, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", method, path);
    cr_assert_eq(write(fd, request, (size_t)size), size);
    size_t got = 0;
    for (ssize_t piece = 1; piece > 0 && got < sizeof answer - 1; got += (size_t)piece) {
        piece = read(fd, answer + got, sizeof answer - 1 - got);
        cr_assert_geq(piece, 0);
    }
    answer[got] = '\0';
    close(fd);
    return answer;
}

static int
status_of(const char *answer)
{
    int status = 0;
    cr_assert_eq(sscanf(answer, "HTTP/1.1 %d", &status), 1, "%s", answer);
    return status;
}

TestSuite(probe, .timeout = 10);

Test(probe, alive_while_it_runs)
{
    struct probe *probe = start();
    cr_assert_eq(status_of(ask(probe, "GET", "/livez")), 200);
    cr_assert_eq(status_of(ask(probe, "HEAD", "/livez")), 200);
    probe_stop(&probe);
    cr_assert_null(probe);
}

Test(probe, ready_as_the_owner_says)
{
    struct probe *probe = start();
    cr_assert_eq(status_of(ask(probe, "GET", "/readyz")), 503);
    atomic_store(&is_ready_now, true);
    cr_assert_eq(status_of(ask(probe, "GET", "/readyz")), 200);
    atomic_store(&is_ready_now, false);
    cr_assert_eq(status_of(ask(probe, "GET", "/readyz")), 503);
    probe_stop(&probe);
}

Test(probe, metrics_are_those_of_the_process)
{
    struct probe *probe = start();
    metric_add(metric(METRIC_COUNTER, "larder_seen_total", "", "Seen."), 12);
    const char *answer = ask(probe, "GET", "/metrics");
    cr_assert_eq(status_of(answer), 200);
    cr_assert_not_null(strstr(answer, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    cr_assert_not_null(strstr(answer, "\nlarder_seen_total 12\n"));
    probe_stop(&probe);
}

Test(probe, anything_else_is_refused)
{
    struct probe *probe = start();
    cr_assert_eq(status_of(ask(probe, "GET", "/")), 404);
    cr_assert_eq(status_of(ask(probe, "GET", "/livez/x")), 404);
    cr_assert_eq(status_of(ask(probe, "DELETE", "/livez")), 405);
    probe_stop(&probe);
}

Test(probe, port_that_is_taken_is_refused_by_name)
{
    struct probe *probe = start();
    struct probe *second = NULL;
    struct err_text why;
    cr_assert_eq(probe_start("127.0.0.1", probe_port(probe), is_ready, &is_ready_now, &second, &why), ERR_wrong_setting);
    cr_assert_null(second);
    cr_assert_not_null(strstr(why.text, "cannot listen on 127.0.0.1:"), "%s", why.text);
    probe_stop(&probe);
}

Test(probe, address_that_is_none_is_refused)
{
    struct probe *probe = NULL;
    struct err_text why;
    cr_assert_eq(probe_start("eth0", 0, is_ready, &is_ready_now, &probe, &why), ERR_wrong_setting);
}
