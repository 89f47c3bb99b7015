/* SPDX-License-Identifier: BSD-3-Clause */
/* What stays armed when its registrations have gone, and when it is given back. */
#include <stdlib.h>

#include "tests/harness/child.h"
#include "tests/no_device.h"
#include "tests/source/armed_fixture.h"

static char *of_parent;

static unsigned int lasting(void)
{
	return mrn_lasting_number(source->uffd.lasting);
}

static struct mrn_regcache *new_cache(unsigned int max_entries)
{
	const struct mrn_regcache_opts opts = {
		.size = sizeof(opts),
		.source = source,
		.need = NEED,
		.ops = &no_device_ops,
		.max_entries = max_entries,
	};
	struct mrn_regcache *cache;

	CHECK_ERR(mrn_regcache_create(&opts, &cache), 0);
	return cache;
}

static void use(struct mrn_regcache *cache, const char *p, size_t n)
{
	const struct mrn_regcache_entry *entry;

	CHECK_ERR(mrn_regcache_get(cache, p, n * PAGE, MRN_ACCESS_READ, &entry), 0);
	CHECK_ERR(mrn_regcache_put(entry), 0);
}

/* n pages, each apart from the next, so that nothing is split or joined by arming. */
static char *map_islands(size_t n)
{
	char *p = map_raw(NULL, 2 * n, ANON);

	for (size_t i = 0; i < n; i++)
		CHECK_EQ(mprotect(p + (2 * i + 1) * PAGE, PAGE, PROT_NONE), 0);
	return p;
}

static const char *island(const char *p, size_t i)
{
	return p + 2 * i * PAGE;
}

static void check_nothing_is_armed(const char *p, size_t n)
{
	struct shown_page *page = calloc(n, sizeof(*page));
	size_t armed = 0;

	CHECK(page);
	settle();
	look_at_pages(p, n, page);
	for (size_t i = 0; i < n; i++) {
		armed += page[i].armed;
		check_page(p + i * PAGE, &page[i], false);
	}
	free(page);
	CHECK_EQ(armed, 0);
}

TEST(memory_stays_armed_until_it_is_given_back)
{
	struct mrn_regcache *cache, *other;
	struct mrn_regcache_stats s;
	char *p;

	open_source(MRN_SOURCE_UFFD);
	p = map_apart(32);
	cache = new_cache(2);
	for (size_t i = 0; i < 8; i++)
		use(cache, p + 4 * i * PAGE, 2);
	CHECK_ERR(mrn_regcache_get_stats(cache, &s, sizeof(s)), 0);
	CHECK_EQ(s.evictions, 6);
	/* Also what has been evicted. */
	for (size_t i = 0; i < 32; i++)
		CHECK_EQ(is_marked(p + i * PAGE, MRN_MARK_SURE), i % 4 < 2);
	check_map(p, 32);
	CHECK_EQ(lasting(), 8);

	/* What another cache has in use stays. */
	other = new_cache(2);
	use(other, p + 4 * PAGE, 2);
	CHECK_ERR(mrn_regcache_flush(cache), 0);
	for (size_t i = 0; i < 32; i++)
		CHECK_EQ(is_armed(p + i * PAGE), i == 4 || i == 5);
	check_map(p, 32);
	check_raw_changes_are_told(p + 4 * PAGE, 2);
	use(cache, p, 2);
	CHECK_ERR(mrn_regcache_destroy(cache), 0);
	CHECK(!is_armed(p));
	CHECK_ERR(mrn_regcache_destroy(other), 0);
	check_nothing_is_armed(p, 32);
	CHECK_EQ(lasting(), 0);
	close_source();
}
TEST(nothing_stays_armed_after_the_detach)
{
	char *p;

	open_source(MRN_SOURCE_UFFD);
	p = map_apart(4);
	use_briefly(p, 4);
	CHECK(is_armed(p));
	close_source();
	CHECK(!is_armed(p) && !is_armed(p + 3 * PAGE));
	/* Nor is it taken for armed by the next source. */
	open_source(MRN_SOURCE_UFFD);
	check_nothing_is_armed(p, 4);
	CHECK_EQ(lasting(), 0);
	check_raw_changes_are_told(p, 4);
	close_source();
}

