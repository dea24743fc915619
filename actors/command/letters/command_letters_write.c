/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   `larder letters discard`, `restore`, `edit` and `cancel`: what a person decides.
 *
 * MESSAGES
 *   dlq.discard, dlq.restore, dlq.edit, dlq.cancel.
 *
 * FAILURES
 *   Several letters are dealt with one by one; one that is refused does not stop the others. Every id is read before the first
 *   request is sent.
 *
 * LIMITS
 *   LETTERS_IDS_MAX letters a time.
 */
#include <string.h>

#include "kit/base/clock.h"
#include "command_letters.h"
#include "command_letters_line.h"
#include "larder.h"

#define CHANGES_MAX 64

static err
discard_one(struct letters *letters, const struct id *id, struct wire_letter *letter, struct err_text *why)
{
    struct wire_dlq_discard body = {0};
    WIRE_SET(&body, dlq_discard, letter, *id);
    WIRE_SET(&body, dlq_discard, reason, slice_of(letters->reason));
    if (letters->author != NULL) {
        WIRE_SET(&body, dlq_discard, author, slice_of(letters->author));
    }
    return dlq_client_discard(letters->client, &letters->options, &body, letter, why);
}

static err
restore_one(struct letters *letters, const struct id *id, struct wire_letter *letter, struct err_text *why)
{
    struct wire_dlq_restore body = {0};
    WIRE_SET(&body, dlq_restore, letter, *id);
    if (letters->reason != NULL) {
        WIRE_SET(&body, dlq_restore, reason, slice_of(letters->reason));
    }
    if (letters->author != NULL) {
        WIRE_SET(&body, dlq_restore, author, slice_of(letters->author));
    }
    return dlq_client_restore(letters->client, &letters->options, &body, letter, why);
}

static enum exit_status
run_each(struct command_line *line, bool needs_reason,
         err (*one)(struct letters *letters, const struct id *id, struct wire_letter *letter, struct err_text *why))
{
    static struct id ids[LETTERS_IDS_MAX];
    struct letters letters;
    struct err_text why;
    size_t count = 0;
    err code = letters_begin(&letters, line, &why);
    if (code == ERR_ok) {
        code = letters_take_author(&letters, &why);
    }
    if (code == ERR_ok) {
        code = letters_open(&letters, 1, LETTERS_IDS_MAX, &why);
    }
    if (code == ERR_ok && needs_reason) {
        code = letters_need_reason(&letters, &why);
    }
    if (code == ERR_ok) {
        code = letters_ids(&letters, ids, &count, &why);
    }
    struct letters_outcomes outcomes = {0};
    enum exit_status status = EXIT_DONE;
    for (size_t i = 0; code == ERR_ok && i < count; i++) {
        struct wire_letter letter;
        err failed = one(&letters, &ids[i], &letter, &why);
        if (failed == ERR_ok) {
            char word[32];
            snprintf(word, sizeof word, "%.*s", (int)letter.state.size, (const char *)letter.state.data);
            letters_note_done(&letters, &outcomes, &letter, word);
        } else {
            letters_note_failed(&letters, &outcomes, &ids[i], failed, why.text);
        }
    }
    status = code == ERR_ok ? letters_end_outcomes(&letters, &outcomes) : letters_complain(&letters, code, &why);
    letters_close(&letters);
    return status;
}

static enum exit_status
discard_run(struct command_line *line)
{
    return run_each(line, true, discard_one);
}

static enum exit_status
restore_run(struct command_line *line)
{
    return run_each(line, false, restore_one);
}

const struct command letters_discard_command = {
    .name = "discard",
    .arguments = "ID... --reason WHY [--author NAME] [--json]",
    .summary = "give letters up; they can be restored for some days",
    .help = "What waits behind a discarded event of the same key goes on. The author is $USER unless told otherwise.\n"
            "\n"
            "  larder letters discard 3d931d17-b5c5-8136-aed8-b06a5766b58c --reason 'counted by hand'\n",
    .run = discard_run,
};

const struct command letters_restore_command = {
    .name = "restore",
    .arguments = "ID... [--reason WHY] [--author NAME] [--json]",
    .summary = "take a discard back: the letters are dead again",
    .help = "  larder letters restore 3d931d17-b5c5-8136-aed8-b06a5766b58c\n",
    .run = restore_run,
};

/* --- edit --- */

