/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   `larder webhook`: plays the payment provider. Signs what it would tell of a charge or a refund and posts it to the gateway, as
 *   it would, so that a pending payment can be brought to its end by hand.
 *
 *   Everything that is sent is printed first: it can be sent again, also with another program.
 *
 * FAILURES
 *   The exit status is that of `call`: 0 when it was taken, 4 when it was refused or not answered.
 *
 * LIMITS
 *   Signs with LARDER_WEBHOOK_SECRET, or with the simulated provider's well-known secret when that is not set.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>
#include <jansson.h>
#include <sodium.h>

#include "kit/base/clock.h"
#include "command_table.h"
#include "id.h"
#include "payment/payment_rules.h"
#include "payment/provider/payment_signature.h"

#define ANSWER_MAX 4096
#define TIMEOUT_MS 10000L

struct telling {
    const char *url;
    const char *webhook_id;
    const char *refund; /* NULL: it is about the charge */
    const char *reference;
    const char *reason;
    const char *amount; /* NULL: it is not told */
    const char *currency;
    int64_t amount_minor;
    char id[ID_TEXT_SIZE];
    char timestamp[24];
    char signature[PAYMENT_SIGNATURE_SIZE];
    char *body;
};

struct posted {
    long status;
    size_t size;
    char text[ANSWER_MAX + 1];
    char error[CURL_ERROR_SIZE];
};

static err
read_flags(struct command_line *line, struct telling *telling, struct err_text *why)
{
    const struct command_option options[] = {
        {"--refund", .text = &telling->refund},
        {"--id", .text = &telling->webhook_id},
        {"--reference", .text = &telling->reference},
        {"--reason", .text = &telling->reason},
        {"--amount", .text = &telling->amount},
        {"--currency", .text = &telling->currency},
        {"--url", .text = &telling->url},
        {0},
    };
    err code = command_take(line, options, why);
    return code == ERR_ok ? command_rest(line, 2, 2, why) : code;
}

static bool
is_uuid(const char *text)
{
    struct id id;
    return id_parse(text, strlen(text), &id);
}

static bool
read_amount(struct telling *telling)
{
    char *end = NULL;
    telling->amount_minor = strtoll(telling->amount, &end, 10);
    return telling->amount[0] >= '0' && telling->amount[0] <= '9' && *end == '\0' && telling->amount_minor <= LEVEL_MAX;
}

static err
check(const struct command_line *line, struct telling *telling, struct err_text *why)
{
    if (telling->amount != NULL && !read_amount(telling)) {
        return err_say(why, ERR_wrong_setting, "--amount: \"%.60s\" is not a whole number of minor units, 0 to 10^15",
                       telling->amount);
    }
    if (telling->currency != NULL && !payment_is_currency(slice_of(telling->currency))) {
        return err_say(why, ERR_wrong_setting, "--currency: \"%.60s\" is not three capital letters", telling->currency);
    }
    if (!is_uuid(line->argv[0])) {
        return err_say(why, ERR_wrong_setting, "\"%.60s\" is not the id of a charge", line->argv[0]);
    }
    if (strcmp(line->argv[1], "succeeded") != 0 && strcmp(line->argv[1], "failed") != 0) {
        return err_say(why, ERR_wrong_setting, "\"%.60s\" is neither succeeded nor failed", line->argv[1]);
    }
    if (telling->refund != NULL && !is_uuid(telling->refund)) {
        return err_say(why, ERR_wrong_setting, "--refund: \"%.60s\" is not the id of a refund", telling->refund);
    }
    if (telling->webhook_id != NULL && (telling->webhook_id[0] == '\0' || strpbrk(telling->webhook_id, "\r\n") != NULL)) {
        return err_say(why, ERR_wrong_setting, "--id: cannot be that of a webhook");
    }
    return ERR_ok;
}

static err
make_body(const struct command_line *line, struct telling *telling, struct err_text *why)
{
    char type[32];
    (void)snprintf(type, sizeof type, "%s.%s", telling->refund != NULL ? "refund" : "charge", line->argv[1]);
    json_t *json = json_pack("{s:s, s:{s:s, s:s*, s:s*, s:s*}}", "type", type, "data", "charge", line->argv[0], "refund",
                             telling->refund, "reference", telling->reference, "reason", telling->reason);
    json_t *data = json_object_get(json, "data");
    if (telling->amount != NULL) {
        (void)json_object_set_new(data, "amount", json_integer((json_int_t)telling->amount_minor));
    }
    if (telling->currency != NULL) {
        (void)json_object_set_new(data, "currency", json_string(telling->currency));
    }
    telling->body = json_dumps(json, JSON_COMPACT | JSON_PRESERVE_ORDER);
    json_decref(json);
    return telling->body != NULL ? ERR_ok : err_say(why, ERR_wrong_setting, "--reference, --reason: must be UTF-8");
}

