/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A rank of four is killed, or stopped, while every rank has batches under way with every other:
 *
 *     mpirun -n 4 mpi_kill kill|stop shm|cma|stage|am thread|caller DIR
 *     mpi_kill fresh shm|cma|stage|am thread|caller DIR   once DIR/dead is there, no MPI
 *
 * kill: batches with the dead one end within 5 s, OK with the right bytes or PEER, later posts say
 * PEER, the others' batches go on; a fresh process takes the dead one's place, through blobs in
 * files. stop: far and staged batches end at their deadline, near ones go on; after SIGCONT not one
 * byte of an ended batch's memory changes, and batches work again. With am some ranks are on another node;
 * among those of one node such a job uses shm.
 *
 * MPI serves until the signal, since it does not survive a death: afterwards ranks meet on a board
 * (kill_board.h), close with a timeout, leave a file DIR/ok.RANK, and survivors of a kill end by
 * _exit, all at once, since the first one that leaves without MPI_Finalize may end the job.
 */
#include <mpi.h>
#include <pthread.h>
#include <signal.h>

#include <kvferry/mpi.h>

#include "kill_party.h"

#define VICTIM 1
#define MATE   3 /* on the victim's node, wherever ranks are dealt out one node after the other */

#define STOP_DEADLINE SEC

enum step {
    STEP_HIT,
    STEP_DEAD,
    STEP_FRESH,
    STEP_AGAIN,
    STEP_MOVED,
    STEP_LOOKED,
    STEP_REVOKED,
    STEP_CLOSED
};

/* A thread that runs one batch after another with one other rank. */
typedef struct run {
    pthread_t thread;
    party_t *me;
    int slot;
    int to;
    uint32_t dir;
    uint64_t deadline_ns; /* 0: the default */
    uint64_t patience_ns; /* PEER is tried again for so long */
    _Atomic int stop;
    _Atomic uint64_t after; /* batches that were posted after the signal and ended OK */
    kvf_status_t status;    /* of the last batch */
    uint64_t posted_ns;     /* the last batch */
    uint64_t ended_ns;
    uint8_t *mem;
    kvf_batch_t *batch;
} run_t;

/* -------------------------------------------------------------- by way of MPI */

static kvf_mpi_t *job;

static void meet_by_mpi(party_t *p, const kvf_engine_opts_t *opts)
{
    OK(kvf_mpi_open(MPI_COMM_WORLD, opts, &job));
    p->engine = kvf_mpi_engine(job);
    party_grant(p);
    OK(kvf_mpi_exchange_grants(job, p->grant, 1, p->remote, NULL));
    for (int to = 0; to < RANKS; to++) {
        p->peer[to] = kvf_mpi_peer(job, to);
        if (to != p->rank) {
            choose_path(p, to);
        }
    }
    MUST(!p->far || p->rank == VICTIM || p->rank == MATE || is_far(p, VICTIM),
         "the victim is not on another node");
    OK(kvf_mpi_agree(job, KVF_OK));
}

static void mark_success(const party_t *p)
{
    char name[32];

    snprintf(name, sizeof(name), "ok.%d", p->rank);
    file_put(name, "1", 1);
}

/* -------------------------------------------------------------------- runs */

static kvf_op_t op_of(run_t *r)
{
    party_t *p = r->me;
    kvf_op_t op = {.segment = p->local,
                   .remote = p->remote[r->to],
                   .len = PIECE,
                   .count = {1, 1},
                   .blocks = PIECES,
                   .dir = r->dir,
                   .remote_ids = p->ids,
                   .local_block = PIECE,
                   .remote_block = PIECE};

    op.local_off = (uint64_t)r->slot * AREA;
    op.remote_off = r->dir == KVF_WRITE ? (1 + (uint64_t)p->rank) * AREA : 0;
    return op;
}

