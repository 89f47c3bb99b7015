/* SPDX-License-Identifier: BSD-3-Clause */
#include "watch/modules.h"

#include <stdbool.h>
#include <string.h>

#include "os/maps.h"
#include "source/confined.h"
#include "watch/lane.h"

#include "os/event_path.h"

/* Where a look has not helped, the next one is not before this: a call must not cost it each time. */
#define LOOK_AGAIN_NS UINT64_C(10000000)

/* Code that a program makes while it runs may come and go by the thousand, and has no name to be found. */
#define NAMELESS_MAX (WATCH_MODULES / 2)

static bool looking, distrusted;
static uint64_t last_futile;

/* The newest entry that holds pc, or NULL. */
static const struct watch_module *find(const struct watch_lane *lane, uint64_t pc)
{
	for (uint32_t i = __atomic_load_n(&lane->nr_modules, __ATOMIC_ACQUIRE); i-- > 0;)
		if (pc - lane->module[i].start < lane->module[i].end - lane->module[i].start)
			return &lane->module[i];
	return NULL;
}

struct look {
	struct watch_lane *lane;
	uint64_t now;
};

static bool note(const struct mrn_mapping *m, void *arg)
{
	struct look *look = arg;
	struct watch_lane *lane = look->lane;
	const struct watch_module *have;
	struct watch_module *entry;
	uint32_t n = lane->nr_modules;

	if (!m->executable)
		return true;
	have = find(lane, m->start);
	if (have && have->start == m->start && have->end == m->end && have->offset == m->offset &&
	    !strcmp(have->path, m->path))
		return true;
	if (n == WATCH_MODULES)
		return false;
	if (n >= NAMELESS_MAX && m->path[0] != '/')
		return true;
	entry = &lane->module[n];
	entry->since = look->now;
	entry->start = m->start;
	entry->end = m->end;
	entry->offset = m->offset;
	strncpy(entry->path, m->path, sizeof(entry->path) - 1);
	__atomic_store_n(&lane->nr_modules, n + 1, __ATOMIC_RELEASE);
	return true;
}

void watch_modules_look(uint64_t now)
{
	struct look look = {watch_lane_mine(), now};

	if (!look.lane || __atomic_exchange_n(&looking, true, __ATOMIC_ACQUIRE))
		return;
	__atomic_store_n(&distrusted, false, __ATOMIC_RELAXED);
	mrn_maps_visit(note, &look);
	__atomic_store_n(&looking, false, __ATOMIC_RELEASE);
}

void watch_modules_need(uint64_t pc, uint64_t now)
{
	const struct watch_lane *lane = watch_lane_mine();

	/* A name that is missing is better than a program that is killed. */
	if (!lane || !pc || mrn_is_confined())
		return;
	if (__atomic_load_n(&distrusted, __ATOMIC_RELAXED)) {
		watch_modules_look(now);
	} else if (!find(lane, pc) &&
		   now - __atomic_load_n(&last_futile, __ATOMIC_RELAXED) > LOOK_AGAIN_NS) {
		watch_modules_look(now);
		if (!find(lane, pc))
			__atomic_store_n(&last_futile, now, __ATOMIC_RELAXED);
	}
}

void watch_modules_distrust(void)
{
	__atomic_store_n(&distrusted, true, __ATOMIC_RELAXED);
}

void watch_modules_restart(void)
{
	looking = false;
}
