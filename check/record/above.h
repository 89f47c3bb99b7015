/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Libraries that are understood may be over others that are: libfabric registers with libibverbs, and posts by it. What
 * the program does wrong in one call of the upper is told once, as a fault of the upper's; what the upper does wrong by
 * itself, as keeping a registration in a cache, is told of the lower.
 */
#ifndef MRN_CHECK_ABOVE_H
#define MRN_CHECK_ABOVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "os/thread.h"

/* Of the call of the upper that this thread is in; all zero outside. */
struct check_above {
	/* It registers memory that is followed: whether others can reach it is what the program has said there. */
	bool registers;
	/* The lower tells: it has registered memory so that it follows changes by itself. */
	bool on_demand;
	/* Stale bytes that it uses, as has been told; from the first part of them to the last. */
	uintptr_t told_start, told_end;
};

extern MRN_TLS struct check_above check_above;

static inline void check_above_tell(uintptr_t addr, size_t length)
{
	struct check_above *a = &check_above;

	if (a->told_start == a->told_end) {
		a->told_start = addr;
		a->told_end = addr + length;
		return;
	}
	if (addr < a->told_start)
		a->told_start = addr;
	if (addr + length > a->told_end)
		a->told_end = addr + length;
}

/* True for bytes all of which have been told of. */
static inline bool check_above_has_told(uintptr_t addr, size_t length)
{
	return addr >= check_above.told_start && addr < check_above.told_end &&
	       length <= check_above.told_end - addr;
}

#endif
