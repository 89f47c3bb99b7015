/* SPDX-License-Identifier: BSD-3-Clause */
/* Which buffers of a ring of provided buffers the kernel may take: check/record/uring_provided.c. */
#include "check/record/uring_provided.h"

#include <string.h>
#include <sys/mman.h>

#include "check/record/calls.h"
#include "check/record/finding.h"
#include "check/record/uring_internal.h"
#include "check/shared/check.h"
#include "tests/harness/test.h"

enum { ENTRIES = 8, SIZE = 4096 };
#define MEMORY UINT64_C(0x10000000)

static struct io_uring_buf *ring;
static struct uring_provided provided;
static uint16_t tail;
/* At the first look at completions, which is before the tail is read; and at the second. */
static void (*completes)(void), (*completes_later)(void);
static unsigned int given_up;

/* ---- in place of the others */

int check_read(void *into, uintptr_t addr, size_t size)
{
	memcpy(into, (const void *)addr, size);
	return 0;
}

void check_count(size_t member)
{
	CHECK_EQ(member, offsetof(struct check_log, counts.given_up));
	given_up++;
}

void uring_completed(struct uring_ring *r)
{
	void (*now)(void) = completes;

	(void)r;
	completes = completes_later;
	completes_later = NULL;
	if (now)
		now();
}

/* ---- the program and the kernel */

static void begin(void)
{
	ring = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(ring != MAP_FAILED);
	provided = (struct uring_provided){.entries = ENTRIES, .ring = (uintptr_t)ring};
}

static uintptr_t addr_of(uint16_t number, unsigned int version)
{
	return MEMORY + (number * 100 + version) * SIZE;
}

static void write_entry(uint16_t at, uint16_t number, unsigned int version)
{
	struct io_uring_buf *b = &ring[at % ENTRIES];

	b->addr = addr_of(number, version);
	b->len = SIZE;
	b->bid = number;
}

static void provide(uint16_t number, unsigned int version)
{
	write_entry(tail++, number, version);
	__atomic_store_n(&ring->resv, tail, __ATOMIC_RELEASE);
}

static void look(void)
{
	uring_provided_look(NULL, &provided);
}

static void back(uint16_t number)
{
	uring_provided_back(&provided, number, 10, false);
}

static bool is_kernels(uint16_t number, unsigned int version)
{
	const uintptr_t start = addr_of(number, version);
	uintptr_t addr;
	size_t length;

	return uring_provided_in(&provided, start, start + SIZE, 0, &addr, &length);
}

TEST(what_is_provided_is_the_kernel_s_until_it_comes_back)
{
	begin();
	for (uint16_t i = 0; i < ENTRIES; i++)
		provide(i, 0);
	CHECK(!is_kernels(3, 0));
	look();
	CHECK(is_kernels(3, 0));
	/* In another order than it was provided. */
	for (unsigned int version = 0; version < 3; version++)
		for (uint16_t i = 0; i < ENTRIES; i++) {
			const uint16_t number = (uint16_t)(i * 3 % ENTRIES);

			CHECK(is_kernels(number, version));
			back(number);
			CHECK(!is_kernels(number, version));
			provide(number, version + 1);
			look();
			CHECK(is_kernels(number, version + 1));
			CHECK(!is_kernels(number, version));
		}
	CHECK_EQ(given_up, 0);
	CHECK(!is_kernels(ENTRIES, 0));
	uring_provided_lose(&provided);
	CHECK(!is_kernels(0, 3));
}
TWIN(what_is_provided_is_the_kernel_s_until_it_comes_back, back, MRN_BREAK(CHECK_OFFER_BACK));

TEST(numbers_may_be_any_and_come_back_before_they_are_seen)
{
	begin();
	provide(65535, 0);
	provide(300, 0);
	back(65535);
	look();
	CHECK(!is_kernels(65535, 0) && is_kernels(300, 0));
	provide(65535, 1);
	look();
	CHECK(is_kernels(65535, 1));
	CHECK_EQ(given_up, 0);
}

static void bring_first_two(void)
{
	back(0);
	back(1);
}

