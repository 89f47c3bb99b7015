/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the oracle sees: small drivers, each wrong in one way on purpose, and what is said of them.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness/break.h"
#include "tests/harness/test.h"
#include "lab/parts/devmem.h"
#include "lab/parts/engine.h"
#include "lab/parts/mmu.h"
#include "lab/run.h"
#include "os/container_of.h"

/* What the driver does wrong, as its steps. */
enum {
	LEAVE_NOTIFIER,
	LEAVE_LIST_NOTIFIER,
	LEAVE_THREAD,
	LEAVE_ENGINE,
	LEAVE_DEVICE,
	LEAVE_TABLE,
	LEAVE_FENCE,
	LEAVE_MEMORY,
	LEAVE_PIN,
	LEAVE_MM_USER,
	NR_LEAKS,
	SLEEP_ON_LOCK = NR_LEAKS,
	SLEEP_ON_FENCE,
	SLEEP_ON_MEMORY,
	CRASH,
	CRASH_IN_CALLBACK,
	ABORT,
	JOIN_LOCKED,
	FLUSH_LOCKED,
	FLUSH_OWN,
};

static const struct lab_step steps[] = {
	[LEAVE_NOTIFIER] = {.name = "leave_notifier"},
	[LEAVE_LIST_NOTIFIER] = {.name = "leave_list_notifier"},
	[LEAVE_THREAD] = {.name = "leave_thread"},
	[LEAVE_ENGINE] = {.name = "leave_engine"},
	[LEAVE_DEVICE] = {.name = "leave_device"},
	[LEAVE_TABLE] = {.name = "leave_table"},
	[LEAVE_FENCE] = {.name = "leave_fence"},
	[LEAVE_MEMORY] = {.name = "leave_memory"},
	[LEAVE_PIN] = {.name = "leave_pin"},
	[LEAVE_MM_USER] = {.name = "leave_mm_user"},
	[SLEEP_ON_LOCK] = {.name = "sleep_on_lock"},
	[SLEEP_ON_FENCE] = {.name = "sleep_on_fence"},
	[SLEEP_ON_MEMORY] = {.name = "sleep_on_memory"},
	[CRASH] = {.name = "crash"},
	[CRASH_IN_CALLBACK] = {.name = "crash_in_callback"},
	[ABORT] = {.name = "abort"},
	[JOIN_LOCKED] = {.name = "join_locked"},
	[FLUSH_LOCKED] = {.name = "flush_locked"},
	[FLUSH_OWN] = {.name = "flush_own"},
	{0},
};

struct wrong {
	struct lab *lab;
	struct mmu_range_notifier range;
	struct mmu_notifier list;
	struct lab_thread *thread;
	struct lab_engine *engine;
	struct lab_devmem devmem;
	struct lab_mmu mmu;
	struct dma_fence fence;
	pthread_mutex_t lock;
	unsigned int rounds; /* of thread, which needs lock for each */
	void *memory;
	uint64_t frame;
};

static void crash(void)
{
	static volatile uintptr_t nowhere = 8;

	*(volatile int *)nowhere = 0;
}

static void sleep_if_broken(struct wrong *w)
{
	if (lab_is_broken(w->lab, SLEEP_ON_LOCK)) {
		lab_lock(&w->lock);
		pthread_mutex_unlock(&w->lock);
	}
	if (lab_is_broken(w->lab, SLEEP_ON_FENCE))
		dma_fence_wait(&w->fence);
	if (lab_is_broken(w->lab, SLEEP_ON_MEMORY))
		lab_free(lab_alloc(8));
}

static bool invalidate(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		       uint64_t cur_seq)
{
	struct wrong *w = container_of(mrn, struct wrong, range);

	/* The CPU takes back what the storm has lent: in a thread of the library. */
	if (range->event == MMU_NOTIFY_EXCLUSIVE && !range->owner &&
	    lab_is_broken(w->lab, CRASH_IN_CALLBACK))
		crash();
	sleep_if_broken(w);
	lab_count_invalidation(w->lab, range);
	mmu_range_notifier_update_seq(mrn, cur_seq);
	return true;
}

static bool has_gone_round(void *arg)
{
	struct wrong *w = arg;

	return __atomic_load_n(&w->rounds, __ATOMIC_RELAXED) > 1000;
}

