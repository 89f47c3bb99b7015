/* SPDX-License-Identifier: BSD-3-Clause */
#include "os/rwlock.h"

#include <stdbool.h>

#include "os/futex.h"

#include "os/event_path.h"

#define WRITER	(1u << 31)
#define WANTED	(1u << 30) /* a writer waits: readers that hold nothing queue behind it */
#define SLEEPER (1u << 29) /* the thread that frees the lock wakes sleepers */
#define READERS (SLEEPER - 1)

/*
 * How many read sections this thread is in or about to enter. Counted before the lock is taken and
 * after it is dropped, so that a handler that interrupts a reader always finds at least one; a
 * handler that finds one too many merely passes a waiting writer.
 */
static MRN_TLS unsigned int reading;

static void sleep_on(struct mrn_rwlock *l, uint32_t seen, uint32_t flags)
{
	if (__atomic_compare_exchange_n(&l->word, &seen, seen | flags, false, __ATOMIC_RELAXED,
					__ATOMIC_RELAXED))
		mrn_futex_wait(&l->word, seen | flags, NULL);
}

void mrn_read_lock(struct mrn_rwlock *l)
{
	uint32_t w;

	reading++;
	for (;;) {
		w = __atomic_load_n(&l->word, __ATOMIC_RELAXED);
		if ((w & WRITER) || ((w & WANTED) && reading == 1))
			sleep_on(l, w, SLEEPER);
		else if (__atomic_compare_exchange_n(&l->word, &w, w + 1, true, __ATOMIC_ACQUIRE,
						     __ATOMIC_RELAXED))
			return;
	}
}

void mrn_read_unlock(struct mrn_rwlock *l)
{
	uint32_t w = __atomic_sub_fetch(&l->word, 1, __ATOMIC_RELEASE);

	if (!(w & READERS) && (w & SLEEPER)) {
		__atomic_fetch_and(&l->word, ~SLEEPER, __ATOMIC_RELAXED);
		mrn_futex_wake(&l->word, INT_MAX);
	}
	reading--;
}

mrn_sigmask mrn_write_lock(struct mrn_rwlock *l)
{
	mrn_sigmask mask = mrn_signals_block();
	uint32_t w;

	for (;;) {
		w = __atomic_load_n(&l->word, __ATOMIC_RELAXED);
		/* Other waiting writers set WANTED again when they wake. */
		if (w & (WRITER | READERS))
			sleep_on(l, w, WANTED | SLEEPER);
		else if (__atomic_compare_exchange_n(&l->word, &w, (w & SLEEPER) | WRITER, true,
						     __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			return mask;
	}
}

void mrn_write_unlock(struct mrn_rwlock *l, mrn_sigmask mask)
{
	if (__atomic_exchange_n(&l->word, 0, __ATOMIC_RELEASE) & SLEEPER)
		mrn_futex_wake(&l->word, INT_MAX);
	mrn_signals_restore(mask);
}
