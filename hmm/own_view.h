/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What Linux tells a process about its own memory, from files in /proc: mappings, and the entries of pages.
 *
 * The files are open from open to close. A descriptor kept longer would show the parent's memory in a forked child;
 * would go on showing frames after the process has dropped its privileges; and, after a program that closes all
 * descriptors, might name another file, whose contents would be taken for translations. So threads share nothing, and
 * nothing is left behind, except in a child that another thread forks meanwhile: there a copy stays until exec, and
 * keeps no page of memory. The price is some microseconds per view.
 *
 * Another thread may close or replace the descriptors meanwhile, too. What another file says, even an error, is not an
 * answer: so close checks that each number still names its file. A number that does not is not closed.
 */
#ifndef MRN_HMM_OWN_VIEW_H
#define MRN_HMM_OWN_VIEW_H

#include "os/maps.h"
#include "os/pagemap.h"

/* The most pages that are read at one time: a whole huge page. */
#define MRN_HMM_VIEW_PAGES 512
/* Mappings read at a time if the kernel cannot be asked for one by address. */
#define MRN_HMM_VIEW_WINDOW 16

/* Bits that read adds to an entry. */
#define MRN_HMM_VIEW_HUGE     (UINT64_C(1) << 60)
#define MRN_HMM_VIEW_NO_PAGES (UINT64_C(1) << 59) /* the mapping has no pages, or is gone */

struct mrn_hmm_view {
	unsigned int shift; /* of a page */
	int maps, pagemap;
	bool query, scan; /* the kernel has PROCMAP_QUERY, PAGEMAP_SCAN */

	/* Mappings at and after the last address; if last is set, there are none beyond them. */
	struct mrn_mapping window[MRN_HMM_VIEW_WINDOW];
	size_t mappings, at;
	bool last;

	/* The pages' entries in [base, known). */
	uintptr_t base, known;
	uint64_t entry[MRN_HMM_VIEW_PAGES];
};

/* 0, or -errno with nothing open. */
int mrn_hmm_view_open(struct mrn_hmm_view *v);
/* False if a descriptor no longer names its file: what was read is no answer. */
bool mrn_hmm_view_close(struct mrn_hmm_view *v);

/* The mapping that contains addr, or the next one, or one at the end of the address space. 0 or -errno. */
int mrn_hmm_view_mapping(struct mrn_hmm_view *v, uintptr_t addr, struct mrn_mapping *m);
/* Forgets mappings and entries, which may have changed. */
void mrn_hmm_view_forget(struct mrn_hmm_view *v);

/* Reads the entries of [addr, stop), or of its beginning. 0 or -errno. */
int mrn_hmm_view_read(struct mrn_hmm_view *v, uintptr_t addr, uintptr_t stop);

static inline uint64_t mrn_hmm_view_entry(const struct mrn_hmm_view *v, uintptr_t addr)
{
	return v->entry[(addr - v->base) >> v->shift];
}

#endif
