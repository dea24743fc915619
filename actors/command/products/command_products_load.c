/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   `larder products load`: a file of products into the menu. Rows go out in messages of up to ROWS_MAX rows and BYTES_MAX bytes,
 *   up to WINDOW of them under way. What is wrong with a row is told with its line, and the others are done.
 *
 * MESSAGES
 *   product.load. A row waits while a message that has its product is under way, so that of two rows the later one wins even when a
 *   message is sent again.
 *
 * STATE
 *   Of each message under way: the lines of its rows, and hashes of its products.
 *
 * FAILURES
 *   A header that is not as it must be ends the command before anything is sent. A message that is refused as a whole or not answered
 *   in time ends it too: what was confirmed stays, and the same file again finds those rows unchanged.
 *
 * LIMITS
 *   The file is read into memory first: FILE_MAX. Rows that could not even be sent (longer than the table of bodies allows, no
 *   number) are refused here, all others by the actor.
 */
#include "command_products.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "kit/base/clock.h"
#include "command/command_client.h"
#include "csv.h"
#include "hash.h"
#include "json.h"
#include "kit/base/memory.h"
#include "larder.h"
#include "command/text_table.h"

#define WINDOW 4
#define ROWS_MAX 500
#define BYTES_MAX ((size_t)768 * 1024)
#define ROW_OVERHEAD 128 /* names of the fields, heads of the values */
#define SEEN_SLOTS 2048  /* a power of two, well over ROWS_MAX */
#define FILE_MAX ((size_t)1 << 30)
#define TIMEOUT_MS 30000
#define TIMEOUT_MS_MAX 600000
#define ATTEMPT_MS 5000
#define PROGRESS_TERMINAL_MS 200
#define PROGRESS_MS 5000
#define COLUMNS 8

/* One message, being filled or under way. */
struct shipment {
    bool is_under_way;
    size_t count;
    int64_t lines[ROWS_MAX];
    uint64_t seen[SEEN_SLOTS]; /* hashes of its products; 0: free */
};

struct load {
    struct command_line *line;
    const char *path;
    bool is_csv;
    bool is_dry;
    int64_t timeout_ms;

    struct wire_buffer text;
    struct csv_reader csv;
    struct csv_record record;
    const struct wire_field *columns[COLUMNS]; /* of a CSV file, from left to right */
    size_t column_count;
    size_t at; /* of NDJSON: the next line */
    int64_t line_number;
    struct json_reader reader;

    struct larder_client *client;
    struct shipment shipments[WINDOW];
    struct shipment *filling; /* NULL: none is chosen yet */
    struct wire_buffer rows;  /* encoded, of the one being filled */
    struct wire_list list;

    int64_t created;
    int64_t changed;
    int64_t unchanged;
    int64_t refused;
    int64_t began_ms;
    int64_t told_ms; /* when progress was told last */
    bool is_terminal;
};

static int64_t
now_ms(void)
{
    return clock_steady_us() / 1000;
}

static int64_t
rows_done(const struct load *load)
{
    return load->created + load->changed + load->unchanged + load->refused;
}

/* --- what is told --- */

static void
wipe_progress(const struct load *load)
{
    if (load->is_terminal) {
        fputs("\r\033[K", stderr);
    }
}

static void
tell_progress(struct load *load)
{
    int64_t now = now_ms();
    if (now - load->told_ms < (load->is_terminal ? PROGRESS_TERMINAL_MS : PROGRESS_MS)) {
        return;
    }
    load->told_ms = now;
    wipe_progress(load);
    fprintf(stderr, "%" PRId64 " rows, %" PRId64 " refused%s", rows_done(load), load->refused, load->is_terminal ? "" : "\n");
}

static void
tell_refused(struct load *load, int64_t line, struct slice product, struct slice reason)
{
    load->refused++;
    wipe_progress(load);
    printf("line %" PRId64 ": ", line);
    if (product.size > 0) {
        text_print(stdout, (struct slice){product.data, product.size < WIRE_NAME_MAX ? product.size : WIRE_NAME_MAX});
        fputs(": ", stdout);
    }
    text_print(stdout, reason);
    putchar('\n');
}

static void
tell_summary(struct load *load)
{
    int64_t took_ms = now_ms() - load->began_ms;
    int64_t rows = rows_done(load);
    wipe_progress(load);
    printf("%" PRId64 " rows%s: %" PRId64 " created, %" PRId64 " changed, %" PRId64 " unchanged, %" PRId64 " refused", rows,
           load->is_dry ? ", nothing was written; there would be" : "", load->created, load->changed, load->unchanged, load->refused);
    printf(", in %" PRId64 ".%03" PRId64 " s (%" PRId64 " rows/s)\n", took_ms / 1000, took_ms % 1000,
           rows * 1000 / (took_ms > 0 ? took_ms : 1));
}

