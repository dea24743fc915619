/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE  The order actor's schema.
 *
 * STATE    $order    every order; n is made by the writer in order. status is what people see, saga where the machine is; `back` is
 *                    the state in which it came to be stuck, '' for never. reason is '' while there is none. `holds` has a byte per
 *                    shard of stock, the round of its hold there; `sold` a bit per shard whose units have left; `money` is 0 while its
 *                    charge is open, 1 paid, 2 failed, 3 paid back; `told` has a bit for each fact about it that came as an event.
 *                    `request` is what began this round: order.place or order.pay; fingerprint_kind as in fingerprint.h. An order
 *                    whose saga has not ended has a due row "saga", keyed by its id: when to look after it, at the latest when it must
 *                    be paid. `entered` is when its saga came to the state where it is; 0: an earlier build wrote it, and it is taken
 *                    for `changed`.
 *          $line     its lines as they were frozen
 *          $entry    its timeline, from 1 to `entries` of its row
 *          $request  what advance, cancel and pay were answered, and places that were refused: for those who ask again. status ok: the
 *                    order as it is now; otherwise `frame` is the problem
 *          $stray    money that came for a charge which its order does not take: it goes back by itself. A due row "stray", keyed by
 *                    the charge, until it is back. state: refunding, refunded, stuck
 *          $forgotten customers who were erased: an order placed in their name later has neither name nor note
 *          $secret   the keys that secrets of guests' orders are made with (order_secret.c). Whoever reads them may do what guests may
 *          $card     the copy of the menu (menu.h)
 *
 * LIMITS   Rows of orders are never deleted.
 *
 * LIMITS   130 to 132 mend databases of the first days, which have other tables and indexes under the numbers 100 to 102.
 */
#include "order_schema.h"

#define ORDER_TABLE                                                                                                            \
    "CREATE TABLE IF NOT EXISTS $order ("                                                                                      \
    " n {I64} NOT NULL PRIMARY KEY, id {BYTES 16} NOT NULL UNIQUE, status {NAME 16} NOT NULL, saga {NAME 24} NOT NULL,"        \
    " back {NAME 24} NOT NULL, round {I64} NOT NULL, holds {I64} NOT NULL, sold {I64} NOT NULL, tries {I64} NOT NULL,"         \
    " money {I64} NOT NULL, told {I64} NOT NULL, reason {NAME 64} NOT NULL, total {I64} NOT NULL, currency {NAME 3} NOT NULL," \
    " method {NAME 16} NOT NULL, note {TEXT 500}, customer {BYTES 16}, charge {BYTES 16}, charge_round {I64} NOT NULL,"        \
    " request {BYTES 16} NOT NULL, fingerprint {I64} NOT NULL, placed {I64} NOT NULL, changed {I64} NOT NULL,"                 \
    " deadline {I64} NOT NULL, version {I64} NOT NULL, entries {I64} NOT NULL,"                                                \
    " CHECK (total >= 0), CHECK (version >= 1), CHECK (entries >= 1)"                                                          \
    ") {TABLE_END}"

const struct db_step order_steps[ORDER_STEP_COUNT] = {
    MENU_STEPS,
    {100, ORDER_TABLE},
    {130, ORDER_TABLE},
    {101, "CREATE INDEX IF NOT EXISTS order_status ON $order (status, n)"},
    {102, "CREATE INDEX IF NOT EXISTS order_customer ON $order (customer, n)"},
    {131, "CREATE INDEX IF NOT EXISTS order_status ON $order (status, n)"},
    {132, "CREATE INDEX IF NOT EXISTS order_customer ON $order (customer, n)"},
    {103, "CREATE TABLE IF NOT EXISTS $line ("
          " n {I64} NOT NULL, line {I64} NOT NULL, product {NAME 64} NOT NULL, name {TEXT 128} NOT NULL, quantity {I64} NOT NULL,"
          " amount {I64} NOT NULL, PRIMARY KEY (n, line), CHECK (quantity >= 1), CHECK (amount >= 0)"
          ") {KEYED_TABLE_END}"},
    {104, "CREATE TABLE IF NOT EXISTS $entry ("
          " n {I64} NOT NULL, k {I64} NOT NULL, time {I64} NOT NULL, what {NAME 32} NOT NULL, outcome {NAME 64} NOT NULL,"
          " status {NAME 16} NOT NULL, detail {TEXT 255}, PRIMARY KEY (n, k)"
          ") {KEYED_TABLE_END}"},
    {105, "CREATE TABLE IF NOT EXISTS $request ("
          " n {I64} NOT NULL PRIMARY KEY, id {BYTES 16} NOT NULL UNIQUE, order_id {BYTES 16} NOT NULL, fingerprint {I64} NOT NULL,"
          " status {NAME 64} NOT NULL, frame {BYTES 4096} NOT NULL"
          ") {TABLE_END}"},
    {106, "CREATE TABLE IF NOT EXISTS $stray ("
          " n {I64} NOT NULL PRIMARY KEY, charge {BYTES 16} NOT NULL UNIQUE, order_id {BYTES 16} NOT NULL, amount {I64} NOT NULL,"
          " currency {NAME 3} NOT NULL, tries {I64} NOT NULL, state {NAME 16} NOT NULL"
          ") {TABLE_END}"},
    {107, "CREATE TABLE IF NOT EXISTS $forgotten ("
          " customer {BYTES 16} NOT NULL PRIMARY KEY, time {I64} NOT NULL"
          ") {KEYED_TABLE_END}"},
    {108, "CREATE TABLE IF NOT EXISTS $secret ("
          " version {I64} NOT NULL PRIMARY KEY, since {I64} NOT NULL, secret {BYTES 32} NOT NULL"
          ") {TABLE_END}"},
    {110, "{BUILD 2} ALTER TABLE $order ADD COLUMN fingerprint_kind {I64} NOT NULL DEFAULT 0"},
    {111, "{BUILD 2} ALTER TABLE $request ADD COLUMN fingerprint_kind {I64} NOT NULL DEFAULT 0"},
    {120, "ALTER TABLE $order ADD COLUMN entered {I64} NOT NULL DEFAULT 0"},
};
