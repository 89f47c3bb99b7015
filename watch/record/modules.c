/* SPDX-License-Identifier: BSD-3-Clause */
#include "watch/record/modules.h"

#include <string.h>

#include "watch/shared/check.h"
#include "os/maps.h"
#include "source/confined.h"
#include "watch/record/images.h"
#include "watch/record/lane.h"
#include "watch/record/vdso_clock.h"

#include "os/event_path.h"

/* After a useless look, the next one is not before this: not every call may cost one. */
#define LOOK_AGAIN_NS UINT64_C(10000000)

/* Code that a program generates may come and go by the thousand, and has no name to find. */
#define NAMELESS_MAX (WATCH_MODULES / 2)

static bool looking;
/* How often the list has been called doubtful, and up to which of those a look has gone since. */
static uint32_t doubts, settled;
/* How many say that code may leave without a word. */
static uint32_t leaving;
/* When a look has found no module of that name, and no table. */
static uint64_t last_futile, last_without_table;
/* How often something in the list has been unmapped. */
static uint32_t changes;

/* The newest entry that holds pc, or NULL; it may be unmapped by now. */
static const struct watch_module *find(const struct watch_lane *lane, uint64_t pc)
{
	for (uint32_t i = watch_modules_of(lane); i-- > 0;)
		if (pc - lane->module[i].start < lane->module[i].end - lane->module[i].start)
			return &lane->module[i];
	return NULL;
}

/* True if there is one that is still mapped. */
static bool has(const struct watch_lane *lane, uint64_t pc)
{
	const struct watch_module *m = find(lane, pc);

	return m && !__atomic_load_n(&m->until, __ATOMIC_RELAXED);
}

struct look {
	struct watch_lane *lane;
	struct watch_images_look images;
	uint64_t now;
	uint32_t changes;
};

static bool is_same(const struct watch_module *a, const struct mrn_mapping *b)
{
	return a->start == b->start && a->end == b->end && a->offset == b->offset &&
	       a->inode == b->inode && a->dev_major == b->dev_major &&
	       a->dev_minor == b->dev_minor && !strcmp(a->path, b->path);
}

/*
 * It is mapped, although announced as unmapped: the call has failed. Unless it was unmapped after this look has read
 * it.
 */
static void is_there_still(const struct look *look, struct watch_module *m)
{
	if (__atomic_load_n(&changes, __ATOMIC_ACQUIRE) == look->changes)
		__atomic_store_n(&m->until, 0, __ATOMIC_RELAXED);
}

/* It gets no entry. But what it replaces is marked. */
static void note_the_end(struct watch_lane *lane, const struct mrn_mapping *m, uint64_t now)
{
	for (uint32_t i = 0; i < watch_modules_of(lane) && !MRN_BROKEN(WATCH_FULL); i++) {
		struct watch_module *old = &lane->module[i];

		if (old->start < m->end && old->end > m->start &&
		    !__atomic_load_n(&old->until, __ATOMIC_RELAXED))
			__atomic_store_n(&old->until, now, __ATOMIC_RELAXED);
	}
}

static bool note(const struct mrn_mapping *m, void *arg)
{
	struct look *look = arg;
	struct watch_lane *lane = look->lane;
	struct watch_module *have, *entry;
	uint32_t n = watch_modules_of(lane);

	watch_images_see(&look->images, m);
	if (!m->executable)
		return true;
	have = (struct watch_module *)(uintptr_t)find(lane, m->start);
	if (have && is_same(have, m)) {
		/* Once some have no entry, one of them may have been there meanwhile. */
		if (__atomic_load_n(&have->until, __ATOMIC_RELAXED) && !lane->full_since)
			is_there_still(look, have);
		return true;
	}
	if (n == WATCH_MODULES || (n >= NAMELESS_MAX && m->path[0] != '/')) {
		note_the_end(lane, m, look->now);
		if (n == WATCH_MODULES && !lane->full_since)
			__atomic_store_n(&lane->full_since, look->now, __ATOMIC_RELAXED);
		return true;
	}
	entry = &lane->module[n];
	entry->since = look->now;
	entry->until = 0;
	entry->start = m->start;
	entry->end = m->end;
	entry->offset = m->offset;
	entry->inode = m->inode;
	entry->dev_major = m->dev_major;
	entry->dev_minor = m->dev_minor;
	/* All of it: the lane may have been another process's. */
	strncpy(entry->path, m->path, sizeof(entry->path) - 1);
	__atomic_store_n(&lane->nr_modules, n + 1, __ATOMIC_RELEASE);
	return true;
}

