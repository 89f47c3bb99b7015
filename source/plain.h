/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which ranges are known to show no page of a file on disk, for consumers of causes that are all bracketed: each look at
 * the mappings takes four system calls. A page is known if it is both maybe and sure (marks.h). A bracket only clears
 * maybe, and takes no lock, which would cost the program's munmap two system calls to block signals:
 *
 *	who looks, with the lock		who changes memory, in a bracket
 *	  sure is cleared			  the token is published
 *	  maybe is set				  full fence
 *	  full fence				  maybe? then it is cleared
 *	  tokens? if there is one, give up	  the change
 *	  the look; sure is set
 *
 *	who relies on it
 *	  the notifier is inserted
 *	  tokens? if there is one, look
 *	  maybe, and after that sure?
 *
 * One of the two full fences comes first. If the bracket's does, whoever looks finds its token, or that it has been
 * withdrawn, and then looks at what has changed. If not, the bracket finds maybe and clears it: the sure that is set later
 * counts for nothing without it. And nobody takes it for a later look's, which clears sure before it sets maybe: whoever
 * finds that maybe finds sure cleared, or set by that look. A bracket that begins after the last question about tokens
 * calls the notifier back.
 *
 * Guests (dispatch/guests.c) change memory unseen. What is found while there is one is not noted; and what was found before
 * one came counts no more once it has come.
 */
#ifndef MRN_SOURCE_PLAIN_H
#define MRN_SOURCE_PLAIN_H

#include "core/mm.h"
#include "os/mutex.h"
#include "source/marks.h"

struct mrn_plain {
	struct mrn_mutex lock; /* with signals blocked */
	struct mrn_marks marks;
	uint32_t guests; /* atomic: how many there had ever been when the first mark was made */
	bool any;	 /* atomic: there may be marks */
};

/* As mrn_shows_page_cache. For a range of mm, the process's, with a notifier. */
bool mrn_plain_shows_page_cache(struct mrn_plain *plain, struct mrn_mm *mm, uintptr_t start,
				uintptr_t end);
/* Event path. In a bracket of [start, end), or for memory that nobody else knows of yet. */
void mrn_plain_forget(struct mrn_plain *plain, uintptr_t start, uintptr_t end);
/* Event path. Changes may have gone unseen. */
void mrn_plain_forget_all(struct mrn_plain *plain);

#endif
