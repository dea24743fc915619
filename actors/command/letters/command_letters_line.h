/* SPDX-License-Identifier: MPL-2.0 */
/* What the parts of `larder letters` share: their arguments, their client of the dlq, how a letter is shown. */
#ifndef LARDER_COMMAND_LETTERS_LINE_H
#define LARDER_COMMAND_LETTERS_LINE_H

#include "command/command.h"
#include "larder.h"
#include "command/text_table.h"

#define LETTERS_IDS_MAX 1000

struct letters {
    struct command_line *line;
    struct larder_client *client; /* of the dlq */
    struct larder_options options;
    int64_t timeout_ms;
    bool as_json;
    const char *author; /* NULL: not known */
    const char *reason; /* NULL: not said */
};

/* Takes the flags that all parts have: --json, --timeout-ms. */
MUST_CHECK err
letters_begin(struct letters *letters, struct command_line *line, struct err_text *why);

/* Takes --author, which is $USER when it is not there, and --reason. */
MUST_CHECK err
letters_take_author(struct letters *letters, struct err_text *why);

/* Refuses unless there is a --reason; for what must have one. */
MUST_CHECK err
letters_need_reason(const struct letters *letters, struct err_text *why);

/* Takes the flags of a filter. Its texts are the arguments'. `are_any`: there was one. */
MUST_CHECK err
letters_take_filter(struct letters *letters, struct wire_letter_filter *filter, bool *are_any, struct err_text *why);

/* Takes the settings, expects so many arguments, and connects. */
MUST_CHECK err
letters_open(struct letters *letters, int least, int most, struct err_text *why);

/* The arguments from `from` on, all of them ids. */
MUST_CHECK err
letters_ids(const struct letters *letters, struct id *ids, size_t *count, struct err_text *why);

/* "10m" -> 600000; ms, s, m, h and d are understood. */
MUST_CHECK err
letters_duration(const char *flag, const char *text, int64_t *ms, struct err_text *why);

void
letters_close(struct letters *letters);

/* Says what went wrong: a sentence, or with --json a problem document, on standard error. EXIT_USAGE for what is to be mended in the
 * command, EXIT_FAILED otherwise. */
enum exit_status
letters_complain(const struct letters *letters, err code, const struct err_text *why);

/* --- showing (command_letters_text.c) --- */

/* A table of letters that is being collected. */
void
letters_table_begin(struct text_table *table);
void
letters_table_add(struct text_table *table, const struct wire_letter *letter, int64_t now_ms);

/* One letter, in a line. */
void
letters_print_line(FILE *out, const struct wire_letter *letter, int64_t now_ms);

/* A letter with all that is known. */
void
letters_print_whole(const struct wire_letter_whole *whole, int64_t now_ms);

/* "5 dead (the oldest 3m), 2 waiting" */
void
letters_print_totals(FILE *out, const struct wire_letter_stats *stats, int64_t now_ms);

/* The replay in a few lines. */
void
letters_print_replay(const struct wire_replay *replay, int64_t now_ms);

/* A body as a line of JSON on standard output. */
void
letters_print_json(const struct wire_body *body, const void *source);

/* --- what was done to several letters, one by one --- */

/* {"data":[...],"failed":[...]} or a line each. */
struct letters_outcomes {
    struct wire_buffer done;
    struct wire_buffer failed;
    size_t done_count;
    size_t failed_count;
};

void
letters_note_done(struct letters *letters, struct letters_outcomes *outcomes, const struct wire_letter *letter, const char *word);
void
letters_note_failed(struct letters *letters, struct letters_outcomes *outcomes, const struct id *id, err code, const char *sentence);

/* Prints the document; EXIT_FAILED when there is a failed one. */
enum exit_status
letters_end_outcomes(struct letters *letters, struct letters_outcomes *outcomes);

#endif
