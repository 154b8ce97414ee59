/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The judge of kvf_bench: what it calls right is right, and one wrong byte, one piece too few and two
 * pieces in each other's place are seen, whatever the size of a piece. A case moves what its shape
 * says, cold unless it was asked for hot. Nothing blocks.
 */
#include "config.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "../../tools/bench/bench.h"
#include "../../tools/cli.h"

static struct bench_args args_of(uint64_t hot, uint64_t depth, uint64_t num, uint64_t den)
{
    return (struct bench_args){
        .depth = depth, .reps = 1, .seed = 5, .hot = hot, .scale_num = num, .scale_den = den};
}

#define HOT (UINT64_C(512) << 10)

static struct bench_shape own(uint64_t piece, uint64_t pieces, uint64_t rows)
{
    return (struct bench_shape){
        .name = "own", .long_name = "own", .piece = piece, .pieces = pieces, .blocks = pieces / rows};
}

struct pair {
    struct bench_plan plan;
    unsigned char *source, *dest;
    char **sources, **dests; /* starts of the segments */
};

static char **starts_of(unsigned char *start, uint32_t segments, uint64_t bytes)
{
    char **starts = malloc(segments * sizeof(*starts));

    for (uint32_t i = 0; i < segments; i++) {
        starts[i] = (char *)start + i * (bytes / segments);
    }
    return starts;
}

static void make_pair(const struct bench_args *args, const struct bench_shape *shape, struct pair *p)
{
    ck_assert_msg(kvfi_bench_plan_make(args, shape, &p->plan) == 0, "%s", kvfi_cli_error());
    ck_assert_int_eq(kvfi_bench_plan_ids(&p->plan), 0);
    p->source = malloc(p->plan.source_bytes);
    p->dest = malloc(p->plan.dest_bytes);
    p->sources = starts_of(p->source, p->plan.source_segments, p->plan.source_bytes);
    p->dests = starts_of(p->dest, p->plan.dest_segments, p->plan.dest_bytes);
    kvfi_bench_fill(&p->plan, p->sources);
    kvfi_bench_poison(&p->plan, p->dests, 1);
}

static void make_own(uint64_t piece, uint64_t pieces, uint64_t rows, bool per_layer, struct pair *p)
{
    struct bench_args args = args_of(HOT, 1, 1, 1);
    struct bench_shape shape = own(piece, pieces, rows);

    args.per_layer = per_layer;
    make_pair(&args, &shape, p);
    ck_assert_uint_eq(p->plan.source_segments, per_layer ? rows : 1);
    ck_assert_uint_eq(p->plan.box_count, per_layer ? rows : 1);
}

static void free_pair(struct pair *p)
{
    kvfi_bench_plan_free(&p->plan);
    free(p->source);
    free(p->dest);
    free(p->sources);
    free(p->dests);
}

static void spoil_some(struct pair *p)
{
    for (uint64_t i = 0; i < p->plan.dest_bytes; i += 1 + p->plan.dest_bytes / 50) {
        p->dest[i] ^= 0x40;
        ck_assert_uint_eq(kvfi_bench_verify(&p->plan, p->dests), 1);
        p->dest[i] ^= 0x40;
    }
    p->dest[p->plan.dest_bytes - 1] ^= 1;
    ck_assert_uint_eq(kvfi_bench_verify(&p->plan, p->dests), 1);
}

static const uint64_t sizes[] = {1, 7, 8, 9, 64, 1001, 4096};

START_TEST(a_right_copy_is_right_and_a_wrong_byte_is_counted)
{
    for (int per_layer = 0; per_layer <= 1; per_layer++) {
        struct pair p;

        make_own(sizes[_i], 60, 3, per_layer != 0, &p);
        kvfi_bench_memcpy_run(&p.plan, p.dests, p.sources);
        ck_assert_uint_eq(kvfi_bench_verify(&p.plan, p.dests), 0);
        spoil_some(&p);
        free_pair(&p);
    }
}
END_TEST

/* Where the source has more heads than move, and where each layer lies in a segment of its own. */
START_TEST(the_shapes_of_models_are_judged_alike)
{
    static const char *const names[] = {"W1", "W2", "W3", "W4", "W5", "W6", "W7", "W8"};
    struct bench_args args = args_of(HOT, 1, 1, 1);
    struct pair p;

    ck_assert_int_eq(kvfi_bench_shapes_by_name(names[_i / 2], &args), 0);
    args.per_layer = _i % 2 != 0;
    make_pair(&args, &args.shapes[0], &p);
    ck_assert_uint_eq(p.plan.shape.piece, args.shapes[0].piece);
    ck_assert_uint_gt(kvfi_bench_verify(&p.plan, p.dests), p.plan.dest_bytes / 100 * 98);
    kvfi_bench_memcpy_run(&p.plan, p.dests, p.sources);
    ck_assert_uint_eq(kvfi_bench_verify(&p.plan, p.dests), 0);
    spoil_some(&p);
    free_pair(&p);
    free(args.shapes);
}
END_TEST

