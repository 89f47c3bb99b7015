/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Prints what has been found while the program runs, which may be for days, in a thread of its own: standard error may be a
 * pipe that nobody reads, and the program and its children must not wait for that.
 */
#ifndef MRN_CHECK_PRINTER_H
#define MRN_CHECK_PRINTER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "check/tool/collect.h"
#include "check/tool/suppress.h"

struct printer {
	struct collection *collection;
	pthread_mutex_t *lock; /* held by whoever looks at the collection */
	const struct suppressions *suppressions;
	uint64_t max; /* reports */

	/* Under the lock. */
	uint64_t printed, left_out; /* reports; of the latter for max */
	uint32_t suppressed;
	bool no_names; /* no memory for them */
	int error;     /* of writing a report */

	/* private */
	pthread_t thread;
	pthread_cond_t more;
	bool runs, over;
	uint32_t next; /* the first item that has not been told of */
};

/* After the first members have been set. */
void printer_create(struct printer *p);
/* The collection has more: with the lock held. If there can be no thread, printer_finish prints it. */
void printer_more(struct printer *p);
/* Prints what is left. The collection has no more. */
void printer_finish(struct printer *p);

#endif
