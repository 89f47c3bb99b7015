/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device's page table, as its hardware sees it: an access looks up its entry, and is in flight until it ends.
 * Removing an entry waits for accesses that have looked it up, as a shootdown of the device's TLB does. Entries change
 * under the driver's lock; accesses take no lock.
 *
 * A table may have large entries, each for an aligned block of pages whose frames are contiguous. A block has either a
 * large entry or small ones.
 */
#ifndef LAB_MMU_H
#define LAB_MMU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lab;

struct lab_mmu {
	size_t n;
	uint64_t *entry; /* with the accesses in flight, also those through large entries */
	unsigned int order;
	uint64_t *large; /* by block; NULL in a table of small entries */
	/* Bits of an entry's number that say what the device may do, as the right to write does. 0 at first. */
	uint64_t rights;
};

/* What lab_mmu_begin returns without a valid entry. */
#define LAB_NO_FRAME UINT64_MAX

/* 0 or -ENOMEM. Entries are numbered from 0. */
int lab_mmu_init(struct lab_mmu *m, size_t n);
/* A table with large entries for blocks of 2^order pages; n is a multiple of that. */
int lab_mmu_init_large(struct lab_mmu *m, size_t n, unsigned int order);
void lab_mmu_destroy(struct lab_mmu *m);

/*
 * Under the driver's lock. Mapping over a valid entry replaces it at once, without a shootdown; one of the same page keeps
 * the rights that it has. A large entry over page i goes, with all of its block.
 */
void lab_mmu_map(struct lab_mmu *m, size_t i, uint64_t pfn, bool write);
/*
 * The same for the block that begins at i, and the block of frames that pfn is in. Only a large entry's rights are kept:
 * where a small one goes that has more, mark its page dirty first.
 */
void lab_mmu_map_large(struct lab_mmu *m, size_t i, uint64_t pfn, bool write);
/* A large entry goes, and is waited for, as a whole, even if a part of its block is outside. */
void lab_mmu_unmap(struct lab_mmu *m, size_t i, size_t n); /* with the shootdown */
void lab_mmu_clear(struct lab_mmu *m, size_t i, size_t n); /* without: accesses go on */
void lab_mmu_flush(struct lab_mmu *m, size_t i, size_t n); /* the shootdown alone */
/* What a driver does that knows of no large entries: these stay. */
void lab_mmu_clear_small(struct lab_mmu *m, size_t i, size_t n);
bool lab_mmu_is_mapped(const struct lab_mmu *m, size_t i);
bool lab_mmu_is_large(const struct lab_mmu *m, size_t i);
bool lab_mmu_is_writable(const struct lab_mmu *m, size_t i);
uint64_t lab_mmu_pfn(const struct lab_mmu *m, size_t i); /* LAB_NO_FRAME when not mapped */

/*
 * Marks the pages of writable entries dirty, before these are removed: entry i is of the page. Of a large entry, all pages
 * of its block.
 */
void lab_mmu_set_dirty(const struct lab_mmu *m, size_t i, size_t n, struct lab *lab, size_t page);

/* Begins an access by the device: returns the page's number, in flight until end; or LAB_NO_FRAME: do not call end. */
uint64_t lab_mmu_begin(struct lab_mmu *m, size_t i, bool write);
void lab_mmu_end(struct lab_mmu *m, size_t i);

#endif
