/* SPDX-License-Identifier: MPL-2.0 */
/*
 * PURPOSE   Proves what is kept of people: who is not erased can be opened and is found by what is inside, who is erased has left
 *           nothing but the proof of it.
 *
 * FAILURES  A fault means that rows were changed by hand, or a bug of the user actor. Errors of the database end the proof and are
 *           returned. Sentences name people by their numbers, and nothing of them.
 *
 * LIMITS    Of each check the first 20 faults are told, all are counted. One pass over the people in pages of PAGE, each opened.
 */
#include "user.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <sodium.h>

#include "user_state.h"

#define PAGE 500

/* Column: a person's n. */
static const struct verify_check checks[] = {
    {"SELECT u.n FROM $user u LEFT JOIN $user_key k ON k.n = u.n WHERE u.erased = 0 AND k.n IS NULL", "is not erased, but has no key"},
    {"SELECT k.n FROM $user_key k LEFT JOIN $user u ON u.n = k.n WHERE u.n IS NULL OR u.erased <> 0",
     "is erased, or was never there, but has a key"},
    {"SELECT n FROM $user WHERE erased <> 0 AND (sealed IS NOT NULL OR email_hash IS NOT NULL OR cpf_hash IS NOT NULL)",
     "is erased, but something personal is left"},
    {"SELECT n FROM $user WHERE erased = 0 AND (sealed IS NULL OR (email_hash IS NULL AND cpf_hash IS NULL))",
     "is not erased, but cannot be found by anything"},
    {"SELECT u.n FROM $user u LEFT JOIN $erasure e ON e.n = u.n AND e.erased = u.erased WHERE u.erased <> 0 AND e.n IS NULL",
     "is erased, but there is no proof of it"},
    {"SELECT e.n FROM $erasure e LEFT JOIN $user u ON u.n = e.n WHERE u.n IS NULL OR u.erased = 0", "has a proof, but is not erased"},
    {"SELECT n FROM $erasure WHERE event_seq < 1 OR event_seq > (SELECT COALESCE(MAX(seq), 0) FROM $shard)",
     "is erased, but the event that told of it is not in the stream"},
    {"SELECT r.person FROM $request r JOIN $user u ON u.n = r.person WHERE u.erased <> 0 AND r.mark IS NOT NULL",
     "is erased, but a request of before still has its mark"},
    {"SELECT r.person FROM $request r LEFT JOIN $user u ON u.n = r.person WHERE (r.person <> 0 AND (u.n IS NULL OR r.version > "
     "u.version))"
     " OR (r.person = 0 AND r.status = 'ok')",
     "is whom a request was about, but was never there, or never had the version that it was told"},
    {"SELECT person FROM $request WHERE op NOT IN ('user.register', 'user.change', 'user.erase') OR LENGTH(request) <> 16",
     "is whom a request was about that nobody can have asked"},
    {"SELECT u.n FROM $user u LEFT JOIN (SELECT person, MAX(version) AS version FROM $request WHERE status = 'ok' GROUP BY person) r"
     " ON r.person = u.n WHERE r.version IS NULL OR r.version <> u.version",
     "has a version that no request was told"},
    {"SELECT n FROM $user WHERE created <= 0 OR changed <= 0 OR erased < 0", "was made or changed at no time"},
    {"SELECT n FROM $erasure WHERE fields < 1 OR fields > 127",
     "is erased, and the proof says that something was there which people do not have"},
    {"SELECT n FROM $user WHERE role NOT IN ('customer', 'employee', 'admin')", "has a role that nobody gives"},
};

static void
tell(struct verify_report *report, int64_t n, int64_t found, const char *words)
{
    verify_tell(report, found, "user: person %" PRId64 " %s", n, words);
}

static err
tell_found(struct db *db, struct verify_report *report, const struct verify_check *check, struct db_statement *row, int64_t found)
{
    (void)db;
    tell(report, db_i64(row, 0), found, check->words);
    return ERR_ok;
}

/* --- opening everybody --- */

static bool
is_found_by(struct user_actor *reader, const struct user_person *person)
{
    const struct wire_user_register *data = &person->data;
    struct slice email = WIRE_HAS(data, user_register, email) ? data->email : (struct slice){0};
    struct slice cpf = WIRE_HAS(data, user_register, cpf) ? data->cpf : (struct slice){0};
    struct user_row row;
    bool found = true;
    bool is_right = true;
    if (email.size > 0) {
        is_right = user_people_find(reader, email, (struct slice){0}, &row, &found) == ERR_ok && found && row.n == person->row.n;
    }
    if (is_right && cpf.size > 0) {
        is_right = user_people_find(reader, (struct slice){0}, cpf, &row, &found) == ERR_ok && found && row.n == person->row.n;
    }
    return is_right;
}

static err
open_page(struct user_actor *reader, struct verify_report *report, int64_t *after, bool *has_more)
{
    struct user_person person;
    int64_t count = 0;
    err code = user_store_page(&reader->store, *after, PAGE);
    while (code == ERR_ok && user_store_next(&reader->store, &person.row)) {
        count++;
        *after = person.row.n;
        if (person.row.erased_ms > 0) {
            continue;
        }
        if (!user_people_open(reader, &person)) {
            tell(report, person.row.n, report->faults, "cannot be opened with the key that there is");
        } else if (!is_found_by(reader, &person)) {
            tell(report, person.row.n, report->faults, "is not found by the e-mail address or the CPF inside");
        }
    }
    *has_more = count == PAGE;
    report->rows_checked += count;
    sodium_memzero(&person, sizeof person);
    return code;
}

static err
open_everybody(struct db *db, struct verify_report *report)
{
    struct user_actor reader = {0};
    uint8_t master[USER_SECRET_MAX];
    size_t size = 0;
    int64_t after = 0;
    bool has_more = true;
    user_store_init(&reader.store, db);
    err code = user_store_find_secret(&reader.store, "people", master, &size);
    if (code != ERR_ok) {
        return code;
    }
    if (size != USER_SECRET_SIZE) {
        static const struct verify_check unopened = {"SELECT n FROM $user WHERE erased = 0",
                                                     "cannot be opened: the secret that wraps keys is gone"};
        return verify_run_checks(db, &unopened, 1, tell_found,
                                 report); /* an actor that never started has neither a secret nor people */
    }
    user_seal_derive(master, &reader.secret);
    sodium_memzero(master, sizeof master);
    while (code == ERR_ok && has_more) {
        code = open_page(&reader, report, &after, &has_more);
    }
    sodium_memzero(&reader.secret, sizeof reader.secret);
    return code;
}

err
user_verify(struct db *db, struct verify_report *report)
{
    if (sodium_init() < 0) {
        return ERR_internal;
    }
    err code = verify_run_checks(db, checks, sizeof checks / sizeof checks[0], tell_found, report);
    return code == ERR_ok ? open_everybody(db, report) : code;
}
