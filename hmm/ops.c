/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a program does to its memory: unmap and map, move, protect, discard.
 */
#include <errno.h>
#include <sys/mman.h>

#include "hmm/change.h"
#include "hmm/cpu_entry.h"
#include "hmm/cpu_map.h"
#include "hmm/page_in.h"
#include "hmm/page_lock.h"
#include "hmm/space.h"

static bool any_hole(struct mrn_hmm_region *r, size_t i, size_t n)
{
	bool hole = false;

	mrn_mutex_lock(&r->lock);
	for (size_t at = i; at < i + n; at++)
		hole |= mrn_hmm_is_gone(&r->page[at]);
	mrn_mutex_unlock(&r->lock);
	return hole;
}

/* ------------------------------------------------------------------------------------ unmap and map */

/* 0, or -ENOMEM with nothing changed. */
static int unmap(struct mrn_hmm_region *r, size_t i, size_t n)
{
	int err = mrn_hmm_cpu_hide(r, i, n);

	if (err)
		return err;
	mrn_hmm_cpu_zap(r, i, n);
	mrn_hmm_drop(r, i, n);
	mrn_hmm_cpu_unmap(r, i, n);
	mrn_hmm_holes(r, i, n);
	return 0;
}

int mrn_hmm_unmap(struct mrn_hmm *hmm, void *addr, size_t length)
{
	struct mrn_hmm_change c;
	int err = mrn_hmm_change_on(&c, hmm, addr, length, MMU_NOTIFY_UNMAP, MRN_CAUSE_MUNMAP, NULL,
				    0);

	if (err)
		return err;
	err = unmap(c.r, c.first, c.n);
	mrn_hmm_change_end(&c);
	return err;
}

/* Turns holes into NONE pages with prot. */
static int fill_holes(struct mrn_hmm_region *r, size_t i, size_t n, int prot)
{
	int err = mrn_hmm_cpu_map(r, i, n, prot);

	if (err)
		return err;
	mrn_mutex_lock(&r->lock);
	for (size_t at = i; at < i + n; at++) {
		r->page[at].state = PAGE_NONE;
		r->page[at].prot = (uint8_t)prot;
		r->page[at].flags |= PAGE_SOFT_DIRTY;
	}
	mrn_mutex_unlock(&r->lock);
	return 0;
}

static int all_holes(struct mrn_hmm_region *r, size_t i, size_t n)
{
	int err = 0;

	mrn_mutex_lock(&r->lock);
	for (size_t at = i; at < i + n && err != -ENOTCONN; at++) {
		if (r->page[at].flags & PAGE_LOST)
			err = -ENOTCONN;
		else if (r->page[at].state != PAGE_HOLE)
			err = -EEXIST;
	}
	mrn_mutex_unlock(&r->lock);
	return err;
}

int mrn_hmm_map(struct mrn_hmm *hmm, void *addr, size_t length, int prot)
{
	struct mrn_hmm_change c;
	int err = mrn_hmm_check(hmm);

	if (!err && (prot & ~(PROT_READ | PROT_WRITE)))
		err = -EINVAL;
	if (!err)
		err = mrn_hmm_change_find(&c, hmm, addr, length);
	if (err)
		return err;
	/* No shadow can have a translation of a hole: no invalidation. */
	mrn_hmm_lock(c.r, c.first, c.n);
	err = all_holes(c.r, c.first, c.n);
	if (!err)
		err = fill_holes(c.r, c.first, c.n, prot);
	mrn_hmm_unlock(c.r, c.first, c.n);
	mrn_hmm_region_put(c.r);
	return err;
}

/* --------------------------------------------------------------------------------------------- move */

/* How many pages from i on have one protection, as one mapping needs. */
static size_t run_of_prot(const struct mrn_hmm_region *r, size_t i, size_t end)
{
	size_t n = 1;

	while (i + n < end && r->page[i + n].prot == r->page[i].prot)
		n++;
	return n;
}

/* Moves page i of `from`, with all that it has, to page j of `to`. The regions' locks are not nested. */
static void hand_over(struct mrn_hmm_region *from, size_t i, struct mrn_hmm_region *to, size_t j)
{
	struct mrn_hmm_page what;

	mrn_mutex_lock(&from->lock);
	what = from->page[i];
	from->page[i].slot = 0;
	from->page[i].state = PAGE_NONE;
	from->page[i].flags &= (uint16_t) ~(PAGE_WRITABLE | PAGE_DIRTY | PAGE_EXCLUSIVE);
	/* As mrn_hmm_drop: what was written to it was, wherever it is now; and a device's memory has no mark. */
	if (!MRN_BROKEN(HMM_MOVE_SOFT))
		from->page[i].flags |= PAGE_SOFT_DIRTY;
	mrn_mutex_unlock(&from->lock);
	mrn_mutex_lock(&to->lock);
	to->page[j].pfn = what.pfn;
	to->page[j].slot = what.slot;
	to->page[j].state = what.state;
	to->page[j].prot = what.prot;
	to->page[j].flags |= what.flags & (PAGE_WRITABLE | PAGE_DIRTY | PAGE_SOFT_DIRTY);
	mrn_mutex_unlock(&to->lock);
}

