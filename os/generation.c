/* SPDX-License-Identifier: BSD-3-Clause */
#include "os/generation.h"

#include "os/pages.h"

#include "os/event_path.h"

uint32_t *mrn_generation_page;

int mrn_generation_init(void)
{
	return MRN_PAGES_ONCE(mrn_generation_page);
}

/* The counter goes on in a child, so a number is never an ancestor's, whenever a thread forks. */
uint32_t mrn_generation_draw(void)
{
	static uint32_t generations;
	uint32_t g = __atomic_add_fetch(&generations, 1, __ATOMIC_RELAXED), none = 0;

	return __atomic_compare_exchange_n(mrn_generation_page, &none, g, false, __ATOMIC_RELAXED,
					   __ATOMIC_RELAXED)
		       ? g
		       : none;
}
