/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tokens of a change of a file, for as long as its call takes. Such a call may block for as long as it likes, and be left
 * otherwise than by a return: POSIX lets a handler jump out of open and of ftruncate. So the tokens do not live on the
 * stack, which would be somebody else's by then, but in a record that is the thread's until the call is known to be over: at
 * its end; or when the thread makes another such call and is no further down its stack than the first one was, which it
 * cannot be in any other way; or, under dispatch, at any call from further up, and at the thread's exit.
 *
 *	mrn_file_change_...(&change, ...);
 *	held = mrn_held_start(&change, where);
 *	call
 *	mrn_held_end(held);
 *
 * where: an address in the caller's frame. Everything that the call itself puts on the stack, a signal handler's
 * frames among it, lies below.
 */
#ifndef MRN_SOURCE_BRACKET_HELD_H
#define MRN_SOURCE_BRACKET_HELD_H

#include "source/bracket/calls.h"

struct mrn_held {
	struct mrn_file_change change;
	struct mmu_notifier_range token[MRN_FILE_SPANS];
	unsigned int nr_tokens;
	uintptr_t where;
	struct mrn_held *outer; /* of the same thread, further up its stack or on another one */
	bool taken;		/* atomic */
};

/*
 * Starts the tokens of a change that is pending; NULL for one that is not. Where there are too many such calls under way in
 * the process, there are no tokens, and the end announces everything late.
 */
struct mrn_held *mrn_held_start(const struct mrn_file_change *change, uintptr_t where);

/* Ends them, and those of calls that were made inside this one and left. Does nothing for NULL. */
void mrn_held_end(struct mrn_held *held);

/* Has this thread such a call under way? */
bool mrn_held_any(void);
/* Has a thread left a call that it has made at from, if it makes another one at where? See mrn_held_end_left. */
bool mrn_held_is_left(uintptr_t from, uintptr_t where, uintptr_t alternate, size_t size);
/* Ends those of calls that the thread has left, as where shows; alternate is the stack that its signal handlers run on. */
void mrn_held_end_left(uintptr_t where, uintptr_t alternate, size_t size);
/* Ends that of the call that was made at where. Where it has been ended before, everything is announced late. */
void mrn_held_end_at(uintptr_t where);
void mrn_held_end_all(void);
/* In a forked child: they are its parent's. */
void mrn_held_forget(void);

#endif
