/* SPDX-License-Identifier: BSD-3-Clause */
/* libmrn-ucx: what UCX is told, when, and what install refuses. */
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucm/api/ucm.h>
#include <unistd.h>

#include "adapters/ucx/check.h"
#include "tests/harness/child.h"
#include "tests/harness/sync.h"
#include "tests/ucx/fixture.h"

#define PAGE ((size_t)sysconf(_SC_PAGESIZE))

/* What a handler of UCX's event has seen of one range. volatile: for the compiler, munmap calls nothing here. */
static volatile struct {
	uintptr_t start, end;
	unsigned int calls, inside, deepest;
	uintptr_t last_start, last_end;
	bool nests; /* changes memory itself, the first time */
	char *nested;
} seen;

static void handler(ucm_event_type_t type, ucm_event_t *event, void *arg)
{
	const uintptr_t at = (uintptr_t)event->vm_unmapped.address;
	const uintptr_t to = at + event->vm_unmapped.size;

	seen.inside++;
	if (seen.inside > seen.deepest)
		seen.deepest = seen.inside;
	if (at < seen.end && to > seen.start) {
		seen.calls++;
		seen.last_start = at;
		seen.last_end = to;
	}
	if (seen.nests) {
		seen.nests = false;
		CHECK_EQ(munmap(seen.nested, PAGE), 0);
	}
	seen.inside--;
}

static void watch(const void *start, size_t length)
{
	seen.start = (uintptr_t)start;
	seen.end = seen.start + length;
	CHECK_EQ(ucm_set_event_handler(UCM_EVENT_VM_UNMAPPED, 1, handler, NULL), UCS_OK);
}

