/* SPDX-License-Identifier: BSD-3-Clause
 *
 * kvferry for MPI programs: an engine on each rank of a communicator, who all know each other.
 *
 * The walk: kvf_mpi_open() on every rank; make segments, pools and grants with the job's engine;
 * kvf_mpi_exchange_grants(), and kvf_mpi_exchange_layouts() for plans; post batches as in kvferry.h;
 * kvf_mpi_agree() where all must meet; kvf_mpi_close() before MPI_Finalize().
 *
 * All ranks call the same collectives in the same order, kvf_mpi_close() included. This cannot be
 * checked here: where one rank is in kvf_mpi_agree() and another in kvf_mpi_close(), or in any other
 * collective, ranks may wait for ever or be given what belongs to another call, or MPI finds lengths
 * that differ (MPI_ERR_TRUNCATE), which ends the call with KVF_ERR_SYSTEM or the whole job.
 *
 * Collective calls agree on a status before they exchange anything: where one rank fails, all return the same
 * status, the sentence in kvf_last_error() names the first rank that failed, and nobody is left waiting. A
 * rank that waits in one sleeps, and drives the job's engine, so that others can go on pulling from it.
 *
 * A rank that dies ends a collective: each of the others gets KVF_ERR_PEER, with the rank, its host and pid
 * in the sentence, once its engine knows of the death. Those that died are named first. Who closed its
 * engine, or gave up, is named apart: it did not die. kvf_mpi_set_timeout() bounds the wait for a rank that
 * lives and does not come. The sentence of KVF_ERR_TIMEOUT says how long this rank waited, and of which ranks
 * there was no sign: to know it, the call takes up to 0.1 s more. MPI cannot take a collective back, so that
 * the communicator is of no use after either: every later collective of the job answers the same at once,
 * kvf_mpi_close() too, which still closes the engine; and the other ranks, which are told so, do not wait for
 * this one any more, but get KVF_ERR_TIMEOUT (or KVF_ERR_PEER) from the next collective. Point to point all
 * goes on: batches with the ranks that live, notifications, kvf_peer_query(). Whether MPI_Finalize() returns
 * after a death is MPI's matter. Before the peers are known, inside of kvf_mpi_open(), nobody can know of a
 * death.
 *
 * MPI is called on the caller's thread only, inside the calls below: MPI_THREAD_SINGLE is enough as
 * long as one thread makes them. The job has its own duplicate of the communicator, on which MPI
 * returns its errors; the caller's communicator and error handler stay as they are.
 *
 * Link with libkvferry_mpi and libkvferry. NULL for a job answers KVF_ERR_INVALID, a call in a forked child
 * KVF_ERR_FORKED, kvf_mpi_open() too if the parent had initialised MPI; this is not repeated below.
 */
#ifndef KVFERRY_MPI_H
#define KVFERRY_MPI_H

#include <mpi.h>
#include <stddef.h>
#include <stdint.h>

#include <kvferry/kv.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The ranks of one communicator with an engine each. */
typedef struct kvf_mpi kvf_mpi_t;

/** Collective: duplicate comm, open an engine on each rank with opts (NULL: all defaults), and
 *  exchange peers, with a second round only where a peer is far. The engine's rank is the rank in
 *  comm: leave opts->rank 0. Options may differ between ranks. A process may open several jobs.
 *  A launch whose launcher started several ranks while MPI sees one, such as srun --mpi=none, is
 *  refused. Which launcher counts: the first of OMPI_COMM_WORLD_SIZE, MV2_COMM_WORLD_SIZE,
 *  PMI_SIZE and SLURM_STEP_NUM_TASKS that is set.
 *  Errors: INVALID (MPI is not initialised or is finalized; comm is null or an
 *  inter-communicator; job_p is NULL; opts->rank; the launch), NOMEM, SYSTEM (MPI failed), and
 *  those of kvf_engine_open() and kvf_exchange_peers(). */
kvf_status_t kvf_mpi_open(MPI_Comm comm, const kvf_engine_opts_t *opts, kvf_mpi_t **job_p);

/** Collective: close the job. Waits until every rank has come, serving them meanwhile; closes the engine and
 *  so everything made with it; agrees on how that went, so that no rank leaves before the last one's
 *  connections are down; frees the communicator. NULL is fine. The job is gone whatever is returned. All
 *  ranks that come in time return the same status. Once timeout_ns passed, a rank waits for nobody: the
 *  engine is closed, the communicator is left to MPI_Finalize(), and TIMEOUT is returned. The other ranks are
 *  told, and return TIMEOUT too, at once, however long their own timeout is; so does a rank that comes when
 *  the others gave up. PEER: a rank died before all came, or while the engines close. A neighbour's death is
 *  seen at once, and told to the far ones. That a far rank cannot be reached any more counts after two
 *  seconds, as it may be through; while engines close, only the time tells of the death of a rank that is
 *  alone on its machine. Who dies when all have agreed does no harm. Errors: TIMEOUT, PEER, NOMEM, INVALID
 *  (MPI is finalized: the engine was closed, alone), SYSTEM (MPI failed), and those of kvf_engine_close(). */
