/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The pattern of two cuts: walks one period state by state, makes runs where both sides go on side
 * by side, spans of runs that keep their distances inside a pair of blocks, and forms of spans that
 * look the same. Called when a plan is made; what a request makes of it is bind.c's matter.
 */
#include <stdlib.h>
#include <string.h>

#include "kv/pattern.h"

#define PERIOD_MAX (UINT64_C(1) << 20)

/* A span at its place, while the period is walked. */
typedef struct found {
    kvfi_span_t span;
    kvfi_meet_t meet;
} found_t;

typedef struct walk {
    found_t *found;
    size_t count, cap;
} walk_t;

/* Where a side keeps a state. */
typedef struct spot {
    uint32_t entry, state;
} spot_t;

kvfi_cut_t kvfi_kv_cut(const kvf_group_t *group)
{
    return (kvfi_cut_t){
        .states = kvfi_kv_states(group),
        .ranks = group->cp_ranks,
        .rank = group->cp_rank,
        .dealt = group->cp_tokens / group->tokens_per_state,
    };
}

uint64_t kvfi_kv_cut_span(const kvfi_cut_t *cut)
{
    if (cut->ranks == 1)
        return cut->states;
    return cut->ranks * (cut->dealt > cut->states ? cut->dealt : cut->states);
}

static bool find_spot(const kvfi_cut_t *cut, uint64_t at, spot_t *spot_p)
{
    if (cut->ranks > 1) {
        if (at / cut->dealt % cut->ranks != cut->rank)
            return false;
        at = at / (cut->dealt * cut->ranks) * cut->dealt + at % cut->dealt;
    }
    *spot_p = (spot_t){(uint32_t)(at / cut->states), (uint32_t)(at % cut->states)};
    return true;
}

/* Whether run continues last: equal runs at equal distances, in the same two blocks. */
static bool continues(const found_t *last, const found_t *run)
{
    const kvfi_span_t *s = &last->span;
    uint32_t n = s->count;
    uint32_t src = run->span.src_state - s->src_state, dst = run->span.dst_state - s->dst_state;
    uint64_t step = run->meet.from - last->meet.from;

    if (last->meet.src_entry != run->meet.src_entry || last->meet.dst_entry != run->meet.dst_entry ||
        s->len != run->span.len)
        return false;
    return n == 1 || (src == n * s->src_step && dst == n * s->dst_step && step == n * s->step);
}

static kvf_status_t add_run(walk_t *w, const found_t *run)
{
    found_t *last = w->count > 0 ? &w->found[w->count - 1] : NULL;

    if (last != NULL && continues(last, run)) {
        kvfi_span_t *s = &last->span;

        if (s->count == 1) {
            s->src_step = run->span.src_state - s->src_state;
            s->dst_step = run->span.dst_state - s->dst_state;
            s->step = (uint32_t)(run->meet.from - last->meet.from);
        }
        s->count++;
        last->meet.to = run->meet.to;
        return KVF_OK;
    }
    if (w->count == w->cap) {
        size_t cap = w->cap == 0 ? 16 : 2 * w->cap;
        found_t *more = realloc(w->found, cap * sizeof(*more));

        if (more == NULL)
            return KVF_ERR_NOMEM;
        w->found = more;
        w->cap = cap;
    }
    w->found[w->count++] = *run;
    return KVF_OK;
}

static kvf_status_t walk_period(walk_t *w, const kvfi_cut_t *src, const kvfi_cut_t *dst, uint32_t replicas,
                                uint32_t replica, uint64_t period)
{
    kvf_status_t status = KVF_OK;
    found_t run = {0};

    for (uint64_t at = 0; at < period && status == KVF_OK; at++) {
        spot_t s, d;

        if (!find_spot(src, at, &s) || !find_spot(dst, at, &d) || d.entry % replicas != replica)
            continue;
        if (run.span.len > 0 && run.meet.to == at && run.meet.src_entry == s.entry &&
            run.meet.dst_entry == d.entry && run.span.src_state + run.span.len == s.state &&
            run.span.dst_state + run.span.len == d.state) {
            run.span.len++;
            run.meet.to++;
            continue;
        }
        if (run.span.len > 0)
            status = add_run(w, &run);
        run = (found_t){.span = {.src_state = s.state, .dst_state = d.state, .len = 1, .count = 1},
                        .meet = {.from = at, .to = at + 1, .src_entry = s.entry, .dst_entry = d.entry}};
    }
    if (status == KVF_OK && run.span.len > 0)
        status = add_run(w, &run);
    return status;
}

