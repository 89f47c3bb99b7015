/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The cache on real memory that other threads change all the time.
 *
 * A file's pages have fixed contents, each page its own number, and what is mapped where is changed by
 * mapping other pages of it. So the contents that a registration noted say which pages it was made of,
 * at every moment, and numbers only go up.
 */
#include "tests/regcache/live.h"

#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

enum { NR_PAGES = 4, NR_GETTERS = 3 };

struct storm {
	struct live l;
	int fd;
	char *at;
	uint64_t floor; /* what is mapped has at least this number, or it is stale */
	uint64_t gets, stale, refused;
	unsigned int rounds;
	bool over;
	struct test_barrier start;
};

/*
 * Maps the pages with this number; raw, where no bracket may be in the way. Atomic for who looks: the
 * old ones or the new ones.
 */
static void map_number(struct storm *s, uint64_t number, bool raw)
{
	const int prot = PROT_READ | PROT_WRITE, flags = MAP_SHARED | MAP_FIXED;
	size_t length = NR_PAGES * mrn_page_size();
	off_t offset = (off_t)(number * length);

	for (unsigned int i = 0; i < NR_PAGES; i++)
		CHECK_EQ(pwrite(s->fd, &number, sizeof(number),
				offset + (off_t)(i * mrn_page_size())),
			 sizeof(number));
	if (raw)
		CHECK_EQ(mrn_sys6(SYS_mmap, (long)s->at, (long)length, prot, flags, s->fd, offset),
			 (long)s->at);
	else
		CHECK(mmap(s->at, length, prot, flags, s->fd, offset) == s->at);
}

