/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Up this thread's stack, frame by frame, from a callback of ours.
 *
 * Our own libraries keep frame pointers, so the walk follows those up to the wrapper that the program called. From there
 * on it goes by the unwind tables of the modules (cfi.h): the program itself need not have frame pointers.
 *
 * Not libunwind: its step calls dl_iterate_phdr, which takes the loader's lock, and a thread in dlopen or dlclose holds
 * that lock while it unmaps; and its caches allocate.
 */
#ifndef MRN_WATCH_WALK_H
#define MRN_WATCH_WALK_H

#include <stdbool.h>
#include <stdint.h>

#include "watch/record/cfi.h"
#include "watch/record/stack.h"

/*
 * Finds out where the code of our libraries is, of libc and ld.so, and of the program itself: these never leave. Others
 * are asked of modules.h. Call once, before the first walk.
 */
void watch_walk_start(void);

/* Where a walk is. regs.pc is a return address, or where a signal has interrupted the code. */
struct watch_walk {
	struct watch_regs regs;
	struct watch_stack stack;
	const struct watch_span *in; /* the code of pc, if it never leaves */
	bool lost;		     /* it has come to code of no module that is known */
	bool below; /* so far only frames of ours, all in use: the kernel need not be asked */
};

enum watch_code {
	WATCH_CODE_OURS,   /* libmrn's */
	WATCH_CODE_SYSTEM, /* libc's or ld.so's, which never leave */
	WATCH_CODE_OTHER,
};
enum watch_code watch_walk_code(const struct watch_walk *w);

/* A part of watch_walk_begin. */
void watch_walk_arrive(struct watch_walk *w);

/* To the frame's caller, or to what a signal has interrupted. False if that is not possible; then *w is useless. */
bool watch_walk_step(struct watch_walk *w);

/* Begins in the function that this becomes a part of. */
static inline __attribute__((always_inline)) void watch_walk_begin(struct watch_walk *w)
{
	struct watch_regs *r = &w->regs;

#ifdef __x86_64__
	__asm__ volatile("lea 0(%%rip), %0\n\tmov %%rsp, %1\n\tmov %%rbp, %2"
			 : "=&r"(r->pc), "=&r"(r->sp), "=r"(r->bp));
#else
	r->pc = (uintptr_t)watch_walk_step;
	r->sp = r->bp = (uintptr_t)__builtin_frame_address(0);
#endif
	r->exact = true;
	w->below = true;
	w->lost = false;
	watch_stack_enter(&w->stack, r->sp);
	watch_walk_arrive(w);
}

#endif
