/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Transfers by registrations of libmrn-fabric, with providers that have no cache of their own. These copy by address, so
 * a stale registration still gives the right bytes; but keys are numbered, and a stale one is older than its memory.
 */
#include <stdlib.h>

#include "adapters/fork.h"
#include "tests/fabric/fixture.h"

#define LENGTH 65536

static void fill(char *p, size_t length, unsigned int salt)
{
	for (size_t i = 0; i < length; i++)
		p[i] = (char)((i * 31 + i / 4096 * 7 + salt) & 0xff);
}

static void moves(const char *provider)
{
	static char want[LENGTH];
	struct mrn_fabric_share *share;
	struct fixture f;
	char *here, *there;

	fixture_open(&f, provider, 0);
	here = fixture_map(LENGTH, 0);
	there = fixture_map(LENGTH, 0);
	for (unsigned int i = 0; i < 5; i++) {
		size_t offset = i * 1234, length = LENGTH - offset - 77 * i;

		CHECK_ERR(mrn_fabric_mr_share(f.there.f, there + offset, length,
					      MRN_ACCESS_READ | MRN_ACCESS_WRITE, NULL, &share),
			  0);
		fill(here, LENGTH, i);
		fill(want, LENGTH, i);
		memset(there, 'x', LENGTH);
		CHECK_ERR(fixture_write(&f, here, length, share->remote_addr, share->key), 0);
		CHECK(!memcmp(there + offset, want, length));
		/* And not a byte beside it. */
		for (size_t j = 0; j < offset; j++)
			CHECK_EQ(there[j], 'x');
		for (size_t j = offset + length; j < LENGTH; j++)
			CHECK_EQ(there[j], 'x');
		memset(here, 'y', LENGTH);
		CHECK_ERR(fixture_read(&f, here, length, share->remote_addr, share->key), 0);
		CHECK(!memcmp(here, want, length));
		for (size_t j = length; j < LENGTH; j++)
			CHECK_EQ(here[j], 'y');
		CHECK_ERR(mrn_fabric_mr_unshare(share), 0);
	}
	fixture_close(&f);
}

TEST(rxm_moves_the_right_bytes)
{
	moves("tcp;ofi_rxm");
}

TEST(sockets_moves_the_right_bytes)
{
	moves("sockets");
}

TEST(net_moves_the_right_bytes)
{
	if (TEST_ASAN)
		SKIP("libfabric 1.17 loses some of net's memory when it is closed");
	moves("net");
}

/* ------------------------------------------------------------------------------------------- keys */

static uint64_t key_of(struct fixture *f, const char *p)
{
	struct mrn_fabric_mr *mr;
	uint64_t key;

	CHECK_ERR(mrn_fabric_mr_get(f->there.f, p, LENGTH, MRN_ACCESS_READ, &mr), 0);
	key = mrn_fabric_mr_key(mr);
	CHECK_ERR(mrn_fabric_mr_put(mr), 0);
	return key;
}

TEST(other_memory_has_another_key)
{
	struct fixture f;
	uint64_t key;
	char *p;

	fixture_open(&f, "tcp;ofi_rxm", 0);
	p = fixture_map(LENGTH, 'a');
	key = key_of(&f, p);
	CHECK_EQ(key_of(&f, p), key);
	fixture_remap(p, LENGTH, 'b');
	CHECK(key_of(&f, p) > key);
	fixture_close(&f);
}

TWIN(other_memory_has_another_key, no_notifier, BREAK_OPEN(CACHE_NOTIFIER));
TWIN(other_memory_has_another_key, keys_again, BREAK_OPEN(FABRIC_MR_KEYS));

/* The program has registered memory by the number that would be next. */
TEST(a_key_of_the_program_s_is_passed_over)
{
	struct fixture f;
	struct fid_mr *own[3];
	uint64_t key;
	char *p, *q;

	fixture_open(&f, "tcp;ofi_rxm", 0);
	p = fixture_map(LENGTH, 'a');
	q = fixture_map(LENGTH, 'b');
	key = key_of(&f, p);
	for (uint64_t i = 0; i < 3; i++)
		CHECK_ERR(fi_mr_reg(f.there.domain, p, LENGTH, FI_WRITE, 0, key + 1 + i, 0, &own[i],
				    NULL),
			  0);
	CHECK_EQ(key_of(&f, q), key + 4);
	for (int i = 0; i < 3; i++)
		CHECK_ERR(fi_close(&own[i]->fid), 0);
	fixture_close(&f);
}

TEST(limits_and_input)
{
	struct mrn_fabric_mr *a, *b;
	struct mrn_fabric_share *share;
	struct fixture f;
	char *p;

	fixture_open(&f, "tcp;ofi_rxm", 1);
	p = fixture_map(2 * LENGTH, 'a');
	CHECK_ERR(mrn_fabric_mr_get(f.there.f, p, LENGTH, MRN_ACCESS_READ, &a), 0);
	CHECK_ERR(mrn_fabric_mr_get(f.there.f, p + LENGTH, LENGTH, MRN_ACCESS_READ, &b), -ENOSPC);
	CHECK(!b);
	CHECK_ERR(mrn_fabric_destroy(f.there.f), -EBUSY);
	CHECK_ERR(mrn_fabric_mr_put(a), 0);
	CHECK_ERR(mrn_fabric_mr_get(f.there.f, p + LENGTH, LENGTH, MRN_ACCESS_READ, &b), 0);
	CHECK_ERR(mrn_fabric_mr_put(b), 0);
	CHECK_ERR(mrn_fabric_mr_get(f.there.f, p, 0, MRN_ACCESS_READ, &a), -EINVAL);
	CHECK_ERR(mrn_fabric_mr_share(f.there.f, p, 0, MRN_ACCESS_READ, NULL, &share), -EINVAL);
	/* This one gives peers no rights. */
	CHECK_ERR(mrn_fabric_mr_share(f.here.f, p, 1, MRN_ACCESS_READ, NULL, &share), -EACCES);
	fixture_close(&f);
}

