/* SPDX-License-Identifier: BSD-3-Clause */
/* Parts of the walk up a stack: os/check.h. */
#ifndef MRN_WATCH_RECORD_CHECK_H
#define MRN_WATCH_RECORD_CHECK_H

#include "os/check.h"

MRN_PART(WATCH_IMAGES); /* the table of an unmapped module stays in use */
MRN_PART(WATCH_ONCE);	/* a module is used after one look */
MRN_PART(WATCH_KEPT);	/* a kept stack is not compared with what is there */

MRN_HOOK_TYPE(watch_kept, unsigned int nr); /* a kept stack is used */

#endif
