/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An mm: the state of one address space. It lives in pages that the kernel zeroes in a forked child, so that every word
 * of it says "not yours" there.
 *
 * state:  bit 0		ALIVE; clear in a forked child, and once the mm has ended
 *	   bits 1 .. 62		slot (bit - 1) holds an invalidation in progress that has met a notifier
 *	   bit 63		the overflow list may hold some invalidations
 * So state == MRN_MM_IDLE (1) is all that an undisturbed reader needs to see. An invalidation that meets no notifier
 * never writes here: two threads that unmap unwatched memory share no line.
 */
#ifndef MRN_CORE_MM_H
#define MRN_CORE_MM_H

#include <mrn/mmu_notifier.h>

#include "core/lock_order.h"
#include "index/index.h"
#include "lifetime/home.h"
#include "os/rwlock.h"
#include "os/mutex.h"

#define MRN_NR_EVENTS	  (MMU_NOTIFY_EXCLUSIVE + 1)
#define MRN_TOKEN_SLOTS	  62
#define MRN_STATE_ALIVE	  UINT64_C(1)
#define MRN_STATE_SLOT(i) (UINT64_C(2) << (i))
#define MRN_STATE_MORE	  (UINT64_C(1) << 63)

/*
 * A slot: what one thread needs to read the index, and to have one invalidation in progress (a token). Slots belong to
 * the mm, not to the caller, so that other threads may read one at any time; only the caller touches its range (P5).
 */
struct mrn_token_slot {
	uint64_t thread; /* the token's owner; os/thread.h */
	uintptr_t start, end;
	uint64_t seq;  /* the last token's */
	uint32_t word; /* generation << 4 | ENDING | TAKEN | WAITERS | ACTIVE: a seqlock, a futex */
	uint32_t walk; /* goes up at the beginning and at the end of each section: odd inside */
} __attribute__((aligned(64)));

/* The open sections that may still read what has been taken out of the index. */
struct mrn_grace {
	uint64_t slots; /* a bit for each slot that is still to be waited for */
	bool more;
	uint32_t walk[MRN_TOKEN_SLOTS];
};

struct mrn_mm {
	uint64_t state;
	/* Rarely written, and read by all threads. */
	uint64_t used __attribute__((
		aligned(64))); /* slots that have ever been claimed, a bit for each */
	bool ours;	       /* false in a forked child */
	/* The range notifiers. Written under writing: call nothing and wait for nothing under it. */
	struct mrn_index index __attribute__((aligned(64)));
	/* The last notifier id that was drawn; starts at 1, so that no id is 0. Mostly under writing. */
	uint64_t counter __attribute__((aligned(64)));
	struct mrn_mutex writing;
	/* Under writing: the first seq of the notifier that was inserted last. */
	uint64_t insert_seq;
	/* Under writing: memory of the index that may be reused after grace. */
	bool has_old;
	struct mrn_index_retired old;
	struct mrn_grace grace;

	/* Guards list. Taken alone: call nothing and wait for nothing under it. */
	struct mrn_rwlock lock __attribute__((aligned(64)));
	struct mmu_notifier *list; /* in the order of their born */
	bool ending;		   /* set under both locks */

	/*
	 * What a layer of the library that makes an mm and announces its changes has behind it. The protocol does not
	 * look at it. NULL for the process's own mm, and for one that a program has made.
	 */
	void *announcer;
	/* What watches this mm's memory for notifiers that ask for it. NULL until one does. */
	const struct mrn_watcher *watcher;

	struct mrn_home home; /* what keeps the mm, and the lifetimes of its notifiers */

	/* Tokens beyond the slots, in their callers' memory: looked at only under more_lock, held with
	 * signals blocked. more_ended goes up, and wakes, at each end. */
	struct mrn_mutex more_lock;
	mrn_sigmask more_mask; /* of the thread that holds it for a section */
	struct mmu_notifier_range *more;
	uint64_t more_seq; /* of the last one that began */
	uint32_t more_ended;

	struct mrn_token_slot slot[MRN_TOKEN_SLOTS];

	struct mrn_lock_order order;
};

/*
 * What a layer above does for notifiers of an mm whose changes are announced only for ranges that somebody watches. Such
 * a notifier's mm_state is mrn_state_unread, or another word of the watcher's that is never idle, until its range is watched.
 */
