/* SPDX-License-Identifier: BSD-3-Clause */
/* Parts of what the adapters share: os/check.h. */
#ifndef MRN_ADAPTERS_CHECK_H
#define MRN_ADAPTERS_CHECK_H

#include "os/check.h"

MRN_PART(REGISTRATIONS_STUCK); /* a registration that the device refuses to end is gone */
MRN_PART(REGISTRATIONS_TURN);  /* one that is refused again is the next to be tried, too */
MRN_PART(ADAPTER_CALLBACK);    /* nobody looks whether this is a callback before allocating */

#endif
