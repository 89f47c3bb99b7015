/* SPDX-License-Identifier: BSD-3-Clause */
/* What a careless driver does wrong: the step of --break. */
#include "lab/world.h"

/* Pages; many ranges have more. */
#define CHUNK 4

bool lab_is_broken(const struct lab *lab, int step)
{
	return lab->config->broken == step;
}

/* The step, or one that is none. */
static const struct lab_step *broken_step(const struct lab *lab)
{
	static const struct lab_step none;

	return lab->config->broken < 0 ? &none : &lab->driver->steps[lab->config->broken];
}

bool lab_ignores(const struct lab *lab, const struct mmu_notifier_range *range)
{
	return broken_step(lab)->ignored >> range->event & 1;
}

void lab_cut(const struct lab *lab, size_t *first, size_t *end)
{
	enum lab_cuts cuts = broken_step(lab)->cuts;

	if (*first >= *end)
		return;
	*first += cuts == LAB_CUTS_SHORT_START;
	*end -= cuts == LAB_CUTS_SHORT_END;
	if (cuts == LAB_CUTS_FIRST_CHUNK && *end - *first > CHUNK)
		*end = *first + CHUNK;
}
