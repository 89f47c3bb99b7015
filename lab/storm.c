/* SPDX-License-Identifier: BSD-3-Clause */
/* The storm: everything that can happen to memory, at random, from several threads. */
#include <sys/mman.h>

#include "lab/world.h"

#define RW (PROT_READ | PROT_WRITE)

/* A range of pages, and the changes that strike it. A function that LOSES contents returns whether they are gone. */
struct stroke {
	struct lab *lab;
	struct lab_thread *t;
	size_t first, n;
	void *addr;
	size_t length;
};

/* A change by one function of the library, which returns 0 if it has lost contents. */
#define ONE_CALL(name)                                                   \
	static bool name(const struct stroke *s)                         \
	{                                                                \
		return !mrn_hmm_##name(s->lab->hmm, s->addr, s->length); \
	}

/* ------------------------------------------------------------------------- changes that keep contents */

ONE_CALL(compact)
ONE_CALL(reclaim)
ONE_CALL(writeback)

static bool migrate(const struct stroke *s)
{
	mrn_hmm_migrate_to_device(s->lab->hmm, &s->lab->other.dev, s->addr, s->length, NULL);
	if (lab_chance(s->t, 2))
		mrn_hmm_migrate_to_ram(s->lab->hmm, s->addr, s->length);
	return false;
}

static bool exclusive(const struct stroke *s)
{
	lab_lend(s->t, s->first, s->n);
	return false;
}

static bool drop_clean(const struct stroke *s)
{
	lab_drop_clean(s->t, s->first, s->n);
	return false;
}

static bool take_soft_dirty(const struct stroke *s)
{
	lab_take_soft_dirty(s->lab, s->first, s->n);
	return false;
}

/* Announces without a change, as the kernel does when mprotect sets the same protection. */
static bool announce(const struct stroke *s)
{
	static const enum mmu_notifier_event events[] = {
		MMU_NOTIFY_CLEAR,
		MMU_NOTIFY_PROTECTION_PAGE,
		MMU_NOTIFY_SOFT_DIRTY,
		MMU_NOTIFY_UNMAP,
	};
	struct mmu_notifier_range range;
	uintptr_t start = (uintptr_t)s->addr;
	bool nonblock = lab_chance(s->t, 3);
	int err;

	mmu_notifier_range_init(&range, events[lab_below(s->t, 4)], 0, lab_mm(s->lab), start,
				start + s->length);
	lab_forbid_sleep(nonblock ? s->lab : NULL);
	err = nonblock ? mmu_notifier_invalidate_range_start_nonblock(&range)
		       : mmu_notifier_invalidate_range_start(&range);
	lab_forbid_sleep(NULL);
	if (err)
		return false;
	lab_pause(s->t);
	mmu_notifier_invalidate_range_end(&range);
	return false;
}

/* -------------------------------------------------------------- changes that the CPU must keep away from */

static bool protect(const struct stroke *s)
{
	int prot = lab_chance(s->t, 2) ? PROT_NONE : PROT_READ;

	if (!mrn_hmm_protect(s->lab->hmm, s->addr, s->length, prot))
		lab_rights_set(s->lab, s->first, s->n, prot);
	/* Lets the device try. */
	lab_linger(s->t);
	lab_rights_set(s->lab, s->first, s->n, RW);
	mrn_hmm_protect(s->lab->hmm, s->addr, s->length, RW);
	return false;
}

/* Moves the pages to a region of their own, and back: meanwhile there is nothing at the old addresses. */
static bool move_away(const struct stroke *s)
{
	struct mrn_hmm *hmm = s->lab->hmm;
	void *to;

	if (mrn_hmm_alloc(hmm, s->length, RW, 0, &to))
		return false;
	if (!mrn_hmm_move(hmm, s->addr, to, s->length)) {
		lab_rights_set(s->lab, s->first, s->n, PROT_NONE);
		lab_linger(s->t);
		lab_rights_set(s->lab, s->first, s->n, RW);
		LAB_ASSERT(s->lab, !mrn_hmm_move(hmm, to, s->addr, s->length), "pages %zu to %zu",
			   s->first, s->first + s->n - 1);
	}
	mrn_hmm_free(hmm, to);
	return false;
}

/*
 * Announces, and looks between start and end whether a device has kept what the event takes away. The kernel neither moves
 * nor write-protects what is pinned.
 */
