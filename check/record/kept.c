/* SPDX-License-Identifier: BSD-3-Clause */
#include "check/record/kept.h"

#include <sys/mman.h>

#include "check/record/map.h"
#include "check/shared/check.h"
#include "os/pagemap.h"
#include "os/pages.h"
#include "os/syscall.h"

#include "os/event_path.h"

/* msync says so, and with MS_ASYNC does nothing else. */
static bool is_mapped(uintptr_t start, uintptr_t end)
{
	return mrn_sys3(SYS_msync, (long)start, (long)(end - start), MS_ASYNC) == 0;
}

void check_kept_begin(struct check_kept *k, const struct mmu_notifier_range *range, uintptr_t start,
		      uintptr_t end)
{
	k->all = MRN_BROKEN(CHECK_BELIEVED) ||
		 (range->event == MMU_NOTIFY_UNMAP && is_mapped(start, end));
	if (!k->all)
		check_map_begin(&k->map, start, end);
}

bool check_kept_is(struct check_kept *k, uintptr_t addr)
{
	uint64_t entry;

	return k->all || (check_map_entry(&k->map, addr, &entry) && check_kept_there(entry));
}

void check_kept_end(struct check_kept *k)
{
	if (!k->all)
		check_map_end(&k->map);
}
