/* SPDX-License-Identifier: BSD-3-Clause */
/* shmat over a mapping, shmdt. */

#include <errno.h>
#include <sys/ipc.h>
#include <sys/shm.h>

#include "os/maps.h"
#include "os/syscall.h"
#include "source/bracket/calls.h"

#include "os/event_path.h"

void mrn_bracket_shmat(struct mrn_bracket *b, int id, const void *addr, int flags)
{
	uintptr_t start = (uintptr_t)addr, end;
	struct shmid_ds segment;
	long r;

	mrn_bracket_none(b);
	if (!(flags & SHM_REMAP) ||
	    mrn_bracket_needs_no_look(b, MMU_NOTIFY_UNMAP, MRN_CAUSE_SHMAT_REMAP))
		return;
	if (flags & SHM_RND)
		start &= ~(uintptr_t)(SHMLBA - 1);
	r = mrn_sys3(SYS_shmctl, id, IPC_STAT, (long)&segment);
	/* Permission to attach a segment includes permission to ask for its size. */
	if (r == -EINVAL || r == -EIDRM || r == -EACCES)
		return;
	if (r < 0)
		mrn_bracket_add_everything(b, MMU_NOTIFY_UNMAP, MRN_CAUSE_SHMAT_REMAP);
	else if (start && mrn_pages_spanned((const void *)start, segment.shm_segsz, &start, &end))
		mrn_bracket_add(b, MMU_NOTIFY_UNMAP, MRN_CAUSE_SHMAT_REMAP, start,
				mrn_huge_end(start, end));
}

struct attachment {
	uintptr_t base, low, high;
};

/*
 * shmdt(base) detaches the rest, perhaps in pieces, of the segment that was attached at base: each piece is as far from
 * base as its offset says. Another file mapped exactly so is taken for a piece.
 */
static bool widen(const struct mrn_mapping *m, void *arg)
{
	struct attachment *a = arg;

	if (!m->shared || !mrn_mapping_is_of_file(m) || m->start < a->base ||
	    m->offset != m->start - a->base)
		return true;
	if (m->start < a->low)
		a->low = m->start;
	if (m->end > a->high)
		a->high = m->end;
	return true;
}

void mrn_bracket_shmdt(struct mrn_bracket *b, const void *addr)
{
	struct attachment a = {.base = mrn_untagged(addr), .low = UINTPTR_MAX, .high = 0};

	mrn_bracket_none(b);
	if (mrn_bracket_needs_no_look(b, MMU_NOTIFY_UNMAP, MRN_CAUSE_SHMDT))
		return;
	if (mrn_maps_visit(widen, &a) < 0)
		mrn_bracket_add_everything(b, MMU_NOTIFY_UNMAP, MRN_CAUSE_SHMDT);
	else if (a.low < a.high)
		mrn_bracket_add(b, MMU_NOTIFY_UNMAP, MRN_CAUSE_SHMDT, a.low, a.high);
}
