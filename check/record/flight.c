/* SPDX-License-Identifier: BSD-3-Clause */
#include "check/record/flight.h"

#include <stdbool.h>

#include "check/record/change.h"
#include "check/record/depot.h"
#include "check/record/finding.h"
#include "check/record/kept.h"
#include "check/record/map.h"
#include "check/record/mark.h"
#include "check/record/pool.h"
#include "check/shared/check.h"
#include "os/container_of.h"
#include "os/pagemap.h"
#include "os/pages.h"

#include "os/event_path.h"

/*
 * state: 0, no one's; odd, from its beginning on; even, after its end. It moves on at each, so that whoever looks at one
 * notices that it has become another meanwhile.
 */
struct flight {
	struct check_pooled pooled;
	uint32_t state;
	uint32_t stack;
	uintptr_t start, end;
	const char *op;
	uint8_t of;
	bool placed; /* check_flight_open */
	bool reported;
};

static struct check_pool pool = CHECK_POOL(struct flight, pooled);
static uint32_t in_flight;
static bool (*looks[CHECK_FLIGHT_LOOKS])(void);
static unsigned int nr_looks;
static void (*places)(const struct mmu_notifier_range *range);

void check_flight_on_change(bool (*look)(void))
{
	if (nr_looks < CHECK_FLIGHT_LOOKS)
		looks[nr_looks++] = look;
}

void check_flight_places(void (*place)(const struct mmu_notifier_range *range))
{
	places = place;
}

static struct flight *at(uint32_t number)
{
	struct check_pooled *pooled = check_pool_at(&pool, number);

	return pooled ? container_of(pooled, struct flight, pooled) : NULL;
}

static bool is_live(uint32_t state)
{
	return state & 1;
}

static uint32_t begin(enum check_interface of, uintptr_t addr, size_t length, bool placed,
		      const char *op, uint32_t *stack)
{
	struct check_pooled *pooled;
	struct flight *f;

	CHECK_COUNT(flights);
	pooled = check_pool_get(&pool);
	if (!pooled) {
		CHECK_COUNT(given_up);
		return 0;
	}
	f = container_of(pooled, struct flight, pooled);
	__atomic_store_n(&f->start, addr, __ATOMIC_RELAXED);
	__atomic_store_n(&f->end, addr + length, __ATOMIC_RELAXED);
	__atomic_store_n(&f->op, op, __ATOMIC_RELAXED);
	__atomic_store_n(&f->of, (uint8_t)of, __ATOMIC_RELAXED);
	if (!*stack)
		*stack = check_depot_take();
	__atomic_store_n(&f->stack, *stack, __ATOMIC_RELAXED);
	__atomic_store_n(&f->placed, placed, __ATOMIC_RELAXED);
	__atomic_store_n(&f->reported, false, __ATOMIC_RELAXED);
	__atomic_fetch_add(&in_flight, 1, __ATOMIC_RELAXED);
	/* Release pairs with the acquire in look_at. */
	__atomic_fetch_add(&f->state, 1, __ATOMIC_RELEASE);
	return pooled->number;
}

uint32_t check_flight_begin(enum check_interface of, uintptr_t addr, size_t length, const char *op,
			    uint32_t *stack)
{
	return length && addr + length > addr ? begin(of, addr, length, false, op, stack) : 0;
}

uint32_t check_flight_open(enum check_interface of, const char *op, uint32_t *stack)
{
	return begin(of, 0, 0, true, op, stack);
}

void check_flight_place(uint32_t flight, uintptr_t addr, size_t length)
{
	struct flight *f = at(flight);

	if (!f || (f->start == addr && f->end == addr + length))
		return;
	/* Over and begun again: whoever looks meanwhile sees that it has become another. */
	__atomic_fetch_add(&f->state, 1, __ATOMIC_ACQ_REL);
	__atomic_store_n(&f->start, addr, __ATOMIC_RELAXED);
	__atomic_store_n(&f->end, addr + length, __ATOMIC_RELAXED);
	__atomic_store_n(&f->reported, false, __ATOMIC_RELAXED);
	__atomic_fetch_add(&f->state, 1, __ATOMIC_RELEASE);
}

