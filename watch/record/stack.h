/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reads the stack, on the way up. A program may have stacks of its own making, with unreadable memory right above: so
 * only memory that is known to exist is read. That is: what lies above a frame in the same page; the main thread's
 * stack; and what the kernel has confirmed.
 */
#ifndef MRN_WATCH_STACK_H
#define MRN_WATCH_STACK_H

#include <stdbool.h>
#include <stdint.h>

struct watch_stack {
	uintptr_t low, high;	   /* readable between these */
	struct watch_slots *slots; /* where to note what is read; or NULL */
};

/* Call once, in the main thread. */
void watch_stack_start(void);

/* Begins on the stack that has a live frame below sp. Nothing is noted. */
void watch_stack_enter(struct watch_stack *stack, uintptr_t sp);
/* Goes on there where sp was read from memory: it may be wrong. */
void watch_stack_suppose(struct watch_stack *stack, uintptr_t sp);

/*
 * False: addr is not known to be readable. Asks the kernel only where it must, and only if the program has not begun to
 * forbid itself calls. On the event path.
 */
bool watch_stack_read(struct watch_stack *stack, uintptr_t addr, uintptr_t *value);

#endif
