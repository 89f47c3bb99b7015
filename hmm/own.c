/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hmm_range_fault for the memory of this process, from what Linux tells a process about itself.
 *
 * A range is worked through in steps, each within one mapping: bring in what is asked for, ask what is
 * there, take the answers page by page as long as they are what was asked for. Entries below walk.addr
 * are answers, the others are still requests. Each step ends with a look for a collision, and a
 * collision is more than any error: what a step has seen in the middle of a change is no answer.
 *
 * A page that has been brought in may be gone when it is looked at, without an invalidation: by reclaim,
 * which user space is not told of. So a step that got nowhere is repeated, with fewer pages each time,
 * down to one. A page that does not stay between two system calls, PATIENCE times in a row, is taken
 * away as fast as it comes: -ENOMEM. Not -EBUSY, for nothing has collided and the caller would begin
 * again at once; not 0 without VALID, which would be taken for the answer to a request.
 *
 * The files in /proc are opened for each call, and closed before it returns. A descriptor that is kept
 * would mean the parent in a forked child; it would go on showing frames after the process has dropped
 * its privileges; and a program that closes all descriptors would have its number stand for another
 * file, whose contents would be taken for translations. So threads share nothing, and nothing is left
 * behind, but in a child that another thread forks in the meantime: there a copy stays until exec, and
 * keeps no page of memory. The price is some microseconds a call, whatever the range's length.
 *
 * Another thread may close or exchange the numbers within a call, too. What another file says is no answer, nor is an
 * error that it gives: so at the end, after all that has been read, each number must still stand for its file, or
 * the call has come to nothing: -EBUSY. A number that does not is not closed.
 */
#include "hmm/own.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "hmm/check.h"
#include "os/check.h"
#include "os/maps.h"
#include "os/pagemap.h"
#include "os/pages.h"
#include "os/syscall.h"

/* Pages in a step: of a size that a collision need not wait for, and a huge page where it is aligned. */
#define BLOCK 512
/* Pieces of a step's range, of which the same is true. A step ends where there are more. */
#define REGIONS 32
/* Mappings read at a time where they cannot be asked for one by one. */
#define WINDOW	 16
#define PATIENCE 64

/* An entry as read, and two bits of ours. */
#define ENTRY_BITS                                                                            \
	(MRN_PAGEMAP_PRESENT | MRN_PAGEMAP_FILE | MRN_PAGEMAP_GUARD | MRN_PAGEMAP_EXCLUSIVE | \
	 MRN_PAGEMAP_FRAME)
#define ENTRY_HUGE     (UINT64_C(1) << 60)
#define ENTRY_NO_PAGES (UINT64_C(1) << 59) /* mapped is no memory, or nothing any more */

#define REQ (HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE)

struct walk {
	struct hmm_range *range;
	unsigned int shift;
	uintptr_t addr;
	size_t reach; /* pages that a step may take on */
	unsigned int idle;
	bool brought; /* this step has asked the kernel for the page at addr, or has to begin again */

	int maps, pagemap;
	bool query, scan; /* does the kernel have PROCMAP_QUERY, PAGEMAP_SCAN? */

	/* Mappings at and after addr; beyond them there is none, when last is set. */
	struct mrn_mapping window[WINDOW];
	size_t mappings, at;
	bool last;

	/* What is at [base, known). */
	uintptr_t base, known;
	uint64_t entry[BLOCK];
};

static uintptr_t lower(uintptr_t a, uintptr_t b)
{
	return a < b ? a : b;
}

static bool has_collided(const struct walk *w)
{
	return mmu_range_check_retry(w->range->notifier, w->range->notifier_seq) &&
	       !MRN_BROKEN(HMM_OWN_RETRY);
}

static unsigned long *pfn_at(const struct walk *w, uintptr_t addr)
{
	return &w->range->hmm_pfns[(addr - w->range->start) >> w->shift];
}

/* As in the kernel, asking for WRITE alone asks for nothing. */
static unsigned long asked(const struct walk *w, uintptr_t addr)
{
	unsigned long r = (*pfn_at(w, addr) & w->range->pfn_flags_mask) | w->range->default_flags;

	return r & HMM_PFN_REQ_FAULT ? r & REQ : 0;
}

