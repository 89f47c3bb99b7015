/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Other allocators give memory back by madvise, which they call by name: so the interposer brackets it, and nothing is
 * good for one use. The build has one in LD_PRELOAD, told to give back at once, and the libraries as they are installed.
 */
#include <dlfcn.h>
#include <mrn/mrn.h>
#include <stdlib.h>
#include <string.h>

#include "tests/harness/sync.h"
#include "tests/harness/test.h"
#include "tests/no_device.h"

#define BUFFERS 16
#define CHANGES 3000

static struct mrn_regcache *cache;

static void use_buffers(void *arg)
{
	char *buffer[BUFFERS] = {0};
	struct test_rand r;

	test_rand_init(&r, (uintptr_t)arg);
	for (int i = 0; i < CHANGES; i++) {
		uint64_t k = test_rand_below(&r, BUFFERS);
		size_t size = 4096 + test_rand_below(&r, 100000);
		const struct mrn_regcache_entry *entry;

		free(buffer[k]);
		buffer[k] = malloc(size);
		CHECK(buffer[k]);
		memset(buffer[k], 1, size);
		CHECK_ERR(mrn_regcache_get(cache, buffer[k], size, MRN_ACCESS_READ, &entry), 0);
		CHECK_ERR(mrn_regcache_put(entry), 0);
	}
	for (int k = 0; k < BUFFERS; k++)
		free(buffer[k]);
}

TEST(what_an_allocator_gives_back_is_bracketed)
{
	struct mrn_regcache_opts config = {.size = sizeof(config),
					   .mm = mrn_mm_self(),
					   .ops = &no_device_ops};
	struct mrn_source_opts opts = {.size = sizeof(opts)};
	struct mrn_source_stats s;
	struct mrn_regcache_stats stats;
	struct mrn_source *source;
	struct test_thread t[2];
	const unsigned int kinds = MRN_SOURCE_INTERPOSE | MRN_SOURCE_UFFD;
	int r;

	if (!dlsym(RTLD_DEFAULT, "mallctl") && !dlsym(RTLD_DEFAULT, "tc_malloc"))
		SKIP("no other allocator is preloaded");
	r = mrn_source_attach(mrn_mm_self(), kinds, &opts, &source);
	if (r)
		SKIP("no userfaultfd here (%s)", strerror(-r));
	config.source = source;
	CHECK_ERR(mrn_regcache_create(&config, &cache), 0);
	for (unsigned int i = 0; i < 2; i++)
		test_thread(&t[i], use_buffers, (void *)(uintptr_t)i);
	for (unsigned int i = 0; i < 2; i++)
		test_join(&t[i]);
	CHECK_ERR(mrn_source_get_stats(source, &s, sizeof(s)), 0);
	CHECK_ERR(mrn_regcache_get_stats(cache, &stats, sizeof(stats)), 0);
	NOTE("hits %llu misses %llu, invalidated %llu", (unsigned long long)stats.hits,
	     (unsigned long long)stats.misses, (unsigned long long)stats.invalidations);
	CHECK_EQ(s.use_once_bytes, 0);
	CHECK_EQ(stats.use_once, 0);
	/* And it has given back something. */
	CHECK(stats.invalidations > 0);
	CHECK_ERR(mrn_regcache_destroy(cache), 0);
	CHECK_ERR(mrn_source_detach(source), 0);
}
