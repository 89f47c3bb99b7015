/* SPDX-License-Identifier: BSD-3-Clause */
#include <stddef.h>
#include <string.h>

#include "check/record/finding.h"

#include "check/record/depot.h"
#include "watch/record/lane.h"
#include "watch/record/tid.h"
#include "watch/record/vdso_clock.h"

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

static struct check_finding complete(const struct check_finding *finding, const char *op)
{
	struct check_finding f = *finding;

	f.key = key_of(finding, op);
	f.pid = watch_lane_pid();
	f.tid = watch_thread_number();
	for (size_t i = 0; op && op[i] && i < sizeof(f.op) - 1; i++)
		f.op[i] = op[i];
	return f;
}

static bool claim(struct check_finding *at, uint64_t key, uint64_t *was)
{
	/* Acquire pairs with the release in check_finding_close: who had the place is done with it. */
	*was = __atomic_load_n(&at->key, __ATOMIC_RELAXED);
	return !*was && __atomic_compare_exchange_n(&at->key, was, key, false, __ATOMIC_ACQUIRE,
						    __ATOMIC_RELAXED);
}

static void fill(struct check_finding *to, const struct check_finding *f)
{
	const size_t from = offsetof(struct check_finding, grade);

	memcpy((char *)to + from, (const char *)f + from, sizeof(*f) - from);
	/* Release pairs with the tool's acquire: the finding is complete. */
	__atomic_store_n(&to->ready, 1, __ATOMIC_RELEASE);
}

/* 1 + the place, if it is the first one there. */
static uint32_t add(struct check_log *log, const struct check_finding *finding)
{
	for (uint64_t i = 0; i < PROBES; i++) {
		uint32_t kept = 0;
		struct check_finding *f = &log->finding[((finding->key >> 1) + i) % CHECK_FINDINGS];
		uint64_t was;

		if (claim(f, finding->key, &was)) {
			fill(f, finding);
			was = finding->key;
			kept = (uint32_t)(f - log->finding) + 1;
		}
		if (was == finding->key) {
			/* Release pairs with the tool's acquire: if it sees the number, it sees the count. */
			if (!__atomic_fetch_add(&f->count, 1, __ATOMIC_RELAXED))
				__atomic_fetch_add(&log->findings, 1, __ATOMIC_RELEASE);
			return kept;
		}
	}
	CHECK_COUNT(no_finding);
	return 0;
}

void check_finding_add(const struct check_finding *finding, const char *op)
{
	const struct check_finding f = complete(finding, op);
	struct check_log *log = check_log_mine();

	if (!log)
		return;
	__atomic_store_n(&log->used, 1, __ATOMIC_RELAXED);
	add(log, &f);
}

/* Where the next free place may be: few are open at a time. */
static uint32_t next;

uint32_t check_finding_open(const struct check_finding *finding, const char *op)
{
	const struct check_finding f = complete(finding, op);
	const uint32_t first = __atomic_load_n(&next, __ATOMIC_RELAXED);
	struct check_log *log = check_log_mine();

	if (!log)
		return 0;
	__atomic_store_n(&log->used, 1, __ATOMIC_RELAXED);
	for (uint32_t i = 0; i < PROBES; i++) {
		const uint32_t at = (first + i) % CHECK_OPEN_MAX;
		struct check_finding *open = &log->open[at];
		uint64_t was;

		if (!claim(open, f.key, &was))
			continue;
		open->count = 1;
		fill(open, &f);
		__atomic_store_n(&next, at + 1, __ATOMIC_RELAXED);
		return at + 1;
	}
	add(log, &f);
	return 0;
}

/* One that is certain has another place in the log. */
static void add_unsure(struct check_log *log, const struct check_finding *finding)
{
	struct check_finding f = *finding;

	f.unsure = true;
	f.key ^= UINT64_C(1) << 63;
	add(log, &f);
}

uint32_t check_finding_close(uint32_t number, enum check_verdict verdict)
{
	struct check_log *log = number ? check_log_mine() : NULL;
	struct check_finding *open = log ? &log->open[number - 1] : NULL;
	uint32_t kept = 0;

	if (!open)
		return 0;
	/* Before its place is free: one that is killed here is found twice, and not never. */
	if (verdict == CHECK_FOUND)
		kept = add(log, open);
	else if (verdict == CHECK_UNSURE)
		add_unsure(log, open);
	__atomic_store_n(&open->ready, 0, __ATOMIC_RELAXED);
	/* Release: see claim. */
	__atomic_store_n(&open->key, 0, __ATOMIC_RELEASE);
	__atomic_store_n(&next, number - 1, __ATOMIC_RELAXED);
	return kept;
}

void check_finding_ended(uint32_t kept, bool here)
{
	struct check_log *log = kept ? check_log_mine() : NULL;

	if (!log)
		return;
	log->finding[kept - 1].ended = here ? check_depot_take() : 0;
	/* Release pairs with the tool's acquire: it sees the stack's number. */
	__atomic_store_n(&log->finding[kept - 1].ended_at, watch_now_ns(), __ATOMIC_RELEASE);
}
