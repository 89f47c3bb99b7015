/* SPDX-License-Identifier: BSD-3-Clause */
#include "hmm/ours.h"

#include "hmm/check.h"
#include "hmm/space.h"
#include "os/syscall.h"

mrn_sigmask mrn_hmm_ours_enter(struct mrn_hmm *hmm)
{
	/*
	 * A signal handler may touch managed memory; here it would deadlock, since serving its fault waits for `ours`.
	 */
	mrn_sigmask mask = mrn_signals_block();

	mrn_read_lock(&hmm->ours);
	return mask;
}

void mrn_hmm_ours_leave(struct mrn_hmm *hmm, mrn_sigmask mask)
{
	mrn_read_unlock(&hmm->ours);
	mrn_signals_restore(mask);
}

size_t mrn_hmm_ours_run(struct mrn_hmm_region *r, size_t *i, size_t end)
{
	size_t n = 0;

	mrn_mutex_lock(&r->lock);
	while (*i < end && mrn_hmm_is_gone(&r->page[*i]))
		++*i;
	while (*i + n < end && !mrn_hmm_is_gone(&r->page[*i + n]))
		n++;
	mrn_mutex_unlock(&r->lock);
	return n;
}

bool mrn_hmm_ours_any_lost(struct mrn_hmm_region *r, size_t i, size_t n)
{
	bool lost = false;

	mrn_mutex_lock(&r->lock);
	for (size_t at = i; at < i + n; at++)
		lost |= r->page[at].flags & PAGE_LOST;
	mrn_mutex_unlock(&r->lock);
	return lost;
}

long mrn_hmm_ours_each(struct mrn_hmm_region *r, size_t i, size_t n, size_t most,
		       long (*act)(struct mrn_hmm *hmm, uintptr_t addr, size_t n))
{
	long p = 0;

	for (size_t at = i, run = 1; run && !mrn_sys_failed(p); at += run) {
		mrn_sigmask mask = mrn_hmm_ours_enter(r->hmm);

		run = mrn_hmm_ours_run(r, &at, i + n);
		run = run < most ? run : most;
		if (run)
			MRN_HOOK(hmm_cpu, mrn_hmm_addr(r, at));
		p = run ? act(r->hmm, mrn_hmm_addr(r, at), run) : 0;
		mrn_hmm_ours_leave(r->hmm, mask);
	}
	return mrn_sys_failed(p) ? p : 0;
}
