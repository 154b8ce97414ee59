/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The command line of kvf_bench. Every rank parses it alike; nothing is printed here but the usage.
 */
#include "config.h"

#include "bench.h"

#include <stdlib.h>
#include <string.h>

#include "../cli.h"

#define HOT_BYTES (UINT64_C(512) << 10)

struct own_shape {
    uint64_t piece, pieces, rows; /* 0: not said */
};

enum {
    OPT_SHAPE = 1000,
    OPT_PIECE,
    OPT_PIECES,
    OPT_ROWS,
    OPT_PATH,
    OPT_OP,
    OPT_NET,
    OPT_COPY_THREADS,
    OPT_BESIDE,
    OPT_AWAIT,
    OPT_GAP,
    OPT_PEER,
    OPT_SEGMENTS,
    OPT_MEMORY,
    OPT_DEPTH,
    OPT_REPS,
    OPT_HOT,
    OPT_SEED,
    OPT_SCALE,
    OPT_JSON,
    OPT_SWEEP,
    OPT_PLOT,
    OPT_HELP,
    OPT_VERSION
};

static const struct option longs[] = {{"shape", required_argument, NULL, OPT_SHAPE},
                                      {"piece", required_argument, NULL, OPT_PIECE},
                                      {"pieces", required_argument, NULL, OPT_PIECES},
                                      {"rows", required_argument, NULL, OPT_ROWS},
                                      {"path", required_argument, NULL, OPT_PATH},
                                      {"op", required_argument, NULL, OPT_OP},
                                      {"net", required_argument, NULL, OPT_NET},
                                      {"depth", required_argument, NULL, OPT_DEPTH},
                                      {"reps", required_argument, NULL, OPT_REPS},
                                      {"hot", optional_argument, NULL, OPT_HOT},
                                      {"seed", required_argument, NULL, OPT_SEED},
                                      {"scale", required_argument, NULL, OPT_SCALE},
                                      {"json", required_argument, NULL, OPT_JSON},
                                      {"peer", required_argument, NULL, OPT_PEER},
                                      {"segments", required_argument, NULL, OPT_SEGMENTS},
                                      {"sweep", no_argument, NULL, OPT_SWEEP},
                                      {"plot", required_argument, NULL, OPT_PLOT},
                                      {"copy-threads", required_argument, NULL, OPT_COPY_THREADS},
                                      {"beside", required_argument, NULL, OPT_BESIDE},
                                      {"await", required_argument, NULL, OPT_AWAIT},
                                      {"gap", required_argument, NULL, OPT_GAP},
                                      {"memory", required_argument, NULL, OPT_MEMORY},
                                      {"help", no_argument, NULL, OPT_HELP},
                                      {"version", no_argument, NULL, OPT_VERSION},
                                      {NULL, 0, NULL, 0}};