kvf_status_t kvf_mpi_close(kvf_mpi_t *job, uint64_t timeout_ns);

/** Let each later collective but kvf_mpi_close(), which has its own, end with TIMEOUT if not all ranks
 *  came within timeout_ns of the call; KVF_FOREVER, the default, or 0: it waits as long as they live.
 *  Ranks may differ; one that comes late may still end well with a collective that others gave up, and not
 *  with the next. Local. Errors: INVALID (MPI is finalized), and what ended a collective before. */
kvf_status_t kvf_mpi_set_timeout(kvf_mpi_t *job, uint64_t timeout_ns);

/** The job's engine; the job's own, closed by kvf_mpi_close() only. NULL for a NULL job. */
kvf_engine_t *kvf_mpi_engine(const kvf_mpi_t *job);

/** This process's rank in the job, the one it has in the communicator. -1 for a NULL job. */
int kvf_mpi_rank(const kvf_mpi_t *job);

/** Number of ranks in the job. 0 for a NULL job. */
int kvf_mpi_size(const kvf_mpi_t *job);

/** The peer that is rank, one's own too; the job's own, do not forget it. NULL for a NULL job and
 *  for a rank that the job has not. */
kvf_peer_t *kvf_mpi_peer(const kvf_mpi_t *job, int rank);

/** Collective: exchange a grant, or NULL, of each rank. remotes_p has room for kvf_mpi_size() rows
 *  of max_ranges remotes, counts_p for kvf_mpi_size() numbers: the ranges of rank r are
 *  remotes_p[r * max_ranges] and on, counts_p[r] of them. counts_p may be NULL. Each rank has its
 *  own max_ranges. Errors: INVALID (remotes_p is NULL, max_ranges is 0; MPI is finalized), NOMEM,
 *  SYSTEM, PEER, TIMEOUT, and those of kvf_exchange_grants(). */
kvf_status_t kvf_mpi_exchange_grants(kvf_mpi_t *job, kvf_grant_t *grant, uint32_t max_ranges,
                                     kvf_remote_t **remotes_p, uint32_t *counts_p);

/** Collective: exchange a layout, or NULL, of each rank. layouts_p has room for kvf_mpi_size() layouts, in
 *  the order of ranks, one's own too: copies that the caller destroys, NULL for a rank that gave NULL. They
 *  are what kvf_plan_sources() takes. Errors: INVALID (layouts_p is NULL; MPI is finalized), NOMEM, SYSTEM,
 *  PEER, TIMEOUT, and those of kvf_layout_unpack(): ranks of different releases do not understand each other. */
kvf_status_t kvf_mpi_exchange_layouts(kvf_mpi_t *job, const kvf_layout_t *layout, kvf_layout_t **layouts_p);

/** Collective: bring a status, get that of the first rank that brought an error, the same on each,
 *  with its sentence, which is that of its last error if that was of this status, and else the status's name.
 *  A sentence that came from an agreement is brought as it is. With KVF_OK it is a barrier that sleeps.
 *  Errors: what a rank brought; INVALID (MPI is finalized), SYSTEM (MPI failed), PEER, TIMEOUT. */
kvf_status_t kvf_mpi_agree(kvf_mpi_t *job, kvf_status_t status);

/** Collective: who moved how much to whom since open. matrix_p has room for
 *  kvf_mpi_size()^2 numbers: matrix_p[from * size + to] is the bytes that went from rank from to
 *  rank to, whoever of the two posted the batch. Batches that run meanwhile may be in or not.
 *  Errors: INVALID (matrix_p is NULL; MPI is finalized), NOMEM, SYSTEM, PEER, TIMEOUT, and those of
 *  kvf_peer_query(). */
kvf_status_t kvf_mpi_matrix(kvf_mpi_t *job, uint64_t *matrix_p);

/** Collective: the sum of the counters of all ranks' engines. Errors: INVALID (totals_p is NULL or
 *  its struct_size is wrong; MPI is finalized), NOMEM, SYSTEM, PEER, TIMEOUT, and those of
 *  kvf_engine_counters(). */
kvf_status_t kvf_mpi_totals(kvf_mpi_t *job, kvf_counters_t *totals_p);

/** Collective: what all ranks' batches moved over a path, the sum of kvf_engine_flow() over ranks, peers and
 *  directions: bytes, ops, pieces and calls; of the other fields only path is set. All ranks ask for the same
 *  path. Errors: INVALID (flow_p is NULL or its struct_size is wrong; path; MPI is finalized), NOMEM, SYSTEM,
 *  PEER, TIMEOUT. */
kvf_status_t kvf_mpi_flow(kvf_mpi_t *job, kvf_path_t path, kvf_flow_t *flow_p);

#ifdef __cplusplus
}
#endif

#endif
