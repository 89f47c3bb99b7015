/* SPDX-License-Identifier: BSD-3-Clause */
/* For features that cannot be tried: whether the kernel is new enough. */
#ifndef MRN_OS_KERNEL_H
#define MRN_OS_KERNEL_H

#include <stdbool.h>

bool mrn_kernel_is_at_least(unsigned int major, unsigned int minor);

#endif
