/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernel's acceptance list for hmm_range_fault and migration: 29 scenarios, each a test with
 * the kernel's name behind "dmirror_", and with the kernel's outcome: return values, how often the
 * device had to ask for pages, what is on both sides and what a snapshot says afterwards. 24 are
 * here, on managed memory. 5 are about what a child inherits, files and hugetlb pages, which are a
 * process's own memory: they are in hmm_dmirror_own.c.
 *
 *	 1 open_close                    11 file_write (own)        21 mixedmap
 *	 2 anon_read                     12 migrate                 22 snapshot
 *	 3 anon_read_prot                13 migrate_file_private    23 compound
 *	 4 anon_write                    14 migrate_fault           24 double_map
 *	 5 anon_write_prot               15 migrate_release         25 exclusive
 *	 6 anon_write_child (own)        16 migrate_shared          26 exclusive_mprotect
 *	 7 anon_write_child_shared (own) 17 migrate_mixed           27 exclusive_cow
 *	 8 anon_write_huge               18 migrate_multiple        28 gup_test
 *	 9 anon_write_hugetlb (own)      19 anon_read_multiple      29 cow_in_device
 *	10 file_read (own)               20 anon_teardown
 *
 * What differs, because managed memory does:
 *  - 2, 5, 17, 22: there is no zero page that all share. A page that holds zeros is SEES_ZERO.
 *  - 13: the file is the backing file, from which pages go to the device without having been back.
 *  - 16: a page has one address. One that the device may not have, since others count on its
 *    frame, is a page that is pinned.
 *  - 23: the large page is a block of a region of order 9, not hugetlb's.
 *  - 27, 29: a child inherits nothing: it cannot have the device's loan or memory, whose driver is
 *    a thread of the parent. So no page is shared that a write would have to copy. They show that,
 *    and that the parent notices nothing; that a page which a child shares is copied, is for 6.
 *
 * The tests that begin with "later_" are what the kernel's list has gained since, about huge pages.
 */
#include "tests/hmm/dmirror_driver.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/fixture.h"
#include "tests/harness/sync.h"

enum {
	PAGES = 1024, /* of most buffers, as in the kernel's list */
	TEARDOWN = 512,
	TIMES = 10,
	/* Of tests that do it so many times: each page is a fault, which another thread serves. */
	LONG = 120,
	HUGE = 1 << DMIRROR_HUGE_ORDER,
	/* The last are kept from being used again: a device that still uses one is found out. */
	FRAMES = 1 << 14,
	QUARANTINE = 1 << 12,
};

#define INTS(pages) (PAGE(pages) / sizeof(int))

/* For twins, in one word. */
#define DEVICE(how) dmirror_broken = DMIRROR_##how

/* ---------------------------------------------------------------------------------------- space */

struct stage {
	struct mrn_hmm *hmm;
	struct dmirror d[2];
	int devices;
	int file;
};

static void written_when_gone(void *arg, uint64_t frame, size_t offset, uint64_t found)
{
	(void)arg;
	FAIL("somebody wrote %#jx at %zu of frame %ju, which was not his any more",
	     (uintmax_t)found, offset, (uintmax_t)frame);
}

static void stage_open(struct stage *s, int devices)
{
	char why[200] = "";
	struct mrn_hmm_opts opts = {
		.size = sizeof(opts),
		.frames = FRAMES,
		.handlers = 2,
		.quarantine = QUARANTINE,
		.violation = written_when_gone,
		.why = why,
		.why_size = sizeof(why),
	};
	int err;

	s->file = memfd_create("dmirror", MFD_CLOEXEC);
	CHECK(s->file > 0);
	opts.backing_fd = s->file;
	err = mrn_hmm_create(&opts, &s->hmm);
	if (err == -EPERM || err == -ENOSYS || err == -EOPNOTSUPP)
		SKIP("%s", why);
	CHECK_MSG(err == 0, "%d: %s", err, why);
	s->devices = devices;
	for (int i = 0; i < devices; i++)
		dmirror_open(&s->d[i], s->hmm);
}

static void stage_close(struct stage *s)
{
	for (int i = 0; i < s->devices; i++)
		dmirror_close(&s->d[i]);
	CHECK_ERR(mrn_hmm_destroy(s->hmm), 0);
	CHECK_EQ(close(s->file), 0);
}

static struct mrn_hmm_stats stats_of(const struct stage *s)
{
	struct mrn_hmm_stats stats;

	CHECK_ERR(mrn_hmm_get_stats(s->hmm, &stats, sizeof(stats)), 0);
	return stats;
}

/* -------------------------------------------------------------------------------------- buffers */

static void buffer_new(struct stage *s, struct dmirror_buffer *b, size_t pages, int prot,
		       unsigned int order)
{
	void *at = NULL;

	CHECK_ERR(mrn_hmm_alloc(s->hmm, PAGE(pages), prot, order, &at), 0);
	*b = (struct dmirror_buffer){.ptr = at, .mirror = malloc(PAGE(pages)), .pages = pages};
	CHECK(b->mirror);
}

static void buffer_free(struct stage *s, struct dmirror_buffer *b)
{
	CHECK_ERR(mrn_hmm_free(s->hmm, b->ptr), 0);
	free(b->mirror);
}

/* The same from a page on, with the same mirror. */
static struct dmirror_buffer part(const struct dmirror_buffer *b, size_t from)
{
	return (struct dmirror_buffer){.ptr = b->ptr + PAGE(from),
				       .mirror = b->mirror + PAGE(from),
				       .pages = b->pages - from};
}

/* A pattern: int i of a buffer is times * i + plus. */
static void fill_from(void *at, size_t from, size_t pages, int times, int plus)
{
	int *word = at;

	for (size_t i = INTS(from); i < INTS(from + pages); i++)
		word[i] = times * (int)i + plus;
}

static void fill(void *at, size_t pages, int times, int plus)
{
	fill_from(at, 0, pages, times, plus);
}

/* -1 if pages [from, from + pages) hold the pattern, or the first int that is another. */
static long first_wrong(const void *at, size_t from, size_t pages, int times, int plus)
{
	const int *word = at;

	for (size_t i = INTS(from); i < INTS(from + pages); i++)
		if (word[i] != times * (int)i + plus)
			return (long)i;
	return -1;
}

#define HOLDS_FROM(at, from, pages, times, plus) \
	CHECK_EQ(first_wrong(at, from, pages, times, plus), -1)
#define HOLDS(at, pages, times, plus) HOLDS_FROM(at, 0, pages, times, plus)

/* -1 if a snapshot of the pages shows all as told, or the first that it shows otherwise. */
static long first_unlike(struct dmirror *d, const void *at, size_t from, size_t pages,
			 unsigned char want)
{
	unsigned char *sees = malloc(pages);
	long wrong = -1;

	CHECK(sees);
	CHECK_ERR(dmirror_snapshot(d, (const char *)at + PAGE(from), pages, sees), 0);
	for (size_t i = 0; i < pages && wrong < 0; i++)
		if (sees[i] != want)
			wrong = (long)(from + i);
	if (wrong >= 0)
		NOTE("page %ld is seen as %#x", wrong, sees[(size_t)wrong - from]);
	free(sees);
	return wrong;
}

