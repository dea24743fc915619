/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   `larder letters list`, `show`, `stats` and `replays`: what there is.
 *
 * MESSAGES
 *   dlq.list, dlq.show, dlq.stats, dlq.replays, dlq.status.
 *
 * FAILURES
 *   An id or a filter that the dlq does not know is refused with its sentence.
 *
 * LIMITS
 *   A list is read in pages of PAGE letters; each is a table of its own, so columns may shift between pages. Letters that are opened
 *   meanwhile are newer than the first page and are not in it.
 */
#include "kit/base/clock.h"
#include "command_letters.h"
#include "command_letters_line.h"
#include "larder.h"
#include "json.h"

#define PAGE 1000
#define LIST_LIMIT 100
#define LIST_LIMIT_MAX 1000000

/* A list as it is printed: rows of a table, or elements of a document. */
struct listing {
    struct letters letters;
    int64_t now_ms;
    int64_t shown;
    int64_t last; /* number of the last one shown */
};

static void
show_page(struct listing *listing, struct wire_list list)
{
    struct wire_letter letter;
    struct text_table table = {0};
    struct wire_buffer out = {0};
    bool as_json = listing->letters.as_json;
    if (!as_json && list.count > 0) {
        letters_table_begin(&table);
    }
    for (; wire_list_next(&list, &letter_body, &letter); listing->shown++) {
        listing->last = letter.number;
        if (as_json) {
            wire_buffer_append(&out, ",", listing->shown > 0 ? 1 : 0);
            json_write(&letter_body, &letter, &out);
        } else {
            letters_table_add(&table, &letter, listing->now_ms);
        }
    }
    if (as_json) {
        text_write(stdout, wire_buffer_slice(&out));
    } else if (listing->shown > 0) {
        text_table_print(&table, stdout, text_width(stdout));
    }
    wire_buffer_fini(&out);
}

static err
list_letters(struct listing *listing, struct wire_letter_filter *filter, int64_t limit, struct err_text *why)
{
    bool has_more = true;
    for (int64_t left = limit; left > 0 && has_more; left = limit - listing->shown) {
        struct wire_letter_page page;
        WIRE_SET(filter, letter_filter, limit, left < PAGE ? left : PAGE);
        err code = dlq_client_list(listing->letters.client, &listing->letters.options, filter, &page, why);
        if (code != ERR_ok) {
            return code;
        }
        if (listing->letters.as_json && !WIRE_HAS(filter, letter_filter, before)) {
            fputs("{\"data\":[", stdout);
        }
        show_page(listing, page.letters);
        has_more = page.has_more && page.letters.count > 0;
        WIRE_SET(filter, letter_filter, before, listing->last);
    }
    if (listing->letters.as_json) {
        printf("],\"has_more\":%s}\n", has_more ? "true" : "false");
    } else if (listing->shown == 0) {
        printf("no letters\n");
    } else if (has_more) {
        printf("There are older ones: --before %lld goes on, --limit shows more.\n", (long long)listing->last);
    }
    return ERR_ok;
}

static enum exit_status
list_run(struct command_line *line)
{
    struct listing listing = {.now_ms = clock_utc_ms()};
    struct wire_letter_filter filter = {0};
    struct err_text why;
    bool are_any = false;
    int64_t limit = LIST_LIMIT;
    int64_t before = 0;
    err code = letters_begin(&listing.letters, line, &why);
    if (code == ERR_ok) {
        code = letters_take_filter(&listing.letters, &filter, &are_any, &why);
    }
    if (code == ERR_ok) {
        code = command_take_number(line, "--limit", 1, LIST_LIMIT_MAX, &limit, &why);
    }
    if (code == ERR_ok) {
        code = command_take_number(line, "--before", 1, INT64_MAX, &before, &why);
    }
    if (code == ERR_ok) {
        code = letters_open(&listing.letters, 0, 0, &why);
    }
    if (code == ERR_ok) {
        if (before > 0) {
            WIRE_SET(&filter, letter_filter, before, before);
        }
        code = list_letters(&listing, &filter, limit, &why);
    }
    enum exit_status status = code == ERR_ok ? EXIT_DONE : letters_complain(&listing.letters, code, &why);
    letters_close(&listing.letters);
    return status;
}