void check_flight_end(uint32_t flight)
{
	struct flight *f = at(flight);

	if (!f || !is_live(__atomic_load_n(&f->state, __ATOMIC_RELAXED)))
		return;
	/* Acquire and release: what the next one stores comes after this, also for whoever looks. */
	__atomic_fetch_add(&f->state, 1, __ATOMIC_ACQ_REL);
	__atomic_fetch_sub(&in_flight, 1, __ATOMIC_RELAXED);
	check_pool_put(&pool, &f->pooled);
}

/*
 * True if the change leaves the pages of [start, end) where they are: it takes none of a file's, nor any that is not there.
 * *first: the first of them that it does not leave. A call that fails has left that one, or none: the kernel goes on upwards
 * until it fails.
 */
static bool is_spared(const struct mmu_notifier_range *range, uintptr_t start, uintptr_t end,
		      uintptr_t *first)
{
	struct check_map map;
	bool spared = true;
	uint64_t entry;

	*first = start;
	if (!check_change_spares_files(range))
		return false;
	check_map_begin(&map, start, end);
	for (uintptr_t p = start; p < end && spared; p += mrn_page_size()) {
		*first = p;
		spared = check_map_entry(&map, p, &entry) &&
			 (!check_kept_there(entry) || (entry & MRN_PAGEMAP_FILE));
	}
	check_map_end(&map);
	return spared;
}

/* True if it is in flight there; *state tells this flight from others in its place. */
static bool look_at(struct flight *f, const struct mmu_notifier_range *range,
		    struct check_finding *found, const char **op, uint32_t *of)
{
	const uint32_t state = *of = __atomic_load_n(&f->state, __ATOMIC_ACQUIRE);
	const uintptr_t start = __atomic_load_n(&f->start, __ATOMIC_RELAXED);
	const uintptr_t end = __atomic_load_n(&f->end, __ATOMIC_RELAXED);

	if ((!is_live(state) && !MRN_BROKEN(CHECK_ENDED)) || start >= range->end ||
	    end <= range->start)
		return false;
	if (__atomic_load_n(&f->placed, __ATOMIC_RELAXED) && !check_change_unmaps(range))
		return false;
	*found = (struct check_finding){
		.grade = CHECK_FLIGHT,
		.of = __atomic_load_n(&f->of, __ATOMIC_RELAXED),
		.cause = (uint8_t)range->cause,
		.used = __atomic_load_n(&f->stack, __ATOMIC_RELAXED),
		.used_start = start,
		.used_length = end - start,
		.changed_start = range->start,
		.changed_end = range->end,
	};
	*op = __atomic_load_n(&f->op, __ATOMIC_RELAXED);
	/* Orders the reads above before the next: if it is the same flight still, all are its own. */
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return __atomic_load_n(&f->state, __ATOMIC_RELAXED) == state;
}

/*
 * A call that has failed has unmapped some of it, or nothing; if it takes pages, it has taken the first of these, if that was
 * there, or none. (process_madvise may leave that one and take others. What was there of them nobody knows.) An mremap may
 * do either. So has one that was left; but other pages may be there by now.
 */
static bool has_taken(const struct check_mark *m, const struct mmu_notifier_range *range,
		      bool was_left)
{
	/* What is not pinned may have another number after a while. */
	const uint64_t was = was_left ? m->was & ~MRN_PAGEMAP_FRAME : m->was;
	struct check_kept kept;
	bool left;

	check_kept_begin(&kept, range, m->start, m->end);
	left = range->event != MMU_NOTIFY_UNMAP || kept.mapped;
	if (left && m->pinned)
		left = check_kept_is(&kept, m->start, was);
	check_kept_end(&kept);
	return !left;
}