#define SEES_FROM(d, at, from, pages, want) CHECK_EQ(first_unlike(d, at, from, pages, want), -1)
#define SEES(d, at, pages, want)	    SEES_FROM(d, at, 0, pages, want)

/* A command that comes out well, on all of the pages. */
#define DONE(command, d, b, n)                  \
	do {                                    \
		CHECK_ERR(command(d, b, n), 0); \
		CHECK_EQ((b)->cpages, n);       \
	} while (0)
/* The same, for which the device has to ask once. */
#define DONE_IN_ONE(command, d, b, n)     \
	do {                              \
		DONE(command, d, b, n);   \
		CHECK_EQ((b)->faults, 1); \
	} while (0)

/* A buffer of pages that the CPU has written, and that have gone to the device. */
static void buffer_on_device(struct stage *s, struct dmirror_buffer *b, size_t pages,
			     unsigned int order)
{
	buffer_new(s, b, pages, PROT_READ | PROT_WRITE, order);
	fill(b->ptr, pages, 1, 0);
	DONE(dmirror_migrate_to_device, &s->d[0], b, pages);
	HOLDS(b->mirror, pages, 1, 0);
	fill(b->mirror, pages, -1, 0);
}

static void protect(struct stage *s, char *at, size_t pages, int prot)
{
	CHECK_ERR(mrn_hmm_protect(s->hmm, at, PAGE(pages), prot), 0);
}

static int *word_of(char *at)
{
	return (int *)at;
}

static unsigned char sees_page(struct dmirror *d, const char *at)
{
	unsigned char sees;

	CHECK_ERR(dmirror_snapshot(d, at, 1, &sees), 0);
	return sees;
}

/* A page that comes back for a read may be read; before Linux 6.6, also written. */
static void check_is_back(struct dmirror *d, const struct dmirror_buffer *b, size_t from,
			  size_t pages)
{
	unsigned char *sees = malloc(pages);

	CHECK(sees);
	CHECK_ERR(dmirror_snapshot(d, b->ptr + PAGE(from), pages, sees), 0);
	for (size_t i = 0; i < pages; i++)
		CHECK((sees[i] & ~(SEES_HUGE | SEES_ZERO)) == SEES_READ ||
		      (sees[i] & ~(SEES_HUGE | SEES_ZERO)) == SEES_WRITE);
	free(sees);
}

/* -------------------------------------------------------------------------- reading and writing */

TEST(dmirror_open_close)
{
	struct stage s;

	stage_open(&s, 2);
	CHECK_ERR(mrn_hmm_device_add(s.hmm, &s.d[0].dev), -EBUSY);
	stage_close(&s);
	CHECK_ERR(mmu_range_notifier_remove(&s.d[0].notifier), -ENOENT);

	/* And one of a process's own memory. */
	dmirror_open(&s.d[0], NULL);
	dmirror_close(&s.d[0]);
}

/* Page 0 has never been touched, page 1 has been read. */
TEST(dmirror_anon_read)
{
	struct stage s;
	struct dmirror_buffer b;

	stage_open(&s, 1);
	buffer_new(&s, &b, PAGES, PROT_READ | PROT_WRITE, 0);
	fill_from(b.ptr, 2, PAGES - 2, 1, 0);
	protect(&s, b.ptr, PAGES, PROT_READ);
	CHECK_EQ(*word_of(b.ptr + PAGE(1)), 0);
	SEES_FROM(&s.d[0], b.ptr, 0, 1, SEES_NONE);
	SEES_FROM(&s.d[0], b.ptr, 1, 1, SEES_READ | SEES_ZERO);

	fill(b.mirror, PAGES, -1, -1);
	DONE_IN_ONE(dmirror_read, &s.d[0], &b, PAGES);
	HOLDS(b.mirror, 2, 0, 0);
	HOLDS_FROM(b.mirror, 2, PAGES - 2, 1, 0);

	SEES(&s.d[0], b.ptr, 2, SEES_READ | SEES_ZERO);
	SEES_FROM(&s.d[0], b.ptr, 2, PAGES - 2, SEES_READ);
	HOLDS_FROM(b.ptr, 2, PAGES - 2, 1, 0);
	buffer_free(&s, &b);
	stage_close(&s);
}

TEST(dmirror_anon_read_prot)
{
	struct stage s;
	struct dmirror_buffer b;

	stage_open(&s, 1);
	buffer_new(&s, &b, PAGES, PROT_READ | PROT_WRITE, 0);
	fill(b.ptr, PAGES, 1, 0);
	fill(b.mirror, PAGES, -1, 0);
	protect(&s, b.ptr, PAGES, PROT_NONE);

	CHECK_ERR(dmirror_read(&s.d[0], &b, PAGES), -EFAULT);
	HOLDS(b.mirror, PAGES, -1, 0);
	SEES(&s.d[0], b.ptr, PAGES, SEES_ERROR);

	protect(&s, b.ptr, PAGES, PROT_READ);
	HOLDS(b.ptr, PAGES, 1, 0);
	SEES(&s.d[0], b.ptr, PAGES, SEES_READ);
	buffer_free(&s, &b);
	stage_close(&s);
}

TEST(dmirror_anon_write)
{
	struct stage s;
	struct dmirror_buffer b;

	stage_open(&s, 1);
	buffer_new(&s, &b, PAGES, PROT_READ | PROT_WRITE, 0);
	fill(b.mirror, PAGES, 1, 0);
	DONE_IN_ONE(dmirror_write, &s.d[0], &b, PAGES);
	SEES(&s.d[0], b.ptr, PAGES, SEES_WRITE);
	HOLDS(b.ptr, PAGES, 1, 0);
	HOLDS(b.mirror, PAGES, 1, 0);
	buffer_free(&s, &b);
	stage_close(&s);
}

TEST(dmirror_anon_write_prot)
{
	struct stage s;
	struct dmirror_buffer b;

	stage_open(&s, 1);
	buffer_new(&s, &b, PAGES, PROT_READ, 0);
	/* The device has an entry for page 0, for reading. */
	DONE_IN_ONE(dmirror_read, &s.d[0], &b, 1);
	HOLDS(b.mirror, 1, 0, 0);

	fill(b.mirror, PAGES, 1, 1);
	CHECK_ERR(dmirror_write(&s.d[0], &b, PAGES), -EPERM);
	SEES(&s.d[0], b.ptr, 1, SEES_READ | SEES_ZERO);
	SEES_FROM(&s.d[0], b.ptr, 1, PAGES - 1, SEES_NONE);
	HOLDS(b.ptr, PAGES, 0, 0);

	protect(&s, b.ptr, PAGES, PROT_READ | PROT_WRITE);
	DONE_IN_ONE(dmirror_write, &s.d[0], &b, PAGES);
	SEES(&s.d[0], b.ptr, PAGES, SEES_WRITE);
	HOLDS(b.ptr, PAGES, 1, 1);
	buffer_free(&s, &b);
	stage_close(&s);
}
TWIN(dmirror_anon_write_prot, writes_all_the_same, DEVICE(WRITE_ANYWAY));

