/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   Compares charges with what the payment provider says of them: their status, their amount, and how much of them is paid back. What
 *   moved there and was never told here is found nowhere else.
 *
 *   A charge that does not agree is read and asked for anew, LOOKS times: the shop may be open, and the provider quicker than its
 *   webhooks. What payment will still ask for by itself, or has a letter about, is no fault but to come.
 *
 * STATE
 *   Reads what payment_verify.h gives, the newest charges first, ASKED_MAX of them.
 *
 * FAILURES
 *   Charges that nobody can be asked about are never passed over in silence: the simulated provider keeps no books, cash has none, and
 *   of a provider that does not answer, or cannot, that is said. None of these is a fault.
 *
 * LIMITS
 *   One call after the other. A charge that payment does not have is not found: a provider is asked by our ids alone.
 */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>
#include <jansson.h>

#include "command_verify.h"

#include "kit/base/memory.h"
#include "payment/payment_verify.h"

#define ASKED_MAX 10000
#define TEXT_MAX 4096
#define URL_SIZE (SETTING_TEXT_MAX + 64)
#define UNANSWERED_MAX 3 /* in a row: then it is away */
#define TIMEOUT_MS 5000L

enum { LOOKS = 4, PAUSE_MS = 250, TOLD_MAX = 20 };

enum agreement { AGREED, TO_COME, NOT_SAID, DIFFERENT };

/* What the provider says of it. */
struct saying {
    long http_status;
    bool is_read;
    char status[17];
    char currency[4];
    int64_t amount;   /* -1: not said */
    int64_t refunded; /* -1: not said */
};

struct inquiry {
    struct verify_survey *survey;
    const struct verify_source *payment;
    const struct settings *settings;
    CURL *easy;
    size_t size;
    char text[TEXT_MAX + 1];
    char error[CURL_ERROR_SIZE];
    int unanswered;
    int64_t agreed;
    int64_t to_come;
    int64_t without_refunds; /* of those that agree: how much is paid back was not said */
    int64_t not_said;
    int64_t different;
};

/* --- what payment has --- */

static err
count_of(struct inquiry *inquiry, const char *provider, int64_t *count, struct err_text *why)
{
    err code = verify_read_number(payment_select_count(inquiry->payment->db, provider), count);
    return verify_unread(inquiry->payment, code, why);
}

/* The newest below a number. */
static err
read_next(struct inquiry *inquiry, int64_t below, struct charge_outside *claim, bool *found, struct err_text *why)
{
    struct db_statement *read = payment_select_outside(inquiry->payment->db, below);
    err code = db_query(read);
    *found = code == ERR_ok && db_next(read);
    if (*found) {
        payment_see_outside(claim, read);
    }
    db_done(read);
    db_rollback(inquiry->payment->db);
    return verify_unread(inquiry->payment, code, why);
}

/* --- what the provider says --- */

static size_t
take_text(char *bytes, size_t size, size_t count, void *user)
{
    struct inquiry *inquiry = user;
    size_t given = size * count;
    size_t room = TEXT_MAX - inquiry->size;
    size_t taken = given < room ? given : room;
    memcpy(inquiry->text + inquiry->size, bytes, taken);
    inquiry->size += taken;
    return given;
}

static void
copy_member(const json_t *object, const char *name, char *text, size_t size)
{
    const json_t *member = json_object_get(object, name);
    (void)snprintf(text, size, "%s", json_is_string(member) ? json_string_value(member) : "");
}

static int64_t
number_member(const json_t *object, const char *name)
{
    const json_t *member = json_object_get(object, name);
    return json_is_integer(member) && json_integer_value(member) >= 0 ? (int64_t)json_integer_value(member) : -1;
}

/* False: no answer; `error` says why. */
static bool
ask(struct inquiry *inquiry, const struct id *charge, struct saying *saying)
{
    char url[URL_SIZE];
    char id[ID_TEXT_SIZE];
    const char *base = inquiry->settings->payment_url;
    size_t size = strlen(base);
    while (size > 0 && base[size - 1] == '/') {
        size--;
    }
    id_format(charge, id);
    (void)snprintf(url, sizeof url, "%.*s/charges/%s", (int)size, base, id);
    inquiry->size = 0;
    inquiry->error[0] = '\0';
    (void)curl_easy_setopt(inquiry->easy, CURLOPT_URL, url);
    CURLcode code = curl_easy_perform(inquiry->easy);
    if (code != CURLE_OK) {
        (void)snprintf(inquiry->error, sizeof inquiry->error, "%s", curl_easy_strerror(code));
        return false;
    }
    *saying = (struct saying){.amount = -1, .refunded = -1};
    (void)curl_easy_getinfo(inquiry->easy, CURLINFO_RESPONSE_CODE, &saying->http_status);
    json_t *json = json_loadb(inquiry->text, inquiry->size, JSON_REJECT_DUPLICATES, NULL);
    copy_member(json, "status", saying->status, sizeof saying->status);
    copy_member(json, "currency", saying->currency, sizeof saying->currency);
    saying->amount = number_member(json, "amount");
    saying->refunded = number_member(json, "refunded");
    saying->is_read = saying->http_status >= 200 && saying->http_status <= 299 && saying->status[0] != '\0';
    json_decref(json);
    return true;
}

