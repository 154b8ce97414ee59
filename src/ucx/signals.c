/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A guest changes no signal dispositions. UCX installs handlers when it is loaded; if it was
 * loaded through us, they are taken back here, before anyone can notice. If the host had loaded it
 * before, they are the host's and stay.
 */
#define _GNU_SOURCE
#include <link.h>
#include <string.h>

/* exported by every release since 1.13; its header is not installed */
void ucs_debug_disable_signals(void);

/* Position in the order of loading: what was there before us comes before us. */
typedef struct {
    int at, ucs, us;
} order_t;

static int note_order(struct dl_phdr_info *info, size_t size, void *arg)
{
    order_t *order = arg;

    (void)size;
    order->at++;
    if (strstr(info->dlpi_name, "/libucs.so"))
        order->ucs = order->at;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        ElfW(Addr) from = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;

        if (info->dlpi_phdr[i].p_type == PT_LOAD && (ElfW(Addr))note_order >= from &&
            (ElfW(Addr))note_order < from + info->dlpi_phdr[i].p_memsz)
            order->us = order->at;
    }
    return 0;
}

__attribute__((constructor)) static void restore_dispositions(void)
{
    order_t order = {0};

    dl_iterate_phdr(note_order, &order);
    if (order.ucs > order.us)
        ucs_debug_disable_signals();
}
