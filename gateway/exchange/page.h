/* SPDX-License-Identifier: MPL-2.0 */
/* Lists in pages: {"data":[...],"has_more":true}, and the opaque cursor that leads to the next one. */
#ifndef LARDER_PAGE_H
#define LARDER_PAGE_H

#include "err.h"
#include "routes.h"
#include "wire.h"

#define PAGE_TEXT_MAX 64

/* Where a list goes on: behind the element that is called `text` (at the start when it is empty) of a shard. */
struct page_cursor {
    int shard;
    char text[PAGE_TEXT_MAX];
    size_t size;
};

/* A page while it is written. */
struct page {
    struct page_cursor last; /* the last element written */
    int64_t count;
    int64_t room; /* for elements of the next shard */
    bool has_more;
};

/* ERR_invalid_field: this is no cursor of ours. */
MUST_CHECK err
page_cursor_read(struct slice text, struct page_cursor *cursor, struct err_text *why);

/* Appends the cursor's text, fit for a query. */
void
page_cursor_write(const struct page_cursor *cursor, struct wire_buffer *out);

/* Appends the elements of a reply's list; the first call of a page opens it. `reply` is a struct of `body`, which has one list and
 * perhaps `has_more`. `how` is NULL for a list that has no further page. */
void
page_add(struct page *page, const struct route_page *how, const struct wire_body *body, const void *reply, struct wire_buffer *out);

/* Closes the page. */
void
page_end(const struct page *page, struct wire_buffer *out);

/* Writes a name, a number or an id of a struct as text, not terminated; 0 when the body has no such field or it is not set. */
size_t
page_field_text(const struct wire_body *body, const void *source, struct slice name, char text[PAGE_TEXT_MAX]);

#endif
