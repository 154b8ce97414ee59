/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The command line of kvf_replay: options.h says what this room does. An option stands in three
 * places here: the help text, the table of getopt, and the table of what ranks compare.
 */
#include "config.h"

#include "options.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../cli.h"

static const char help_text[] =
    "Usage: mpirun -n P kvf_replay --trace FILE [OPTION]...\n"
    "Serve the requests of a trace from the KV memory of an MPI job's ranks. Prefill ranks hold pools of\n"
    "KV blocks and produce what a request misses; decode ranks pull each request's blocks through\n"
    "kvferry and check every byte. One rank alone is both.\n"
    "\n"
    "What is replayed\n"
    "  --trace FILE            requests, one JSON object a line, Mooncake or Qwen-Bailian;\n"
    "                          - is standard input\n"
    "  --requests N            only the first N\n"
    "  --skip-bad              count malformed lines and go on\n"
    "  --trace-block-tokens N  tokens a trace block stands for (512 for Mooncake, 16 for Qwen-Bailian)\n"
    "  --model NAME            whose KV cache (llama-3.1-8b); an unknown name lists the known ones\n"
    "  --layout NAME           how blocks lie in memory (LBHNC); an unknown name lists the known ones\n"
    "  --block-tokens N        tokens a KV block (16; 64 for MLA; never more than a trace block)\n"
    "  --scale A/B             move only that part: tokens of a trace block go first, then layers (1, or\n"
    "                          what the memory allows)\n"
    "  --speed S               max, or trace: when the trace says, trace:10: ten times as fast (max)\n"
    "  --max-seconds N         with --speed trace, the longest that it may take (86400)\n"
    "\n"
    "Two sides that differ: the source is prefill, the destination decode\n"
    "  --src-layout NAME, --dst-layout NAME            as --layout, one side only\n"
    "  --src-block-tokens N, --dst-block-tokens N      as --block-tokens, one side only\n"
    "  --src-tp N, --dst-tp N  ranks among which an instance deals the heads (1)\n"
    "  --src-pp N, --dst-pp N  stages among which it deals the layers (1)\n"
    "\n"
    "How\n"
    "  --prefill N             the first N ranks are prefill, the rest decode (one instance)\n"
    "  --blocks N              trace blocks in the pool of a prefill rank, least recently used go (4096, or\n"
    "                          what the memory allows)\n"
    "  --depth D               requests in flight at most, each decode rank (4)\n"
    "  --net NAME              wire between nodes: auto, tcp, rc or ud (auto)\n"
    "  --paths LIST            only these ways, such as shm,cma,am; with ^ in front, all but these\n"
    "  --no-pin                evict blocks even while they are read: shows that stale ones are caught\n"
    "  --seed N                of contents and of scattering (1)\n"
    "\n"
    "Checking\n"
    "  --verify HOW            all, sample (one block in eight) or none (all)\n"
    "  --inject FAULT          break one thing in one request, to see it found: flip, drop-op,\n"
    "                          swap-blocks, swap-heads, stale or wrong-plane\n"
    "\n"
    "Report\n"
    "  --json FILE             also as one JSON object; - is standard output, people read on standard error\n"
    "  --quiet                 no report for people, no progress bar\n"
    "  --help or -h, --version\n"
    "\n"
    "Exit code: 0 all requests were served and right, 1 they were not or could not be, 2 the command line\n"
    "or the trace is wrong. SIGINT and SIGTERM end the job in order, with a partial report and code 1.\n";

const char *const kvfi_replay_verify_names[] = {"all", "sample", "none"};
const char *const kvfi_replay_inject_names[] = {"none",       "flip",  "drop-op",    "swap-blocks",
                                                "swap-heads", "stale", "wrong-plane"};

