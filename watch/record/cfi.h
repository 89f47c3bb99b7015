/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One step up the stack by a module's unwind table: the part of DWARF's call frame information that compilers and
 * linkers generate. Reads the table where the loader has mapped it, and the stack as far as it is known to exist. No
 * lock, no allocation, bounded; refuses what it does not understand. The table may be damaged, and so may the stack.
 */
#ifndef MRN_WATCH_CFI_H
#define MRN_WATCH_CFI_H

#include <stdbool.h>
#include <stdint.h>

#include "watch/record/stack.h"

struct watch_cfi {
	const uint8_t *table;	   /* .eh_frame_hdr; NULL: none */
	const uint8_t *low, *high; /* what is readable around it */
	/* What is readable around .eh_frame, which it leads to; some linkers put that elsewhere. Nothing else is read. */
	const uint8_t *entries_low, *entries_high;
};

/* Where .eh_frame begins, by the first bytes of a table; 0 if they are not understood. */
enum { WATCH_CFI_HEAD = 8 };
uintptr_t watch_cfi_entries(uintptr_t table, const uint8_t head[WATCH_CFI_HEAD]);

/* The registers that a step needs. */
struct watch_regs {
	uintptr_t pc, sp, bp;
	bool exact; /* pc is of the next instruction; else it is a return address */
};

/* From a frame of the module to its caller's. False if that is not possible; then *r is useless. */
bool watch_cfi_step(const struct watch_cfi *cfi, struct watch_regs *r, struct watch_stack *stack);

/*
 * From a signal handler's return, with the kernel's frame on the stack, to what the signal has interrupted, perhaps on
 * another stack. False as above.
 */
bool watch_cfi_leave_signal(struct watch_regs *r, struct watch_stack *stack);

#endif
