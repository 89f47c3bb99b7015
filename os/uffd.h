/* SPDX-License-Identifier: BSD-3-Clause */
/* userfaultfd: opening it in whichever way this machine allows, and the definitions that Debian 12's headers lack. */
#ifndef MRN_OS_UFFD_H
#define MRN_OS_UFFD_H

#include <linux/userfaultfd.h>
#include <stdint.h>

#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED (1 << 13)
#endif
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif
/* Linux 6.6; there is no feature bit for it. */
#ifndef UFFDIO_CONTINUE_MODE_WP
#define UFFDIO_CONTINUE_MODE_WP (1 << 1)
#endif

/*
 * Opens a userfaultfd, non-blocking and close-on-exec, and negotiates features: all of `required`, and those of
 * `wanted` that the kernel has; *got is the result. The kernel must at least grant user-mode-only descriptors.
 *
 * Returns the descriptor, or -errno: -EPERM when this process may not have one, -ENOSYS without the
 * system call, -EOPNOTSUPP when a required feature is missing.
 */
int mrn_uffd_open(uint64_t required, uint64_t wanted, uint64_t *got);

#endif
