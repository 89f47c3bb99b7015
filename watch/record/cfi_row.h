/* SPDX-License-Identifier: BSD-3-Clause */
/* How to find the caller's registers at one instruction of a function. */
#ifndef MRN_WATCH_CFI_ROW_H
#define MRN_WATCH_CFI_ROW_H

#include "watch/record/cfi_entry.h"

/* Where a register of the caller is stored. */
struct watch_cfi_rule {
	enum { WATCH_SAME, WATCH_AT_OFFSET, WATCH_AT_EXPRESSION, WATCH_LOST } how;
	uint64_t offset; /* from the frame's address; signed */
	struct watch_bytes expression;
};

struct watch_cfi_row {
	/* The frame's address is what the expression says, if there is one; else this register and offset. */
	enum { WATCH_FRAME_UNKNOWN, WATCH_FRAME_BY_REG, WATCH_FRAME_BY_EXPRESSION } frame;
	uint64_t reg, offset;
	struct watch_bytes expression;
	struct watch_cfi_rule bp, ra;
};

/* False if it is not understood. */
bool watch_cfi_row(const struct watch_cfi_entry *entry, uintptr_t pc, struct watch_cfi_row *row);

#endif