static void go_round(struct wrong *w)
{
	pthread_mutex_lock(&w->lock);
	__atomic_fetch_add(&w->rounds, 1, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&w->lock);
}

static void worker(void *arg, struct lab_thread *t)
{
	struct wrong *w = arg;

	if (lab_is_broken(w->lab, FLUSH_OWN))
		lab_flush(t, has_gone_round, w);
	for (; !lab_thread_stopping(t); go_round(w))
		lab_linger(t);
	/* It needs the lock once more to end. */
	go_round(w);
}

static int open_wrong(struct lab *lab, void *dev)
{
	static const struct mmu_range_notifier_ops range_ops = {.invalidate = invalidate};
	static const struct mmu_notifier_ops list_ops = {0};
	struct wrong *w = dev;
	int err;

	w->lab = lab;
	w->range.ops = &range_ops;
	w->list.ops = &list_ops;
	pthread_mutex_init(&w->lock, NULL);
	w->thread = lab_thread_start(lab, worker, w);
	w->memory = lab_alloc(64);
	dma_fence_init(&w->fence, NULL);
	dma_fence_signal(&w->fence);
	err = w->thread && w->memory && lab_mm_get(lab) ? 0 : -ENOMEM;
	err = err ? err : lab_engine_create(lab, 1, &w->engine);
	err = err ? err : lab_devmem_open(&w->devmem, lab, 4);
	err = err ? err : lab_mmu_init(&w->mmu, 4);
	err = err ? err
		  : mmu_range_notifier_insert(&w->range, lab_addr(lab, 0),
					      lab_bytes(lab_pages(lab)), lab_mm(lab));
	err = err ? err : mmu_notifier_register(&w->list, lab_mm(lab));
	if (!err &&
	    mrn_hmm_pin(lab_hmm(lab), (void *)lab_addr(lab, 0), lab_bytes(1), true, &w->frame) != 1)
		err = -EIO;
	return err;
}

static void work(void *dev, struct lab_thread *t)
{
	struct wrong *w = dev;

	lab_count_retries(t, 0);
	lab_count_faults(t, 3);
	if (lab_is_broken(w->lab, CRASH) && lab_chance(t, 500))
		crash();
	if (lab_is_broken(w->lab, ABORT) && lab_chance(t, 500))
		abort();
}

static bool leaves(const struct wrong *w, int step)
{
	return lab_is_broken(w->lab, step);
}

static void shut(void *dev)
{
	struct wrong *w = dev;

	if (lab_is_broken(w->lab, JOIN_LOCKED) || lab_is_broken(w->lab, FLUSH_LOCKED)) {
		pthread_mutex_lock(&w->lock);
		w->rounds = 0;
		if (lab_is_broken(w->lab, FLUSH_LOCKED))
			lab_flush(w->thread, has_gone_round, w);
		else
			lab_thread_join(w->thread);
		pthread_mutex_unlock(&w->lock);
	}
	if (!leaves(w, LEAVE_PIN))
		mrn_hmm_unpin(lab_hmm(w->lab), &w->frame, 1, true);
	if (!leaves(w, LEAVE_LIST_NOTIFIER))
		mmu_notifier_unregister(&w->list, lab_mm(w->lab));
	if (!leaves(w, LEAVE_NOTIFIER))
		mmu_range_notifier_remove(&w->range);
	if (!leaves(w, LEAVE_THREAD))
		lab_thread_join(w->thread);
	if (!leaves(w, LEAVE_ENGINE))
		lab_engine_destroy(w->engine);
	if (!leaves(w, LEAVE_DEVICE))
		lab_devmem_close(&w->devmem);
	if (!leaves(w, LEAVE_TABLE))
		lab_mmu_destroy(&w->mmu);
	if (!leaves(w, LEAVE_FENCE))
		dma_fence_put(&w->fence);
	if (!leaves(w, LEAVE_MEMORY))
		lab_free(w->memory);
	if (!leaves(w, LEAVE_MM_USER))
		lab_mm_put(w->lab);
}

static const struct lab_driver wrong = {
	.name = "wrong",
	.steps = steps,
	.size = sizeof(struct wrong),
	.open = open_wrong,
	.work = work,
	.close = shut,
};

