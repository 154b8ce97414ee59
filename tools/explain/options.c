/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The command line of kvf_explain, but for the options of a side, which ../side_opts.c reads for all
 * tools. What the model makes of the values, such as a rank
 * or a layer that is not there, is sides.c's matter.
 */
#include "config.h"

#include "explain.h"

#include <stdlib.h>
#include <string.h>

#include "../cli.h"

static const char help_text[] =
    "Usage: kvf_explain [OPTION]...\n"
    "Say what moving a request's KV cache from one set of ranks to another takes: groups, ops, pieces,\n"
    "why pieces are as small as they are, and what would make them longer. Needs no job.\n"
    "\n"
    "What is moved\n"
    "  --model NAME            whose KV cache (llama-3.1-8b); an unknown name lists the known ones\n"
    "  --tokens N              tokens of the request (8192)\n"
    "  --layers A-B            only these layers, by id; A alone is one layer\n"
    "\n"
    "From and to where; --layout and --block-tokens set both sides\n"
    "  --src-layout NAME       how blocks lie in memory (LBHNC); an unknown name lists the known ones\n"
    "  --dst-layout NAME\n"
    "  --src-tp N              ranks that share a layer's heads (1)\n"
    "  --dst-tp N\n"
    "  --src-pp N              stages that share the layers (1)\n"
    "  --dst-pp N\n"
    "  --src-cp N              ranks over which blocks of tokens are dealt, one after the other (1);\n"
    "  --dst-cp N              rank = (stage * cp + turn) * tp + place\n"
    "  --src-block-tokens N    tokens a block (16; 64 for MLA)\n"
    "  --dst-block-tokens N\n"
    "  --src-rank N            only pairs with this rank\n"
    "  --dst-rank N\n"
    "  --op read|write         who posts: the destination or the source (read)\n"
    "\n"
    "Running it\n"
    "  --analyze               move it, too, under mpirun, and show what it took beside what was predicted:\n"
    "                          1 or 2 processes run the first pair, one for each rank of both sides all\n"
    "  --path NAME             over this path: auto, self, shm, adopt, cma, stage or am (auto)\n"
    "  --memory KIND           pool (the library's), own (the program's) or adopt; own for cma and stage,\n"
    "                          else pool\n"
    "  --net NAME              wire between nodes: auto, tcp, rc or ud (auto)\n"
    "  --reps N                runs (5)\n"
    "  --seed N                of contents and block tables (1)\n"
    "\n"
    "Report\n"
    "  --json FILE             one JSON object; - is standard output, people then read standard error\n"
    "  --help or -h, --version\n"
    "\n"
    "Exit code: 0 it was explained, and run right; 1 it cannot be, or bytes were wrong; 2 the command\n"
    "line is wrong.\n";

void kvfi_explain_usage(FILE *file)
{
    fputs(help_text, file);
}

enum {
    OPT_MODEL = 256,
    OPT_TOKENS,
    OPT_LAYERS,
    OPT_OP,
    OPT_JSON,
    OPT_HELP,
    OPT_VERSION,
    OPT_ANALYZE,
    OPT_PATH,
    OPT_MEMORY,
    OPT_NET,
    OPT_REPS,
    OPT_SEED, /* of the run alone */
    OPT_RANK = 300,
    OPT_CP = 310 /* and the side */
};

static const struct option longs[] = {
    {"model", required_argument, NULL, OPT_MODEL},
    {"tokens", required_argument, NULL, OPT_TOKENS},
    {"layers", required_argument, NULL, OPT_LAYERS},
    KVFI_SIDE_LONGS,
    {"src-cp", required_argument, NULL, OPT_CP + EXPLAIN_SOURCE},
    {"dst-cp", required_argument, NULL, OPT_CP + EXPLAIN_DEST},
    {"src-rank", required_argument, NULL, OPT_RANK + EXPLAIN_SOURCE},
    {"dst-rank", required_argument, NULL, OPT_RANK + EXPLAIN_DEST},
    {"op", required_argument, NULL, OPT_OP},
    {"analyze", no_argument, NULL, OPT_ANALYZE},
    {"path", required_argument, NULL, OPT_PATH},
    {"memory", required_argument, NULL, OPT_MEMORY},
    {"net", required_argument, NULL, OPT_NET},
    {"reps", required_argument, NULL, OPT_REPS},
    {"seed", required_argument, NULL, OPT_SEED},
    {"json", required_argument, NULL, OPT_JSON},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {NULL, 0, NULL, 0},
};

static int take_layers(const char *text, struct explain_opts *opts)
{
    char first[32];
    const char *dash = strchr(text, '-');
    size_t len = dash != NULL ? (size_t)(dash - text) : strlen(text);
    uint64_t last;

    if (len >= sizeof(first)) {
        return kvfi_cli_fail("--layers: \"%s\" is not a range such as 0-39", text);
    }
    memcpy(first, text, len);
    first[len] = '\0';
    if (kvfi_cli_count("--layers", first, 0, UINT32_MAX - 1, &opts->first_layer) != 0) {
        return -1;
    }
    last = opts->first_layer;
    if (dash != NULL && kvfi_cli_count("--layers", dash + 1, opts->first_layer, UINT32_MAX - 1, &last) != 0) {
        return -1;
    }
    opts->layer_count = last - opts->first_layer + 1;
    return 0;
}

