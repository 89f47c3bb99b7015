/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Compares what must be in memory with what was found there.
 *
 * A value: page (10 bits), writer (6), generation (20), counter (28). There are few pages, so that no value looks like
 * the poison.
 *
 * Why a reader never complains wrongly. It reads the page's state, the last value that is known to be there, the word,
 * and the state again. If the state is stable and unchanged, no discard has begun in between; so the word must be of
 * this generation, and not less than that value, which was there before. A writer publishes its value as "there" only
 * if the page still has the generation that the writer read before writing, with its access in flight (the device) or
 * the page held (the CPU): a discard in between would have had to wait for that.
 */
#include <sched.h>

#include "lab/world.h"

#define HELD	   UINT64_C(0xff)
#define CLOSED	   (UINT64_C(1) << 8)
#define UNSTABLE   (UINT64_C(1) << 9)
#define GENERATION 16

#define COUNTER_BITS	28
#define GENERATION_BITS 20

static unsigned int nr_writers(struct lab *lab)
{
	unsigned int n = __atomic_load_n(&lab->nr_threads, __ATOMIC_RELAXED);

	return n < LAB_MAX_WRITERS ? n : LAB_MAX_WRITERS;
}

static uint64_t state_of(struct lab *lab, size_t page)
{
	return __atomic_load_n(&lab->page[page].state, __ATOMIC_ACQUIRE);
}

uint64_t lab_generation(struct lab *lab, size_t page)
{
	return state_of(lab, page) >> GENERATION;
}

/* ------------------------------------------------------------------------------------------- values */

static uint64_t prefix(size_t page, unsigned int writer, uint64_t state)
{
	uint64_t generation = (state >> GENERATION) & ((1u << GENERATION_BITS) - 1);

	return (uint64_t)page << 54 | (uint64_t)writer << 48 | generation << COUNTER_BITS;
}

static uint64_t prefix_of(uint64_t value)
{
	return value & ~((UINT64_C(1) << COUNTER_BITS) - 1);
}

static bool is_of(uint64_t value, size_t page, unsigned int writer)
{
	return value >> 48 == (page << 6 | writer);
}

/* ------------------------------------------------------------------------------------------- reading */

static void look(struct lab *lab, const void *memory, size_t page, unsigned int writer,
		 const char *who)
{
	uint64_t before = state_of(lab, page);
	uint64_t last = __atomic_load_n(&lab->page[page].last[writer], __ATOMIC_ACQUIRE);
	uint64_t found = __atomic_load_n(lab_word(memory, writer), __ATOMIC_ACQUIRE);
	uint64_t want;

	if (MRN_HMM_IS_POISON(found)) {
		lab_stale(lab, "%s read page %zu in frame %ju after the frame had left it", who,
			  page, (uintmax_t)(found & UINT32_MAX));
		return;
	}
	if ((before & UNSTABLE) ||
	    (state_of(lab, page) & ~(HELD | CLOSED)) != (before & ~(HELD | CLOSED)))
		return;
	want = prefix(page, writer, before);
	if (found && !is_of(found, page, writer))
		lab_stale(lab, "%s read %#jx in page %zu: that is page %ju's", who,
			  (uintmax_t)found, page, (uintmax_t)(found >> 54));
	else if (found && prefix_of(found) != want)
		lab_stale(lab, "%s read %#jx in page %zu, which was discarded since it was written",
			  who, (uintmax_t)found, page);
	else if (last && prefix_of(last) == want && found < last)
		lab_stale(lab, "%s read %#jx in page %zu, where %#jx had been written: lost", who,
			  (uintmax_t)found, page, (uintmax_t)last);
}

/* Notes the access, in case that it is the thread's last. */
static void note(struct lab_thread *t, const char *access, size_t page)
{
	__atomic_store_n(&t->access, access, __ATOMIC_RELAXED);
	__atomic_store_n(&t->page, page, __ATOMIC_RELAXED);
}

static void read_page(struct lab_thread *t, const void *memory, size_t page, const char *who)
{
	struct lab *lab = t->lab;
	unsigned int writers = nr_writers(lab);

	note(t, "read", page);
	/* Another writer's word, and, to find lost writes, the thread's own. */
	look(lab, memory, page, (unsigned int)lab_below(t, writers), who);
	if (t->writer < LAB_MAX_WRITERS)
		look(lab, memory, page, t->writer, who);
}

