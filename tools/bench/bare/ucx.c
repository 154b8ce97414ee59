/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The ucx peer: UCX without kvferry, as a program would use it that leaves every choice to UCX: a
 * context, a worker and an endpoint of its own, the owner's memory allocated by UCX so that it may be
 * shared, one ucp_get_nbx or ucp_put_nbx a piece and one flush a batch. UCX_ variables of the
 * environment hold for it. The owner drives its worker meanwhile: where UCX has no one-sided way it
 * serves from there. The only file outside src/ucx that sees UCX; waits for the other rank.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include <ucp/api/ucp.h>

#include "../../cli.h"
#include "../bench.h"

#define MOST_BLOB 4096 /* bytes of a worker's address, and of a key */

struct bare {
    ucp_context_h context;
    ucp_worker_h worker;
    ucp_mem_h memory; /* owner's */
    ucp_mem_h *local; /* initiator's: one for each segment */
    uint64_t locals;
    ucp_ep_h ep;
    ucp_rkey_h rkey;
    uint64_t base;    /* of the owner's memory */
    ucs_status_t bad; /* first request that ended badly */
};

/* What the owner tells. */
struct card {
    uint64_t address_len, key_len, base;
    char address[MOST_BLOB], key[MOST_BLOB];
};

static int fail_ucx(const char *what, ucs_status_t status)
{
    return kvfi_cli_fail("peer ucx: %s: %s", what, ucs_status_string(status));
}

static int open_worker(struct bare *bare)
{
    ucp_params_t params = {.field_mask = UCP_PARAM_FIELD_FEATURES, .features = UCP_FEATURE_RMA};
    ucp_worker_params_t worker = {.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE,
                                  .thread_mode = UCS_THREAD_MODE_SINGLE};
    ucs_status_t status = ucp_init(&params, NULL, &bare->context);

    if (status != UCS_OK) {
        bare->context = NULL;
        return fail_ucx("ucp_init", status);
    }
    status = ucp_worker_create(bare->context, &worker, &bare->worker);
    return status == UCS_OK ? 0 : fail_ucx("ucp_worker_create", status);
}

static int map(struct bare *bare, void *addr, uint64_t len, ucp_mem_h *memory_p)
{
    ucp_mem_map_params_t params = {.field_mask = UCP_MEM_MAP_PARAM_FIELD_ADDRESS |
                                                 UCP_MEM_MAP_PARAM_FIELD_LENGTH |
                                                 UCP_MEM_MAP_PARAM_FIELD_FLAGS,
                                   .address = addr,
                                   .length = len,
                                   .flags = addr == NULL ? UCP_MEM_MAP_ALLOCATE : 0};
    ucs_status_t status = ucp_mem_map(bare->context, &params, memory_p);

    return status == UCS_OK ? 0 : fail_ucx("ucp_mem_map", status);
}

static int copy_blob(const char *what, const void *from, size_t len, char *to, uint64_t *len_p)
{
    if (len > MOST_BLOB) {
        return kvfi_cli_fail("peer ucx: %s has %zu bytes, and %d are expected at most", what, len, MOST_BLOB);
    }
    memcpy(to, from, len);
    *len_p = len;
    return 0;
}

static int write_card(struct bare *bare, struct bench_peer *peer, struct card *card)
{
    ucp_mem_attr_t attr = {.field_mask = UCP_MEM_ATTR_FIELD_ADDRESS};
    ucp_address_t *address;
    void *key;
    size_t len;
    ucs_status_t status = ucp_mem_query(bare->memory, &attr);
    int rc;

    if (status != UCS_OK) {
        return fail_ucx("ucp_mem_query", status);
    }
    peer->memory.addr = attr.address;
    card->base = (uint64_t)(uintptr_t)attr.address;
    status = ucp_worker_get_address(bare->worker, &address, &len);
    if (status != UCS_OK) {
        return fail_ucx("ucp_worker_get_address", status);
    }
    rc = copy_blob("the worker's address", address, len, card->address, &card->address_len);
    ucp_worker_release_address(bare->worker, address);
    if (rc != 0) {
        return rc;
    }
    status = ucp_rkey_pack(bare->context, bare->memory, &key, &len);
    if (status != UCS_OK) {
        return fail_ucx("ucp_rkey_pack", status);
    }
    rc = copy_blob("the key", key, len, card->key, &card->key_len);
    ucp_rkey_buffer_release(key);
    return rc;
}