/* --------------------------------------------------------------------------------------- mappings */

static void forget_mappings(struct walk *w)
{
	w->mappings = w->at = 0;
	w->last = false;
	w->known = 0;
}

static int load_mappings(struct walk *w, uintptr_t addr)
{
	long n;

	w->at = 0;
	if (w->query) {
		int r = mrn_maps_query(w->maps, addr, &w->window[0]);

		w->mappings = r == 0;
		w->last = r == -ENOENT;
		if (r == 0 || r == -ENOENT)
			return 0;
		w->query = false;
	}
	n = mrn_maps_from(addr, w->window, WINDOW);
	w->mappings = n < 0 ? 0 : (size_t)n;
	w->last = n < WINDOW;
	return n < 0 ? (int)n : 0;
}

/* The mapping that holds addr, or the next one, or one that is beyond everything. */
static int find_mapping(struct walk *w, uintptr_t addr, struct mrn_mapping *m)
{
	while (w->at < w->mappings && w->window[w->at].end <= addr)
		w->at++;
	if (w->at == w->mappings && !w->last) {
		int r = load_mappings(w, addr);

		if (r)
			return r;
	}
	if (w->at < w->mappings)
		*m = w->window[w->at];
	else
		*m = (struct mrn_mapping){.start = UINTPTR_MAX, .end = UINTPTR_MAX};
	return 0;
}

/* Memory that may be written to may be read, whatever the mapping says: no processor tells them apart. */
static bool is_readable(const struct mrn_mapping *m)
{
	return m->readable || m->writable;
}

static bool is_same(const struct mrn_mapping *a, const struct mrn_mapping *b)
{
	return a->readable == b->readable && a->writable == b->writable && a->shared == b->shared;
}

/* ---------------------------------------------------------------------------------- what is there */

/* The pages of a block that is mapped as one, as a power of two. */
static unsigned int order_of(const struct walk *w, const struct mrn_mapping *m, uint64_t entry)
{
	if (m->page_size >> w->shift > 1)
		return (unsigned int)__builtin_ctzll(m->page_size) - w->shift;
	/* A page table is one page, of entries of 8 bytes. */
	return entry & ENTRY_HUGE ? w->shift - 3 : 0;
}

/*
 * What a page's entry means. Whether it may be written to without being copied is not in it: a page of
 * a shared mapping may, but for what stands in for a hole of a file; and private memory that nobody else
 * maps. believe: the kernel has said more than once that it has made the page writable. Then its word
 * for "nobody else" is too careful, as it may be for a part of a large block.
 */
static unsigned long answer(const struct walk *w, const struct mrn_mapping *m, uintptr_t addr,
			    bool believe)
{
	uint64_t e = w->entry[(addr - w->base) >> w->shift];
	bool file = e & MRN_PAGEMAP_FILE;
	unsigned long pfn;

	if (!(e & MRN_PAGEMAP_PRESENT))
		return e & (MRN_PAGEMAP_GUARD | ENTRY_NO_PAGES) ? HMM_PFN_ERROR : 0;
	pfn = HMM_PFN_VALID | (e & MRN_PAGEMAP_FRAME);
	pfn |= (unsigned long)order_of(w, m, e) << HMM_PFN_ORDER_SHIFT;
	if (!m->writable)
		return pfn;
	if (m->shared ? file : !file && (e & MRN_PAGEMAP_EXCLUSIVE))
		return pfn | HMM_PFN_WRITE;
	if (believe && (asked(w, addr) & HMM_PFN_REQ_WRITE) && (m->shared || !file))
		return pfn | HMM_PFN_WRITE;
	return pfn;
}

static void mark(struct walk *w, uintptr_t from, uintptr_t to, uint64_t bit)
{
	for (size_t i = (from - w->base) >> w->shift; i < (to - w->base) >> w->shift; i++)
		w->entry[i] |= bit;
}

/* Reads entries; what is neither read nor marked has nothing there. */
static int read_entries(struct walk *w, uintptr_t from, uintptr_t to)
{
	size_t i = (from - w->base) >> w->shift, n = (to - from) >> w->shift;
	int r = mrn_pagemap_read(w->pagemap, from, n, &w->entry[i]);

	for (; n; n--)
		w->entry[i++] &= ENTRY_BITS;
	return r;
}

