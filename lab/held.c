/* SPDX-License-Identifier: BSD-3-Clause */
#include "lab/held.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "core/mm.h"
#include "lab/world.h"

#define ALLOCS_PER_FAILURE 64 /* one in this many finds no memory */

static int64_t held[LAB_KINDS];

static const char *const names[LAB_KINDS] = {
	[LAB_NOTIFIERS] = "notifiers inserted, or queued to be freed",
	[LAB_MM_USERS] = "users of the mm",
	[LAB_THREADS] = "threads not joined",
	[LAB_ENGINES] = "engines not destroyed",
	[LAB_DEVICES] = "devices with memory not removed",
	[LAB_PAGE_TABLES] = "page tables not destroyed",
	[LAB_FENCES] = "fences with references",
	[LAB_ALLOCATIONS] = "allocations not freed",
};

void lab_hold(enum lab_kind kind)
{
	__atomic_fetch_add(&held[kind], 1, __ATOMIC_RELAXED);
}

void lab_let_go(enum lab_kind kind)
{
	__atomic_fetch_sub(&held[kind], 1, __ATOMIC_RELAXED);
}

void *lab_alloc(size_t size)
{
	struct lab *lab = lab_running();
	void *memory;

	lab_might_sleep("allocates");
	if (lab)
		mrn_might_invalidate(lab_mm(lab), "lab_alloc");
	if (lab && __atomic_load_n(&lab->short_of_memory, __ATOMIC_RELAXED) &&
	    lab_chance_here(ALLOCS_PER_FAILURE))
		return NULL;
	memory = calloc(1, size);
	if (memory)
		lab_hold(LAB_ALLOCATIONS);
	return memory;
}

void lab_free(void *memory)
{
	if (!memory)
		return;
	lab_let_go(LAB_ALLOCATIONS);
	/* Whoever uses it still is to fall over it. */
	memset(memory, 0xdb, malloc_usable_size(memory));
	free(memory);
}

/* ------------------------------------------------------------------------------------------- the census */

void lab_census_take(struct lab *lab, struct lab_census *census)
{
	for (unsigned int kind = 0; kind < LAB_KINDS; kind++)
		census->count[kind] = __atomic_load_n(&held[kind], __ATOMIC_RELAXED);
	/* Each notifier, of either sort, keeps the mm until it has been removed and freed. */
	census->count[LAB_NOTIFIERS] = __atomic_load_n(&lab_mm(lab)->home.refs, __ATOMIC_RELAXED);
}

static int64_t left(struct lab *lab, const struct lab_census *before, enum lab_kind kind)
{
	struct lab_census now;

	lab_census_take(lab, &now);
	return now.count[kind] - before->count[kind];
}

void lab_census_compare(struct lab *lab, const struct lab_census *before)
{
	for (enum lab_kind kind = 0; kind < LAB_KINDS; kind++) {
		int64_t n = left(lab, before, kind);

		/* Below 0, something was given back twice. */
		if (n)
			lab_leak(lab, "after close: %jd %s", (intmax_t)n, names[kind]);
	}
}

bool lab_census_is_alive(struct lab *lab, const struct lab_census *before)
{
	return left(lab, before, LAB_NOTIFIERS) || left(lab, before, LAB_THREADS) ||
	       left(lab, before, LAB_ENGINES) || left(lab, before, LAB_DEVICES);
}

void lab_check_frames(struct lab *lab)
{
	struct mrn_hmm_stats stats;

	mrn_hmm_discard(lab->hmm, (void *)lab->base, lab_bytes(LAB_PAGES));
	mrn_hmm_get_stats(lab->hmm, &stats, sizeof(stats));
	if (stats.frames_used)
		lab_leak(lab, "after close: %ju frames pinned", (uintmax_t)stats.frames_used);
}
