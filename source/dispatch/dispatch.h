/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The dispatch source: Syscall User Dispatch (Linux 5.11, x86-64). The kernel sends each system call of an armed
 * thread to our SIGSYS handler, whoever made it: the program, libc inside itself, ld.so, a bare instruction, a signal
 * handler. Those that change memory are made there, in a bracket; all others go on as they were, see stub.h.
 *
 * A thread is armed by itself: at start each thread that there is, by a signal; from then on each new one before its
 * first own instruction. So they all are: a thread that is not armed could only be made by one that is not.
 *
 * SIGSYS is ours meanwhile, see sigsys.c. The program cannot block it: a caught call would then end the process. Masks
 * lose it, and nothing else.
 *
 * Not caught: a vfork's child until it execs, which is no thread of this process though it runs in its memory: see guests.c;
 * what the kernel does for io_uring: see rings.c.
 */
#ifndef MRN_SOURCE_DISPATCH_DISPATCH_H
#define MRN_SOURCE_DISPATCH_DISPATCH_H

#include <stdbool.h>
#include <stddef.h>

#include "os/thread.h"

/* What to say for -EOPNOTSUPP. */
#define MRN_DISPATCH_REMEDY \
	"dispatch needs x86-64 and Linux 5.11 with CONFIG_GENERIC_ENTRY's Syscall User Dispatch"

/* Called in the thread that has done it, on the event path. */
struct mrn_dispatch_ops {
	void (*lost)(void);  /* it is not caught any more, or cannot be */
	void (*ring)(void);  /* it is about to make the first io_uring */
	void (*guest)(void); /* it is about to make a guest, which is counted already */
};

/* Arms all threads. follow_fork: children too, which otherwise begin as if there were no dispatch. 0, -EOPNOTSUPP where this machine has
 * none; -EBUSY for a thread that blocks SIGSYS, -ETIMEDOUT for one that does not answer, why then names it.
 */
int mrn_dispatch_start(bool follow_fork, const struct mrn_dispatch_ops *ops, char *why,
		       size_t why_size);

/* May there be an io_uring? A notifier that has been inserted before the answer no is told when there is one. */
bool mrn_dispatch_has_rings(void);

/* For an own thread (os/thread.h), before it calls anything of the program's: it is armed as all others are. */
void mrn_dispatch_join(void);

/*
 * Is there a guest? That is a process that runs in this memory and is not caught, as a vfork's child is until its exec. A
 * notifier that has been inserted before the answer no is told when one comes.
 */
bool mrn_dispatch_has_guests(void);

/* Will the call that this thread, or guest, is about to make be caught? No in doubt, and in the handler of one that has been. */
bool mrn_dispatch_catches(void);

/* Is this thread in the handler of a call that has been caught, as a callback is that dispatch calls? */
bool mrn_dispatch_handles(void);

/*
 * Lets all threads go, and gives the program's SIGSYS back. Waits for calls under way whose end was to be told here, and for
 * those on their way to the handler.
 */
void mrn_dispatch_stop(void);

#endif