/* Looks at [addr, stop), or the beginning of it. The entries are what counts: they are read last. */
static int look(struct walk *w, uintptr_t stop)
{
	struct mrn_pagemap_region region[REGIONS];
	uintptr_t walked = stop, from = stop, to = w->addr, at = w->addr;
	long n = -ENOTTY;
	int r;

	w->base = w->addr;
	if (w->scan)
		n = mrn_pagemap_scan(w->pagemap, w->addr, stop, region, REGIONS, &walked);
	if (n < 0 || walked <= w->addr) {
		w->scan = false;
		w->known = stop;
		return read_entries(w, w->addr, stop);
	}
	w->known = walked;
	memset(w->entry, 0, ((walked - w->addr) >> w->shift) * sizeof(w->entry[0]));
	for (long i = 0; i < n; i++) {
		if (region[i].categories) {
			from = lower(from, region[i].start);
			to = region[i].end;
		}
	}
	if (from < to) {
		r = read_entries(w, from, to);
		if (r)
			return r;
	}
	for (long i = 0; i < n; i++) {
		mark(w, at, region[i].start, ENTRY_NO_PAGES);
		if (region[i].categories & MRN_PAGE_IS_HUGE)
			mark(w, region[i].start, region[i].end, ENTRY_HUGE);
		at = region[i].end;
	}
	mark(w, at, walked, ENTRY_NO_PAGES);
	return 0;
}

/* Takes answers as far as they are what was asked for. */
static void take(struct walk *w, const struct mrn_mapping *m, bool believe)
{
	for (; w->addr < w->known; w->addr += UINT64_C(1) << w->shift) {
		unsigned long pfn = answer(w, m, w->addr, believe);

		/* A request and its fulfilment are the same bit. */
		if (asked(w, w->addr) & ~pfn)
			return;
		*pfn_at(w, w->addr) = pfn;
	}
}

/* ------------------------------------------------------------------------------------ bringing in */

