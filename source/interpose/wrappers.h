/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef MRN_SOURCE_INTERPOSE_WRAPPERS_H
#define MRN_SOURCE_INTERPOSE_WRAPPERS_H

#define FUNCTION(name, call) +1
enum {
	MRN_WRAPPERS = 0
#include "source/interpose/functions.def"
};

extern const void *const mrn_wrappers[];

#endif
