/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pins: a walk drops the index lock before it calls a notifier, and a pin is what keeps the
 * notifier's memory until the callback has returned (A5). The removal flag and the count share one
 * word, so that after the last unpin nobody looks at the notifier again; the wake goes to the mm.
 */
#include <errno.h>

#include "core/check.h"
#include "core/mm.h"

#include "os/event_path.h"

bool mrn_pin(uint32_t *pins)
{
	uint32_t p = __atomic_load_n(pins, __ATOMIC_RELAXED);

	do {
		if (p & MRN_PIN_REMOVING)
			return false;
	} while (!__atomic_compare_exchange_n(pins, &p, p + 1, true, __ATOMIC_ACQUIRE,
					      __ATOMIC_RELAXED));
	return true;
}

void mrn_unpin(struct mrn_mm *mm, uint32_t *pins)
{
	/* A5: release pairs with the load in mrn_pin_is_idle: the callback happens before the reuse. */
	uint32_t p = __atomic_sub_fetch(pins, 1, __ATOMIC_RELEASE);

	if ((p & MRN_PIN_REMOVING) && !(p & MRN_PIN_COUNT)) {
		__atomic_fetch_add(&mm->drained, 1, __ATOMIC_RELEASE);
		mrn_futex_wake(&mm->drained, INT_MAX);
	}
}

int mrn_pin_begin_removal(uint32_t *pins)
{
	uint32_t p = __atomic_load_n(pins, __ATOMIC_RELAXED);

	do {
		if (!(p & MRN_PIN_INSERTED) || (p & MRN_PIN_REMOVING))
			return -ENOENT;
	} while (!__atomic_compare_exchange_n(pins, &p, p | MRN_PIN_REMOVING, true,
					      __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
	return 0;
}

bool mrn_pin_is_idle(const uint32_t *pins)
{
	return !(__atomic_load_n(pins, __ATOMIC_ACQUIRE) & MRN_PIN_COUNT);
}

void mrn_pin_wait_idle(struct mrn_mm *mm, const uint32_t *pins)
{
	if (MRN_BROKEN(A5_REMOVE_WAIT))
		return;
	for (;;) {
		/* Before the pins: an unpin after our look changes the value that we would sleep on. */
		uint32_t drained = __atomic_load_n(&mm->drained, __ATOMIC_ACQUIRE);

		if (mrn_pin_is_idle(pins))
			return;
		mrn_futex_wait(&mm->drained, drained, NULL);
	}
}