struct mrn_watcher {
	/*
	 * The slow part of a read. 0, MRN_USE_ONCE, or -errno if there is no valid seq; *seq is what the caller has read,
	 * and is replaced if it is not the notifier's any more.
	 */
	int (*settle)(struct mmu_range_notifier *mrn, struct mrn_mm *mm,
		      const struct timespec *deadline, uint64_t *seq);
	/* mrn has not refused, and its last pass is over; the invalidation goes on. Event path. */
	void (*changes)(struct mmu_range_notifier *mrn, struct mrn_mm *mm);
	/* No pass of any notifier is left. Those that have changes were called for lie in [start, end). Event path. */
	void (*changed)(struct mrn_mm *mm, const struct mmu_notifier_range *range, uintptr_t start,
			uintptr_t end);
	/* mrn is about to be taken out of the index. */
	void (*leaves)(struct mmu_range_notifier *mrn, struct mrn_mm *mm);
};

/* ---- mmu_notifier.c, for a watcher */

/* What mm_state points to while a notifier is not inserted, and from its insertion until it has been read: never idle. */
extern const uint64_t mrn_state_absent, mrn_state_unread;
/* mmu_range_notifier_insert of a notifier that mm's watcher watches for the causes in need; 0: that none watches. */
int mrn_insert_watched(struct mmu_range_notifier *mrn, uintptr_t start, uintptr_t length,
		       struct mrn_mm *mm, uint64_t need);

/*
 * mmu_range_notifier_remove, and mmu_range_notifier_insert at another range of the same mm, at a lower price. For a
 * notifier that no watcher watches. If it fails, the notifier has been removed.
 */
int mrn_range_notifier_move(struct mmu_range_notifier *mrn, uintptr_t start, uintptr_t length);

static inline const struct mrn_watcher *mrn_watcher_of(const struct mrn_mm *mm)
{
	return __atomic_load_n(&mm->watcher, __ATOMIC_ACQUIRE);
}

static inline bool mrn_has_watcher(const struct mmu_range_notifier *mrn)
{
	return __atomic_load_n(&mrn->watched, __ATOMIC_RELAXED);
}

/* True if this is a forked child, and mm is its parent's. */
static inline bool mrn_mm_is_wiped(const struct mrn_mm *mm)
{
	return !__atomic_load_n(&mm->ours, __ATOMIC_RELAXED);
}

static inline void mrn_mm_get(struct mrn_mm *mm)
{
	mrn_home_get(&mm->home);
}

static inline void mrn_mm_put(struct mrn_mm *mm)
{
	mrn_home_put(&mm->home);
}

/* Draws a number that no notifier of this mm has. */
static inline uint64_t mrn_mm_draw(struct mrn_mm *mm)
{
	return __atomic_add_fetch(&mm->counter, 1, __ATOMIC_ACQ_REL);
}

/* ---- section.c: memory that readers of the index may still use; slot.h has their side */

/* Snapshots the open sections. Unlink first. A full fence. */
void mrn_grace_begin(struct mrn_mm *mm, struct mrn_grace *g);
/* True if all of them have ended. */
bool mrn_grace_has_passed(struct mrn_mm *mm, struct mrn_grace *g);
/* Waits until they have: briefly, since sections are short. */
void mrn_grace_wait(struct mrn_mm *mm, struct mrn_grace *g);

/* ---- token.c: the invalidations in progress; slot.h has how they begin and end */

/* True if an overlapping invalidation is in progress. Takes no lock while the slots suffice. */
bool mrn_tokens_overlap(struct mrn_mm *mm, uintptr_t start, uintptr_t end);

/*
 * Waits for each overlapping token that was published before the call (P1). 0, -ETIMEDOUT, or
 * -EDEADLK for one that this thread published.
 */
int mrn_tokens_wait(struct mrn_mm *mm, uintptr_t start, uintptr_t end,
		    const struct timespec *deadline);

/* ---- notifier_list.c */

/*
 * A guess, without the lock. False may be wrong for a notifier that is just being linked: it waits for our token, and
 * gets neither its start nor its end.
 */
static inline bool mrn_list_is_used(const struct mrn_mm *mm)
{
	return __atomic_load_n(&mm->list, __ATOMIC_RELAXED);
}
/* Calls notifiers no younger than limit, and stores in *range which ones end has to call. */
int mrn_list_start(struct mrn_mm *mm, struct mmu_notifier_range *range, uint64_t limit);
void mrn_list_end(struct mrn_mm *mm, struct mmu_notifier_range *range);
void mrn_list_release(struct mrn_mm *mm);

#endif