static int by_form(const void *a, const void *b)
{
    const found_t *x = a, *y = b;
    int order = memcmp(&x->span, &y->span, sizeof(x->span));

    if (order != 0)
        return order;
    return x->meet.from < y->meet.from ? -1 : x->meet.from > y->meet.from;
}

static kvf_status_t gather_forms(const walk_t *w, kvfi_pattern_t *pattern)
{
    pattern->forms = calloc(w->count, sizeof(*pattern->forms));
    pattern->meets = calloc(w->count, sizeof(*pattern->meets));
    if (pattern->forms == NULL || pattern->meets == NULL)
        return KVF_ERR_NOMEM;
    qsort(w->found, w->count, sizeof(*w->found), by_form);
    for (size_t i = 0; i < w->count; i++) {
        kvfi_form_t *form = pattern->forms + pattern->form_count;

        if (i == 0 || memcmp(&w->found[i].span, &w->found[i - 1].span, sizeof(w->found[i].span)) != 0) {
            *form = (kvfi_form_t){.span = w->found[i].span, .first = (uint32_t)i};
            pattern->form_count++;
        }
        pattern->forms[pattern->form_count - 1].count++;
        pattern->meets[i] = w->found[i].meet;
    }
    pattern->meet_count = (uint32_t)w->count;
    return KVF_OK;
}

uint64_t kvfi_kv_common_multiple(uint64_t a, uint64_t b)
{
    uint64_t x = a, y = b, product;

    while (y != 0) {
        uint64_t rest = x % y;

        x = y;
        y = rest;
    }
    return __builtin_mul_overflow(a / x, b, &product) ? UINT64_MAX : product;
}

kvf_status_t kvfi_kv_pattern_make(const kvfi_cut_t *src, const kvfi_cut_t *dst, uint32_t replicas,
                                  uint32_t replica, kvfi_pattern_t *pattern_p)
{
    bool plain = replicas == 1 && src->states == dst->states && src->ranks == 1 && dst->ranks == 1;
    uint64_t period = kvfi_kv_cut_span(dst);
    walk_t w = {0};
    kvf_status_t status;

    *pattern_p = (kvfi_pattern_t){0};
    if (!plain)
        period = __builtin_mul_overflow(period, (uint64_t)replicas, &period)
                     ? UINT64_MAX
                     : kvfi_kv_common_multiple(kvfi_kv_cut_span(src), period);
    if (!plain && period > PERIOD_MAX)
        return kvfi_fail(KVF_ERR_UNSUPPORTED,
                         "plan: blocks of %llu and %llu states, dealt over %llu and %llu ranks, "
                         "with %u replicas repeat only after more than %llu states",
                         (unsigned long long)src->states, (unsigned long long)dst->states,
                         (unsigned long long)src->ranks, (unsigned long long)dst->ranks, replicas,
                         (unsigned long long)PERIOD_MAX);
    pattern_p->period = period;
    pattern_p->src_entries = (uint32_t)(period / src->ranks / src->states);
    pattern_p->dst_entries = (uint32_t)(period / dst->ranks / dst->states);
    /* Block for block: one form, however large the blocks are. */
    if (plain)
        status =
            add_run(&w, &(found_t){.span = {.len = (uint32_t)period, .count = 1}, .meet = {.to = period}});
    else
        status = walk_period(&w, src, dst, replicas, replica, period);
    if (status == KVF_OK && w.count > 0)
        status = gather_forms(&w, pattern_p);
    free(w.found);
    if (status != KVF_OK) {
        kvfi_kv_pattern_free(pattern_p);
        return kvfi_fail(status, "plan: no memory for a pattern of %llu states", (unsigned long long)period);
    }
    return KVF_OK;
}

void kvfi_kv_pattern_free(kvfi_pattern_t *pattern)
{
    free(pattern->forms);
    free(pattern->meets);
    *pattern = (kvfi_pattern_t){0};
}
