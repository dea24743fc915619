/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   The factory's part of its schema.
 *
 * STATE     $production  every production ever ordered; n is made by the writer in order, so newest first is by n. due_at and
 *                        done_at are 0 and error is '' until they are known; of `attempts` calls `accepted` were. capability_hash
 *                        is that of an outside factory's callback.
 *           $shelf       one row per product that the factory has dealt with: n of its open production, 0 for none, and the
 *                        position in the factory's own stream of its last fact about the product
 *           $secret      one row: the key that makes the capabilities of callbacks from the ids of productions. Whoever reads it
 *                        can finish productions; it leaves the database in no message and no log.
 *
 * LIMITS    $shelf is written by REPLACE and so has no unique key beside its primary one. 130 mends databases of the first hour,
 *           whose step 100 knew no `accepted`.
 */
#include "factory_schema.h"

const struct db_step factory_steps[FACTORY_STEP_COUNT] = {
    {100, "CREATE TABLE IF NOT EXISTS $production ("
          " n {I64} NOT NULL PRIMARY KEY, id {BYTES 16} NOT NULL UNIQUE, product {NAME 64} NOT NULL, quantity {I64} NOT NULL,"
          " status {NAME 16} NOT NULL, ordered_at {I64} NOT NULL, due_at {I64} NOT NULL, done_at {I64} NOT NULL,"
          " attempts {I64} NOT NULL, accepted {I64} NOT NULL, error {TEXT 255} NOT NULL, capability_hash {BYTES 32} UNIQUE,"
          " UNIQUE (product, n), CHECK (quantity >= 1)"
          ") {TABLE_END}"},
    {130, "{UNLESS $production.accepted} ALTER TABLE $production ADD COLUMN accepted {I64} NOT NULL DEFAULT 0"},
    {101, "CREATE TABLE IF NOT EXISTS $shelf ("
          " product {NAME 64} NOT NULL PRIMARY KEY, open_production {I64} NOT NULL, last_seq {I64} NOT NULL"
          ") {KEYED_TABLE_END}"},
    {102, "CREATE TABLE IF NOT EXISTS $secret ("
          " one {I64} NOT NULL PRIMARY KEY, secret {BYTES 32} NOT NULL, CHECK (one = 1)"
          ") {TABLE_END}"},
};
