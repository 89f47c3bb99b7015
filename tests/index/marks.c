/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A look at a line of the filter while marks come and go in it: an entry that stays is found.
 *
 * The line is X's, who stays. Y's mark is like X's. Of fillers, in other granules that have the same line, each has a
 * mark of its own: filler k is put into place k, and X where one is left out.
 */
#include "index/filter.h"
#include "source/watched.h"

#include "tests/core/fixture.h"

enum { ROOM = MRN_FILTER_ROOM, FILLERS = 34, X_GRANULE = 12345 };

static struct {
	struct mrn_filter filter;
	struct mrn_filter_line *line;
	uint64_t granule[FILLERS];
} it;

static struct mrn_pages page_in(uint64_t granule)
{
	uint64_t page = granule << MRN_FILTER_STEP | 5;

	return (struct mrn_pages){page, page};
}

static void find_granules(void)
{
	uint64_t x = mrn_filter_hash(X_GRANULE, 0);
	size_t lines = it.filter.table->lines, at = mrn_filter_line_of(x, lines);
	unsigned int n = 0;
	bool has_tag[256] = {false};

	has_tag[x >> 24 & 0xff] = true;
	for (uint64_t g = 0; n < FILLERS; g++) {
		uint64_t hash = mrn_filter_hash(g, 0);

		if (mrn_filter_line_of(hash, lines) != at || has_tag[hash >> 24 & 0xff])
			continue;
		has_tag[hash >> 24 & 0xff] = true;
		it.granule[n++] = g;
	}
	it.line = &it.filter.table->line[at];
}

static void set_up(void)
{
	struct mrn_filter_table *t;

	memset(&it, 0, sizeof(it));
	t = mrn_filter_larger(&it.filter);
	CHECK(t != NULL);
	mrn_filter_replace(&it.filter, t);
	find_granules();
}

static void tear_down(void)
{
	mrn_filter_table_free(it.filter.table);
}

static void add_one(uint64_t granule)
{
	mrn_filter_add(&it.filter, page_in(granule), false);
}

static void drop_one(uint64_t granule)
{
	mrn_filter_drop(&it.filter, page_in(granule), false);
}

static bool x_is_found(void)
{
	uintptr_t start = (uintptr_t)page_in(X_GRANULE).first << MRN_FILTER_PAGE;

	return mrn_filter_may_overlap(&it.filter, start, start + 1);
}

/* -------------------------------------------------------------------------------------------- step by step */

enum step { NONE, ADD_Y, DROP_Y, DROP_LOWEST, DROP_HIGHEST, SWAP_Y };
enum { STEPS = 3 };

static const enum step stories[][STEPS] = {
	/* Y spills, and takes X's mark with it. */
	{ADD_Y, DROP_Y, NONE},
	{ADD_Y, DROP_HIGHEST, DROP_Y},
	/* Y gets a place below X's, or above. */
	{DROP_LOWEST, ADD_Y, DROP_Y},
	{DROP_HIGHEST, ADD_Y, DROP_Y},
	/* And X's, as Y has what was X's and X's has spilt. */
	{ADD_Y, DROP_Y, SWAP_Y},
	{DROP_HIGHEST, SWAP_Y, SWAP_Y},
};

static struct {
	const enum step *story;
	unsigned int due[STEPS]; /* when so many numbers have been read */
	unsigned int next;
	unsigned int x; /* the place that X was put into; ROOM: it has spilt */
} play;

static unsigned int highest_filler(void)
{
	return play.x < ROOM - 1 ? ROOM - 1 : ROOM - 2;
}

static void take(enum step step)
{
	switch (step) {
	case NONE:
		break;
	case ADD_Y:
		add_one(X_GRANULE);
		break;
	case DROP_Y:
		drop_one(X_GRANULE);
		break;
	case DROP_LOWEST:
		drop_one(it.granule[play.x > 0 ? 0 : 1]);
		break;
	case DROP_HIGHEST:
		drop_one(it.granule[highest_filler()]);
		break;
	case SWAP_Y:
		add_one(X_GRANULE);
		drop_one(X_GRANULE);
		break;
	}
}

