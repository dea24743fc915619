/* SPDX-License-Identifier: MPL-2.0 */
/* What may be said of a product, and whether it is something new: pure decisions. */
#ifndef LARDER_PRODUCT_RULES_H
#define LARDER_PRODUCT_RULES_H

#include <stdbool.h>
#include <stdint.h>

#include "role.h"
#include "wire.h"

#define PRODUCT_NAME_MAX 128
#define PRODUCT_DESCRIPTION_MAX 2000
#define PRODUCT_CATEGORY_MAX 32
#define PRODUCT_IMAGES_MAX 16
#define PRODUCT_IMAGE_MAX 512
#define PRODUCT_IMAGES_TEXT_MAX (PRODUCT_IMAGES_MAX * (PRODUCT_IMAGE_MAX + 1))
#define PRODUCT_CATEGORIES_MAX 1000

/* All that is said of a product, whoever said it and however. Borrowed bytes. */
struct product_said {
    struct slice product;
    struct slice name;
    struct slice description; /* empty: none */
    struct slice category;
    struct slice currency;
    struct slice images; /* addresses with one space between them; empty: none */
    int64_t amount;      /* minor units */
    bool is_active;
};

/* Whether each field is as it must be; whether there is such a category is not judged. The sentence begins with the field. */
MUST_CHECK err
product_check(const struct product_said *said, struct err_text *why);

/* Whether the two say the same. */
bool
product_is_same(const struct product_said *a, const struct product_said *b);

/* Takes the first address off a text of addresses between blanks; false at the end. */
bool
product_next_image(struct slice *images, struct slice *image);

/* Copies the addresses with one space between them to `out`, which has room for all of `images`; returns their size. */
size_t
product_join_images(struct slice images, char *out);

/* Whether a version that was expected is another than the one there is (0: there is none, or must be none). */
bool
product_is_conflict(bool is_expected, int64_t expected, int64_t version);

/* Who may change the menu. */
bool
product_may_change(enum role role);

MUST_CHECK err
product_check_category(const struct wire_product_category *category, struct err_text *why);

#endif
