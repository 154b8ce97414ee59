/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The memory of a case: what each rank allocates or registers, the grant on the owner's, and the
 * stand-in at the initiator over which the memcpy floor runs: of the same kind, filled alike, so that
 * floor and case find pages in the same state. Filling it touches every page before a clock runs.
 */
#include "config.h"

#include "bench.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <kvferry/mpi.h>

#include "base/memory.h"

#include "../cli.h"

enum bench_kind_of_memory kvfi_bench_memory(const struct bench_args *args)
{
    if (args->adopts || args->memory != BENCH_MEMORY_OF_PATH) {
        return args->adopts ? BENCH_MEMORY_ADOPT : args->memory;
    }
    return args->path == KVF_PATH_CMA || args->path == KVF_PATH_STAGE ? BENCH_MEMORY_OWN : BENCH_MEMORY_POOL;
}

uint64_t kvfi_bench_local_bytes(const struct bench_args *args, const struct bench_plan *plan)
{
    return args->dir == KVF_READ ? plan->dest_bytes : plan->source_bytes;
}

uint64_t kvfi_bench_remote_bytes(const struct bench_args *args, const struct bench_plan *plan)
{
    return args->dir == KVF_READ ? plan->source_bytes : plan->dest_bytes;
}

int kvfi_bench_room(const struct bench_job *job, const struct bench_args *args, const struct bench_plan *plan)
{
    bool stand_in = job->owner_rank != 0 && kvfi_bench_peers_stand_in(args, args->path);
    uint64_t ids = 2 * sizeof(uint32_t) * plan->slots;
    uint64_t at_initiator =
        kvfi_bench_local_bytes(args, plan) + (stand_in ? kvfi_bench_remote_bytes(args, plan) : 0) + ids;
    uint64_t at_owner = kvfi_bench_remote_bytes(args, plan) * (1 + kvfi_bench_peers_memories(args)) +
                        (job->owner_rank != 0 ? ids : 0) + kvfi_bench_beside_bytes(args);
    uint64_t need = job->one_node ? at_initiator + at_owner : job->initiator ? at_initiator : at_owner;
    const char *limit;
    uint64_t room = kvfi_memory_available(&limit);
    char need_text[32], room_text[32];
    int rc = 0;

    need += need / 16; /* page tables, and the other programs of the machine */
    if (need > room) {
        kvfi_cli_bytes(need, need_text, sizeof(need_text));
        kvfi_cli_bytes(room, room_text, sizeof(room_text));
        rc = kvfi_cli_fail("the case takes %s on one node, and %s are free (%s): use --scale", need_text,
                           room_text, limit);
    }
    return kvfi_bench_meet(job, rc);
}

uint32_t kvfi_bench_local_segments(const struct bench_args *args, const struct bench_plan *plan)
{
    return args->dir == KVF_READ ? plan->dest_segments : plan->source_segments;
}

uint32_t kvfi_bench_remote_segments(const struct bench_args *args, const struct bench_plan *plan)
{
    return args->dir == KVF_READ ? plan->source_segments : plan->dest_segments;
}

int kvfi_bench_starts(uint32_t count, uint64_t len, struct bench_memory *memory)
{
    memory->starts = malloc(count * sizeof(*memory->starts));
    if (memory->starts == NULL) {
        return kvfi_cli_fail("no memory for %u segments", count);
    }
    for (uint32_t i = 0; i < count; i++) {
        memory->starts[i] = memory->addr + i * len;
    }
    return 0;
}

int kvfi_bench_remote_starts(const struct bench_case *c, struct bench_memory *memory)
{
    uint32_t count = kvfi_bench_remote_segments(c->args, c->plan);

    return kvfi_bench_starts(count, kvfi_bench_remote_bytes(c->args, c->plan) / count, memory);
}

static int map_own(const char *what, uint64_t len, struct bench_memory *memory)
{
    void *addr = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (addr == MAP_FAILED) {
        return kvfi_cli_fail("%s: cannot map %llu bytes: %s", what, (unsigned long long)len, strerror(errno));
    }
    memory->addr = addr;
    memory->mapped = len;
    return 0;
}

