/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The statements of twins: each takes a part of the library out (core/check.h).
 */
#ifndef TESTS_HARNESS_BREAK_H
#define TESTS_HARNESS_BREAK_H

#include "core/check.h"

#define BREAK(part) MRN_BREAK(part)

/* What is taken out when break_now is called: once a source has tried itself, which might notice, too. */
struct break_later {
	bool part[MRN_BROKEN_PARTS];
};
#define BREAK_LATER(later, name) ((later).part[MRN_BROKEN_##name] = true)

static inline void break_now(const struct break_later *later)
{
	for (unsigned int i = 0; i < MRN_BROKEN_PARTS; i++)
		if (later->part[i])
			mrn_broken[i] = true;
}

#endif
