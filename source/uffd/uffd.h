/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The userfaultfd source. Ranges are armed in write-protect mode, but no page is ever protected, so the kernel delivers
 * no faults. The source wants the events, which the kernel sends for armed ranges only.
 *
 * The caller of munmap, mremap or madvise sleeps until its event has been *read*; there is no other acknowledgement.
 * UNMAP and REMAP come after the change. So, once the descriptor polls readable, the source publishes a token over
 * everything, reads the events, invalidates exactly the ranges that they name, and withdraws the token. A lookup after
 * the call has returned finds the token, or the callbacks done.
 *
 * Two threads share that work. The keeper polls, publishes and reads, in a descriptor table of its own (os/fd.h):
 * whatever the program does to its descriptors, the userfaultfd stays open and is read. The monitor calls notifiers
 * back and withdraws the token, in the program's table: a callback may use the program's descriptors. What the keeper
 * has read for the monitor is a batch. There are two batches, so that a thread that unmaps something does not sleep
 * until a callback is over.
 *
 * Arming and disarming take a system call by the calling thread. It uses the descriptor in the program's table while
 * that is still the userfaultfd, and the keeper otherwise.
 *
 * REMOVE (MADV_DONTNEED, FREE, REMOVE) comes *before* the change; reading it lets the caller go on to change, and
 * nothing tells when the change is over. From then on the range is good for one use at a time. Interposed calls raise
 * no REMOVE: their brackets disarm what is about to change. Only calls without a bracket do.
 *
 * Arming a range with a hole arms the rest without an error, and mapping something into a hole is no event. So a hole
 * that is filled between arming and pinning would leave pinned pages that nobody watches. Therefore a range counts as
 * armed only if, after arming and before its translations are read, one look has found each page both mapped and armed:
 * from that look on, any change of the page is an event.
 */
#ifndef MRN_SOURCE_UFFD_H
#define MRN_SOURCE_UFFD_H

#include <mrn/mmu_notifier.h>

#include "os/uffd.h"
#include "source/marks.h"
#include "source/uffd/lasting.h"
#include "source/uffd/use_once.h"
#include "source/uffd/wide.h"

/* Events that fit into a batch. With more, the batch means "everything". */
#define MRN_UFFD_BATCH 64

struct mrn_uffd_batch {
	struct mmu_notifier_range token; /* over all addresses */
	bool held;			 /* the token is published */
	bool everything;
	unsigned int n;
	struct uffd_msg msg[MRN_UFFD_BATCH];
};

/* The descriptors, as numbered in one of the two tables; -1: none. */
struct mrn_uffd_numbers {
	int fd;
	/*
	 * Checks armed ranges as a whole (Linux 6.7). Without it, the check goes page by page, and no file on disk can
	 * be armed.
	 */
	int pagemap;
	/*
	 * Says what is mapped in a range (Linux 6.11). Only in the program's table; without it, nothing is remembered as
	 * armed.
	 */
	int maps;
};
#define MRN_UFFD_NO_NUMBERS ((struct mrn_uffd_numbers){-1, -1, -1})

/* What arming learns of a range. */
struct mrn_uffd_found {
	bool files; /* a page may be of a file on disk; set if the caller wants to know */
	bool plain; /* all is private memory without a file, which cannot go away without an event */
	uint64_t once; /* why it is good for one use; 0 also if events are no longer read */
};

enum mrn_uffd_request { MRN_UFFD_ARM, MRN_UFFD_DISARM, MRN_UFFD_STOP };

