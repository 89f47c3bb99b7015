/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Race A: memory changes while it is being registered. Race B: it is looked up, or registered, while it is being changed.
 * The device may be slow: it takes a while from the pin to the end of a registration.
 */
#include <string.h>
#include <sys/mman.h>

#include "tests/harness/raw.h"
#include "tests/harness/sync.h"
#include "tests/libfabric/fixture.h"
#include "tests/verbs/device/device.h"

static struct fid_domain *domain;
static char *place;

static void open_all(unsigned int kinds)
{
	fixture_install(kinds, 0);
	domain = fixture_domain();
	place = fixture_map(NULL, 'A');
}

/* ----------------------------------------------------------------------------------------- race A */

static void remap(void *addr, size_t length)
{
	verbs_device_opts.pinned = NULL;
	fixture_map(addr, 'B');
}

static void race_a(void)
{
	struct fid_mr *mr;

	open_all(0);
	verbs_device_opts.pinned = remap;
	mr = fixture_reg(domain, place, LENGTH);
	CHECK_EQ(fixture_peek(mr, place), 'A');
	fixture_close(mr);
	CHECK_EQ(fixture_look(domain, place), 'B');
	CHECK(fixture_is_kept(domain, place));
}

TEST(changed_while_it_is_registered)
{
	race_a();
}
TWIN(changed_while_it_is_registered, no_mark,
     (BREAK_LATER(fixture_break, FABRIC_MARK), BREAK_LATER(fixture_break, FABRIC_REAPER)));

TEST(changed_while_it_is_registered_without_begin)
{
	fixture_begins = false;
	open_all(0);
	verbs_device_opts.pinned = remap;
	CHECK_EQ(fixture_look(domain, place), 'A');
	CHECK_EQ(fixture_look(domain, place), 'B');
}
TWIN(changed_while_it_is_registered_without_begin, accepts_always,
     BREAK_LATER(fixture_break, FABRIC_BORN));

/* ----------------------------------------------------------------------------------------- race B */

static struct test_gate started, registered;

/* Told after the callbacks of ranges, and before the change: holds the change until the memory is registered again. */
static int hold_start(struct mmu_notifier *notifier, const struct mmu_notifier_range *range)
{
	if (range->start < (uintptr_t)place + LENGTH && range->end > (uintptr_t)place) {
		test_gate_open(&started);
		test_gate_wait(&registered);
	}
	return 0;
}

static const struct mmu_notifier_ops hold_ops = {.invalidate_range_start = hold_start};
static struct mmu_notifier hold = {.ops = &hold_ops};

static void register_meanwhile(void *arg)
{
	test_gate_wait(&started);
	/* Not even the second time is it kept. */
	for (int i = 0; i < 3; i++)
		CHECK_EQ(fixture_look(domain, place), 'A');
	test_gate_open(&registered);
}

static void race_b(void)
{
	struct test_thread thread;

	open_all(MRN_SOURCE_INTERPOSE | MRN_SOURCE_UFFD);
	fixture_look(domain, place);
	CHECK(fixture_is_kept(domain, place));
	CHECK_ERR(mmu_notifier_register(&hold, mrn_mm_self()), 0);
	verbs_device_opts.delay_ms = 20;
	test_thread(&thread, register_meanwhile, NULL);
	fixture_map(place, 'B');
	test_join(&thread);
	CHECK_ERR(mmu_notifier_unregister(&hold, mrn_mm_self()), 0);
	CHECK_EQ(fixture_look(domain, place), 'B');
}

TEST(registered_while_it_is_changed)
{
	race_b();
}
TWIN(registered_while_it_is_changed, no_tokens,
     (BREAK_LATER(fixture_break, FABRIC_TOKENS), BREAK_LATER(fixture_break, FABRIC_ARM)));

TEST(registered_while_it_is_changed_without_begin)
{
	fixture_begins = false;
	race_b();
}
TWIN(registered_while_it_is_changed_without_begin, no_tokens,
     (BREAK_LATER(fixture_break, FABRIC_TOKENS), BREAK_LATER(fixture_break, FABRIC_ARM)));

/* ------------------------------------------------------------------- a change that is told afterwards */

/* In the callbacks' way, on both sides of the place's own notifier. */
static struct mmu_range_notifier below, above;
static struct test_gate looked;

static bool block(struct mmu_range_notifier *notifier, const struct mmu_notifier_range *range,
		  uint64_t seq)
{
	mmu_range_notifier_update_seq(notifier, seq);
	test_gate_wait(&looked);
	return true;
}

