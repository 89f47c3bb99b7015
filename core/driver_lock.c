/* SPDX-License-Identifier: BSD-3-Clause */
#include <mrn/mmu_notifier.h>
#include <string.h>

#include "core/misuse.h"
#include "os/holder.h"

void mrn_reads_are_checked(struct mmu_range_notifier *mrn)
{
	(void)mrn;
}

static void note_read_retry(struct mmu_range_notifier *mrn)
{
	void (*none)(struct mmu_range_notifier *) = NULL;

	/* P3: writes nothing when there is nothing to be noted. */
	if (!mrn_has_watcher(mrn) && !__atomic_load_n(&mrn->free_fn, __ATOMIC_RELAXED))
		__atomic_compare_exchange_n(&mrn->free_fn, &none, mrn_reads_are_checked, false,
					    __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

void mrn_check_driver_lock(const struct mmu_range_notifier *mrn, const char *who)
{
	if (mrn->driver_lock && mrn_is_not_held(mrn->driver_lock) && !MRN_BROKEN(MISUSE_CHECKS))
		mrn_misuse(who, "was called without the notifier's driver_lock");
	if (mrn->driver_lock && mrn_lock_order_is_on() && mrn_callback_depth &&
	    !strcmp(who, "mmu_range_notifier_update_seq"))
		mrn_lock_order_taken(mrn, __builtin_return_address(0));
	if (MRN_CHECKS && !strcmp(who, "mmu_range_read_retry"))
		note_read_retry((struct mmu_range_notifier *)(uintptr_t)mrn);
}