/* A segment of part bytes: the next one of what was mapped, or the library's. */
static kvf_status_t take_segment(const struct bench_case *c, uint64_t part, struct bench_memory *memory,
                                 char **addr_p)
{
    kvf_engine_t *engine = c->job->engine;
    kvf_segment_attr_t attr = {.struct_size = sizeof(attr)};
    kvf_segment_t **segment_p = &memory->locals[memory->segment_count].segment;
    kvf_status_t status;

    switch (kvfi_bench_memory(c->args)) {
    case BENCH_MEMORY_OWN:
        *addr_p = memory->addr + memory->segment_count * part;
        status = kvf_segment_register(engine, *addr_p, part, segment_p);
        break;
    case BENCH_MEMORY_ADOPT:
        *addr_p = memory->addr + memory->segment_count * part;
        status = kvf_segment_adopt(engine, *addr_p, part, segment_p);
        break;
    default:
        status = kvf_segment_alloc(engine, part, segment_p);
        if (status == KVF_OK) {
            kvf_segment_query(*segment_p, &attr);
            *addr_p = attr.addr;
            memory->addr = memory->segment_count == 0 ? attr.addr : memory->addr;
        }
    }
    memory->segment_count += status == KVF_OK;
    return status;
}

static int take(const struct bench_case *c, const char *what, bool source, struct bench_memory *memory)
{
    const struct bench_plan *plan = c->plan;
    uint32_t count = source ? plan->source_segments : plan->dest_segments;
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

    memory->len = source ? plan->source_bytes : plan->dest_bytes;
    uint64_t part = (memory->len / count + page - 1) / page * page; /* adopting takes whole pages */
    memory->locals = calloc(count, sizeof(*memory->locals));
    if (memory->locals == NULL) {
        return kvfi_cli_fail("no memory for %u segments", count);
    }
    if (kvfi_bench_memory(c->args) != BENCH_MEMORY_POOL && map_own(what, part * count, memory) != 0) {
        return -1;
    }
    if (kvfi_bench_starts(count, part, memory) != 0) {
        return -1;
    }
    for (uint32_t i = 0; i < count; i++) {
        kvf_status_t status = take_segment(c, part, memory, &memory->starts[i]);
        if (status != KVF_OK) {
            return kvfi_bench_fail_status(what, status);
        }
    }
    return 0;
}

static void give_back(struct bench_memory *memory)
{
    for (uint32_t i = 0; i < memory->segment_count; i++) {
        kvf_segment_release(memory->locals[i].segment);
    }
    if (memory->mapped != 0) {
        munmap(memory->addr, memory->mapped);
    }
    free(memory->locals);
    free(memory->starts);
    *memory = (struct bench_memory){0};
}

static int grant(const struct bench_job *job, struct bench_ends *ends)
{
    uint32_t count = ends->remote.segment_count;
    kvf_range_t *ranges = calloc(count, sizeof(*ranges));

    if (ranges == NULL) {
        return kvfi_cli_fail("no memory for %u ranges", count);
    }
    for (uint32_t i = 0; i < count; i++) {
        ranges[i] = (kvf_range_t){.segment = ends->remote.locals[i].segment,
                                  .len = ends->remote.len / count,
                                  .rights = KVF_RIGHT_READ | KVF_RIGHT_WRITE};
    }
    kvf_status_t status = kvf_grant_create(job->engine, ranges, count, NULL, &ends->grant);
    free(ranges);
    return status == KVF_OK ? 0 : kvfi_bench_fail_status("granting the memory", status);
}

/* All ranks get the owner's remotes; the others grant nothing. */
static int exchange(const struct bench_job *job, const struct bench_args *args, const struct bench_plan *plan,
                    struct bench_ends *ends)
{
    uint32_t count = kvfi_bench_remote_segments(args, plan), counts[2];
    kvf_remote_t **remotes = calloc(2 * (size_t)count, sizeof(*remotes));
    int rc = job->owner ? grant(job, ends) : 0;

    if (rc == 0) {
        ends->handles = calloc(count, sizeof(*ends->handles));
        rc = remotes == NULL || ends->handles == NULL ? kvfi_cli_fail("no memory") : 0;
    }
    rc = kvfi_bench_meet(job, rc);
    if (rc == 0) {
        kvf_status_t status = kvf_mpi_exchange_grants(job->mpi, ends->grant, count, remotes, counts);
        if (status == KVF_OK) {
            ends->handle_count = count;
            memcpy(ends->handles, remotes + (size_t)job->owner_rank * count, count * sizeof(*remotes));
        } else {
            rc = kvfi_bench_fail_status("exchanging the grant", status);
        }
    }
    free(remotes);
    return rc;
}