void kvfi_bench_usage(FILE *file)
{
    fputs("usage: kvf_bench --path self [OPTIONS]\n"
          "       mpirun -n 2 --bind-to none kvf_bench --path shm|cma|stage|am|auto [OPTIONS]\n"
          "       mpirun -n 2 --bind-to none kvf_bench --sweep --plot out.svg [OPTIONS]\n"
          "\n"
          "Moves scattered blocks between two memories over one path, compares every byte, and says\n"
          "how fast it was beside a floor measured in the same run: a memcpy loop over the same\n"
          "pieces, or a plain TCP connection for am. Other ways to do the same may run beside it.\n"
          "\n"
          "What is moved\n"
          "  --shape NAME[,NAME..]  one or more of these (default W2)\n"
          "      W1   pd-8b-lbhnc         16384 x 64 KiB, 512 blocks of 32 layers\n"
          "      W2   pd-70b-tp4-lbhnc    40960 x 16 KiB, 512 blocks of 80 layers\n"
          "      W3   pd-70b-tp4to8-hnd   40960 x 8 KiB, one head out of two\n"
          "      W4   pd-70b-tp4to8-nhd   655360 x 512 B, one head out of two, token by token\n"
          "      W5   mla-dsv3-n64        7808 x 72 KiB, 128 blocks of 61 layers\n"
          "      W6   pool-get-70b-bhlnc  512 x 640 KiB\n"
          "      W7   xlayer-8b           512 x 2 MiB\n"
          "      W8   layerwise-70b-tp4   80 steps of 512 x 16 KiB, a notification each: written,\n"
          "                               and how long after its last byte a layer is seen\n"
          "      W9   tiny                1 piece a batch, of 64 B to 4 KiB: latency\n"
          "      W10  frag-sweep          320 MiB in pieces of 256 B to 4 MiB\n"
          "  --piece BYTES          a shape of one's own: pieces of this size (K, M, G are understood)\n"
          "  --pieces N             how many; default as many as make 320 MiB\n"
          "  --rows N               pieces a block, far apart; default 1; must divide --pieces\n"
          "  --scale FRACTION       fewer blocks, such as 1/8, where memory is short\n"
          "  --hot[=BYTES]          few enough blocks to stay in the caches, many times over: at most\n"
          "                         512K a side, or so many bytes\n"
          "  --seed N               of the order of the blocks and of their contents; default 1\n"
          "How\n"
          "  --path NAME[,NAME..]   self, shm, cma, stage, am or auto (default), one after the other;\n"
          "                         what a path cannot serve is refused. am makes the other rank far,\n"
          "                         on one node too; adopt is shm with --memory adopt\n"
          "  --op read|write        rank 0 pulls from, or pushes to, rank 1; default read\n"
          "  --net NAME             auto (default), tcp, rc, ud: the wire of far peers\n"
          "  --segments one|per-layer  all layers in one segment (default), or each in its own where they\n"
          "                         are outermost: a grant of as many ranges, a batch of as many ops\n"
          "  --memory KIND          pool: the library's; own: the program's, registered; adopt: the\n"
          "                         program's, adopted; default own for cma and stage, else pool\n"
          "  --copy-threads N       of each engine, 0 to 64; default 0: copies run in the calling thread\n"
          "  --await wait|fd        of W8: the receiver is in kvf_stream_wait() (default), or sleeps in\n"
          "                         poll on the fd of the streams' channel\n"
          "  --gap US               of W8: the sender rests so long before each layer; default 0\n"
          "  --depth N[,N..]        batches under way, 1 to 64; default 1; each case at each of them\n"
          "  --reps N               repetitions of floor, case, peers, floor, 1 to 1000; default 5\n"
          "Beside it\n"
          "  --beside BYTES         the case once more in each repetition, one batch at a time, while a\n"
          "                         large batch of so many bytes is under way: how much it waits\n"
          "  --peer NAME[,NAME..]   besides the floor, in each repetition:\n"
          "      memcpy   a memcpy loop in one address space, the floor of the paths of one node\n"
          "      stream   as many bytes in the order that is best here: the ceiling of one core\n"
          "      cma      process_vm_readv or writev, 1024 pieces a call; always beside --path cma\n"
          "      mpi-shm  MPI_Get or MPI_Put in a window that MPI allocated, shared on one node\n"
          "      mpi-rma  the same in a window over memory that was there (mpirun --mca osc NAME)\n"
          "      ucx      ucp_get_nbx or ucp_put_nbx on whatever UCX chooses\n"
          "      socket   one plain TCP connection, the floor of am\n"
          "  --sweep                128 MiB in pieces of 256 B to 16 MiB over all paths, beside stream,\n"
          "                         mpi-shm, mpi-rma and ucx, 3 repetitions, unless options say\n"
          "                         otherwise; a path that does not work here is named and left out\n"
          "Out\n"
          "  --json FILE            one JSON line a case; - is standard output, without the table\n"
          "  --plot FILE.svg        a picture of size against rate, drawn by gnuplot; the figures\n"
          "                         lie beside it in FILE.dat\n"
          "  --help or -h, --version\n"
          "\n"
          "The exit code is 0 only if every byte was compared and right.\n",
          file);
}

static int parse_path(const char *name, struct bench_args *args)
{
    static const char *const names[] = {"auto", "self", "shm", "adopt", "cma", "stage", "am"};
    static const kvf_path_t paths[] = {KVF_PATH_NONE, KVF_PATH_SELF,  KVF_PATH_SHM, KVF_PATH_SHM,
                                       KVF_PATH_CMA,  KVF_PATH_STAGE, KVF_PATH_AM};
    size_t index;

    if (kvfi_cli_choice("--path", name, names, sizeof(names) / sizeof(names[0]), &index) != 0) {
        return -1;
    }
    for (size_t i = 0; i < args->way_count; i++) {
        if (strcmp(args->ways[i].name, names[index]) == 0) {
            return kvfi_cli_fail("--path: %s is there twice", name);
        }
    }
    args->ways[args->way_count++] =
        (struct bench_way){names[index], paths[index], strcmp(names[index], "adopt") == 0};
    return 0;
}

