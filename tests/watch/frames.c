/* SPDX-License-Identifier: BSD-3-Clause */
/* Whole stacks, against what libgcc's unwinder finds. */
#include "watch/record/frames.h"

#include <dlfcn.h>
#include <execinfo.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "source/confined.h"
#include "tests/harness/break.h"
#include "tests/harness/test.h"
#include "tests/watch/table.h"
#include "watch/record/check.h"
#include "watch/record/lane.h"
#include "watch/record/modules.h"
#include "watch/record/walk.h"
#include "watch/tool/reader.h"

enum { MOST = 64 };

/* Both, from one place; the functions that take them are not compared. */
struct both {
	uint64_t ours[MOST];
	void *theirs[MOST];
	int nr_ours, nr_theirs;
};
static struct both *taken, in_private;

/* A twin's: how many frames it finds enough. */
static unsigned int enough = MOST;

static __attribute__((noinline)) void take_both(void)
{
	taken->nr_theirs = backtrace(taken->theirs, MOST);
	taken->nr_ours = (int)watch_frames_take(taken->ours, enough);
	__asm__ volatile("");
}

/* They end alike, and differ at most where each has called its own unwinder. */
static void compare(int least)
{
	int ours = taken->nr_ours, theirs = taken->nr_theirs;

	while (ours && theirs && taken->ours[ours - 1] == (uintptr_t)taken->theirs[theirs - 1]) {
		ours--;
		theirs--;
	}
	CHECK_MSG(taken->nr_theirs - theirs >= least && ours <= 2 && theirs <= 2,
		  "%d and %d frames, and from the end on %d are alike", taken->nr_ours,
		  taken->nr_theirs, taken->nr_theirs - theirs);
}

static void start(void)
{
	static struct watch_reader tool;
	char name[64];
	void *first[1];

	taken = &in_private;
	/* Loads libgcc. */
	backtrace(first, 1);
	CHECK_ERR(watch_reader_create(&tool, 4, 0), 0);
	watch_reader_name(&tool, name, sizeof(name));
	CHECK_EQ(setenv(WATCH_ENVIRONMENT, name, 1), 0);
	CHECK(watch_log_open());
	CHECK_ERR(watch_lane_take(1), 0);
	watch_walk_start();
	watch_modules_look(1);
}

static __attribute__((noinline)) void deeper(int n)
{
	if (n)
		deeper(n - 1);
	else
		take_both();
	/* A call, not a jump or a loop. */
	__asm__ volatile("");
}

TEST(through_the_program)
{
	NEEDS_A_TABLE();
	start();
	deeper(10);
	compare(12);
}
TWIN(through_the_program, cut_off, enough = 5);

static int sorts(const void *a, const void *b)
{
	deeper(3);
	return 0;
}

TEST(through_libc)
{
	int numbers[2] = {1, 2};

	NEEDS_A_TABLE();
	start();
	qsort(numbers, 2, sizeof(int), sorts);
	compare(6);
}
TWIN(through_libc, cut_off, enough = 5);

static void handler(int sig)
{
	deeper(2);
}

TEST(out_of_a_handler)
{
	NEEDS_A_TABLE();
	start();
	CHECK(signal(SIGUSR1, handler) != SIG_ERR);
	raise(SIGUSR1);
	compare(6);
}
TWIN(out_of_a_handler, cut_off, enough = 5);

static void *in_thread(void *arg)
{
	deeper(20);
	compare(20);
	return NULL;
}

TEST(of_a_thread)
{
	pthread_t t;

	NEEDS_A_TABLE();
	start();
	CHECK_EQ(pthread_create(&t, NULL, in_thread, NULL), 0);
	pthread_join(t, NULL);
}
TWIN(of_a_thread, cut_off, enough = 5);

/* On a stack of its own. */
TEST(out_of_a_handler_on_another_stack)
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
	stack_t other = {.ss_size = 1 << 16};

	NEEDS_A_TABLE();
	start();
	other.ss_sp = mmap(NULL, other.ss_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			   -1, 0);
	CHECK(other.ss_sp != MAP_FAILED && !sigaltstack(&other, NULL));
	CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
	raise(SIGUSR1);
	compare(6);
}
TWIN(out_of_a_handler_on_another_stack, cut_off, enough = 5);

struct module {
	void *handle;
	void (*calls)(void (*f)(void), int depth);
	void (*realigns)(void (*f)(void), int n);
};

static struct module load(const char *which)
{
	const char *path = getenv(which);
	struct module m = {NULL, NULL, NULL};

	if (!path)
		SKIP("the environment does not say where the modules are");
	m.handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	CHECK_MSG(m.handle, "%s", dlerror());
	m.calls = (void (*)(void (*)(void), int))dlsym(m.handle, "module_calls");
	m.realigns = (void (*)(void (*)(void), int))dlsym(m.handle, "module_realigns");
	CHECK(m.calls && m.realigns);
	return m;
}

/* It has come after the start. */
TEST(through_a_loaded_module)
{
	struct module m;

	NEEDS_A_TABLE();
	start();
	m = load("MRN_FRAMES_A");
	m.calls(take_both, 5);
	compare(7);
}
TWIN(through_a_loaded_module, cut_off, enough = 5);

