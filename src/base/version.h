/* The version of this build, for logs, blobs and the tools. Nothing blocks. */
#ifndef KVFI_BASE_VERSION_H
#define KVFI_BASE_VERSION_H

/* "0.1.0"; static storage. */
const char *kvfi_base_version(void);

#endif