/* The entries of the first two have been written over by then, and those are not provided yet. */
TEST(an_entry_that_may_be_another_s_is_passed_over)
{
	begin();
	for (uint16_t i = 0; i < ENTRIES; i++)
		provide(i, 0);
	write_entry(tail, 6, 1);
	write_entry(tail + 1, 7, 1);
	completes_later = bring_first_two;
	look();
	CHECK(is_kernels(2, 0) && is_kernels(6, 0) && is_kernels(7, 0));
	CHECK(!is_kernels(0, 0) && !is_kernels(1, 0));
	/* They come back, before they are provided again. */
	back(6);
	CHECK(!is_kernels(6, 0) && !is_kernels(6, 1));
}
TWIN(an_entry_that_may_be_another_s_is_passed_over, counted, MRN_BREAK(CHECK_OFFER_OVER));

static void bring_new(void)
{
	provide(2, 1);
	back(2);
}

/* The second has been passed over, and the first is provided and comes back while it is looked. */
TEST(what_is_not_read_yet_has_not_been_passed_over)
{
	begin();
	provide(2, 0);
	look();
	back(2);
	provide(5, 0);
	back(5);
	look();
	CHECK_EQ(provided.passed, 0);
	provide(5, 1);
	back(5);
	provide(4, 0);
	completes_later = bring_new;
	look();
	look();
	CHECK(!is_kernels(2, 1));
	provide(5, 2);
	provide(2, 2);
	look();
	CHECK(is_kernels(5, 2) && is_kernels(2, 2));
}
TWIN(what_is_not_read_yet_has_not_been_passed_over, early, MRN_BREAK(CHECK_OFFER_EARLY));

TEST(what_came_back_in_part_is_the_kernel_s_behind_that)
{
	uintptr_t addr;
	size_t length;

	begin();
	provide(1, 0);
	look();
	uring_provided_back(&provided, 1, 1000, true);
	uring_provided_back(&provided, 1, 96, true);
	CHECK(!uring_provided_in(&provided, addr_of(1, 0), addr_of(1, 0) + 1096, 0, &addr,
				 &length));
	CHECK(uring_provided_in(&provided, addr_of(1, 0), addr_of(1, 0) + 1097, 0, &addr, &length));
	CHECK_EQ(addr, addr_of(1, 0) + 1096);
	CHECK_EQ(length, SIZE - 1096);
	/* Of a request that uses so many. */
	CHECK(!uring_provided_in(&provided, addr + 50, addr + 60, 50, &addr, &length));
	uring_provided_back(&provided, 1, SIZE, true);
	CHECK(!is_kernels(1, 0));
}
TWIN(what_came_back_in_part_is_the_kernel_s_behind_that, whole, MRN_BREAK(CHECK_OFFER_PART));

TEST(what_is_provided_twice_is_nowhere)
{
	begin();
	provide(1, 0);
	provide(1, 1);
	look();
	CHECK(!is_kernels(1, 0) && !is_kernels(1, 1));
	back(1);
	CHECK(!is_kernels(1, 0) && is_kernels(1, 1));
}
TWIN(what_is_provided_twice_is_nowhere, last, MRN_BREAK(CHECK_OFFER_TWICE));

TEST(what_requests_provide_needs_no_ring)
{
	provided = (struct uring_provided){0};
	uring_provided_give(&provided, 3, 2, addr_of(3, 0), 100 * SIZE);
	look();
	CHECK(is_kernels(3, 0) && is_kernels(4, 0) && !is_kernels(5, 0));
	back(3);
	CHECK(!is_kernels(3, 0) && is_kernels(4, 0));
	/* There is no such number. */
	uring_provided_give(&provided, 65535, 2, addr_of(3, 0), SIZE);
	CHECK_EQ(given_up, 1);
	CHECK(!is_kernels(4, 0));
}

TEST(no_number_is_too_large_to_be_refused)
{
	static const uint32_t numbers[] = {65536, 0x80000000, UINT32_MAX};

	for (unsigned int i = 0; i < 3; i++) {
		provided = (struct uring_provided){0};
		uring_provided_give(&provided, numbers[i], 1, MEMORY, SIZE);
		CHECK_EQ(given_up, i + 1);
		CHECK(provided.is_lost);
	}
}

/* More than the ring can hold: there was a round that nobody has seen. */
TEST(a_tail_that_has_gone_round_loses_all)
{
	begin();
	provide(1, 0);
	look();
	CHECK(is_kernels(1, 0));
	for (uint16_t i = 0; i < ENTRIES + 1; i++)
		provide(i, 1);
	look();
	CHECK_EQ(given_up, 1);
	CHECK(!is_kernels(1, 0) && !is_kernels(1, 1));
	back(1);
	look();
	CHECK_EQ(given_up, 1);
}
