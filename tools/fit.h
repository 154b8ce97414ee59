/*
 * Which number of tokens a block do the rows of a trace agree with?
 *
 * The number is not in the file, only its trace is: a row of L tokens in C ids was cut in blocks of
 * ceil(L/C) to floor((L-1)/(C-1)) tokens. This room collects what rows say and gives a verdict on
 * the number that was assumed. It leaves the reading and the wording to trace.c. It never blocks.
 */
#ifndef KVFI_TOOLS_FIT_H
#define KVFI_TOOLS_FIT_H

#include <stdint.h>

#define KVFI_FIT_POWERS 21 /* 1 to 2^20 tokens a block */

typedef struct {
    uint64_t rows;
    uint64_t good;                        /* rows that agree with the assumed number */
    uint64_t agree[KVFI_FIT_POWERS];      /* rows that agree with 2^k */
    uint64_t agree_only[KVFI_FIT_POWERS]; /* of those, the ones that the assumed number fails */
    uint64_t low, high;                   /* numbers that all rows agree with; none if low > high */
} kvfi_fit_t;

void kvfi_fit_init(kvfi_fit_t *fit);

/* Blocks of `block` tokens that `length` tokens fill. */
uint64_t kvfi_fit_blocks(uint64_t length, uint64_t block);

/* Hears a row of `length` tokens in `count` ids. Returns whether it agrees with `block`. */
int kvfi_fit_add(kvfi_fit_t *fit, uint64_t length, uint64_t count, uint64_t block);

/* The one power of two that a single row agrees with, or 0. */
uint64_t kvfi_fit_of_row(uint64_t length, uint64_t count);

/* The number that contradicts the assumed one, or 0. One row alone never does: it takes two that
 * the assumed number fails, more rows for the other number than for it, and more than half of all.
 * rows_p gets the rows that agree with the answer. */
uint64_t kvfi_fit_verdict(const kvfi_fit_t *fit, uint64_t *rows_p);

#endif
