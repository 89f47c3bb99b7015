/* SPDX-License-Identifier: BSD-3-Clause */
#include "hmm/page_in.h"

#include <errno.h>
#include <string.h>

#include "hmm/change.h"
#include "hmm/check.h"
#include "hmm/cpu_map.h"
#include "hmm/device.h"
#include "hmm/page_lock.h"
#include "hmm/space.h"

/* Pages that one call of a device's function copies or frees. */
#define BATCH 64

/* How many pages from i on have one state and one protection, and so can be rebound at once. */
static size_t run_of(const struct mrn_hmm_region *r, size_t i, size_t n, enum mrn_hmm_state state)
{
	size_t run = 0;

	while (run < n && r->page[i + run].state == state &&
	       r->page[i + run].prot == r->page[i].prot)
		run++;
	return run;
}

/* ----------------------------------------------------------------------------------------- coming in */

static bool is_zero(const void *memory)
{
	const uint64_t *word = memory;

	for (size_t k = 0; k < mrn_page_size() / sizeof(*word); k++)
		if (word[k])
			return false;
	return true;
}

/*
 * Page i, locked and without an entry, was for a moment mapped to `frame`; its state is still the old one. True if the
 * frame holds what was copied into it, false if that cannot be found out. A write of the same contents does not matter:
 * the copy is still right.
 */
static bool is_unwritten(const struct mrn_hmm_region *r, size_t i, uint64_t frame)
{
	const struct mrn_hmm_frames *f = &r->hmm->frames;
	const struct mrn_hmm_page *p = &r->page[i];
	const void *memory = mrn_hmm_frame_memory(f, frame);

	if (MRN_BROKEN(HMM_TOUCHED))
		return true;
	switch (p->state) {
	case PAGE_NONE:
		return is_zero(memory);
	case PAGE_RAM:
		return !memcmp(memory, mrn_hmm_frame_memory(f, p->home), mrn_page_size());
	case PAGE_SWAPPED:
		return mrn_hmm_backing_holds(&r->hmm->backing, memory, p->slot);
	default:
		return false;
	}
}

long mrn_hmm_put_in(struct mrn_hmm_region *r, size_t i, size_t n, uint64_t frame)
{
	bool move = false, lost = false;
	long shown;

	mrn_mutex_lock(&r->lock);
	for (size_t k = 0; k < n; k++) {
		move |= r->page[i + k].home != frame + k;
		lost |= r->page[i + k].flags & PAGE_LOST;
	}
	mrn_mutex_unlock(&r->lock);
	if (lost)
		return -EFAULT;
	if (move) {
		shown = mrn_hmm_cpu_rebind(r, i, n, frame);
		if (shown < 0)
			return shown;
		n = (size_t)shown;
	}
	for (size_t k = 0; k < n && move; k++)
		if (!is_unwritten(r, i + k, frame + k))
			mrn_hmm_flags(r, i + k, 1, PAGE_WRITABLE | PAGE_DIRTY | PAGE_SOFT_DIRTY, 0);
	mrn_mutex_lock(&r->lock);
	for (size_t k = 0; k < n; k++) {
		r->page[i + k].home = (uint32_t)(frame + k);
		r->page[i + k].state = PAGE_RAM;
	}
	mrn_mutex_unlock(&r->lock);
	return (long)n;
}

/* Takes frames for up to n pages from i on. How many, or -errno. */
static long take_frames(struct mrn_hmm_region *r, size_t i, size_t n, uint64_t *frame)
{
	size_t block = (size_t)1 << r->order;
	long got;

	if (r->order && !(i & (block - 1)) && n >= block) {
		got = mrn_hmm_frames_take(&r->hmm->frames, r->page[i].home, block, block, frame);
		if (got > 0)
			return got;
	}
	return mrn_hmm_frames_take(&r->hmm->frames, r->page[i].home, n, 1, frame);
}

/* Gives pages fresh frames, or those that read_in filled; frees frames that are not used. */
static long put_in_or_free(struct mrn_hmm_region *r, size_t i, size_t n, uint64_t frame)
{
	long came = mrn_hmm_put_in(r, i, n, frame);
	size_t used = came < 0 ? 0 : (size_t)came;

	if (used < n)
		mrn_hmm_frames_leave(&r->hmm->frames, frame + used, n - used);
	return came;
}

/* Gives up to n pages from i on zeroed frames. How many, or -errno. */
static long fill(struct mrn_hmm_region *r, size_t i, size_t n)
{
	uint64_t frame;
	long got = take_frames(r, i, n, &frame);

	return got <= 0 ? got : put_in_or_free(r, i, (size_t)got, frame);
}

static int read_in(struct mrn_hmm_region *r, size_t i)
{
	struct mrn_hmm *hmm = r->hmm;
	uint64_t frame;
	long got = mrn_hmm_frames_take(&hmm->frames, r->page[i].home, 1, 1, &frame);
	int err;

	if (got < 0)
		return (int)got;
	err = mrn_hmm_backing_read(&hmm->backing, mrn_hmm_frame_memory(&hmm->frames, frame),
				   r->page[i].slot);
	if (err) {
		mrn_hmm_frames_leave(&hmm->frames, frame, 1);
		return err;
	}
	MRN_HMM_COUNT(hmm, swapped_in, 1);
	got = put_in_or_free(r, i, 1, frame);
	return got < 0 ? (int)got : 0;
}

int mrn_hmm_page_in(struct mrn_hmm_region *r, size_t i, size_t n)
{
	size_t end = i + n;

	while (i < end) {
		size_t empty = run_of(r, i, end - i, PAGE_NONE);
		int err;

		if (empty) {
			long got = fill(r, i, empty);

			if (got < 0)
				return (int)got;
			i += (size_t)got;
			continue;
		}
		if (r->page[i].state == PAGE_SWAPPED && (err = read_in(r, i)))
			return err;
		i++;
	}
	return 0;
}

