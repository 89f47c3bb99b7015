/* SPDX-License-Identifier: BSD-3-Clause */
/* Creating and freeing regions. */
#include <errno.h>
#include <sys/mman.h>

#include "hmm/change.h"
#include "hmm/cpu_entry.h"
#include "hmm/cpu_map.h"
#include "hmm/page_in.h"
#include "hmm/space.h"

static bool overlaps_region(struct mrn_hmm *hmm, uintptr_t start, uintptr_t end)
{
	struct mrn_hmm_region *r = mrn_hmm_region_next(hmm, start);
	bool overlaps = r && r->start < end;

	if (r)
		mrn_hmm_region_put(r);
	return overlaps;
}

/*
 * Reserves addresses that are in no region. The kernel may hand out addresses that a region has lost: these are kept
 * until it has handed out others.
 */
static uintptr_t reserve(struct mrn_hmm *hmm, size_t length, size_t align)
{
	uintptr_t start = mrn_hmm_cpu_reserve(length, align), other;

	if (!start || !overlaps_region(hmm, start, start + length))
		return start;
	other = reserve(hmm, length, align);
	mrn_hmm_cpu_release(start, length);
	return other;
}

static struct mrn_hmm_region *new_region(struct mrn_hmm *hmm, size_t pages, unsigned int order)
{
	struct mrn_hmm_region *r = mrn_pages_alloc(mrn_hmm_region_memory(pages));

	if (!r)
		return NULL;
	r->hmm = hmm;
	r->refs = 1;
	r->order = order;
	r->start = reserve(hmm, pages * mrn_page_size(), mrn_page_size() << order);
	if (!r->start) {
		mrn_pages_free(r, mrn_hmm_region_memory(pages));
		return NULL;
	}
	r->end = r->start + pages * mrn_page_size();
	return r;
}

/* Where to look for a page's first frame: far from the last region's, where frames are likely free. */
static void choose_homes(struct mrn_hmm_region *r)
{
	struct mrn_hmm_frames *f = &r->hmm->frames;
	uint64_t align = UINT64_C(1) << r->order, first;

	mrn_mutex_lock(&f->lock);
	first = (f->next_home + align - 1) & ~(align - 1);
	f->next_home = (first + mrn_hmm_pages(r)) % f->n;
	mrn_mutex_unlock(&f->lock);
	for (size_t i = 0; i < mrn_hmm_pages(r); i++)
		r->page[i].home = (uint32_t)((first + i) % f->n);
}

int mrn_hmm_alloc(struct mrn_hmm *hmm, size_t length, int prot, unsigned int order, void **addr)
{
	struct mrn_hmm_region *r;
	size_t pages = length / mrn_page_size();
	int err = mrn_hmm_check(hmm);

	if (err)
		return err;
	if (!length || length % mrn_page_size() || order > MRN_HMM_MAX_ORDER || !addr ||
	    (prot & ~(PROT_READ | PROT_WRITE)))
		return -EINVAL;
	if (pages > SIZE_MAX / 2 / sizeof(struct mrn_hmm_page))
		return -ENOMEM;
	r = new_region(hmm, pages, order);
	if (!r)
		return -ENOMEM;
	choose_homes(r);
	err = mrn_hmm_cpu_map(r, 0, pages, prot);
	for (size_t i = 0; i < pages && !err; i++) {
		r->page[i].state = PAGE_NONE;
		r->page[i].prot = (uint8_t)prot;
		r->page[i].flags = PAGE_SOFT_DIRTY;
	}
	if (!err)
		err = mrn_hmm_region_insert(hmm, r);
	if (err) {
		mrn_hmm_cpu_unmap(r, 0, pages);
		mrn_hmm_cpu_release(r->start, length);
		mrn_hmm_region_put(r);
		return err;
	}
	*addr = (void *)r->start;
	return 0;
}

int mrn_hmm_free(struct mrn_hmm *hmm, void *addr)
{
	struct mrn_hmm_change c = {0};
	int err = mrn_hmm_check(hmm);

	if (err)
		return err;
	c.r = mrn_hmm_region_get(hmm, (uintptr_t)addr);
	if (!c.r)
		return -EINVAL;
	if (c.r->start != (uintptr_t)addr) {
		mrn_hmm_region_put(c.r);
		return -EINVAL;
	}
	c.n = mrn_hmm_pages(c.r);
	err = mrn_hmm_change_begin(&c, MMU_NOTIFY_UNMAP, MRN_CAUSE_MUNMAP, NULL, 0);
	if (err)
		return err;
	mrn_hmm_cpu_zap(c.r, 0, c.n);
	mrn_hmm_drop(c.r, 0, c.n);
	mrn_hmm_cpu_unmap(c.r, 0, c.n);
	mrn_hmm_holes(c.r, 0, c.n);
	mrn_hmm_cpu_give_back(c.r);
	/* Last, so that pages lost until then are still found. Drops the space's reference; the change has another. */
	if (mrn_hmm_region_remove(c.r))
		mrn_hmm_region_put(c.r);
	else
		err = -EINVAL;
	mrn_hmm_change_end(&c);
	return err;
}