static void child_of_armed_memory(void)
{
	char *p = of_parent;

	CHECK(!is_armed(p));
	CHECK_EQ(munmap(p, PAGE), 0);
	CHECK(mmap(p, PAGE, RW, ANON | MAP_FIXED, -1, 0) == p);
	open_source(MRN_SOURCE_INTERPOSE | MRN_SOURCE_UFFD);
	CHECK_EQ(lasting(), 0);
	check_map(p, 4);
	for (int i = 0; i < 4; i++)
		CHECK(!is_marked(p + i * PAGE, MRN_MARK_MAYBE));
	check_raw_changes_are_told(p, 4);
	close_source();
}

/* Nor does it disarm what is its parent's. */
TEST(a_child_remembers_nothing)
{
	if (TEST_TSAN)
		SKIP("ThreadSanitizer starts no threads in a child of several threads");
	open_source(MRN_SOURCE_INTERPOSE | MRN_SOURCE_UFFD);
	of_parent = map_apart(4);
	use_briefly(of_parent, 4);
	CHECK_EQ(in_a_child(child_of_armed_memory), 0);
	CHECK(is_armed(of_parent) && is_marked(of_parent, MRN_MARK_SURE));
	check_raw_changes_are_told(of_parent, 4);
	check_map(of_parent, 4);
	close_source();
}

/* The new range takes the place of an old one that is a part of it; whoever arms it has no notifier there. */
TEST(the_oldest_is_a_part_of_the_new)
{
	char *p;

	open_source(MRN_SOURCE_UFFD);
	p = map_apart(4);
	use_briefly(p + PAGE, 2);
	/* Of memory that has gone. */
	for (uintptr_t i = 0; !mrn_lasting_is_full(source->uffd.lasting); i++)
		mrn_lasting_push(source->uffd.lasting,
				 (struct mrn_span){(i + 16) * PAGE, (i + 17) * PAGE});
	CHECK_EQ(mrn_source_arm(source, (uintptr_t)p, 4 * PAGE, NEED), 0);
	check_map(p, 4);
	for (int i = 0; i < 4; i++)
		CHECK(is_armed(p + i * PAGE));
	close_source();
}

/* Each island is two mappings, and a process may have 65530. */
TEST(the_oldest_goes_when_there_are_too_many, .timeout_s = 120)
{
	enum { HELD = MRN_UFFD_LOOKS, MORE = 4 };
	static struct consumer held[HELD];
	const size_t n = MRN_LASTING_MAX;
	char *p, *more;

	if (test_is_sanitized())
		SKIP("a sanitizer needs mappings of its own");
	mrn_check_max_mappings = 1 << 20;
	open_source(MRN_SOURCE_UFFD);
	p = map_islands(n);
	more = map_islands(2 * MORE + 2);
	for (size_t i = 0; i < n; i++)
		use_briefly(island(p, i), 1);
	CHECK_EQ(lasting(), n);
	CHECK(is_armed(p) && is_marked(p, MRN_MARK_SURE));

	for (size_t i = 0; i < MORE; i++) {
		use_briefly(island(more, i), 1);
		CHECK_EQ(lasting(), n);
		CHECK(is_armed(island(more, i)) && is_marked(island(more, i), MRN_MARK_SURE));
		CHECK(!is_armed(island(p, i)) && is_armed(island(p, i + 1)));
	}
	check_map(p, 2 * MORE + 4);

	/* If the oldest are all in use, they keep their places; the new one is watched only while it is needed. */
	for (size_t i = 0; i < HELD; i++) {
		consumer_insert(&held[i], island(p, MORE + i), 1);
		consumer_build(&held[i]);
	}
	check_raw_changes_are_told(island(more, MORE), 1);
	CHECK_EQ(lasting(), n);
	CHECK(!is_armed(island(more, MORE)) && !is_marked(island(more, MORE), MRN_MARK_SURE));
	check_map(p, 2 * (MORE + HELD));
	for (size_t i = 0; i < HELD; i++) {
		CHECK(is_armed(island(p, MORE + i)));
		CHECK_EQ(calls_of(&held[i]), 0);
		map_raw(island(p, MORE + i), 1, ANON | MAP_FIXED);
		settle();
		CHECK_EQ(calls_of(&held[i]), 1);
		consumer_remove(&held[i]);
	}
	/* These have gone behind the others meanwhile. */
	use_briefly(island(more, MORE + 1), 1);
	CHECK(is_armed(island(more, MORE + 1)) && !is_armed(island(p, MORE + HELD)));
	CHECK_EQ(lasting(), n);
	mrn_source_give_back(source);
	check_nothing_is_armed(p, 2 * n);
	check_nothing_is_armed(more, 4 * MORE + 4);
	CHECK_EQ(lasting(), 0);
	close_source();
}

