/* SPDX-License-Identifier: MPL-2.0 */
/* All SQL about people. Knows rows, not persons: what is sealed stays sealed here. */
#ifndef LARDER_USER_STORE_H
#define LARDER_USER_STORE_H

#include "kit/db/db.h"
#include "role.h"
#include "user_seal.h"

#define USER_SEALED_MAX 2048
#define USER_SECRET_MAX 1024
#define USER_REASON_MAX 128

struct user_row {
    int64_t n;
    struct id id;
    enum role role;
    int64_t created_ms;
    int64_t changed_ms;
    int64_t erased_ms; /* 0: not */
    int64_t version;
    size_t sealed_size;
    uint8_t sealed[USER_SEALED_MAX];
    size_t wrapped_size;
    uint8_t wrapped[USER_WRAPPED_SIZE];
};

/* Names to find a person by; NULL for one that there is not. */
struct user_hashes {
    const uint8_t *email;
    const uint8_t *cpf;
};

struct user_erasure_row {
    int64_t n;
    int64_t erased_ms;
    int64_t fields;
    int64_t event_seq;
    size_t reason_size;
    char reason[USER_REASON_MAX];
};

struct user_request_row {
    int64_t n;
    struct id request;
    enum op op;
    int64_t person;
    bool has_mark;
    uint8_t mark[USER_MARK_SIZE];
    int64_t mark_kind; /* enum fingerprint_kind, as it is stored */
    err status;
    int64_t version;
};

struct user_store {
    struct db *db;
    struct db_statement *last_n;
    struct db_statement *last_request;
    struct db_statement *find;
    struct db_statement *find_n;
    struct db_statement *find_email;
    struct db_statement *find_cpf;
    struct db_statement *page;
    struct db_statement *insert;
    struct db_statement *insert_key;
    struct db_statement *update;
    struct db_statement *blank_key;
    struct db_statement *delete_key;
    struct db_statement *find_erasure;
    struct db_statement *insert_erasure;
    struct db_statement *find_secret;
    struct db_statement *insert_secret;
    struct db_statement *find_request;
    struct db_statement *insert_request;
    struct db_statement *forget_marks;
    struct db_statement *traces;
};

void
user_store_init(struct user_store *store, struct db *db);

/* The numbers given out last, of people and of requests. */
MUST_CHECK err
user_store_last(struct user_store *store, int64_t *n, int64_t *request);

MUST_CHECK err
user_store_find(struct user_store *store, const struct id *id, struct user_row *row, bool *found);
MUST_CHECK err
user_store_find_n(struct user_store *store, int64_t n, struct user_row *row, bool *found);
MUST_CHECK err
user_store_find_email(struct user_store *store, const uint8_t hash[USER_HASH_SIZE], struct user_row *row, bool *found);
MUST_CHECK err
user_store_find_cpf(struct user_store *store, const uint8_t hash[USER_HASH_SIZE], struct user_row *row, bool *found);

/* Rows behind `after`, in order; to be taken by user_store_next(). */
MUST_CHECK err
user_store_page(struct user_store *store, int64_t after, int64_t limit);
bool
user_store_next(struct user_store *store, struct user_row *row);

/* The person and its key. */
MUST_CHECK err
user_store_insert(struct user_store *store, const struct user_row *row, const struct user_hashes *hashes);

/* Everything but n, id and created. */
MUST_CHECK err
user_store_update(struct user_store *store, const struct user_row *row, const struct user_hashes *hashes);

MUST_CHECK err
user_store_delete_key(struct user_store *store, int64_t n);

MUST_CHECK err
user_store_find_erasure(struct user_store *store, int64_t n, struct user_erasure_row *row, bool *found);
MUST_CHECK err
user_store_insert_erasure(struct user_store *store, const struct user_erasure_row *row);

/* `secret` has room for USER_SECRET_MAX. */
MUST_CHECK err
user_store_find_secret(struct user_store *store, const char *name, uint8_t *secret, size_t *size);
MUST_CHECK err
user_store_insert_secret(struct user_store *store, const char *name, struct slice secret);

MUST_CHECK err
user_store_find_request(struct user_store *store, const struct id *request, struct user_request_row *row, bool *found);
MUST_CHECK err
user_store_insert_request(struct user_store *store, const struct user_request_row *row);

/* Of all requests about this person. */
MUST_CHECK err
user_store_forget_marks(struct user_store *store, int64_t person);

/* Appends what erasing this person takes away and nobody may find afterwards, in pieces of DB_TRACE_SIZE: its key, the hashes of its
 * names, the marks of its requests. */
MUST_CHECK err
user_store_add_traces(struct user_store *store, int64_t person, struct wire_buffer *traces);

#endif
