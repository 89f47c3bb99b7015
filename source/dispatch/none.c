/* SPDX-License-Identifier: BSD-3-Clause */
/* Without dispatch: the kernel has it for x86-64 only, and ThreadSanitizer does not work with it. */
#include <errno.h>

#include "source/dispatch/dispatch.h"

bool mrn_dispatch_has_rings(void)
{
	return true;
}

/* They matter to consumers of what only dispatch announces, of whom there is none. */
bool mrn_dispatch_has_guests(void)
{
	return false;
}

uint32_t mrn_dispatch_guests_ever(void)
{
	return 0;
}

bool mrn_dispatch_catches(void)
{
	return false;
}

bool mrn_dispatch_handles(void)
{
	return false;
}

int mrn_dispatch_start(bool follow_fork, const struct mrn_dispatch_ops *ops, char *why,
		       size_t why_size)
{
	(void)follow_fork;
	(void)ops;
	(void)why;
	(void)why_size;
	return -EOPNOTSUPP;
}

void mrn_dispatch_join(void)
{
}

void mrn_dispatch_stop(void)
{
}
