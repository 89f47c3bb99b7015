/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A notifier's state in one word: its process (the generation), its state (INSERTED, REMOVING, CLAIMED), and how many
 * pins it has (the count).
 *
 *	        claim             insert                 begin_removal               retire
 *	free ----------> CLAIMED ---------> INSERTED ----------------> INSERTED | REMOVING ---------> free
 *
 * claim and begin_removal are compare-and-swaps that one caller wins. The winner has the other fields to itself, from
 * claim to insert and from begin_removal to retire. In particular, only the winner, and walks, which hold a pin, read
 * the home, which the removal may be the last to keep. So for all others state and home change as one.
 *
 * In a forked child, a word of another generation counts as free, whatever the parent's threads were doing at the fork.
 * Nothing that the notifier points to is read.
 *
 * Pins: a walk leaves its section before it calls a notifier; a pin keeps the notifier's memory until the callback has
 * returned (A5). After the last unpin no walk touches the notifier again; the wake goes to the home.
 */
#include "lifetime/pin.h"

#include <errno.h>

#include "lifetime/check.h"
#include "lifetime/deferred.h"
#include "os/generation.h"

#include "os/event_path.h"

#define STATE	   (MRN_PIN_INSERTED | MRN_PIN_REMOVING | MRN_PIN_CLAIMED)
#define PROCESS(g) ((uint64_t)(g) << 32)
#define IS_OURS(p) ((uint32_t)((p) >> 32) == mrn_generation())

int mrn_pin_claim(uint64_t *pins)
{
	uint64_t p = __atomic_load_n(pins, __ATOMIC_RELAXED);

	do {
		if (p & STATE && IS_OURS(p))
			return -EBUSY;
		/* Acquire pairs with mrn_pin_retire: the previous owner is done with it. */
	} while (!__atomic_compare_exchange_n(pins, &p, PROCESS(mrn_generation()) | MRN_PIN_CLAIMED,
					      true, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED));
	return 0;
}

void mrn_pin_insert(uint64_t *pins)
{
	__atomic_store_n(pins, PROCESS(mrn_generation()) | MRN_PIN_INSERTED, __ATOMIC_RELEASE);
}

void mrn_pin_retire(uint64_t *pins)
{
	__atomic_store_n(pins, 0, __ATOMIC_RELEASE);
}

/* 0, -ENOENT or -ESTALE, as mrn_pin_look returns it. */
static int look(uint64_t p)
{
	if (!(p & MRN_PIN_INSERTED))
		return -ENOENT;
	if (!IS_OURS(p))
		return -ESTALE;
	return p & MRN_PIN_REMOVING ? -ENOENT : 0;
}

int mrn_pin_look(const uint64_t *pins)
{
	return look(__atomic_load_n(pins, __ATOMIC_ACQUIRE));
}

int mrn_pin_begin_removal(uint64_t *pins)
{
	uint64_t p = __atomic_load_n(pins, __ATOMIC_RELAXED), next;
	int r;

	do {
		r = look(p);
		if (r == -ENOENT)
			return r;
		next = r ? PROCESS(mrn_generation()) | MRN_PIN_CLAIMED : p | MRN_PIN_REMOVING;
	} while (!__atomic_compare_exchange_n(pins, &p, next, true, __ATOMIC_ACQ_REL,
					      __ATOMIC_RELAXED));
	return r;
}

bool mrn_pin(uint64_t *pins)
{
	uint64_t p = __atomic_load_n(pins, __ATOMIC_RELAXED);

	do {
		if ((p & STATE) != MRN_PIN_INSERTED)
			return false;
	} while (!__atomic_compare_exchange_n(pins, &p, p + 1, true, __ATOMIC_ACQUIRE,
					      __ATOMIC_RELAXED));
	return true;
}

void mrn_unpin(struct mrn_home *home, uint64_t *pins)
{
	/* A5: release pairs with the load in mrn_pin_is_idle: the callback happens before the reuse. */
	uint64_t p = __atomic_sub_fetch(pins, 1, __ATOMIC_RELEASE);

	if ((p & MRN_PIN_REMOVING) && !(p & MRN_PIN_COUNT)) {
		__atomic_fetch_add(&home->drained, 1, __ATOMIC_RELEASE);
		mrn_futex_wake(&home->drained, INT_MAX);
		mrn_deferred_kick();
	}
}

bool mrn_pin_is_idle(const uint64_t *pins)
{
	return !(__atomic_load_n(pins, __ATOMIC_ACQUIRE) & MRN_PIN_COUNT);
}

void mrn_pin_wait_idle(struct mrn_home *home, const uint64_t *pins)
{
	if (MRN_BROKEN(A5_REMOVE_WAIT))
		return;
	for (;;) {
		/* Read before the pins: a later unpin changes the value on which this thread would sleep. */
		uint32_t drained = __atomic_load_n(&home->drained, __ATOMIC_ACQUIRE);

		if (mrn_pin_is_idle(pins))
			return;
		mrn_futex_wait(&home->drained, drained, NULL);
	}
}
