/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Compares what a device does with what it may do.
 *
 * A page's rights: count << 3 | UNLESS_PINNED | NO_READ | NO_WRITE. The storm sets a bit when mrn_hmm_protect has
 * returned, and clears it before it calls mrn_hmm_protect again; or when the start of an invalidation has returned, and
 * clears it before it ends that. The count goes up with each change. When the mm has ended, all bits are set for good.
 *
 * Why a device that is right never meets a bit. It reads the page's rights, accesses the page, and reads the rights
 * again, all in flight. If they are unchanged, the right was gone during the whole access, and had gone before it: so
 * the start of that invalidation has returned, and had waited for all accesses through older translations. A newer
 * translation has no more than the right that is left, until the next change, before which the bit was cleared.
 */
#include <sys/mman.h>

#include "lab/world.h"

#define NO_READ	      UINT64_C(1)
#define NO_WRITE      UINT64_C(2)
#define UNLESS_PINNED UINT64_C(4)
#define BITS	      UINT64_C(7)

uint64_t lab_rights(struct lab *lab, size_t page)
{
	return __atomic_load_n(&lab->page[page].rights, __ATOMIC_ACQUIRE);
}

void lab_check_right(struct lab *lab, size_t page, uint64_t before, bool write)
{
	if (!(before & (write ? NO_WRITE : NO_READ)) || lab_rights(lab, page) != before)
		return;
	/* The access is in flight, so that its driver has not unpinned the page yet. */
	if ((before & UNLESS_PINNED) && lab_is_pinned(lab, page))
		return;
	lab_stale(lab, "the device %s page %zu after the right had been taken away",
		  write ? "wrote to" : "read", page);
}

static void set(struct lab *lab, size_t first, size_t n, uint64_t bits)
{
	for (size_t page = first; page < first + n; page++) {
		/* The storm's thread has closed the page: nobody else writes this. */
		uint64_t next = (lab_rights(lab, page) & ~BITS) + BITS + 1;

		__atomic_store_n(&lab->page[page].rights, next | bits, __ATOMIC_RELEASE);
	}
}

static uint64_t bits_of(int prot)
{
	return (prot & PROT_READ ? 0 : NO_READ) | (prot & PROT_WRITE ? 0 : NO_WRITE);
}

void lab_rights_set(struct lab *lab, size_t first, size_t n, int prot)
{
	set(lab, first, n, bits_of(prot));
}

void lab_rights_set_unless_pinned(struct lab *lab, size_t first, size_t n, int prot)
{
	set(lab, first, n, bits_of(prot) | UNLESS_PINNED);
}
