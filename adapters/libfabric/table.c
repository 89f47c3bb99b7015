/* SPDX-License-Identifier: BSD-3-Clause */
#include "adapters/libfabric/table.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "adapters/libfabric/check.h"
#include "os/cancel.h"
#include "os/thread.h"

struct table mrn_fabric = {.lock = PTHREAD_MUTEX_INITIALIZER};

/*
 * How many births this thread had seen when it last left our code (F2); or earlier, as a yes from valid, after which nothing
 * is pinned, leaves it. Fewer are right: a watch that counts as younger than it is, is refused once.
 */
static MRN_TLS uint64_t births_seen;

/* Acquire pairs with a birth: what this thread pins from now on, it pins after that birth. */
static void leave(void)
{
	births_seen = __atomic_load_n(&mrn_fabric.births, __ATOMIC_ACQUIRE);
}

int mrn_fabric_table_init(unsigned int nr)
{
	struct table *t = &mrn_fabric;
	unsigned int bits = 4;
	size_t pool = nr * sizeof(struct watch), chains;
	char *at;

	while (1u << bits < nr)
		bits++;
	chains = sizeof(struct watch *) << bits;
	at = mmap(NULL, pool + chains, PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at == MAP_FAILED)
		return -ENOMEM;
	t->pool = (struct watch *)at;
	t->chains = (struct watch **)(at + pool);
	t->nr = nr;
	t->nr_free = nr;
	t->hash_shift = 64 - bits;
	return 0;
}

void mrn_fabric_table_undo(void)
{
	struct table *t = &mrn_fabric;

	munmap(t->pool,
	       t->nr * sizeof(struct watch) + (sizeof(struct watch *) << (64 - t->hash_shift)));
	t->pool = NULL;
}

/* ---------------------------------------------------------------------------------------- chains */

static struct watch **chain_of(uintptr_t addr, size_t length)
{
	/* Fibonacci hashing: the upper bits of the product are well mixed. */
	uint64_t mixed = (addr ^ (uint64_t)length << 32) * UINT64_C(0x9e3779b97f4a7c15);

	return &mrn_fabric.chains[mixed >> mrn_fabric.hash_shift];
}

/* With the lock, or with mm_lock. In line, as is_true_at_once: libfabric asks about each of its hits. */
static inline __attribute__((always_inline)) struct watch *find(uintptr_t addr, size_t length)
{
	/* Acquire pairs with add's release: a watch in a chain is complete. */
	struct watch *w = __atomic_load_n(chain_of(addr, length), __ATOMIC_ACQUIRE);

	while (w && (w->addr != addr || w->length != length))
		w = __atomic_load_n(&w->next, __ATOMIC_ACQUIRE);
	return w;
}

/* With the lock, of a range that is not there. A COLD watch, or NULL. */
static struct watch *add(uintptr_t addr, size_t length)
{
	struct table *t = &mrn_fabric;
	struct watch *w = t->free, **chain = chain_of(addr, length);

	/* An eighth of the table is kept free. */
	if (t->nr_free <= t->nr / 8)
		mrn_fabric_ring();
	if (w)
		t->free = w->next;
	else if (t->fresh < t->nr) {
		w = &t->pool[t->fresh];
		__atomic_store_n(&t->fresh, t->fresh + 1, __ATOMIC_RELEASE);
	} else {
		FABRIC_COUNT(full);
		return NULL;
	}
	w->addr = addr;
	w->length = length;
	__atomic_store_n(&w->used, (uint32_t)__atomic_load_n(&t->stats.found, __ATOMIC_RELAXED),
			 __ATOMIC_RELAXED);
	w->notifier.ops = &mrn_fabric_notifier_ops;
	/* A change of access rights leaves a pin's pages where they are. */
	w->notifier.events = 1u << MMU_NOTIFY_UNMAP | 1u << MMU_NOTIFY_CLEAR;
	if (mmu_range_notifier_insert(&w->notifier, addr, length, t->mm)) {
		w->next = t->free;
		t->free = w;
		return NULL;
	}
	__atomic_store_n(&t->nr_free, t->nr_free - 1, __ATOMIC_RELAXED);
	watch_set(w, WATCH_COLD);
	__atomic_store_n(&w->next, *chain, __ATOMIC_RELAXED);
	__atomic_store_n(chain, w, __ATOMIC_RELEASE);
	return w;
}

