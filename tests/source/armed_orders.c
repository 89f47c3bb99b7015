/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The armed map in the orders that its rules are for (source/marks.h): each is brought about with hooks, and each rule has a
 * twin without it, which ends with a change that nobody is told of.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/syscall.h>

#include "source/bracket/calls.h"
#include "tests/source/armed_fixture.h"

/* A hook that stops the first thread in it once it is set. */
struct stop {
	_Atomic bool set;
	struct test_gate reached, go;
};

static struct stop at_arm, at_event, at_disarm;

static void stop_here(struct stop *s)
{
	if (!atomic_exchange(&s->set, false))
		return;
	test_gate_open(&s->reached);
	test_gate_wait(&s->go);
}

static void stop_at_arm(void)
{
	stop_here(&at_arm);
}

static void stop_at_event(void)
{
	stop_here(&at_event);
}

static void stop_at_disarm(void)
{
	stop_here(&at_disarm);
}

static void set_stop(struct stop *s)
{
	atomic_store(&s->set, true);
}

/* ---------------------------------------------------------------------------------- maybe, then arming */

static struct stop at_sure;
static struct test_gate changed;
static char *shared_range;

/* Goes on once the other thread has changed the memory, or waits for the lock. */
static void let_change(void)
{
	if (!atomic_exchange(&at_sure.set, false))
		return;
	test_gate_open(&at_sure.reached);
	while (!test_gate_is_open(&changed) &&
	       __atomic_load_n(&source->uffd.lock.word, __ATOMIC_RELAXED) != 2)
		sched_yield();
}

static void build_and_be_told(void *arg)
{
	(void)arg;
	check_raw_changes_are_told(shared_range, 2);
}

/*
 * The last moment for a bracket to come: the arming thread looks at no token any more. The bracket must find maybe, and
 * wait, since what it changes is taken for armed otherwise.
 */
TEST(a_bracket_that_comes_while_a_range_is_armed_waits)
{
	struct test_thread t;

	open_source(MRN_SOURCE_INTERPOSE | MRN_SOURCE_UFFD);
	shared_range = map_apart(2);
	mrn_check_uffd_sure_hook = let_change;
	set_stop(&at_sure);
	test_thread(&t, build_and_be_told, NULL);
	test_gate_wait(&at_sure.reached);
	CHECK(mmap(shared_range, 2 * PAGE, RW, ANON | MAP_FIXED, -1, 0) == shared_range);
	/* An event that came of it has found nothing to clear. */
	settle();
	test_gate_open(&changed);
	test_join(&t);
	check_map(shared_range, 2);
	close_source();
}
TWIN(a_bracket_that_comes_while_a_range_is_armed_waits, maybe_comes_late, BREAK(ARMED_MAYBE));

/* ----------------------------------------------------------------------------------------- events */

TEST(an_event_ends_what_is_sure)
{
	char *p;

	open_source(MRN_SOURCE_UFFD);
	p = map_apart(4);
	use_briefly(p, 4);
	CHECK(is_armed(p) && is_marked(p, MRN_MARK_SURE));
	/* It is remembered, and told of all the same; each time. */
	for (int i = 0; i < 3; i++) {
		check_raw_changes_are_told(p, 4);
		map_raw(p + PAGE, 2, ANON | MAP_FIXED);
	}
	check_map(p, 4);
	close_source();
}
TWIN(an_event_ends_what_is_sure, but_not_here, BREAK(ARMED_EVENT));

static void arm_range(void *arg)
{
	int r = mrn_source_arm(source, (uintptr_t)shared_range, 2 * PAGE, NEED);

	*(int *)arg = r;
}

static void unmap_first(void *arg)
{
	(void)arg;
	unmap_raw(shared_range, 1);
}

/* A range whose second page is a hole while its first one is armed. The event names the first page only. */
static void arm_with_hole(struct test_thread *t, int *result)
{
	open_source(MRN_SOURCE_UFFD);
	shared_range = map_apart(2);
	unmap_raw(shared_range + PAGE, 1);
	mrn_check_uffd_registered_hook = stop_at_arm;
	mrn_check_uffd_event_hook = stop_at_event;
	set_stop(&at_arm);
	test_thread(t, arm_range, result);
	test_gate_wait(&at_arm.reached);
}

