/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Torture: threads transfer from memory through the cache and a device that really pins, while others
 * change that memory by every cause, at random, overlapping each other, without keeping out of each
 * other's way: nothing but the cache stands between a transfer and a dead page.
 *
 * What a transfer may see. Each word of a page names the page and its generation. A changer makes the
 * page's seq odd, replaces the page, fills it with the next generation, and makes the seq even. A
 * transfer that began at an even seq and ended at the same one must see exactly the last generation. One
 * that overlapped a change may see zeros (replaced, not yet filled), any generation that was not over when
 * it began, and words in the middle of being written. A page of an older generation is stale.
 */
#include <errno.h>
#include <malloc.h>
#include <mrn/mrn.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "regcache/check.h"
#include "tests/harness/break.h"
#include "tests/harness/sync.h"
#include "tests/harness/test.h"
#include "os/syscall.h"
#include "tests/pin_device.h"

#define PAGE	 4096ul
#define WORDS	 (PAGE / sizeof(uint64_t))
#define MOST	 16ul /* pages in one change */
#define READERS	 4
#define CHANGERS 3
#define BLOCKS	 3

/* A stretch of memory whose pages are changed and read one by one. */
struct arena {
	const char *name;
	char *base;
	size_t pages;
	int file; /* shared file pages, or -1: private anonymous */
	struct page {
		pthread_mutex_t lock;
		uint64_t seq, generation;
	} * page;
};

/* Memory whose address changes with it: malloc's, and the top of the heap. One change at a time. */
struct block {
	pthread_rwlock_t lock;
	char *base;
	size_t pages;
	uint64_t generation;
	bool heap_top;
};

static struct {
	struct pin_device dev;
	struct mrn_source *source;
	struct mrn_regcache *cache[2]; /* the second one merges */
	struct arena anon, file, loose;
	struct block block[BLOCKS];
	char *spare[CHANGERS]; /* each one's own, to move pages to and from */
	bool moves_mappings;   /* the kernel's mremap takes several at a time */
	bool stop;
	uint64_t transfers, stale, unmapped, changes;
} t;

static uint64_t word_of(uint64_t generation, size_t page)
{
	return generation << 16 | page;
}

static void fill(char *addr, uint64_t generation, size_t first, size_t n)
{
	for (size_t p = 0; p < n; p++)
		for (size_t w = 0; w < WORDS; w++)
			((uint64_t *)addr)[p * WORDS + w] = word_of(generation, first + p);
}

/* ----------------------------------------------------------------------------------------- changing */

#define RW   (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

struct change {
	struct arena *a;
	size_t first, n;
	char *addr, *spare;
	size_t length;
	uint64_t generation;
	bool raw;
};

static long map_at(const struct change *c, char *addr, int how, bool raw)
{
	int flags = (c->a->file < 0 ? ANON : MAP_SHARED) | how;
	off_t offset = c->a->file < 0 ? 0 : (off_t)(c->first * PAGE);

	if (raw)
		return mrn_sys6(SYS_mmap, (long)addr, (long)c->length, RW, flags, c->a->file,
				offset);
	return (long)mmap(addr, c->length, RW, flags, c->a->file, offset);
}

static void by_map_fixed(const struct change *c)
{
	CHECK_EQ(map_at(c, c->addr, MAP_FIXED, c->raw), c->addr);
}

static void by_munmap(const struct change *c)
{
	if (c->raw)
		CHECK_EQ(mrn_sys2(SYS_munmap, (long)c->addr, (long)c->length), 0);
	else
		CHECK_EQ(munmap(c->addr, c->length), 0);
	CHECK_EQ(map_at(c, c->addr, MAP_FIXED_NOREPLACE, true), c->addr);
}

static void move(const struct change *c, char *from, char *to)
{
	const int flags = MREMAP_MAYMOVE | MREMAP_FIXED;

	/*
	 * Pages that came here by different ways are several mappings, and before Linux 6.17 mremap
	 * moves one at a time; of memory that is watched in parts it does so still (docs/sources.md).
	 */
	if (!c->raw && t.moves_mappings) {
		CHECK(mremap(from, c->length, c->length, flags, to) == to);
		return;
	}
	for (size_t off = 0; off < c->length; off += PAGE) {
		if (c->raw)
			CHECK_EQ(mrn_sys6(SYS_mremap, (long)(from + off), PAGE, PAGE, flags,
					  (long)(to + off), 0),
				 to + off);
		else
			CHECK(mremap(from + off, PAGE, PAGE, flags, to + off) == to + off);
	}
}

