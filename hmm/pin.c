/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>

#include "core/mm.h"
#include "hmm/change.h"
#include "hmm/page_in.h"
#include "hmm/space.h"

/* Pages that are locked at one time. */
#define BATCH 64

static int pin_some(struct mrn_hmm_region *r, size_t i, size_t n, bool write, uint64_t *frames)
{
	int err = mrn_hmm_fault_in(r, i, n, write);

	if (err)
		return err;
	for (size_t k = 0; k < n; k++) {
		frames[k] = r->page[i + k].home;
		mrn_hmm_frame_pin(&r->hmm->frames, frames[k]);
	}
	mrn_hmm_unlock(r, i, n);
	MRN_HMM_COUNT(r->hmm, device_faults, n);
	return 0;
}

long mrn_hmm_pin(struct mrn_hmm *hmm, const void *addr, size_t length, bool write, uint64_t *frames)
{
	struct mrn_hmm_change c;
	int err = mrn_hmm_check_alive(hmm);
	size_t done = 0, some;

	if (!err && !frames)
		err = -EINVAL;
	if (!err)
		err = mrn_hmm_change_find(&c, hmm, addr, length);
	if (err)
		return err;
	for (; done < c.n && !err; done += some) {
		some = c.n - done < BATCH ? c.n - done : BATCH;
		mrn_hmm_fill_block(c.r, c.first + done);
		err = pin_some(c.r, c.first + done, some, write, frames + done);
		if (err)
			break;
	}
	if (err)
		mrn_hmm_unpin(hmm, frames, done, false);
	mrn_hmm_region_put(c.r);
	if (!err)
		return (long)c.n;
	return err == -EPERM ? -EFAULT : err;
}

void mrn_hmm_unpin(struct mrn_hmm *hmm, const uint64_t *frames, size_t n, bool dirty)
{
	/* In a forked child, dropping the last pin would free memory that the parent still uses. */
	if (!hmm || mrn_mm_is_wiped(hmm->mm))
		return;
	for (size_t i = 0; i < n; i++) {
		/* Mark it dirty first: after the last unpin the frame may have another owner. */
		if (dirty)
			mrn_hmm_frame_set_dirty(&hmm->frames, frames[i]);
		mrn_hmm_frame_unpin(&hmm->frames, frames[i]);
	}
}
