/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What dispatch cannot go on with ends the coverage, and not the program: before the call that does it, and whoever asks is told.
 */
#include <signal.h>
#include <sys/auxv.h>
#include <ucontext.h>

#include "dispatch_fixture.h"
#include "harness/break.h"
#include "harness/child.h"
#include "harness/sync.h"

static bool is_covered(const struct mrn_source *source)
{
	struct mrn_coverage c;

	mrn_source_coverage(source, &c);
	return c.bracketed & MRN_COVER_ALL_CALLERS;
}

/* In a process of its own, for it may be that one's end. */
static void ends(void (*fn)(void))
{
	CHECK_ERR(mrn_source_detach(dispatch_or_skip(0)), 0);
	CHECK_EQ(in_a_child(fn), 0);
}

static void make_calls(void)
{
	for (int i = 0; i < 3; i++)
		CHECK_EQ(test_raw4(SYS_fcntl, -1, 12345, 0, 0), -EBADF);
}

/* --------------------------------------------------------------------------------- an alternate stack without room */

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif
#define LEAST 2048 /* that the kernel takes */
#define LARGE 65536

/* Room for the frame of a signal, and for little more. With tiles a frame is larger, but not of who has none. */
static size_t small(void)
{
	size_t frame = getauxval(AT_MINSIGSTKSZ);

	if (frame > 4096)
		frame = 4096;
	return frame + 512 > LEAST ? frame + 512 : LEAST;
}

/* Nothing is below. */
static char *memory(void)
{
	static char *p;

	if (!p) {
		p = mmap(NULL, 2 * LARGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			 0);
		CHECK(p != MAP_FAILED);
		CHECK_EQ(mprotect(p, LARGE, PROT_NONE), 0);
		p += LARGE;
	}
	return p;
}

static void use_alternate(size_t size)
{
	stack_t stack = {.ss_sp = memory(), .ss_size = size};

	CHECK_EQ(sigaltstack(&stack, NULL), 0);
}

static void use_no_alternate(void)
{
	CHECK_EQ(sigaltstack(&(stack_t){.ss_flags = SS_DISABLE}, NULL), 0);
}

static void take_the_smallest(void)
{
	struct mrn_source *source = dispatch_or_skip(0);

	use_alternate(LARGE);
	make_calls();
	/* The kernel refuses it, and the one that there is stays. */
	CHECK_EQ(sigaltstack(&(stack_t){.ss_sp = memory(), .ss_size = 100}, NULL), -1);
	CHECK_EQ(errno, ENOMEM);
	CHECK(is_covered(source));
	use_alternate(LEAST);
	make_calls();
	CHECK(!is_covered(source));
	CHECK_ERR(mrn_source_check(source), -EOPNOTSUPP);
	CHECK_ERR(mrn_source_detach(source), 0);
}

TEST(an_alternate_stack_without_room)
{
	ends(take_the_smallest);
}
TWIN(an_alternate_stack_without_room, is_used, BREAK(DISPATCH_ROOM));

/* By the frame that a handler goes back with. */
static void put_small_one_into_frame(int sig, siginfo_t *info, void *context)
{
	((ucontext_t *)context)->uc_stack = (stack_t){.ss_sp = memory(), .ss_size = LEAST};
}

static void return_to_the_smallest(void)
{
	struct sigaction action = {.sa_sigaction = put_small_one_into_frame,
				   .sa_flags = SA_SIGINFO};
	struct mrn_source *source = dispatch_or_skip(0);

	use_no_alternate();
	CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
	CHECK(is_covered(source));
	CHECK_EQ(raise(SIGUSR1), 0);
	make_calls();
	CHECK(!is_covered(source));
	CHECK_ERR(mrn_source_detach(source), 0);
}

TEST(an_alternate_stack_without_room_from_a_handler)
{
	ends(return_to_the_smallest);
}
TWIN(an_alternate_stack_without_room_from_a_handler, is_used, BREAK(DISPATCH_ROOM));

static char why[512];

static int attach(struct mrn_source **source)
{
	struct mrn_source_opts opts = {.size = sizeof(opts), .why = why, .why_size = sizeof(why)};

	return mrn_source_attach(mrn_mm_self(), MRN_SOURCE_DISPATCH, &opts, source);
}

static void attach_with_a_small_one(void)
{
	struct mrn_source *source;

	use_alternate(small());
	CHECK_ERR(attach(&source), -EBUSY);
	CHECK_MSG(strstr(why, "alternate stack"), "%s", why);
	use_alternate(LARGE);
	CHECK_ERR(attach(&source), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}

TEST(an_alternate_stack_without_room_at_attach)
{
	ends(attach_with_a_small_one);
}
TWIN(an_alternate_stack_without_room_at_attach, is_used, BREAK(DISPATCH_ROOM));

static struct test_gate has_one, tried;

static void have_a_small_one(void *arg)
{
	use_alternate(small());
	test_gate_open(&has_one);
	test_gate_wait(&tried);
	use_no_alternate();
}

static void attach_beside_one(void)
{
	struct mrn_source *source;
	struct test_thread t;

	test_thread(&t, have_a_small_one, NULL);
	test_gate_wait(&has_one);
	CHECK_ERR(attach(&source), -EBUSY);
	CHECK_MSG(strstr(why, "alternate stack"), "%s", why);
	test_gate_open(&tried);
	test_join(&t);
}

TEST(an_alternate_stack_without_room_of_another_thread)
{
	ends(attach_beside_one);
}
TWIN(an_alternate_stack_without_room_of_another_thread, is_used, BREAK(DISPATCH_ROOM));
