/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Calls that the program's sandbox (seccomp) refuses. If one of ours is among them, it is not made, and returns -EPERM,
 * whatever the sandbox would have done. They are known by number alone: source/confined.h.
 */
#ifndef MRN_OS_REFUSED_H
#define MRN_OS_REFUSED_H

#include <stdbool.h>
#include <stdint.h>

#define MRN_NR_CALLS 512

/* A bit for each number. */
struct mrn_call_set {
	uint64_t word[MRN_NR_CALLS / 64];
};

static inline bool mrn_call_set_has(const struct mrn_call_set *calls, unsigned long nr)
{
	return nr < MRN_NR_CALLS &&
	       (__atomic_load_n(&calls->word[nr / 64], __ATOMIC_RELAXED) >> (nr % 64) & 1);
}

static inline void mrn_call_set_add(struct mrn_call_set *calls, unsigned long nr)
{
	__atomic_fetch_or(&calls->word[nr / 64], UINT64_C(1) << (nr % 64), __ATOMIC_RELAXED);
}

/* For this process and all its children: filters are never removed. */
struct mrn_refused {
	struct mrn_call_set somewhere; /* in at least one thread of the program */
	struct mrn_call_set
		everywhere; /* in threads that were there before, too, our own among them */
};

/* Each library of a build has its own copy of this file, and reads libmrn's. */
extern const struct mrn_refused *mrn_refused __attribute__((visibility("hidden")));

/* True if nr, which is refused somewhere, is refused in the calling thread. */
bool mrn_is_refused_here(unsigned long nr) __attribute__((visibility("hidden")));

static inline bool mrn_is_refused(long nr)
{
	return __builtin_expect(mrn_call_set_has(&mrn_refused->somewhere, (unsigned long)nr), 0) &&
	       mrn_is_refused_here((unsigned long)nr);
}

/* For a thread of the library: records the calls refused so far, which its maker's filters refuse to it, too. */
void mrn_refused_inherit(void) __attribute__((visibility("hidden")));
void mrn_refused_inherit_nothing(void) __attribute__((visibility("hidden")));

/* For libmrn: from now on these calls are refused, everywhere or in some threads. Event path. */
void mrn_refuse(const struct mrn_call_set *calls, bool everywhere)
	__attribute__((visibility("hidden")));

#endif