static err
sign(const struct command_line *line, struct telling *telling, struct err_text *why)
{
    const char *secret = line->settings.webhook_secret[0] != '\0' ? line->settings.webhook_secret : PAYMENT_DEMO_SECRET;
    struct payment_key key;
    if (sodium_init() < 0 || !payment_key_parse(secret, &key)) {
        return err_say(why, ERR_wrong_setting, "LARDER_WEBHOOK_SECRET: must be whsec_ and the base64 of 16 to 64 bytes");
    }
    struct id id = id_new();
    id_format(&id, telling->id);
    if (telling->webhook_id == NULL) {
        telling->webhook_id = telling->id;
    }
    (void)snprintf(telling->timestamp, sizeof telling->timestamp, "%" PRId64, clock_utc_ms() / 1000);
    payment_sign(&key, &(struct payment_signed){slice_of(telling->webhook_id), slice_of(telling->timestamp), slice_of(telling->body)},
                 telling->signature);
    sodium_memzero(&key, sizeof key);
    return ERR_ok;
}

static size_t
take_text(char *bytes, size_t size, size_t count, void *user)
{
    struct posted *posted = user;
    size_t given = size * count;
    size_t room = ANSWER_MAX - posted->size;
    size_t taken = given < room ? given : room;
    memcpy(posted->text + posted->size, bytes, taken);
    posted->size += taken;
    return given;
}

static struct curl_slist *
add_header(struct curl_slist *headers, const char *name, const char *value)
{
    char header[256];
    (void)snprintf(header, sizeof header, "%s: %s", name, value);
    printf("%s\n", header);
    return curl_slist_append(headers, header);
}

/* Prints what is sent, and sends it. */
static void
post(const char *url, const struct telling *telling, struct posted *posted)
{
    printf("POST %s\n", url);
    struct curl_slist *headers = add_header(NULL, "Content-Type", "application/json");
    headers = add_header(headers, "webhook-id", telling->webhook_id);
    headers = add_header(headers, "webhook-timestamp", telling->timestamp);
    headers = add_header(headers, "webhook-signature", telling->signature);
    printf("\n%s\n\n", telling->body);
    CURL *easy = curl_easy_init();
    (void)curl_easy_setopt(easy, CURLOPT_URL, url);
    (void)curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
    (void)curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, TIMEOUT_MS);
    (void)curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    (void)curl_easy_setopt(easy, CURLOPT_POSTFIELDS, telling->body);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_text);
    (void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, posted);
    (void)curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, posted->error);
    CURLcode code = curl_easy_perform(easy);
    if (code == CURLE_OK) {
        (void)curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &posted->status);
    } else if (posted->error[0] == '\0') {
        (void)snprintf(posted->error, sizeof posted->error, "%s", curl_easy_strerror(code));
    }
    curl_easy_cleanup(easy);
    curl_slist_free_all(headers);
}

static enum exit_status
webhook_run(struct command_line *line)
{
    struct telling telling = {.body = NULL};
    struct posted posted = {.status = 0};
    struct err_text why;
    char url[SETTING_TEXT_MAX + 64];
    err code = read_flags(line, &telling, &why);
    if (code == ERR_ok) {
        code = check(line, &telling, &why);
    }
    if (code == ERR_ok) {
        code = make_body(line, &telling, &why);
    }
    if (code == ERR_ok) {
        code = sign(line, &telling, &why);
    }
    if (code != ERR_ok) {
        free(telling.body);
        return command_complain(line, code, &why);
    }
    (void)snprintf(url, sizeof url, "http://%s/v1/payments/webhook", line->settings.http);
    post(telling.url != NULL ? telling.url : url, &telling, &posted);
    free(telling.body);
    if (posted.status == 0) {
        fprintf(stderr, "larder %s: not answered: %s\n", line->command, posted.error);
        return EXIT_REFUSED;
    }
    printf("%ld %s\n", posted.status, posted.text);
    return posted.status >= 200 && posted.status <= 299 ? EXIT_DONE : EXIT_REFUSED;
}

const struct command webhook_command = {
    .name = "webhook",
    .arguments = "CHARGE succeeded|failed [--refund UUID] [--amount MINOR] [--currency CODE] [--reason TEXT] [--reference TEXT] [--id "
                 "ID] [--url URL]",
    .summary = "tell the gateway, as the payment provider would, what became of a charge",
    .help = "Signs the webhook, prints it, posts it to the gateway (--url: to another address) and prints the answer. --refund makes\n"
            "it one about a refund of the charge: one of ours, or with another id one that was made at the provider. --amount and\n"
            "--currency say how much has moved. --id is the webhook's id: one that is told again under it is ignored. Signed with\n"
            "LARDER_WEBHOOK_SECRET; without it with the secret that everybody knows, which only a shop with the simulated provider,\n"
            "on loopback, believes.\n"
            "\n"
            "Exit status: 0 taken, 1 it could not be sent, 2 something given is wrong, 4 refused or not answered.\n",
    .has_settings = true,
    .run = webhook_run,
};