static bool hold(const struct stroke *s)
{
	static const struct {
		enum mmu_notifier_event event;
		int left;
		void (*set)(struct lab *lab, size_t first, size_t n, int prot);
		bool owned;
	} events[] = {
		{MMU_NOTIFY_UNMAP, PROT_NONE, lab_rights_set, false},
		{MMU_NOTIFY_CLEAR, PROT_NONE, lab_rights_set, false},
		{MMU_NOTIFY_PROTECTION_PAGE, PROT_READ, lab_rights_set_unless_pinned, false},
		{MMU_NOTIFY_SOFT_DIRTY, PROT_READ, lab_rights_set, false},
		{MMU_NOTIFY_MIGRATE, PROT_NONE, lab_rights_set_unless_pinned, true},
		{MMU_NOTIFY_EXCLUSIVE, PROT_NONE, lab_rights_set, true},
	};
	size_t i = lab_below(s->t, sizeof(events) / sizeof(events[0]));
	struct mmu_notifier_range range;

	mmu_notifier_range_init(&range, events[i].event, 0, lab_mm(s->lab), (uintptr_t)s->addr,
				(uintptr_t)s->addr + s->length);
	range.owner = events[i].owned ? s->t : NULL;
	if (mmu_notifier_invalidate_range_start(&range))
		return false;
	events[i].set(s->lab, s->first, s->n, events[i].left);
	lab_linger(s->t);
	lab_rights_set(s->lab, s->first, s->n, RW);
	mmu_notifier_invalidate_range_end(&range);
	return false;
}

/* ------------------------------------------------------------------------- changes that lose contents */

ONE_CALL(discard)

/* No callback may block; a device's functions that free its pages may, so they must not call lab_might_sleep. */
static bool reap(const struct stroke *s)
{
	int err;

	lab_forbid_sleep(s->lab);
	err = mrn_hmm_reap(s->lab->hmm, s->addr, s->length);
	lab_forbid_sleep(NULL);
	return !err;
}

static bool unmap(const struct stroke *s)
{
	if (mrn_hmm_unmap(s->lab->hmm, s->addr, s->length))
		return false;
	lab_pause(s->t);
	mrn_hmm_map(s->lab->hmm, s->addr, s->length, RW);
	return true;
}

/*
 * Moves the lower half of the range over the upper. The moved contents are other pages': they are wiped. So is a page
 * in the middle, so that the contents of all are gone.
 */
static bool move(const struct stroke *s)
{
	size_t half = lab_bytes(s->n / 2);
	char *to = (char *)s->addr + s->length - half;

	if (!half)
		return false;
	if (mrn_hmm_move(s->lab->hmm, s->addr, to, half))
		return false;
	mrn_hmm_map(s->lab->hmm, s->addr, half, RW);
	if (s->n % 2)
		mrn_hmm_discard(s->lab->hmm, (char *)s->addr + half, lab_bytes(1));
	lab_pause(s->t);
	for (size_t i = 0; i < half / sizeof(uint64_t); i++)
		__atomic_store_n((uint64_t *)to + i, 0, __ATOMIC_RELAXED);
	return true;
}

/* ---------------------------------------------------------------------------------------------- thread */

enum care { KEEPS, CLOSES, LOSES };

static const struct {
	const char *name;
	bool (*run)(const struct stroke *s);
	enum care care;
	unsigned int weight;
} strokes[] = {
	{"announce", announce, KEEPS, 6},
	{"compact", compact, KEEPS, 4},
	{"reclaim", reclaim, KEEPS, 3},
	{"writeback", writeback, KEEPS, 2},
	{"take_soft_dirty", take_soft_dirty, KEEPS, 2},
	{"drop_clean", drop_clean, KEEPS, 3},
	{"migrate", migrate, KEEPS, 2},
	{"exclusive", exclusive, KEEPS, 2},
	{"protect", protect, CLOSES, 3},
	{"move_away", move_away, CLOSES, 2},
	{"hold", hold, CLOSES, 4},
	{"discard", discard, LOSES, 6},
	{"reap", reap, LOSES, 4},
	{"unmap", unmap, LOSES, 4},
	{"move", move, LOSES, 3},
};

#define NR_STROKES (sizeof(strokes) / sizeof(strokes[0]))

static size_t choose(struct lab_thread *t)
{
	size_t sum = 0, at, i = 0;

	for (size_t k = 0; k < NR_STROKES; k++)
		sum += strokes[k].weight;
	for (at = lab_below(t, sum); at >= strokes[i].weight; i++)
		at -= strokes[i].weight;
	return i;
}

void lab_storm(void *arg, struct lab_thread *t)
{
	struct lab *lab = arg;

	for (;;) {
		size_t i = choose(t), n = 1 + lab_below(t, lab_chance(t, 8) ? LAB_PAGES / 2 : 4);
		size_t first = lab_below(t, LAB_PAGES - n + 1);
		struct stroke s = {.lab = lab, .t = t, .first = first, .n = n};
		bool lost;

		while (sem_wait(&lab->strokes_due))
			;
		if (__atomic_load_n(&lab->stop, __ATOMIC_ACQUIRE))
			break;
		s.addr = (void *)lab_addr(lab, first);
		s.length = lab_bytes(n);
		lab_event(lab, strokes[i].name, first, n);
		if (strokes[i].care != KEEPS)
			lab_pages_close(lab, first, n, strokes[i].care == LOSES);
		lost = strokes[i].run(&s);
		if (strokes[i].care != KEEPS)
			lab_pages_open(lab, first, n, lost);
		sem_post(&lab->strokes_room);
		lab_pause(t);
	}
}
