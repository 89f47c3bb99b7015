/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Everything at once: threads of the CPU, devices with and without memory, pins, and every change there
 * is. In each page every writer has a word of his own, which he counts up; all other words are zero.
 *
 * A page's lock is held for reading by who counts, and for writing by who discards, unmaps, moves or
 * protects it: so each writer knows what his word must be, whatever became of the page meanwhile. What
 * keeps the contents (migration, compaction, reclaim, loans, write protection) takes no lock.
 */
#include "tests/hmm/fixture.h"

#include <sched.h>

enum { PAGES = 64, ARENAS = 2, WRITERS = 6, WINDOW = 8 };

struct arena {
	char *p;
	pthread_rwlock_t lock[PAGES];
	/* Each by its writer under the page's lock, or by who has that for writing. */
	uint64_t count[PAGES][WRITERS];
};

/* A device's page table for an arena. */
struct mirror {
	struct mmu_range_notifier mrn;
	pthread_mutex_t lock;
	unsigned long entry[PAGES];
	struct arena *arena;
	struct hmm_test_device *dev; /* whose memory it may use; or NULL */
	uint64_t faults, collisions;
};

static struct hmm_rig rig;
static struct hmm_test_device device;
static struct arena arena[ARENAS];
static struct mirror mirror[2][ARENAS];
static uint32_t over;
static unsigned int storm_ms = 1500;
static bool no_retry;

static volatile uint64_t *own_word(void *page, unsigned int writer)
{
	return (uint64_t *)page + 80 * writer + 3;
}

static bool is_owned(size_t word)
{
	return word % 80 == 3 && word / 80 < WRITERS;
}

/* As this writer, who holds the page's lock, at this place of the page. */
static void count_up(struct arena *a, size_t i, void *page, unsigned int writer,
		     struct test_rand *rand)
{
	volatile uint64_t *word = own_word(page, writer);

	CHECK_EQ(*word, a->count[i][writer]);
	*word = ++a->count[i][writer];
	for (int k = 0; k < 4; k++) {
		size_t w = test_rand_below(rand, mrn_page_size() / 8);

		if (!is_owned(w))
			CHECK_EQ(((volatile uint64_t *)page)[w], 0);
	}
}

/* ------------------------------------------------------------------------------------------ devices */

static bool mirror_invalidate(struct mmu_range_notifier *mrn,
			      const struct mmu_notifier_range *range, uint64_t seq)
{
	struct mirror *m = container_of(mrn, struct mirror, mrn);
	uintptr_t start = (uintptr_t)m->arena->p;

	/* Its own pages come and go without a change of what it may use, but for their numbers. */
	pthread_mutex_lock(&m->lock);
	mmu_range_notifier_update_seq(mrn, seq);
	for (size_t i = 0; i < PAGES; i++)
		if (start + PAGE(i) < range->end && start + PAGE(i + 1) > range->start)
			m->entry[i] = 0;
	pthread_mutex_unlock(&m->lock);
	return true;
}

/* Counts through the page table. False: there is no entry. */
static bool count_through(struct mirror *m, size_t i, unsigned int writer, struct test_rand *rand)
{
	bool there;

	pthread_mutex_lock(&m->lock);
	there = m->entry[i] & HMM_PFN_WRITE;
	if (there) {
		void *page = mrn_hmm_frame(rig.hmm, mrn_hmm_pfn_to_frame(m->entry[i]));

		if (!page)
			page = device_page(m->dev, m->entry[i]);
		count_up(m->arena, i, page, writer, rand);
	}
	pthread_mutex_unlock(&m->lock);
	return there;
}

/* Fills the page table for pages [i, i + n). 0, or why page i and its neighbours are not to be had. */
static int fault_window(struct mirror *m, size_t i, size_t n, struct test_rand *rand)
{
	unsigned long pfns[WINDOW];
	struct hmm_range range = {
		.notifier = &m->mrn,
		.start = (uintptr_t)m->arena->p + PAGE(i),
		.end = (uintptr_t)m->arena->p + PAGE(i + n),
		.hmm_pfns = pfns,
		.default_flags = HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE,
		.dev_private_owner = m->dev ? &m->dev->dev : NULL,
	};

	for (;;) {
		int err;

		range.notifier_seq = mmu_range_read_begin(&m->mrn);
		err = hmm_range_fault(&range);
		if (err && err != -EBUSY)
			return err;
		ADD(&m->faults, 1);
		/* Time for something to come between. */
		if (test_rand_below(rand, 4) == 0)
			sched_yield();
		pthread_mutex_lock(&m->lock);
		if (!err && (no_retry || !mmu_range_read_retry(&m->mrn, range.notifier_seq)))
			break;
		pthread_mutex_unlock(&m->lock);
		ADD(&m->collisions, 1);
	}
	memcpy(&m->entry[i], pfns, n * sizeof(pfns[0]));
	pthread_mutex_unlock(&m->lock);
	return 0;
}

