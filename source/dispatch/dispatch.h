/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The dispatch source: Syscall User Dispatch (Linux 5.11, x86-64). The kernel sends each system call of an armed thread
 * to our SIGSYS handler, wherever it was made: in the program, inside libc, in ld.so, by a bare instruction, in a
 * signal handler. The handler makes those that change memory, in a bracket; all others go on as they came, see stub.h.
 *
 * A thread can only arm itself: at start each existing thread does, asked by a signal; from then on each new one does
 * before its first own instruction. So all are armed: only an unarmed thread could make an unarmed one.
 *
 * SIGSYS is ours meanwhile, see sigsys.c. The program cannot block it: a caught call would then end the process. Masks
 * lose SIGSYS, and nothing else.
 *
 * Not caught: a vfork's child until its exec, which runs in this memory but is no thread of this process, see guests.c;
 * and what the kernel does for io_uring, see rings.c.
 */
#ifndef MRN_SOURCE_DISPATCH_DISPATCH_H
#define MRN_SOURCE_DISPATCH_DISPATCH_H

#include <stdbool.h>
#include <stddef.h>

#include "os/thread.h"

/* The remedy for -EOPNOTSUPP. */
#define MRN_DISPATCH_REMEDY \
	"dispatch needs x86-64 and Linux 5.11 with CONFIG_GENERIC_ENTRY's Syscall User Dispatch"

/* Called in the thread concerned, on the event path. */
struct mrn_dispatch_ops {
	void (*lost)(void);  /* it is not caught any more, or cannot be */
	void (*ring)(void);  /* it is about to make the first io_uring */
	void (*guest)(void); /* it is about to make a guest, which is counted already */
};

/*
 * Arms all threads. follow_fork: children too; otherwise they start as if there were no dispatch. 0; -EOPNOTSUPP if
 * this machine has none; -EBUSY for a thread that blocks SIGSYS, -ETIMEDOUT for one that does not answer: why names it.
 */
int mrn_dispatch_start(bool follow_fork, const struct mrn_dispatch_ops *ops, char *why,
		       size_t why_size);

/* True if there may be an io_uring. A notifier that was inserted before this returned false is told when one comes. */
bool mrn_dispatch_has_rings(void);

/* Arms an own thread (os/thread.h) like all others. Call before it calls into the program. */
void mrn_dispatch_join(void);

/*
 * True if there is a guest: a process that runs in this memory and is not caught, as a vfork's child is until its exec.
 * A notifier that was inserted before this returned false is told when one comes.
 */
bool mrn_dispatch_has_guests(void);

/* How many guests there have ever been, in this process. */
uint32_t mrn_dispatch_guests_ever(void);

/*
 * True if the next call of this thread, or guest, will be caught. False in doubt, and in the handler of a caught call.
 */
bool mrn_dispatch_catches(void);

/* True in the handler of a caught call, so also in a callback from there. */
bool mrn_dispatch_handles(void);

/*
 * Lets all threads go, and gives the program's SIGSYS back. Waits for calls in progress whose end dispatch was to tell,
 * and for those on their way to the handler.
 */
void mrn_dispatch_stop(void);

#endif
