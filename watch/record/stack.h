/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading the stack, on the way up. A program may have stacks of its own making, with memory that cannot be read
 * right above: so nothing is touched but what is known to be there. That is: what lies above a frame in the same page;
 * the main thread's stack; and what the kernel has been asked about.
 */
#ifndef MRN_WATCH_STACK_H
#define MRN_WATCH_STACK_H

#include <stdbool.h>
#include <stdint.h>

struct watch_stack {
	uintptr_t low, high; /* can be read */
};

/* Once, in the main thread. */
void watch_stack_start(void);

/* From now on on the stack that has a live frame below sp. */
void watch_stack_enter(struct watch_stack *stack, uintptr_t sp);

/*
 * False: it is not known that there is anything to be read. It asks the kernel only where it has to, and where the
 * program has not begun to forbid itself calls. On the event path.
 */
bool watch_stack_read(struct watch_stack *stack, uintptr_t addr, uintptr_t *value);

#endif