static void run_ops(uint64_t ops, int broken, struct lab_result *result)
{
	const struct lab_config config = {.ops = ops, .threads = 2, .seed = 3, .broken = broken};
	char why[256] = "";
	int err = lab_run(&wrong, &config, result, why, sizeof(why));

	if (err == -EPERM || err == -ENOSYS || err == -EOPNOTSUPP)
		SKIP("%s", why);
	CHECK_MSG(!err, "%s", why);
}

static void run(int broken, struct lab_result *result)
{
	run_ops(200, broken, result);
}

/* A driver that enters what it saw before another thread entered more. */
TEST(an_older_look_takes_no_right_away)
{
	struct lab_mmu mmu = {0};

	CHECK_ERR(lab_mmu_init(&mmu, 1), 0);
	lab_mmu_map(&mmu, 0, 7, true);
	lab_mmu_map(&mmu, 0, 7, false);
	CHECK(lab_mmu_is_writable(&mmu, 0));
	lab_mmu_map(&mmu, 0, 8, false);
	CHECK(!lab_mmu_is_writable(&mmu, 0));
	lab_mmu_map(&mmu, 0, 8, true);
	lab_mmu_unmap(&mmu, 0, 1);
	lab_mmu_map(&mmu, 0, 8, false);
	CHECK(!lab_mmu_is_writable(&mmu, 0));
	/* With a right of the device's own, it is the same page. */
	mmu.rights = 0x100;
	lab_mmu_map(&mmu, 0, 0x108, true);
	lab_mmu_map(&mmu, 0, 8, false);
	CHECK(lab_mmu_is_writable(&mmu, 0));
	CHECK_EQ(lab_mmu_pfn(&mmu, 0), 0x108);
	lab_mmu_map(&mmu, 0, 9, false);
	CHECK(!lab_mmu_is_writable(&mmu, 0));
	CHECK_EQ(lab_mmu_pfn(&mmu, 0), 9);
	lab_mmu_destroy(&mmu);
}

TEST(a_driver_that_leaves_nothing_is_clean)
{
	static struct lab_result r;

	run(-1, &r);
	CHECK_MSG(!lab_result_findings(&r), "%s", r.finding);
	CHECK(r.invalidations);
}

/* Each is one leak, which is named, and counts as nothing else. */
TEST(what_a_driver_leaves_is_named, .timeout_s = 120)
{
	static const char *const said[NR_LEAKS] = {
		[LEAVE_NOTIFIER] = "1 notifiers", [LEAVE_LIST_NOTIFIER] = "1 notifiers",
		[LEAVE_THREAD] = "1 threads",	  [LEAVE_ENGINE] = "1 engines",
		[LEAVE_DEVICE] = "1 devices",	  [LEAVE_TABLE] = "1 page tables",
		[LEAVE_FENCE] = "1 fences",	  [LEAVE_MEMORY] = "1 allocations",
		[LEAVE_PIN] = "1 frames pinned",  [LEAVE_MM_USER] = "1 users of the mm",
	};
	static struct lab_result r;

	if (test_is_sanitized())
		SKIP("leaks on purpose");
	for (int step = 0; step < NR_LEAKS; step++) {
		run(step, &r);
		CHECK_MSG(strstr(r.finding, "wrong: leak: ") && strstr(r.finding, said[step]),
			  "%s: %s", said[step], r.finding);
		/* An engine has a thread, too. */
		CHECK_EQ(r.leaks, step == LEAVE_ENGINE ? 2 : 1);
		CHECK(!r.stale && !r.asserts);
	}
}

/* Blocking where that is allowed is no finding: the storm has many more of those. */
TEST(what_may_sleep_in_a_callback_that_may_not_is_found, .timeout_s = 60)
{
	static const char *const said[] = {
		[SLEEP_ON_LOCK] = "takes a lock whose holder may sleep",
		[SLEEP_ON_FENCE] = "waits for a fence",
		[SLEEP_ON_MEMORY] = "allocates",
	};
	static struct lab_result r;

	for (int step = SLEEP_ON_LOCK; step <= SLEEP_ON_MEMORY; step++) {
		run_ops(2000, step, &r);
		CHECK_MSG(strstr(r.finding, "wrong: sleep: ") && strstr(r.finding, said[step]),
			  "%s: %s", said[step], r.finding);
		CHECK(r.asserts && r.asserts < r.invalidations / 2);
		CHECK(!r.stale && !r.leaks);
	}
}

