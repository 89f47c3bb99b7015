/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory that a device may reach through an IOMMU, by VFIO's or iommufd's ioctls. What the device does with it, nobody
 * here sees. A mapping ends when it is unmapped, or with the number of its descriptor; or, as the kernel has it, when the
 * last group leaves its container. Copies of descriptors are not known.
 */
#ifndef MRN_CHECK_VFIO_H
#define MRN_CHECK_VFIO_H

#include <stdbool.h>

/* As check_call_fn in calls.h. */
bool check_vfio_ioctl(long a[6], long *result);
bool check_vfio_close(long a[6], long *result);
bool check_vfio_close_range(long a[6], long *result);
bool check_vfio_dup2(long a[6], long *result);

/* In a forked child. */
void check_vfio_restart(void);

#endif
