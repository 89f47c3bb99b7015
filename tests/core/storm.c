/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A1, A5 in a storm: threads insert, move and remove notifiers all the time, and others invalidate. Of each
 * invalidation, this holds for each notifier:
 *
 *   inserted before start was called, removed after it has returned  =>  called once if it overlaps, else not
 *   otherwise							      =>  called at most once
 *
 * A notifier's page is taken away as soon as its removal is over.
 */
#include "tests/core/fixture.h"

enum { NOTIFIERS = 1200, WRITERS = 2, INVALIDATORS = 2 };

/* In a page of its own. */
struct target {
	struct mmu_range_notifier mrn;
	unsigned int k;
};

/* What is known of it when its page is gone. One writer's. */
struct record {
	uint32_t
		times; /* odd: inserted, with this range; changes before a removal and after an insertion */
	uint32_t from, to; /* pages */
	bool freed;	   /* of an asynchronous removal */
	struct target *target;
};

static struct {
	struct mrn_mm *mm;
	struct record record[NOTIFIERS];
	unsigned int rounds;
	uint32_t writers;
	/* Figures. */
	unsigned int insertions, moves, removals, async, invalidations;
	uint64_t called, sure;
} storm;

/* The range's owner. */
struct invalidator {
	struct test_rand seed;
	pthread_t thread;
	uint8_t calls[NOTIFIERS];
	uint32_t times[NOTIFIERS], from[NOTIFIERS], to[NOTIFIERS];
};

static struct target *target_of(struct mmu_range_notifier *mrn)
{
	return container_of(mrn, struct target, mrn);
}

static bool count_call(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		       uint64_t cur_seq)
{
	struct invalidator *who = range->owner;

	mmu_range_notifier_update_seq(mrn, cur_seq);
	who->calls[target_of(mrn)->k]++;
	return true;
}

static void set_page(struct record *r, int prot)
{
	CHECK_EQ(mrn_sys3(SYS_mprotect, (long)r->target, (long)mrn_page_size(), prot), 0);
}

/* Clumps, pages alone, and now and then a long one, so that the index has all of its forms. Not inserted yet. */
static void draw_range(struct record *r, struct test_rand *seed)
{
	unsigned int clump = below(seed, 4), length = 1 + below(seed, below(seed, 16) ? 4 : 5000);
	unsigned int from = 1 + below(seed, clump ? 256 : 1u << 20) + (clump << 16);

	STORE(&r->from, from);
	STORE(&r->to, from + length);
}

static void note_inserted(struct record *r)
{
	CHECK(mmu_range_read_begin(&r->target->mrn) != 0);
	ADD(&r->times, 1);
}

static void insert_one(struct record *r, struct test_rand *seed)
{
	static const struct mmu_range_notifier_ops ops = {.invalidate = count_call};

	set_page(r, PROT_READ | PROT_WRITE);
	memset(r->target, 0, sizeof(*r->target));
	r->target->k = (unsigned int)(r - storm.record);
	r->target->mrn.ops = &ops;
	draw_range(r, seed);
	CHECK_EQ(mmu_range_notifier_insert(&r->target->mrn, PAGE(r->from), PAGE(r->to - r->from),
					   storm.mm),
		 0);
	note_inserted(r);
	ADD(&storm.insertions, 1);
}

static void move_one(struct record *r, struct test_rand *seed)
{
	ADD(&r->times, 1);
	draw_range(r, seed);
	CHECK_EQ(mrn_range_notifier_move(&r->target->mrn, PAGE(r->from), PAGE(r->to - r->from)), 0);
	note_inserted(r);
	ADD(&storm.moves, 1);
}

static void free_one(struct mmu_range_notifier *mrn)
{
	struct record *r = &storm.record[target_of(mrn)->k];

	set_page(r, PROT_NONE);
	STORE(&r->freed, true);
}

static void remove_one(struct record *r, struct test_rand *seed)
{
	ADD(&r->times, 1);
	if (below(seed, 8) == 0) {
		STORE(&r->freed, false);
		CHECK_EQ(mrn_range_notifier_remove_async(&r->target->mrn, free_one), 0);
		ADD(&storm.async, 1);
		return;
	}
	CHECK_EQ(mmu_range_notifier_remove(&r->target->mrn), 0);
	set_page(r, PROT_NONE);
	ADD(&storm.removals, 1);
}

static void change(struct record *r, struct test_rand *seed)
{
	if ((r->times & 1) && below(seed, 4) == 0)
		move_one(r, seed);
	else if (r->times & 1)
		remove_one(r, seed);
	else if (LOAD(&r->freed))
		insert_one(r, seed);
}

/* On a busy machine the writers might be done before the others have had a turn. */
static bool has_met(void)
{
	return LOAD(&storm.invalidations) && LOAD(&storm.called) && LOAD(&storm.sure);
}

