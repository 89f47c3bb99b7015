/* SPDX-License-Identifier: BSD-3-Clause */
/* Parts and hooks of sources as such: os/check.h. */
#ifndef MRN_SOURCE_CHECK_H
#define MRN_SOURCE_CHECK_H

#include "os/check.h"

MRN_PART(SOURCE_LOSS);	   /* nobody looks whether the wrappers have been written over */
MRN_PART(SOURCE_HALF);	   /* of kinds that are attached together, some stay where one fails */
MRN_PART(SOURCE_NAMES);	   /* dispatch answers the interposer's self-test */
MRN_PART(SOURCE_FILES);	   /* a file on disk is taken for memory like any other */
MRN_PART(CONFINED_TRIAL);  /* filters that nobody has seen come are taken for none */
MRN_PART(CONFINED_FILTER); /* a filter is taken to let everything pass */

#endif
