/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A program that was compiled with the headers of an earlier version, of this one and of a later one (versions.py), with
 * this version's libraries: structures that grow are taken as the caller has them, and nothing beyond them is written.
 */
#include <errno.h>
#include <fcntl.h>
#include <mrn/mrn.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef WITH_UCX
#include <mrn/ucx.h>
#endif
#ifdef WITH_URING
#include <mrn/io_uring.h>
#endif
#ifdef WITH_VERBS
#include <mrn/verbs.h>
#endif

#include "tests/harness/test.h"

#ifdef LATER
#define IS_LATER	true
#define SET_LATER(opts) ((opts).later = 1)
#else
#define IS_LATER	false
#define SET_LATER(opts) ((void)(opts))
#endif

static int register_range(void *ctx, struct mrn_regcache_entry *entry)
{
	return 0;
}

static void deregister_range(void *ctx, struct mrn_regcache_entry *entry)
{
}

static const struct mrn_regcache_ops ops = {register_range, deregister_range};

/* What stands behind a structure is not the library's. */
#define GUARDED(type)                \
	struct {                     \
		struct type s;       \
		unsigned char after; \
	}

#define AFTER 0xa5

/* Tries options as they are, with what a later version alone knows, and without their size. */
#define TRY_OPTS(opts, make, end)                                       \
	do {                                                            \
		char why[128] = "";                                     \
                                                                        \
		(opts).size = sizeof(opts);                             \
		(opts).why = why;                                       \
		(opts).why_size = sizeof(why);                          \
		CHECK_ERR(make, 0);                                     \
		CHECK_ERR(end, 0);                                      \
		SET_LATER(opts);                                        \
		if (IS_LATER) {                                         \
			CHECK_ERR(make, -E2BIG);                        \
			CHECK_MSG(strstr(why, "lacks"), "\"%s\"", why); \
		}                                                       \
		why[0] = '\0';                                          \
		(opts).size = 0;                                        \
		CHECK_ERR(make, -EINVAL);                               \
		CHECK_MSG(strstr(why, ".size"), "\"%s\"", why);         \
		(opts).size = 1;                                        \
		CHECK_ERR(make, -EINVAL);                               \
	} while (0)

#define TRY_STATS(g, call)                                                                       \
	do {                                                                                     \
		memset(&(g), AFTER, sizeof(g));                                                  \
		CHECK_ERR(call(&(g).s, sizeof((g).s)), 0);                                       \
		for (const unsigned char *p = &(g).after; p < (unsigned char *)&(g) + sizeof(g); \
		     p++)                                                                        \
			CHECK_EQ(*p, AFTER);                                                     \
	} while (0)

#define GET(stats, size) mrn_regcache_get_stats(cache, stats, size)

TEST(cache_of_any_version)
{
	struct mrn_regcache_opts opts = {.ops = &ops};
	GUARDED(mrn_regcache_stats) g;
	struct mrn_regcache *cache;

	CHECK_ERR(mrn_mm_create(&opts.mm), 0);
	TRY_OPTS(opts, mrn_regcache_create(&opts, &cache), mrn_regcache_destroy(cache));
	opts = (struct mrn_regcache_opts){.size = sizeof(opts), .mm = opts.mm, .ops = &ops};
	CHECK_ERR(mrn_regcache_create(&opts, &cache), 0);
	TRY_STATS(g, GET);
	CHECK_EQ(g.s.bytes_pinned, 0);
	CHECK_EQ(g.s.invalidations_by[MRN_MAX_CAUSES - 1], 0);
#ifdef LATER
	CHECK_EQ(g.s.later, 0);
#endif
	CHECK_ERR(GET(&g.s, 0), -EINVAL);
	/* Nor is anything read or written that is no structure at all. */
	memset(&opts, 'A', sizeof(opts));
	CHECK_ERR(mrn_regcache_create(&opts, &cache), -EINVAL);
	CHECK_ERR(mrn_regcache_destroy(cache), 0);
}

static int cover(const struct mrn_source *source, struct mrn_coverage *coverage, size_t size)
{
	return mrn_source_coverage_sized(source, coverage, size) ? 0 : -ENOTCONN;
}

#undef GET
#define GET(coverage, size) cover(source, coverage, size)

TEST(source_of_any_version)
{
	struct mrn_source_opts opts = {.need = MRN_COVER_UFFD};
	struct mrn_source *source;
	GUARDED(mrn_coverage) g;

	if (mrn_source_attach(mrn_mm_self(), MRN_SOURCE_AUTO, NULL, &source))
		SKIP("no source here");
	TRY_STATS(g, GET);
	CHECK((g.s.bracketed | g.s.before_return) & MRN_CAUSE_BIT(MRN_CAUSE_MUNMAP));
	CHECK_ERR(mrn_source_detach(source), 0);
	TRY_OPTS(opts, mrn_source_attach(mrn_mm_self(), MRN_SOURCE_AUTO, &opts, &source),
		 mrn_source_detach(source));
}