/* Each writer has its share of the records. By turns most of them go in, and most of them go out. */
static void *write_index(void *arg)
{
	unsigned int share = NOTIFIERS / WRITERS, first = (unsigned int)(uintptr_t)arg * share;
	struct test_rand seed = rand_stream(20 + first);

	for (unsigned int i = 0; test_round_is_due(i, storm.rounds) || !has_met(); i++) {
		struct record *r = &storm.record[first + below(&seed, share)];
		bool tide = i / share % 2;

		/* Against the tide, one of four. */
		if ((r->times & 1) == tide || below(&seed, 4) == 0)
			change(r, &seed);
	}
	for (unsigned int k = first; k < first + share; k++)
		if (storm.record[k].times & 1)
			remove_one(&storm.record[k], &seed);
	ADD(&storm.writers, -1);
	return NULL;
}

static void note_before(struct invalidator *who)
{
	memset(who->calls, 0, sizeof(who->calls));
	for (unsigned int k = 0; k < NOTIFIERS; k++) {
		who->times[k] = LOAD(&storm.record[k].times);
		who->from[k] = LOAD(&storm.record[k].from);
		who->to[k] = LOAD(&storm.record[k].to);
	}
}

static void check_after(struct invalidator *who, unsigned int from, unsigned int to)
{
	unsigned int sure = 0, called = 0;

	for (unsigned int k = 0; k < NOTIFIERS; k++) {
		CHECK(who->calls[k] <= 1);
		called += who->calls[k];
		if (!(who->times[k] & 1) || who->times[k] != LOAD(&storm.record[k].times))
			continue;
		sure++;
		CHECK_MSG(who->calls[k] == (who->from[k] < to && who->to[k] > from),
			  "[%u, %u) was called %u times for [%u, %u)", who->from[k], who->to[k],
			  who->calls[k], from, to);
	}
	ADD(&storm.sure, sure);
	ADD(&storm.called, called);
	ADD(&storm.invalidations, 1);
}

static void *invalidate_ranges(void *arg)
{
	struct invalidator *who = arg;

	while (LOAD(&storm.writers)) {
		unsigned int clump = below(&who->seed, 4),
			     most = below(&who->seed, 8) ? 64 : 1u << 20;
		unsigned int from = below(&who->seed, clump ? 256 : 1u << 20) + (clump << 16);
		unsigned int to = from + 1 + below(&who->seed, most);
		struct mmu_notifier_range r = pages(storm.mm, from, to);

		r.owner = who;
		note_before(who);
		start(&r);
		check_after(who, from, to);
		end(&r);
	}
	return NULL;
}

static void storms(unsigned int slots, unsigned int rounds)
{
	static struct invalidator invalidator[INVALIDATORS];
	pthread_t writer[WRITERS];
	char *memory = mmap(NULL, NOTIFIERS * mrn_page_size(), PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(memory != MAP_FAILED);
	mrn_check_slots = slots;
	memset(&storm, 0, sizeof(storm));
	storm.mm = new_mm();
	storm.rounds = rounds;
	storm.writers = WRITERS;
	for (unsigned int k = 0; k < NOTIFIERS; k++)
		storm.record[k] =
			(struct record){.target = (struct target *)(void *)(memory +
									    k * mrn_page_size()),
					.freed = true};
	for (uintptr_t i = 0; i < WRITERS; i++)
		writer[i] = go(write_index, (void *)i);
	for (unsigned int i = 0; i < INVALIDATORS; i++) {
		invalidator[i].seed = rand_stream(30 + i);
		invalidator[i].thread = go(invalidate_ranges, &invalidator[i]);
	}
	for (unsigned int i = 0; i < WRITERS; i++)
		done(writer[i]);
	for (unsigned int i = 0; i < INVALIDATORS; i++)
		done(invalidator[i].thread);
	CHECK_ERR(mmu_notifier_synchronize(storm.mm), 0);
	CHECK_EQ(storm.insertions, storm.removals + storm.async);
	NOTE("%u slots: %u insertions, %u moves, %u removed asynchronously; %u invalidations, %llu callbacks, %llu sure",
	     slots, storm.insertions, storm.moves, storm.async, storm.invalidations,
	     (unsigned long long)storm.called, (unsigned long long)storm.sure);
	CHECK(has_met());
	destroy_idle(storm.mm);
	munmap(memory, NOTIFIERS * mrn_page_size());
}

TEST(a1_storm_calls_each_once)
{
	storms(MRN_TOKEN_SLOTS, ROUNDS(40000));
}
TWIN(a1_storm_calls_each_once, no_callbacks, UNTIL_CAUGHT(BREAK(A1_CALLBACKS)));

TEST(a1_storm_calls_each_once_with_one_slot)
{
	storms(1, ROUNDS(20000));
}

TEST(a1_storm_calls_each_once_with_two_slots)
{
	storms(2, ROUNDS(20000));
}

TEST(a1_storm_calls_each_once_without_vectors)
{
	mrn_broken_NO_VECTORS = true;
	storms(MRN_TOKEN_SLOTS, ROUNDS(20000));
}

TEST(a1_storm_calls_each_once_for_long, .slow = true, .timeout_s = 180)
{
	storms(MRN_TOKEN_SLOTS, ROUNDS(1000000));
	storms(2, ROUNDS(500000));
}