static long populate(uintptr_t from, uintptr_t to, bool write)
{
	if (MRN_BROKEN(MADV_POPULATE))
		return -EINVAL;
	return mrn_sys3(SYS_madvise, (long)from, (long)(to - from),
			write ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
}

/* Does this kernel have MADV_POPULATE_READ? It says -EINVAL for more than one reason. */
static bool can_populate(const struct walk *w)
{
	uintptr_t here = mrn_page_down((uintptr_t)&w->addr);

	return populate(here, here + mrn_page_size(), false) != -EINVAL;
}

/*
 * The kernel would not populate [from, to) of m. 1: m is no longer what it was, so begin the step
 * again; or what is to be returned.
 */
static int explain(struct walk *w, const struct mrn_mapping *m, uintptr_t from, uintptr_t to,
		   long error)
{
	struct mrn_mapping now;
	int r;

	if (error != -EINVAL && error != -ENOMEM)
		return -EFAULT;
	forget_mappings(w);
	r = find_mapping(w, from, &now);
	forget_mappings(w);
	if (r)
		return r;
	if (now.start > from || now.end < to || !is_same(m, &now)) {
		w->brought = true;
		return 1;
	}
	if (error == -ENOMEM)
		return -ENOMEM;
	/* What devices map, and secret memory, cannot be had. */
	return can_populate(w) ? -EFAULT : -EOPNOTSUPP;
}

/*
 * What is to be brought in at addr. A page to be written always is, once, since nothing tells whether
 * it is write-protected; one to be read only when it was looked for and not there.
 */
static unsigned long wanting(const struct walk *w, const struct mrn_mapping *m, uintptr_t addr)
{
	unsigned long r = asked(w, addr);

	if (addr >= w->known)
		return r & HMM_PFN_REQ_WRITE;
	return r & ~answer(w, m, addr, false) ? r : 0;
}

/* 0, 1 or -errno as explain. */
static int bring(struct walk *w, const struct mrn_mapping *m, uintptr_t stop)
{
	const uintptr_t page = UINT64_C(1) << w->shift;

	for (uintptr_t from = w->addr, to; from < stop; from = to) {
		unsigned long want = wanting(w, m, from);
		bool write = (want & HMM_PFN_REQ_WRITE) || !m->readable;
		long r;

		for (to = from + page; to < stop && wanting(w, m, to) == want; to += page)
			;
		if (!want)
			continue;
		w->brought |= from == w->addr;
		do {
			/* -EINTR: the signal has been handled when the call comes back. */
			r = populate(from, to, write);
		} while (r == -EINTR && !has_collided(w));
		/* -EAGAIN is for the next round. */
		if (r != 0 && r != -EAGAIN && r != -EINTR)
			return explain(w, m, from, to, r);
	}
	return 0;
}

/* ------------------------------------------------------------------------------------------ steps */

/* [addr, stop) is not there, or may not be read. */
static int step_nothing(struct walk *w, uintptr_t stop)
{
	for (; w->addr < stop; w->addr += UINT64_C(1) << w->shift) {
		if (asked(w, w->addr))
			return -EFAULT;
		*pfn_at(w, w->addr) = HMM_PFN_ERROR;
	}
	return 0;
}

/* Goes on from addr, as far as it gets. 0 or 1, or -errno. */
static int step(struct walk *w)
{
	/* Ends where BLOCK pages would, so that huge pages stay whole. */
	const uintptr_t size = (uintptr_t)BLOCK << w->shift;
	uintptr_t stop = lower(w->range->end - w->addr, size - w->addr % size) + w->addr;
	bool first = w->known <= w->addr;
	struct mrn_mapping m;
	int r;

	stop = lower(stop - w->addr, w->reach << w->shift) + w->addr;
	r = find_mapping(w, w->addr, &m);
	if (r)
		return r;
	if (w->addr < m.start)
		return step_nothing(w, lower(stop, m.start));
	stop = lower(stop, m.end);
	if (!is_readable(&m))
		return step_nothing(w, stop);
	if (!first)
		stop = lower(stop, w->known);
	for (uintptr_t at = w->addr; !m.writable && at < stop; at += UINT64_C(1) << w->shift)
		if (asked(w, at) & HMM_PFN_REQ_WRITE)
			stop = at;
	if (stop == w->addr)
		return -EPERM;
	r = bring(w, &m, stop);
	if (r)
		return r;
	MRN_HOOK(hmm_own, w->addr);
	r = look(w, stop);
	if (r)
		return r;
	take(w, &m, !first);
	return 0;
}

static int walk(struct walk *w)
{
	while (w->addr < w->range->end) {
		uintptr_t before = w->addr;
		int r;

		w->brought = false;
		r = step(w);
		if (has_collided(w))
			return -EBUSY;
		if (r < 0)
			return r;
		if (w->addr != before) {
			w->idle = 0;
			w->reach = lower(w->reach * 2, BLOCK);
		} else if (w->brought) {
			if (++w->idle == PATIENCE)
				return -ENOMEM;
			w->reach = w->reach > 1 ? w->reach / 2 : 1;
		}
	}
	return 0;
}

int mrn_hmm_own_fault(struct hmm_range *range)
{
	struct walk w;
	int r;

	w.range = range;
	w.shift = (unsigned int)__builtin_ctzl(mrn_page_size());
	w.addr = range->start;
	w.reach = BLOCK;
	w.idle = 0;
	w.query = true;
	w.scan = !MRN_BROKEN(PAGEMAP_SCAN);
	forget_mappings(&w);
	/* Before anything is brought in for nothing. */
	if (has_collided(&w))
		return -EBUSY;
	w.pagemap = mrn_pagemap_open();
	if (w.pagemap < 0)
		return w.pagemap;
	w.maps = mrn_maps_open();
	r = w.maps < 0 ? w.maps : walk(&w);
	if (w.maps >= 0 && !mrn_maps_close(w.maps) && !MRN_BROKEN(HMM_OWN_FD))
		r = -EBUSY;
	if (!mrn_pagemap_close(w.pagemap) && !MRN_BROKEN(HMM_OWN_FD))
		r = -EBUSY;
	return r;
}