/* Reported after half a second or so, and not when the run takes too long. */
TEST(a_driver_that_waits_for_its_own_worker_is_found, .timeout_s = 30)
{
	static struct lab_result r;

	for (int step = FLUSH_LOCKED; step <= FLUSH_OWN; step++) {
		run(step, &r);
		CHECK_MSG(strstr(r.finding, "waits for own worker"), "%s", r.finding);
		CHECK_EQ(r.asserts, 1);
		CHECK(!r.stale && !r.leaks);
	}
}

/* Runs the step in a child, and returns how that ends, with what it prints in text. */
static int run_and_die(int step, char *text, size_t size)
{
	static struct lab_result r;
	int out[2], status;
	size_t used = 0;
	ssize_t n;
	pid_t pid;

	CHECK(!pipe(out));
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		dup2(out[1], STDERR_FILENO);
		run_ops(step == JOIN_LOCKED ? 200 : 100000, step, &r);
		_exit(99);
	}
	close(out[1]);
	while ((n = read(out[0], text + used, size - 1 - used)) > 0)
		used += (size_t)n;
	text[used] = 0;
	close(out[0]);
	CHECK(waitpid(pid, &status, 0) == pid);
	return status;
}

static void check_crash(int step, int sig, const char *heading, const char *where)
{
	static char text[65536];
	int status = run_and_die(step, text, sizeof(text));

	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		SKIP("this machine lacks managed memory");
	CHECK_MSG(WIFSIGNALED(status) && WTERMSIG(status) == sig, "%#x: %s", status, text);
	CHECK_MSG(strstr(text, heading), "%s", text);
	CHECK_MSG(strstr(text, where), "%s", text);
	CHECK_MSG(strstr(text, "seed 3; the last events:"), "%s", text);
	CHECK_MSG(strstr(text, "a fault, 3 pages"), "%s", text);
	CHECK_MSG(strstr(text, "a callback, pages "), "%s", text);
	CHECK_MSG(strstr(text, "(CPU), whose last access "), "%s", text);
}

/* A crash says where and after what, and then takes its course. */
TEST(a_crash_prints_what_each_thread_did_last, .timeout_s = 60)
{
	if (test_is_sanitized())
		SKIP("the sanitizer has handlers of its own");
	check_crash(CRASH, SIGSEGV, "mrn lab: SIGSEGV at address 0x8 in thread ",
		    " (driver), driver wrong without crash, ");
	check_crash(ABORT, SIGABRT, "mrn lab: SIGABRT in thread ",
		    " (driver), driver wrong without abort, ");
	check_crash(CRASH_IN_CALLBACK, SIGSEGV, "mrn lab: SIGSEGV at address 0x8 in a thread of ",
		    ", driver wrong without crash_in_callback, ");
}

/* Then the driver cannot go on, and the run ends. */
TEST(a_driver_that_never_ends_its_thread_dies_at_once, .timeout_s = 30)
{
	static char text[65536];
	int status;

	if (test_is_sanitized())
		SKIP("the sanitizer has handlers of its own");
	status = run_and_die(JOIN_LOCKED, text, sizeof(text));
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		SKIP("this machine lacks managed memory");
	CHECK_MSG(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "%#x: %s", status, text);
	CHECK_MSG(strstr(text, "waits for own worker"), "%s", text);
}

/* Of a large entry, all pages have the right. */
TEST(a_large_entry_takes_no_right_from_a_small_one)
{
	struct lab_mmu m;

	CHECK_ERR(lab_mmu_init_large(&m, 8, 2), 0);
	lab_mmu_map(&m, 4, 8, true);
	lab_mmu_map_large(&m, 4, 8, false);
	CHECK(lab_mmu_is_mapped(&m, 7) && !lab_mmu_is_writable(&m, 4) &&
	      !lab_mmu_is_writable(&m, 5));
	CHECK_EQ(lab_mmu_pfn(&m, 6), 10);
	/* From the same large entry it does. */
	lab_mmu_map_large(&m, 4, 8, true);
	lab_mmu_map_large(&m, 4, 8, false);
	CHECK(lab_mmu_is_writable(&m, 5));
	/* A part that is cleared takes all of it. */
	lab_mmu_clear(&m, 7, 1);
	CHECK(!lab_mmu_is_mapped(&m, 4));
	lab_mmu_destroy(&m);
}