static void check_after_hole(int result)
{
	NOTE("arming returned %d", result);
	check_map(shared_range, 2);
	check_raw_changes_are_told(shared_range, 2);
	check_map(shared_range, 2);
	close_source();
}

/* What was armed has gone, and one new mapping holds the range, which looks as if it had been armed. */
TEST(an_event_that_is_unread_counts)
{
	struct test_thread t, unmaps;
	int result;

	arm_with_hole(&t, &result);
	set_stop(&at_event);
	test_thread(&unmaps, unmap_first, NULL);
	test_gate_wait(&at_event.reached);
	map_raw(shared_range, 2, ANON | MAP_FIXED_NOREPLACE);
	test_gate_open(&at_arm.go);
	test_join(&t);
	test_gate_open(&at_event.go);
	test_join(&unmaps);
	check_after_hole(result);
}
TWIN(an_event_that_is_unread_counts, but_not_here, BREAK(ARMED_UNREAD));

TEST(an_event_that_was_read_meanwhile_counts)
{
	struct test_thread t;
	int result;

	arm_with_hole(&t, &result);
	unmap_first(NULL);
	map_raw(shared_range, 2, ANON | MAP_FIXED_NOREPLACE);
	test_gate_open(&at_arm.go);
	test_join(&t);
	check_after_hole(result);
}
TWIN(an_event_that_was_read_meanwhile_counts, but_not_here, BREAK(ARMED_UNREAD));

/* -------------------------------------------------------------------------- what goes without an event */

static int segment;

static void remove_segment(void)
{
	CHECK_EQ(shmctl(segment, IPC_RMID, NULL), 0);
}

/* Of two pages. */
static void make_segment(void)
{
	segment = shmget(IPC_PRIVATE, 2 * PAGE, IPC_CREAT | 0600);
	if (segment < 0)
		SKIP("no SysV segments here");
}

static char *attach_segment(const char *at, int flags)
{
	char *p;

	make_segment();
	p = shmat(segment, at, flags);
	remove_segment();
	CHECK(p != (char *)-1);
	return p;
}

TEST(a_segment_is_not_remembered)
{
	char *p;

	open_source(MRN_SOURCE_UFFD);
	p = attach_segment(NULL, 0);
	use_briefly(p, 2);
	CHECK_EQ(mrn_sys1(SYS_shmdt, (long)p), 0);
	map_raw(p, 2, ANON | MAP_FIXED_NOREPLACE);
	check_raw_changes_are_told(p, 2);
	check_map(p, 2);
	close_source();
}
TWIN(a_segment_is_not_remembered, but_is_here, BREAK(ARMED_LOOSE));

TEST(a_shared_file_is_not_remembered)
{
	int fd = memfd_create("armed", MFD_CLOEXEC);
	char *p;

	CHECK(fd >= 0);
	CHECK_EQ(ftruncate(fd, 2 * PAGE), 0);
	open_source(MRN_SOURCE_UFFD);
	p = mmap(NULL, 2 * PAGE, RW, MAP_SHARED, fd, 0);
	CHECK(p != MAP_FAILED);
	use_briefly(p, 2);
	if (mrn_sys6(SYS_remap_file_pages, (long)p, PAGE, 0, 1, 0, 0))
		SKIP("no remap_file_pages here");
	check_raw_changes_are_told(p, 2);
	check_map(p, 2);
	close_source();
}
TWIN(a_shared_file_is_not_remembered, but_is_here, BREAK(ARMED_LOOSE));

/* ------------------------------------------------------------------------------------------ giving back */

static void give_back(void *arg)
{
	(void)arg;
	mrn_source_give_back(source);
}

/* The consumer finds the range sure, and arms nothing, after the other thread has found it without a notifier. */
TEST(what_a_new_notifier_relies_on_stays_armed)
{
	struct consumer c;
	struct test_thread t;
	char *p;

	open_source(MRN_SOURCE_UFFD);
	p = map_apart(2);
	use_briefly(p, 2);
	mrn_check_uffd_disarm_hook = stop_at_disarm;
	set_stop(&at_disarm);
	test_thread(&t, give_back, NULL);
	test_gate_wait(&at_disarm.reached);
	consumer_insert(&c, p, 2);
	consumer_build(&c);
	test_gate_open(&at_disarm.go);
	test_join(&t);
	map_raw(p, 2, ANON | MAP_FIXED);
	settle();
	CHECK_MSG(calls_of(&c), "the change was not told");
	consumer_remove(&c);
	check_map(p, 2);
	close_source();
}
TWIN(what_a_new_notifier_relies_on_stays_armed, but_not_here, BREAK(ARMED_GIVE_BACK));

