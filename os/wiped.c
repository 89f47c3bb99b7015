/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Notes of pages. Taking a note exchanges its owner, 0, for the process's generation; the note is taken until owner is
 * 0 again. start is the noted address, or 0: set after the pages are mapped, cleared before they are unmapped. So
 * whatever another thread is doing when the process forks, a note in the child is of pages that the child has, or of
 * none; pages that are mapped but not yet noted stay in the child.
 *
 * Another process's generation is never set again in this process. So of several threads that find a parent's note, one
 * gets it.
 */
#include "os/wiped.h"

#include <stdbool.h>
#include <stdint.h>

#include "os/check.h"
#include "os/generation.h"
#include "os/pages.h"

struct note {
	uintptr_t start;
	size_t size;
	uint32_t owner;
};

#define SHELF_SIZE  ((size_t)4096)
#define SHELF_NOTES ((SHELF_SIZE - sizeof(void *)) / sizeof(struct note))

struct shelf {
	struct shelf *next;
	struct note note[SHELF_NOTES];
};

static struct shelf *shelves; /* never freed */

/* The note after n, the first for NULL; *shelf is the shelf that it is on. */
static struct note *next_note(struct note *n, struct shelf **shelf)
{
	if (!n)
		*shelf = __atomic_load_n(&shelves, __ATOMIC_ACQUIRE);
	else if (++n < (*shelf)->note + SHELF_NOTES)
		return n;
	else
		*shelf = (*shelf)->next;
	return *shelf ? (*shelf)->note : NULL;
}

static void clear(struct note *n)
{
	__atomic_store_n(&n->start, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&n->owner, 0, __ATOMIC_RELEASE);
}

static bool add_shelf(void)
{
	struct shelf *s = mrn_pages_alloc(sizeof(*s));

	if (!s)
		return false;
	s->next = __atomic_load_n(&shelves, __ATOMIC_ACQUIRE);
	while (!__atomic_compare_exchange_n(&shelves, &s->next, s, true, __ATOMIC_ACQ_REL,
					    __ATOMIC_ACQUIRE))
		;
	return true;
}

static struct note *claim(void)
{
	struct shelf *shelf;

	do {
		for (struct note *n = next_note(NULL, &shelf); n; n = next_note(n, &shelf)) {
			uint32_t none = 0;

			/* Acquire pairs with clear. */
			if (!__atomic_load_n(&n->owner, __ATOMIC_RELAXED) &&
			    __atomic_compare_exchange_n(&n->owner, &none, mrn_generation(), false,
							__ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
				return n;
		}
	} while (add_shelf());
	return NULL;
}

void *mrn_wiped_alloc(size_t size)
{
	struct note *n;
	void *p;

	if (mrn_generation_init())
		return NULL;
	mrn_wiped_give_back();
	n = claim();
	if (!n)
		return NULL;
	p = mrn_pages_alloc_large(size, true);
	if (!p) {
		clear(n);
		return NULL;
	}
	__atomic_store_n(&n->size, size, __ATOMIC_RELAXED);
	/* Release: a child forked now finds the size. */
	__atomic_store_n(&n->start, (uintptr_t)p, __ATOMIC_RELEASE);
	return p;
}

void mrn_wiped_free(void *pages, size_t size)
{
	struct shelf *shelf;

	for (struct note *n = next_note(NULL, &shelf); n && pages; n = next_note(n, &shelf))
		if (__atomic_load_n(&n->start, __ATOMIC_RELAXED) == (uintptr_t)pages) {
			clear(n);
			break;
		}
	mrn_pages_free(pages, size);
}

void mrn_wiped_give_back(void)
{
	uint32_t ours = mrn_generation(), owner;
	struct shelf *shelf;
	void *pages;

	if (MRN_BROKEN(FORK_ROOM))
		return;
	for (struct note *n = next_note(NULL, &shelf); n; n = next_note(n, &shelf)) {
		owner = __atomic_load_n(&n->owner, __ATOMIC_RELAXED);
		if (!owner || owner == ours ||
		    !__atomic_compare_exchange_n(&n->owner, &owner, ours, false, __ATOMIC_ACQUIRE,
						 __ATOMIC_RELAXED))
			continue;
		/* Acquire pairs with the release that set it, before the fork. */
		pages = (void *)__atomic_load_n(&n->start, __ATOMIC_ACQUIRE);
		/* Before the pages are unmapped, as in mrn_wiped_free: this process may fork, too. */
		__atomic_store_n(&n->start, 0, __ATOMIC_RELAXED);
		mrn_pages_free(pages, __atomic_load_n(&n->size, __ATOMIC_RELAXED));
		clear(n);
	}
}
