/* SPDX-License-Identifier: BSD-3-Clause */
/* Parts of libfabric registrations' adapter: os/check.h. */
#ifndef MRN_FABRIC_CHECK_H
#define MRN_FABRIC_CHECK_H

#include "os/check.h"

MRN_PART(FABRIC_MR_KEYS);      /* a key is its memory's page number: new memory gets the old key */
MRN_PART(FABRIC_MR_TELL);      /* nobody hears of a share whose memory has changed */
MRN_PART(FABRIC_MR_FORK);      /* a fork expires shares, whose pinned pages it leaves alone */
MRN_PART(FABRIC_MR_FORK_INIT); /* libibverbs' fork support is not looked at */
MRN_PART(FABRIC_MR_LATE);      /* a change while a share is being made is overlooked */

MRN_HOOK_TYPE(fabric_sharing,
	      void); /* the share has its registration, and has yet to look for changes */

#endif
