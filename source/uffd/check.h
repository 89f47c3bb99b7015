/* SPDX-License-Identifier: BSD-3-Clause */
/* Parts and hooks of the userfaultfd source: os/check.h. */
#ifndef MRN_SOURCE_UFFD_CHECK_H
#define MRN_SOURCE_UFFD_CHECK_H

#include <stdint.h>

#include "os/check.h"

MRN_PART(UFFD_LATE_TOKEN);  /* the monitor reads an event, and publishes a token afterwards */
MRN_PART(UFFD_REMOVE_TRAP); /* the monitor treats REMOVE as if the zap were over */
MRN_PART(UFFD_HOLES);	    /* a range counts as armed without a look for holes */
MRN_PART(
	UFFD_NUMBERS); /* numbers are taken for what they meant: the keeper's are in the program's table */
MRN_PART(UFFD_OVERFLOW); /* what does not fit into a batch is forgotten */

/* The keeper has an event, and has yet to hold lookups and to read it. */
MRN_HOOK_TYPE(uffd_event, void);
/* The keeper has read events, and has told nobody yet. */
MRN_HOOK_TYPE(uffd, void);

#ifdef MRN_CHECK
/* When it is set: what the system's vm.max_map_count is taken to be at the first attach. */
MRN_CHECK_WEAK _Atomic uint64_t mrn_check_max_mappings;
#endif

#endif
