/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tells listeners which memory becomes good for one use at a time, and which is good again (mrn_source_watch_once).
 *
 * Nothing calls when a zap is over: whoever looks finds out. And the threads that learn of one hold what callbacks would
 * need: the keeper and the monitor a token over everything, whoever arms the userfaultfd's lock. So a thread of its own
 * looks at the set, and tells how it differs from what it has told; it holds nothing meanwhile but its list. While the
 * set is empty it sleeps. It is there as long as anybody listens.
 */
#ifndef MRN_SOURCE_USE_ONCE_WATCH_H
#define MRN_SOURCE_USE_ONCE_WATCH_H

#include <pthread.h>

#include "os/mutex.h"
#include "source/uffd/use_once.h"

struct mrn_once_watching {
	struct mrn_mutex starting; /* one thread at a time starts or ends the thread that tells */
	struct mrn_mutex lock;	   /* of the list; held during calls */
	struct mrn_once_watch *first;
	pthread_t teller;
	uint64_t teller_number; /* atomic; 0: it is not there */
	uint32_t over;		/* atomic, a futex: it is to end */
	/* What has been told; the teller's own. */
	unsigned int n;
	struct mrn_use_once_piece told[MRN_USE_ONCE_PIECES];
};

#endif
