/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef MRN_CHECK_MAP_H
#define MRN_CHECK_MAP_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>

#include "os/pagemap.h"
#include "os/pages.h"
#include "os/refused.h"

/*
 * This process's page map, for mrn_pagemap_close; or -errno. Not where it could not be closed again: a sandbox may refuse
 * to say which file a descriptor is. On the event path.
 */
static inline int check_map_open(void)
{
	return mrn_is_refused(SYS_newfstatat) ? -EPERM : mrn_pagemap_open();
}

/* Reads the entries of [start, end), whole pages, in ascending order, many at a time. */
struct check_map {
	int fd; /* or -errno */
	uintptr_t from, end;
	size_t known; /* pages from `from` on */
	uint64_t entry[64];
};

static inline void check_map_begin(struct check_map *m, uintptr_t start, uintptr_t end)
{
	m->fd = check_map_open();
	m->from = start;
	m->end = end;
	m->known = 0;
}

/* The entry of the page at addr; false if it cannot be read. */
static inline bool check_map_entry(struct check_map *m, uintptr_t addr, uint64_t *entry)
{
	const size_t most = sizeof(m->entry) / sizeof(m->entry[0]);
	const uintptr_t page = mrn_page_size();

	if (m->fd < 0)
		return false;
	if (addr >= m->from + m->known * page) {
		const size_t left = (m->end - addr + page - 1) / page;
		const size_t n = left < most ? left : most;

		m->from = addr;
		m->known = mrn_pagemap_read(m->fd, addr, n, m->entry) ? 0 : n;
		if (!m->known)
			return false;
	}
	*entry = m->entry[(addr - m->from) / page];
	return true;
}

static inline void check_map_end(struct check_map *m)
{
	if (m->fd >= 0)
		mrn_pagemap_close(m->fd);
}

#endif
