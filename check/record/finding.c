/* SPDX-License-Identifier: BSD-3-Clause */
#include <stddef.h>
#include <string.h>

#include "check/record/finding.h"

#include "check/record/depot.h"
#include "watch/record/lane.h"
#include "watch/record/tid.h"

#include "os/event_path.h"

#define PROBES 64

void check_count(size_t member)
{
	struct check_log *log = check_log_mine();

	if (log)
		__atomic_fetch_add((uint64_t *)(void *)((char *)log + member), 1, __ATOMIC_RELAXED);
}

/* The same place in the program, doing the same: whatever the addresses are. Never 0. */
static uint64_t key_of(const struct check_finding *f, const char *op)
{
	const uint64_t part[] = {f->grade, f->of, f->cause, f->registered, f->changed, f->used};
	uint64_t h = (uintptr_t)op;

	for (size_t i = 0; i < sizeof(part) / sizeof(part[0]); i++) {
		h = (h ^ part[i]) * UINT64_C(0x9e3779b97f4a7c15);
		h ^= h >> 29;
	}
	return h | 1;
}

static void fill(struct check_finding *to, const struct check_finding *f, const char *op)
{
	const size_t from = offsetof(struct check_finding, grade);

	memcpy((char *)to + from, (const char *)f + from, sizeof(*f) - from);
	to->pid = watch_lane_pid();
	to->tid = watch_thread_number();
	for (size_t i = 0; op && op[i] && i < sizeof(to->op) - 1; i++)
		to->op[i] = op[i];
	/* Release pairs with the tool's acquire: the finding is complete. */
	__atomic_store_n(&to->ready, 1, __ATOMIC_RELEASE);
}

uint32_t check_finding_open(const struct check_finding *finding, const char *op)
{
	struct check_log *log = check_log_mine();
	const uint64_t key = key_of(finding, op);

	if (log)
		__atomic_store_n(&log->used, 1, __ATOMIC_RELAXED);
	for (uint64_t i = 0; log && i < PROBES; i++) {
		const uint64_t at = ((key >> 1) + i) % CHECK_FINDINGS;
		struct check_finding *f = &log->finding[at];
		uint64_t was = __atomic_load_n(&f->key, __ATOMIC_RELAXED);

		if (!was && __atomic_compare_exchange_n(&f->key, &was, key, false, __ATOMIC_RELAXED,
							__ATOMIC_RELAXED)) {
			fill(f, finding, op);
			was = key;
		}
		if (was == key) {
			__atomic_fetch_add(&f->open, 1, __ATOMIC_RELAXED);
			return (uint32_t)at + 1;
		}
	}
	CHECK_COUNT(no_finding);
	return 0;
}

void check_finding_close(uint32_t number, bool found)
{
	struct check_log *log = number ? check_log_mine() : NULL;
	struct check_finding *f = log ? &log->finding[number - 1] : NULL;

	if (!f)
		return;
	/* Release pairs with the tool's acquire: if it sees the number, it sees the count. */
	if (found && !__atomic_fetch_add(&f->count, 1, __ATOMIC_RELAXED))
		__atomic_fetch_add(&log->findings, 1, __ATOMIC_RELEASE);
	__atomic_fetch_sub(&f->open, 1, __ATOMIC_RELAXED);
}

void check_finding_add(const struct check_finding *finding, const char *op)
{
	check_finding_close(check_finding_open(finding, op), true);
}
