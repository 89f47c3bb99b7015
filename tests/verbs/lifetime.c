/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Opening, closing, forking; what the device refuses, and what is full: clear errors, and nothing left behind.
 */
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "tests/verbs/fixture.h"

/* --------------------------------------------------------------------------------- open and close */

TEST(create_refuses_what_it_cannot_do)
{
	struct mrn_verbs_opts good = {.size = sizeof(good)}, bad;
	struct mrn_verbs *v;
	struct fixture f;
	char why[256];

	fixture_open_device(&f);
	CHECK_ERR(mrn_verbs_create(f.pair.pd, NULL, &v), -EINVAL);
	CHECK_ERR(mrn_verbs_create(f.pair.pd, &good, &v), -EINVAL);
	good.source = f.source;
	CHECK_ERR(mrn_verbs_create(NULL, &good, &v), -EINVAL);
	CHECK_ERR(mrn_verbs_create(f.pair.pd, &good, NULL), -EINVAL);
	bad = good;
	bad.size = sizeof(bad) - 1;
	CHECK_ERR(fixture_create(&f, bad, why, sizeof(why)), -EINVAL);
	bad = good;
	bad.regions = 1u << 30;
	CHECK_ERR(fixture_create(&f, bad, why, sizeof(why)), -EINVAL);
	CHECK(strstr(why, "4000"));
	bad = good;
	bad.access = IBV_ACCESS_REMOTE_READ | IBV_ACCESS_ON_DEMAND;
	CHECK_ERR(fixture_create(&f, bad, why, sizeof(why)), -EINVAL);
	CHECK(strstr(why, "0x40"));
	bad = good;
	bad.flags = 1u << 31;
	CHECK_ERR(fixture_create(&f, bad, why, sizeof(why)), -EINVAL);
	bad = good;
	bad.need = MRN_CAUSE_BIT(MRN_CAUSE_UNKNOWN);
	CHECK_ERR(fixture_create(&f, bad, why, sizeof(why)), -EOPNOTSUPP);
	CHECK(*why);
	good.access = FIXTURE_REMOTES | IBV_ACCESS_REMOTE_ATOMIC | IBV_ACCESS_RELAXED_ORDERING;
	CHECK_ERR(fixture_create(&f, good, why, sizeof(why)), 0);
	CHECK_EQ(fixture_peek(&f, fixture_map(4096, 'A')), 'A');
	fixture_close(&f);
}

/* libibverbs counts regions by address, and a dead region may outlive its memory. */
TEST(create_refuses_what_fork_init_does)
{
	struct mrn_verbs_opts opts = {.size = sizeof(opts)};
	struct fixture f;
	char why[256];

	fixture_open_device(&f);
	break_now(&fixture_break);
	verbs_device_opts.fork = IBV_FORK_ENABLED;
	CHECK_ERR(fixture_create(&f, opts, why, sizeof(why)), -EOPNOTSUPP);
	CHECK(strstr(why, "ibv_fork_init"));
	CHECK_EQ(verbs_device_live(), 1);
	verbs_device_opts.fork = IBV_FORK_DISABLED;
	CHECK_ERR(fixture_create(&f, opts, why, sizeof(why)), 0);
	fixture_close(&f);
}

TWIN(create_refuses_what_fork_init_does, no_look, BREAK_OPEN(VERBS_FORK));

