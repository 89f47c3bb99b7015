/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Controls where mappings are placed. The cost of mmap and munmap depends on the surroundings: whether a page table is
 * freed each time, whether a neighbour merges, how full a node of the kernel's tree is. That is chance, does not change
 * during a process's life, and matters more than a source. So there is one gap at a time for mappings, with the same
 * neighbours in every process, and at another place in each turn.
 */
#ifndef BENCH_SOURCE_PLACE_H
#define BENCH_SOURCE_PLACE_H

#include <stddef.h>

#define PLACE_OTHER ((size_t)64 << 10)

/* Maps one of each of nr others. 0 or -errno. Call once in a process. */
int place_make(size_t nr);

/* PLACE_OTHER bytes that stay mapped. */
char *place_other(size_t i);

/* Between open and close the kernel places mappings in one gap, the next one. */
void place_open(void);
void place_close(void);

#endif
