/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Shows the program's system calls to one observer before they are made, wherever dispatch catches them, and those of
 * mrn_source_bypass; and says of changes that they may be none. For libmrn-check, which has to know what a program
 * registers with a device, what it asks the device to do, and what becomes of the memory.
 *
 * Not shown: calls by int $0x80 and x32's, whose structures have another form; and what dispatch does not catch. A call
 * may be shown twice: where dispatch has it made again, to be caught on another stack.
 */
#ifndef MRN_SOURCE_OBSERVE_H
#define MRN_SOURCE_OBSERVE_H

#include <mrn/mmu_notifier.h>
#include <stdbool.h>
#include <stdint.h>

/* Numbers from here on are shown to nobody. */
#define MRN_OBSERVED 512

struct mrn_observer {
	/* A bit for each number that is to be shown: number % 64 of word number / 64. */
	uint64_t wanted[MRN_OBSERVED / 64];
	/*
	 * On the event path: in a signal handler with all signals blocked; or, for a call past the sources, as its caller is. The arguments are registers, of which the kernel
	 * may read 32 bits. The function may change them, but not those of a call that makes, ends or replaces a thread or
	 * a process: the call is made with the new ones, and the program finds its own in its registers afterwards. errno may
	 * change.
	 *
	 * True: it has made the call, by mrn_observed_call, and *result is what the program gets (a value, or -errno). Only
	 * for calls that do not wait, and about which dispatch does nothing itself: else it would not be done.
	 */
	bool (*sees)(long nr, long a[6], long *result);
	/*
	 * On the event path, before the end of an invalidation: the call that it was for has failed, or says that it has
	 * moved nothing, or that it may have left a part alone. Some pages of the range may have gone all the same. NULL:
	 * nobody wants to know.
	 */
	void (*doubts)(const struct mmu_notifier_range *token);
};

/* Calls from here on are shown. Only one observer: the last. */
void mrn_observe(const struct mrn_observer *observer);

/* Makes a call of the program's in place of dispatch: the kernel's value. It is not caught, and made in any sandbox. */
long mrn_observed_call(long nr, const long a[6]);

/* For brackets: see doubts. */
void mrn_observer_doubts(const struct mmu_notifier_range *token);

/* Internal: the observer, or NULL. */
extern const struct mrn_observer *mrn_observer;

static inline bool mrn_is_observed(long nr)
{
	const struct mrn_observer *o = __atomic_load_n(&mrn_observer, __ATOMIC_ACQUIRE);

	return __builtin_expect(!!o, 0) && (unsigned long)nr < MRN_OBSERVED &&
	       o->wanted[nr / 64] >> (nr % 64) & 1;
}

#endif
