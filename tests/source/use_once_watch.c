/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Being told which memory becomes good for one use at a time, and which is good again: of real discards, by a thread that
 * holds nothing.
 */
#include <errno.h>
#include <mrn/mrn.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/mm.h"
#include "os/futex.h"
#include "os/syscall.h"
#include "source/bracket/check.h"
#include "source/check.h"
#include "source/heap_callers.h"
#include "source/state.h"
#include "tests/harness/asleep.h"
#include "tests/harness/break.h"
#include "tests/harness/raw.h"
#include "tests/harness/sync.h"
#include "tests/harness/test.h"
#include "tests/no_device.h"
#include "tests/pin_device.h"
#include "tests/source/heap_owner.h"

#define PAGE	4096ul
#define PAGES	256
#define RW	(PROT_READ | PROT_WRITE)
#define ANON	(MAP_PRIVATE | MAP_ANONYMOUS)
#define BIT(ID) MRN_ONCE_BIT(MRN_ONCE_##ID)
#define UNMAP	(MRN_CAUSE_BIT(MRN_CAUSE_MUNMAP) | MRN_COVER_RAW)

static struct break_later broken;
static struct mrn_source *source;
static char *memory;

/* What a listener has been told of `memory`, by page. */
struct listener {
	struct mrn_once_watch watch; /* first */
	uint64_t reasons[PAGES];     /* atomic */
	unsigned int elsewhere;	     /* atomic: pages of other memory */
	uint32_t calls;		     /* atomic, a futex */
	struct test_gate *called, *go_on;
	void (*act)(void);
};

static void note(struct mrn_once_watch *watch, uintptr_t start, uintptr_t end, uint64_t reasons)
{
	struct listener *l = (struct listener *)watch;

	CHECK(start < end);
	for (uintptr_t p = start; p < end && end - start <= PAGES * PAGE; p += PAGE)
		if (p - (uintptr_t)memory < PAGES * PAGE)
			__atomic_store_n(&l->reasons[(p - (uintptr_t)memory) / PAGE], reasons,
					 __ATOMIC_RELEASE);
		else
			__atomic_fetch_add(&l->elsewhere, 1, __ATOMIC_RELEASE);
	__atomic_fetch_add(&l->calls, 1, __ATOMIC_RELEASE);
	mrn_futex_wake(&l->calls, 1);
	if (l->act)
		l->act();
	if (l->called)
		test_gate_open(l->called);
	if (l->go_on)
		test_gate_wait(l->go_on);
}

static uint64_t told_of(struct listener *l, unsigned int page)
{
	return __atomic_load_n(&l->reasons[page], __ATOMIC_ACQUIRE);
}

/* Asleep: a thread that runs may be the one that discards. */
static void wait_until_told(struct listener *l, unsigned int page, uint64_t reasons)
{
	for (;;) {
		uint32_t calls = __atomic_load_n(&l->calls, __ATOMIC_ACQUIRE);

		if (told_of(l, page) == reasons)
			return;
		mrn_futex_wait(&l->calls, calls, NULL);
	}
}

static void start_listening(struct listener *l)
{
	l->watch.changed = note;
	CHECK_ERR(mrn_source_watch_once(source, &l->watch), 0);
}

static void stop_listening(struct listener *l)
{
	CHECK_ERR(mrn_source_unwatch_once(source, &l->watch), 0);
}

static void open_source(unsigned int kinds)
{
	if (sysconf(_SC_PAGESIZE) != (long)PAGE)
		SKIP("pages of another size");
	source = attach_or_skip(kinds);
	if (!(mrn_source_coverage(source, NULL) & MRN_SOURCE_UFFD))
		SKIP("no userfaultfd here");
	memory = mmap(NULL, PAGES * PAGE, RW, ANON, -1, 0);
	CHECK(memory != MAP_FAILED);
	break_now(&broken);
}

static void close_source(void)
{
	CHECK_ERR(mrn_source_detach(source), 0);
}

