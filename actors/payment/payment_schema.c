/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE  Payment's part of its schema.
 *
 * STATE    $charge    all charges; n is made by the writer in order, id is the request that asked for it. refunded is the sum of its
 *                     refunds that succeeded, refunding of those that are pending. A charge that was cancelled before it came has no
 *                     amount (0 XXX) and no method (unknown), until its late original brings them. came and came_currency are
 *                     what a provider took instead of what was asked for, NULL and '' while it is as it should be.
 *          $refund    all refunds; id is the request that asked for it. elsewhere is 1 of one that was made at the provider: its id
 *                     is derived from its charge and what the provider calls it.
 *          $webhook   what a provider told, once each: `told` is the hash of the webhook's id. outcome applied, ignored, disputed or
 *                     parked; parked is the charge that it waits for, or whose refunds. amount is NULL when it was not told. No part
 *                     of the posted body but what is read of it.
 *
 * LIMITS   Texts of a provider are cut to 255 bytes, references to 128. 130 mends databases of the first days, whose step 100 made
 *          another table.
 */
#include "payment_schema.h"

#define CHARGE_TABLE                                                                                                     \
    "CREATE TABLE IF NOT EXISTS $charge ("                                                                               \
    " n {I64} NOT NULL PRIMARY KEY, id {BYTES 16} NOT NULL UNIQUE, order_id {BYTES 16} NOT NULL, amount {I64} NOT NULL," \
    " currency {NAME 3} NOT NULL, method {NAME 16} NOT NULL, provider {NAME 16} NOT NULL, status {NAME 16} NOT NULL,"    \
    " refunded {I64} NOT NULL, refunding {I64} NOT NULL, replaces {BYTES 16}, reference {TEXT 128} NOT NULL,"            \
    " reason {TEXT 255} NOT NULL, attempts {I64} NOT NULL, created {I64} NOT NULL, changed {I64} NOT NULL,"              \
    " UNIQUE (order_id, n), CHECK (amount >= 0), CHECK (refunded >= 0), CHECK (refunding >= 0),"                         \
    " CHECK (refunded + refunding <= amount)"                                                                            \
    ") {TABLE_END}"

const struct db_step payment_steps[PAYMENT_STEP_COUNT] = {
    {100, CHARGE_TABLE},
    {130, CHARGE_TABLE},
    {101, "CREATE TABLE IF NOT EXISTS $refund ("
          " n {I64} NOT NULL PRIMARY KEY, id {BYTES 16} NOT NULL UNIQUE, charge {BYTES 16} NOT NULL, amount {I64} NOT NULL,"
          " status {NAME 16} NOT NULL, reference {TEXT 128} NOT NULL, reason {TEXT 255} NOT NULL, attempts {I64} NOT NULL,"
          " created {I64} NOT NULL, changed {I64} NOT NULL, UNIQUE (charge, n), CHECK (amount >= 0)"
          ") {TABLE_END}"},
    {102, "CREATE TABLE IF NOT EXISTS $webhook ("
          " n {I64} NOT NULL PRIMARY KEY, told {BYTES 16} NOT NULL UNIQUE, webhook_id {BYTES 128} NOT NULL, type {TEXT 64} NOT NULL,"
          " charge {BYTES 16} NOT NULL, refund {BYTES 16}, reference {TEXT 128} NOT NULL, reason {TEXT 255} NOT NULL,"
          " received {I64} NOT NULL, outcome {NAME 16} NOT NULL, parked {BYTES 16}, UNIQUE (parked, n)"
          ") {TABLE_END}"},
    {125, "ALTER TABLE $refund ADD COLUMN elsewhere {I64} NOT NULL DEFAULT 0"},
    {126, "ALTER TABLE $webhook ADD COLUMN amount {I64}"},
    {127, "ALTER TABLE $webhook ADD COLUMN currency {NAME 3} NOT NULL DEFAULT ''"},
    {128, "ALTER TABLE $charge ADD COLUMN came {I64}"},
    {129, "ALTER TABLE $charge ADD COLUMN came_currency {NAME 3} NOT NULL DEFAULT ''"},
};
