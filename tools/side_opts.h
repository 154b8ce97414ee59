/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The options that say what one side of a transfer is, --src-... and --dst-..., and those that say it
 * of both, --layout and --block-tokens: one reader for all tools. What was said of one side holds
 * against what was said of both, whatever the order. What the values mean to a model is the tool's
 * matter. Nothing here allocates or blocks.
 */
#ifndef KVFI_TOOLS_SIDE_OPTS_H
#define KVFI_TOOLS_SIDE_OPTS_H

#include <stdint.h>

enum {
    KVFI_SIDE_SRC,
    KVFI_SIDE_DST,
    KVFI_SIDES
};

/* What was said of one side; with each value that may come by two options, the one that it came by. */
struct kvfi_side_opts {
    const char *layout, *layout_option;
    uint64_t block_tokens; /* of a KV block; 0: the layout's own */
    const char *block_option;
    uint64_t tp, pp; /* ranks: tp * pp */
    const char *tp_option, *pp_option;
};

/* getopt's values of these options */
enum {
    KVFI_SIDE_OPT_FIRST = 2000,
    KVFI_SIDE_OPT_LAYOUT = KVFI_SIDE_OPT_FIRST,
    KVFI_SIDE_OPT_BLOCK_TOKENS = KVFI_SIDE_OPT_LAYOUT + KVFI_SIDES + 1,
    KVFI_SIDE_OPT_TP = KVFI_SIDE_OPT_BLOCK_TOKENS + KVFI_SIDES + 1,
    KVFI_SIDE_OPT_PP = KVFI_SIDE_OPT_TP + KVFI_SIDES + 1
};

/* Rows of a tool's table of options. Those of both sides have the number KVFI_SIDES. */
#define KVFI_SIDE_LONGS                                                                                      \
    {"layout", required_argument, NULL, KVFI_SIDE_OPT_LAYOUT + KVFI_SIDES},                                  \
        {"src-layout", required_argument, NULL, KVFI_SIDE_OPT_LAYOUT + KVFI_SIDE_SRC},                       \
        {"dst-layout", required_argument, NULL, KVFI_SIDE_OPT_LAYOUT + KVFI_SIDE_DST},                       \
        {"block-tokens", required_argument, NULL, KVFI_SIDE_OPT_BLOCK_TOKENS + KVFI_SIDES},                  \
        {"src-block-tokens", required_argument, NULL, KVFI_SIDE_OPT_BLOCK_TOKENS + KVFI_SIDE_SRC},           \
        {"dst-block-tokens", required_argument, NULL, KVFI_SIDE_OPT_BLOCK_TOKENS + KVFI_SIDE_DST},           \
        {"src-tp", required_argument, NULL, KVFI_SIDE_OPT_TP + KVFI_SIDE_SRC},                               \
        {"dst-tp", required_argument, NULL, KVFI_SIDE_OPT_TP + KVFI_SIDE_DST},                               \
        {"src-pp", required_argument, NULL, KVFI_SIDE_OPT_PP + KVFI_SIDE_SRC},                               \
    {                                                                                                        \
        "dst-pp", required_argument, NULL, KVFI_SIDE_OPT_PP + KVFI_SIDE_DST                                  \
    }

/* What is true where nothing is said: LBHNC, the layout's own block size, one rank. The last item is
 * what was said of both. */
void kvfi_side_opts_init(struct kvfi_side_opts sides[KVFI_SIDES + 1]);

/* Takes one of these options. 0, or -1 with a sentence in kvfi_cli_error(). The text stays argv's. */
int kvfi_side_opts_take(int option, const char *text, struct kvfi_side_opts sides[KVFI_SIDES + 1]);

/* After the last option: what a side was not told is what both were told. */
void kvfi_side_opts_settle(struct kvfi_side_opts sides[KVFI_SIDES + 1]);

#endif
