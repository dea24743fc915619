/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   `larder tail`: prints events as they are published, a line each.
 *
 * MESSAGES
 *   Subscribes to the PUB of every actor and shard: [topic][event_header][body].
 *
 * FAILURES
 *   What cannot be read is told on standard error and passed over, and once that nobody at all is heard. An actor that is away is
 *   connected to when it comes; one that says nothing for three of its HEADs is connected to anew.
 *
 * LIMITS
 *   From now on only, and without a position: events that are published while nobody listens are not shown. Actors of settings that
 *   name more shards than there are are waited for in vain.
 */
#include "command_table.h"

#include <errno.h>
#include <string.h>

#include <czmq.h>

#include "json.h"
#include "link.h"
#include "message.h"
#include "kit/settings/topology.h"

#define PREFIXES_MAX 16
#define SOURCES_MAX 64
#define LOOK_MS 1000
#define SILENT_MS 3000
#define HEAD_TOPIC "head"
#define EVENT_FRAMES 3
#define TYPE_WIDTH 18U
#define KEY_WIDTH 16U

static const char *const actors[] = {
#define ACTOR(name, offset) #name,
#include "kit/settings/topology.def"
};

struct source {
    zsock_t *socket;
    struct link_pulse pulse;
};

struct tail {
    struct source sources[SOURCES_MAX];
    int count;
    bool as_json;
    bool shows_heads;
    int64_t left;     /* events to go; -1: no end */
    int64_t began_ms; /* 0: somebody was heard, or it was said that nobody is */
};

/* Nothing happens is not the same as nobody is there. */
static void
say_silence(struct tail *tail, int64_t now_ms)
{
    for (int i = 0; i < tail->count && tail->began_ms != 0; i++) {
        tail->began_ms = tail->sources[i].pulse.heard_ms != 0 ? 0 : tail->began_ms;
    }
    if (tail->began_ms != 0 && now_ms - tail->began_ms >= SILENT_MS) {
        tail->began_ms = 0;
        fprintf(stderr, "larder tail: none of %d sources was heard within %d s: is a shop running, and with these ports?\n",
                tail->count, SILENT_MS / 1000);
    }
}

/* HEADs are taken of all, shown or not: they tell that a source is there. */
static err
connect_source(struct tail *tail, const struct command_line *line, const char *endpoint, struct err_text *why)
{
    if (tail->count == SOURCES_MAX) {
        return err_say(why, ERR_wrong_setting, "%d sources can be followed at once, and there are more", SOURCES_MAX);
    }
    struct source *source = &tail->sources[tail->count];
    err code = link_events(endpoint, &source->socket, why);
    if (code != ERR_ok) {
        return code;
    }
    tail->count++;
    for (int i = 0; i < line->argc; i++) {
        zsock_set_subscribe(source->socket, line->argv[i]);
    }
    zsock_set_subscribe(source->socket, line->argc == 0 ? "" : HEAD_TOPIC);
    return ERR_ok;
}

static err
tail_connect(struct tail *tail, const struct command_line *line, struct err_text *why)
{
    err code = ERR_ok;
    for (size_t i = 0; i < sizeof actors / sizeof actors[0]; i++) {
        for (int shard = 0; code == ERR_ok && shard < topology_shards(&line->settings, actors[i]); shard++) {
            char endpoint[ENDPOINT_MAX];
            topology_connect(&line->settings, actors[i], shard, ENDPOINT_EVENTS, endpoint);
            code = connect_source(tail, line, endpoint, why);
        }
    }
    return code;
}

/* As it is when a terminal would only show it; otherwise as JSON text. */
static void
write_shown(struct slice text, struct wire_buffer *out)
{
    bool is_plain = text.size > 0;
    for (size_t i = 0; i < text.size; i++) {
        is_plain = is_plain && text.data[i] > 0x20 && text.data[i] < 0x7f;
    }
    if (is_plain) {
        wire_buffer_append(out, text.data, text.size);
    } else {
        json_write_text(text, out);
    }
}

static void
write_words(const char *words, struct wire_buffer *out)
{
    wire_buffer_append(out, words, strlen(words));
}

/* Filled up with spaces, at least one. */
static void
write_column(struct slice text, size_t width, struct wire_buffer *out)
{
    size_t end = out->size + width;
    write_shown(text, out);
    do {
        write_words(" ", out);
    } while (out->size < end);
}

static void
write_body(const struct wire_body *body, struct slice frame, struct wire_buffer *out)
{
    union json_any value;
    struct err_text why;
    if (body == NULL) {
        write_words("null", out);
    } else if (wire_decode(body, frame, &value, &why) == ERR_ok) {
        json_write(body, &value, out);
    } else {
        fprintf(stderr, "larder tail: a body cannot be read: %s\n", why.text);
        write_words("null", out);
    }
}

static void
write_json(const struct wire_event_header *header, const struct wire_body *body, struct slice frame, struct wire_buffer *out)
{
    write_words("{\"header\":", out);
    json_write(&event_header_body, header, out);
    write_words(",\"body\":", out);
    write_body(body, frame, out);
    write_words("}\n", out);
}

