/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One run: the region, the threads, the end.
 */
#include <errno.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "lab/world.h"
#include "os/clock.h"
#include "os/futex.h"

/* How many of a run's frames are quarantined: long enough to catch a stale translation. */
#define QUARANTINE (LAB_PAGES * 4)

/* How often to check for progress, and after how long without an operation the model hangs. */
#define TICK_NS 20000000
#define HANG_S	60

/*
 * Around the end of the mm: how many operations the driver tries, in as many threads as it may have, so that the end is
 * likely to meet one anywhere; and how long the device may try to work after it.
 */
#define OPS_AT_END 256
#define END_NS	   10000000

/* From before its driver is opened until after it is closed. */
static struct lab *running;

struct lab *lab_running(void)
{
	return running;
}

struct mrn_hmm *lab_hmm(struct lab *lab)
{
	return lab->hmm;
}

struct mrn_mm *lab_mm(struct lab *lab)
{
	return mrn_hmm_mm(lab->hmm);
}

size_t lab_pages(const struct lab *lab)
{
	(void)lab;
	return LAB_PAGES;
}

size_t lab_bytes(size_t pages)
{
	return pages * (size_t)getpagesize();
}

uintptr_t lab_addr(const struct lab *lab, size_t page)
{
	return lab->base + lab_bytes(page);
}

size_t lab_page(const struct lab *lab, uintptr_t addr)
{
	size_t page;

	if (addr <= lab->base)
		return 0;
	page = (addr - lab->base) / (size_t)getpagesize();
	return page < LAB_PAGES ? page : LAB_PAGES;
}

/* ------------------------------------------------------------------------------------------------- world */

static int make_world(struct lab *lab, char *why, size_t why_size)
{
	struct mrn_hmm_opts opts = {
		.size = sizeof(opts),
		.frames = LAB_FRAMES,
		.quarantine = QUARANTINE,
		.violation = lab_violation,
		.violation_arg = lab,
		.why = why,
		.why_size = why_size,
	};
	void *base = NULL;
	int err;

	lab->backing_fd = memfd_create("mrn-lab", MFD_CLOEXEC);
	if (lab->backing_fd < 0) {
		snprintf(why, why_size, "no memory for the lab");
		return -ENOMEM;
	}
	opts.backing_fd = lab->backing_fd;
	err = mrn_hmm_create(&opts, &lab->hmm);
	if (err)
		return err;
	err = lab_devmem_open(&lab->other, lab, LAB_PAGES);
	if (!err)
		err = mrn_hmm_alloc(lab->hmm, lab_bytes(LAB_PAGES), PROT_READ | PROT_WRITE,
				    LAB_ORDER, &base);
	if (err)
		snprintf(why, why_size, "managed memory: %s", strerror(-err));
	lab->base = (uintptr_t)base;
	return err;
}

static void end_world(struct lab *lab)
{
	struct lab_thread *next;

	lab_devmem_close(&lab->other);
	lab_second_end(lab);
	if (lab->hmm)
		mrn_hmm_destroy(lab->hmm);
	if (lab->backing_fd >= 0)
		close(lab->backing_fd);
	for (struct lab_thread *t = lab->threads; t; t = next) {
		next = t->next;
		free(t);
	}
	sem_destroy(&lab->strokes_room);
	sem_destroy(&lab->strokes_due);
	pthread_mutex_destroy(&lab->lock);
	pthread_mutex_destroy(&lab->take_lock);
	free(lab);
}

/* ----------------------------------------------------------------------------------------------- the run */

/* Called between operations, when a thread holds nothing that the storm could wait for. */
static void call_for_stroke(struct lab *lab)
{
	while (sem_wait(&lab->strokes_room))
		;
	sem_post(&lab->strokes_due);
}

static void worker_done(struct lab *lab)
{
	__atomic_fetch_add(&lab->workers_done, 1, __ATOMIC_RELEASE);
	mrn_futex_wake(&lab->workers_done, 1);
}

