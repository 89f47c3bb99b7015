/* SPDX-License-Identifier: BSD-3-Clause */
/* The description of one function in an unwind table. */
#ifndef MRN_WATCH_CFI_ENTRY_H
#define MRN_WATCH_CFI_ENTRY_H

#include "watch/record/cfi.h"
#include "watch/record/cfi_bytes.h"

/* DWARF's numbers of registers. */
#define WATCH_REG_BP 6
#define WATCH_REG_SP 7
#define WATCH_REG_RA 16

struct watch_cfi_entry {
	uintptr_t start; /* of the function */
	uint64_t code_align;
	uint64_t data_align; /* signed */
	bool is_signal_frame;
	struct watch_bytes common, own; /* instructions */
};

/* Finds the one of the function that contains pc. False if there is none, or it is not understood. */
bool watch_cfi_find(const struct watch_cfi *cfi, uintptr_t pc, struct watch_cfi_entry *entry);

#endif
