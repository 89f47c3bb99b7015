/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where a caught system call goes on. The kernel lets calls pass that are made in the section mrn_syscalls, and
 * catches all others. So the handler makes nothing itself but what it brackets: it has the thread go on at a
 * system call instruction of ours, with all registers as they were but rsp, which is moved down to a frame that
 * says what to put back afterwards. Whatever a call does to the signal mask, the alternate stack, protection
 * keys or floating point state, it does to the thread and not to a handler that is about to be undone; and a signal that
 * comes while it blocks finds a call that it can interrupt or have begun again.
 *
 * Offsets are known to stub-x86_64.S, which includes this.
 */
#ifndef MRN_SOURCE_DISPATCH_STUB_H
#define MRN_SOURCE_DISPATCH_STUB_H

#define FRAME_RIP      0
#define FRAME_RSP      8
#define FRAME_FLAGS    16
#define FRAME_RDI      24
#define FRAME_RSI      32
#define FRAME_RDX      40
#define FRAME_R10      48
#define FRAME_R8       56
#define FRAME_R9       64
#define FRAME_ARM      72
#define FRAME_MORE     80
#define FRAME_NUMBER   (FRAME_MORE + 24)
#define FRAME_OF_CHILD (FRAME_MORE + 16) /* what only the child is to have, see stub-x86_64.S */
#define FRAME_ACTION \
	(FRAME_MORE + 8) /* of a guest: where the action for SIGSYS is that it is to have, or 0 */

/* FRAME_ARM, of a child: it is to be caught, too. Else it is a guest (guests.c), or no process of this memory. */
#define CHILD_ARMS_ITSELF 1
#define CHILD_HAS_ACTIONS 2 /* of its own for signals, perhaps not ours */
/* Bytes of which each start takes the next, and so many starts later the same: by its number, modulo this. */
#define SELECTORS 4096

/* Of a parent: its child is a guest, which has gone when the call returns. */
#define PARENT_OF_GUEST 1

/* Of a signal's frame: where the mask is; and a flag that nobody else has, the mask says whether SIGSYS was blocked. */
#define CONTEXT_MASK	 296
#define CONTEXT_SAYS_BIT 62

#ifndef __ASSEMBLER__
#include <stdint.h>

/* While it is made the program blocks SIGSYS. */
#define CALL_BLOCKS_SIGSYS (UINT64_C(1) << 32)

#define CONTEXT_SAYS_SIGSYS (UINT64_C(1) << CONTEXT_SAYS_BIT)

#include "os/thread.h"

struct mrn_frame {
	uint64_t rip, rsp, flags; /* where and how to go on */
	uint64_t rdi, rsi, rdx, r10, r8, r9;
	union {
		uint64_t
			arm; /* of a call that makes a thread or process: what that is, see above */
		uint64_t held; /* of mrn_stub_tell: a file's change, see bracket/held.h */
		uint64_t call; /* of mrn_stub_resume: its number, and what follows */
	};
	uint64_t more[6]; /* arguments that had to be changed */
};

/* Of the code that may make calls. */
extern const char __start_mrn_syscalls[] __attribute__((visibility("hidden")));
extern const char __stop_mrn_syscalls[] __attribute__((visibility("hidden")));

/* The handlers of signals. The kernel leaves alignment checks as the program has them, and a compiler's code does not bear them. */
extern const char mrn_stub_sigsys[] __attribute__((visibility("hidden")));
extern const char mrn_stub_asked[] __attribute__((visibility("hidden")));
/* Of another signal, see masking.c. */
extern const char mrn_stub_masking[] __attribute__((visibility("hidden")));
extern void *mrn_masking_handlers[] __attribute__((visibility("hidden")));
/* Places to go on at, with rsp at a frame. */
extern const char mrn_stub_resume[] __attribute__((visibility("hidden")));
/* For a call before the caught one, whose number is in more[3] and which is then made, and caught, again. */
extern const char mrn_stub_again[] __attribute__((visibility("hidden")));
/* For a call of which the handler is to know that it is over: another one is caught then, which would return to mrn_stub_told. */
extern const char mrn_stub_tell[] __attribute__((visibility("hidden")));
extern const char mrn_stub_told[] __attribute__((visibility("hidden")));
/* As mrn_stub_tell, for an exec by a thread that has let itself go, and SIGSYS be ignored: when it has failed both end. */
extern const char mrn_stub_exec[] __attribute__((visibility("hidden")));
/* For a call that makes a thread or a process, each of which has a frame. */
extern const char mrn_stub_clone[] __attribute__((visibility("hidden")));
/*
 * For one whose child runs on this very stack, in this memory, while the parent waits. So the frame is mrn_vfork_frame,
 * and what must be a register's place on the stack is none: rsp stays. All signals are blocked on arrival.
 */
extern const char mrn_stub_vfork[] __attribute__((visibility("hidden")));
/* For a call by int $0x80: more is what iretq takes, rip, cs, flags, rsp, ss. */
extern const char mrn_stub_int80[] __attribute__((visibility("hidden")));
/* Such a call, made here: its number, then ebx, ecx, edx, esi, edi, ebp. The kernel's own value. */
long mrn_int80(const uint64_t argument[7]) __attribute__((visibility("hidden")));
/* Makes a process, by clone with these flags and this stack, that calls fn and does not come back from it: its number or -errno. */
long mrn_clone_and_call(unsigned long flags, void *stack, void (*fn)(void))
	__attribute__((visibility("hidden")));
/* For exit, without a stack: r8 and r9 point to words that become 0 when no stack is needed any more. */
extern const char mrn_stub_exit[] __attribute__((visibility("hidden")));
/* With rsp where it was: the frame there is a signal's. */
extern const char mrn_stub_sigreturn[] __attribute__((visibility("hidden")));

/* more[0] is the signal mask to put back, more[1] FRAME_ACTION, more[2] the child's mask. */
extern MRN_TLS struct mrn_frame mrn_vfork_frame __attribute__((visibility("hidden")));
#endif

#endif
