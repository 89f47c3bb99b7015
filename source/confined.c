/* SPDX-License-Identifier: BSD-3-Clause */
#include "source/confined.h"

#include "os/event_path.h"

static bool confined;

void mrn_confine(void)
{
	__atomic_store_n(&confined, true, __ATOMIC_RELAXED);
}

bool mrn_is_confined(void)
{
	return __atomic_load_n(&confined, __ATOMIC_RELAXED);
}
