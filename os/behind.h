/* SPDX-License-Identifier: BSD-3-Clause */
/* For preloaded libraries: the function of a library that one of ours stands in front of. Not for the event path. */
#ifndef MRN_OS_BEHIND_H
#define MRN_OS_BEHIND_H

/*
 * Returns the next function of this name, or NULL. The library may be in the program's scope, behind us, or only in that
 * of a library that was opened later. It stays loaded from then on, since callers keep the function's address.
 */
void *mrn_behind_find(const char *name, const char *library);

/* The same, looked up until it is found. Threads that look it up together find the same. */
#define MRN_BEHIND(name, library)                                                         \
	__extension__({                                                                   \
		static __typeof__(&(name)) behind_;                                       \
		__typeof__(&(name)) found_ = __atomic_load_n(&behind_, __ATOMIC_RELAXED); \
                                                                                          \
		if (!found_) {                                                            \
			found_ = (__typeof__(&(name)))mrn_behind_find(#name, library);    \
			__atomic_store_n(&behind_, found_, __ATOMIC_RELAXED);             \
		}                                                                         \
		found_;                                                                   \
	})

#endif