static kvf_status_t move(run_t *r, const kvf_op_t *op)
{
    kvf_batch_opts_t opts = {
        .struct_size = sizeof(opts), .deadline_ns = r->deadline_ns, .paths = r->me->path[r->to]};
    kvf_status_t status;

    r->posted_ns = now_ns();
    board->in_batch[r->me->rank][r->slot] = 1;
    status = kvf_batch_post(r->batch, op, 1, sizeof(*op), &opts);
    if (status == KVF_OK) {
        status = kvf_batch_wait(r->batch, 20 * SEC);
    }
    MUST(status != KVF_INPROGRESS, "a batch with rank %d has not ended after 20 s", r->to);
    r->ended_ns = now_ns();
    board->in_batch[r->me->rank][r->slot] = 0;
    return status;
}

/* What OK promises of the bytes. Those of a write are read back once, after the signal. */
static void look_at_bytes(run_t *r, kvf_op_t op, uint64_t seed)
{
    uint32_t bad;

    if (r->dir == KVF_WRITE) {
        board->written[r->me->rank][r->to] = seed;
        if (board->hit_ns == 0 || r->after != 1 || r->to == VICTIM) {
            return;
        }
        memset(r->mem, 0, AREA);
        op.dir = KVF_READ;
        OK(move(r, &op));
    }
    bad = pattern_compare(r->mem, PIECES, seed, r->me->ids);
    MUST(bad == PIECES, "OK with wrong bytes: piece %u of a %s with rank %d", bad,
         r->dir == KVF_WRITE ? "write" : "read", r->to);
}

static void *runs(void *arg)
{
    run_t *r = arg;
    party_t *p = r->me;
    kvf_op_t op = op_of(r);
    uint64_t began = now_ns();

    for (uint64_t round = 1;; round++) {
        uint64_t seed = 100 + (uint64_t)r->to;

        if (r->dir == KVF_WRITE) {
            seed = (round << 8) + (uint64_t)p->rank * 16 + (uint64_t)r->slot;
            pattern_fill(r->mem, PIECES, seed, p->ids);
            board->written[p->rank][r->to] = 0;
        } else {
            memset(r->mem, 0, AREA);
        }
        r->status = move(r, &op);
        if (r->to == VICTIM && r->posted_ns < board->hit_ns && board->hit_ns < r->ended_ns) {
            board->caught++;
        }
        if (r->status == KVF_ERR_PEER && now_ns() - began < r->patience_ns) {
            sleep_ns(20 * MSEC);
            continue;
        }
        if (r->status == KVF_ERR_TIMEOUT && (board->hit_ns == 0 || r->ended_ns < board->hit_ns)) {
            continue; /* the machine is slow, nobody is stopped yet */
        }
        if (r->status != KVF_OK) {
            break;
        }
        r->after += board->hit_ns != 0 && r->posted_ns > board->hit_ns;
        look_at_bytes(r, op, seed);
        board->rounds[p->rank][r->slot]++;
        if (r->stop) {
            break;
        }
    }
    return NULL;
}

/* With whom each run of a rank has its batches: survivors with the victim and the next survivor, the
 * victim with all others. Even slots read, odd ones write. */
static int run_target(int rank, int slot)
{
    static const int of_victim[RUNS] = {0, 2, 3, 0};
    static const int next[RANKS] = {2, -1, 3, 0};

    return rank == VICTIM ? of_victim[slot] : slot < 2 ? VICTIM : next[rank];
}

static void runs_start(party_t *p, run_t *set, uint64_t deadline_ns, uint64_t patience_ns)
{
    memset(set, 0, RUNS * sizeof(*set));
    for (int slot = 0; slot < RUNS; slot++) {
        run_t *r = &set[slot];

        r->me = p;
        r->slot = slot;
        r->to = run_target(p->rank, slot);
        r->dir = slot & 1 ? KVF_WRITE : KVF_READ;
        r->deadline_ns = is_served(p, r->to) && (r->to == VICTIM || p->rank == VICTIM) ? deadline_ns : 0;
        r->patience_ns = patience_ns;
        r->mem = p->local_mem + (uint64_t)slot * AREA;
        OK(kvf_batch_create(p->engine, &r->batch));
    }
    for (int slot = 0; slot < RUNS; slot++) {
        MUST(pthread_create(&set[slot].thread, NULL, runs, &set[slot]) == 0, "no thread");
    }
}

