/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   How letters, replays and counts are shown to a person, and as JSON.
 *
 * FAILURES
 *   None. Text of messages goes through text_table, which shows what would command a terminal as dots.
 *
 * LIMITS
 *   Ages are by this machine's clock, which may differ from the dlq's.
 */
#include <string.h>

#include "command_letters_line.h"
#include "json.h"
#include "exchange/problem.h"

#define LABEL_WIDTH 12

static const struct text_column letter_columns[] = {
    {"ID", false},  {"STATE", false}, {"AGE", true},     {"DESTINATION", false}, {"TYPE", false},
    {"KEY", false}, {"TRIES", true},  {"REASON", false}, {"ERROR", false},
};

void
letters_table_begin(struct text_table *table)
{
    text_table_begin(table, letter_columns, sizeof letter_columns / sizeof letter_columns[0]);
}

void
letters_table_add(struct text_table *table, const struct wire_letter *letter, int64_t now_ms)
{
    char id[ID_TEXT_SIZE];
    char age[TEXT_TABLE_AGE_SIZE];
    id_format(&letter->id, id);
    text_age(now_ms - letter->opened, age);
    text_table_add(table, slice_of(id));
    text_table_add(table, letter->state);
    text_table_add(table, slice_of(age));
    text_table_add(table, letter->destination);
    text_table_add(table, WIRE_HAS(letter, letter, type) ? letter->type : letter->kind);
    text_table_add(table, letter->key.size > 0 ? letter->key : slice_of("-"));
    text_table_add_number(table, letter->attempts);
    text_table_add(table, letter->reason);
    text_table_add(table, letter->error);
}

static void
print_text(FILE *out, const char *lead, struct slice text)
{
    fputs(lead, out);
    text_print(out, text);
}

void
letters_print_line(FILE *out, const struct wire_letter *letter, int64_t now_ms)
{
    char id[ID_TEXT_SIZE];
    char age[TEXT_TABLE_AGE_SIZE];
    id_format(&letter->id, id);
    text_age(now_ms - letter->opened, age);
    fputs(id, out);
    print_text(out, "  ", letter->state);
    fprintf(out, "  %s", age);
    print_text(out, "  ", letter->destination);
    print_text(out, "  ", WIRE_HAS(letter, letter, type) ? letter->type : letter->kind);
    print_text(out, "  ", letter->key);
    print_text(out, "  ", letter->reason);
    print_text(out, ": ", letter->error);
    fputc('\n', out);
}

/* --- one letter --- */

static void
print_field(const char *label, struct slice text)
{
    printf("%-*s ", LABEL_WIDTH, label);
    text_print(stdout, text);
    putchar('\n');
}

static void
print_time(const char *label, int64_t utc_ms, int64_t now_ms)
{
    char text[JSON_TIME_SIZE];
    char age[TEXT_TABLE_AGE_SIZE];
    json_time_format(utc_ms, text);
    text_age(utc_ms > now_ms ? utc_ms - now_ms : now_ms - utc_ms, age);
    printf("%-*s %.*s  (%s%s%s)\n", LABEL_WIDTH, label, (int)sizeof text, text, utc_ms > now_ms ? "in " : "", age,
           utc_ms > now_ms ? "" : " ago");
}

static void
print_id(const char *label, const struct id *id)
{
    char text[ID_TEXT_SIZE];
    id_format(id, text);
    printf("%-*s %s\n", LABEL_WIDTH, label, text);
}

static void
print_origin(const struct wire_letter *letter)
{
    if (WIRE_HAS(letter, letter, source)) {
        print_field("source", letter->source);
    }
    if (WIRE_HAS(letter, letter, seq) && WIRE_HAS(letter, letter, to)) {
        printf("%-*s %lld to %lld\n", LABEL_WIDTH, "events", (long long)letter->seq, (long long)letter->to);
    } else if (WIRE_HAS(letter, letter, seq)) {
        printf("%-*s %lld\n", LABEL_WIDTH, "seq", (long long)letter->seq);
    }
    if (WIRE_HAS(letter, letter, request)) {
        print_id("request", &letter->request);
    }
    if (WIRE_HAS(letter, letter, traceparent)) {
        print_field("traceparent", letter->traceparent);
    }
}

