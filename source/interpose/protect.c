/* SPDX-License-Identifier: BSD-3-Clause */
/* mprotect, pkey_mprotect. */
#include <sys/mman.h>

#include "source/bracket/calls.h"
#include "source/interpose/real.h"
#include "source/interpose/wrapper.h"

#include "os/event_path.h"

MRN_INTERPOSED int mprotect(void *addr, size_t length, int prot)
{
	struct mrn_bracket b;
	int r;

	mrn_bracket_mprotect(&b, addr, length, prot);
	r = MRN_REAL(mprotect)(addr, length, prot);
	mrn_bracket_end(&b, r < 0);
	return r;
}

MRN_INTERPOSED int pkey_mprotect(void *addr, size_t length, int prot, int pkey)
{
	struct mrn_bracket b;
	int r;

	mrn_bracket_mprotect(&b, addr, length, prot);
	r = MRN_REAL(pkey_mprotect)(addr, length, prot, pkey);
	mrn_bracket_end(&b, r < 0);
	return r;
}