static void set_homes(struct mrn_hmm_region *to, size_t j, const struct mrn_hmm_region *from,
		      size_t i, size_t n)
{
	mrn_mutex_lock(&to->lock);
	for (size_t k = 0; k < n; k++)
		to->page[j + k].home = from->page[i + k].home;
	mrn_mutex_unlock(&to->lock);
}

static int move_pages(struct mrn_hmm_change *from, struct mrn_hmm_change *to)
{
	size_t run;
	int err = 0;

	mrn_hmm_cpu_zap(from->r, from->first, from->n);
	mrn_hmm_flags(from->r, from->first, from->n, 0, PAGE_EXCLUSIVE);
	err = unmap(to->r, to->first, to->n);
	for (size_t k = 0; k < from->n && !err; k += run) {
		size_t i = from->first + k, j = to->first + k;

		run = run_of_prot(from->r, i, from->first + from->n);
		set_homes(to->r, j, from->r, i, run);
		err = mrn_hmm_cpu_map(to->r, j, run, from->r->page[i].prot);
		if (err)
			break;
		err = mrn_hmm_cpu_hide(from->r, i, run);
		if (err) {
			mrn_hmm_cpu_map_undo(to->r, j, run);
			break;
		}
		for (size_t m = 0; m < run; m++)
			hand_over(from->r, i + m, to->r, j + m);
		mrn_hmm_cpu_unmap(from->r, i, run);
		mrn_hmm_holes(from->r, i, run);
	}
	return err;
}

/*
 * Announces both, then locks the lower first: change_begin would lock before the second is announced. 0, or -errno with
 * both references dropped.
 */
static int begin_move(struct mrn_hmm_change *from, struct mrn_hmm_change *to)
{
	struct mrn_hmm_change *low = from, *high = to;
	int err = mrn_hmm_change_announce(to, MMU_NOTIFY_UNMAP, MRN_CAUSE_MREMAP_DST, NULL, 0);

	if (err) {
		mrn_hmm_region_put(from->r);
		return err;
	}
	err = mrn_hmm_change_announce(from, MMU_NOTIFY_UNMAP, MRN_CAUSE_MREMAP_SRC, NULL, 0);
	if (err) {
		mrn_hmm_change_give_up(to);
		return err;
	}
	if (to->range.start < from->range.start) {
		low = to;
		high = from;
	}
	mrn_hmm_lock(low->r, low->first, low->n);
	mrn_hmm_lock(high->r, high->first, high->n);
	return 0;
}

int mrn_hmm_move(struct mrn_hmm *hmm, void *from, void *to, size_t length)
{
	uintptr_t a = (uintptr_t)from, b = (uintptr_t)to;
	struct mrn_hmm_change src, dst;
	int err = mrn_hmm_check(hmm);

	if (!err && (a < b ? b - a : a - b) < length)
		err = -EINVAL;
	if (!err)
		err = mrn_hmm_change_find(&src, hmm, from, length);
	if (err)
		return err;
	err = mrn_hmm_change_find(&dst, hmm, to, length);
	if (err) {
		mrn_hmm_region_put(src.r);
		return err;
	}
	err = begin_move(&src, &dst);
	if (err)
		return err;
	if (any_hole(src.r, src.first, src.n))
		err = -EFAULT;
	else if (all_holes(dst.r, dst.first, dst.n) == -ENOTCONN)
		err = -ENOTCONN;
	else
		err = move_pages(&src, &dst);
	mrn_hmm_change_end(&src);
	mrn_hmm_change_end(&dst);
	return err;
}

/* --------------------------------------------------------------------------- protection and contents */

int mrn_hmm_protect(struct mrn_hmm *hmm, void *addr, size_t length, int prot)
{
	struct mrn_hmm_change c;
	int err;

	if (prot & ~(PROT_READ | PROT_WRITE))
		return -EINVAL;
	err = mrn_hmm_change_on(&c, hmm, addr, length, MMU_NOTIFY_PROTECTION_VMA,
				MRN_CAUSE_MPROTECT, NULL, 0);
	if (err)
		return err;
	err = any_hole(c.r, c.first, c.n) ? -ENOMEM : mrn_hmm_cpu_protect(c.r, c.first, c.n, prot);
	if (!err) {
		mrn_mutex_lock(&c.r->lock);
		for (size_t i = c.first; i < c.first + c.n; i++) {
			c.r->page[i].prot = (uint8_t)prot;
			c.r->page[i].flags &= (uint16_t)~PAGE_EXCLUSIVE;
		}
		mrn_mutex_unlock(&c.r->lock);
	}
	mrn_hmm_change_end(&c);
	return err;
}

