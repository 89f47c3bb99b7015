/* SPDX-License-Identifier: BSD-3-Clause */
/* Findings: reports the first one in words, with the events before it, and counts the others. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "lab/world.h"

__attribute__((format(printf, 3, 0))) static void report(struct lab *lab, const char *kind,
							 const char *format, va_list args)
{
	char *finding = lab->result->finding;
	size_t size = sizeof(lab->result->finding), used;
	struct mrn_text text;

	if (__atomic_exchange_n(&lab->reported, 1, __ATOMIC_RELAXED))
		return;
	used = (size_t)snprintf(finding, size, "%s: %s: ", lab->driver->name, kind);
	used += (size_t)vsnprintf(finding + used, size - used, format, args);
	used = used < size ? used : size - 1;
	text = MRN_TEXT(finding + used, size - used);
	mrn_text_add(&text, "\n  seed ");
	mrn_text_add_number(&text, lab->config->seed, 10);
	mrn_text_add(&text, "; the last events:");
	lab_tell_last_events(lab, &text);
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

__attribute__((format(printf, 2, 3))) static void sleeps(struct lab *lab, const char *format, ...)
{
	va_list args;

	__atomic_fetch_add(&lab->asserts, 1, __ATOMIC_RELAXED);
	va_start(args, format);
	report(lab, "sleep", format, args);
	va_end(args);
}

void lab_sleeps(struct lab *lab, const char *how)
{
	sleeps(lab, "a callback that may not block %s", how);
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
	lab_event(lab, "a callback", first, lab_page(lab, range->end) - first);
}

void lab_count_refusal(struct lab *lab)
{
	__atomic_fetch_add(&lab->refusals, 1, __ATOMIC_RELAXED);
}
