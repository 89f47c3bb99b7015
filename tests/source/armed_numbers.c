/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The descriptor that shows what is mapped, by which memory is remembered as armed: once it is not ours any more, or may not
 * be used, nothing more is remembered. That is slower, and nothing else.
 */
#include <signal.h>

#include "tests/harness/child.h"
#include "tests/source/armed_fixture.h"
#include "tests/source/sandbox_fixture.h"

static struct break_later broken;

/* Two pages that will be remembered as armed, two that will not, a hole, and two more. */
static char *p;

static void open_with_memory(unsigned int kinds)
{
	open_source(kinds);
	break_now(&broken);
	use_briefly(p, 2);
	CHECK(is_armed(p) && is_marked(p, MRN_MARK_SURE));
}

static void check_slower_only(void)
{
	/* A hole is seen. */
	CHECK_EQ(mrn_source_arm(source, (uintptr_t)p, 7 * PAGE, NEED), MRN_USE_ONCE);
	check_map(p, 7);
	map_raw(p + 4 * PAGE, 1, ANON | MAP_FIXED_NOREPLACE);
	check_map(p, 7);
	/* What was remembered still is, up to its change. */
	CHECK(is_marked(p, MRN_MARK_SURE) && is_marked(p + PAGE, MRN_MARK_SURE));
	check_raw_changes_are_told(p, 7);
	check_map(p, 7);
	for (int i = 0; i < 7; i++)
		CHECK(!is_marked(p + i * PAGE, MRN_MARK_SURE));
	mrn_source_give_back(source);
	close_source();
}

static void map_memory(void)
{
	p = map_apart(7);
}

static void make_hole(void)
{
	unmap_raw(p + 4 * PAGE, 1);
}

TEST(the_program_closes_it)
{
	map_memory();
	make_hole();
	open_with_memory(MRN_SOURCE_UFFD);
	CHECK_EQ(close(source->uffd.number.maps), 0);
	check_slower_only();
}

/* The other process's memory is in one piece. */
TEST(another_process_is_shown)
{
	char path[64];
	pid_t child;
	int fd;

	map_memory();
	child = fork();
	CHECK(child >= 0);
	while (!child)
		pause();
	make_hole();
	open_with_memory(MRN_SOURCE_UFFD);
	snprintf(path, sizeof(path), "/proc/%d/maps", (int)child);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	CHECK_EQ(dup2(fd, source->uffd.number.maps), source->uffd.number.maps);
	check_slower_only();
	CHECK_EQ(kill(child, SIGKILL), 0);
	CHECK_EQ(end_of(child), -SIGKILL);
}
TWIN(another_process_is_shown, and_believed, BREAK_LATER(broken, UFFD_NUMBERS));

TEST(a_sandbox_forbids_to_ask)
{
	const int nr = SYS_fcntl;
	const struct sock_filter refuse[] = {SANDBOX_REFUSES(nr, SECCOMP_RET_KILL_PROCESS)};

	if (test_is_sanitized())
		SKIP("a sanitizer makes calls of its own");
	map_memory();
	make_hole();
	open_with_memory(MRN_SOURCE_INTERPOSE | MRN_SOURCE_UFFD);
	if (!sandbox_enter_seen(refuse, sizeof(refuse) / sizeof(refuse[0])))
		SKIP("no filters here");
	check_slower_only();
}
