/* SPDX-License-Identifier: BSD-3-Clause */
/* What libmrn-interpose announces, by the names of libc's functions. */
#include "source/interposer.h"
#include "source/kind.h"

static int start(struct mrn_source *s, unsigned int flags)
{
	if (!mrn_interposer_is_present()) {
		mrn_source_add_why(s, "libmrn-interpose is not in this process: link with "
				      "-lmrn-interpose, or put it into LD_PRELOAD");
		return -EOPNOTSUPP;
	}
	mrn_interposer_remember();
	return 0;
}

static int try(struct mrn_source *s)
{
	return mrn_source_try_by_name(s, &s->by_name);
}

static int look(struct mrn_source *s)
{
	uint64_t seen = 0;
	int r = mrn_interposer_is_intact(false) ? mrn_source_try_by_name(s, &seen) : 0;

	if (!r)
		mrn_source_has_lost(s, &s->by_name, seen);
	return r;
}

static void uncover(struct mrn_source *s)
{
	__atomic_store_n(&s->by_name, 0, __ATOMIC_RELAXED);
}

const struct mrn_kind mrn_kind_interpose = {
	.bit = MRN_SOURCE_INTERPOSE,
	.name = "interpose",
	.start = start,
	.try = try,
	.look = look,
	.uncover = uncover,
};
