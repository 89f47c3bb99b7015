/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The end of the mm. As in the kernel, it ends when its last user has gone: the process, which exits when the storm is
 * over; a driver that keeps the mm until it is closed; a thread that is just looking something up. Whoever is the last
 * ends it. Driver and device work on meanwhile, as for another process that has inherited the driver's file.
 */
#include <errno.h>
#include <sched.h>
#include <sys/mman.h>
#include <time.h>

#include "hmm/end.h"
#include "lab/world.h"
#include "os/clock.h"

/* How long threads gather in their pauses before the process exits, and at most stay there when it does. */
#define GATHER_NS 1000000
#define STAY_NS	  2000000

/*
 * From here on nobody may read or write. Start and release have waited for every access: so the rights go last, and a
 * device that is right never meets it.
 */
static void end_mm(struct lab *lab)
{
	int err;

	/* No driver may copy with the CPU either. */
	lab_pages_close(lab, 0, LAB_PAGES, false);
	lab_event(lab, "the mm ends", 0, LAB_PAGES);
	err = mrn_hmm_end_mm(lab->hmm);
	LAB_ASSERT(lab, !err, "the last user of the mm went where it cannot end: %d", err);
	if (!err)
		lab_rights_set(lab, 0, LAB_PAGES, PROT_NONE);
}

bool lab_mm_get(struct lab *lab)
{
	uint32_t users = __atomic_load_n(&lab->mm_users, __ATOMIC_RELAXED);

	do {
		if (!users)
			return false;
	} while (!__atomic_compare_exchange_n(&lab->mm_users, &users, users + 1, true,
					      __ATOMIC_ACQUIRE, __ATOMIC_RELAXED));
	lab_hold(LAB_MM_USERS);
	return true;
}

/* The process's reference is no driver's, and is not counted. */
static void put(struct lab *lab)
{
	if (!__atomic_sub_fetch(&lab->mm_users, 1, __ATOMIC_ACQ_REL))
		end_mm(lab);
}

void lab_mm_put(struct lab *lab)
{
	lab_let_go(LAB_MM_USERS);
	put(lab);
}

static void let_pause(struct lab *lab, uint64_t until)
{
	__atomic_store_n(&lab->exit_until, until, __ATOMIC_RELAXED);
}

void lab_exit(struct lab *lab)
{
	const struct timespec gather = {.tv_nsec = GATHER_NS};

	/* Else a look-up may have to bring a page back, which is an invalidation, and all others begin again. */
	for (size_t page = 0; page < LAB_PAGES; page++)
		__atomic_load_n((const uint64_t *)lab_addr(lab, page), __ATOMIC_RELAXED);
	let_pause(lab, UINT64_MAX);
	nanosleep(&gather, NULL);
	/* Bounded: callbacks may have to wait for a thread that pauses. */
	let_pause(lab, mrn_now_ns() + STAY_NS);
	put(lab);
	let_pause(lab, 0);
}

void lab_pause_at_exit(struct lab *lab)
{
	uint64_t until;

	/* It is 0 as soon as the process is gone, too. */
	while ((until = __atomic_load_n(&lab->exit_until, __ATOMIC_RELAXED)) &&
	       mrn_now_ns() < until)
		sched_yield();
}
