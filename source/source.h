/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sources of this process, inside: one set for all who attach.
 */
#ifndef MRN_SOURCE_SOURCE_H
#define MRN_SOURCE_SOURCE_H

#include <mrn/source.h>

#include "source/uffd/uffd.h"

struct mrn_source {
	struct mrn_mm *mm;
	unsigned int refs;  /* under the attach lock */
	unsigned int kinds; /* atomic: 0 once detached */
	struct mrn_coverage coverage;
	/* What the self-tests of the kinds have seen; coverage is the best of all. */
	uint64_t by_name;
	uint64_t by_call;
	struct mrn_coverage by_event;
	struct mrn_uffd uffd;
	char name[32];
	char why[512];
};

/*
 * Tries each cause on scratch memory, by libc's functions and by raw calls, and fills in
 * source->coverage with what was seen. had: the kinds that were attached before, and may be in use.
 */
int mrn_source_self_test(struct mrn_source *source, unsigned int had);
/* Makes coverage the best of by_name, by_call and by_event. Event path. */
void mrn_source_derive_coverage(struct mrn_source *source);

#endif
