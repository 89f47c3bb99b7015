/* SPDX-License-Identifier: BSD-3-Clause */
/* libmrn-libfabric-preload.so: what `mrn run` preloads into a program that uses libfabric. No program links with it. */
#ifndef MRN_LIBFABRIC_PRELOAD_H
#define MRN_LIBFABRIC_PRELOAD_H

#include <stddef.h>

/* mrn_libfabric_begin, once libmrn-libfabric is there; nothing before. */
void mrn_fabric_preload_begin(const void *addr, size_t length);

#endif
