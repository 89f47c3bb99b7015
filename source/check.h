/* SPDX-License-Identifier: BSD-3-Clause */
/* Parts and hooks of sources as such: os/check.h. */
#ifndef MRN_SOURCE_CHECK_H
#define MRN_SOURCE_CHECK_H

#include "os/check.h"

MRN_PART(SOURCE_LOSS);	   /* nobody checks whether the wrappers have been overwritten */
MRN_PART(SOURCE_HALF);	   /* of kinds that are attached together, some stay if one fails */
MRN_PART(SOURCE_NAMES);	   /* dispatch's announcements count in the interposer's self-test */
MRN_PART(SOURCE_FILES);	   /* a file on disk counts as memory like any other */
MRN_PART(CONFINED_TRIAL);  /* unseen filters are ignored */
MRN_PART(CONFINED_FILTER); /* a filter is taken to let everything pass */

#endif
