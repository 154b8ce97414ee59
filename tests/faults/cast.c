/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Children, questions and answers, bytes, and what every actor does to open and to join: see cast.h.
 */
#include "cast.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

board_t *board;

/* ------------------------------------------------------------- children */

void actor_start(role_t role, void (*main)(actor_t *me), const char *errors)
{
    actor_t *me = &board->actor[role];
    pid_t director = getpid(), pid;

    memset(me, 0, sizeof(*me));
    me->asked = 1;
    fflush(NULL);
    pid = fork();
    if (pid < 0) {
        perror("fork");
        exit(1);
    }
    if (pid == 0) {
        int fd = open(errors, O_WRONLY | O_CREAT | O_TRUNC, 0600);

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != director || fd < 0) {
            _exit(2);
        }
        dup2(fd, 2);
        close(fd);
        main(me);
        _exit(0);
    }
    me->pid = pid; /* the board is the child's too */
}

void actor_ask(role_t role, uint32_t verb)
{
    actor_t *actor = &board->actor[role];

    actor->verb = verb;
    atomic_fetch_add(&actor->asked, 1);
}

int actor_gone(role_t role)
{
    actor_t *actor = &board->actor[role];

    if (actor->pid > 0 && waitpid(actor->pid, &actor->ended, WNOHANG) == actor->pid) {
        actor->pid = 0;
    }
    return actor->pid == 0;
}

void actor_kill(role_t role)
{
    actor_t *actor = &board->actor[role];

    if (actor->pid > 0) {
        kill(actor->pid, SIGKILL);
        waitpid(actor->pid, &actor->ended, 0);
        actor->pid = 0;
    }
}

int actor_answer(role_t role, unsigned seconds)
{
    actor_t *actor = &board->actor[role];

    for (unsigned long i = 0; i < seconds * 4000ul; i++) {
        if (atomic_load(&actor->answered) == atomic_load(&actor->asked)) {
            return 1;
        }
        if (actor_gone(role)) {
            return 0;
        }
        usleep(200);
    }
    return -1;
}

void me_answer(actor_t *me, kvf_status_t status)
{
    me->status = status;
    snprintf(me->sentence, sizeof(me->sentence), "%s", status != KVF_OK ? kvf_last_error() : "");
    atomic_store(&me->answered, atomic_load(&me->asked));
}

int me_asked(const actor_t *me)
{
    return atomic_load(&me->asked) != atomic_load(&me->answered);
}

void me_spin(const actor_t *me)
{
    while (!me_asked(me)) {
    }
}

void wrong(actor_t *me, const char *format, ...)
{
    va_list args;

    if (me->wrong[0] == '\0') {
        va_start(args, format);
        vsnprintf(me->wrong, sizeof(me->wrong), format, args);
        va_end(args);
    }
}

int good(actor_t *me, kvf_status_t status, const char *what)
{
    if (status != KVF_OK) {
        wrong(me, "%s: %s, \"%s\"", what, kvf_status_name(status), kvf_last_error());
    }
    return status == KVF_OK;
}

/* ---------------------------------------------------------------- bytes */

static uint64_t word_of(uint64_t off, uint64_t seed)
{
    uint64_t x = (off + 1) * UINT64_C(0x9e3779b97f4a7c15) + seed * UINT64_C(0xd1b54a32d192ed03);

    return x ^ x >> 29;
}

void fill(uint8_t *at, uint64_t off, uint64_t len, uint64_t seed)
{
    for (uint64_t i = 0; i < len; i += 8) {
        uint64_t word = word_of(off + i, seed);

        memcpy(at + i, &word, 8);
    }
}

uint64_t differs(const uint8_t *at, uint64_t off, uint64_t len, uint64_t seed, uint64_t or_seed)
{
    for (uint64_t i = 0; i < len; i += 8) {
        uint64_t one = word_of(off + i, seed), other = word_of(off + i, or_seed), word;
        const uint8_t *a = (const uint8_t *)&one, *b = (const uint8_t *)&other;

        memcpy(&word, at + i, 8);
        for (int k = 0; word != one && word != other && k < 8; k++) {
            if (at[i + k] != a[k] && at[i + k] != b[k]) {
                return off + i + k;
            }
        }
    }
    return UINT64_MAX;
}

/* -------------------------------------------------------------- engines */

kvf_status_t open_engine(kvf_engine_t **engine_p)
{
    kvf_engine_opts_t opts = {.struct_size = sizeof(opts), .deadline_ns = DEADLINE_S * SEC};

    if (board->far) {
        opts.local = KVF_SWITCH_OFF;
        opts.net = "tcp";
    }
    return kvf_engine_open(&opts, engine_p);
}

int export_engine(actor_t *me, kvf_engine_t *engine, blob_t *blob)
{
    blob->len = sizeof(blob->data);
    return good(me, kvf_engine_export(engine, board->far ? KVF_BLOB_FAR : 0, blob->data, &blob->len),
                "engine_export");
}

int export_grant(actor_t *me, kvf_grant_t *grant, blob_t *blob)
{
    blob->len = sizeof(blob->data);
    return good(me, kvf_grant_export(grant, blob->data, &blob->len), "grant_export");
}

int import_both(actor_t *me, kvf_engine_t *engine, const blob_t *blob, const blob_t *grant,
                kvf_peer_t **peer_p, kvf_remote_t *remotes[2])
{
    uint32_t count = 2;

    return good(me, kvf_peer_import(engine, blob->data, blob->len, peer_p), "peer_import") &&
           good(me, kvf_remote_import(*peer_p, grant->data, grant->len, remotes, &count), "remote_import");
}

kvf_op_t op_pieces(kvf_segment_t *segment, kvf_remote_t *remote, uint32_t dir)
{
    kvf_op_t op = {.segment = segment,
                   .remote = remote,
                   .len = 4096,
                   .count = {MIB / 4096, 1},
                   .local_stride = {8192, 0},
                   .remote_stride = {4096, 0},
                   .blocks = 1,
                   .dir = dir};

    return op;
}

kvf_status_t run_op(kvf_batch_t *batch, const kvf_op_t *op, kvf_path_t path)
{
    kvf_batch_opts_t opts = {.struct_size = sizeof(opts),
                             .paths = path != KVF_PATH_NONE ? KVF_PATH_BIT(path) : 0};
    kvf_status_t status = kvf_batch_post(batch, op, 1, sizeof(*op), &opts);

    return status != KVF_OK ? status : kvf_batch_wait(batch, KVF_FOREVER);
}
