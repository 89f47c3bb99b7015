/* SPDX-License-Identifier: BSD-3-Clause */
/* The recorder's list of code: what has gone, and what has no room, leaves nothing behind that is taken to be there still. */
#define _GNU_SOURCE
#include "watch/record/modules.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/harness/break.h"
#include "tests/harness/test.h"
#include "watch/tool/reader.h"
#include "watch/record/lane.h"

#define PAGE 4096

static struct watch_reader tool;
static int code[2];

static void *start(void)
{
	char name[64], *place;

	CHECK_ERR(watch_reader_create(&tool, 4, 0), 0);
	watch_reader_name(&tool, name, sizeof(name));
	CHECK_EQ(setenv(WATCH_ENVIRONMENT, name, 1), 0);
	CHECK(watch_log_open());
	CHECK_ERR(watch_lane_take(1), 0);
	for (int i = 0; i < 2; i++) {
		code[i] = memfd_create(i ? "b" : "a", MFD_CLOEXEC);
		CHECK(code[i] >= 0 && !ftruncate(code[i], PAGE));
	}
	place = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(place != MAP_FAILED);
	return place;
}

static void put(int which, void *place)
{
	CHECK(mmap(place, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, code[which], 0) ==
	      place);
}

/* The newest of what was there. */
static const struct watch_module *at(const void *place)
{
	const struct watch_lane *lane = watch_lane_mine();

	for (uint32_t i = lane->nr_modules; i-- > 0;)
		if (lane->module[i].start == (uintptr_t)place)
			return &lane->module[i];
	return NULL;
}

TEST(what_is_unmapped_is_over)
{
	char *place = start();

	put(0, place);
	watch_modules_look(1);
	CHECK(at(place));
	CHECK_EQ(at(place)->until, 0);
	watch_modules_unmapped((uintptr_t)place, (uintptr_t)place + PAGE, 2);
	CHECK_EQ(at(place)->until, 2);
	/* That call has failed. */
	watch_modules_look(3);
	CHECK_EQ(at(place)->until, 0);
	CHECK_EQ(munmap(place, PAGE), 0);
	watch_modules_unmapped((uintptr_t)place, (uintptr_t)place + PAGE, 4);
	watch_modules_look(5);
	CHECK_EQ(at(place)->until, 4);
}
TWIN(what_is_unmapped_is_over, unmarked, BREAK(WATCH_OVER));

/* Else its calls would have the name of what it has replaced. */
TEST(what_has_no_room_replaces)
{
	char *place = start();
	const struct watch_lane *lane = watch_lane_mine();
	uint64_t now = 0;

	while (!lane->full_since && now < 2 * WATCH_MODULES) {
		put((int)(now % 2), place);
		watch_modules_look(++now);
	}
	CHECK_EQ(lane->nr_modules, WATCH_MODULES);
	CHECK_EQ(lane->full_since, now);
	CHECK_EQ(at(place)->until, now);
	/* Nor is it trusted when it comes back: what had no room may have been there. */
	put((int)(now % 2), place);
	watch_modules_look(now + 1);
	CHECK_EQ(at(place)->until, now);
}
TWIN(what_has_no_room_replaces, in_silence, BREAK(WATCH_FULL));

/* A program may write anywhere in its memory by mistake, as stress-ng's bad-altstack does. */
TEST(what_the_program_has_written_over_is_not_believed)
{
	char *place = start();
	struct watch_lane *lane = watch_lane_mine();

	lane->nr_modules = UINT32_MAX;
	watch_modules_look(1);
	watch_modules_need((uintptr_t)place, 2);
	watch_modules_unmapped((uintptr_t)place, (uintptr_t)place + PAGE, 3);
	CHECK_EQ(watch_modules_of(lane), WATCH_MODULES);
}
