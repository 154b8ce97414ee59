/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Collectives over the caller's all-gather: peers, grants, and agreement on a status. Each round
 * carries every member's status, so that all return the same and nobody waits for one that gave up.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/status.h"
#include "engine/engine.h"
#include "engine/event.h"
#include "engine/links.h"
#include "engine/object.h"
#include "engine/progress.h"

#define GREETING_NS UINT64_C(5000000000)

/* What each member says of itself in every round. A sentence that is longer than a piece takes more rounds,
 * which needs no memory that one of them might not get. */
typedef struct kvfi_say {
    int32_t status;
    uint32_t wants_far;
    uint64_t len;
    uint32_t sentence_len;
    uint32_t heard; /* the sentence names a member already */
    char piece[232];
} kvfi_say_t;

static kvf_status_t read_oob(const kvf_oob_t *caller, kvf_oob_t *oob_p)
{
    kvf_status_t status = kvf_struct_read("oob", caller, sizeof *oob_p, oob_p);

    if (status != KVF_OK)
        return status;
    if (!oob_p->allgather || !oob_p->size || oob_p->rank >= oob_p->size)
        return kvfi_fail(KVF_ERR_INVALID, "oob: rank %u of %u%s", oob_p->rank, oob_p->size,
                         oob_p->allgather ? "" : ", allgather is NULL");
    return KVF_OK;
}

static kvf_status_t gather(const kvf_oob_t *oob, const void *send, void *recv, size_t len)
{
    return oob->allgather(oob->arg, send, recv, len)
               ? kvfi_fail(KVF_ERR_SYSTEM, "the caller's allgather failed")
               : KVF_OK;
}

static void put_piece(kvfi_say_t *mine, const char *sentence, size_t at)
{
    memset(mine->piece, 0, sizeof mine->piece);
    if (at < mine->sentence_len)
        memcpy(mine->piece, sentence + at,
               mine->sentence_len - at < sizeof mine->piece ? mine->sentence_len - at : sizeof mine->piece);
}

/* The whole sentence of the member that failed first, of which everybody has the first piece. */
static kvf_status_t hear_out(const kvf_oob_t *oob, kvfi_say_t *mine, const char *sentence, kvfi_say_t *all,
                             uint32_t first)
{
    char whole[KVFI_SENTENCE_MOST] = "", named[KVFI_SENTENCE_MOST];
    uint32_t len = all[first].sentence_len;

    for (size_t at = 0; at < len && at < sizeof whole - 1; at += sizeof all->piece) {
        if (at) {
            kvf_status_t status;

            put_piece(mine, sentence, at);
            status = gather(oob, mine, all, sizeof *mine);
            if (status != KVF_OK)
                return status;
        }
        memcpy(whole + at, all[first].piece,
               sizeof whole - 1 - at < sizeof all->piece ? sizeof whole - 1 - at : sizeof all->piece);
    }
    if (all[first].heard)
        return kvfi_fail_heard((kvf_status_t)all[first].status, whole);
    kvfi_fail((kvf_status_t)all[first].status, "rank %u: %s", first, whole);
    memcpy(named, kvf_last_error(), sizeof named);
    return kvfi_fail_heard((kvf_status_t)all[first].status, named);
}

/* Tell all, hear all: the status of the first rank that failed, the same everywhere. */
static kvf_status_t talk(const kvf_oob_t *oob, kvfi_say_t *mine, kvfi_say_t *all)
{
    char sentence[KVFI_SENTENCE_MOST] = "";
    kvf_status_t status;
    int heard = 0;

    if (mine->status < KVF_OK)
        snprintf(sentence, sizeof sentence, "%s", kvfi_sentence_of((kvf_status_t)mine->status, &heard));
    mine->heard = (uint32_t)heard;
    mine->sentence_len = (uint32_t)strlen(sentence);
    put_piece(mine, sentence, 0);
    status = gather(oob, mine, all, sizeof *mine);
    for (uint32_t r = 0; status == KVF_OK && r < oob->size; r++)
        if (all[r].status < KVF_OK)
            return hear_out(oob, mine, sentence, all, r);
    return status;
}

kvf_status_t kvf_exchange_agree(const kvf_oob_t *oob, kvf_status_t status)
{
    kvf_oob_t own;
    kvf_status_t checked = read_oob(oob, &own);
    kvfi_say_t mine = {.status = status}, *all;

    if (checked != KVF_OK)
        return checked;
    oob = &own;
    all = calloc(oob->size, sizeof *all);
    if (!all)
        return kvfi_fail(KVF_ERR_NOMEM, "no memory to hear %u members", oob->size);
    status = talk(oob, &mine, all);
    free(all);
    return status;
}

