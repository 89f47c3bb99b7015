/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Losing what was covered: that it is noticed, that nothing is built on it any more, and that those who want to know are
 * told, once.
 */
#include <dlfcn.h>
#include <errno.h>
#include <linux/prctl.h>
#include <mrn/mrn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

#include "source/check.h"
#include "source/interpose/wrappers.h"
#include "source/state.h"
#include "tests/harness/break.h"
#include "tests/harness/raw.h"
#include "tests/harness/test.h"
#include "tests/pin_device.h"

struct told {
	struct mrn_source_loss loss; /* first */
	unsigned int calls;
	uint64_t causes;
	int unwatched; /* what unwatching said, in the callback */
	struct mrn_source *source;
};

static void note(struct mrn_source_loss *loss, uint64_t causes)
{
	struct told *t = (struct told *)loss;

	t->calls++;
	t->causes |= causes;
	t->unwatched = mrn_source_unwatch_loss(t->source, loss);
}

static bool all_gone(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		     uint64_t seq)
{
	mmu_range_notifier_update_seq(mrn, seq);
	return true;
}

static const struct mmu_range_notifier_ops gone_ops = {.invalidate = all_gone};

static struct told told;
static struct mmu_range_notifier built = {.ops = &gone_ops};
static uint64_t built_seq;

static void build(struct mrn_source *source, uint64_t need)
{
	static char page[4096] __attribute__((aligned(4096)));

	told = (struct told){.loss.lost = note, .source = source};
	CHECK_ERR(mrn_source_watch_loss(source, &told.loss), 0);
	CHECK_ERR(mmu_range_notifier_insert(&built, (uintptr_t)page, sizeof(page), mrn_mm_self()),
		  0);
	built_seq = mmu_range_read_begin(&built);
	CHECK_ERR(mrn_source_arm(source, (uintptr_t)page, sizeof(page), need), 0);
	CHECK(!mmu_range_read_retry(&built, built_seq));
	CHECK_ERR(mrn_source_check(source), 0);
	CHECK_EQ(told.calls, 0);
}

static void check_lost(struct mrn_source *source, uint64_t causes)
{
	struct mrn_coverage c;

	CHECK_EQ(told.calls, 1);
	CHECK_EQ(told.causes & causes, causes);
	CHECK_ERR(told.unwatched, -EDEADLK);
	CHECK(mmu_range_read_retry(&built, built_seq));
	mrn_source_coverage(source, &c);
	CHECK_EQ(c.bracketed & causes, 0);
	CHECK_ERR(mrn_source_check(source), -EOPNOTSUPP);
	CHECK_EQ(told.calls, 1);
	CHECK_ERR(mrn_source_arm(source, built.node.start, 4096, causes), MRN_USE_ONCE);
}

static void finish(struct mrn_source *source)
{
	CHECK_ERR(mmu_range_notifier_remove(&built), 0);
	CHECK_ERR(mrn_source_unwatch_loss(source, &told.loss), 0);
	CHECK_ERR(mrn_source_unwatch_loss(source, &told.loss), -ENOENT);
	CHECK_ERR(mrn_source_detach(source), 0);
}

/* ------------------------------------------------------------------------------------------ wrappers */

static int past_everybody(void *addr, size_t length)
{
	return (int)test_raw4(SYS_munmap, (long)addr, (long)length, 0, 0);
}

/* As libraries do that hook others: a jump over the first instructions. */
static void write_over(void *function, void *with)
{
#ifdef __x86_64__
	unsigned char jump[] = {0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xe0};
	uintptr_t first = (uintptr_t)function & -4096ul;

	memcpy(jump + 2, &with, sizeof(with));
	CHECK_EQ(test_raw4(SYS_mprotect, (long)first, 8192, PROT_READ | PROT_WRITE | PROT_EXEC, 0),
		 0);
	memcpy(function, jump, sizeof(jump));
	CHECK_EQ(test_raw4(SYS_mprotect, (long)first, 8192, PROT_READ | PROT_EXEC, 0), 0);
#else
	SKIP("the jump is for x86-64");
#endif
}

