/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What mrn bench core measures beside the library: a rival that is wrong would prove nothing. Its tree
 * against a plain list of ranges, and its protocol.
 */
#include "bench/baseline/notifier.h"
#include "bench/baseline/rbtree.h"

#include "tests/core/fixture.h"

/* ------------------------------------------------------------------------------------------ the tree */

enum { NODES = 300 };

struct model {
	struct baseline_tree tree;
	struct baseline_node node[NODES];
	bool in[NODES];
	struct test_rand seed;
	uintptr_t span, most; /* starts lie below span; no range is longer than most */
};

static void toggle(struct model *m, unsigned int k)
{
	struct baseline_node *n = &m->node[k];

	if (m->in[k]) {
		baseline_tree_erase(&m->tree, n);
		CHECK(!baseline_node_is_linked(n));
		memset(n, 0xa5, sizeof(*n));
	} else {
		memset(n, 0xa5, sizeof(*n));
		n->start = below(&m->seed, m->span);
		n->end = n->start + 1 + below(&m->seed, m->most);
		baseline_tree_insert(&m->tree, n);
		CHECK(baseline_node_is_linked(n));
	}
	m->in[k] = !m->in[k];
}

/* Each that overlaps once, in order, and none that does not. */
static void walk(struct model *m)
{
	uintptr_t start = below(&m->seed, m->span), end = start + 1 + below(&m->seed, m->most);
	bool met[NODES] = {false};
	uintptr_t last = 0;

	for (struct baseline_node *n = baseline_tree_first(&m->tree, start, end); n;
	     n = baseline_tree_next(n, start, end)) {
		CHECK(n->start >= last && !met[n - m->node]);
		met[n - m->node] = true;
		last = n->start;
	}
	for (int i = 0; i < NODES; i++)
		CHECK_EQ(met[i], m->in[i] && m->node[i].start < end && m->node[i].end > start);
}

static void fuzz(uint64_t stream, uintptr_t span, uintptr_t most, unsigned int rounds)
{
	static struct model m;

	memset(&m, 0, sizeof(m));
	m.seed = rand_stream(stream);
	m.span = span;
	m.most = most;
	CHECK(baseline_tree_is_valid(&m.tree));
	CHECK(!baseline_tree_first(&m.tree, 0, UINTPTR_MAX));
	for (unsigned int i = 0; i < rounds; i++) {
		toggle(&m, below(&m.seed, NODES));
		CHECK(baseline_tree_is_valid(&m.tree));
		walk(&m);
	}
	for (unsigned int k = 0; k < NODES; k++) {
		if (m.in[k])
			toggle(&m, k);
		CHECK(baseline_tree_is_valid(&m.tree));
	}
	CHECK(!m.tree.root);
}

TEST(tree_against_a_plain_list)
{
	fuzz(1, 1000, 50, ROUNDS(10000));
	fuzz(2, 1000, 1000, ROUNDS(4000));   /* nearly everything overlaps */
	fuzz(3, 4, 3, ROUNDS(4000));	     /* nearly every start is equal */
	fuzz(4, 1u << 30, 10, ROUNDS(4000)); /* nearly nothing overlaps */
}

static unsigned int depth(const struct baseline_node *n)
{
	unsigned int left, right;

	if (!n)
		return 0;
	left = depth(n->child[0]);
	right = depth(n->child[1]);
	return 1 + (left > right ? left : right);
}

/* In order and in reverse: the worst cases of a tree without balance. */
TEST(tree_stays_flat)
{
	enum { N = 1 << 14 };
	struct baseline_node *node = calloc(N, sizeof(*node));
	struct baseline_tree tree = {NULL, NULL};

	for (int reverse = 0; reverse < 2; reverse++) {
		for (unsigned int i = 0; i < N; i++) {
			struct baseline_node *n = &node[reverse ? N - 1 - i : i];

			n->start = 10 * (uintptr_t)(n - node);
			n->end = n->start + 15;
			baseline_tree_insert(&tree, n);
		}
		CHECK(baseline_tree_is_valid(&tree));
		/* 2 * log2(N + 1) */
		CHECK(depth(tree.root) <= 28);
		for (unsigned int i = 0; i < N; i += 2)
			baseline_tree_erase(&tree, &node[i]);
		CHECK(baseline_tree_is_valid(&tree));
		for (unsigned int i = 1; i < N; i += 2)
			baseline_tree_erase(&tree, &node[i]);
		CHECK(!tree.root && !tree.first);
	}
	free(node);
}