TEST(dmirror_anon_write_huge)
{
	struct stage s;
	struct dmirror_buffer b;

	stage_open(&s, 1);
	buffer_new(&s, &b, HUGE, PROT_READ | PROT_WRITE, DMIRROR_HUGE_ORDER);
	CHECK_EQ((uintptr_t)b.ptr % PAGE(HUGE), 0);
	fill(b.mirror, HUGE, 1, 1);
	DONE_IN_ONE(dmirror_write, &s.d[0], &b, HUGE);
	SEES(&s.d[0], b.ptr, HUGE, SEES_WRITE | SEES_HUGE);
	HOLDS(b.ptr, HUGE, 1, 1);
	buffer_free(&s, &b);
	stage_close(&s);
}

/* Each time at fresh pages, often at the addresses of the last ones. */
TEST(dmirror_anon_read_multiple, .timeout_s = LONG)
{
	struct stage s;

	stage_open(&s, 1);
	for (int round = 0; round < TIMES; round++) {
		struct dmirror_buffer b;

		buffer_new(&s, &b, PAGES, PROT_READ | PROT_WRITE, 0);
		fill(b.ptr, PAGES, 1, round);
		DONE_IN_ONE(dmirror_read, &s.d[0], &b, PAGES);
		HOLDS(b.mirror, PAGES, 1, round);
		SEES(&s.d[0], b.ptr, PAGES, SEES_WRITE);
		buffer_free(&s, &b);
	}
	stage_close(&s);
}

/* ------------------------------------------------------------------------------------- teardown */

struct unmapper {
	struct dmirror *d;
	char *at;
	size_t length;
	bool real; /* by munmap, and not by the library */
	struct test_gate go, begins, done;
	/* For the device, which lets it go. */
	size_t after;		/* chunks */
	struct test_gate *wait; /* begins, done, or NULL: for what the device waits then */
};

static void unmap_half(void *arg)
{
	struct unmapper *u = arg;

	test_gate_wait(&u->go);
	test_gate_open(&u->begins);
	if (u->real) {
		CHECK_EQ(munmap(u->at, u->length), 0);
		/* The library is to know before these addresses are somebody else's. */
		while (sees_page(u->d, u->at + u->length - PAGE(1)) != SEES_ERROR)
			sched_yield();
	} else {
		CHECK_ERR(mrn_hmm_unmap(u->d->hmm, u->at, u->length), 0);
	}
	test_gate_open(&u->done);
}

static void let_unmapper_go(struct dmirror *d)
{
	struct unmapper *u = d->arg;

	if (u->after--)
		return;
	d->between = NULL;
	test_gate_open(&u->go);
	if (u->wait)
		test_gate_wait(u->wait);
}

/* Has half of a buffer unmapped while the device reads it. What the read says. */
static int read_in_teardown(struct stage *s, struct dmirror_buffer *b, struct unmapper *u, int plus)
{
	struct test_thread thread;
	int err;

	u->d = &s->d[0];
	u->at = b->ptr + PAGE(b->pages / 2);
	u->length = PAGE(b->pages - b->pages / 2);
	s->d[0].arg = u;
	s->d[0].between = let_unmapper_go;
	fill(b->ptr, b->pages, 1, plus);
	fill(b->mirror, b->pages, -1, -1);
	test_thread(&thread, unmap_half, u);
	err = dmirror_read(&s->d[0], b, b->pages);
	if (err) {
		CHECK_ERR(err, -EFAULT);
		HOLDS(b->mirror, b->pages, -1, -1);
	} else {
		CHECK_EQ(b->cpages, b->pages);
		CHECK_EQ(b->faults, 1);
		HOLDS(b->mirror, b->pages, 1, plus);
	}
	test_join(&thread);
	HOLDS(b->ptr, b->pages / 2, 1, plus);
	return err;
}

/* The unmapping is done when the device looks for a collision: it must find one. */
static void teardown_between(struct stage *s)
{
	struct unmapper u = {.wait = &u.done};
	unsigned int before = s->d[0].collisions;
	struct dmirror_buffer b;

	buffer_new(s, &b, DMIRROR_CHUNK / 2, PROT_READ | PROT_WRITE, 0);
	CHECK_ERR(read_in_teardown(s, &b, &u, 5), -EFAULT);
	CHECK(s->d[0].collisions > before);
	SEES_FROM(&s->d[0], b.ptr, b.pages / 2, b.pages / 2, SEES_ERROR);
	buffer_free(s, &b);
}

/* The unmapping comes after the device has entered the pages. */
static void teardown_after(struct stage *s)
{
	struct dmirror_buffer b;

	buffer_new(s, &b, TEARDOWN, PROT_READ | PROT_WRITE, 0);
	fill(b.ptr, TEARDOWN, 1, 0);
	DONE_IN_ONE(dmirror_read, &s->d[0], &b, TEARDOWN);
	fill(b.mirror, TEARDOWN, -1, 0);
	CHECK_ERR(mrn_hmm_unmap(s->hmm, b.ptr + PAGE(TEARDOWN / 2), PAGE(TEARDOWN / 2)), 0);
	CHECK_ERR(dmirror_read(&s->d[0], &b, TEARDOWN), -EFAULT);
	CHECK_EQ(b.cpages, TEARDOWN / 2);
	HOLDS(b.mirror, TEARDOWN, -1, 0);
	/* The other half's entries are good as ever. */
	DONE(dmirror_read, &s->d[0], &b, TEARDOWN / 2);
	CHECK_EQ(b.faults, 0);
	HOLDS(b.mirror, TEARDOWN / 2, 1, 0);
	buffer_free(s, &b);
}

TEST(dmirror_anon_teardown, .timeout_s = LONG)
{
	struct stage s;
	struct test_rand rand;
	int rounds = test_is_sanitized() ? TIMES : 2 * TIMES;
	unsigned int whole = 0;

	test_rand_init(&rand, 0);
	stage_open(&s, 1);
	for (int round = 0; round < rounds; round++) {
		struct unmapper u = {.real = round % 2,
				     .after = test_rand_below(&rand, TEARDOWN / DMIRROR_CHUNK)};
		struct dmirror_buffer b;

		u.wait = round % 4 < 2 ? &u.begins : NULL;
		buffer_new(&s, &b, TEARDOWN, PROT_READ | PROT_WRITE, 0);
		whole += !read_in_teardown(&s, &b, &u, round);
		buffer_free(&s, &b);
	}
	NOTE("%u of %d reads came out well, %u collisions", whole, rounds, s.d[0].collisions);
	teardown_between(&s);
	teardown_after(&s);
	stage_close(&s);
}
TWIN(dmirror_anon_teardown, no_retry_check, DEVICE(NO_RETRY));
TWIN(dmirror_anon_teardown, no_zap, DEVICE(NO_ZAP));

/* ------------------------------------------------------------------------------------ migration */

