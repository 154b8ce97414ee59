/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Whether cells at fixed strides share bytes, exactly and without listing them.
 *
 * Two cells share a byte if the distance of their starts lies in a small window. The distance is
 * the difference of the bases plus a sum of (difference of two indices) * stride, one term an
 * axis, so the question is whether a bounded sum of a few terms can fall into a window. Terms
 * are tried from the largest stride inwards, and of each only the values from which the rest can
 * still reach the window: two or three for anything that looks like an array. Strides made to be
 * hostile could take for ever, so there is a budget for two lattices and one for all that the caller
 * compares, and past either the answer is UNKNOWN.
 */
#include "kv/layout.h"

#define MAX_TERMS (2 * KVFI_AXIS_COUNT)
#define BUDGET    (1u << 20)

typedef struct term {
    kvfi_wide_t stride; /* above 0 */
    int64_t low, high;  /* of the index difference */
    unsigned axis;
} term_t;

typedef struct search {
    term_t terms[MAX_TERMS];
    unsigned term_count;
    kvfi_wide_t rest_min[MAX_TERMS + 1]; /* what the terms from here on can add */
    kvfi_wide_t rest_max[MAX_TERMS + 1];
    kvfi_wide_t low, high; /* the window, ends included */
    bool same;
    uint32_t budget;
    unsigned axis; /* first axis that differs, when found */
} search_t;

static void add_term(search_t *s, kvfi_wide_t stride, int64_t low, int64_t high, unsigned axis)
{
    unsigned at = s->term_count++;

    while (at > 0 && s->terms[at - 1].stride < stride) {
        s->terms[at] = s->terms[at - 1];
        at--;
    }
    s->terms[at] = (term_t){.stride = stride, .low = low, .high = high, .axis = axis};
}

static void add_terms(search_t *s, const kvfi_lattice_t *one, const kvfi_lattice_t *other)
{
    for (unsigned axis = 0; axis < KVFI_AXIS_COUNT; axis++) {
        int64_t n = (int64_t)one->count[axis] - 1, m = (int64_t)other->count[axis] - 1;

        /* An axis that both share is one term: that keeps the search narrow. */
        if (one->stride[axis] == other->stride[axis]) {
            if (n + m > 0)
                add_term(s, one->stride[axis], -m, n, axis);
            continue;
        }
        if (n > 0)
            add_term(s, one->stride[axis], 0, n, axis);
        if (m > 0)
            add_term(s, other->stride[axis], -m, 0, axis);
    }
    s->rest_min[s->term_count] = 0;
    s->rest_max[s->term_count] = 0;
    for (unsigned i = s->term_count; i-- > 0;) {
        s->rest_min[i] = s->rest_min[i + 1] + s->terms[i].low * s->terms[i].stride;
        s->rest_max[i] = s->rest_max[i + 1] + s->terms[i].high * s->terms[i].stride;
    }
}

static kvfi_wide_t div_floor(kvfi_wide_t a, kvfi_wide_t b)
{
    return a / b - (a % b < 0);
}

static kvfi_overlap_t descend(search_t *s, unsigned at, kvfi_wide_t distance, bool differs)
{
    if (at == s->term_count) {
        bool inside = distance >= s->low && distance <= s->high;

        return inside && (differs || !s->same) ? KVFI_OVERLAP_YES : KVFI_OVERLAP_NO;
    }
    if (s->budget == 0)
        return KVFI_OVERLAP_UNKNOWN;
    s->budget--;
    const term_t *term = &s->terms[at];
    kvfi_wide_t from = -div_floor(-(s->low - distance - s->rest_max[at + 1]), term->stride);
    kvfi_wide_t to = div_floor(s->high - distance - s->rest_min[at + 1], term->stride);

    if (from < term->low)
        from = term->low;
    if (to > term->high)
        to = term->high;
    for (kvfi_wide_t x = from; x <= to; x++) {
        kvfi_overlap_t found = descend(s, at + 1, distance + x * term->stride, differs || x != 0);

        if (found == KVFI_OVERLAP_YES && !differs && x != 0)
            s->axis = term->axis;
        if (found != KVFI_OVERLAP_NO)
            return found;
    }
    return KVFI_OVERLAP_NO;
}

kvfi_overlap_t kvfi_kv_overlap(const kvfi_lattice_t *one, const kvfi_lattice_t *other, unsigned *axis_p,
                               uint32_t *steps)
{
    uint32_t budget = *steps < BUDGET ? *steps : BUDGET;
    search_t s = {.same = one == other, .budget = budget};

    if (one->segment != other->segment)
        return KVFI_OVERLAP_NO;
    s.low = 1 - (kvfi_wide_t)one->content;
    s.high = (kvfi_wide_t)other->content - 1;
    add_terms(&s, one, other);
    kvfi_overlap_t found = descend(&s, 0, one->base - other->base, false);

    *steps -= budget - s.budget;
    if (axis_p != NULL)
        *axis_p = s.axis;
    return found;
}
