/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Random gets, puts and invalidations in many threads, against an oracle.
 *
 * Pages have generations. An invalidation raises those of its pages while it is in progress, and notes
 * afterwards, as the floor, which generation every later get must find at least. A registration notes
 * the generations one by one when it is made. Stale is a get that returns a registration with a
 * generation below the floor that was there when the get began.
 *
 * Two orders of events: bracketed, where the change lies between start and end and counts as over
 * after end; and after, as the uffd monitor does it, where the change has been made when a token over
 * everything is published, and the program goes on at that moment, before any callback has run.
 */
#include "tests/regcache/fixture.h"

#include <sched.h>

#include "core/slot.h"
#include "os/atomic.h"

enum { NR_PAGES = 24, FIRST = 100, MOST_PAGES = 4, NR_HELD = 3 };

struct world {
	struct rig rig;
	bool after;
	uint64_t generation[NR_PAGES], floor[NR_PAGES];
	struct test_barrier start;
	unsigned int rounds;
	/* Figures. */
	uint64_t gets, stale, refused, invalidations;
};

struct actor {
	struct world *w;
	struct test_rand rand;
	struct test_thread thread;
	const struct mrn_regcache_entry *held[NR_HELD];
};

static void raise_to(uint64_t *floor, uint64_t to)
{
	uint64_t now = __atomic_load_n(floor, __ATOMIC_RELAXED);

	while (now < to && !__atomic_compare_exchange_n(floor, &now, to, false, __ATOMIC_ACQ_REL,
							__ATOMIC_RELAXED))
		;
}

static void maybe_yield(struct actor *a)
{
	if (!test_rand_below(&a->rand, 4))
		sched_yield();
}

static void change(struct actor *a, unsigned int page, unsigned int n, uint64_t *made)
{
	for (unsigned int i = 0; i < n; i++) {
		made[i] = __atomic_add_fetch(&a->w->generation[page + i], 1, __ATOMIC_ACQ_REL);
		if (i == n / 2)
			maybe_yield(a);
	}
}

static void change_is_over(struct actor *a, unsigned int page, unsigned int n, const uint64_t *made)
{
	for (unsigned int i = 0; i < n; i++)
		raise_to(&a->w->floor[page + i], made[i]);
}

static void change_bracketed(struct actor *a, unsigned int page, unsigned int n)
{
	struct mmu_notifier_range r = pages(a->w->rig.mm, FIRST + page, FIRST + page + n);
	uint64_t made[MOST_PAGES];

	start(&r);
	maybe_yield(a);
	change(a, page, n, made);
	maybe_yield(a);
	end(&r);
	change_is_over(a, page, n, made);
}

static void change_and_tell(struct actor *a, unsigned int page, unsigned int n)
{
	struct mrn_mm *mm = a->w->rig.mm;
	struct mmu_notifier_range r = pages(mm, FIRST + page, FIRST + page + n), all;
	uint64_t made[MOST_PAGES];

	change(a, page, n, made);
	maybe_yield(a);
	mmu_notifier_range_init(&all, MMU_NOTIFY_UNMAP, MRN_RANGE_AFTER, mm, 0, UINTPTR_MAX);
	mrn_token_publish(mm, &all);
	mrn_token_raise(mm, &all);
	mrn_fence_full();
	/* Here munmap returns to its caller. */
	change_is_over(a, page, n, made);
	maybe_yield(a);
	r.flags = MRN_RANGE_AFTER;
	start(&r);
	end(&r);
	mrn_token_withdraw(mm, &all);
}

static void act_change(struct actor *a)
{
	unsigned int n = 1 + (unsigned int)test_rand_below(&a->rand, MOST_PAGES);
	unsigned int page = (unsigned int)test_rand_below(&a->rand, NR_PAGES - n + 1);

	__atomic_add_fetch(&a->w->invalidations, 1, __ATOMIC_RELAXED);
	if (a->w->after)
		change_and_tell(a, page, n);
	else
		change_bracketed(a, page, n);
}

static void act_put(struct actor *a, unsigned int i)
{
	if (!a->held[i])
		return;
	put(&a->w->rig, a->held[i]);
	a->held[i] = NULL;
}

static void act_get(struct actor *a, unsigned int at)
{
	struct world *w = a->w;
	unsigned int n = 1 + (unsigned int)test_rand_below(&a->rand, MOST_PAGES);
	unsigned int page = (unsigned int)test_rand_below(&a->rand, NR_PAGES - n + 1);
	unsigned int access = 1 + (unsigned int)test_rand_below(&a->rand, 3);
	uint64_t floor[MOST_PAGES];
	const struct mrn_regcache_entry *e;
	struct stub_reg *reg;
	int r;

	act_put(a, at);
	for (unsigned int i = 0; i < n; i++)
		floor[i] = __atomic_load_n(&w->floor[page + i], __ATOMIC_ACQUIRE);
	__atomic_add_fetch(&w->gets, 1, __ATOMIC_RELAXED);
	r = try_get(&w->rig, FIRST + page, FIRST + page + n, access, &e);
	if (r) {
		CHECK_MSG(r == -EAGAIN || r == -ENOSPC, "get: %d", r);
		__atomic_add_fetch(&w->refused, 1, __ATOMIC_RELAXED);
		return;
	}
	accept_entry(&w->rig.dev, e, PAGE(FIRST + page), PAGE(n), access);
	reg = stub_reg(e);
	for (unsigned int i = 0; i < n; i++)
		if (stub_generation(reg, PAGE(FIRST + page + i)) < floor[i])
			__atomic_add_fetch(&w->stale, 1, __ATOMIC_RELAXED);
	a->held[at] = e;
}

