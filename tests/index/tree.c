/* SPDX-License-Identifier: BSD-3-Clause */
/* The index, against a plain array of ranges; and its memory: what it needs, and when there is none. */
#include "index/index.h"

#include "tests/core/fixture.h"
#include "tests/index/model.h"

#define PAGE_BYTES ((uintptr_t)1 << MRN_FILTER_PAGE)
/* So far a leaf sees from its own page. */
#define REACH ((uintptr_t)1 << (31 + MRN_FILTER_PAGE))

_Noreturn void index_model_fail(const char *file, int line, const char *what)
{
	test_fail(file, line, "CHECK(%s)", what);
}

/* Random ranges: starts lie from first on, below span; no range is longer than most. */
struct shape {
	uintptr_t first, span, most;
};

struct random {
	struct index_model m;
	struct shape shape;
	struct test_rand seed;
};

static uintptr_t some_start(struct random *r)
{
	return r->shape.first + test_rand_below(&r->seed, r->shape.span);
}

/* The address space ends where it ends. */
static uintptr_t some_end(struct random *r, uintptr_t start)
{
	uintptr_t length = 1 + test_rand_below(&r->seed, r->shape.most);

	return length > UINTPTR_MAX - start ? UINTPTR_MAX : start + length;
}

static void insert_some(struct random *r, unsigned int k)
{
	uintptr_t start = some_start(r);

	CHECK_EQ(index_model_insert(&r->m, k, start, some_end(r, start)), 0);
}

static void toggle_some(void *arg)
{
	struct random *r = arg;
	unsigned int k = below(&r->seed, r->m.n);

	if (r->m.in[k])
		index_model_erase(&r->m, k);
	else
		insert_some(r, k);
}

static void walk_some(struct random *r, bool change)
{
	uintptr_t start = some_start(r), end = some_end(r, start);

	if (change)
		index_model_walk_changing(&r->m, start, end, toggle_some, r);
	else
		index_model_walk(&r->m, start, end);
}

static void empty(struct random *r)
{
	while (r->m.entries) {
		index_model_erase(&r->m, index_model_find(&r->m, below(&r->seed, r->m.n), true));
		if (r->m.entries % 64 == 0)
			index_model_check(&r->m);
	}
	index_model_check(&r->m);
}

/* A few entries that come and go, and everything about them is looked at all the time. */
static void few(uint64_t stream, struct shape shape, unsigned int rounds)
{
	struct random r = {.shape = shape, .seed = rand_stream(stream)};

	index_model_init(&r.m, 300);
	for (unsigned int i = 0; i < rounds; i++) {
		toggle_some(&r);
		index_model_check(&r.m);
		if (i % 8 == 0)
			walk_some(&r, i % 16 == 0);
	}
	empty(&r);
	index_model_destroy(&r.m);
}

static void index_few(void)
{
	few(1, (struct shape){0, 1000, 50}, ROUNDS(6000));
	few(2, (struct shape){0, 1000, 1000}, ROUNDS(3000)); /* nearly everything overlaps */
	few(3, (struct shape){0, 4, 3}, ROUNDS(3000));	     /* nearly every start is equal */
	few(4, (struct shape){0, 1, 1}, ROUNDS(1000));	     /* all are */
	few(5, (struct shape){0, PAGE_BYTES << 18, 10}, ROUNDS(3000)); /* nearly nothing overlaps */
	few(6, (struct shape){PAGE_BYTES * 7, PAGE_BYTES * 300, PAGE_BYTES * 3}, ROUNDS(3000));
}

TEST(index_few_entries)
{
	index_few();
}
TWIN(index_few_entries, looked_up_ahead, BREAK(INDEX_AHEAD));

TEST(index_few_entries_without_vectors)
{
	mrn_broken_NO_VECTORS = true;
	index_few();
}

TEST(index_at_the_ends_of_the_address_space)
{
	few(11, (struct shape){0, PAGE_BYTES * 4, PAGE_BYTES * 4}, ROUNDS(2000));
	few(12, (struct shape){UINTPTR_MAX - PAGE_BYTES * 4, PAGE_BYTES * 4, PAGE_BYTES * 8},
	    ROUNDS(2000));
	few(13, (struct shape){UINTPTR_MAX - 100, 100, 100}, ROUNDS(2000));
	few(14, (struct shape){0, UINTPTR_MAX, UINTPTR_MAX}, ROUNDS(2000));
}

