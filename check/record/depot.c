/* SPDX-License-Identifier: BSD-3-Clause */
#include "check/record/depot.h"

#include <stddef.h>
#include <string.h>

#include "check/shared/log.h"
#include "watch/record/frames.h"
#include "watch/record/lane.h"
#include "watch/record/modules.h"
#include "watch/record/vdso_clock.h"

#include "os/event_path.h"

/* How many places a stack may have. */
#define PROBES 64

struct check_log *check_log_mine(void)
{
	return watch_lane_mine_besides();
}

/* Never 0. Two stacks with one key would be taken for one: of 64 bits, that does not happen. */
static uint64_t key_of(const uint64_t *pc, unsigned int nr)
{
	uint64_t h = nr;

	for (unsigned int i = 0; i < nr; i++) {
		h = (h ^ pc[i]) * UINT64_C(0x9e3779b97f4a7c15);
		h ^= h >> 29;
	}
	return h | 1;
}

static uint32_t keep(struct check_log *log, const uint64_t *pc, unsigned int nr)
{
	const uint64_t key = key_of(pc, nr);

	__atomic_store_n(&log->used, 1, __ATOMIC_RELAXED);
	for (uint64_t i = 0; i < PROBES; i++) {
		const uint64_t at = ((key >> 1) + i) % CHECK_STACKS;
		struct check_stack *s = &log->stack[at];
		uint64_t was = __atomic_load_n(&s->key, __ATOMIC_RELAXED);

		if (!was && __atomic_compare_exchange_n(&s->key, &was, key, false, __ATOMIC_RELAXED,
							__ATOMIC_RELAXED)) {
			s->since = watch_now_ns();
			for (unsigned int k = 0; k < nr; k++)
				watch_modules_need(pc[k], s->since);
			memcpy(s->pc, pc, nr * sizeof(*pc));
			s->nr = nr;
			/* Release pairs with the tool's acquire: the stack is complete. */
			__atomic_store_n(&s->ready, 1, __ATOMIC_RELEASE);
			return (uint32_t)at + 1;
		}
		if (was == key)
			return (uint32_t)at + 1;
	}
	__atomic_fetch_add(&log->counts.no_stack, 1, __ATOMIC_RELAXED);
	return 0;
}

__attribute__((noinline)) uint32_t check_depot_take(void)
{
	struct check_log *log = check_log_mine();
	uint64_t pc[CHECK_FRAMES];
	unsigned int nr = log ? watch_frames_take(pc, CHECK_FRAMES) : 0;

	return nr ? keep(log, pc, nr) : 0;
}
