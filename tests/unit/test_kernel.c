/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The copy kernels, each instruction set that this processor has: pieces of odd sizes at all 4096
 * pairs of alignments modulo 64, groups of mixed sizes, lengths around the limits of streaming; the
 * whole of the destination is compared, so a store past a piece is seen.
 */
#include "copy/copy.h"
#include "copy/tune.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define CANARY 64u
#define PAIRS  4096u

static const char *const names[] = {"plain", "avx2", "avx512", "neon"};
#define KERNELS 4

static uint64_t state = 88172645463325252u;

static uint64_t rnd(uint64_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % below;
}

static void fill(char *mem, uint64_t len)
{
    for (uint64_t i = 0; i < len; i++) {
        mem[i] = (char)rnd(256);
    }
}

static char *aligned(uint64_t len)
{
    void *mem = NULL;

    ck_assert_int_eq(posix_memalign(&mem, 4096, len), 0);
    return mem;
}

typedef void way_t(const kvfi_piece_t *pieces, unsigned count, unsigned ahead, kvfi_flow_t *flow);

/* The pieces of the second call are in sight of the first. */
static void in_two_calls(way_t *way, const kvfi_piece_t *pieces, unsigned count, uint64_t linear_from)
{
    kvfi_flow_t flow = {.linear_from = linear_from};
    unsigned first = (unsigned)rnd(count + 1);

    way(pieces, first, count - first, &flow);
    way(pieces + first, count - first, 0, &flow);
}

/* Piece k of lens[k] bytes goes from alignment k % 64 to k / 64 % 64, in slots of `slot` bytes, the first
 * slot to the last one, so that a mix-up shows. */
static void one_group(const kvfi_kernel_t *kernel, const uint64_t *lens, unsigned count, uint64_t slot)
{
    uint64_t all = count * slot;
    char *src = aligned(all);
    char *dst = aligned(all);
    char *want = aligned(all);
    kvfi_piece_t *pieces = calloc(count, sizeof(*pieces));

    fill(src, all);
    memset(dst, 0xc7, all);
    memset(want, 0xc7, all);
    for (unsigned k = 0; k < count; k++) {
        uint64_t to = (count - 1 - k) * slot + CANARY + k / 64 % 64;
        uint64_t from = k * slot + CANARY + k % 64;

        pieces[k] = (kvfi_piece_t){dst + to, src + from, lens[k]};
        memcpy(want + to, src + from, lens[k]);
    }
    for (int way = 0; way < 4; way++) { /* cached; fetched; streamed in lanes; one after the other */
        if (way == 0) {
            kernel->cached(pieces, count);
        } else {
            in_two_calls(way == 1 ? kernel->fetch : kernel->stream, pieces, count, way == 2 ? UINT64_MAX : 1);
        }
        ck_assert_msg(memcmp(dst, want, all) == 0,
                      "%s, way %d, pieces of %zu bytes and so: wrong bytes, or a canary", kernel->name, way,
                      (size_t)lens[0]);
        memset(dst, 0xc7, all);
    }
    free(src);
    free(dst);
    free(want);
    free(pieces);
}

static const kvfi_kernel_t *kernel_of(int i)
{
    const kvfi_kernel_t *kernel = kvfi_kernel_find(names[i]);

    ck_assert(kvfi_kernel_known(names[i]));
    if (kernel == NULL) {
        printf("this processor has no %s: that kernel is not tried\n", names[i]);
    } else {
        ck_assert_str_eq(kernel->name, names[i]);
    }
    return kernel;
}

START_TEST(odd_pieces_at_every_pair_of_alignments)
{
    static const uint64_t sizes[] = {1, 3, 63, 64, 65, 132, 255, 511, 512, 513, 576, 656, 1151, 4097};
    const kvfi_kernel_t *kernel = kernel_of(_i);
    static uint64_t lens[PAIRS];

    for (size_t s = 0; kernel != NULL && s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        for (unsigned k = 0; k < PAIRS; k++) {
            lens[k] = sizes[s];
        }
        one_group(kernel, lens, PAIRS, (sizes[s] + 2 * CANARY + 127) & ~UINT64_C(63));
    }
}
END_TEST

START_TEST(every_length)
{
    const kvfi_kernel_t *kernel = kernel_of(_i);
    uint64_t lens[72];

    for (uint64_t len = 1; kernel != NULL && len < 1400; len++) {
        for (unsigned k = 0; k < 72; k++) {
            lens[k] = len + k * (len % 4);
        }
        one_group(kernel, lens, 72, 1856);
    }
}
END_TEST

START_TEST(groups_of_mixed_sizes)
{
    const kvfi_kernel_t *kernel = kernel_of(_i);
    uint64_t lens[40];

    for (int n = 0; kernel != NULL && n < 200; n++) {
        unsigned count = (unsigned)rnd(40) + 1; /* not only multiples of eight */

        for (unsigned k = 0; k < count; k++) {
            lens[k] = 1 + rnd(rnd(3) == 0 ? 700 : 9000);
        }
        one_group(kernel, lens, count, 9216);
    }
}
END_TEST

