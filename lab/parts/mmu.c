/* SPDX-License-Identifier: BSD-3-Clause */
#include "lab/parts/mmu.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#include "lab/held.h"
#include "lab/lab.h"

/* An entry: VALID, WRITE, accesses in flight, the page's number. */
#define VALID	   (UINT64_C(1) << 63)
#define WRITE	   (UINT64_C(1) << 62)
#define ONE_FLIGHT (UINT64_C(1) << 54)
#define FLIGHT	   (UINT64_C(0xff) << 54)
#define PFN	   (ONE_FLIGHT - 1)

int lab_mmu_init(struct lab_mmu *m, size_t n)
{
	m->n = n;
	m->rights = 0;
	m->entry = calloc(n, sizeof(*m->entry));
	if (!m->entry)
		return -ENOMEM;
	lab_hold(LAB_PAGE_TABLES);
	return 0;
}

int lab_mmu_init_large(struct lab_mmu *m, size_t n, unsigned int order)
{
	int err = lab_mmu_init(m, n);

	if (err)
		return err;
	m->order = order;
	m->large = calloc(n >> order, sizeof(*m->large));
	return m->large ? 0 : -ENOMEM;
}

void lab_mmu_destroy(struct lab_mmu *m)
{
	if (m->entry)
		lab_let_go(LAB_PAGE_TABLES);
	free(m->large);
	free(m->entry);
	m->large = m->entry = NULL;
}

/* ------------------------------------------------------------------------------------------ large entries */

static size_t in_block(const struct lab_mmu *m, size_t i)
{
	return i & (((size_t)1 << m->order) - 1);
}

static uint64_t look_large(const struct lab_mmu *m, size_t i)
{
	/* Sequentially consistent: see set_large. */
	return m->large ? __atomic_load_n(&m->large[i >> m->order], __ATOMIC_SEQ_CST) : 0;
}

/*
 * An access counts itself in flight, then reads the large entry; whoever removes the entry writes it, then reads the
 * count. All four are sequentially consistent, so either the access finds no entry, or it is waited for.
 */
static void set_large(struct lab_mmu *m, size_t i, uint64_t bits)
{
	__atomic_store_n(&m->large[i >> m->order], bits, __ATOMIC_SEQ_CST);
}

/* The blocks of pages that have large entries: from the first page of the first to the last of the last. */
static void round_to_blocks(const struct lab_mmu *m, size_t *i, size_t *n)
{
	size_t end = *i + *n;

	if (!m->large || !*n)
		return;
	*i -= in_block(m, *i);
	end += ((size_t)1 << m->order) - 1;
	*n = end - in_block(m, end) - *i;
}

/* --------------------------------------------------------------------------------------- all entries */

/* What an access to page i finds, with the number of that page. */
static uint64_t look(const struct lab_mmu *m, size_t i)
{
	uint64_t large = look_large(m, i);

	return large ? large + in_block(m, i) : __atomic_load_n(&m->entry[i], __ATOMIC_ACQUIRE);
}

