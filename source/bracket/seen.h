/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Brackets are not instrumented for ThreadSanitizer, which sees the next user of a token that is reused and not what orders him
 * after the last one. So it is told: MRN_SEEN(acquire, addr), MRN_SEEN(release, addr).
 */
#ifndef MRN_SOURCE_BRACKET_SEEN_H
#define MRN_SOURCE_BRACKET_SEEN_H

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

#endif
