/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * brk, sbrk. The real ones are libc's, not raw calls: libc keeps a copy of the break.
 */
#include <unistd.h>

#include "source/bracket/calls.h"
#include "source/interpose/real.h"
#include "source/interpose/wrapper.h"

#include "os/event_path.h"

MRN_INTERPOSED int brk(void *addr)
{
	struct mrn_bracket b;
	int r;

	mrn_bracket_brk(&b, (uintptr_t)addr);
	r = MRN_REAL(brk)(addr);
	mrn_bracket_end(&b, r < 0);
	return r;
}

MRN_INTERPOSED void *sbrk(intptr_t increment)
{
	struct mrn_bracket b;
	uintptr_t now;
	void *r;

	/* Ask libc: increment is added to its break, which need not be the kernel's. */
	now = (uintptr_t)MRN_REAL(sbrk)(0);
	if (!increment)
		return (void *)now;
	if (increment < 0 && now < -(uintptr_t)increment)
		mrn_bracket_none(&b);
	else
		mrn_bracket_brk(&b, now + (uintptr_t)increment);
	r = MRN_REAL(sbrk)(increment);
	mrn_bracket_end(&b, r == (void *)-1);
	if (increment > 0 && r != (void *)-1)
		mrn_bracket_fresh(mrn_page_up((uintptr_t)r),
				  mrn_page_up((uintptr_t)r + (uintptr_t)increment));
	return r;
}

/* glibc's own name for sbrk, which any program may call. */
MRN_INTERPOSED void *__sbrk(intptr_t increment) __attribute__((alias("sbrk"), nothrow, leaf));
