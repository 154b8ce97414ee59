/* SPDX-License-Identifier: BSD-3-Clause
 *
 * An owner's own memory that is not there any more while it is granted: unmapped, with a hole, without its
 * right, behind the end of its file. Over every path the initiator gets KVF_ERR_FAULT, and the owner lives,
 * serves what is there, and revokes.
 */
#define _GNU_SOURCE
#include "rig.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "forbid.h"

#define LEN  (UINT64_C(1) << 20)
#define PAGE 4096u

typedef enum loss {
    NOTHING,
    ALL,
    HOLE,
    NO_ACCESS,
    READ_ONLY,
    TRUNCATED,
    LOSSES
} loss_t;

static const char *const losses[LOSSES] = {"nothing",    "all of it",          "a page in the middle",
                                           "all rights", "the right to write", "the end of its file"};

/* ------------------------------------------------------------- at the owner */

/* Memory of its own behind a grant, in extra[0], its file in extra[1]. */
static void at_make(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    kvf_range_t range = {.len = LEN, .rights = KVF_RIGHT_READ | KVF_RIGHT_WRITE};
    loss_t loss;
    int fd = -1;

    (void)out;
    memcpy(&loss, in, in_len);
    if (loss == TRUNCATED) {
        fd = memfd_create("kvferry-test", MFD_CLOEXEC);
        must(fd >= 0 && ftruncate(fd, (off_t)LEN) == 0, "%s", strerror(errno));
    }
    side->extra[0] =
        mmap(NULL, LEN, PROT_READ | PROT_WRITE, fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, fd, 0);
    side->extra[1] = (void *)(intptr_t)fd;
    must(side->extra[0] != MAP_FAILED, "%s", strerror(errno));
    side->mem = side->extra[0];
    side->len = LEN;
    pattern_fill(side->mem, LEN, 1);
    ok(kvf_segment_register(side->engine, side->mem, LEN, &side->segment));
    range.segment = side->segment;
    ok(kvf_grant_create(side->engine, &range, 1, NULL, &side->grant));
}

static void at_lose(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;
    loss_t loss;
    int rc = 0;

    (void)out;
    memcpy(&loss, in, in_len);
    switch (loss) {
    case ALL:
        rc = munmap(side->mem, LEN);
        break;
    case HOLE:
        rc = munmap(side->mem + LEN / 2, PAGE);
        break;
    case NO_ACCESS:
        rc = mprotect(side->mem, LEN, PROT_NONE);
        break;
    case READ_ONLY:
        rc = mprotect(side->mem, LEN, PROT_READ);
        break;
    case TRUNCATED:
        rc = ftruncate((int)(intptr_t)side->extra[1], (off_t)(LEN / 2));
        break;
    default:
        break;
    }
    must(rc == 0, "%s", strerror(errno));
}

static void at_release(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    side_t *side = state;

    (void)in;
    (void)in_len;
    (void)out;
    ok(kvf_grant_revoke(side->grant, patient(5)));
    ok(kvf_segment_release(side->segment));
    munmap(side->extra[0], LEN);
    if ((intptr_t)side->extra[1] >= 0) {
        close((int)(intptr_t)side->extra[1]);
    }
}

static void at_forbid(void *state, const void *in, size_t in_len, proc_out_t *out)
{
    (void)state;
    (void)in;
    (void)in_len;
    (void)out;
    must(forbid_cma(EPERM) == 0, "seccomp: %s", strerror(errno));
}

/* --------------------------------------------------------- at the initiator */

static kvf_remote_t *import(rig_t *rig)
{
    uint8_t blob[BLOB_MAX];
    kvf_remote_t *remote;
    uint32_t count = 1;
    size_t len = rig_call(rig, side_grant_blob, NULL, 0, blob, sizeof(blob));

    ok(kvf_remote_import(rig->peer, blob, len, &remote, &count));
    return remote;
}

/* Every other piece of both memories. */
static kvf_op_t pieces_of(const rig_t *rig, kvf_remote_t *remote, uint64_t piece, uint32_t dir)
{
    kvf_op_t op = op_plain(rig->me.segment, 0, remote, 0, piece, dir);

    op.blocks = (uint32_t)(LEN / piece / 2);
    op.local_block = op.remote_block = 2 * piece;
    return op;
}

static void loses(rig_t *rig, loss_t loss, uint64_t piece, uint32_t dir)
{
    int faults = loss != NOTHING && (loss != READ_ONLY || dir == KVF_WRITE);
    kvf_remote_t *remote;
    kvf_status_t status;
    kvf_op_t op;

    rig_call(rig, at_make, &loss, sizeof(loss), NULL, 0);
    remote = import(rig);
    op = pieces_of(rig, remote, piece, dir);
    pattern_fill(rig->me.mem, LEN, 1);
    move(rig, &op, 1);
    rig_call(rig, at_lose, &loss, sizeof(loss), NULL, 0);
    status = run_ops(rig->batch, &op, 1, NULL);
    must(status == (faults ? KVF_ERR_FAULT : KVF_OK), "%s lost, pieces of %d bytes, %s: %s (%s)",
         losses[loss], (int)piece, dir == KVF_READ ? "read" : "written", kvf_status_name(status),
         kvf_last_error());
    must(pattern_compare(rig->me.mem, LEN, 1) == UINT64_MAX, "wrong bytes came");
    if (loss == HOLE || loss == TRUNCATED) { /* what is there is served */
        op.blocks /= 2;
        op.blocks -= 1;
        move(rig, &op, 1);
    }
    rig_call(rig, at_release, NULL, 0, NULL, 0);
    ok(kvf_remote_forget(remote));
}

static void loses_everything(rig_t *rig)
{
    static const uint64_t pieces[] = {64, 1024, 16384, 131072};

    for (loss_t loss = NOTHING; loss < LOSSES; loss++) {
        for (int i = 0; i < 4; i++) {
            loses(rig, loss, pieces[i], KVF_READ);
            loses(rig, loss, pieces[i], KVF_WRITE);
        }
    }
    rig_close(rig);
}

START_TEST(memory_that_has_gone_is_a_fault_and_its_owner_lives)
{
    static const where_t wheres[] = {WHERE_CMA, WHERE_STAGE, WHERE_AM};
    rig_opts_t opts = {0};
    rig_t rig;

    rig_open(&rig, wheres[_i], &opts);
    loses_everything(&rig);
}
END_TEST

/* The kernel cannot be asked by process_vm_readv: container profiles forbid it, and stage is for that. */
START_TEST(memory_that_has_gone_is_a_fault_where_cma_is_forbidden_to_its_owner)
{
    rig_opts_t opts = {0};
    rig_t rig;

    rig_fork(&rig, WHERE_STAGE, &opts);
    proc_call(&rig.owner, at_forbid, NULL, 0, NULL, 0);
    rig_join(&rig);
    loses_everything(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("owner_memory");
    TCase *all = tcase_create("all");

    tcase_set_timeout(all, 60 * patience());
    tcase_add_loop_test(all, memory_that_has_gone_is_a_fault_and_its_owner_lives, 0, 3);
    if (forbid_works()) {
        tcase_add_test(all, memory_that_has_gone_is_a_fault_where_cma_is_forbidden_to_its_owner);
    }
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
