/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which threads are inside a function of glibc's malloc that may zap memory of a heap (MADV_DONTNEED). libmrn-interpose
 * brackets these functions and writes (interpose/heap_callers.c); libmrn reads (uffd/zappers.c).
 *
 * Each thread has a caller of its own, with words that are odd while the thread is inside:
 *
 *	thread				kernel				keeper
 *	word = odd
 *	free -> madvise
 *					event queued, under a lock
 *									read, under the lock
 *									word is odd: notes its value
 *					zaps
 *	word = even (release)
 *									word has changed (acquire): the zap is over
 *
 * The odd store is before the event: in program order, and then by the kernel's lock, which passes from the thread to
 * the keeper's read. So whatever zaps after an event that has been read is among the odd words, or is over.
 *
 * In glibc 2.26 to 2.36 the following may zap: free, realloc, and the aligned allocations, which free what they cut off;
 * malloc and calloc of more than 64 KiB, which may free the rest of a heap that is too small; malloc_trim; and a thread
 * at its end, which frees what it has kept for itself. The last has no function that could be bracketed. So a thread
 * that has begun to end counts as inside until the kernel says that it is gone.
 */
#ifndef MRN_SOURCE_HEAP_CALLERS_H
#define MRN_SOURCE_HEAP_CALLERS_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include "os/syscall.h"

/* What a thread may be inside of: each has a word. malloc_trim counts as both. */
enum mrn_heap_call {
	MRN_HEAP_TOP,  /* zaps only what lies at the end of a heap and belongs to no block */
	MRN_HEAP_TRIM, /* zaps what lies between blocks */
	MRN_NR_HEAP_CALLS
};

struct mrn_heap_caller {
	uint64_t owner; /* an address in the thread's own storage; 0: the caller is free */
	uint64_t word[MRN_NR_HEAP_CALLS];
	uint64_t ending; /* of a thread that has begun to end: its tid, and a word above it; or 0 */
} __attribute__((aligned(64)));

/* Threads that have allocated something and are not gone. With more, nothing is known of any. */
#define MRN_HEAP_CALLERS 1024

struct mrn_heap_callers {
	uint32_t used; /* callers that have ever been claimed: the first ones */
	struct mrn_heap_caller caller[MRN_HEAP_CALLERS];
};

struct mrn_heap_knowledge {
	/* In pages that a forked child finds zeroed; NULL before the first call. */
	struct mrn_heap_callers *callers;
	bool lost; /* a thread without a caller has been inside; stays */
};

/*
 * Called by libmrn-interpose's constructor if it brackets glibc's malloc, and nothing is in front of its functions: k
 * knows of every call that does not go past it.
 */
void mrn_interposer_knows_heap(const struct mrn_heap_knowledge *k);
/* NULL if nothing is known. */
const struct mrn_heap_knowledge *mrn_heap_knowledge(void);

/*
 * Frees the caller of a thread that is gone, and ends its words. False if the thread is there, or was not seen to end.
 * Async-signal-safe. The tid may be a new thread's by now: then the caller stays for longer.
 */
static inline bool mrn_heap_caller_recycle(struct mrn_heap_caller *c)
{
	uint64_t ending = __atomic_load_n(&c->ending, __ATOMIC_ACQUIRE), w;

	if (!ending || mrn_sys3(SYS_tgkill, mrn_sys0(SYS_getpid), (int32_t)ending, 0) != -ESRCH)
		return false;
	/* Threads may race here: one goes on. */
	if (!__atomic_compare_exchange_n(&c->ending, &ending, 0, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_RELAXED))
		return false;
	for (int i = 0; i < MRN_NR_HEAP_CALLS; i++) {
		w = __atomic_load_n(&c->word[i], __ATOMIC_RELAXED);
		__atomic_store_n(&c->word[i], (w | 1) + 1, __ATOMIC_RELEASE);
	}
	__atomic_store_n(&c->owner, 0, __ATOMIC_RELEASE);
	return true;
}

#endif
