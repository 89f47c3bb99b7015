/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One page fault of the CPU. A handler serves it unless other code has to run, and never waits: a page that is BUSY is
 * marked WANTED, and its holder wakes the faulting thread, which faults again. Whatever needs a consumer's callback, a
 * device's function or the backing file is left to a worker, which may wait: the page is marked ASKED until the worker
 * is done, so there is one worker per page, and never more busy workers than faulting threads.
 */
#include <errno.h>
#include <signal.h>

#include "hmm/change.h"
#include "hmm/cpu_entry.h"
#include "hmm/device.h"
#include "hmm/events.h"
#include "hmm/page_in.h"
#include "hmm/page_lock.h"
#include "hmm/space.h"
#include "os/atomic.h"
#include "os/syscall.h"

enum verdict { SERVED, AWAY, LENT, FILED, FAILED };

/* What serving page i, which is locked, requires. */
static enum verdict classify(struct mrn_hmm_region *r, size_t i, uint64_t *pfn)
{
	enum verdict v = SERVED;

	mrn_mutex_lock(&r->lock);
	*pfn = r->page[i].pfn;
	if (r->page[i].state == PAGE_DEVICE)
		v = AWAY;
	else if (r->page[i].flags & PAGE_EXCLUSIVE)
		v = LENT;
	else if (r->page[i].state == PAGE_SWAPPED)
		v = FILED;
	mrn_mutex_unlock(&r->lock);
	return v;
}

/* Gives the CPU an entry for page i, which is locked and RAM. 0 or -errno; -EAGAIN: let it fault again. */
static int allow(struct mrn_hmm_region *r, size_t i, bool write)
{
	struct mrn_hmm *hmm = r->hmm;
	bool writable;
	int err;

	write |= !hmm->read_only_maps;
	mrn_mutex_lock(&r->lock);
	if (write)
		r->page[i].flags |= PAGE_WRITABLE | PAGE_DIRTY | PAGE_SOFT_DIRTY;
	writable = r->page[i].flags & PAGE_WRITABLE;
	mrn_mutex_unlock(&r->lock);
	err = mrn_hmm_cpu_allow(r, i, 1, writable);
	if (err != -EFAULT)
		return err;
	/*
	 * Other code has punched a hole into the memfd, by MADV_REMOVE. The page reads as zeros: that counts as a
	 * write.
	 */
	mrn_hmm_flags(r, i, 1, PAGE_DIRTY | PAGE_SOFT_DIRTY, 0);
	err = mrn_hmm_frame_restore(&hmm->frames, r->page[i].home);
	return err ? err : mrn_hmm_cpu_allow(r, i, 1, writable);
}

/*
 * True if the mapping is gone (-ENOENT, -EFAULT), or about to go (-EAGAIN): the thread finds out when it faults again.
 * Any other error, as no frame or one of reading the backing file, must be reported to it.
 */
static bool is_passing(int err)
{
	return err == -ENOENT || err == -EFAULT || err == -EAGAIN || err == -ESRCH;
}

/* Serves page i, which is locked and neither away nor lent. */
static enum verdict bring(struct mrn_hmm_region *r, size_t i, bool write)
{
	int err = mrn_hmm_page_in(r, i, 1);

	if (!err && r->page[i].state == PAGE_RAM)
		err = allow(r, i, write);
	return err && !is_passing(err) ? FAILED : SERVED;
}

/*
 * Locks page i for a worker, which has announced what it is about to do: a handler that looks at the page for another thread
 * has it for a moment, and the announcement would have been for nothing. Whoever has it for longer is not waited for.
 */
static bool lock_soon_or_want(struct mrn_hmm_region *r, size_t i)
{
	for (int looks = 0; looks < 10000; looks++) {
		if (mrn_hmm_lock_or_want(r, i))
			return true;
		mrn_cpu_relax();
	}
	return false;
}

/* For a page that is away or lent: announces its return first. */
static enum verdict bring_back(struct mrn_hmm_region *r, size_t i, bool write, enum verdict away,
			       uint64_t pfn)
{
	struct mrn_hmm_change c = {.r = r, .first = i, .n = 1};
	void *owner = away == AWAY ? mrn_hmm_device_of(r->hmm, pfn) : NULL;
	enum verdict v = SERVED;
	uint64_t now;

	mrn_hmm_region_hold(r);
	if (mrn_hmm_change_announce(&c, away == AWAY ? MMU_NOTIFY_MIGRATE : MMU_NOTIFY_EXCLUSIVE,
				    MRN_CAUSE_UNKNOWN, owner, 0))
		return SERVED;
	if (!lock_soon_or_want(r, i)) {
		mrn_hmm_change_give_up(&c);
		return SERVED;
	}
	/* If the page is elsewhere by now, that was not announced: the thread faults again. */
	if (classify(r, i, &now) == away && (away == LENT || now == pfn) &&
	    mrn_hmm_take_back(r, i, 1))
		v = FAILED;
	if (v == SERVED && classify(r, i, &now) == SERVED)
		v = bring(r, i, write);
	mrn_hmm_change_end(&c);
	return v;
}

