/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Random steps of one thread: registrations, and changes of memory by name and by raw calls. After each the armed map is
 * compared with what the kernel says, page by page; and a hit must be as old as its pages.
 *
 * In one program nothing is interposed, and all calls are raw to the source; in the other one, calls by name are bracketed.
 */
#include <stdlib.h>

#include "tests/no_device.h"
#include "tests/source/armed_fixture.h"

#ifdef MRN_TEST_INTERPOSED
#define KINDS	     (MRN_SOURCE_INTERPOSE | MRN_SOURCE_UFFD)
#define IS_BRACKETED 1
#else
#define KINDS	     MRN_SOURCE_UFFD
#define IS_BRACKETED 0
#endif

#define PAGES	256
#define MOST	16 /* pages in one step */
#define HOLDERS 6
#define ENTRIES 8
/* Each asks the kernel about all pages, which the runtime of TSan makes ten times as slow. */
#define ROUNDS (TEST_TSAN ? 500 : 4000)

#define STEPS(STEP)       \
	STEP(get)         \
	STEP(hold)        \
	STEP(build_again) \
	STEP(leave)       \
	STEP(unmap)       \
	STEP(replace)     \
	STEP(share)       \
	STEP(map_file)    \
	STEP(fill_hole)   \
	STEP(grow)        \
	STEP(shrink)      \
	STEP(move)        \
	STEP(move_keep)   \
	STEP(discard)     \
	STEP(protect)     \
	STEP(flush)       \
	STEP(reattach)

static struct {
	char *base;
	struct shown_page page[PAGES];
	uint64_t generation[PAGES]; /* goes up with each change */
	/* Armed by the growth of an armed mapping, which no event tells of: costs time, and nothing else. */
	bool has_grown[PAGES];
	int shared, file;
	struct test_rand rand;
	struct mrn_regcache *cache;
	uint64_t evictions, hits, sure;
	struct holder {
		struct consumer c;
		bool inserted;
		size_t at, n;
		uint64_t seq, generation; /* when it was read */
	} holder[HOLDERS];
	bool raw; /* this step's call */
} m;

struct range {
	size_t at, n;
};

static size_t below(size_t limit)
{
	return (size_t)test_rand_below(&m.rand, limit);
}

static struct range some_range(void)
{
	struct range r = {.n = 1 + below(MOST)};

	r.at = below(PAGES - r.n + 1);
	return r;
}

static char *at(size_t page)
{
	return m.base + page * PAGE;
}

static uint64_t generation_of(size_t page, size_t n)
{
	uint64_t sum = 0;

	for (size_t i = page; i < page + n; i++)
		sum += m.generation[i];
	return sum;
}

static void has_changed(size_t page, size_t n)
{
	for (size_t i = page; i < page + n; i++) {
		m.generation[i]++;
		m.has_grown[i] = false;
	}
}

/* ------------------------------------------------------------------------------------- registrations */

static uint64_t generation_of_entry(const struct mrn_regcache_entry *e)
{
	return generation_of((e->addr - (uintptr_t)m.base) / PAGE, e->length / PAGE);
}

static int note_generation(void *ctx, struct mrn_regcache_entry *e)
{
	(void)ctx;
	e->handle.u64 = generation_of_entry(e);
	return 0;
}

static const struct mrn_regcache_ops generation_ops = {note_generation, deregister_nothing};

static void open_all(void)
{
	const struct mrn_regcache_opts opts = {
		.size = sizeof(opts),
		.need = NEED,
		.ops = &generation_ops,
		.max_entries = ENTRIES,
	};
	struct mrn_regcache_opts with_source = opts;

	open_source(KINDS);
	with_source.source = source;
	CHECK_ERR(mrn_regcache_create(&with_source, &m.cache), 0);
}

static void get_range(struct range r)
{
	const struct mrn_regcache_entry *e;

	CHECK_ERR(mrn_regcache_get(m.cache, at(r.at), r.n * PAGE, MRN_ACCESS_READ, &e), 0);
	CHECK_MSG(e->handle.u64 == generation_of_entry(e), "stale: pages %zu to %zu", r.at,
		  r.at + r.n);
	CHECK_ERR(mrn_regcache_put(e), 0);
}