/* A thread of the driver. */
static void work(void *arg, struct lab_thread *t)
{
	struct lab *lab = arg;
	int64_t left;

	while ((left = (int64_t)__atomic_sub_fetch(&lab->ops_left, 1, __ATOMIC_RELAXED)) >= 0) {
		if (left % LAB_OPS_A_STROKE == 0)
			call_for_stroke(lab);
		lab->driver->work(lab->dev, t);
		__atomic_store_n(&t->ops, t->ops + 1, __ATOMIC_RELAXED);
		if (lab->config->stop_at_finding && lab_findings(lab))
			break;
	}
	worker_done(lab);
}

static uint64_t count_ops(struct lab *lab)
{
	uint64_t ops = 0;

	pthread_mutex_lock(&lab->lock);
	for (struct lab_thread *t = lab->threads; t; t = t->next)
		ops += __atomic_load_n(&t->ops, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&lab->lock);
	return ops;
}

/*
 * Waits until the workers have done all operations; if the model hangs, prints what is known and ends the process.
 * Counts how often it has waited for a whole tick: a suspended or busy machine is not a hang.
 */
static void watch(struct lab *lab, unsigned int workers)
{
	const struct lab_config *c = lab->config;
	uint64_t last = 0, idle = 0;
	uint32_t done;

	/* Acquire: what the workers have done is seen. */
	while ((done = __atomic_load_n(&lab->workers_done, __ATOMIC_ACQUIRE)) < workers) {
		uint64_t ops = count_ops(lab);

		idle = ops == last ? idle + 1 : 0;
		last = ops;
		if (idle > HANG_S * UINT64_C(1000000000) / TICK_NS) {
			lab_finding(lab, "run.c", __LINE__, "progress", "no operation in %d s",
				    HANG_S);
			fprintf(stderr, "%s\n", lab->result->finding);
			abort();
		}
		if (c->progress)
			c->progress(c->arg, lab->driver, ops, lab_findings(lab));
		mrn_futex_wait_for(&lab->workers_done, done, TICK_NS);
	}
}

/* Call after all threads have ended, the device's too. */
static void sum_up(struct lab *lab)
{
	struct lab_result *r = lab->result;

	for (struct lab_thread *t = lab->threads; t; t = t->next) {
		r->ops += t->ops;
		r->faults += t->faults;
		r->retries += t->retries;
		for (unsigned int i = 0; i < LAB_RETRY_BUCKETS; i++)
			r->histogram[i] += t->histogram[i];
	}
	r->stale = lab->stale;
	r->asserts = lab->asserts;
	r->leaks = lab->leaks;
	r->ns_per_op = r->ops ? (double)lab->ns / (double)r->ops : 0;
}

/* Starts n threads; returns how many started. */
static unsigned int start(struct lab *lab, unsigned int n, const char *role,
			  void (*fn)(void *, struct lab_thread *), struct lab_thread **threads)
{
	unsigned int started = 0;

	for (unsigned int i = 0; i < n; i++) {
		threads[started] = lab_thread_start_as(lab, role, fn, lab);
		started += threads[started] != NULL;
	}
	return started;
}

static void join(struct lab_thread **threads, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++)
		lab_thread_join(threads[i]);
}

/* A thread of the driver while the mm ends and afterwards. The program is gone, and nobody stirs. */
static void work_at_end(void *arg, struct lab_thread *t)
{
	struct lab *lab = arg;

	while ((int64_t)__atomic_sub_fetch(&lab->ops_left, 1, __ATOMIC_RELAXED) >= 0) {
		lab->driver->work(lab->dev, t);
		__atomic_store_n(&t->ops, t->ops + 1, __ATOMIC_RELAXED);
	}
	/* The figures are those of the operations before. */
	__atomic_store_n(&t->ops, 0, __ATOMIC_RELAXED);
	t->faults = t->retries = 0;
	memset(t->histogram, 0, sizeof(t->histogram));
	worker_done(lab);
}

/* A thread of its own, so that a driver is found that hangs in what the end calls. */
static void be_process(void *arg, struct lab_thread *t)
{
	(void)t;
	lab_exit(arg);
	worker_done(arg);
}

