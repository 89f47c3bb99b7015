/* SPDX-License-Identifier: BSD-3-Clause */
#include "os/pages.h"

#include <errno.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#include "os/atomic.h"
#include "os/check.h"
#include "os/syscall.h"

/*
 * The kernel orders the unmapping of pages before their addresses are handed out again. ThreadSanitizer sees no raw
 * system calls, and has to be told.
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

uintptr_t mrn_page_size_known;

uintptr_t mrn_page_size_ask(void)
{
	/* getauxval reads what the kernel left on the stack: no lock, no allocation. */
	uintptr_t size = getauxval(AT_PAGESZ);

	__atomic_store_n(&mrn_page_size_known, size, __ATOMIC_RELAXED);
	return size;
}

/*
 * Room for small allocations, kept from the first one on. A program, and its forked child, may rely on a hole that it
 * has made to stay until it maps something itself. Each bit of taken is a page; the thread that sets it (acquire) owns
 * the page until it clears it (release). Pages that are not taken are inaccessible.
 */
#define ROOM MRN_PAGES_ROOM
static char *room;
static uint64_t taken;

static char *get_room(void)
{
	char *have = __atomic_load_n(&room, __ATOMIC_ACQUIRE);
	long p;

	if (have)
		return have;
	p = mrn_own6(SYS_mmap, 0, (long)(ROOM * mrn_page_size()), PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (mrn_sys_failed(p))
		return NULL;
	if (__atomic_compare_exchange_n(&room, &have, (char *)p, false, __ATOMIC_ACQ_REL,
					__ATOMIC_ACQUIRE))
		return (char *)p;
	mrn_sys2(SYS_munmap, p, (long)(ROOM * mrn_page_size()));
	return have;
}

static uint64_t bits(size_t n, unsigned int at)
{
	return ((UINT64_C(1) << n) - 1) << at;
}

static void *take_room(size_t size)
{
	size_t n = size / mrn_page_size();
	char *from = n && n <= ROOM / 2 ? get_room() : NULL, *p;
	uint64_t had = __atomic_load_n(&taken, __ATOMIC_RELAXED);
	unsigned int at = 0;

	while (from && at + n <= ROOM) {
		if (had & bits(n, at)) {
			at++;
			continue;
		}
		if (!__atomic_compare_exchange_n(&taken, &had, had | bits(n, at), false,
						 __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
			at = 0;
			continue;
		}
		p = from + at * mrn_page_size();
		if (!mrn_sys_failed(mrn_own6(SYS_mmap, (long)p, (long)size, PROT_READ | PROT_WRITE,
					     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)))
			return p;
		__atomic_fetch_and(&taken, ~bits(n, at), __ATOMIC_RELEASE);
		return NULL;
	}
	return NULL;
}

/* False if p is not in the room. */
static bool give_room(char *p, size_t size)
{
	char *from = __atomic_load_n(&room, __ATOMIC_ACQUIRE);
	size_t at = (size_t)(p - from) / mrn_page_size();

	if (!from || p < from || at >= ROOM)
		return false;
	/* A page that cannot be returned to the kernel is not reused. */
	if (!mrn_sys_failed(mrn_own6(SYS_mmap, (long)p, (long)size, PROT_NONE,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
				     0)))
		__atomic_fetch_and(&taken, ~bits(size / mrn_page_size(), (unsigned int)at),
				   __ATOMIC_RELEASE);
	return true;
}

void *mrn_pages_alloc(size_t size)
{
	void *small;
	long p;

	size = mrn_page_up(size);
	small = take_room(size);
	p = small ? (long)small
		  : mrn_own6(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	TSAN_ACQUIRE();
	return mrn_sys_failed(p) ? NULL : (void *)p;
}

/* Frees them if that does not work. */
static bool wipe_on_fork(void *p, size_t size)
{
	if (MRN_BROKEN(FORK_WIPE) ||
	    mrn_sys3(SYS_madvise, (long)p, (long)mrn_page_up(size), MADV_WIPEONFORK) == 0)
		return true;
	mrn_pages_free(p, size);
	return false;
}

void *mrn_pages_alloc_wiped_on_fork(size_t size)
{
	void *p = mrn_pages_alloc(size);

	return p && wipe_on_fork(p, size) ? p : NULL;
}

void *mrn_pages_reserve_wiped_on_fork(size_t size)
{
	long p = mrn_own6(SYS_mmap, 0, (long)mrn_page_up(size), PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (mrn_sys_failed(p))
		return NULL;
	TSAN_ACQUIRE();
	if (!wipe_on_fork((void *)p, size))
		return NULL;
	/* Advice. Few pages are ever used, and far apart. */
	mrn_sys3(SYS_madvise, p, (long)mrn_page_up(size), MADV_NOHUGEPAGE);
	return (void *)p;
}

static int once(mrn_any_pointer *at, size_t size, void *(*alloc)(size_t size))
{
	void *fresh, *none = NULL;

	if (__atomic_load_n(at, __ATOMIC_ACQUIRE))
		return 0;
	fresh = alloc(size);
	if (!fresh)
		return -ENOMEM;
	if (!__atomic_compare_exchange_n(at, &none, fresh, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_RELAXED))
		mrn_pages_free(fresh, size);
	return 0;
}

int mrn_pages_once(mrn_any_pointer *at, size_t size)
{
	return once(at, size, mrn_pages_alloc_wiped_on_fork);
}

int mrn_pages_reserve_once(mrn_any_pointer *at, size_t size)
{
	return once(at, size, mrn_pages_reserve_wiped_on_fork);
}

#define LARGE_PAGE ((uintptr_t)2 << 20) /* if the real size differs, this is only a hint */

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
	if (pages && !give_room(pages, mrn_page_up(size)))
		mrn_sys2(SYS_munmap, (long)pages, (long)mrn_page_up(size));
}