/* The arguments behind the id, each field=value. */
static err
read_changes(const struct command_line *line, struct wire_list *changes, struct wire_buffer *elements, struct err_text *why)
{
    for (int i = 1; i < line->argc; i++) {
        const char *text = line->argv[i];
        const char *equals = strchr(text, '=');
        struct wire_letter_field field = {0};
        size_t name_size = equals == NULL ? 0 : (size_t)(equals - text);
        if (name_size == 0 || name_size > 64) {
            return err_say(why, ERR_wrong_setting, "\"%.60s\" is not like field=value", text);
        }
        WIRE_SET(&field, letter_field, name, (struct slice){(const uint8_t *)text, name_size});
        WIRE_SET(&field, letter_field, value, slice_of(equals + 1));
        if (field.value.size > 4096 || !wire_is_utf8(field.name) || !wire_is_utf8(field.value)) {
            return err_say(why, ERR_wrong_setting, "\"%.60s\": at most 4096 bytes of UTF-8", text);
        }
        wire_list_add(changes, &letter_field_body, &field, elements);
    }
    wire_list_end(changes, elements);
    return ERR_ok;
}

static err
edit(struct letters *letters, struct wire_letter_whole *whole, struct err_text *why)
{
    struct wire_buffer elements = {0};
    struct wire_list changes = {0};
    struct wire_dlq_edit body = {0};
    struct id id;
    const char *text = letters->line->argv[0];
    if (!id_parse(text, strlen(text), &id)) {
        return err_say(why, ERR_wrong_setting, "\"%.60s\" is no id; give it whole, as `larder letters list` shows it", text);
    }
    err code = read_changes(letters->line, &changes, &elements, why);
    if (code == ERR_ok) {
        WIRE_SET(&body, dlq_edit, letter, id);
        WIRE_SET(&body, dlq_edit, changes, changes);
        WIRE_SET(&body, dlq_edit, reason, slice_of(letters->reason));
        if (letters->author != NULL) {
            WIRE_SET(&body, dlq_edit, author, slice_of(letters->author));
        }
        code = dlq_client_edit(letters->client, &letters->options, &body, whole, why);
    }
    wire_buffer_fini(&elements);
    return code;
}

static enum exit_status
edit_run(struct command_line *line)
{
    struct letters letters;
    struct wire_letter_whole whole;
    struct err_text why;
    err code = letters_begin(&letters, line, &why);
    if (code == ERR_ok) {
        code = letters_take_author(&letters, &why);
    }
    if (code == ERR_ok) {
        code = letters_open(&letters, 2, CHANGES_MAX + 1, &why);
    }
    if (code == ERR_ok) {
        code = letters_need_reason(&letters, &why);
    }
    if (code == ERR_ok) {
        code = edit(&letters, &whole, &why);
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

const struct command letters_edit_command = {
    .name = "edit",
    .arguments = "ID FIELD=VALUE... --reason WHY [--author NAME] [--json]",
    .summary = "change the message of a dead letter; the original is kept",
    .help = "Fields are called as `larder letters show` calls them. The message must still be one of its type. Then\n"
            "`larder letters replay ID` processes it.\n"
            "\n"
            "  larder letters edit 3d931d17-b5c5-8136-aed8-b06a5766b58c quantity=10 --reason 'the lot was 10'\n",
    .run = edit_run,
};

/* --- cancel --- */

static err
cancel(struct letters *letters, struct wire_replay *replay, struct err_text *why)
{
    struct wire_replay_ref ref = {0};
    struct id id;
    size_t count = 0;
    err code = letters_ids(letters, &id, &count, why);
    if (code != ERR_ok) {
        return code;
    }
    WIRE_SET(&ref, replay_ref, replay, id);
    if (letters->author != NULL) {
        WIRE_SET(&ref, replay_ref, author, slice_of(letters->author));
    }
    return dlq_client_cancel(letters->client, &letters->options, &ref, replay, why);
}

static enum exit_status
cancel_run(struct command_line *line)
{
    struct letters letters;
    struct wire_replay replay;
    struct err_text why;
    err code = letters_begin(&letters, line, &why);
    if (code == ERR_ok) {
        code = letters_take_author(&letters, &why);
    }
    if (code == ERR_ok) {
        code = letters_open(&letters, 1, 1, &why);
    }
    if (code == ERR_ok) {
        code = cancel(&letters, &replay, &why);
    }
    enum exit_status status = code == ERR_ok ? EXIT_DONE : letters_complain(&letters, code, &why);
    if (code == ERR_ok && letters.as_json) {
        letters_print_json(&replay_body, &replay);
    } else if (code == ERR_ok) {
        letters_print_replay(&replay, clock_utc_ms());
    }
    letters_close(&letters);
    return status;
}

const struct command letters_cancel_command = {
    .name = "cancel",
    .arguments = "REPLAY [--author NAME] [--json]",
    .summary = "end a replay; what it has done stays done",
    .help = "`larder letters replays` lists them.\n",
    .run = cancel_run,
};