static enum check_verdict verdict_of(const struct check_mark *m,
				     const struct mmu_notifier_range *range,
				     enum check_ending ending, bool is_over)
{
	const bool left = ending == CHECK_END_LEFT;

	/* Since then the memory may have been unmapped rightly. */
	if (left && is_over)
		return CHECK_UNSURE;
	if (ending == CHECK_END_MADE || has_taken(m, range, left))
		return CHECK_FOUND;
	return left ? CHECK_UNSURE : CHECK_NOT_FOUND;
}

/* Once for each flight. */
static void settle(const struct check_mark *m, const struct mmu_notifier_range *range,
		   enum check_ending ending)
{
	struct flight *f = at(m->number);
	const bool is_over = __atomic_load_n(&f->state, __ATOMIC_RELAXED) != m->state;
	enum check_verdict verdict = verdict_of(m, range, ending, is_over);

	/* If it is over by now, it is the only one that says so, or nearly: two changes of one flight may be open at a time. */
	if (verdict == CHECK_FOUND && !is_over &&
	    __atomic_exchange_n(&f->reported, true, __ATOMIC_RELAXED))
		verdict = CHECK_NOT_FOUND;
	check_finding_close(m->finding, verdict);
}

/* True if there is a page, as far as can be told. *entry: as it is in the page map; unchanged if that cannot be read. */
static bool is_there(uintptr_t addr, uint64_t *entry)
{
	struct check_map map;
	bool there;

	check_map_begin(&map, addr, addr + mrn_page_size());
	there = !check_map_entry(&map, addr, entry) || check_kept_there(*entry);
	check_map_end(&map);
	return there;
}

/* Adds what counts at the end of the change, if it is one. */
static void mark(struct flight *f, const struct mmu_notifier_range *range,
		 struct check_finding *found, const char *op, uint32_t state)
{
	const uintptr_t start = found->used_start, end = start + found->used_length;
	struct check_mark m = {
		.settle = settle,
		.number = f->pooled.number,
		.state = state,
		.pinned = true,
		.end = mrn_page_up(end < range->end ? end : range->end),
	};

	if (is_spared(range, mrn_page_down(start > range->start ? start : range->start), m.end,
		      &m.start) ||
	    __atomic_load_n(&f->reported, __ATOMIC_RELAXED))
		return;
	/* What is not spared of the others is there. */
	if (check_change_moves(range) ||
	    (range->event == MMU_NOTIFY_CLEAR && !check_change_spares_files(range)))
		m.pinned = is_there(m.start, &m.was);
	found->changed = check_depot_take();
	m.finding = check_finding_open(found, op);
	check_mark_add(&m, range);
}

void check_flight_changed(const struct mmu_notifier_range *range)
{
	struct check_finding found;
	const char *op;
	bool looked = false, is_known = true;
	uint32_t state;

	if (MRN_BROKEN(CHECK_FLIGHTS) || !__atomic_load_n(&in_flight, __ATOMIC_RELAXED) ||
	    !check_change_takes_pages(range))
		return;
	if (places && check_change_unmaps(range))
		places(range);
	for (uint32_t i = 1; i <= check_pool_highest(&pool); i++) {
		struct flight *f = at(i);

		if (!f || !look_at(f, range, &found, &op, &state))
			continue;
		for (unsigned int k = 0; k < nr_looks && !looked; k++)
			is_known &= looks[k]();
		looked = true;
		if (!is_known && !MRN_BROKEN(CHECK_DOUBT)) {
			CHECK_COUNT(given_up);
			return;
		}
		if (look_at(f, range, &found, &op, &state))
			mark(f, range, &found, op, state);
	}
}

void check_flight_restart(void)
{
	in_flight = 0;
	for (uint32_t i = 1; i <= check_pool_highest(&pool); i++)
		if (at(i))
			at(i)->state = 0;
	check_pool_restart(&pool);
}