/* --- both --- */

static bool
is_missing(const struct saying *saying)
{
    return saying->http_status == 404 || saying->http_status == 410;
}

static enum agreement
compare_status(const struct charge_outside *claim, const struct saying *saying)
{
    bool is_paid_here = claim->charge.has_succeeded;
    bool is_paid_there = saying->is_read && strcmp(saying->status, "succeeded") == 0;
    if (!saying->is_read && !is_missing(saying)) {
        return NOT_SAID;
    }
    if (is_paid_here == is_paid_there) {
        return AGREED;
    }
    return is_paid_there && claim->is_watched ? TO_COME : DIFFERENT;
}

static enum agreement
compare(const struct charge_outside *claim, const struct saying *saying)
{
    enum agreement agreement = compare_status(claim, saying);
    bool is_paid = claim->charge.has_succeeded;
    bool is_amount = (saying->amount < 0 || saying->amount == claim->charge.amount) &&
                     (saying->currency[0] == '\0' || strcmp(saying->currency, claim->charge.currency) == 0);
    if (agreement != AGREED || !is_paid) {
        return agreement;
    }
    if (!is_amount) {
        return claim->has_other_money ? TO_COME : DIFFERENT;
    }
    if (saying->refunded < 0 || saying->refunded == claim->charge.refunded) {
        return AGREED;
    }
    bool may_come = saying->refunded > claim->charge.refunded && (claim->refunding > 0 || claim->has_notes);
    return may_come ? TO_COME : DIFFERENT;
}

static void
tell(struct inquiry *inquiry, const struct charge_outside *claim, const struct saying *saying)
{
    char charge[ID_TEXT_SIZE];
    char amount[64] = "";
    char refunded[64] = "";
    id_format(&claim->charge.id, charge);
    if (inquiry->different++ >= TOLD_MAX) {
        inquiry->survey->faults++;
        return;
    }
    if (saying->amount >= 0) {
        (void)snprintf(amount, sizeof amount, ", %" PRId64 " %s", saying->amount, saying->currency);
    }
    if (saying->refunded >= 0) {
        (void)snprintf(refunded, sizeof refunded, ", %" PRId64 " paid back", saying->refunded);
    }
    verify_fault(inquiry->survey, inquiry->payment->name,
                 "charge %s is %s, %" PRId64 " %s, %" PRId64 " paid back, but the provider says %s%s%s", charge, claim->charge.status,
                 claim->charge.amount, claim->charge.currency, claim->charge.refunded,
                 is_missing(saying) ? "that it does not know it" : saying->status, amount, refunded);
}

static void
count(struct inquiry *inquiry, const struct charge_outside *claim, const struct saying *saying, enum agreement agreement)
{
    switch (agreement) {
    case AGREED:
        inquiry->agreed++;
        inquiry->without_refunds += claim->charge.has_succeeded && saying->refunded < 0 ? 1 : 0;
        break;
    case TO_COME:
        inquiry->to_come++;
        break;
    case NOT_SAID:
        inquiry->not_said++;
        break;
    case DIFFERENT:
        tell(inquiry, claim, saying);
        break;
    }
}

/* One charge, until it agrees or was looked at often enough. */
static err
look(struct inquiry *inquiry, struct charge_outside *claim, struct err_text *why)
{
    struct saying saying = {.amount = -1, .refunded = -1};
    enum agreement agreement = NOT_SAID;
    bool found = true;
    err code = ERR_ok;
    for (int i = 0; code == ERR_ok && i < LOOKS; i++) {
        if (i > 0) {
            (void)poll(NULL, 0, PAUSE_MS);
            code = read_next(inquiry, claim->charge.n + 1, claim, &found, why);
        }
        if (code == ERR_ok && !ask(inquiry, &claim->charge.id, &saying)) {
            inquiry->unanswered++;
            inquiry->not_said++;
            return ERR_ok;
        }
        agreement = code == ERR_ok ? compare(claim, &saying) : agreement;
        if (agreement != DIFFERENT) {
            break;
        }
    }
    inquiry->unanswered = 0;
    if (code == ERR_ok) {
        count(inquiry, claim, &saying, agreement);
    }
    return code;
}

