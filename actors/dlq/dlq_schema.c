/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE  The dlq's part of its schema.
 *
 * STATE    $letter        what lists and filters look at, one small row per letter; n is made by the writer in order, so time is n.
 *                         Numbers are -1 and texts '' when there is none. `opened` never falls while n rises. A new letter is added
 *                         at the end of this table and its one index, by the state: what else finds letters comes later or in sums.
 *          $find, $merged numbers of letters by id and by key, and up to which letter that is complete (dlq_finder.h)
 *          $zone          bounds of DLQ_ZONE_LETTERS letters each: filters skip what cannot hold any (dlq_zones.h). Never too
 *                         narrow; may be too wide. $zone_name says whose bit is whose.
 *          $letter_frame  what only `show` and deliveries read: frames, history, answer
 *          $audit         what operators did, in order
 *          $tally         letters per state, destination, reason and currency: the counters that stats answers from
 *          $replay        replays of selections; $replay_letter is what each has frozen, and how each of them came out
 *          $hosting       who is kept events for: subscribers that are behind, and clients without a database
 *          $kept          the events, once per source for all that they are kept for
 *
 * LIMITS   Indexes of $letter and $audit bear no `$`: their names are their table's own on both engines, and {BY} names them.
 *          $tally, $zone and $hosting are written by REPLACE and so have no unique key beside their primary one.
 *          130 to 137 mend databases of the first day, whose steps 102 to 105 made indexes, and 108 a narrower $zone; all bits set
 *          is what may hold anything.
 */
#include "dlq_schema.h"

#define ZONE_NAME_TABLE                                                                            \
    "CREATE TABLE IF NOT EXISTS $zone_name ("                                                      \
    " named {I64} NOT NULL, bit {I64} NOT NULL, name {TEXT 64} NOT NULL, PRIMARY KEY (named, bit)" \
    ") {KEYED_TABLE_END}"

#define FIND_TABLE                                                       \
    "CREATE TABLE IF NOT EXISTS $find ("                                 \
    " what {BYTES 16} NOT NULL, n {I64} NOT NULL, PRIMARY KEY (what, n)" \
    ") {KEYED_TABLE_END}"

#define MERGED_TABLE                                    \
    "CREATE TABLE IF NOT EXISTS $merged ("              \
    " one {I64} NOT NULL PRIMARY KEY, n {I64} NOT NULL" \
    ") {TABLE_END}"

