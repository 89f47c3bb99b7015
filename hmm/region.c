/* SPDX-License-Identifier: BSD-3-Clause */
#include "hmm/region.h"

#include <errno.h>
#include <stdlib.h>

#include "hmm/space.h"

/* The first region that ends above addr. Under regions_lock. */
static size_t position(const struct mrn_hmm *hmm, uintptr_t addr)
{
	size_t low = 0, high = hmm->nr_regions;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (hmm->region[middle]->end <= addr)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

void mrn_hmm_region_hold(struct mrn_hmm_region *r)
{
	__atomic_fetch_add(&r->refs, 1, __ATOMIC_RELAXED);
}

struct mrn_hmm_region *mrn_hmm_region_next(struct mrn_hmm *hmm, uintptr_t addr)
{
	struct mrn_hmm_region *r = NULL;
	size_t at;

	mrn_mutex_lock(&hmm->regions_lock);
	at = position(hmm, addr);
	if (at < hmm->nr_regions) {
		r = hmm->region[at];
		mrn_hmm_region_hold(r);
	}
	mrn_mutex_unlock(&hmm->regions_lock);
	return r;
}

struct mrn_hmm_region *mrn_hmm_region_get(struct mrn_hmm *hmm, uintptr_t addr)
{
	struct mrn_hmm_region *r = mrn_hmm_region_next(hmm, addr);

	if (r && r->start > addr) {
		mrn_hmm_region_put(r);
		r = NULL;
	}
	return r;
}

int mrn_hmm_region_insert(struct mrn_hmm *hmm, struct mrn_hmm_region *r)
{
	int err = 0;
	size_t at;

	mrn_mutex_lock(&hmm->regions_lock);
	if (hmm->nr_regions == hmm->room) {
		size_t room = hmm->room ? hmm->room * 2 : 16;
		struct mrn_hmm_region **more = realloc(hmm->region, room * sizeof(*more));

		if (more) {
			hmm->region = more;
			hmm->room = room;
		} else {
			err = -ENOMEM;
		}
	}
	if (!err) {
		at = position(hmm, r->start);
		for (size_t i = hmm->nr_regions++; i > at; i--)
			hmm->region[i] = hmm->region[i - 1];
		hmm->region[at] = r;
	}
	mrn_mutex_unlock(&hmm->regions_lock);
	return err;
}

bool mrn_hmm_region_remove(struct mrn_hmm_region *r)
{
	struct mrn_hmm *hmm = r->hmm;
	bool found;
	size_t i;

	mrn_mutex_lock(&hmm->regions_lock);
	i = position(hmm, r->start);
	found = i < hmm->nr_regions && hmm->region[i] == r;
	if (found) {
		hmm->nr_regions--;
		for (; i < hmm->nr_regions; i++)
			hmm->region[i] = hmm->region[i + 1];
	}
	mrn_mutex_unlock(&hmm->regions_lock);
	return found;
}

void mrn_hmm_region_put(struct mrn_hmm_region *r)
{
	if (__atomic_fetch_sub(&r->refs, 1, __ATOMIC_ACQ_REL) == 1)
		mrn_pages_free(r, mrn_hmm_region_memory(mrn_hmm_pages(r)));
}

void mrn_hmm_flags(struct mrn_hmm_region *r, size_t i, size_t n, unsigned int set,
		   unsigned int clear)
{
	mrn_mutex_lock(&r->lock);
	for (size_t at = i; at < i + n; at++)
		r->page[at].flags = (uint16_t)((r->page[at].flags & ~clear) | set);
	mrn_mutex_unlock(&r->lock);
}

void mrn_hmm_holes(struct mrn_hmm_region *r, size_t i, size_t n)
{
	mrn_mutex_lock(&r->lock);
	for (size_t at = i; at < i + n; at++)
		r->page[at].state = PAGE_HOLE;
	mrn_mutex_unlock(&r->lock);
}
