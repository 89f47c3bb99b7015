/* SPDX-License-Identifier: BSD-3-Clause */
#include "check/record/descriptors.h"

#include <sys/syscall.h>

#include "check/record/uring.h"
#include "check/record/vfio.h"
#include "check/shared/check.h"

#include "os/event_path.h"

/* Only a call that succeeds closes the second, and it does so in one step: nobody else gets the number in between. */
static bool replaces(long nr, const long a[6], long *result)
{
	const uint32_t from = (uint32_t)a[0], to = (uint32_t)a[1];

	if (from == to ||
	    !(check_uring_is((int)from) || check_uring_is((int)to) || check_vfio_has_any()))
		return false;
	*result = check_call_make(nr, a);
	if (*result < 0 && !MRN_BROKEN(CHECK_DUP_FAILED))
		return true;
	check_vfio_end_descriptor(to);
	check_uring_replaced(from, to);
	return true;
}

#ifdef SYS_dup2
bool check_descriptor_dup2(long a[6], long *result)
{
	return replaces(SYS_dup2, a, result);
}
#endif

bool check_descriptor_dup3(long a[6], long *result)
{
	return replaces(SYS_dup3, a, result);
}
