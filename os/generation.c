/* SPDX-License-Identifier: BSD-3-Clause */
#include "os/generation.h"

#include <errno.h>
#include <stddef.h>

#include "os/pages.h"

#include "os/event_path.h"

uint32_t *mrn_generation_page;

int mrn_generation_init(void)
{
	uint32_t *fresh, *none = NULL;

	if (__atomic_load_n(&mrn_generation_page, __ATOMIC_ACQUIRE))
		return 0;
	fresh = mrn_pages_alloc_wiped_on_fork(sizeof(*fresh));
	if (!fresh)
		return -ENOMEM;
	if (!__atomic_compare_exchange_n(&mrn_generation_page, &none, fresh, false,
					 __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		mrn_pages_free(fresh, sizeof(*fresh));
	return 0;
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
