/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What UCX can tell: its release, its components, transports and devices.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <uct/api/uct.h>

#include "base/status.h"
#include "ucx/internal.h"

uint32_t kvfi_ucx_release(void)
{
    unsigned major, minor, patch;

    ucp_get_version(&major, &minor, &patch);
    return major << 16 | minor << 8 | patch;
}

const char *kvf_ucx_version(void)
{
    return ucp_get_version_string();
}

/* Measured: a peer was killed while it connected, and a third process was looked at. */
static const struct {
    uint32_t below; /* this release */
    const char *doubt;
} doubts[] = {
    {1 << 16 | 22 << 8, "a connection that breaks, or a peer that dies while it connects, may end other "
                        "processes (death: 5 of 5 runs with 1.13.1, 0 of 5 with 1.22); prefer 1.22 or newer"},
};

const char *kvfi_ucx_doubt(void)
{
    for (size_t i = 0; i < sizeof doubts / sizeof *doubts; i++)
        if (kvfi_ucx_release() < doubts[i].below)
            return doubts[i].doubt;
    return NULL;
}

/* The folder of the library that a function of ours comes from. */
static int folder_of(void *function, char *buf, size_t len, struct stat *st_p)
{
    Dl_info info;

    if (!dladdr(function, &info) || !info.dli_fname || !strrchr(info.dli_fname, '/'))
        return -1;
    snprintf(buf, len, "%.*s", (int)(strrchr(info.dli_fname, '/') - info.dli_fname), info.dli_fname);
    return stat(buf, st_p);
}

/* The libraries of UCX know each other's insides: of two builds, each a half, the process dies. */
static kvf_status_t check_one_ucx(void)
{
    static const char *const names[] = {"libucp", "libuct", "libucs"};
    void *functions[] = {(void *)ucp_get_version, (void *)uct_query_components, (void *)ucs_status_string};
    char folder[2][512];
    struct stat first, st;

    if (folder_of(functions[0], folder[0], sizeof folder[0], &first))
        return KVF_OK;
    for (int i = 1; i < 3; i++)
        if (!folder_of(functions[i], folder[1], sizeof folder[1], &st) &&
            (st.st_dev != first.st_dev || st.st_ino != first.st_ino))
            return kvfi_fail(KVF_ERR_UNSUPPORTED,
                             "two UCX are mixed: %s was loaded from %s and %s from %s; "
                             "set LD_LIBRARY_PATH to one of them",
                             names[0], folder[0], names[i], folder[1]);
    return KVF_OK;
}

kvf_status_t kvfi_ucx_check_release(void)
{
    if (kvfi_ucx_release() >> 8 < (UCP_API_MAJOR << 8 | UCP_API_MINOR))
        return kvfi_fail(KVF_ERR_UNSUPPORTED, "built against UCX %d.%d, but UCX %s was loaded", UCP_API_MAJOR,
                         UCP_API_MINOR, ucp_get_version_string());
    return check_one_ucx();
}

/* Called for each transport on each device. */
typedef void (*visit_t)(void *arg, const uct_tl_resource_desc_t *resource, const char *domain);

static void visit_domain(uct_component_h component, const char *name, visit_t visit, void *arg)
{
    uct_tl_resource_desc_t *resources;
    uct_md_config_t *config;
    uct_md_h md;
    unsigned count;

    if (uct_md_config_read(component, NULL, NULL, &config) != UCS_OK)
        return;
    if (uct_md_open(component, name, config, &md) == UCS_OK) {
        if (uct_md_query_tl_resources(md, &resources, &count) == UCS_OK) {
            for (unsigned i = 0; i < count; i++)
                visit(arg, &resources[i], name);
            uct_release_tl_resource_list(resources);
        }
        uct_md_close(md);
    }
    uct_config_release(config);
}

static void visit_component(uct_component_h component, visit_t visit, void *arg)
{
    uct_component_attr_t attr = {.field_mask = UCT_COMPONENT_ATTR_FIELD_NAME |
                                               UCT_COMPONENT_ATTR_FIELD_MD_RESOURCE_COUNT};

    if (uct_component_query(component, &attr) != UCS_OK || !attr.md_resource_count)
        return;
    attr.field_mask = UCT_COMPONENT_ATTR_FIELD_MD_RESOURCES;
    attr.md_resources = calloc(attr.md_resource_count, sizeof *attr.md_resources);
    if (attr.md_resources && uct_component_query(component, &attr) == UCS_OK)
        for (unsigned i = 0; i < attr.md_resource_count; i++)
            visit_domain(component, attr.md_resources[i].md_name, visit, arg);
    free(attr.md_resources);
}

static void visit_all(visit_t visit, void *arg)
{
    uct_component_h *components;
    unsigned count;

    if (uct_query_components(&components, &count) != UCS_OK)
        return;
    for (unsigned i = 0; i < count; i++)
        visit_component(components[i], visit, arg);
    uct_release_component_list(components);
}

static void print(void *arg, const uct_tl_resource_desc_t *resource, const char *domain)
{
    fprintf(arg, "  %-10s %-16s (memory domain %s)\n", resource->tl_name, resource->dev_name, domain);
}

char *kvfi_ucx_text(void)
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    if (!out)
        return NULL;
    fprintf(out, "UCX %s\n", ucp_get_version_string());
    if (kvfi_ucx_doubt())
        fprintf(out, "  far peers over tcp: %s\n", kvfi_ucx_doubt());
    fprintf(out, "  far peers over tcp: once descriptors run out at a connection, no other peer can "
                 "connect\n");
    visit_all(print, out);
    fclose(out);
    return text;
}

typedef struct {
    const char *prefix;
    int found;
} wanted_t;

static void look_for(void *arg, const uct_tl_resource_desc_t *resource, const char *domain)
{
    wanted_t *wanted = arg;

    (void)domain;
    wanted->found |= !strncmp(resource->tl_name, wanted->prefix, strlen(wanted->prefix));
}

int kvfi_ucx_has(const char *prefix)
{
    wanted_t wanted = {.prefix = prefix};

    visit_all(look_for, &wanted);
    return wanted.found;
}
