/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The socket peer: what a careful program does with one plain TCP connection. The side
 * that has the data gathers pieces with sendmsg, the other scatters them with readv; nothing is packed
 * or copied in between. How many pieces go in a call decides the speed, so a few sizes are tried once
 * and the best is taken. On one node the connection goes over loopback. Calls block, at most
 * TIMEOUT_S each.
 */
#include "config.h"

#include "bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../cli.h"

#define TIMEOUT_S      60
#define CONNECT_MS     2000
#define MOST_ADDRESSES 16
#define MOST_VECTORS   1024
#define TRIAL_BYTES    (UINT64_C(128) << 20)
#define TRIALS         2

static const struct way {
    const char *name;
    size_t pieces; /* at most in a call */
    size_t bytes;
} ways[] = {
    {"1 piece", 1, SIZE_MAX},         {"64 pieces", 64, SIZE_MAX},
    {"256 pieces", 256, SIZE_MAX},    {"256 KiB", MOST_VECTORS, 256 << 10},
    {"1 MiB", MOST_VECTORS, 1 << 20},
};

#define WAYS (sizeof(ways) / sizeof(ways[0]))

struct bench_socket {
    int fd;
    size_t way;     /* index of the call size */
    uint64_t depth; /* batches under way */
};

/* ------------------------------------------------------------------ moving */

static bool move_call(int fd, bool send, struct iovec *v, size_t count)
{
    while (count > 0) {
        struct msghdr message = {.msg_iov = v, .msg_iovlen = count};
        ssize_t moved = send ? sendmsg(fd, &message, MSG_NOSIGNAL) : readv(fd, v, (int)count);
        if (moved <= 0) {
            if (moved < 0 && errno == EINTR) {
                continue;
            }
            errno = moved == 0 ? ECONNRESET : errno;
            return false;
        }
        size_t left = (size_t)moved;
        while (count > 0 && left >= v->iov_len) {
            left -= v->iov_len;
            v++;
            count--;
        }
        if (count > 0) {
            v->iov_base = (char *)v->iov_base + left;
            v->iov_len -= left;
        }
    }
    return true;
}

/* The vectors of a call, of one side's pieces. */
struct call {
    const struct way *way;
    int fd;
    bool source;
    char *const *starts;
    size_t count, bytes;
    struct iovec v[MOST_VECTORS];
};

static bool flush(struct call *c)
{
    size_t count = c->count;

    c->count = c->bytes = 0;
    return move_call(c->fd, c->source, c->v, count);
}

static inline bool add_piece(void *arg, const struct bench_piece *piece)
{
    struct call *c = arg;
    char *at = c->source ? c->starts[piece->source_segment] + piece->source_off
                         : c->starts[piece->dest_segment] + piece->dest_off;

    for (uint64_t off = 0; off < piece->len;) {
        uint64_t room = c->way->bytes - c->bytes, left = piece->len - off;
        uint64_t part = left < room ? left : room;
        c->v[c->count++] = (struct iovec){at + off, part};
        c->bytes += part;
        off += part;
        if ((c->count == c->way->pieces || c->bytes == c->way->bytes) && !flush(c)) {
            return false;
        }
    }
    return true;
}

static bool move_batch(const struct bench_plan *plan, uint64_t batch, const struct bench_socket *sock,
                       bool source, char *const *starts)
{
    struct call call;

    call.way = &ways[sock->way];
    call.fd = sock->fd;
    call.source = source;
    call.starts = starts;
    call.count = call.bytes = 0;
    return kvfi_bench_walk(plan, kvfi_bench_batch_first(plan, batch), kvfi_bench_batch_blocks(plan, batch),
                           add_piece, &call) &&
           flush(&call);
}

static bool send_byte(int fd)
{
    struct iovec v = {"g", 1};
    return move_call(fd, true, &v, 1);
}

static bool recv_byte(int fd)
{
    char byte;
    struct iovec v = {&byte, 1};
    return move_call(fd, false, &v, 1);
}

