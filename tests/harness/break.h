/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The statements of twins: each breaks a part of the library (os/check.h).
 */
#ifndef TESTS_HARNESS_BREAK_H
#define TESTS_HARNESS_BREAK_H

#include <stdlib.h>

#include "adapters/check.h"
#include "adapters/io_uring/check.h"
#include "adapters/ucx/check.h"
#include "adapters/verbs/check.h"
#include "check/shared/check.h"
#include "core/check.h"
#include "hmm/check.h"
#include "index/check.h"
#include "lifetime/check.h"
#include "os/check.h"
#include "regcache/check.h"
#include "source/bracket/check.h"
#include "source/check.h"
#include "source/dispatch/check.h"
#include "source/uffd/check.h"
#include "watch/shared/check.h"

/* A library that is broken may misuse itself: what a test is to notice, no check of the library's must notice before. */
#define BREAK(part) (MRN_BREAK(MISUSE_CHECKS), MRN_BREAK(part))

/* Parts that break_now breaks: later, since the self-test of a source might notice, too. */
struct break_later {
	_Atomic bool *part[4];
	unsigned int n;
};
#define BREAK_LATER(later, name) break_add(&(later), &mrn_broken_##name)

static inline void break_add(struct break_later *later, _Atomic bool *part)
{
	if (later->n == sizeof(later->part) / sizeof(later->part[0]))
		abort();
	later->part[later->n++] = part;
}

static inline void break_now(const struct break_later *later)
{
	if (later->n)
		MRN_BREAK(MISUSE_CHECKS);
	for (unsigned int i = 0; i < later->n; i++)
		*later->part[i] = true;
}

#endif
