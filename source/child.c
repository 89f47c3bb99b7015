/* SPDX-License-Identifier: BSD-3-Clause */
#include "source/child.h"

#include "os/event_path.h"

static void (*asked)(bool may_act);

void mrn_child_ask(void (*is_here)(bool may_act))
{
	__atomic_store_n(&asked, is_here, __ATOMIC_RELEASE);
}

void mrn_child_is_here(bool may_act)
{
	void (*is_here)(bool may_act) = __atomic_load_n(&asked, __ATOMIC_ACQUIRE);

	if (is_here)
		is_here(may_act);
}
