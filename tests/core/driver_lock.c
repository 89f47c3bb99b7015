/* SPDX-License-Identifier: BSD-3-Clause */
/* Checking builds: update_seq and read_retry abort when the notifier's driver_lock is not held. */
#include <sys/wait.h>

#include "tests/core/fixture.h"

/* Runs fn in a child; true when it aborts and says so on stderr, false when it ends by itself. */
static bool aborts(void (*fn)(struct consumer *c), struct consumer *c, const char *says)
{
	char buf[4096] = "";
	size_t len = 0;
	int fds[2], status;
	ssize_t n;
	pid_t child;

	CHECK_EQ(pipe(fds), 0);
	child = fork();
	CHECK(child >= 0);
	if (!child) {
		/* Even where a sanitizer would like to comment on it. */
		signal(SIGABRT, SIG_DFL);
		dup2(fds[1], STDERR_FILENO);
		fn(c);
		_exit(0);
	}
	close(fds[1]);
	while (len < sizeof(buf) - 1 && (n = read(fds[0], buf + len, sizeof(buf) - 1 - len)) > 0)
		len += (size_t)n;
	close(fds[0]);
	CHECK_EQ(waitpid(child, &status, 0), child);
	if (WIFEXITED(status)) {
		CHECK_EQ(WEXITSTATUS(status), 0);
		return false;
	}
	CHECK_EQ(WTERMSIG(status), SIGABRT);
	CHECK_MSG(strstr(buf, says) != NULL, "%s", buf);
	return true;
}

static void retry_without(struct consumer *c)
{
	mmu_range_read_retry(&c->mrn, 1);
}

static void retry_with(struct consumer *c)
{
	/* In this process: a lock taken before the fork would be another's. */
	pthread_mutex_lock(&c->lock);
	mmu_range_read_retry(&c->mrn, 1);
	pthread_mutex_unlock(&c->lock);
}

static void update_without(struct consumer *c)
{
	mmu_range_notifier_update_seq(&c->mrn, 1);
}

static void update_with(struct consumer *c)
{
	pthread_mutex_lock(&c->lock);
	mmu_range_notifier_update_seq(&c->mrn, 1);
	pthread_mutex_unlock(&c->lock);
}

static void hint_without(struct consumer *c)
{
	mmu_range_check_retry(&c->mrn, 1);
}

TEST(driver_lock_is_asserted)
{
	struct consumer c;

	consumer_init(&c);
	CHECK(aborts(retry_without, &c,
		     "mmu_range_read_retry was called without the notifier's driver_lock"));
	CHECK(aborts(update_without, &c,
		     "mmu_range_notifier_update_seq was called without the notifier's "
		     "driver_lock"));
	CHECK(!aborts(retry_with, &c, ""));
	CHECK(!aborts(update_with, &c, ""));
	CHECK(!aborts(hint_without, &c, ""));
	/* Who names no mutex is not asked. */
	c.mrn.driver_lock = NULL;
	CHECK(!aborts(retry_without, &c, ""));
	CHECK(!aborts(update_without, &c, ""));
}

/* Held, but by another thread. */
struct holder {
	struct consumer *c;
	struct test_gate held, drop;
};

static void *hold(void *arg)
{
	struct holder *h = arg;

	pthread_mutex_lock(&h->c->lock);
	test_gate_open(&h->held);
	test_gate_wait(&h->drop);
	pthread_mutex_unlock(&h->c->lock);
	return NULL;
}

TEST(driver_lock_of_another_thread_does_not_count)
{
#ifndef __GLIBC__
	SKIP("only glibc's mutexes tell who holds them");
#else
	struct consumer c;
	struct holder h = {.c = &c};
	pthread_t t;

	consumer_init(&c);
	t = go(hold, &h);
	test_gate_wait(&h.held);
	CHECK(aborts(retry_without, &c, "mmu_range_read_retry"));
	CHECK(aborts(update_without, &c, "mmu_range_notifier_update_seq"));
	test_gate_open(&h.drop);
	done(t);
#endif
}