static char *map(void)
{
	char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

/* ------------------------------------------------------------------------------------------- install */

TEST(ucx_says_that_it_is_told)
{
	struct mrn_ucx_stats stats;

	fixture_install(MRN_SOURCE_INTERPOSE, 0);
	CHECK_EQ(ucm_test_external_events(UCM_EVENT_VM_UNMAPPED), UCS_OK);
	CHECK(!strcmp(mrn_source_name(mrn_ucx_source()), "interpose"));
	CHECK_ERR(mrn_ucx_get_stats(&stats, sizeof(stats)), 0);
	CHECK(stats.announced > 0);
	CHECK_EQ(stats.lost, 0);
	CHECK_ERR(mrn_ucx_get_stats(NULL, sizeof(stats)), -EINVAL);
}

TEST(auto_is_dispatch_where_it_works)
{
	fixture_install(MRN_SOURCE_DISPATCH, 0);
	CHECK(!strcmp(mrn_source_name(mrn_ucx_source()), "dispatch"));
}

TEST(auto_is_interpose_where_dispatch_brackets_too_little)
{
	MRN_BREAK(UCX_DISPATCH_BRACKETS);
	fixture_install(MRN_SOURCE_AUTO, 0);
	CHECK(!strcmp(mrn_source_name(mrn_ucx_source()), "interpose"));
}

TEST(raw_calls_are_seen_by_dispatch)
{
	char *p = map();

	fixture_install(MRN_SOURCE_DISPATCH, MRN_COVER_ALL_CALLERS);
	watch(p, PAGE);
	CHECK_EQ(syscall(SYS_munmap, p, PAGE), 0);
	CHECK_EQ(seen.calls, 2);
}

static void check_refused(struct mrn_ucx_opts opts, int error, const char *says)
{
	char why[512] = "";

	opts.size = sizeof(opts);
	opts.why = why;
	opts.why_size = sizeof(why);
	CHECK_ERR(mrn_ucx_install(&opts), error);
	CHECK_MSG(strstr(why, says) != NULL, "%s", why);
	CHECK(!mrn_ucx_source());
}

TEST(what_cannot_be_had_is_refused_with_a_sentence)
{
	struct mrn_ucx_opts none = {.kinds = MRN_SOURCE_INTERPOSE};

	check_refused((struct mrn_ucx_opts){.kinds = MRN_SOURCE_UFFD}, -EINVAL, "armed");
	check_refused((struct mrn_ucx_opts){.kinds = MRN_SOURCE_INTERPOSE,
					    .need = MRN_COVER_ALL_CALLERS},
		      -EOPNOTSUPP, "");
	/* A source has it, but only for what is armed. */
	check_refused((struct mrn_ucx_opts){.kinds = MRN_SOURCE_INTERPOSE,
					    .need = MRN_COVER_PAGE_CACHE},
		      -EOPNOTSUPP, "page_cache");
	CHECK_ERR(mrn_ucx_install(&none), -EINVAL);
}

TEST(a_refused_install_leaves_ucx_without_a_cache)
{
	check_refused((struct mrn_ucx_opts){.kinds = MRN_SOURCE_UFFD}, -EINVAL, "armed");
	CHECK_EQ(ucm_set_event_handler(UCM_EVENT_VM_UNMAPPED, 1, handler, NULL),
		 UCS_ERR_UNSUPPORTED);
}

TEST(a_second_install_is_refused)
{
	fixture_install(MRN_SOURCE_INTERPOSE, 0);
	CHECK_ERR(mrn_ucx_install(NULL), -EALREADY);
}

static void install_meanwhile(void)
{
	atomic_store(&mrn_check_ucx_checked_hook, NULL);
	fixture_install(MRN_SOURCE_INTERPOSE, 0);
}

/* Another install succeeds between this one's look at its options and its turn. */
static void lose(unsigned int kinds)
{
	const struct mrn_ucx_opts opts = {.size = sizeof(opts), .kinds = kinds};
	char *p = map();

	atomic_store(&mrn_check_ucx_checked_hook, install_meanwhile);
	CHECK_ERR(mrn_ucx_install(&opts), -EALREADY);
	CHECK(!strcmp(mrn_source_name(mrn_ucx_source()), "interpose"));
	watch(p, PAGE);
	CHECK_EQ(munmap(p, PAGE), 0);
	CHECK_EQ(seen.calls, 2);
}

TEST(an_install_that_comes_second_leaves_the_first)
{
	lose(MRN_SOURCE_INTERPOSE);
}
TWIN(an_install_that_comes_second_leaves_the_first, no_look, BREAK(UCX_TURN));

TEST(a_refused_install_that_comes_second_leaves_the_first)
{
	lose(MRN_SOURCE_UFFD);
}
TWIN(a_refused_install_that_comes_second_leaves_the_first, no_look, BREAK(UCX_TURN));

TEST(hooks_of_ucx_are_noticed)
{
	char why[512];

	CHECK_ERR(fixture_install_over_hooks(why, sizeof(why)), -EBUSY);
	CHECK_MSG(strstr(why, HOOK_MODE "=none") != NULL, "%s", why);
}

static void install_in_child(void)
{
	char *p = map();

	CHECK(!mrn_ucx_source());
	fixture_install(MRN_SOURCE_INTERPOSE, 0);
	CHECK(mrn_ucx_source() != NULL);
	watch(p, PAGE);
	CHECK_EQ(munmap(p, PAGE), 0);
	CHECK_EQ(seen.calls, 2);
}

TEST(a_child_installs_it_anew)
{
	fixture_install(MRN_SOURCE_INTERPOSE, 0);
	CHECK_EQ(in_a_child(install_in_child), 0);
}

static struct test_gate installing, forked;

static void hold(void)
{
	test_gate_open(&installing);
	test_gate_wait(&forked);
}

static void install_slowly(void *arg)
{
	fixture_install(MRN_SOURCE_INTERPOSE, 0);
}

/* Forks a child that does this, while its parent's install stands at the hook. */
static void fork_in_the_middle(__typeof__(mrn_check_ucx_told_hook) *hook, void (*child)(void))
{
	struct test_thread other;

	atomic_store(hook, hold);
	test_thread(&other, install_slowly, NULL);
	test_gate_wait(&installing);
	CHECK_EQ(in_a_child(child), 0);
	test_gate_open(&forked);
	test_join(&other);
}

static void install_in_the_middle(void)
{
	atomic_store(&mrn_check_ucx_installing_hook, NULL);
	install_in_child();
}

/* Its turn is the parent's: the child need not wait for it. */
TEST(a_child_of_the_middle_of_an_install_installs)
{
	fork_in_the_middle(&mrn_check_ucx_installing_hook, install_in_the_middle);
	CHECK(mrn_ucx_source() != NULL);
}
TWIN(a_child_of_the_middle_of_an_install_installs, waits_for_its_parent, BREAK(FORK_WIPE),
     .accept_timeout = true, .timeout_s = 5);

static void fail_in_child(void)
{
	check_refused((struct mrn_ucx_opts){.kinds = MRN_SOURCE_INTERPOSE,
					    .need = MRN_COVER_PAGE_CACHE},
		      -EOPNOTSUPP, "page_cache");
	CHECK_EQ(ucm_set_event_handler(UCM_EVENT_VM_UNMAPPED, 1, handler, NULL),
		 UCS_ERR_UNSUPPORTED);
}

TEST(a_child_where_it_fails_has_no_cache)
{
	fixture_install(MRN_SOURCE_INTERPOSE, 0);
	CHECK_EQ(in_a_child(fail_in_child), 0);
}
TWIN(a_child_where_it_fails_has_no_cache, takes_its_parents_word, BREAK(UCX_CHILD));

static void fail_in_the_middle(void)
{
	atomic_store(&mrn_check_ucx_told_hook, NULL);
	fail_in_child();
}

/* Its parent has told UCX already, and does not know yet whether that is true. */
TEST(a_child_of_the_middle_of_an_install_where_it_fails_has_no_cache)
{
	fork_in_the_middle(&mrn_check_ucx_told_hook, fail_in_the_middle);
}
TWIN(a_child_of_the_middle_of_an_install_where_it_fails_has_no_cache, takes_its_parents_word,
     BREAK(UCX_CHILD));

/* --------------------------------------------------------------------------------------- what is told */

TEST(ucx_is_told_before_and_after)
{
	struct mmu_notifier_range range;
	char *p = map();

	fixture_install(MRN_SOURCE_INTERPOSE, 0);
	watch(p, PAGE);
	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, mrn_mm_self(), (uintptr_t)p,
				(uintptr_t)p + PAGE);
	CHECK_ERR(mmu_notifier_invalidate_range_start(&range), 0);
	CHECK_EQ(seen.calls, 1);
	mmu_notifier_invalidate_range_end(&range);
	CHECK_EQ(seen.calls, 2);
	CHECK_EQ(seen.last_start, p);
	CHECK_EQ(seen.last_end, p + PAGE);
}
TWIN(ucx_is_told_before_and_after, only_before, BREAK(UCX_END));
TWIN(ucx_is_told_before_and_after, only_after, BREAK(UCX_BEGIN));

