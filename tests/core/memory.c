/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whose memory is touched: P3, nobody's by a reader when nothing overlaps; P5, not the token's once
 * end has returned; A5, not the notifier's once remove has.
 */
#include <setjmp.h>

#include "tests/core/fixture.h"

static void *whole_pages(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	return p;
}

static void protect(void *p, size_t size, int prot)
{
	CHECK_EQ(mrn_sys3(SYS_mprotect, (long)p, (long)mrn_page_up(size), prot), 0);
}

/* ------------------------------------------------------------------------------------------- P3 */

/* The notifier on pages of its own; the lock, which a reader does take, elsewhere. */
struct frozen {
	struct mrn_mm *mm;
	struct mmu_range_notifier *mrn;
	pthread_mutex_t lock;
};

static bool frozen_invalidate(struct mmu_range_notifier *mrn,
			      const struct mmu_notifier_range *range, uint64_t cur_seq)
{
	(void)range;
	pthread_mutex_lock(mrn->driver_lock);
	mmu_range_notifier_update_seq(mrn, cur_seq);
	pthread_mutex_unlock(mrn->driver_lock);
	return true;
}

/*
 * The first read after an insertion looks at all tokens, and notes in the notifier that it has: one store. Those
 * that come later write nothing. The first read_retry is noted, too, by a checking build.
 */
static void first_read(struct frozen *f)
{
	uint64_t seq = mmu_range_read_begin(f->mrn);

	CHECK(seq != 0);
	pthread_mutex_lock(f->mrn->driver_lock);
	CHECK(!mmu_range_read_retry(f->mrn, seq));
	pthread_mutex_unlock(f->mrn->driver_lock);
}

static void freeze(struct frozen *f, int prot)
{
	protect(f->mm, sizeof(*f->mm), prot);
	protect(f->mrn, sizeof(*f->mrn), prot);
}

static void frozen_init(struct frozen *f)
{
	static const struct mmu_range_notifier_ops ops = {.invalidate = frozen_invalidate};

	/* To look at the order of locks, a checking build takes a slot. */
	MRN_BREAK(MISUSE_CHECKS);
	f->mm = new_mm();
	f->mrn = whole_pages(sizeof(*f->mrn));
	pthread_mutex_init(&f->lock, NULL);
	f->mrn->ops = &ops;
	f->mrn->driver_lock = &f->lock;
	CHECK_EQ(mmu_range_notifier_insert(f->mrn, PAGE(4), PAGE(4), f->mm), 0);
}

static void frozen_read(struct frozen *f)
{
	uint64_t seq, until = 0;

	seq = mmu_range_read_begin(f->mrn);
	CHECK(seq != 0);
	CHECK_EQ(mrn_range_read_begin_until(f->mrn, NULL, &until), 0);
	CHECK_EQ(until, seq);
	CHECK(!mmu_range_check_retry(f->mrn, seq));
	pthread_mutex_lock(&f->lock);
	CHECK(!mmu_range_read_retry(f->mrn, seq));
	pthread_mutex_unlock(&f->lock);
	CHECK(!mrn_tokens_overlap(f->mm, PAGE(4), PAGE(8)));
}

static void frozen_destroy(struct frozen *f)
{
	CHECK_EQ(mmu_range_notifier_remove(f->mrn), 0);
	destroy_idle(f->mm);
	munmap(f->mrn, mrn_page_up(sizeof(*f->mrn)));
}

TEST(p3_reading_writes_nothing)
{
	struct frozen f;

	frozen_init(&f);
	first_read(&f);
	freeze(&f, PROT_READ);
	for (int i = 0; i < 1000; i++)
		frozen_read(&f);
	freeze(&f, PROT_READ | PROT_WRITE);
	frozen_destroy(&f);
}

TEST(p3_reading_writes_nothing_while_other_memory_changes)
{
	struct mmu_notifier_range before, after;
	struct consumer neighbour[2];
	struct frozen f;

	frozen_init(&f);
	/* An invalidation that meets nobody does not show in the mm's state. */
	for (unsigned int i = 0; i < 2; i++) {
		consumer_init(&neighbour[i]);
		consumer_insert(&neighbour[i], f.mm, i ? 8 : 1, i ? 9 : 4);
	}
	before = pages(f.mm, 1, 4);
	after = pages(f.mm, 8, 9);
	start(&before);
	start(&after);
	CHECK_NE(LOAD(&f.mm->state), MRN_MM_IDLE);
	first_read(&f);
	freeze(&f, PROT_READ);
	for (int i = 0; i < 1000; i++)
		frozen_read(&f);
	freeze(&f, PROT_READ | PROT_WRITE);
	end(&before);
	end(&after);
	for (unsigned int i = 0; i < 2; i++)
		consumer_remove(&neighbour[i]);
	frozen_destroy(&f);
}

static sigjmp_buf fault_return;
static void *volatile fault_at;

static void on_fault(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	fault_at = info->si_addr;
	siglongjmp(fault_return, 1);
}

/* That the two above would have noticed: a start does write, and the pages say so. */
TEST(p3_a_write_would_have_been_noticed)
{
	struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO}, old;
	struct frozen f;
	volatile unsigned int faults = 0;

	frozen_init(&f);
	CHECK_EQ(sigaction(SIGSEGV, &sa, &old), 0);
	freeze(&f, PROT_READ);
	if (!sigsetjmp(fault_return, 1))
		*(volatile char *)f.mm = *(volatile char *)f.mm;
	else
		faults++;
	CHECK(fault_at == f.mm);
	if (!sigsetjmp(fault_return, 1))
		*(volatile char *)f.mrn = *(volatile char *)f.mrn;
	else
		faults++;
	CHECK(fault_at == f.mrn);
	freeze(&f, PROT_READ | PROT_WRITE);
	CHECK_EQ(sigaction(SIGSEGV, &old, NULL), 0);
	CHECK_EQ(faults, 2);
	frozen_destroy(&f);
}