/* With the lock. w->next stays, for a look-up that is reading it. */
static void unlink_watch(struct watch *w)
{
	struct watch **p = chain_of(w->addr, w->length);

	while (*p != w)
		p = &(*p)->next;
	__atomic_store_n(p, w->next, __ATOMIC_RELEASE);
}

/* ----------------------------------------------------------------------------------- one watch */

/* Reads it without waiting: false while an invalidation of its range is in progress. */
static bool read_begin(struct watch *w, uint64_t *seq)
{
	static const struct timespec past = {.tv_nsec = 1};

	if (MRN_BROKEN(FABRIC_TOKENS)) {
		*seq = __atomic_load_n(&w->notifier.invalidate_seq, __ATOMIC_ACQUIRE);
		return true;
	}
	return !mrn_range_read_begin_until(&w->notifier, &past, seq);
}

bool mrn_fabric_has_changed(struct watch *w)
{
	return mmu_range_check_retry(&w->notifier, __atomic_load_n(&w->seq, __ATOMIC_RELAXED));
}

/* F3. Tokens first. */
static bool is_true(struct watch *w)
{
	uint64_t seq;

	return watch_state(w) == WATCH_LIVE && read_begin(w, &seq) &&
	       (MRN_BROKEN(FABRIC_MARK) || !mrn_fabric_has_changed(w));
}

/* True if no invalidation is in progress, of any range. */
static inline bool is_quiet(const struct watch *w)
{
	/* A4: both acquire, as in mmu_range_read_begin. */
	const uint64_t *state = __atomic_load_n(&w->notifier.mm_state, __ATOMIC_ACQUIRE);

	return __atomic_load_n(state, __ATOMIC_ACQUIRE) == MRN_MM_IDLE;
}

/* Only if it is true, and without a call, as nearly always. */
static inline __attribute__((always_inline)) bool is_true_at_once(struct watch *w)
{
	return watch_state(w) == WATCH_LIVE && is_quiet(w) && !mrn_fabric_has_changed(w);
}

/* With the lock: from COLD to LIVE, if its range can be watched, and nothing changes it now. */
static void watch(struct watch *w)
{
	struct table *t = &mrn_fabric;
	uint64_t seq;

	if (!read_begin(w, &seq) ||
	    (mrn_source_arm(t->source, w->addr, w->length, t->need) && !MRN_BROKEN(FABRIC_ARM))) {
		FABRIC_COUNT(use_once);
		return;
	}
	__atomic_store_n(&w->seq, seq, __ATOMIC_RELAXED);
	w->born = t->births + 1;
	watch_set(w, WATCH_LIVE);
	/* Release pairs with leave(): whoever has seen this birth pins what is watched. */
	__atomic_store_n(&t->births, w->born, __ATOMIC_RELEASE);
}

/* A watch ceases to be BUSY; with the lock. */
static void done(struct watch *w, uint32_t state)
{
	watch_set(w, state);
	__atomic_fetch_add(&mrn_fabric.done, 1, __ATOMIC_RELEASE);
	mrn_source_bypass(SYS_futex, (long)&mrn_fabric.done, FUTEX_WAKE_PRIVATE, INT_MAX, 0, 0, 0);
}

/* Called with the lock, waits without it. */
static void wait_until_done(void)
{
	uint32_t before = __atomic_load_n(&mrn_fabric.done, __ATOMIC_ACQUIRE);

	pthread_mutex_unlock(&mrn_fabric.lock);
	mrn_source_bypass(SYS_futex, (long)&mrn_fabric.done, FUTEX_WAIT_PRIVATE, before, 0, 0, 0);
	pthread_mutex_lock(&mrn_fabric.lock);
}

