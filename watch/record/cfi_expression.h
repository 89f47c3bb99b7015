/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DWARF's expressions, as far as unwind tables have them: for the frame of a function that realigns its stack (the
 * frame's address is stored there), and of a slot in the procedure linkage table (it depends on the instruction).
 */
#ifndef MRN_WATCH_CFI_EXPRESSION_H
#define MRN_WATCH_CFI_EXPRESSION_H

#include "watch/record/cfi.h"
#include "watch/record/cfi_bytes.h"

/* False if it is not understood, or reads what is not readable. */
bool watch_cfi_evaluate(struct watch_bytes expression, const struct watch_regs *r,
			struct watch_stack *stack, uintptr_t *value);

#endif
