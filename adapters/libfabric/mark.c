/* SPDX-License-Identifier: BSD-3-Clause */
/* What happens when watched memory changes. It runs inside somebody's munmap or free, who may hold libfabric's locks. */
#include <linux/futex.h>
#include <sys/syscall.h>

#include "adapters/libfabric/table.h"
#include "os/container_of.h"

#include "os/event_path.h"

/* Release pairs with the reaper's exchange: what it is woken for, it sees. */
void mrn_fabric_ring(void)
{
	if (!__atomic_exchange_n(&mrn_fabric.bell, 1, __ATOMIC_RELEASE))
		mrn_source_bypass(SYS_futex, (long)&mrn_fabric.bell, FUTEX_WAKE_PRIVATE, 1, 0, 0,
				  0);
}

static bool invalidate(struct mmu_range_notifier *notifier, const struct mmu_notifier_range *range,
		       uint64_t cur_seq)
{
	struct watch *w = container_of(notifier, struct watch, notifier);

	mmu_range_notifier_update_seq(notifier, cur_seq);
	mrn_source_disarm_changing(mrn_fabric.source, notifier, range);
	if (watch_state(w) == WATCH_LIVE) {
		FABRIC_COUNT(invalidated);
		mrn_fabric_ring();
	}
	return true;
}

const struct mmu_range_notifier_ops mrn_fabric_notifier_ops = {.invalidate = invalidate};
