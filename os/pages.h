/* SPDX-License-Identifier: BSD-3-Clause */
/* Whole pages from the kernel, past every interposer, for the event path's own state. */
#ifndef MRN_OS_PAGES_H
#define MRN_OS_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

extern uintptr_t mrn_page_size_known; /* 0 before the first question */
uintptr_t mrn_page_size_ask(void);

/* The OS page size in bytes. Async-signal-safe. */
static inline uintptr_t mrn_page_size(void)
{
	uintptr_t size = __atomic_load_n(&mrn_page_size_known, __ATOMIC_RELAXED);

	return __builtin_expect(size != 0, 1) ? size : mrn_page_size_ask();
}

static inline uintptr_t mrn_page_down(uintptr_t addr)
{
	return addr & ~(mrn_page_size() - 1);
}

/* Rounds up; the last page of the address space gives UINTPTR_MAX, so that the range is not lost. */
static inline uintptr_t mrn_page_up(uintptr_t addr)
{
	uintptr_t up = (addr + mrn_page_size() - 1) & ~(mrn_page_size() - 1);

	return up < addr ? UINTPTR_MAX : up;
}

/* Pages of address space that are kept from the first allocation on. */
#define MRN_PAGES_ROOM 64

/*
 * Keeps 208 MiB of addresses for later allocations, so that these do not take holes that the program makes meanwhile either:
 * 4096 of single pages, 64 MiB of 64 KiB each, and 128 MiB of larger ones. They cost no memory. None are kept if the program
 * has a limit of addresses (RLIMIT_AS). Call it once, before there are other threads.
 */
void mrn_pages_keep(void);
/* Gives back what is free of these, for good. */
void mrn_pages_give_back(void);

/*
 * Zeroed private pages, size rounded up; NULL without memory. Preserves errno. The first call reserves room for later
 * small allocations, so that these do not take holes that the program has made meanwhile.
 */
void *mrn_pages_alloc(size_t size);

/* The same, and a forked child finds zeros there whatever the parent wrote (Linux 4.14). */
void *mrn_pages_alloc_wiped_on_fork(size_t size);

/*
 * The same for what a process has once: stores the pages in `at`, a pointer, unless some are there already. 0 or -ENOMEM.
 * Threads may race: one stores its pages, and all use those. They are never freed.
 */
#define MRN_PAGES_ONCE(at) mrn_pages_once((mrn_any_pointer *)&(at), sizeof(*(at)))
typedef void *mrn_any_pointer __attribute__((may_alias));
int mrn_pages_once(mrn_any_pointer *at, size_t size);
/* The same, of reserved addresses; so not of the room. */
#define MRN_PAGES_RESERVE_ONCE(at) mrn_pages_reserve_once((mrn_any_pointer *)&(at), sizeof(*(at)))
int mrn_pages_reserve_once(mrn_any_pointer *at, size_t size);

/*
 * Addresses whose pages are taken from the kernel when they are used, small ones, and which count for no limit of memory
 * before that, except with strict overcommit. Otherwise as mrn_pages_alloc_wiped_on_fork.
 */
void *mrn_pages_reserve_wiped_on_fork(size_t size);

/* Either of the first two, in large pages if available. */
void *mrn_pages_alloc_large(size_t size, bool wiped_on_fork);

void mrn_pages_free(void *pages, size_t size);

#endif