TEST(create_says_that_the_limit_is_too_small)
{
	struct rlimit limit = {.rlim_cur = 65536, .rlim_max = 65536};
	struct mrn_verbs_opts opts = {.size = sizeof(opts)};
	struct fixture f;
	char why[256];

	fixture_open_device(&f);
	CHECK_EQ(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
	verbs_device_opts.fail_nth = 1;
	CHECK_ERR(fixture_create(&f, opts, why, sizeof(why)), -ENOMEM);
	CHECK(strstr(why, "RLIMIT_MEMLOCK"));
	CHECK(strstr(why, "65536"));
	verbs_device_opts.fail_nth = 1;
	verbs_device_opts.fail_errno = EPERM;
	CHECK_ERR(fixture_create(&f, opts, why, sizeof(why)), -EPERM);
	CHECK(strstr(why, strerror(EPERM)));
	CHECK_ERR(fixture_create(&f, opts, why, sizeof(why)), 0);
	fixture_close(&f);
}

TEST(destroy_waits_for_nobody)
{
	struct mrn_verbs_mr *mr;
	struct fixture f;
	char *p;

	fixture_open(&f, 0);
	p = fixture_map(4096, 'A');
	CHECK_ERR(mrn_verbs_get(f.v, p, 4096, MRN_ACCESS_READ, &mr), 0);
	CHECK_ERR(mrn_verbs_destroy(f.v), -EBUSY);
	/* Nothing has happened. */
	CHECK_EQ(fixture_peek(&f, p), 'A');
	CHECK_EQ(fixture_stats(&f).deregistrations, 0);
	CHECK_ERR(mrn_verbs_put(mr), 0);
	fixture_close(&f);
}

/* ------------------------------------------------------------------------------------------ limits */

TEST(no_more_regions_than_asked_for)
{
	enum { REGIONS = 4 };
	struct mrn_verbs_opts opts = {.size = sizeof(opts), .regions = REGIONS};
	struct mrn_verbs_mr *held[REGIONS], *one_more;
	struct ibv_sge sge = {.lkey = 77};
	struct fixture f;
	char why[256], *p[REGIONS + 1];

	fixture_open_device(&f);
	CHECK_ERR(fixture_create(&f, opts, why, sizeof(why)), 0);
	for (int i = 0; i <= REGIONS; i++)
		p[i] = fixture_map(4096, (char)('a' + i));
	/* One after the other: what is idle makes room. */
	for (int i = 0; i <= REGIONS; i++)
		CHECK_EQ(fixture_peek(&f, p[i]), 'a' + i);
	CHECK_EQ(fixture_stats(&f).evictions, 1);
	for (int i = 0; i < REGIONS; i++)
		CHECK_ERR(mrn_verbs_get(f.v, p[i], 4096, MRN_ACCESS_READ, &held[i]), 0);
	CHECK_ERR(mrn_verbs_prep_sge(f.v, &sge, p[REGIONS], 1, MRN_ACCESS_READ, &one_more),
		  -ENOSPC);
	CHECK(!one_more);
	CHECK_EQ(sge.lkey, 77);
	for (int i = 0; i < REGIONS; i++)
		CHECK_ERR(mrn_verbs_put(held[i]), 0);
	fixture_close(&f);
}

TEST(memory_over_the_limit_evicts_and_then_fails)
{
	struct mrn_verbs_mr *mr;
	struct fixture f;
	char *p, *q;

	fixture_open(&f, 0);
	p = fixture_map(4096, 'A');
	q = fixture_map(4096, 'B');
	CHECK_EQ(fixture_peek(&f, p), 'A');
	verbs_device_opts.fail_nth = 1;
	CHECK_EQ(fixture_peek(&f, q), 'B');
	CHECK_EQ(fixture_stats(&f).evictions, 1);
	CHECK_ERR(mrn_verbs_flush(f.v), 0);
	verbs_device_opts.fail_nth = 1;
	CHECK_ERR(mrn_verbs_get(f.v, q, 1, MRN_ACCESS_READ, &mr), -ENOMEM);
	CHECK(!mr);
	CHECK(strstr(mrn_verbs_explain(-ENOMEM), "RLIMIT_MEMLOCK"));
	CHECK_EQ(fixture_stats(&f).entries, 0);
	CHECK_EQ(verbs_device_live(), 1);
	fixture_close(&f);
}

TEST(calls_that_make_no_sense)
{
	struct mrn_verbs_mr *mr;
	struct ibv_sge sge;
	struct fixture f;
	char *p;

	fixture_open(&f, 0);
	p = fixture_map(4096, 'A');
	CHECK_ERR(mrn_verbs_get(f.v, p, 0, MRN_ACCESS_READ, &mr), -EINVAL);
	CHECK_ERR(mrn_verbs_get(f.v, p, 4096, 0, &mr), -EINVAL);
	CHECK_ERR(mrn_verbs_get(f.v, p, SIZE_MAX, MRN_ACCESS_READ, &mr), -EOVERFLOW);
	CHECK_ERR(mrn_verbs_get(f.v, NULL, 4096, MRN_ACCESS_READ, &mr), -EFAULT);
	/* More than the device has for one region. */
	CHECK_ERR(mrn_verbs_get(f.v, p, ((size_t)1 << 30) + 1, MRN_ACCESS_READ, &mr), -EINVAL);
	CHECK_ERR(mrn_verbs_get(NULL, p, 1, MRN_ACCESS_READ, &mr), -EINVAL);
	CHECK_ERR(mrn_verbs_get(f.v, p, 1, MRN_ACCESS_READ, NULL), -EINVAL);
	CHECK_ERR(mrn_verbs_prep_sge(f.v, NULL, p, 1, MRN_ACCESS_READ, &mr), -EINVAL);
	CHECK_ERR(mrn_verbs_prep_sge(f.v, &sge, p, (size_t)1 << 32, MRN_ACCESS_READ, &mr), -EINVAL);
	CHECK(!mr);
	CHECK_ERR(mrn_verbs_put(NULL), -EINVAL);
	CHECK_ERR(mrn_verbs_flush(NULL), -EINVAL);
	CHECK_ERR(mrn_verbs_destroy(NULL), -EINVAL);
	CHECK_ERR(mrn_verbs_get_stats(NULL, NULL, 1), -EINVAL);
	CHECK_EQ(verbs_device_live(), 1);
	fixture_close(&f);
}

/* ------------------------------------------------------------------------------------------- stuck */

TEST(a_region_that_is_not_deregistered_is_tried_again)
{
	struct fixture f;
	char *p, *q;

	fixture_open(&f, 0);
	p = fixture_map(4096, 'A');
	q = fixture_map(4096, 'Q');
	CHECK_EQ(fixture_peek(&f, p), 'A');
	verbs_device_opts.refuse_dereg = 1;
	CHECK_ERR(mrn_verbs_flush(f.v), 0);
	CHECK_EQ(mrn_verbs_stuck(f.v), 1);
	CHECK_EQ(verbs_device_live(), 2);
	/* The next registration. */
	CHECK_EQ(fixture_peek(&f, q), 'Q');
	CHECK_EQ(mrn_verbs_stuck(f.v), 0);
	CHECK_EQ(verbs_device_live(), 2);
	/* And destroy, more than once. */
	verbs_device_opts.refuse_dereg = 2;
	CHECK_ERR(mrn_verbs_destroy(f.v), -EBUSY);
	CHECK_EQ(mrn_verbs_stuck(f.v), 1);
	CHECK_ERR(mrn_verbs_destroy(f.v), 0);
	CHECK_EQ(verbs_device_live(), 1);
}

TWIN(a_region_that_is_not_deregistered_is_tried_again, counts_as_gone,
     BREAK_OPEN(REGISTRATIONS_STUCK));

/* ------------------------------------------------------------------------------------------- fork */

/* Exits with 0 when all is refused that would touch the parent's regions. */
static void child(struct fixture *f, struct mrn_verbs_mr *held, const char *p)
{
	struct mrn_regcache_stats stats;
	struct mrn_verbs_mr *mr;
	unsigned int live = verbs_device_live();

	CHECK_ERR(mrn_verbs_get(f->v, p, 4096, MRN_ACCESS_READ, &mr), -ESTALE);
	CHECK_ERR(mrn_verbs_put(held), -ESTALE);
	CHECK_ERR(mrn_verbs_flush(f->v), -ESTALE);
	CHECK_ERR(mrn_verbs_get_stats(f->v, &stats, sizeof(stats)), -ESTALE);
	CHECK_ERR(mrn_verbs_destroy(f->v), 0);
	CHECK_EQ(verbs_device_live(), live);
	_exit(0);
}

TEST(a_child_leaves_its_parents_regions_alone)
{
	struct mrn_verbs_mr *held;
	struct fixture f;
	char *p, *q;
	int status;
	pid_t pid;

	fixture_open(&f, 0);
	p = fixture_map(4096, 'A');
	q = fixture_map(4096, 'Q');
	CHECK_EQ(fixture_peek(&f, p), 'A');
	CHECK_ERR(mrn_verbs_get(f.v, q, 4096, MRN_ACCESS_READ, &held), 0);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid)
		child(&f, held, p);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);

	/* Both registrations are there still, and good. */
	memset(p, 'B', 4096);
	memset(q, 'R', 4096);
	CHECK_EQ(fixture_peek(&f, p), 'B');
	CHECK_EQ(fixture_peek(&f, q), 'R');
	CHECK_EQ(fixture_stats(&f).registrations, 2);
	CHECK_ERR(mrn_verbs_put(held), 0);
	fixture_close(&f);
}

/* ---------------------------------------------------------------------------------------- explain */

TEST(each_error_has_its_sentence)
{
	static const int errors[] = {0,	      -ENOMEM,	-ENOSPC, -EFAULT,   -EINVAL, -EOVERFLOW,
				     -EAGAIN, -EDEADLK, -ESTALE, -ENOTCONN, -EBUSY,  -EIO};
	enum { NR = sizeof(errors) / sizeof(errors[0]) };

	for (int i = 0; i < NR; i++) {
		const char *sentence = mrn_verbs_explain(errors[i]);

		CHECK(sentence && *sentence);
		CHECK(sentence == mrn_verbs_explain(-errors[i]));
		for (int j = 0; j < i; j++)
			CHECK(strcmp(sentence, mrn_verbs_explain(errors[j])) != 0);
	}
	/* One that it does not know. */
	CHECK(mrn_verbs_explain(-4095) == mrn_verbs_explain(-EIO));
}
