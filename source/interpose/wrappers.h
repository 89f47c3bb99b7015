/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef MRN_SOURCE_INTERPOSE_WRAPPERS_H
#define MRN_SOURCE_INTERPOSE_WRAPPERS_H

#define FUNCTION(name)	  +1
#define REAL(name)	  +1
#define REAL_AS(name, as) +1
enum {
	MRN_WRAPPERS = 0
#include "source/interpose/functions.def"
};
#undef FUNCTION
#undef REAL
#undef REAL_AS

extern const void *const mrn_wrappers[];

#endif
