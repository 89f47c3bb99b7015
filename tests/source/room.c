/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Arming splits mappings, of which a process may have so many. Half of them are left to the program: what does
 * not fit is good for one use, until there is room again.
 */
#include <errno.h>
#include <fcntl.h>
#include <mrn/mrn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "source/uffd/check.h"
#include "tests/harness/test.h"
#include "tests/no_device.h"

/* Pages, each apart from the next; and room for half of them, at two mappings each. */
enum { ISLANDS = 400, ROOM = ISLANDS };

static struct mrn_source *source;
static struct mrn_regcache *cache;
static unsigned int limit;
static bool without_limit;

static unsigned int nr_mappings(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	unsigned int n = 0;
	int c;

	CHECK(f);
	while ((c = getc(f)) != EOF)
		n += c == '\n';
	fclose(f);
	return n;
}

/* As on a system with twice as many mappings as this process has and ROOM. */
static void set_limit(void)
{
	if (test_is_sanitized())
		SKIP("a sanitizer maps what it likes");
	limit = nr_mappings() + ROOM;
	if (!without_limit)
		mrn_check_max_mappings = 2 * limit;
}

static void open_cache(uint64_t need)
{
	struct mrn_regcache_opts config = {
		.size = sizeof(config),
		.mm = mrn_mm_self(),
		.need = need,
		.ops = &no_device_ops,
		.max_entries = 2 * ISLANDS,
	};
	char why[256] = "";
	struct mrn_source_opts opts = {.size = sizeof(opts), .why = why, .why_size = sizeof(why)};
	int r;

	r = mrn_source_attach(config.mm, MRN_SOURCE_UFFD, &opts, &source);
	if (r)
		SKIP("no userfaultfd here: %s", why);
	config.source = source;
	CHECK_ERR(mrn_regcache_create(&config, &cache), 0);
}

