/* SPDX-License-Identifier: BSD-3-Clause */
/* Keys that a peer has: how their owner hears that the memory has gone, and what the keys are good for then. */
#include <poll.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/kernel.h"
#include "tests/fabric/fixture.h"

#define LENGTH 65536
#define BOTH   (MRN_ACCESS_READ | MRN_ACCESS_WRITE)

static struct mrn_fabric_share *share_of(struct fixture *f, const char *p, void *ctx)
{
	struct mrn_fabric_share *share;

	CHECK_ERR(mrn_fabric_mr_share(f->there.f, p, LENGTH, BOTH, ctx, &share), 0);
	return share;
}

static bool fd_is_ready(struct fixture *f)
{
	struct pollfd fd = {.fd = mrn_fabric_expired_fd(f->there.f), .events = POLLIN};

	return poll(&fd, 1, 0) == 1;
}

TEST(the_owner_is_told_once)
{
	struct mrn_fabric_share *a, *b;
	struct fixture f;
	char *p, *q;

	fixture_open(&f, "tcp;ofi_rxm", 0);
	p = fixture_map(LENGTH, 'a');
	q = fixture_map(LENGTH, 'b');
	a = share_of(&f, p, p);
	b = share_of(&f, q, q);
	CHECK(!mrn_fabric_mr_next_expired(f.there.f));
	CHECK(!fd_is_ready(&f));
	fixture_remap(p, LENGTH, 'c');
	CHECK(fd_is_ready(&f));
	CHECK(mrn_fabric_mr_next_expired(f.there.f) == a);
	CHECK(a->ctx == p);
	CHECK(!mrn_fabric_mr_next_expired(f.there.f));
	CHECK(!fd_is_ready(&f));
	/* Both of two at one time. */
	fixture_remap(q, LENGTH, 'd');
	CHECK_ERR(mrn_fabric_mr_unshare(a), 0);
	a = share_of(&f, p, p);
	fixture_remap(p, LENGTH, 'e');
	CHECK(mrn_fabric_mr_next_expired(f.there.f) == a);
	CHECK(mrn_fabric_mr_next_expired(f.there.f) == b);
	CHECK(!mrn_fabric_mr_next_expired(f.there.f));
	CHECK_ERR(mrn_fabric_mr_unshare(a), 0);
	CHECK_ERR(mrn_fabric_mr_unshare(b), 0);
	fixture_close(&f);
}

TWIN(the_owner_is_told_once, nobody_tells, BREAK_OPEN(FABRIC_MR_TELL));

/* The peer has the old key until unshare, is refused after it, and has the new memory by the new one. */
static void old_and_new(const char *provider)
{
	struct mrn_fabric_share *old, *new;
	struct mrn_regcache_stats stats;
	uint64_t key, addr;
	struct fixture f;
	char *here, *there;

	fixture_open(&f, provider, 0);
	here = fixture_map(LENGTH, 'h');
	there = fixture_map(LENGTH, 't');
	old = share_of(&f, there, NULL);
	key = old->key;
	addr = old->remote_addr;
	CHECK_ERR(fixture_write(&f, here, LENGTH, addr, key), 0);
	CHECK_EQ(there[LENGTH - 1], 'h');

	fixture_remap(there, LENGTH, 'n');
	CHECK(mrn_fabric_mr_next_expired(f.there.f) == old);
	/* In use, and so not closed. */
	CHECK_ERR(mrn_fabric_get_stats(f.there.f, &stats, sizeof(stats)), 0);
	CHECK_EQ(stats.deregistrations, 0);
	new = share_of(&f, there, NULL);
	CHECK(new->key > key);
	CHECK_ERR(mrn_fabric_mr_unshare(old), 0);
	CHECK_ERR(mrn_fabric_get_stats(f.there.f, &stats, sizeof(stats)), 0);
	CHECK_EQ(stats.deregistrations, 1);

	CHECK_ERR(fixture_read(&f, here, LENGTH, new->remote_addr, new->key), 0);
	CHECK_EQ(here[0], 'n');
	memset(here, 'z', LENGTH);
	/* A write may complete before it has arrived. The read comes after it, and is answered. */
	fixture_write(&f, here, LENGTH, addr, key);
	CHECK(fixture_read(&f, here, LENGTH, addr, key) < 0);
	CHECK_EQ(there[0], 'n');
	CHECK_EQ(there[LENGTH - 1], 'n');
	CHECK_ERR(mrn_fabric_mr_unshare(new), 0);
	fixture_close(&f);
}

TEST(sockets_refuses_the_old_key)
{
	old_and_new("sockets");
}

TEST(rxm_refuses_the_old_key)
{
	old_and_new("tcp;ofi_rxm");
}

TWIN(rxm_refuses_the_old_key, no_notifier, BREAK_OPEN(CACHE_NOTIFIER));
TWIN(rxm_refuses_the_old_key, keys_again, BREAK_OPEN(FABRIC_MR_KEYS));

/* ------------------------------------------------------------------------------------------ races */

static char *raced;

static void change_once(void)
{
	char *p = raced;

	raced = NULL;
	if (p)
		fixture_remap(p, LENGTH, 'r');
}

/* The memory changes when it has been registered, and before it is shared. */
TEST(a_change_while_sharing)
{
	struct mrn_fabric_share *share;
	struct mrn_regcache_stats stats;
	struct fixture f;
	char *p;

	fixture_open(&f, "tcp;ofi_rxm", 0);
	p = raced = fixture_map(LENGTH, 'a');
	atomic_store(&mrn_check_fabric_sharing_hook, change_once);
	share = share_of(&f, p, NULL);
	CHECK_ERR(mrn_fabric_get_stats(f.there.f, &stats, sizeof(stats)), 0);
	/* The first one is closed, and its key given to nobody. */
	CHECK_EQ(stats.registrations, 2);
	CHECK_EQ(stats.deregistrations, 1);
	CHECK(!mrn_fabric_mr_next_expired(f.there.f));
	CHECK_ERR(mrn_fabric_mr_unshare(share), 0);
	fixture_close(&f);
}