static void write_page(struct lab_thread *t, void *memory, size_t page)
{
	struct lab *lab = t->lab;
	uint64_t takes = lab_takes(lab, page), state = state_of(lab, page), value;

	if ((state & UNSTABLE) || t->writer >= LAB_MAX_WRITERS)
		return;
	note(t, "wrote", page);
	value = prefix(page, t->writer, state) | (++t->counter & ((1u << COUNTER_BITS) - 1));
	__atomic_store_n((uint64_t *)memory + t->writer * LAB_STRIDE, value, __ATOMIC_RELEASE);
	lab_mark_write(lab, memory, page);
	if (lab_generation(lab, page) == state >> GENERATION)
		__atomic_store_n(&lab->page[page].last[t->writer], value, __ATOMIC_RELEASE);
	lab_tell_write(lab, page, takes);
}

void lab_dma_read(struct lab_thread *t, const void *memory, size_t page)
{
	uint64_t rights = lab_rights(t->lab, page);

	read_page(t, memory, page, "the device");
	lab_check_right(t->lab, page, rights, false);
}

void lab_dma_write(struct lab_thread *t, void *memory, size_t page)
{
	uint64_t rights = lab_rights(t->lab, page);

	write_page(t, memory, page);
	lab_check_right(t->lab, page, rights, true);
}

void lab_dma(struct lab_thread *t, void *memory, size_t page, bool may_write)
{
	lab_dma_read(t, memory, page);
	if (may_write && lab_chance(t, 2))
		lab_dma_write(t, memory, page);
}

/* ------------------------------------------------------------------------------------------- the CPU */

bool lab_page_hold(struct lab *lab, size_t page)
{
	uint64_t s = state_of(lab, page);

	do {
		if (s & CLOSED)
			return false;
	} while (!__atomic_compare_exchange_n(&lab->page[page].state, &s, s + 1, true,
					      __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
	return true;
}

void lab_page_release(struct lab *lab, size_t page)
{
	__atomic_fetch_sub(&lab->page[page].state, 1, __ATOMIC_RELEASE);
}

void lab_cpu(void *arg, struct lab_thread *t)
{
	struct lab *lab = arg;

	while (!__atomic_load_n(&lab->stop, __ATOMIC_ACQUIRE)) {
		size_t page = lab_below(t, LAB_PAGES);
		void *memory = (void *)lab_addr(lab, page);

		if (!lab_page_hold(lab, page))
			continue;
		read_page(t, memory, page, "the CPU");
		if (lab_chance(t, 2))
			write_page(t, memory, page);
		lab_page_release(lab, page);
		lab_pause(t);
	}
}

void lab_check_all(struct lab *lab)
{
	unsigned int writers = nr_writers(lab);

	for (size_t page = 0; page < LAB_PAGES; page++)
		for (unsigned int w = 0; w < writers; w++)
			look(lab, (const void *)lab_addr(lab, page), page, w,
			     "at the end, the CPU");
}

/* ------------------------------------------------------------------------------------------- the storm */

void lab_pages_close(struct lab *lab, size_t first, size_t n, bool unstable)
{
	for (size_t page = first; page < first + n; page++) {
		uint64_t s = state_of(lab, page);

		/* Always in ascending order, so two threads cannot deadlock. */
		for (;;) {
			if (s & CLOSED) {
				sched_yield();
				s = state_of(lab, page);
			} else if (__atomic_compare_exchange_n(&lab->page[page].state, &s,
							       s | CLOSED |
								       (unstable ? UNSTABLE : 0),
							       true, __ATOMIC_ACQ_REL,
							       __ATOMIC_ACQUIRE)) {
				break;
			}
		}
		while (state_of(lab, page) & HELD)
			sched_yield();
	}
}

void lab_pages_open(struct lab *lab, size_t first, size_t n, bool lost)
{
	for (size_t page = first; page < first + n; page++) {
		uint64_t s = state_of(lab, page), next = s & ~(CLOSED | UNSTABLE);

		if (lost) {
			for (unsigned int w = 0; w < LAB_MAX_WRITERS; w++)
				__atomic_store_n(&lab->page[page].last[w], 0, __ATOMIC_RELAXED);
			next += UINT64_C(1) << GENERATION;
		}
		/* No CPU thread holds the page and no other thread closes it: the state is ours. */
		__atomic_store_n(&lab->page[page].state, next, __ATOMIC_RELEASE);
	}
}
