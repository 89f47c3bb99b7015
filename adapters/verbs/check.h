/* SPDX-License-Identifier: BSD-3-Clause */
/* Parts and hooks of the adapter for verbs: os/check.h. */
#ifndef MRN_VERBS_CHECK_H
#define MRN_VERBS_CHECK_H

#include "os/check.h"

MRN_PART(VERBS_FORK);	/* whatever libibverbs does at a fork is right */
MRN_PART(VERBS_RIGHTS); /* what is only read may be written, too */

#endif