static void run_join(run_t *r)
{
    pthread_join(r->thread, NULL);
    OK(kvf_batch_free(r->batch));
}

/* Ends a run, whose last batch must have ended OK and, if wanted, one since the signal. */
static void run_end_well(run_t *r, int since_signal)
{
    uint64_t since = now_ns();

    while (since_signal && r->after < 2 && board_look(r->me->engine, since, "batches go on")) {
    }
    r->stop = 1;
    run_join(r);
    MUST(r->status == KVF_OK, "a batch with rank %d, in good health, %s after %zu ms: %s", r->to,
         kvf_status_name(r->status), (size_t)((r->ended_ns - r->posted_ns) / MSEC), kvf_last_error());
}

/* The victim: waits until each other rank is in a batch with it. */
static void wait_for_batches(party_t *p)
{
    uint64_t since = now_ns();
    int ready;

    do {
        ready = 1;
        for (int rank = 0; rank < RANKS; rank++) {
            ready &= rank == VICTIM || (board->rounds[rank][0] > 0 && board->rounds[rank][1] > 0 &&
                                        (board->in_batch[rank][0] || board->in_batch[rank][1]));
        }
    } while (!ready && board_look(p->engine, since, "batches of all others"));
}

static void wait_for_signal(party_t *p)
{
    uint64_t since = now_ns();

    while (board->hit_ns == 0 && board_look(p->engine, since, "the signal")) {
    }
}

/* What others wrote into our memory and was reported OK is there. */
static void look_at_own_memory(party_t *p)
{
    for (int writer = 0; writer < RANKS; writer++) {
        uint64_t seed = board->written[writer][p->rank];
        const uint8_t *mem = p->served + (1 + (uint64_t)writer) * AREA;

        MUST(seed == 0 || pattern_compare(mem, PIECES, seed, NULL) == PIECES,
             "what rank %d wrote is not here", writer);
    }
    MUST(pattern_compare(p->served, PIECES, 100 + (uint64_t)p->rank, NULL) == PIECES,
         "what others read was overwritten");
}

/* -------------------------------------------------------------------- kill */

/* Each later post says PEER; near ones know the state of at most 1 s ago. */
static void posts_say_peer(party_t *p, run_t *r)
{
    kvf_batch_opts_t note = {
        .struct_size = sizeof(note), .notify_peer = p->peer[VICTIM], .notify = "x", .notify_len = 1};
    kvf_peer_attr_t attr = {.struct_size = sizeof(attr)};
    kvf_status_t status;
    kvf_op_t op;

    OK(kvf_batch_create(p->engine, &r->batch));
    for (int i = 0; i < 6; i++) {
        r->dir = i & 1 ? KVF_WRITE : KVF_READ;
        op = op_of(r);
        status = kvf_batch_post(r->batch, &op, 1, sizeof(op), NULL);
        MUST(status == KVF_ERR_PEER, "post %d after the death says %s: %s", i, kvf_status_name(status),
             kvf_last_error());
    }
    status = kvf_batch_post(r->batch, NULL, 0, sizeof(op), &note);
    MUST(status == KVF_ERR_PEER, "a notification after the death: %s", kvf_status_name(status));
    OK(kvf_peer_query(p->peer[VICTIM], &attr));
    MUST(attr.alive == 0, "the dead one is known as alive");
    OK(kvf_batch_free(r->batch));
    OK(kvf_remote_forget(p->remote[VICTIM]));
}

static void survive(party_t *p)
{
    run_t set[RUNS];
    uint64_t since;

    runs_start(p, set, 0, 0);
    wait_for_signal(p);
    for (int slot = 0; slot < 2; slot++) {
        run_join(&set[slot]);
        MUST(set[slot].status == KVF_ERR_PEER, "a batch with the dead one: %s: %s",
             kvf_status_name(set[slot].status), kvf_last_error());
        MUST(set[slot].ended_ns < board->hit_ns + 5 * SEC, "ended %zu ms after the death",
             (size_t)((set[slot].ended_ns - board->hit_ns) / MSEC));
    }
    for (int slot = 2; slot < RUNS; slot++) {
        run_end_well(&set[slot], 1);
    }
    since = now_ns();
    while (now_ns() < board->hit_ns + 1200 * MSEC && board_look(p->engine, since, "1.2 s")) {
    }
    posts_say_peer(p, &set[0]);
    put_blobs(p);
    board_meet(p->engine, STEP_DEAD, RANKS - 1, "the survivors");
    MUST(board->caught > 0, "no batch was under way at the kill: the test shows nothing");
    if (p->rank == 0) {
        file_put("dead", "1", 1);
    }
    get_blobs(p, VICTIM);
}