/* Between the move and its publication, the CPU takes a page back and writes to it. */
static void write_first_word(struct dmirror *d)
{
	d->between = NULL;
	*word_of(d->arg) = 77;
}

TEST(dmirror_migrate)
{
	struct stage s;
	struct dmirror_buffer b;

	stage_open(&s, 1);
	buffer_on_device(&s, &b, PAGES, 0);
	SEES(&s.d[0], b.ptr, PAGES, SEES_WRITE | SEES_LOCAL);
	CHECK_EQ(dmirror_pages_used(&s.d[0]), PAGES);
	CHECK_EQ(stats_of(&s).to_device, PAGES);

	/* The device writes there; the CPU sees it, and the device what the CPU writes. */
	fill(b.mirror, PAGES, 2, 0);
	DONE(dmirror_write, &s.d[0], &b, PAGES);
	CHECK_EQ(b.faults, 0);
	HOLDS(b.ptr, PAGES, 2, 0);
	CHECK_EQ(dmirror_pages_used(&s.d[0]), 0);
	CHECK_EQ(stats_of(&s).to_ram, PAGES);
	fill(b.ptr, PAGES, 3, 0);
	DONE(dmirror_read, &s.d[0], &b, PAGES);
	HOLDS(b.mirror, PAGES, 3, 0);
	CHECK_EQ(b.faults, 1);
	SEES(&s.d[0], b.ptr, PAGES, SEES_WRITE);

	/* A page goes back before the device has entered it. */
	s.d[0].arg = b.ptr;
	s.d[0].between = write_first_word;
	DONE(dmirror_migrate_to_device, &s.d[0], &b, PAGES);
	CHECK_EQ(*word_of(b.mirror), 77);
	CHECK(s.d[0].collisions >= 1);
	HOLDS_FROM(b.mirror, 1, PAGES - 1, 3, 0);
	DONE(dmirror_migrate_to_system, &s.d[0], &b, PAGES);
	CHECK_EQ(*word_of(b.ptr), 77);
	HOLDS_FROM(b.ptr, 1, PAGES - 1, 3, 0);
	buffer_free(&s, &b);
	stage_close(&s);
}
TWIN(dmirror_migrate, no_retry_check, DEVICE(NO_RETRY));
TWIN(dmirror_migrate, no_zap, DEVICE(NO_ZAP));
TWIN(dmirror_migrate, skips_by_owner_alone, DEVICE(OWNER_ALONE));

/* The pages go to the device from a file, and what the device writes does not get there. */
TEST(dmirror_migrate_file_private)
{
	struct stage s;
	struct dmirror_buffer b;

	stage_open(&s, 1);
	buffer_new(&s, &b, PAGES, PROT_READ | PROT_WRITE, 0);
	fill(b.ptr, PAGES, 1, 1);
	CHECK_EQ(mrn_hmm_reclaim(s.hmm, b.ptr, PAGE(PAGES)), PAGES);
	SEES(&s.d[0], b.ptr, PAGES, SEES_NONE);
	DONE(dmirror_migrate_to_device, &s.d[0], &b, PAGES);
	HOLDS(b.mirror, PAGES, 1, 1);
	SEES(&s.d[0], b.ptr, PAGES, SEES_WRITE | SEES_LOCAL);
	CHECK_EQ(stats_of(&s).frames_used, 0);

	fill(b.mirror, PAGES, 2, 2);
	DONE(dmirror_write, &s.d[0], &b, PAGES);
	/* Not in memory: it cannot be written to the file. */
	CHECK_EQ(mrn_hmm_reclaim(s.hmm, b.ptr, PAGE(PAGES)), 0);
	HOLDS(b.ptr, PAGES, 2, 2);
	/* The file's copy is not taken for the page's contents. */
	CHECK_EQ(mrn_hmm_reclaim(s.hmm, b.ptr, PAGE(PAGES)), PAGES);
	HOLDS(b.ptr, PAGES, 2, 2);
	buffer_free(&s, &b);
	stage_close(&s);
}

TEST(dmirror_migrate_fault)
{
	struct stage s;
	struct dmirror_buffer b;

	stage_open(&s, 1);
	buffer_on_device(&s, &b, PAGES, 0);
	HOLDS(b.ptr, PAGES / 2, 1, 0);
	check_is_back(&s.d[0], &b, 0, PAGES / 2);
	SEES_FROM(&s.d[0], b.ptr, PAGES / 2, PAGES / 2, SEES_WRITE | SEES_LOCAL);
	CHECK_EQ(dmirror_pages_used(&s.d[0]), PAGES / 2);

	DONE(dmirror_migrate_to_device, &s.d[0], &b, PAGES);
	HOLDS(b.mirror, PAGES, 1, 0);
	SEES(&s.d[0], b.ptr, PAGES, SEES_WRITE | SEES_LOCAL);
	/* What was there already has stayed. */
	CHECK_EQ(stats_of(&s).to_device, PAGES + PAGES / 2);
	buffer_free(&s, &b);
	CHECK_EQ(dmirror_pages_used(&s.d[0]), 0);
	stage_close(&s);
}

TEST(dmirror_migrate_release)
{
	struct stage s;
	struct dmirror_buffer b;

	stage_open(&s, 1);
	buffer_on_device(&s, &b, PAGES, 0);
	CHECK_ERR(dmirror_release(&s.d[0]), 0);
	HOLDS(b.ptr, PAGES, 1, 0);
	check_is_back(&s.d[0], &b, 0, PAGES);
	DONE_IN_ONE(dmirror_read, &s.d[0], &b, PAGES);
	HOLDS(b.mirror, PAGES, 1, 0);
	/* It can go there again. */
	DONE(dmirror_migrate_to_device, &s.d[0], &b, PAGES);
	CHECK_EQ(dmirror_pages_used(&s.d[0]), PAGES);
	buffer_free(&s, &b);
	stage_close(&s);
}

/* Shared: with who has pinned the frames. */
TEST(dmirror_migrate_shared)
{
	uint64_t frames[PAGES];
	struct stage s;
	struct dmirror_buffer b;

	stage_open(&s, 1);
	buffer_new(&s, &b, PAGES, PROT_READ | PROT_WRITE, 0);
	fill(b.ptr, PAGES, 1, 1);
	fill(b.mirror, PAGES, -1, -1);
	CHECK_EQ(mrn_hmm_pin(s.hmm, b.ptr, PAGE(PAGES), true, frames), PAGES);

	CHECK_ERR(dmirror_migrate_to_device(&s.d[0], &b, PAGES), -ENOENT);
	CHECK_EQ(b.cpages, 0);
	CHECK_EQ(dmirror_pages_used(&s.d[0]), 0);
	HOLDS(b.mirror, PAGES, -1, -1);
	SEES(&s.d[0], b.ptr, PAGES, SEES_WRITE);
	HOLDS(b.ptr, PAGES, 1, 1);
	/* What others share is still the page's. */
	*(int *)mrn_hmm_frame(s.hmm, frames[7]) = 99;
	CHECK_EQ(*word_of(b.ptr + PAGE(7)), 99);

	mrn_hmm_unpin(s.hmm, frames, PAGES, true);
	DONE(dmirror_migrate_to_device, &s.d[0], &b, PAGES);
	CHECK_EQ(*word_of(b.mirror + PAGE(7)), 99);
	buffer_free(&s, &b);
	stage_close(&s);
}

