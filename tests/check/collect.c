/* SPDX-License-Identifier: BSD-3-Clause */
/* What mrn check takes out of a log, whenever it looks and however far whoever writes there has come. */
#include <stdlib.h>
#include <string.h>

#include "check/tool/collect.h"
#include "os/clock.h"
#include "tests/harness/break.h"
#include "tests/harness/test.h"

enum { SHIFT = 4, PID = 77 };

static struct collection c;
static struct watch_lane *lane;
static struct check_log *file;
static unsigned int told;

static void found(void *arg)
{
	CHECK(arg == &c);
	told++;
}

static void look(bool last)
{
	collection_look(&c, PID, lane, last);
}

static void put_stack(uint32_t number, bool complete)
{
	struct check_stack *s = &file->stack[number - 1];

	s->key = number;
	s->nr = 2;
	s->pc[0] = 100 * number;
	s->pc[1] = 100 * number + 1;
	s->ready = complete;
}

/* A use whose stacks are 1, 2 and 3. */
static struct check_finding *put(struct check_finding *table, size_t at, bool complete)
{
	struct check_finding *f = &table[at];

	*f = (struct check_finding){
		.key = at + 1,
		.ready = complete,
		.count = 1,
		.grade = CHECK_USE,
		.registered = 1,
		.changed = 2,
		.used = 3,
	};
	if (table == file->finding)
		file->findings++;
	file->used = 1;
	return f;
}

static void begin(void)
{
	lane = calloc(1, watch_lane_size(SHIFT, sizeof(*file)));
	CHECK(lane);
	file = watch_lane_besides(lane, SHIFT);
	CHECK_ERR(collection_create(&c, SHIFT, found, &c), 0);
	for (uint32_t i = 1; i <= 3; i++)
		put_stack(i, true);
}

TEST(a_finding_is_taken_in_once)
{
	struct check_finding *f;

	begin();
	look(false);
	CHECK_EQ(c.nr, 0);
	f = put(file->finding, 5, true);
	look(false);
	f->count = 4;
	look(false);
	CHECK_EQ(c.nr, 1);
	CHECK_EQ(told, 1);
	CHECK_EQ(c.item[0].used.nr, 2);
	CHECK_EQ(c.item[0].finding.count, 0);
	look(true);
	CHECK_EQ(c.nr, 1);
	CHECK_EQ(c.item[0].finding.count, 4);
	/* The next process begins anew. */
	CHECK(!file->used && !f->key);
}

TEST(a_stack_that_comes_late_is_not_missing)
{
	begin();
	put_stack(3, false);
	put(file->finding, 5, true);
	for (int i = 0; i < 3; i++)
		look(false);
	CHECK_EQ(c.nr, 0);
	put_stack(3, true);
	look(false);
	CHECK_EQ(c.nr, 1);
	CHECK_EQ(told, 1);
	CHECK_EQ(c.item[0].used.nr, 2);
}
TWIN(a_stack_that_comes_late_is_not_missing, once, BREAK(CHECK_LOOKED_ONCE));

TEST(a_finding_that_comes_late_is_told_while_the_program_runs)
{
	struct check_finding *f;

	begin();
	f = put(file->finding, 5, false);
	put(file->finding, 9, true)->changed = 1;
	look(false);
	/* What is complete need not wait for it. */
	CHECK_EQ(c.nr, 1);
	f->ready = 1;
	look(false);
	CHECK_EQ(c.nr, 2);
	CHECK_EQ(told, 2);
}
TWIN(a_finding_that_comes_late_is_told_while_the_program_runs, once, BREAK(CHECK_LOOKED_ONCE));

TEST(at_the_end_what_there_is_is_all)
{
	begin();
	put_stack(3, false);
	put(file->finding, 5, true);
	put(file->finding, 6, false);
	look(false);
	CHECK_EQ(c.nr, 0);
	look(true);
	CHECK_EQ(c.nr, 1);
	CHECK_EQ(told, 1);
	CHECK_EQ(c.item[0].finding.count, 1);
	CHECK_EQ(c.item[0].registered.nr, 2);
	CHECK_EQ(c.item[0].used.nr, 0);
}

/* It is told in one report. */
TEST(a_change_waits_for_the_end_of_its_registration)
{
	/* This test may take its time. */
	const uint64_t later = UINT64_C(3600000000000);
	struct check_finding *f[3];

	begin();
	for (size_t i = 0; i < 3; i++) {
		f[i] = put(file->finding, i, true);
		f[i]->grade = CHECK_CHANGE;
		f[i]->used = (uint32_t)i + 1;
		f[i]->changed_at = mrn_now_ns() + later;
	}
	/* It is long ago. */
	f[0]->changed_at -= 2 * later;
	look(false);
	CHECK_EQ(c.nr, 1);
	f[1]->ended = 2;
	f[1]->ended_at = f[1]->changed_at + 1;
	look(false);
	CHECK_EQ(c.nr, 2);
	CHECK_EQ(c.item[1].ended.nr, 2);
	CHECK_EQ(c.item[1].finding.ended_at, f[1]->ended_at);
	/* Its end is not to come. */
	look(true);
	CHECK_EQ(c.nr, 3);
}
TWIN(a_change_waits_for_the_end_of_its_registration, ends, BREAK(CHECK_ENDS));

TEST(what_is_open_at_the_end_counts)
{
	begin();
	put(file->finding, 5, true);
	put(file->open, 8, true);
	put(file->open, 9, true);
	put(file->open, 10, false);
	look(false);
	CHECK_EQ(c.nr, 1);
	look(true);
	CHECK_EQ(c.nr, 2);
	CHECK_EQ(c.item[0].finding.count, 1);
	CHECK(!c.item[0].finding.unsure);
	/* Nobody knows what has become of those. */
	CHECK_EQ(c.item[1].finding.count, 2);
	CHECK(c.item[1].finding.unsure);
}

/* By the program, whose memory it is. */
TEST(what_was_written_there_by_mistake_is_not_believed)
{
	begin();
	put(file->finding, 1, true)->grade = 200;
	put(file->finding, 2, true)->of = 200;
	put(file->finding, 3, true)->used = UINT32_MAX;
	put(file->finding, 4, true)->item = UINT32_MAX;
	file->stack[0].nr = UINT32_MAX;
	memset(file->finding[3].op, 'x', sizeof(file->finding[3].op));
	look(false);
	CHECK_EQ(c.nr, 2);
	CHECK_EQ(c.item[0].used.nr, 0);
	CHECK_EQ(c.item[0].registered.nr, CHECK_FRAMES);
	CHECK_EQ(strlen(c.item[0].finding.op), sizeof(c.item[0].finding.op) - 1);
	look(true);
	CHECK_EQ(c.nr, 2);
}