/* -------------------------------------------------------------------------------------- the protocol */

struct user {
	struct baseline_notifier n;
	unsigned int calls;
	bool refuse;
};

static bool note_call(struct baseline_notifier *n, const struct baseline_range *range,
		      uint64_t cur_seq)
{
	struct user *u = (struct user *)n;

	if (u->refuse && !range->blockable)
		return false;
	baseline_update_seq(n, cur_seq);
	ADD(&u->calls, 1);
	return true;
}

static const struct baseline_ops ops = {.invalidate = note_call};

static struct baseline_mm mm;

/* Over pages [from, to). */
static void insert(struct user *u, unsigned int from, unsigned int to)
{
	memset(u, 0, sizeof(*u));
	u->n.ops = &ops;
	CHECK_EQ(baseline_insert(&u->n, PAGE(from), PAGE(to) - PAGE(from), &mm), 0);
}

static struct baseline_range range_of(unsigned int from, unsigned int to)
{
	return (struct baseline_range){.mm = &mm,
				       .start = PAGE(from),
				       .end = PAGE(to),
				       .blockable = true};
}

static void check_nothing_left(void)
{
	CHECK(mm.lock.next == mm.lock.owner);
	CHECK(!mm.active && !(mm.seq & 1) && !mm.tree.root);
	CHECK(!mm.deferred && !mm.waiters);
	baseline_mm_destroy(&mm);
}

TEST(a_collision_is_seen)
{
	struct baseline_range range = range_of(1, 2), beside = range_of(4, 9);
	struct user u;
	uint64_t seq;

	baseline_mm_init(&mm);
	insert(&u, 1, 3);
	seq = baseline_read_begin(&u.n);
	CHECK(!baseline_read_retry(&u.n, seq));
	CHECK_EQ(baseline_start(&beside), 0);
	CHECK_EQ(baseline_read_begin(&u.n), seq);
	baseline_end(&beside);
	CHECK(!baseline_read_retry(&u.n, seq));
	CHECK_EQ(baseline_start(&range), 0);
	CHECK_EQ(u.calls, 1);
	CHECK(baseline_read_retry(&u.n, seq));
	baseline_end(&range);
	CHECK(baseline_read_retry(&u.n, seq));
	seq = baseline_read_begin(&u.n);
	CHECK(!baseline_read_retry(&u.n, seq));
	baseline_remove(&u.n);
	CHECK_EQ(baseline_start(&range), 0);
	baseline_end(&range);
	CHECK_EQ(u.calls, 1);
	check_nothing_left();
}

static struct user first, second;

static void *begin_second(void *arg)
{
	STORE((int *)arg, my_tid());
	return (void *)(uintptr_t)baseline_read_begin(&second.n);
}

/* It is in the tree when the last invalidation ends; until then its first read waits. */
TEST(an_insert_is_deferred)
{
	struct baseline_range range = range_of(1, 9);
	int tid = 0;
	pthread_t reader;
	void *seq;

	baseline_mm_init(&mm);
	insert(&first, 1, 3);
	CHECK_EQ(baseline_start(&range), 0);
	insert(&second, 2, 4);
	CHECK(!baseline_node_is_linked(&second.n.node));
	reader = go(begin_second, &tid);
	await_sleep(&tid);
	baseline_end(&range);
	CHECK_EQ(pthread_join(reader, &seq), 0);
	CHECK(baseline_node_is_linked(&second.n.node));
	CHECK(!baseline_read_retry(&second.n, (uintptr_t)seq));
	CHECK_EQ(second.calls, 0);
	CHECK_EQ(baseline_start(&range), 0);
	CHECK(baseline_read_retry(&second.n, (uintptr_t)seq));
	baseline_end(&range);
	baseline_remove(&first.n);
	baseline_remove(&second.n);
	check_nothing_left();
}