static void by_mremap_away(const struct change *c)
{
	move(c, c->addr, c->spare);
	CHECK_EQ(map_at(c, c->addr, MAP_FIXED_NOREPLACE, true), c->addr);
}

static void by_mremap_onto(const struct change *c)
{
	CHECK_EQ(map_at(c, c->spare, MAP_FIXED, true), c->spare);
	move(c, c->spare, c->addr);
	CHECK_EQ(map_at(c, c->spare, MAP_FIXED_NOREPLACE, true), c->spare);
}

static void by_dontneed(const struct change *c)
{
	CHECK_EQ(madvise(c->addr, c->length, MADV_DONTNEED), 0);
}

static void by_free(const struct change *c)
{
	CHECK_EQ(madvise(c->addr, c->length, MADV_FREE), 0);
}

static void by_raw_dontneed(const struct change *c)
{
	CHECK_EQ(mrn_sys3(SYS_madvise, (long)c->addr, (long)c->length, MADV_DONTNEED), 0);
}

static void by_remove(const struct change *c)
{
	CHECK_EQ(madvise(c->addr, c->length, MADV_REMOVE), 0);
}

static void by_punch_hole(const struct change *c)
{
	CHECK_EQ(fallocate(c->a->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			   (off_t)(c->first * PAGE), (off_t)c->length),
		 0);
}

typedef void change_fn(const struct change *c);

static change_fn *const anon_ways[] = {by_map_fixed,   by_munmap,   by_mremap_away,
				       by_mremap_onto, by_dontneed, by_free};
static change_fn *const file_ways[] = {by_remove, by_punch_hole};
static change_fn *const loose_ways[] = {by_raw_dontneed, by_map_fixed};

static void change_arena(struct arena *a, change_fn *const *ways, size_t n_ways,
			 struct test_rand *rnd, char *spare)
{
	struct change c = {.a = a, .spare = spare, .raw = test_rand(rnd) & 1};

	c.n = 1 + test_rand_below(rnd, MOST);
	c.first = test_rand_below(rnd, a->pages - c.n + 1);
	c.addr = a->base + c.first * PAGE;
	c.length = c.n * PAGE;
	for (size_t i = c.first; i < c.first + c.n; i++) {
		struct page *p = &a->page[i];

		pthread_mutex_lock(&p->lock);
		if (c.generation < p->generation)
			c.generation = p->generation;
		__atomic_fetch_add(&p->seq, 1, __ATOMIC_SEQ_CST);
	}
	c.generation++;
	ways[test_rand_below(rnd, n_ways)](&c);
	fill(c.addr, c.generation, c.first, c.n);
	for (size_t i = c.first; i < c.first + c.n; i++) {
		struct page *p = &a->page[i];

		__atomic_store_n(&p->generation, c.generation, __ATOMIC_RELEASE);
		__atomic_fetch_add(&p->seq, 1, __ATOMIC_SEQ_CST);
		pthread_mutex_unlock(&p->lock);
	}
}

/* Large enough for malloc to map it by itself and to unmap it on free, inside libc. */
static size_t block_length(struct test_rand *rnd)
{
	return (33 + test_rand_below(rnd, 64)) * PAGE;
}

/*
 * A sanitizer's free unmaps by bare calls, which nobody brackets: another thread's malloc may be given the address before
 * the event has been read (<mrn/source.h>, before_return). So there one block changes at a time.
 */
static pthread_mutex_t not_bracketed = PTHREAD_MUTEX_INITIALIZER;

static void change_block(struct block *b, struct test_rand *rnd)
{
	size_t length;

	pthread_rwlock_wrlock(&b->lock);
	if (test_is_sanitized())
		pthread_mutex_lock(&not_bracketed);
	if (b->heap_top) {
		CHECK(sbrk(-(intptr_t)(b->pages * PAGE)) != (void *)-1);
		CHECK(sbrk((intptr_t)(b->pages * PAGE)) == b->base);
	} else {
		length = block_length(rnd);
		free(b->base);
		b->base = malloc(length);
		CHECK(b->base);
		b->pages = length / PAGE;
	}
	if (test_is_sanitized())
		pthread_mutex_unlock(&not_bracketed);
	fill(b->base, ++b->generation, 0, b->pages);
	pthread_rwlock_unlock(&b->lock);
}

