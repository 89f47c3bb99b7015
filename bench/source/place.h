/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where mappings come to lie. What mmap and munmap cost depends on what lies around: a page table that is freed each
 * time or not, a neighbour to merge with, how full a node of the kernel's tree is. That is chance, and stays what it is as
 * long as a process lives: more than what a source costs. So there is one gap at a time for mappings, with the same
 * neighbours in every process, and it is elsewhere in each turn.
 */
#ifndef BENCH_SOURCE_PLACE_H
#define BENCH_SOURCE_PLACE_H

#include <stddef.h>

#define PLACE_OTHER ((size_t)64 << 10)

/* One for each of nr others. 0 or -errno. Once in a process. */
int place_make(size_t nr);

/* PLACE_OTHER bytes that stay mapped. */
char *place_other(size_t i);

/* From one to the other, mappings that the kernel finds a place for lie in one gap, the next one. */
void place_open(void);
void place_close(void);

#endif