/* ------------------------------------------------------------------------------------------- P5 */

enum { WAITERS = 3 };

static struct {
	struct mrn_mm *mm;
	struct consumer c;
	struct test_barrier round;
	bool over;
} after_end;

static void *wait_again_and_again(void *arg)
{
	(void)arg;
	for (;;) {
		test_barrier_wait(&after_end.round); /* the token is there */
		if (after_end.over)
			return NULL;
		CHECK(mmu_range_read_begin(&after_end.c.mrn) != 0);
		test_barrier_wait(&after_end.round);
	}
}

/* Its memory goes away, poisoned, the moment that end returns, while waiters wake. */
static void token_memory_goes_away(unsigned int slots)
{
	struct mmu_notifier_range elsewhere;
	pthread_t t[WAITERS];

	mrn_check_slots = slots;
	watch_waits();
	memset(&after_end, 0, sizeof(after_end));
	after_end.mm = new_mm();
	consumer_init(&after_end.c);
	consumer_insert(&after_end.c, after_end.mm, 4, 8);
	elsewhere = pages(after_end.mm, 50, 51);
	start(&elsewhere);
	test_barrier_init(&after_end.round, WAITERS + 1);
	for (int i = 0; i < WAITERS; i++)
		t[i] = go(wait_again_and_again, NULL);
	for (int i = 0; i < ROUNDS(2000); i++) {
		struct mmu_notifier_range *r = whole_pages(sizeof(*r));

		memset(&waits.first, 0, sizeof(waits.first));
		*r = pages(after_end.mm, 4, 5);
		start(r);
		test_barrier_wait(&after_end.round);
		test_gate_wait(&waits.first);
		end(r);
		memset(r, 0xa5, sizeof(*r));
		CHECK_EQ(munmap(r, mrn_page_up(sizeof(*r))), 0);
		test_barrier_wait(&after_end.round);
	}
	after_end.over = true;
	test_barrier_wait(&after_end.round);
	for (int i = 0; i < WAITERS; i++)
		done(t[i]);
	NOTE("%u waits in %d rounds", waits.count, ROUNDS(2000));
	end(&elsewhere);
	consumer_remove(&after_end.c);
	destroy_idle(after_end.mm);
}

TEST(p5_token_memory_goes_away_after_end)
{
	token_memory_goes_away(MRN_TOKEN_SLOTS);
}

TEST(p5_overflow_token_memory_goes_away_after_end)
{
	token_memory_goes_away(1);
}

/* The token only gets poisoned: what the list still held would be seen as a range of nonsense. */
TEST(p5_poisoned_tokens_among_living_ones)
{
	enum { N = 6 };
	struct mrn_mm *mm = new_mm();
	struct mmu_notifier_range r[N];
	struct test_rand seed = rand_stream(3);
	bool live[N] = {false};

	mrn_check_slots = 2;
	for (int i = 0; i < 20000; i++) {
		unsigned int k = below(&seed, N);

		if (live[k]) {
			end(&r[k]);
			memset(&r[k], 0xa5, sizeof(r[k]));
		} else {
			r[k] = pages(mm, 10 + k, 11 + k);
			start(&r[k]);
		}
		live[k] = !live[k];
		for (unsigned int j = 0; j < N; j++)
			CHECK_EQ(mrn_tokens_overlap(mm, PAGE(10 + j), PAGE(11 + j)), live[j]);
	}
	for (int k = 0; k < N; k++)
		if (live[k])
			end(&r[k]);
	destroy_idle(mm);
}

/* ------------------------------------------------------------------------------------------- A5 */

static bool storm_over;

static void *storm(void *mm)
{
	unsigned int n = 0;

	for (; !LOAD(&storm_over); n++)
		start_and_end(mm, 1 + n % 8, 10);
	return NULL;
}

/* After remove the notifier's page is made inaccessible: a callback, or a walk, would crash. */
TEST(a5_notifier_memory_goes_away_after_remove_in_a_storm)
{
	enum { SLOTS = 8, STORMS = 2 };
	struct mrn_mm *mm = new_mm();
	struct consumer *c[SLOTS];
	pthread_t t[STORMS];
	unsigned int calls = 0;
	struct test_rand seed = rand_stream(5);

	for (int i = 0; i < SLOTS; i++)
		c[i] = whole_pages(sizeof(**c));
	storm_over = false;
	for (int i = 0; i < STORMS; i++)
		t[i] = go(storm, mm);
	for (int i = 0; i < ROUNDS(3000); i++) {
		struct consumer *x = c[below(&seed, SLOTS)];

		protect(x, sizeof(*x), PROT_READ | PROT_WRITE);
		consumer_init(x);
		consumer_insert(x, mm, 4 + below(&seed, 4), 9);
		if (i % 4 == 0)
			sched_yield();
		mmu_range_read_begin(&x->mrn);
		consumer_remove(x);
		CHECK_EQ(LOAD(&x->inside), 0);
		calls += x->calls;
		CHECK_EQ(mmu_range_notifier_remove(&x->mrn), -ENOENT);
		memset(x, 0xa5, sizeof(*x));
		protect(x, sizeof(*x), PROT_NONE);
	}
	STORE(&storm_over, true);
	for (int i = 0; i < STORMS; i++)
		done(t[i]);
	NOTE("%d notifiers, %u callbacks", ROUNDS(3000), calls);
	destroy_idle(mm);
	for (int i = 0; i < SLOTS; i++)
		munmap(c[i], mrn_page_up(sizeof(**c)));
}