/* With the lock, which it drops meanwhile: w has changed, and some cache of libfabric's may have an entry of its range. */
static void purge(struct watch *w)
{
	watch_set(w, WATCH_BUSY);
	pthread_mutex_unlock(&mrn_fabric.lock);
	if (!MRN_BROKEN(FABRIC_PURGE))
		mrn_fabric.notify((void *)w->addr, w->length);
	pthread_mutex_lock(&mrn_fabric.lock);
	done(w, WATCH_COLD);
}

void mrn_fabric_drop(struct watch *w)
{
	/* The reaper's: the last one that it has dropped. */
	static struct watch *gone;
	struct table *t = &mrn_fabric;

	t->notify((void *)w->addr, w->length);
	pthread_mutex_lock(&t->lock);
	if (gone) {
		/* notify has had mm_lock since it left the table: no look-up reads it any more. */
		gone->next = t->free;
		t->free = gone;
		__atomic_store_n(&t->nr_free, t->nr_free + 1, __ATOMIC_RELAXED);
	}
	unlink_watch(w);
	done(w, WATCH_FREE);
	pthread_mutex_unlock(&t->lock);
	mrn_source_disarm(t->source, &w->notifier);
	mmu_range_notifier_remove(&w->notifier);
	gone = w;
	FABRIC_COUNT(dropped);
}

/* ------------------------------------------------------------------------------------- questions */

static inline bool say_yes(struct watch *w)
{
	uint64_t found = __atomic_load_n(&mrn_fabric.stats.found, __ATOMIC_RELAXED) + 1;

	__atomic_store_n(&mrn_fabric.stats.found, found, __ATOMIC_RELAXED);
	__atomic_store_n(&w->used, (uint32_t)found, __ATOMIC_RELAXED);
	return true;
}

/* Apart, so that an answer at once saves no registers. w may be NULL. */
static __attribute__((noinline)) bool valid_slowly(struct watch *w)
{
	if (w && is_true(w))
		return say_yes(w);
	FABRIC_COUNT_LOCKED(stale);
	leave();
	return false;
}

bool mrn_fabric_valid(uintptr_t addr, size_t length)
{
	struct watch *w = find(addr, length);

	return __builtin_expect(w && is_true_at_once(w), 1) ? say_yes(w) : valid_slowly(w);
}

/* In a forked child, a lock of ours may be held for ever. */
static bool is_child(void)
{
	return mrn_mm_self() != mrn_fabric.mm;
}

static bool is_off(void)
{
	return __atomic_load_n(&mrn_fabric.fork, __ATOMIC_RELAXED) != FORK_IS_SAFE;
}

bool mrn_fabric_accept(uintptr_t addr, size_t length)
{
	struct table *t = &mrn_fabric;
	struct watch *w;
	bool yes = false;

	if (!is_off() && !is_child()) {
		pthread_mutex_lock(&t->lock);
		w = find(addr, length);
		if (!w)
			w = add(addr, length);
		/* Its pin came before this: the watch is for the next one. */
		if (w && watch_state(w) == WATCH_COLD)
			watch(w);
		yes = w && is_true(w) && (w->born <= births_seen || MRN_BROKEN(FABRIC_BORN));
		if (w && watch_state(w) == WATCH_LIVE && mrn_fabric_has_changed(w))
			mrn_fabric_ring();
		pthread_mutex_unlock(&t->lock);
		leave();
	}
	if (yes)
		FABRIC_COUNT_LOCKED(kept);
	else
		FABRIC_COUNT_LOCKED(refused);
	return yes;
}

void mrn_fabric_begin(uintptr_t addr, size_t length)
{
	struct table *t = &mrn_fabric;
	int cancel, err = errno;
	struct watch *w;

	if (is_off() || is_child())
		return;
	cancel = mrn_cancel_hold();
	FABRIC_COUNT(begun);
	pthread_mutex_lock(&t->lock);
	while ((w = find(addr, length)) && watch_state(w) == WATCH_BUSY)
		wait_until_done();
	if (w && watch_state(w) == WATCH_LIVE && mrn_fabric_has_changed(w))
		purge(w);
	if (!w)
		w = add(addr, length);
	if (w && watch_state(w) == WATCH_COLD)
		watch(w);
	pthread_mutex_unlock(&t->lock);
	leave();
	mrn_cancel_restore(cancel);
	errno = err;
}