static bool is_doubtful(void)
{
	return __atomic_load_n(&settled, __ATOMIC_ACQUIRE) !=
	       __atomic_load_n(&doubts, __ATOMIC_ACQUIRE);
}

void watch_modules_look(uint64_t now)
{
	/* One at a time, and not on what may be a small stack for signals. */
	static struct look look;
	uint32_t until = __atomic_load_n(&doubts, __ATOMIC_ACQUIRE);
	struct watch_lane *lane = watch_lane_mine();
	bool again = true;

	if (!lane || __atomic_exchange_n(&looking, true, __ATOMIC_ACQUIRE))
		return;
	look.lane = lane;
	look.now = now;
	look.changes = __atomic_load_n(&changes, __ATOMIC_ACQUIRE);
	for (int i = 0; i < 2 && again; i++) {
		watch_images_begin(&look.images);
		again = watch_images_end(&look.images, !mrn_maps_visit(note, &look));
	}
	__atomic_store_n(&settled, until, __ATOMIC_RELEASE);
	if (__atomic_load_n(&changes, __ATOMIC_ACQUIRE) != look.changes)
		watch_modules_distrust();
	__atomic_store_n(&looking, false, __ATOMIC_RELEASE);
}

void watch_modules_need(uint64_t pc, uint64_t now)
{
	const struct watch_lane *lane = watch_lane_mine();

	/* A missing name is better than a killed program. */
	if (!lane || !pc || mrn_is_confined())
		return;
	if (is_doubtful()) {
		watch_modules_look(now);
	} else if (!has(lane, pc) &&
		   now - __atomic_load_n(&last_futile, __ATOMIC_RELAXED) > LOOK_AGAIN_NS) {
		watch_modules_look(now);
		if (!has(lane, pc))
			__atomic_store_n(&last_futile, now, __ATOMIC_RELAXED);
	}
}

/* Code that the program has generated: no look will find a table for it. */
static bool is_nameless(const struct watch_lane *lane, uint64_t pc)
{
	const struct watch_module *m = find(lane, pc);

	return m && !__atomic_load_n(&m->until, __ATOMIC_RELAXED) && m->path[0] != '/';
}

static bool may_leave(void)
{
	return __atomic_load_n(&leaving, __ATOMIC_ACQUIRE);
}

bool watch_modules_table(uint64_t pc, struct watch_cfi *cfi)
{
	const struct watch_lane *lane = watch_lane_mine();
	uint64_t now;

	if (may_leave())
		return false;
	if (is_doubtful()) {
		if (lane && !mrn_is_confined())
			watch_modules_look(watch_now_ns());
		if (is_doubtful())
			return false;
	}
	if (watch_images_find(pc, cfi))
		return cfi->table;
	if (!lane || mrn_is_confined() || is_nameless(lane, pc))
		return false;
	now = watch_now_ns();
	if (now - __atomic_load_n(&last_without_table, __ATOMIC_RELAXED) <= LOOK_AGAIN_NS)
		return false;
	watch_modules_look(now);
	if (watch_images_find(pc, cfi))
		return cfi->table;
	__atomic_store_n(&last_without_table, now, __ATOMIC_RELAXED);
	return false;
}

uint64_t watch_modules_version(void)
{
	return is_doubtful() || may_leave() ? 0 : UINT64_C(1) + watch_images_changes();
}

void watch_modules_unmapped(uint64_t start, uint64_t end, uint64_t now)
{
	struct watch_lane *lane = watch_lane_mine();
	uint32_t n;

	/* A range over everything, from exec, marks nothing: exec fails, or the list ends. */
	if (end - start >= WATCH_EVERYTHING)
		return;
	watch_images_unmapped(start, end);
	if (!lane || MRN_BROKEN(WATCH_OVER))
		return;
	n = watch_modules_of(lane);
	for (uint32_t i = 0; i < n; i++) {
		struct watch_module *m = &lane->module[i];

		if (m->start >= end || m->end <= start ||
		    __atomic_load_n(&m->until, __ATOMIC_RELAXED))
			continue;
		__atomic_store_n(&m->until, now, __ATOMIC_RELAXED);
		/*
		 * Release pairs with the look's acquire: a look that sees the same number as before has read before
		 * this.
		 */
		__atomic_fetch_add(&changes, 1, __ATOMIC_RELEASE);
	}
}

void watch_modules_may_leave(bool begins)
{
	__atomic_fetch_add(&leaving, begins ? 1 : UINT32_MAX, __ATOMIC_SEQ_CST);
}

void watch_modules_distrust(void)
{
	__atomic_fetch_add(&doubts, 1, __ATOMIC_RELEASE);
}

void watch_modules_restart(void)
{
	looking = false;
}
