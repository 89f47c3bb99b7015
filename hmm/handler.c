/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The CPU's page faults, served by threads of the space's own; and what somebody else unmaps.
 *
 * A handler never waits for a page: one that is BUSY is marked WANTED, and whoever has it wakes the
 * faulting thread, which faults again. It waits for callbacks only, for pages that must be announced.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/check.h"
#include "hmm/cpu.h"
#include "os/futex.h"
#include "os/syscall.h"
#include "os/thread.h"
#include "os/uffd.h"
#include "source/dispatch/dispatch.h"

#ifdef MRN_CHECK
void (*_Atomic mrn_check_hmm_fault_hook)(uintptr_t addr);
#endif

/* ------------------------------------------------------------------------------------------ one fault */

enum verdict { SERVED, AWAY, LENT, FAILED };

/* Page i is locked. What stands between it and the CPU? */
static enum verdict classify(struct mrn_hmm_region *r, size_t i, uint64_t *pfn)
{
	enum verdict v = SERVED;

	mrn_mutex_lock(&r->lock);
	*pfn = r->page[i].pfn;
	if (r->page[i].state == PAGE_DEVICE)
		v = AWAY;
	else if (r->page[i].flags & PAGE_EXCLUSIVE)
		v = LENT;
	mrn_mutex_unlock(&r->lock);
	return v;
}

/* Has the CPU got page i, which is locked and RAM? 0 or -errno; -EAGAIN: let it fault again. */
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
	/* Somebody has punched a hole into the memfd, by MADV_REMOVE. They read zeros: that is a write. */
	mrn_hmm_flags(r, i, 1, PAGE_DIRTY | PAGE_SOFT_DIRTY, 0);
	err = mrn_hmm_frame_restore(&hmm->frames, r->page[i].home);
	return err ? err : mrn_hmm_cpu_allow(r, i, 1, writable);
}

/*
 * Gone (-ENOENT, -EFAULT), or about to go (-EAGAIN): the thread finds out when it tries again. Anything
 * else, be it no frame or what reading the backing file says, it must be told of.
 */
static bool is_passing(int err)
{
	return err == -ENOENT || err == -EFAULT || err == -EAGAIN || err == -ESRCH;
}

/* Serves page i, which is locked, as far as that needs no announcement. */
static enum verdict serve_locked(struct mrn_hmm_region *r, size_t i, bool write, uint64_t *pfn)
{
	enum verdict v = classify(r, i, pfn);
	int err;

	if (v != SERVED)
		return v;
	err = mrn_hmm_page_in(r, i, 1);
	if (!err && r->page[i].state == PAGE_RAM)
		err = allow(r, i, write);
	return err && !is_passing(err) ? FAILED : SERVED;
}

/* Locks page i, or sees to it that the faulting thread is woken when it is unlocked. */
static bool lock_or_want(struct mrn_hmm_region *r, size_t i)
{
	bool got;

	mrn_mutex_lock(&r->lock);
	got = !(r->page[i].flags & PAGE_BUSY);
	r->page[i].flags |= got ? PAGE_BUSY : PAGE_WANTED;
	mrn_mutex_unlock(&r->lock);
	return got;
}

/* The same for a page that is away: announces its return first. */
static enum verdict serve_announced(struct mrn_hmm_region *r, size_t i, bool write,
				    enum verdict away, uint64_t pfn)
{
	struct mmu_notifier_range range;
	enum verdict v = SERVED;
	uint64_t now;

	mmu_notifier_range_init(&range, away == AWAY ? MMU_NOTIFY_MIGRATE : MMU_NOTIFY_EXCLUSIVE, 0,
				r->hmm->mm, mrn_hmm_addr(r, i), mrn_hmm_addr(r, i + 1));
	range.owner = away == AWAY ? mrn_hmm_device_of(r->hmm, pfn) : NULL;
	if (mmu_notifier_invalidate_range_start(&range))
		return SERVED;
	if (lock_or_want(r, i)) {
		/* What is away otherwise by now has not been announced: the thread faults again. */
		if (classify(r, i, &now) == away && (away == LENT || now == pfn) &&
		    mrn_hmm_take_back(r, i, 1))
			v = FAILED;
		if (v == SERVED)
			v = serve_locked(r, i, write, &now);
		mmu_notifier_invalidate_range_end(&range);
		mrn_hmm_unlock(r, i, 1);
	} else {
		mmu_notifier_invalidate_range_end(&range);
	}
	return v == FAILED ? FAILED : SERVED;
}