/* As programs do: a few, again and again. */
static bool get(void)
{
	static struct range often[2 * ENTRIES];
	struct range *r = &often[below(2 * ENTRIES)];

	if (!r->n || !below(8))
		*r = some_range();
	get_range(*r);
	for (size_t i = 0; i < 2 * ENTRIES; i++)
		if (often[i].n && !below(3))
			get_range(often[i]);
	return true;
}

static struct holder *some_holder(bool inserted)
{
	struct holder *h = &m.holder[below(HOLDERS)];

	return h->inserted == inserted ? h : NULL;
}

static void read_again(struct holder *h)
{
	h->seq = mmu_range_read_begin(&h->c.mrn);
	h->generation = generation_of(h->at, h->n);
}

static bool hold(void)
{
	struct holder *h = some_holder(false);
	struct range r = some_range();

	if (!h)
		return false;
	h->at = r.at;
	h->n = r.n;
	h->inserted = true;
	consumer_insert(&h->c, at(h->at), h->n);
	read_again(h);
	return true;
}

/* What was built before a change is not valid. */
static bool build_again(void)
{
	struct holder *h = some_holder(true);
	uint64_t seq, generation;

	if (!h)
		return false;
	seq = h->seq;
	generation = h->generation;
	read_again(h);
	CHECK_MSG(generation == h->generation || mmu_range_read_retry(&h->c.mrn, seq),
		  "stale: pages %zu to %zu", h->at, h->at + h->n);
	return true;
}

static void leave_holder(struct holder *h)
{
	consumer_remove(&h->c);
	h->inserted = false;
}

static bool leave(void)
{
	struct holder *h = some_holder(true);

	if (h)
		leave_holder(h);
	return h;
}

static bool is_held(size_t page)
{
	for (int i = 0; i < HOLDERS; i++)
		if (m.holder[i].inserted && m.holder[i].at <= page &&
		    page < m.holder[i].at + m.holder[i].n)
			return true;
	return false;
}

static void look(void)
{
	settle();
	look_at_pages(m.base, PAGES, m.page);
}

static bool flush(void)
{
	CHECK_ERR(mrn_regcache_flush(m.cache), 0);
	look();
	for (size_t i = 0; i < PAGES; i++)
		CHECK_MSG(!m.page[i].armed || is_held(i) || m.has_grown[i] ||
				  MRN_BROKEN(PAGEMAP_SCAN),
			  "page %zu is still armed", i);
	return true;
}

static void add_stats(void)
{
	struct mrn_regcache_stats s;

	CHECK_ERR(mrn_regcache_get_stats(m.cache, &s, sizeof(s)), 0);
	m.evictions += s.evictions;
	m.hits += s.hits;
}

static void close_all(void)
{
	for (int i = 0; i < HOLDERS; i++)
		if (m.holder[i].inserted)
			leave_holder(&m.holder[i]);
	add_stats();
	CHECK_ERR(mrn_regcache_destroy(m.cache), 0);
	close_source();
	look_at_pages(m.base, PAGES, m.page);
	for (size_t i = 0; i < PAGES; i++)
		CHECK_MSG(!m.page[i].armed, "page %zu is still armed", i);
	memset(m.has_grown, 0, sizeof(m.has_grown));
}

static bool reattach(void)
{
	close_all();
	open_all();
	return true;
}

/* ------------------------------------------------------------------------------------------- changes */

static void map_over(struct range r, int flags, int fd)
{
	long p = m.raw ? mrn_sys6(SYS_mmap, (long)at(r.at), (long)(r.n * PAGE), RW, flags, fd,
				  (long)(r.at * PAGE))
		       : (long)mmap(at(r.at), r.n * PAGE, RW, flags, fd, (off_t)(r.at * PAGE));

	CHECK_EQ(p, at(r.at));
	has_changed(r.at, r.n);
}

static bool unmap(void)
{
	struct range r = some_range();

	if (m.raw)
		unmap_raw(at(r.at), r.n);
	else
		CHECK_EQ(munmap(at(r.at), r.n * PAGE), 0);
	has_changed(r.at, r.n);
	return true;
}

