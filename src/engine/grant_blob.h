/* SPDX-License-Identifier: BSD-3-Clause
 *
 * Flags of a range in a grant's blob, known to who writes it and who reads it.
 */
#ifndef KVFI_ENGINE_GRANT_BLOB_H
#define KVFI_ENGINE_GRANT_BLOB_H

#define KVFI_RANGE_GUARDED 1u /* a pool's: generations */

#endif