const struct command letters_list_command = {
    .name = "list",
    .arguments = "[filters] [--limit N] [--before NUMBER] [--json]",
    .summary = "list letters, the newest first",
    .help = "Filters; all that are given must hold:\n"
            "  --state STATE          waiting, dead, replaying, done, discarded, stale\n"
            "  --kind KIND            event, subscriber, request, call, saga\n"
            "  --destination PLACE    who could not process or deliver it, e.g. stock/0\n"
            "  --source PLACE         where its event comes from, e.g. factory/0\n"
            "  --type TYPE            e.g. factory.produced, stock.take, factory.call\n"
            "  --reason REASON        symbol of the error, e.g. call_failed\n"
            "  --key KEY              what it is about, e.g. donut\n"
            "  --older-than TIME      opened at least so long ago: 500ms, 30s, 10m, 2h, 7d\n"
            "  --younger-than TIME    opened at most so long ago\n"
            "  --min-units N          at least so many units at stake\n"
            "  --min-amount N         at least so much money at stake, in minor units\n"
            "Shows 100 unless --limit says otherwise; --before goes on behind the letter of that number.\n"
            "--json prints {\"data\":[...],\"has_more\":true}.\n"
            "\n"
            "  larder letters list --state dead\n"
            "  larder letters list --state dead --destination factory/0 --reason call_failed --older-than 10m\n"
            "  larder letters list --state dead --limit 100000 --json | jq -r '.data[].id'\n",
    .run = list_run,
};

static enum exit_status
show_run(struct command_line *line)
{
    struct letters letters;
    struct wire_letter_whole whole;
    struct err_text why;
    struct id id;
    size_t count = 0;
    err code = letters_begin(&letters, line, &why);
    if (code == ERR_ok) {
        code = letters_open(&letters, 1, 1, &why);
    }
    if (code == ERR_ok) {
        code = letters_ids(&letters, &id, &count, &why);
    }
    if (code == ERR_ok) {
        struct wire_letter_ref ref = {0};
        WIRE_SET(&ref, letter_ref, letter, id);
        code = dlq_client_show(letters.client, &letters.options, &ref, &whole, &why);
    }
    enum exit_status status = code == ERR_ok ? EXIT_DONE : letters_complain(&letters, code, &why);
    if (code == ERR_ok && letters.as_json) {
        letters_print_json(&letter_whole_body, &whole);
    } else if (code == ERR_ok) {
        letters_print_whole(&whole, clock_utc_ms());
    }
    letters_close(&letters);
    return status;
}

const struct command letters_show_command = {
    .name = "show",
    .arguments = "ID [--json]",
    .summary = "show a letter with its message, its attempts, and what was done to it",
    .help = "  larder letters show 3d931d17-b5c5-8136-aed8-b06a5766b58c\n",
    .run = show_run,
};

static void
print_counts(const struct wire_letter_stats *stats)
{
    static const struct text_column columns[] = {
        {"STATE", false}, {"DESTINATION", false}, {"REASON", false},   {"LETTERS", true},
        {"UNITS", true},  {"AMOUNT", true},       {"CURRENCY", false},
    };
    struct wire_list counts = stats->counts;
    struct wire_letter_count count;
    struct text_table table = {0};
    text_table_begin(&table, columns, sizeof columns / sizeof columns[0]);
    while (wire_list_next(&counts, &letter_count_body, &count)) {
        text_table_add(&table, count.state);
        text_table_add(&table, count.destination);
        text_table_add(&table, count.reason);
        text_table_add_number(&table, count.letters);
        text_table_add_number(&table, count.units);
        if (WIRE_HAS(&count, letter_count, currency)) {
            text_table_add_number(&table, count.amount);
            text_table_add(&table, count.currency);
        } else {
            text_table_add(&table, slice_of("-"));
            text_table_add(&table, slice_of("-"));
        }
    }
    text_table_print(&table, stdout, text_width(stdout));
}

static enum exit_status
stats_run(struct command_line *line)
{
    struct letters letters;
    struct wire_letter_stats stats;
    struct err_text why;
    err code = letters_begin(&letters, line, &why);
    if (code == ERR_ok) {
        code = letters_open(&letters, 0, 0, &why);
    }
    if (code == ERR_ok) {
        code = dlq_client_stats(letters.client, &letters.options, &(struct wire_nothing){0}, &stats, &why);
    }
    enum exit_status status = code == ERR_ok ? EXIT_DONE : letters_complain(&letters, code, &why);
    if (code == ERR_ok && letters.as_json) {
        letters_print_json(&letter_stats_body, &stats);
    } else if (code == ERR_ok) {
        letters_print_totals(stdout, &stats, clock_utc_ms());
        printf("\n%s", stats.counts.count > 0 ? "\n" : "");
        if (stats.counts.count > 0) {
            print_counts(&stats);
        }
    }
    letters_close(&letters);
    return status;
}

