/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The copy threads of an engine: asleep until a large local batch stands in the round (round.c), then they
 * copy a part of the one whose turn it is. They block all signals but those that a fault raises, and never
 * touch a link but to send what a batch's end sends.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/status.h"
#include "engine/batch.h"
#include "engine/copiers.h"
#include "engine/engine.h"
#include "engine/round.h"

static void *thread_main(void *arg)
{
    kvfi_copiers_t *copiers = arg;
    int error = kvfi_cores_bind(&copiers->cores);
    kvf_batch_t *batch;

    if (error)
        kvfi_log(KVFI_LOG_INFO, "a copy thread is not bound: %s", strerror(error));
    while ((batch = kvfi_round_next(copiers))) {
        kvfi_batch_advance(batch, 1);
        kvfi_batch_put(batch);
    }
    return NULL;
}

/* -------------------------------------------------------------- open, close */

kvf_status_t kvfi_copiers_plan(kvf_engine_t *engine, uint32_t threads)
{
    static atomic_flag said = ATOMIC_FLAG_INIT;
    kvfi_copiers_t *copiers;

    if (!threads)
        return KVF_OK;
    copiers = calloc(1, sizeof *copiers + threads * sizeof *copiers->threads);
    if (!copiers)
        return kvfi_fail(KVF_ERR_NOMEM, "no memory for %u copy threads", threads);
    kvfi_cores_find(threads, &copiers->cores);
    engine->copy_threads = threads < copiers->cores.others ? threads : copiers->cores.others;
    if (!engine->copy_threads) {
        free(copiers);
        if (!atomic_flag_test_and_set(&said))
            kvfi_log(KVFI_LOG_WARN,
                     "copy_threads=%u cannot help: this process may use one core only, so "
                     "there are none; let the launcher give each rank more (mpirun --bind-to none, srun "
                     "--cpus-per-task)",
                     threads);
        return KVF_OK;
    }
    pthread_mutex_init(&copiers->lock, NULL);
    pthread_cond_init(&copiers->cond, NULL);
    engine->copiers = copiers;
    return KVF_OK;
}

kvf_status_t kvfi_copiers_open(kvf_engine_t *engine)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT};
    kvfi_copiers_t *copiers = engine->copiers;
    sigset_t most, before;
    char limits[KVFI_LIMITS_LEN];
    int error = 0;

    if (!copiers)
        return KVF_OK;
    sigfillset(&most);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        sigdelset(&most, faults[i]); /* of a copy too, they are for the host's handlers */
    pthread_sigmask(SIG_SETMASK, &most, &before);
    while (copiers->started < engine->copy_threads && !error) {
        error = pthread_create(&copiers->threads[copiers->started], NULL, thread_main, copiers);
        if (!error)
            pthread_setname_np(copiers->threads[copiers->started++], "kvferry-copy");
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!error)
        return KVF_OK;
    kvfi_limits_of_threads(limits);
    return kvfi_fail(KVF_ERR_SYSTEM, "copy thread %u of %u: %s (%s)", copiers->started + 1,
                     engine->copy_threads, strerror(error), limits);
}

void kvfi_copiers_close(kvf_engine_t *engine)
{
    kvfi_copiers_t *copiers = engine->copiers;

    if (!copiers)
        return;
    pthread_mutex_lock(&copiers->lock);
    copiers->stop = 1;
    pthread_cond_broadcast(&copiers->cond);
    pthread_mutex_unlock(&copiers->lock);
    while (copiers->started)
        pthread_join(copiers->threads[--copiers->started], NULL);
    pthread_cond_destroy(&copiers->cond);
    pthread_mutex_destroy(&copiers->lock);
    free(copiers);
    engine->copiers = NULL;
}