/* Read: a byte asks for a batch, depth of them ahead. */
static bool pull(const struct bench_plan *plan, const struct bench_socket *sock, char *const *dest)
{
    uint64_t asked = 0;

    for (uint64_t batch = 0; batch < plan->batches; batch++) {
        for (; asked < plan->batches && asked < batch + sock->depth; asked++) {
            if (!send_byte(sock->fd)) {
                return false;
            }
        }
        if (!move_batch(plan, batch, sock, false, dest)) {
            return false;
        }
    }
    return true;
}

static bool serve_pull(const struct bench_plan *plan, const struct bench_socket *sock, char *const *source)
{
    for (uint64_t batch = 0; batch < plan->batches; batch++) {
        if (!recv_byte(sock->fd) || !move_batch(plan, batch, sock, true, source)) {
            return false;
        }
    }
    return true;
}

/* Write: a byte says that a batch is there, at most depth of them are due. */
static bool push(const struct bench_plan *plan, const struct bench_socket *sock, char *const *source)
{
    uint64_t there = 0;

    for (uint64_t batch = 0; batch < plan->batches; batch++) {
        if (!move_batch(plan, batch, sock, true, source)) {
            return false;
        }
        for (; there + sock->depth <= batch + 1; there++) {
            if (!recv_byte(sock->fd)) {
                return false;
            }
        }
    }
    for (; there < plan->batches; there++) {
        if (!recv_byte(sock->fd)) {
            return false;
        }
    }
    return true;
}

static bool serve_push(const struct bench_plan *plan, const struct bench_socket *sock, char *const *dest)
{
    for (uint64_t batch = 0; batch < plan->batches; batch++) {
        if (!move_batch(plan, batch, sock, false, dest) || !send_byte(sock->fd)) {
            return false;
        }
    }
    return true;
}

static int run_plan(const struct bench_case *c, const struct bench_plan *plan,
                    const struct bench_socket *sock, double *took_p)
{
    bool reads = c->args->dir == KVF_READ, fine;
    double start = 0;

    if (c->job->owner) {
        fine = send_byte(sock->fd) && (reads ? serve_pull(plan, sock, c->ends->remote.starts)
                                             : serve_push(plan, sock, c->ends->remote.starts));
    } else {
        fine = recv_byte(sock->fd); /* the owner is awake */
        start = kvfi_bench_now();
        fine = fine &&
               (reads ? pull(plan, sock, c->ends->local.starts) : push(plan, sock, c->ends->local.starts));
    }
    if (!fine) {
        return kvfi_cli_fail("peer socket: the connection broke: %s", strerror(errno));
    }
    *took_p = kvfi_bench_now() - start;
    return 0;
}

static int run(const struct bench_case *c, struct bench_peer *peer, double *took_p)
{
    return run_plan(c, c->plan, peer->state, took_p);
}

/* ------------------------------------------------------------------ layer by layer */

int kvfi_bench_socket_push_layer(const struct bench_case *c, struct bench_peer *peer,
                                 const struct bench_plan *layer, uint64_t batch, double *sent_p)
{
    const struct bench_socket *sock = peer->state;
    bool there = move_batch(layer, batch, sock, true, c->ends->local.starts) && recv_byte(sock->fd);

    *sent_p = kvfi_bench_now();
    return there && send_byte(sock->fd)
               ? 0
               : kvfi_cli_fail("peer socket: the connection broke: %s", strerror(errno));
}

int kvfi_bench_socket_take_layer(const struct bench_case *c, struct bench_peer *peer,
                                 const struct bench_plan *layer, uint64_t batch, bool sleeps)
{
    const struct bench_socket *sock = peer->state;
    bool there = move_batch(layer, batch, sock, false, c->ends->remote.starts) && send_byte(sock->fd);
    struct pollfd fd = {.fd = sock->fd, .events = POLLIN};
    ssize_t got = -1;
    char byte;

    errno = there ? EAGAIN : errno;
    while (there && got < 0 && (errno == EAGAIN || errno == EINTR)) {
        if (sleeps) {
            poll(&fd, 1, TIMEOUT_S * 1000);
        }
        got = recv(sock->fd, &byte, 1, MSG_DONTWAIT);
    }
    return got == 1 ? 0 : kvfi_cli_fail("peer socket: the connection broke: %s", strerror(errno));
}

