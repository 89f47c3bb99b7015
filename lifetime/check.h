/* SPDX-License-Identifier: BSD-3-Clause */
/* Parts of lifetimes: os/check.h. */
#ifndef MRN_LIFETIME_CHECK_H
#define MRN_LIFETIME_CHECK_H

#include "os/check.h"

MRN_PART(A5_REMOVE_WAIT); /* remove does not wait for running callbacks */

#endif
