/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Operations whose instructions are counted: unlike their time, the count is the same on a busy machine. For
 * scripts/bench-check, which runs this under callgrind and counts inside counted() alone.
 *
 * usage: bench-counts NAME | --names | --compiler
 *
 * Does one kind of operation, and prints how often counted() did it; or prints the names; or the compiler that built
 * this. One thread, one seed; addresses are fixed numbers, not a loader's choice.
 */
#include <errno.h>
#include <mrn/regcache.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/core/side.h"
#include "os/random.h"

#define N     10000
#define BATCH 2000

/* What counted() works on. */
static struct {
	struct layout layout;
	struct side side;
	uint32_t index[BATCH];
	struct span query[BATCH];
	struct job job[BATCH];
	struct mrn_mm *mm;
	struct mrn_regcache *cache;
	uintptr_t address[BATCH];
} on;

/* ------------------------------------------------------------------------------------ range notifiers */

static int insert_all(void *ctx, const struct job *job, size_t nr)
{
	return on.side.ops->insert(&on.side, job, nr);
}

/* N notifiers; the jobs remove and insert some of them. */
static int open_core(void)
{
	int err = layout_create(&on.layout, LAYOUT_RANDOM, N);

	if (!err)
		err = side_open(&on.side, &side_mrn, N);
	if (!err)
		err = layout_each(&on.layout, insert_all, NULL);
	if (!err)
		err = layout_jobs(&on.layout, on.job, BATCH, 1, 1);
	return err;
}

static int open_hot(void)
{
	int err = open_core();

	if (!err)
		layout_indices(&on.layout, 64, on.index, BATCH);
	return err;
}

static int open_queries(enum query_kind kind)
{
	int err = open_core();

	if (!err)
		layout_queries(&on.layout, kind, on.query, BATCH);
	return err;
}

static int open_miss(void)
{
	return open_queries(QUERY_MISS);
}

static int open_hit1(void)
{
	return open_queries(QUERY_HIT1);
}

static int open_hit100(void)
{
	return open_queries(QUERY_HIT100);
}

static int read_batch(void)
{
	return on.side.ops->read(&on.side, on.index, BATCH) ? -EBUSY : 0;
}

static int announce_batch(void)
{
	return on.side.ops->announce(&on.side, on.query, BATCH);
}

static int insert_batch(void)
{
	return on.side.ops->insert(&on.side, on.job, BATCH);
}

static int remove_batch(void)
{
	return on.side.ops->remove(&on.side, on.job, BATCH);
}

/* ---------------------------------------------------------------------------------------- the cache */

#define ENTRIES 1000
#define LENGTH	((size_t)64 << 10)

static int register_range(void *ctx, struct mrn_regcache_entry *entry)
{
	entry->handle.u64 = entry->addr;
	return 0;
}

static void deregister_range(void *ctx, struct mrn_regcache_entry *entry)
{
}

static int get_and_put(uintptr_t address)
{
	const struct mrn_regcache_entry *entry;
	/* The address is only a number; nothing reads memory there. */
	int err =
		mrn_regcache_get(on.cache, (const void *)address, LENGTH, MRN_ACCESS_READ, &entry);

	return err ? err : mrn_regcache_put(entry);
}

static int open_cache(void)
{
	static const struct mrn_regcache_ops ops = {register_range, deregister_range};
	struct mrn_regcache_opts opts = {
		.size = sizeof(opts),
		.ops = &ops,
		.max_entries = 2 * ENTRIES,
	};
	uint64_t random = 1;
	int err = mrn_mm_create(&on.mm);

	opts.mm = on.mm;
	if (!err)
		err = mrn_regcache_create(&opts, &on.cache);
	for (size_t i = 0; i < ENTRIES && !err; i++)
		err = get_and_put((UINT64_C(1) << 32) + 2 * i * LENGTH);
	for (size_t i = 0; i < BATCH; i++)
		on.address[i] =
			(UINT64_C(1) << 32) + 2 * mrn_random_below(&random, ENTRIES) * LENGTH;
	return err;
}

static int hit_batch(void)
{
	int err = 0;

	for (size_t i = 0; i < BATCH && !err; i++)
		err = get_and_put(on.address[i]);
	return err;
}

/* ------------------------------------------------------------------------------------------- counting */

struct operation {
	const char *name;
	int (*open)(void);
	/* Does BATCH operations. */
	int (*run)(void);
	/* Undoes run, not counted; or NULL. undo_first: for remove, so that run finds all inserted. */
	int (*undo)(void);
	bool undo_first;
};

static const struct operation operations[] = {
	{"read_hot", open_hot, read_batch, NULL, false},
	{"miss", open_miss, announce_batch, NULL, false},
	{"hit1", open_hit1, announce_batch, NULL, false},
	{"hit100", open_hit100, announce_batch, NULL, false},
	{"insert", open_core, insert_batch, remove_batch, true},
	{"remove", open_core, remove_batch, insert_batch, false},
	{"cache_hit", open_cache, hit_batch, NULL, false},
};

#define NR_OPERATIONS (sizeof(operations) / sizeof(*operations))

static int failed;

/* scripts/bench-check finds it by this name. The store prevents a tail call. */
void counted(const struct operation *o);

__attribute__((noinline)) void counted(const struct operation *o)
{
	int err = o->run();

	__atomic_store_n(&failed, err, __ATOMIC_RELAXED);
}

static int count(const struct operation *o)
{
	/* volatile: prevents a clone under another name. */
	void (*volatile run)(const struct operation *o) = counted;
	int err = o->open();

	if (!err && o->undo_first)
		err = o->undo();
	/* One run before, for what is done only the first time. */
	if (!err)
		err = o->run();
	if (!err && o->undo)
		err = o->undo();
	if (err)
		return err;
	run(o);
	if (!failed)
		printf("%d\n", BATCH);
	return failed;
}

static const char *compiler(void)
{
#ifdef __clang__
	return __VERSION__;
#else
	return "gcc " __VERSION__;
#endif
}

int main(int argc, char **argv)
{
	const char *word = argc == 2 ? argv[1] : "";

	if (!strcmp(word, "--compiler")) {
		puts(compiler());
		return EXIT_SUCCESS;
	}
	for (size_t i = 0; i < NR_OPERATIONS; i++) {
		if (!strcmp(word, "--names")) {
			puts(operations[i].name);
		} else if (!strcmp(word, operations[i].name)) {
			int err = count(&operations[i]);

			if (err)
				fprintf(stderr, "%s: %s: %s\n", argv[0], word, strerror(-err));
			return err ? EXIT_FAILURE : EXIT_SUCCESS;
		}
	}
	if (!strcmp(word, "--names"))
		return EXIT_SUCCESS;
	fprintf(stderr, "usage: %s NAME | --names | --compiler\n", argv[0]);
	return 2;
}