/* ------------------------------------------------------------------ connecting */

struct address_list {
    uint64_t nonce;
    uint32_t count;
    in_port_t port;
    struct sockaddr_storage at[MOST_ADDRESSES];
};

static void list_addresses(bool one_node, struct address_list *list)
{
    struct ifaddrs *all, *a;

    if (getifaddrs(&all) != 0) {
        return;
    }
    for (a = all; a != NULL && list->count < MOST_ADDRESSES; a = a->ifa_next) {
        bool loopback = (a->ifa_flags & IFF_LOOPBACK) != 0;
        if (a->ifa_addr == NULL || (a->ifa_flags & IFF_UP) == 0 || loopback != one_node) {
            continue;
        }
        if (a->ifa_addr->sa_family == AF_INET) {
            struct sockaddr_in *in = (struct sockaddr_in *)&list->at[list->count++];
            memcpy(in, a->ifa_addr, sizeof(*in));
            in->sin_port = list->port;
        } else if (a->ifa_addr->sa_family == AF_INET6) {
            struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&list->at[list->count];
            memcpy(in6, a->ifa_addr, sizeof(*in6));
            if (!IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr)) {
                in6->sin6_port = list->port;
                list->count++;
            }
        }
    }
    freeifaddrs(all);
}

/* Takes both families where the machine has IPv6, else IPv4 only. */
static int listen_anywhere(in_port_t *port_p)
{
    struct sockaddr_in6 any6 = {.sin6_family = AF_INET6, .sin6_addr = in6addr_any};
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY)};
    struct sockaddr_storage got;
    socklen_t len = sizeof(got);
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), no = 0;

    if (fd >= 0 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof(no)) == 0 &&
        bind(fd, (struct sockaddr *)&any6, sizeof(any6)) == 0 && listen(fd, 8) == 0) {
        getsockname(fd, (struct sockaddr *)&got, &len);
        *port_p = ((struct sockaddr_in6 *)&got)->sin6_port;
        return fd;
    }
    if (fd >= 0) {
        close(fd);
    }
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&any, sizeof(any)) != 0 || listen(fd, 8) != 0) {
        if (fd >= 0) {
            close(fd);
        }
        return kvfi_cli_fail("peer socket: cannot listen: %s", strerror(errno));
    }
    getsockname(fd, (struct sockaddr *)&got, &len);
    *port_p = ((struct sockaddr_in *)&got)->sin_port;
    return fd;
}

static void set_up(int fd)
{
    struct timeval limit = {.tv_sec = TIMEOUT_S};
    int yes = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
}

/* SO_SNDTIMEO bounds connect() too. */
static int connect_one(const struct sockaddr_storage *to, uint64_t nonce)
{
    struct timeval limit = {.tv_sec = CONNECT_MS / 1000};
    socklen_t len = to->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    int fd = socket(to->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct iovec v = {&nonce, sizeof(nonce)};

    if (fd < 0) {
        return -1;
    }
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    if (connect(fd, (const struct sockaddr *)to, len) != 0 || !move_call(fd, true, &v, 1)) {
        close(fd);
        return -1;
    }
    set_up(fd);
    return fd;
}

/* The connection that brings the nonce is the other rank's. */
static int accept_ours(int listener, uint64_t nonce)
{
    struct pollfd ready = {.fd = listener, .events = POLLIN};

    while (poll(&ready, 1, TIMEOUT_S * 1000) == 1) {
        uint64_t got = 0;
        struct iovec v = {&got, sizeof(got)};
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0) {
            continue;
        }
        set_up(fd);
        if (move_call(fd, false, &v, 1) && got == nonce) {
            return fd;
        }
        close(fd);
    }
    return kvfi_cli_fail("peer socket: the other rank did not connect");
}

