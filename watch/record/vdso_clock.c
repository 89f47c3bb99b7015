/* SPDX-License-Identifier: BSD-3-Clause */
#include "watch/record/vdso_clock.h"

#include <stdbool.h>
#include <sys/auxv.h>
#include <time.h>

#include "os/pages.h"
#include "os/syscall.h"
#include "watch/shared/log.h"

#include "os/event_path.h"

/* Pages of the vDSO's code, and of its data below: no fewer than any kernel has. */
#define CODE 2
#define DATA 8

static uintptr_t vdso; /* 0: no vDSO */
static bool has_gone;  /* atomic; never reset */

uint64_t watch_now_ns(void)
{
	struct timespec t = {0, 0};

	if (__atomic_load_n(&has_gone, __ATOMIC_ACQUIRE))
		mrn_sys2(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&t);
	else
		clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

void watch_clock_start(void)
{
	vdso = getauxval(AT_SYSINFO_EHDR);
}

void watch_clock_look(const struct mmu_notifier_range *range)
{
	const uintptr_t start = vdso - DATA * mrn_page_size(), end = vdso + CODE * mrn_page_size();

	/* A range over everything, from fork or exec, leaves the vDSO: a new program has another one. */
	if (range->end - range->start >= WATCH_EVERYTHING)
		return;
	/* Pairs with the load in watch_now_ns, after this thread's change. */
	if (range->end - 1 >= start && range->start < end && vdso)
		__atomic_store_n(&has_gone, true, __ATOMIC_RELEASE);
}