static unsigned int nr_mappings(void)
{
	static struct line_reader r;
	unsigned int n = 0;

	r.at = r.n = 0;
	r.fd = (int)mrn_sys4(SYS_openat, AT_FDCWD, (long)"/proc/self/maps", O_RDONLY | O_CLOEXEC,
			     0);
	CHECK(r.fd >= 0);
	while (read_line(&r))
		n++;
	mrn_sys1(SYS_close, r.fd);
	return n;
}

static bool without_limit;

/* What nobody needs makes room; nothing that is needed becomes good for one use. */
TEST(few_mappings_are_shared_out)
{
	enum { ISLANDS = 400 };
	struct consumer c;
	unsigned int limit;
	char *p;

	if (test_is_sanitized())
		SKIP("a sanitizer maps what it likes");
	/* Not islands: arming splits. */
	p = map_apart(2 * ISLANDS);
	limit = nr_mappings() + ISLANDS / 4;
	if (!without_limit)
		mrn_check_max_mappings = 2 * limit;
	open_source(MRN_SOURCE_UFFD);
	for (size_t i = 0; i < 4 * ISLANDS; i++) {
		consumer_insert(&c, island(p, i % ISLANDS), 1);
		consumer_build(&c);
		CHECK_MSG(is_armed(island(p, i % ISLANDS)), "island %zu is good for one use", i);
		CHECK(nr_mappings() <= limit + 8);
		consumer_remove(&c);
	}
	NOTE("mappings %u of %u, armed ranges %u", nr_mappings(), limit, lasting());
	check_map(p, 64);
	CHECK(lasting() >= source->uffd.most_idle);
	close_source();
}
TWIN(few_mappings_are_shared_out, no_limit, without_limit = true);

/* Brackets take away what is armed, not its place in the list; so ranges come again, whole or in part. */
TEST(a_range_that_comes_again_has_one_place)
{
	enum { PAGES = 64 };
	const uint64_t rounds = 40000;
	struct test_rand r;
	char *p;

	open_source(MRN_SOURCE_INTERPOSE | MRN_SOURCE_UFFD);
	p = map_apart(PAGES);
	test_rand_init(&r, 0);
	for (uint64_t i = 0; test_round_is_due(i, rounds); i++) {
		use_briefly(p, 4);
		CHECK_EQ(madvise(p, 4 * PAGE, MADV_DONTNEED), 0);
		CHECK_EQ(lasting(), 1);
	}
	for (uint64_t i = 0; test_round_is_due(i, rounds); i++) {
		size_t n = 1 + test_rand_below(&r, 8), at = test_rand_below(&r, PAGES - n + 1);

		use_briefly(p + at * PAGE, n);
		CHECK(lasting() <= PAGES);
		if (test_rand_below(&r, 2))
			CHECK_EQ(madvise(p + at * PAGE, n * PAGE, MADV_DONTNEED), 0);
	}
	check_map(p, PAGES);
	mrn_source_give_back(source);
	check_nothing_is_armed(p, PAGES);
	CHECK_EQ(lasting(), 0);
	close_source();
}