/* One round: everybody's blob (or none, with len 0), concatenated at a common stride. */
typedef struct kvfi_round {
    kvfi_say_t *said;
    char *blobs;
    size_t stride;
} kvfi_round_t;

static kvf_status_t swap_blobs(const kvf_oob_t *oob, kvfi_say_t *mine, const void *blob, kvfi_round_t *round)
{
    char *padded = NULL;
    kvf_status_t status = talk(oob, mine, round->said);

    if (status != KVF_OK)
        return status;
    round->stride = 0;
    for (uint32_t r = 0; r < oob->size; r++)
        if (round->said[r].len > round->stride)
            round->stride = round->said[r].len;
    if (!round->stride)
        return KVF_OK;
    padded = calloc(1, round->stride);
    free(round->blobs);
    round->blobs = malloc(round->stride * oob->size);
    mine->status = padded && round->blobs ? KVF_OK
                                          : kvfi_fail(KVF_ERR_NOMEM,
                                                      "no memory for %u blobs of %zu "
                                                      "bytes",
                                                      oob->size, round->stride);
    status = kvf_exchange_agree(oob, (kvf_status_t)mine->status);
    if (status == KVF_OK) {
        if (mine->len)
            memcpy(padded, blob, mine->len);
        status = gather(oob, padded, round->blobs, round->stride);
    }
    free(padded);
    return status;
}

static kvf_status_t export_engine(kvf_engine_t *engine, uint32_t flags, void **blob_p, uint64_t *len_p)
{
    size_t len = 0;
    kvf_status_t status = kvf_engine_export(engine, flags, NULL, &len);

    if (status != KVF_OK)
        return status;
    *blob_p = malloc(len);
    if (!*blob_p)
        return kvfi_fail(KVF_ERR_NOMEM, "no memory for a blob of %zu bytes", len);
    status = kvf_engine_export(engine, flags, *blob_p, &len);
    *len_p = len;
    return status;
}

/* UCX 1.13 ends the process if a peer closes while our connection to it is being made. So nobody
 * leaves the exchange before its connections stand, or a while has passed. */
static void await_greetings(kvf_engine_t *engine)
{
    uint64_t end_ns = kvfi_now_ns() + GREETING_NS;
    kvfi_am_t *am = kvfi_links_am(engine, KVFI_WIRE);

    while (am && !kvfi_am_greeted(am) && kvfi_now_ns() < end_ns)
        if (!kvfi_progress_drive(engine, 0))
            kvfi_event_nap(engine, kvfi_now_ns() + 1000000);
}

/* Export, swap, import who is still missing. */
static kvf_status_t peers_round(kvf_engine_t *engine, const kvf_oob_t *oob, uint32_t flags,
                                kvfi_round_t *round, kvf_peer_t **peers, int *need_far_p)
{
    kvfi_say_t mine = {0};
    void *blob = NULL;
    kvf_status_t status;

    mine.status = peers ? export_engine(engine, flags, &blob, &mine.len)
                        : kvfi_fail(KVF_ERR_INVALID, "peers_p is NULL");
    status = swap_blobs(oob, &mine, blob, round);
    free(blob);
    if (status != KVF_OK)
        return status;
    if (oob->rank)
        atomic_flag_test_and_set(&engine->told_of_release); /* rank 0 tells */
    mine = (kvfi_say_t){0};
    for (uint32_t r = 0; mine.status == KVF_OK && r < oob->size; r++) {
        if (peers[r])
            continue;
        mine.status =
            kvf_peer_import(engine, round->blobs + r * round->stride, round->said[r].len, &peers[r]);
        if (mine.status == KVF_ERR_NEED_FAR && !(flags & KVF_BLOB_FAR)) {
            mine.status = KVF_OK;
            mine.wants_far = 1;
        }
    }
    if (flags & KVF_BLOB_FAR)
        await_greetings(engine);
    status = talk(oob, &mine, round->said);
    *need_far_p = 0;
    for (uint32_t r = 0; status == KVF_OK && r < oob->size; r++)
        *need_far_p |= (int)round->said[r].wants_far;
    return status;
}

