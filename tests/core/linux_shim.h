/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The rest of the kernel, as far as tests/core/linux_driver.c asks for it. This is the test's, not mrn's:
 * mutexes over pthreads, memory over malloc, and pages from the test's own address space.
 */
#ifndef TESTS_LINUX_SHIM_H
#define TESTS_LINUX_SHIM_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t u64;

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define min(a, b)			((a) < (b) ? (a) : (b))
#define max(a, b)			((a) > (b) ? (a) : (b))

struct mutex {
	pthread_mutex_t m;
};
#define mutex_init(l)	 pthread_mutex_init(&(l)->m, NULL)
#define mutex_destroy(l) pthread_mutex_destroy(&(l)->m)
#define mutex_lock(l)	 pthread_mutex_lock(&(l)->m)
#define mutex_trylock(l) (!pthread_mutex_trylock(&(l)->m))
#define mutex_unlock(l)	 pthread_mutex_unlock(&(l)->m)

#define GFP_KERNEL 0
static inline void *kmalloc(size_t size, int gfp)
{
	void *p = malloc(size);

	/* As a kernel that poisons its slabs: nobody may count on zeros. */
	return p ? memset(p, 0xa5, size) : NULL;
}
#define kcalloc(n, size, gfp) calloc(n, size)
#define kfree(p)	      free(p)

#define ERR_PTR(e) ((void *)(intptr_t)(e))
#define PTR_ERR(p) ((int)(intptr_t)(p))
#define IS_ERR(p)  ((uintptr_t)(p) >= (uintptr_t)-4095)

/* linux_port.c has the pages. */
#define PAGE_SHIFT 12
#define PAGE_SIZE  (1ul << PAGE_SHIFT)
#define FOLL_WRITE 1
struct page;
struct mm_struct;
long pin_user_pages_remote(struct mm_struct *mm, unsigned long start, unsigned long n,
			   unsigned int flags, struct page **pages, int *locked);
void unpin_user_pages_dirty_lock(struct page **pages, unsigned long n, bool dirty);
u64 *page_address(struct page *page);

#endif