/* Farther from each other than a leaf sees, or just as far. */
TEST(index_out_of_a_leafs_reach)
{
	few(21, (struct shape){0, UINTPTR_MAX, PAGE_BYTES}, ROUNDS(2000));
	few(22, (struct shape){0, REACH * 4, PAGE_BYTES * 2}, ROUNDS(2000));
	few(23, (struct shape){0, REACH * 2, REACH * 2}, ROUNDS(2000));
	few(24, (struct shape){REACH - PAGE_BYTES * 8, PAGE_BYTES * 16, REACH}, ROUNDS(2000));
}

/* Each level of the filter has its ranges, and the largest belong to none. */
TEST(index_ranges_of_every_size)
{
	for (unsigned int bits = 0; bits < 64; bits += 3)
		few(30 + bits,
		    (struct shape){0, UINTPTR_MAX >> (bits < 32 ? 8 : 0), (uintptr_t)1 << bits},
		    ROUNDS(400));
}

/* ------------------------------------------------------------------------------------------ large trees */

enum order { ASCENDING, DESCENDING, RANDOM };

/* More than 32 * 32 * 16: leaves, and at least three levels above them where they are not quite full. */
#define MANY (test_is_sanitized() ? 4000u : 40000u)

static unsigned int in_order(struct random *r, enum order order, unsigned int i)
{
	switch (order) {
	case ASCENDING:
		return i;
	case DESCENDING:
		return r->m.n - 1 - i;
	default:
		return below(&r->seed, r->m.n);
	}
}

/* step 0: all starts are equal. */
static void insert_many(struct random *r, enum order order, uintptr_t step, uintptr_t length)
{
	for (unsigned int i = 0; i < r->m.n; i++) {
		unsigned int k = index_model_find(&r->m, in_order(r, order, i), false);
		uintptr_t start = r->shape.first + k * step, most = UINTPTR_MAX - start;

		CHECK_EQ(index_model_insert(&r->m, k, start,
					    start + (length < most ? length : most)),
			 0);
		if (i % (r->m.n / 16) == 0)
			index_model_check(&r->m);
	}
	index_model_check(&r->m);
	CHECK(test_is_sanitized() || r->m.index.height >= 3);
}

static void erase_many(struct random *r, enum order order)
{
	for (unsigned int i = 0; i < r->m.n; i++) {
		index_model_erase(&r->m, index_model_find(&r->m, in_order(r, order, i), true));
		if (i % (r->m.n / 16) == 0 || r->m.entries < 40)
			index_model_check(&r->m);
		if (i % (r->m.n / 16) == 0)
			walk_some(r, false);
	}
	index_model_check(&r->m);
}

static void many(enum order in, enum order out, uintptr_t step, uintptr_t length)
{
	struct random r = {.seed = rand_stream(in * 3 + out)};

	index_model_init(&r.m, MANY);
	r.shape = (struct shape){0, step * MANY + 1, length + step * 8};
	insert_many(&r, in, step, length);
	for (unsigned int i = 0; i < 40; i++)
		walk_some(&r, false);
	erase_many(&r, out);
	index_model_destroy(&r.m);
}

TEST(index_many_in_any_order)
{
	for (enum order in = ASCENDING; in <= RANDOM; in++)
		for (enum order out = ASCENDING; out <= RANDOM; out++)
			many(in, out, PAGE_BYTES * 2, PAGE_BYTES);
}

TEST(index_many_that_start_alike)
{
	many(RANDOM, RANDOM, 0, PAGE_BYTES);
	many(ASCENDING, DESCENDING, 0, 1);
	many(RANDOM, RANDOM, 1, PAGE_BYTES); /* bytes */
}

/* All over the address space, and longer than a leaf sees. */
TEST(index_many_out_of_reach)
{
	many(RANDOM, RANDOM, UINTPTR_MAX / MANY, PAGE_BYTES);
	many(RANDOM, RANDOM, UINTPTR_MAX / MANY, REACH * 3);
	many(RANDOM, RANDOM, PAGE_BYTES * 3, REACH - PAGE_BYTES * 1000);
	many(DESCENDING, ASCENDING, PAGE_BYTES << 18, REACH - (PAGE_BYTES << 19));
}