/* 0: may not be read. 1: a hole. 2: read-only, zeros. 3: read-only, 3. From 4 on: writable. */
static void make_mixed(struct stage *s, struct dmirror_buffer *b)
{
	CHECK_ERR(mrn_hmm_unmap(s->hmm, b->ptr + PAGE(1), PAGE(1)), 0);
	protect(s, b->ptr + PAGE(2), 1, PROT_READ);
	CHECK_EQ(*word_of(b->ptr + PAGE(2)), 0);
	protect(s, b->ptr + PAGE(3), 1, PROT_READ | PROT_WRITE);
	*word_of(b->ptr + PAGE(3)) = 3;
	protect(s, b->ptr + PAGE(3), 1, PROT_READ);
	protect(s, b->ptr + PAGE(4), b->pages - 4, PROT_READ | PROT_WRITE);
	*word_of(b->ptr + PAGE(4)) = 3;
}

TEST(dmirror_migrate_mixed)
{
	struct stage s;
	struct dmirror_buffer b, p;

	stage_open(&s, 2);
	buffer_new(&s, &b, 6, PROT_NONE, 0);
	fill(b.mirror, 6, -1, -1);
	CHECK_ERR(dmirror_migrate_to_device(&s.d[1], &b, 6), -EINVAL);
	make_mixed(&s, &b);
	*word_of(b.ptr + PAGE(5)) = 3;
	CHECK_ERR(dmirror_migrate_to_device(&s.d[1], &b, 3), -EINVAL);
	p = part(&b, 1);
	CHECK_ERR(dmirror_migrate_to_device(&s.d[1], &p, 2), -EINVAL);
	HOLDS(b.mirror, 6, -1, -1);
	CHECK_EQ(dmirror_pages_used(&s.d[1]), 0);

	p = part(&b, 2);
	DONE(dmirror_migrate_to_device, &s.d[1], &p, 4);
	HOLDS_FROM(b.mirror, 2, 1, 0, 0);
	CHECK_EQ(*word_of(b.mirror + PAGE(3)), 3);
	SEES_FROM(&s.d[1], b.ptr, 2, 2, SEES_READ | SEES_LOCAL);
	SEES_FROM(&s.d[1], b.ptr, 4, 2, SEES_WRITE | SEES_LOCAL);

	/* Page 5 stays where it is. */
	p = part(&b, 5);
	CHECK_ERR(dmirror_migrate_to_device(&s.d[0], &p, 1), -ENOENT);
	CHECK_EQ(dmirror_pages_used(&s.d[0]), 0);
	CHECK_EQ(dmirror_pages_used(&s.d[1]), 4);
	SEES_FROM(&s.d[1], b.ptr, 5, 1, SEES_WRITE | SEES_LOCAL);
	DONE(dmirror_read, &s.d[1], &p, 1);
	CHECK_EQ(*word_of(b.mirror + PAGE(5)), 3);
	buffer_free(&s, &b);
	stage_close(&s);
}

TEST(dmirror_migrate_multiple, .timeout_s = LONG)
{
	struct stage s;

	stage_open(&s, 1);
	for (int round = 0; round < TIMES; round++) {
		struct dmirror_buffer b;

		buffer_new(&s, &b, PAGES, PROT_READ | PROT_WRITE, 0);
		fill(b.ptr, PAGES, 1, round);
		DONE(dmirror_migrate_to_device, &s.d[0], &b, PAGES);
		HOLDS(b.mirror, PAGES, 1, round);
		/* Back by the CPU's touch, or in one piece. */
		if (round % 2)
			DONE(dmirror_migrate_to_system, &s.d[0], &b, PAGES);
		HOLDS(b.ptr, PAGES, 1, round);
		check_is_back(&s.d[0], &b, 0, PAGES);
		CHECK_EQ(dmirror_pages_used(&s.d[0]), 0);
		buffer_free(&s, &b);
	}
	CHECK_EQ(stats_of(&s).to_device, TIMES * PAGES);
	CHECK_EQ(stats_of(&s).to_ram, TIMES * PAGES);
	stage_close(&s);
}

/* ------------------------------------------------------------------------------------ snapshots */

/*
 * Memory that may be written to, and a page in it that may only be read until a write to it has
 * been noted; and a mapping that the kernel has put there itself, whose pages are not like others.
 */
TEST(dmirror_mixedmap)
{
	uintptr_t vdso = getauxval(AT_SYSINFO_EHDR);
	struct dmirror own;
	struct stage s;
	struct dmirror_buffer b;

	stage_open(&s, 1);
	buffer_new(&s, &b, 1, PROT_READ | PROT_WRITE, 0);
	fill(b.ptr, 1, 1, 1);
	CHECK_EQ(mrn_hmm_writeback(s.hmm, b.ptr, PAGE(1)), 1);
	SEES(&s.d[0], b.ptr, 1, SEES_READ);
	buffer_free(&s, &b);
	stage_close(&s);

	if (!vdso)
		SKIP("this process has no vdso: there is no special mapping to be had");
	dmirror_open(&own, NULL);
	SEES(&own, (void *)vdso, 1, SEES_READ);
	dmirror_close(&own);
}

/*
 * The CPU goes on before the handler that served its fault is done with the page, and until then
 * the page is part of no block. A snapshot waits for that, page by page.
 */
static void settle(struct dmirror *d, const struct dmirror_buffer *b)
{
	unsigned char *sees = malloc(b->pages);

	CHECK(sees);
	CHECK_ERR(dmirror_snapshot(d, b->ptr, b->pages, sees), 0);
	free(sees);
}

static void unmap_it(struct dmirror *d)
{
	d->between = NULL;
	CHECK_ERR(mrn_hmm_unmap(d->hmm, d->arg, PAGE(1)), 0);
}

TEST(dmirror_snapshot)
{
	struct stage s;
	struct dmirror_buffer b, p;
	unsigned char sees[7];

	stage_open(&s, 2);
	buffer_new(&s, &b, 7, PROT_NONE, 0);
	make_mixed(&s, &b);
	p = part(&b, 5);
	DONE(dmirror_migrate_to_device, &s.d[0], &p, 1);
	p = part(&b, 6);
	DONE(dmirror_migrate_to_device, &s.d[1], &p, 1);

	CHECK_ERR(dmirror_snapshot(&s.d[0], b.ptr, 7, sees), 0);
	CHECK_EQ(sees[0], SEES_ERROR);
	CHECK_EQ(sees[1], SEES_ERROR);
	CHECK_EQ(sees[2], SEES_ZERO | SEES_READ);
	CHECK_EQ(sees[3], SEES_READ);
	CHECK_EQ(sees[4], SEES_WRITE);
	CHECK_EQ(sees[5], SEES_LOCAL | SEES_WRITE);
	CHECK_EQ(sees[6], SEES_NONE);
	/* The other device sees it the other way round. */
	CHECK_ERR(dmirror_snapshot(&s.d[1], b.ptr, 7, sees), 0);
	CHECK_EQ(sees[4], SEES_WRITE);
	CHECK_EQ(sees[5], SEES_NONE);
	CHECK_EQ(sees[6], SEES_LOCAL | SEES_WRITE);
	/* To look has moved nothing. */
	CHECK_EQ(dmirror_pages_used(&s.d[0]), 1);
	CHECK_EQ(dmirror_pages_used(&s.d[1]), 1);

	/* What has gone while it was looked at is not shown. */
	s.d[0].arg = b.ptr + PAGE(4);
	s.d[0].between = unmap_it;
	CHECK_ERR(dmirror_snapshot(&s.d[0], b.ptr, 7, sees), 0);
	CHECK_EQ(sees[4], SEES_ERROR);
	CHECK(s.d[0].collisions >= 1);
	buffer_free(&s, &b);
	stage_close(&s);
}
TWIN(dmirror_snapshot, no_retry_check, DEVICE(NO_RETRY));

