/* SPDX-License-Identifier: BSD-3-Clause */
#include "hmm/cpu.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "os/pagemap.h"
#include "os/syscall.h"
#include "os/uffd.h"

/* In an entry of /proc/self/pagemap. */
#define PAGEMAP_PRESENT (UINT64_C(1) << 63)

#define MODES (UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR | UFFDIO_REGISTER_MODE_WP)

/* ------------------------------------------------------------------------------------------- runs */

/* The next run of pages in [*i, end) that are still ours to touch; *i moves to it. Its length. */
static size_t next_run(struct mrn_hmm_region *r, size_t *i, size_t end)
{
	size_t n = 0;

	mrn_mutex_lock(&r->lock);
	while (*i < end && (r->page[*i].state == PAGE_HOLE || (r->page[*i].flags & PAGE_LOST)))
		++*i;
	while (*i + n < end && r->page[*i + n].state != PAGE_HOLE &&
	       !(r->page[*i + n].flags & PAGE_LOST))
		n++;
	mrn_mutex_unlock(&r->lock);
	return n;
}

static long bytes(size_t n)
{
	return (long)(n * mrn_page_size());
}

/* ------------------------------------------------------------------------------------- reservation */

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

static long watch(const struct mrn_hmm *hmm, uintptr_t addr, size_t n)
{
	struct uffdio_register arg = {
		.range = {.start = addr, .len = (uint64_t)bytes(n)},
		.mode = MODES,
	};

	/* A child would see frames by their place in the file, whoever has them now. */
	mrn_sys3(SYS_madvise, (long)addr, bytes(n), MADV_DONTFORK);
	return mrn_sys3(SYS_ioctl, hmm->uffd, UFFDIO_REGISTER, (long)&arg);
}