/* --- the file --- */

static err
read_file(struct load *load, struct err_text *why)
{
    bool is_input = strcmp(load->path, "-") == 0;
    FILE *file = is_input ? stdin : fopen(load->path, "rb");
    if (file == NULL) {
        return err_say(why, ERR_wrong_setting, "%s: %s", load->path, strerror(errno));
    }
    char piece[65536];
    size_t size;
    while (load->text.size <= FILE_MAX && (size = fread(piece, 1, sizeof piece, file)) > 0) {
        wire_buffer_append(&load->text, piece, size);
    }
    bool is_broken = ferror(file) != 0;
    int reason = errno;
    if (!is_input) {
        (void)fclose(file);
    }
    if (is_broken) {
        return err_say(why, ERR_wrong_setting, "%s: %s", load->path, strerror(reason));
    }
    if (load->text.size > FILE_MAX) {
        return err_say(why, ERR_wrong_setting, "%s: larger than 1 GiB; split it", load->path);
    }
    return ERR_ok;
}

static const struct wire_field *
column_of(struct slice name)
{
    for (size_t i = 0; i < product_row_body.field_count; i++) {
        if (slice_equal(slice_of(product_row_body.fields[i].name), name)) {
            return &product_row_body.fields[i];
        }
    }
    return NULL;
}

static bool
has_column(const struct load *load, const struct wire_field *column)
{
    for (size_t i = 0; i < load->column_count; i++) {
        if (load->columns[i] == column) {
            return true;
        }
    }
    return false;
}

static err
add_column(struct load *load, struct slice name, struct err_text *why)
{
    const struct wire_field *column = column_of(name);
    int size = (int)(name.size < WIRE_NAME_MAX ? name.size : WIRE_NAME_MAX);
    const char *text = name.size > 0 ? (const char *)name.data : "";
    if (column == NULL) {
        return err_say(why, ERR_wrong_setting,
                       "%s: there is no column \"%.*s\"; there are product, name, description, category, amount, "
                       "currency, images, active",
                       load->path, size, text);
    }
    if (has_column(load, column)) {
        return err_say(why, ERR_wrong_setting, "%s: the column \"%.*s\" is there twice", load->path, size, text);
    }
    load->columns[load->column_count++] = column;
    return ERR_ok;
}

static err
read_header(struct load *load, struct err_text *why)
{
    _Static_assert(COLUMNS == product_row_FIELD_COUNT, "a column for each field");
    csv_init(&load->csv, wire_buffer_slice(&load->text));
    if (!csv_next(&load->csv, &load->record)) {
        return err_say(why, ERR_wrong_setting, "%s: it is empty; the first line names the columns", load->path);
    }
    if (load->record.fault != NULL) {
        return err_say(why, ERR_wrong_setting, "%s: the first line names the columns: %s", load->path, load->record.fault);
    }
    for (size_t i = 0; i < load->record.count; i++) {
        err code = add_column(load, load->record.fields[i], why);
        if (code != ERR_ok) {
            return code;
        }
    }
    for (size_t i = 0; i < COLUMNS; i++) {
        const struct wire_field *column = &product_row_body.fields[i];
        if (column->need == REQUIRED && !has_column(load, column)) {
            return err_say(why, ERR_wrong_setting, "%s: the column \"%s\" is missing", load->path, column->name);
        }
    }
    return ERR_ok;
}

/* What people and spreadsheets write for yes and no. */
static struct slice
truth_of(struct slice text)
{
    static const char *const words[][2] = {{"true", "true"}, {"false", "false"}, {"yes", "true"},
                                           {"no", "false"},  {"1", "true"},      {"0", "false"}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (text.size == strlen(words[i][0]) && strncasecmp((const char *)text.data, words[i][0], text.size) == 0) {
            return slice_of(words[i][1]);
        }
    }
    return text;
}

/* --- rows --- */

struct candidate {
    struct wire_product_row row;
    int64_t line;
    struct slice product; /* to be shown */
    struct err_text why;
};

