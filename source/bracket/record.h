/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Places of a fixed table, for code that may not allocate. Each has one owner at a time, which takes it by its flag.
 *
 * Brackets are not instrumented for ThreadSanitizer, so it sees the next user of a token, but not what orders that user
 * after the last one. These functions tell it.
 */
#ifndef MRN_SOURCE_BRACKET_RECORD_H
#define MRN_SOURCE_BRACKET_RECORD_H

#include <stdbool.h>

#ifdef MRN_CHECK
void __tsan_acquire(void *addr) __attribute__((weak));
void __tsan_release(void *addr) __attribute__((weak));
#define MRN_SEEN(what, addr)                 \
	do {                                 \
		if (__tsan_##what)           \
			__tsan_##what(addr); \
	} while (0)
#else
#define MRN_SEEN(what, addr) ((void)0)
#endif

/* False if the place has another owner. */
static inline bool mrn_record_take(bool *taken)
{
	if (__atomic_load_n(taken, __ATOMIC_RELAXED) ||
	    __atomic_exchange_n(taken, true, __ATOMIC_ACQUIRE))
		return false;
	MRN_SEEN(acquire, taken);
	return true;
}

static inline void mrn_record_give(bool *taken)
{
	MRN_SEEN(release, taken);
	__atomic_store_n(taken, false, __ATOMIC_RELEASE);
}

#endif
