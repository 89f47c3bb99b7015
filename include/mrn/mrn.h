/* SPDX-License-Identifier: BSD-3-Clause */
/* All of libmrn. <mrn/io_uring.h> is apart, because it needs liburing. */
#ifndef MRN_H
#define MRN_H

#include <mrn/mmu_notifier.h>
#include <mrn/regcache.h>
#include <mrn/source.h>

#endif