TEST(what_leaves_the_pages_is_not_told)
{
	char *p = map();

	fixture_install(MRN_SOURCE_INTERPOSE, 0);
	watch(p, PAGE);
	CHECK_EQ(mprotect(p, PAGE, PROT_READ), 0);
	CHECK_EQ(seen.calls, 0);
}

/* As when a source ends, or loses what it had. */
TEST(everything_fits_into_ucx_s_page_table)
{
	const uintptr_t last = (uintptr_t)0 - PAGE;
	struct mmu_notifier_range range;

	fixture_install(MRN_SOURCE_INTERPOSE, 0);
	watch((void *)PAGE, last - PAGE);
	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, mrn_mm_self(), 0, last);
	CHECK_ERR(mmu_notifier_invalidate_range_start(&range), 0);
	mmu_notifier_invalidate_range_end(&range);
	CHECK_EQ(seen.calls, 2);
	CHECK_EQ(seen.last_start, 0);
	CHECK(seen.last_end <= (uintptr_t)1 << 56);
}
TWIN(everything_fits_into_ucx_s_page_table, not_cut, BREAK(UCX_CLAMP));

/* A handler of UCX's changes memory: UCX is not entered again, and is told of it all the same. */
TEST(a_change_made_inside_ucx_is_told_when_it_has_returned)
{
	struct mrn_ucx_stats stats;
	char *outer = map();

	seen.nested = map();
	fixture_install(MRN_SOURCE_INTERPOSE, 0);
	watch(seen.nested, PAGE);
	seen.nests = true;
	CHECK_EQ(munmap(outer, PAGE), 0);
	CHECK(!seen.nests);
	CHECK_EQ(seen.deepest, 1);
	CHECK(seen.calls > 0);
	CHECK_EQ(seen.last_start, seen.nested);
	CHECK_ERR(mrn_ucx_get_stats(&stats, sizeof(stats)), 0);
	CHECK(stats.deferred > 0 && stats.deferred < stats.announced);
}
TWIN(a_change_made_inside_ucx_is_told_when_it_has_returned, entered_again, BREAK(UCX_REENTRY));
