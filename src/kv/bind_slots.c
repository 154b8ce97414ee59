/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Where the segments of a binding's two layouts lie, before bind.c walks the plan: ranges long enough,
 * and no two that share a byte. Two layouts that are right by themselves, laid over each other, would
 * move wrong bytes and say OK.
 *
 * The same places are bound again and again, for each request and for each layer. So the first array
 * that was found good is kept in the plan, and an array that equals it is good. An array that does
 * not is looked at in order of its handles and offsets, without memory unless it is very long.
 * Whether a range lies inside of the engine's segment is seen when the ops are posted.
 */
#include <stdlib.h>
#include <string.h>

#include "kv/bind.h"

#define FEW 1024 /* places that are sorted without memory */

enum {
    SEEN_NOTHING,
    SEEN_WRITING,
    SEEN_THERE
};

/* The places of one side. */
typedef struct slots {
    const kvf_bind_t *bind;
    const uint64_t *lens; /* of the layout's segments */
    uint32_t count;
    bool local;
} slots_t;

/* In memory of the engine, or of whoever granted it. */
typedef struct place {
    const void *handle;
    uint64_t off, end;
} place_t;

/* -------------------------------------------------------------------- seen */

kvfi_seen_t *kvfi_kv_seen_make(uint32_t count, size_t size)
{
    kvfi_seen_t *seen = calloc(1, sizeof(*seen));

    if (seen == NULL)
        return NULL;
    seen->copy = calloc(count, size);
    if (seen->copy == NULL) {
        free(seen);
        return NULL;
    }
    return seen;
}

void kvfi_kv_seen_free(kvfi_seen_t *seen)
{
    if (seen != NULL)
        free(seen->copy);
    free(seen);
}

static inline bool was_seen(kvfi_seen_t *seen, const void *array, size_t len)
{
    return atomic_load_explicit(&seen->state, memory_order_acquire) == SEEN_THERE &&
           memcmp(seen->copy, array, len) == 0;
}

static void see(kvfi_seen_t *seen, const void *array, size_t len, bool full)
{
    uint32_t nothing = SEEN_NOTHING;

    if (!atomic_compare_exchange_strong(&seen->state, &nothing, SEEN_WRITING))
        return;
    memcpy(seen->copy, array, len);
    seen->full = full;
    atomic_store_explicit(&seen->state, SEEN_THERE, memory_order_release);
}

/* ------------------------------------------------------------------- apart */

static inline place_t place_of(const slots_t *s, uint32_t i)
{
    if (!s->local)
        return (place_t){.handle = s->bind->remotes[i], .end = s->lens[i]};
    const kvf_bind_local_t *l = &s->bind->locals[i];

    return (place_t){l->segment, l->off, l->off + (l->len != 0 ? l->len : s->lens[i])};
}

static inline bool comes_after(const slots_t *s, uint32_t i, uint32_t j)
{
    place_t x = place_of(s, i), y = place_of(s, j);

    return x.handle != y.handle ? (uintptr_t)x.handle > (uintptr_t)y.handle : x.off > y.off;
}

static bool in_order(const slots_t *s)
{
    for (uint32_t i = 1; i < s->count; i++) {
        if (comes_after(s, i - 1, i))
            return false;
    }
    return true;
}

static void sift(const slots_t *s, uint32_t *order, uint32_t at, uint32_t count)
{
    uint32_t moved = order[at];

    for (uint32_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && comes_after(s, order[child + 1], order[child]))
            child++;
        if (!comes_after(s, order[child], moved))
            break;
        order[at] = order[child];
    }
    order[at] = moved;
}

/* A heap: qsort() may allocate. */
static void sort(const slots_t *s, uint32_t *order)
{
    for (uint32_t i = 0; i < s->count; i++)
        order[i] = i;
    for (uint32_t i = s->count / 2; i-- > 0;)
        sift(s, order, i, s->count);
    for (uint32_t last = s->count - 1; last > 0; last--) {
        uint32_t top = order[0];

        order[0] = order[last];
        order[last] = top;
        sift(s, order, 0, last);
    }
}

static kvf_status_t overlapping(const slots_t *s, uint32_t i, uint32_t j)
{
    uint32_t first = i < j ? i : j, second = i < j ? j : i;
    place_t x = place_of(s, first), y = place_of(s, second);

    if (!s->local)
        return kvfi_fail(KVF_ERR_INVALID,
                         "bind: remotes[%u] and remotes[%u] are one granted range: the two segments "
                         "of the layout would overlap",
                         first, second);
    return kvfi_fail(KVF_ERR_INVALID,
                     "bind: locals[%u] and locals[%u] overlap: bytes %llu to %llu and %llu to %llu of "
                     "one segment",
                     first, second, (unsigned long long)x.off, (unsigned long long)x.end,
                     (unsigned long long)y.off, (unsigned long long)y.end);
}

/* Along an order by handle and offset, that of the array itself if order is NULL. */
static kvf_status_t check_order(const slots_t *s, const uint32_t *order)
{
    place_t high = {.handle = NULL};
    uint32_t of = 0; /* the one that reaches furthest, of those on the handle at hand */

    for (uint32_t k = 0; k < s->count; k++) {
        uint32_t i = order != NULL ? order[k] : k;
        place_t at = place_of(s, i);

        if (at.handle == NULL || at.off == at.end)
            continue;
        if (at.handle == high.handle && at.off < high.end)
            return overlapping(s, of, i);
        high = at;
        of = i;
    }
    return KVF_OK;
}