START_TEST(pieces_around_the_limits_of_streaming)
{
    static const uint64_t sizes[] = {131071, 131072, 131073, 262144 + 5};
    const kvfi_kernel_t *kernel = kernel_of(_i);
    uint64_t lens[17];

    for (size_t s = 0; kernel != NULL && s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        for (unsigned k = 0; k < 17; k++) {
            lens[k] = sizes[s];
        }
        one_group(kernel, lens, 17, 266240);
    }
}
END_TEST

/* Rows, each from anywhere to another's place, the last ones in a second call that is in sight. */
static void some_rows(const kvfi_kernel_t *kernel, uint64_t len, uint32_t pieces, unsigned count, int back)
{
    uint64_t apart = len + 192, slot = pieces * apart, all = slot * count + 4096;
    int64_t stride = (int64_t)apart;
    char *src = aligned(all);
    char *dst = aligned(all);
    char *want = aligned(all);
    kvfi_rows_t shape = {len, pieces, back ? -stride : stride, stride + 1};
    kvfi_row_t rows[64];
    unsigned first = (unsigned)rnd(count + 1);

    fill(src, all);
    memset(dst, 0xc7, all);
    memset(want, 0xc7, all);
    for (unsigned r = 0; r < count; r++) {
        uint64_t to = (count - 1 - r) * slot + (back ? (pieces - 1) * apart : 0);

        rows[r] = (kvfi_row_t){dst + to, src + r * slot + r};
        for (uint32_t x = 0; x < pieces; x++) {
            memcpy(want + to + (uint64_t)(x * shape.dst_stride), rows[r].src + x * (apart + 1), len);
        }
    }
    kernel->rows(&shape, rows, first, count - first);
    kernel->rows(&shape, rows + first, count - first, 0);
    ck_assert_msg(memcmp(dst, want, all) == 0,
                  "%s: %u rows of %u pieces of %zu bytes: wrong bytes, or a canary", kernel->name, count,
                  pieces, (size_t)len);
    free(src);
    free(dst);
    free(want);
}

START_TEST(rows_of_any_length)
{
    const kvfi_kernel_t *kernel = kernel_of(_i);

    for (uint64_t len = 64; kernel != NULL && len <= 1024; len += 64) {
        for (unsigned count = 0; count <= 33; count++) {
            some_rows(kernel, len, 1 + (uint32_t)rnd(20), count, (int)rnd(2));
        }
    }
}
END_TEST

/* Tables with a skipped pair: the kernel stops there, and goes on behind it. */
static void one_table(const kvfi_kernel_t *kernel, uint64_t len)
{
    enum {
        PAIRS_OF_TABLE = 40,
        SKIPPED = 17
    };
    uint64_t block = len + CANARY;
    uint64_t all = PAIRS_OF_TABLE * block + CANARY;
    char *src = aligned(all);
    char *dst = aligned(all);
    char *want = aligned(all);
    uint32_t from[PAIRS_OF_TABLE];
    uint32_t to[PAIRS_OF_TABLE];
    uint32_t runs = 0;
    kvfi_pairs_t pairs = {dst + 3, src + 5, block, block, to, from, len};

    fill(src, all);
    memset(dst, 0xc7, all);
    memset(want, 0xc7, all);
    for (uint32_t i = 0; i < PAIRS_OF_TABLE; i++) {
        from[i] = i < 8 ? i : i * 3 % PAIRS_OF_TABLE; /* the first eight follow each other */
        to[i] = i < 8 ? i : PAIRS_OF_TABLE - 1 - (i - 8);
        if (i != SKIPPED) {
            memcpy(want + 3 + to[i] * block, src + 5 + from[i] * block, len);
        }
    }
    from[SKIPPED] = KVF_SKIP;
    ck_assert_uint_eq(kernel->pairs(&pairs, 0, PAIRS_OF_TABLE, &runs), SKIPPED);
    ck_assert_uint_eq(runs, 1 + SKIPPED - 8);
    ck_assert_uint_eq(kernel->pairs(&pairs, SKIPPED + 1, PAIRS_OF_TABLE, &runs), PAIRS_OF_TABLE);
    ck_assert_msg(memcmp(dst, want, all) == 0, "%s, pairs of %zu bytes: wrong bytes, or a canary",
                  kernel->name, (size_t)len);
    free(src);
    free(dst);
    free(want);
}

START_TEST(tables_of_pieces_of_any_length)
{
    const kvfi_kernel_t *kernel = kernel_of(_i);

    for (uint64_t len = 1; kernel != NULL && len < 1100; len++) {
        one_table(kernel, len);
    }
}
END_TEST

