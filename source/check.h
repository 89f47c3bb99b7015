/* SPDX-License-Identifier: BSD-3-Clause */
/* Parts and hooks of sources as such: os/check.h. */
#ifndef MRN_SOURCE_CHECK_H
#define MRN_SOURCE_CHECK_H

#include <mrn/mmu_notifier.h>

#include "os/check.h"

MRN_PART(BYPASS_OBSERVED); /* the observer is not shown a call past the sources */
MRN_PART(SOURCE_LOSS);	   /* nobody checks whether the wrappers have been overwritten */
MRN_PART(SOURCE_HALF);	   /* of kinds that are attached together, some stay if one fails */
MRN_PART(SOURCE_NAMES);	   /* dispatch's announcements count in the interposer's self-test */
MRN_PART(SOURCE_TRIED);	   /* what is lost during its trial counts as covered after it */
MRN_PART(PLAIN_HOLES);	   /* what is not mapped is remembered to show no file */
MRN_PART(PLAIN_FORGET);	   /* a bracket leaves what is known of a range */
MRN_PART(PLAIN_STEADY);	   /* what is looked at during a bracket is remembered */
MRN_PART(PLAIN_AGAIN);	   /* a look leaves what an earlier one has found until it is over */
MRN_PART(PLAIN_GUESTS);	   /* what is looked at while there is a guest is remembered */
/* A thread has looked at a range, and has not noted yet what it has found. */
MRN_HOOK_TYPE(plain_look, void);
MRN_PART(SOURCE_FILES);	   /* a file on disk counts as memory like any other */
MRN_PART(CONFINED_TRIAL);  /* unseen filters are ignored */
MRN_PART(CONFINED_FILTER); /* a filter is taken to let everything pass */
MRN_PART(ARMING_UNREAD);   /* a callback leaves the notifier's state as it was */
MRN_PART(ARMING_TAG);	   /* a reader notes that it has armed, whatever came in between */
MRN_PART(ARMING_WAITED);   /* a reader that has waited for a token takes the notifier for armed */
MRN_PART(ARMING_ONCE);	   /* what is good for one use is kept until a change is announced */
MRN_PART(ARMING_AGAIN);	   /* and is kept once the range can be watched again */

MRN_PART(ONCE_FIRST);	 /* the first reason found is the only one that is told */
MRN_PART(ONCE_UNTRIED);	 /* why a range is good for one use is told without arming it */
MRN_PART(ONCE_ARMED);	 /* and what was armed for that stays so */
MRN_PART(ONCE_TOLD);	 /* what listeners have been told is not noted */
MRN_PART(ONCE_NEWCOMER); /* a new listener is told of changes only */
MRN_PART(ONCE_UNWATCH);	 /* a listener leaves during a call of it */
MRN_PART(ONCE_OVER);	 /* the thread that tells listeners may miss that it is over */

/* A kind of source has been tried, and what was seen is about to be stored. */
MRN_HOOK_TYPE(tried, int kind);
/* The thread that tells listeners has found that it is not over. */
MRN_HOOK_TYPE(once_goes_on, void);
/* It has nothing to tell, and is about to sleep. */
MRN_HOOK_TYPE(once_sleeps, void);
/* A reader has armed a notifier's range, and is about to note that. */
MRN_HOOK_TYPE(armed, const struct mmu_range_notifier *mrn);

#endif