static kvf_status_t check_apart(const slots_t *s)
{
    uint32_t few[FEW], *order = few;
    kvf_status_t status;

    if (in_order(s))
        return check_order(s, NULL);
    if (s->count > FEW)
        order = malloc(s->count * sizeof(*order));
    if (order == NULL)
        return kvfi_fail(KVF_ERR_NOMEM, "bind: no memory to sort %u segments", s->count);
    sort(s, order);
    status = check_order(s, order);
    if (order != few)
        free(order);
    return status;
}

/* ------------------------------------------------------------------- sides */

static inline kvf_status_t check_local(const kvf_bind_local_t *l, uint32_t i, uint64_t need)
{
    uint64_t len = l->len != 0 ? l->len : need;

    if (l->reserved[0] == 0 && len >= need && l->off <= UINT64_MAX - len)
        return KVF_OK;
    if (l->reserved[0] != 0)
        return kvfi_fail(KVF_ERR_INVALID, "bind: locals[%u]: reserved is not 0", i);
    if (len < need)
        return kvfi_fail(KVF_ERR_BOUNDS,
                         "bind: locals[%u]: len is %llu, segment %u of the layout has %llu bytes", i,
                         (unsigned long long)len, i, (unsigned long long)need);
    return kvfi_fail(KVF_ERR_BOUNDS, "bind: locals[%u]: off %llu and len %llu overflow 64 bits", i,
                     (unsigned long long)l->off, (unsigned long long)len);
}

/* An array that has not been seen, of more than one place. */
static __attribute__((noinline)) kvf_status_t check_new(const slots_t *s, kvfi_seen_t *seen,
                                                        const void *array, size_t len, bool *full_p)
{
    kvf_status_t status = KVF_OK;

    *full_p = true;
    for (uint32_t i = 0; i < s->count && status == KVF_OK; i++) {
        if (s->local)
            status = check_local(&s->bind->locals[i], i, s->lens[i]);
        *full_p = *full_p && place_of(s, i).handle != NULL;
    }
    if (status == KVF_OK)
        status = check_apart(s);
    if (status == KVF_OK)
        see(seen, array, len, *full_p);
    return status;
}

static inline kvf_status_t check_side(const slots_t *s, kvfi_seen_t *seen, const void *array, size_t len,
                                      bool *full_p)
{
    if (was_seen(seen, array, len)) {
        *full_p = seen->full;
        return KVF_OK;
    }
    return check_new(s, seen, array, len, full_p);
}

static __attribute__((noinline)) kvf_status_t check_locals(const kvfi_plan_end_t *end, const kvf_bind_t *bind,
                                                           bool *full_p)
{
    slots_t s = {bind, end->segment_len, end->segment_count, true};

    return check_side(&s, end->locals, bind->locals, s.count * sizeof(*bind->locals), full_p);
}

static __attribute__((noinline)) kvf_status_t check_remotes(const kvfi_plan_end_t *end,
                                                            const kvf_bind_t *bind, bool *full_p)
{
    slots_t s = {bind, end->segment_len, end->segment_count, false};

    return check_side(&s, end->remotes, bind->remotes, s.count * sizeof(*bind->remotes), full_p);
}

static kvf_status_t wrong_count(const char *side, bool null, uint32_t count, uint32_t need)
{
    if (null)
        return kvfi_fail(KVF_ERR_INVALID, "bind: %ss is NULL, the %s layout has %u segment%s", side, side,
                         need, need == 1 ? "" : "s");
    return kvfi_fail(KVF_ERR_INVALID, "bind: %s_count is %u, the %s layout has %u segment%s", side, count,
                     side, need, need == 1 ? "" : "s");
}

__attribute__((hot)) kvf_status_t kvfi_kv_bind_slots(const kvf_plan_t *plan, const kvf_bind_t *bind,
                                                     bool *full_p)
{
    bool read = bind->dir == KVF_READ, local_full, remote_full;
    const kvfi_plan_end_t *l = read ? &plan->dst : &plan->src, *r = read ? &plan->src : &plan->dst;
    const kvf_bind_local_t *locals = bind->locals;
    kvf_status_t status = KVF_OK;

    if (locals == NULL || bind->local_count != l->segment_count)
        return wrong_count("local", locals == NULL, bind->local_count, l->segment_count);
    if (bind->remotes == NULL || bind->remote_count != r->segment_count)
        return wrong_count("remote", bind->remotes == NULL, bind->remote_count, r->segment_count);
    if (l->segment_count > 1) {
        status = check_locals(l, bind, &local_full);
    } else {
        status = check_local(locals, 0, l->segment_len[0]);
        local_full = locals->segment != NULL;
    }
    remote_full = bind->remotes[0] != NULL;
    if (r->segment_count > 1 && status == KVF_OK)
        status = check_remotes(r, bind, &remote_full);
    *full_p = local_full && remote_full;
    return status;
}
