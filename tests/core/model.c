/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A1-A6 at once: a model of an address space, everybody changing and reading it at random, and an
 * oracle that knows what nobody may ever see.
 *
 * The translations are an array of numbers, one per page. Invalidators change them between start
 * and end. Consumers copy them to shadows by the protocol. Shadows are read and written under the
 * consumer's driver lock alone, and under it this holds for every page of every shadow:
 *
 *   published  =>  no invalidation of the page is between start's return and end,
 *		    and shadow == translation
 *
 * Under TSan the translation is read there without an atomic: that the protocol orders it is part
 * of the claim.
 */
#include "tests/core/fixture.h"

enum { PAGES = 24, CONSUMERS = 4, MOST_THREADS = 8 };

struct mirror {
	struct consumer c; /* its shadow flag is not used */
	unsigned int from, to;
	bool published[PAGES];
	uint64_t copy[PAGES];
};

struct world {
	struct mrn_mm *mm;
	uint64_t translation[PAGES];
	unsigned int changing[PAGES]; /* invalidations of the page between start's return and end */
	struct mirror mirror[CONSUMERS];
	struct mmu_notifier mn;
	unsigned int list_started, list_ended;
	unsigned int rounds;
	/* Figures. */
	unsigned int invalidations, refusals, publications, collisions, own;
};

struct actor {
	struct world *w;
	struct test_rand rand;
	struct mirror *m;
};

/* Has what the test demands been seen? */
static bool has_met(const struct world *w)
{
	return LOAD(&w->publications) && LOAD(&w->collisions) && LOAD(&w->invalidations);
}

static struct mirror *mirror_of(struct mmu_range_notifier *mrn)
{
	return (struct mirror *)consumer_of(mrn);
}

static bool mirror_invalidate(struct mmu_range_notifier *mrn,
			      const struct mmu_notifier_range *range, uint64_t cur_seq)
{
	struct mirror *m = mirror_of(mrn);

	if (mmu_notifier_range_blockable(range))
		pthread_mutex_lock(&m->c.lock);
	else if (pthread_mutex_trylock(&m->c.lock) != 0)
		return false;
	mmu_range_notifier_update_seq(mrn, cur_seq);
	for (unsigned int p = m->from; p < m->to; p++)
		if (PAGE(p) < range->end && PAGE(p + 1) > range->start)
			m->published[p] = false;
	pthread_mutex_unlock(&m->c.lock);
	return true;
}

static int world_list_start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	struct world *w = container_of(mn, struct world, mn);

	/* Now and then; by the seq, so that it is nobody's in particular. */
	if (!mmu_notifier_range_blockable(range) && range->seq % 8 == 0)
		return -EAGAIN;
	ADD(&w->list_started, 1);
	return 0;
}

static void world_list_end(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	struct world *w = container_of(mn, struct world, mn);

	(void)range;
	ADD(&w->list_ended, 1);
}

/* Under m's lock: the oracle. */
static void mirror_check(struct world *w, struct mirror *m)
{
	for (unsigned int p = m->from; p < m->to; p++) {
		if (!m->published[p])
			continue;
		CHECK_EQ(LOAD(&w->changing[p]), 0);
		CHECK_EQ(m->copy[p], w->translation[p]);
	}
}

/* A1: nothing of these pages is published, from start's return to end. */
static void check_torn_down(struct world *w, unsigned int from, unsigned int to)
{
	for (int i = 0; i < CONSUMERS; i++) {
		struct mirror *m = &w->mirror[i];

		if (m->from >= to || m->to <= from)
			continue;
		pthread_mutex_lock(&m->c.lock);
		for (unsigned int p = from; p < to; p++)
			CHECK(!m->published[p]);
		pthread_mutex_unlock(&m->c.lock);
	}
}