TEST(dmirror_compound)
{
	struct stage s;
	struct dmirror_buffer b;

	stage_open(&s, 1);
	buffer_new(&s, &b, HUGE, PROT_READ | PROT_WRITE, DMIRROR_HUGE_ORDER);
	fill(b.ptr, HUGE, 1, 1);
	settle(&s.d[0], &b);
	SEES(&s.d[0], b.ptr, HUGE, SEES_WRITE | SEES_HUGE);
	protect(&s, b.ptr, HUGE, PROT_READ);
	SEES(&s.d[0], b.ptr, HUGE, SEES_READ | SEES_HUGE);
	HOLDS(b.ptr, HUGE, 1, 1);
	buffer_free(&s, &b);
	stage_close(&s);
}

/* ---------------------------------------------------------------------------------- two devices */

/* Between the answer to one device and its publication the pages go to the other. */
struct thief {
	struct dmirror *to;
	struct dmirror_buffer b;
};

static void steal(struct dmirror *d)
{
	struct thief *t = d->arg;

	d->between = NULL;
	DONE(dmirror_migrate_to_device, t->to, &t->b, t->b.pages);
}

TEST(dmirror_double_map)
{
	enum { N = 6 };
	struct thief thief;
	struct stage s;
	struct dmirror_buffer b;

	stage_open(&s, 2);
	buffer_new(&s, &b, N, PROT_READ | PROT_WRITE, 0);
	fill(b.ptr, N, 1, 1);
	protect(&s, b.ptr, N, PROT_READ);
	for (int i = 0; i < 2; i++) {
		fill(b.mirror, N, -1, -1);
		DONE_IN_ONE(dmirror_read, &s.d[i], &b, N);
		HOLDS(b.mirror, N, 1, 1);
	}

	DONE(dmirror_migrate_to_device, &s.d[1], &b, N);
	SEES(&s.d[1], b.ptr, N, SEES_READ | SEES_LOCAL);
	SEES(&s.d[0], b.ptr, N, SEES_NONE);
	fill(b.mirror, N, -1, -1);
	DONE_IN_ONE(dmirror_read, &s.d[0], &b, N);
	HOLDS(b.mirror, N, 1, 1);
	CHECK_EQ(dmirror_pages_used(&s.d[1]), 0);
	SEES(&s.d[0], b.ptr, N, SEES_READ);
	SEES(&s.d[1], b.ptr, N, SEES_READ);

	/* Once more, and they go away again just before the device that asked enters them. */
	DONE(dmirror_migrate_to_device, &s.d[1], &b, N);
	thief = (struct thief){&s.d[1], b};
	thief.b.mirror = malloc(PAGE(N));
	CHECK(thief.b.mirror);
	s.d[0].arg = &thief;
	s.d[0].between = steal;
	fill(b.mirror, N, -1, -1);
	DONE_IN_ONE(dmirror_read, &s.d[0], &b, N);
	CHECK(!s.d[0].between);
	free(thief.b.mirror);
	HOLDS(b.mirror, N, 1, 1);
	CHECK_EQ(dmirror_pages_used(&s.d[1]), 0);
	HOLDS(b.ptr, N, 1, 1);
	buffer_free(&s, &b);
	stage_close(&s);
}
TWIN(dmirror_double_map, no_retry_check, DEVICE(NO_RETRY));
TWIN(dmirror_double_map, no_zap, DEVICE(NO_ZAP));

/* ------------------------------------------------------------------------------------ exclusive */

static void increment(char *at, size_t pages)
{
	int *word = word_of(at);

	for (size_t i = 0; i < INTS(pages); i++)
		word[i]++;
}

/* The CPU takes a page back before the device has noted that it is its own. */
static void touch_first(struct dmirror *d)
{
	d->between = NULL;
	*word_of(d->arg) = 0;
}

TEST(dmirror_exclusive)
{
	struct stage s;
	struct dmirror_buffer b;

	stage_open(&s, 1);
	buffer_new(&s, &b, PAGES, PROT_READ | PROT_WRITE, 0);
	fill(b.ptr, PAGES, 1, 0);
	s.d[0].arg = b.ptr;
	s.d[0].between = touch_first;
	DONE(dmirror_exclusive, &s.d[0], &b, PAGES);
	HOLDS(b.mirror, PAGES, 1, 0);
	CHECK_ERR(dmirror_check_exclusive(&s.d[0], &b, PAGES), -EPERM);
	/* All of them: there is none that could be had without taking it back. */
	SEES(&s.d[0], b.ptr, PAGES, SEES_NONE);
	CHECK(s.d[0].collisions >= 1);

	increment(b.ptr, PAGES);
	HOLDS(b.ptr, PAGES, 1, 1);
	CHECK_ERR(dmirror_check_exclusive(&s.d[0], &b, PAGES), 0);
	SEES(&s.d[0], b.ptr, PAGES, SEES_WRITE);

	/* And a device that lets others have a page sees what they write. */
	DONE_IN_ONE(dmirror_read, &s.d[0], &b, PAGES);
	HOLDS(b.mirror, PAGES, 1, 1);
	buffer_free(&s, &b);
	stage_close(&s);
}
TWIN(dmirror_exclusive, no_retry_check, DEVICE(NO_RETRY));
TWIN(dmirror_exclusive, no_zap, DEVICE(NO_ZAP));

TEST(dmirror_exclusive_mprotect)
{
	struct stage s;
	struct dmirror_buffer b;

	stage_open(&s, 1);
	buffer_new(&s, &b, PAGES, PROT_READ | PROT_WRITE, 0);
	fill(b.ptr, PAGES, 1, 0);
	DONE(dmirror_exclusive, &s.d[0], &b, PAGES);
	HOLDS(b.mirror, PAGES, 1, 0);

	protect(&s, b.ptr, PAGES, PROT_READ);
	CHECK_ERR(dmirror_check_exclusive(&s.d[0], &b, PAGES), 0);
	fill(b.mirror, PAGES, -1, -1);
	CHECK_ERR(dmirror_write(&s.d[0], &b, PAGES), -EPERM);
	CHECK_EQ(b.cpages, 0);
	CHECK_ERR(dmirror_exclusive(&s.d[0], &b, PAGES), -EPERM);
	HOLDS(b.mirror, PAGES, -1, -1);
	HOLDS(b.ptr, PAGES, 1, 0);
	SEES(&s.d[0], b.ptr, PAGES, SEES_READ);
	buffer_free(&s, &b);
	stage_close(&s);
}
TWIN(dmirror_exclusive_mprotect, no_zap, DEVICE(NO_ZAP));

