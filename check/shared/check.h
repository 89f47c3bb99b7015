/* SPDX-License-Identifier: BSD-3-Clause */
/* Parts of the checking recorder: os/check.h. */
#ifndef MRN_CHECK_CHECK_H
#define MRN_CHECK_CHECK_H

#include "os/check.h"

MRN_PART(CHECK_AGAIN);		/* what is pinned again counts as changed */
MRN_PART(CHECK_BELIEVED);	/* a call that has failed has moved no page */
MRN_PART(CHECK_APART);		/* findings that read the same are counted apart */
MRN_PART(CHECK_CALLED);		/* a finding is in a library that the program calls */
MRN_PART(CHECK_CAME);		/* a page that was not there when it was registered is no file's */
MRN_PART(CHECK_CHANGES);	/* a change is not noted */
MRN_PART(CHECK_AWAY);		/* a page that is not in the page table has been taken */
MRN_PART(CHECK_BACK);		/* what is not in the page table does not come back */
MRN_PART(CHECK_BEGUN);		/* what is being changed when it is registered is not noted */
MRN_PART(CHECK_COPIES);		/* what a child does that is not followed counts */
MRN_PART(CHECK_DOUBT);		/* what may have ended counts as in flight */
MRN_PART(CHECK_DUP_FAILED);	/* a dup2 that fails has closed the second descriptor */
MRN_PART(CHECK_ENDED);		/* what has ended counts as in flight */
MRN_PART(CHECK_ENDS);		/* the end of a registration that was changed is not noted */
MRN_PART(CHECK_FABRIC_AGAIN);	/* pages that are pinned again are those that were */
MRN_PART(CHECK_FABRIC_ENDED);	/* a region has ended although that was refused */
MRN_PART(CHECK_FABRIC_REFUSED); /* a refresh that fails has pinned anew */
MRN_PART(CHECK_FABRIC_TWICE);	/* what libfabric does by libibverbs is told of both */
MRN_PART(CHECK_FAILED);		/* a call that fails is a change */
MRN_PART(CHECK_FLIGHTS);	/* what is in flight is not looked at */
MRN_PART(CHECK_GPU_CONTEXTS);	/* a registration outlives its context */
MRN_PART(CHECK_GPU_DEVICES);	/* the end of a context ends all registrations */
MRN_PART(CHECK_GPU_TWICE);	/* what CUDA's runtime calls by name is a registration of its own */
MRN_PART(CHECK_GUARDS);		/* a guard counts as the page that was there */
MRN_PART(CHECK_KEYS_GAP);	/* the old value is taken out before the new one is there */
MRN_PART(CHECK_KEYS_PASSED);	/* a walk that replacing has passed has seen all */
MRN_PART(CHECK_KEYS_TORN);	/* a value may be of two keys */
MRN_PART(CHECK_LATE);		/* one that cannot be removed at once has not ended */
MRN_PART(CHECK_LEFT);		/* a call that was left has made its change */
MRN_PART(CHECK_LIVES);		/* a registration counts as the one that has had its place */
MRN_PART(CHECK_LOOKED_ONCE);	/* what is not complete when it is looked at stays so */
MRN_PART(CHECK_MOVED);		/* an mremap that fails has moved nothing */
MRN_PART(CHECK_NESTED);		/* of two changes of a page, one that fails takes back both */
MRN_PART(CHECK_NUMBERS);	/* whether the page is the same is not asked */
MRN_PART(CHECK_OFFER_BACK);	/* a provided buffer that came back is the kernel's */
MRN_PART(CHECK_OFFER_EARLY);	/* one whose entry has not been read yet was passed over */
MRN_PART(CHECK_OFFER_OVER);	/* an entry that may have been written over counts */
MRN_PART(CHECK_OFFER_PART);	/* a buffer of which a part came back has come back */
MRN_PART(CHECK_OFFER_TWICE);	/* one that is provided twice is where it was last */
MRN_PART(CHECK_PLACED);		/* what is wanted by its address alone is taken by a discard, too */
MRN_PART(CHECK_OPEN_USE);	/* a change that has no end yet counts as one that was made */
MRN_PART(CHECK_PLACES_UNLOCKED); /* threads put ours in front together */
MRN_PART(CHECK_PLACES_WRAPPED);	 /* ours is put in front of a function that calls it */
MRN_PART(CHECK_POOL);		 /* the list's head does not show that it has been another */
MRN_PART(CHECK_PRINTS_LOCKED);	 /* whoever writes a report holds the lanes' lock */
MRN_PART(CHECK_RIGHTS);		 /* a change of rights counts as one of pages */
MRN_PART(CHECK_SIGNALS);	 /* a handler may interrupt an insertion */
MRN_PART(CHECK_SPARED);		 /* what a change spares counts as changed */
MRN_PART(CHECK_UCX_TYPES);	 /* a request's count is one of bytes */
MRN_PART(CHECK_UNPINNED);	 /* what may not be pinned is in doubt, too */
MRN_PART(CHECK_VERBS_IOVA);	 /* work requests name memory by the program's addresses */
MRN_PART(CHECK_VERBS_REFUSED);	 /* a region has ended although that was refused */
MRN_PART(CHECK_VERBS_TWICE);	 /* what libibverbs calls by name is a registration of its own */
MRN_PART(CHECK_VFIO_DEVICE);	 /* a device does not keep its container's mappings */
MRN_PART(CHECK_VFIO_REFUSED);	 /* a mapping is there although it was refused */
MRN_PART(CHECK_WHOLE);		 /* a change of a part counts as one of all of it */

/* check/record/pool.c: next has been read, the head has not been moved. */
MRN_HOOK_TYPE(pool_takes, void);
/* check/record/places.c: what is in a place is about to be noted. */
MRN_HOOK_TYPE(notes, void);
/* check/record/registration.c: a change of a registration has been found, and its end does not know yet. */
MRN_HOOK_TYPE(tells, void);
/* check/tool/printer.c: a report is about to be written. */
MRN_HOOK_TYPE(prints, void);

#endif
