/* SPDX-License-Identifier: BSD-3-Clause */
#include "watch/record/caller.h"

#include "watch/record/walk.h"

#include "os/event_path.h"

__attribute__((noinline)) void watch_caller_find(uint64_t *site, uint64_t *via)
{
	enum { STEPS = 64 };
	struct watch_walk w;

	*site = *via = 0;
	watch_walk_begin(&w);
	for (int i = 0; i < STEPS; i++) {
		enum watch_code code = watch_walk_code(&w);

		if (code == WATCH_CODE_OTHER) {
			*site = w.regs.pc;
			return;
		}
		if (code == WATCH_CODE_SYSTEM)
			*via = w.regs.pc;
		if (!watch_walk_step(&w))
			return;
	}
}