struct mrn_uffd {
	struct mrn_mm *mm;
	/* The kernel no longer lets the keeper read; nothing is armed any more. */
	void (*lost)(void);
	struct mrn_uffd_numbers kept; /* in the keeper's table; constant while it runs */
	/*
	 * A page of the source's own, armed: unmapping it is an event, which wakes the keeper; and only our userfaultfd
	 * can arm it again. bell is atomic; 0 from a ring until there is a new bell, or if none could be mapped: then
	 * the keeper polls every few milliseconds. hung is the keeper's own copy.
	 */
	uintptr_t bell, hung;
	pthread_t keeper, monitor;
	long monitor_tid; /* the mark on the descriptors in both tables */
	/*
	 * Held, with signals blocked, to arm and to disarm; calls only the kernel inside. A range is not disarmed under
	 * a notifier that was inserted before it was armed; and once a bracket has disarmed what is about to change, it
	 * stays disarmed until the end: the application's mremap would fail with EFAULT on mappings that arming has
	 * split. Lives as long as the process. The keeper never takes it.
	 */
	struct mrn_mutex lock;
	struct mrn_uffd_numbers
		number;		/* in the program's table; under lock; -1 once it is not ours */
	struct mrn_marks armed; /* under lock: marks.h */
	struct mrn_wide wide;
	struct mrn_lasting *lasting;
	unsigned int most_idle; /* ranges that may stay armed without a notifier */
	struct mrn_use_once use_once;
	/* From the thread that holds the lock to the keeper. */
	struct {
		uint32_t pending; /* atomic, a futex */
		enum mrn_uffd_request what;
		uintptr_t start, end;
		struct mrn_uffd_found found;
		bool rings;    /* there was a bell to ring */
		uint32_t rung; /* mrn_uffd.rung before the request */
		int result;
	} request;
	uint32_t rung; /* atomic; the keeper counts how often the bell was unmapped */
	/* Atomic, a futex: 0 not yet; 1 the keeper reads; 2 it could not begin, or has ended. */
	uint32_t running;
	int error; /* why it could not begin */
	/* Shared by the two threads. */
	struct mrn_mutex batch_lock;
	struct mrn_uffd_batch batch[2];
	unsigned int filling;	 /* the one that the keeper adds to */
	bool reading;		 /* its token is published, and the read is not over */
	bool handling;		 /* the monitor handles the other one */
	bool over;		 /* no more batches will come */
	bool failed;		 /* over because the keeper could not go on */
	uint32_t turns;		 /* atomic, a futex: goes up when the monitor has something to do */
	uint64_t monitor_thread; /* owns the tokens: its callbacks must not wait for them */
};

/*
 * Opens the userfaultfd and starts the threads. -errno as mrn_uffd_open, pthread_create or mrn_fd_table_own; sets *why
 * to a sentence where the number does not say enough. lost is called on the event path, at most once, until
 * mrn_uffd_stop.
 */
int mrn_uffd_start(struct mrn_mm *mm, struct mrn_uffd *u, void (*lost)(void), const char **why);
/* Disarms everything, stops the threads, closes. */
void mrn_uffd_stop(struct mrn_uffd *u);
/* In a forked child: closes the descriptors, which act on the parent's memory. */
void mrn_uffd_forget(struct mrn_uffd *u);

/* Good for one use, and armed except for a hole: mappings have been split. */
#define MRN_UFFD_IN_PART (MRN_USE_ONCE + 1)

/*
 * 0; MRN_USE_ONCE, and nothing is armed; MRN_UFFD_IN_PART; or -EAGAIN while an invalidation of the range is in
 * progress. found->files: whether the caller wants to know of files.
 */
int mrn_uffd_arm(struct mrn_uffd *u, uintptr_t start, uintptr_t end, struct mrn_uffd_found *found);
/* True if [start, end), which has a notifier, is armed for good: no need to arm it, and it has no file. */
static inline bool mrn_uffd_is_sure(const struct mrn_uffd *u, uintptr_t start, uintptr_t end)
{
	return mrn_marks_all(&u->armed, start, end, MRN_MARK_SURE);
}
/* Call before `leaving` is removed: disarms what must not stay armed without a notifier. */
void mrn_uffd_disarm(struct mrn_uffd *u, const struct mmu_range_notifier *leaving);
/* Event path: stops events for [start, end), which a token in progress covers, and forgets what is known of it. */
void mrn_uffd_disarm_changing(struct mrn_uffd *u, uintptr_t start, uintptr_t end);
/* The same, also for what the map does not know: a raw mremap that has grown an armed mapping. */
void mrn_uffd_disarm_whole(struct mrn_uffd *u, uintptr_t start, uintptr_t end);
/* Looks at so many of the ranges that stay armed, and disarms those without a notifier. Returns how many. */
#define MRN_UFFD_LOOKS 8
unsigned int mrn_uffd_give_back(struct mrn_uffd *u, unsigned int looks);