static void changer(void *arg)
{
	uintptr_t id = (uintptr_t)arg;
	char *spare = t.spare[id];
	struct test_rand rnd;

	test_rand_init(&rnd, id + 100);
	while (!__atomic_load_n(&t.stop, __ATOMIC_RELAXED)) {
		switch (test_rand_below(&rnd, 8)) {
		case 0:
			change_arena(&t.file, file_ways, 2, &rnd, spare);
			break;
		case 1:
			change_arena(&t.loose, loose_ways, 2, &rnd, spare);
			break;
		case 2:
			change_block(&t.block[test_rand_below(&rnd, BLOCKS)], &rnd);
			break;
		default:
			change_arena(&t.anon, anon_ways, 6, &rnd, spare);
		}
		__atomic_fetch_add(&t.changes, 1, __ATOMIC_RELAXED);
	}
}

/* -------------------------------------------------------------------------------------- transferring */

#define LONGEST (8 * PAGE)

/* Gets, transfers, puts. False when the memory was not there. */
static bool transfer(struct test_rand *rnd, const char *addr, size_t length, char *to)
{
	struct mrn_regcache *cache = t.cache[test_rand(rnd) & 1];
	const struct mrn_regcache_entry *entry;
	int r = mrn_regcache_get(cache, addr, length, MRN_ACCESS_READ, &entry);

	if (r == -EFAULT || r == -EAGAIN) {
		__atomic_fetch_add(&t.unmapped, 1, __ATOMIC_RELAXED);
		return false;
	}
	CHECK_ERR(r, 0);
	CHECK_ERR(pin_device_read(&t.dev, entry, addr, to, length), 0);
	CHECK_ERR(mrn_regcache_put(entry), 0);
	__atomic_fetch_add(&t.transfers, 1, __ATOMIC_RELAXED);
	return true;
}

static void found_stale(const char *where, uint64_t got, uint64_t generation, size_t page)
{
	if (__atomic_fetch_add(&t.stale, 1, __ATOMIC_RELAXED) == 0)
		NOTE("first stale word, %s memory: page %zu generation %llu, got page %llu generation "
		     "%llu",
		     where, page, (unsigned long long)generation,
		     (unsigned long long)(got & 0xffff), (unsigned long long)(got >> 16));
	__atomic_store_n(&t.stop, true, __ATOMIC_RELAXED);
}

/*
 * n words of page p, whose generation was this when the transfer began. While a page is being filled the
 * device may see a word in the middle of being written, so of a page that was not still only what looks
 * dead as a whole counts: words of one older generation and nothing else.
 */
static void check_page(const struct arena *a, size_t p, const uint64_t *got, size_t n,
		       uint64_t generation, bool still)
{
	for (size_t w = 0; w < n; w++) {
		if (still && got[w] != word_of(generation, p))
			found_stale(a->name, got[w], generation, p);
		if (!still && (!got[w] || got[w] != got[0] || (got[w] & 0xffff) != p ||
			       got[w] >> 16 >= generation))
			return;
	}
	if (!still && n >= 4)
		found_stale(a->name, got[0], generation, p);
}

static void read_arena(struct arena *a, struct test_rand *rnd)
{
	size_t words = 1 + test_rand_below(rnd, LONGEST / 8);
	size_t at = test_rand_below(rnd, a->pages * WORDS - words + 1);
	size_t first = at / WORDS, last = (at + words - 1) / WORDS;
	uint64_t seq[LONGEST / PAGE + 1], generation[LONGEST / PAGE + 1], got[LONGEST / 8];

	for (size_t p = first; p <= last; p++) {
		seq[p - first] = __atomic_load_n(&a->page[p].seq, __ATOMIC_SEQ_CST);
		generation[p - first] = __atomic_load_n(&a->page[p].generation, __ATOMIC_ACQUIRE);
	}
	if (!transfer(rnd, a->base + at * 8, words * 8, (char *)got))
		return;
	for (size_t p = first, w = 0; p <= last; p++) {
		size_t n = (p + 1) * WORDS - (at + w) < words - w ? (p + 1) * WORDS - (at + w)
								  : words - w;
		bool still = !(seq[p - first] & 1) &&
			     __atomic_load_n(&a->page[p].seq, __ATOMIC_SEQ_CST) == seq[p - first];

		check_page(a, p, got + w, n, generation[p - first], still);
		w += n;
	}
}