static bool goes(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		 uint64_t seq)
{
	mmu_range_notifier_update_seq(mrn, seq);
	return true;
}

/* Makes the kernel tell of it; false if it is good for one use now, and so not watched. */
static bool watch_memory(const char *p, size_t length)
{
	static const struct mmu_range_notifier_ops ops = {.invalidate = goes};
	struct mmu_range_notifier mrn = {.ops = &ops};
	int r;

	CHECK_ERR(mmu_range_notifier_insert(&mrn, (uintptr_t)p, length, mrn_mm_self()), 0);
	do {
		mmu_range_read_begin(&mrn);
		r = mrn_source_arm(source, (uintptr_t)p, length, UNMAP);
	} while (r == -EAGAIN);
	mrn_source_disarm(source, &mrn);
	CHECK_ERR(mmu_range_notifier_remove(&mrn), 0);
	return !r;
}

/* Discards pages by a bare call; returns when it has been noted. */
static void discard(unsigned int page, unsigned int n)
{
	CHECK_EQ(test_raw4(SYS_madvise, (long)(memory + page * PAGE), (long)(n * PAGE),
			   MADV_DONTNEED, 0),
		 0);
	CHECK_ERR(mrn_tokens_wait(mrn_mm_self(), 0, UINTPTR_MAX, NULL), 0);
}

/* While it runs, nothing that was discarded is good again. */
static struct test_thread runner;
static struct test_gate runs;
static bool on;

static void run(void *arg)
{
	test_gate_open(&runs);
	while (__atomic_load_n(&on, __ATOMIC_RELAXED))
		;
}

static void start_running(void)
{
	on = true;
	runs = TEST_GATE_INIT;
	test_thread(&runner, run, NULL);
	test_gate_wait(&runs);
}

static void stop_running(void)
{
	__atomic_store_n(&on, false, __ATOMIC_RELAXED);
	test_join(&runner);
}

/* The teller's, from where it has nothing more to do. */
static int teller_tid;

static void note_sleep(void)
{
	__atomic_store_n(&teller_tid, (int)mrn_sys0(SYS_gettid), __ATOMIC_RELEASE);
}

TEST(told_of_the_beginning_and_of_the_end)
{
	static struct listener l;

	open_source(MRN_SOURCE_UFFD);
	mrn_check_once_sleeps_hook = note_sleep;
	start_listening(&l);
	start_running();
	CHECK(watch_memory(memory, 4 * PAGE));
	await_sleep(&teller_tid);
	discard(1, 2);
	wait_until_told(&l, 1, BIT(ZAPPED));
	wait_until_told(&l, 2, BIT(ZAPPED));
	CHECK_EQ(told_of(&l, 0), 0);
	CHECK_EQ(told_of(&l, 3), 0);
	stop_running();
	wait_until_told(&l, 1, 0);
	wait_until_told(&l, 2, 0);
	CHECK_EQ(mrn_source_why_once(source, (uintptr_t)memory, 4 * PAGE, UNMAP, NULL, 0), 0);
	stop_listening(&l);
	close_source();
}
TWIN(told_of_the_beginning_and_of_the_end, nobody_wakes, BREAK_LATER(broken, ONCE_WAKE),
     .timeout_s = 3, .accept_timeout = true);
TWIN(told_of_the_beginning_and_of_the_end, nobody_looks, BREAK_LATER(broken, ONCE_LOOKS),
     .timeout_s = 3, .accept_timeout = true);

TEST(told_of_a_free_that_trims)
{
	static struct listener l;
	struct owner o = {.is_held = true};

	if (!mrn_heap_knowledge())
		SKIP("malloc is not glibc's, or not seen");
	open_source(MRN_SOURCE_AUTO);
	start_listening(&l);
	mrn_check_freed_hook = hold;
	start_owner(&o);
	memory = o.page;
	CHECK(watch_memory(o.page, PAGE));
	test_gate_open(&o.free_now);
	test_gate_wait(&o.freed);
	wait_until_told(&l, 0, BIT(MALLOC));
	test_gate_open(&o.go_on);
	wait_until_told(&l, 0, 0);
	end_owner(&o);
	stop_listening(&l);
	close_source();
}

