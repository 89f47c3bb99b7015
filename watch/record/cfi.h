/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One step up the stack by a module's unwind table: the part of DWARF's call frame information that
 * compilers write for libc. Reads the table where the loader has mapped it, and the stack as far as it is known to
 * be there. No lock, no allocation, bounded; what it does not understand, it refuses.
 */
#ifndef MRN_WATCH_CFI_H
#define MRN_WATCH_CFI_H

#include <stdbool.h>
#include <stdint.h>

#include "watch/record/stack.h"

struct watch_cfi {
	const uint8_t *table; /* .eh_frame_hdr; NULL: none */
};

/* What a step needs of a frame's registers. */
struct watch_regs {
	uintptr_t pc, sp, bp;
};

/* From a frame of the module to its caller's. False when it cannot be done; then *r is of no use. */
bool watch_cfi_step(const struct watch_cfi *cfi, struct watch_regs *r, struct watch_stack *stack);

/*
 * From a signal handler's return, the kernel's frame being on the stack, to what the signal has interrupted, which may
 * be on another stack. False as above.
 */
bool watch_cfi_leave_signal(struct watch_regs *r, struct watch_stack *stack);

#endif
