/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Marks on pages: what the source knows of them, so that it need not ask the kernel again. They serve twice: which pages
 * the userfaultfd has armed, and which show no page of a file on disk. Four marks a page:
 *
 *	maybe	whoever is about to change the mapping, with a token published, comes by and clears marks: all that may be
 *		sure.
 *	sure	known, up to a change that a published token or an unread event announces.
 *	loose	(armed) known now, and to be asked again each time, since such a mapping can go away without an event; disarmed
 *		when its notifier leaves.
 *	listed	(armed) in a range of lasting.h: armed for good, until it is given back.
 *
 * Marks are read without a lock. What is armed is marked with the lock held, and two orders matter (plain.h has its own):
 *
 *	who learns				who changes memory, in a bracket
 *	  maybe is set				  the token is published
 *	  full fence				  full fence
 *	  tokens? if there is one, give up	  maybe? then, with the lock: sure and maybe are cleared, and it is disarmed
 *	  the kernel arms; look; sure is set	  the change
 *
 *	who relies on sure			who disarms what no notifier needs
 *	  the notifier is inserted		  sure is cleared
 *	  full fence (the end of insertion)	  full fence
 *	  sure?					  a notifier? if there is one, it stays armed
 *						  the kernel disarms; maybe is cleared
 *
 * The monitor, which holds a token over everything, clears sure with the lock held before it calls notifiers back and
 * before the token goes. So whoever reads sure after an event has been handled finds it cleared, and whoever has read it
 * before is called back.
 *
 * That is 32 bytes for 64 pages. All memory is reserved once, 64 MiB of addresses: later mappings might take a hole that
 * the program relies on. The kernel gives memory to what is used: 16 KiB for each 128 MiB of addresses with marks, and as
 * much for each 256 GiB (pages of 4 KiB). There are no marks for a range of more than 1 GiB, nor once the reserve has
 * been used up.
 */
#ifndef MRN_SOURCE_MARKS_H
#define MRN_SOURCE_MARKS_H

#include <stdbool.h>
#include <stdint.h>

enum mrn_mark { MRN_MARK_MAYBE, MRN_MARK_SURE, MRN_MARK_LOOSE, MRN_MARK_LISTED, MRN_MARKS };

struct mrn_marks_tree;

/* Zeroed: empty, and without a reserve. A forked child finds it empty. */
struct mrn_marks {
	struct mrn_marks_tree *tree;
	uint32_t units; /* of the reserve */
	uint32_t used;	/* of them */
	/* Atomic; only grow. Entries of the root that are set have indexes from ROOT_SIZE - from_top on, and below end. */
	uint32_t end, from_top;
};

/* What a process has marks of. */
enum mrn_marks_of { MRN_MARKS_OF_ARMED, MRN_MARKS_OF_PLAIN, MRN_NR_MARKS_OF };

/*
 * Reserves the memory, unless that is done, in this process or in one that it was forked from: a child finds its parent's
 * zeroed. Without it there are no marks. In attach.
 */
void mrn_marks_reserve(struct mrn_marks *marks, enum mrn_marks_of of);

/* With the lock held. False if [start, end) cannot have marks. */
bool mrn_marks_make(struct mrn_marks *marks, uintptr_t start, uintptr_t end);

/* True if each page of [start, end) has the bit. Anywhere. */
bool mrn_marks_all(const struct mrn_marks *marks, uintptr_t start, uintptr_t end,
		   enum mrn_mark bit);

/* True if each page of [start, end) is maybe and, as read after that, sure. Anywhere. */
bool mrn_marks_known(const struct mrn_marks *marks, uintptr_t start, uintptr_t end);

/* True if any page of [start, end) has the bit. Anywhere. */
bool mrn_marks_has(const struct mrn_marks *marks, uintptr_t start, uintptr_t end,
		   enum mrn_mark bit);

/* Without any mark, as at first. With the lock held. */
void mrn_marks_clear_all(struct mrn_marks *marks);

/* With the lock held. Of pages for which mrn_marks_make has returned true. */
void mrn_marks_set(struct mrn_marks *marks, uintptr_t start, uintptr_t end, enum mrn_mark bit);
/* Anywhere. */
void mrn_marks_clear(struct mrn_marks *marks, uintptr_t start, uintptr_t end, enum mrn_mark bit);

/*
 * Finds the first run of pages in [*start, end) that are all maybe, as [*start, *run_end); moves *start. False if there
 * is none.
 */
bool mrn_marks_run(const struct mrn_marks *marks, uintptr_t *start, uintptr_t end,
		   uintptr_t *run_end);

#endif