static void
write_line(const struct wire_event_header *header, const struct wire_body *body, struct slice frame, struct wire_buffer *out)
{
    char time_text[JSON_TIME_SIZE];
    json_time_format(header->time, time_text);
    wire_buffer_append(out, time_text, sizeof time_text);
    write_words("  ", out);
    write_column(header->type, TYPE_WIDTH, out);
    write_column(header->key.size == 0 ? header->source : header->key, KEY_WIDTH, out);
    write_body(body, frame, out);
    write_words("\n", out);
}

static void
print_event(struct tail *tail, struct slice topic, struct slice header_frame, struct slice body_frame)
{
    bool is_head = slice_equal(topic, slice_of(HEAD_TOPIC));
    if (is_head && !tail->shows_heads) {
        return;
    }
    struct wire_event_header header;
    struct err_text why;
    if (wire_decode(&event_header_body, header_frame, &header, &why) != ERR_ok) {
        fprintf(stderr, "larder tail: a header cannot be read: %s\n", why.text);
        return;
    }
    enum event_type type = wire_event_find((const char *)header.type.data, header.type.size);
    const struct wire_body *body = type == EVENT_COUNT ? NULL : wire_events[type].body;
    if (is_head) {
        body = &head_body;
    }
    struct wire_buffer out = {0};
    if (tail->as_json) {
        write_json(&header, body, body_frame, &out);
    } else {
        write_line(&header, body, body_frame, &out);
    }
    fwrite(out.data, 1, out.size, stdout);
    fflush(stdout);
    wire_buffer_fini(&out);
    if (tail->left > 0) {
        tail->left--;
    }
}

static struct slice
frame_slice(zmq_msg_t *frame)
{
    return (struct slice){zmq_msg_data(frame), zmq_msg_size(frame)};
}

/* Takes one message whole; false when there is none. */
static bool
take_message(struct tail *tail, void *socket)
{
    zmq_msg_t frames[EVENT_FRAMES];
    int count = 0;
    bool has_more = true;
    while (has_more) {
        zmq_msg_t extra;
        zmq_msg_t *frame = count < EVENT_FRAMES ? &frames[count] : &extra;
        zmq_msg_init(frame);
        if (zmq_msg_recv(frame, socket, ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(frame);
            break;
        }
        has_more = zmq_msg_more(frame) != 0;
        if (count >= EVENT_FRAMES) {
            zmq_msg_close(&extra);
        }
        count++;
    }
    if (count == EVENT_FRAMES) {
        print_event(tail, frame_slice(&frames[0]), frame_slice(&frames[1]), frame_slice(&frames[2]));
    }
    for (int i = 0; i < count && i < EVENT_FRAMES; i++) {
        zmq_msg_close(&frames[i]);
    }
    return count > 0;
}

/* Waits until something comes and prints it; false when the context is being ended. */
static bool
tail_next(struct tail *tail)
{
    zmq_pollitem_t items[SOURCES_MAX];
    for (int i = 0; i < tail->count; i++) {
        items[i] = (zmq_pollitem_t){.socket = zsock_resolve(tail->sources[i].socket), .events = ZMQ_POLLIN};
    }
    if (zmq_poll(items, tail->count, LOOK_MS) < 0 && zmq_errno() != EINTR) {
        return false;
    }
    int64_t now_ms = link_steady_ms();
    for (int i = 0; i < tail->count; i++) {
        struct source *source = &tail->sources[i];
        if ((items[i].revents & ZMQ_POLLIN) == 0) {
            (void)link_renew_events(source->socket, &source->pulse, now_ms);
            continue;
        }
        link_heard(&source->pulse, now_ms);
        while (tail->left != 0 && take_message(tail, items[i].socket)) {
        }
    }
    say_silence(tail, now_ms);
    return true;
}

static enum exit_status
tail_run(struct command_line *line)
{
    static struct tail tail = {.left = -1};
    const struct command_option options[] = {
        {"--json", .is_there = &tail.as_json},
        {"--heads", .is_there = &tail.shows_heads},
        {"--count", .number = &tail.left, .lo = 1, .hi = INT64_MAX},
        {0},
    };
    struct err_text why;
    err code = command_take(line, options, &why);
    if (code == ERR_ok) {
        code = command_rest(line, 0, PREFIXES_MAX, &why);
    }
    for (int i = 0; code == ERR_ok && i < line->argc; i++) {
        tail.shows_heads = tail.shows_heads || strcmp(line->argv[i], HEAD_TOPIC) == 0;
    }
    if (code == ERR_ok) {
        code = tail_connect(&tail, line, &why);
        tail.began_ms = link_steady_ms();
    }
    while (code == ERR_ok && tail.left != 0 && ferror(stdout) == 0 && tail_next(&tail)) {
    }
    for (int i = 0; i < tail.count; i++) {
        zsock_destroy(&tail.sources[i].socket);
    }
    if (code != ERR_ok) {
        return command_complain(line, code, &why);
    }
    return ferror(stdout) == 0 ? EXIT_DONE : EXIT_FAILED;
}

const struct command tail_command = {
    .name = "tail",
    .arguments = "[TOPIC-PREFIX...] [--json] [--heads] [--count N]",
    .summary = "print events as they happen",
    .help = "A topic is like stock.out.donut; a prefix like stock. or stock.out selects. Each line has the time, the type,\n"
            "the key and the body. --json prints {\"header\":...,\"body\":...} instead. --heads also shows what each source\n"
            "publishes about its stream every second. --count N ends after N events; otherwise Ctrl-C does.\n",
    .run = tail_run,
};
