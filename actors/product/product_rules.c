/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE
 *   What may be said of a product. One judge for all ways in which it can be said: put and patch, whose fields the wire has measured
 *   already, and rows of a file, which come as anybody wrote them.
 *
 *   A name is one line that shows something. A currency is three capital letters. Pictures are addresses of http or https, in the
 *   characters that an address may have, so that a space between two of them separates them.
 *
 * FAILURES
 *   The first field that is not as it must be is named; what was given is shown where that helps, cut.
 *
 * LIMITS
 *   That a currency exists, or that an address answers, is not looked at.
 */
#include "product_rules.h"

#define SHOWN_MAX 40

/* How much of a text is shown; a character is not cut in two, for the sentence must stay UTF-8. */
static int
shown(struct slice text)
{
    size_t size = text.size < SHOWN_MAX ? text.size : SHOWN_MAX;
    while (size < text.size && size > 0 && (text.data[size] & 0xc0) == 0x80) {
        size--;
    }
    return (int)size;
}

static const char *
bytes_of(struct slice text)
{
    return text.size > 0 ? (const char *)text.data : "";
}

static bool
is_blank(uint8_t byte)
{
    return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n';
}

/* One line of text that is not only spaces. */
static bool
is_title(struct slice text)
{
    bool is_seen = false;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < 0x20 || text.data[i] == 0x7f) {
            return false;
        }
        is_seen = is_seen || text.data[i] != ' ';
    }
    return is_seen;
}

static bool
is_currency(struct slice text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < 'A' || text.data[i] > 'Z') {
            return false;
        }
    }
    return text.size == 3;
}

static bool
begins_with(struct slice text, const char *start)
{
    size_t size = strlen(start);
    return text.size > size && memcmp(text.data, start, size) == 0;
}

/* RFC 3986 has no character outside the visible ones of ASCII. */
static bool
is_address(struct slice text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] <= 0x20 || text.data[i] >= 0x7f) {
            return false;
        }
    }
    return text.size <= PRODUCT_IMAGE_MAX && (begins_with(text, "http://") || begins_with(text, "https://"));
}

static err
check_images(struct slice images, struct err_text *why)
{
    struct slice image;
    for (int count = 1; product_next_image(&images, &image); count++) {
        if (count > PRODUCT_IMAGES_MAX) {
            return err_say(why, ERR_invalid_field, "images: more than %d", PRODUCT_IMAGES_MAX);
        }
        if (!is_address(image)) {
            return err_say(why, ERR_invalid_field, "images: \"%.*s\" is no address of http or https with at most %d characters",
                           shown(image), bytes_of(image), PRODUCT_IMAGE_MAX);
        }
    }
    return ERR_ok;
}

err
product_check(const struct product_said *said, struct err_text *why)
{
    if (!wire_is_name(said->product)) {
        return err_say(why, ERR_invalid_field, "product: \"%.*s\" is not 1 to %d of A-Z a-z 0-9 - _", shown(said->product),
                       bytes_of(said->product), WIRE_NAME_MAX);
    }
    if (said->name.size > PRODUCT_NAME_MAX || !wire_is_utf8(said->name) || !is_title(said->name)) {
        return err_say(why, ERR_invalid_field, "name: must be one line of 1 to %d bytes", PRODUCT_NAME_MAX);
    }
    if (said->description.size > PRODUCT_DESCRIPTION_MAX || !wire_is_utf8(said->description)) {
        return err_say(why, ERR_invalid_field, "description: must be at most %d bytes of UTF-8", PRODUCT_DESCRIPTION_MAX);
    }
    if (said->category.size > PRODUCT_CATEGORY_MAX || !wire_is_name(said->category)) {
        return err_say(why, ERR_invalid_field, "category: \"%.*s\" is not 1 to %d of A-Z a-z 0-9 - _", shown(said->category),
                       bytes_of(said->category), PRODUCT_CATEGORY_MAX);
    }
    if (said->amount < 0 || said->amount > LEVEL_MAX) {
        return err_say(why, ERR_invalid_field, "amount: must be 0 to %lld", (long long)LEVEL_MAX);
    }
    if (!is_currency(said->currency)) {
        return err_say(why, ERR_invalid_field, "currency: \"%.*s\" is not three capital letters", shown(said->currency),
                       bytes_of(said->currency));
    }
    return check_images(said->images, why);
}

bool
product_is_same(const struct product_said *a, const struct product_said *b)
{
    return slice_equal(a->product, b->product) && slice_equal(a->name, b->name) && slice_equal(a->description, b->description) &&
           slice_equal(a->category, b->category) && slice_equal(a->currency, b->currency) && slice_equal(a->images, b->images) &&
           a->amount == b->amount && a->is_active == b->is_active;
}

bool
product_next_image(struct slice *images, struct slice *image)
{
    size_t start = 0;
    while (start < images->size && is_blank(images->data[start])) {
        start++;
    }
    size_t end = start;
    while (end < images->size && !is_blank(images->data[end])) {
        end++;
    }
    if (start == end) {
        return false;
    }
    *image = (struct slice){images->data + start, end - start};
    *images = (struct slice){images->data + end, images->size - end};
    return true;
}

size_t
product_join_images(struct slice images, char *out)
{
    struct slice image;
    size_t size = 0;
    while (product_next_image(&images, &image)) {
        if (size > 0) {
            out[size++] = ' ';
        }
        memcpy(out + size, image.data, image.size);
        size += image.size;
    }
    return size;
}

bool
product_is_conflict(bool is_expected, int64_t expected, int64_t version)
{
    return is_expected && expected != version;
}

bool
product_may_change(enum role role)
{
    return role >= ROLE_EMPLOYEE;
}

err
product_check_category(const struct wire_product_category *category, struct err_text *why)
{
    return is_title(category->name) ? ERR_ok : err_say(why, ERR_invalid_field, "product_category.name: must be one line of text");
}