static void device_access(struct mirror *m, size_t i, unsigned int writer, struct test_rand *rand)
{
	while (!count_through(m, i, writer, rand)) {
		size_t n = 1 + test_rand_below(rand, WINDOW);
		int err = fault_window(m, i, i + n > PAGES ? PAGES - i : n, rand);

		/* A neighbour is being unmapped or protected; this page cannot be. */
		if (err == -EFAULT || err == -EPERM)
			err = fault_window(m, i, 1, rand);
		CHECK_ERR(err, 0);
	}
}

/* Alone with the page: no other device, and no thread of the CPU, counts meanwhile. */
static void exclusive_access(struct mirror *m, size_t i)
{
	unsigned long pfn;
	long got;
	uint64_t seq;

	seq = mmu_range_read_begin(&m->mrn);
	got = mrn_hmm_make_exclusive(rig.hmm, m->arena->p + PAGE(i), PAGE(1), m, &pfn);
	CHECK_EQ(got, 1);
	pthread_mutex_lock(&m->lock);
	if (!mmu_range_read_retry(&m->mrn, seq))
		m->entry[i] = pfn;
	pthread_mutex_unlock(&m->lock);
}

/* ------------------------------------------------------------------------------------------ threads */

struct actor {
	void (*act)(struct actor *a, struct arena *in, size_t i);
	unsigned int number;
	struct test_rand rand;
	uint64_t rounds, longest_ns;
	struct test_thread thread;
};

static void rd_lock(struct arena *a, size_t i)
{
	CHECK_EQ(pthread_rwlock_rdlock(&a->lock[i]), 0);
}

static void wr_lock(struct arena *a, size_t i)
{
	CHECK_EQ(pthread_rwlock_wrlock(&a->lock[i]), 0);
}

static void unlock(struct arena *a, size_t i)
{
	CHECK_EQ(pthread_rwlock_unlock(&a->lock[i]), 0);
}

static void act_cpu(struct actor *a, struct arena *in, size_t i)
{
	rd_lock(in, i);
	count_up(in, i, in->p + PAGE(i), a->number, &a->rand);
	unlock(in, i);
}

static void act_device(struct actor *a, struct arena *in, size_t i)
{
	/* 2 and 3 are threads of one device, which has memory; 4 is another's, which has none. */
	struct mirror *m = &mirror[a->number == 4][in - arena];

	rd_lock(in, i);
	if (a->number == 3 && test_rand_below(&a->rand, 8) == 0)
		exclusive_access(m, i);
	device_access(m, i, a->number, &a->rand);
	unlock(in, i);
}

static void act_pin(struct actor *a, struct arena *in, size_t i)
{
	uint64_t frame;

	rd_lock(in, i);
	CHECK_EQ(mrn_hmm_pin(rig.hmm, in->p + PAGE(i), PAGE(1), true, &frame), 1);
	count_up(in, i, mrn_hmm_frame(rig.hmm, frame), a->number, &a->rand);
	mrn_hmm_unpin(rig.hmm, &frame, 1, true);
	unlock(in, i);
}

static void act_keep(struct actor *a, struct arena *in, size_t i)
{
	size_t n = 1 + test_rand_below(&a->rand, WINDOW);
	uint8_t dirty[WINDOW];
	char *p = in->p + PAGE(i);
	long r = 0;

	n = i + n > PAGES ? PAGES - i : n;
	switch (test_rand_below(&a->rand, 8)) {
	case 0:
		r = mrn_hmm_reclaim(rig.hmm, p, PAGE(n));
		break;
	case 1:
		r = mrn_hmm_compact(rig.hmm, p, PAGE(n));
		break;
	case 2:
		r = mrn_hmm_writeback(rig.hmm, p, PAGE(n));
		break;
	case 3:
		r = mrn_hmm_clear_soft_dirty(rig.hmm, p, PAGE(n));
		break;
	case 4:
		r = mrn_hmm_migrate_to_ram(rig.hmm, p, PAGE(n));
		break;
	case 5:
		r = mrn_hmm_soft_dirty(rig.hmm, p, PAGE(n), dirty);
		break;
	default:
		r = mrn_hmm_migrate_to_device(rig.hmm, &device.dev, p, PAGE(n), NULL);
		break;
	}
	CHECK_MSG(r >= 0, "%ld", r);
}

