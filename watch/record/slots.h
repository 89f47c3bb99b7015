/* SPDX-License-Identifier: BSD-3-Clause */
/* What a walk has read of the stack, in its order: as much of it as is kept. */
#ifndef MRN_WATCH_SLOTS_H
#define MRN_WATCH_SLOTS_H

#include <stdbool.h>
#include <stdint.h>

/* Two or three for each frame. */
#define WATCH_SLOTS 48

struct watch_slots {
	uintptr_t base;
	unsigned int n;
	bool failed;		     /* one was not readable, or has no room here */
	uint32_t words[WATCH_SLOTS]; /* above base */
	uintptr_t value[WATCH_SLOTS];
};

static inline void watch_slots_note(struct watch_slots *s, bool readable, uintptr_t addr,
				    uintptr_t value)
{
	const uintptr_t words = (addr - s->base) / sizeof(value);

	if (!readable || s->n == WATCH_SLOTS || words > UINT32_MAX) {
		s->failed = true;
		return;
	}
	s->words[s->n] = (uint32_t)words;
	s->value[s->n++] = value;
}

static inline uintptr_t watch_slot_address(const struct watch_slots *s, unsigned int i)
{
	return s->base + (uintptr_t)s->words[i] * sizeof(s->value[0]);
}

#endif