const struct command letters_stats_command = {
    .name = "stats",
    .arguments = "[--json]",
    .summary = "count letters per state, destination and reason, with what is at stake",
    .help = "From counters that the dlq keeps: it costs nothing, however many letters there are.\n",
    .run = stats_run,
};

static void
print_replays(struct wire_list list)
{
    static const struct text_column columns[] = {
        {"REPLAY", false}, {"STATE", false}, {"AGE", true},     {"TOTAL", true},
        {"DONE", true},    {"FAILED", true}, {"AUTHOR", false}, {"REASON", false},
    };
    struct wire_replay replay;
    struct text_table table = {0};
    int64_t now_ms = clock_utc_ms();
    text_table_begin(&table, columns, sizeof columns / sizeof columns[0]);
    while (wire_list_next(&list, &replay_body, &replay)) {
        char id[ID_TEXT_SIZE];
        char age[TEXT_TABLE_AGE_SIZE];
        id_format(&replay.id, id);
        text_age(now_ms - replay.started, age);
        text_table_add(&table, slice_of(id));
        text_table_add(&table, replay.state);
        text_table_add(&table, slice_of(age));
        text_table_add_number(&table, replay.total);
        text_table_add_number(&table, replay.done);
        text_table_add_number(&table, replay.failed);
        text_table_add(&table, WIRE_HAS(&replay, replay, author) && replay.author.size > 0 ? replay.author : slice_of("-"));
        text_table_add(&table, WIRE_HAS(&replay, replay, reason) && replay.reason.size > 0 ? replay.reason : slice_of("-"));
    }
    text_table_print(&table, stdout, text_width(stdout));
}

static err
list_replays(struct letters *letters, int64_t limit, struct err_text *why)
{
    struct wire_dlq_replays body = {0};
    struct wire_replay_page page;
    WIRE_SET(&body, dlq_replays, limit, limit);
    err code = dlq_client_replays(letters->client, &letters->options, &body, &page, why);
    if (code != ERR_ok) {
        return code;
    }
    if (letters->as_json) {
        struct wire_buffer out = {0};
        json_write_list(page.replays, &replay_body, &out);
        fputs("{\"data\":", stdout);
        text_write(stdout, wire_buffer_slice(&out));
        printf(",\"has_more\":%s}\n", page.has_more ? "true" : "false");
        wire_buffer_fini(&out);
    } else if (page.replays.count == 0) {
        printf("no replays\n");
    } else {
        print_replays(page.replays);
    }
    return ERR_ok;
}

static err
show_replay(struct letters *letters, struct err_text *why)
{
    struct id id;
    size_t count = 0;
    err code = letters_ids(letters, &id, &count, why);
    if (code != ERR_ok) {
        return code;
    }
    struct wire_replay_ref ref = {0};
    struct wire_replay replay;
    WIRE_SET(&ref, replay_ref, replay, id);
    code = dlq_client_status(letters->client, &letters->options, &ref, &replay, why);
    if (code == ERR_ok && letters->as_json) {
        letters_print_json(&replay_body, &replay);
    } else if (code == ERR_ok) {
        letters_print_replay(&replay, clock_utc_ms());
    }
    return code;
}

static enum exit_status
replays_run(struct command_line *line)
{
    struct letters letters;
    struct err_text why;
    int64_t limit = LIST_LIMIT;
    err code = letters_begin(&letters, line, &why);
    if (code == ERR_ok) {
        code = command_take_number(line, "--limit", 1, PAGE, &limit, &why);
    }
    if (code == ERR_ok) {
        code = letters_open(&letters, 0, 1, &why);
    }
    if (code == ERR_ok) {
        code = line->argc == 1 ? show_replay(&letters, &why) : list_replays(&letters, limit, &why);
    }
    enum exit_status status = code == ERR_ok ? EXIT_DONE : letters_complain(&letters, code, &why);
    letters_close(&letters);
    return status;
}

const struct command letters_replays_command = {
    .name = "replays",
    .arguments = "[REPLAY] [--limit N] [--json]",
    .summary = "list replays of selections, or show how far one is",
    .help = "The newest first, 100 unless --limit says otherwise.\n",
    .run = replays_run,
};