TEST(through_a_realigned_stack)
{
	struct module m;

	NEEDS_A_TABLE();
	start();
	m = load("MRN_FRAMES_A");
	m.realigns(take_both, 7);
	compare(3);
	m.realigns(take_both, 70);
	compare(3);
}
TWIN(through_a_realigned_stack, cut_off, enough = 2);

/* The first one's mappings, which would be announced. */
static void unload(const struct module *m)
{
	const struct table t = table_of((uintptr_t)m->calls);

	CHECK_EQ(dlclose(m->handle), 0);
	watch_modules_unmapped(t.start, t.end, 2);
}

/* The other one has other frames at the same addresses. */
TEST(not_by_the_table_of_what_was_there)
{
	struct module a, b;

	NEEDS_A_TABLE();
	start();
	a = load("MRN_FRAMES_A");
	a.calls(take_both, 5);
	compare(7);
	unload(&a);
	b = load("MRN_FRAMES_B");
	CHECK(b.calls == a.calls);
	b.calls(take_both, 5);
	compare(7);
}
TWIN(not_by_the_table_of_what_was_there, as_before, BREAK(WATCH_IMAGES));

/* A twin's: whether anybody says so. */
static bool is_doubtful = true;

/* The same without an announcement, after a dlclose. */
TEST(not_by_a_doubtful_table)
{
	struct module a, b;

	NEEDS_A_TABLE();
	start();
	a = load("MRN_FRAMES_A");
	a.calls(take_both, 5);
	CHECK_EQ(dlclose(a.handle), 0);
	b = load("MRN_FRAMES_B");
	CHECK(b.calls == a.calls);
	if (is_doubtful)
		watch_modules_distrust();
	b.calls(take_both, 5);
	compare(7);
}
TWIN(not_by_a_doubtful_table, as_before, is_doubtful = false);

/* A twin's: the library does not know. */
static bool is_told = true;

/* With a module that it has not seen; any call that it made would kill the child. */
static void confined_child(void)
{
	struct mrn_confinement none = {0};

	if (is_told)
		mrn_confine(&none);
	taken->nr_theirs = backtrace(taken->theirs, MOST);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT))
		_exit(77);
	taken->nr_ours = (int)watch_frames_take(taken->ours, MOST);
	syscall(SYS_exit, 0);
}

TEST(no_calls_under_a_filter)
{
	struct module m;
	int status;
	pid_t pid;

	NEEDS_A_TABLE();
	start();
	m = load("MRN_FRAMES_A");
	taken = mmap(NULL, sizeof(*taken), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	CHECK(taken != MAP_FAILED);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid)
		m.calls(confined_child, 2);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		SKIP("no seccomp here");
	CHECK_MSG(WIFEXITED(status) && !WEXITSTATUS(status), "status %x", status);
	/* Up to the module, whose table nobody could look for. */
	CHECK(taken->nr_ours >= 2 && taken->nr_ours < taken->nr_theirs);
	CHECK_EQ(taken->ours[taken->nr_ours - 1], (uintptr_t)taken->theirs[taken->nr_ours - 2]);
}
TWIN(no_calls_under_a_filter, untold, is_told = false);

static unsigned int nr_kept;

static void count(unsigned int nr)
{
	nr_kept++;
}

/* Two callers whose frames look alike, but for the return address. */
static __attribute__((noinline)) void left(void)
{
	deeper(4);
	__asm__ volatile("");
}

static __attribute__((noinline)) void right(void)
{
	deeper(4);
	__asm__ volatile("");
}

TEST(a_kept_stack_is_the_one_that_is_there)
{
	void (*callers[])(void) = {left, right};

	NEEDS_A_TABLE();
	start();
	mrn_check_watch_kept_hook = count;
	for (int i = 0; i < 6; i++) {
		callers[i % 2]();
		compare(6);
	}
	CHECK_EQ(nr_kept, 0);
	for (int i = 0; i < 6; i++) {
		left();
		compare(6);
	}
	CHECK_EQ(nr_kept, 5);
	/* Any module that has come or gone might be among these. */
	load("MRN_FRAMES_A");
	watch_modules_look(3);
	left();
	compare(6);
	CHECK_EQ(nr_kept, 5);
}
TWIN(a_kept_stack_is_the_one_that_is_there, unseen, BREAK(WATCH_KEPT));

/* What could not be read then may be readable now. */
TEST(a_stack_that_ended_early_is_not_kept)
{
	struct module m;

	NEEDS_A_TABLE();
	start();
	mrn_check_watch_kept_hook = count;
	m = load("MRN_FRAMES_A");
	/* Nobody looks, so the module stays unknown. */
	mrn_confine(&(struct mrn_confinement){0});
	for (int i = 0; i < 3; i++)
		m.calls(take_both, 2);
	CHECK(taken->nr_ours >= 2 && taken->nr_ours < taken->nr_theirs);
	CHECK_EQ(nr_kept, 0);
}
