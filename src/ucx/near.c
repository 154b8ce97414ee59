/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Links to neighbours: one memory domain of UCX's shared memory transport (UCT), without a context above
 * it. A UCP context would ask the kernel about each network interface, start a thread, open descriptors, and
 * put a receive queue into shared memory in which a killed sender leaves a place that nobody reads past;
 * memory that is only allocated needs none of it. Never blocks.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/status.h"
#include "ucx/internal.h"

/* UCX looks up each setting as UCX_NAME and as PREFIX_UCX_NAME, and cuts that prefix at 127 bytes without
 * a word. One that is longer leaves no UCX_ in it, so that a site's settings, which are meant for its
 * MPI and may not even be valid, do not reach memory that is ours alone. */
#define LETTERS  "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEF"
#define NO_NAMES LETTERS LETTERS LETTERS LETTERS

static kvf_status_t find_component(kvfi_shm_kind_t kind, uct_component_h *component_p)
{
    const char *name = kind == KVFI_SHM_SYSV ? "sysv" : "posix";
    uct_component_attr_t attr = {.field_mask = UCT_COMPONENT_ATTR_FIELD_NAME};
    uct_component_h *components;
    unsigned count;

    *component_p = NULL;
    if (uct_query_components(&components, &count) != UCS_OK)
        return kvfi_fail(KVF_ERR_UNSUPPORTED, "UCX does not list its transports");
    for (unsigned i = 0; i < count && !*component_p; i++)
        if (uct_component_query(components[i], &attr) == UCS_OK && !strcmp(attr.name, name))
            *component_p = components[i];
    uct_release_component_list(components);
    if (!*component_p)
        return kvfi_fail(KVF_ERR_UNSUPPORTED, "UCX was built without the transport %s", name);
    return KVF_OK;
}

static void set(uct_md_config_t *config, const char *name, const char *value)
{
    if (uct_config_modify(config, name, value) != UCS_OK)
        kvfi_log(KVFI_LOG_DEBUG, "UCX does not know the setting %s=%s", name, value);
}

static ucs_status_t open_md(uct_component_h component, kvfi_shm_kind_t kind, int huge, uct_md_h *md_p)
{
    uct_md_config_t *config;
    ucs_status_t status = uct_md_config_read(component, NO_NAMES, NULL, &config);

    if (status != UCS_OK)
        return status;
    /* left to itself it takes a huge page for what fills the half of one */
    set(config, "MM_HUGETLB_MODE", huge ? "y" : "n");
    if (kind == KVFI_SHM_POSIX) {
        set(config, "DIR", "/dev/shm");
        set(config, "USE_PROC_LINK", "y"); /* no file stays behind */
        if (kvfi_ucx_release() >= (1 << 16 | 16 << 8))
            set(config, "SHM_MIN_SIZE", "0");
    }
    status = uct_md_open(component, kind == KVFI_SHM_SYSV ? "sysv" : "posix", config, md_p);
    uct_config_release(config);
    return status;
}

static uint64_t inode_of(const char *path)
{
    struct stat st;

    return stat(path, &st) ? 0 : st.st_ino;
}

static void find_place(kvfi_shm_kind_t kind, kvfi_place_t *place)
{
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");

    *place = (kvfi_place_t){.kind = kind};
    if (file) {
        place->boot[fread(place->boot, 1, sizeof place->boot - 1, file)] = 0;
        fclose(file);
    }
    /* the namespace that names of segments hold in: a file's name is one of /proc */
    place->names = inode_of(kind == KVFI_SHM_SYSV ? "/proc/thread-self/ns/ipc" : "/proc/thread-self/ns/pid");
}

/* What is not known fits: the page at the end of the way proves itself. */
int kvfi_link_meets(const kvfi_link_t *link, const void *address, size_t len)
{
    const kvfi_place_t *mine = &link->place;
    kvfi_place_t its;

    if (len != sizeof its)
        return 0;
    memcpy(&its, address, sizeof its);
    return its.kind == mine->kind &&
           (!its.boot[0] || !mine->boot[0] || !memcmp(its.boot, mine->boot, sizeof its.boot)) &&
           (!its.names || !mine->names || its.names == mine->names);
}

static kvf_status_t open_domain(kvfi_link_t *link)
{
    kvf_status_t status = find_component(link->kind, &link->component);
    ucs_status_t opened;
    uct_md_attr_t attr;
    char limits[256];

    if (status != KVF_OK)
        return status;
    opened = open_md(link->component, link->kind, 0, &link->md);
    if (opened == UCS_OK) {
        opened = uct_md_query(link->md, &attr);
        if (opened == UCS_OK && attr.cap.flags & UCT_MD_FLAG_ALLOC)
            return KVF_OK;
        uct_md_close(link->md);
        opened = opened == UCS_OK ? UCS_ERR_UNSUPPORTED : opened;
    }
    kvfi_shm_limits(link->kind, 0, limits, sizeof limits);
    return kvfi_fail(KVF_ERR_UNSUPPORTED, "UCX has no shared memory of this kind here: %s; %s",
                     ucs_status_string(opened), limits);
}

kvf_status_t kvfi_link_open_near(kvfi_shm_kind_t kind, kvfi_link_t **link_p)
{
    kvfi_link_t *link = calloc(1, sizeof *link);
    kvf_status_t status;

    if (!link)
        return kvfi_fail(KVF_ERR_NOMEM, "no memory for a link to neighbours");
    link->kind = kind;
    kvfi_ucx_quiet(1);
    status = open_domain(link);
    kvfi_ucx_quiet(0);
    if (status != KVF_OK) {
        free(link);
        return status;
    }
    find_place(kind, &link->place);
    kvfi_lock_init(&link->lock);
    *link_p = link;
    return KVF_OK;
}

uct_md_h kvfi_near_huge(kvfi_link_t *link)
{
    if (link->huge)
        return link->huge;
    if (link->kind != KVFI_SHM_SYSV) {
        /* UCX would fill the file before it learns that */
        kvfi_fail(KVF_ERR_NOMEM, "/dev/shm has no huge pages of those set aside");
        return NULL;
    }
    if (open_md(link->component, link->kind, 1, &link->huge) != UCS_OK) {
        link->huge = NULL;
        kvfi_fail(KVF_ERR_NOMEM, "UCX opens no second memory domain for huge pages");
    }
    return link->huge;
}

void kvfi_link_close(kvfi_link_t *link)
{
    if (!link)
        return;
    uct_md_close(link->md);
    if (link->huge)
        uct_md_close(link->huge);
    kvfi_lock_destroy(&link->lock);
    free(link);
}

kvfi_lock_t *kvfi_link_turn(kvfi_link_t *link)
{
    return &link->lock;
}

void kvfi_link_lock(kvfi_link_t *link)
{
    kvfi_lock_take(&link->lock);
}

void kvfi_link_unlock(kvfi_link_t *link)
{
    kvfi_lock_give(&link->lock);
}

const void *kvfi_link_address(const kvfi_link_t *link, size_t *len_p)
{
    *len_p = sizeof link->place;
    return &link->place;
}
