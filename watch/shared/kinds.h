/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The sources that can watch a whole program, best first: `auto` takes the first that works.
 * userfaultfd is none: it sees only ranges that somebody has armed.
 */
#ifndef MRN_WATCH_KINDS_H
#define MRN_WATCH_KINDS_H

#include <mrn/source.h>

struct watch_kind {
	const char *name;
	unsigned int kind;     /* for mrn_source_attach */
	unsigned int in_child; /* 1: a forked child must attach again */
};

static const struct watch_kind watch_kinds[] = {
	{"dispatch", MRN_SOURCE_DISPATCH, 1},
	{"interpose", MRN_SOURCE_INTERPOSE, 0},
};

#define WATCH_NR_KINDS (sizeof(watch_kinds) / sizeof(watch_kinds[0]))

#endif