static void check_all_of(struct arena *a, size_t i)
{
	volatile uint64_t *page = (volatile uint64_t *)(a->p + PAGE(i));

	for (size_t w = 0; w < mrn_page_size() / 8; w++)
		CHECK_EQ(page[w], is_owned(w) ? a->count[i][w / 80] : 0);
}

static void act_change(struct actor *a, struct arena *in, size_t i)
{
	char *p = in->p + PAGE(i);
	struct arena *other = &arena[test_rand_below(&a->rand, ARENAS)];
	size_t j = test_rand_below(&a->rand, PAGES);
	int err = 0;

	/* In the order of their addresses, as far as threads that do this too are concerned. */
	if (&other->lock[j] < &in->lock[i])
		wr_lock(other, j);
	wr_lock(in, i);
	if (&other->lock[j] > &in->lock[i])
		wr_lock(other, j);
	check_all_of(in, i);
	switch (test_rand_below(&a->rand, 5)) {
	case 0:
		err = mrn_hmm_discard(rig.hmm, p, PAGE(1));
		memset(in->count[i], 0, sizeof(in->count[i]));
		break;
	case 1:
		err = mrn_hmm_reap(rig.hmm, p, PAGE(1));
		if (!err)
			memset(in->count[i], 0, sizeof(in->count[i]));
		else
			CHECK_ERR(err, -EAGAIN);
		err = 0;
		break;
	case 2:
		err = mrn_hmm_unmap(rig.hmm, p, PAGE(1));
		CHECK_ERR(mrn_hmm_map(rig.hmm, p, PAGE(1), RW), 0);
		memset(in->count[i], 0, sizeof(in->count[i]));
		break;
	case 3:
		err = mrn_hmm_protect(rig.hmm, p, PAGE(1), RD);
		check_all_of(in, i);
		CHECK_ERR(mrn_hmm_protect(rig.hmm, p, PAGE(1), RW), 0);
		break;
	default:
		if (other == in && i == j)
			break;
		err = mrn_hmm_move(rig.hmm, p, other->p + PAGE(j), PAGE(1));
		CHECK_ERR(mrn_hmm_map(rig.hmm, p, PAGE(1), RW), 0);
		memcpy(other->count[j], in->count[i], sizeof(in->count[i]));
		memset(in->count[i], 0, sizeof(in->count[i]));
		check_all_of(other, j);
		break;
	}
	CHECK_ERR(err, 0);
	check_all_of(in, i);
	if (other != in || i != j)
		unlock(other, j);
	unlock(in, i);
}

static void actor_main(void *arg)
{
	struct actor *a = arg;

	while (!LOAD(&over)) {
		struct arena *in = &arena[test_rand_below(&a->rand, ARENAS)];
		uint64_t begin = test_now_ns(), took;

		a->act(a, in, test_rand_below(&a->rand, PAGES));
		took = test_now_ns() - begin;
		a->longest_ns = took > a->longest_ns ? took : a->longest_ns;
		ADD(&a->rounds, 1);
	}
}

/* -------------------------------------------------------------------------------------------- storm */

static void violation(void *arg, uint64_t frame, size_t offset, uint64_t found)
{
	FAIL("frame %ju, offset %zu: %jx", (uintmax_t)frame, offset, (uintmax_t)found);
}