const struct db_step dlq_steps[DLQ_STEP_COUNT] = {
    {100, "CREATE TABLE IF NOT EXISTS $letter ("
          " n {I64} NOT NULL PRIMARY KEY, id {BYTES 16} NOT NULL, state {I64} NOT NULL, kind {I64} NOT NULL,"
          " reason {NAME 64} NOT NULL, error {TEXT 512} NOT NULL, destination {TEXT 64} NOT NULL, letter_key {TEXT 64} NOT NULL,"
          " type {TEXT 64} NOT NULL, source {TEXT 64} NOT NULL, seq {I64} NOT NULL, seq_to {I64} NOT NULL,"
          " row_owner {NAME 32} NOT NULL, row_key {BYTES 64} NOT NULL, attempts {I64} NOT NULL, first {I64} NOT NULL,"
          " last {I64} NOT NULL, opened {I64} NOT NULL, changed {I64} NOT NULL, units {I64} NOT NULL, amount {I64} NOT NULL,"
          " currency {NAME 3} NOT NULL, useful_until {I64} NOT NULL, request {BYTES 16} NOT NULL, replay {BYTES 16} NOT NULL,"
          " status {NAME 64} NOT NULL, traceparent {TEXT 55} NOT NULL, principal {TEXT 128} NOT NULL"
          ") {TABLE_END}"},
    {101, "CREATE INDEX IF NOT EXISTS letter_state ON $letter (state)"},
    {102, "CREATE TABLE IF NOT EXISTS $zone ("
          " zone {I64} NOT NULL PRIMARY KEY, opened {I64} NOT NULL, units {I64} NOT NULL, amount {I64} NOT NULL,"
          " kinds {I64} NOT NULL, reasons {I64} NOT NULL, destinations {I64} NOT NULL, types {I64} NOT NULL, sources {I64} NOT NULL"
          ") {TABLE_END}"},
    {103, ZONE_NAME_TABLE},
    {104, FIND_TABLE},
    {105, MERGED_TABLE},
    {130, "{UNLESS $zone.kinds} ALTER TABLE $zone ADD COLUMN kinds {I64} NOT NULL DEFAULT -1"},
    {131, "{UNLESS $zone.reasons} ALTER TABLE $zone ADD COLUMN reasons {I64} NOT NULL DEFAULT -1"},
    {132, "{UNLESS $zone.destinations} ALTER TABLE $zone ADD COLUMN destinations {I64} NOT NULL DEFAULT -1"},
    {133, "{UNLESS $zone.types} ALTER TABLE $zone ADD COLUMN types {I64} NOT NULL DEFAULT -1"},
    {134, "{UNLESS $zone.sources} ALTER TABLE $zone ADD COLUMN sources {I64} NOT NULL DEFAULT -1"},
    {135, ZONE_NAME_TABLE},
    {136, FIND_TABLE},
    {137, MERGED_TABLE},
    {111, "CREATE TABLE IF NOT EXISTS $letter_frame ("
          " n {I64} NOT NULL PRIMARY KEY, header {BYTES 16777215} NOT NULL, body {BYTES 16777215} NOT NULL,"
          " original {BYTES 16777215} NOT NULL, history {BYTES 16777215} NOT NULL, history_count {I64} NOT NULL,"
          " answer {BYTES 16777215} NOT NULL"
          ") {TABLE_END}"},
    {112,
     "CREATE TABLE IF NOT EXISTS $audit ("
     " n {I64} NOT NULL PRIMARY KEY, letter {I64} NOT NULL, replay {I64} NOT NULL, time {I64} NOT NULL, author {TEXT 64} NOT NULL,"
     " action {NAME 16} NOT NULL, reason {TEXT 255} NOT NULL, detail {TEXT 4096} NOT NULL"
     ") {TABLE_END}"},
    {113, "CREATE INDEX IF NOT EXISTS audit_letter ON $audit (letter, n)"},
    {114, "CREATE TABLE IF NOT EXISTS $tally ("
          " state {I64} NOT NULL, destination {TEXT 64} NOT NULL, reason {NAME 64} NOT NULL, currency {NAME 3} NOT NULL,"
          " letters {I64} NOT NULL, units {I64} NOT NULL, amount {I64} NOT NULL, PRIMARY KEY (state, destination, reason, currency)"
          ") {KEYED_TABLE_END}"},
    {115, "CREATE TABLE IF NOT EXISTS $replay ("
          " n {I64} NOT NULL PRIMARY KEY, id {BYTES 16} NOT NULL UNIQUE, state {NAME 16} NOT NULL, filter {BYTES 4096} NOT NULL,"
          " last_letter {I64} NOT NULL, selected_to {I64} NOT NULL, total {I64} NOT NULL, done {I64} NOT NULL, failed {I64} NOT NULL,"
          " rate {I64} NOT NULL, canary {I64} NOT NULL, stop_on_failure {I64} NOT NULL, author {TEXT 64} NOT NULL,"
          " reason {TEXT 255} NOT NULL, started {I64} NOT NULL, ended {I64} NOT NULL, stopped_by {BYTES 16} NOT NULL,"
          " error {TEXT 512} NOT NULL"
          ") {TABLE_END}"},
    {116, "CREATE TABLE IF NOT EXISTS $replay_letter ("
          " replay {I64} NOT NULL, place {I64} NOT NULL, letter {I64} NOT NULL, outcome {I64} NOT NULL, PRIMARY KEY (replay, place)"
          ") {KEYED_TABLE_END}"},
    {117, "CREATE TABLE IF NOT EXISTS $hosting ("
          " source {TEXT 64} NOT NULL, subscriber {TEXT 64} NOT NULL, incarnation {BYTES 16} NOT NULL, is_client {I64} NOT NULL,"
          " session {BYTES 16} NOT NULL, position {I64} NOT NULL, copied {I64} NOT NULL, since {I64} NOT NULL,"
          " PRIMARY KEY (source, subscriber)"
          ") {KEYED_TABLE_END}"},
    {118, "CREATE TABLE IF NOT EXISTS $kept ("
          " source {TEXT 64} NOT NULL, seq {I64} NOT NULL, header {BYTES 16777215} NOT NULL, body {BYTES 16777215} NOT NULL,"
          " PRIMARY KEY (source, seq)"
          ") {KEYED_TABLE_END}"},
    {119, "ALTER TABLE $hosting ADD COLUMN ended {BYTES 16}"},
};
