/* SPDX-License-Identifier: BSD-3-Clause */
/* Which memory shows no file on disk is remembered (source/plain.h), and forgotten when a call changes it. */
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "source/bracket/calls.h"
#include "tests/source/armed_fixture.h"

#define BRACKETED                                                               \
	(MRN_CAUSE_BIT(MRN_CAUSE_MUNMAP) | MRN_CAUSE_BIT(MRN_CAUSE_MAP_FIXED) | \
	 MRN_COVER_PAGE_CACHE)

static char *p;
static int file;

static int arm(void)
{
	return mrn_source_arm(source, (uintptr_t)p, 2 * PAGE, BRACKETED);
}

static bool is_remembered(void)
{
	return mrn_marks_all(&source->plain.marks, (uintptr_t)p, (uintptr_t)p + 2 * PAGE,
			     MRN_MARK_MAYBE) &&
	       mrn_marks_all(&source->plain.marks, (uintptr_t)p, (uintptr_t)p + 2 * PAGE,
			     MRN_MARK_SURE);
}

static void open_with_file(void)
{
	char name[] = "/var/tmp/mrn-plain-XXXXXX";
	void *on_disk;

	file = mkstemp(name);
	CHECK(file >= 0);
	CHECK_EQ(unlink(name), 0);
	CHECK_EQ(ftruncate(file, 2 * PAGE), 0);
	open_source_of(MRN_SOURCE_INTERPOSE);
	p = map_apart(2);
	on_disk = mmap(NULL, 2 * PAGE, RW, MAP_SHARED, file, 0);
	CHECK(on_disk != MAP_FAILED);
	if (mrn_source_arm(source, (uintptr_t)on_disk, 2 * PAGE, BRACKETED) != MRN_USE_ONCE)
		SKIP("no disk behind /var/tmp");
}

static void map_file(void)
{
	CHECK(mmap(p, 2 * PAGE, RW, MAP_SHARED | MAP_FIXED, file, 0) == p);
}

/* Nothing tells when something comes there. */
TEST(a_hole_is_not_remembered)
{
	open_with_file();
	CHECK_EQ(mrn_sys2(SYS_munmap, (long)(p + PAGE), PAGE), 0);
	CHECK_EQ(arm(), 0);
	CHECK(!is_remembered());
	CHECK(!mrn_marks_has(&source->plain.marks, (uintptr_t)p, (uintptr_t)p + 2 * PAGE,
			     MRN_MARK_SURE));
	close_source();
}
TWIN(a_hole_is_not_remembered, holes_are, BREAK(PLAIN_HOLES));

TEST(a_file_comes_where_there_was_none)
{
	open_with_file();
	CHECK_EQ(arm(), 0);
	CHECK(is_remembered());
	map_file();
	CHECK_EQ(arm(), MRN_USE_ONCE);
	CHECK(!is_remembered());
	/* And goes again. */
	CHECK(mmap(p, 2 * PAGE, RW, ANON | MAP_FIXED, -1, 0) == p);
	CHECK_EQ(arm(), 0);
	CHECK(is_remembered());
	/* In two steps. */
	CHECK_EQ(munmap(p, 2 * PAGE), 0);
	CHECK(mmap(p, 2 * PAGE, RW, MAP_SHARED, file, 0) == p);
	CHECK_EQ(arm(), MRN_USE_ONCE);
	close_source();
}
TWIN(a_file_comes_where_there_was_none, is_not_forgotten, BREAK(PLAIN_FORGET));
TWIN(a_file_comes_where_there_was_none, not_told, BREAK(BRACKET_CHANGING));

/* Into addresses that were freed by a call that nobody has seen. */
TEST(a_file_comes_to_free_addresses)
{
	open_with_file();
	CHECK_EQ(arm(), 0);
	unmap_raw(p, 2);
	CHECK(mmap(p, 2 * PAGE, RW, MAP_SHARED, file, 0) == p);
	CHECK_EQ(arm(), MRN_USE_ONCE);
	close_source();
}
TWIN(a_file_comes_to_free_addresses, not_taken_for_new, BREAK(BRACKET_FRESH));

static void then_map_file(void)
{
	mrn_check_plain_look_hook = NULL;
	map_file();
}

/* In a signal handler, too, which the thread that looks cannot wait for: a bracket waits for nobody. */
TEST(a_file_comes_after_the_look)
{
	open_with_file();
	mrn_check_plain_look_hook = then_map_file;
	CHECK_EQ(arm(), 0);
	CHECK(!is_remembered());
	CHECK_EQ(arm(), MRN_USE_ONCE);
	close_source();
}
TWIN(a_file_comes_after_the_look, is_not_forgotten, BREAK(PLAIN_FORGET));

/* The bracket has passed by the marks, and the call has not changed anything yet. */
TEST(a_look_during_a_bracket_is_not_remembered)
{
	struct mrn_bracket b;

	open_with_file();
	mrn_bracket_mmap_fixed(&b, p, 2 * PAGE, MAP_SHARED | MAP_FIXED, file);
	CHECK_EQ(arm(), 0);
	CHECK_EQ(mrn_sys6(SYS_mmap, (long)p, 2 * PAGE, RW, MAP_SHARED | MAP_FIXED, file, 0), p);
	mrn_bracket_end(&b, false);
	CHECK_EQ(arm(), MRN_USE_ONCE);
	close_source();
}
TWIN(a_look_during_a_bracket_is_not_remembered, but_is_here, BREAK(PLAIN_STEADY));

static bool known_in_look;

static void then_ask(void)
{
	mrn_check_plain_look_hook = NULL;
	known_in_look = is_remembered();
}

/* What was found before the file came was noted too late. The next look must not make it count. */
TEST(a_look_is_not_believed_before_it_is_over)
{
	open_with_file();
	mrn_check_plain_look_hook = then_map_file;
	CHECK_EQ(arm(), 0);
	mrn_check_plain_look_hook = then_ask;
	CHECK_EQ(arm(), MRN_USE_ONCE);
	CHECK(!known_in_look);
	CHECK(!is_remembered());
	close_source();
}
TWIN(a_look_is_not_believed_before_it_is_over, it_is, BREAK(PLAIN_AGAIN));
