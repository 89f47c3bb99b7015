/* SPDX-License-Identifier: BSD-3-Clause */
#include "os/thread.h"

#include <stddef.h>

MRN_TLS char mrn_thread_mark;

static long own[64];

static void replace(long from, long to)
{
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
		long is = from;

		if (__atomic_compare_exchange_n(&own[i], &is, to, false, __ATOMIC_ACQ_REL,
						__ATOMIC_RELAXED))
			return;
	}
}

void mrn_own_thread_enter(void)
{
	replace(0, mrn_sys0(SYS_gettid));
}

void mrn_own_thread_leave(void)
{
	replace(mrn_sys0(SYS_gettid), 0);
}

bool mrn_is_own_thread(long tid)
{
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		if (__atomic_load_n(&own[i], __ATOMIC_ACQUIRE) == tid)
			return true;
	return false;
}