static err
read_fields(struct load *load, struct candidate *candidate)
{
    const struct csv_record *record = &load->record;
    if (record->fault != NULL) {
        return err_say(&candidate->why, ERR_malformed, "%s", record->fault);
    }
    for (size_t i = 0; i < record->count && i < load->column_count; i++) {
        if (load->columns[i] == &product_row_body.fields[product_row_BIT_product]) {
            candidate->product = record->fields[i];
        }
    }
    if (record->count != load->column_count) {
        return err_say(&candidate->why, ERR_malformed, "it has %zu columns, the first line %zu", record->count, load->column_count);
    }
    json_reader_begin(&load->reader, &product_row_body, &candidate->row, NULL);
    for (size_t i = 0; i < record->count; i++) {
        const struct wire_field *column = load->columns[i];
        struct slice value = column->kind == WIRE_BOOL ? truth_of(record->fields[i]) : record->fields[i];
        if (value.size == 0 && column->need == OPTIONAL) {
            continue;
        }
        err code = json_reader_text(&load->reader, slice_of(column->name), value, &candidate->why);
        if (code != ERR_ok) {
            return code;
        }
    }
    return json_reader_end(&load->reader, &candidate->why);
}

/* The next line of NDJSON that is not blank; false at the end. */
static bool
next_line(struct load *load, struct slice *line)
{
    struct slice text = wire_buffer_slice(&load->text);
    while (load->at < text.size) {
        const uint8_t *start = text.data + load->at;
        const uint8_t *end = memchr(start, '\n', text.size - load->at);
        size_t size = end == NULL ? text.size - load->at : (size_t)(end - start);
        load->at += size + 1;
        load->line_number++;
        while (size > 0 && isspace(start[size - 1])) {
            size--;
        }
        if (size > 0) {
            *line = (struct slice){start, size};
            return true;
        }
    }
    return false;
}

static err
read_object(struct load *load, struct slice line, struct candidate *candidate)
{
    json_reader_begin(&load->reader, &product_row_body, &candidate->row, NULL);
    if (line.size > CSV_RECORD_MAX) {
        return err_say(&candidate->why, ERR_malformed, "longer than %d bytes", CSV_RECORD_MAX);
    }
    err code = json_reader_object(&load->reader, line, &candidate->why);
    if (WIRE_HAS(&candidate->row, product_row, product)) {
        candidate->product = candidate->row.product;
    }
    return code == ERR_ok ? json_reader_end(&load->reader, &candidate->why) : code;
}

/* The next row of the file; false at its end. `code` says whether it can be sent. */
static bool
next_row(struct load *load, struct candidate *candidate, err *code)
{
    struct slice line;
    candidate->product = (struct slice){0};
    if (load->is_csv && csv_next(&load->csv, &load->record)) {
        candidate->line = load->record.line;
        *code = read_fields(load, candidate);
        return true;
    }
    if (!load->is_csv && next_line(load, &line)) {
        candidate->line = load->line_number;
        *code = read_object(load, line, candidate);
        return true;
    }
    return false;
}

/* --- messages --- */

/* 0 stands for nothing. */
static uint64_t
hash_of(struct slice product)
{
    uint64_t hash = hash_bytes(HASH_FIRST, product.data, product.size);
    return hash == 0 ? 1 : hash;
}

static bool
has_seen(const struct shipment *shipment, uint64_t hash)
{
    size_t at = (size_t)hash & (SEEN_SLOTS - 1);
    while (shipment->seen[at] != 0 && shipment->seen[at] != hash) {
        at = (at + 1) & (SEEN_SLOTS - 1);
    }
    return shipment->seen[at] == hash;
}

static void
note_seen(struct shipment *shipment, uint64_t hash)
{
    size_t at = (size_t)hash & (SEEN_SLOTS - 1);
    while (shipment->seen[at] != 0 && shipment->seen[at] != hash) {
        at = (at + 1) & (SEEN_SLOTS - 1);
    }
    shipment->seen[at] = hash;
}

static err
take_results(struct load *load, const struct shipment *shipment, const struct larder_reply *reply, struct err_text *why)
{
    struct wire_product_loaded loaded;
    struct wire_product_result result;
    err code = larder_reply_decode(reply, &loaded, why);
    if (code == ERR_ok && loaded.results.count != shipment->count) {
        code = err_say(why, ERR_malformed, "the answer is not about the rows that were sent");
    }
    if (code != ERR_ok) {
        return code;
    }
    for (size_t i = 0; wire_list_next(&loaded.results, &product_result_body, &result); i++) {
        if (slice_equal(result.outcome, slice_of("refused"))) {
            tell_refused(load, shipment->lines[i], result.product,
                         WIRE_HAS(&result, product_result, error) ? result.error : slice_of("refused"));
        }
    }
    load->created += loaded.created;
    load->changed += loaded.changed;
    load->unchanged += loaded.unchanged;
    return ERR_ok;
}

