/* SPDX-License-Identifier: MPL-2.0 */
/* What the parts of the user actor share: user.c (dispatch, reading), user_people.c (sealing and opening persons), user_write.c
 * (register, change), user_erase.c, user_proof.c, user_token.c (keys, sign-in), user_work.c (passwords), user_request.c (who asked,
 * and what became of it). Not for others. */
#ifndef LARDER_USER_STATE_H
#define LARDER_USER_STATE_H

#include "kit/actor.h"
#include "kit/telemetry/metrics.h"
#include "kit/http/token.h"
#include "user_rules.h"
#include "user_seal.h"
#include "user_store.h"

#define USER_PASSWORD_HASH_SIZE 128 /* with its end */

struct user_actor {
    struct actor *actor;
    const struct settings *settings;
    struct batch *batch; /* under way */
    struct user_store store;
    struct user_secret secret;
    bool has_key;
    struct token_key key;
    bool has_numbers;
    int64_t last_n;
    int64_t last_request;
    bool is_erasing;           /* the batch under way erases somebody */
    bool is_scrub_wanted;      /* files still hold what was deleted */
    struct wire_buffer traces; /* of those that were erased since the files were scrubbed, see db_scrub() */
    size_t traces_committed;   /* behind that: those of the batch under way */
    struct wire_buffer page;
};

/* --- user_people.c --- */

/* A person with what is sealed, opened. The slices of `data` point into `plain`; its password is the hash of it. */
struct user_person {
    struct user_row row;
    struct wire_user_register data;
    uint8_t key[USER_KEY_SIZE];
    uint8_t plain[USER_SEALED_MAX];
};

/* What there is of a person: bits of an erasure's `fields`. */
enum user_field {
    USER_FIELD_NAME = 1,
    USER_FIELD_EMAIL = 2,
    USER_FIELD_PHONE = 4,
    USER_FIELD_ADDRESS = 8,
    USER_FIELD_CPF = 16,
    USER_FIELD_PASSWORD = 32,
    USER_FIELD_KEY = 64
};

/* Opens person->row. False, logged: it cannot be, and there is no data. One that was erased has no data either. */
bool
user_people_open(const struct user_actor *actor, struct user_person *person);

/* Seals `data` into person->row, which must have its id, and its names to be found by; a person without a key gets one. */
void
user_people_seal(const struct user_actor *actor, struct user_person *person, const struct wire_user_register *data,
                 uint8_t hashes[2][USER_HASH_SIZE], struct user_hashes *names);

/* Takes over what one body has in common with another, by the names of its texts; what is not given stays. */
void
user_people_take(const struct wire_body *into, void *to, const struct wire_body *of, const void *from);

struct wire_user_card
user_people_card(const struct user_person *person);

int64_t
user_people_fields(const struct user_person *person);

/* "name", "email", ...; NULL behind the last of the bits. */
const char *
user_people_field_name(int number);

/* Finds a person by an e-mail address or a CPF; empty slices are not looked for. The CPF is digits. */
MUST_CHECK err
user_people_find(struct user_actor *actor, struct slice email, struct slice cpf, struct user_row *row, bool *found);

/* A hash of an account by how it is named, known or not: the same for the same e-mail address or CPF. */
uint64_t
user_people_subject(struct slice email, struct slice cpf);

/* --- user_proof.c --- */

/* The proof of an erasure; the list is in actor->page. False: there is none. */
MUST_CHECK err
user_proof_read(struct user_actor *actor, const struct user_row *row, struct wire_user_erasure *proof, bool *found);

/* --- user_request.c --- */

/* Who is to be answered: a request of this batch, or one whose work is done. */
struct user_caller {
    struct item *item;
    struct waiter *waiter;
    struct id request;
    enum op op;
    bool is_again;
    struct user_asker asker;
    uint64_t subject;                 /* a hash of the account that its password is for; 0: none */
    uint8_t marks[2][USER_MARK_SIZE]; /* by enum fingerprint_kind: as earlier versions made them, and as they are made */
};

struct user_caller
user_caller_of(const struct user_actor *actor, struct item *item);

void
user_answer(struct batch *batch, const struct user_caller *caller, const void *reply);
void
user_refuse(struct batch *batch, const struct user_caller *caller, err code, const char *detail);

/* Answers a writing request that was done or refused before. */
MUST_CHECK err
user_recall(struct user_actor *actor, const struct user_caller *caller, bool *is_done);

/* Says and keeps what became of a writing request; `row` is the person it is about, NULL for none. */
MUST_CHECK err
user_done(struct user_actor *actor, const struct user_caller *caller, const struct user_row *row);
MUST_CHECK err
user_refused(struct user_actor *actor, const struct user_caller *caller, const struct user_row *row, err code);

/* --- user_work.c --- */

enum user_work_kind { USER_WORK_HASH, USER_WORK_VERIFY };

/* A password on its way to or from the other thread. */
struct user_work {
    enum user_work_kind kind;
    struct user_caller caller;
    int64_t person; /* to be verified: n, 0 for nobody */
    struct metric *hashed;
    bool is_done; /* hashed; or verified, and right */
    char hash[USER_PASSWORD_HASH_SIZE];
    struct slice password; /* in `frame` */
    size_t frame_size;
    uint8_t frame[];
};

/* Answers later: hashes the password, or compares it with `hash` when that is given. The caller is refused when there is too much to
 * do. `person` is n of whose password it is said to be, 0 for nobody's. */
void
user_work_start(struct batch *batch, const struct user_caller *caller, struct slice password, const char *hash, int64_t person);

/* --- user_write.c --- */

MUST_CHECK err
user_handle_register(void *state, struct item *item);
MUST_CHECK err
user_handle_change(void *state, struct item *item);

/* The password of a registration or a change is hashed. */
MUST_CHECK err
user_handle_hashed(struct user_actor *actor, const struct user_work *work, struct user_caller *caller);

/* --- user_retime.c --- */

MUST_CHECK err
user_retime(const struct retiming *retiming, struct due_row *row);

/* --- user_erase.c --- */

MUST_CHECK err
user_handle_erase(void *state, struct item *item);
MUST_CHECK err
user_handle_erasure(void *state, struct item *item);

/* Cuts what files still hold of what was deleted; later, when somebody reads. */
void
user_scrub(struct user_actor *actor);

#endif
