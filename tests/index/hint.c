/* SPDX-License-Identifier: BSD-3-Clause */
/* Hints: what they name, when there are none, and that nothing is read through them. */
#include <sys/mman.h>

#include "index/check.h"
#include "index/node.h"
#include "tests/core/fixture.h"

/* Enough for a filter's table with hints. */
enum { N = 60000 };
#define ENTRIES_BYTES (N * sizeof(struct mrn_index_entry))

static struct {
	struct mrn_index index;
	struct mrn_index_entry *entry;
	uintptr_t start[N];
	uint64_t id;
	struct test_rand seed;
	/* Of the hint that was followed last. */
	const struct mrn_index_entry *named;
	uintptr_t place;
} it;

static void note(const struct mrn_index_entry *e, uintptr_t place)
{
	it.named = e;
	it.place = place;
}

static void recycle(void)
{
	struct mrn_index_retired r;

	mrn_index_take_retired(&it.index, &r);
	mrn_index_recycle(&it.index, &r);
}

static void insert(unsigned int k)
{
	struct mrn_index_entry *e = &it.entry[k];

	e->start = it.start[k];
	e->end = e->start + ((uintptr_t)1 << MRN_FILTER_PAGE);
	e->id = ++it.id;
	CHECK_EQ(mrn_index_insert(&it.index, e), 0);
	recycle();
}

static void erase(unsigned int k)
{
	mrn_index_erase(&it.index, &it.entry[k]);
	recycle();
}

static void set_up(bool hints)
{
	memset(&it, 0, sizeof(it));
	it.index.filter.hints = hints;
	it.seed = rand_stream(80);
	it.entry = mmap(NULL, ENTRIES_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			-1, 0);
	CHECK(it.entry != MAP_FAILED);
	for (unsigned int k = 0; k < N; k++)
		it.start[k] = (uintptr_t)test_rand_below(&it.seed, UINT64_C(1) << 34)
			      << MRN_FILTER_PAGE;
	for (unsigned int k = 0; k < N; k++)
		insert(k);
	mrn_check_hint_hook = note;
}

static void tear_down(void)
{
	mrn_check_hint_hook = NULL;
	mrn_index_destroy(&it.index);
	CHECK_EQ(munmap(it.entry, ENTRIES_BYTES), 0);
}

/* Others may have been when they were inserted before. */
static bool is_on_hint_level(const struct mrn_index_entry *e)
{
	return mrn_filter_level(mrn_pages_of(e->start, e->end), e->place & MRN_PLACE_ALONE) ==
	       it.index.filter.table->hint_level;
}

/* How many entries from k on have a hint. Each names the entry's own place. */
static unsigned int count_hints(unsigned int k, unsigned int step)
{
	unsigned int n = 0;

	for (; k < N; k += step) {
		it.named = NULL;
		mrn_index_prefetch_walk(&it.index, it.start[k]);
		if (it.named != &it.entry[k] || !is_on_hint_level(it.named))
			continue;
		CHECK_EQ(it.place, it.entry[k].place);
		n++;
	}
	return n;
}

static void check_hints(unsigned int k, unsigned int step, unsigned int percent)
{
	unsigned int n = count_hints(k, step), all = (N - k + step - 1) / step;

	NOTE("%u of %u entries have a hint", n, all);
	CHECK(n >= all / 100 * percent);
}

/* While leaves are split, and merged. */
TEST(hint_names_the_place)
{
	set_up(true);
	check_hints(0, 1, 75);
	for (unsigned int k = 0; k < N; k++)
		if (k % 16)
			erase(k);
	check_hints(0, 16, 75);
	for (unsigned int k = 0; k < N; k++)
		if (k % 16)
			insert(k);
	check_hints(0, 1, 60);
	CHECK(mrn_index_is_valid(&it.index));
	tear_down();
}
TWIN(hint_names_the_place, stays_behind, BREAK(INDEX_HINTS));

/* A stale hint names memory that is gone. */
TEST(hint_is_not_read_through)
{
	unsigned int followed = 0;

	set_up(true);
	for (unsigned int k = 0; k < N; k++)
		erase(k);
	CHECK_EQ(mprotect(it.entry, ENTRIES_BYTES, PROT_NONE), 0);
	for (unsigned int k = 0; k < N; k++) {
		it.named = NULL;
		mrn_index_prefetch_walk(&it.index, it.start[k]);
		followed += it.named != NULL;
	}
	CHECK(followed > N / 2);
	tear_down();
}

static bool over;

static void *follow(void *arg)
{
	for (unsigned int k = 0; !LOAD(&over); k = (k + 7) % N)
		mrn_index_prefetch_walk(&it.index, it.start[k]);
	return arg;
}

static void ignore(const struct mrn_index_entry *e, uintptr_t place)
{
	(void)e;
	(void)place;
}

/* For the sanitizers: the table stays, while hints come. */
TEST(hint_is_followed_during_changes)
{
	pthread_t t;

	set_up(true);
	mrn_check_hint_hook = ignore;
	STORE(&over, false);
	t = go(follow, NULL);
	for (unsigned int k = 0; k < N; k += 2)
		erase(k);
	for (unsigned int k = 0; k < N; k += 2)
		insert(k);
	STORE(&over, true);
	done(t);
	tear_down();
}

static void check_none(void)
{
	CHECK(!it.index.filter.table->hint);
	CHECK_EQ(count_hints(0, 1), 0);
	CHECK(mrn_index_is_valid(&it.index));
	tear_down();
}

TEST(hint_only_if_asked_for)
{
	set_up(false);
	check_none();
}

TEST(hint_without_memory)
{
	mrn_broken_HINT_MEMORY = true;
	set_up(true);
	check_none();
}