static int open_owner(const struct bench_case *c, struct bench_peer *peer, struct card *card)
{
    struct bare *bare = peer->state;

    peer->memory.len = kvfi_bench_remote_bytes(c->args, c->plan);
    if (map(bare, NULL, peer->memory.len, &bare->memory) != 0 || write_card(bare, peer, card) != 0) {
        return -1;
    }
    return kvfi_bench_remote_starts(c, &peer->memory);
}

static int connect_to(struct bare *bare, const struct card *card)
{
    ucp_ep_params_t params = {.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS,
                              .address = (const ucp_address_t *)card->address};
    ucs_status_t status = ucp_ep_create(bare->worker, &params, &bare->ep);

    if (status != UCS_OK) {
        bare->ep = NULL;
        return fail_ucx("ucp_ep_create", status);
    }
    status = ucp_ep_rkey_unpack(bare->ep, card->key, &bare->rkey);
    if (status != UCS_OK) {
        bare->rkey = NULL;
        return fail_ucx("ucp_ep_rkey_unpack", status);
    }
    bare->base = card->base;
    return 0;
}

/* One key for each segment. */
static int map_local(const struct bench_case *c, struct bare *bare)
{
    const struct bench_memory *local = &c->ends->local;
    uint64_t count = local->segment_count;

    bare->local = calloc(count, sizeof(*bare->local));
    if (bare->local == NULL) {
        return kvfi_cli_fail("no memory");
    }
    for (bare->locals = 0; bare->locals < count; bare->locals++) {
        if (map(bare, local->starts[bare->locals], local->len / count, &bare->local[bare->locals]) != 0) {
            return -1;
        }
    }
    return 0;
}

static int open_it(const struct bench_case *c, struct bench_peer *peer)
{
    struct bare *bare = calloc(1, sizeof(*bare));
    struct card *card = calloc(1, sizeof(*card));
    int rc = bare == NULL || card == NULL ? kvfi_cli_fail("no memory") : 0;

    peer->state = bare;
    rc = rc == 0 ? open_worker(bare) : rc;
    if (rc == 0 && c->job->owner) {
        rc = open_owner(c, peer, card);
    }
    if (kvfi_bench_meet(c->job, rc) == 0) {
        kvfi_bench_tell(c->job, c->job->owner_rank, card, sizeof(*card));
        if (c->job->initiator) {
            rc = connect_to(bare, card);
            rc = rc == 0 ? map_local(c, bare) : rc;
        }
        rc = kvfi_bench_meet(c->job, rc);
    } else {
        rc = -1;
    }
    free(card);
    return rc;
}

/* ------------------------------------------------------------------ moving */

static void ended(void *request, ucs_status_t status, void *arg)
{
    struct bare *bare = arg;

    if (status != UCS_OK && bare->bad == UCS_OK) {
        bare->bad = status;
    }
    ucp_request_free(request);
}

static void step(void *arg)
{
    ucp_worker_progress(((struct bare *)arg)->worker);
}

struct mover {
    const struct bench_case *c;
    struct bare *bare;
    ucp_request_param_t param;
    uint64_t segment; /* bytes of one at the owner, where they lie one after the other */
    ucs_status_t status;
};

static inline bool move_piece(void *arg, const struct bench_piece *p)
{
    struct mover *m = arg;
    bool reads = m->c->args->dir == KVF_READ;
    uint32_t segment = reads ? p->dest_segment : p->source_segment;
    char *here = m->c->ends->local.starts[segment] + (reads ? p->dest_off : p->source_off);
    uint64_t there = m->bare->base + (reads ? p->source_segment : p->dest_segment) * m->segment +
                     (reads ? p->source_off : p->dest_off);

    m->param.memh = m->bare->local[segment];
    ucs_status_ptr_t request = reads
                                   ? ucp_get_nbx(m->bare->ep, here, p->len, there, m->bare->rkey, &m->param)
                                   : ucp_put_nbx(m->bare->ep, here, p->len, there, m->bare->rkey, &m->param);
    m->status = UCS_PTR_IS_ERR(request) ? UCS_PTR_STATUS(request) : UCS_OK;
    return m->status == UCS_OK;
}