/* While nobody has been met the tree may change, but the new notifier may have been passed by. */
TEST(an_insert_is_not_deferred_where_none_was_met)
{
	struct baseline_range range = range_of(1, 9);
	int tid = 0;
	pthread_t reader;

	baseline_mm_init(&mm);
	CHECK_EQ(baseline_start(&range), 0);
	insert(&second, 2, 4);
	CHECK(baseline_node_is_linked(&second.n.node));
	reader = go(begin_second, &tid);
	await_sleep(&tid);
	baseline_end(&range);
	done(reader);
	baseline_remove(&second.n);
	check_nothing_left();
}

static void *remove_first(void *arg)
{
	STORE((int *)arg, my_tid());
	baseline_remove(&first.n);
	return NULL;
}

TEST(a_remove_is_deferred)
{
	struct baseline_range range = range_of(1, 9);
	int tid = 0;
	pthread_t remover;

	baseline_mm_init(&mm);
	insert(&first, 1, 3);
	CHECK_EQ(baseline_start(&range), 0);
	remover = go(remove_first, &tid);
	await_sleep(&tid);
	CHECK(baseline_node_is_linked(&first.n.node));
	baseline_end(&range);
	done(remover);
	CHECK_EQ(first.calls, 1);
	check_nothing_left();
}

/* The one has not reached the tree: it need not wait to leave it. */
TEST(a_deferred_insert_is_taken_back)
{
	struct baseline_range range = range_of(1, 9);
	struct user third;

	baseline_mm_init(&mm);
	insert(&first, 1, 3);
	CHECK_EQ(baseline_start(&range), 0);
	insert(&second, 2, 4);
	insert(&third, 2, 4);
	baseline_remove(&second.n);
	baseline_end(&range);
	CHECK(!baseline_node_is_linked(&second.n.node));
	baseline_remove(&first.n);
	baseline_remove(&third.n);
	check_nothing_left();
}

TEST(a_refusal_ends_what_was_started)
{
	struct baseline_range range = range_of(1, 9);

	baseline_mm_init(&mm);
	insert(&first, 1, 3);
	insert(&second, 2, 4);
	second.refuse = true;
	range.blockable = false;
	CHECK_ERR(baseline_start(&range), -EAGAIN);
	CHECK_EQ(first.calls, 1);
	CHECK_EQ(mm.active, 0);
	baseline_remove(&first.n);
	baseline_remove(&second.n);
	check_nothing_left();
}

TEST(bad_ranges_are_refused)
{
	struct user u = {.n.ops = &ops};

	baseline_mm_init(&mm);
	CHECK_ERR(baseline_insert(&u.n, PAGE(1), 0, &mm), -EINVAL);
	CHECK_ERR(baseline_insert(&u.n, UINTPTR_MAX - 1, 3, &mm), -EOVERFLOW);
	check_nothing_left();
}

/* ------------------------------------------------------------------------- the protocol, by a model */

enum { USERS = 24, OPEN = 3, PAGES = 40 };

/* What the rules at the top of bench/baseline/notifier.c say, in plain words. */
struct rules {
	struct user user[USERS];
	enum { OUT, QUEUED, IN } where[USERS];
	/* A read of it would wait: it was called, or inserted beside an invalidation, in this period. */
	bool busy[USERS];
	unsigned int calls[USERS];
	struct baseline_range open[OPEN];
	bool is_open[OPEN];
	unsigned int active;
	bool odd;
	struct test_rand seed;
};

