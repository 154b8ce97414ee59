/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The am machine as a driver: one object around it, whatever its carrier is.
 */
#include <stdlib.h>

#include "base/status.h"
#include "path/am.h"

typedef struct kvfi_am_driver {
    kvfi_driver_t driver; /* first */
    kvfi_am_t *am;
} kvfi_am_driver_t;

kvfi_am_t *kvfi_am_of(kvfi_driver_t *driver)
{
    return driver ? ((kvfi_am_driver_t *)driver)->am : NULL;
}

static int progress(kvfi_driver_t *driver, int wait)
{
    return kvfi_am_progress(kvfi_am_of(driver), wait);
}

static int arm(kvfi_driver_t *driver)
{
    return kvfi_am_arm(kvfi_am_of(driver));
}

static int fd(kvfi_driver_t *driver)
{
    return kvfi_am_fd(kvfi_am_of(driver));
}

static void wake(kvfi_driver_t *driver)
{
    kvfi_am_wake(kvfi_am_of(driver));
}

static int busy(kvfi_driver_t *driver)
{
    return kvfi_am_busy(kvfi_am_of(driver));
}

static void pass(kvfi_driver_t *driver)
{
    kvfi_am_pass(kvfi_am_of(driver));
}

static int is_settled(kvfi_driver_t *driver, uint64_t token)
{
    return kvfi_am_is_settled(kvfi_am_of(driver), token);
}

static void stop_waiting(kvfi_driver_t *driver, uint64_t token)
{
    kvfi_am_stop_waiting(kvfi_am_of(driver), token);
}

static void unanswered(kvfi_driver_t *driver, unsigned *asked_p, unsigned *lost_p)
{
    kvfi_am_unanswered(kvfi_am_of(driver), asked_p, lost_p);
}

static void stats(kvfi_driver_t *driver, kvfi_driver_stats_t *stats_p)
{
    kvfi_am_stats_t am;

    kvfi_am_stats(kvfi_am_of(driver), &am);
    stats_p->served_bytes += am.served_bytes;
    stats_p->dropped += am.dropped;
}

static void close_driver(kvfi_driver_t *driver, uint64_t timeout_ns)
{
    kvfi_am_close(kvfi_am_of(driver), timeout_ns);
    free(driver);
}

static const kvfi_driver_ops_t ops = {
    .progress = progress,
    .arm = arm,
    .fd = fd,
    .wake = wake,
    .busy = busy,
    .pass = pass,
    .is_settled = is_settled,
    .stop_waiting = stop_waiting,
    .unanswered = unanswered,
    .stats = stats,
    .close = close_driver,
};

kvf_status_t kvfi_am_drive(const kvfi_carrier_t *carrier, const kvfi_am_host_t *host,
                           kvfi_driver_t **driver_p)
{
    kvfi_am_driver_t *driver = malloc(sizeof *driver);
    kvf_status_t status;

    if (!driver)
        return kvfi_fail(KVF_ERR_NOMEM, "no memory for a driver");
    driver->driver.ops = &ops;
    status = kvfi_am_open(carrier, host, &driver->am);
    if (status != KVF_OK) {
        free(driver);
        return status;
    }
    *driver_p = &driver->driver;
    return KVF_OK;
}
