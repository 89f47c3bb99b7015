/* SPDX-License-Identifier: BSD-3-Clause */
/* Findings: reports the first one in words, with the events before it, and counts the others. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lab/world.h"

/* The thread of a callback is unknown. */
#define NO_THREAD UINT32_MAX

/* How many events are printed with a finding. */
#define TOLD 24

void lab_event(struct lab *lab, unsigned int thread, const char *what, size_t first, size_t n)
{
	uint64_t number = __atomic_add_fetch(&lab->nr_events, 1, __ATOMIC_RELAXED);
	struct lab_event *e = &lab->event[number % LAB_EVENTS];

	__atomic_store_n(&e->number, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&e->what, what, __ATOMIC_RELAXED);
	__atomic_store_n(&e->thread, thread, __ATOMIC_RELAXED);
	__atomic_store_n(&e->first, (uint32_t)first, __ATOMIC_RELAXED);
	__atomic_store_n(&e->n, (uint32_t)n, __ATOMIC_RELAXED);
	__atomic_store_n(&e->number, number, __ATOMIC_RELEASE);
}

static size_t tell_event(const struct lab_event *e, uint64_t number, char *text, size_t size)
{
	uint32_t first = __atomic_load_n(&e->first, __ATOMIC_RELAXED);
	uint32_t n = __atomic_load_n(&e->n, __ATOMIC_RELAXED);
	uint32_t thread = __atomic_load_n(&e->thread, __ATOMIC_RELAXED);
	const char *what = __atomic_load_n(&e->what, __ATOMIC_RELAXED);
	char who[32] = "";

	if (thread != NO_THREAD)
		snprintf(who, sizeof(who), "thread %u: ", thread);
	return (size_t)snprintf(text, size, "\n    %ju %s%s, pages %u to %u", (uintmax_t)number,
				who, what, first, first + n - 1);
}

static size_t tell_events(const struct lab *lab, char *text, size_t size)
{
	uint64_t last = __atomic_load_n(&lab->nr_events, __ATOMIC_ACQUIRE);
	uint64_t number = last > TOLD ? last - TOLD : 0;
	size_t used = 0;

	while (number++ < last && used < size) {
		const struct lab_event *e = &lab->event[number % LAB_EVENTS];

		/* The event is overwritten, or half written, by now. */
		if (__atomic_load_n(&e->number, __ATOMIC_ACQUIRE) != number)
			continue;
		used += tell_event(e, number, text + used, size - used);
	}
	return used < size ? used : size - 1;
}

__attribute__((format(printf, 3, 0))) static void report(struct lab *lab, const char *kind,
							 const char *format, va_list args)
{
	char *text = lab->result->finding;
	size_t size = sizeof(lab->result->finding), used;

	if (__atomic_exchange_n(&lab->reported, 1, __ATOMIC_RELAXED))
		return;
	used = (size_t)snprintf(text, size, "%s: %s: ", lab->driver->name, kind);
	used += (size_t)vsnprintf(text + used, size - used, format, args);
	used = used < size ? used : size - 1;
	used += (size_t)snprintf(text + used, size - used,
				 "\n  seed %ju; the last events:", (uintmax_t)lab->config->seed);
	used = used < size ? used : size - 1;
	tell_events(lab, text + used, size - used);
}

void lab_stale(struct lab *lab, const char *format, ...)
{
	va_list args;

	__atomic_fetch_add(&lab->stale, 1, __ATOMIC_RELAXED);
	va_start(args, format);
	report(lab, "stale", format, args);
	va_end(args);
}

void lab_leak(struct lab *lab, const char *format, ...)
{
	va_list args;

	__atomic_fetch_add(&lab->leaks, 1, __ATOMIC_RELAXED);
	va_start(args, format);
	report(lab, "leak", format, args);
	va_end(args);
}

uint64_t lab_findings(const struct lab *lab)
{
	return __atomic_load_n(&lab->stale, __ATOMIC_RELAXED) +
	       __atomic_load_n(&lab->asserts, __ATOMIC_RELAXED) +
	       __atomic_load_n(&lab->leaks, __ATOMIC_RELAXED);
}

void lab_finding(struct lab *lab, const char *file, int line, const char *cond, const char *format,
		 ...)
{
	char kind[256];
	const char *name = strrchr(file, '/');
	va_list args;

	__atomic_fetch_add(&lab->asserts, 1, __ATOMIC_RELAXED);
	snprintf(kind, sizeof(kind), "assertion: %s:%d: !(%s)", name ? name + 1 : file, line, cond);
	va_start(args, format);
	report(lab, kind, format, args);
	va_end(args);
}

void lab_violation(void *arg, uint64_t frame, size_t offset, uint64_t found)
{
	lab_stale(arg, "somebody wrote %#jx to offset %zu of frame %ju after it had left its page",
		  (uintmax_t)found, offset, (uintmax_t)frame);
}

void lab_count_invalidation(struct lab *lab, const struct mmu_notifier_range *range)
{
	size_t first = lab_page(lab, range->start);

	__atomic_fetch_add(&lab->invalidations, 1, __ATOMIC_RELAXED);
	lab_event(lab, NO_THREAD, "a callback", first, lab_page(lab, range->end) - first);
}

void lab_count_refusal(struct lab *lab)
{
	__atomic_fetch_add(&lab->refusals, 1, __ATOMIC_RELAXED);
}
