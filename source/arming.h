/* SPDX-License-Identifier: BSD-3-Clause */
/* Notifiers that are inserted with a source, and arm their ranges themselves: arming.c. */
#ifndef MRN_SOURCE_ARMING_H
#define MRN_SOURCE_ARMING_H

#include "core/mm.h"

/* How ranges of an mm are armed: arm.c, or a test's. */
struct mrn_arming {
	struct mrn_watcher watcher; /* MRN_ARMING_WATCHER */
	/*
	 * Arms [start, end) for the causes in need. 0, MRN_USE_ONCE, -EAGAIN while the range changes, or another error.
	 * May wait for the kernel, but for no callback.
	 */
	int (*arm)(uintptr_t start, uintptr_t end, uint64_t need);
	/* As mrn_source_disarm_changing, of [start, end), and mrn_source_disarm. */
	void (*disarm_changing)(const struct mmu_notifier_range *range, uintptr_t start,
				uintptr_t end);
	void (*disarm)(const struct mmu_range_notifier *leaving);
};

#define MRN_ARMING_WATCHER                                                                   \
	{                                                                                    \
		mrn_arming_settle, mrn_arming_changes, mrn_arming_changed, mrn_arming_leaves \
	}

/* Inserts mrn as mmu_range_notifier_insert does; a arms its range, and must never be freed. need is not 0. */
int mrn_arming_insert(struct mmu_range_notifier *mrn, uintptr_t start, uintptr_t length,
		      struct mrn_mm *mm, const struct mrn_arming *a, uint64_t need);

int mrn_arming_settle(struct mmu_range_notifier *mrn, struct mrn_mm *mm,
		      const struct timespec *deadline, uint64_t *seq);
void mrn_arming_changes(struct mmu_range_notifier *mrn, struct mrn_mm *mm);
void mrn_arming_changed(struct mrn_mm *mm, const struct mmu_notifier_range *range, uintptr_t start,
			uintptr_t end);
void mrn_arming_leaves(struct mmu_range_notifier *mrn, struct mrn_mm *mm);

#endif