static void take_due_steps(unsigned int read)
{
	while (play.next < STEPS && play.due[play.next] <= read)
		take(play.story[play.next++]);
}

static void put_x_and_fillers(unsigned int x)
{
	play.x = x;
	for (unsigned int k = 0; k < ROOM; k++)
		add_one(k == x ? X_GRANULE : it.granule[k]);
	if (x == ROOM)
		add_one(X_GRANULE);
}

static void look_during(const struct mrn_filter *before, const struct mrn_filter_line *full)
{
	play.next = 0;
	take_due_steps(0);
	CHECK_MSG(x_is_found(), "X in place %u, story %u, steps after %u, %u and %u", play.x,
		  (unsigned int)(play.story - stories[0]) / STEPS, play.due[0], play.due[1],
		  play.due[2]);
	*it.line = *full;
	it.filter = *before;
}

/* Each story, its steps at all times; `by` is how many numbers are read at once. */
static void at_all_times(unsigned int x, unsigned int by)
{
	struct mrn_filter before;
	struct mrn_filter_line full;

	set_up();
	put_x_and_fillers(x);
	before = it.filter;
	full = *it.line;
	for (unsigned int i = 0; i < sizeof(stories) / sizeof(stories[0]); i++) {
		play.story = stories[i];
		for (unsigned int a = 0; a <= ROOM; a += by)
			for (unsigned int b = a; b <= ROOM; b += by)
				for (unsigned int c = b; c <= ROOM; c += by) {
					play.due[0] = a;
					play.due[1] = b;
					play.due[2] = c;
					look_during(&before, &full);
				}
	}
	tear_down();
}

TEST(mark_of_who_stays_is_found_step_by_step)
{
	mrn_check_mark_hook = take_due_steps;
	for (unsigned int x = 0; x <= ROOM; x++)
		at_all_times(x, 8);
}
TWIN(mark_of_who_stays_is_found_step_by_step, highest_goes, BREAK(FILTER_HIGHEST));
TWIN(mark_of_who_stays_is_found_step_by_step, from_the_end, BREAK(FILTER_ORDER));