static void close_cache(void)
{
	CHECK_ERR(mrn_regcache_destroy(cache), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}

static char *map_islands(void)
{
	size_t length = (size_t)ISLANDS * 2 * (size_t)sysconf(_SC_PAGESIZE);
	char *p = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	memset(p, 1, length);
	return p;
}

static char *island(char *p, unsigned int i)
{
	return p + (size_t)i * 2 * (size_t)sysconf(_SC_PAGESIZE);
}

static struct mrn_regcache_stats use(char *p, unsigned int n)
{
	const struct mrn_regcache_entry *entry;
	struct mrn_regcache_stats s;

	for (unsigned int i = 0; i < n; i++) {
		CHECK_ERR(mrn_regcache_get(cache, island(p, i), 1, MRN_ACCESS_READ, &entry), 0);
		CHECK_ERR(mrn_regcache_put(entry), 0);
	}
	CHECK_ERR(mrn_regcache_get_stats(cache, &s, sizeof(s)), 0);
	return s;
}

TEST(half_of_all_mappings_are_the_programs)
{
	struct mrn_regcache_stats s, t;
	char *p;

	set_limit();
	open_cache(MRN_COVER_UFFD);
	p = map_islands();
	s = use(p, ISLANDS);
	NOTE("mappings %u of %u, kept %llu, used once %llu", nr_mappings(), limit,
	     (unsigned long long)s.entries, (unsigned long long)s.use_once);
	CHECK(nr_mappings() <= limit + 8);
	CHECK_EQ(s.failures, 0);
	CHECK_EQ(s.entries + s.use_once, ISLANDS);
	CHECK_EQ(s.use_once_full, s.use_once);
	CHECK(s.entries >= ISLANDS / 4 && s.use_once >= ISLANDS / 4);
	/* What is armed is kept; the rest is registered each time. */
	t = use(p, ISLANDS);
	CHECK_EQ(t.hits, s.entries);
	CHECK_EQ(t.use_once, 2 * s.use_once);
	CHECK(nr_mappings() <= limit + 8);

	/* What is disarmed makes room for others. */
	CHECK_ERR(mrn_regcache_flush(cache), 0);
	CHECK(nr_mappings() <= limit - ROOM / 2);
	p = map_islands();
	t = use(p, 10);
	CHECK_EQ(t.entries, 10);
	CHECK_EQ(use(p, 10).hits, t.hits + 10);
	close_cache();
}

TWIN(half_of_all_mappings_are_the_programs, no_limit, without_limit = true);

/* Where there is no /proc, there is nobody to count the program's own; but there is an end. */
TEST(room_without_proc)
{
	char empty[] = "/tmp/mrn-room-XXXXXX";
	int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct mrn_regcache_stats s;
	bool gone;

	set_limit();
	CHECK(root >= 0 && mkdtemp(empty));
	gone = chroot(empty) == 0;
	CHECK_EQ(unlinkat(root, empty + 1, AT_REMOVEDIR), 0);
	close(root);
	if (!gone)
		SKIP("may not change the root");
	open_cache(MRN_COVER_UFFD);
	s = use(map_islands(), ISLANDS);
	CHECK(s.entries >= limit / 4 && s.entries <= limit / 2);
	CHECK_EQ(s.use_once_full, ISLANDS - s.entries);
	close_cache();
}

TWIN(room_without_proc, no_limit, without_limit = true);

/* The program's own are counted, too: it may have taken all of them. */
TEST(nothing_is_armed_in_a_crowd)
{
	struct mrn_regcache_stats s;
	char *own, *p;

	set_limit();
	open_cache(MRN_COVER_UFFD);
	own = map_islands();
	for (unsigned int i = 0; i < ISLANDS; i++)
		CHECK_EQ(mprotect(island(own, i), 1, PROT_READ), 0);
	CHECK(nr_mappings() > limit);
	p = map_islands();
	s = use(p, 20);
	CHECK_EQ(s.entries, 0);
	CHECK_EQ(s.use_once_full, 20);

	/* And may give them back, of which nobody tells. */
	CHECK_EQ(munmap(own, (size_t)(island(own, ISLANDS) - own)), 0);
	for (unsigned int i = 0; i < limit; i++)
		s = use(p, 1);
	CHECK_EQ(s.entries, 1);
	CHECK(s.use_once_full < limit);
	close_cache();
}

TWIN(nothing_is_armed_in_a_crowd, no_limit, without_limit = true);

static void hold_each(char *p)
{
	const struct mrn_regcache_entry *entry;
	struct mrn_regcache_stats s;

	for (unsigned int i = 0; i < ISLANDS; i++)
		CHECK_ERR(mrn_regcache_get(cache, island(p, i), 1, MRN_ACCESS_READ, &entry), 0);
	CHECK_ERR(mrn_regcache_get_stats(cache, &s, sizeof(s)), 0);
	NOTE("mappings %u of %u, used once %llu, for want of room %llu", nr_mappings(), limit,
	     (unsigned long long)s.use_once, (unsigned long long)s.use_once_full);
	CHECK_EQ(s.use_once, ISLANDS);
	CHECK(nr_mappings() <= limit + 8);
}

/* What is armed and good for one use all the same splits mappings, too, for as long as it is in use. */
TEST(files_that_are_armed_take_room)
{
	size_t length = (size_t)ISLANDS * 2 * (size_t)sysconf(_SC_PAGESIZE);
	char name[] = "/var/tmp/mrn-room-XXXXXX", *p;
	int fd = mkstemp(name);

	CHECK(fd >= 0);
	CHECK_EQ(unlink(name), 0);
	CHECK_EQ(ftruncate(fd, (off_t)length), 0);
	p = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(p != MAP_FAILED);
	set_limit();
	open_cache(MRN_COVER_UFFD | MRN_COVER_PAGE_CACHE);
	if (mrn_source_arm(source, (uintptr_t)p, 1, MRN_COVER_PAGE_CACHE) != MRN_USE_ONCE)
		SKIP("no disk behind /var/tmp");
	hold_each(p);
}

TWIN(files_that_are_armed_take_room, no_limit, without_limit = true);
