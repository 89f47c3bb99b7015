/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/memory.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE_PAGE ((size_t)2 << 20)

static size_t rounded(size_t size)
{
	return (size + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1);
}

void *bench_alloc(size_t size)
{
	void *p = mmap(NULL, rounded(size), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	if (size >= HUGE_PAGE)
		madvise(p, rounded(size), MADV_HUGEPAGE);
	return p;
}

void bench_free(void *p, size_t size)
{
	if (p)
		munmap(p, rounded(size));
}

/* The number in the first line with this prefix; false without one. */
static bool read_number(const char *path, const char *prefix, uint64_t *out)
{
	FILE *f = fopen(path, "re");
	char line[128];
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f)) {
		char *end;

		if (strncmp(line, prefix, strlen(prefix)) != 0)
			continue;
		*out = strtoull(line + strlen(prefix), &end, 10);
		found = end != line + strlen(prefix);
	}
	if (f)
		fclose(f);
	return found;
}

uint64_t bench_memory_left(void)
{
	uint64_t left = UINT64_MAX, kib, max, used;

	if (read_number("/proc/meminfo", "MemAvailable:", &kib))
		left = kib << 10;
	/* A container's limit is here; outside of one it is "max", which is no number. */
	if (read_number("/sys/fs/cgroup/memory.max", "", &max) &&
	    read_number("/sys/fs/cgroup/memory.current", "", &used)) {
		max = max > used ? max - used : 0;
		if (left > max)
			left = max;
	}
	return left;
}