static err
look_at_all(struct inquiry *inquiry, struct err_text *why)
{
    struct charge_outside claim = {.charge.n = INT64_MAX};
    bool found = true;
    err code = ERR_ok;
    for (int64_t i = 0; code == ERR_ok && found && i < ASKED_MAX && inquiry->unanswered < UNANSWERED_MAX; i++) {
        code = read_next(inquiry, claim.charge.n, &claim, &found, why);
        if (code == ERR_ok && found) {
            code = look(inquiry, &claim, why);
        }
    }
    return code;
}

static err
ask_outside(struct inquiry *inquiry, int64_t charges, struct err_text *why)
{
    struct curl_slist *headers = NULL;
    char bearer[SETTING_TEXT_MAX + 32];
    if (inquiry->settings->payment_url[0] == '\0') {
        printf("provider: LARDER_PAYMENT_URL is not set here: %" PRId64 " charges were not compared with what it says\n", charges);
        return ERR_ok;
    }
    inquiry->easy = curl_easy_init();
    if (inquiry->settings->payment_token[0] != '\0') {
        (void)snprintf(bearer, sizeof bearer, "Authorization: Bearer %s", inquiry->settings->payment_token);
        headers = curl_slist_append(NULL, bearer);
    }
    (void)curl_easy_setopt(inquiry->easy, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(inquiry->easy, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(inquiry->easy, CURLOPT_NOPROXY, "*");
    (void)curl_easy_setopt(inquiry->easy, CURLOPT_TIMEOUT_MS, TIMEOUT_MS);
    (void)curl_easy_setopt(inquiry->easy, CURLOPT_HTTPHEADER, headers);
    (void)curl_easy_setopt(inquiry->easy, CURLOPT_WRITEFUNCTION, take_text);
    (void)curl_easy_setopt(inquiry->easy, CURLOPT_WRITEDATA, inquiry);
    err code = look_at_all(inquiry, why);
    curl_easy_cleanup(inquiry->easy);
    curl_slist_free_all(headers);
    if (code != ERR_ok) {
        return code;
    }
    int64_t asked = inquiry->agreed + inquiry->to_come + inquiry->not_said + inquiry->different;
    printf("provider: of %" PRId64 " charges %" PRId64 " agree, %" PRId64 " are to come, %" PRId64 " do not agree\n", charges,
           inquiry->agreed, inquiry->to_come, inquiry->different);
    if (inquiry->not_said + (charges - asked) > 0) {
        printf("provider: it cannot say what became of %" PRId64 " charges: they were not compared%s%s\n",
               inquiry->not_said + (charges - asked), inquiry->error[0] == '\0' ? "" : ": ", inquiry->error);
    }
    if (inquiry->without_refunds > 0) {
        printf("provider: it does not say how much of %" PRId64 " charges is paid back: that was not compared\n",
               inquiry->without_refunds);
    }
    return ERR_ok;
}

err
verify_compare_provider(struct verify_survey *survey, const struct settings *settings, struct err_text *why)
{
    struct inquiry *inquiry = memory_new(1, sizeof *inquiry);
    int64_t simulated = 0;
    int64_t by_hand = 0;
    int64_t outside = 0;
    err code = ERR_ok;
    inquiry->survey = survey;
    inquiry->settings = settings;
    inquiry->payment = verify_find(survey, "payment/0");
    if (inquiry->payment != NULL) {
        code = count_of(inquiry, "simulated", &simulated, why);
        code = code == ERR_ok ? count_of(inquiry, "by_hand", &by_hand, why) : code;
        code = code == ERR_ok ? count_of(inquiry, "http", &outside, why) : code;
        db_rollback(inquiry->payment->db);
    }
    if (code == ERR_ok && simulated > 0) {
        printf("provider: the simulated one keeps no books: %" PRId64 " charges were not compared with it\n", simulated);
    }
    if (code == ERR_ok && by_hand > 0) {
        printf("provider: %" PRId64 " charges were paid by hand: nobody else has books of them\n", by_hand);
    }
    if (code == ERR_ok && outside > 0) {
        code = ask_outside(inquiry, outside, why);
    }
    free(inquiry);
    return code;
}
