/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The cast of the fault scenarios. An *owner* grants a pool and a registered segment. A *bystander* reads
 * both without a pause and must never get anything but KVF_OK. A *victim* does one step and is killed in
 * it, or has a system call of it fail. A *newcomer* then opens an engine, reads, and closes. All are
 * children of the director (faults.c), which opens no engine; they share one board of memory, on which
 * the director asks and they answer. A child waits for a question without a system call where `spin` is
 * said, so that the calls of a step can be counted.
 */
#ifndef KVF_TESTS_FAULTS_CAST_H
#define KVF_TESTS_FAULTS_CAST_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <kvferry.h>

#define MIB   (UINT64_C(1) << 20)
#define SEC   UINT64_C(1000000000)
#define BLOCK (128u << 10)

/* Both memories of the owner: what all may read, what the victim may write, what nobody is granted. */
#define STEADY_OFF  0
#define TARGET_OFF  MIB
#define GUARD_OFF   (2 * MIB)
#define MEM_LEN     (3 * MIB)
#define STEADY_SEED 11u
#define GUARD_SEED  12u

/* Deadline of every batch and close; whoever takes five seconds longer hangs. */
#define DEADLINE_S 2
#define HANG_S     (DEADLINE_S + 5)

typedef enum {
    OWNER,
    BYSTANDER,
    VICTIM,
    NEWCOMER,
    ACTORS
} role_t;

typedef struct actor {
    pid_t pid;
    int ended; /* its wait status, once it is gone */
    uint32_t verb;
    _Atomic uint32_t asked, answered;
    _Atomic uint64_t rounds; /* of the bystander; 1 in the victim: it is traced */
    int32_t status;          /* of the last thing done */
    char sentence[256];
    char wrong[512]; /* what must not be: "" if all is well */
} actor_t;

typedef struct blob {
    size_t len;
    uint8_t data[32768];
} blob_t;

typedef struct board {
    actor_t actor[ACTORS];
    uint32_t far;            /* every process is far for every other */
    uint64_t old_seed;       /* of the target before the step; + 1: what the victim writes */
    uint32_t path, dir;      /* of the owner's own op, in scenarios where the victim serves */
    _Atomic uint32_t served; /* that op has ended */
    uint32_t gens[MIB / BLOCK];
    blob_t engine; /* the owner's */
    blob_t steady; /* its grant to all: the steady parts */
    blob_t target; /* its grant of this step: the target parts */
    blob_t victim; /* the victim's engine and grant */
    blob_t victim_grant;
} board_t;

extern board_t *board;

/* ------------------------------------------------------------- children */

/* Starts main as a child in that role; its standard error goes to the file of that name. */
void actor_start(role_t role, void (*main)(actor_t *me), const char *errors);

/* Ask, and wait for the answer: 1 answered, 0 gone, -1 neither within seconds. */
void actor_ask(role_t role, uint32_t verb);
int actor_answer(role_t role, unsigned seconds);

/* 1 if it is gone. Kills it and takes its status. */
int actor_gone(role_t role);
void actor_kill(role_t role);

/* In a child: answers what was done, waits for the next question. */
void me_answer(actor_t *me, kvf_status_t status);
int me_asked(const actor_t *me);
void me_spin(const actor_t *me);

/* Something that must not be; the first one stays. */
void wrong(actor_t *me, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* wrong(), unless the call answered KVF_OK. */
int good(actor_t *me, kvf_status_t status, const char *what);

/* ---------------------------------------------------------------- bytes */

/* len bytes at `at`, which stand at off of their memory: all multiples of 8. */
void fill(uint8_t *at, uint64_t off, uint64_t len, uint64_t seed);

/* Offset of the first byte that is of neither pattern, or UINT64_MAX. */
uint64_t differs(const uint8_t *at, uint64_t off, uint64_t len, uint64_t seed, uint64_t or_seed);

/* -------------------------------------------------------------- engines */

kvf_status_t open_engine(kvf_engine_t **engine_p);
int export_engine(actor_t *me, kvf_engine_t *engine, blob_t *blob);
int export_grant(actor_t *me, kvf_grant_t *grant, blob_t *blob);
int import_both(actor_t *me, kvf_engine_t *engine, const blob_t *blob, const blob_t *grant,
                kvf_peer_t **peer_p, kvf_remote_t *remotes[2]);

/* 256 pieces of 4 KiB, every second one of the segment, all of a target: they cannot be merged. */
kvf_op_t op_pieces(kvf_segment_t *segment, kvf_remote_t *remote, uint32_t dir);

kvf_status_t run_op(kvf_batch_t *batch, const kvf_op_t *op, kvf_path_t path);

/* --------------------------------------------------------------- actors */

enum {
    OWN_GRANT = 1,
    OWN_MEET,
    OWN_MOVE,
    OWN_CHECK,
    OWN_TAKE_BACK
};

void owner_main(actor_t *me);
void bystander_main(actor_t *me);
void newcomer_main(actor_t *me);

typedef struct scenario {
    const char *name;
    uint32_t far;
    uint32_t ready; /* READY_ bits of victim.c: what is done before the step */
    kvf_path_t path;
    uint32_t dir;
    uint32_t serves; /* 1: the owner moves, the victim serves */
    kvf_status_t (*step)(actor_t *me, const struct scenario *self);
} scenario_t;

extern const scenario_t scenarios[];
extern const scenario_t *playing; /* set before the victim starts */

void victim_main(actor_t *me);

#endif
