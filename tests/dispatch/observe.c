/* SPDX-License-Identifier: BSD-3-Clause */
/* The observer of calls: what it is shown, what it may change, and that the program finds its registers as they were. */
#include <linux/io_uring.h>

#include "source/dispatch/dispatch.h"
#include "source/observe.h"
#include "tests/dispatch/fixture.h"
#include "tests/harness/break.h"

static struct mrn_observer observer;
static struct {
	unsigned int calls;
	long a[6];
} seen;
static void (*changes)(long a[6]);
static long gives;
static bool makes;

static bool sees(long nr, long a[6], long *result)
{
	seen.calls++;
	memcpy(seen.a, a, sizeof(seen.a));
	if (changes)
		changes(a);
	if (!makes)
		return false;
	mrn_observed_call(nr, a);
	*result = gives;
	errno = EDOM;
	return true;
}

static struct mrn_source *observe_or_skip(long nr)
{
	observer = (struct mrn_observer){.sees = sees};
	observer.wanted[nr / 64] = UINT64_C(1) << (nr % 64);
	mrn_observe(&observer);
	return dispatch_or_skip(0);
}

struct registers {
	long di, si, dx, r10;
};

/* Makes a call, and says what is in the registers afterwards. */
static long call(long nr, struct registers *r)
{
	register long r10 __asm__("r10") = r->r10;
	register long r8 __asm__("r8") = 0;
	register long r9 __asm__("r9") = 0;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret), "+D"(r->di), "+S"(r->si), "+d"(r->dx), "+r"(r10), "+r"(r8),
			   "+r"(r9)
			 : "0"(nr)
			 : "rcx", "r11", "memory");
	r->r10 = r10;
	return ret;
}

TEST(shows_what_is_wanted)
{
	struct mrn_source *source = observe_or_skip(SYS_lseek);
	struct registers r = {-1, 7, 8, 9};

	CHECK_EQ(call(SYS_lseek, &r), -EBADF);
	CHECK_EQ(seen.calls, 1);
	CHECK_EQ(seen.a[0], -1);
	CHECK_EQ(seen.a[1], 7);
	CHECK_EQ(seen.a[2], 8);
	CHECK_EQ(seen.a[3], 9);
	call(SYS_getppid, &r);
	CHECK_EQ(seen.calls, 1);
	/* Past all tables. */
	CHECK_EQ(call(-1, &r), -ENOSYS);
	CHECK_EQ(call(SYS_lseek + MRN_OBSERVED, &r), -ENOSYS);
	CHECK_EQ(seen.calls, 1);
	CHECK_ERR(mrn_source_detach(source), 0);
}

static int other_fd;

static void to_other_fd(long a[6])
{
	a[0] = other_fd;
	a[1] = 4;
	a[2] = 0;
}

/* A call that goes on as it came, with other arguments. */
TEST(changes_arguments)
{
	struct mrn_source *source = observe_or_skip(SYS_lseek);
	struct registers r = {-1, 7, 8, 9};

	CHECK((other_fd = memfd_create("file", 0)) >= 0);
	changes = to_other_fd;
	CHECK_EQ(call(SYS_lseek, &r), 4);
	CHECK_EQ(r.di, -1);
	CHECK_EQ(r.si, 7);
	CHECK_EQ(r.dx, 8);
	CHECK_EQ(r.r10, 9);
	changes = NULL;
	CHECK_EQ(call(SYS_lseek, &r), -EBADF);
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(changes_arguments, stay, BREAK(DISPATCH_OBSERVED));

static struct watched page;

static void to_page(long a[6])
{
	a[0] = (long)page.page;
	a[1] = 4096;
}

/* A call that is made in a bracket: that of the range that is changed in fact. */
TEST(changes_arguments_of_a_bracketed_call)
{
	struct mrn_source *source = observe_or_skip(SYS_munmap);
	struct registers r = {0, 0, 8, 9};

	watched_open(&page);
	changes = to_page;
	CHECK_EQ(call(SYS_munmap, &r), 0);
	CHECK_EQ(r.di, 0);
	CHECK_EQ(r.si, 0);
	changes = NULL;
	CHECK_EQ(watched_close(&page), 1);
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(changes_arguments_of_a_bracketed_call, stay, BREAK(DISPATCH_OBSERVED));

/* The observer makes the call, and the program gets what the observer says; errno is not changed by any of it. */
TEST(makes_the_call)
{
	struct mrn_source *source = observe_or_skip(SYS_lseek);
	struct registers r = {memfd_create("file", 0), 11, SEEK_SET, 9};

	makes = true;
	gives = 4711;
	errno = 0;
	CHECK_EQ(call(SYS_lseek, &r), 4711);
	CHECK_EQ(errno, 0);
	gives = -ENOANO;
	CHECK_EQ(call(SYS_lseek, &r), -ENOANO);
	makes = false;
	r.si = 0;
	r.dx = SEEK_CUR;
	CHECK_EQ(call(SYS_lseek, &r), 11);
	CHECK_ERR(mrn_source_detach(source), 0);
}

/* Even if the observer makes it, all know of the ring before it is there. */
TEST(makes_a_ring)
{
	struct mrn_source *source = observe_or_skip(SYS_io_uring_setup);
	struct io_uring_params params = {0};
	struct registers r = {1, (long)&params, 0, 0};

	makes = true;
	CHECK(!mrn_dispatch_has_rings());
	call(SYS_io_uring_setup, &r);
	CHECK_EQ(seen.calls, 1);
	CHECK(mrn_dispatch_has_rings());
	CHECK_ERR(mrn_source_detach(source), 0);
}
TWIN(makes_a_ring, nobody_knows, BREAK(DISPATCH_RINGS));

/* Not what has structures of another form. */
TEST(shows_no_x32_calls)
{
	struct mrn_source *source = observe_or_skip(SYS_lseek);
	struct registers r = {-1, 0, 0, 0};

	CHECK(call(SYS_lseek | 0x40000000, &r) < 0);
	CHECK_EQ(seen.calls, 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}

/* Past the sources, but not past the observer: with and without its making the call. */
TEST(a_call_past_the_sources_is_shown)
{
	observer = (struct mrn_observer){.sees = sees};
	observer.wanted[SYS_lseek / 64] = UINT64_C(1) << (SYS_lseek % 64);
	mrn_observe(&observer);
	errno = EXDEV;
	CHECK_EQ(mrn_source_bypass(SYS_lseek, -1, 7, 8, 9, 0, 0), -EBADF);
	CHECK_EQ(seen.calls, 1);
	CHECK_EQ(seen.a[1], 7);
	makes = true;
	gives = 42;
	CHECK_EQ(mrn_source_bypass(SYS_lseek, -1, 7, 8, 9, 0, 0), 42);
	CHECK_EQ(mrn_source_bypass(SYS_getppid, 0, 0, 0, 0, 0, 0), getppid());
	CHECK_EQ(seen.calls, 2);
	CHECK_EQ(errno, EXDEV);
}
TWIN(a_call_past_the_sources_is_shown, unshown, BREAK(BYPASS_OBSERVED));
