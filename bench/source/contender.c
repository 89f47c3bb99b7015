/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mrn-bench-source: a process with some sources or none, which works for mrn bench source.
 */
#include <errno.h>
#include <malloc.h>
#include <mrn/source.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench/bench.h"
#include "bench/crew.h"
#include "bench/process.h"
#include "bench/source/place.h"
#include "bench/source/request.h"
#include "os/clock.h"
#include "source/kinds.h"

#define RW (PROT_READ | PROT_WRITE)

static struct contender {
	struct mrn_source *source; /* NULL: none, or not yet */
	uint64_t need;		   /* what the source can cover */
	struct mmu_range_notifier others[SOURCE_OTHERS];
	struct mmu_range_notifier watch;
	uint64_t told; /* how often watch was told */
	struct source_work w;
	size_t page;
	uint64_t ops; /* of the run in progress */
	int error;    /* the first */
} me;

static void note(int error)
{
	int none = 0;

	if (error)
		__atomic_compare_exchange_n(&me.error, &none, error, false, __ATOMIC_RELAXED,
					    __ATOMIC_RELAXED);
}

/* --------------------------------------------------------------------------------------- notifiers */

/* Only what any consumer must do. */
static bool invalidate(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		       uint64_t cur_seq)
{
	mmu_range_notifier_update_seq(mrn, cur_seq);
	mrn_source_disarm_changing(me.source, mrn, range);
	if (mrn == &me.watch)
		__atomic_fetch_add(&me.told, 1, __ATOMIC_RELAXED);
	return true;
}

static const struct mmu_range_notifier_ops ops = {.invalidate = invalidate};

static int watch(struct mmu_range_notifier *mrn, char *memory, size_t length)
{
	int r;

	mrn->ops = &ops;
	r = mmu_range_notifier_insert(mrn, (uintptr_t)memory, length, mrn_mm_self());
	if (r)
		return r;
	do {
		mmu_range_read_begin(mrn);
		r = mrn_source_arm(me.source, (uintptr_t)memory, length, me.need);
	} while (r == -EAGAIN);
	/* Memory that cannot be armed would measure something else. */
	if (r == MRN_USE_ONCE)
		return -EXDEV;
	return r;
}

static void unwatch(struct mmu_range_notifier *mrn)
{
	mrn_source_disarm(me.source, mrn);
	mmu_range_notifier_remove(mrn);
}

/* ------------------------------------------------------------------------------------------ the works */

static void touch(char *p, size_t length)
{
	for (size_t i = 0; i < length; i += me.page)
		((volatile char *)p)[i] = 1;
}

static char *map_touched(void)
{
	char *p = mmap(NULL, me.w.length, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED) {
		note(-errno);
		return NULL;
	}
	touch(p, me.w.length);
	return p;
}

static void map_and_unmap(void)
{
	for (uint64_t i = 0; i < me.ops && !me.error; i++) {
		char *p = map_touched();

		if (p)
			munmap(p, me.w.length);
	}
}

static void map_and_unmap_watched(void)
{
	uint64_t before = me.told;

	for (uint64_t i = 0; i < me.ops && !me.error; i++) {
		char *p = map_touched();

		if (!p)
			return;
		note(watch(&me.watch, p, me.w.length));
		munmap(p, me.w.length);
		/* Waits until watch has been told. */
		mmu_range_read_begin(&me.watch);
		unwatch(&me.watch);
	}
	note(me.told - before == me.ops ? 0 : -EPROTO);
}

static void getppids(void)
{
	for (uint64_t i = 0; i < me.ops; i++)
		getppid();
}

static void bare_getppids(void)
{
#ifdef __x86_64__
	for (uint64_t i = 0; i < me.ops; i++) {
		long r = SYS_getppid;

		__asm__ volatile("syscall" : "+a"(r) : : "rcx", "r11", "memory");
	}
#else
	note(-EOPNOTSUPP);
#endif
}

static void mallocs(void)
{
	for (uint64_t i = 0; i < me.ops; i++) {
		volatile char *p = malloc(me.w.length);

		if (p)
			*p = 1;
		else
			note(-ENOMEM);
		free((void *)(uintptr_t)p);
	}
}

static void work(void *ctx, unsigned int self)
{
	switch (me.w.kind) {
	case SOURCE_MAP:
		map_and_unmap();
		break;
	case SOURCE_MAP_WATCHED:
		if (me.source)
			map_and_unmap_watched();
		else
			map_and_unmap();
		break;
	case SOURCE_GETPPID:
		getppids();
		break;
	case SOURCE_GETPPID_BARE:
		bare_getppids();
		break;
	default:
		mallocs();
	}
}

static double run(void)
{
	static struct bench_crew crew;
	uint64_t began, took;
	int err = bench_crew_start(&crew, me.w.threads);

	note(err);
	if (err)
		return 0;
	/* Other contenders had the processors' caches before. */
	me.ops = me.w.ops / 16 + 1;
	bench_crew_run(&crew, work, NULL);
	me.ops = me.w.ops;
	began = mrn_now_ns();
	bench_crew_run(&crew, work, NULL);
	took = mrn_now_ns() - began;
	bench_crew_stop(&crew);
	return (double)took / (double)(me.w.ops * me.w.threads);
}

static int one_round(void *ctx, double *ns, struct bench_tally *tally)
{
	place_open();
	*ns = run();
	place_close();
	return me.error;
}

/* ----------------------------------------------------------------------------------------------- begin */

/* All contenders have their memory; with a source they are watched. */
static int make_others(void)
{
	int r = place_make(SOURCE_OTHERS);

	for (size_t i = 0; !r && i < SOURCE_OTHERS; i++) {
		touch(place_other(i), PLACE_OTHER);
		if (me.source)
			r = watch(&me.others[i], place_other(i), PLACE_OTHER);
	}
	return r;
}

static int prepare(uint32_t sources, char *why, size_t why_size)
{
	const struct mrn_source_opts opts = {.size = sizeof(opts),
					     .why = why,
					     .why_size = why_size};
	int r = 0;

	/* Otherwise glibc stops mapping large blocks when the first one is freed. */
	mallopt(M_MMAP_THRESHOLD, 128 << 10);
	me.page = (size_t)sysconf(_SC_PAGESIZE);
	me.need = mrn_kinds_cover(sources) & MRN_COVER_PAGES;
	if (sources)
		r = mrn_source_attach(mrn_mm_self(), sources, &opts, &me.source);
	return r ? r : make_others();
}

static int begin(void *ctx, const void *request, size_t size, char *why, size_t why_size)
{
	struct source_work w;
	int r = 0;

	if (size != sizeof(w))
		return -EINVAL;
	memcpy(&w, request, size);
	if (!me.page)
		r = prepare(w.sources, why, why_size);
	me.w = w;
	return r;
}

int main(void)
{
	static const struct bench_process_ops process = {begin, one_round};

	return bench_process_serve(&process, NULL);
}