/* As the kernel would have told it for a file that has been truncated. */
static void send_sigbus(uintptr_t addr, pid_t tid)
{
	/* A code of the kernel's own, like BUS_ADRERR, a thread may give itself only. */
	siginfo_t info = {.si_signo = SIGBUS, .si_code = SI_QUEUE};

	info.si_addr = (void *)addr;
	mrn_sys4(SYS_rt_tgsigqueueinfo, mrn_sys0(SYS_getpid), tid, SIGBUS, (long)&info);
}

static void serve(struct mrn_hmm *hmm, uintptr_t addr, bool write, pid_t tid)
{
	struct mrn_hmm_region *r = mrn_hmm_region_get(hmm, addr);
	enum verdict v = SERVED;
	uint64_t pfn;
	size_t i;

	MRN_HMM_COUNT(hmm, cpu_faults, 1);
	if (r) {
		i = (addr - r->start) / mrn_page_size();
		mrn_hmm_fill_block(r, i);
		if (!lock_or_want(r, i)) {
			mrn_hmm_region_put(r);
			return;
		}
		v = serve_locked(r, i, write, &pfn);
		mrn_hmm_unlock(r, i, 1);
		if (v == AWAY || v == LENT)
			v = serve_announced(r, i, write, v, pfn);
		mrn_hmm_region_put(r);
	}
	if (v == FAILED) {
		MRN_HMM_COUNT(hmm, unserved, 1);
		send_sigbus(addr, tid);
	}
	/* It may have been woken already, and then this is for nobody. */
	mrn_hmm_cpu_wake(hmm, mrn_page_down(addr), mrn_page_size());
}

/* ------------------------------------------------------------------------------------------ lost pages */

/* Makes holes of the lost pages of r in [i, i + n), if nobody is at them; else unlock kicks us. */
static void lose(struct mrn_hmm_region *r, size_t i, size_t n)
{
	struct mrn_hmm_change c = {.r = r, .first = i, .n = n};

	mrn_hmm_region_hold(r);
	if (mrn_hmm_change_begin(&c, MMU_NOTIFY_UNMAP, MRN_CAUSE_MUNMAP, NULL,
				 MRN_HMM_LATE | MRN_HMM_TRYLOCK))
		return;
	mrn_hmm_drop(r, i, n);
	mrn_hmm_holes(r, i, n);
	mrn_hmm_change_end(&c);
}

static bool is_lost(const struct mrn_hmm_page *p)
{
	return (p->flags & PAGE_LOST) && p->state != PAGE_HOLE;
}

static void lose_all(struct mrn_hmm *hmm)
{
	struct mrn_hmm_region *r;
	uintptr_t next = 0;

	while ((r = mrn_hmm_region_next(hmm, next))) {
		size_t pages = mrn_hmm_pages(r), i = 0, n;

		while (i < pages) {
			mrn_mutex_lock(&r->lock);
			for (; i < pages && !is_lost(&r->page[i]); i++)
				;
			for (n = 0; i + n < pages && is_lost(&r->page[i + n]); n++)
				;
			mrn_mutex_unlock(&r->lock);
			if (n)
				lose(r, i, n);
			i += n;
		}
		next = r->end;
		mrn_hmm_region_put(r);
	}
}

/* With nobody between a look at what is ours and what he does with it. */
static void mark_lost(struct mrn_hmm *hmm, uintptr_t start, uintptr_t end)
{
	struct mrn_hmm_region *r;

	while (start < end && (r = mrn_hmm_region_next(hmm, start))) {
		uintptr_t from = start > r->start ? start : r->start;

		start = r->end;
		mrn_mutex_lock(&r->lock);
		for (; from < end && from < r->end && !MRN_BROKEN(HMM_LOST);
		     from += mrn_page_size())
			r->page[(from - r->start) / mrn_page_size()].flags |= PAGE_LOST;
		mrn_mutex_unlock(&r->lock);
		mrn_hmm_region_put(r);
	}
}

