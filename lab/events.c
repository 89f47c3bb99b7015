/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What each thread did last: a ring of events for each, and one for the threads that are not the lab's. Their numbers
 * are in the order of all threads. Any thread may read a ring while its owner writes, a signal handler too.
 */
#include "lab/world.h"

/* How many events are printed with a finding, of all threads together. */
#define TOLD 24

void lab_event(struct lab *lab, const char *what, size_t first, size_t n)
{
	struct lab_thread *t = lab_self(lab);
	struct lab_ring *ring = t ? &t->ring : &lab->others;
	uint64_t number = __atomic_add_fetch(&lab->nr_events, 1, __ATOMIC_RELAXED);
	uint64_t at = __atomic_fetch_add(&ring->next, 1, __ATOMIC_RELAXED);
	struct lab_event *e = &ring->event[at % LAB_EVENTS];

	__atomic_store_n(&e->number, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&e->what, what, __ATOMIC_RELAXED);
	__atomic_store_n(&e->first, (uint32_t)first, __ATOMIC_RELAXED);
	__atomic_store_n(&e->n, (uint32_t)n, __ATOMIC_RELAXED);
	__atomic_store_n(&e->number, number, __ATOMIC_RELEASE);
}

static void tell_pages(struct mrn_text *text, uint32_t first, uint32_t n)
{
	if (first != LAB_SOMEWHERE) {
		mrn_text_add(text, ", pages ");
		mrn_text_add_number(text, first, 10);
		mrn_text_add(text, " to ");
		mrn_text_add_number(text, first + n - 1, 10);
	} else {
		mrn_text_add(text, ", ");
		mrn_text_add_number(text, n, 10);
		mrn_text_add(text, " pages");
	}
}

void lab_tell_thread(struct mrn_text *text, const struct lab_thread *t)
{
	if (!t) {
		mrn_text_add(text, "a thread of the library");
		return;
	}
	mrn_text_add(text, "thread ");
	mrn_text_add_number(text, t->id, 10);
	mrn_text_add(text, " (");
	mrn_text_add(text, t->role);
	mrn_text_add(text, ")");
}

static void tell(struct mrn_text *text, const struct lab_thread *t, const struct lab_event *e,
		 uint64_t number)
{
	mrn_text_add(text, "\n    ");
	mrn_text_add_number(text, number, 10);
	mrn_text_add(text, " ");
	if (t) {
		lab_tell_thread(text, t);
		mrn_text_add(text, ": ");
	}
	mrn_text_add(text, __atomic_load_n(&e->what, __ATOMIC_RELAXED));
	tell_pages(text, __atomic_load_n(&e->first, __ATOMIC_RELAXED),
		   __atomic_load_n(&e->n, __ATOMIC_RELAXED));
}

/* NULL if the event is overwritten, or half written, by now. */
static const struct lab_event *find(const struct lab_ring *ring, uint64_t number)
{
	for (size_t i = 0; i < LAB_EVENTS; i++)
		if (__atomic_load_n(&ring->event[i].number, __ATOMIC_ACQUIRE) == number)
			return &ring->event[i];
	return NULL;
}

static void tell_number(const struct lab *lab, struct mrn_text *text, uint64_t number)
{
	const struct lab_event *e = find(&lab->others, number);
	const struct lab_thread *t = __atomic_load_n(&lab->threads, __ATOMIC_ACQUIRE);

	if (e) {
		tell(text, NULL, e, number);
		return;
	}
	for (; t; t = t->next)
		if ((e = find(&t->ring, number)))
			break;
	if (e)
		tell(text, t, e, number);
}

void lab_tell_last_events(const struct lab *lab, struct mrn_text *text)
{
	uint64_t last = __atomic_load_n(&lab->nr_events, __ATOMIC_ACQUIRE);
	uint64_t number = last > TOLD ? last - TOLD : 0;

	while (number++ < last)
		tell_number(lab, text, number);
}

void lab_tell_events_of(const struct lab_ring *ring, struct mrn_text *text)
{
	uint64_t next = __atomic_load_n(&ring->next, __ATOMIC_ACQUIRE);

	for (uint64_t at = next > LAB_EVENTS ? next - LAB_EVENTS : 0; at < next; at++) {
		const struct lab_event *e = &ring->event[at % LAB_EVENTS];
		uint64_t number = __atomic_load_n(&e->number, __ATOMIC_ACQUIRE);

		if (number)
			tell(text, NULL, e, number);
	}
}
