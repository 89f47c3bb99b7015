/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * All of libmrn. <mrn/io_uring.h> is apart, because it needs liburing; <mrn/linux/...>, because it has
 * the kernel's names.
 */
#ifndef MRN_H
#define MRN_H

#include <mrn/hmm.h>
#include <mrn/mmu_notifier.h>
#include <mrn/regcache.h>
#include <mrn/source.h>
#include <mrn/version.h>

#endif