/* The process exits while driver and device work. */
static void leave(struct lab *lab)
{
	const struct timespec pause = {.tv_nsec = END_NS};
	struct lab_thread *workers[LAB_MAX_THREADS + 1];
	unsigned int nr_workers;

	/* The device's threads read it in lab_linger. */
	__atomic_store_n(&lab->ops_left, OPS_AT_END, __ATOMIC_RELAXED);
	lab->workers_done = 0;
	nr_workers = start(lab, LAB_MAX_THREADS, "driver", work_at_end, workers);
	nr_workers += start(lab, 1, "process", be_process, workers + nr_workers);
	watch(lab, nr_workers);
	join(workers, nr_workers);
	nanosleep(&pause, NULL);
}

static void run(struct lab *lab)
{
	struct lab_thread *workers[LAB_MAX_THREADS], *others[LAB_STORMS + 1];
	unsigned int nr_workers, nr_others;
	uint64_t began = mrn_now_ns();

	__atomic_store_n(&lab->short_of_memory, true, __ATOMIC_RELAXED);
	nr_others = start(lab, LAB_STORMS, "storm", lab_storm, others);
	nr_others += start(lab, 1, "CPU", lab_cpu, others + nr_others);
	nr_workers = start(lab, lab->config->threads, "driver", work, workers);
	watch(lab, nr_workers);
	join(workers, nr_workers);
	lab->ns = mrn_now_ns() - began;
	__atomic_store_n(&lab->stop, true, __ATOMIC_RELEASE);
	for (unsigned int i = 0; i < LAB_STORMS; i++)
		sem_post(&lab->strokes_due);
	join(others, nr_others);
	/* The fault handler's thread lives on, and may count still. */
	lab->result->invalidations = __atomic_load_n(&lab->invalidations, __ATOMIC_RELAXED);
	lab->result->refusals = __atomic_load_n(&lab->refusals, __ATOMIC_RELAXED);
	if (!lab->config->stop_at_finding || !lab_findings(lab))
		leave(lab);
	__atomic_store_n(&lab->short_of_memory, false, __ATOMIC_RELAXED);
}

/* *alive: the driver has left something that may still use its memory, or the lab's. */
static int run_driver(struct lab *lab, bool *alive, char *why, size_t why_size)
{
	const struct lab_driver *driver = lab->driver;
	struct lab_census before;
	int err = -ENOMEM;

	lab->dev = calloc(1, driver->size);
	if (lab->dev) {
		lab_census_take(lab, &before);
		err = lab_crash_watch(lab);
	}
	if (!err) {
		running = lab;
		err = driver->open(lab, lab->dev);
		if (!err)
			run(lab);
		driver->close(lab->dev);
		running = NULL;
		lab_crash_unwatch(lab);
		lab_census_compare(lab, &before);
		*alive = lab_census_is_alive(lab, &before);
	}
	if (!*alive)
		free(lab->dev);
	if (err)
		snprintf(why, why_size, "%s: %s", driver->name, strerror(-err));
	return err;
}

/* What can be checked only when no thread and no driver uses the memory any more. */
static void check_end(struct lab *lab)
{
	lab_check_all(lab);
	lab_devmem_close(&lab->other);
	lab_check_frames(lab);
	lab_second_end(lab);
	/* Checks the frames in quarantine. */
	mrn_hmm_destroy(lab->hmm);
	lab->hmm = NULL;
}

int lab_run(const struct lab_driver *driver, const struct lab_config *config,
	    struct lab_result *result, char *why, size_t why_size)
{
	struct lab *lab = calloc(1, sizeof(*lab));
	bool alive = false;
	int err;

	*result = (struct lab_result){0};
	if (!lab) {
		snprintf(why, why_size, "no memory for the lab");
		return -ENOMEM;
	}
	lab->driver = driver;
	lab->config = config;
	lab->result = result;
	lab->ops_left = config->ops;
	lab->mm_users = 1;
	lab->backing_fd = -1;
	pthread_mutex_init(&lab->lock, NULL);
	pthread_mutex_init(&lab->take_lock, NULL);
	sem_init(&lab->strokes_due, 0, 0);
	sem_init(&lab->strokes_room, 0, LAB_STROKES_DUE);
	err = make_world(lab, why, why_size);
	if (!err)
		err = run_driver(lab, &alive, why, why_size);
	if (!err && !alive)
		check_end(lab);
	if (!err)
		sum_up(lab);
	if (!alive)
		end_world(lab);
	return err;
}
