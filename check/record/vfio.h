/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory that a device may reach through an IOMMU, by VFIO's or iommufd's ioctls. What the device does with it, nobody
 * here sees. A mapping ends when it is unmapped, or with the number of its descriptor; or, as the kernel has it, when the
 * last group leaves its container. Copies of descriptors are not known.
 */
#ifndef MRN_CHECK_VFIO_H
#define MRN_CHECK_VFIO_H

#include <stdbool.h>
#include <stdint.h>

/* As check_call_fn in calls.h. */
bool check_vfio_ioctl(long a[6], long *result);
bool check_vfio_close(long a[6], long *result);
bool check_vfio_close_range(long a[6], long *result);

/* False: no descriptor is known, of any kind. */
bool check_vfio_has_any(void);
/* Its number is free from now on, or another's. */
void check_vfio_end_descriptor(uint32_t fd);

/* In a forked child. */
void check_vfio_restart(void);

#endif
