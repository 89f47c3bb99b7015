/* SPDX-License-Identifier: BSD-3-Clause */
/* Migration of pages to and from devices' memory. */
#include <errno.h>
#include <sys/mman.h>

#include "hmm/change.h"
#include "hmm/cpu_entry.h"
#include "hmm/device.h"
#include "hmm/page_in.h"
#include "hmm/space.h"

#define BATCH 64

/* True if the page is on dev; NULL: on any device. */
static bool is_on(const struct mrn_hmm_page *p, const struct mrn_hmm_device *dev)
{
	uint64_t page;

	return p->state == PAGE_DEVICE &&
	       (!dev || mrn_hmm_device_page(dev, (unsigned long)p->pfn, &page));
}

/* --------------------------------------------------------------------------------------- to a device */

/* True if page i may go to a device: it is in memory or can be brought in, and is not pinned. */
static bool can_go(struct mrn_hmm_region *r, size_t i)
{
	const struct mrn_hmm_page *p = &r->page[i];
	int err;

	mrn_mutex_lock(&r->lock);
	err = mrn_hmm_may_access(p, false);
	mrn_mutex_unlock(&r->lock);
	if (err || p->state == PAGE_DEVICE)
		return false;
	return p->state != PAGE_RAM || !mrn_hmm_frame_is_pinned(&r->hmm->frames, p->home);
}

/* Copies up to n pages, which are RAM and have no entries, to dev. How many, or -errno. */
static long copy_out(struct mrn_hmm_region *r, size_t i, size_t n, struct mrn_hmm_device *dev)
{
	struct mrn_hmm *hmm = r->hmm;
	uint64_t pages[BATCH];
	void *memory[BATCH];
	long got = dev->ops->alloc(dev, n, pages);
	int err;

	if (got <= 0)
		return got;
	n = (size_t)got;
	for (size_t k = 0; k < n; k++)
		memory[k] = mrn_hmm_frame_memory(&hmm->frames, r->page[i + k].home);
	err = dev->ops->copy_to_device(dev, n, pages, memory);
	if (err) {
		dev->ops->free(dev, n, pages);
		return err;
	}
	for (size_t k = 0; k < n; k++)
		mrn_hmm_frames_leave(&hmm->frames, r->page[i + k].home, 1);
	mrn_mutex_lock(&r->lock);
	for (size_t k = 0; k < n; k++) {
		struct mrn_hmm_page *p = &r->page[i + k];

		/* The device may write to the page: the copy in the backing file is stale. */
		mrn_hmm_backing_free(&hmm->backing, &p->slot);
		p->flags &= (uint16_t) ~(PAGE_WRITABLE | PAGE_DIRTY | PAGE_EXCLUSIVE);
		p->pfn = dev->first + pages[k];
		p->state = PAGE_DEVICE;
	}
	mrn_mutex_unlock(&r->lock);
	MRN_HMM_COUNT(hmm, to_device, n);
	return got;
}

/* Migrates the run of pages from i on that may go. How many pages are done, or -errno. */
static long move_run(struct mrn_hmm_region *r, size_t i, size_t end, struct mrn_hmm_device *dev)
{
	size_t n = 0;
	int err;

	while (i + n < end && n < BATCH && can_go(r, i + n))
		n++;
	if (!n)
		return 1;
	err = mrn_hmm_page_in(r, i, n);
	/* The CPU may have got an entry in the moment when the page came in. */
	mrn_hmm_cpu_zap(r, i, n);
	return err ? err : copy_out(r, i, n, dev);
}

/* Returns how many pages are on dev; fills in the caller's pfns. */
static long describe(struct mrn_hmm_region *r, size_t i, size_t n, const struct mrn_hmm_device *dev,
		     unsigned long *pfns)
{
	long there = 0;

	mrn_mutex_lock(&r->lock);
	for (size_t k = 0; k < n; k++) {
		const struct mrn_hmm_page *p = &r->page[i + k];
		bool on = is_on(p, dev);

		there += on;
		/* An unreadable page counts as on the device, but gets no entry. */
		if (pfns)
			pfns[k] = on && (p->prot & PROT_READ)
					  ? p->pfn | HMM_PFN_VALID |
						    (p->prot & PROT_WRITE ? HMM_PFN_WRITE : 0)
					  : 0;
	}
	mrn_mutex_unlock(&r->lock);
	return there;
}