#undef GET
#define GET(stats, size) mrn_hmm_get_stats(hmm, stats, size)

TEST(managed_memory_of_any_version)
{
	struct mrn_hmm_opts opts = {.frames = 4};
	GUARDED(mrn_hmm_stats) g;
	struct mrn_hmm *hmm;
	int ends[2];

	if (mrn_hmm_create(NULL, &hmm))
		SKIP("no managed memory here");
	TRY_STATS(g, GET);
	CHECK_ERR(mrn_hmm_destroy(hmm), 0);
	TRY_OPTS(opts, mrn_hmm_create(&opts, &hmm), mrn_hmm_destroy(hmm));
	/* What is no file, or cannot be one that pages are read from. */
	opts = (struct mrn_hmm_opts){.size = sizeof(opts), .frames = 4, .backing_fd = 999};
	CHECK_ERR(mrn_hmm_create(&opts, &hmm), -EBADF);
	CHECK_EQ(pipe(ends), 0);
	opts.backing_fd = ends[0];
	CHECK_ERR(mrn_hmm_create(&opts, &hmm), -EBADF);
	opts.backing_fd = memfd_create("backing", 0);
	CHECK_EQ(fcntl(opts.backing_fd, F_SETFL, O_APPEND), 0);
	CHECK_ERR(mrn_hmm_create(&opts, &hmm), -EBADF);
}

#ifdef WITH_UCX
TEST(ucx_of_any_version)
{
	char why[256] = "";
	struct mrn_ucx_opts opts = {
		.size = sizeof(opts),
		.kinds = MRN_SOURCE_UFFD,
		.why = why,
		.why_size = sizeof(why),
	};
	GUARDED(mrn_ucx_stats) stats = {.after = AFTER};

	CHECK_ERR(mrn_ucx_install(&opts), -EINVAL);
	CHECK_MSG(strstr(why, "armed"), "%s", why);
	SET_LATER(opts);
	CHECK_ERR(mrn_ucx_install(&opts), IS_LATER ? -E2BIG : -EINVAL);
	CHECK_ERR(mrn_ucx_get_stats(&stats.s, sizeof(stats.s)), 0);
	CHECK_EQ(stats.after, AFTER);
}
#endif

#ifdef WITH_URING
TEST(ring_of_any_version)
{
	struct mrn_source_opts for_source = {.size = sizeof(for_source), .need = MRN_COVER_UFFD};
	struct mrn_uring_opts opts = {.need = MRN_COVER_UFFD, .slots = 4};
	struct mrn_uring *u;
	struct io_uring ring;

	if (io_uring_queue_init(4, &ring, 0))
		SKIP("no io_uring here");
	if (mrn_source_attach(mrn_mm_self(), MRN_SOURCE_AUTO, &for_source, &opts.source))
		SKIP("no source here");
	TRY_OPTS(opts, mrn_uring_create(&ring, &opts, &u), mrn_uring_destroy(u));
	CHECK_ERR(mrn_source_detach(opts.source), 0);
	io_uring_queue_exit(&ring);
}
#endif

#ifdef WITH_VERBS
TEST(device_of_any_version)
{
	struct mrn_source_opts for_source = {.size = sizeof(for_source), .need = MRN_COVER_UFFD};
	struct mrn_verbs_opts opts = {.need = MRN_COVER_UFFD, .regions = 4};
	struct ibv_device **list = ibv_get_device_list(NULL);
	struct ibv_context *context = ibv_open_device(list[0]);
	struct ibv_pd *pd = ibv_alloc_pd(context);
	struct ibv_mr *mr = ibv_reg_mr(pd, &opts, 1, 0);
	struct mrn_verbs *v;

	ibv_free_device_list(list);
	if (!mr)
		SKIP("nothing can be pinned here");
	CHECK_ERR(ibv_dereg_mr(mr), 0);
	if (mrn_source_attach(mrn_mm_self(), MRN_SOURCE_AUTO, &for_source, &opts.source))
		SKIP("no source here");
	TRY_OPTS(opts, mrn_verbs_create(pd, &opts, &v), mrn_verbs_destroy(v));
	CHECK_ERR(mrn_source_detach(opts.source), 0);
	CHECK_ERR(ibv_dealloc_pd(pd), 0);
	CHECK_ERR(ibv_close_device(context), 0);
}
#endif
