/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The options of one side of a transfer, and of both: side_opts.h says how they are read.
 */
#include "side_opts.h"

#include <stddef.h>

#include "cli.h"

#define MOST (1 << 20) /* ranks, and tokens of a block */

void kvfi_side_opts_init(struct kvfi_side_opts sides[KVFI_SIDES + 1])
{
    sides[KVFI_SIDE_SRC] =
        (struct kvfi_side_opts){NULL, "--src-layout", 0, "--src-block-tokens", 1, 1, "--src-tp", "--src-pp"};
    sides[KVFI_SIDE_DST] =
        (struct kvfi_side_opts){NULL, "--dst-layout", 0, "--dst-block-tokens", 1, 1, "--dst-tp", "--dst-pp"};
    sides[KVFI_SIDES] = (struct kvfi_side_opts){
        .layout = "LBHNC", .layout_option = "--layout", .block_option = "--block-tokens"};
}

int kvfi_side_opts_take(int option, const char *text, struct kvfi_side_opts sides[KVFI_SIDES + 1])
{
    int which = (option - KVFI_SIDE_OPT_FIRST) % (KVFI_SIDES + 1);
    struct kvfi_side_opts *side = &sides[which];

    switch (option - which) {
    case KVFI_SIDE_OPT_LAYOUT:
        side->layout = text;
        return 0;
    case KVFI_SIDE_OPT_BLOCK_TOKENS:
        return kvfi_cli_count(side->block_option, text, 1, MOST, &side->block_tokens);
    case KVFI_SIDE_OPT_TP:
        return kvfi_cli_count(side->tp_option, text, 1, MOST, &side->tp);
    default:
        return kvfi_cli_count(side->pp_option, text, 1, MOST, &side->pp);
    }
}

void kvfi_side_opts_settle(struct kvfi_side_opts sides[KVFI_SIDES + 1])
{
    const struct kvfi_side_opts *both = &sides[KVFI_SIDES];

    for (int i = 0; i < KVFI_SIDES; i++) {
        struct kvfi_side_opts *side = &sides[i];

        if (side->layout == NULL) {
            side->layout = both->layout;
            side->layout_option = both->layout_option;
        }
        if (side->block_tokens == 0) {
            side->block_tokens = both->block_tokens;
            side->block_option = both->block_option;
        }
    }
}
