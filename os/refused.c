/* SPDX-License-Identifier: BSD-3-Clause */
#include "os/refused.h"

#include <stddef.h>

#include "os/thread.h"

#include "os/event_path.h"

static struct mrn_refused ours;
const struct mrn_refused *mrn_refused = &ours;

/* For a thread of the library: the calls refused when it was created, since it has its maker's filters. */
static MRN_TLS bool is_own;
static MRN_TLS struct mrn_call_set inherited;

bool mrn_is_refused_here(unsigned long nr)
{
	return !is_own || mrn_call_set_has(&inherited, nr) ||
	       mrn_call_set_has(&mrn_refused->everywhere, nr);
}

void mrn_refused_inherit(void)
{
	inherited = mrn_refused->somewhere;
	is_own = true;
}

void mrn_refused_inherit_nothing(void)
{
	is_own = false;
}

void mrn_refuse(const struct mrn_call_set *calls, bool everywhere)
{
	for (size_t i = 0; i < sizeof(calls->word) / sizeof(calls->word[0]); i++) {
		__atomic_fetch_or(&ours.somewhere.word[i], calls->word[i], __ATOMIC_RELAXED);
		if (everywhere)
			__atomic_fetch_or(&ours.everywhere.word[i], calls->word[i],
					  __ATOMIC_RELAXED);
	}
}
