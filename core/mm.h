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

#include "index/index.h"
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
	/* The last notifier id that was drawn; starts at 1, so that no id is 0. */
	uint64_t counter __attribute__((aligned(64)));

	/* The range notifiers. Written under writing: call nothing and wait for nothing under it. */
	struct mrn_index index __attribute__((aligned(64)));
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

	/* hmm's managed address space behind this mm; NULL for any other mm. */
	void *managed;

	uint32_t refs;
	/* Futex: goes up when a notifier that is being removed has lost its last pin. */
	uint32_t drained;

	/* Held while asynchronously removed notifiers are freed: free functions run under it. */
	struct mrn_mutex drain_lock;
	bool ended; /* no later call will free anything */

	/* Tokens beyond the slots, in their callers' memory: looked at only under more_lock, held with
	 * signals blocked. more_ended goes up, and wakes, at each end. */
	struct mrn_mutex more_lock;
	mrn_sigmask more_mask; /* of the thread that holds it for a section */
	struct mmu_notifier_range *more;
	uint64_t more_seq; /* of the last one that began */
	uint32_t more_ended;

	struct mrn_token_slot slot[MRN_TOKEN_SLOTS];
};

/* True if this is a forked child, and mm is its parent's. */
static inline bool mrn_mm_is_wiped(const struct mrn_mm *mm)
{
	return !__atomic_load_n(&mm->ours, __ATOMIC_RELAXED);
}

void mrn_mm_get(struct mrn_mm *mm);
void mrn_mm_put(struct mrn_mm *mm);

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

/* ---- pin.c: a notifier's state, and keeping it while its callbacks run; both kinds have a field pins */

#define MRN_PIN_INSERTED (UINT64_C(1) << 31)
#define MRN_PIN_REMOVING (UINT64_C(1) << 30) /* walks skip it */
#define MRN_PIN_CLAIMED \
	(UINT64_C(1) << 29) /* its fields are being filled, or cleared in a forked child */
#define MRN_PIN_COUNT (MRN_PIN_CLAIMED - 1)

/* Before an insertion: 0 for one caller, -EBUSY for every other until the notifier is free again. */
int mrn_pin_claim(uint64_t *pins);
/* From claimed to inserted; a release: its fields are set before. */
void mrn_pin_insert(uint64_t *pins);
/* From claimed or removing to free; a release. */
void mrn_pin_retire(uint64_t *pins);
/* 0 if it is inserted and no removal has begun; -ENOENT; -ESTALE for a copy of the parent's. */
int mrn_pin_look(const uint64_t *pins);
/*
 * 0 for the one caller that begins the removal; -ESTALE for the one that has to retire a copy of the parent's; -ENOENT
 * for every other.
 */
int mrn_pin_begin_removal(uint64_t *pins);
/* Takes a pin unless the notifier is being removed. */
bool mrn_pin(uint64_t *pins);
void mrn_unpin(struct mrn_mm *mm, uint64_t *pins);
bool mrn_pin_is_idle(const uint64_t *pins);
/* Waits until the notifier, already unlinked, has no pins. */
void mrn_pin_wait_idle(struct mrn_mm *mm, const uint64_t *pins);

/* ---- deferred.c */

/* Queues d: finish(d) is called once, when the notifier with these pins has none left. Lock-free, callable anywhere. */
void mrn_deferred_push(struct mrn_mm *mm, struct mrn_deferred *d, uint64_t *pins,
		       void (*finish)(struct mrn_deferred *d));
/* Tells the reaper that a queued item may be ready. Callable anywhere. */
void mrn_deferred_kick(void);
/* Runs d if it is still queued. */
void mrn_deferred_run_one(struct mrn_deferred *d);
/* Runs everything that was queued for mm before the call, or waits until other threads have. */
void mrn_deferred_drain(struct mrn_mm *mm);
/* For the reaper: runs what is ready of one mm. False if there is nothing. */
bool mrn_deferred_reap(void);
/* True if this thread is inside a free function. */
bool mrn_deferred_running(void);

/* ---- reaper.c */

/* Starts the reaper if there is none, if possible. Call where allocating and creating threads is allowed. */
void mrn_reaper_start(void);
/* The same, if an item is queued. */
void mrn_reaper_help(void);

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

/* ---- callbacks */

/* How many callbacks this thread is in. */
extern MRN_TLS unsigned int mrn_callback_depth;

#endif
