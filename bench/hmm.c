/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Managed memory: the cost of a CPU page fault, and of hmm_range_fault for a page.
 *
 * Two limits beside it. "continue": a userfaultfd, with a thread that only reads the fault and answers UFFDIO_CONTINUE;
 * no handler can do with less. "minor": a page of a memfd that is in memory but not in the page table, which the kernel
 * handles alone.
 *
 * All on one processor: a fault that another one serves also costs waking that one, from nothing to a multiple of all
 * the rest, and the scheduler decides which.
 */
#include <errno.h>
#include <linux/memfd.h>
#include <mrn/hmm.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench/suites.h"
#include "os/clock.h"
#include "os/container_of.h"
#include "os/uffd.h"

#define PAGES 4096
#define RW    (PROT_READ | PROT_WRITE)

static size_t page_size(void)
{
	return (size_t)getpagesize();
}

/* Time to touch each of n pages, per page. */
static double touch(volatile char *p, size_t n)
{
	uint64_t began = mrn_now_ns();

	for (size_t i = 0; i < n; i++)
		p[i * page_size()] = 1;
	return (double)(mrn_now_ns() - began) / (double)n;
}

/* -------------------------------------------------------------------------------------------- rivals */

/* A memfd, all of it in memory, mapped; and watched, for "continue". */
struct bare {
	int fd, uffd, stop;
	char *memory;
	size_t n; /* pages that a round touches */
	pthread_t thread;
	bool running;
};

static void *serve(void *arg)
{
	struct bare *b = arg;
	struct pollfd fds[2] = {{.fd = b->uffd, .events = POLLIN},
				{.fd = b->stop, .events = POLLIN}};

	while (poll(fds, 2, -1) > 0 && !fds[1].revents) {
		struct uffd_msg msg;

		while (read(b->uffd, &msg, sizeof(msg)) == sizeof(msg)) {
			struct uffdio_continue arg2 = {
				.range = {.start = msg.arg.pagefault.address &
						   ~(uint64_t)(page_size() - 1),
					  .len = page_size()},
			};

			ioctl(b->uffd, UFFDIO_CONTINUE, &arg2);
		}
	}
	return NULL;
}

static void bare_close(struct bare *b)
{
	uint64_t one = 1;

	if (b->running) {
		if (write(b->stop, &one, sizeof(one)) == sizeof(one))
			pthread_join(b->thread, NULL);
	}
	if (b->uffd >= 0)
		close(b->uffd);
	if (b->stop >= 0)
		close(b->stop);
	if (b->memory)
		munmap(b->memory, PAGES * page_size());
	if (b->fd >= 0)
		close(b->fd);
}

static int watch(struct bare *b)
{
	struct uffdio_register arg = {
		.range = {.start = (uintptr_t)b->memory, .len = PAGES * page_size()},
		.mode = UFFDIO_REGISTER_MODE_MINOR,
	};
	uint64_t got;

	b->uffd = mrn_uffd_open(UFFD_FEATURE_MINOR_SHMEM, 0, &got);
	b->stop = eventfd(0, EFD_CLOEXEC);
	if (b->uffd < 0 || b->stop < 0 || ioctl(b->uffd, UFFDIO_REGISTER, &arg))
		return b->uffd < 0 ? b->uffd : -errno;
	b->running = !pthread_create(&b->thread, NULL, serve, b);
	return b->running ? 0 : -EAGAIN;
}