/* All four, the fresh one in the victim's place: batches work, bytes are right, nobody is held up. */
static void live_on(party_t *p)
{
    run_t set[RUNS];
    uint64_t before;

    board_meet(p->engine, STEP_FRESH, RANKS, "the fresh one");
    runs_start(p, set, 0, 0);
    for (int slot = 0; slot < RUNS; slot++) {
        run_end_well(&set[slot], 1);
    }
    board_meet(p->engine, STEP_MOVED, RANKS, "all to have moved");
    look_at_own_memory(p);
    board_meet(p->engine, STEP_LOOKED, RANKS, "all to have looked");
    before = now_ns();
    OK(kvf_grant_revoke(p->grant, 10 * SEC));
    MUST(now_ns() - before < 5 * SEC, "the dead one held up a revoke");
    board_meet(p->engine, STEP_REVOKED, RANKS, "all to have revoked");
    if (job != NULL) {
        kvf_status_t status = kvf_mpi_close(job, SEC);

        MUST(status == KVF_ERR_PEER && strstr(kvf_last_error(), "before all 4 ranks came"),
             "close without the dead one says %s: %s", kvf_status_name(status), kvf_last_error());
    } else {
        OK(kvf_engine_close(p->engine, 10 * SEC));
    }
    mark_success(p);
    board_meet(NULL, STEP_CLOSED, RANKS, "all to have closed");
    _exit(0);
}

static void die(party_t *p)
{
    run_t set[RUNS];

    runs_start(p, set, 0, 0);
    wait_for_batches(p);
    board->hit_ns = now_ns();
    raise(SIGKILL);
}

static void take_the_place(party_t *p)
{
    for (int from = 0; from < RANKS; from++) {
        if (from != VICTIM) {
            get_blobs(p, from);
        }
    }
    put_blobs(p);
    live_on(p);
}

/* -------------------------------------------------------------------- stop */

#define READ_MARK  0x77
#define WRITE_MARK 0xee

/* After the end of our batches: mark their memory, let the stopped one go on, look again. */
static void nothing_changes(party_t *p, const run_t *set)
{
    uint64_t since;

    for (int slot = 0; slot < RUNS; slot++) {
        memset(set[slot].mem, slot & 1 ? WRITE_MARK : READ_MARK, AREA);
    }
    if (p->rank != VICTIM) {
        board_meet(p->engine, STEP_HIT, RANKS - 1, "the batches of all others");
    }
    if (p->rank == MATE) {
        MUST(kill(board->pid[VICTIM], SIGCONT) == 0, "cannot continue rank %d", VICTIM);
    }
    since = now_ns();
    while (!board->awake && board_look(p->engine, since, "the stopped one to go on")) {
    }
    since = now_ns();
    while (now_ns() - since < 500 * MSEC && board_look(p->engine, since, "0.5 s")) {
    }
    for (int slot = 0; slot < RUNS; slot++) {
        MUST(all_bytes(set[slot].mem, AREA, slot & 1 ? WRITE_MARK : READ_MARK),
             "memory of an ended batch with rank %d changed after SIGCONT", set[slot].to);
    }
    for (uint64_t at = AREA; at < (1 + RANKS) * AREA; at += 64) {
        MUST(!all_bytes(p->served + at, 64, WRITE_MARK), "a source was read after the end");
    }
}