kvf_status_t kvf_exchange_peers(kvf_engine_t *engine, const kvf_oob_t *oob, kvf_peer_t **peers_p)
{
    kvf_oob_t own;
    kvf_status_t status = read_oob(oob, &own);
    kvfi_round_t round = {0};
    int need_far = 0;

    if (status != KVF_OK)
        return status;
    oob = &own;
    round.said = calloc(oob->size, sizeof *round.said);
    if (!round.said)
        return kvfi_fail(KVF_ERR_NOMEM, "no memory to hear %u members", oob->size);
    if (peers_p)
        memset(peers_p, 0, oob->size * sizeof *peers_p);
    status = peers_round(engine, oob, 0, &round, peers_p, &need_far);
    if (status == KVF_OK && need_far)
        status = peers_round(engine, oob, KVF_BLOB_FAR, &round, peers_p, &need_far);
    for (uint32_t r = 0; status != KVF_OK && peers_p && r < oob->size; r++)
        if (peers_p[r]) {
            char sentence[KVFI_SENTENCE_MOST];

            snprintf(sentence, sizeof sentence, "%s", kvf_last_error());
            kvf_peer_forget(peers_p[r]);
            peers_p[r] = NULL;
            kvfi_fail_heard(status, sentence);
        }
    free(round.blobs);
    free(round.said);
    return status;
}

static kvf_status_t export_grant(kvf_grant_t *grant, void **blob_p, uint64_t *len_p)
{
    size_t len = 0;
    kvf_status_t status = kvf_grant_export(grant, NULL, &len);

    if (status != KVF_OK)
        return status;
    *blob_p = malloc(len);
    if (!*blob_p)
        return kvfi_fail(KVF_ERR_NOMEM, "no memory for a blob of %zu bytes", len);
    status = kvf_grant_export(grant, *blob_p, &len);
    *len_p = len;
    return status;
}

/* Nothing half done: what this member imported goes, the sentence stays. */
static void forget_all(uint32_t size, uint32_t max_ranges, kvf_remote_t **remotes, uint32_t *counts,
                       kvf_status_t status)
{
    char sentence[KVFI_SENTENCE_MOST];

    snprintf(sentence, sizeof sentence, "%s", kvf_last_error());
    for (uint32_t r = 0; remotes && counts && r < size; r++) {
        for (uint32_t i = 0; i < max_ranges; i++)
            kvf_remote_forget(remotes[(size_t)r * max_ranges + i]);
        counts[r] = 0;
    }
    kvfi_fail_heard(status, sentence);
}

kvf_status_t kvf_exchange_grants(kvf_engine_t *engine, const kvf_oob_t *oob, kvf_peer_t *const *peers,
                                 kvf_grant_t *grant, uint32_t max_ranges, kvf_remote_t **remotes_p,
                                 uint32_t *counts_p)
{
    kvf_oob_t own;
    kvf_status_t status = read_oob(oob, &own);
    kvfi_round_t round = {0};
    kvfi_say_t mine = {0};
    void *blob = NULL;

    if (status != KVF_OK)
        return status;
    oob = &own;
    round.said = calloc(oob->size, sizeof *round.said);
    if (!round.said)
        return kvfi_fail(KVF_ERR_NOMEM, "no memory to hear %u members", oob->size);
    if (remotes_p && counts_p)
        memset(remotes_p, 0, (size_t)oob->size * max_ranges * sizeof *remotes_p);
    if (!kvfi_is(engine, KVFI_ENGINE) || !peers || !counts_p || (max_ranges && !remotes_p))
        mine.status = kvfi_fail(KVF_ERR_INVALID, "engine, peers, counts_p or remotes_p is NULL");
    else if (grant)
        mine.status = export_grant(grant, &blob, &mine.len);
    status = swap_blobs(oob, &mine, blob, &round);
    free(blob);
    mine = (kvfi_say_t){0};
    for (uint32_t r = 0; status == KVF_OK && mine.status == KVF_OK && r < oob->size; r++) {
        kvf_remote_t **row = remotes_p + (size_t)r * max_ranges;

        counts_p[r] = round.said[r].len ? max_ranges : 0;
        if (round.said[r].len)
            mine.status = kvf_remote_import(peers[r], round.blobs + r * round.stride, round.said[r].len, row,
                                            &counts_p[r]);
    }
    if (status == KVF_OK)
        status = talk(oob, &mine, round.said);
    if (status != KVF_OK)
        forget_all(oob->size, max_ranges, remotes_p, counts_p, status);
    free(round.blobs);
    free(round.said);
    return status;
}
