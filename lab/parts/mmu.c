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
	m->entry = calloc(n, sizeof(*m->entry));
	if (!m->entry)
		return -ENOMEM;
	lab_hold(LAB_PAGE_TABLES);
	return 0;
}

void lab_mmu_destroy(struct lab_mmu *m)
{
	if (m->entry)
		lab_let_go(LAB_PAGE_TABLES);
	free(m->entry);
	m->entry = NULL;
}

static uint64_t look(const struct lab_mmu *m, size_t i)
{
	return __atomic_load_n(&m->entry[i], __ATOMIC_ACQUIRE);
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

void lab_mmu_map(struct lab_mmu *m, size_t i, uint64_t pfn, bool write)
{
	uint64_t old = look(m, i);

	/*
	 * A thread whose look at the page is older than the entry, with no invalidation since, may know of fewer rights. It
	 * takes none away, or the driver would forget that the page may have been written to.
	 */
	if ((old & VALID) && (old & PFN) == (pfn & PFN))
		write |= (old & WRITE) != 0;
	set(m, i, VALID | (write ? WRITE : 0) | (pfn & PFN));
}

void lab_mmu_clear(struct lab_mmu *m, size_t i, size_t n)
{
	for (size_t end = i + n; i < end; i++)
		set(m, i, 0);
}

void lab_mmu_flush(struct lab_mmu *m, size_t i, size_t n)
{
	/* An access in flight is short, and waits for nothing. */
	for (size_t end = i + n; i < end; i++)
		while (look(m, i) & FLIGHT)
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

bool lab_mmu_is_writable(const struct lab_mmu *m, size_t i)
{
	return (look(m, i) & (VALID | WRITE)) == (VALID | WRITE);
}

uint64_t lab_mmu_pfn(const struct lab_mmu *m, size_t i)
{
	uint64_t e = look(m, i);

	return e & VALID ? e & PFN : LAB_NO_FRAME;
}

void lab_mmu_set_dirty(const struct lab_mmu *m, size_t i, size_t n, struct lab *lab, size_t page,
		       uint64_t mask)
{
	for (size_t k = 0; k < n; k++)
		if (lab_mmu_is_writable(m, i + k))
			lab_set_dirty(lab, page + k, lab_mmu_pfn(m, i + k) & mask);
}

uint64_t lab_mmu_begin(struct lab_mmu *m, size_t i, bool write)
{
	uint64_t e = look(m, i);

	do {
		if (!(e & VALID) || (write && !(e & WRITE)))
			return LAB_NO_FRAME;
	} while (!__atomic_compare_exchange_n(&m->entry[i], &e, e + ONE_FLIGHT, true,
					      __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
	return e & PFN;
}

void lab_mmu_end(struct lab_mmu *m, size_t i)
{
	/* Release: orders the access before what the shootdown waits to do. */
	__atomic_fetch_sub(&m->entry[i], ONE_FLIGHT, __ATOMIC_RELEASE);
}