static ucs_status_t finish(struct bare *bare)
{
    ucp_request_param_t none = {0};
    ucs_status_ptr_t request = ucp_ep_flush_nbx(bare->ep, &none);
    ucs_status_t status;

    if (!UCS_PTR_IS_PTR(request)) {
        return UCS_PTR_STATUS(request);
    }
    while ((status = ucp_request_check_status(request)) == UCS_INPROGRESS) {
        ucp_worker_progress(bare->worker);
    }
    ucp_request_free(request);
    return status == UCS_OK ? bare->bad : status;
}

static ucs_status_t move_batch(const struct bench_case *c, struct bare *bare, uint64_t batch)
{
    uint64_t segments = kvfi_bench_remote_segments(c->args, c->plan);
    struct mover m = {.c = c,
                      .bare = bare,
                      .segment = kvfi_bench_remote_bytes(c->args, c->plan) / segments,
                      .param = {.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA |
                                                UCP_OP_ATTR_FIELD_MEMH | UCP_OP_ATTR_FLAG_MULTI_SEND,
                                .cb.send = ended,
                                .user_data = bare}};

    kvfi_bench_walk(c->plan, kvfi_bench_batch_first(c->plan, batch), kvfi_bench_batch_blocks(c->plan, batch),
                    move_piece, &m);
    return m.status == UCS_OK ? finish(bare) : m.status;
}

static int run(const struct bench_case *c, struct bench_peer *peer, double *took_p)
{
    struct bare *bare = peer->state;
    ucs_status_t status = UCS_OK;
    double start;

    if (!c->job->initiator) {
        return kvfi_bench_serve_until_done(step, bare);
    }
    start = kvfi_bench_now();
    for (uint64_t batch = 0; batch < c->plan->batches && status == UCS_OK; batch++) {
        status = move_batch(c, bare, batch);
    }
    *took_p = kvfi_bench_now() - start;
    if (kvfi_bench_say_done(c->job) != 0) {
        return -1;
    }
    return status == UCS_OK ? 0 : fail_ucx("moving", status);
}

/* ------------------------------------------------------------------ end */

static void close_ep(const struct bench_case *c, struct bare *bare)
{
    ucp_request_param_t none = {0};

    if (c->job->initiator && bare->ep != NULL) {
        ucs_status_ptr_t request = ucp_ep_close_nbx(bare->ep, &none);
        if (UCS_PTR_IS_PTR(request)) {
            while (ucp_request_check_status(request) == UCS_INPROGRESS) {
                ucp_worker_progress(bare->worker);
            }
            ucp_request_free(request);
        }
    }
    if (c->job->initiator) {
        kvfi_bench_say_done(c->job);
    } else {
        kvfi_bench_serve_until_done(bare->worker != NULL ? step : NULL, bare);
    }
}

static void close_it(const struct bench_case *c, struct bench_peer *peer)
{
    struct bare *bare = peer->state;
    struct bare none = {0};

    bare = bare != NULL ? bare : &none;
    if (bare->rkey != NULL) {
        ucp_rkey_destroy(bare->rkey);
    }
    for (uint64_t i = 0; i < bare->locals; i++) {
        ucp_mem_unmap(bare->context, bare->local[i]);
    }
    free(bare->local);
    close_ep(c, bare);
    if (bare->memory != NULL) {
        ucp_mem_unmap(bare->context, bare->memory);
    }
    if (bare->worker != NULL) {
        ucp_worker_destroy(bare->worker);
    }
    if (bare->context != NULL) {
        ucp_cleanup(bare->context);
    }
    free(peer->memory.starts);
    peer->memory = (struct bench_memory){0};
    free(peer->state);
    peer->state = NULL;
}

const struct bench_peer_kind kvfi_bench_peer_ucx = {.name = "ucx",
                                                    .key = "ucx",
                                                    .label = "UCX alone",
                                                    .between = BENCH_BOTH,
                                                    .own_memory = true,
                                                    .places = true,
                                                    .open = open_it,
                                                    .run = run,
                                                    .close = close_it};
