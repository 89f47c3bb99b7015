/* SPDX-License-Identifier: BSD-3-Clause */
/* This thread's words: source/heap_callers.h. */
#ifndef MRN_SOURCE_INTERPOSE_HEAP_CALLERS_H
#define MRN_SOURCE_INTERPOSE_HEAP_CALLERS_H

#include "os/thread.h"
#include "source/heap_callers.h"

extern struct mrn_heap_knowledge mrn_heap_known;

/* Belongs to no thread; its words are odd, so nobody writes to them. */
extern struct mrn_heap_caller mrn_heap_nobody;
extern MRN_TLS struct mrn_heap_caller *mrn_heap_own_caller;

static inline uint64_t mrn_heap_owner(void)
{
	return (uintptr_t)&mrn_heap_own_caller;
}

/* False before the first call, and in a forked child, which finds the caller zeroed, or another thread's. */
static inline bool mrn_heap_is_owner(const struct mrn_heap_caller *c)
{
	return __builtin_expect(c->owner == mrn_heap_owner(), 1);
}

/*
 * The thread's caller. Each thread that may have memory of malloc's for itself must claim one, so that its end is seen.
 */
struct mrn_heap_caller *mrn_heap_claim_caller(void);

/*
 * begin returns what end takes. A call inside another one, as in a signal handler, stores nothing: the word is odd. A
 * handler that comes between the load and the store, in begin or in end, leaves the word even, and the store makes it
 * what it was to be; the word may then repeat a value, which looks as if a call went on for longer.
 */
static inline uint64_t mrn_heap_begin(uint64_t *word)
{
	uint64_t w = __atomic_load_n(word, __ATOMIC_RELAXED);

	if (w & 1)
		return 0;
	__atomic_store_n(word, w + 1, __ATOMIC_RELAXED);
	/* The kernel's lock orders the rest. */
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	return w + 2;
}

static inline void mrn_heap_end(uint64_t *word, uint64_t after)
{
	if (after)
		__atomic_store_n(word, after, __ATOMIC_RELEASE);
}

#endif
