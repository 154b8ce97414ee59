/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A driver ends the ops that paths start, from its progress: the am machine between neighbours, and the one
 * on a wire. The engine keeps its drivers in a table and knows no more of them than this: it drives them, it
 * sleeps on them, it asks what is settled. All functions may be called from any thread; close alone waits.
 */
#ifndef KVFI_PATH_DRIVER_H
#define KVFI_PATH_DRIVER_H

#include <stdatomic.h>
#include <stdint.h>

/* Their places in the engine's table; a path that is started names one. */
typedef enum kvfi_driver_id {
    KVFI_NEAR,
    KVFI_WIRE,
    KVFI_DRIVERS
} kvfi_driver_id_t;

typedef struct kvfi_driver kvfi_driver_t;

typedef struct kvfi_driver_stats {
    uint64_t served_bytes, dropped;
} kvfi_driver_stats_t;

typedef struct kvfi_driver_ops {
    /* Drive it once; 1 if anything moved. With wait 0 it gives up if another thread drives. */
    int (*progress)(kvfi_driver_t *driver, int wait);
    /* 0: whatever comes from here on wakes who polls fd; 1: progress first. */
    int (*arm)(kvfi_driver_t *driver);
    int (*fd)(kvfi_driver_t *driver);
    /* Who sleeps at fd looks again. */
    void (*wake)(kvfi_driver_t *driver);
    /* Something is under way, so that lives are to be looked at now and then. */
    int (*busy)(kvfi_driver_t *driver);

    /* ---- what may still move memory */
    /* Wait until no bytes that came are being put in their place. */
    void (*pass)(kvfi_driver_t *driver);
    /* Nothing lands any more of the WRITE that was given up with that token. */
    int (*is_settled)(kvfi_driver_t *driver, uint64_t token);
    /* It is waited for no longer. */
    void (*stop_waiting)(kvfi_driver_t *driver, uint64_t token);
    /* Adds to *asked_p those that owners have yet to answer for, to *lost_p those they cannot. */
    void (*unanswered)(kvfi_driver_t *driver, unsigned *asked_p, unsigned *lost_p);

    /* Adds what it did for others to *stats_p. */
    void (*stats)(kvfi_driver_t *driver, kvfi_driver_stats_t *stats_p);
    /* Ends what runs with CLOSED and frees it, waiting at most timeout_ns for what is on its way. */
    void (*close)(kvfi_driver_t *driver, uint64_t timeout_ns);
} kvfi_driver_ops_t;

struct kvfi_driver {
    const kvfi_driver_ops_t *ops;
};

#endif
