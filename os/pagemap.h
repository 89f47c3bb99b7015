/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * PAGEMAP_SCAN (Linux 6.7), whose definitions Debian 12's headers lack: asks about a range of the page
 * tables in one piece, that is, with the mmap lock held all through.
 */
#ifndef MRN_OS_PAGEMAP_H
#define MRN_OS_PAGEMAP_H

#include <stdint.h>

/*
 * Opens this process's page map. In a forked child the descriptor still means the parent.
 * -errno as open.
 */
int mrn_pagemap_open(void);

/*
 * Is all of [start, end) mapped, and registered with a userfaultfd that has WP_ASYNC, in write-protect
 * mode? 1, 0, or -errno: -ENOTTY where the kernel lacks the call.
 */
int mrn_pagemap_all_armed(int fd, uintptr_t start, uintptr_t end);

#endif