static const struct mmu_range_notifier_ops block_ops = {.invalidate = block};

static void in_the_way(struct mmu_range_notifier *notifier, char *from, size_t length)
{
	notifier->ops = &block_ops;
	CHECK_ERR(mmu_range_notifier_insert(notifier, (uintptr_t)from, length, mrn_mm_self()), 0);
}

/*
 * userfaultfd tells of a bare munmap when that is over. It returns while callbacks still run, or wait for each other; so
 * who looks up next has only the token to go by.
 */
TEST(looked_up_before_the_callback)
{
	char *room = mmap(NULL, 3 * LENGTH, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(room != MAP_FAILED);
	fixture_install(MRN_SOURCE_UFFD, 0);
	domain = fixture_domain();
	place = fixture_map(room + LENGTH, 'A');
	CHECK(fixture_is_kept(domain, place));
	in_the_way(&below, room, 2 * LENGTH);
	in_the_way(&above, room + LENGTH + 4096, 2 * LENGTH - 4096);
	CHECK_ERR(test_raw4(SYS_munmap, (long)place, LENGTH, 0, 0), 0);
	CHECK_EQ(test_raw4(SYS_mmap, (long)place, LENGTH, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED),
		 (long)place);
	memset(place, 'B', LENGTH);
	CHECK_EQ(fixture_look(domain, place), 'B');
	CHECK_EQ(fixture_look(domain, place), 'B');
	test_gate_open(&looked);
}
TWIN(looked_up_before_the_callback, no_tokens, BREAK_LATER(fixture_break, FABRIC_TOKENS));

/* ------------------------------------------------------------------------------------------ a storm */

enum { PLACES = 4, LOOKERS = 2, ROUNDS = 150 };

static struct {
	pthread_mutex_t
		lock; /* held while the place is mapped anew, and while its contents are compared */
	char *at;
	char fill;
} storm[PLACES];

static _Atomic bool over;
static _Atomic unsigned long looks;

/* Registers without the lock, so during changes; what is kept is judged with it. */
static void look_all_the_time(void *arg)
{
	struct test_rand r;

	test_rand_init(&r, (uintptr_t)arg);
	while (!over) {
		unsigned int i = (unsigned int)test_rand_below(&r, PLACES);
		struct fid_mr *mr;

		if (!fi_mr_reg(domain, storm[i].at, LENGTH, FI_SEND, 0, 0, 0, &mr, NULL))
			fixture_close(mr);
		pthread_mutex_lock(&storm[i].lock);
		CHECK_EQ(fixture_look(domain, storm[i].at), storm[i].fill);
		pthread_mutex_unlock(&storm[i].lock);
		looks++;
	}
}

static void change(struct test_rand *r, unsigned int i)
{
	storm[i].fill++;
	switch (test_rand_below(r, 3)) {
	case 0:
		munmap(storm[i].at, LENGTH);
		fixture_map(storm[i].at, storm[i].fill);
		break;
	case 1:
		fixture_map(storm[i].at, storm[i].fill);
		break;
	default:
		madvise(storm[i].at, LENGTH, MADV_DONTNEED);
		memset(storm[i].at, storm[i].fill, LENGTH);
	}
}

TEST(storm)
{
	struct test_thread lookers[LOOKERS];
	struct test_rand r;

	fixture_install(0, 0);
	domain = fixture_domain();
	for (unsigned int i = 0; i < PLACES; i++) {
		storm[i].at = fixture_map(NULL, 'A');
		storm[i].fill = 'A';
		pthread_mutex_init(&storm[i].lock, NULL);
	}
	verbs_device_opts.delay_ms = 2;
	for (uintptr_t i = 0; i < LOOKERS; i++)
		test_thread(&lookers[i], look_all_the_time, (void *)(i + 1));
	test_rand_init(&r, 0);
	for (uint64_t round = 0; test_round_is_due(round, ROUNDS) || !fixture_stats().found;
	     round++) {
		unsigned int i = (unsigned int)test_rand_below(&r, PLACES);

		pthread_mutex_lock(&storm[i].lock);
		change(&r, i);
		pthread_mutex_unlock(&storm[i].lock);
		test_sleep_ms(1);
	}
	over = true;
	for (unsigned int i = 0; i < LOOKERS; i++)
		test_join(&lookers[i]);
	NOTE("%lu looks, %lu found again, %lu refused", looks, (unsigned long)fixture_stats().found,
	     (unsigned long)fixture_stats().refused);
}
TWIN(storm, no_mark, UNTIL_CAUGHT(BREAK_LATER(fixture_break, FABRIC_MARK)));
