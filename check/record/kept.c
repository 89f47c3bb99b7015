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
	k->fd = k->all ? -EBADF : check_map_open();
	k->from = start;
	k->end = end;
	k->known = 0;
}

bool check_kept_is(struct check_kept *k, uintptr_t addr)
{
	const uintptr_t page = mrn_page_size();

	if (k->all || k->fd < 0)
		return k->all;
	if (addr >= k->from + k->known * page) {
		const size_t left = (k->end - addr + page - 1) / page;
		const size_t n = left < CHECK_KEPT_PIECE ? left : CHECK_KEPT_PIECE;

		k->from = addr;
		k->known = mrn_pagemap_read(k->fd, addr, n, k->entry) ? 0 : n;
		if (!k->known)
			return false;
	}
	return check_kept_there(k->entry[(addr - k->from) / page]);
}

void check_kept_end(struct check_kept *k)
{
	if (k->fd >= 0)
		mrn_pagemap_close(k->fd);
}