START_TEST(a_piece_that_never_came_is_wrong)
{
    struct pair p;

    make_own(4096, 60, 3, false, &p);
    uint64_t all = kvfi_bench_verify(&p.plan, p.dests);
    ck_assert_uint_gt(all, p.plan.dest_bytes / 100 * 98);
    kvfi_bench_memcpy_run(&p.plan, p.dests, p.sources);
    memset(p.dest + 4096, 0x5a, 4096);
    uint64_t one = kvfi_bench_verify(&p.plan, p.dests);
    ck_assert(one > 4096 * 98 / 100 && one <= 4096);
    free_pair(&p);
}
END_TEST

START_TEST(two_pieces_in_each_others_place_are_wrong)
{
    struct pair p;
    unsigned char kept[64];

    make_own(64, 60, 3, false, &p);
    kvfi_bench_memcpy_run(&p.plan, p.dests, p.sources);
    memcpy(kept, p.dest, 64);
    memcpy(p.dest, p.dest + 64, 64);
    memcpy(p.dest + 64, kept, 64);
    ck_assert_uint_gt(kvfi_bench_verify(&p.plan, p.dests), 100);
    free_pair(&p);
}
END_TEST

START_TEST(the_ids_are_a_permutation_and_differ_between_the_sides)
{
    struct pair p;
    uint64_t same = 0;

    make_own(64, 5000, 1, false, &p);
    unsigned char *seen = calloc(p.plan.slots, 2);
    for (uint64_t i = 0; i < p.plan.slots; i++) {
        ck_assert(p.plan.source_ids[i] < p.plan.slots && p.plan.dest_ids[i] < p.plan.slots);
        seen[p.plan.source_ids[i] * 2]++;
        seen[p.plan.dest_ids[i] * 2 + 1]++;
        same += p.plan.source_ids[i] == p.plan.dest_ids[i];
    }
    for (uint64_t i = 0; i < 2 * p.plan.slots; i++) {
        ck_assert_uint_eq(seen[i], 1);
    }
    ck_assert_uint_lt(same, 50);
    free(seen);
    free_pair(&p);
}
END_TEST

START_TEST(the_fixed_shapes_move_what_their_names_say)
{
    static const struct {
        const char *name;
        uint64_t pieces, piece;
    } want[] = {{"W1", 16384, 65536}, {"W2", 40960, 16384},        {"W3", 40960, 8192},
                {"W4", 655360, 512},  {"W5", 7808, 73728},         {"W6", 512, 655360},
                {"W7", 512, 2097152}, {"xlayer-8b", 512, 2097152}, {"W8", 40960, 16384}};
    struct bench_plan plan;

    for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
        struct bench_args args = args_of(0, 8, 1, 1);
        ck_assert_int_eq(kvfi_bench_shapes_by_name(want[i].name, &args), 0);
        ck_assert_uint_eq(args.shape_count, 1);
        ck_assert_int_eq(kvfi_bench_plan_make(&args, &args.shapes[0], &plan), 0);
        ck_assert_uint_eq(plan.run_bytes, want[i].pieces * want[i].piece);
        ck_assert_uint_eq(plan.batches, 8);
        ck_assert_uint_eq(plan.shape.pieces, want[i].pieces);
        ck_assert_uint_eq(plan.shape.piece, want[i].piece);
        ck_assert_uint_eq(plan.box_count, 1);
        kvfi_bench_plan_free(&plan);
        free(args.shapes);
    }
    struct bench_args sweep = args_of(0, 1, 1, 1);
    ck_assert_int_eq(kvfi_bench_shapes_by_name("w10", &sweep), 0);
    ck_assert_uint_eq(sweep.shape_count, 15);
    for (size_t i = 0; i < sweep.shape_count; i++) {
        ck_assert_uint_eq(sweep.shapes[i].piece * sweep.shapes[i].pieces, UINT64_C(320) << 20);
    }
    free(sweep.shapes);
    struct bench_args wide = args_of(0, 1, 1, 1);
    ck_assert_int_eq(kvfi_bench_shapes_of_sweep(&wide), 0);
    ck_assert_uint_eq(wide.shape_count, 17);
    ck_assert_uint_eq(wide.shapes[0].piece, 256);
    ck_assert_uint_eq(wide.shapes[16].piece, UINT64_C(16) << 20);
    for (size_t i = 0; i < wide.shape_count; i++) {
        ck_assert_uint_eq(wide.shapes[i].piece * wide.shapes[i].pieces, UINT64_C(128) << 20);
    }
    free(wide.shapes);
}
END_TEST