/* Waits for one answer. */
static err
receive_one(struct load *load, struct err_text *why)
{
    struct larder_reply reply;
    while (larder_client_receive(load->client, PROGRESS_TERMINAL_MS, &reply) != ERR_ok) {
        tell_progress(load);
    }
    struct shipment *shipment = &load->shipments[reply.tag];
    shipment->is_under_way = false;
    if (reply.status != ERR_ok) {
        bool is_said = WIRE_HAS(&reply.problem, problem, detail);
        return err_say(why, reply.status, "lines %" PRId64 " to %" PRId64 ": %s: %.*s", shipment->lines[0],
                       shipment->lines[shipment->count - 1], err_symbol(reply.status), is_said ? (int)reply.problem.detail.size : 0,
                       is_said ? (const char *)reply.problem.detail.data : "");
    }
    err code = take_results(load, shipment, &reply, why);
    tell_progress(load);
    return code;
}

/* Chooses a free one, waiting for it. */
static err
begin_shipment(struct load *load, struct err_text *why)
{
    while (load->filling == NULL) {
        for (size_t i = 0; i < WINDOW && load->filling == NULL; i++) {
            load->filling = load->shipments[i].is_under_way ? NULL : &load->shipments[i];
        }
        if (load->filling == NULL) {
            err code = receive_one(load, why);
            if (code != ERR_ok) {
                return code;
            }
        }
    }
    load->filling->count = 0;
    memset(load->filling->seen, 0, sizeof load->filling->seen);
    load->rows.size = 0;
    load->list = (struct wire_list){0};
    return ERR_ok;
}

static err
send_shipment(struct load *load, struct err_text *why)
{
    struct shipment *shipment = load->filling;
    load->filling = NULL;
    if (shipment == NULL || shipment->count == 0) {
        return ERR_ok;
    }
    struct wire_product_load body = {0};
    wire_list_end(&load->list, &load->rows);
    WIRE_SET(&body, product_load, rows, load->list);
    if (load->is_dry) {
        WIRE_SET(&body, product_load, dry_run, true);
    }
    struct larder_request request = {
        .op = OP_product_load,
        .body = &body,
        .tag = (uint64_t)(shipment - load->shipments),
        .options = {.timeout_ms = load->timeout_ms, .attempt_ms = ATTEMPT_MS},
    };
    err code = larder_client_send(load->client, &request);
    shipment->is_under_way = code == ERR_ok;
    return code == ERR_ok ? ERR_ok : err_say(why, code, "line %" PRId64 ": %s", shipment->lines[0], err_words(code));
}

static size_t
size_of_row(const struct wire_product_row *row)
{
    size_t size = ROW_OVERHEAD + row->product.size + row->name.size + row->category.size + row->currency.size;
    size += WIRE_HAS(row, product_row, description) ? row->description.size : 0;
    return size + (WIRE_HAS(row, product_row, images) ? row->images.size : 0);
}

/* Waits until no message that has this product is under way. */
static err
await_product(struct load *load, uint64_t hash, struct err_text *why)
{
    err code = ERR_ok;
    for (size_t i = 0; i < WINDOW; i++) {
        while (code == ERR_ok && load->shipments[i].is_under_way && has_seen(&load->shipments[i], hash)) {
            code = receive_one(load, why);
        }
    }
    return code;
}

static err
add_row(struct load *load, const struct candidate *candidate, struct err_text *why)
{
    uint64_t hash = hash_of(candidate->row.product);
    err code = ERR_ok;
    bool is_full =
        load->filling != NULL && (load->filling->count == ROWS_MAX || load->rows.size + size_of_row(&candidate->row) > BYTES_MAX);
    if (is_full) {
        code = send_shipment(load, why);
    }
    if (code == ERR_ok && load->filling == NULL) {
        code = begin_shipment(load, why);
    }
    if (code == ERR_ok) {
        code = await_product(load, hash, why);
    }
    if (code != ERR_ok) {
        return code;
    }
    note_seen(load->filling, hash);
    load->filling->lines[load->filling->count++] = candidate->line;
    wire_list_add(&load->list, &product_row_body, &candidate->row, &load->rows);
    return ERR_ok;
}

/* --- the whole --- */

static err
load_rows(struct load *load, struct err_text *why)
{
    struct candidate candidate;
    err judged = ERR_ok;
    err code = ERR_ok;
    while (code == ERR_ok && next_row(load, &candidate, &judged)) {
        if (judged == ERR_ok) {
            code = add_row(load, &candidate, why);
        } else {
            tell_refused(load, candidate.line, candidate.product, slice_of(candidate.why.text));
        }
    }
    if (code == ERR_ok) {
        code = send_shipment(load, why);
    }
    while (code == ERR_ok && larder_client_pending(load->client) > 0) {
        code = receive_one(load, why);
    }
    return code;
}

