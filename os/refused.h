/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Calls that a sandbox of the program's (seccomp) does not let pass. One of ours that is among them is not made: to whoever makes
 * it the kernel has answered -EPERM, whatever the sandbox would have done. They are known by number alone: source/confined.h.
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

/* Of this process, and of all that it forks: a filter stays. */
struct mrn_refused {
	struct mrn_call_set somewhere; /* in one thread of the program's, or in more */
	struct mrn_call_set
		everywhere; /* in threads that were there before, too, our own among them */
};

/* The libraries of a build have a copy of this file each, and look at libmrn's. */
extern const struct mrn_refused *mrn_refused __attribute__((visibility("hidden")));

/* In the thread that asks? nr is one that is refused somewhere. */
bool mrn_is_refused_here(unsigned long nr) __attribute__((visibility("hidden")));

static inline bool mrn_is_refused(long nr)
{
	return __builtin_expect(mrn_call_set_has(&mrn_refused->somewhere, (unsigned long)nr), 0) &&
	       mrn_is_refused_here((unsigned long)nr);
}

/* What the caller, a thread of the library's own, may not do by now it may not from its beginning. */
void mrn_refused_inherit(void) __attribute__((visibility("hidden")));
void mrn_refused_inherit_nothing(void) __attribute__((visibility("hidden")));

/* libmrn's: from now on these are refused, in all threads or not. Event path. */
void mrn_refuse(const struct mrn_call_set *calls, bool everywhere)
	__attribute__((visibility("hidden")));

#endif
