/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The process's mappings, read from /proc/self/maps with raw calls into a buffer on the stack: no
 * allocation, so it may run on the event path. The kernel gives each line whole and in address
 * order; mappings that change while one reads may be seen before or after the change.
 */
#ifndef MRN_OS_MAPS_H
#define MRN_OS_MAPS_H

#include <stdbool.h>
#include <stdint.h>

struct mrn_mapping {
	uintptr_t start, end;
	uint64_t offset; /* in the file, bytes */
	unsigned int dev_major, dev_minor;
	uint64_t inode; /* 0: anonymous */
	bool readable, writable, executable, shared;
};

/*
 * Calls visit(mapping, arg) for each mapping until it returns false. 0, or -errno when the file
 * cannot be read; then some mappings may have been visited.
 */
int mrn_maps_visit(bool (*visit)(const struct mrn_mapping *mapping, void *arg), void *arg);

#endif
