/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   What the parts of `larder letters` share: the arguments, the client of the dlq, the complaints.
 *
 * FAILURES
 *   What is wrong in the command is said before anything is sent, and ends with 2. Refusals and silence end with 1; with --json they
 *   are problem documents on standard error.
 *
 * LIMITS
 *   Filters are judged by the dlq; only sizes and characters are looked at here. An id is given whole.
 */
#include "command_letters_line.h"

#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command/command_client.h"
#include "json.h"
#include "exchange/problem.h"

#define TIMEOUT_MS_MAX 600000
#define ATTEMPT_MS 2000
#define AUTHOR_MAX 64

static const struct json_name filter_names[] = {
    {"min-units", "min_units", JSON_RENAMED},
    {"min-amount", "min_amount", JSON_RENAMED},
    {NULL, NULL, JSON_RENAMED},
};

err
letters_begin(struct letters *letters, struct command_line *line, struct err_text *why)
{
    *letters = (struct letters){.line = line, .timeout_ms = LARDER_TIMEOUT_MS};
    letters->as_json = command_take_switch(line, "--json");
    return command_take_number(line, "--timeout-ms", 1, TIMEOUT_MS_MAX, &letters->timeout_ms, why);
}

/* As a field of the dlq has it: at most `max` bytes of UTF-8. */
static err
check_text(const char *flag, const char *text, size_t max, struct err_text *why)
{
    if (text != NULL && (text[0] == '\0' || strlen(text) > max || !wire_is_utf8(slice_of(text)))) {
        return err_say(why, ERR_wrong_setting, "%s: must be 1 to %zu bytes of UTF-8", flag, max);
    }
    return ERR_ok;
}

err
letters_take_author(struct letters *letters, struct err_text *why)
{
    const struct passwd *user = getpwuid(geteuid());
    letters->author = getenv("USER");
    if (letters->author == NULL && user != NULL) {
        letters->author = user->pw_name;
    }
    if (check_text("USER", letters->author, AUTHOR_MAX, NULL) != ERR_ok) {
        letters->author = NULL;
    }
    err code = command_take_text(letters->line, "--author", &letters->author, why);
    if (code == ERR_ok) {
        code = command_take_text(letters->line, "--reason", &letters->reason, why);
    }
    if (code == ERR_ok) {
        code = check_text("--author", letters->author, AUTHOR_MAX, why);
    }
    return code == ERR_ok ? check_text("--reason", letters->reason, 255, why) : code;
}

err
letters_need_reason(const struct letters *letters, struct err_text *why)
{
    return letters->reason != NULL ? ERR_ok : err_say(why, ERR_wrong_setting, "--reason: say why; it is kept with the letter");
}

err
letters_duration(const char *flag, const char *text, int64_t *ms, struct err_text *why)
{
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    char *end = NULL;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    bool is_number = text[0] >= '0' && text[0] <= '9' && errno == 0;
    for (size_t i = 0; is_number && i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(end, units[i].unit) == 0 && number <= TIME_MAX / units[i].ms) {
            *ms = number * units[i].ms;
            return ERR_ok;
        }
    }
    return err_say(why, ERR_wrong_setting, "%s: \"%.40s\" is not a time like 500ms, 30s, 10m, 2h or 7d", flag, text);
}

static err
take_age(struct letters *letters, const char *flag, int64_t *ms, bool *is_there, struct err_text *why)
{
    const char *text = NULL;
    err code = command_take_text(letters->line, flag, &text, why);
    *is_there = text != NULL;
    return code == ERR_ok && text != NULL ? letters_duration(flag, text, ms, why) : code;
}

static err
take_ages(struct letters *letters, struct wire_letter_filter *filter, bool *are_any, struct err_text *why)
{
    bool is_there = false;
    int64_t ms = 0;
    err code = take_age(letters, "--older-than", &ms, &is_there, why);
    if (code == ERR_ok && is_there) {
        WIRE_SET(filter, letter_filter, older_than_ms, ms);
        *are_any = true;
    }
    if (code == ERR_ok) {
        code = take_age(letters, "--younger-than", &ms, &is_there, why);
    }
    if (code == ERR_ok && is_there) {
        WIRE_SET(filter, letter_filter, younger_than_ms, ms);
        *are_any = true;
    }
    return code;
}

err
letters_take_filter(struct letters *letters, struct wire_letter_filter *filter, bool *are_any, struct err_text *why)
{
    static const char *const names[] = {"state",  "kind", "destination", "source",     "type",
                                        "reason", "key",  "min-units",   "min-amount", NULL};
    struct json_reader reader = {0};
    json_reader_begin(&reader, &letter_filter_body, filter, filter_names);
    *are_any = false;
    err code = ERR_ok;
    for (const char *const *name = names; code == ERR_ok && *name != NULL; name++) {
        char flag[32];
        const char *value = NULL;
        struct err_text reason;
        snprintf(flag, sizeof flag, "--%s", *name);
        code = command_take_text(letters->line, flag, &value, why);
        if (code == ERR_ok && value != NULL && json_reader_text(&reader, slice_of(*name), slice_of(value), &reason) != ERR_ok) {
            code = err_say(why, ERR_wrong_setting, "--%s", reason.text);
        }
        *are_any = *are_any || value != NULL;
    }
    json_reader_fini(&reader);
    return code == ERR_ok ? take_ages(letters, filter, are_any, why) : code;
}

err
letters_open(struct letters *letters, int least, int most, struct err_text *why)
{
    int shards = 0;
    struct command_peers peers = {.settings = &letters->line->settings, .actor = "dlq"};
    err code = command_rest(letters->line, least, most, why);
    letters->options = (struct larder_options){.timeout_ms = letters->timeout_ms, .attempt_ms = ATTEMPT_MS};
    return code == ERR_ok ? command_client_create(&peers, &letters->client, &shards, why) : code;
}

err
letters_ids(const struct letters *letters, struct id *ids, size_t *count, struct err_text *why)
{
    *count = 0;
    for (int i = 0; i < letters->line->argc; i++) {
        const char *text = letters->line->argv[i];
        if (!id_parse(text, strlen(text), &ids[*count])) {
            return err_say(why, ERR_wrong_setting, "\"%.60s\" is no id; give it whole, as `larder letters list` shows it", text);
        }
        (*count)++;
    }
    return ERR_ok;
}

void
letters_close(struct letters *letters)
{
    larder_client_destroy(&letters->client);
}

enum exit_status
letters_complain(const struct letters *letters, err code, const struct err_text *why)
{
    bool is_usage = code == ERR_wrong_setting || code == ERR_invalid_field;
    if (letters->as_json && code != ERR_wrong_setting) {
        struct wire_buffer out = {0};
        struct wire_problem problem = {0};
        WIRE_SET(&problem, problem, detail, slice_of(why->text));
        problem_write(code, &problem, NULL, &out);
        fprintf(stderr, "%.*s\n", (int)out.size, (const char *)out.data);
        wire_buffer_fini(&out);
        return is_usage ? EXIT_USAGE : EXIT_FAILED;
    }
    struct err_text said;
    bool is_silent = code == ERR_unavailable || code == ERR_deadline_exceeded;
    (void)err_say(&said, code, "%s%s", is_silent ? "the dlq does not answer: " : "", why->text);
    return command_complain(letters->line, is_usage ? ERR_wrong_setting : code, &said);
}