/* Comma by comma. */
static int parse_list(const char *list, int (*parse)(const char *, struct bench_args *),
                      struct bench_args *args)
{
    char *copy = strdup(list), *rest = copy, *name;
    int rc = copy == NULL ? kvfi_cli_fail("no memory") : 0;

    while (rc == 0 && (name = strsep(&rest, ",")) != NULL) {
        rc = parse(name, args);
    }
    free(copy);
    return rc;
}

static int parse_name(const char *what, const char *text, const char *const *names, size_t count,
                      const char **name_p)
{
    size_t index;

    if (kvfi_cli_choice(what, text, names, count, &index) != 0) {
        return -1;
    }
    *name_p = names[index];
    return 0;
}

static int parse_depth(const char *text, struct bench_args *args)
{
    const size_t most = sizeof(args->depths) / sizeof(args->depths[0]);

    if (args->depth_count == most) {
        return kvfi_cli_fail("--depth: at most %zu of them", most);
    }
    return kvfi_cli_count("--depth", text, 1, 64, &args->depths[args->depth_count++]);
}

/* What a second-level cache holds of both sides, unless it is said. */
static int parse_hot(const char *text, struct bench_args *args)
{
    args->hot = HOT_BYTES;
    return text == NULL ? 0 : kvfi_cli_size("--hot", text, 1, UINT64_C(1) << 40, &args->hot);
}

static int parse_op(const char *text, uint32_t *dir_p)
{
    static const char *const names[] = {"read", "write"};
    size_t index;

    if (kvfi_cli_choice("--op", text, names, 2, &index) != 0) {
        return -1;
    }
    *dir_p = index == 0 ? KVF_READ : KVF_WRITE;
    return 0;
}

static int parse_await(const char *text, struct bench_args *args)
{
    static const char *const names[] = {"wait", "fd"};
    size_t index;

    if (kvfi_cli_choice("--await", text, names, 2, &index) != 0) {
        return -1;
    }
    args->await_fd = index == 1;
    return 0;
}

static int parse_segments(const char *text, struct bench_args *args)
{
    static const char *const names[] = {"one", "per-layer"};
    size_t index;

    if (kvfi_cli_choice("--segments", text, names, 2, &index) != 0) {
        return -1;
    }
    args->per_layer = index == 1;
    return 0;
}

static int parse_memory(const char *text, struct bench_args *args)
{
    static const char *const names[] = {"pool", "own", "adopt"};
    static const enum bench_kind_of_memory kinds[] = {BENCH_MEMORY_POOL, BENCH_MEMORY_OWN,
                                                      BENCH_MEMORY_ADOPT};
    size_t index;

    if (kvfi_cli_choice("--memory", text, names, 3, &index) != 0) {
        return -1;
    }
    args->memory = kinds[index];
    return 0;
}

static int parse_one(int option, struct bench_args *args, struct own_shape *own)
{
    static const char *const nets[] = {"auto", "tcp", "rc", "ud"};

    switch (option) {
    case OPT_SHAPE:
        return parse_list(optarg, kvfi_bench_shapes_by_name, args);
    case OPT_PIECE:
        return kvfi_cli_size("--piece", optarg, 1, UINT64_C(1) << 40, &own->piece);
    case OPT_PIECES:
        return kvfi_cli_count("--pieces", optarg, 1, UINT64_C(1) << 31, &own->pieces);
    case OPT_ROWS:
        return kvfi_cli_count("--rows", optarg, 1, UINT64_C(1) << 20, &own->rows);
    case OPT_PATH:
        args->way_count = 0;
        return parse_list(optarg, parse_path, args);
    case OPT_OP:
        return parse_op(optarg, &args->dir);
    case OPT_NET:
        return parse_name("--net", optarg, nets, 4, &args->net);
    case OPT_SEGMENTS:
        return parse_segments(optarg, args);
    case OPT_MEMORY:
        return parse_memory(optarg, args);
    case OPT_COPY_THREADS:
        return kvfi_cli_count("--copy-threads", optarg, 0, 64, &args->copy_threads);
    case OPT_BESIDE:
        return kvfi_cli_size("--beside", optarg, UINT64_C(2) << 20, UINT64_C(1) << 40, &args->beside);
    case OPT_AWAIT:
        return parse_await(optarg, args);
    case OPT_GAP:
        return kvfi_cli_count("--gap", optarg, 0, 1000000, &args->gap_us);
    case OPT_PEER:
        return parse_list(optarg, kvfi_bench_peer_by_name, args);
    case OPT_DEPTH:
        args->depth_count = 0;
        return parse_list(optarg, parse_depth, args);
    case OPT_REPS:
        return kvfi_cli_count("--reps", optarg, 1, 1000, &args->reps);
    case OPT_SEED:
        return kvfi_cli_count("--seed", optarg, 0, UINT64_MAX, &args->seed);
    case OPT_SCALE:
        return kvfi_cli_fraction("--scale", optarg, &args->scale_num, &args->scale_den);
    case OPT_JSON:
        args->json = optarg;
        return 0;
    case OPT_SWEEP:
        args->sweep = true;
        return 0;
    case OPT_PLOT:
        args->plot = optarg;
        return 0;
    case OPT_HOT:
        return parse_hot(optarg, args);
    case OPT_HELP:
        args->help = true;
        return 0;
    case OPT_VERSION:
        args->version = true;
        return 0;
    default:
        return -1; /* the sentence is there */
    }
}

