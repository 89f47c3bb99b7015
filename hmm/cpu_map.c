/* SPDX-License-Identifier: BSD-3-Clause */
#include "hmm/cpu_map.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "hmm/check.h"
#include "hmm/cpu_entry.h"
#include "hmm/ours.h"
#include "hmm/space.h"
#include "os/maps.h"
#include "os/syscall.h"
#include "os/uffd.h"

#define MODES (UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR | UFFDIO_REGISTER_MODE_WP)

uintptr_t mrn_hmm_cpu_reserve(size_t length, size_t align)
{
	size_t page = mrn_page_size(), more = align > page ? align - page : 0;
	uintptr_t start, at;
	long p;

	if (length + more < length)
		return 0;
	p = mrn_sys6(SYS_mmap, 0, (long)(length + more), PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (mrn_sys_failed(p))
		return 0;
	start = (uintptr_t)p;
	at = (start + align - 1) & ~(uintptr_t)(align - 1);
	if (at > start)
		mrn_hmm_cpu_release(start, at - start);
	if (start + length + more > at + length)
		mrn_hmm_cpu_release(at + length, start + more - at);
	return at;
}

void mrn_hmm_cpu_release(uintptr_t addr, size_t length)
{
	mrn_sys2(SYS_munmap, (long)addr, (long)length);
}

/* ---------------------------------------------------------------------------------------- mappings */

static long watch(struct mrn_hmm *hmm, uintptr_t addr, size_t n)
{
	struct uffdio_register arg = {
		.range = {.start = addr, .len = (uint64_t)mrn_hmm_bytes(n)},
		.mode = MODES,
	};

	/* A forked child would see the frames, whatever pages have them by then. */
	mrn_sys3(SYS_madvise, (long)addr, mrn_hmm_bytes(n), MADV_DONTFORK);
	return mrn_hmm_cpu_control(hmm, UFFDIO_REGISTER, &arg);
}

/* First make it inaccessible, then stop watching it. */
static long hide(struct mrn_hmm *hmm, uintptr_t addr, size_t n)
{
	struct uffdio_range range = {.start = addr, .len = (uint64_t)mrn_hmm_bytes(n)};
	long p = mrn_sys3(SYS_mprotect, (long)addr, mrn_hmm_bytes(n), PROT_NONE);

	return p < 0 ? p : mrn_hmm_cpu_control(hmm, UFFDIO_UNREGISTER, &range);
}

/* Unmaps it after hide. If it is still watched, it stays: this thread would wait for the event. */
static long unmap(struct mrn_hmm *hmm, uintptr_t addr, size_t n)
{
	long p = hide(hmm, addr, n);

	return p < 0 ? 0
		     : mrn_sys6(SYS_mmap, (long)addr, mrn_hmm_bytes(n), PROT_NONE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

/* How many pages from i on map consecutive frames. */
static size_t row(const struct mrn_hmm_region *r, size_t i, size_t end)
{
	size_t n = 1;

	while (i + n < end && r->page[i + n].home == r->page[i].home + n)
		n++;
	return n;
}

static long map(struct mrn_hmm_region *r, size_t i, size_t n, int prot)
{
	uintptr_t addr = mrn_hmm_addr(r, i);
	long p = 0;

	/* Inaccessible until it is watched, so that no thread sees another page's frame. */
	for (size_t at = i, run; at < i + n && !mrn_sys_failed(p); at += run) {
		run = row(r, at, i + n);
		/* Not MAP_NORESERVE: rebound pages would not merge with those that are not rebound yet. */
		p = mrn_hmm_keeper_call(&r->hmm->keeper, r->hmm->frames.fd, SYS_mmap,
					(long)mrn_hmm_addr(r, at), mrn_hmm_bytes(run), PROT_NONE,
					MAP_SHARED | MAP_FIXED, r->hmm->frames.fd,
					mrn_hmm_bytes(r->page[at].home));
	}
	if (!mrn_sys_failed(p))
		p = watch(r->hmm, addr, n);
	if (!mrn_sys_failed(p) && prot != PROT_NONE)
		p = mrn_sys3(SYS_mprotect, (long)addr, mrn_hmm_bytes(n), prot);
	if (!mrn_sys_failed(p))
		return 0;
	unmap(r->hmm, addr, n);
	return p;
}

static void give_back(struct mrn_hmm_region *r, size_t i, size_t n)
{
	/*
	 * Memory that cannot be hidden is still watched, and stays, as in unmap; at the end of the space nothing is
	 * watched.
	 */
	if (r->hmm->uffd < 0 || !hide(r->hmm, mrn_hmm_addr(r, i), n))
		mrn_hmm_cpu_release(mrn_hmm_addr(r, i), n * mrn_page_size());
}

void mrn_hmm_cpu_give_back(struct mrn_hmm_region *r)
{
	size_t n = mrn_hmm_pages(r), run;

	for (size_t i = 0; i < n; i += run + 1) {
		mrn_sigmask mask = mrn_hmm_ours_enter(r->hmm);

		run = 0;
		mrn_mutex_lock(&r->lock);
		for (; i + run < n && !(r->page[i + run].flags & PAGE_LOST); run++)
			r->page[i + run].flags |= PAGE_LOST;
		if (i + run < n)
			r->page[i + run].state = PAGE_HOLE;
		mrn_mutex_unlock(&r->lock);
		if (run)
			give_back(r, i, run);
		mrn_hmm_ours_leave(r->hmm, mask);
	}
}

int mrn_hmm_cpu_map(struct mrn_hmm_region *r, size_t i, size_t n, int prot)
{
	mrn_sigmask mask = mrn_hmm_ours_enter(r->hmm);
	long p = mrn_hmm_ours_any_lost(r, i, n) ? -ENOTCONN : map(r, i, n, prot);

	mrn_hmm_ours_leave(r->hmm, mask);
	return (int)p;
}

void mrn_hmm_cpu_map_undo(struct mrn_hmm_region *r, size_t i, size_t n)
{
	mrn_sigmask mask = mrn_hmm_ours_enter(r->hmm);

	if (!mrn_hmm_ours_any_lost(r, i, n))
		unmap(r->hmm, mrn_hmm_addr(r, i), n);
	mrn_hmm_ours_leave(r->hmm, mask);
}

/* Restores the pages' protection, after it was changed for some. */
static void protect_again(struct mrn_hmm_region *r, size_t i, size_t n)
{
	for (size_t at = i, run = 1; at < i + n; at += run) {
		for (run = 1; at + run < i + n && r->page[at + run].prot == r->page[at].prot; run++)
			;
		mrn_sys3(SYS_mprotect, (long)mrn_hmm_addr(r, at), mrn_hmm_bytes(run),
			 r->page[at].prot);
	}
}

int mrn_hmm_cpu_hide(struct mrn_hmm_region *r, size_t i, size_t n)
{
	long p = mrn_hmm_ours_each(r, i, n, n, hide);

	if (!p)
		return 0;
	/*
	 * Some pages are hidden. Those that were write-protected no longer are: empty their entries before they can be
	 * touched.
	 */
	for (size_t at = i, run = 1; run; at += run) {
		mrn_sigmask mask = mrn_hmm_ours_enter(r->hmm);

		run = mrn_hmm_ours_run(r, &at, i + n);
		if (run) {
			mrn_hmm_cpu_empty(r->hmm, mrn_hmm_addr(r, at), run);
			watch(r->hmm, mrn_hmm_addr(r, at), run);
			protect_again(r, at, run);
		}
		mrn_hmm_ours_leave(r->hmm, mask);
	}
	return (int)p;
}

void mrn_hmm_cpu_unmap(struct mrn_hmm_region *r, size_t i, size_t n)
{
	mrn_hmm_ours_each(r, i, n, n, unmap);
}

int mrn_hmm_cpu_protect(struct mrn_hmm_region *r, size_t i, size_t n, int prot)
{
	mrn_sigmask mask = mrn_hmm_ours_enter(r->hmm);
	long p = -ENOMEM;

	if (!mrn_hmm_ours_any_lost(r, i, n)) {
		p = mrn_sys3(SYS_mprotect, (long)mrn_hmm_addr(r, i), mrn_hmm_bytes(n), prot);
		if (p < 0)
			protect_again(r, i, n);
	}
	mrn_hmm_ours_leave(r->hmm, mask);
	return (int)p;
}

/* --------------------------------------------------------------------------------------- other frames */

/*
 * Maps other frames in one step, and, unlike mmap(MAP_FIXED), without an event that this thread would wait for.
 * MAP_NONBLOCK: installs no entries.
 */
static long show(uintptr_t addr, size_t n, uint64_t frame)
{
	long p = mrn_sys6(SYS_remap_file_pages, (long)addr, mrn_hmm_bytes(n), 0, (long)frame,
			  MAP_NONBLOCK, 0);

	if (!p)
		MRN_HOOK(hmm_rebind, addr);
	return p;
}

/* The program's madvise may have split the mapping: maps page by page. How many, or -errno. */
static long show_each(struct mrn_hmm_region *r, size_t i, size_t n, uint64_t frame)
{
	long p = 0;
	size_t k;

	/* Pages that map their new frames may have been written to: this cannot be undone. */
	for (k = 0; k < n && !p; k++)
		p = show(mrn_hmm_addr(r, i + k), 1, frame + k);
	return p && k == 1 ? p : (long)(p ? k - 1 : n);
}

/* True if the mapping at addr is of frames, or if that cannot be found out. */
static bool shows_frames(struct mrn_hmm *hmm, uintptr_t addr)
{
	struct mrn_mapping m;
	long n = mrn_maps_from(addr, &m, 1);

	return n < 0 || (n && m.start <= addr && m.inode == hmm->frames.inode);
}

/*
 * Page i cannot be watched any more: while there were no events, other code unmapped it, or registered it with its own
 * userfaultfd. So it is lost. If the mapping is still there, other code may write to the frame: it is not reused.
 */
static void give_up(struct mrn_hmm_region *r, size_t i, uint64_t frame)
{
	mrn_mutex_lock(&r->lock);
	r->page[i].flags |= PAGE_LOST;
	mrn_mutex_unlock(&r->lock);
	if (shows_frames(r->hmm, mrn_hmm_addr(r, i)))
		mrn_hmm_frame_pin(&r->hmm->frames, frame);
}

static long watch_and_empty(struct mrn_hmm_region *r, size_t i, size_t n)
{
	uintptr_t addr = mrn_hmm_addr(r, i);
	long p = watch(r->hmm, addr, n);

	if (p < 0)
		return p;
	MRN_HOOK(hmm_watched, addr);
	return MRN_BROKEN(HMM_REBIND_ZAP) ? 0 : mrn_hmm_cpu_empty(r->hmm, addr, n);
}

long mrn_hmm_cpu_rebind(struct mrn_hmm_region *r, size_t i, size_t n, uint64_t frame)
{
	mrn_sigmask mask = mrn_hmm_ours_enter(r->hmm);
	long p = -EFAULT;

	if (!mrn_hmm_ours_any_lost(r, i, n)) {
		p = show(mrn_hmm_addr(r, i), n, frame);
		p = p == -EINVAL && n > 1 ? show_each(r, i, n, frame) : p ? p : (long)n;
		/* The mapping is gone: other code has unmapped it, and the event has not been read yet. */
		if (p == -EINVAL)
			p = -EFAULT;
	}
	/* Unwatched for a moment: an access finds the new frame, whose contents are there. */
	if (p > 0 && watch_and_empty(r, i, (size_t)p) < 0)
		for (size_t k = 0; k < (size_t)p; k++)
			if (watch_and_empty(r, i + k, 1) < 0)
				give_up(r, i + k, frame + k);
	mrn_hmm_ours_leave(r->hmm, mask);
	return p;
}
