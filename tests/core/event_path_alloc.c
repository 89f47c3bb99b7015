/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * P4: start and end allocate nothing, whatever they meet. The whole program runs with a malloc that
 * aborts on the event path (malloc_guard.h); the twins show that it does.
 */
#include "tests/core/fixture.h"
#include "tests/malloc_guard.h"

#define NEED_GUARD()                                                    \
	do {                                                            \
		if (!malloc_guard_works())                              \
			SKIP("the sanitizers' own malloc is in place"); \
	} while (0)

/* What a twin has callbacks do. */
static enum { NOTHING, MALLOC, FREE, REALLOC, STRDUP, ALIGNED } mischief;
static bool in_list;

static void misbehave(void)
{
	static void *volatile sink;
	void *p;

	switch (mischief) {
	case NOTHING:
		break;
	case MALLOC:
		sink = malloc(1);
		break;
	case FREE:
		free(sink);
		break;
	case REALLOC:
		sink = realloc(sink, 10);
		break;
	case STRDUP:
		sink = strdup("by way of libc");
		break;
	case ALIGNED:
		if (posix_memalign(&p, 64, 64) == 0)
			sink = p;
		break;
	}
}

static void hook(struct consumer *c, const struct mmu_notifier_range *range)
{
	(void)c;
	(void)range;
	if (!in_list)
		misbehave();
}

static int list_start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)mn;
	if (in_list)
		misbehave();
	return !mmu_notifier_range_blockable(range) && range->seq % 4 == 0 ? -EAGAIN : 0;
}

static void list_end(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)mn;
	(void)range;
}

static void free_on_heap(struct mmu_range_notifier *mrn)
{
	CHECK_EQ(mrn_check_event_path, 0);
	free(consumer_of(mrn));
}

static void remove_self(struct consumer *c, const struct mmu_notifier_range *range)
{
	int r = mrn_range_notifier_remove_async(&c->mrn, free_on_heap);

	(void)range;
	/* Another thread's callback may have been first. */
	CHECK(r == 0 || r == -ENOENT);
}

struct stormer {
	struct mrn_mm *mm;
	struct consumer *shared;
	struct test_rand rand;
};

/* Everything that the core can do, at once. */
static void *storm(void *arg)
{
	struct stormer *s = arg;

	for (int i = 0; i < 4000; i++) {
		unsigned int from = 3 + below(&s->rand, 6);
		struct mmu_notifier_range r = pages(s->mm, from, from + 1 + below(&s->rand, 4));
		struct mmu_notifier_range nested = pages(s->mm, 5, 6);
		struct consumer *c = malloc(sizeof(*c));
		bool asynchronous = below(&s->rand, 4) == 0;
		uint64_t seq;

		consumer_init(c);
		c->hook = asynchronous ? remove_self : NULL;
		consumer_insert(c, s->mm, from, from + 2);
		start(&r);
		if (mmu_notifier_invalidate_range_start_nonblock(&nested) == 0)
			end(&nested);
		end(&r);
		seq = mmu_range_read_begin(&s->shared->mrn);
		consumer_publish(s->shared, seq);
		/* r has met it, so otherwise it is on its way to free_on_heap. */
		if (!asynchronous) {
			consumer_remove(c);
			free(c);
		}
	}
	return NULL;
}

static void storm_with(unsigned int slots)
{
	enum { THREADS = 3 };
	static const struct mmu_notifier_ops ops = {
		.invalidate_range_start = list_start,
		.invalidate_range_end = list_end,
	};
	struct mmu_notifier mn = {.ops = &ops};
	struct mrn_mm *mm = new_mm();
	struct stormer s[THREADS];
	pthread_t t[THREADS];
	struct consumer shared;
	unsigned long before = malloc_guard_calls();

	mrn_check_slots = slots;
	consumer_init(&shared);
	shared.hook = hook;
	consumer_insert(&shared, mm, 4, 8);
	CHECK_ERR(mmu_notifier_register(&mn, mm), 0);
	for (unsigned int i = 0; i < THREADS; i++) {
		s[i] = (struct stormer){mm, &shared, rand_stream(i)};
		t[i] = go(storm, &s[i]);
	}
	for (int i = 0; i < THREADS; i++)
		done(t[i]);
	CHECK_ERR(mmu_notifier_synchronize(mm), 0);
	CHECK_ERR(mmu_notifier_unregister(&mn, mm), 0);
	consumer_remove(&shared);
	destroy_idle(mm);
	/* It was listening: the notifiers themselves came from there. */
	CHECK(malloc_guard_calls() - before >= THREADS * 4000);
}

TEST(event_path_storm_allocates_nothing)
{
	NEED_GUARD();
	storm_with(MRN_TOKEN_SLOTS);
	storm_with(1);
}

/* One callback of either kind; for the twins. */
TEST(event_path_callbacks_allocate_nothing)
{
	static const struct mmu_notifier_ops ops = {.invalidate_range_start = list_start};
	struct mmu_notifier mn = {.ops = &ops};
	struct mrn_mm *mm = new_mm();
	struct consumer c;

	NEED_GUARD();
	consumer_init(&c);
	c.hook = hook;
	consumer_insert(&c, mm, 4, 8);
	CHECK_ERR(mmu_notifier_register(&mn, mm), 0);
	start_and_end(mm, 4, 8);
	CHECK_EQ(c.calls, 1);
	CHECK_ERR(mmu_notifier_unregister(&mn, mm), 0);
	consumer_remove(&c);
	destroy_idle(mm);
}
TWIN(event_path_callbacks_allocate_nothing, malloc, mischief = MALLOC, .accept_abort = true);
TWIN(event_path_callbacks_allocate_nothing, free, mischief = FREE, .accept_abort = true);
TWIN(event_path_callbacks_allocate_nothing, realloc, mischief = REALLOC, .accept_abort = true);
TWIN(event_path_callbacks_allocate_nothing, strdup, mischief = STRDUP, .accept_abort = true);
TWIN(event_path_callbacks_allocate_nothing, aligned, mischief = ALIGNED, .accept_abort = true);
TWIN(event_path_callbacks_allocate_nothing, malloc_in_list, (in_list = true, mischief = MALLOC),
     .accept_abort = true);