static bool has_met(struct world *w)
{
	struct mrn_regcache_stats s = stats_of(w->rig.cache);

	return s.hits && s.retries && s.invalidations;
}

static void act(void *arg)
{
	struct actor *a = arg;

	test_barrier_wait(&a->w->start);
	/* Whatever is stale is known at once. */
	for (unsigned int i = 0; !__atomic_load_n(&a->w->stale, __ATOMIC_RELAXED) &&
				 (test_round_is_due(i, a->w->rounds) || !has_met(a->w));
	     i++) {
		unsigned int at = (unsigned int)test_rand_below(&a->rand, NR_HELD);

		switch (test_rand_below(&a->rand, 16)) {
		case 0:
		case 1:
			act_change(a);
			break;
		case 2:
		case 3:
			act_put(a, at);
			break;
		case 4:
			CHECK_ERR(mrn_regcache_reap(a->w->rig.cache), 0);
			break;
		default:
			act_get(a, at);
		}
	}
	for (unsigned int i = 0; i < NR_HELD; i++)
		act_put(a, i);
}

static void run_model(unsigned int threads, unsigned int rounds, bool after, unsigned int flags)
{
	static struct world w;
	static struct actor actor[32];
	struct mrn_regcache_stats s;

	w = (struct world){.after = after, .rounds = rounds};
	/* Fewer slots than there are different requests: eviction takes part. */
	rig_init(&w.rig,
		 (struct mrn_regcache_opts){.max_entries = 3 * threads + 8, .flags = flags});
	w.rig.dev.memory = STUB_ORACLE;
	w.rig.dev.oracle = w.generation;
	w.rig.dev.oracle_base = PAGE(FIRST);
	w.rig.dev.dawdle = true;
	test_barrier_init(&w.start, threads);
	for (unsigned int i = 0; i < threads; i++) {
		actor[i].w = &w;
		test_rand_init(&actor[i].rand, i);
		test_thread(&actor[i].thread, act, &actor[i]);
	}
	for (unsigned int i = 0; i < threads; i++)
		test_join(&actor[i].thread);
	s = stats_of(w.rig.cache);
	NOTE("gets %llu hits %llu retries %llu invalidations %llu killed %llu refused %llu "
	     "stale %llu",
	     (unsigned long long)w.gets, (unsigned long long)s.hits, (unsigned long long)s.retries,
	     (unsigned long long)w.invalidations, (unsigned long long)s.invalidations,
	     (unsigned long long)w.refused, (unsigned long long)w.stale);
	CHECK_EQ(w.stale, 0);
	CHECK_EQ(s.failures, w.refused);
	/* A get that loses to another which registers the same range counts as both. */
	CHECK(s.hits + s.misses >= w.gets);
	CHECK(has_met(&w));
	rig_exit(&w.rig);
}

TEST(model_bracketed)
{
	run_model(6, ROUNDS(40000), false, 0);
}
TWIN(model_bracketed, no_retry, UNTIL_CAUGHT(BREAK(CACHE_RETRY)));
TWIN(model_bracketed, no_wait, UNTIL_CAUGHT(BREAK(CACHE_FIRST_READ)));
TWIN(model_bracketed, no_notifier, UNTIL_CAUGHT(BREAK(CACHE_NOTIFIER)));
TWIN(model_bracketed, no_references, UNTIL_CAUGHT(BREAK(CACHE_REFS)));

TEST(model_after)
{
	run_model(6, ROUNDS(40000), true, 0);
}
TWIN(model_after, no_retry, UNTIL_CAUGHT(BREAK(CACHE_RETRY)));
TWIN(model_after, no_notifier, UNTIL_CAUGHT(BREAK(CACHE_NOTIFIER)));
TWIN(model_after, no_tokens, UNTIL_CAUGHT(BREAK(CACHE_TOKENS)));
TWIN(model_after, no_references, UNTIL_CAUGHT(BREAK(CACHE_REFS)));

TEST(model_merging)
{
	run_model(6, ROUNDS(20000), false, MRN_REGCACHE_MERGE);
}
TWIN(model_merging, no_retry, UNTIL_CAUGHT(BREAK(CACHE_RETRY)));
TWIN(model_merging, no_references, UNTIL_CAUGHT(BREAK(CACHE_REFS)));

/* kdreg2's count: 20 threads, 50,000 rounds each. */
TEST(kdreg2_20_threads, .timeout_s = 60)
{
	run_model(20, ROUNDS(2500), false, 0);
}

TEST(kdreg2_20_threads_50000_rounds, .slow = true, .timeout_s = 300)
{
	run_model(20, ROUNDS(50000), false, 0);
	run_model(20, ROUNDS(50000), true, MRN_REGCACHE_MERGE);
}