/* Replaces everything but the count of accesses in flight. */
static void set(struct lab_mmu *m, size_t i, uint64_t bits)
{
	uint64_t old = __atomic_load_n(&m->entry[i], __ATOMIC_RELAXED);

	/* Release: an access that sees the entry sees the frame as the mapping thread did. */
	while (!__atomic_compare_exchange_n(&m->entry[i], &old, (old & FLIGHT) | bits, true,
					    __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		;
}

/* The rights that an entry of this page has and a new one keeps. */
static uint64_t kept_rights(const struct lab_mmu *m, size_t i, uint64_t pfn)
{
	uint64_t old = look(m, i), page = PFN & ~m->rights;

	/*
	 * A thread whose look at the page is older than the entry, with no invalidation since, may know of fewer rights. It
	 * takes none away, or the driver would forget that the page may have been written to.
	 */
	return (old & VALID) && (old & page) == (pfn & page) ? old & (WRITE | m->rights) : 0;
}

void lab_mmu_map(struct lab_mmu *m, size_t i, uint64_t pfn, bool write)
{
	uint64_t kept = kept_rights(m, i, pfn);

	if (m->large)
		set_large(m, i, 0);
	set(m, i, VALID | kept | (write ? WRITE : 0) | (pfn & PFN));
}

void lab_mmu_map_large(struct lab_mmu *m, size_t i, uint64_t pfn, bool write)
{
	/* The first of the block: hardware has no bits for more. */
	uint64_t block = pfn & ~(((uint64_t)1 << m->order) - 1);
	/* Not a small entry's, whose rights are its page's alone. */
	uint64_t kept = lab_mmu_is_large(m, i) ? kept_rights(m, i, block) : 0;

	lab_mmu_clear_small(m, i, (size_t)1 << m->order);
	set_large(m, i, VALID | kept | (write ? WRITE : 0) | (block & PFN));
}

void lab_mmu_clear_small(struct lab_mmu *m, size_t i, size_t n)
{
	for (size_t end = i + n; i < end; i++)
		set(m, i, 0);
}

void lab_mmu_clear(struct lab_mmu *m, size_t i, size_t n)
{
	for (size_t k = 0; m->large && k < n; k++)
		set_large(m, i + k, 0);
	lab_mmu_clear_small(m, i, n);
}

void lab_mmu_flush(struct lab_mmu *m, size_t i, size_t n)
{
	round_to_blocks(m, &i, &n);
	/* An access in flight is short, and waits for nothing. */
	for (size_t end = i + n; i < end; i++)
		while (__atomic_load_n(&m->entry[i], __ATOMIC_SEQ_CST) & FLIGHT)
			sched_yield();
}

void lab_mmu_unmap(struct lab_mmu *m, size_t i, size_t n)
{
	lab_mmu_clear(m, i, n);
	lab_mmu_flush(m, i, n);
}

bool lab_mmu_is_mapped(const struct lab_mmu *m, size_t i)
{
	return look(m, i) & VALID;
}

bool lab_mmu_is_large(const struct lab_mmu *m, size_t i)
{
	return look_large(m, i) != 0;
}

bool lab_mmu_is_writable(const struct lab_mmu *m, size_t i)
{
	return (look(m, i) & (VALID | WRITE)) == (VALID | WRITE);
}

uint64_t lab_mmu_pfn(const struct lab_mmu *m, size_t i)
{
	uint64_t e = look(m, i);

	return e & VALID ? e & PFN : LAB_NO_FRAME;
}

void lab_mmu_set_dirty(const struct lab_mmu *m, size_t i, size_t n, struct lab *lab, size_t page)
{
	size_t first = i, all = n;

	round_to_blocks(m, &first, &all);
	for (size_t k = first; k < first + all; k++) {
		bool inside = k >= i && k < i + n;

		if ((inside || lab_mmu_is_large(m, k)) && lab_mmu_is_writable(m, k))
			lab_set_dirty(lab, page + k - i, lab_mmu_pfn(m, k) & ~m->rights);
	}
}

/* False if there is no valid entry. */
static bool is_allowed(uint64_t entry, bool write)
{
	return (entry & VALID) && (!write || (entry & WRITE));
}

/* An access that finds a large entry, or nothing. */
static uint64_t begin_large(struct lab_mmu *m, size_t i, bool write)
{
	uint64_t e;

	__atomic_fetch_add(&m->entry[i], ONE_FLIGHT, __ATOMIC_SEQ_CST);
	e = look_large(m, i);
	if (is_allowed(e, write))
		return (e & PFN) + in_block(m, i);
	lab_mmu_end(m, i);
	return LAB_NO_FRAME;
}

uint64_t lab_mmu_begin(struct lab_mmu *m, size_t i, bool write)
{
	uint64_t e;

	if (look_large(m, i))
		return begin_large(m, i, write);
	e = __atomic_load_n(&m->entry[i], __ATOMIC_ACQUIRE);
	do {
		if (!is_allowed(e, write))
			return LAB_NO_FRAME;
	} while (!__atomic_compare_exchange_n(&m->entry[i], &e, e + ONE_FLIGHT, true,
					      __ATOMIC_SEQ_CST, __ATOMIC_ACQUIRE));
	return e & PFN;
}

void lab_mmu_end(struct lab_mmu *m, size_t i)
{
	/* Release: orders the access before what the shootdown waits to do. */
	__atomic_fetch_sub(&m->entry[i], ONE_FLIGHT, __ATOMIC_RELEASE);
}