TEST(written_over_is_seen_at_the_next_arm)
{
	struct mrn_source *source = attach_or_skip(MRN_SOURCE_INTERPOSE);

	build(source, MRN_COVER_INTERPOSE);
	write_over((void *)(uintptr_t)munmap, (void *)(uintptr_t)past_everybody);
	CHECK_ERR(mrn_source_arm(source, built.node.start, 4096, MRN_COVER_INTERPOSE),
		  MRN_USE_ONCE);
	check_lost(source, MRN_CAUSE_BIT(MRN_CAUSE_MUNMAP));
	finish(source);
}
TWIN(written_over_is_seen_at_the_next_arm, nobody_looks, BREAK(SOURCE_LOSS));

static void lose(int kind)
{
	mrn_source_has_lost(mrn_source_here(), (enum mrn_kind)kind, 0);
}

/* As by a thread that, just then, turns out not to be caught. */
TEST(lost_while_it_is_tried_is_not_covered)
{
	struct mrn_source *source = attach_or_skip(MRN_SOURCE_UFFD);
	struct mrn_source_opts opts = {.size = sizeof(opts)};
	struct mrn_coverage c;

	CHECK_ERR(mrn_source_detach(source), 0);
	mrn_check_tried_hook = lose;
	CHECK_ERR(mrn_source_attach(mrn_mm_self(), MRN_SOURCE_UFFD, &opts, &source), 0);
	mrn_source_coverage(source, &c);
	CHECK_EQ(c.before_return, 0);
	CHECK_ERR(mrn_source_detach(source), 0);
	opts.need = MRN_CAUSE_BIT(MRN_CAUSE_MUNMAP);
	CHECK_ERR(mrn_source_attach(mrn_mm_self(), MRN_SOURCE_UFFD, &opts, &source), -EOPNOTSUPP);
}
TWIN(lost_while_it_is_tried_is_not_covered, forgotten, BREAK(SOURCE_TRIED));

/* userfaultfd goes on, and sees part of it; the rest is seen by nobody, armed or not. */
TEST(written_over_beside_uffd)
{
	struct mrn_source *source = attach_or_skip(MRN_SOURCE_INTERPOSE | MRN_SOURCE_UFFD);

	build(source, MRN_COVER_INTERPOSE);
	write_over((void *)(uintptr_t)munmap, (void *)(uintptr_t)past_everybody);
	CHECK_ERR(mrn_source_arm(source, built.node.start, 4096, MRN_COVER_INTERPOSE),
		  MRN_USE_ONCE);
	check_lost(source, MRN_CAUSE_BIT(MRN_CAUSE_SHMDT));
	CHECK_ERR(mrn_source_arm(source, built.node.start, 4096, MRN_COVER_UFFD), 0);
	finish(source);
}
TWIN(written_over_beside_uffd, nobody_looks, BREAK(SOURCE_LOSS));

/* Not the first, which every arming looks at. */
TEST(written_over_is_seen_by_a_check)
{
	struct mrn_source *source = attach_or_skip(MRN_SOURCE_INTERPOSE);

	build(source, MRN_COVER_INTERPOSE);
	write_over((void *)(uintptr_t)shmdt, (void *)(uintptr_t)past_everybody);
	CHECK_ERR(mrn_source_check(source), -EOPNOTSUPP);
	check_lost(source, MRN_CAUSE_BIT(MRN_CAUSE_SHMDT));
	finish(source);
}

static const char *const functions[] = {
#define FUNCTION(name, call) #name,
#include "source/interpose/functions.def"
};

