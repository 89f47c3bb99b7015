/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The userfaultfd source. Ranges are armed in write-protect mode and nothing is ever protected, so no
 * fault is delivered; what is wanted are the events, which the kernel sends for armed ranges only.
 *
 * The caller of munmap, mremap or madvise sleeps until its event has been *read*; there is no other
 * acknowledgement. UNMAP and REMAP come after the change. So the monitor publishes a token over
 * everything when the descriptor polls readable, then reads, then invalidates exactly what the events
 * say, then withdraws the token: whoever looks something up after the call returned finds the token, or
 * the callbacks' work done.
 *
 * REMOVE (MADV_DONTNEED, FREE, REMOVE) comes *before* the change, reading it lets the caller go on to
 * change, and nothing tells when it has. From then on the range is good for one use at a time.
 * Interposed calls never get here: their callbacks disarm what is about to change, so that only calls
 * without a bracket raise REMOVE.
 *
 * To arm a range with a hole in it arms the rest, and says nothing; and to map something into a hole
 * is no event. So a hole that is filled between arming and pinning would leave pinned pages that nobody
 * watches. Therefore a range counts as armed only when, after arming and before anybody reads its
 * translations, each page was seen to be mapped and armed, both in one look: from that look on,
 * whatever happens to the page is an event.
 */
#ifndef MRN_SOURCE_UFFD_H
#define MRN_SOURCE_UFFD_H

#include <mrn/mmu_notifier.h>

#include "source/uffd/use_once.h"

struct mrn_uffd {
	struct mrn_mm *mm;
	int fd;
	int pagemap;	 /* to look at armed ranges as a whole (Linux 6.7), or -1: page by page */
	bool arms_files; /* on disk, too (Linux 6.7, WP_ASYNC) */
	int stop;	 /* eventfd */
	pthread_t monitor;
	/*
	 * Held, with signals blocked, to arm and to disarm; nothing is called inside but the kernel.
	 * A range is not disarmed under a notifier that was inserted before it was armed; and once a
	 * bracket's callback has disarmed what is about to change, it stays disarmed until the end:
	 * the application's mremap would fail on mappings that arming has split (EFAULT).
	 * fd is -1 once stopped. Lives as long as the process.
	 */
	struct mrn_mutex lock;
	/*
	 * Atomic; written under lock. False: no notifier that is inserted has had a range armed. One that was
	 * removed without disarming may have left something.
	 */
	bool armed;
	struct mrn_use_once use_once;
};

/* Opens, and starts the monitor. -errno as mrn_uffd_open, or of pthread_create. */
int mrn_uffd_start(struct mrn_mm *mm, struct mrn_uffd *u);
/* Disarms everything, stops the monitor, closes. */
void mrn_uffd_stop(struct mrn_uffd *u);
/* In a forked child: closes the descriptor, which acts on the parent. */
void mrn_uffd_forget(struct mrn_uffd *u);

/*
 * 0, MRN_ARM_USE_ONCE, or -EAGAIN while an invalidation of the range is in progress. *files becomes false when no page there
 * can be a file's on disk.
 */
int mrn_uffd_arm(struct mrn_uffd *u, uintptr_t start, uintptr_t end, bool *files);
/*
 * May there be something to disarm for a notifier that is inserted? For its owner, or for its callback: an arming
 * that is not seen here sees the callback's token.
 */
static inline bool mrn_uffd_is_armed(const struct mrn_uffd *u)
{
	return __atomic_load_n(&u->armed, __ATOMIC_RELAXED);
}
void mrn_uffd_disarm(struct mrn_uffd *u, const struct mmu_range_notifier *leaving);
/* Event path: stops events for [start, end), of which a token in progress tells. */
void mrn_uffd_disarm_changing(struct mrn_uffd *u, uintptr_t start, uintptr_t end);
/* The same for the monitor. */
void mrn_uffd_disarm_now(const struct mrn_uffd *u, uintptr_t start, uintptr_t end);

/* The monitor thread's body. */
void *mrn_uffd_monitor(void *uffd);

#endif
