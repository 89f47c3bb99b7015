/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Unwind tables with wrong bytes, and no memory around them: a step reads nothing outside, ends, and goes up or
 * nowhere.
 */
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include <gnu/libc-version.h>

#include "os/pages.h"
#include "tests/core/fixture.h"
#include "tests/harness/break.h"
#include "tests/watch/table.h"
#include "watch/record/cfi_entry.h"

/* A copy of libc's, with an unreadable page before and behind. */
static struct {
	struct table real;
	struct watch_cfi cfi;
	size_t size;
	uintptr_t stack; /* a page, at the end of which nothing is readable */
} copy;

#ifdef __x86_64__
#define NEEDS_ITS_FORM() ((void)0)
#else
#define NEEDS_ITS_FORM() SKIP("read on x86-64 only")
#endif

static void crashed(int sig)
{
	FAIL("it has read what is not there");
}

/* Only of the table, which need not begin or end where a page does: so one end has to be right. */
static void make_copy(bool up_to_its_end)
{
	const size_t page = mrn_page_size();
	const struct watch_cfi *real = &copy.real.cfi;
	size_t room;
	char *p;

	copy.real = table_of((uintptr_t)gnu_get_libc_version);
	copy.real.cfi.low = real->table;
	copy.size = (size_t)(real->high - real->table);
	room = mrn_page_up(copy.size);
	p = mmap(NULL, room + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(p != MAP_FAILED && !mprotect(p + page, room, PROT_READ | PROT_WRITE));
	p += page;
	if (up_to_its_end)
		p += room - copy.size;
	memcpy(p, real->table, copy.size);
	copy.cfi = (struct watch_cfi){.table = (const uint8_t *)p,
				      .low = (const uint8_t *)p,
				      .high = (const uint8_t *)p + copy.size};
	p = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(p != MAP_FAILED && !mprotect(p + page, page, PROT_NONE));
	copy.stack = (uintptr_t)p;
	CHECK(signal(SIGSEGV, crashed) != SIG_ERR && signal(SIGBUS, crashed) != SIG_ERR);
}

/* Returns whether the step worked. */
static bool step(struct test_rand *seed, uintptr_t pc)
{
	const uintptr_t page = mrn_page_size();
	uintptr_t sp = copy.stack + (below(seed, page) & ~UINT64_C(7));
	struct watch_regs r = {pc, sp, copy.stack + below(seed, page), below(seed, 2)};
	struct watch_stack stack;

	for (uintptr_t at = copy.stack; at < copy.stack + page; at += sizeof(at))
		*(uintptr_t *)at = below(seed, 8) ? copy.stack + below(seed, 2 * page)
						  : test_rand(seed);
	watch_stack_enter(&stack, sp);
	if (!watch_cfi_step(&copy.cfi, &r, &stack))
		return false;
	CHECK(r.sp > sp || r.exact);
	return true;
}

static uintptr_t some_pc(struct test_rand *seed)
{
	uintptr_t of_one = 0;
	const uint8_t *table = copy.cfi.table;

	/* That of a line in the table: it is found, unless the table is damaged. */
	of_one = below(seed, watch_u32(copy.real.cfi.table + 8));
	of_one = (uintptr_t)table +
		 (uintptr_t)(intptr_t)(int32_t)watch_u32(copy.real.cfi.table + 12 + 8 * of_one);
	return of_one + 1 + below(seed, 32);
}

/* Somewhere in what is read for pc: the head, its line's neighbourhood, its description, and the common one. */
static uint8_t *some_byte(struct test_rand *seed, const struct watch_cfi_entry *e)
{
	const uint8_t *at[] = {copy.cfi.table, e->own.p - 32, e->own.p, e->common.p - 24,
			       e->common.p};
	uint8_t *p = (uint8_t *)(uintptr_t)at[below(seed, 5)] + below(seed, 32);

	return p < copy.cfi.high ? p : (uint8_t *)(uintptr_t)copy.cfi.low;
}

static void damage(bool up_to_its_end)
{
	enum { MOST = 6 };
	struct test_rand seed = rand_stream(3);
	unsigned int worked = 0, refused = 0;

	NEEDS_ITS_FORM();
	make_copy(up_to_its_end);
	for (unsigned int round = 0; round < ROUNDS(30000u); round++) {
		struct {
			uint8_t *at, was;
		} undo[MOST];
		uintptr_t pc = some_pc(&seed);
		struct watch_cfi_entry e;
		unsigned int n = 1 + (unsigned int)below(&seed, MOST);

		if (!watch_cfi_find(&copy.cfi, pc, &e))
			continue;
		for (unsigned int i = 0; i < n; i++) {
			undo[i].at = some_byte(&seed, &e);
			undo[i].was = *undo[i].at;
			*undo[i].at = (uint8_t)(below(&seed, 4) ? test_rand(&seed)
								: 0xff * below(&seed, 2));
		}
		if (step(&seed, pc))
			worked++;
		else
			refused++;
		while (n--)
			*undo[n].at = undo[n].was;
	}
	NOTE("%u steps, %u refused", worked, refused);
	CHECK(worked > 100 && refused > 100);
}

TEST(damaged_before_nothing, .timeout_s = 60)
{
	damage(true);
}
TWIN(damaged_before_nothing, reads_on, BREAK(WATCH_TABLE));

TEST(damaged_behind_nothing, .timeout_s = 60)
{
	damage(false);
}
TWIN(damaged_behind_nothing, reads_on, BREAK(WATCH_TABLE));

/* A table of which only the first pages are there. */
TEST(cut_off_anywhere, .timeout_s = 60)
{
	struct test_rand seed = rand_stream(4);
	const size_t page = mrn_page_size();
	unsigned int worked = 0, refused = 0;
	uintptr_t end;

	NEEDS_ITS_FORM();
	make_copy(false);
	end = mrn_page_up((uintptr_t)copy.cfi.high);
	for (uintptr_t high = end - page; high > (uintptr_t)copy.cfi.low; high -= page) {
		CHECK(!mprotect((void *)high, end - high, PROT_NONE));
		copy.cfi.high = (const uint8_t *)high;
		for (unsigned int i = 0; i < 100; i++)
			if (step(&seed, some_pc(&seed)))
				worked++;
			else
				refused++;
	}
	NOTE("%u steps, %u refused", worked, refused);
	CHECK(worked > 100 && refused > 100);
}
TWIN(cut_off_anywhere, reads_on, BREAK(WATCH_TABLE));
