/* SPDX-License-Identifier: BSD-3-Clause */
/* Each change of managed memory as one call for n pages at p, and the device that takes part. */
#ifndef TESTS_HMM_CHANGES_H
#define TESTS_HMM_CHANGES_H

#include "tests/hmm/fixture.h"

/* In each file that includes this. */
static struct hmm_test_device device __attribute__((unused));
static void *const lender __attribute__((unused)) = &device;
static unsigned long pfns[64] __attribute__((unused));
/* What the test that is running changes. */
static char *change_at __attribute__((unused));

HELPER long run_unmap(struct hmm_rig *rig, char *p, size_t n)
{
	return mrn_hmm_unmap(rig->hmm, p, PAGE(n));
}

HELPER long run_protect(struct hmm_rig *rig, char *p, size_t n)
{
	return mrn_hmm_protect(rig->hmm, p, PAGE(n), RD);
}

HELPER long run_discard(struct hmm_rig *rig, char *p, size_t n)
{
	return mrn_hmm_discard(rig->hmm, p, PAGE(n));
}

HELPER long run_reap(struct hmm_rig *rig, char *p, size_t n)
{
	return mrn_hmm_reap(rig->hmm, p, PAGE(n));
}

HELPER long run_compact(struct hmm_rig *rig, char *p, size_t n)
{
	return mrn_hmm_compact(rig->hmm, p, PAGE(n));
}

HELPER long run_reclaim(struct hmm_rig *rig, char *p, size_t n)
{
	return mrn_hmm_reclaim(rig->hmm, p, PAGE(n));
}

HELPER long run_writeback(struct hmm_rig *rig, char *p, size_t n)
{
	return mrn_hmm_writeback(rig->hmm, p, PAGE(n));
}

HELPER long run_soft_dirty(struct hmm_rig *rig, char *p, size_t n)
{
	return mrn_hmm_clear_soft_dirty(rig->hmm, p, PAGE(n));
}

HELPER long run_to_device(struct hmm_rig *rig, char *p, size_t n)
{
	return mrn_hmm_migrate_to_device(rig->hmm, &device.dev, p, PAGE(n), NULL);
}

HELPER long run_to_ram(struct hmm_rig *rig, char *p, size_t n)
{
	return mrn_hmm_migrate_to_ram(rig->hmm, p, PAGE(n));
}

HELPER long run_exclusive(struct hmm_rig *rig, char *p, size_t n)
{
	return mrn_hmm_make_exclusive(rig->hmm, p, PAGE(n), lender, pfns);
}

#endif