static bool replace(void)
{
	struct range r = {.n = 1 + below(4 * MOST)};

	r.at = below(PAGES - r.n + 1);
	map_over(r, ANON | MAP_FIXED, -1);
	return true;
}

static bool share(void)
{
	map_over(some_range(), MAP_SHARED | MAP_FIXED, m.shared);
	return true;
}

static bool map_file(void)
{
	map_over(some_range(), MAP_PRIVATE | MAP_FIXED, m.file);
	return true;
}

/* The hole that begins at this page or after it; n is 0 if there is none. */
static struct range next_hole(size_t page)
{
	struct range r = {.at = page};

	while (r.at < PAGES && m.page[r.at].mapped)
		r.at++;
	while (r.at + r.n < PAGES && !m.page[r.at + r.n].mapped)
		r.n++;
	return r;
}

/* Fresh memory, where nothing was. */
static bool fill_hole(void)
{
	struct range r = next_hole(below(PAGES));

	if (r.n)
		map_over(r, ANON, -1);
	return r.n;
}

/* The rest of a mapping, from some page on, within the arena. */
static bool rest_of_mapping(struct range *r)
{
	size_t page = below(PAGES);
	uintptr_t to = m.page[page].to, end = (uintptr_t)at(PAGES);

	if (!m.page[page].mapped)
		return false;
	r->at = page;
	r->n = ((to < end ? to : end) - (uintptr_t)at(page)) / PAGE;
	return true;
}

static char *remap(struct range r, size_t n, int flags, char *to)
{
	return m.raw ? (char *)mrn_sys6(SYS_mremap, (long)at(r.at), (long)(r.n * PAGE),
					(long)(n * PAGE), flags, (long)to, 0)
		     : mremap(at(r.at), r.n * PAGE, n * PAGE, flags, to);
}

static void note_growth(struct range r, size_t from)
{
	for (size_t i = r.at + from; i < r.at + r.n; i++)
		m.has_grown[i] = m.raw || !IS_BRACKETED;
}

static bool grow(void)
{
	struct range r, hole, grown;

	if (!rest_of_mapping(&r))
		return false;
	hole = next_hole(r.at);
	if (!hole.n || hole.at != r.at + r.n)
		return false;
	grown = (struct range){r.at, r.n + 1 + below(hole.n)};
	CHECK(remap(r, grown.n, 0, NULL) == at(r.at));
	has_changed(hole.at, grown.n - r.n);
	note_growth(grown, r.n);
	return true;
}

static bool shrink(void)
{
	struct range r;
	size_t n;

	if (!rest_of_mapping(&r) || r.n < 2)
		return false;
	n = 1 + below(r.n - 1);
	if (r.n - n > MOST)
		n = r.n - MOST;
	CHECK(remap(r, n, 0, NULL) == at(r.at));
	has_changed(r.at + n, r.n - n);
	return true;
}

/* Onto other pages, of which it takes `more` than it had. */
static bool move_some(size_t more, int flags)
{
	struct range r, to;

	if (!rest_of_mapping(&r))
		return false;
	if (r.n > MOST) {
		r.n = 1 + below(MOST);
		more = 0;
	}
	to = (struct range){below(PAGES - r.n - more + 1), r.n + more};
	if (to.at < r.at + r.n && r.at < to.at + to.n)
		return false;
	CHECK(remap(r, to.n, flags | MREMAP_MAYMOVE | MREMAP_FIXED, at(to.at)) == at(to.at));
	has_changed(r.at, r.n);
	has_changed(to.at, to.n);
	note_growth(to, r.n);
	return true;
}

static bool move(void)
{
	return move_some(below(3), 0);
}

static bool move_keep(void)
{
	return move_some(0, MREMAP_DONTUNMAP);
}

/* If nobody brackets it, the pages are good for one use for a while: so do it rarely. */
static bool discard(void)
{
	struct range r = some_range();

	if ((m.raw || !IS_BRACKETED) && below(4))
		return false;
	/* Fails on a hole, after the rest. */
	if (m.raw)
		mrn_sys3(SYS_madvise, (long)at(r.at), (long)(r.n * PAGE), MADV_DONTNEED);
	else
		madvise(at(r.at), r.n * PAGE, MADV_DONTNEED);
	for (size_t i = r.at; i < r.at + r.n; i++)
		m.generation[i]++;
	return true;
}