/* ---- numbers.c */

/* Opens all but maps. */
int mrn_uffd_open_numbers(struct mrn_uffd_numbers *number);
/* Opens maps, and marks it: there is a monitor. -1 where that does not work. */
int mrn_uffd_open_maps(const struct mrn_uffd *u);
/* Closes the descriptors in the program's table, if they are still ours. */
void mrn_uffd_close_numbers(struct mrn_uffd *u);
/* After a failed start, perhaps because the program closed these. */
void mrn_uffd_close_unmarked(struct mrn_uffd *u);
/* Checks the mark, which is the cheapest check. Not in a sandbox, which may forbid fcntl. */
bool mrn_uffd_has_mark(const struct mrn_uffd *u, int fd);
/* True if fd is u's own userfaultfd. Without the mark, asks by the call that arming makes anyway. */
bool mrn_uffd_is_our_number(const struct mrn_uffd *u, int fd);
/* True if fd is a page map of this process. */
bool mrn_uffd_is_our_page_map(const struct mrn_uffd *u, int fd);

/* ---- range.c: operations by descriptor, in the caller's table */

int mrn_uffd_register(int fd, uintptr_t start, uintptr_t end);
/*
 * Arms [start, end), and checks that all of it is armed. As mrn_uffd_arm; -EAGAIN also while an event is unread; -EBADF
 * if the page map's number is not a page map's. If found->plain, the caller looks at the tokens once more.
 */
int mrn_uffd_arm_by(const struct mrn_uffd_numbers *number, uintptr_t start, uintptr_t end,
		    struct mrn_uffd_found *found);
/* Call once, before mrn_uffd_disarm_by. */
void mrn_uffd_know_kernel(void);
/*
 * 0 or -errno: -EINVAL where nothing is mapped, where nothing can be armed, and where another userfaultfd is
 * registered, which keeps its range (-EBUSY before Linux 6.17).
 */
int mrn_uffd_disarm_by(int fd, uintptr_t start, uintptr_t end);
/* The same, piece by piece: whatever else is mapped in the range. 0, or -errno if the page map does not tell. */
int mrn_uffd_disarm_pieces(const struct mrn_uffd_numbers *number, uintptr_t start, uintptr_t end);
/* In one call, or else piece by piece. */
int mrn_uffd_disarm_any(const struct mrn_uffd_numbers *number, uintptr_t start, uintptr_t end);
/* Disarms all mappings of the process. */
void mrn_uffd_disarm_all_by(int fd);
/*
 * True if fd, in the caller's table, is u's own userfaultfd. Arms the armed bell again: this fails on another
 * userfaultfd, and changes nothing; other files do not know the call.
 */
bool mrn_uffd_is_ours(const struct mrn_uffd *u, int fd);

/* ---- keeper.c and monitor.c: the threads' bodies */

void *mrn_uffd_keeper(void *uffd);
/*
 * The keeper carries it out. Hold the lock. Returns what mrn_uffd_arm_by returns, or -ESRCH if there is no keeper any
 * more.
 */
int mrn_uffd_ask_keeper(struct mrn_uffd *u, enum mrn_uffd_request what, uintptr_t start,
			uintptr_t end);
/* Maps and arms a bell. For the keeper, or before it runs. */
void mrn_uffd_hang_bell(struct mrn_uffd *u, int fd);
void *mrn_uffd_monitor(void *uffd);

#endif