long mrn_hmm_migrate_to_device(struct mrn_hmm *hmm, struct mrn_hmm_device *dev, void *addr,
			       size_t length, unsigned long *pfns)
{
	struct mrn_hmm_change c;
	long moved = 0, there;
	int err = mrn_hmm_check_alive(hmm);

	if (err)
		return err;
	if (!dev || dev->hmm != hmm)
		return -ENOENT;
	err = mrn_hmm_change_on(&c, hmm, addr, length, MMU_NOTIFY_MIGRATE, MRN_CAUSE_UNKNOWN, dev,
				0);
	if (err)
		return err;
	mrn_hmm_cpu_zap(c.r, c.first, c.n);
	for (size_t i = c.first; i < c.first + c.n && moved >= 0; i += (size_t)moved) {
		moved = move_run(c.r, i, c.first + c.n, dev);
		/* The device has no more room: keep what has been migrated. */
		if (!moved)
			break;
	}
	there = describe(c.r, c.first, c.n, dev, pfns);
	mrn_hmm_change_end(&c);
	return moved < 0 && !there ? moved : there;
}

/* --------------------------------------------------------------------------------------------- back */

/* The next run of pages on one device (on dev, if not NULL) in [*i, end). Its length; 0 for none. */
static size_t next_run(struct mrn_hmm_region *r, size_t *i, size_t end,
		       const struct mrn_hmm_device *dev, struct mrn_hmm_device **whose)
{
	uint64_t pfn = 0;
	size_t n = 1;

	*whose = NULL;
	mrn_mutex_lock(&r->lock);
	while (*i < end && !is_on(&r->page[*i], dev))
		++*i;
	if (*i < end)
		pfn = r->page[*i].pfn;
	mrn_mutex_unlock(&r->lock);
	if (*i == end)
		return 0;
	*whose = mrn_hmm_device_of(r->hmm, pfn);
	mrn_mutex_lock(&r->lock);
	while (*whose && *i + n < end && is_on(&r->page[*i + n], *whose))
		n++;
	mrn_mutex_unlock(&r->lock);
	return n;
}

/* Brings back what is on dev, or on any device. How many pages, or -errno. */
static long bring_back(struct mrn_hmm_region *r, size_t i, size_t end,
		       const struct mrn_hmm_device *dev)
{
	struct mrn_hmm_device *whose;
	long came = 0;
	size_t n;

	for (; (n = next_run(r, &i, end, dev, &whose)); i += n) {
		struct mrn_hmm_change c = {.r = r, .first = i, .n = n};
		int err;

		mrn_hmm_region_hold(r);
		err = mrn_hmm_change_begin(&c, MMU_NOTIFY_MIGRATE, MRN_CAUSE_UNKNOWN, whose, 0);
		if (err)
			return err;
		/* Only pages that were announced: they may have changed devices since. */
		for (size_t at = i; at < i + n && !err; at++) {
			if (!whose || !is_on(&r->page[at], whose))
				continue;
			err = mrn_hmm_take_back(r, at, 1);
			came += !err;
		}
		mrn_hmm_change_end(&c);
		if (err)
			return err;
	}
	return came;
}

long mrn_hmm_migrate_to_ram(struct mrn_hmm *hmm, void *addr, size_t length)
{
	struct mrn_hmm_change c;
	int err = mrn_hmm_check(hmm);
	long came;

	if (!err)
		err = mrn_hmm_change_find(&c, hmm, addr, length);
	if (err)
		return err;
	came = bring_back(c.r, c.first, c.first + c.n, NULL);
	mrn_hmm_region_put(c.r);
	return came;
}

int mrn_hmm_device_remove(struct mrn_hmm *hmm, struct mrn_hmm_device *dev)
{
	struct mrn_hmm_region *r;
	int err = mrn_hmm_check(hmm);
	uintptr_t next = 0;
	long came = 0;

	if (err)
		return err;
	if (!dev || dev->hmm != hmm)
		return -ENOENT;
	while (came >= 0 && (r = mrn_hmm_region_next(hmm, next))) {
		next = r->end;
		came = bring_back(r, 0, mrn_hmm_pages(r), dev);
		mrn_hmm_region_put(r);
	}
	if (came < 0)
		return (int)came;
	mrn_hmm_device_forget(hmm, dev);
	return 0;
}
