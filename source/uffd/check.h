/* SPDX-License-Identifier: BSD-3-Clause */
/* Parts and hooks of the userfaultfd source: os/check.h. */
#ifndef MRN_SOURCE_UFFD_CHECK_H
#define MRN_SOURCE_UFFD_CHECK_H

#include <stdint.h>

#include "os/check.h"

MRN_PART(UFFD_LATE_TOKEN);     /* the keeper reads an event, and publishes a token afterwards */
MRN_PART(UFFD_REMOVE_TRAP);    /* the keeper treats REMOVE as if the zap were over */
MRN_PART(UFFD_ZAPS_BELIEVED);  /* whoever zaps inside malloc is believed to be done at once */
MRN_PART(UFFD_ZAPPER_MISSED);  /* of the threads inside malloc, the last one is not seen */
MRN_PART(UFFD_TRIM_LATE);      /* who is in malloc_trim is looked at after the read only */
MRN_PART(UFFD_RING_MISSED);    /* a ring's own thread counts as seen outside of madvise */
MRN_PART(UFFD_RUNNING_MISSED); /* a thread that runs counts as one that does not zap */
MRN_PART(ONCE_WAKE);	       /* whoever waits for what is discarded is not woken */
MRN_PART(ONCE_LOOKS);	       /* nobody looks at all threads but by chance */
MRN_PART(ONCE_DETACH);	       /* after detach, memory stays good for one use */
MRN_PART(UFFD_HOLES);	       /* a range counts as armed without a check for holes */
MRN_PART(
	/* The keeper shares the program's table, and arming trusts the number there. */
	UFFD_NUMBERS);
MRN_PART(ARMED_MAYBE);	   /* maybe is set after arming */
MRN_PART(ARMED_EVENT);	   /* an event leaves sure as it is */
MRN_PART(ARMED_UNREAD);	   /* an event that is unread, or was read meanwhile, does not count */
MRN_PART(ARMED_STEADY);	   /* a range is armed while a bracket is open */
MRN_PART(ARMED_LOOSE);	   /* what can go away without an event is remembered, too */
MRN_PART(ARMED_GIVE_BACK); /* what is given back is not looked at again */
MRN_PART(UFFD_OVERFLOW);   /* events that do not fit into a batch are dropped */

/* A thread that arms has looked at nothing yet. */
MRN_HOOK_TYPE(uffd_arm, void);
/* It has armed a range, and has not looked at it yet. */
MRN_HOOK_TYPE(uffd_registered, void);
/* It has looked for the last time, and is about to note that the range is sure. */
MRN_HOOK_TYPE(uffd_sure, void);
/* A thread has found a range without a notifier, and is about to disarm it. */
MRN_HOOK_TYPE(uffd_disarm, void);
/* The keeper has an event, but has not held lookups or read it yet. */
MRN_HOOK_TYPE(uffd_event, void);
/* The keeper has read events, but has told nobody yet. */
MRN_HOOK_TYPE(uffd, void);

#ifdef MRN_CHECK
/* If set: taken for the system's vm.max_map_count at the first attach. */
MRN_CHECK_WEAK _Atomic uint64_t mrn_check_max_mappings;
#endif

#endif