TEST(mark_of_who_stays_is_found_step_by_step_without_vectors)
{
	static const unsigned int places[] = {0, 1, 15, 29, 30, ROOM};

	mrn_broken_NO_VECTORS = true;
	mrn_check_mark_hook = take_due_steps;
	for (unsigned int i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		at_all_times(places[i], TEST_TSAN ? 4 : 1);
}
TWIN(mark_of_who_stays_is_found_step_by_step_without_vectors, highest_goes, BREAK(FILTER_HIGHEST));
TWIN(mark_of_who_stays_is_found_step_by_step_without_vectors, from_the_end, BREAK(FILTER_ORDER));

/* ----------------------------------------------------------------------------------- a reader and a writer */

enum { ALIKE = 2, LOOKS = 8000 };

static struct {
	uint32_t granted; /* the reader's: changes that the writer may make; a futex */
	uint32_t changes; /* the writer's: that it has made; a futex */
	uint64_t epoch;	  /* goes up when X goes and when it is back: odd meanwhile */
	bool over;
	bool is_in[ALIKE + FILLERS], they_come; /* the writer's */
	/* The reader's: a look stops once, after so many numbers, for some changes. */
	struct test_rand rand;
	unsigned int at;
	bool stopped;
} duel;

/* One comes, or goes: mostly they come for a while, until some spill, and then they mostly go. */
static void change_one(struct test_rand *r)
{
	unsigned int k = below(r, 2) ? ALIKE + below(r, FILLERS) : below(r, ALIKE);
	uint64_t granule = k < ALIKE ? X_GRANULE : it.granule[k - ALIKE];

	if (!below(r, 64))
		duel.they_come = !duel.they_come;
	if (k >= ALIKE && duel.is_in[k] == duel.they_come && below(r, 8))
		return;
	if (duel.is_in[k])
		drop_one(granule);
	else
		add_one(granule);
	duel.is_in[k] = !duel.is_in[k];
}

/* X gets another place, perhaps. */
static void move_x(void)
{
	ADD(&duel.epoch, 1);
	drop_one(X_GRANULE);
	add_one(X_GRANULE);
	ADD(&duel.epoch, 1);
}

static void *write_line(void *arg)
{
	struct test_rand r = rand_stream(1);

	(void)arg;
	while (!LOAD(&duel.over)) {
		uint32_t granted = LOAD(&duel.granted);

		if (LOAD(&duel.changes) == granted) {
			mrn_futex_wake(&duel.changes, 1);
			mrn_futex_wait(&duel.granted, granted, NULL);
			continue;
		}
		if (below(&r, 32))
			change_one(&r);
		else
			move_x();
		ADD(&duel.changes, 1);
	}
	return NULL;
}

static uint32_t grant(unsigned int n)
{
	uint32_t granted = ADD(&duel.granted, n);

	mrn_futex_wake(&duel.granted, 1);
	return granted;
}

static void wait_for_changes(unsigned int n)
{
	uint32_t granted = grant(n), changes;

	while ((changes = LOAD(&duel.changes)) != granted)
		mrn_futex_wait(&duel.changes, changes, NULL);
}

static void stop_for_changes(unsigned int read)
{
	if (duel.stopped || read < duel.at)
		return;
	duel.stopped = true;
	wait_for_changes(1 + below(&duel.rand, 12));
}

static void look_beside_a_writer(void)
{
	unsigned int n = 0, missed = 0, spilt = 0;
	pthread_t writer;

	set_up();
	memset(&duel, 0, sizeof(duel));
	duel.rand = rand_stream(2);
	add_one(X_GRANULE);
	writer = go(write_line, NULL);
	wait_for_changes(1000);
	mrn_check_mark_hook = stop_for_changes;
	for (unsigned int i = 0; i < LOOKS; i++) {
		uint64_t epoch;
		bool found;

		wait_for_changes(1 + below(&duel.rand, 8));
		epoch = LOAD(&duel.epoch);
		duel.at = 1 + below(&duel.rand, ROOM);
		duel.stopped = false;
		/* And some while the look goes on. */
		grant(below(&duel.rand, 4));
		found = x_is_found();
		spilt += LOAD(&it.line->mark[MRN_FILTER_SPILT]) != 0;
		/* Else X was away. */
		if (!(epoch & 1) && LOAD(&duel.epoch) == epoch) {
			n++;
			missed += !found;
		}
	}
	mrn_check_mark_hook = NULL;
	STORE(&duel.over, true);
	grant(1);
	done(writer);
	NOTE("%u looks while X was there, %u missed it; some had spilt at %u", n, missed, spilt);
	CHECK(n > 0);
	CHECK_EQ(missed, 0);
	tear_down();
}

TEST(mark_of_who_stays_is_found_beside_a_writer)
{
	look_beside_a_writer();
}
TWIN(mark_of_who_stays_is_found_beside_a_writer, from_the_end, BREAK(FILTER_ORDER));

TEST(mark_of_who_stays_is_found_beside_a_writer_without_vectors)
{
	mrn_broken_NO_VECTORS = true;
	look_beside_a_writer();
}
TWIN(mark_of_who_stays_is_found_beside_a_writer_without_vectors, from_the_end, BREAK(FILTER_ORDER));

/* ------------------------------------------------------------------------------------------ the whole of it */

/*
 * X's line is full. While somebody looks for X, another thread inserts Y, whose mark spills, and removes it: it takes
 * X's mark with it, and waits for the look to end.
 */
static struct {
	struct mrn_mm *mm;
	struct mmu_range_notifier x, y, filler[ROOM];
	unsigned int calls_of_x;
	unsigned int at; /* the look stops when so many marks have been read, once */
	bool stopped;
	pthread_t other;
} full;

enum { X_PAGE = 0x100005, FILLER_PAGE = 0x100000, NEAR_PAGE = 0x100014 };

static bool called(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		   uint64_t cur_seq)
{
	(void)range;
	mmu_range_notifier_update_seq(mrn, cur_seq);
	full.calls_of_x += mrn == &full.x;
	return true;
}

static void insert_page(struct mmu_range_notifier *mrn, uintptr_t page)
{
	static const struct mmu_range_notifier_ops ops = {.invalidate = called};

	mrn->ops = &ops;
	CHECK_ERR(mmu_range_notifier_insert(mrn, PAGE(page), PAGE(1), full.mm), 0);
}

static void *y_comes_and_goes(void *arg)
{
	(void)arg;
	insert_page(&full.y, X_PAGE);
	CHECK_ERR(mmu_range_notifier_remove(&full.y), 0);
	return NULL;
}

static void stop_once(unsigned int read)
{
	uint64_t erased = LOAD(&full.mm->index.filter.erased);

	if (full.stopped || read != full.at)
		return;
	full.stopped = true;
	full.other = go(y_comes_and_goes, NULL);
	while (LOAD(&full.mm->index.filter.erased) == erased || LOAD(&full.mm->writing.word))
		sched_yield();
}

static void fill_line_of_x(void)
{
	full.mm = new_mm();
	/* None of the others is alone then. */
	insert_page(&full.filler[0], NEAR_PAGE);
	for (unsigned int k = 1; k < ROOM; k++) {
		if (k == ROOM - 10)
			insert_page(&full.x, X_PAGE);
		insert_page(&full.filler[k], FILLER_PAGE);
	}
}

static void empty_line_of_x(void)
{
	CHECK_ERR(mmu_range_notifier_remove(&full.x), 0);
	for (unsigned int k = 0; k < ROOM; k++)
		CHECK_ERR(mmu_range_notifier_remove(&full.filler[k]), 0);
	destroy_idle(full.mm);
}

static void look_for_x(void (*look)(void))
{
	unsigned int stops = 0;

	fill_line_of_x();
	mrn_check_mark_hook = stop_once;
	for (full.at = 1; full.at <= ROOM; full.at++) {
		full.stopped = false;
		look();
		if (full.stopped)
			done(full.other);
		stops += full.stopped;
	}
	mrn_check_mark_hook = NULL;
	CHECK(stops > 0);
	empty_line_of_x();
}

static void start_for_x(void)
{
	unsigned int before = full.calls_of_x;
	struct mmu_notifier_range r = pages(full.mm, X_PAGE, X_PAGE + 1);

	start(&r);
	end(&r);
	CHECK_EQ(full.calls_of_x, before + 1);
}

static void ask_for_x(void)
{
	CHECK(mrn_is_watched(full.mm, PAGE(X_PAGE), PAGE(X_PAGE + 1)));
}

TEST(a1_start_calls_who_stays_while_another_spills)
{
	look_for_x(start_for_x);
}
TWIN(a1_start_calls_who_stays_while_another_spills, from_the_end, BREAK(FILTER_ORDER));

TEST(a1_start_calls_who_stays_while_another_spills_without_vectors)
{
	mrn_broken_NO_VECTORS = true;
	look_for_x(start_for_x);
}
TWIN(a1_start_calls_who_stays_while_another_spills_without_vectors, from_the_end,
     BREAK(FILTER_ORDER));

TEST(covered_by_who_stays_while_another_spills)
{
	look_for_x(ask_for_x);
	mrn_broken_NO_VECTORS = true;
	look_for_x(ask_for_x);
}
TWIN(covered_by_who_stays_while_another_spills, from_the_end, BREAK(FILTER_ORDER));