/* Sizes mixed, so that some entry's end lies above many others'. */
TEST(index_many_of_every_size)
{
	struct random r = {.seed = rand_stream(50)};

	index_model_init(&r.m, MANY);
	for (unsigned int round = 0; round < 2; round++) {
		for (unsigned int i = 0; i < MANY; i++) {
			r.shape = (struct shape){0, UINTPTR_MAX >> below(&r.seed, 40),
						 (uintptr_t)1 << below(&r.seed, 64)};
			if (r.m.entries < MANY)
				insert_some(&r,
					    index_model_find(&r.m, below(&r.seed, MANY), false));
			if (below(&r.seed, 4) == 0)
				index_model_erase(&r.m, index_model_find(&r.m, below(&r.seed, MANY),
									 true));
			if (i % (MANY / 32) == 0) {
				index_model_check(&r.m);
				walk_some(&r, false);
			}
		}
		empty(&r);
	}
	index_model_destroy(&r.m);
}

/*
 * Two leaves become one, that has the second one's first page, and sees to the end of a long range. Then it is
 * split, and a half with an earlier page does not see so far. All levels above must know.
 */
TEST(index_out_of_reach_after_a_split)
{
	const uintptr_t step = PAGE_BYTES * 128;
	struct random r = {.shape = {0, step * MANY, REACH}, .seed = rand_stream(51)};
	enum { GONE = 64, LONG = 2, TRIES = 150 };

	index_model_init(&r.m, MANY + LONG);
	for (unsigned int k = 0; k < MANY; k++)
		CHECK_EQ(index_model_insert(&r.m, k, k * step, k * step + PAGE_BYTES), 0);
	for (unsigned int i = 0; i < TRIES; i++) {
		unsigned int from = below(&r.seed, MANY - GONE);

		for (unsigned int k = from; k < from + GONE; k++)
			if (k % 16)
				index_model_erase(&r.m, k);
		for (unsigned int k = MANY; k < MANY + LONG; k++) {
			uintptr_t start = (from + below(&r.seed, GONE)) * step;

			CHECK_EQ(index_model_insert(&r.m, k, start,
						    start + REACH - below(&r.seed, GONE) * step),
				 0);
		}
		for (unsigned int k = from; k < from + GONE; k++)
			if (k % 16)
				CHECK_EQ(index_model_insert(&r.m, k, k * step,
							    k * step + PAGE_BYTES),
					 0);
		index_model_check(&r.m);
		for (unsigned int k = MANY; k < MANY + LONG; k++)
			index_model_erase(&r.m, k);
		index_model_check(&r.m);
	}
	walk_some(&r, false);
	index_model_destroy(&r.m);
}

/* ------------------------------------------------------------------------------------------- walks by step */

/* Two that were looked up together: the second one goes while the caller is busy with the first. */
TEST(index_erased_while_looked_up_ahead)
{
	struct mrn_index_walk w;
	struct index_model m;

	index_model_init(&m, 3);
	for (unsigned int k = 0; k < 3; k++)
		CHECK_EQ(index_model_insert(&m, k, 10 + k, 20), 0);
	mrn_index_walk_begin(&w, 0, 100);
	CHECK(mrn_index_walk_next(&m.index, &w) == &m.entry[0]);
	index_model_erase(&m, 1);
	CHECK(mrn_index_walk_next(&m.index, &w) == &m.entry[2]);
	CHECK(!mrn_index_walk_next(&m.index, &w));
	index_model_destroy(&m);
}
TWIN(index_erased_while_looked_up_ahead, looked_up_ahead, BREAK(INDEX_AHEAD));

/* ------------------------------------------------------------------------------------------ without memory */

