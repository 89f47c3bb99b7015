/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory for measuring, alike for every contender.
 */
#ifndef BENCH_MEMORY_H
#define BENCH_MEMORY_H

#include <stddef.h>
#include <stdint.h>

/* Zeroed, in huge pages where the system has them, as the kernel's own memory is; NULL without room for it. */
void *bench_alloc(size_t size);
void bench_free(void *p, size_t size);

/* About how many bytes this process may still use without an OOM kill. */
uint64_t bench_memory_left(void);

#endif