static void
print_letter(const struct wire_letter *letter, int64_t now_ms)
{
    print_id("letter", &letter->id);
    print_field("state", letter->state);
    print_field("kind", letter->kind);
    print_field("destination", letter->destination);
    if (WIRE_HAS(letter, letter, type)) {
        print_field("type", letter->type);
    }
    print_field("key", letter->key);
    print_origin(letter);
    print_field("reason", letter->reason);
    print_field("error", letter->error);
    if (WIRE_HAS(letter, letter, status)) {
        print_field("status", letter->status);
    }
    if (WIRE_HAS(letter, letter, units)) {
        printf("%-*s %lld units\n", LABEL_WIDTH, "at stake", (long long)letter->units);
    }
    if (WIRE_HAS(letter, letter, amount)) {
        printf("%-*s %lld minor units %.*s\n", LABEL_WIDTH, "at stake", (long long)letter->amount, (int)letter->currency.size,
               (const char *)letter->currency.data);
    }
    printf("%-*s %lld\n", LABEL_WIDTH, "attempts", (long long)letter->attempts);
    print_time("first", letter->first, now_ms);
    print_time("last", letter->last, now_ms);
    print_time("opened", letter->opened, now_ms);
    print_time("changed", letter->changed, now_ms);
    if (WIRE_HAS(letter, letter, useful_until)) {
        print_time("useful until", letter->useful_until, now_ms);
    }
    if (WIRE_HAS(letter, letter, replay)) {
        print_id("replay", &letter->replay);
    }
}

static void
print_fields(const char *title, struct wire_list fields)
{
    static const struct text_column columns[] = {{"  FIELD", false}, {"VALUE", false}};
    struct wire_letter_field field;
    struct text_table table = {0};
    if (fields.count == 0) {
        return;
    }
    printf("\n%s\n", title);
    text_table_begin(&table, columns, 2);
    while (wire_list_next(&fields, &letter_field_body, &field)) {
        char name[80];
        snprintf(name, sizeof name, "  %.*s", (int)field.name.size, (const char *)field.name.data);
        text_table_add(&table, slice_of(name));
        text_table_add(&table, field.value);
    }
    text_table_print(&table, stdout, text_width(stdout));
}

static void
print_stamp(int64_t utc_ms)
{
    char text[JSON_TIME_SIZE];
    json_time_format(utc_ms, text);
    printf("  %.*s  ", (int)sizeof text, text);
}

static void
print_history(struct wire_list history)
{
    struct wire_letter_attempt attempt;
    if (history.count > 0) {
        printf("\nattempts\n");
    }
    while (wire_list_next(&history, &letter_attempt_body, &attempt)) {
        print_stamp(attempt.time);
        text_print(stdout, attempt.error);
        putchar('\n');
    }
}

static void
print_audit(struct wire_list audit)
{
    struct wire_letter_audit line;
    if (audit.count > 0) {
        printf("\nwhat was done\n");
    }
    while (wire_list_next(&audit, &letter_audit_body, &line)) {
        print_stamp(line.time);
        text_print(stdout, line.action);
        print_text(stdout, " by ", line.author.size > 0 ? line.author : slice_of("somebody"));
        if (WIRE_HAS(&line, letter_audit, reason) && line.reason.size > 0) {
            print_text(stdout, ": ", line.reason);
        }
        if (WIRE_HAS(&line, letter_audit, detail) && line.detail.size > 0) {
            print_text(stdout, " (", line.detail);
            putchar(')');
        }
        putchar('\n');
    }
}

void
letters_print_whole(const struct wire_letter_whole *whole, int64_t now_ms)
{
    print_letter(&whole->letter, now_ms);
    print_fields("message", whole->fields);
    if (WIRE_HAS(whole, letter_whole, original)) {
        print_fields("message before it was edited", whole->original);
    }
    print_history(whole->history);
    print_audit(whole->audit);
}

/* --- many --- */

static void
print_oldest(FILE *out, bool is_there, int64_t opened_ms, int64_t now_ms)
{
    char age[TEXT_TABLE_AGE_SIZE];
    if (is_there) {
        text_age(now_ms - opened_ms, age);
        fprintf(out, " (the oldest %s)", age);
    }
}

