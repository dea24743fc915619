/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   The tables of stock.
 *
 * STATE     $level       one row for each product, written whole from memory. last_move is the head of the product's chain in
 *                        $move.
 *           $move        the ledger. n is made by the writer, gapless and in order; a line says what the level was after it, and
 *                        `previous` is the line of the same product before it (0: there is none), so that the ledger of a product
 *                        is a chain and needs no index of its own. Lines of version 0 stand beside all chains: a refusal that must
 *                        not change (kind `refused`, with the symbol as reason and the body as answer), and a release or return
 *                        that changed nothing. UNIQUE (request, line) is what makes a request count once. Nothing is ever deleted
 *                        or changed here. fingerprint_kind as in fingerprint.h.
 *           $milestone   each 256th line of a product, so that a page deep in its ledger is found without walking there
 *           $hold        one row for each product of a hold, kept after its end (committed, released, expired, or returned after a
 *                        commit). Without product and units: a hold that was released before it was made, and must not be made any
 *                        more. The last key serves stock.holds; n makes it unique, because SQLite knows no other index inside a
 *                        table's definition.
 *           $production  what the factory has told of each production
 *
 * LIMITS    A published step is never changed; what comes later is another step.
 */
#include "stock_schema.h"

const struct db_step stock_steps[STOCK_STEP_COUNT] = {
    {100, "CREATE TABLE IF NOT EXISTS $level ("
          " product {NAME 64} NOT NULL PRIMARY KEY,"
          " on_hand {I64} NOT NULL,"
          " reserved {I64} NOT NULL,"
          " incoming {I64} NOT NULL,"
          " version {I64} NOT NULL,"
          " alarm {I64} NOT NULL,"
          " wanted {I64} NOT NULL,"
          " reorder_at {I64} NOT NULL,"
          " order_up_to {I64} NOT NULL,"
          " lot {I64} NOT NULL,"
          " last_move {I64} NOT NULL,"
          " CHECK (on_hand >= 0),"
          " CHECK (reserved >= 0),"
          " CHECK (on_hand - reserved >= 0),"
          " CHECK (incoming >= 0)"
          ") {KEYED_TABLE_END}"},

    {101, "CREATE TABLE IF NOT EXISTS $move ("
          " n {I64} NOT NULL PRIMARY KEY,"
          " request {BYTES 16} NOT NULL,"
          " line {I64} NOT NULL,"
          " kind {NAME 16} NOT NULL,"
          " product {NAME 64} NOT NULL,"
          " delta {I64} NOT NULL,"
          " reserved_delta {I64} NOT NULL,"
          " on_hand {I64} NOT NULL,"
          " reserved {I64} NOT NULL,"
          " incoming {I64} NOT NULL,"
          " version {I64} NOT NULL,"
          " previous {I64} NOT NULL,"
          " time {I64} NOT NULL,"
          " fingerprint {I64} NOT NULL,"
          " hold {BYTES 16},"
          " expires {I64},"
          " reason {TEXT 128},"
          " reference {TEXT 128},"
          " answer {BYTES 1024},"
          " UNIQUE (request, line)"
          ") {TABLE_END}"},

    {102, "CREATE TABLE IF NOT EXISTS $milestone ("
          " product {NAME 64} NOT NULL,"
          " version {I64} NOT NULL,"
          " n {I64} NOT NULL,"
          " PRIMARY KEY (product, version)"
          ") {KEYED_TABLE_END}"},

    {103, "CREATE TABLE IF NOT EXISTS $hold ("
          " n {I64} NOT NULL PRIMARY KEY,"
          " hold {BYTES 16} NOT NULL,"
          " line {I64} NOT NULL,"
          " product {NAME 64} NOT NULL,"
          " quantity {I64} NOT NULL,"
          " state {NAME 16} NOT NULL,"
          " expires {I64} NOT NULL,"
          " reference {TEXT 128},"
          " UNIQUE (hold, line),"
          " UNIQUE (product, state, n)"
          ") {TABLE_END}"},

    {104, "CREATE TABLE IF NOT EXISTS $production ("
          " production {BYTES 16} NOT NULL PRIMARY KEY,"
          " product {NAME 64} NOT NULL,"
          " quantity {I64} NOT NULL,"
          " state {NAME 16} NOT NULL"
          ") {KEYED_TABLE_END}"},

    {110, "{BUILD 2} ALTER TABLE $move ADD COLUMN fingerprint_kind {I64} NOT NULL DEFAULT 0"},
};
