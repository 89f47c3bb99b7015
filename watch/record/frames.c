/* SPDX-License-Identifier: BSD-3-Clause */
#include "watch/record/frames.h"

#include "watch/record/walk.h"

#include "os/event_path.h"

/* So many frames of ours may lie between the program's. */
#define OURS_MAX 64

__attribute__((noinline)) unsigned int watch_frames_take(uint64_t *pc, unsigned int max)
{
	unsigned int n = 0, ours = 0;
	struct watch_walk w;

	watch_walk_begin(&w);
	do {
		if (watch_walk_code(&w) != WATCH_CODE_OURS)
			pc[n++] = w.regs.pc;
		else if (++ours > OURS_MAX)
			break;
	} while (n < max && watch_walk_step(&w));
	return n;
}
