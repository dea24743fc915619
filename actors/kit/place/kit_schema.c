/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE  The kit's part of every actor's schema: steps 1 to 99 (an actor's own begin at 100).
 *
 * STATE    $shard     one row: who writes this shard, and how far its batches and events have come (shard.c);
 *                     seen: UTC of the last commit, 0 of a version that did not keep it; chain stands for all events up to the last,
 *                     and in $cursor for those that were applied (proto/client/stream.h); NULL: not known
 *          $outbox    events that not every durable subscriber has confirmed (source.c)
 *          $position  what each durable subscriber of this source has confirmed, and what its host keeps (source.c)
 *          $cursor    what this actor has applied of each source that it follows (inbox.c). Always
 *                     position = delivered + discarded + rows of $parked
 *                     batch: the most commits that the source was heard to have made; 0: not known
 *          $parked    events that could not be applied yet: state 0 is tried, 1 is buried, 2 is put aside (parked.c)
 *          $due       what has to happen at some time (due_rows.c)
 *                     due 9223372036854775807: given up, fires when it is asked for; one less: put aside as well
 *          $answer    answers of writing requests, under their ids (answers.c); fingerprint_kind as in fingerprint.h
 *          $burial    letters that the dlq has not confirmed yet, in the order of n (burials.c)
 *          $trial     whether the last run ended cleanly, and messages that ended their actor (trial.c)
 *          $incident  what stands or stood until a person decided (incidents.c); resolved 0: it stands
 *          $identity  one row: the installation, actor and shard whose database this is (identity.c)
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
    {9, "ALTER TABLE $parked ADD COLUMN state {I64} NOT NULL DEFAULT 0"},
    {10, "ALTER TABLE $parked ADD COLUMN first {I64} NOT NULL DEFAULT 0"},
    {11, "ALTER TABLE $parked ADD COLUMN history {BYTES 16777215}"},
    {12, "ALTER TABLE $parked ADD COLUMN history_count {I64} NOT NULL DEFAULT 0"},
    {13, "CREATE INDEX IF NOT EXISTS $parked_by_key ON $parked (source, event_key, seq)"},
    {14, "ALTER TABLE $cursor ADD COLUMN delivered {I64} NOT NULL DEFAULT 0"},
    {15, "ALTER TABLE $cursor ADD COLUMN discarded {I64} NOT NULL DEFAULT 0"},
    {16, "UPDATE $cursor SET delivered = position - (SELECT COUNT(*) FROM $parked WHERE $parked.source = $cursor.source)"},
    {17, "CREATE TABLE IF NOT EXISTS $burial ("
         " n {I64} NOT NULL PRIMARY KEY, letter {BYTES 16} NOT NULL UNIQUE, frame {BYTES 16777215} NOT NULL"
         ") {TABLE_END}"},
    {61, "{MYSQL} {UNLESS $burial.letter IN letter} CREATE INDEX letter ON $burial (letter)"},
    {20, "ALTER TABLE $position ADD COLUMN hosted {I64} NOT NULL DEFAULT 0"},
    {30, "CREATE TABLE IF NOT EXISTS $trial ("
         " what {BYTES 160} NOT NULL PRIMARY KEY, deaths {I64} NOT NULL, is_trying {I64} NOT NULL, is_convict {I64} NOT NULL,"
         " at {I64} NOT NULL"
         ") {KEYED_TABLE_END}"},
    {31, "{BUILD 2} ALTER TABLE $answer ADD COLUMN fingerprint_kind {I64} NOT NULL DEFAULT 0"},
    {40, "CREATE TABLE IF NOT EXISTS $identity ("
         " one {I64} NOT NULL PRIMARY KEY, installation {BYTES 16} NOT NULL, actor {NAME 32} NOT NULL, shard {I64} NOT NULL,"
         " at {I64} NOT NULL"
         ") {TABLE_END}"},
    {55, "ALTER TABLE $shard ADD COLUMN seen {I64} NOT NULL DEFAULT 0"},
    {45, "ALTER TABLE $shard ADD COLUMN chain {BYTES 16}"},
    {46, "ALTER TABLE $cursor ADD COLUMN chain {BYTES 16}"},
    {47,
     "CREATE TABLE IF NOT EXISTS $incident ("
     " id {BYTES 16} NOT NULL PRIMARY KEY, about {TEXT 64} NOT NULL, kind {NAME 32} NOT NULL, what {TEXT 256} NOT NULL,"
     " since {I64} NOT NULL, position {I64} NOT NULL, resolved {I64} NOT NULL, author {TEXT 64} NOT NULL, reason {TEXT 256} NOT NULL,"
     " done {TEXT 512} NOT NULL"
     ") {KEYED_TABLE_END}"},
    {48, "ALTER TABLE $cursor ADD COLUMN batch {I64} NOT NULL DEFAULT 0"},
};

const size_t kit_step_count = sizeof kit_steps / sizeof kit_steps[0];