enum {
    OPT_TRACE = 256,
    OPT_REQUESTS,
    OPT_SKIP_BAD,
    OPT_TRACE_BLOCK_TOKENS,
    OPT_MODEL,
    OPT_SCALE,
    OPT_PREFILL,
    OPT_BLOCKS,
    OPT_DEPTH,
    OPT_NET,
    OPT_PATHS,
    OPT_NO_PIN,
    OPT_SEED,
    OPT_VERIFY,
    OPT_INJECT,
    OPT_JSON,
    OPT_QUIET,
    OPT_HELP,
    OPT_VERSION,
    OPT_SPEED,
    OPT_MAX_SECONDS
};

static const struct option longs[] = {
    {"trace", required_argument, NULL, OPT_TRACE},
    {"requests", required_argument, NULL, OPT_REQUESTS},
    {"skip-bad", no_argument, NULL, OPT_SKIP_BAD},
    {"trace-block-tokens", required_argument, NULL, OPT_TRACE_BLOCK_TOKENS},
    {"model", required_argument, NULL, OPT_MODEL},
    KVFI_SIDE_LONGS,
    {"scale", required_argument, NULL, OPT_SCALE},
    {"speed", required_argument, NULL, OPT_SPEED},
    {"max-seconds", required_argument, NULL, OPT_MAX_SECONDS},
    {"prefill", required_argument, NULL, OPT_PREFILL},
    {"blocks", required_argument, NULL, OPT_BLOCKS},
    {"depth", required_argument, NULL, OPT_DEPTH},
    {"net", required_argument, NULL, OPT_NET},
    {"paths", required_argument, NULL, OPT_PATHS},
    {"no-pin", no_argument, NULL, OPT_NO_PIN},
    {"seed", required_argument, NULL, OPT_SEED},
    {"verify", required_argument, NULL, OPT_VERIFY},
    {"inject", required_argument, NULL, OPT_INJECT},
    {"json", required_argument, NULL, OPT_JSON},
    {"quiet", no_argument, NULL, OPT_QUIET},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {NULL, 0, NULL, 0},
};

/* ---------------------------------------------------------------- parsing */

static uint32_t path_bit(const char *name, size_t len)
{
    for (int path = 1; path < KVF_PATH_COUNT; path++) {
        const char *known = kvf_path_name((kvf_path_t)path);
        if (strlen(known) == len && strncmp(known, name, len) == 0) {
            return KVF_PATH_BIT(path);
        }
    }
    return 0;
}

static int parse_paths(const char *text, uint32_t *mask_p)
{
    uint32_t all = ((UINT32_C(1) << KVF_PATH_COUNT) - 1) & ~KVF_PATH_BIT(KVF_PATH_NONE), mask = 0;
    bool except = text[0] == '^';
    const char *at = text + except;

    for (;;) {
        size_t len = strcspn(at, ",");
        uint32_t bit = path_bit(at, len);
        if (bit == 0) {
            return kvfi_cli_fail("--paths: \"%.*s\" is no path: self, shm, cma, stage, cuda_ipc, "
                                 "cuda_copy, rma and am are",
                                 (int)len, at);
        }
        mask |= bit;
        if (at[len] == '\0') {
            break;
        }
        at += len + 1;
    }
    mask = except ? all & ~mask : mask;
    if (mask == 0) {
        return kvfi_cli_fail("--paths: \"%s\" leaves no path", text);
    }
    *mask_p = mask;
    return 0;
}

static int parse_choice(const char *what, const char *text, const char *const *names, size_t count,
                        int *value_p)
{
    size_t index;

    if (kvfi_cli_choice(what, text, names, count, &index) != 0) {
        return -1;
    }
    *value_p = (int)index;
    return 0;
}

/* "max", "trace", "trace:10" */
static int parse_speed(const char *text, uint64_t *speed_p)
{
    if (strcmp(text, "max") == 0) {
        *speed_p = 0;
    } else if (strcmp(text, "trace") == 0) {
        *speed_p = 1;
    } else if (strncmp(text, "trace:", 6) == 0) {
        return kvfi_cli_count("--speed", text + 6, 1, UINT32_MAX, speed_p);
    } else {
        return kvfi_cli_fail("--speed: \"%s\" is none of max, trace and trace:N", text);
    }
    return 0;
}

