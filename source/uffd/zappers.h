/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who may be zapping a range that the kernel has sent a REMOVE for: some threads inside malloc, all of which can be
 * seen to leave it; or anybody, of whom nothing can be said.
 */
#ifndef MRN_SOURCE_UFFD_ZAPPERS_H
#define MRN_SOURCE_UFFD_ZAPPERS_H

#include <stdbool.h>
#include <stdint.h>

#include "source/heap_callers.h"

#define MRN_ZAPPERS_MAX 8

struct mrn_zapper {
	struct mrn_heap_caller *caller;
	enum mrn_heap_call call;
	uint64_t inside; /* the value of its word */
};

struct mrn_zappers {
	bool anybody; /* then there is no list */
	unsigned int n;
	struct mrn_zapper of[MRN_ZAPPERS_MAX];
};

/*
 * Who is in malloc_trim. Call before an event is read: until then the thread that has made it sleeps inside, and soon
 * after it may have left.
 */
struct mrn_zappers mrn_zappers_in_trim(void);
/*
 * Call after the event has been read. The zap must be by malloc, and in malloc's own unused memory; and its thread, if
 * it is still there, among the odd words. Otherwise anybody may be zapping. trimming: who was in malloc_trim before.
 */
struct mrn_zappers mrn_zappers_of(uintptr_t start, uintptr_t end,
				  const struct mrn_zappers *trimming);
/* Adds other's zappers. */
void mrn_zappers_join(struct mrn_zappers *z, const struct mrn_zappers *other);
/*
 * True if each of them has left malloc since. Then the zap is over, and what is pinned from now on stays. Makes a system
 * call for each thread that has begun to end.
 */
bool mrn_zappers_are_gone(struct mrn_zappers *z);

#endif
