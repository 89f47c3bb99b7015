/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checking builds (-DMRN_CHECK): the library with parts that a test can break, one at a time, to show that the test
 * notices; and with hooks, where a test can step in. In a release build the compiler removes all of it.
 *
 * Each layer lists its parts and hooks in its own check.h, one line each. That line is also a weak definition, so that
 * all files that include it share one variable. Tests set these at any time, even while monitors run.
 */
#ifndef MRN_OS_CHECK_H
#define MRN_OS_CHECK_H

#ifdef MRN_CHECK

#include <stdatomic.h>
#include <stdbool.h>

#define MRN_CHECKS     1
#define MRN_CHECK_WEAK __attribute__((weak))

/* A part that a known-bad twin breaks. */
#define MRN_PART(part)	 MRN_CHECK_WEAK _Atomic bool mrn_broken_##part
#define MRN_BROKEN(part) atomic_load_explicit(&mrn_broken_##part, memory_order_relaxed)
#define MRN_BREAK(part)	 atomic_store(&mrn_broken_##part, true)

/* A test's function, which MRN_HOOK calls: mrn_check_NAME_hook, or NULL. */
#define MRN_HOOK_TYPE(name, ...) MRN_CHECK_WEAK void (*_Atomic mrn_check_##name##_hook)(__VA_ARGS__)
#define MRN_HOOK(name, ...)                                               \
	do {                                                              \
		__auto_type hook = atomic_load(&mrn_check_##name##_hook); \
                                                                          \
		if (hook)                                                 \
			hook(__VA_ARGS__);                                \
	} while (0)

#else

#define MRN_CHECKS		 0
#define MRN_PART(part)		 _Static_assert(1, #part)
#define MRN_BROKEN(part)	 0
#define MRN_HOOK_TYPE(name, ...) _Static_assert(1, #name)
#define MRN_HOOK(name, ...)	 ((void)0)

#endif

MRN_PART(FORK_WIPE); /* a forked child finds what its parent wrote */
MRN_PART(FORK_ROOM); /* and keeps its parent's room */

MRN_PART(BEHIND_EARLY); /* what is behind a function is looked for when it is called */
/* os/behind.c: this one is looked for at a call. */
MRN_HOOK_TYPE(behind_looks, const char *name);

MRN_PART(PAGES_KEPT); /* no addresses are kept for later */

MRN_PART(CANCEL_HOLD); /* a thread may be cancelled inside a callback */

/* Not a defect: the library as in a release, which does not look for misuse. */
MRN_PART(MISUSE_CHECKS);

/* Not defects: the library as on an older kernel. */
MRN_PART(
	UFFD_TAKES_ALL); /* before Linux 6.17: one userfaultfd's UFFDIO_UNREGISTER takes what another has */
MRN_PART(PROCMAP_QUERY); /* before 6.11 */
MRN_PART(PAGEMAP_SCAN);	 /* before 6.7 */
MRN_PART(MADV_POPULATE); /* before 5.14 */

#endif