static void see_it_stop(party_t *p)
{
    run_t set[RUNS];
    int timeouts = 0;

    runs_start(p, set, STOP_DEADLINE, 0);
    wait_for_signal(p);
    for (int slot = 0; slot < RUNS; slot++) {
        run_t *r = &set[slot];

        if (r->to != VICTIM || !is_served(p, VICTIM)) {
            run_end_well(r, 1);
            continue;
        }
        run_join(r);
        MUST(r->status == KVF_ERR_TIMEOUT || r->status == KVF_ERR_PEER,
             "a batch with the stopped one: %s: %s", kvf_status_name(r->status), kvf_last_error());
        MUST(r->ended_ns < board->hit_ns + 5 * SEC, "ended %zu ms after the stop",
             (size_t)((r->ended_ns - board->hit_ns) / MSEC));
        MUST(r->status != KVF_ERR_TIMEOUT || r->ended_ns - r->posted_ns >= STOP_DEADLINE,
             "a deadline of %zu ms passed after %zu ms", (size_t)(STOP_DEADLINE / MSEC),
             (size_t)((r->ended_ns - r->posted_ns) / MSEC));
        timeouts += r->status == KVF_ERR_TIMEOUT;
    }
    MUST(timeouts > 0 || !is_served(p, VICTIM), "no batch met its deadline: the test shows nothing");
    nothing_changes(p, set);
}

static void be_stopped(party_t *p)
{
    run_t set[RUNS];

    runs_start(p, set, STOP_DEADLINE, 0);
    wait_for_batches(p);
    board->hit_ns = now_ns();
    raise(SIGSTOP);
    for (int slot = 0; slot < RUNS; slot++) {
        set[slot].stop = 1;
    }
    for (int slot = 0; slot < RUNS; slot++) {
        run_join(&set[slot]);
        MUST(set[slot].status == KVF_OK || set[slot].status == KVF_ERR_TIMEOUT ||
                 set[slot].status == KVF_ERR_PEER,
             "a batch of the stopped one: %s", kvf_status_name(set[slot].status));
    }
    board->awake = 1;
    nothing_changes(p, set);
}

/* The job goes on as if nothing had been, and ends in order. */
static void go_on(party_t *p)
{
    run_t set[RUNS];

    board_meet(p->engine, STEP_AGAIN, RANKS, "all to have looked");
    runs_start(p, set, 0, 5 * SEC);
    for (int slot = 0; slot < RUNS; slot++) {
        run_end_well(&set[slot], 1);
    }
    board_meet(p->engine, STEP_MOVED, RANKS, "all to have moved");
    look_at_own_memory(p);
    board_meet(p->engine, STEP_LOOKED, RANKS, "all to have looked");
    OK(kvf_mpi_close(job, 10 * SEC));
    mark_success(p);
}

/* -------------------------------------------------------------------- main */

static int of_mpi(int stop, const char *path, const char *progress, const char *dir)
{
    kvf_engine_opts_t opts;
    party_t p;
    int rank;
    int size;

    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    board_open(dir, rank);
    MUST(size == RANKS, "%d ranks, not %d", size, RANKS);
    party_init(&p, rank, path, progress, &opts);
    meet_by_mpi(&p, &opts);
    if (!stop) {
        if (rank == VICTIM) {
            die(&p);
        }
        survive(&p);
        live_on(&p);
    }
    if (rank == VICTIM) {
        be_stopped(&p);
    } else {
        see_it_stop(&p);
    }
    go_on(&p);
    return 0;
}

int main(int argc, char **argv)
{
    int provided;
    int result;

    if (argc != 5) {
        fprintf(stderr, "usage: %s kill|stop|fresh shm|cma|stage|am thread|caller DIR\n", argv[0]);
        return 2;
    }
    alarm(60);
    if (strcmp(argv[1], "fresh") == 0) {
        kvf_engine_opts_t opts;
        party_t p;

        board_open(argv[4], VICTIM);
        party_init(&p, VICTIM, argv[2], argv[3], &opts);
        opts.rank = VICTIM;
        OK(kvf_engine_open(&opts, &p.engine));
        party_grant(&p);
        take_the_place(&p);
    }
    MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
    result = of_mpi(strcmp(argv[1], "stop") == 0, argv[2], argv[3], argv[4]);
    MPI_Finalize();
    return result;
}