TWIN(a_change_while_sharing, overlooked, BREAK_OPEN(FABRIC_MR_LATE));

/* The kernel copies pinned pages for the child (Linux 5.12): the parent's stay. */
TEST(a_fork_expires_nothing)
{
	struct mrn_fabric_share *share;
	struct fixture f;
	pid_t pid;
	int status;
	char *p;

	if (!mrn_kernel_is_at_least(5, 12))
		SKIP("this kernel copies the parent's pages");
	fixture_open(&f, "tcp;ofi_rxm", 0);
	p = fixture_map(LENGTH, 'a');
	share = share_of(&f, p, NULL);
	pid = fork();
	if (!pid)
		_exit(mrn_fabric_mr_next_expired(f.there.f) != NULL);
	CHECK_EQ(waitpid(pid, NULL, 0), pid);
	CHECK(!mrn_fabric_mr_next_expired(f.there.f));
	CHECK(!fd_is_ready(&f));
	/* A child does not take what its parent is to be told. */
	fixture_remap(p, LENGTH, 'b');
	pid = fork();
	if (!pid)
		_exit(mrn_fabric_mr_next_expired(f.there.f) != NULL);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	CHECK(fd_is_ready(&f));
	CHECK(mrn_fabric_mr_next_expired(f.there.f) == share);
	CHECK_ERR(mrn_fabric_mr_unshare(share), 0);
	fixture_close(&f);
}

TWIN(a_fork_expires_nothing, as_any_change, BREAK_OPEN(FABRIC_MR_FORK));

/* The source goes: from then on nobody would be told, so everything has expired. */
TEST(detach_expires)
{
	struct mrn_fabric_share *share;
	struct fixture f;

	fixture_open(&f, "tcp;ofi_rxm", 0);
	share = share_of(&f, fixture_map(LENGTH, 'a'), NULL);
	CHECK_ERR(mrn_source_detach(f.source), 0);
	CHECK(mrn_fabric_mr_next_expired(f.there.f) == share);
	CHECK_ERR(mrn_fabric_mr_unshare(share), 0);
	fixture_close_sides(&f);
}

/* ------------------------------------------------------------------------------------------ storm */

#define SHARES 8

static struct storm {
	struct fixture f;
	char *p[SHARES];
	uint64_t changed[SHARES]; /* how often, noted after each change */
	uint64_t changes;
	uint32_t over;
} storm;

static void storm_changer(void *arg)
{
	struct test_rand rand;

	test_rand_init(&rand, (uintptr_t)arg);
	while (!__atomic_load_n(&storm.over, __ATOMIC_RELAXED)) {
		unsigned int i =
			(unsigned int)(test_rand_below(&rand, SHARES / 2) * 2 + (uintptr_t)arg);

		if (test_rand_below(&rand, 2))
			CHECK_EQ(madvise(storm.p[i], LENGTH, MADV_DONTNEED), 0);
		else
			CHECK(mmap(storm.p[i], LENGTH, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == storm.p[i]);
		__atomic_fetch_add(&storm.changed[i], 1, __ATOMIC_RELEASE);
		__atomic_fetch_add(&storm.changes, 1, __ATOMIC_RELAXED);
		sched_yield();
	}
}

/* Shares anew what has expired. A change is overlooked if a share that is older than it never expires. */
TEST(storm)
{
	struct mrn_fabric_share *share[SHARES], *s;
	uint64_t before[SHARES], expired = 0;
	struct test_thread threads[2];

	fixture_open(&storm.f, "tcp;ofi_rxm", 0);
	for (uintptr_t i = 0; i < SHARES; i++) {
		storm.p[i] = fixture_map(LENGTH, 1);
		before[i] = 0;
		share[i] = share_of(&storm.f, storm.p[i], (void *)i);
	}
	for (uintptr_t i = 0; i < 2; i++)
		test_thread(&threads[i], storm_changer, (void *)i);
	while (test_round_is_due(__atomic_load_n(&storm.changes, __ATOMIC_RELAXED), 2000)) {
		uintptr_t i;

		s = mrn_fabric_mr_next_expired(storm.f.there.f);
		if (!s)
			continue;
		i = (uintptr_t)s->ctx;
		CHECK(s == share[i]);
		CHECK_ERR(mrn_fabric_mr_unshare(s), 0);
		share[i] = share_of(&storm.f, storm.p[i], (void *)i);
		before[i] = __atomic_load_n(&storm.changed[i], __ATOMIC_ACQUIRE);
		expired++;
	}
	__atomic_store_n(&storm.over, 1, __ATOMIC_RELAXED);
	for (int i = 0; i < 2; i++)
		test_join(&threads[i]);
	while ((s = mrn_fabric_mr_next_expired(storm.f.there.f))) {
		share[(uintptr_t)s->ctx] = NULL;
		CHECK_ERR(mrn_fabric_mr_unshare(s), 0);
	}
	for (int i = 0; i < SHARES; i++) {
		if (!share[i])
			continue;
		/* At most one change may have been in progress when it was shared, which counted it afterwards. */
		CHECK(storm.changed[i] <= before[i] + 1);
		CHECK_ERR(mrn_fabric_mr_unshare(share[i]), 0);
	}
	NOTE("expired %ju", (uintmax_t)expired);
	CHECK(expired > 0);
	fixture_close(&storm.f);
}

TWIN(storm, nobody_tells, BREAK_OPEN(FABRIC_MR_TELL));