static long make_hole(uintptr_t addr, size_t n)
{
	return mrn_sys6(SYS_mmap, (long)addr, bytes(n), PROT_NONE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}

/*
 * First nobody may read it, then nobody watches it, so that no event comes, then it goes. Where the
 * kernel's limit of mappings forbids the last step it is unreadable all the same.
 */
static void unmap(const struct mrn_hmm *hmm, uintptr_t addr, size_t n)
{
	struct uffdio_range range = {.start = addr, .len = (uint64_t)bytes(n)};

	mrn_sys3(SYS_mprotect, (long)addr, bytes(n), PROT_NONE);
	mrn_sys3(SYS_ioctl, hmm->uffd, UFFDIO_UNREGISTER, (long)&range);
	make_hole(addr, n);
}

/* How many pages from i on show frames in a row. */
static size_t row(const struct mrn_hmm_region *r, size_t i, size_t end)
{
	size_t n = 1;

	while (i + n < end && r->page[i + n].home == r->page[i].home + n)
		n++;
	return n;
}

int mrn_hmm_cpu_map(struct mrn_hmm_region *r, size_t i, size_t n, int prot)
{
	uintptr_t addr = mrn_hmm_addr(r, i);
	long p = 0;

	/* Not to be read until it is watched, so that nobody sees a frame that is not his. */
	for (size_t at = i, run; at < i + n && !mrn_sys_failed(p); at += run) {
		run = row(r, at, i + n);
		p = mrn_sys6(SYS_mmap, (long)mrn_hmm_addr(r, at), bytes(run), PROT_NONE,
			     MAP_SHARED | MAP_NORESERVE | MAP_FIXED, r->hmm->frames.fd,
			     bytes(r->page[at].home));
	}
	if (!mrn_sys_failed(p))
		p = watch(r->hmm, addr, n);
	if (!mrn_sys_failed(p) && prot != PROT_NONE)
		p = mrn_sys3(SYS_mprotect, (long)addr, bytes(n), prot);
	if (!mrn_sys_failed(p))
		return 0;
	unmap(r->hmm, addr, n);
	return (int)p;
}

void mrn_hmm_cpu_unmap(struct mrn_hmm_region *r, size_t i, size_t n)
{
	for (size_t at = i, run; (run = next_run(r, &at, i + n)); at += run)
		unmap(r->hmm, mrn_hmm_addr(r, at), run);
}

int mrn_hmm_cpu_protect(struct mrn_hmm_region *r, size_t i, size_t n, int prot)
{
	return (int)mrn_sys3(SYS_mprotect, (long)mrn_hmm_addr(r, i), bytes(n), prot);
}

/* ----------------------------------------------------------------------------------------- entries */

void mrn_hmm_cpu_zap(struct mrn_hmm_region *r, size_t i, size_t n)
{
	for (size_t at = i, run; (run = next_run(r, &at, i + n)); at += run)
		mrn_sys3(SYS_madvise, (long)mrn_hmm_addr(r, at), bytes(run), MADV_DONTNEED);
}

static long write_protect(const struct mrn_hmm *hmm, uintptr_t addr, size_t n, bool on)
{
	struct uffdio_writeprotect arg = {
		.range = {.start = addr, .len = (uint64_t)bytes(n)},
		.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	return mrn_sys3(SYS_ioctl, hmm->uffd, UFFDIO_WRITEPROTECT, (long)&arg);
}

void mrn_hmm_cpu_write_protect(struct mrn_hmm_region *r, size_t i, size_t n)
{
	/* Where that fails, a change of mappings is under way: no entry is as good as one for reading. */
	for (size_t at = i, run; (run = next_run(r, &at, i + n)); at += run)
		if (write_protect(r->hmm, mrn_hmm_addr(r, at), run, true) < 0)
			mrn_hmm_cpu_zap(r, at, run);
}

/* Does the CPU have an entry for any of the pages? Yes when that cannot be found out. */
static bool any_entry(const struct mrn_hmm *hmm, uintptr_t addr, size_t n)
{
	uint64_t entry[64];

	while (n) {
		size_t some = n < 64 ? n : 64;
		long size = (long)(some * sizeof(entry[0]));

		if (mrn_sys4(SYS_pread64, hmm->pagemap, (long)entry, size,
			     (long)(addr / mrn_page_size() * sizeof(entry[0]))) != size)
			return true;
		for (size_t i = 0; i < some; i++)
			if (entry[i] & PAGEMAP_PRESENT)
				return true;
		addr += some * mrn_page_size();
		n -= some;
	}
	return false;
}

int mrn_hmm_cpu_rebind(struct mrn_hmm_region *r, size_t i, size_t n, uint64_t frame, bool *touched)
{
	uintptr_t addr = mrn_hmm_addr(r, i);
	/*
	 * In one step, and, unlike mmap(MAP_FIXED), without an event that this thread would wait for.
	 * The new mapping is unwatched for a moment: a touch finds the frame, whose contents are there.
	 */
	long p = mrn_sys6(SYS_remap_file_pages, (long)addr, bytes(n), 0, (long)frame, 0, 0);

	if (p < 0)
		return (int)p;
	*touched = true;
	if (watch(r->hmm, addr, n) < 0)
		return 0;
	/* An entry that came up in that moment is still there: only we would have removed it. */
	*touched = any_entry(r->hmm, addr, n);
	return 0;
}

static long install(const struct mrn_hmm *hmm, uintptr_t addr, size_t n, bool write)
{
	struct uffdio_continue arg = {
		.range = {.start = addr, .len = (uint64_t)bytes(n)},
		.mode = write ? 0 : UFFDIO_CONTINUE_MODE_WP,
	};

	return mrn_sys3(SYS_ioctl, hmm->uffd, UFFDIO_CONTINUE, (long)&arg);
}

/* Where an entry is there already, and perhaps write-protected. */
static long install_one(const struct mrn_hmm *hmm, uintptr_t addr, bool write)
{
	long p = install(hmm, addr, 1, write);

	if (p != -EEXIST)
		return p;
	if (write)
		return write_protect(hmm, addr, 1, false);
	mrn_hmm_cpu_wake(hmm, addr, mrn_page_size());
	return 0;
}

int mrn_hmm_cpu_allow(struct mrn_hmm_region *r, size_t i, size_t n, bool write)
{
	long p = install(r->hmm, mrn_hmm_addr(r, i), n, write);

	if (p != -EEXIST)
		return (int)p;
	p = 0;
	for (size_t at = i; at < i + n && !p; at++)
		p = install_one(r->hmm, mrn_hmm_addr(r, at), write);
	return (int)p;
}

void mrn_hmm_cpu_wake(const struct mrn_hmm *hmm, uintptr_t addr, size_t length)
{
	struct uffdio_range range = {.start = addr, .len = length};

	mrn_sys3(SYS_ioctl, hmm->uffd, UFFDIO_WAKE, (long)&range);
}