void
letters_print_totals(FILE *out, const struct wire_letter_stats *stats, int64_t now_ms)
{
    fprintf(out, "%lld dead", (long long)stats->dead);
    print_oldest(out, WIRE_HAS(stats, letter_stats, oldest_dead), stats->oldest_dead, now_ms);
    fprintf(out, ", %lld waiting", (long long)stats->waiting);
    print_oldest(out, WIRE_HAS(stats, letter_stats, oldest_waiting), stats->oldest_waiting, now_ms);
    fputs(stats->is_full ? "; full: only burials are taken" : "", out);
}

void
letters_print_replay(const struct wire_replay *replay, int64_t now_ms)
{
    char age[TEXT_TABLE_AGE_SIZE];
    print_id("replay", &replay->id);
    print_field("state", replay->state);
    printf("%-*s %lld of %lld done, %lld failed\n", LABEL_WIDTH, "letters", (long long)replay->done, (long long)replay->total,
           (long long)replay->failed);
    if (WIRE_HAS(replay, replay, ended)) {
        text_age(replay->ended - replay->started, age);
        print_time("started", replay->started, now_ms);
        printf("%-*s %s\n", LABEL_WIDTH, "took", age);
    } else {
        print_time("started", replay->started, now_ms);
    }
    if (WIRE_HAS(replay, replay, author) && replay->author.size > 0) {
        print_field("author", replay->author);
    }
    if (WIRE_HAS(replay, replay, reason) && replay->reason.size > 0) {
        print_field("reason", replay->reason);
    }
    if (WIRE_HAS(replay, replay, stopped_by)) {
        print_id("stopped by", &replay->stopped_by);
    }
    if (WIRE_HAS(replay, replay, error)) {
        print_field("error", replay->error);
    }
}

void
letters_print_json(const struct wire_body *body, const void *source)
{
    struct wire_buffer out = {0};
    json_write(body, source, &out);
    text_write(stdout, wire_buffer_slice(&out));
    putchar('\n');
    wire_buffer_fini(&out);
}

/* --- one by one --- */

static void
append(struct wire_buffer *out, const char *text)
{
    wire_buffer_append(out, text, strlen(text));
}

void
letters_note_done(struct letters *letters, struct letters_outcomes *outcomes, const struct wire_letter *letter, const char *word)
{
    char id[ID_TEXT_SIZE];
    id_format(&letter->id, id);
    if (!letters->as_json) {
        printf("%s  %s\n", id, word);
    } else {
        append(&outcomes->done, outcomes->done_count > 0 ? "," : "");
        json_write(&letter_body, letter, &outcomes->done);
    }
    outcomes->done_count++;
}

void
letters_note_failed(struct letters *letters, struct letters_outcomes *outcomes, const struct id *id, err code, const char *sentence)
{
    char text[ID_TEXT_SIZE];
    id_format(id, text);
    fprintf(stderr, "%s  ", text);
    text_print(stderr, slice_of(sentence));
    fputc('\n', stderr);
    if (letters->as_json) {
        struct wire_problem problem = {0};
        WIRE_SET(&problem, problem, detail, slice_of(sentence));
        append(&outcomes->failed, outcomes->failed_count > 0 ? ",{\"letter\":\"" : "{\"letter\":\"");
        append(&outcomes->failed, text);
        append(&outcomes->failed, "\",\"problem\":");
        problem_write(code, &problem, NULL, &outcomes->failed);
        append(&outcomes->failed, "}");
    }
    outcomes->failed_count++;
}

enum exit_status
letters_end_outcomes(struct letters *letters, struct letters_outcomes *outcomes)
{
    if (letters->as_json) {
        fputs("{\"data\":[", stdout);
        text_write(stdout, wire_buffer_slice(&outcomes->done));
        fputs("],\"failed\":[", stdout);
        text_write(stdout, wire_buffer_slice(&outcomes->failed));
        puts("]}");
    }
    wire_buffer_fini(&outcomes->done);
    wire_buffer_fini(&outcomes->failed);
    return outcomes->failed_count == 0 ? EXIT_DONE : EXIT_FAILED;
}
