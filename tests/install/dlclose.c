/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The installed libraries, opened, used, and closed. Closing takes none of them out of memory: a thread may be asleep in one.
 */
#include <dlfcn.h>
#include <mrn/source.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness/sync.h"
#include "tests/harness/test.h"

/* libmrn, opened; each test has a process of its own. */
struct library {
	void *handle;
	struct mrn_mm *(*self)(void);
	int (*attach)(struct mrn_mm *mm, unsigned int kinds, const struct mrn_source_opts *opts,
		      struct mrn_source **out);
	int (*detach)(struct mrn_source *source);
};

static void *symbol(void *handle, const char *name)
{
	void *s = dlsym(handle, name);

	CHECK_MSG(s, "%s", dlerror());
	return s;
}

static void open_it(struct library *l)
{
	l->handle = dlopen(getenv("MRN_LIBRARY"), RTLD_NOW | RTLD_LOCAL);
	CHECK_MSG(l->handle, "%s", dlerror());
	*(void **)&l->self = symbol(l->handle, "mrn_mm_self");
	*(void **)&l->attach = symbol(l->handle, "mrn_source_attach");
	*(void **)&l->detach = symbol(l->handle, "mrn_source_detach");
}

static void use_and_close(struct library *l, unsigned int kind)
{
	struct mrn_source *source;
	int r = l->attach(l->self(), kind, NULL, &source);

	if (r)
		SKIP("cannot be attached: %s", strerror(-r));
	CHECK_ERR(l->detach(source), 0);
	CHECK_EQ(dlclose(l->handle), 0);
}

static int pipe_of_sleeper[2];
static struct test_gate awake;

static void sleep_in_read(void *arg)
{
	char c;

	for (int i = 0; i < 2; i++) {
		CHECK_EQ(read(pipe_of_sleeper[0], &c, 1), 1);
		test_gate_open(arg);
	}
}

static bool is_asleep(long tid)
{
	char path[64], state = 0;
	FILE *stat;
	int fields;

	snprintf(path, sizeof(path), "/proc/self/task/%ld/stat", tid);
	stat = fopen(path, "r");
	CHECK(stat);
	fields = fscanf(stat, "%*d %*s %c", &state);
	CHECK_EQ(fields, 1);
	fclose(stat);
	return state == 'S';
}

static long sleeper_tid;

static void be_sleeper(void *arg)
{
	__atomic_store_n(&sleeper_tid, syscall(SYS_gettid), __ATOMIC_RELEASE);
	sleep_in_read(arg);
}

static void wait_until_asleep(void)
{
	long tid;

	while (!(tid = __atomic_load_n(&sleeper_tid, __ATOMIC_ACQUIRE)) || !is_asleep(tid))
		test_sleep_ms(1);
}

/* Its call was caught, is made by an instruction of libmrn's, and returns there. */
TEST(a_thread_is_asleep_in_it)
{
	struct mrn_source *source;
	struct library l;
	struct test_thread t;
	int r;

	open_it(&l);
	r = l.attach(l.self(), MRN_SOURCE_DISPATCH, NULL, &source);
	if (r)
		SKIP("no dispatch: %s", strerror(-r));
	CHECK_EQ(pipe(pipe_of_sleeper), 0);
	test_thread(&t, be_sleeper, &awake);
	wait_until_asleep();
	CHECK_ERR(l.detach(source), 0);
	CHECK_EQ(dlclose(l.handle), 0);
	CHECK_EQ(write(pipe_of_sleeper[1], "12", 2), 2);
	test_gate_wait(&awake);
	test_join(&t);
}

/* The handler of SIGSYS stays, for whoever is armed still. */
TEST(it_is_in_the_way_of_a_signal)
{
	struct library l;

	CHECK(signal(SIGSYS, SIG_IGN) != SIG_ERR);
	open_it(&l);
	use_and_close(&l, MRN_SOURCE_DISPATCH);
	CHECK_EQ(raise(SIGSYS), 0);
}

/* And so do those that fork runs. */
TEST(it_is_in_the_way_of_fork)
{
	static const unsigned int kinds[] = {MRN_SOURCE_UFFD, MRN_SOURCE_DISPATCH};

	for (unsigned int i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		struct library l;
		int status;
		pid_t pid;

		open_it(&l);
		use_and_close(&l, kinds[i]);
		pid = fork();
		if (!pid)
			_exit(3);
		CHECK_EQ(waitpid(pid, &status, 0), pid);
		CHECK(WIFEXITED(status));
		CHECK_EQ(WEXITSTATUS(status), 3);
		/* And once more: it is as it was. */
		open_it(&l);
		use_and_close(&l, kinds[i]);
	}
}

TEST(each_stays)
{
	char *paths = strdup(getenv("MRN_LIBRARIES")), *rest = paths, *path;

	CHECK(paths);
	while ((path = strsep(&rest, ":"))) {
		void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL), *again;

		CHECK_MSG(handle, "%s", dlerror());
		CHECK_EQ(dlclose(handle), 0);
		again = dlopen(path, RTLD_NOW | RTLD_NOLOAD);
		CHECK_MSG(again, "%s", path);
		CHECK_EQ(dlclose(again), 0);
	}
	free(paths);
}
