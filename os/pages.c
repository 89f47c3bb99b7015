/* SPDX-License-Identifier: BSD-3-Clause */
#include "os/pages.h"

#include <errno.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>

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
 * Room is addresses that are kept for later. A program, and its forked child, may rely on a hole that it has made to stay
 * until it maps something itself. Each bit of taken is a unit; the thread that sets it (acquire) owns the unit until it
 * clears it (release). Pages that are not taken are inaccessible.
 */
struct room {
	size_t unit;	    /* pages */
	unsigned int words; /* of taken */
	uint64_t *taken;
	char *from; /* atomic; NULL: there is none yet */
};

#define UNITS 64 /* of a word */
/* An allocation is of one word. */
#define MOST_UNITS (UNITS / 2)

/* The first is for all, the others are for mrn_pages_keep. */
#define KEPT 1
static struct room rooms[] = {
	{.unit = 1,
	 .words = MRN_PAGES_ROOM / UNITS,
	 .taken = (uint64_t[MRN_PAGES_ROOM / UNITS]){0}},
	{.unit = 1, .words = 64, .taken = (uint64_t[64]){0}},
	{.unit = 16, .words = 16, .taken = (uint64_t[16]){0}},
	{.unit = 512, .words = 1, .taken = (uint64_t[1]){0}},
};
#define ROOMS (sizeof(rooms) / sizeof(rooms[0]))

static size_t size_of_unit(const struct room *r)
{
	return r->unit * mrn_page_size();
}

static size_t size_of_room(const struct room *r)
{
	return r->words * UNITS * size_of_unit(r);
}

/* Addresses without pages; NULL if there are none. */
static char *reserve(size_t size)
{
	long p = mrn_own6(SYS_mmap, 0, (long)size, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return mrn_sys_failed(p) ? NULL : (char *)p;
}

static char *get_room(struct room *r)
{
	char *have = __atomic_load_n(&r->from, __ATOMIC_ACQUIRE), *fresh;

	if (have || r >= &rooms[KEPT])
		return have;
	fresh = reserve(size_of_room(r));
	if (!fresh || __atomic_compare_exchange_n(&r->from, &have, fresh, false, __ATOMIC_ACQ_REL,
						  __ATOMIC_ACQUIRE))
		return fresh;
	mrn_sys2(SYS_munmap, (long)fresh, (long)size_of_room(r));
	return have;
}

void mrn_pages_keep(void)
{
	struct rlimit limit;
	size_t size = 0;
	char *from;

	if (MRN_BROKEN(PAGES_KEPT) || __atomic_load_n(&rooms[KEPT].from, __ATOMIC_RELAXED) ||
	    mrn_sys4(SYS_prlimit64, 0, RLIMIT_AS, 0, (long)&limit) ||
	    limit.rlim_cur != RLIM_INFINITY)
		return;
	for (size_t i = KEPT; i < ROOMS; i++)
		size += size_of_room(&rooms[i]);
	from = reserve(size);
	for (size_t i = KEPT; from && i < ROOMS; i++) {
		__atomic_store_n(&rooms[i].from, from, __ATOMIC_RELEASE);
		from += size_of_room(&rooms[i]);
	}
}

static void unmap_units(struct room *r, unsigned int at, unsigned int end)
{
	/* If that cannot be, they stay, and are of no use. */
	if (at < end)
		mrn_sys2(SYS_munmap, (long)(r->from + at * size_of_unit(r)),
			 (long)((end - at) * size_of_unit(r)));
}

void mrn_pages_give_back(void)
{
	for (struct room *r = &rooms[KEPT]; r < &rooms[ROOMS]; r++) {
		unsigned int at = 0, i;

		if (!__atomic_load_n(&r->from, __ATOMIC_ACQUIRE))
			continue;
		/* Whoever takes them unmaps them, and never gives them back. */
		for (i = 0; i < r->words * UNITS; i++) {
			const uint64_t bit = UINT64_C(1) << (i % UNITS);

			if (!(__atomic_fetch_or(&r->taken[i / UNITS], bit, __ATOMIC_ACQUIRE) & bit))
				continue;
			unmap_units(r, at, i);
			at = i + 1;
		}
		unmap_units(r, at, i);
	}
}

static uint64_t bits(size_t n, unsigned int at)
{
	return ((UINT64_C(1) << n) - 1) << at;
}

/* n units that are side by side in one word; the first, or -1. */
static int take_units(uint64_t *taken, size_t n)
{
	uint64_t had = __atomic_load_n(taken, __ATOMIC_RELAXED);
	unsigned int at = 0;

	while (at + n <= UNITS) {
		if (had & bits(n, at)) {
			at++;
			continue;
		}
		if (__atomic_compare_exchange_n(taken, &had, had | bits(n, at), false,
						__ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			return (int)at;
		at = 0;
	}
	return -1;
}

static size_t units_of(const struct room *r, size_t size)
{
	return (size + size_of_unit(r) - 1) / size_of_unit(r);
}

static void give_units(struct room *r, const char *p, size_t size)
{
	const size_t at = (size_t)(p - r->from) / size_of_unit(r);

	__atomic_fetch_and(&r->taken[at / UNITS], ~bits(units_of(r, size), at % UNITS),
			   __ATOMIC_RELEASE);
}

static void *take_in(struct room *r, size_t size)
{
	const size_t n = units_of(r, size);
	unsigned int word = 0;
	char *from, *p;
	int at = -1;

	/* A unit is not for much less. */
	if (!n || n > MOST_UNITS || size < size_of_unit(r) / 2)
		return NULL;
	from = get_room(r);
	while (from && word < r->words && (at = take_units(&r->taken[word], n)) < 0)
		word++;
	if (at < 0)
		return NULL;
	p = from + (word * UNITS + (unsigned int)at) * size_of_unit(r);
	if (!mrn_sys_failed(mrn_own6(SYS_mmap, (long)p, (long)size, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)))
		return p;
	give_units(r, p, size);
	return NULL;
}

static void *take_room(size_t size)
{
	void *p = NULL;

	for (size_t i = 0; i < ROOMS && !p; i++)
		p = take_in(&rooms[i], size);
	return p;
}

/* False if p is in no room. */
static bool give_room(char *p, size_t size)
{
	for (size_t i = 0; i < ROOMS; i++) {
		struct room *r = &rooms[i];
		char *from = __atomic_load_n(&r->from, __ATOMIC_ACQUIRE);

		if (!from || p < from || p >= from + size_of_room(r))
			continue;
		/* A page that cannot be returned to the kernel is not reused. */
		if (!mrn_sys_failed(
			    mrn_own6(SYS_mmap, (long)p, (long)size, PROT_NONE,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
				     0)))
			give_units(r, p, size);
		return true;
	}
	return false;
}

static void *map_anywhere(size_t size)
{
	long p = mrn_own6(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	TSAN_ACQUIRE();
	return mrn_sys_failed(p) ? NULL : (void *)p;
}

void *mrn_pages_alloc(size_t size)
{
	void *small;

	size = mrn_page_up(size);
	small = take_room(size);
	if (!small)
		return map_anywhere(size);
	TSAN_ACQUIRE();
	return small;
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
	uintptr_t start, at;

	size = mrn_page_up(size);
	if (size < LARGE_PAGE)
		return wiped_on_fork ? mrn_pages_alloc_wiped_on_fork(size) : mrn_pages_alloc(size);
	/* Of a room, what is left over could not be given back. */
	start = (uintptr_t)map_anywhere(size + LARGE_PAGE);
	if (!start || (wiped_on_fork && !wipe_on_fork((void *)start, size + LARGE_PAGE)))
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
