/* SPDX-License-Identifier: MPL-2.0 */
/*
 * prefer: what a client would rather have
 *
 * PURPOSE
 *   Looks for one preference in the list that a Prefer header is: `name [= word] *( ; parameter )`, parted by commas, names in any
 *   case, words quoted or not. A comma or a semicolon inside quotes parts nothing.
 *
 * FAILURES
 *   None: a preference may always be passed over, so what cannot be read is.
 *
 * LIMITS
 *   `respond-async` has no value; with one that is not empty it is somebody else's preference.
 */
#include "prefer.h"

#include <strings.h>

static const char ASYNC[] = "respond-async";

static bool
is_blank(uint8_t character)
{
    return character == ' ' || character == '\t';
}

static struct slice
trimmed(struct slice text)
{
    while (text.size > 0 && is_blank(text.data[0])) {
        text.data++;
        text.size--;
    }
    while (text.size > 0 && is_blank(text.data[text.size - 1])) {
        text.size--;
    }
    return text;
}

/* Takes what stands before the next `mark` outside of quotes off the front of `rest`, and the mark with it. */
static struct slice
take_until(struct slice *rest, char mark)
{
    bool is_quoted = false;
    size_t at = 0;
    for (; at < rest->size && (is_quoted || rest->data[at] != (uint8_t)mark); at++) {
        if (is_quoted && rest->data[at] == '\\') {
            at++;
        } else if (rest->data[at] == '"') {
            is_quoted = !is_quoted;
        }
    }
    size_t size = at < rest->size ? at : rest->size;
    size_t step = size < rest->size ? size + 1 : size;
    struct slice taken = {rest->data, size};
    rest->data += step;
    rest->size -= step;
    return taken;
}

bool
prefer_is_async(struct slice value)
{
    while (value.size > 0) {
        struct slice preference = take_until(&value, ',');
        struct slice word = take_until(&preference, ';');
        struct slice name = trimmed(take_until(&word, '='));
        struct slice given = trimmed(word);
        bool is_named = name.size == sizeof ASYNC - 1 && strncasecmp((const char *)name.data, ASYNC, name.size) == 0;
        if (is_named && (given.size == 0 || slice_equal(given, slice_of("\"\"")))) {
            return true;
        }
    }
    return false;
}
