/* SPDX-License-Identifier: BSD-3-Clause */
/* Parts of the walk up a stack: os/check.h. */
#ifndef MRN_WATCH_RECORD_CHECK_H
#define MRN_WATCH_RECORD_CHECK_H

#include "os/check.h"

MRN_PART(WATCH_IMAGES); /* the table of an unmapped module stays in use */

#endif