/* ----------------------------------------------------------------------------------------- fork */

/* In the child: neither the pages nor the addresses, and no say in the parent's space. */
static void child_has_nothing(const struct stage *s, const struct dmirror_buffer *b)
{
	for (size_t i = 0; i < b->pages; i++) {
		CHECK_EQ(msync(b->ptr + PAGE(i), PAGE(1), MS_ASYNC), -1);
		CHECK_EQ(errno, ENOMEM);
	}
	CHECK_ERR(mrn_hmm_migrate_to_ram(s->hmm, b->ptr, PAGE(b->pages)), -ESTALE);
	CHECK_ERR(mrn_hmm_discard(s->hmm, b->ptr, PAGE(b->pages)), -ESTALE);
}

struct child {
	pid_t pid;
	int end; /* it lives until this is closed */
};

/* A child that looks around, says so, and stays. */
static struct child child_new(const struct stage *s, const struct dmirror_buffer *b)
{
	int up[2], down[2];
	struct child c;
	char byte;

	CHECK_EQ(pipe(up), 0);
	CHECK_EQ(pipe(down), 0);
	c.pid = fork();
	CHECK(c.pid >= 0);
	if (!c.pid) {
		close(down[1]);
		close(up[0]);
		child_has_nothing(s, b);
		CHECK_EQ(write(up[1], "", 1), 1);
		CHECK_EQ(read(down[0], &byte, 1), 0);
		child_has_nothing(s, b);
		_exit(0);
	}
	close(up[1]);
	close(down[0]);
	CHECK_EQ(read(up[0], &byte, 1), 1);
	close(up[0]);
	c.end = down[1];
	return c;
}

static void child_end(struct child *c)
{
	int status;

	close(c->end);
	CHECK_EQ(waitpid(c->pid, &status, 0), c->pid);
	CHECK(WIFEXITED(status));
	CHECK_EQ(WEXITSTATUS(status), 0);
}

TEST(dmirror_exclusive_cow)
{
	struct stage s;
	struct dmirror_buffer b;
	struct child child;

	stage_open(&s, 1);
	buffer_new(&s, &b, PAGES, PROT_READ | PROT_WRITE, 0);
	fill(b.ptr, PAGES, 1, 0);
	DONE(dmirror_exclusive, &s.d[0], &b, PAGES);

	child = child_new(&s, &b);
	/* The device's loan goes on, and it may use it. */
	CHECK_ERR(dmirror_check_exclusive(&s.d[0], &b, PAGES), -EPERM);
	SEES(&s.d[0], b.ptr, PAGES, SEES_NONE);
	fill(b.mirror, 1, 0, -1);
	DONE(dmirror_write, &s.d[0], &b, 1);
	CHECK_EQ(b.faults, 0);
	HOLDS(b.ptr, 1, 0, -1);
	fill(b.ptr, 1, 1, 0);

	increment(b.ptr, PAGES);
	HOLDS(b.ptr, PAGES, 1, 1);
	CHECK_ERR(dmirror_check_exclusive(&s.d[0], &b, PAGES), 0);
	child_end(&child);
	HOLDS(b.ptr, PAGES, 1, 1);
	buffer_free(&s, &b);
	stage_close(&s);
}

TEST(dmirror_cow_in_device)
{
	enum { N = 4 };
	struct stage s;
	struct dmirror_buffer b;
	struct child child;

	stage_open(&s, 1);
	buffer_on_device(&s, &b, N, 0);
	child = child_new(&s, &b);
	SEES(&s.d[0], b.ptr, N, SEES_WRITE | SEES_LOCAL);
	fill(b.ptr, N, 2, 2);
	SEES(&s.d[0], b.ptr, N, SEES_WRITE);
	CHECK_EQ(dmirror_pages_used(&s.d[0]), 0);
	child_end(&child);
	SEES(&s.d[0], b.ptr, N, SEES_WRITE);
	HOLDS(b.ptr, N, 2, 2);
	DONE_IN_ONE(dmirror_read, &s.d[0], &b, N);
	HOLDS(b.mirror, N, 2, 2);
	buffer_free(&s, &b);
	stage_close(&s);
}

/* ----------------------------------------------------------------------------------------- pins */

TEST(dmirror_gup_test)
{
	enum { N = 4 };
	uint64_t frames[N];
	struct stage s;
	struct dmirror_buffer b;

	stage_open(&s, 1);
	buffer_on_device(&s, &b, N, 0);
	/* One by one, and the last two together. */
	for (size_t i = 0; i < 2; i++)
		CHECK_EQ(mrn_hmm_pin(s.hmm, b.ptr + PAGE(i), PAGE(1), true, &frames[i]), 1);
	SEES(&s.d[0], b.ptr, 2, SEES_WRITE);
	SEES_FROM(&s.d[0], b.ptr, 2, 2, SEES_WRITE | SEES_LOCAL);
	CHECK_EQ(mrn_hmm_pin(s.hmm, b.ptr + PAGE(2), PAGE(2), true, &frames[2]), 2);
	SEES(&s.d[0], b.ptr, N, SEES_WRITE);
	CHECK_EQ(dmirror_pages_used(&s.d[0]), 0);
	for (size_t i = 0; i < N; i++) {
		const int *word = mrn_hmm_frame(s.hmm, frames[i]);

		CHECK_EQ(word[1], INTS(i) + 1);
	}
	HOLDS(b.ptr, N, 1, 0);
	/* What has it pinned may rely on it. */
	CHECK_ERR(dmirror_migrate_to_device(&s.d[0], &b, N), -ENOENT);
	mrn_hmm_unpin(s.hmm, frames, N, false);
	SEES(&s.d[0], b.ptr, N, SEES_WRITE);
	HOLDS(b.ptr, N, 1, 0);
	buffer_free(&s, &b);
	stage_close(&s);
}

/* ------------------------------------------------------------------ what came later: huge pages */

/* Pages that nobody has touched: nothing is copied, and the device has zeros. */
TEST(later_migrate_anon_huge_empty)
{
	struct stage s;
	struct dmirror_buffer b;

	stage_open(&s, 1);
	buffer_new(&s, &b, HUGE, PROT_READ, DMIRROR_HUGE_ORDER);
	fill(b.mirror, HUGE, -1, -1);
	DONE(dmirror_migrate_to_device, &s.d[0], &b, HUGE);
	HOLDS(b.mirror, HUGE, 0, 0);
	SEES(&s.d[0], b.ptr, HUGE, SEES_READ | SEES_LOCAL | SEES_HUGE);
	buffer_free(&s, &b);
	stage_close(&s);
}