static int bare_open(struct bare *b, bool watched)
{
	void *p;

	*b = (struct bare){.uffd = -1, .stop = -1, .n = PAGES};
	b->fd = memfd_create("mrn-bench", MFD_CLOEXEC);
	if (b->fd < 0 || ftruncate(b->fd, (off_t)(PAGES * page_size())))
		return -errno;
	p = mmap(NULL, PAGES * page_size(), RW, MAP_SHARED, b->fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	b->memory = p;
	memset(p, 1, PAGES * page_size());
	return watched ? watch(b) : 0;
}

static double bare_round(void *ctx)
{
	struct bare *b = ctx;

	madvise(b->memory, b->n * page_size(), MADV_DONTNEED);
	return touch(b->memory, b->n);
}

/* -------------------------------------------------------------------------------------------- our side */

struct ours {
	struct mrn_hmm *hmm;
	char *memory;
	struct mmu_range_notifier mrn;
	pthread_mutex_t lock;
	unsigned long *pfns;
	size_t n; /* pages of a round */
	struct mrn_hmm_device dev;
	char *dev_memory;
	size_t dev_used;
	int error; /* of a round: the first */
};

static bool invalidate(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		       uint64_t cur_seq)
{
	struct ours *o = container_of(mrn, struct ours, mrn);

	pthread_mutex_lock(&o->lock);
	mmu_range_notifier_update_seq(mrn, cur_seq);
	pthread_mutex_unlock(&o->lock);
	return true;
}

/* The device hands out pages in order, and starts again when all are back. */
static long dev_alloc(struct mrn_hmm_device *dev, size_t n, uint64_t *pages)
{
	struct ours *o = container_of(dev, struct ours, dev);

	for (size_t i = 0; i < n; i++)
		pages[i] = o->dev_used++ % PAGES;
	return (long)n;
}

static void dev_free(struct mrn_hmm_device *dev, size_t n, const uint64_t *pages)
{
}

static int dev_copy_to_device(struct mrn_hmm_device *dev, size_t n, const uint64_t *pages,
			      void *const *frames)
{
	struct ours *o = container_of(dev, struct ours, dev);

	for (size_t i = 0; i < n; i++)
		memcpy(o->dev_memory + pages[i] * page_size(), frames[i], page_size());
	return 0;
}

static int dev_copy_to_ram(struct mrn_hmm_device *dev, size_t n, void *const *frames,
			   const uint64_t *pages)
{
	struct ours *o = container_of(dev, struct ours, dev);

	for (size_t i = 0; i < n; i++)
		memcpy(frames[i], o->dev_memory + pages[i] * page_size(), page_size());
	return 0;
}

static int ours_open(struct ours *o, char *why, size_t why_size)
{
	static const struct mmu_range_notifier_ops ops = {.invalidate = invalidate};
	static const struct mrn_hmm_device_ops dev_ops = {
		.alloc = dev_alloc,
		.free = dev_free,
		.copy_to_device = dev_copy_to_device,
		.copy_to_ram = dev_copy_to_ram,
	};
	struct mrn_hmm_opts opts = {
		.size = sizeof(opts),
		.frames = PAGES * 2,
		.why = why,
		.why_size = why_size,
	};
	void *p = NULL;
	int err;

	*o = (struct ours){.mrn.ops = &ops, .dev.ops = &dev_ops, .dev.pages = PAGES};
	pthread_mutex_init(&o->lock, NULL);
	o->pfns = calloc(PAGES, sizeof(*o->pfns));
	o->dev_memory = malloc(PAGES * page_size());
	err = o->pfns && o->dev_memory ? mrn_hmm_create(&opts, &o->hmm) : -ENOMEM;
	if (!err)
		err = mrn_hmm_device_add(o->hmm, &o->dev);
	if (!err)
		err = mrn_hmm_alloc(o->hmm, PAGES * page_size(), RW, 0, &p);
	o->memory = p;
	if (!err)
		err = mmu_range_notifier_insert(&o->mrn, (uintptr_t)p, PAGES * page_size(),
						mrn_hmm_mm(o->hmm));
	return err;
}

static void ours_close(struct ours *o)
{
	mmu_range_notifier_remove(&o->mrn);
	if (o->hmm)
		mrn_hmm_destroy(o->hmm);
	pthread_mutex_destroy(&o->lock);
	free(o->pfns);
	free(o->dev_memory);
}

static void note(struct ours *o, long r)
{
	if (r < 0 && !o->error)
		o->error = (int)r;
}

/* Drops the CPU's page table entries, not the frames: a touch faults and needs only an entry. */
static double round_minor(void *ctx)
{
	struct ours *o = ctx;

	madvise(o->memory, o->n * page_size(), MADV_DONTNEED);
	return touch(o->memory, o->n);
}

static double round_migrated(void *ctx)
{
	struct ours *o = ctx;
	long r = mrn_hmm_migrate_to_device(o->hmm, &o->dev, o->memory, o->n * page_size(), NULL);

	note(o, r == (long)o->n ? 0 : -EBUSY);
	return touch(o->memory, o->n);
}

/* A whole read: begin, fault, lock, check. Repeated until it is long enough for the clock. */
static double range_fault(struct ours *o, size_t times)
{
	struct hmm_range range = {
		.notifier = &o->mrn,
		.start = (uintptr_t)o->memory,
		.end = (uintptr_t)o->memory + o->n * page_size(),
		.hmm_pfns = o->pfns,
		.default_flags = HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE,
	};
	uint64_t began = mrn_now_ns();

	for (size_t i = 0; i < times; i++) {
		note(o, mrn_hmm_range_fault_until(&range, NULL));
		pthread_mutex_lock(&o->lock);
		note(o, mmu_range_read_retry(&o->mrn, range.notifier_seq) ? -EBUSY : 0);
		pthread_mutex_unlock(&o->lock);
	}
	return (double)(mrn_now_ns() - began) / (double)(times * o->n);
}

static double round_resident(void *ctx)
{
	struct ours *o = ctx;

	return range_fault(o, 16384 / o->n + 1);
}

/* Zeroed frames for pages that have none. Discarding them is not measured. */
static double round_fresh(void *ctx)
{
	struct ours *o = ctx;
	size_t times = 1024 / o->n + 1;
	double sum = 0;

	for (size_t i = 0; i < times; i++) {
		note(o, mrn_hmm_discard(o->hmm, o->memory, o->n * page_size()));
		sum += range_fault(o, 1);
	}
	return sum / (double)times;
}

/* ---------------------------------------------------------------------------------------------- suite */

static void measure(struct bench_table *table, const char *name, double (*run)(void *),
		    struct ours *o, struct bare *watched, struct bare *plain, size_t n)
{
	struct bench_contender c[] = {
		{.name = "mrn", .run = run, .ctx = o},
		{.name = "continue", .run = bare_round, .ctx = watched},
		{.name = "minor", .run = bare_round, .ctx = plain},
	};

	o->n = n;
	bench_measure(table, name, n, 1, c, 3);
}

static int run_all(struct bench_table *table, struct ours *o, struct bare *watched,
		   struct bare *plain)
{
	static const size_t sizes[] = {1, 64, PAGES};

	watched->n = plain->n = 1024;
	touch(o->memory, PAGES);
	measure(table, "cpu_fault", round_minor, o, watched, plain, 1024);
	measure(table, "cpu_fault_migrated", round_migrated, o, watched, plain, 1024);
	touch(o->memory, PAGES);
	for (size_t i = 0; i < 3; i++)
		measure(table, "range_fault", round_resident, o, watched, plain, sizes[i]);
	for (size_t i = 0; i < 3; i++)
		measure(table, "range_fault_fresh", round_fresh, o, watched, plain, sizes[i]);
	return o->error;
}

static int run(struct bench_table *table, char *why, size_t why_size)
{
	static struct bare watched, plain;
	static struct ours o;
	cpu_set_t before, one;
	int err;

	CPU_ZERO(&one);
	CPU_SET((size_t)sched_getcpu(), &one);
	sched_getaffinity(0, sizeof(before), &before);
	/* Threads inherit it; if it is refused the figures only vary more. */
	sched_setaffinity(0, sizeof(one), &one);
	err = ours_open(&o, why, why_size);

	if (!err) {
		err = bare_open(&watched, true);
		if (!err)
			err = bare_open(&plain, false);
		if (!err)
			err = run_all(table, &o, &watched, &plain);
		bare_close(&watched);
		bare_close(&plain);
	}
	ours_close(&o);
	sched_setaffinity(0, sizeof(before), &before);
	if (err && !*why)
		snprintf(why, why_size, "managed memory: %s", strerror(-err));
	return err;
}

const struct bench_suite bench_hmm = {
	.name = "hmm",
	.about = "managed memory: page faults of the CPU, hmm_range_fault",
	.run = run,
};
