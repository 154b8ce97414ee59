/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The serving of a trace: serve.h says what it promises.
 */
#include "config.h"

#include "serve.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../cli.h"
#include "bar.h"
#include "decode.h"
#include "prefill.h"

/* After a stop ranks may still wait for a batch's deadline (60 s), and then come; but one that is known
 * to be dead never does. */
#define STOP_LIMIT_NS UINT64_C(90000000000)
#define LOST_LIMIT_NS UINT64_C(3000000000)
#define PROGRESS_NS   UINT64_C(100000000)
#define ALIVE_NS      UINT64_C(500000000) /* between looks at who is alive */

static volatile sig_atomic_t signal_seen;

static void note_signal(int number)
{
    signal_seen = number;
}

void kvfi_replay_serve_signals(void)
{
    struct sigaction action = {.sa_handler = note_signal}; /* no SA_RESTART: a read must return */

    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

int kvfi_replay_serve_signal(void)
{
    return signal_seen;
}

/* What this rank has open while it serves. */
struct server {
    struct replay_job *job;
    struct replay_prefill *prefill; /* NULL: this rank is not one */
    struct replay_decode *decode;
    kvf_remote_t **remotes; /* by rank, shape->ranges each */
    uint8_t *reads;         /* by rank and member of a prefill instance: who reads from whom */
    uint8_t *readers;       /* by decode rank: whether it reads from this one */
    bool told;              /* the others know that the job stops */
    bool bar_on;
    struct replay_bar bar;
    struct progress {
        uint64_t requests, bytes;
    } * seen; /* by rank, on rank 0 */
    uint64_t progress_ns, alive_ns;
    uint64_t stop_ns;            /* since when the job stops */
    struct replay_ending ending; /* once in its barrier, this rank sends no more mail */
};

int kvfi_replay_fail(struct replay_job *job, const char *format, ...)
{
    va_list args;

    job->stop = true;
    if (job->code == 0) {
        job->code = KVFI_EXIT_WRONG;
        va_start(args, format);
        vsnprintf(job->text, sizeof(job->text), format, args);
        va_end(args);
    }
    return -1;
}

/* -------------------------------------------------------------------- setup */

static void open_sides(struct server *s)
{
    struct replay_job *job = s->job;
    const struct replay_shape *shape = job->shape;
    size_t ranks = (size_t)job->comm->size, members = shape->side[REPLAY_SRC].members;
    uint32_t number;

    s->remotes = calloc(ranks * shape->ranges, sizeof(kvf_remote_t *));
    s->reads = calloc(ranks * members, sizeof(*s->reads));
    s->readers = calloc(shape->side[REPLAY_DST].ranks, sizeof(*s->readers));
    s->seen = calloc(ranks, sizeof(*s->seen));
    job->pulls_ns =
        calloc(job->trace->request_count / shape->side[REPLAY_DST].instances + 1, sizeof(uint64_t));
    if (s->remotes == NULL || s->reads == NULL || s->readers == NULL || s->seen == NULL ||
        job->pulls_ns == NULL) {
        kvfi_replay_fail(job, "no memory");
        return;
    }
    if (kvfi_replay_is(shape, REPLAY_SRC, job->comm->rank, &number)) {
        s->prefill = kvfi_replay_prefill_open(job, number);
    }
    if (job->code == 0 && kvfi_replay_is(shape, REPLAY_DST, job->comm->rank, &number)) {
        uint32_t instance = number / shape->side[REPLAY_DST].members;
        uint64_t need = kvfi_replay_decode_need(job->opts, shape, job->trace, instance);
        if (need > 0) {
            s->decode = kvfi_replay_decode_open(job, number, need);
        }
    }
}

/* Who reads from whom: each decode rank says from which members of a prefill instance. */
static int share_reads(struct server *s)
{
    struct replay_job *job = s->job;
    const struct replay_side *src = &job->shape->side[REPLAY_SRC], *dst = &job->shape->side[REPLAY_DST];
    size_t members = src->members;
    uint8_t *own = calloc(members, sizeof(*own));
    char text[REPLAY_TEXT_LEN];
    uint32_t number;

    if (kvfi_replay_agree(job->comm, own == NULL, "no memory", text) != 0) {
        free(own);
        return kvfi_replay_fail(job, "%s", text);
    }
    if (s->decode != NULL) {
        kvfi_replay_decode_reads(s->decode, own);
    }
    kvfi_replay_allgather(job->comm, own, s->reads, members);
    free(own);
    if (s->prefill == NULL || !kvfi_replay_is(job->shape, REPLAY_SRC, job->comm->rank, &number)) {
        return 0;
    }
    for (uint32_t r = 0; r < dst->ranks; r++) {
        s->readers[r] = s->reads[(dst->first_rank + r) * members + number % members];
    }
    return kvfi_replay_prefill_connect(s->prefill, s->readers);
}

/* Every rank's pool to every rank. */
static int connect_sides(struct server *s, char text_p[REPLAY_TEXT_LEN])
{
    struct replay_job *job = s->job;
    kvf_grant_t *grant = s->prefill != NULL ? kvfi_replay_prefill_grant(s->prefill) : NULL;
    uint32_t *counts = calloc((size_t)job->comm->size, sizeof(*counts));
    int code;

    if (job->code == 0 && counts == NULL) {
        kvfi_replay_fail(job, "no memory");
    }
    if (job->code == 0 && kvfi_replay_serve_signal() != 0) {
        kvfi_replay_fail(job, "ended by signal %d before the first request", kvfi_replay_serve_signal());
    }
    code = kvfi_replay_agree(job->comm, job->code, job->text, text_p);
    if (code == 0) {
        if (kvf_mpi_exchange_grants(job->mpi, grant, job->shape->ranges, s->remotes, counts) != KVF_OK) {
            kvfi_replay_fail(job, "%s", kvf_last_error());
        } else if (s->decode != NULL) {
            kvfi_replay_decode_connect(s->decode, s->remotes);
        }
        share_reads(s);
        code = kvfi_replay_agree(job->comm, job->code, job->text, text_p);
    }
    free(counts);
    return code;
}

/* --------------------------------------------------------------------- mail */

static int take_number(struct replay_job *job, const void *data, size_t len, uint64_t *number_p)
{
    if (len != sizeof(*number_p)) {
        return kvfi_replay_fail(job, "a message of %zu bytes makes no sense", len);
    }
    memcpy(number_p, data, sizeof(*number_p));
    return 0;
}

static int open_letter(struct server *s, int from, enum replay_mail kind, const void *data, size_t len)
{
    struct replay_job *job = s->job;
    uint64_t request = 0;

    switch (kind) {
    case REPLAY_MAIL_ASK:
    case REPLAY_MAIL_RELEASE:
        if (s->prefill == NULL || take_number(job, data, len, &request) != 0) {
            return kvfi_replay_fail(job, "rank %d takes this one for a prefill rank", from);
        }
        return kind == REPLAY_MAIL_ASK ? kvfi_replay_prefill_ask(s->prefill, request)
                                       : kvfi_replay_prefill_release(s->prefill, request);
    case REPLAY_MAIL_ANSWER:
        if (s->decode == NULL) {
            return kvfi_replay_fail(job, "rank %d takes this one for a decode rank", from);
        }
        return kvfi_replay_decode_answer(s->decode, from, data, len);
    case REPLAY_MAIL_PROGRESS:
        if (s->seen != NULL && len == sizeof(*s->seen)) {
            memcpy(&s->seen[from], data, len);
        }
        return 0;
    case REPLAY_MAIL_STOP:
        job->stop = true;
        job->lost = job->lost || len > 0;
        return 0;
    default:
        return kvfi_replay_fail(job, "rank %d sent a message of an unknown kind", from);
    }
}

/* Takes what has come. Whether there was anything. */
static bool take_mail(struct server *s)
{
    enum replay_mail kind;
    const void *data;
    size_t len;
    int from, taken = 0;

    while (taken < 64 && kvfi_replay_mail_take(s->job->comm, &from, &kind, &data, &len)) {
        open_letter(s, from, kind, data, len);
        taken++;
    }
    return taken > 0;
}

static void give_up_late(struct server *s)
{
    struct replay_job *job = s->job;

    if (job->stop && kvfi_replay_now() - s->stop_ns > (job->lost ? LOST_LIMIT_NS : STOP_LIMIT_NS)) {
        fprintf(stderr,
                "kvf_replay: rank %d: %s%sa rank does not come to the end of a job that was "
                "stopped; giving up\n",
                job->comm->rank, job->text, job->code != 0 ? "; " : "");
        kvfi_replay_comm_abort(job->comm, KVFI_EXIT_WRONG);
    }
}

static void tell_stop(struct server *s)
{
    struct replay_job *job = s->job;

    if (kvfi_replay_serve_signal() != 0 && !s->ending.in_barrier) {
        job->stop = true;
    }
    if (job->stop && !s->told) {
        s->told = true;
        s->stop_ns = kvfi_replay_now();
        job->stats.stopped = !s->ending.in_barrier;
        for (int r = 0; r < job->comm->size && !s->ending.in_barrier; r++) {
            if (r != job->comm->rank) {
                kvfi_replay_mail_send(job->comm, r, REPLAY_MAIL_STOP, "lost", job->lost ? 4 : 0);
            }
        }
    }
    give_up_late(s);
}

/* MPI does not tell that a rank died and the job goes on without it; the engine does. */
static void look_who_lives(struct server *s)
{
    struct replay_job *job = s->job;
    uint64_t now = kvfi_replay_now();

    if (now - s->alive_ns < ALIVE_NS || s->ending.in_barrier) {
        return;
    }
    s->alive_ns = now;
    for (int r = 0; r < job->comm->size; r++) {
        kvf_peer_attr_t attr = {.struct_size = sizeof(attr)};
        if (r != job->comm->rank && kvf_peer_query(kvf_mpi_peer(job->mpi, r), &attr) == KVF_OK &&
            !attr.alive) {
            job->lost = true;
            kvfi_replay_fail(job, "rank %d died", r);
        }
    }
}

static void show_progress(struct server *s)
{
    const struct replay_stats *stats = &s->job->stats;
    struct progress mine = {stats->requests, stats->bytes}, sum = {0, 0};
    uint64_t now = kvfi_replay_now();

    if (!s->bar_on || now - s->progress_ns < PROGRESS_NS) {
        return;
    }
    s->progress_ns = now;
    if (s->job->comm->rank != 0) {
        if (s->decode != NULL && !s->ending.in_barrier) {
            kvfi_replay_mail_send(s->job->comm, 0, REPLAY_MAIL_PROGRESS, &mine, sizeof(mine));
        }
        return;
    }
    s->seen[0] = mine;
    for (int r = 0; r < s->job->comm->size; r++) {
        sum.requests += s->seen[r].requests;
        sum.bytes += s->seen[r].bytes;
    }
    /* each member of an instance counts the request */
    kvfi_replay_bar_draw(&s->bar, sum.requests / s->job->shape->side[REPLAY_DST].members, sum.bytes, now);
}

/* ------------------------------------------------------------------- serving */

static bool sides_done(const struct server *s)
{
    bool prefill = s->prefill == NULL || s->job->stop || kvfi_replay_prefill_done(s->prefill);

    return prefill && (s->decode == NULL || kvfi_replay_decode_done(s->decode));
}

/* One round of everything. Whether anything happened. */
static bool round_of_work(struct server *s)
{
    bool did = take_mail(s);

    while (s->prefill != NULL && kvfi_replay_prefill_step(s->prefill) != 0) {
        did = true;
        if (!s->job->opts->no_pin) {
            break; /* mail first; without pins it runs ahead of the readers, as far as it was asked */
        }
    }
    if (s->decode != NULL) {
        did = kvfi_replay_decode_step(s->decode) != 0 || did;
    }
    kvf_progress(s->job->engine);
    look_who_lives(s);
    tell_stop(s);
    show_progress(s);
    return did;
}

static void serve_all(struct server *s)
{
    struct replay_comm *comm = s->job->comm;
    bool done = false;

    /* A rank that is done goes on taking mail and serving until all are. A failure in a batch shows
     * when its side is asked for more, so a rank that failed is done only once nothing runs. */
    while (!done) {
        if (round_of_work(s)) {
            kvfi_replay_woke(comm);
        } else {
            kvfi_replay_rest(comm);
        }
        if (s->ending.in_barrier || sides_done(s)) {
            done = kvfi_replay_mail_ended(comm, &s->ending);
        }
    }
    take_mail(s);
}

int kvfi_replay_serve(struct replay_job *job, bool bar, double *seconds_p, char text_p[REPLAY_TEXT_LEN])
{
    struct server s = {.job = job, .bar_on = bar};
    char text[REPLAY_TEXT_LEN];
    uint64_t begin;
    int code;

    open_sides(&s);
    code = connect_sides(&s, text_p);
    begin = kvfi_replay_now();
    if (code == 0) {
        job->begin_ns = begin;
        s.bar =
            (struct replay_bar){.total = job->trace->request_count - job->shape->refused, .begin_ns = begin};
        serve_all(&s);
        *seconds_p = (double)(kvfi_replay_now() - begin) / 1e9;
        if (job->comm->rank == 0) {
            kvfi_replay_bar_clear(&s.bar);
        }
        code = kvfi_replay_agree(job->comm, job->code, job->text, text);
        memcpy(text_p, text, sizeof(text));
    }
    kvfi_replay_decode_close(s.decode);
    kvfi_replay_prefill_close(s.prefill);
    free(s.remotes);
    free(s.reads);
    free(s.readers);
    free(s.seen);
    return code;
}