TEST(later_migrate_anon_huge_zero)
{
	struct stage s;
	struct dmirror_buffer b;

	stage_open(&s, 1);
	buffer_new(&s, &b, HUGE, PROT_READ, DMIRROR_HUGE_ORDER);
	fill(b.mirror, HUGE, -1, -1);
	CHECK_EQ(*word_of(b.ptr), 0);
	DONE(dmirror_migrate_to_device, &s.d[0], &b, HUGE);
	HOLDS(b.mirror, HUGE, 0, 0);
	HOLDS(b.ptr, HUGE, 0, 0);
	buffer_free(&s, &b);
	stage_close(&s);
}

TEST(later_migrate_anon_huge_free)
{
	struct stage s;
	struct dmirror_buffer b;

	stage_open(&s, 1);
	buffer_on_device(&s, &b, HUGE, DMIRROR_HUGE_ORDER);
	CHECK_ERR(mrn_hmm_discard(s.hmm, b.ptr, PAGE(HUGE)), 0);
	CHECK_EQ(dmirror_pages_used(&s.d[0]), 0);
	SEES(&s.d[0], b.ptr, HUGE, SEES_NONE);
	DONE_IN_ONE(dmirror_read, &s.d[0], &b, HUGE);
	HOLDS(b.mirror, HUGE, 0, 0);
	buffer_free(&s, &b);
	stage_close(&s);
}

TEST(later_migrate_anon_huge_fault)
{
	struct stage s;
	struct dmirror_buffer b;

	stage_open(&s, 1);
	buffer_on_device(&s, &b, HUGE, DMIRROR_HUGE_ORDER);
	SEES(&s.d[0], b.ptr, HUGE, SEES_WRITE | SEES_LOCAL | SEES_HUGE);
	/* With one page less it is no block any more. */
	CHECK_EQ(*word_of(b.ptr + PAGE(3)), INTS(3));
	CHECK_EQ(sees_page(&s.d[0], b.ptr), SEES_WRITE | SEES_LOCAL);
	HOLDS(b.ptr, HUGE, 1, 0);
	buffer_free(&s, &b);
	stage_close(&s);
}

/* A device that has no pages in a row, and one that has too few. */
TEST(later_migrate_anon_huge_err)
{
	struct stage s;
	struct dmirror_buffer b;

	stage_open(&s, 1);
	s.d[0].scattered = true;
	buffer_on_device(&s, &b, HUGE, DMIRROR_HUGE_ORDER);
	SEES(&s.d[0], b.ptr, HUGE, SEES_WRITE | SEES_LOCAL);
	CHECK_EQ(*word_of(b.ptr + PAGE(2)), INTS(2));
	CHECK_EQ(dmirror_pages_used(&s.d[0]), HUGE - 1);
	DONE(dmirror_migrate_to_device, &s.d[0], &b, HUGE);
	HOLDS(b.mirror, HUGE, 1, 0);
	buffer_free(&s, &b);

	s.d[0].scattered = false;
	s.d[0].room = HUGE / 4;
	buffer_new(&s, &b, HUGE, PROT_READ | PROT_WRITE, DMIRROR_HUGE_ORDER);
	fill(b.ptr, HUGE, 1, 0);
	fill(b.mirror, HUGE, -1, -1);
	CHECK_ERR(dmirror_migrate_to_device(&s.d[0], &b, HUGE), -ENOENT);
	CHECK_EQ(dmirror_pages_used(&s.d[0]), HUGE / 4);
	HOLDS(b.mirror, HUGE, -1, -1);
	DONE_IN_ONE(dmirror_read, &s.d[0], &b, HUGE);
	HOLDS(b.mirror, HUGE, 1, 0);
	HOLDS(b.ptr, HUGE, 1, 0);
	buffer_free(&s, &b);
	stage_close(&s);
}

TEST(later_migrate_partial_unmap_fault)
{
	struct stage s;

	stage_open(&s, 1);
	for (int k = 0; k < 6; k++) {
		unsigned int order = k < 3 ? 0 : DMIRROR_HUGE_ORDER;
		size_t from = (size_t)(k % 3) * HUGE / 4, to = from + HUGE / 2;
		struct dmirror_buffer b;

		buffer_on_device(&s, &b, HUGE, order);
		CHECK_ERR(mrn_hmm_unmap(s.hmm, b.ptr + PAGE(from), PAGE(HUGE / 2)), 0);
		CHECK_EQ(dmirror_pages_used(&s.d[0]), HUGE / 2);
		HOLDS(b.ptr, from, 1, 0);
		HOLDS_FROM(b.ptr, to, HUGE - to, 1, 0);
		SEES_FROM(&s.d[0], b.ptr, from, HUGE / 2, SEES_ERROR);
		CHECK_ERR(dmirror_read(&s.d[0], &b, HUGE), -EFAULT);
		CHECK_EQ(dmirror_pages_used(&s.d[0]), 0);
		buffer_free(&s, &b);
	}
	stage_close(&s);
}
TWIN(later_migrate_partial_unmap_fault, no_zap, DEVICE(NO_ZAP));

/* Pages that are on the device are moved to other addresses, and pages that have been go there. */
TEST(later_migrate_remap_fault)
{
	struct stage s;

	stage_open(&s, 1);
	for (int k = 0; k < 12; k++) {
		unsigned int order = k < 6 ? 0 : DMIRROR_HUGE_ORDER;
		size_t offset = (size_t)(k % 3) * HUGE / 4;
		bool before = k % 6 < 3;
		struct dmirror_buffer b, to, moved;

		buffer_new(&s, &b, HUGE, PROT_READ | PROT_WRITE, order);
		buffer_new(&s, &to, 2 * HUGE, PROT_READ | PROT_WRITE, order);
		moved = part(&to, offset);
		fill(b.ptr, HUGE, 1, 0);
		if (!before)
			DONE(dmirror_migrate_to_device, &s.d[0], &b, HUGE);
		CHECK_ERR(mrn_hmm_move(s.hmm, b.ptr, moved.ptr, PAGE(HUGE)), 0);
		if (before)
			DONE(dmirror_migrate_to_device, &s.d[0], &moved, HUGE);
		else
			DONE_IN_ONE(dmirror_read, &s.d[0], &moved, HUGE);
		HOLDS(moved.mirror, HUGE, 1, 0);
		CHECK_EQ(dmirror_pages_used(&s.d[0]), HUGE);
		CHECK_EQ(sees_page(&s.d[0], moved.ptr) & ~SEES_HUGE, SEES_WRITE | SEES_LOCAL);
		SEES(&s.d[0], b.ptr, HUGE, SEES_ERROR);
		CHECK_ERR(dmirror_read(&s.d[0], &b, HUGE), -EFAULT);
		HOLDS(moved.ptr, HUGE, 1, 0);
		buffer_free(&s, &to);
		buffer_free(&s, &b);
	}
	stage_close(&s);
}
TWIN(later_migrate_remap_fault, no_zap, DEVICE(NO_ZAP));
