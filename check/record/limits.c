/* SPDX-License-Identifier: BSD-3-Clause */
#include "check/record/limits.h"

#include <sys/resource.h>

#include "os/pages.h"

#include "os/event_path.h"

/* For another process it is given back, too, in vain. */
bool check_limits_prlimit64(long a[6], long *result)
{
	if ((unsigned int)a[1] == RLIMIT_AS && a[2])
		mrn_pages_give_back();
	return false;
}

bool check_limits_setrlimit(long a[6], long *result)
{
	if ((unsigned int)a[0] == RLIMIT_AS)
		mrn_pages_give_back();
	return false;
}
