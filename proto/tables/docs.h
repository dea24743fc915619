/* SPDX-License-Identifier: MPL-2.0 */
/* The tables of the .def files as Markdown, for PROTOCOL.md. */
#ifndef LARDER_DOCS_H
#define LARDER_DOCS_H

#include <stdio.h>

#include "err.h"

/* Prints one part: "errors", "operations", "events" or "bodies". ERR_not_found: there is no part of that name. A failed write is
 * left in ferror(out). */
MUST_CHECK err
docs_print(FILE *out, const char *part);

#endif
