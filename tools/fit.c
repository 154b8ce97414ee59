/*
 * The verdict on the number of tokens a block: see fit.h for what it hears and what it answers.
 *
 * Powers of two are counted one by one, so that some bad rows do not hide the answer; any other
 * number is found only where all rows agree, as the intersection of what each allows.
 */
#include "fit.h"

#define WHOLE 16 /* of several numbers that all rows agree with, a multiple of this is likeliest */

void kvfi_fit_init(kvfi_fit_t *fit)
{
    *fit = (kvfi_fit_t){.low = 1, .high = UINT64_MAX};
}

uint64_t kvfi_fit_blocks(uint64_t length, uint64_t block)
{
    return length / block + (length % block != 0);
}

static void range_of_row(uint64_t length, uint64_t count, uint64_t *low_p, uint64_t *high_p)
{
    *low_p = kvfi_fit_blocks(length, count);
    *high_p = count > 1 ? (length - 1) / (count - 1) : UINT64_MAX;
}

int kvfi_fit_add(kvfi_fit_t *fit, uint64_t length, uint64_t count, uint64_t block)
{
    int good = kvfi_fit_blocks(length, block) == count;
    uint64_t low, high;

    range_of_row(length, count, &low, &high);
    fit->rows++;
    fit->good += good;
    if (low > fit->low)
        fit->low = low;
    if (high < fit->high)
        fit->high = high;
    for (int k = 0; k < KVFI_FIT_POWERS; k++) {
        int agrees = low <= (UINT64_C(1) << k) && (UINT64_C(1) << k) <= high;

        fit->agree[k] += agrees;
        fit->agree_only[k] += agrees && !good;
    }
    return good;
}

uint64_t kvfi_fit_of_row(uint64_t length, uint64_t count)
{
    uint64_t low, high;

    if (count < 2)
        return 0;
    range_of_row(length, count, &low, &high);
    for (int k = 0; k < KVFI_FIT_POWERS; k++)
        if (low <= (UINT64_C(1) << k) && (UINT64_C(1) << k) <= high)
            return UINT64_C(1) << k;
    return 0;
}

uint64_t kvfi_fit_verdict(const kvfi_fit_t *fit, uint64_t *rows_p)
{
    uint64_t best = 0, block = 0, up;

    for (int k = 0; k < KVFI_FIT_POWERS; k++) {
        if (fit->agree[k] > best && fit->agree[k] > fit->good && fit->agree_only[k] >= 2 &&
            fit->agree[k] > fit->rows / 2) {
            best = fit->agree[k];
            block = UINT64_C(1) << k;
        }
    }
    if (block == 0 && fit->low <= fit->high && fit->rows - fit->good >= 2) {
        up = fit->low <= UINT64_MAX - WHOLE ? kvfi_fit_blocks(fit->low, WHOLE) * WHOLE : UINT64_MAX;
        block = up <= fit->high ? up : fit->low;
        best = fit->rows;
    }
    *rows_p = best;
    return block;
}
