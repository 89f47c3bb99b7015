/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef MRN_INDEX_ENTRY_H
#define MRN_INDEX_ENTRY_H

#include <stdint.h>

/* A piece of the structures in <mrn/mmu_notifier.h>, private to mrn. */
struct mrn_index_entry {
	uint64_t id;
	uintptr_t start, end;
	uintptr_t place;
};

#endif