static void storm_init(struct storm *s, struct mrn_regcache_opts config)
{
	*s = (struct storm){0};
	live_init(&s->l, config);
	s->fd = memfd_create("storm", MFD_CLOEXEC);
	CHECK(s->fd >= 0);
	CHECK_ERR(ftruncate(s->fd, INT64_C(1) << 40), 0);
	s->at = mmap(NULL, NR_PAGES * mrn_page_size(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		     0);
	CHECK(s->at != MAP_FAILED);
	map_number(s, 1, false);
	s->floor = 1;
}

static bool is_over(const struct storm *s)
{
	return __atomic_load_n(&s->over, __ATOMIC_ACQUIRE);
}

static bool has_met(struct storm *s)
{
	struct mrn_regcache_stats stats = stats_of(s->l.rig.cache);

	return stats.hits && stats.invalidations;
}

static void changer_main(void *arg)
{
	struct storm *s = arg;

	test_barrier_wait(&s->start);
	for (uint64_t number = 2;
	     !is_over(s) && (test_round_is_due(number, s->rounds + 2) || !has_met(s)); number++) {
		/* Every other time behind libc's back, where there is a bracket. */
		map_number(s, number, number % 2);
		__atomic_store_n(&s->floor, number, __ATOMIC_RELEASE);
		if (number % 4 == 0)
			sched_yield();
	}
	__atomic_store_n(&s->over, true, __ATOMIC_RELEASE);
}

static void getter_main(void *arg)
{
	struct storm *s = arg;

	test_barrier_wait(&s->start);
	while (!is_over(s)) {
		uint64_t floor = __atomic_load_n(&s->floor, __ATOMIC_ACQUIRE);
		const struct mrn_regcache_entry *e;
		struct stub_reg *r;
		int error;

		error = mrn_regcache_get(s->l.rig.cache, s->at, NR_PAGES * mrn_page_size(), RD, &e);
		__atomic_add_fetch(&s->gets, 1, __ATOMIC_RELAXED);
		if (error) {
			CHECK_MSG(error == -EAGAIN, "get: %d", error);
			__atomic_add_fetch(&s->refused, 1, __ATOMIC_RELAXED);
			continue;
		}
		accept_entry(&s->l.rig.dev, e, (uintptr_t)s->at, NR_PAGES * mrn_page_size(), RD);
		r = stub_reg(e);
		for (unsigned int i = 0; i < NR_PAGES; i++)
			if (r->generation[i] < floor) {
				__atomic_add_fetch(&s->stale, 1, __ATOMIC_RELAXED);
				__atomic_store_n(&s->over, true, __ATOMIC_RELEASE);
			}
		put(&s->l.rig, e);
	}
}

TEST(remap_storm)
{
	static struct storm s;
	struct test_thread t[NR_GETTERS + 1];
	struct mrn_regcache_stats stats;

	storm_init(&s, (struct mrn_regcache_opts){.max_entries = 16});
	s.l.rig.dev.dawdle = true;
	s.rounds = ROUNDS(10000);
	test_barrier_init(&s.start, NR_GETTERS + 1);
	test_thread(&t[0], changer_main, &s);
	for (unsigned int i = 1; i <= NR_GETTERS; i++)
		test_thread(&t[i], getter_main, &s);
	for (unsigned int i = 0; i <= NR_GETTERS; i++)
		test_join(&t[i]);
	stats = stats_of(s.l.rig.cache);
	NOTE("gets %llu hits %llu retries %llu invalidations %llu use_once %llu "
	     "refused %llu stale %llu",
	     (unsigned long long)s.gets, (unsigned long long)stats.hits,
	     (unsigned long long)stats.retries, (unsigned long long)stats.invalidations,
	     (unsigned long long)stats.use_once, (unsigned long long)s.refused,
	     (unsigned long long)s.stale);
	CHECK_EQ(s.stale, 0);
	CHECK(has_met(&s));
	live_exit(&s.l);
}
TWIN(remap_storm, no_notifier, UNTIL_CAUGHT(BREAK(CACHE_NOTIFIER)));

/* ----------------------------------------------- the moment between the event and its callbacks */

static struct test_gate armed, event_read, go_on;

/* Set before there is a monitor, and does nothing before it is wanted. */
static void stop_monitor(void)
{
	if (!test_gate_is_open(&armed))
		return;
	test_gate_open(&event_read);
	test_gate_wait(&go_on);
}

struct late {
	struct storm *s;
	struct test_gate done;
};

static void late_get(void *arg)
{
	struct late *late = arg;

	live_touch(&late->s->l, late->s->at, NR_PAGES * mrn_page_size(), 2);
	test_gate_open(&late->done);
}

static struct test_gate waits;

static void note_wait(uint64_t seq)
{
	/* The self-test's own waits are not meant. */
	if (test_gate_is_open(&event_read))
		test_gate_open(&waits);
}

/*
 * The monitor has read the event, and so the program goes on; nobody has been told yet. Who looks up
 * the address now must wait, although there is an entry for it that is not dead.
 */
TEST(lookup_between_event_and_callbacks)
{
	static struct storm s;
	struct late late = {.s = &s};
	struct test_thread t;

	mrn_check_uffd_hook = stop_monitor;
	mrn_check_wait_hook = note_wait;
	storm_init(&s, (struct mrn_regcache_opts){.max_entries = 16});
	CHECK_EQ(live_touch(&s.l, s.at, NR_PAGES * mrn_page_size(), 1), 1);
	CHECK_EQ(live_touch(&s.l, s.at, NR_PAGES * mrn_page_size(), 1), 1);
	test_gate_open(&armed);
	map_number(&s, 2, true);
	test_gate_wait(&event_read);
	CHECK(!test_gate_is_open(&waits));
	test_thread(&t, late_get, &late);
	test_gate_wait(&waits);
	CHECK(!test_gate_is_open(&late.done));
	test_gate_open(&go_on);
	test_join(&t);
	CHECK_EQ(s.l.rig.dev.registered, 2);
	live_exit(&s.l);
}
TWIN(lookup_between_event_and_callbacks, no_tokens, BREAK(CACHE_TOKENS));

/* --------------------------------------------------- the moment between the unmap and the event */

struct reuse {
	struct live l;
	char *at;
	size_t length;
	struct test_barrier round;
	bool returned;
	uint64_t early, late;
	unsigned int rounds;
	bool by_name; /* the address is got through libc's mmap */
};

static void unmapper_main(void *arg)
{
	struct reuse *u = arg;

	for (unsigned int i = 0; i < u->rounds; i++) {
		test_barrier_wait(&u->round);
		/* As free does it, past the interposer. */
		CHECK_ERR(mrn_sys2(SYS_munmap, (long)u->at, (long)u->length), 0);
		__atomic_store_n(&u->returned, true, __ATOMIC_RELEASE);
		test_barrier_wait(&u->round);
	}
}

/* One round: gets the address from the kernel as soon as it is to be had. */
static void reuse_once(struct reuse *u, uint64_t number)
{
	const int prot = PROT_READ | PROT_WRITE;
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
	const struct mrn_regcache_entry *e;
	bool returned;

	u->returned = false;
	test_barrier_wait(&u->round);
	if (u->by_name)
		while (mmap(u->at, u->length, prot, flags, -1, 0) != u->at)
			;
	else
		while (mrn_sys6(SYS_mmap, (long)u->at, (long)u->length, prot, flags, -1, 0) !=
		       (long)u->at)
			;
	fill(u->at, u->length, number);
	returned = __atomic_load_n(&u->returned, __ATOMIC_ACQUIRE);
	CHECK_ERR(mrn_regcache_get(u->l.rig.cache, u->at, u->length, RD, &e), 0);
	accept_entry(&u->l.rig.dev, e, (uintptr_t)u->at, u->length, RD);
	if (stub_reg(e)->generation[0] != number)
		(*(returned ? &u->late : &u->early))++;
	put(&u->l.rig, e);
	test_barrier_wait(&u->round);
	/* It is cached for the next round. */
	live_touch(&u->l, u->at, u->length, number);
}

static struct reuse reuse;

static void reuse_many(bool by_name)
{
	struct test_thread t;

	live_init(&reuse.l, (struct mrn_regcache_opts){.max_entries = 16});
	reuse.by_name = by_name;
	reuse.length = NR_PAGES * mrn_page_size();
	reuse.rounds = ROUNDS(2000);
	reuse.at = map(NULL, reuse.length, 1);
	live_touch(&reuse.l, reuse.at, reuse.length, 1);
	test_barrier_init(&reuse.round, 2);
	test_thread(&t, unmapper_main, &reuse);
	for (unsigned int i = 0; i < reuse.rounds; i++)
		reuse_once(&reuse, i + 2);
	test_join(&t);
	NOTE("rounds %u stale before munmap returned %llu, after %llu", reuse.rounds,
	     (unsigned long long)reuse.early, (unsigned long long)reuse.late);
	CHECK_EQ(reuse.late, 0);
}

/*
 * A thread unmaps by a call that only the kernel's event tells of, and another thread is given the
 * same address before that event has been read. The token is promised for when munmap returns: a
 * lookup after that must be right. One before it may find the old entry when the address was got past
 * all wrappers, too (docs/sources.md), and how often that happens is noted.
 */
TEST(reuse_before_munmap_returns)
{
	reuse_many(false);
	live_exit(&reuse.l);
}

/* An address that libc's mmap returns is new: what the cache has there is dead before it returns. */
TEST(reuse_by_mmap_before_munmap_returns)
{
	if (!mrn_interposer_is_present())
		SKIP("no interposer in this program");
	reuse_many(true);
	CHECK_EQ(reuse.early, 0);
	live_exit(&reuse.l);
}

/* The same, once, with the monitor held before it does anything about the event. */
static struct {
	struct test_gate unmapped, go_on;
	char *at;
} held;

static void hold_monitor(void)
{
	test_gate_open(&held.unmapped);
	test_gate_wait(&held.go_on);
}

static void unmap_raw(void *arg)
{
	CHECK_ERR(mrn_sys2(SYS_munmap, (long)held.at, NR_PAGES * (long)mrn_page_size()), 0);
}

TEST(reuse_while_the_event_is_unread)
{
	const size_t length = NR_PAGES * mrn_page_size();
	const struct mrn_regcache_entry *e;
	struct test_thread t;
	uint64_t generation = 2;
	int r;

	LIVE(l);
	if (!l.bracketed)
		SKIP("no interposer in this program");
	held.at = map(NULL, length, 1);
	live_touch(&l, held.at, length, 1);
	mrn_check_uffd_event_hook = hold_monitor;
	test_thread(&t, unmap_raw, NULL);
	test_gate_wait(&held.unmapped);
	CHECK(map(held.at, length, 2) == held.at);
	/* Before Linux 6.7 nothing can be armed while an event is unread; the caller does without. */
	r = mrn_regcache_get(l.rig.cache, held.at, length, RD, &e);
	if (r == 0) {
		accept_entry(&l.rig.dev, e, (uintptr_t)held.at, length, RD);
		generation = stub_reg(e)->generation[0];
		put(&l.rig, e);
	} else {
		CHECK_ERR(r, -EAGAIN);
	}
	mrn_check_uffd_event_hook = NULL;
	test_gate_open(&held.go_on);
	test_join(&t);
	CHECK_EQ(generation, 2);
	CHECK_EQ(munmap(held.at, length), 0);
	live_exit(&l);
}
#ifdef MRN_TEST_INTERPOSED
TWIN(reuse_while_the_event_is_unread, not_taken_for_new, BREAK(BRACKET_FRESH));
#endif