void mrn_hmm_fill_block(struct mrn_hmm_region *r, size_t i)
{
	size_t block = (size_t)1 << r->order, pages = mrn_hmm_pages(r);

	i &= ~(block - 1);
	if (!r->order || i + block > pages || !mrn_hmm_trylock(r, i, block))
		return;
	/* A block that is not all NONE is brought in page by page, on demand. */
	if (run_of(r, i, block, PAGE_NONE) == block)
		fill(r, i, block);
	mrn_hmm_unlock(r, i, block);
}

/* --------------------------------------------------------------------------------------- taking back */

/* The length of the run of pages on one device, with one protection, at most BATCH. */
static size_t run_on_device(struct mrn_hmm_region *r, size_t i, size_t n, uint64_t *pages,
			    struct mrn_hmm_device **dev)
{
	size_t run = 0;

	*dev = mrn_hmm_device_of(r->hmm, r->page[i].pfn);
	n = run_of(r, i, n, PAGE_DEVICE);
	for (; run < n && run < BATCH; run++)
		if (!mrn_hmm_device_page(*dev, (unsigned long)r->page[i + run].pfn, &pages[run]))
			break;
	return run;
}

/* Brings [i, i + n), at most BATCH pages of dev, back. How many came, or -errno. */
static long copy_back(struct mrn_hmm_region *r, size_t i, size_t n, struct mrn_hmm_device *dev,
		      const uint64_t *pages)
{
	struct mrn_hmm *hmm = r->hmm;
	void *memory[BATCH];
	uint64_t frame;
	long got = mrn_hmm_frames_take(&hmm->frames, r->page[i].home, n, 1, &frame);
	int err;

	if (got < 0)
		return got;
	n = (size_t)got;
	for (size_t k = 0; k < n; k++)
		memory[k] = mrn_hmm_frame_memory(&hmm->frames, frame + k);
	err = dev->ops->copy_to_ram(dev, n, memory, pages);
	if (err) {
		mrn_hmm_frames_leave(&hmm->frames, frame, n);
		return err;
	}
	got = put_in_or_free(r, i, n, frame);
	if (got < 0)
		return got;
	n = (size_t)got;
	mrn_hmm_flags(r, i, n, PAGE_DIRTY | PAGE_SOFT_DIRTY, 0);
	dev->ops->free(dev, n, pages);
	MRN_HMM_COUNT(hmm, to_ram, n);
	return got;
}

int mrn_hmm_take_back(struct mrn_hmm_region *r, size_t i, size_t n)
{
	size_t end = i + n;

	mrn_hmm_flags(r, i, n, 0, PAGE_EXCLUSIVE);
	while (i < end) {
		struct mrn_hmm_device *dev;
		uint64_t pages[BATCH];
		size_t run;
		long came;

		if (r->page[i].state != PAGE_DEVICE) {
			i++;
			continue;
		}
		run = run_on_device(r, i, end - i, pages, &dev);
		came = copy_back(r, i, run, dev, pages);
		if (came < 0)
			return (int)came;
		i += (size_t)came;
	}
	return 0;
}

/* ------------------------------------------------------------------------------------------- leaving */

void mrn_hmm_keep_dirt(struct mrn_hmm_region *r, size_t i)
{
	struct mrn_hmm_frames *f = &r->hmm->frames;
	uint64_t frame = r->page[i].home;
	unsigned int dirt = mrn_hmm_frame_clean(f, frame) ? PAGE_DIRTY : 0;

	/* Both marks under one lock, so that a concurrent reader finds one of the two. */
	mrn_mutex_lock(&r->lock);
	if (mrn_hmm_frame_take_soft_dirty(f, frame))
		dirt |= PAGE_SOFT_DIRTY;
	r->page[i].flags |= (uint16_t)dirt;
	mrn_mutex_unlock(&r->lock);
}

static size_t run_of_frames(const struct mrn_hmm_region *r, size_t i, size_t n)
{
	size_t run = 1;

	while (run < n && r->page[i + run].state == PAGE_RAM &&
	       r->page[i + run].home == r->page[i].home + run)
		run++;
	return run;
}

void mrn_hmm_drop(struct mrn_hmm_region *r, size_t i, size_t n)
{
	struct mrn_hmm *hmm = r->hmm;
	size_t run;

	for (size_t at = i; at < i + n; at += run) {
		struct mrn_hmm_page *p = &r->page[at];
		struct mrn_hmm_device *dev;
		uint64_t pages[BATCH];

		run = 1;
		if (p->state == PAGE_RAM) {
			run = run_of_frames(r, at, i + n - at);
			mrn_hmm_frames_leave(&hmm->frames, p->home, run);
		} else if (p->state == PAGE_DEVICE) {
			run = run_on_device(r, at, i + n - at, pages, &dev);
			if (!MRN_BROKEN(HMM_FREE))
				dev->ops->free(dev, run, pages);
		}
	}
	mrn_mutex_lock(&r->lock);
	for (size_t at = i; at < i + n; at++) {
		struct mrn_hmm_page *p = &r->page[at];

		mrn_hmm_backing_free(&hmm->backing, &p->slot);
		p->flags &= (uint16_t) ~(PAGE_WRITABLE | PAGE_DIRTY | PAGE_EXCLUSIVE);
		p->flags |= PAGE_SOFT_DIRTY;
		if (p->state != PAGE_HOLE)
			p->state = PAGE_NONE;
	}
	mrn_mutex_unlock(&r->lock);
}