/* --piece, --pieces and --rows together make a shape. */
static int add_own(struct bench_args *args, struct own_shape *own)
{
    if (own->piece == 0) {
        if (own->pieces != 0 || own->rows != 0) {
            return kvfi_cli_fail("%s: needs --piece", own->pieces != 0 ? "--pieces" : "--rows");
        }
        if (args->shape_count != 0) {
            return 0;
        }
        return args->sweep ? kvfi_bench_shapes_of_sweep(args) : kvfi_bench_shapes_by_name("W2", args);
    }
    if (args->shape_count != 0) {
        return kvfi_cli_fail("--piece: not together with --shape");
    }
    own->rows = own->rows != 0 ? own->rows : 1;
    if (own->pieces == 0) {
        own->pieces = (UINT64_C(320) << 20) / own->piece / own->rows * own->rows;
        own->pieces = own->pieces != 0 ? own->pieces : own->rows;
    }
    if (own->pieces % own->rows != 0) {
        return kvfi_cli_fail("--rows: %llu does not divide the %llu pieces", (unsigned long long)own->rows,
                             (unsigned long long)own->pieces);
    }
    const struct bench_shape shape = {.name = "own",
                                      .long_name = "own",
                                      .piece = own->piece,
                                      .pieces = own->pieces,
                                      .blocks = own->pieces / own->rows,
                                      .tiny = own->pieces == 1};
    return kvfi_bench_shape_add(&shape, args);
}

/* What --sweep runs if nothing else is said. The paths are chosen where the job's size is known. */
static void fill_sweep(struct bench_args *args)
{
    static const struct bench_peer_kind *const usual[] = {&kvfi_bench_peer_stream, &kvfi_bench_peer_mpi_shm,
                                                          &kvfi_bench_peer_mpi_rma, &kvfi_bench_peer_ucx};

    args->reps = args->reps != 0 ? args->reps : 3;
    if (args->peer_count == 0) {
        args->peer_count = sizeof(usual) / sizeof(usual[0]);
        memcpy(args->peers, usual, sizeof(usual));
    }
}

int kvfi_bench_parse(int argc, char *const *argv, struct bench_args *args_p)
{
    struct bench_args args = {.net = "auto", .seed = 1, .scale_num = 1, .scale_den = 1, .dir = KVF_READ};
    struct own_shape own = {0};
    int option, rc = 0;

    while (rc == 0 && (option = kvfi_cli_next(argc, argv, longs)) != -1) {
        rc = parse_one(option, &args, &own);
    }
    if (rc == 0 && optind < argc) {
        rc = kvfi_cli_fail("\"%s\" is not an option", argv[optind]);
    }
    if (rc == 0) {
        rc = add_own(&args, &own);
    }
    if (rc == 0 && args.sweep) {
        fill_sweep(&args);
    }
    args.reps = args.reps != 0 ? args.reps : 5;
    args.depths[0] = args.depth_count != 0 ? args.depths[0] : 1;
    args.depth_count = args.depth_count != 0 ? args.depth_count : 1;
    args.depth = args.depths[0];
    if (rc != 0) {
        kvfi_bench_args_free(&args);
        return -1;
    }
    *args_p = args;
    return 0;
}

void kvfi_bench_args_free(struct bench_args *args)
{
    free(args->shapes);
    args->shapes = NULL;
    args->shape_count = 0;
}