/* ---------------------------------------------------------------------------------------------- brackets */

/* This call raises no event, so only its bracket can tell. */
TEST(a_bracket_ends_what_is_sure)
{
	char *p;

	open_source(MRN_SOURCE_INTERPOSE | MRN_SOURCE_UFFD);
	p = map_apart(2);
	use_briefly(p, 2);
	CHECK(is_marked(p, MRN_MARK_SURE));
	CHECK(attach_segment(p, SHM_REMAP) == p);
	check_raw_changes_are_told(p, 2);
	check_map(p, 2);
	close_source();
}
TWIN(a_bracket_ends_what_is_sure, but_not_here, BREAK(BRACKET_CHANGING));

static void note_event(void)
{
	test_gate_open(&at_event.reached);
}

/* Nor does a bracket leave anything for the keeper to do. */
TEST(a_bracket_disarms)
{
	char *p;

	open_source(MRN_SOURCE_INTERPOSE | MRN_SOURCE_UFFD);
	p = map_apart(2);
	use_briefly(p, 2);
	CHECK(is_armed(p));
	mrn_check_uffd_event_hook = note_event;
	CHECK_EQ(munmap(p, 2 * PAGE), 0);
	CHECK(!test_gate_is_open(&at_event.reached));
	CHECK(!is_marked(p, MRN_MARK_MAYBE) && !is_marked(p + PAGE, MRN_MARK_MAYBE));
	close_source();
}
TWIN(a_bracket_disarms, but_not_here, BREAK(BRACKET_CHANGING));

/* The bracket has passed by the map, and its call, which raises no event, has changed nothing yet. */
TEST(nothing_is_armed_during_a_bracket)
{
	struct mrn_bracket b;
	char *p;

	open_source(MRN_SOURCE_INTERPOSE | MRN_SOURCE_UFFD);
	p = map_apart(2);
	make_segment();
	mrn_bracket_shmat(&b, segment, p, SHM_REMAP);
	CHECK_ERR(mrn_source_arm(source, (uintptr_t)p, 2 * PAGE, NEED), -EAGAIN);
	CHECK_EQ(mrn_sys3(SYS_shmat, segment, (long)p, SHM_REMAP), p);
	remove_segment();
	mrn_bracket_end(&b, false);
	check_raw_changes_are_told(p, 2);
	check_map(p, 2);
	close_source();
}
TWIN(nothing_is_armed_during_a_bracket, but_is_here, BREAK(ARMED_STEADY));

/* Unmapped by a call that nobody brackets, whose event is unread while another thread is given the address. */
TEST(an_address_that_comes_back_is_not_sure)
{
	struct test_thread t;
	int result;

	open_source(MRN_SOURCE_INTERPOSE | MRN_SOURCE_UFFD);
	shared_range = map_apart(2);
	unmap_raw(shared_range + PAGE, 1);
	use_briefly(shared_range, 1);
	CHECK(is_marked(shared_range, MRN_MARK_SURE));
	mrn_check_uffd_event_hook = stop_at_event;
	set_stop(&at_event);
	test_thread(&t, unmap_first, NULL);
	test_gate_wait(&at_event.reached);
	CHECK(mmap(shared_range, PAGE, RW, ANON, -1, 0) == shared_range);
	result = mrn_source_arm(source, (uintptr_t)shared_range, PAGE, NEED);
	CHECK_MSG(result || is_armed(shared_range), "what has come back is taken for armed");
	test_gate_open(&at_event.go);
	test_join(&t);
	check_raw_changes_are_told(shared_range, 1);
	check_map(shared_range, 1);
	close_source();
}
TWIN(an_address_that_comes_back_is_not_sure, not_taken_for_new, BREAK(BRACKET_FRESH));
