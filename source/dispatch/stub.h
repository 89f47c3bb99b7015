/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where a caught system call goes on. The kernel lets calls from the section mrn_syscalls pass, and catches all others.
 * So the handler itself makes only the calls that it brackets: otherwise the thread goes on at a system call
 * instruction of ours, with all registers unchanged but rsp, which is moved down to a frame that says what to restore
 * afterwards. So what a call does to the signal mask, the alternate stack, protection keys or floating point state, it
 * does to the thread, not to a handler whose return would undo it; and a signal that comes while it blocks can
 * interrupt or restart it.
 *
 * stub-x86_64.S, which includes this, knows the offsets.
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
#define FRAME_OF_CHILD (FRAME_MORE + 16) /* for the child only, see stub-x86_64.S */
/* For a guest: the address of its new action for SIGSYS, or 0. */
#define FRAME_ACTION (FRAME_MORE + 8)

/* FRAME_ARM of a child that is to be caught, too. Other children are guests (guests.c), or have memory of their own. */
#define CHILD_ARMS_ITSELF 1
#define CHILD_HAS_ACTIONS 2 /* it has signal actions of its own, perhaps not ours */
/* The number of selectors. Each start uses the next one: its own number modulo this. */
#define SELECTORS 4096

/* FRAME_ARM of a parent: its child is a guest, which is gone when the call returns. */
#define PARENT_OF_GUEST 1

/*
 * In a signal's frame: the offset of the mask; and a flag that only we use: the mask says whether SIGSYS was blocked.
 */
#define CONTEXT_MASK	 296
#define CONTEXT_SAYS_BIT 62

#ifndef __ASSEMBLER__
#include <stdint.h>

/* The program blocks SIGSYS during the call. */
#define CALL_BLOCKS_SIGSYS (UINT64_C(1) << 32)

#define CONTEXT_SAYS_SIGSYS (UINT64_C(1) << CONTEXT_SAYS_BIT)

#include "os/thread.h"

struct mrn_frame {
	uint64_t rip, rsp, flags; /* where and how to go on */
	uint64_t rdi, rsi, rdx, r10, r8, r9;
	union {
		/* For a call that makes a thread or process: which kind, see above. */
		uint64_t arm;
		uint64_t held; /* for mrn_stub_tell: a file's change, see bracket/held.h */
		uint64_t call; /* for mrn_stub_resume: its number, and flags */
	};
	uint64_t more[6]; /* arguments that had to be changed */
};

/* The bounds of the code that may make calls. */
extern const char __start_mrn_syscalls[] __attribute__((visibility("hidden")));
extern const char __stop_mrn_syscalls[] __attribute__((visibility("hidden")));

/* Signal handlers. The kernel leaves the program's alignment checks on, which compiled code does not tolerate. */
extern const char mrn_stub_sigsys[] __attribute__((visibility("hidden")));
extern const char mrn_stub_asked[] __attribute__((visibility("hidden")));
/* For other signals, see masking.c. */
extern const char mrn_stub_masking[] __attribute__((visibility("hidden")));
extern void *mrn_masking_handlers[] __attribute__((visibility("hidden")));
/* Places to go on at, with rsp at a frame. */
extern const char mrn_stub_resume[] __attribute__((visibility("hidden")));
/*
 * For a call to be made before the caught one: more[3] is the caught one's number, which is then made, and caught,
 * again.
 */
extern const char mrn_stub_again[] __attribute__((visibility("hidden")));
/*
 * For a call after which the handler is told: another call is caught then, which would return to mrn_stub_told. more[0] is
 * what the first one has returned.
 */
extern const char mrn_stub_tell[] __attribute__((visibility("hidden")));
extern const char mrn_stub_told[] __attribute__((visibility("hidden")));
/*
 * As mrn_stub_tell, for an exec by a thread that has let itself go, and perhaps has SIGSYS ignored: both end when it
 * has failed.
 */
extern const char mrn_stub_exec[] __attribute__((visibility("hidden")));
/* For a call that makes a thread or a process: parent and child have a frame each. */
extern const char mrn_stub_clone[] __attribute__((visibility("hidden")));
/*
 * For a child that runs on this very stack, in this memory, while the parent waits. So the frame is mrn_vfork_frame,
 * and no register is saved on the stack: rsp stays. All signals are blocked on arrival.
 */
extern const char mrn_stub_vfork[] __attribute__((visibility("hidden")));
/* For a call by int $0x80: more has what iretq takes, rip, cs, flags, rsp, ss. */
extern const char mrn_stub_int80[] __attribute__((visibility("hidden")));
/* Makes such a call here: its number, then ebx, ecx, edx, esi, edi, ebp. Returns the kernel's value. */
long mrn_int80(const uint64_t argument[7]) __attribute__((visibility("hidden")));
/*
 * Makes a process, by clone with these flags and this stack, that calls fn, which must not return: the process's number
 * or -errno.
 */
long mrn_clone_and_call(unsigned long flags, void *stack, void (*fn)(void))
	__attribute__((visibility("hidden")));
/* For exit, without a stack: r8 and r9 point to words that become 0 when the stacks are free. */
extern const char mrn_stub_exit[] __attribute__((visibility("hidden")));
/* With rsp unchanged: at a signal's frame. */
extern const char mrn_stub_sigreturn[] __attribute__((visibility("hidden")));

/* more[0] is the signal mask to restore, more[1] FRAME_ACTION, more[2] the child's mask. */
extern MRN_TLS struct mrn_frame mrn_vfork_frame __attribute__((visibility("hidden")));
#endif

#endif
