/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Threads that import, read and forget one neighbour while another drives the engine. A peer object that is
 * being forgotten and its successor then share a connection; who disconnects is held up here, so that the
 * successor may come and go meanwhile. Linked with the rooms themselves, for that.
 */
#include "rig.h"

#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "path/am.h"

void __real_kvfi_am_disconnect(kvfi_am_t *am, kvfi_am_peer_t *peer, const _Atomic uint32_t *closed);
void __wrap_kvfi_am_disconnect(kvfi_am_t *am, kvfi_am_peer_t *peer, const _Atomic uint32_t *closed);

/* Every third is late. */
void __wrap_kvfi_am_disconnect(kvfi_am_t *am, kvfi_am_peer_t *peer, const _Atomic uint32_t *closed)
{
    static _Atomic unsigned calls;

    if (atomic_fetch_add(&calls, 1) % 3 == 0) {
        sleep_ms(5);
    }
    __real_kvfi_am_disconnect(am, peer, closed);
}

#define COMERS 2
#define VISITS 40

typedef struct crowd {
    kvf_engine_t *engine;
    kvf_segment_t *segment;
    uint8_t *mem;
    uint8_t peer_blob[BLOB_MAX], grant_blob[BLOB_MAX];
    size_t peer_len, grant_len;
    _Atomic int stop;
    pthread_barrier_t start;
} crowd_t;

typedef struct comer {
    crowd_t *crowd;
    uint64_t off; /* its own page of both memories */
} comer_t;

/* Another thread's count may keep the peer. */
static void forget(kvf_remote_t *remote, kvf_peer_t *peer)
{
    kvf_status_t status;

    while ((status = kvf_remote_forget(remote)) == KVF_ERR_BUSY)
        sched_yield();
    must(status == KVF_OK, "%s", kvf_last_error());
    while ((status = kvf_peer_forget(peer)) == KVF_ERR_BUSY)
        sched_yield();
    must(status == KVF_OK, "%s", kvf_last_error());
}

static void *come_and_go(void *arg)
{
    comer_t *comer = arg;
    crowd_t *crowd = comer->crowd;
    kvf_batch_t *batch;

    ok(kvf_batch_create(crowd->engine, &batch));
    pthread_barrier_wait(&crowd->start);
    for (int i = 0; i < VISITS; i++) {
        kvf_peer_t *peer;
        kvf_remote_t *remote;
        uint32_t count = 1;
        kvf_op_t op;

        ok(kvf_peer_import(crowd->engine, crowd->peer_blob, crowd->peer_len, &peer));
        ok(kvf_remote_import(peer, crowd->grant_blob, crowd->grant_len, &remote, &count));
        op = op_plain(crowd->segment, comer->off, remote, comer->off, 4096, KVF_READ);
        memset(crowd->mem + comer->off, 0, 4096);
        ok(run_ops(batch, &op, 1, NULL));
        must(crowd->mem[comer->off + 4095] == 7, "wrong bytes");
        forget(remote, peer);
        sleep_ms(1);
    }
    ok(kvf_batch_free(batch));
    return NULL;
}

static void *drive(void *arg)
{
    crowd_t *crowd = arg;

    while (!atomic_load(&crowd->stop)) {
        kvf_notification_t note = {.struct_size = sizeof(note)};

        must(kvf_notify_recv(crowd->engine, &note) == KVF_INPROGRESS, "a notification of nobody's");
    }
    return NULL;
}

START_TEST(threads_that_import_and_forget_one_neighbour_do_not_meet_its_past)
{
    static crowd_t crowd;
    rig_t rig;
    comer_t comers[COMERS];
    pthread_t threads[COMERS], driver;

    rig_open(&rig, (where_t)_i, NULL);
    owner_put(&rig, 0, memset(rig.me.mem, 7, COMERS * 4096), COMERS * 4096);
    crowd.engine = rig.me.engine;
    crowd.segment = rig.me.segment;
    crowd.mem = rig.me.mem;
    crowd.peer_len = rig_call(&rig, side_blob, &(uint32_t){0}, 4, crowd.peer_blob, BLOB_MAX);
    crowd.grant_len = rig_call(&rig, side_grant_blob, NULL, 0, crowd.grant_blob, BLOB_MAX);
    ok(kvf_batch_free(rig.batch));
    forget(rig.remote, rig.peer);
    pthread_barrier_init(&crowd.start, NULL, COMERS);
    must(pthread_create(&driver, NULL, drive, &crowd) == 0, "no thread");
    for (int i = 0; i < COMERS; i++) {
        comers[i] = (comer_t){&crowd, (uint64_t)i * 4096};
        must(pthread_create(&threads[i], NULL, come_and_go, &comers[i]) == 0, "no thread");
    }
    for (int i = 0; i < COMERS; i++) {
        pthread_join(threads[i], NULL);
    }
    atomic_store(&crowd.stop, 1);
    pthread_join(driver, NULL);
    ok(kvf_engine_close(rig.me.engine, patient(5)));
    rig_call(&rig, side_close, NULL, 0, NULL, 0);
    proc_end(&rig.owner);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("forget");
    TCase *tc = tcase_create("forget");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, threads_that_import_and_forget_one_neighbour_do_not_meet_its_past, WHERE_SHM,
                        WHERE_AM);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