TEST(a_newcomer_is_told_what_there_is)
{
	static struct listener l, late;

	open_source(MRN_SOURCE_UFFD);
	start_listening(&l);
	start_running();
	CHECK(watch_memory(memory, PAGE));
	discard(0, 1);
	wait_until_told(&l, 0, BIT(ZAPPED));
	start_listening(&late);
	wait_until_told(&late, 0, BIT(ZAPPED));
	stop_listening(&l);
	stop_running();
	wait_until_told(&late, 0, 0);
	CHECK_EQ(told_of(&l, 0), BIT(ZAPPED));
	stop_listening(&late);
	close_source();
}
TWIN(a_newcomer_is_told_what_there_is, only_of_changes, BREAK_LATER(broken, ONCE_NEWCOMER),
     .timeout_s = 3, .accept_timeout = true);

/* What is told adds up to what the figures say, however ranges overlap and are joined. */
TEST(what_is_told_adds_up, .timeout_s = 60)
{
	static struct listener l;
	struct test_rand r;

	open_source(MRN_SOURCE_UFFD);
	test_rand_init(&r, 0);
	start_listening(&l);
	for (unsigned int round = 0; round < 10; round++) {
		struct mrn_source_stats s;
		uint64_t bytes;

		start_running();
		for (unsigned int i = 0; i < 100; i++) {
			unsigned int page = (unsigned int)test_rand_below(&r, PAGES - 4);
			unsigned int n = 1 + (unsigned int)test_rand_below(&r, 4);

			if (watch_memory(memory + page * PAGE, n * PAGE))
				discard(page, n);
		}
		CHECK_ERR(mrn_source_get_stats(source, &s, sizeof(s)), 0);
		for (uint32_t calls;; mrn_futex_wait(&l.calls, calls, NULL)) {
			calls = __atomic_load_n(&l.calls, __ATOMIC_ACQUIRE);
			bytes = 0;
			for (unsigned int page = 0; page < PAGES; page++)
				bytes += told_of(&l, page) ? PAGE : 0;
			if (bytes == s.use_once_bytes)
				break;
		}
		CHECK_NE(bytes, 0);
		for (unsigned int page = 0; page < PAGES; page++)
			if (told_of(&l, page))
				CHECK(!watch_memory(memory + page * PAGE, PAGE));
		stop_running();
		for (unsigned int page = 0; page < PAGES; page++)
			wait_until_told(&l, page, 0);
	}
	CHECK_EQ(l.elsewhere, 0);
	stop_listening(&l);
	close_source();
}
TWIN(what_is_told_adds_up, nothing_is_noted, BREAK_LATER(broken, ONCE_TOLD), .timeout_s = 5,
     .accept_timeout = true);

/* Without a source nothing is known any more. */
TEST(the_last_detach_ends_all)
{
	static struct listener l;

	open_source(MRN_SOURCE_UFFD);
	start_listening(&l);
	start_running();
	CHECK(watch_memory(memory, PAGE));
	discard(0, 1);
	wait_until_told(&l, 0, BIT(ZAPPED));
	close_source();
	wait_until_told(&l, 0, 0);
	stop_running();
	/* It goes on with the next one. */
	source = attach_or_skip(MRN_SOURCE_UFFD);
	start_running();
	CHECK(watch_memory(memory, PAGE));
	discard(0, 1);
	wait_until_told(&l, 0, BIT(ZAPPED));
	stop_running();
	close_source();
	stop_listening(&l);
}
TWIN(the_last_detach_ends_all, stays, BREAK_LATER(broken, ONCE_DETACH), .timeout_s = 3,
     .accept_timeout = true);

/* ---------------------------------------------------------------------------- in a call, and around it */