static int discard(struct mrn_hmm *hmm, void *addr, size_t length, unsigned int flags)
{
	struct mrn_hmm_change c;
	int err = mrn_hmm_change_on(&c, hmm, addr, length, MMU_NOTIFY_CLEAR, MRN_CAUSE_DONTNEED,
				    NULL, flags);

	if (err)
		return err;
	mrn_hmm_cpu_zap(c.r, c.first, c.n);
	mrn_hmm_drop(c.r, c.first, c.n);
	mrn_hmm_change_end(&c);
	return 0;
}

int mrn_hmm_discard(struct mrn_hmm *hmm, void *addr, size_t length)
{
	return discard(hmm, addr, length, 0);
}

int mrn_hmm_reap(struct mrn_hmm *hmm, void *addr, size_t length)
{
	return discard(hmm, addr, length, MRN_HMM_NONBLOCK | MRN_HMM_TRYLOCK);
}

/* --------------------------------------------------------------------------------------- other frames */

/* Locked pages that have frames of their own, which no pin keeps, and one protection, as one mapping needs. */
static bool can_be_replaced(struct mrn_hmm_region *r, size_t i, size_t n)
{
	for (size_t k = i; k < i + n; k++)
		if (r->page[k].state != PAGE_RAM || r->page[k].prot != r->page[i].prot ||
		    mrn_hmm_frame_is_pinned(&r->hmm->frames, r->page[k].home))
			return false;
	return true;
}

/* Gives n pages, which can be replaced, the frames from `fresh` on. How many have them, or -errno. */
static long replace(struct mrn_hmm_region *r, size_t i, size_t n, uint64_t fresh)
{
	struct mrn_hmm_frames *f = &r->hmm->frames;
	uint64_t old[(size_t)1 << MRN_HMM_MAX_ORDER];
	long came;

	for (size_t k = 0; k < n; k++) {
		old[k] = r->page[i + k].home;
		__builtin_memcpy(mrn_hmm_frame_memory(f, fresh + k),
				 mrn_hmm_frame_memory(f, old[k]), mrn_page_size());
		mrn_hmm_keep_dirt(r, i + k);
	}
	came = mrn_hmm_put_in(r, i, n, fresh);
	for (size_t k = 0; k < n; k++)
		mrn_hmm_frames_leave(f, came > (long)k ? old[k] : fresh + k, 1);
	return came;
}

/*
 * Other frames for page i, or for all of the block that it begins, in one piece: so what was split is joined again. How
 * many pages, 0 if page i has to stay, or -errno.
 */
static long compact(struct mrn_hmm_region *r, size_t i, size_t n)
{
	struct mrn_hmm_frames *f = &r->hmm->frames;
	size_t block = (size_t)1 << r->order;
	uint64_t fresh;
	long got = 0;

	if (!can_be_replaced(r, i, 1))
		return 0;
	if (block > 1 && !(i & (block - 1)) && n >= block && can_be_replaced(r, i, block))
		got = mrn_hmm_frames_take(f, (r->page[i].home | (block - 1)) + 1, block, block,
					  &fresh);
	if (got <= 0)
		got = mrn_hmm_frames_take(f, r->page[i].home + 1, 1, 1, &fresh);
	return got < 0 ? got : replace(r, i, (size_t)got, fresh);
}

long mrn_hmm_compact(struct mrn_hmm *hmm, void *addr, size_t length)
{
	struct mrn_hmm_change c;
	size_t i, end;
	long moved = 0;
	int err = mrn_hmm_change_on(&c, hmm, addr, length, MMU_NOTIFY_CLEAR, MRN_CAUSE_UNKNOWN,
				    NULL, 0);

	if (err)
		return err;
	mrn_hmm_cpu_zap(c.r, c.first, c.n);
	mrn_hmm_flags(c.r, c.first, c.n, 0, PAGE_EXCLUSIVE);
	for (i = c.first, end = i + c.n; i < end && err >= 0;) {
		long came = compact(c.r, i, end - i);

		err = came < 0 ? (int)came : 0;
		moved += came > 0 ? came : 0;
		i += came > 0 ? (size_t)came : 1;
	}
	mrn_hmm_change_end(&c);
	return err < 0 ? err : moved;
}