static void read_block(struct block *b, struct test_rand *rnd)
{
	uint64_t got[LONGEST / 8];
	size_t words, at;

	pthread_rwlock_rdlock(&b->lock);
	words = 1 + test_rand_below(rnd, LONGEST / 8);
	at = test_rand_below(rnd, b->pages * WORDS - words + 1);
	if (transfer(rnd, b->base + at * 8, words * 8, (char *)got))
		for (size_t w = 0; w < words; w++)
			if (got[w] != word_of(b->generation, (at + w) / WORDS))
				found_stale(b->heap_top ? "brk" : "malloc", got[w], b->generation,
					    (at + w) / WORDS);
	pthread_rwlock_unlock(&b->lock);
}

static void reader(void *arg)
{
	struct test_rand rnd;

	test_rand_init(&rnd, (uint64_t)(uintptr_t)arg);
	while (!__atomic_load_n(&t.stop, __ATOMIC_RELAXED)) {
		switch (test_rand_below(&rnd, 8)) {
		case 0:
			read_arena(&t.file, &rnd);
			break;
		case 1:
			read_arena(&t.loose, &rnd);
			break;
		case 2:
		case 3:
			read_block(&t.block[test_rand_below(&rnd, BLOCKS)], &rnd);
			break;
		default:
			read_arena(&t.anon, &rnd);
		}
	}
}

/* ------------------------------------------------------------------------------------------ the test */

/*
 * Address space far below what the kernel gives out, which is the highest that is free: a hole there
 * stays a hole until whoever made it fills it.
 */
static char *out_of_the_way(size_t length)
{
	static char *next;

	if (!next) {
		next = mmap(NULL, PAGE, PROT_NONE, ANON, -1, 0);
		CHECK(next != MAP_FAILED);
		next -= 64ul << 30;
	}
	next += length;
	return next - length;
}

static bool kernel_moves_mappings(void)
{
	char *p = out_of_the_way(4 * PAGE);
	bool moved;

	/* Two mappings that cannot be one. */
	CHECK(mmap(p, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0) == p);
	CHECK(mmap(p + PAGE, PAGE, PROT_READ, ANON | MAP_FIXED_NOREPLACE, -1, 0) == p + PAGE);
	moved = mremap(p, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, p + 2 * PAGE) !=
		MAP_FAILED;
	CHECK_EQ(munmap(p, 4 * PAGE), 0);
	return moved;
}

static void make_arena(struct arena *a, const char *name, size_t pages, bool shared)
{
	a->name = name;
	a->pages = pages;
	a->file = shared ? memfd_create("torture", MFD_CLOEXEC) : -1;
	if (shared)
		CHECK_EQ(ftruncate(a->file, (off_t)(pages * PAGE)), 0);
	a->base = out_of_the_way(pages * PAGE);
	CHECK(mmap(a->base, pages * PAGE, RW, (shared ? MAP_SHARED : ANON) | MAP_FIXED_NOREPLACE,
		   a->file, 0) == a->base);
	a->page = calloc(pages, sizeof(*a->page));
	CHECK(a->page);
	for (size_t i = 0; i < pages; i++) {
		pthread_mutex_init(&a->page[i].lock, NULL);
		a->page[i].generation = 1;
	}
	fill(a->base, 1, 0, pages);
}

static void make_blocks(void)
{
	struct test_rand rnd;

	/* Fixed, or malloc would raise it with the first free, and keep blocks to itself. */
	mallopt(M_MMAP_THRESHOLD, 128 << 10);
	test_rand_init(&rnd, 1000);
	for (int i = 0; i < BLOCKS; i++) {
		struct block *b = &t.block[i];
		size_t length = block_length(&rnd);

		pthread_rwlock_init(&b->lock, NULL);
		b->heap_top = i == 0;
		if (b->heap_top)
			CHECK(sbrk((intptr_t)(-(uintptr_t)sbrk(0) & (PAGE - 1))) != (void *)-1);
		b->base = b->heap_top ? sbrk((intptr_t)length) : malloc(length);
		CHECK(b->base && b->base != (void *)-1);
		b->pages = length / PAGE;
		fill(b->base, ++b->generation, 0, b->pages);
	}
}