static struct listener acting, other;
static struct mrn_regcache *cache;
static unsigned int acts;

/* All that a program may want to do. */
static void act(void)
{
	const struct mrn_regcache_entry *entry;
	struct mrn_source_stats s;
	struct mrn_source *again;
	void *p;

	if (acts++)
		return;
	p = malloc(1 << 20);
	CHECK(p);
	free(p);
	CHECK_ERR(mrn_regcache_get(cache, memory + 8 * PAGE, PAGE, MRN_ACCESS_READ, &entry), 0);
	CHECK_ERR(mrn_regcache_put(entry), 0);
	CHECK_ERR(mrn_source_get_stats(source, &s, sizeof(s)), 0);
	CHECK_EQ(s.use_once_bytes, PAGE);
	CHECK_EQ(mrn_source_why_once(source, (uintptr_t)memory, PAGE, UNMAP, NULL, 0),
		 MRN_USE_ONCE);
	CHECK_ERR(mrn_source_attach(mrn_mm_self(), MRN_SOURCE_UFFD, NULL, &again), 0);
	CHECK_ERR(mrn_source_detach(again), 0);
	CHECK_ERR(mrn_source_watch_once(source, &other.watch), -EDEADLK);
	CHECK_ERR(mrn_source_unwatch_once(source, &acting.watch), -EDEADLK);
}

TEST(what_a_call_may_do)
{
	struct mrn_regcache_opts opts = {.size = sizeof(opts),
					 .ops = &no_device_ops,
					 .need = UNMAP};
	struct test_gate called = TEST_GATE_INIT;

	open_source(MRN_SOURCE_UFFD);
	opts.source = source;
	CHECK_ERR(mrn_regcache_create(&opts, &cache), 0);
	acting.act = act;
	acting.called = &called;
	other.watch.changed = note;
	start_listening(&acting);
	start_running();
	CHECK(watch_memory(memory, PAGE));
	discard(0, 1);
	test_gate_wait(&called);
	stop_running();
	stop_listening(&acting);
	CHECK_ERR(mrn_regcache_destroy(cache), 0);
	close_source();
}

static struct test_gate has_left;

static void leave_in_thread(void *arg)
{
	stop_listening(arg);
	test_gate_open(&has_left);
}

TEST(leaving_waits_for_a_call)
{
	static struct listener l, stays;
	struct test_gate called = TEST_GATE_INIT, go_on = TEST_GATE_INIT;
	struct test_thread thread;

	open_source(MRN_SOURCE_UFFD);
	start_listening(&stays);
	l.called = &called;
	l.go_on = &go_on;
	start_listening(&l);
	start_running();
	CHECK(watch_memory(memory, PAGE));
	discard(0, 1);
	test_gate_wait(&called);
	test_thread(&thread, leave_in_thread, &l);
	CHECK(!test_gate_wait_ms(&has_left, 100));
	/* The program's memory and registrations go on meanwhile. */
	CHECK(watch_memory(memory + PAGE, PAGE));
	discard(1, 1);
	CHECK(!watch_memory(memory + PAGE, PAGE));
	test_gate_open(&go_on);
	test_join(&thread);
	stop_running();
	stop_listening(&stays);
	close_source();
}
TWIN(leaving_waits_for_a_call, does_not_wait, BREAK_LATER(broken, ONCE_UNWATCH));

static pid_t child;

static void fork_in_call(void)
{
	if (child)
		return;
	child = fork();
	CHECK(child >= 0);
}

