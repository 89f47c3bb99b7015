/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The userfaultfd source. Ranges are armed in write-protect mode and nothing is ever protected, so no
 * fault is delivered; what is wanted are the events, which the kernel sends for armed ranges only.
 *
 * The caller of munmap, mremap or madvise sleeps until its event has been *read*; there is no other
 * acknowledgement. UNMAP and REMAP come after the change. So a token over everything is published
 * when the descriptor polls readable; then events are read, then what they say is invalidated exactly,
 * then the token is withdrawn: whoever looks something up after the call returned finds the token, or
 * the callbacks' work done.
 *
 * Two threads share that work. The keeper polls, publishes and reads, in a descriptor table of its own
 * (os/fd.h): whatever the program does to its numbers, the userfaultfd is open and is read. The monitor
 * calls notifiers back and withdraws the token, in the program's table: a callback may use the
 * program's descriptors. What the keeper has read for the monitor is a batch. There are two, so that
 * nobody who unmaps something sleeps until a callback is over.
 *
 * To arm and to disarm takes a system call of whoever asks. It goes by a number in the program's table, as
 * long as that is still the userfaultfd's, and else through the keeper.
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

#include "os/uffd.h"
#include "source/uffd/use_once.h"

/* How many events a batch has room for. More of them mean everything. */
#define MRN_UFFD_BATCH 64

struct mrn_uffd_batch {
	struct mmu_notifier_range token; /* over all addresses */
	bool held;			 /* the token is published */
	bool everything;
	unsigned int n;
	struct uffd_msg msg[MRN_UFFD_BATCH];
};

/* The descriptors, by the numbers that they have in one of the two tables; -1: none. */
struct mrn_uffd_numbers {
	int fd;
	/* To look at armed ranges as a whole (Linux 6.7). Without it, page by page, and no file on disk can be armed. */
	int pagemap;
};

enum mrn_uffd_request { MRN_UFFD_ARM, MRN_UFFD_DISARM, MRN_UFFD_STOP };

struct mrn_uffd {
	struct mrn_mm *mm;
	/* The kernel does not let the keeper read any more, and nothing is armed. */
	void (*lost)(void);
	struct mrn_uffd_numbers kept; /* in the keeper's table; constant while it runs */
	/*
	 * A page of our own, armed: to unmap it is an event, which wakes the keeper; and only through our userfaultfd can it be
	 * armed once more. 0 when it could not be had, and then the keeper looks up every few milliseconds; and from when
	 * somebody rings until there is a new one. Atomic; hung is what the keeper knows of it.
	 */
	uintptr_t bell, hung;
	pthread_t keeper, monitor;
	long monitor_tid; /* the mark of what is kept, in both tables */
	/*
	 * Held, with signals blocked, to arm and to disarm; nothing is called inside but the kernel.
	 * A range is not disarmed under a notifier that was inserted before it was armed; and once a
	 * bracket's callback has disarmed what is about to change, it stays disarmed until the end:
	 * the application's mremap would fail on mappings that arming has split (EFAULT).
	 * Lives as long as the process. The keeper never takes it.
	 */
	struct mrn_mutex lock;
	struct mrn_uffd_numbers
		number; /* in the program's table; under lock; -1 once it is not ours */
	/*
	 * Atomic; written under lock. False: no notifier that is inserted has had a range armed. One that was
	 * removed without disarming may have left something.
	 */
	bool armed;
	struct mrn_use_once use_once;
	/* Of whoever holds the lock, to the keeper. */
	struct {
		uint32_t pending; /* atomic, a futex */
		enum mrn_uffd_request what;
		uintptr_t start, end;
		bool files;    /* see mrn_uffd_arm */
		bool rings;    /* there was a bell to wake it by */
		uint32_t rung; /* before */
		int result;
	} request;
	uint32_t rung; /* atomic, the keeper's: how often the bell has been unmapped */
	uint32_t
		running; /* atomic, a futex: 0 not yet; 1 the keeper reads; 2 it could not begin, or has ended */
	int error; /* why not */
	/* Between the two threads. */
	struct mrn_mutex batch_lock;
	struct mrn_uffd_batch batch[2];
	unsigned int filling; /* the one that the keeper adds to */
	bool reading;	      /* between the publication of its token and the end of the read */
	bool handling;	      /* the other one is the monitor's */
	bool over;	      /* no more will come */
	bool failed;	      /* because the keeper could not go on */
	uint32_t turns;	      /* atomic, a futex: goes up when there is something for the monitor */
	uint64_t monitor_thread; /* whose the tokens are: its callbacks must not wait for them */
};

/*
 * Opens, and starts the threads. -errno as mrn_uffd_open, of pthread_create, or as mrn_fd_table_own; *why is set to a
 * sentence where the number does not say enough. lost is called on the event path, from then on until mrn_uffd_stop, at
 * most once.
 */
int mrn_uffd_start(struct mrn_mm *mm, struct mrn_uffd *u, void (*lost)(void), const char **why);
/* Disarms everything, stops the threads, closes. */
void mrn_uffd_stop(struct mrn_uffd *u);
/* In a forked child: closes the descriptors, which act on the parent. */
void mrn_uffd_forget(struct mrn_uffd *u);

/* Good for one use, and armed but for a hole: mappings have been split. */
#define MRN_UFFD_IN_PART (MRN_USE_ONCE + 1)

/*
 * 0; MRN_USE_ONCE, and nothing is armed; MRN_UFFD_IN_PART; or -EAGAIN while an invalidation of the range is in progress. *files
 * becomes false when no page there can be a file's on disk.
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

/* ---- range.c: what is done by numbers, in the table of the caller */

int mrn_uffd_register(int fd, uintptr_t start, uintptr_t end);
/*
 * Arms [start, end), and looks whether all of it is. As mrn_uffd_arm, -EAGAIN when an event is unread; or -EBADF
 * when the page map's number is not a page map's. *files: see mrn_uffd_arm.
 */
int mrn_uffd_arm_by(const struct mrn_uffd_numbers *number, uintptr_t start, uintptr_t end,
		    bool *files);
/* To be called before the next one is, once. */
void mrn_uffd_know_kernel(void);
/*
 * 0 or -errno: -EINVAL where nothing is mapped, where nothing can be armed, and where another userfaultfd is, which keeps what it
 * has (-EBUSY before Linux 6.17).
 */
int mrn_uffd_disarm_by(int fd, uintptr_t start, uintptr_t end);
/* The same for all mappings of the process. */
void mrn_uffd_disarm_all_by(int fd);
/*
 * Is fd, in the table of the caller, u's own userfaultfd? Asked of the kernel by arming the bell once more, which is armed: by
 * another userfaultfd that fails, and changes nothing; all other files do not know the call.
 */
bool mrn_uffd_is_ours(const struct mrn_uffd *u, int fd);

/* ---- keeper.c and monitor.c: the threads' bodies */

void *mrn_uffd_keeper(void *uffd);
/* Has the keeper do it, with the lock held. What mrn_uffd_arm_by returns, or -ESRCH: there is no keeper any more. */
int mrn_uffd_ask_keeper(struct mrn_uffd *u, enum mrn_uffd_request what, uintptr_t start,
			uintptr_t end);
/* Maps and arms a bell. For the keeper, and before it runs. */
void mrn_uffd_hang_bell(struct mrn_uffd *u, int fd);
void *mrn_uffd_monitor(void *uffd);
/* Those in the program's table, if they are still ours. */
void mrn_uffd_close_numbers(struct mrn_uffd *u);

#endif
