/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE  The kit's part of every actor's schema: steps 1 to 99 (an actor's own begin at 100).
 *
 * STATE    $shard     one row: who writes this shard, and how far its batches and events have come (shard.c)
 *          $outbox    events that not every durable subscriber has confirmed (source.c)
 *          $position  what each durable subscriber of this source has confirmed (source.c)
 *          $cursor    what this actor has applied of each source that it follows (inbox.c)
 *          $parked    events that could not be applied yet (inbox.c)
 *          $due       what has to happen at some time (due_rows.c)
 *          $answer    answers of writing requests, under their ids (answers.c)
 */
#include "kit_schema.h"

const struct db_step kit_steps[] = {
    {1, "CREATE TABLE IF NOT EXISTS $shard ("
        " shard {I64} NOT NULL PRIMARY KEY, shards {I64} NOT NULL, epoch {I64} NOT NULL, batch {I64} NOT NULL, seq {I64} NOT NULL,"
        " incarnation {BYTES 16} NOT NULL, connection {I64} NOT NULL"
        ") {TABLE_END}"},
    {2, "CREATE TABLE IF NOT EXISTS $outbox ("
        " seq {I64} NOT NULL PRIMARY KEY, header {BYTES 16777215} NOT NULL, body {BYTES 16777215} NOT NULL, topic {TEXT 160} NOT NULL"
        ") {TABLE_END}"},
    {3, "CREATE TABLE IF NOT EXISTS $position ("
        " subscriber {TEXT 64} NOT NULL PRIMARY KEY, position {I64} NOT NULL"
        ") {KEYED_TABLE_END}"},
    {4, "CREATE TABLE IF NOT EXISTS $cursor ("
        " source {TEXT 64} NOT NULL PRIMARY KEY, incarnation {BYTES 16} NOT NULL, position {I64} NOT NULL"
        ") {KEYED_TABLE_END}"},
    {5, "CREATE TABLE IF NOT EXISTS $parked ("
        " source {TEXT 64} NOT NULL, seq {I64} NOT NULL, event_key {TEXT 64} NOT NULL, header {BYTES 16777215} NOT NULL, body {BYTES "
        "16777215} NOT NULL,"
        " attempts {I64} NOT NULL, due {I64} NOT NULL, error {TEXT 512} NOT NULL, PRIMARY KEY (source, seq)"
        ") {KEYED_TABLE_END}"},
    {6, "CREATE TABLE IF NOT EXISTS $due ("
        " owner {NAME 32} NOT NULL, due_key {BYTES 64} NOT NULL, due {I64} NOT NULL, attempts {I64} NOT NULL, payload {BYTES "
        "16777215} NOT NULL,"
        " PRIMARY KEY (owner, due_key)"
        ") {KEYED_TABLE_END}"},
    {7, "CREATE INDEX IF NOT EXISTS $due_at ON $due (due)"},
    {8, "CREATE TABLE IF NOT EXISTS $answer ("
        " n {I64} NOT NULL PRIMARY KEY, request {BYTES 16} NOT NULL UNIQUE, fingerprint {I64} NOT NULL, status {NAME 64} NOT NULL,"
        " body {BYTES 16777215} NOT NULL, answered {I64} NOT NULL"
        ") {TABLE_END}"},
};

const size_t kit_step_count = sizeof kit_steps / sizeof kit_steps[0];