static int take_path(const char *text, struct explain_opts *opts)
{
    static const struct {
        const char *name;
        kvf_path_t path;
        enum explain_memory memory;
    } known[] = {{"auto", KVF_PATH_NONE, EXPLAIN_MEMORY_POOL}, {"self", KVF_PATH_SELF, EXPLAIN_MEMORY_POOL},
                 {"shm", KVF_PATH_SHM, EXPLAIN_MEMORY_POOL},   {"adopt", KVF_PATH_SHM, EXPLAIN_MEMORY_ADOPT},
                 {"cma", KVF_PATH_CMA, EXPLAIN_MEMORY_OWN},    {"stage", KVF_PATH_STAGE, EXPLAIN_MEMORY_OWN},
                 {"am", KVF_PATH_AM, EXPLAIN_MEMORY_POOL}};
    const char *names[sizeof(known) / sizeof(known[0])];
    size_t count = sizeof(known) / sizeof(known[0]), index;

    for (size_t i = 0; i < count; i++) {
        names[i] = known[i].name;
    }
    if (kvfi_cli_choice("--path", text, names, count, &index) != 0) {
        return -1;
    }
    opts->path = index == 0 ? 0 : KVF_PATH_BIT(known[index].path);
    opts->memory = opts->memory_said ? opts->memory : known[index].memory;
    return 0;
}

/* What is of the run alone. */
static int take_run(int option, const char *text, struct explain_opts *opts)
{
    static const char *const nets[] = {"auto", "tcp", "rc", "ud"};
    static const char *const memories[] = {"pool", "own", "adopt"}; /* as the enum has them */
    size_t index;

    switch (option) {
    case OPT_PATH:
        return take_path(text, opts);
    case OPT_MEMORY:
        opts->memory_said = true;
        if (kvfi_cli_choice("--memory", text, memories, 3, &index) != 0) {
            return -1;
        }
        opts->memory = (enum explain_memory)index;
        return 0;
    case OPT_NET:
        opts->net = text;
        return kvfi_cli_choice("--net", text, nets, 4, &index);
    case OPT_REPS:
        return kvfi_cli_count("--reps", text, 1, 10000, &opts->reps);
    default:
        return kvfi_cli_count("--seed", text, 0, UINT64_MAX, &opts->seed);
    }
}

static int take_value(int option, const char *text, struct explain_opts *opts)
{
    static const char *const ops[] = {"read", "write"};
    size_t index;
    int rc = 0;

    switch (option) {
    case OPT_MODEL:
        opts->model = text;
        break;
    case OPT_TOKENS:
        rc = kvfi_cli_count("--tokens", text, 1, 1 << 28, &opts->tokens);
        break;
    case OPT_LAYERS:
        rc = take_layers(text, opts);
        break;
    case OPT_OP:
        rc = kvfi_cli_choice("--op", text, ops, 2, &index);
        opts->dir = rc == 0 && index == 1 ? KVF_WRITE : KVF_READ;
        break;
    case OPT_JSON:
        opts->json = text;
        break;
    case OPT_CP + EXPLAIN_SOURCE:
        rc = kvfi_cli_count("--src-cp", text, 1, EXPLAIN_RANKS_MAX, &opts->cp[0]);
        break;
    case OPT_CP + EXPLAIN_DEST:
        rc = kvfi_cli_count("--dst-cp", text, 1, EXPLAIN_RANKS_MAX, &opts->cp[1]);
        break;
    case OPT_RANK + EXPLAIN_SOURCE:
        rc = kvfi_cli_count("--src-rank", text, 0, EXPLAIN_RANKS_MAX - 1, &opts->rank[0]);
        break;
    case OPT_RANK + EXPLAIN_DEST:
        rc = kvfi_cli_count("--dst-rank", text, 0, EXPLAIN_RANKS_MAX - 1, &opts->rank[1]);
        break;
    default:
        rc = kvfi_side_opts_take(option, text, opts->end);
    }
    return rc;
}

int kvfi_explain_parse(int argc, char *const *argv, struct explain_opts *opts_p)
{
    struct explain_opts opts = {.model = "llama-3.1-8b",
                                .rank = {EXPLAIN_ANY, EXPLAIN_ANY},
                                .cp = {1, 1},
                                .tokens = 8192,
                                .dir = KVF_READ,
                                .reps = 5,
                                .seed = 1};
    const char *of_run = NULL;
    int option;

    kvfi_side_opts_init(opts.end);
    optind = 1;
    while ((option = kvfi_cli_next(argc, argv, longs)) != -1) {
        if (option == '?') {
            return -1;
        } else if (option == OPT_HELP) {
            opts.help = true;
        } else if (option == OPT_VERSION) {
            opts.version = true;
        } else if (option == OPT_ANALYZE) {
            opts.analyze = true;
        } else if (option >= OPT_PATH && option <= OPT_SEED) {
            of_run = option == OPT_PATH     ? "--path"
                     : option == OPT_MEMORY ? "--memory"
                     : option == OPT_NET    ? "--net"
                     : option == OPT_REPS   ? "--reps"
                                            : "--seed";
            if (take_run(option, optarg, &opts) != 0) {
                return -1;
            }
        } else if (take_value(option, optarg, &opts) != 0) {
            return -1;
        }
    }
    kvfi_side_opts_settle(opts.end);
    if (optind < argc) {
        return kvfi_cli_fail("\"%s\" is not an option", argv[optind]);
    }
    if (of_run != NULL && !opts.analyze) {
        return kvfi_cli_fail("%s needs --analyze", of_run);
    }
    *opts_p = opts;
    return 0;
}