static int learn_path(const struct bench_job *job, const struct bench_args *args, struct bench_ends *ends)
{
    uint32_t mask = args->path == KVF_PATH_NONE ? 0 : KVF_PATH_BIT(args->path);
    struct {
        uint32_t path, locality;
    } known = {0};
    int rc = 0;

    if (job->initiator) {
        kvf_path_t path;
        kvf_remote_attr_t remote = {.struct_size = sizeof(remote)};
        kvf_peer_attr_t peer = {.struct_size = sizeof(peer)};
        kvf_status_t status = kvf_path_of(ends->local.locals[0].segment, ends->handles[0], mask, &path);
        if (status == KVF_OK) {
            status = kvf_remote_query(ends->handles[0], &remote);
        }
        if (status == KVF_OK) {
            status = kvf_peer_query(remote.peer, &peer);
        }
        if (status == KVF_OK) {
            known.path = path;
            known.locality = peer.locality;
        } else {
            rc = kvfi_bench_fail_status("--path", status);
        }
    }
    if (kvfi_bench_meet(job, rc) != 0) {
        return -1;
    }
    kvfi_bench_tell(job, 0, &known, sizeof(known));
    ends->path = known.path;
    ends->locality = known.locality;
    return 0;
}

/* Where the owner's segments are, and who it is. */
static int tell_starts(const struct bench_case *c)
{
    const struct bench_job *job = c->job;
    struct bench_ends *ends = c->ends;
    uint32_t count = kvfi_bench_remote_segments(c->args, c->plan);

    ends->remote_starts = calloc(count, sizeof(*ends->remote_starts));
    int rc = ends->remote_starts == NULL ? kvfi_cli_fail("no memory for %u segments", count) : 0;
    if (kvfi_bench_meet(job, rc) != 0) {
        return -1;
    }
    for (uint32_t i = 0; i < count && job->owner; i++) {
        ends->remote_starts[i] = (uint64_t)(uintptr_t)ends->remote.starts[i];
    }
    ends->remote_pid = getpid();
    kvfi_bench_tell(job, job->owner_rank, ends->remote_starts, count * sizeof(*ends->remote_starts));
    kvfi_bench_tell(job, job->owner_rank, &ends->remote_pid, sizeof(ends->remote_pid));
    return 0;
}

static int open_all(const struct bench_case *c, bool floors)
{
    const struct bench_job *job = c->job;
    const struct bench_plan *plan = c->plan;
    struct bench_ends *ends = c->ends;
    bool reads = c->args->dir == KVF_READ;
    int rc = 0;

    /* one after the other: two ranks that take pages at the same time get them scattered, and the
     * floor's memory, taken by one alone, would be better */
    if (job->owner) {
        rc = take(c, "the remote memory", reads, &ends->remote);
    }
    if (kvfi_bench_meet(job, rc) != 0) {
        return -1;
    }
    if (job->initiator) {
        rc = take(c, "the local memory", !reads, &ends->local);
    }
    if (kvfi_bench_meet(job, rc) != 0 || kvfi_bench_meet(job, exchange(job, c->args, plan, ends)) != 0 ||
        learn_path(job, c->args, ends) != 0) {
        return -1;
    }
    if (floors && job->initiator && !job->owner && kvfi_bench_peers_stand_in(c->args, ends->path)) {
        rc = take(c, "the memory of the floor", reads, &ends->stand_in);
    }
    if (kvfi_bench_meet(job, rc) != 0 || tell_starts(c) != 0) {
        return -1;
    }
    if (job->owner && reads) {
        kvfi_bench_fill(plan, ends->remote.starts);
    }
    if (job->initiator && !reads) {
        kvfi_bench_fill(plan, ends->local.starts);
    }
    if (ends->stand_in.starts != NULL && reads) {
        kvfi_bench_fill(plan, ends->stand_in.starts);
    }
    return kvfi_bench_meet(job, 0);
}

int kvfi_bench_ends_open(const struct bench_job *job, const struct bench_args *args,
                         const struct bench_plan *plan, bool floors, struct bench_ends *ends_p)
{
    const struct bench_case c = {job, args, plan, ends_p};

    *ends_p = (struct bench_ends){0};
    if (open_all(&c, floors) != 0) {
        kvfi_bench_ends_close(job, ends_p);
        return -1;
    }
    return 0;
}

/* The initiator lets go of the remote before its owner takes the memory back. */
void kvfi_bench_ends_close(const struct bench_job *job, struct bench_ends *ends)
{
    for (uint32_t i = 0; i < ends->handle_count; i++) {
        kvf_remote_forget(ends->handles[i]);
    }
    kvfi_bench_meet(job, 0);
    if (ends->grant != NULL) {
        kvf_grant_revoke(ends->grant, KVF_FOREVER);
    }
    kvfi_bench_meet(job, 0);
    give_back(&ends->local);
    give_back(&ends->remote);
    give_back(&ends->stand_in);
    free(ends->handles);
    free(ends->remote_starts);
    *ends = (struct bench_ends){0};
}
