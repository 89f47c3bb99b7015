/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tokens of a change of a file, while its call lasts. Such a call may block for as long as it likes, and may end
 * without a return: POSIX lets a handler jump out of open and of ftruncate. So the tokens do not live on the stack,
 * which would be reused by then, but in a record that belongs to the thread until the call is known to be over: at its
 * end; or when the thread makes another such call no further down its stack, which shows that it has left the first
 * one; or, under dispatch, at any call from further up, and at the thread's exit.
 *
 *	mrn_file_change_...(&change, ...);
 *	held = mrn_held_start(&change, where);
 *	call
 *	mrn_held_end(held, r < 0);
 *
 * where: an address in the caller's frame. Everything that the call itself puts on the stack, including a signal
 * handler's frames, lies below.
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
 * Starts the tokens of a pending change; NULL if none is pending. If the process has too many such calls in progress,
 * there are no tokens, and the end announces everything late.
 */
struct mrn_held *mrn_held_start(const struct mrn_file_change *change, uintptr_t where);

/*
 * Ends its tokens, and those of calls that were made inside this one and left. Does nothing for NULL. failed: as for
 * mrn_bracket_end; false if nobody knows.
 */
void mrn_held_end(struct mrn_held *held, bool failed);

/* True if this thread has such a call in progress. */
bool mrn_held_any(void);
/* True if a thread that makes a call at where has left the one that it made at from. See mrn_held_end_left. */
bool mrn_held_is_left(uintptr_t from, uintptr_t where, uintptr_t alternate, size_t size);
/*
 * Ends the tokens of calls that the thread has left, judging by where; alternate is the stack of its signal handlers.
 */
void mrn_held_end_left(uintptr_t where, uintptr_t alternate, size_t size);
/* Ends the tokens of the call that was made at where. If they were ended before, announces everything late. */
void mrn_held_end_at(uintptr_t where, bool failed);
void mrn_held_end_all(void);
/* In a forked child: drops the parent's records. */
void mrn_held_forget(void);

#endif