/* From the call-th request on there is none. What is in stays in, and can be erased. */
static void without_memory(unsigned int call, enum order out)
{
	struct random r = {.shape = {0, PAGE_BYTES * 4000, PAGE_BYTES * 2},
			   .seed = rand_stream(60 + call)};
	unsigned int refused = 0;

	index_model_init(&r.m, 8000);
	mrn_check_alloc_left = call;
	for (unsigned int k = 0; k < r.m.n; k++) {
		uintptr_t start = some_start(&r);
		int err = index_model_insert(&r.m, k, start, some_end(&r, start));

		CHECK(!err || err == -ENOMEM);
		refused += err != 0;
		if (k % 256 == 0 || (err && refused < 10))
			index_model_check(&r.m);
	}
	CHECK(refused > 0);
	CHECK_EQ(r.m.entries + refused, r.m.n);
	walk_some(&r, false);
	for (unsigned int i = 0; r.m.entries; i++) {
		index_model_erase(&r.m, index_model_find(&r.m, in_order(&r, out, i % r.m.n), true));
		if (i % 64 == 0)
			CHECK(mrn_index_is_valid(&r.m.index));
	}
	/* Leaves may have stayed that are empty; they do no harm, and there is memory again. */
	CHECK(mrn_index_is_valid(&r.m.index));
	mrn_check_alloc_left = 0;
	for (unsigned int k = 0; k < r.m.n; k++)
		insert_some(&r, k);
	CHECK(mrn_index_is_valid(&r.m.index));
	walk_some(&r, false);
	index_model_destroy(&r.m);
}

TEST(index_without_memory)
{
	for (unsigned int call = 1; call <= 5; call++) {
		without_memory(call, ASCENDING);
		without_memory(call, RANDOM);
	}
}

/* Through the interface: the notifier is nobody's, and can be inserted once there is memory. */
TEST(index_insert_without_memory)
{
	struct mrn_mm *mm = new_mm();
	struct consumer c;

	consumer_init(&c);
	for (unsigned int call = 1; call <= 2; call++) {
		mrn_check_alloc_left = call;
		CHECK_ERR(mmu_range_notifier_insert(&c.mrn, PAGE(4), PAGE(4), mm), -ENOMEM);
		CHECK_ERR(mmu_range_notifier_remove(&c.mrn), -ENOENT);
		start_and_end(mm, 1, 100);
		check_idle(mm);
	}
	mrn_check_alloc_left = 0;
	consumer_insert(&c, mm, 4, 8);
	start_and_end(mm, 1, 100);
	CHECK_EQ(c.calls, 1);
	consumer_remove(&c);
	destroy_idle(mm);
}

/* ------------------------------------------------------------------------------------------------- memory */

/* Of each notifier: its place, and its part of what the index has of its own. */
static void memory(const char *what, uintptr_t span, uintptr_t clump)
{
	const unsigned int n = test_is_sanitized() ? 50000 : 1000000;
	struct mrn_index_entry *e = calloc(n, sizeof(*e));
	struct test_rand seed = rand_stream(70);
	struct mrn_index ix = {.filter.hints = true};
	uintptr_t start = 0;
	double bytes;

	CHECK(e != NULL);
	for (unsigned int k = 0; k < n; k++) {
		start = k % clump ? start + PAGE_BYTES * 2
				  : test_rand_below(&seed, span) * PAGE_BYTES;
		e[k].start = start;
		e[k].end = start + PAGE_BYTES * (1 + below(&seed, 2));
		e[k].id = k + 1;
		CHECK_EQ(mrn_index_insert(&ix, &e[k]), 0);
		if (mrn_index_has_retired(&ix)) {
			struct mrn_index_retired r;

			mrn_index_take_retired(&ix, &r);
			mrn_index_recycle(&ix, &r);
		}
	}
	bytes = (double)mrn_index_bytes(&ix) / n + sizeof(e->place);
	NOTE("%s: %.1f bytes for each of %u notifiers", what, bytes, n);
	/* A chunk is 2 MiB: too much for fewer than a million. */
	CHECK(bytes <= 64 + (n < 1000000 ? 4.0 * (1 << 20) / n : 0));
	CHECK(mrn_index_is_valid(&ix));
	mrn_index_destroy(&ix);
	free(e);
}

TEST(index_memory_scattered)
{
	memory("scattered", UINT64_C(1) << 35, 1);
}

TEST(index_memory_clustered)
{
	memory("clustered", UINT64_C(1) << 35, 64);
}

TEST(index_memory_dense)
{
	memory("dense", UINT64_C(1) << 22, 1);
}
