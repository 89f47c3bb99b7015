/* SPDX-License-Identifier: BSD-3-Clause */
/* Parts and hooks of libfabric's adapter: os/check.h. */
#ifndef MRN_LIBFABRIC_CHECK_H
#define MRN_LIBFABRIC_CHECK_H

#include "os/check.h"

MRN_PART(FABRIC_BORN);	 /* a range that is watched only since after its pin is accepted */
MRN_PART(FABRIC_TOKENS); /* an invalidation that is in progress is forgotten */
MRN_PART(FABRIC_ARM);	 /* nor does arming notice it */
MRN_PART(FABRIC_MARK);	 /* one that is over is forgotten */
MRN_PART(FABRIC_PURGE); /* a range is watched anew while libfabric still has its old registration */
MRN_PART(FABRIC_BOUND); /* the table makes no room */
MRN_PART(FABRIC_REAPER); /* what has changed is never dropped */
MRN_PART(FABRIC_FORK);	 /* libibverbs' fork support is not looked at */
MRN_PART(FABRIC_TURN);	 /* two threads install it at a time */

MRN_HOOK_TYPE(fabric_checked, void); /* an install has changed nothing so far */

#endif
