/* SPDX-License-Identifier: BSD-3-Clause */
#include "source/uffd/use_once.h"

#include "os/futex.h"
#include "os/kernel.h"
#include "source/confined.h"
#include "source/uffd/check.h"

#include "os/event_path.h"

/* Chances to look. */
#define LEAST_PAUSE 4
#define MOST_PAUSE  65536

/* ------------------------------------------------------------------------------------------- the set */

/* With the lock held, as all below. */
static void set_number(struct mrn_use_once *s, unsigned int n)
{
	__atomic_store_n(&s->n, n, __ATOMIC_RELAXED);
}

static void take_out(struct mrn_use_once *s, unsigned int i)
{
	set_number(s, s->n - 1);
	for (; i < s->n; i++)
		s->range[i] = s->range[i + 1];
}

static void note_end(struct mrn_use_once *s, unsigned int i)
{
	s->ended++;
	take_out(s, i);
}

static void drop_ended(struct mrn_use_once *s)
{
	for (unsigned int i = 0; i < s->n;)
		if (mrn_zappers_are_gone(&s->range[i].zappers))
			note_end(s, i);
		else
			i++;
}

static uintptr_t gap_after(const struct mrn_use_once_range *r)
{
	return r[1].start > r->end ? r[1].start - r->end : 0;
}

/* Joins the two neighbours with the smallest gap, gap included: their zappers become the zappers of all of it. */
static void join_nearest(struct mrn_use_once *s)
{
	struct mrn_use_once_range *best = s->range;

	for (unsigned int i = 1; i + 1 < s->n; i++)
		if (gap_after(&s->range[i]) < gap_after(best))
			best = &s->range[i];
	if (best->end < best[1].end)
		best->end = best[1].end;
	if (best->number < best[1].number)
		best->number = best[1].number;
	mrn_zappers_join(&best->zappers, &best[1].zappers);
	take_out(s, (unsigned int)(best + 1 - s->range));
}

/* A range that a heap shrinks and grows by comes again and again. True if it was there, or is in one that stays. */
static bool is_known(struct mrn_use_once *s, uintptr_t start, uintptr_t end,
		     const struct mrn_zappers *z)
{
	for (unsigned int i = 0; i < s->n && s->range[i].start <= start; i++) {
		struct mrn_use_once_range *r = &s->range[i];

		if (r->end >= end && r->zappers.anybody) {
			r->number = s->added;
			return true;
		}
		if (r->start == start && r->end == end) {
			/* Forgets those who have left. */
			mrn_zappers_are_gone(&r->zappers);
			mrn_zappers_join(&r->zappers, z);
			r->number = s->added;
			return true;
		}
	}
	return false;
}

static void insert(struct mrn_use_once *s, uintptr_t start, uintptr_t end,
		   const struct mrn_zappers *z)
{
	unsigned int i = s->n;

	set_number(s, i + 1);
	for (; i > 0 && s->range[i - 1].start > start; i--)
		s->range[i] = s->range[i - 1];
	s->range[i] = (struct mrn_use_once_range){start, end, s->added, *z};
}

void mrn_use_once_watch(struct mrn_use_once *s, bool is_watched)
{
	__atomic_store_n(&s->is_watched, is_watched, __ATOMIC_RELAXED);
}

void mrn_use_once_wake(struct mrn_use_once *s)
{
	/* Release pairs with the acquire of whoever looks at the set, and then sleeps: it has seen the addition, or wakes. */
	__atomic_fetch_add(&s->turns, 1, __ATOMIC_RELEASE);
	mrn_futex_wake(&s->turns, 1);
}

static void note_addition(struct mrn_use_once *s)
{
	if (__atomic_load_n(&s->is_watched, __ATOMIC_RELAXED) && !MRN_BROKEN(ONCE_WAKE))
		mrn_use_once_wake(s);
}

void mrn_use_once_add(struct mrn_use_once *s, uintptr_t start, uintptr_t end,
		      const struct mrn_zappers *trimming)
{
	struct mrn_zappers z = mrn_zappers_of(start, end, trimming);

	mrn_mutex_lock(&s->lock);
	s->added++;
	if (s->n == MRN_USE_ONCE_MAX)
		drop_ended(s);
	if (!is_known(s, start, end, &z)) {
		insert(s, start, end, &z);
		if (s->n > MRN_USE_ONCE_MAX)
			join_nearest(s);
	}
	mrn_mutex_unlock(&s->lock);
	note_addition(s);
}

void mrn_use_once_clear(struct mrn_use_once *s)
{
	bool can_look = mrn_kernel_is_at_least(5, 12);

	mrn_mutex_lock(&s->lock);
	set_number(s, 0);
	s->chances = 0;
	s->pause = LEAST_PAUSE;
	/* Before, a ring's threads are not seen. */
	s->can_look = can_look;
	mrn_mutex_unlock(&s->lock);
	note_addition(s);
}

/* ----------------------------------------------------------------------------- a look at all threads */

static uint64_t number_of_last(struct mrn_use_once *s)
{
	mrn_sigmask mask = mrn_mutex_lock_masked(&s->lock);
	uint64_t n;

	n = s->added;
	mrn_mutex_unlock_masked(&s->lock, mask);
	return n;
}

static void take_out_up_to(struct mrn_use_once *s, uint64_t number)
{
	mrn_sigmask mask = mrn_mutex_lock_masked(&s->lock);

	for (unsigned int i = 0; i < s->n;)
		if (s->range[i].number <= number)
			note_end(s, i);
		else
			i++;
	mrn_mutex_unlock_masked(&s->lock, mask);
}

