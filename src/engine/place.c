/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Off the processor of a neighbour, and back: see place.h. What the kernel says of the time that
 * the thread waited for a processor tells whether it is worth it; where the kernel does not say,
 * it is taken to be. A move costs some tens of microseconds, so there is one in some milliseconds
 * at most. Nothing waits.
 */
#define _GNU_SOURCE
#include "engine/place.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "base/status.h"

#define MOVE_NS   UINT64_C(2000000)    /* from one move to the next, at least */
#define WATCH_NS  UINT64_C(10000000)   /* from look to look at how long it waited */
#define STALE_NS  UINT64_C(1000000000) /* who was there may be gone, what was busy free */
#define WORTH(ns) ((ns) / 4)           /* waiting longer in ns is not worth it */

void kvfi_place_find(kvfi_place_t *place)
{
    memset(place, 0, sizeof *place);
    kvfi_mask_find(&place->mask);
}

static uint64_t waited_ns(void)
{
    FILE *file = fopen("/proc/thread-self/schedstat", "re");
    unsigned long long ran, waited = 0;

    if (!file)
        return 0;
    if (fscanf(file, "%llu %llu", &ran, &waited) != 2)
        waited = 0;
    fclose(file);
    return waited;
}

static void go_back(kvfi_place_t *place)
{
    if (!kvfi_mask_return(&place->mask))
        place->away = 0;
}

static void leave(kvfi_place_t *place, unsigned cpu, uint64_t now_ns)
{
    int error = kvfi_mask_leave(&place->mask, cpu);

    place->next_ns = now_ns + MOVE_NS;
    if (error > 0)
        kvfi_log(KVFI_LOG_INFO, "the progress thread stays on a neighbour's processor: %s", strerror(error));
    if (error)
        return;
    place->away = 1;
    place->since_ns = now_ns;
    place->waited_ns = waited_ns();
}

/* Is it better off where it went? */
static void watch(kvfi_place_t *place, uint64_t now_ns)
{
    uint64_t window = now_ns - place->since_ns, waited;

    if (window < WATCH_NS)
        return;
    waited = waited_ns();
    if (window > STALE_NS) {
        go_back(place);
    } else if (waited - place->waited_ns > WORTH(window)) {
        go_back(place);
        place->next_ns = now_ns + STALE_NS;
    }
    place->since_ns = now_ns;
    place->waited_ns = waited;
}

void kvfi_place_look(kvfi_place_t *place, int cpu, uint64_t now_ns)
{
    if (place->away)
        watch(place, now_ns);
    if (cpu >= 0 && now_ns >= place->next_ns && sched_getcpu() == cpu)
        leave(place, (unsigned)cpu, now_ns);
}
