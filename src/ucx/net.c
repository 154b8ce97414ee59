/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Which network interface UCX is handed for tcp. UCX pairs any of ours with any of the peer's, as if each
 * led to each: a bridge of containers, which has the same address on every machine, a link-local address, a
 * cable to elsewhere; and it ends the process at more than 128 of them. So it gets one: the one that the
 * kernel routes to the addresses that far peers have told in their blobs, else the one with the default
 * route, else a likely one. A site that sets UCX_NET_DEVICES decides itself. Never waits.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/status.h"
#include "ucx/internal.h"

#define HEARD_MAX 64u

static pthread_mutex_t heard_lock = PTHREAD_MUTEX_INITIALIZER;
static kvfi_net_addr_t heard[HEARD_MAX];
static unsigned heard_count;

void kvfi_net_heard(const kvfi_net_addr_t *addrs, unsigned count)
{
    pthread_mutex_lock(&heard_lock);
    for (unsigned i = 0; i < count && heard_count < HEARD_MAX; i++) {
        unsigned k = 0;

        while (k < heard_count && memcmp(&heard[k], &addrs[i], sizeof *addrs))
            k++;
        if (k == heard_count)
            heard[heard_count++] = addrs[i];
    }
    pthread_mutex_unlock(&heard_lock);
}

/* -------------------------------------------------------------- interfaces */

static int sys_has(const char *name, const char *what)
{
    char path[300];

    snprintf(path, sizeof path, "/sys/class/net/%s/%s", name, what);
    return access(path, F_OK) == 0;
}

static long sys_number(const char *name, const char *what)
{
    char path[300];
    long number = 0;
    FILE *file;

    snprintf(path, sizeof path, "/sys/class/net/%s/%s", name, what);
    file = fopen(path, "re");
    if (file && fscanf(file, "%ld", &number) != 1)
        number = 0;
    if (file)
        fclose(file);
    return number;
}

static int has_default_route(const char *name)
{
    FILE *file = fopen("/proc/net/route", "re");
    char line[512], of[64];
    unsigned to, mask;
    int found = 0;

    while (file && !found && fgets(line, sizeof line, file))
        found = sscanf(line, "%63s %x %*x %*x %*d %*d %*d %x", of, &to, &mask) == 3 && !to && !mask &&
                !strcmp(of, name);
    if (file)
        fclose(file);
    return found;
}

static void pack(const struct sockaddr *from, kvfi_net_addr_t *to)
{
    memset(to, 0, sizeof *to);
    to->family = from->sa_family == AF_INET ? 4 : 6;
    if (from->sa_family == AF_INET)
        memcpy(to->bytes, &((const struct sockaddr_in *)(const void *)from)->sin_addr, 4);
    else
        memcpy(to->bytes, &((const struct sockaddr_in6 *)(const void *)from)->sin6_addr, 16);
}

static socklen_t unpack(const kvfi_net_addr_t *from, uint16_t port, struct sockaddr_storage *to)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};

    memset(to, 0, sizeof *to);
    if (from->family == 4) {
        memcpy(&v4.sin_addr, from->bytes, 4);
        memcpy(to, &v4, sizeof v4);
        return sizeof v4;
    }
    memcpy(&v6.sin6_addr, from->bytes, 16);
    memcpy(to, &v6, sizeof v6);
    return sizeof v6;
}

static int is_link_local(const kvfi_net_addr_t *addr)
{
    return addr->family == 4 ? addr->bytes[0] == 169 && addr->bytes[1] == 254
                             : addr->bytes[0] == 0xfe && (addr->bytes[1] & 0xc0) == 0x80;
}

/* Interfaces with an address that UCX would take: the first of each, IPv4 before IPv6. */
static unsigned list_interfaces(kvfi_net_if_t *ifs, unsigned max)
{
    struct ifaddrs *list, *at;
    unsigned count = 0, k;

    if (getifaddrs(&list))
        return 0;
    for (at = list; at; at = at->ifa_next) {
        int family = at->ifa_addr ? at->ifa_addr->sa_family : 0;

        if ((family != AF_INET && family != AF_INET6) || strlen(at->ifa_name) >= sizeof ifs->name ||
            (at->ifa_flags & (IFF_UP | IFF_RUNNING)) != (IFF_UP | IFF_RUNNING))
            continue;
        for (k = 0; k < count && strcmp(ifs[k].name, at->ifa_name); k++)
            ;
        if (k == max || (k < count && (ifs[k].addr.family == 4 || family == AF_INET6)))
            continue;
        if (k == count)
            count++;
        memset(&ifs[k], 0, sizeof ifs[k]);
        strcpy(ifs[k].name, at->ifa_name);
        pack(at->ifa_addr, &ifs[k].addr);
        ifs[k].loopback = (at->ifa_flags & IFF_LOOPBACK) != 0;
    }
    freeifaddrs(list);
    return count;
}

static void look_at(kvfi_net_if_t *at)
{
    at->by_default = has_default_route(at->name);
    /* what leads nowhere for sure or for all that we know */
    at->doubtful =
        at->loopback || (!at->by_default && (sys_has(at->name, "bridge") || is_link_local(&at->addr)));
    at->physical = sys_has(at->name, "device");
    at->speed = sys_number(at->name, "speed");
}

/* ------------------------------------------------------------------ routes */

