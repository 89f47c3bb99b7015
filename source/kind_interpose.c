/* SPDX-License-Identifier: BSD-3-Clause */
/* What libmrn-interpose announces, by the names of libc's functions. */
#include "source/interposer.h"
#include "source/kind.h"

static const struct mrn_remedy remedies[] = {
	{-EOPNOTSUPP, "libmrn-interpose is not in this process: link with -lmrn-interpose, or put "
		      "it into LD_PRELOAD"},
	{0},
};

static int start(struct mrn_source *s, unsigned int flags, char *why, size_t size)
{
	if (!mrn_interposer_is_present())
		return -EOPNOTSUPP;
	mrn_interposer_remember();
	return 0;
}

static int look(struct mrn_source *s)
{
	struct mrn_coverage seen = {0};
	int r = mrn_interposer_is_intact(false) ? mrn_source_try_by_name(s, &seen) : 0;

	if (!r)
		mrn_source_has_lost(s, MRN_KIND_INTERPOSE, seen.bracketed);
	return r;
}

const struct mrn_kind_ops mrn_kind_interpose = {
	.start = start,
	.remedies = remedies,
	.try = mrn_source_try_by_name,
	.look = look,
};
