/* SPDX-License-Identifier: BSD-3-Clause
 *
 * What UCX can tell: its release, its components, transports and devices.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
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

kvf_status_t kvfi_ucx_check_release(void)
{
    if (kvfi_ucx_release() >> 8 < (UCP_API_MAJOR << 8 | UCP_API_MINOR))
        return kvfi_fail(KVF_ERR_UNSUPPORTED, "built against UCX %d.%d, but UCX %s was loaded",
                         UCP_API_MAJOR, UCP_API_MINOR, ucp_get_version_string());
    return KVF_OK;
}

static void print_domain(FILE *out, uct_component_h component, const char *name)
{
    uct_tl_resource_desc_t *resources;
    uct_md_config_t        *config;
    uct_md_h                md;
    unsigned                count;

    if (uct_md_config_read(component, NULL, NULL, &config) != UCS_OK)
        return;
    if (uct_md_open(component, name, config, &md) == UCS_OK) {
        if (uct_md_query_tl_resources(md, &resources, &count) == UCS_OK) {
            for (unsigned i = 0; i < count; i++)
                fprintf(out, "  %-8s %-16s (memory domain %s)\n", resources[i].tl_name,
                        resources[i].dev_name, name);
            uct_release_tl_resource_list(resources);
        }
        uct_md_close(md);
    }
    uct_config_release(config);
}

static void print_component(FILE *out, uct_component_h component)
{
    uct_component_attr_t attr = {.field_mask = UCT_COMPONENT_ATTR_FIELD_NAME |
                                               UCT_COMPONENT_ATTR_FIELD_MD_RESOURCE_COUNT};

    if (uct_component_query(component, &attr) != UCS_OK || !attr.md_resource_count)
        return;
    attr.field_mask = UCT_COMPONENT_ATTR_FIELD_MD_RESOURCES;
    attr.md_resources = calloc(attr.md_resource_count, sizeof *attr.md_resources);
    if (attr.md_resources && uct_component_query(component, &attr) == UCS_OK)
        for (unsigned i = 0; i < attr.md_resource_count; i++)
            print_domain(out, component, attr.md_resources[i].md_name);
    free(attr.md_resources);
}

char *kvfi_ucx_text(void)
{
    uct_component_h *components;
    char            *text = NULL;
    size_t           len;
    unsigned         count;
    FILE            *out = open_memstream(&text, &len);

    if (!out)
        return NULL;
    fprintf(out, "UCX %s\n", ucp_get_version_string());
    if (uct_query_components(&components, &count) == UCS_OK) {
        for (unsigned i = 0; i < count; i++)
            print_component(out, components[i]);
        uct_release_component_list(components);
    }
    fclose(out);
    return text;
}