/* Would the kernel send to that address from this interface? Nothing is sent. */
static int routed_from(const kvfi_net_if_t *at, const kvfi_net_addr_t *to)
{
    struct sockaddr_storage peer, from;
    socklen_t len = unpack(to, 9, &peer), from_len = sizeof from;
    kvfi_net_addr_t mine = {0};
    int fd;

    if (to->family != at->addr.family || !memcmp(to, &at->addr, sizeof *to))
        return 0;
    fd = socket(peer.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return 0;
    if (!connect(fd, (struct sockaddr *)&peer, len) && !getsockname(fd, (struct sockaddr *)&from, &from_len))
        pack((struct sockaddr *)&from, &mine);
    close(fd);
    return !memcmp(&mine, &at->addr, sizeof mine);
}

static unsigned routes_of(const kvfi_net_if_t *at, const kvfi_net_if_t *ifs, unsigned count)
{
    unsigned routes = 0;

    pthread_mutex_lock(&heard_lock);
    for (unsigned i = 0; i < heard_count; i++) {
        unsigned k = 0;

        while (k < count && memcmp(&ifs[k].addr, &heard[i], sizeof *heard))
            k++;
        if (k == count) /* an address that we have too names no peer */
            routes += (unsigned)routed_from(at, &heard[i]);
    }
    pthread_mutex_unlock(&heard_lock);
    return routes;
}

static int is_better(const kvfi_net_if_t *a, const kvfi_net_if_t *b)
{
    if (a->routes != b->routes)
        return a->routes > b->routes;
    if (a->loopback != b->loopback)
        return b->loopback;
    if (a->doubtful != b->doubtful)
        return b->doubtful;
    if (a->by_default != b->by_default)
        return a->by_default;
    if (a->physical != b->physical)
        return a->physical;
    return a->speed > b->speed;
}

int kvfi_net_choose(kvfi_net_if_t *best_p)
{
    kvfi_net_if_t *ifs = calloc(KVFI_NET_IFS, sizeof *ifs);
    unsigned count = ifs ? list_interfaces(ifs, KVFI_NET_IFS) : 0;
    unsigned best = 0;

    for (unsigned i = 0; i < count; i++) {
        look_at(&ifs[i]);
        ifs[i].routes = routes_of(&ifs[i], ifs, count);
        if (is_better(&ifs[i], &ifs[best]))
            best = i;
    }
    if (count)
        *best_p = ifs[best];
    free(ifs);
    return count ? 0 : -1;
}

unsigned kvfi_net_addresses(kvfi_net_addr_t *addrs, unsigned max)
{
    kvfi_net_if_t *ifs = calloc(KVFI_NET_IFS, sizeof *ifs);
    unsigned count = ifs ? list_interfaces(ifs, KVFI_NET_IFS) : 0, kept = 0;

    for (unsigned i = 0; i < count; i++)
        look_at(&ifs[i]);
    for (int by_default = 1; by_default >= 0; by_default--)
        for (unsigned i = 0; i < count && kept < max; i++)
            if (!ifs[i].doubtful && ifs[i].by_default == by_default)
                addrs[kept++] = ifs[i].addr;
    free(ifs);
    return kept;
}

unsigned kvfi_net_count(void)
{
    kvfi_net_if_t *ifs = calloc(KVFI_NET_IFS, sizeof *ifs);
    unsigned count = ifs ? list_interfaces(ifs, KVFI_NET_IFS) : 0;

    free(ifs);
    return count;
}

kvf_status_t kvfi_net_check(const kvfi_net_if_t *at)
{
    struct sockaddr_storage addr;
    socklen_t len = unpack(&at->addr, 0, &addr);

    return kvfi_needs_port((struct sockaddr *)&addr, len, at->name);
}

void kvfi_net_text(const kvfi_net_if_t *at, char *buf, size_t len)
{
    char text[INET6_ADDRSTRLEN];

    snprintf(buf, len, "%s, %s", at->name,
             inet_ntop(at->addr.family == 4 ? AF_INET : AF_INET6, at->addr.bytes, text, sizeof text));
}

/* -------------------------------------------------------------- devices of UCX */

/* The ports of InfiniBand devices that are up, as UCX names them, appended with a comma each. */
static void append_ports(char *buf, size_t len, const char *device)
{
    char path[600], state[64];
    struct dirent *entry;
    DIR *dir;

    snprintf(path, sizeof path, "/sys/class/infiniband/%s/ports", device);
    dir = opendir(path);
    while (dir && (entry = readdir(dir))) {
        FILE *file;

        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "/sys/class/infiniband/%s/ports/%s/state", device, entry->d_name);
        file = fopen(path, "re");
        if (file && fgets(state, sizeof state, file) && strstr(state, "ACTIVE"))
            snprintf(buf + strlen(buf), len - strlen(buf), ",%s:%s", device, entry->d_name);
        if (file)
            fclose(file);
    }
    if (dir)
        closedir(dir);
}

void kvfi_net_devices(const kvfi_net_if_t *at, int only_tcp, char *buf, size_t len)
{
    DIR *dir = only_tcp ? NULL : opendir("/sys/class/infiniband");
    struct dirent *entry;

    snprintf(buf, len, "%s", at->name);
    while (dir && (entry = readdir(dir)))
        if (entry->d_name[0] != '.')
            append_ports(buf, len, entry->d_name);
    if (dir)
        closedir(dir);
}
