/* SPDX-License-Identifier: BSD-3-Clause */
/* Parts and hooks of the protocol: os/check.h. */
#ifndef MRN_CORE_CHECK_H
#define MRN_CORE_CHECK_H

#include <mrn/mmu_notifier.h>

#include "os/check.h"
#include "os/thread.h"

MRN_PART(A1_CALLBACKS); /* start calls no range notifier */
MRN_PART(A1_PASSES);	/* a finish runs right after its own first pass */
MRN_PART(A1_FINISH);	/* start forgets the finishes that it owes */
MRN_PART(
	A1_WATCHER); /* the watcher may disarm what one notifier has while others' passes are left */
MRN_PART(A1_FINISH_NEXT); /* start looks at a finish that its consumer has taken back */
MRN_PART(A1_RELEASE); /* a notifier that is unregistered is told of nothing during its release */
MRN_PART(A1_OTHERS_RELEASE); /* nobody waits for a release that another thread runs */
MRN_PART(A2_WAIT);	     /* read_begin does not wait for tokens */
MRN_PART(A3_FIRST_READ);     /* a new notifier's first read does not look at all tokens */
MRN_PART(A4_EARLY_END);	     /* the token is withdrawn as soon as start returns */
MRN_PART(
	A5_GRACE); /* remove does not wait for walks that have found the notifier, and not pinned it */
MRN_PART(A5_FINISH_PIN);   /* a notifier that is owed a finish is let go of after its first pass */
MRN_PART(A6_FINISH);	   /* a refusal forgets the finishes that are owed */
MRN_PART(A6_TOLD);	   /* end calls whoever was registered, not whom start called */
MRN_PART(A6_END_LIST);	   /* a refusal does not end the list notifiers that started */
MRN_PART(A6_TOKEN);	   /* a refusal does not withdraw the token */
MRN_PART(P1_LATER_TOKENS); /* read_begin waits for tokens that started later, too */
MRN_PART(P4_OWN_TOKEN);	   /* a thread waits for its own token */
MRN_PART(SEQ_PROCESS);	   /* notifiers' first seqs come from their mm's counter */
MRN_PART(FORK_FINISH);	   /* a forked child calls the finishes that its parent owes */
MRN_PART(ORDER_OWNER);	   /* a driver lock counts as held, whoever holds it */
MRN_PART(ORDER_WAITS);	   /* who holds one is reported in calls, too, that wait for no callback */
MRN_PART(ORDER_EVENTS);	   /* or only for callbacks that are not told of the event */
MRN_PART(ORDER_FINISH);	   /* a removal is never reported for another notifier's lock */
MRN_PART(ORDER_DROP);	   /* or after the last notifier has been removed */

/* read_begin is about to wait for a token with this seq. */
MRN_HOOK_TYPE(wait, uint64_t token_seq);
/* The first read of mrn has waited, and is about to note that. */
MRN_HOOK_TYPE(read, const struct mmu_range_notifier *mrn);
/* In a section: a walk has found e, and is about to pin it. */
MRN_HOOK_TYPE(walk, const struct mrn_index_entry *e);
/* A list notifier has drawn its number, and is about to be linked. The list's lock is held. */
MRN_HOOK_TYPE(link, void);

#ifdef MRN_CHECK
/* Token slots in use, fewer than there are: makes the overflow path easy to reach. 0: all. */
MRN_CHECK_WEAK _Atomic unsigned int mrn_check_slots;

/* This thread's depth of event-path code; a test's malloc aborts if it is not 0. */
MRN_CHECK_WEAK MRN_TLS unsigned int mrn_check_event_path;
#define MRN_EVENT_PATH_ENTER() (mrn_check_event_path++)
#define MRN_EVENT_PATH_LEAVE() (mrn_check_event_path--)
#else
#define MRN_EVENT_PATH_ENTER() ((void)0)
#define MRN_EVENT_PATH_LEAVE() ((void)0)
#endif

#endif
