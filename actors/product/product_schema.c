/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE  The product actor's part of its schema.
 *
 * STATE    $product   every product there ever was; n is made by the writer in order, without a gap. images are addresses with one
 *                     space between them. The versions of all products add up to the position of the actor's stream: each change is
 *                     one version and one event.
 *                     A page passes over products of the other state within an index, never row by row.
 *          $category  the parts of the menu; five are there from the start.
 *
 * LIMITS   Products are written by REPLACE of whole rows, n and SKU always together, so that both unique keys name the same row.
 *          130 to 133 mend databases of the first days, which have other tables and indexes under the numbers 100 to 102.
 */
#include "product_schema.h"

#define PRODUCT_TABLE                                                                                                               \
    "CREATE TABLE IF NOT EXISTS $product ("                                                                                         \
    " n {I64} NOT NULL PRIMARY KEY, product {NAME 64} NOT NULL UNIQUE, name {TEXT 128} NOT NULL, description {TEXT 2000} NOT NULL," \
    " category {NAME 32} NOT NULL, amount {I64} NOT NULL, currency {NAME 3} NOT NULL, images {BYTES 8300} NOT NULL,"                \
    " is_active {I64} NOT NULL, version {I64} NOT NULL, changed {I64} NOT NULL,"                                                    \
    " CHECK (amount >= 0), CHECK (version >= 1)"                                                                                    \
    ") {TABLE_END}"

const struct db_step product_steps[PRODUCT_STEP_COUNT] = {
    {100, PRODUCT_TABLE},
    {130, PRODUCT_TABLE},
    {101, "CREATE INDEX IF NOT EXISTS product_category ON $product (category, product, is_active)"},
    {102, "CREATE INDEX IF NOT EXISTS product_state ON $product (is_active, product)"},
    {131, "{UNLESS $product.is_active IN product_category} DROP INDEX product_category {ON $product}"},
    {132, "{UNLESS $product.is_active IN product_category} CREATE INDEX IF NOT EXISTS product_category ON $product"
          " (category, product, is_active)"},
    {133, "CREATE INDEX IF NOT EXISTS product_state ON $product (is_active, product)"},
    {103, "CREATE TABLE IF NOT EXISTS $category ("
          " category {NAME 32} NOT NULL PRIMARY KEY, name {TEXT 64} NOT NULL, position {I64} NOT NULL"
          ") {KEYED_TABLE_END}"},
    {104, "REPLACE INTO $category (category, name, position) VALUES ('burger', 'Burgers', 10), ('side', 'Sides', 20),"
          " ('beverage', 'Drinks', 30), ('dessert', 'Desserts', 40), ('other', 'Other', 50)"},
};