/* As the kernel does for a truncated file. */
static void send_sigbus(uintptr_t addr, pid_t tid)
{
	/* Only to itself may a thread send a kernel code like BUS_ADRERR. */
	siginfo_t info = {.si_signo = SIGBUS, .si_code = SI_QUEUE};

	info.si_addr = (void *)addr;
	mrn_sys4(SYS_rt_tgsigqueueinfo, mrn_sys0(SYS_getpid), tid, SIGBUS, (long)&info);
}

static void has_failed(struct mrn_hmm *hmm, const struct mrn_hmm_fault *f)
{
	MRN_HMM_COUNT(hmm, unserved, 1);
	send_sigbus(f->addr, f->tid);
}

static size_t page_of(const struct mrn_hmm_region *r, const struct mrn_hmm_fault *f)
{
	return (f->addr - r->start) / mrn_page_size();
}

/* ------------------------------------------------------------------------------------------- a handler */

/* Marks page i, which is locked, as left to a worker. True if the caller is the first, and has to call one. */
static bool ask(struct mrn_hmm_region *r, size_t i)
{
	bool first;

	mrn_mutex_lock(&r->lock);
	first = !(r->page[i].flags & PAGE_ASKED);
	r->page[i].flags |= PAGE_ASKED;
	mrn_mutex_unlock(&r->lock);
	return first;
}

/* False: the page's holder, or a worker, will wake the thread. */
static bool serve(struct mrn_hmm_region *r, const struct mrn_hmm_fault *f)
{
	struct mrn_hmm *hmm = r->hmm;
	size_t i = page_of(r, f);
	bool first = false;
	enum verdict v;
	uint64_t pfn;

	mrn_hmm_fill_block(r, i);
	if (!mrn_hmm_lock_or_want(r, i))
		return false;
	v = classify(r, i, &pfn);
	if (v == SERVED)
		v = bring(r, i, f->write);
	else
		first = ask(r, i);
	mrn_hmm_unlock(r, i, 1);
	if (v == FAILED)
		has_failed(hmm, f);
	if (v == SERVED || v == FAILED)
		return true;
	if (!first || mrn_hmm_workers_call(&hmm->workers, f))
		return false;
	/* No memory for a job: the thread faults again. */
	mrn_hmm_flags(r, i, 1, 0, PAGE_ASKED);
	return true;
}

void mrn_hmm_serve(struct mrn_hmm *hmm, const struct mrn_hmm_fault *f)
{
	struct mrn_hmm_region *r = mrn_hmm_region_get(hmm, f->addr);
	bool wake = true;

	MRN_HMM_COUNT(hmm, cpu_faults, 1);
	if (r) {
		wake = serve(r, f);
		mrn_hmm_region_put(r);
	}
	/* The thread may have been woken already; then this does nothing. */
	if (wake)
		mrn_hmm_cpu_wake(hmm, mrn_page_down(f->addr), mrn_page_size());
}

/* -------------------------------------------------------------------------------------------- a worker */

void mrn_hmm_serve_asked(struct mrn_hmm *hmm, const struct mrn_hmm_fault *f)
{
	struct mrn_hmm_region *r = mrn_hmm_region_get(hmm, f->addr);
	enum verdict v = SERVED;
	uint64_t pfn;

	if (r) {
		size_t i = page_of(r, f);

		if (mrn_hmm_lock_or_want(r, i)) {
			v = classify(r, i, &pfn);
			if (v == SERVED || v == FILED)
				v = bring(r, i, f->write);
			mrn_hmm_unlock(r, i, 1);
			if (v == AWAY || v == LENT)
				v = bring_back(r, i, f->write, v, pfn);
		}
		mrn_hmm_flags(r, i, 1, 0, PAGE_ASKED);
		mrn_hmm_region_put(r);
	}
	if (v == FAILED)
		has_failed(hmm, f);
	/* Also wakes threads that found the page ASKED: they fault again. */
	mrn_hmm_cpu_wake(hmm, mrn_page_down(f->addr), mrn_page_size());
}