/* In a child, which the jump may be the end of if it is not noticed. */
static int is_noticed(const char *name)
{
	void *function = dlsym(RTLD_DEFAULT, name), *next = dlsym(RTLD_NEXT, name);
	struct mrn_source *source;
	pid_t child;
	int status;

	if (!function)
		return -ENOENT;
	child = fork();
	if (!child) {
		if (mrn_source_attach(mrn_mm_self(), MRN_SOURCE_INTERPOSE, NULL, &source))
			_exit(2);
		write_over(function, next ? next : (void *)(uintptr_t)past_everybody);
		_exit(mrn_source_check(source) == -EOPNOTSUPP ? 0 : 1);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	return status;
}

TEST(each_function_written_over_is_seen)
{
	struct mrn_source *source = attach_or_skip(MRN_SOURCE_INTERPOSE);
	unsigned int noticed = 0;

	CHECK_ERR(mrn_source_detach(source), 0);
	for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
		int r = is_noticed(functions[i]);

		CHECK_MSG(r == 0, "%s: %#x", functions[i], r);
		noticed++;
	}
	CHECK_EQ(noticed, MRN_WRAPPERS);
}
TWIN(each_function_written_over_is_seen, nobody_looks, BREAK(SOURCE_LOSS));

static void hear(int event, void *what, void *arg)
{
	(void)event;
	(void)what;
	(void)arg;
}

/* UCX writes into libc's functions, which are behind ours: nothing is lost by that. */
TEST(ucx_beside_us)
{
	struct mrn_source *source = attach_or_skip(MRN_SOURCE_INTERPOSE);
	typedef int set_handler(int events, int priority, void (*cb)(int, void *, void *),
				void *arg);
	set_handler *set;
	void *ucm;

	if (test_is_sanitized())
		SKIP("UCX writes into the runtime's functions, too");
	build(source, MRN_COVER_INTERPOSE);
	ucm = dlopen("libucs.so.0", RTLD_NOW | RTLD_GLOBAL);
	set = ucm ? (set_handler *)(uintptr_t)dlsym(ucm, "ucm_set_event_handler") : NULL;
	if (!set)
		SKIP("no UCX here: %s", dlerror());
	CHECK_EQ(set(1 << 16 /* UCM_EVENT_VM_UNMAPPED */, 0, hear, NULL), 0);
	CHECK_ERR(mrn_source_check(source), 0);
	CHECK_ERR(mrn_source_arm(source, built.node.start, 4096, MRN_COVER_INTERPOSE), 0);
	CHECK_EQ(told.calls, 0);
	finish(source);
}

/* ------------------------------------------------------------------------------------------ dispatch */

TEST(another_dispatch_is_noticed_at_once)
{
	struct mrn_source *source;

	if (TEST_TSAN)
		SKIP("ThreadSanitizer makes calls inside itself, where it cannot be entered again");
	source = attach_or_skip(MRN_SOURCE_DISPATCH);
	build(source, MRN_COVER_EVERYTHING);
	CHECK_EQ(prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_OFF, 0, 0, 0), 0);
	check_lost(source, MRN_COVER_EVERYTHING & ~MRN_COVER_PAGE_CACHE);
	finish(source);
}

/* What another kind covers as well is not lost. */
TEST(what_another_kind_covers_stays)
{
	struct mrn_source *source;
	struct mrn_coverage c;

	if (TEST_TSAN)
		SKIP("ThreadSanitizer makes calls inside itself, where it cannot be entered again");
	source = attach_or_skip(MRN_SOURCE_INTERPOSE | MRN_SOURCE_DISPATCH);
	build(source, MRN_COVER_INTERPOSE);
	CHECK_EQ(prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_OFF, 0, 0, 0), 0);
	CHECK_EQ(told.calls, 1);
	CHECK(mmu_range_read_retry(&built, built_seq));
	mrn_source_coverage(source, &c);
	CHECK_EQ(MRN_COVER_INTERPOSE & ~c.bracketed, MRN_COVER_PAGE_CACHE);
	CHECK_EQ(c.bracketed & MRN_COVER_ALL_CALLERS, 0);
	CHECK_ERR(mrn_source_arm(source, built.node.start, 4096, MRN_COVER_INTERPOSE), 0);
	finish(source);
}

/*
 * An interposer of which a function is in front of nobody, as of one that came by dlopen. While dispatch is there, too, the call is
 * announced all the same, and that says nothing of the interposer.
 */