START_TEST(an_id_past_the_last_one_is_seen_wherever_it_stands)
{
    const kvfi_kernel_t *kernel = kernel_of(_i);
    uint32_t ids[70];
    const uint32_t bad[] = {1000, 1001, INT32_MAX, UINT32_C(1) << 31, KVF_SKIP};

    for (uint32_t count = 0; kernel != NULL && count < 70; count++) {
        for (uint32_t i = 0; i < count; i++) {
            ids[i] = (uint32_t)rnd(1000);
        }
        ck_assert_int_eq(kernel->below(ids, count, 1000), 1);
        for (uint32_t at = 0; at < count; at++) {
            uint32_t good = ids[at];

            ids[at] = bad[rnd(5)];
            ck_assert_msg(kernel->below(ids, count, 1000) == 0, "%s: id %u of %u", kernel->name, at, count);
            ids[at] = good;
        }
    }
    ids[0] = INT32_MAX - 1;
    ck_assert(kernel == NULL || kernel->below(ids, 1, INT32_MAX) == 1);
    ids[0] = INT32_MAX;
    ck_assert(kernel == NULL || kernel->below(ids, 1, INT32_MAX) == 0);
}
END_TEST

START_TEST(no_pieces_and_pieces_of_nothing)
{
    const kvfi_kernel_t *kernel = kernel_of(_i);
    uint64_t lens[16] = {0, 5000, 0, 0, 700};

    if (kernel != NULL) {
        kvfi_flow_t flow = {.linear_from = 1};

        kernel->cached(NULL, 0);
        kernel->stream(NULL, 0, 0, &flow);
        one_group(kernel, lens, 16, 8192);
    }
}
END_TEST

/* Source and destination end where their memory ends: nothing is read or written past it. */
START_TEST(the_last_byte_before_an_unmapped_page)
{
    const kvfi_kernel_t *kernel = kernel_of(_i);
    const uint64_t len = 4096 * 8;
    char *src = mmap(NULL, len + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *dst = mmap(NULL, len + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    kvfi_piece_t pieces[8];

    munmap(src + len, 4096);
    munmap(dst + len, 4096);
    fill(src, len);
    for (uint64_t off = 0; kernel != NULL && off < 64; off++) {
        for (unsigned k = 0; k < 8; k++) { /* the last one at the very end, the others in front of it */
            uint64_t from = k * 4096 + (k == 7 ? off : 0);

            pieces[k] = (kvfi_piece_t){dst + from, src + from, k == 7 ? 4096 - off : 3000};
        }
        in_two_calls(kernel->stream, pieces, 8, off % 2 ? UINT64_MAX : 1);
        ck_assert(memcmp(dst + 7 * 4096 + off, src + 7 * 4096 + off, 4096 - off) == 0);
        in_two_calls(kernel->fetch, pieces, 8, 1);
        kernel->cached(pieces, 8);
    }
}
END_TEST

/* Pieces of every length that fill the room between two unmapped pages. */
START_TEST(a_look_at_the_caches_reads_nothing_but_the_pieces)
{
    const uint64_t page = 4096;
    const uint64_t most = 3 * page;
    char *mem = mmap(NULL, most + 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const kvfi_tune_t always = {.cold_ticks = 0}; /* so that each look is followed by the second */

    mprotect(mem, page, PROT_NONE);
    mprotect(mem + page + most, page, PROT_NONE);
    for (uint64_t len = 1; len <= most; len++) {
        char *front = mem + page;
        char *back = mem + page + most - len;
        kvfi_piece_t pieces[2] = {{front, back, len}, {back, front, len}};

        for (unsigned count = 1; count <= 2; count++) {
            kvfi_tune_cold(&always, pieces, count);
            kvfi_tune_look(pieces, count);
        }
    }
    munmap(mem, most + 2 * page);
}
END_TEST

START_TEST(an_unknown_kernel_is_refused_and_the_best_is_kept)
{
    const kvfi_tune_t *tune = kvfi_tune();

    ck_assert(!kvfi_kernel_known("mmx"));
    ck_assert(kvfi_kernel_find("mmx") == NULL);
    ck_assert(kvfi_kernel_find("auto") != NULL);
    ck_assert(tune->kernel == kvfi_kernel_find("auto"));
    ck_assert_uint_gt(tune->probe_from, 0);
    ck_assert_uint_ge(tune->stream_from, tune->probe_from);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kernel");
    TCase *tc = tcase_create("kernel");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, odd_pieces_at_every_pair_of_alignments, 0, KERNELS);
    tcase_add_loop_test(tc, every_length, 0, KERNELS);
    tcase_add_loop_test(tc, groups_of_mixed_sizes, 0, KERNELS);
    tcase_add_loop_test(tc, pieces_around_the_limits_of_streaming, 0, KERNELS);
    tcase_add_loop_test(tc, rows_of_any_length, 0, KERNELS);
    tcase_add_loop_test(tc, tables_of_pieces_of_any_length, 0, KERNELS);
    tcase_add_loop_test(tc, an_id_past_the_last_one_is_seen_wherever_it_stands, 0, KERNELS);
    tcase_add_loop_test(tc, no_pieces_and_pieces_of_nothing, 0, KERNELS);
    tcase_add_loop_test(tc, the_last_byte_before_an_unmapped_page, 0, KERNELS);
    tcase_add_test(tc, a_look_at_the_caches_reads_nothing_but_the_pieces);
    tcase_add_test(tc, an_unknown_kernel_is_refused_and_the_best_is_kept);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