/* Which REMOVEs have been read comes first: whoever zaps for one of them has begun before the look. */
static bool look(struct mrn_use_once *s, struct mrn_obstacle *obstacle)
{
	uint64_t number = number_of_last(s);

	__atomic_fetch_add(&s->looks, 1, __ATOMIC_RELAXED);
	if (!mrn_all_threads_are_elsewhere(obstacle))
		return false;
	take_out_up_to(s, number);
	return true;
}

static bool may_look(const struct mrn_use_once *s)
{
	return s->can_look && !mrn_is_confined();
}

bool mrn_use_once_look_now(struct mrn_use_once *s, struct mrn_obstacle *obstacle)
{
	*obstacle = (struct mrn_obstacle){.reason = MRN_ONCE_UNSEEN};
	return may_look(s) && !MRN_BROKEN(ONCE_LOOKS) && look(s, obstacle);
}

void mrn_use_once_look(struct mrn_use_once *s)
{
	uint32_t pause = __atomic_load_n(&s->pause, __ATOMIC_RELAXED);
	struct mrn_obstacle obstacle;

	if (!__atomic_load_n(&s->n, __ATOMIC_RELAXED) || !may_look(s) ||
	    __atomic_add_fetch(&s->chances, 1, __ATOMIC_RELAXED) < pause ||
	    __atomic_exchange_n(&s->looking, 1, __ATOMIC_ACQUIRE))
		return;
	if (look(s, &obstacle))
		pause = pause / 2 > LEAST_PAUSE ? pause / 2 : LEAST_PAUSE;
	else if (pause < MOST_PAUSE)
		pause *= 2;
	__atomic_store_n(&s->pause, pause, __ATOMIC_RELAXED);
	__atomic_store_n(&s->chances, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&s->looking, 0, __ATOMIC_RELEASE);
}

/* ---------------------------------------------------------------------------------------- what is in it */

static uint64_t reason_of(const struct mrn_use_once_range *r)
{
	return MRN_ONCE_BIT(r->zappers.anybody ? MRN_ONCE_ZAPPED : MRN_ONCE_MALLOC);
}

/* Copies the ranges, which may overlap. Returns how many. */
static unsigned int copy(struct mrn_use_once *s, struct mrn_use_once_piece into[MRN_USE_ONCE_MAX])
{
	mrn_sigmask mask = mrn_mutex_lock_masked(&s->lock);
	unsigned int n;

	drop_ended(s);
	n = s->n;
	for (unsigned int i = 0; i < n; i++)
		into[i] = (struct mrn_use_once_piece){s->range[i].start, s->range[i].end,
						      reason_of(&s->range[i])};
	mrn_mutex_unlock_masked(&s->lock, mask);
	return n;
}

unsigned int mrn_use_once_pieces(struct mrn_use_once *s,
				 struct mrn_use_once_piece piece[MRN_USE_ONCE_PIECES])
{
	struct mrn_use_once_piece range[MRN_USE_ONCE_MAX];
	unsigned int ranges = copy(s, range), n = 0;
	uintptr_t at = 0, next;

	/* From one bound to the next, of whichever range. */
	for (; at < UINTPTR_MAX; at = next) {
		uint64_t reasons = 0;

		next = UINTPTR_MAX;
		for (unsigned int i = 0; i < ranges; i++) {
			if (range[i].start <= at && at < range[i].end)
				reasons |= range[i].reasons;
			if (range[i].start > at && range[i].start < next)
				next = range[i].start;
			if (range[i].end > at && range[i].end < next)
				next = range[i].end;
		}
		if (reasons && n && piece[n - 1].end == at && piece[n - 1].reasons == reasons)
			piece[n - 1].end = next;
		else if (reasons)
			piece[n++] = (struct mrn_use_once_piece){at, next, reasons};
	}
	return n;
}

void mrn_use_once_count(struct mrn_use_once *s, struct mrn_source_stats *stats)
{
	struct mrn_use_once_piece piece[MRN_USE_ONCE_PIECES];
	unsigned int n = mrn_use_once_pieces(s, piece);
	mrn_sigmask mask;

	for (unsigned int i = 0; i < n; i++) {
		uint64_t bytes = piece[i].end - piece[i].start;

		stats->use_once_bytes += bytes;
		stats->use_once_ranges++;
		/* Not if a call by somebody else has discarded it, too. */
		if (piece[i].reasons != MRN_ONCE_BIT(MRN_ONCE_MALLOC))
			continue;
		stats->use_once_malloc += bytes;
		stats->use_once_malloc_ranges++;
	}
	mask = mrn_mutex_lock_masked(&s->lock);
	stats->use_once_ended = s->ended;
	mrn_mutex_unlock_masked(&s->lock, mask);
	stats->use_once_looks = __atomic_load_n(&s->looks, __ATOMIC_RELAXED);
}

uint64_t mrn_use_once_reasons(struct mrn_use_once *s, uintptr_t start, uintptr_t end)
{
	uint64_t reasons = 0;

	mrn_mutex_lock(&s->lock);
	for (unsigned int i = 0; i < s->n && s->range[i].start < end;) {
		struct mrn_use_once_range *r = &s->range[i];

		if (r->end > start && mrn_zappers_are_gone(&r->zappers)) {
			note_end(s, i);
			continue;
		}
		if (r->end > start)
			reasons |= reason_of(r);
		i++;
	}
	mrn_mutex_unlock(&s->lock);
	return reasons;
}
