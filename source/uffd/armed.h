/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The armed map: which pages the userfaultfd has armed, so that a range that is armed already costs no system call.
 * Four bits a page:
 *
 *	maybe	what may be armed: all that the kernel has armed, and perhaps more. Whoever is about to change memory, with
 *		a token published, disarms it first.
 *	sure	what is mapped and armed, or was: then the change is announced by a published token, or by an event that
 *		the keeper has yet to read. A range that is all sure needs no arming.
 *	loose	armed, and to be looked at again each time, since such a mapping can go away without an event; disarmed when
 *		its notifier leaves.
 *	listed	in a range of lasting.h: armed for good, until it is given back.
 *
 * So sure <= mapped and armed <= maybe, in between changes. Bits are written with the userfaultfd's lock held, and read
 * without. Two orders matter:
 *
 *	who arms				who changes memory, in a bracket
 *	  maybe is set				  the token is published
 *	  full fence				  full fence
 *	  tokens? if there is one, give up	  maybe? then, with the lock: sure and maybe are cleared, and it is disarmed
 *	  the kernel arms; look; sure is set	  the change
 *
 *	who relies on sure			who disarms what no notifier needs
 *	  the notifier is inserted		  sure is cleared
 *	  full fence (in its first read)	  full fence
 *	  sure?					  a notifier? if there is one, it stays armed
 *						  the kernel disarms; maybe is cleared
 *
 * The monitor, which holds a token over everything, clears sure with the lock held before it calls notifiers back and
 * before the token goes. So whoever reads sure after an event has been handled finds it cleared, and whoever has read it
 * before is called back.
 *
 * That is 32 bytes for 64 pages, in leaves of 16 KiB for 128 MiB of addresses (pages of 4 KiB). Leaves are
 * made when something in them is armed for the first time, and stay.
 */
#ifndef MRN_SOURCE_UFFD_ARMED_H
#define MRN_SOURCE_UFFD_ARMED_H

#include <stdbool.h>
#include <stdint.h>

enum mrn_armed_bit {
	MRN_ARMED_MAYBE,
	MRN_ARMED_SURE,
	MRN_ARMED_LOOSE,
	MRN_ARMED_LISTED,
	MRN_ARMED_BITS
};

struct mrn_armed_branch;

/* Zeroed pages: an empty map. A forked child finds it empty. */
struct mrn_armed {
	struct mrn_armed_branch **root; /* atomic; set once */
	/* Atomic; only grow. All branches of root that exist come before `end`, and the first of them is this far from the top. */
	uint32_t end, from_top;
};

/* Makes the leaves for [start, end). False without memory, or for addresses that no process has. Not on the event path. */
bool mrn_armed_make(struct mrn_armed *armed, uintptr_t start, uintptr_t end);

/* True if each page of [start, end) has the bit. Anywhere. */
bool mrn_armed_all(const struct mrn_armed *armed, uintptr_t start, uintptr_t end,
		   enum mrn_armed_bit bit);

/* True if any page of [start, end) has the bit. Anywhere. */
bool mrn_armed_has(const struct mrn_armed *armed, uintptr_t start, uintptr_t end,
		   enum mrn_armed_bit bit);

/* With the lock held. Of pages that have leaves. */
void mrn_armed_set(struct mrn_armed *armed, uintptr_t start, uintptr_t end, enum mrn_armed_bit bit);
void mrn_armed_clear(struct mrn_armed *armed, uintptr_t start, uintptr_t end,
		     enum mrn_armed_bit bit);

/*
 * Finds the first run of pages in [*start, end) that are all maybe, as [*start, *run_end); moves *start. False if there
 * is none.
 */
bool mrn_armed_run(const struct mrn_armed *armed, uintptr_t *start, uintptr_t end,
		   uintptr_t *run_end);

#endif
