/* SPDX-License-Identifier: BSD-3-Clause */
/* Parts and hooks of hmm: os/check.h. */
#ifndef MRN_HMM_CHECK_H
#define MRN_HMM_CHECK_H

#include <stdint.h>

#include "os/check.h"

MRN_PART(HMM_OWN_RETRY);	/* hmm_range_fault of own memory does not look for collisions */
MRN_PART(HMM_OWN_FD);		/* nor whether its descriptors are still its own */
MRN_PART(HMM_NO_START);		/* a change of managed memory is not announced */
MRN_PART(HMM_EARLY_END);	/* the end is announced before anything has changed */
MRN_PART(HMM_NO_ZAP);		/* the CPU keeps its entries */
MRN_PART(HMM_NO_WRITE_PROTECT); /* the CPU goes on writing */
MRN_PART(HMM_TOUCHED);		/* a write in the moment of a rebind is not seen */
MRN_PART(HMM_REBIND_ZAP);	/* what came up in that moment stays */
MRN_PART(HMM_TAKE);		/* soft-dirty is read first, and then cleared */
MRN_PART(HMM_DIRTY);		/* what a device says that it has written is forgotten */
MRN_PART(HMM_PINS);		/* pins do not keep frames */
MRN_PART(HMM_LOCK);		/* pages are not locked */
MRN_PART(HMM_OURS);		/* events are read whatever goes on */
MRN_PART(HMM_LOST);		/* lost pages are not marked */
MRN_PART(HMM_KEEPER);		/* descriptors are used as the program has them */
MRN_PART(HMM_FREE);		/* device memory is not given back */
MRN_PART(HMM_SPARE);		/* a worker leaves nobody behind who could run the next job */

/* Hmm_range_fault of own memory is about to look at addr and what follows. */
MRN_HOOK_TYPE(hmm_own, uintptr_t addr);
/* A handler of managed memory has read a page fault, and is about to serve it. */
MRN_HOOK_TYPE(hmm_fault, uintptr_t addr);
/* Pages at addr, found to be ours, are about to be emptied or hidden. */
MRN_HOOK_TYPE(hmm_cpu, uintptr_t addr);
/* The mapping at addr shows its new frames, and is not watched yet. */
MRN_HOOK_TYPE(hmm_rebind, uintptr_t addr);
/* A number in the program's table has been looked at, and a system call is about to go by it. */
MRN_HOOK_TYPE(hmm_call, int fd);
/* It is watched again, and entries that came up meanwhile are still there. */
MRN_HOOK_TYPE(hmm_watched, uintptr_t addr);

#endif
