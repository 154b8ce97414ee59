/* SPDX-License-Identifier: BSD-3-Clause
 *
 * A CUDA driver that has no device: each entry that a library may look for says so (100,
 * CUDA_ERROR_NO_DEVICE). With it a wheel that is linked against the driver loads on a machine without
 * one; it can then do what it does in host memory.
 */
int kvf_no_device(void);

int kvf_no_device(void)
{
    return 100;
}

#define ENTRY(name) int name(void) __attribute__((alias("kvf_no_device")))

ENTRY(cuCtxGetCurrent);
ENTRY(cuCtxGetDevice);
ENTRY(cuCtxSetCurrent);
ENTRY(cuDeviceGet);
ENTRY(cuDeviceGetAttribute);
ENTRY(cuDeviceGetPCIBusId);
ENTRY(cuDevicePrimaryCtxRelease_v2);
ENTRY(cuDevicePrimaryCtxRetain);
ENTRY(cuGetErrorName);
ENTRY(cuGetErrorString);
ENTRY(cuInit);
ENTRY(cuMemAddressFree);
ENTRY(cuMemAddressReserve);
ENTRY(cuMemCreate);
ENTRY(cuMemExportToShareableHandle);
ENTRY(cuMemGetAddressRange_v2);
ENTRY(cuMemGetAllocationGranularity);
ENTRY(cuMemGetHandleForAddressRange);
ENTRY(cuMemImportFromShareableHandle);
ENTRY(cuMemMap);
ENTRY(cuMemRelease);
ENTRY(cuMemRetainAllocationHandle);
ENTRY(cuMemSetAccess);
ENTRY(cuMemUnmap);
ENTRY(cuPointerGetAttribute);
ENTRY(cuPointerSetAttribute);
