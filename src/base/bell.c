/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Bells: see bell.h. A socket whose queue is full is readable, so that a ring that finds no room there
 * has done what it is for. Nothing here waits.
 */
#define _GNU_SOURCE
#include "base/bell.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <stddef.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define HEARD_MOST 1024 /* rings at a time: somebody may ring on and on */
#define HEARD_MANY 8    /* the queue may have been full: what did not find room is not known */
#define PART       4u   /* who parts sends so many zero bytes after the secret */

uint64_t kvfi_bell_realm(void)
{
    struct stat net;

    return stat("/proc/thread-self/ns/net", &net) ? 0 : net.st_ino;
}

/* Rings without the secret are dropped in the kernel, at the expense of who rang. Where there are no
 * filters they are heard, and cost us a look. */
static void expect_secret(int fd, const uint32_t secret[4])
{
    struct sock_filter filter[10];
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};

    for (uint8_t i = 0; i < 4; i++) {
        filter[2 * i] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, i * sizeof *secret);
        filter[2 * i + 1] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ntohl(secret[i]), 0,
                                                         (uint8_t)(7 - 2 * i));
    }
    filter[8] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, UINT32_MAX);
    filter[9] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
}

int kvfi_bell_open(kvfi_bell_t *bell)
{
    struct sockaddr_un any = {.sun_family = AF_UNIX}, name;
    socklen_t len = sizeof name;
    int error;

    atomic_store(&bell->quiet, 1);
    bell->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (bell->fd < 0)
        return -1;
    if (getrandom(bell->name.secret, sizeof bell->name.secret, 0) == sizeof bell->name.secret)
        expect_secret(bell->fd, bell->name.secret);
    if (!bind(bell->fd, (struct sockaddr *)&any, sizeof any.sun_family) &&
        !getsockname(bell->fd, (struct sockaddr *)&name, &len)) {
        len -= (socklen_t)offsetof(struct sockaddr_un, sun_path);
        if (len && len <= sizeof bell->name.text) {
            bell->name.len = (uint8_t)len;
            memcpy(bell->name.text, name.sun_path, len);
            return 0;
        }
        errno = ENAMETOOLONG;
    }
    error = errno;
    kvfi_bell_close(bell);
    errno = error;
    return -1;
}

void kvfi_bell_close(kvfi_bell_t *bell)
{
    if (bell->fd >= 0)
        close(bell->fd);
    bell->fd = -1;
}

static int send_one(int fd, kvfi_bell_name_t to, size_t more)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    char ring[sizeof to.secret + PART] = {0};

    memcpy(ring, to.secret, sizeof to.secret);
    memcpy(name.sun_path, to.text, to.len);
    return sendto(fd, ring, sizeof to.secret + more, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&name,
                  (socklen_t)(offsetof(struct sockaddr_un, sun_path) + to.len)) < 0
               ? -1
               : 0;
}

/* Rings that nobody hears fill the socket that sent them: one without a past goes in its stead. */
static void ring_afresh(kvfi_bell_name_t to, size_t more)
{
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return;
    send_one(fd, to, more);
    close(fd);
}

static void ring(const kvfi_bell_t *from, kvfi_bell_name_t to, size_t more)
{
    if (from->fd < 0 || !to.len || to.len > sizeof to.text || to.text[0])
        return;
    /* other errors: it has gone */
    if (send_one(from->fd, to, more) && errno == EAGAIN)
        ring_afresh(to, more);
}

void kvfi_bell_ring(const kvfi_bell_t *from, kvfi_bell_name_t to)
{
    ring(from, to, 0);
}

void kvfi_bell_part(const kvfi_bell_t *from, kvfi_bell_name_t to)
{
    ring(from, to, PART);
}

void kvfi_bell_wake(kvfi_bell_t *bell)
{
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&bell->quiet, memory_order_relaxed) && atomic_exchange(&bell->quiet, 0))
        kvfi_bell_ring(bell, bell->name);
}

int kvfi_bell_hush(kvfi_bell_t *bell)
{
    int heard = 0, parted = 0;
    char byte;
    ssize_t len;

    while (heard < HEARD_MOST && (len = recv(bell->fd, &byte, sizeof byte, MSG_DONTWAIT | MSG_TRUNC)) >= 0) {
        parted |= len == (ssize_t)(sizeof bell->name.secret + PART);
        heard++;
    }
    atomic_store(&bell->quiet, 1);
    return parted || heard >= HEARD_MANY;
}