/* Splits mappings, and changes no page. */
static bool protect(void)
{
	struct range r = some_range();
	bool all = mprotect(at(r.at), r.n * PAGE, below(2) ? RW : PROT_READ) == 0;

	/* Fails on a hole, after what comes before it. */
	if (!all)
		look();
	return all;
}

/* --------------------------------------------------------------------------------------------- steps */

static const struct step {
	const char *name;
	bool (*take)(void); /* false: not possible now */
} steps[] = {
#define STEP(name) {#name, name},
	STEPS(STEP)
#undef STEP
};
#define NR_STEPS (sizeof(steps) / sizeof(steps[0]))

static unsigned int done[NR_STEPS][2];

static bool all_is_done(void)
{
	struct mrn_regcache_stats s;

	CHECK_ERR(mrn_regcache_get_stats(m.cache, &s, sizeof(s)), 0);
	if (!(m.hits + s.hits) || !(m.evictions + s.evictions))
		return false;
	for (size_t i = 0; i < NR_STEPS; i++)
		if (!done[i][0] || !done[i][1])
			return false;
	return true;
}

static void check_all(void)
{
	look();
	for (size_t i = 0; i < PAGES; i++) {
		check_page(at(i), &m.page[i], m.has_grown[i]);
		m.sure += is_marked(at(i), MRN_MARK_SURE);
	}
}

static int file_of(const char *path)
{
	int fd = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600)
		      : memfd_create("armed", MFD_CLOEXEC);

	CHECK(fd >= 0);
	CHECK_EQ(ftruncate(fd, PAGES * PAGE), 0);
	return fd;
}

static const struct step *some_step(void)
{
	size_t n = below(100);

	/* Half of them register; few take everything back; and there must be memory. */
	if (n < 50)
		return &steps[below(4)];
	if (n >= 98)
		return &steps[NR_STEPS - 1 - (n == 98)];
	if (n >= 90)
		return &steps[5];
	return &steps[4 + below(NR_STEPS - 6)];
}

static void run(void)
{
	char path[128];

	test_rand_init(&m.rand, 0);
	m.shared = file_of(NULL);
	m.file = file_of(test_path(path, sizeof(path), "file"));
	m.base = map_apart(PAGES);
	open_all();
	look();
	for (uint64_t i = 0; test_round_is_due(i, ROUNDS) || !all_is_done(); i++) {
		const struct step *step = some_step();

		m.raw = below(2);
		if (!step->take())
			continue;
		done[step - steps][m.raw]++;
		check_all();
	}
	close_all();
	for (size_t i = 0; i < NR_STEPS; i++)
		NOTE("%s: %u by name, %u raw", steps[i].name, done[i][0], done[i][1]);
	NOTE("%llu hits, %llu evictions, %llu pages sure", (unsigned long long)m.hits,
	     (unsigned long long)m.evictions, (unsigned long long)m.sure);
}

TEST(map_agrees_with_the_kernel)
{
	run();
	CHECK(m.sure);
}
TWIN(map_agrees_with_the_kernel, events_leave_it, UNTIL_CAUGHT(BREAK(ARMED_EVENT)));
TWIN(map_agrees_with_the_kernel, holes_count, UNTIL_CAUGHT(BREAK(UFFD_HOLES)));
TWIN(map_agrees_with_the_kernel, shared_memory_is_remembered, UNTIL_CAUGHT(BREAK(ARMED_LOOSE)));

/* As before Linux 6.11: nothing is remembered. */
TEST(map_agrees_without_procmap_query)
{
	MRN_BREAK(PROCMAP_QUERY);
	run();
	CHECK(!m.sure);
}
TWIN(map_agrees_without_procmap_query, holes_count, UNTIL_CAUGHT(BREAK(UFFD_HOLES)));

/* As before Linux 6.7: what is armed between holes stays so. */
TEST(map_agrees_without_pagemap_scan)
{
	MRN_BREAK(PAGEMAP_SCAN);
	run();
}
TWIN(map_agrees_without_pagemap_scan, events_leave_it, UNTIL_CAUGHT(BREAK(ARMED_EVENT)));
