/* SPDX-License-Identifier: BSD-3-Clause */
#include "source/exec.h"

#include "os/event_path.h"

static const struct mrn_exec_ask *asked;

void mrn_exec_ask(const struct mrn_exec_ask *ask)
{
	__atomic_store_n(&asked, ask, __ATOMIC_RELEASE);
}

void mrn_exec_before(long nr, long a[6])
{
	const struct mrn_exec_ask *ask = __atomic_load_n(&asked, __ATOMIC_ACQUIRE);

	if (ask)
		ask->before(nr, a);
}

void mrn_exec_failed(void)
{
	const struct mrn_exec_ask *ask = __atomic_load_n(&asked, __ATOMIC_ACQUIRE);

	if (ask)
		ask->failed();
}