static void storm_init(void)
{
	static const struct mmu_range_notifier_ops ops = {mirror_invalidate};

	catch_signals();
	hmm_rig_init(&rig, (struct mrn_hmm_opts){.frames = 320,
						 .handlers = 3,
						 .quarantine = 64,
						 .violation = violation});
	device_init(&device, &rig, 48);
	for (unsigned int k = 0; k < ARENAS; k++) {
		void *at;

		CHECK_ERR(mrn_hmm_alloc(rig.hmm, PAGE(PAGES), RW, k ? 3 : 0, &at), 0);
		arena[k].p = at;
		for (size_t i = 0; i < PAGES; i++)
			pthread_rwlock_init(&arena[k].lock[i], NULL);
		for (int d = 0; d < 2; d++) {
			struct mirror *m = &mirror[d][k];

			m->arena = &arena[k];
			m->dev = d ? NULL : &device;
			m->mrn.ops = &ops;
			pthread_mutex_init(&m->lock, NULL);
			CHECK_ERR(mmu_range_notifier_insert(&m->mrn, (uintptr_t)at, PAGE(PAGES),
							    rig.mm),
				  0);
		}
	}
}

static void storm_exit(void)
{
	for (unsigned int k = 0; k < ARENAS; k++) {
		for (size_t i = 0; i < PAGES; i++)
			check_all_of(&arena[k], i);
		for (int d = 0; d < 2; d++)
			CHECK_ERR(mmu_range_notifier_remove(&mirror[d][k].mrn), 0);
		free_region(&rig, arena[k].p);
	}
	device_exit(&device, &rig);
	hmm_rig_exit(&rig);
}

static void storm(void)
{
	static struct actor a[] = {
		{act_cpu, 0}, {act_cpu, 1},  {act_device, 2}, {act_device, 3}, {act_device, 4},
		{act_pin, 5}, {act_keep, 6}, {act_keep, 7},   {act_change, 8},
	};
	static const char *const names[] = {"cpu",  "cpu",  "device", "lender", "no memory",
					    "pins", "keep", "keep",   "change"};
	struct mrn_hmm_stats s;

	storm_init();
	for (size_t i = 0; i < sizeof(a) / sizeof(a[0]); i++) {
		test_rand_init(&a[i].rand, i);
		test_thread(&a[i].thread, actor_main, &a[i]);
	}
	/* Nobody may be kept from his work, however busy the machine: the test's deadline sees to it. */
	for (size_t i = 0, slept = 0; i < sizeof(a) / sizeof(a[0]); i++)
		for (; test_round_is_due(slept, storm_ms / 10) || LOAD(&a[i].rounds) < 50; slept++)
			test_sleep_ms(10);
	STORE(&over, 1);
	for (size_t i = 0; i < sizeof(a) / sizeof(a[0]); i++) {
		test_join(&a[i].thread);
		NOTE("%s: %ju rounds, the longest %ju us", names[i], (uintmax_t)a[i].rounds,
		     (uintmax_t)a[i].longest_ns / 1000);
	}
	s = stats_of(&rig);
	NOTE("faults %ju cpu, %ju device; out %ju, in %ju; to device %ju, to ram %ju",
	     (uintmax_t)s.cpu_faults, (uintmax_t)s.device_faults, (uintmax_t)s.swapped_out,
	     (uintmax_t)s.swapped_in, (uintmax_t)s.to_device, (uintmax_t)s.to_ram);
	NOTE("device faults %ju, collisions %ju",
	     (uintmax_t)(mirror[0][0].faults + mirror[0][1].faults + mirror[1][0].faults +
			 mirror[1][1].faults),
	     (uintmax_t)(mirror[0][0].collisions + mirror[0][1].collisions +
			 mirror[1][0].collisions + mirror[1][1].collisions));
	storm_exit();
}

TEST(everything_at_once, .timeout_s = 60)
{
	storm();
}
TWIN(everything_at_once, no_start, UNTIL_CAUGHT(BREAK(HMM_NO_START)));
TWIN(everything_at_once, early_end, UNTIL_CAUGHT(BREAK(HMM_EARLY_END)));
TWIN(everything_at_once, no_zap, UNTIL_CAUGHT(BREAK(HMM_NO_ZAP)));
TWIN(everything_at_once, no_write_protect, UNTIL_CAUGHT(BREAK(HMM_NO_WRITE_PROTECT)));
/* With its own state in pieces it may hang, too. */
TWIN(everything_at_once, no_page_locks, (storm_ms = 20000, BREAK(HMM_LOCK)),
     .accept_timeout = true);
TWIN(everything_at_once, pins_do_not_keep, UNTIL_CAUGHT(BREAK(HMM_PINS)));
TWIN(everything_at_once, no_retry, UNTIL_CAUGHT(no_retry = true));

TEST(everything_at_once_for_a_minute, .slow = true, .timeout_s = 200)
{
	storm_ms = 60000;
	storm();
}