static void change_once(struct actor *a, unsigned int depth)
{
	struct world *w = a->w;
	unsigned int from = 1 + below(&a->rand, PAGES - 2);
	unsigned int to = from + 1 + below(&a->rand, below(&a->rand, 4) ? 2 : PAGES - from - 1);
	struct mmu_notifier_range r;

	if (to > PAGES)
		to = PAGES;
	r = pages(w->mm, from, to);
	if (below(&a->rand, 3)) {
		start(&r);
	} else if (mmu_notifier_invalidate_range_start_nonblock(&r)) {
		ADD(&w->refusals, 1);
		return;
	}
	check_torn_down(w, from, to);
	for (unsigned int p = from; p < to; p++)
		ADD(&w->changing[p], 1);
	if (below(&a->rand, 4) == 0)
		sched_yield();
	for (unsigned int p = from; p < to; p++)
		__atomic_fetch_add(&w->translation[p], 1, __ATOMIC_RELAXED);
	if (depth && below(&a->rand, 4) == 0)
		change_once(a, depth - 1);
	if (below(&a->rand, 8) == 0) {
		/* A thread may ask inside its own invalidation; it is told, or not concerned. */
		struct mirror *m = &w->mirror[below(&a->rand, CONSUMERS)];
		bool mine = m->from < to && m->to > from;
		struct timespec soon = from_now(2);
		uint64_t seq;
		int e = mrn_range_read_begin_until(&m->c.mrn, &soon, &seq);

		CHECK(e == 0 || e == -EDEADLK || e == -ETIMEDOUT);
		CHECK(!(mine && e == 0));
		ADD(&w->own, e == -EDEADLK);
	}
	check_torn_down(w, from, to);
	for (unsigned int p = from; p < to; p++)
		ADD(&w->changing[p], -1);
	end(&r);
	ADD(&w->invalidations, 1);
}

static void *change(void *arg)
{
	struct actor *a = arg;

	for (unsigned int i = 0; test_round_is_due(i, a->w->rounds) || !has_met(a->w); i++)
		change_once(a, 2);
	return NULL;
}

static void *mirror(void *arg)
{
	struct actor *a = arg;
	struct mirror *m = a->m;
	struct world *w = a->w;

	for (unsigned int i = 0; test_round_is_due(i, w->rounds) || !has_met(w); i++) {
		unsigned int from = m->from + below(&a->rand, m->to - m->from);
		unsigned int to = from + 1 + below(&a->rand, m->to - from);
		uint64_t seq, speculative[PAGES];
		bool good;

		if (below(&a->rand, 2))
			seq = mmu_range_read_begin(&m->c.mrn);
		else
			CHECK_ERR(mrn_range_read_begin_until(&m->c.mrn, NULL, &seq), 0);
		CHECK(seq != 0);
		for (unsigned int p = from; p < to; p++)
			speculative[p] = __atomic_load_n(&w->translation[p], __ATOMIC_RELAXED);
		if (below(&a->rand, 8) == 0)
			sched_yield();
		pthread_mutex_lock(&m->c.lock);
		good = !mmu_range_read_retry(&m->c.mrn, seq);
		if (good) {
			for (unsigned int p = from; p < to; p++) {
				m->copy[p] = speculative[p];
				m->published[p] = true;
			}
		}
		mirror_check(w, m);
		pthread_mutex_unlock(&m->c.lock);
		ADD(good ? &w->publications : &w->collisions, 1);
	}
	return NULL;
}

/* Notifiers that come and go under the walks. */
static void *churn(void *arg)
{
	struct actor *a = arg;
	struct consumer c;

	for (unsigned int i = 0; test_round_is_due(i, a->w->rounds) || !has_met(a->w); i++) {
		unsigned int from = 1 + below(&a->rand, PAGES - 2);
		uint64_t seq;

		consumer_init(&c);
		consumer_insert(&c, a->w->mm, from, from + 1 + below(&a->rand, PAGES));
		seq = mmu_range_read_begin(&c.mrn);
		consumer_publish(&c, seq);
		if (below(&a->rand, 2)) {
			from = 1 + below(&a->rand, PAGES - 2);
			CHECK_EQ(mrn_range_notifier_move(&c.mrn, PAGE(from),
							 PAGE(1 + below(&a->rand, PAGES))),
				 0);
			/* What was read of the old range is no shadow of the new one. */
			CHECK(!consumer_publish(&c, seq));
			consumer_publish(&c, mmu_range_read_begin(&c.mrn));
		}
		consumer_remove(&c);
		CHECK_EQ(c.inside, 0);
	}
	return NULL;
}