/* options that take a number or a text of their own */
static int take_value(int option, const char *text, struct replay_opts *opts)
{
    static const char *const nets[] = {"auto", "tcp", "rc", "ud"};
    int value = 0, rc;

    switch (option) {
    case OPT_TRACE:
        opts->trace = text;
        return 0;
    case OPT_MODEL:
        opts->model = text;
        return 0;
    case OPT_JSON:
        opts->json = text;
        return 0;
    case OPT_NET:
        opts->net = text;
        return parse_choice("--net", text, nets, 4, &value);
    case OPT_PATHS:
        return parse_paths(text, &opts->paths);
    case OPT_REQUESTS:
        return kvfi_cli_count("--requests", text, 1, UINT64_MAX, &opts->requests);
    case OPT_TRACE_BLOCK_TOKENS:
        return kvfi_cli_count("--trace-block-tokens", text, 1, 1 << 20, &opts->trace_block_tokens);
    case OPT_SPEED:
        return parse_speed(text, &opts->speed);
    case OPT_MAX_SECONDS:
        return kvfi_cli_count("--max-seconds", text, 1, 1000000000, &opts->max_seconds);
    case OPT_SCALE:
        return kvfi_cli_fraction("--scale", text, &opts->scale_num, &opts->scale_den);
    case OPT_PREFILL:
        return kvfi_cli_count("--prefill", text, 1, INT32_MAX, &opts->prefill);
    case OPT_BLOCKS:
        return kvfi_cli_count("--blocks", text, 1, UINT32_MAX, &opts->blocks);
    case OPT_DEPTH:
        return kvfi_cli_count("--depth", text, 1, 1024, &opts->depth);
    case OPT_SEED:
        return kvfi_cli_count("--seed", text, 0, UINT64_MAX, &opts->seed);
    case OPT_VERIFY:
        rc = parse_choice("--verify", text, kvfi_replay_verify_names, 3, &value);
        opts->verify = (enum replay_verify)value;
        return rc;
    case OPT_INJECT:
        rc = parse_choice("--inject", text, kvfi_replay_inject_names + 1, 6, &value);
        opts->inject = (enum replay_inject)(value + 1);
        return rc;
    default:
        return kvfi_side_opts_take(option, text, opts->side);
    }
}

int kvfi_replay_options_parse(int argc, char **argv, struct replay_opts *opts_p)
{
    struct replay_opts opts = {
        .model = "llama-3.1-8b",
        .depth = 4,
        .max_seconds = 86400,
        .seed = 1,
    };
    int option;

    kvfi_side_opts_init(opts.side);
    optind = 1;
    while ((option = kvfi_cli_next(argc, argv, longs)) != -1) {
        if (option == '?') {
            return -1;
        } else if (option == OPT_SKIP_BAD) {
            opts.skip_bad = true;
        } else if (option == OPT_NO_PIN) {
            opts.no_pin = true;
        } else if (option == OPT_QUIET) {
            opts.quiet = true;
        } else if (option != OPT_HELP && option != OPT_VERSION && take_value(option, optarg, &opts) != 0) {
            return -1;
        }
    }
    if (optind < argc) {
        return kvfi_cli_fail("\"%s\": no argument is expected here; the trace goes by --trace", argv[optind]);
    }
    if (opts.trace == NULL) {
        return kvfi_cli_fail("--trace FILE is needed");
    }
    if (opts.inject != REPLAY_INJECT_NONE && opts.verify != REPLAY_VERIFY_ALL) {
        return kvfi_cli_fail("--inject %s needs --verify all: nothing else is sure to find it",
                             kvfi_replay_inject_names[opts.inject]);
    }
    if (opts.inject == REPLAY_INJECT_STALE && opts.no_pin) {
        return kvfi_cli_fail("--inject stale and --no-pin: one at a time, or nobody can count");
    }
    kvfi_side_opts_settle(opts.side);
    *opts_p = opts;
    return 0;
}