static int connect_ranks(const struct bench_job *job, int *fd_p)
{
    struct address_list list = {0};
    int listener = -1, fd = -1, rc = 0;

    if (job->owner) {
        listener = listen_anywhere(&list.port);
        list.nonce = kvf_engine_incarnation(job->engine) ^ (uint64_t)getpid();
        list_addresses(job->one_node, &list);
        rc = listener < 0 ? -1 : 0;
    }
    rc = kvfi_bench_meet(job, rc);
    if (rc == 0) {
        kvfi_bench_tell(job, job->owner_rank, &list, sizeof(list));
        if (job->initiator) {
            for (uint32_t i = 0; i < list.count && fd < 0; i++) {
                fd = connect_one(&list.at[i], list.nonce);
            }
            rc = fd < 0
                     ? kvfi_cli_fail("peer socket: none of the other node's %u addresses answers", list.count)
                     : 0;
        }
        rc = kvfi_bench_meet(job, rc);
    }
    if (rc == 0 && job->owner) {
        fd = accept_ours(listener, list.nonce);
        rc = fd < 0 ? -1 : 0;
    }
    if (listener >= 0) {
        close(listener);
    }
    *fd_p = fd;
    return rc;
}

/* ------------------------------------------------------------------ the best call size */

static struct bench_plan trial_of(const struct bench_plan *plan)
{
    struct bench_plan trial = *plan;
    uint64_t most = TRIAL_BYTES / plan->block_bytes;

    most = most != 0 ? most : 1;
    if (most < plan->moved) {
        trial.per = plan->per < most ? plan->per : most;
        trial.batches = most / trial.per;
        trial.moved = trial.batches * trial.per;
    }
    return trial;
}

static int find_best(const struct bench_case *c, struct bench_socket *sock)
{
    struct bench_plan trial = trial_of(c->plan);
    double least = -1;
    size_t best = 0;

    for (int round = 0; round < TRIALS; round++) {
        for (size_t way = 0; way < WAYS; way++) {
            double took = 0;
            sock->way = way;
            if (kvfi_bench_meet(c->job, 0) != 0 || run_plan(c, &trial, sock, &took) != 0) {
                return -1;
            }
            if (least < 0 || took < least) {
                least = took;
                best = way;
            }
        }
    }
    sock->way = best;
    return 0;
}

static void close_it(const struct bench_case *c, struct bench_peer *peer)
{
    struct bench_socket *sock = peer->state;

    (void)c;
    if (sock != NULL && sock->fd >= 0) {
        close(sock->fd);
    }
    free(sock);
    peer->state = NULL;
}

static int open_it(const struct bench_case *c, struct bench_peer *peer)
{
    struct bench_socket *sock = malloc(sizeof(*sock));
    int rc = sock == NULL ? kvfi_cli_fail("no memory") : 0;

    if (kvfi_bench_meet(c->job, rc) != 0) {
        free(sock);
        return -1;
    }
    *sock = (struct bench_socket){.fd = -1, .depth = c->args->depth};
    peer->state = sock;
    rc = connect_ranks(c->job, &sock->fd);
    if (kvfi_bench_meet(c->job, rc) != 0) {
        return -1;
    }
    rc = find_best(c, sock);
    if (kvfi_bench_meet(c->job, rc) != 0) {
        return -1;
    }
    kvfi_bench_tell(c->job, 0, &sock->way, sizeof(sock->way));
    peer->way = ways[sock->way].name;
    return 0;
}

const struct bench_peer_kind kvfi_bench_peer_socket = {.name = "socket",
                                                       .key = "socket",
                                                       .label = "TCP socket",
                                                       .between = BENCH_BOTH,
                                                       .places = true,
                                                       .open = open_it,
                                                       .run = run,
                                                       .close = close_it};
