/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kinds of source that can watch a whole program, best first: `auto` takes the first that works. A later kind in
 * the list sees more. None that needs arming: nobody arms ranges of a program that does not know of it.
 */
#ifndef MRN_WATCH_KINDS_H
#define MRN_WATCH_KINDS_H

#include "source/kinds.h"

#define WATCH_FOR_EACH_KIND(k, kinds)               \
	for (int k = MRN_NR_KINDS - 1; k >= 0; k--) \
		if (!((kinds)&1u << k)) {           \
		} else

static inline unsigned int watch_kinds(void)
{
	return MRN_ALL_KINDS & ~mrn_kinds_that(MRN_KIND_BY_ARMING);
}

/* Writes their names with a separator; returns the length. */
static inline size_t watch_kinds_put_names(char *text, size_t size, unsigned int kinds,
					   const char *between)
{
	size_t used = 0;

	WATCH_FOR_EACH_KIND(k, kinds)
		used += (size_t)snprintf(text + used, size - used, "%s%s", used ? between : "",
					 mrn_kind_facts[k].name);
	return used;
}

#endif