/* ------------------------------------------------------------------------------------------- fork */

static int fork_status = MRN_FORK_UNNEEDED;

/* In front of libibverbs'. */
int ibv_is_fork_initialized(void);
int ibv_is_fork_initialized(void)
{
	return fork_status;
}

static int create_over(struct fixture *f, const char *provider)
{
	char why[256] = "", *name = f->here.info->fabric_attr->prov_name;
	struct mrn_fabric_opts opts = {
		.size = sizeof(opts),
		.source = f->source,
		.why = why,
		.why_size = sizeof(why),
	};
	struct mrn_fabric *other;
	int r;

	f->here.info->fabric_attr->prov_name = (char *)(uintptr_t)provider;
	r = mrn_fabric_create(f->here.domain, f->here.info, &opts, &other);
	f->here.info->fabric_attr->prov_name = name;
	if (r)
		CHECK_MSG(strstr(why, "ibv_fork_init"), "%s", why);
	else
		CHECK_ERR(mrn_fabric_destroy(other), 0);
	return r;
}

/* As in tests/verbs/lifetime.c; only a provider that registers with libibverbs is concerned. */
TEST(create_refuses_what_fork_init_does)
{
	struct fixture f;

	fixture_open(&f, "tcp;ofi_rxm", 0);
	fork_status = MRN_FORK_ENABLED;
	CHECK_ERR(create_over(&f, "verbs;ofi_rxm"), -EOPNOTSUPP);
	CHECK_ERR(create_over(&f, "efa"), -EOPNOTSUPP);
	CHECK_ERR(create_over(&f, "tcp;ofi_rxm"), 0);
	/* Whoever forks on such a kernel knows. */
	fork_status = MRN_FORK_DISABLED;
	CHECK_ERR(create_over(&f, "verbs"), 0);
	fixture_close(&f);
}

TWIN(create_refuses_what_fork_init_does, no_look, BREAK_OPEN(FABRIC_MR_FORK_INIT));

/* ------------------------------------------------------------------------------------------ storm */

#define THREADS 3
#define OWN	4 /* ranges of each thread */

static struct storm {
	struct fixture f;
	uint64_t changes, kept;
} storm;

static void change(char **p, unsigned int how)
{
	switch (how) {
	case 0:
		CHECK_EQ(madvise(*p, LENGTH, MADV_DONTNEED), 0);
		break;
	case 1:
		CHECK(mmap(*p, LENGTH, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == *p);
		break;
	default:
		/* The thread's own page there is free only until another thread maps one: so no NOREPLACE. */
		CHECK_EQ(munmap(*p, LENGTH), 0);
		*p = mmap(*p, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK(*p != MAP_FAILED);
	}
	memset(*p, 1, LENGTH);
	__atomic_fetch_add(&storm.changes, 1, __ATOMIC_RELAXED);
}

/* The newest key of p is older than what is mapped at p now. */
static void storm_thread(void *arg)
{
	uint64_t newest[OWN] = {0}, least[OWN] = {0}, key, kept = 0;
	struct test_rand rand;
	char *p[OWN];

	test_rand_init(&rand, (uintptr_t)arg);
	for (int i = 0; i < OWN; i++)
		p[i] = fixture_map(LENGTH, 1);
	for (uint64_t n = 0; test_round_is_due(n, test_is_sanitized() ? 500 : 5000); n++) {
		unsigned int i = (unsigned int)test_rand_below(&rand, OWN);

		if (!test_rand_below(&rand, 3)) {
			change(&p[i], (unsigned int)test_rand_below(&rand, 3));
			least[i] = newest[i] + 1;
		}
		key = key_of(&storm.f, p[i]);
		CHECK_MSG(key >= least[i], "stale: key %ju, round %ju", (uintmax_t)key,
			  (uintmax_t)n);
		kept += key == newest[i];
		if (key > newest[i])
			newest[i] = key;
	}
	__atomic_fetch_add(&storm.kept, kept, __ATOMIC_RELAXED);
}

TEST(storm)
{
	struct test_thread threads[THREADS];

	fixture_open(&storm.f, "tcp;ofi_rxm", 0);
	for (int i = 0; i < THREADS; i++)
		test_thread(&threads[i], storm_thread, (void *)(uintptr_t)i);
	for (int i = 0; i < THREADS; i++)
		test_join(&threads[i]);
	NOTE("changes %ju, kept %ju, stale 0", (uintmax_t)storm.changes, (uintmax_t)storm.kept);
	CHECK(storm.kept > 0);
	fixture_close(&storm.f);
}

TWIN(storm, no_notifier, BREAK_OPEN(CACHE_NOTIFIER));
