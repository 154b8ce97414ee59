/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Which carrier serves far peers: a row for each value of the net option.
 */
#include "path/carrier.h"

#include <string.h>

const kvfi_carrier_t *kvfi_carrier_of(const char *net)
{
    static const struct row {
        const char *net;
        const kvfi_carrier_t *carrier;
    } rows[] = {{"auto", &kvfi_endpoints},
                {"tcp", &kvfi_endpoints},
                {"rc", &kvfi_endpoints},
                {"ud", &kvfi_endpoints}};
    const struct row *row = rows;

    while (row + 1 < rows + sizeof rows / sizeof *rows && strcmp(row->net, net))
        row++;
    return row->carrier;
}