static void change_user(struct rules *r, unsigned int k)
{
	struct user *u = &r->user[k];
	unsigned int from;

	if (r->where[k] == OUT) {
		from = 1 + below(&r->seed, PAGES);
		insert(u, from, from + 1 + below(&r->seed, PAGES / 2));
		r->calls[k] = 0;
		r->where[k] = r->odd ? QUEUED : IN;
		r->busy[k] = r->active;
		r->odd |= r->active > 0;
	} else if (r->where[k] == QUEUED || !r->odd) {
		/* One that is in would wait for the invalidations of this very thread. */
		baseline_remove(&u->n);
		r->where[k] = OUT;
	}
}

static void change_range(struct rules *r, unsigned int i)
{
	struct baseline_range *range = &r->open[i];
	unsigned int from = 1 + below(&r->seed, PAGES);

	if (r->is_open[i]) {
		baseline_end(range);
		if (!--r->active && r->odd) {
			r->odd = false;
			for (int k = 0; k < USERS; k++) {
				r->busy[k] = false;
				if (r->where[k] == QUEUED)
					r->where[k] = IN;
			}
		}
	} else {
		*range = range_of(from, from + 1 + below(&r->seed, 4));
		for (int k = 0; k < USERS; k++) {
			const struct baseline_node *n = &r->user[k].n.node;

			if (r->where[k] != IN || n->start >= range->end || n->end <= range->start)
				continue;
			r->calls[k]++;
			r->busy[k] = r->odd = true;
		}
		r->active++;
		CHECK_EQ(baseline_start(range), 0);
	}
	r->is_open[i] = !r->is_open[i];
}

static void check_rules(struct rules *r)
{
	CHECK_EQ(mm.active, r->active);
	CHECK_EQ(mm.seq & 1, r->odd);
	CHECK(baseline_tree_is_valid(&mm.tree));
	for (int k = 0; k < USERS; k++) {
		struct baseline_notifier *n = &r->user[k].n;

		if (r->where[k] == OUT)
			continue;
		CHECK_EQ(r->user[k].calls, r->calls[k]);
		CHECK_EQ(baseline_node_is_linked(&n->node), r->where[k] == IN);
		CHECK_EQ(n->seq == mm.seq, r->busy[k]);
		if (!r->busy[k])
			CHECK(!baseline_read_retry(n, baseline_read_begin(n)));
	}
}

TEST(the_protocol_against_a_model)
{
	static struct rules r;

	baseline_mm_init(&mm);
	r.seed = rand_stream(5);
	for (int i = 0; i < ROUNDS(100000); i++) {
		if (below(&r.seed, 2))
			change_user(&r, below(&r.seed, USERS));
		else
			change_range(&r, below(&r.seed, OPEN));
		check_rules(&r);
	}
	for (unsigned int i = 0; i < OPEN; i++)
		if (r.is_open[i])
			change_range(&r, i);
	for (unsigned int k = 0; k < USERS; k++)
		if (r.where[k] != OUT)
			change_user(&r, k);
	check_nothing_left();
}

/* ------------------------------------------------------------------------------------- all at once */

enum { THREADS = 4, OWN = 8 };

static bool stop;

/* Invalidates, and inserts and removes and reads notifiers of its own. */
static void *mix(void *arg)
{
	struct test_rand seed = rand_stream((uintptr_t)arg);
	static struct user all[THREADS][OWN];
	struct user *own = all[(uintptr_t)arg];

	while (!LOAD(&stop)) {
		unsigned int at = below(&seed, 60);
		struct baseline_range range = range_of(at + 1, at + 4);

		for (int i = 0; i < OWN; i++)
			insert(&own[i], 1 + below(&seed, 60), 64);
		CHECK_EQ(baseline_start(&range), 0);
		baseline_end(&range);
		for (int i = 0; i < OWN; i++) {
			baseline_read_begin(&own[i].n);
			baseline_remove(&own[i].n);
		}
	}
	return NULL;
}

