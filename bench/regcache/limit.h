/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The fastest possible hit. A cache that is asked for a registration by address, and hands out an entry, makes two
 * calls, and reads one cache line that it finds by the address and one of the entry. This does that and nothing else:
 * no reference counts, no invalidation.
 */
#ifndef BENCH_REGCACHE_LIMIT_H
#define BENCH_REGCACHE_LIMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LIMIT_LINES 1024 /* more than twice the number of buffers */

struct limit_entry {
	uintptr_t start, end;
	const struct limit_table *table;
} __attribute__((aligned(64)));

struct limit_line {
	uint64_t page;
	struct limit_entry *entry; /* NULL: free */
} __attribute__((aligned(64)));

struct limit_table {
	struct limit_line line[LIMIT_LINES];
	struct limit_entry entry[LIMIT_LINES / 2];
	size_t entries;
};

bool limit_add(struct limit_table *t, uintptr_t start, size_t length);
const struct limit_entry *limit_get(const struct limit_table *t, uintptr_t start, size_t length);
bool limit_put(const struct limit_entry *entry);

#endif