bool kvfi_replay_options_help(int argc, char **argv)
{
    bool help = false, version = false, speaks = kvfi_cli_speaks();
    int option;

    optind = 1;
    while ((option = kvfi_cli_next(argc, argv, longs)) != -1) {
        help = help || option == OPT_HELP;
        version = version || option == OPT_VERSION;
    }
    if (speaks && help) {
        fputs(help_text, stdout);
    } else if (speaks && version) {
        printf("kvf_replay %s, UCX %s\n", kvf_version(), kvf_ucx_version());
    }
    return help || version;
}

/* -------------------------------------------------------------- comparing */

#define NAME_COUNT 27
#define VALUE_LEN  200

struct named_value {
    const char *name;
    char value[VALUE_LEN];
};

static void number_of(struct named_value *item, const char *name, uint64_t value)
{
    item->name = name;
    snprintf(item->value, sizeof(item->value), "%" PRIu64, value);
}

static void text_of(struct named_value *item, const char *name, const char *value)
{
    item->name = name;
    snprintf(item->value, sizeof(item->value), "%s", value != NULL ? value : "not given");
}

/* So many of the options that are compared are those of the sides. */
static int list_sides(const struct replay_opts *opts, struct named_value *item)
{
    int count = 0;

    for (int i = 0; i < REPLAY_SIDES; i++) {
        const struct kvfi_side_opts *side = &opts->side[i];
        text_of(&item[count++], side->layout_option, side->layout);
        number_of(&item[count++], side->block_option, side->block_tokens);
        number_of(&item[count++], side->tp_option, side->tp);
        number_of(&item[count++], side->pp_option, side->pp);
    }
    return count;
}

static void list_values(const struct replay_opts *opts, struct named_value item[NAME_COUNT])
{
    int at = list_sides(opts, item);

    text_of(&item[at++], "--trace", opts->trace);
    number_of(&item[at++], "--requests", opts->requests);
    number_of(&item[at++], "--skip-bad", opts->skip_bad);
    number_of(&item[at++], "--trace-block-tokens", opts->trace_block_tokens);
    text_of(&item[at++], "--model", opts->model);
    item[at].name = "--scale";
    snprintf(item[at++].value, VALUE_LEN, "%" PRIu64 "/%" PRIu64, opts->scale_num, opts->scale_den);
    number_of(&item[at++], "--speed", opts->speed);
    number_of(&item[at++], "--max-seconds", opts->max_seconds);
    number_of(&item[at++], "--prefill", opts->prefill);
    number_of(&item[at++], "--blocks", opts->blocks);
    number_of(&item[at++], "--depth", opts->depth);
    text_of(&item[at++], "--net", opts->net);
    number_of(&item[at++], "--paths", opts->paths);
    number_of(&item[at++], "--no-pin", opts->no_pin);
    number_of(&item[at++], "--seed", opts->seed);
    text_of(&item[at++], "--verify", kvfi_replay_verify_names[opts->verify]);
    text_of(&item[at++], "--inject", kvfi_replay_inject_names[opts->inject]);
    text_of(&item[at++], "--json", opts->json);
    number_of(&item[at++], "--quiet", opts->quiet);
}

int kvfi_replay_options_compare(struct replay_comm *comm, const struct replay_opts *opts)
{
    struct named_value mine[NAME_COUNT];
    char first[NAME_COUNT][VALUE_LEN], text[REPLAY_TEXT_LEN];
    int at = -1, code;

    memset(mine, 0, sizeof(mine));
    list_values(opts, mine);
    for (int i = 0; i < NAME_COUNT; i++) {
        memcpy(first[i], mine[i].value, VALUE_LEN);
    }
    kvfi_replay_bcast(comm, 0, first, sizeof(first));
    for (int i = NAME_COUNT - 1; i >= 0; i--) {
        at = strcmp(first[i], mine[i].value) != 0 ? i : at;
    }
    if (at >= 0) {
        kvfi_cli_fail("%s is %s here and %s on rank 0: all ranks must be given the same", mine[at].name,
                      mine[at].value, first[at]);
    }
    code = kvfi_replay_agree(comm, at >= 0, kvfi_cli_error(), text);
    return code != 0 ? kvfi_cli_fail("%s", text) : 0;
}