static void check_what_is_left(struct mrn_source *source)
{
	struct mrn_coverage c;

	build(source, MRN_CAUSE_BIT(MRN_CAUSE_MUNMAP));
	CHECK_EQ(prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_OFF, 0, 0, 0), 0);
	check_lost(source, MRN_CAUSE_BIT(MRN_CAUSE_MUNMAP) | MRN_CAUSE_BIT(MRN_CAUSE_EXEC));
	mrn_source_coverage(source, &c);
	/* The others are in front. */
	CHECK(c.bracketed & MRN_CAUSE_BIT(MRN_CAUSE_SHMDT));
	finish(source);
}

TEST(dispatch_does_not_answer_for_the_interposer)
{
	if (TEST_TSAN)
		SKIP("ThreadSanitizer makes calls inside itself, where it cannot be entered again");
	write_over((void *)(uintptr_t)munmap, (void *)(uintptr_t)past_everybody);
	check_what_is_left(attach_or_skip(MRN_SOURCE_INTERPOSE | MRN_SOURCE_DISPATCH));
}
TWIN(dispatch_does_not_answer_for_the_interposer, it_does, BREAK(SOURCE_NAMES));

TEST(nor_where_it_was_there_first)
{
	struct mrn_source *first, *both;

	if (TEST_TSAN)
		SKIP("ThreadSanitizer makes calls inside itself, where it cannot be entered again");
	write_over((void *)(uintptr_t)munmap, (void *)(uintptr_t)past_everybody);
	first = attach_or_skip(MRN_SOURCE_DISPATCH);
	both = attach_or_skip(MRN_SOURCE_INTERPOSE);
	CHECK_EQ(first, both);
	check_what_is_left(both);
	CHECK_ERR(mrn_source_detach(first), 0);
}
TWIN(nor_where_it_was_there_first, it_does, BREAK(SOURCE_NAMES));

/* In a thread that is caught, where each trial is announced by both. */
TEST(a_check_beside_dispatch)
{
	struct mrn_source *source;

	if (TEST_TSAN)
		SKIP("ThreadSanitizer makes calls inside itself, where it cannot be entered again");
	source = attach_or_skip(MRN_SOURCE_INTERPOSE | MRN_SOURCE_DISPATCH);
	build(source, MRN_COVER_INTERPOSE);
	CHECK_EQ(prctl(PR_SET_SYSCALL_USER_DISPATCH, PR_SYS_DISPATCH_OFF, 0, 0, 0), 0);
	CHECK_ERR(mrn_source_arm(source, built.node.start, 4096, MRN_COVER_INTERPOSE), 0);
	CHECK_ERR(mrn_source_check(source), -EOPNOTSUPP);
	CHECK_ERR(mrn_source_arm(source, built.node.start, 4096, MRN_COVER_INTERPOSE), 0);
	finish(source);
}

/* ------------------------------------------------------------------------------------------- the list */

TEST(bad_input)
{
	struct mrn_source *source = attach_or_skip(MRN_SOURCE_INTERPOSE);
	struct mrn_source_loss without = {NULL, NULL};
	int status;
	pid_t pid;

	told = (struct told){.loss.lost = note};
	CHECK_ERR(mrn_source_watch_loss(NULL, &told.loss), -EINVAL);
	CHECK_ERR(mrn_source_watch_loss(source, NULL), -EINVAL);
	CHECK_ERR(mrn_source_watch_loss(source, &without), -EINVAL);
	CHECK_ERR(mrn_source_unwatch_loss(source, &told.loss), -ENOENT);
	CHECK_ERR(mrn_source_watch_loss(source, &told.loss), 0);
	CHECK_ERR(mrn_source_watch_loss(source, &told.loss), -EALREADY);
	CHECK_ERR(mrn_source_check(NULL), -EINVAL);
	pid = fork();
	if (!pid) {
		CHECK_ERR(mrn_source_check(source), -ESTALE);
		CHECK_ERR(mrn_source_watch_loss(source, &told.loss), -ESTALE);
		CHECK_ERR(mrn_source_unwatch_loss(source, &told.loss), -ESTALE);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	CHECK_ERR(mrn_source_unwatch_loss(source, &told.loss), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
	CHECK_ERR(mrn_source_check(source), -ENOTCONN);
}
