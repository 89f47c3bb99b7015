/* SPDX-License-Identifier: BSD-3-Clause */
/* Pages and the backing file; dirty and soft-dirty. */
#include <errno.h>

#include "hmm/change.h"
#include "hmm/check.h"
#include "hmm/cpu_entry.h"
#include "hmm/page_in.h"
#include "hmm/space.h"

/* True if page i, which is RAM, may differ from its copy; clears the marks. */
static bool take_dirt(struct mrn_hmm_region *r, size_t i)
{
	/* Clear both marks: the device's and the CPU's are independent. */
	bool device = mrn_hmm_frame_clean(&r->hmm->frames, r->page[i].home), cpu;

	mrn_mutex_lock(&r->lock);
	cpu = r->page[i].flags & PAGE_DIRTY;
	r->page[i].flags &= (uint16_t) ~(PAGE_DIRTY | PAGE_WRITABLE);
	mrn_mutex_unlock(&r->lock);
	return cpu || device;
}

/* Updates the backing copy of page i, which is RAM and cannot be written to. 1 if it had to be written. */
static int clean(struct mrn_hmm_region *r, size_t i)
{
	struct mrn_hmm *hmm = r->hmm;
	int err;

	if (!take_dirt(r, i))
		return 0;
	err = mrn_hmm_backing_write(&hmm->backing,
				    mrn_hmm_frame_memory(&hmm->frames, r->page[i].home),
				    &r->page[i].slot);
	if (err)
		mrn_hmm_flags(r, i, 1, PAGE_DIRTY, 0);
	return err ? err : 1;
}

static int swap_out(struct mrn_hmm_region *r, size_t i)
{
	struct mrn_hmm *hmm = r->hmm;
	int err;

	mrn_hmm_keep_dirt(r, i);
	err = clean(r, i);
	if (err < 0)
		return err;
	mrn_mutex_lock(&r->lock);
	/* Without a slot it was never written to: it will read as zeros again. */
	r->page[i].state = r->page[i].slot ? PAGE_SWAPPED : PAGE_NONE;
	mrn_mutex_unlock(&r->lock);
	mrn_hmm_frames_leave(&hmm->frames, r->page[i].home, 1);
	MRN_HMM_COUNT(hmm, swapped_out, 1);
	return 1;
}

static bool is_pinned(const struct mrn_hmm_region *r, size_t i)
{
	return mrn_hmm_frame_is_pinned(&r->hmm->frames, r->page[i].home);
}

/* Begins a change on a space that has a backing file. */
static int begin(struct mrn_hmm_change *c, struct mrn_hmm *hmm, void *addr, size_t length,
		 enum mmu_notifier_event event)
{
	int err = mrn_hmm_check(hmm);

	if (!err && hmm->backing.fd <= 0)
		err = -EBADF;
	return err ? err
		   : mrn_hmm_change_on(c, hmm, addr, length, event, MRN_CAUSE_UNKNOWN, NULL, 0);
}

long mrn_hmm_reclaim(struct mrn_hmm *hmm, void *addr, size_t length)
{
	struct mrn_hmm_change c;
	long went = 0;
	int err = begin(&c, hmm, addr, length, MMU_NOTIFY_CLEAR);

	if (err)
		return err;
	mrn_hmm_cpu_zap(c.r, c.first, c.n);
	mrn_hmm_flags(c.r, c.first, c.n, 0, PAGE_EXCLUSIVE);
	for (size_t i = c.first; i < c.first + c.n && err >= 0; i++) {
		err = c.r->page[i].state == PAGE_RAM && !is_pinned(c.r, i) ? swap_out(c.r, i) : 0;
		went += err > 0;
	}
	mrn_hmm_change_end(&c);
	return err < 0 ? err : went;
}