/*
 * Registering takes long enough for somebody to get between: now and then, until two changes have been
 * made somewhere. Bounded, since the changers may be waiting for the block that our caller reads.
 */
static void dawdle(void *arg, const struct mrn_regcache_entry *entry)
{
	uint64_t seen = __atomic_load_n(&t.changes, __ATOMIC_RELAXED);
	uint64_t end = test_now_ns() + 20 * 1000000ull;

	(void)arg;
	if (entry->handle.u64 % 8)
		return;
	while (__atomic_load_n(&t.changes, __ATOMIC_RELAXED) < seen + 2 && test_now_ns() < end &&
	       !__atomic_load_n(&t.stop, __ATOMIC_RELAXED))
		sched_yield();
}

static void note_figures(void)
{
	struct mrn_regcache_stats s[2];

	for (int i = 0; i < 2; i++)
		CHECK_ERR(mrn_regcache_get_stats(t.cache[i], &s[i], sizeof(s[i])), 0);
	NOTE("transfers %llu stale %llu changes %llu unmapped %llu",
	     (unsigned long long)t.transfers, (unsigned long long)t.stale,
	     (unsigned long long)t.changes, (unsigned long long)t.unmapped);
	NOTE("hits %llu retries %llu invalidations %llu use-once %llu evictions %llu",
	     (unsigned long long)(s[0].hits + s[1].hits),
	     (unsigned long long)(s[0].retries + s[1].retries),
	     (unsigned long long)(s[0].invalidations + s[1].invalidations),
	     (unsigned long long)(s[0].use_once + s[1].use_once),
	     (unsigned long long)(s[0].evictions + s[1].evictions));
}

static bool has_met(void)
{
	return __atomic_load_n(&t.transfers, __ATOMIC_RELAXED) &&
	       __atomic_load_n(&t.changes, __ATOMIC_RELAXED);
}

static void torture(unsigned int seconds)
{
	struct test_thread readers[READERS], changers[CHANGERS];

	pin_device_open(&t.dev);
	t.dev.pinned = dawdle;
	t.source = attach_or_skip(MRN_SOURCE_INTERPOSE | MRN_SOURCE_UFFD);
	t.cache[0] = pin_cache(&t.dev, t.source, MRN_COVER_PAGES, 0);
	t.cache[1] = pin_cache(&t.dev, t.source, MRN_COVER_PAGES, MRN_REGCACHE_MERGE);
	t.moves_mappings = kernel_moves_mappings();
	make_arena(&t.anon, "anonymous", 256, false);
	make_arena(&t.file, "file", 64, true);
	make_arena(&t.loose, "loose", 64, false);
	make_blocks();
	for (int i = 0; i < CHANGERS; i++) {
		t.spare[i] = out_of_the_way(MOST * PAGE);
		CHECK(mmap(t.spare[i], MOST * PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0) ==
		      t.spare[i]);
	}

	for (uintptr_t i = 0; i < READERS; i++)
		test_thread(&readers[i], reader, (void *)i);
	for (uintptr_t i = 0; i < CHANGERS; i++)
		test_thread(&changers[i], changer, (void *)i);
	for (unsigned int i = 0; !__atomic_load_n(&t.stop, __ATOMIC_RELAXED) &&
				 (test_round_is_due(i, seconds * 50) || !has_met());
	     i++)
		test_sleep_ms(20);
	__atomic_store_n(&t.stop, true, __ATOMIC_RELAXED);
	for (int i = 0; i < READERS; i++)
		test_join(&readers[i]);
	for (int i = 0; i < CHANGERS; i++)
		test_join(&changers[i]);

	note_figures();
	CHECK_EQ(t.stale, 0);
	CHECK(has_met());
	for (int i = 0; i < 2; i++)
		CHECK_ERR(mrn_regcache_destroy(t.cache[i]), 0);
	CHECK_ERR(mrn_source_detach(t.source), 0);
	pin_device_close(&t.dev);
}

TEST(torture_5s, .timeout_s = 60)
{
	torture(5);
}
TWIN(torture_5s, no_retry_check, UNTIL_CAUGHT(BREAK(CACHE_RETRY)));
TWIN(torture_5s, no_notifier, UNTIL_CAUGHT(BREAK(CACHE_NOTIFIER)));

TEST(torture_60s, .timeout_s = 180, .slow = true)
{
	torture(60);
}
