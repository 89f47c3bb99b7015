/* SPDX-License-Identifier: BSD-3-Clause */
/* Parts and hooks of hmm: os/check.h. */
#ifndef MRN_HMM_CHECK_H
#define MRN_HMM_CHECK_H

#include <stdint.h>

#include "os/check.h"

MRN_PART(HMM_OWN_RETRY);	/* hmm_range_fault of own memory does not check for collisions */
MRN_PART(HMM_OWN_FD);		/* nor that its descriptors are still its own */
MRN_PART(HMM_NO_START);		/* a change of managed memory is not announced */
MRN_PART(HMM_EARLY_END);	/* the end is announced before anything has changed */
MRN_PART(HMM_NO_ZAP);		/* the CPU keeps its entries */
MRN_PART(HMM_NO_WRITE_PROTECT); /* the CPU goes on writing */
MRN_PART(HMM_TOUCHED);		/* a write in the moment of a rebind is not seen */
MRN_PART(HMM_REBIND_ZAP);	/* entries that appear in that moment stay */
MRN_PART(HMM_MOVE_SOFT);	/* a page that moves away leaves no soft-dirty */
MRN_PART(HMM_TAKE);		/* soft-dirty is read first, then cleared */
MRN_PART(HMM_DIRTY);		/* what a device reports as written is ignored */
MRN_PART(HMM_PINS);		/* pins do not keep frames */
MRN_PART(HMM_LOCK);		/* pages are not locked */
MRN_PART(HMM_OURS);		/* events are read even while addresses are in use */
MRN_PART(HMM_TOLD);		/* each worker announces a lost page */
MRN_PART(HMM_LOST);		/* lost pages are not marked */
MRN_PART(HMM_KEEPER);		/* the program's descriptors are used unchecked */
MRN_PART(HMM_FREE);		/* device memory is not freed */
MRN_PART(HMM_SPARE);		/* a worker starts a job without an idle worker left */

/* hmm_range_fault of own memory is about to read the entries from addr on. */
MRN_HOOK_TYPE(hmm_own, uintptr_t addr);
/* A handler has read a page fault, and is about to serve it. */
MRN_HOOK_TYPE(hmm_fault, uintptr_t addr);
/* The entries of pages at addr, which are ours, are about to be emptied or hidden. */
MRN_HOOK_TYPE(hmm_cpu, uintptr_t addr);
/* The mapping at addr maps its new frames, and is not watched yet. */
MRN_HOOK_TYPE(hmm_rebind, uintptr_t addr);
/* A number in the program's table has been checked, and a system call is about to use it. */
MRN_HOOK_TYPE(hmm_call, int fd);
/* The rebound mapping is watched again; entries that appeared meanwhile are still there. */
MRN_HOOK_TYPE(hmm_watched, uintptr_t addr);

#endif