long mrn_hmm_writeback(struct mrn_hmm *hmm, void *addr, size_t length)
{
	struct mrn_hmm_change c;
	long written = 0;
	int err = begin(&c, hmm, addr, length, MMU_NOTIFY_PROTECTION_PAGE);

	if (err)
		return err;
	mrn_hmm_cpu_write_protect(c.r, c.first, c.n);
	mrn_hmm_flags(c.r, c.first, c.n, 0, PAGE_EXCLUSIVE | PAGE_WRITABLE);
	for (size_t i = c.first; i < c.first + c.n && err >= 0; i++) {
		err = c.r->page[i].state == PAGE_RAM ? clean(c.r, i) : 0;
		written += err > 0;
	}
	mrn_hmm_change_end(&c);
	return err < 0 ? err : written;
}

/* ------------------------------------------------------------------------------------------ soft dirty */

static bool is_soft_dirty(const struct mrn_hmm_region *r, size_t i)
{
	const struct mrn_hmm_page *p = &r->page[i];

	/* A device does not report writes to its own memory. */
	return p->state == PAGE_DEVICE || (p->flags & PAGE_SOFT_DIRTY) ||
	       (p->state == PAGE_RAM && mrn_hmm_frame_is_soft_dirty(&r->hmm->frames, p->home));
}

/* The same, and clears it. What a device reports from here on belongs to the next answer. */
static bool take_soft_dirty(struct mrn_hmm_region *r, size_t i)
{
	struct mrn_hmm_page *p = &r->page[i];
	bool dirty = p->state == PAGE_DEVICE || (p->flags & PAGE_SOFT_DIRTY);

	if (p->state == PAGE_RAM && mrn_hmm_frame_take_soft_dirty(&r->hmm->frames, p->home))
		dirty = true;
	p->flags &= (uint16_t) ~(PAGE_EXCLUSIVE | PAGE_WRITABLE | PAGE_SOFT_DIRTY);
	return dirty;
}

/*
 * First write-protect the pages; devices have reported what they wrote, in the callbacks. Then read and clear the marks
 * in one step. A write before is in this answer; a write afterwards finds the page write-protected.
 */
static int take_all(struct mrn_hmm *hmm, void *addr, size_t length, uint8_t *dirty)
{
	struct mrn_hmm_change c;
	int err = mrn_hmm_change_on(&c, hmm, addr, length, MMU_NOTIFY_SOFT_DIRTY, MRN_CAUSE_UNKNOWN,
				    NULL, 0);

	if (err)
		return err;
	mrn_hmm_cpu_write_protect(c.r, c.first, c.n);
	mrn_mutex_lock(&c.r->lock);
	for (size_t i = 0; i < c.n; i++) {
		bool was = take_soft_dirty(c.r, c.first + i);

		if (dirty)
			dirty[i] = was;
	}
	mrn_mutex_unlock(&c.r->lock);
	mrn_hmm_change_end(&c);
	return 0;
}

int mrn_hmm_clear_soft_dirty(struct mrn_hmm *hmm, void *addr, size_t length)
{
	return take_all(hmm, addr, length, NULL);
}

int mrn_hmm_take_soft_dirty(struct mrn_hmm *hmm, void *addr, size_t length, uint8_t *dirty)
{
	int err;

	if (!dirty)
		return -EINVAL;
	if (MRN_BROKEN(HMM_TAKE)) {
		err = mrn_hmm_soft_dirty(hmm, addr, length, dirty);
		return err ? err : take_all(hmm, addr, length, NULL);
	}
	return take_all(hmm, addr, length, dirty);
}

int mrn_hmm_soft_dirty(struct mrn_hmm *hmm, void *addr, size_t length, uint8_t *dirty)
{
	struct mrn_hmm_change c;
	int err = mrn_hmm_check(hmm);

	if (!err && !dirty)
		err = -EINVAL;
	if (!err)
		err = mrn_hmm_change_find(&c, hmm, addr, length);
	if (err)
		return err;
	mrn_mutex_lock(&c.r->lock);
	for (size_t i = 0; i < c.n; i++)
		dirty[i] = is_soft_dirty(c.r, c.first + i);
	mrn_mutex_unlock(&c.r->lock);
	mrn_hmm_region_put(c.r);
	return 0;
}