/* -------------------------------------------------------------------------------------------- threads */

static bool next_event(struct mrn_hmm *hmm, struct uffd_msg *msg)
{
	bool alone = !MRN_BROKEN(HMM_OURS), got;
	mrn_sigmask mask = 0;

	if (alone)
		mask = mrn_write_lock(&hmm->ours);
	got = mrn_sys3(SYS_read, hmm->uffd, (long)msg, sizeof(*msg)) == sizeof(*msg);
	if (got && msg->event == UFFD_EVENT_UNMAP)
		mark_lost(hmm, (uintptr_t)msg->arg.remove.start, (uintptr_t)msg->arg.remove.end);
	if (alone)
		mrn_write_unlock(&hmm->ours, mask);
	return got;
}

static void handle(struct mrn_hmm *hmm, const struct uffd_msg *msg)
{
	if (msg->event == UFFD_EVENT_UNMAP) {
		lose_all(hmm);
		return;
	}
	if (msg->event != UFFD_EVENT_PAGEFAULT)
		return;
#ifdef MRN_CHECK
	void (*hook)(uintptr_t) = atomic_load(&mrn_check_hmm_fault_hook);

	if (hook)
		hook((uintptr_t)msg->arg.pagefault.address);
#endif
	serve(hmm, (uintptr_t)msg->arg.pagefault.address,
	      msg->arg.pagefault.flags & (UFFD_PAGEFAULT_FLAG_WRITE | UFFD_PAGEFAULT_FLAG_WP),
	      (pid_t)msg->arg.pagefault.feat.ptid);
}

static void *run(void *arg)
{
	struct mrn_hmm *hmm = arg;
	struct pollfd fds[2] = {{.fd = hmm->uffd, .events = POLLIN},
				{.fd = hmm->kick, .events = POLLIN}};

	mrn_own_thread_enter();
	while (!__atomic_load_n(&hmm->stopping, __ATOMIC_ACQUIRE)) {
		struct uffd_msg msg;
		uint64_t kicks;

		mrn_sys4(SYS_ppoll, (long)fds, 2, 0, 0);
		mrn_dispatch_join();
		while (next_event(hmm, &msg))
			handle(hmm, &msg);
		if (__atomic_load_n(&hmm->stopping, __ATOMIC_ACQUIRE))
			break;
		if (mrn_sys3(SYS_read, hmm->kick, (long)&kicks, sizeof(kicks)) > 0)
			lose_all(hmm);
	}
	/* That may have been read by one who did not know yet: the next one must not sleep on. */
	mrn_hmm_kick(hmm);
	mrn_own_thread_leave();
	return NULL;
}

void mrn_hmm_kick(struct mrn_hmm *hmm)
{
	uint64_t one = 1;

	mrn_sys3(SYS_write, hmm->kick, (long)&one, sizeof(one));
}

int mrn_hmm_handlers_start(struct mrn_hmm *hmm, unsigned int n)
{
	mrn_sigmask mask;
	int err = 0;

	hmm->kick = (int)mrn_sys2(SYS_eventfd2, 0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (hmm->kick < 0)
		return hmm->kick;
	hmm->handler = calloc(n, sizeof(*hmm->handler));
	if (!hmm->handler)
		return -ENOMEM;
	/* No handler of the program's runs in these threads: it might touch managed memory. */
	mask = mrn_signals_block();
	for (; hmm->nr_handlers < n && !err; hmm->nr_handlers += !err)
		err = -pthread_create(&hmm->handler[hmm->nr_handlers], NULL, run, hmm);
	mrn_signals_restore(mask);
	return err;
}

void mrn_hmm_handlers_stop(struct mrn_hmm *hmm)
{
	__atomic_store_n(&hmm->stopping, true, __ATOMIC_RELEASE);
	if (hmm->kick >= 0)
		mrn_hmm_kick(hmm);
	for (unsigned int i = 0; i < hmm->nr_handlers; i++)
		pthread_join(hmm->handler[i], NULL);
	free(hmm->handler);
	if (hmm->kick >= 0)
		mrn_sys1(SYS_close, hmm->kick);
	hmm->kick = -1;
}