TEST(changes_in_many_threads)
{
	pthread_t thread[THREADS];

	baseline_mm_init(&mm);
	for (uintptr_t i = 0; i < THREADS; i++)
		thread[i] = go(mix, (void *)i);
	test_sleep_ms(500);
	STORE(&stop, true);
	for (int i = 0; i < THREADS; i++)
		done(thread[i]);
	check_nothing_left();
}

/* ------------------------------------------------------------------------------ reads and invalidations */

/* A notifier whose shadow is the generation of its memory, which every invalidation changes. */
static struct storm {
	struct baseline_notifier n;
	pthread_mutex_t lock; /* the driver's */
	uint64_t shadow;      /* under lock; 0: none */
	uint64_t generation;  /* changes between start and end only */
	bool no_retry;	      /* twin */
	/* figures */
	uint64_t published, collided, invalidated;
} storm = {.lock = PTHREAD_MUTEX_INITIALIZER, .generation = 1};

static bool tear_down(struct baseline_notifier *n, const struct baseline_range *range,
		      uint64_t cur_seq)
{
	pthread_mutex_lock(&storm.lock);
	baseline_update_seq(n, cur_seq);
	storm.shadow = 0;
	pthread_mutex_unlock(&storm.lock);
	return true;
}

static void *read_in_storm(void *arg)
{
	while (!LOAD(&stop)) {
		uint64_t seq = baseline_read_begin(&storm.n), read = LOAD(&storm.generation);
		bool good;

		/* So that something can happen in between. */
		if (read % 4 == 0)
			sched_yield();
		pthread_mutex_lock(&storm.lock);
		good = storm.no_retry || !baseline_read_retry(&storm.n, seq);
		if (good) {
			/* Nothing may have changed since. */
			CHECK_EQ(read, LOAD(&storm.generation));
			storm.shadow = read;
			storm.published++;
		} else {
			storm.collided++;
		}
		pthread_mutex_unlock(&storm.lock);
	}
	return NULL;
}

static void *invalidate_in_storm(void *arg)
{
	while (!LOAD(&stop)) {
		struct baseline_range range = range_of(2, 3);

		CHECK_EQ(baseline_start(&range), 0);
		pthread_mutex_lock(&storm.lock);
		CHECK_EQ(storm.shadow, 0);
		pthread_mutex_unlock(&storm.lock);
		ADD(&storm.generation, 1);
		pthread_mutex_lock(&storm.lock);
		CHECK_EQ(storm.shadow, 0);
		pthread_mutex_unlock(&storm.lock);
		baseline_end(&range);
		storm.invalidated++;
		/* So that somebody has the time to read. */
		if (storm.invalidated % 8 == 0)
			sched_yield();
	}
	return NULL;
}

/* Elsewhere, so that seq is odd for longer, and inserts and removes are deferred. */
static void *change_in_storm(void *arg)
{
	static struct user near;

	while (!LOAD(&stop)) {
		insert(&near, 5, 9);
		baseline_read_begin(&near.n);
		baseline_remove(&near.n);
	}
	return NULL;
}

TEST(reads_in_a_storm)
{
	static const struct baseline_ops tearing = {.invalidate = tear_down};
	pthread_t thread[4];

	baseline_mm_init(&mm);
	storm.n.ops = &tearing;
	CHECK_EQ(baseline_insert(&storm.n, PAGE(1), PAGE(4) - PAGE(1), &mm), 0);
	thread[0] = go(invalidate_in_storm, NULL);
	thread[1] = go(change_in_storm, NULL);
	thread[2] = go(read_in_storm, NULL);
	thread[3] = go(read_in_storm, NULL);
	test_sleep_ms(1000);
	STORE(&stop, true);
	for (int i = 0; i < 4; i++)
		done(thread[i]);
	NOTE("invalidations %ju, shadows %ju, collisions %ju", (uintmax_t)storm.invalidated,
	     (uintmax_t)storm.published, (uintmax_t)storm.collided);
	CHECK(storm.published && storm.invalidated && storm.collided);
	baseline_remove(&storm.n);
	check_nothing_left();
}
TWIN(reads_in_a_storm, no_retry, storm.no_retry = true);
