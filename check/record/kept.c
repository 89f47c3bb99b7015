/* SPDX-License-Identifier: BSD-3-Clause */
#include "check/record/kept.h"

#include <sys/mman.h>

#include "check/record/change.h"
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

static bool reads_map(const struct check_kept *k)
{
	return !k->mapped || k->moves;
}

void check_kept_begin(struct check_kept *k, const struct mmu_notifier_range *range, uintptr_t start,
		      uintptr_t end)
{
	k->mapped = MRN_BROKEN(CHECK_BELIEVED) ||
		    (range->event == MMU_NOTIFY_UNMAP && is_mapped(start, end));
	k->moves = check_change_moves(range) && !MRN_BROKEN(CHECK_BELIEVED);
	if (reads_map(k))
		check_map_begin(&k->map, start, end);
}

static bool is_another(uint64_t was, uint64_t is)
{
	return (was & is & MRN_PAGEMAP_PRESENT) && (was & MRN_PAGEMAP_FRAME) &&
	       (is & MRN_PAGEMAP_FRAME) && ((was ^ is) & MRN_PAGEMAP_FRAME);
}

bool check_kept_is(struct check_kept *k, uintptr_t addr, uint64_t was)
{
	uint64_t is;

	if (!reads_map(k) || !check_map_entry(&k->map, addr, &is))
		return k->mapped;
	if (check_kept_there(is))
		return !k->moves || !is_another(was, is);
	return k->mapped && (!(was & MRN_PAGEMAP_PRESENT) || (was & MRN_PAGEMAP_FILE));
}

void check_kept_end(struct check_kept *k)
{
	if (reads_map(k))
		check_map_end(&k->map);
}
