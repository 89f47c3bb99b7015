/* SPDX-License-Identifier: BSD-3-Clause */
#include "os/pages.h"

#include <sys/auxv.h>
#include <sys/mman.h>

#include "os/atomic.h"
#include "os/syscall.h"

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

/*
 * The kernel orders who unmaps pages before who is given their addresses. ThreadSanitizer, which sees no
 * raw system calls, has to be told.
 */
#ifdef MRN_TSAN
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);
static char address_space;
#define TSAN_ACQUIRE() __tsan_acquire(&address_space)
#define TSAN_RELEASE() __tsan_release(&address_space)
#else
#define TSAN_ACQUIRE() ((void)0)
#define TSAN_RELEASE() ((void)0)
#endif

uintptr_t mrn_page_size(void)
{
	static uintptr_t size;
	uintptr_t s = __atomic_load_n(&size, __ATOMIC_RELAXED);

	if (!s) {
		/* getauxval reads what the kernel left on the stack: no lock, no allocation. */
		s = getauxval(AT_PAGESZ);
		__atomic_store_n(&size, s, __ATOMIC_RELAXED);
	}
	return s;
}

void *mrn_pages_alloc(size_t size)
{
	long p = mrn_sys6(SYS_mmap, 0, (long)mrn_page_up(size), PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	TSAN_ACQUIRE();
	return mrn_sys_failed(p) ? NULL : (void *)p;
}

void *mrn_pages_alloc_wiped_on_fork(size_t size)
{
	void *p = mrn_pages_alloc(size);

	if (p && mrn_sys3(SYS_madvise, (long)p, (long)mrn_page_up(size), MADV_WIPEONFORK) < 0) {
		mrn_pages_free(p, size);
		return NULL;
	}
	return p;
}

#define LARGE_PAGE ((uintptr_t)2 << 20) /* where it is another size, this is only a start */

void *mrn_pages_alloc_large(size_t size, bool wiped_on_fork)
{
	void *(*alloc)(size_t size) = wiped_on_fork ? mrn_pages_alloc_wiped_on_fork
						    : mrn_pages_alloc;
	uintptr_t start, at;

	size = mrn_page_up(size);
	if (size < LARGE_PAGE)
		return alloc(size);
	start = (uintptr_t)alloc(size + LARGE_PAGE);
	if (!start)
		return NULL;
	at = (start + LARGE_PAGE - 1) & ~(LARGE_PAGE - 1);
	if (at > start)
		mrn_pages_free((void *)start, at - start);
	if (start + LARGE_PAGE > at)
		mrn_pages_free((void *)(at + size), start + LARGE_PAGE - at);
	/* Advice: without large pages it is slower, and no less right. */
	mrn_sys3(SYS_madvise, (long)at, (long)size, MADV_HUGEPAGE);
	return (void *)at;
}

void mrn_pages_free(void *pages, size_t size)
{
	TSAN_RELEASE();
	if (pages)
		mrn_sys2(SYS_munmap, (long)pages, (long)mrn_page_up(size));
}