/* A child has no listeners; in a call, it ends when that returns. */
TEST(forks)
{
	static struct listener l, in_child;
	struct test_gate called = TEST_GATE_INIT;
	int status;
	pid_t pid;

	open_source(MRN_SOURCE_UFFD);
	l.act = fork_in_call;
	l.called = &called;
	start_listening(&l);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		CHECK_ERR(mrn_source_unwatch_once(source, &l.watch), -ESTALE);
		CHECK_ERR(mrn_source_watch_once(source, &in_child.watch), -EINVAL);
		in_child.watch.changed = note;
		CHECK_ERR(mrn_source_watch_once(source, &in_child.watch), -ESTALE);
		/*
		 * It may begin anew. ThreadSanitizer starts no threads in it. AddressSanitizer's malloc is locked there for ever if
		 * the thread that tells was just beginning, and used it.
		 */
		if (TEST_TSAN || TEST_ASAN)
			_exit(0);
		source = attach_or_skip(MRN_SOURCE_UFFD);
		start_listening(&in_child);
		start_running();
		CHECK(watch_memory(memory, PAGE));
		discard(0, 1);
		wait_until_told(&in_child, 0, BIT(ZAPPED));
		stop_running();
		stop_listening(&in_child);
		close_source();
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	start_running();
	CHECK(watch_memory(memory, PAGE));
	discard(0, 1);
	test_gate_wait(&called);
	stop_running();
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK(WIFEXITED(status));
	stop_listening(&l);
	close_source();
}

TEST(the_list)
{
	static struct listener l;

	open_source(MRN_SOURCE_UFFD);
	CHECK_ERR(mrn_source_watch_once(source, NULL), -EINVAL);
	CHECK_ERR(mrn_source_watch_once(source, &l.watch), -EINVAL);
	CHECK_ERR(mrn_source_unwatch_once(source, NULL), -EINVAL);
	CHECK_ERR(mrn_source_unwatch_once(source, &l.watch), -ENOENT);
	for (int i = 0; i < 10; i++) {
		start_listening(&l);
		CHECK_ERR(mrn_source_watch_once(source, &l.watch), -EALREADY);
		stop_listening(&l);
	}
	close_source();
	CHECK_ERR(mrn_source_watch_once(NULL, &l.watch), -EINVAL);
}

static struct test_gate found_not_over, may_look, has_looked;

/* The listener leaves now. */
static void be_told_that_it_is_over(void)
{
	uint32_t *turns = &source->uffd.use_once.turns, seen;

	mrn_check_once_goes_on_hook = NULL;
	test_gate_open(&found_not_over);
	test_gate_wait(&may_look);
	seen = __atomic_load_n(turns, __ATOMIC_ACQUIRE);
	test_gate_open(&has_looked);
	while (__atomic_load_n(turns, __ATOMIC_ACQUIRE) == seen)
		mrn_futex_wait(turns, seen, NULL);
}

TEST(leaving_ends_a_thread_that_is_about_to_look)
{
	static struct listener l;

	open_source(MRN_SOURCE_UFFD);
	mrn_check_once_goes_on_hook = be_told_that_it_is_over;
	start_listening(&l);
	test_gate_wait(&found_not_over);
	test_gate_open(&may_look);
	test_gate_wait(&has_looked);
	stop_listening(&l);
	close_source();
}
TWIN(leaving_ends_a_thread_that_is_about_to_look, sleeps_on, BREAK_LATER(broken, ONCE_OVER),
     .timeout_s = 3, .accept_timeout = true);

/* Listeners come and go while memory is discarded. */
static bool ended;

static void come_and_go(void *arg)
{
	struct listener *l = arg;

	while (!__atomic_load_n(&ended, __ATOMIC_RELAXED)) {
		start_listening(l);
		stop_listening(l);
	}
}

TEST(coming_and_going)
{
	static struct listener l[3];
	struct test_thread thread[3];

	open_source(MRN_SOURCE_UFFD);
	for (int i = 0; i < 3; i++)
		test_thread(&thread[i], come_and_go, &l[i]);
	for (unsigned int i = 0; !i || test_round_is_due(i, 200); i++)
		if (watch_memory(memory + i % PAGES * PAGE, PAGE))
			discard(i % PAGES, 1);
	__atomic_store_n(&ended, true, __ATOMIC_RELAXED);
	for (int i = 0; i < 3; i++)
		test_join(&thread[i]);
	close_source();
}
