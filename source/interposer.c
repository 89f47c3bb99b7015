/* SPDX-License-Identifier: BSD-3-Clause */
#include "source/interposer.h"

static bool present;

void mrn_interposer_present(void)
{
	__atomic_store_n(&present, true, __ATOMIC_RELEASE);
}

bool mrn_interposer_is_present(void)
{
	return __atomic_load_n(&present, __ATOMIC_ACQUIRE);
}
