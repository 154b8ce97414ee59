/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A bell: what wakes who sleeps in poll(), from this process or a neighbour's. A unix datagram socket
 * with a name of the kernel's choice, in no file system; a ring means "look". Whoever rings says what is to
 * be seen in shared memory, so that a ring too many does no harm. Names can be read by all users of the
 * machine, so a ring carries a secret that only neighbours know, and the kernel drops others before they
 * wake anybody.
 */
#ifndef KVFI_BASE_BELL_H
#define KVFI_BASE_BELL_H

#include <stdatomic.h>
#include <stdint.h>

typedef struct kvfi_bell_name {
    uint8_t len;
    char text[15];
    uint32_t secret[4];
} kvfi_bell_name_t;

typedef struct kvfi_bell {
    int fd;            /* -1: none; readable while it rings */
    _Atomic int quiet; /* no ring of our own is there unheard */
    kvfi_bell_name_t name;
} kvfi_bell_t;

/* Whose bells reach each other: the same number, of a network namespace. */
uint64_t kvfi_bell_realm(void);

/* 0, or -1 with errno. */
int kvfi_bell_open(kvfi_bell_t *bell);
void kvfi_bell_close(kvfi_bell_t *bell);

/* Ring a neighbour's, by a name that came from it. Never waits. */
void kvfi_bell_ring(const kvfi_bell_t *from, kvfi_bell_name_t to);
/* The same for the last time, by who closes: who hears it tells those who sleep elsewhere. */
void kvfi_bell_part(const kvfi_bell_t *from, kvfi_bell_name_t to);
/* Ring one's own, unless it rings already. */
void kvfi_bell_wake(kvfi_bell_t *bell);
/* Silence it: 1 if somebody may have parted. Who is to ring it once more has to be told after. */
int kvfi_bell_hush(kvfi_bell_t *bell);

#endif
