/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   The schema of people. No column holds anything personal in the clear.
 *
 * STATE     $user      one row per person for ever; n is made by the writer in order. `sealed` is name, e-mail address, telephone,
 *                      address, CPF and the hash of the password, encoded and sealed with the person's key; the hashes are keyed
 *                      ones, to find a person by. Of one that was erased all three are NULL, and `erased` is not 0.
 *           $user_key  the person's key, wrapped by the actor's secret; the row goes when the person is erased. Its own table, so
 *                      that nothing but making and erasing a person ever moves a key.
 *           $erasure   the proof: fields is a mask of what there was (user_people.h), event_seq the position of user.erased
 *           $secret    "people": the secret that wraps keys and names people; "tokens": the private key that signs tokens. Whoever
 *                      reads them reads the people and is whoever he likes: they leave the database in no message and no log.
 *           $request   what became of writing requests, for those that are asked again. `mark` tells another request under the same
 *                      id; it is a keyed hash of the body without the password, and NULL once the person was erased. mark_kind says
 *                      how it was made, as in fingerprint.h. person is n, or 0.
 *
 * LIMITS    Rows of $request are kept for ever, as answers are elsewhere: an id and some numbers each.
 */
#include "user_schema.h"

#define USER_TABLE                                                                                                \
    "CREATE TABLE IF NOT EXISTS $user ("                                                                          \
    " n {I64} NOT NULL PRIMARY KEY, id {BYTES 16} NOT NULL UNIQUE, role {NAME 16} NOT NULL, sealed {BYTES 2048}," \
    " email_hash {BYTES 32} UNIQUE, cpf_hash {BYTES 32} UNIQUE, created {I64} NOT NULL, changed {I64} NOT NULL,"  \
    " erased {I64} NOT NULL, version {I64} NOT NULL, CHECK (version >= 1)"                                        \
    ") {TABLE_END}"

const struct db_step user_steps[USER_STEP_COUNT] = {
    {100, USER_TABLE},
    {130, USER_TABLE},
    {101, "CREATE TABLE IF NOT EXISTS $user_key ("
          " n {I64} NOT NULL PRIMARY KEY, wrapped {BYTES 72} NOT NULL"
          ") {TABLE_END}"},
    {102, "CREATE TABLE IF NOT EXISTS $erasure ("
          " n {I64} NOT NULL PRIMARY KEY, erased {I64} NOT NULL, reason {TEXT 128} NOT NULL, fields {I64} NOT NULL,"
          " event_seq {I64} NOT NULL"
          ") {TABLE_END}"},
    {103, "CREATE TABLE IF NOT EXISTS $secret ("
          " name {NAME 16} NOT NULL PRIMARY KEY, secret {BYTES 1024} NOT NULL"
          ") {KEYED_TABLE_END}"},
    {104, "CREATE TABLE IF NOT EXISTS $request ("
          " n {I64} NOT NULL PRIMARY KEY, request {BYTES 16} NOT NULL UNIQUE, op {NAME 32} NOT NULL, person {I64} NOT NULL,"
          " mark {BYTES 16}, status {NAME 64} NOT NULL, version {I64} NOT NULL"
          ") {TABLE_END}"},
    {105, "CREATE INDEX IF NOT EXISTS $request_of ON $request (person)"},
    {110, "{BUILD 2} ALTER TABLE $request ADD COLUMN mark_kind {I64} NOT NULL DEFAULT 0"},
};
