/* SPDX-License-Identifier: BSD-3-Clause */
/* Parts of the checking recorder: os/check.h. */
#ifndef MRN_CHECK_CHECK_H
#define MRN_CHECK_CHECK_H

#include "os/check.h"

MRN_PART(CHECK_FLIGHTS); /* what has ended counts as in flight */

#endif
