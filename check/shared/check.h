/* SPDX-License-Identifier: BSD-3-Clause */
/* Parts of the checking recorder: os/check.h. */
#ifndef MRN_CHECK_CHECK_H
#define MRN_CHECK_CHECK_H

#include "os/check.h"

MRN_PART(CHECK_FLIGHTS);       /* what has ended counts as in flight */
MRN_PART(CHECK_KEYS_TORN);     /* a value may be of two keys */
MRN_PART(CHECK_VERBS_TWICE);   /* what libibverbs calls by name is a registration of its own */
MRN_PART(CHECK_VERBS_REFUSED); /* a region has ended although that was refused */
MRN_PART(CHECK_VERBS_IOVA);    /* work requests name memory by the program's addresses */
MRN_PART(CHECK_GPU_TWICE);     /* what CUDA's runtime calls by name is a registration of its own */
MRN_PART(CHECK_UCX_TYPES);     /* a request's count is one of bytes */

#endif
