/* SPDX-License-Identifier: BSD-3-Clause */
#include "hmm/cpu_entry.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "hmm/check.h"
#include "hmm/ours.h"
#include "hmm/space.h"
#include "os/syscall.h"
#include "os/uffd.h"

/* How many pages one system call empties: other threads' page faults may have to wait for it. */
#define CHUNK 8192

long mrn_hmm_cpu_control(struct mrn_hmm *hmm, long what, void *arg)
{
	return mrn_hmm_keeper_call(&hmm->keeper, hmm->uffd, SYS_ioctl, hmm->uffd, what, (long)arg,
				   0, 0, 0);
}

/*
 * MADV_DONTNEED would leave the entries of memory that the program has locked by mlock or mlockall (Linux 5.18).
 * -ENOMEM: other code has unmapped a part, and its event has not been read yet; all else is emptied.
 */
long mrn_hmm_cpu_empty(struct mrn_hmm *hmm, uintptr_t addr, size_t n)
{
	return mrn_sys3(SYS_madvise, (long)addr, mrn_hmm_bytes(n), MADV_DONTNEED_LOCKED);
}

/* An error for a hole that other code made is ignored, so that the pages after it are emptied, too. */
static long empty(struct mrn_hmm *hmm, uintptr_t addr, size_t n)
{
	mrn_hmm_cpu_empty(hmm, addr, n);
	return 0;
}

void mrn_hmm_cpu_zap(struct mrn_hmm_region *r, size_t i, size_t n)
{
	if (!MRN_BROKEN(HMM_NO_ZAP))
		mrn_hmm_ours_each(r, i, n, CHUNK, empty);
}

static long write_protect(struct mrn_hmm *hmm, uintptr_t addr, size_t n, bool on)
{
	struct uffdio_writeprotect arg = {
		.range = {.start = addr, .len = (uint64_t)mrn_hmm_bytes(n)},
		.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};

	return mrn_hmm_cpu_control(hmm, UFFDIO_WRITEPROTECT, &arg);
}

/* If write-protecting fails, a change of mappings is under way: an empty entry is as good as a read-only one. */
static long read_only(struct mrn_hmm *hmm, uintptr_t addr, size_t n)
{
	return write_protect(hmm, addr, n, true) < 0 ? empty(hmm, addr, n) : 0;
}

void mrn_hmm_cpu_write_protect(struct mrn_hmm_region *r, size_t i, size_t n)
{
	if (!MRN_BROKEN(HMM_NO_WRITE_PROTECT))
		mrn_hmm_ours_each(r, i, n, CHUNK, read_only);
}

static long install(struct mrn_hmm *hmm, uintptr_t addr, size_t n, bool write)
{
	struct uffdio_continue arg = {
		.range = {.start = addr, .len = (uint64_t)mrn_hmm_bytes(n)},
		.mode = write ? 0 : UFFDIO_CONTINUE_MODE_WP,
	};

	return mrn_hmm_cpu_control(hmm, UFFDIO_CONTINUE, &arg);
}

/* For a page that already has an entry, perhaps write-protected. */
static long install_one(struct mrn_hmm *hmm, uintptr_t addr, bool write)
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

void mrn_hmm_cpu_wake(struct mrn_hmm *hmm, uintptr_t addr, size_t length)
{
	struct uffdio_range range = {.start = addr, .len = length};

	mrn_hmm_cpu_control(hmm, UFFDIO_WAKE, &range);
}
