/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A number that tells a process from its ancestors. The kernel wipes it at a fork (Linux 4.14), so that the child draws
 * another.
 */
#ifndef MRN_OS_GENERATION_H
#define MRN_OS_GENERATION_H

#include <stdint.h>

/* Private. NULL before mrn_generation_init; never freed. 0: not drawn yet. */
extern uint32_t *mrn_generation_page;
uint32_t mrn_generation_draw(void);

/* Allocates the number's page if there is none yet: 0 or -ENOMEM. */
int mrn_generation_init(void);

/*
 * Never 0 after mrn_generation_init, 0 before; a forked child has a number that no ancestor had. A vfork's child shares
 * its parent's memory and number. Event path.
 */
static inline uint32_t mrn_generation(void)
{
	uint32_t *page = __atomic_load_n(&mrn_generation_page, __ATOMIC_ACQUIRE), g;

	if (!page)
		return 0;
	g = __atomic_load_n(page, __ATOMIC_RELAXED);
	return __builtin_expect(g != 0, 1) ? g : mrn_generation_draw();
}

#endif