static bool
ends_with(const char *text, const char *end)
{
    size_t size = strlen(text);
    return size >= strlen(end) && strcasecmp(text + size - strlen(end), end) == 0;
}

static err
take_load(struct command_line *line, struct load *load, struct err_text *why)
{
    const char *format = NULL;
    const struct command_option options[] = {
        {"--dry-run", .is_there = &load->is_dry},
        {"--format", .text = &format},
        {"--timeout-ms", .number = &load->timeout_ms, .lo = 1, .hi = TIMEOUT_MS_MAX},
        {0},
    };
    err code = command_take(line, options, why);
    if (code == ERR_ok) {
        code = command_rest(line, 1, 1, why);
    }
    if (code != ERR_ok) {
        return code;
    }
    load->path = line->argv[0];
    bool is_json_file = ends_with(load->path, ".ndjson") || ends_with(load->path, ".jsonl");
    load->is_csv = format == NULL ? !is_json_file : strcmp(format, "csv") == 0;
    if (format != NULL && !load->is_csv && strcmp(format, "ndjson") != 0) {
        return err_say(why, ERR_wrong_setting, "--format: \"%.40s\" is neither csv nor ndjson", format);
    }
    if (format == NULL && !is_json_file && !ends_with(load->path, ".csv")) {
        return err_say(why, ERR_wrong_setting, "--format: say csv or ndjson; the name of the file does not tell");
    }
    return ERR_ok;
}

static void
free_load(struct load *load)
{
    larder_client_destroy(&load->client);
    json_reader_fini(&load->reader);
    csv_fini(&load->csv);
    wire_buffer_fini(&load->text);
    wire_buffer_fini(&load->rows);
    free(load);
}

static enum exit_status
run_load(struct load *load)
{
    struct err_text why = {""};
    load->is_terminal = isatty(STDERR_FILENO) == 1;
    load->began_ms = load->told_ms = now_ms();
    err code = load_rows(load, &why);
    tell_summary(load);
    if (code != ERR_ok) {
        fprintf(stderr, "larder %s: %s\n", load->line->command, why.text);
        fprintf(stderr, "Not all rows are loaded. Load the file again: rows that are there already are unchanged.\n");
        return EXIT_FAILED;
    }
    return load->refused > 0 ? EXIT_REFUSED : EXIT_DONE;
}

static enum exit_status
load_run(struct command_line *line)
{
    struct load *load = memory_new(1, sizeof *load);
    struct err_text why;
    int shards = 0;
    load->line = line;
    load->timeout_ms = TIMEOUT_MS;
    err code = take_load(line, load, &why);
    if (code == ERR_ok) {
        code = read_file(load, &why);
    }
    if (code == ERR_ok && load->is_csv) {
        code = read_header(load, &why);
    }
    if (code == ERR_ok) {
        struct command_peers peers = {.settings = &line->settings, .actor = "product"};
        code = command_client_create(&peers, &load->client, &shards, &why);
    }
    enum exit_status status = code == ERR_ok ? run_load(load) : command_complain(line, code, &why);
    free_load(load);
    return status;
}

const struct command products_load_command = {
    .name = "load",
    .arguments = "FILE|- [--format csv|ndjson] [--dry-run]",
    .summary = "create or replace products by the rows of a file",
    .help = "CSV: commas, quotes as in RFC 4180, and a first line that names the columns in any order:\n"
            "  product, name, category, amount (in minor units: 2490 for 24.90), currency (three capital letters), and if\n"
            "  you like description, images (addresses, a space between them), active (true, false; true when empty).\n"
            "NDJSON: an object with the same names per line. Without --format the name of the file tells: .csv, .ndjson,\n"
            ".jsonl; `-` is standard input.\n"
            "\n"
            "Each row is a whole product: what it leaves out is empty afterwards. A row that is refused is told with its line,\n"
            "its SKU and the reason, and the others are done. Of several rows about one product the last one wins. A file\n"
            "that is loaded again changes nothing. --dry-run only says what would happen; of rows about one product that are\n"
            "more than a message apart each is then compared with the menu as it is. --timeout-ms N (30000): how long each\n"
            "message is waited for.\n"
            "\n"
            "Exit status: 0 all rows are done, 1 it could not go on (load the file again), 2 something given is wrong and\n"
            "nothing was sent, 4 some rows were refused.\n"
            "\n"
            "  larder products load samples/menu.csv\n"
            "  larder products load - --format ndjson --dry-run < menu.ndjson\n",
    .run = load_run,
};