static void run_world(unsigned int slots, unsigned int rounds)
{
	static const struct mmu_range_notifier_ops ops = {.invalidate = mirror_invalidate};
	static const struct mmu_notifier_ops list_ops = {
		.invalidate_range_start = world_list_start,
		.invalidate_range_end = world_list_end,
	};
	static const unsigned int bounds[CONSUMERS][2] = {{1, 8}, {6, 14}, {14, PAGES}, {1, PAGES}};
	struct actor actor[MOST_THREADS];
	pthread_t t[MOST_THREADS];
	static struct world w;
	unsigned int n = 0;

	mrn_check_slots = slots;
	memset(&w, 0, sizeof(w));
	w.mm = new_mm();
	w.rounds = rounds;
	w.mn.ops = &list_ops;
	CHECK_ERR(mmu_notifier_register(&w.mn, w.mm), 0);
	for (int i = 0; i < CONSUMERS; i++) {
		struct mirror *m = &w.mirror[i];

		consumer_init(&m->c);
		m->c.mrn.ops = &ops;
		m->from = bounds[i][0];
		m->to = bounds[i][1];
		consumer_insert(&m->c, w.mm, m->from, m->to);
		actor[n] = (struct actor){&w, rand_stream(n), m};
		t[n] = go(mirror, &actor[n]);
		n++;
	}
	for (int i = 0; i < 3; i++, n++) {
		actor[n] = (struct actor){&w, rand_stream(n), NULL};
		t[n] = go(change, &actor[n]);
	}
	actor[n] = (struct actor){&w, rand_stream(n), NULL};
	t[n] = go(churn, &actor[n]);
	n++;
	for (unsigned int i = 0; i < n; i++)
		done(t[i]);

	CHECK_EQ(w.list_started, w.list_ended);
	for (int i = 0; i < CONSUMERS; i++) {
		struct mirror *m = &w.mirror[i];

		pthread_mutex_lock(&m->c.lock);
		mirror_check(&w, m);
		pthread_mutex_unlock(&m->c.lock);
		CHECK_ERR(mmu_range_notifier_remove(&m->c.mrn), 0);
	}
	CHECK_ERR(mmu_notifier_unregister(&w.mn, w.mm), 0);
	NOTE("%u slots: %u invalidations, %u refused, %u published, %u collided, %u own", slots,
	     w.invalidations, w.refusals, w.publications, w.collisions, w.own);
	CHECK(has_met(&w));
	destroy_idle(w.mm);
}

TEST(model_of_an_address_space)
{
	run_world(MRN_TOKEN_SLOTS, ROUNDS(8000));
}
TWIN(model_of_an_address_space, calls_nobody, UNTIL_CAUGHT(BREAK(A1_CALLBACKS)));
TWIN(model_of_an_address_space, no_wait, UNTIL_CAUGHT(BREAK(A2_WAIT)));
TWIN(model_of_an_address_space, early_end, UNTIL_CAUGHT(BREAK(A4_EARLY_END)));
TWIN(model_of_an_address_space, list_not_ended, BREAK(A6_END_LIST));

TEST(model_with_one_slot)
{
	run_world(1, ROUNDS(8000));
}
TWIN(model_with_one_slot, no_wait, UNTIL_CAUGHT(BREAK(A2_WAIT)));

TEST(model_with_two_slots)
{
	run_world(2, ROUNDS(8000));
}

TEST(model_for_long, .slow = true, .timeout_s = 300)
{
	run_world(MRN_TOKEN_SLOTS, ROUNDS(300000));
	run_world(2, ROUNDS(150000));
	run_world(1, ROUNDS(150000));
}