START_TEST(a_small_case_is_cold_unless_hot)
{
    struct bench_shape shape = own(4096, 100, 1);
    struct bench_args cold = args_of(0, 4, 1, 1), hot = args_of(HOT, 4, 1, 1);
    struct bench_plan plan;

    ck_assert_int_eq(kvfi_bench_plan_make(&cold, &shape, &plan), 0);
    ck_assert_uint_ge(plan.dest_bytes, UINT64_C(128) << 20);
    ck_assert_uint_eq(plan.per, 100);
    ck_assert_uint_eq(plan.moved, plan.batches * 100);
    kvfi_bench_plan_free(&plan);
    ck_assert_int_eq(kvfi_bench_plan_make(&hot, &shape, &plan), 0);
    ck_assert_uint_le(plan.dest_bytes, 512 << 10);
    ck_assert_uint_ge(plan.batches, 100);
    kvfi_bench_plan_free(&plan);
}
END_TEST

/* The larger side decides; one layer stands for all where pieces stay as they are. */
START_TEST(a_hot_case_is_as_large_as_it_is_asked_for)
{
    static const struct {
        const char *name;
        uint64_t hot, source_bytes, pieces;
    } want[] = {{"W3", HOT, HOT, 32},
                {"W3", UINT64_C(8) << 20, UINT64_C(7864320), 480},
                {"W4", HOT, HOT, 512},
                {"W6", HOT, 1310720, 1},
                {"W6", UINT64_C(8) << 20, UINT64_C(7864320), 6}};

    for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
        struct bench_args args = args_of(want[i].hot, 1, 1, 1);
        struct bench_plan plan;
        ck_assert_int_eq(kvfi_bench_shapes_by_name(want[i].name, &args), 0);
        ck_assert_int_eq(kvfi_bench_plan_make(&args, &args.shapes[0], &plan), 0);
        ck_assert_uint_eq(plan.source_bytes, want[i].source_bytes);
        ck_assert_uint_eq(plan.shape.pieces, want[i].pieces);
        ck_assert_uint_eq(plan.shape.piece, args.shapes[0].piece);
        kvfi_bench_plan_free(&plan);
        free(args.shapes);
    }
}
END_TEST

START_TEST(batches_cover_a_large_case_once)
{
    struct bench_shape shape = own(65536, 10007, 1);
    struct bench_args args = args_of(0, 8, 1, 1);
    struct bench_plan plan;
    uint64_t next = 0;

    ck_assert_int_eq(kvfi_bench_plan_make(&args, &shape, &plan), 0);
    for (uint64_t batch = 0; batch < plan.batches; batch++) {
        ck_assert_uint_eq(kvfi_bench_batch_first(&plan, batch), next);
        next += kvfi_bench_batch_blocks(&plan, batch);
    }
    ck_assert_uint_eq(next, 10007);
    kvfi_bench_plan_free(&plan);
    shape.pieces = shape.blocks = 3;
    shape.piece = UINT64_C(1) << 30;
    ck_assert_int_eq(kvfi_bench_plan_make(&args, &shape, &plan), -1);
    ck_assert(strncmp(kvfi_cli_error(), "--depth: ", 9) == 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bench_plan");
    TCase *all = tcase_create("all");

    tcase_add_loop_test(all, a_right_copy_is_right_and_a_wrong_byte_is_counted, 0,
                        (int)(sizeof(sizes) / sizeof(sizes[0])));
    tcase_add_loop_test(all, the_shapes_of_models_are_judged_alike, 0, 2 * 8);
    tcase_add_test(all, a_piece_that_never_came_is_wrong);
    tcase_add_test(all, two_pieces_in_each_others_place_are_wrong);
    tcase_add_test(all, the_ids_are_a_permutation_and_differ_between_the_sides);
    tcase_add_test(all, the_fixed_shapes_move_what_their_names_say);
    tcase_add_test(all, a_small_case_is_cold_unless_hot);
    tcase_add_test(all, a_hot_case_is_as_large_as_it_is_asked_for);
    tcase_add_test(all, batches_cover_a_large_case_once);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
