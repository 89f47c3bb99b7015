/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A child after fork: it has copies of its parent's notifiers and mms, is told that they are not
 * its own, and gets an mm of its own. The parent notices nothing.
 */
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "index/check.h"
#include "os/peek.h"
#include "tests/core/fixture.h"

extern char **environ;

static int wait_for(pid_t child)
{
	int status;

	CHECK(child > 0);
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK_MSG(WIFEXITED(status), "the child died of signal %d", WTERMSIG(status));
	return WEXITSTATUS(status);
}

/* Runs fn in a child. A check that fails there ends the child with another status than 0. */
static void in_child(void (*fn)(void *arg), void *arg)
{
	pid_t child = fork();

	CHECK(child >= 0);
	if (!child) {
		fn(arg);
		_exit(0);
	}
	CHECK_EQ(wait_for(child), 0);
}

static void ignore_free(struct mmu_range_notifier *mrn)
{
	(void)mrn;
	FAIL("freed in the child");
}

static int listener_start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)mn;
	(void)range;
	return 0;
}

static struct mmu_notifier *listener_alloc(struct mrn_mm *mm)
{
	(void)mm;
	return calloc(1, sizeof(struct mmu_notifier));
}

static void listener_free(struct mmu_notifier *mn)
{
	free(mn);
}

static const struct mmu_notifier_ops listener_ops = {
	.invalidate_range_start = listener_start,
	.alloc_notifier = listener_alloc,
	.free_notifier = listener_free,
};

struct family {
	struct mrn_mm *mm; /* the parent's */
	struct consumer c, c2, c3;
	struct mmu_notifier mn, fresh;
	struct mmu_notifier *got;
	struct mmu_notifier_range in_progress; /* of the parent, at the time of the fork */
	uint64_t seq;			       /* of c, before the fork */
};

static void child_is_told(void *arg)
{
	struct family *f = arg;
	struct timespec limit = from_now(100);
	struct mmu_notifier_range r = pages(f->mm, 4, 5);
	struct mmu_notifier *got = NULL;
	struct mrn_mm *own;
	uint64_t seq = 77;

	/* Reading. The deadline is the twin's, which waits for a token that nobody will end. */
	CHECK_ERR(mrn_range_read_begin_until(&f->c.mrn, &limit, &seq), -ESTALE);
	CHECK_EQ(seq, 77);
	seq = mmu_range_read_begin(&f->c.mrn);
	CHECK_EQ(seq, 0);
	CHECK(!consumer_publish(&f->c, seq));

	/* Announcing. */
	CHECK_ERR(mmu_notifier_invalidate_range_start(&r), -ESTALE);
	CHECK_ERR(mmu_notifier_invalidate_range_start_nonblock(&r), -ESTALE);
	end(&r);
	end(&f->in_progress);
	CHECK_EQ(f->c.calls, 1);

	/* Changing. */
	CHECK_ERR(mmu_range_notifier_insert(&f->c3.mrn, PAGE(1), PAGE(1), f->mm), -ESTALE);
	CHECK_ERR(mmu_notifier_register(&f->fresh, f->mm), -ESTALE);
	CHECK_ERR(mmu_notifier_get(&listener_ops, f->mm, &got), -ESTALE);
	CHECK_ERR(mmu_notifier_put(f->got), -ESTALE);
	CHECK_ERR(mmu_notifier_synchronize(f->mm), -ESTALE);
	if (f->mm != mrn_mm_self())
		CHECK_ERR(mrn_mm_destroy(f->mm), -ESTALE);

	/* Taking back: told once, and from then on not inserted. */
	CHECK_ERR(mmu_range_notifier_remove(&f->c.mrn), -ESTALE);
	CHECK_ERR(mmu_range_notifier_remove(&f->c.mrn), -ENOENT);
	CHECK_ERR(mrn_range_read_begin_until(&f->c.mrn, NULL, &seq), -ENOENT);
	CHECK_ERR(mrn_range_notifier_remove_async(&f->c2.mrn, ignore_free), -ESTALE);
	CHECK_ERR(mrn_range_notifier_remove_async(&f->c2.mrn, ignore_free), -ENOENT);
	CHECK_ERR(mmu_notifier_unregister(&f->mn, f->mm), -ESTALE);
	CHECK_ERR(mmu_notifier_unregister(&f->mn, f->mm), -ENOENT);

	/* A fresh one of its own, where copies can be inserted. */
	own = mrn_mm_self();
	CHECK(own && own != f->mm);
	CHECK(own == mrn_mm_self());
	check_idle(own);
	CHECK(!own->index.root && !own->list);
	consumer_insert(&f->c, own, 4, 8);
	/* One that was not taken back can be inserted just so. */
	consumer_insert(&f->c3, own, 4, 8);
	/* What was read before the fork is of another insertion. */
	CHECK(!consumer_would_pass(&f->c, f->seq));
	CHECK_ERR(mmu_notifier_register(&f->mn, own), 0);
	start_and_end(own, 4, 5);
	CHECK_EQ(f->c.calls, 2);
	consumer_check_works(&f->c);
	consumer_remove(&f->c);
	consumer_remove(&f->c3);
	CHECK_ERR(mmu_notifier_unregister(&f->mn, own), 0);
	check_idle(own);
}

struct holder {
	struct mmu_notifier_range *range;
	struct test_gate started, stop;
};

static void *hold(void *arg)
{
	struct holder *h = arg;

	start(h->range);
	test_gate_open(&h->started);
	test_gate_wait(&h->stop);
	end(h->range);
	return NULL;
}

/* With an invalidation in progress in another thread at the time of the fork. */
static void parent_forks(struct mrn_mm *mm)
{
	struct family f = {.mm = mm, .mn.ops = &listener_ops, .fresh.ops = &listener_ops};
	struct holder h = {.range = &f.in_progress};
	uint64_t seq;
	pthread_t t;

	consumer_init(&f.c);
	consumer_init(&f.c2);
	consumer_init(&f.c3);
	consumer_insert(&f.c, mm, 4, 8);
	consumer_insert(&f.c2, mm, 40, 80);
	CHECK_ERR(mmu_notifier_register(&f.mn, mm), 0);
	CHECK_ERR(mmu_notifier_get(&listener_ops, mm, &f.got), 0);
	f.seq = mmu_range_read_begin(&f.c.mrn);
	f.in_progress = pages(mm, 4, 5);
	t = go(hold, &h);
	test_gate_wait(&h.started);

	in_child(child_is_told, &f);

	/* Undisturbed. */
	CHECK_EQ(f.c.calls, 1);
	CHECK(mrn_tokens_overlap(mm, PAGE(4), PAGE(5)));
	CHECK_ERR(mmu_range_notifier_insert(&f.c.mrn, PAGE(1), PAGE(1), mm), -EBUSY);
	test_gate_open(&h.stop);
	done(t);
	seq = mmu_range_read_begin(&f.c.mrn);
	start_and_end(mm, 4, 5);
	CHECK(!consumer_publish(&f.c, seq));
	consumer_check_works(&f.c);
	consumer_remove(&f.c);
	consumer_remove(&f.c2);
	CHECK_ERR(mmu_notifier_unregister(&f.mn, mm), 0);
	CHECK_ERR(mmu_notifier_put(f.got), 0);
	CHECK_ERR(mmu_notifier_synchronize(mm), 0);
	check_idle(mm);
}

TEST(fork_child_of_a_parent_with_its_own_mm)
{
	CHECK(mrn_mm_self() == mrn_mm_self());
	CHECK_ERR(mrn_mm_destroy(mrn_mm_self()), -EINVAL);
	parent_forks(mrn_mm_self());
}
TWIN(fork_child_of_a_parent_with_its_own_mm, mm_stays, BREAK(FORK_WIPE));

TEST(fork_child_of_a_parent_with_a_made_mm)
{
	struct mrn_mm *mm = new_mm();

	parent_forks(mm);
	destroy_idle(mm);
}
TWIN(fork_child_of_a_parent_with_a_made_mm, mm_stays, BREAK(FORK_WIPE));

/* Children of children: each has its own. */
static void generation(void *arg)
{
	struct consumer *c = arg;
	struct mrn_mm *before = c->mrn.mm;
	uint64_t seq;

	CHECK_ERR(mrn_range_read_begin_until(&c->mrn, NULL, &seq), -ESTALE);
	/* A copy may be inserted without taking it back first. */
	consumer_insert(c, mrn_mm_self(), 4, 8);
	CHECK(c->mrn.mm != before);
	start_and_end(mrn_mm_self(), 4, 5);
	CHECK_EQ(c->last.mm, c->mrn.mm);
	c->arg = (char *)c->arg + 1;
	if ((uintptr_t)c->arg < 4)
		in_child(generation, c);
	consumer_check_works(c);
	consumer_remove(c);
	check_idle(mrn_mm_self());
}

TEST(fork_grandchildren)
{
	struct consumer c;

	consumer_init(&c);
	consumer_insert(&c, mrn_mm_self(), 4, 8);
	in_child(generation, &c);
	consumer_check_works(&c);
	consumer_remove(&c);
}

/* Forks in the middle of a storm: whatever the other threads were doing, the child can go on. */
struct storm {
	struct mrn_mm *mm;
	struct consumer *c;
	bool over;
};

static void *storm_run(void *arg)
{
	struct storm *s = arg;
	struct consumer c;

	consumer_init(&c);
	while (!LOAD(&s->over)) {
		consumer_insert(&c, s->mm, 4, 6);
		start_and_end(s->mm, 3, 7);
		mmu_range_read_begin(&s->c->mrn);
		consumer_remove(&c);
	}
	return NULL;
}

static void child_of_a_storm(void *arg)
{
	struct storm *s = arg;
	struct consumer c;
	uint64_t seq;

	CHECK_ERR(mrn_range_read_begin_until(&s->c->mrn, NULL, &seq), -ESTALE);
	consumer_init(&c);
	consumer_insert(&c, mrn_mm_self(), 4, 8);
	start_and_end(mrn_mm_self(), 4, 5);
	CHECK_EQ(c.calls, 1);
	consumer_check_works(&c);
	consumer_remove(&c);
	check_idle(mrn_mm_self());
}

TEST(fork_in_a_storm)
{
	struct consumer c;
	struct storm s = {.mm = mrn_mm_self(), .c = &c};
	pthread_t t[2];

	consumer_init(&c);
	consumer_insert(&c, s.mm, 4, 8);
	for (int i = 0; i < 2; i++)
		t[i] = go(storm_run, &s);
	for (int i = 0; i < ROUNDS(150); i++)
		in_child(child_of_a_storm, &s);
	STORE(&s.over, true);
	for (int i = 0; i < 2; i++)
		done(t[i]);
	consumer_check_works(&c);
	consumer_remove(&c);
	check_idle(s.mm);
}

/*
 * Forks while other threads insert and remove, register and unregister: in the child, copies of those notifiers are free,
 * whatever had just been begun with them.
 */
struct change_storm {
	struct mrn_mm *mm[2]; /* the second comes and goes */
	struct consumer c[2];
	struct mmu_notifier mn;
	bool over;
};

static void *change_storm_run(void *arg)
{
	struct change_storm *s = arg;

	while (!LOAD(&s->over)) {
		struct mrn_mm *mm = new_mm();

		STORE(&s->mm[1], mm);
		for (int i = 0; i < 2; i++)
			consumer_insert(&s->c[i], s->mm[i], 4, 6);
		CHECK_ERR(mmu_notifier_register(&s->mn, mm), 0);
		for (int i = 0; i < 2; i++)
			consumer_remove(&s->c[i]);
		CHECK_ERR(mmu_notifier_unregister(&s->mn, mm), 0);
		CHECK_ERR(mrn_mm_destroy(mm), 0);
	}
	return NULL;
}

static void child_of_changes(void *arg)
{
	struct change_storm *s = arg;
	struct mrn_mm *own = mrn_mm_self();

	for (int i = 0; i < 2; i++) {
		struct consumer *c = &s->c[i];
		struct timespec past = from_now(0);
		uint64_t seq;
		int r = mrn_range_read_begin_until(&c->mrn, &past, &seq);

		CHECK(r == -ESTALE || r == -ENOENT);
		pthread_mutex_init(&c->lock, NULL);
		c->mrn.driver_lock = NULL;
		if (getpid() & 1) {
			r = mmu_range_notifier_remove(&c->mrn);
			CHECK(r == -ESTALE || r == -ENOENT);
		}
		consumer_insert(c, own, 4, 6);
	}
	CHECK_ERR(mmu_notifier_register(&s->mn, own), 0);
	start_and_end(own, 4, 5);
	for (int i = 0; i < 2; i++)
		consumer_remove(&s->c[i]);
	CHECK_ERR(mmu_notifier_unregister(&s->mn, own), 0);
	check_idle(own);
}

TEST(fork_in_a_storm_of_changes)
{
	struct change_storm s = {.mm = {new_mm()}, .mn.ops = &listener_ops};
	pthread_t t;

	for (int i = 0; i < 2; i++)
		consumer_init(&s.c[i]);
	t = go(change_storm_run, &s);
	for (int i = 0; i < ROUNDS(400); i++)
		in_child(child_of_changes, &s);
	STORE(&s.over, true);
	done(t);
	destroy_idle(s.mm[0]);
}

/* What the parent has queued is its own; the child frees what it removes itself, and has a reaper of its own. */
static unsigned int freed_here;

static void count_free(struct mmu_range_notifier *mrn)
{
	(void)mrn;
	ADD(&freed_here, 1);
}

static void frees_its_own(void *arg)
{
	struct family *f = arg;
	struct mrn_mm *own = mrn_mm_self();
	struct mmu_notifier *got = NULL;

	CHECK_EQ(LOAD(&freed_here), 0);
	if (f->got)
		CHECK_ERR(mmu_notifier_put(f->got), -ESTALE);
	consumer_insert(&f->c, own, 4, 8);
	consumer_insert(&f->c2, own, 4, 8);
	CHECK_ERR(mrn_range_notifier_remove_async(&f->c.mrn, count_free), 0);
	CHECK_ERR(mmu_notifier_synchronize(own), 0);
	CHECK_EQ(LOAD(&freed_here), 1);
	CHECK_ERR(mmu_notifier_get(&listener_ops, own, &got), 0);
	CHECK_ERR(mrn_range_notifier_remove_async(&f->c2.mrn, count_free), 0);
	while (LOAD(&freed_here) != 2)
		sched_yield();
	CHECK_ERR(mmu_notifier_put(got), 0);
	CHECK_ERR(mmu_notifier_synchronize(own), 0);
	check_idle(own);
}

TEST(fork_with_something_to_be_freed)
{
	struct family f = {.mm = mrn_mm_self()};

	if (TEST_TSAN)
		SKIP("ThreadSanitizer lets no child of a process with threads start one");
	consumer_init(&f.c);
	consumer_init(&f.c2);
	consumer_insert(&f.c, f.mm, 4, 8);
	CHECK_ERR(mrn_range_notifier_remove_async(&f.c.mrn, count_free), 0);
	/* Without a reaper, and with one. */
	in_child(frees_its_own, &f);
	CHECK_EQ(LOAD(&freed_here), 0);
	CHECK_ERR(mmu_notifier_get(&listener_ops, f.mm, &f.got), 0);
	while (LOAD(&freed_here) != 1)
		sched_yield();
	STORE(&freed_here, 0);
	in_child(frees_its_own, &f);
	CHECK_ERR(mmu_notifier_put(f.got), 0);
	CHECK_ERR(mmu_notifier_synchronize(f.mm), 0);
	check_idle(f.mm);
}

/* A child that shares the memory is no other process to mrn: what it announces is heard. */
TEST(fork_children_that_share_memory)
{
	char name[] = "true", *argv[] = {name, NULL};
	struct mrn_mm *mm = mrn_mm_self();
	struct consumer c;
	uint64_t seq;
	pid_t child;

	consumer_init(&c);
	/* A vfork child locks the mutex by its parent's name. */
	c.mrn.driver_lock = NULL;
	consumer_insert(&c, mm, 4, 8);
	seq = mmu_range_read_begin(&c.mrn);
	CHECK_EQ(posix_spawnp(&child, name, NULL, NULL, argv, environ), 0);
	CHECK_EQ(wait_for(child), 0);
	CHECK(consumer_publish(&c, seq));
	consumer_check_works(&c);
	/* The sanitizers turn vfork into fork, or do not bear code in its child. */
	if (!test_is_sanitized()) {
		child = vfork();
		if (!child) {
			struct mmu_notifier_range r;

			mmu_notifier_range_init(&r, MMU_NOTIFY_UNMAP, 0, mm, PAGE(4), PAGE(5));
			if (mmu_notifier_invalidate_range_start(&r))
				_exit(1);
			mmu_notifier_invalidate_range_end(&r);
			_exit(0);
		}
		CHECK_EQ(wait_for(child), 0);
		CHECK_EQ(c.calls, 1);
	}
	consumer_check_works(&c);
	consumer_remove(&c);
	check_idle(mm);
}

/* -------------------------------------------------------------------- the room of the parent's index */

enum { MANY = 12000 };

struct room {
	struct consumer c[MANY], own;
	uintptr_t leaf[MANY]; /* pages in which they lie, each once */
	unsigned int leaves;
	pid_t child;
};

/* How much of what the parent's leaves lie in has this process? */
static size_t mapped(const struct room *room)
{
	size_t bytes = 0;
	unsigned char in;

	for (unsigned int i = 0; i < room->leaves; i++)
		if (!mrn_peek(&in, room->leaf[i], 1))
			bytes += mrn_page_size();
	return bytes;
}

static struct room *parents;

/* In the midst of a look at the index, as a signal handler would: what it may call takes nothing from under the look. */
static void fork_in_a_look(void)
{
	mrn_check_leaf_hook = NULL;
	parents->child = fork();
	CHECK(parents->child >= 0);
	if (!parents->child)
		start_and_end(mrn_mm_self(), 4, 5);
}

/* The same in a look at the filter's table, of which the second granule is still to come. */
static void fork_in_a_look_at_a_line(unsigned int n)
{
	(void)n;
	mrn_check_mark_hook = NULL;
	parents->child = fork();
	CHECK(parents->child >= 0);
}

static void fill(struct room *room, struct mrn_mm *mm)
{
	for (unsigned int i = 0; i < MANY; i++) {
		consumer_init(&room->c[i]);
		consumer_insert(&room->c[i], mm, 2 * i, 2 * i + 1);
	}
	consumer_init(&room->own);
	for (unsigned int i = 0; i < MANY; i++) {
		uintptr_t leaf = mrn_page_down(room->c[i].mrn.node.place);
		unsigned int j = 0;

		while (j < room->leaves && room->leaf[j] != leaf)
			j++;
		room->leaf[j] = leaf;
		room->leaves += j == room->leaves;
	}
}

static void empty(struct room *room)
{
	for (unsigned int i = 0; i < MANY; i++)
		consumer_remove(&room->c[i]);
	free(room);
}

/* A child that inserts a notifier has not got its parent's index any more; it may have forked in a look at that. */
TEST(fork_in_a_look_at_an_index)
{
	struct room *room = calloc(1, sizeof(*room));
	struct mrn_mm *mm = mrn_mm_self(), *own;
	size_t before;

	CHECK(room);
	fill(room, mm);
	parents = room;
	mrn_check_leaf_hook = fork_in_a_look;
	start_and_end(mm, 0, 2 * MANY);
	CHECK(!mrn_check_leaf_hook);
	if (room->child) {
		CHECK_EQ(wait_for(room->child), 0);
		CHECK_EQ(room->c[MANY - 1].calls, 1);
		empty(room);
		return;
	}
	own = mrn_mm_self();
	CHECK(own != mm);
	before = mapped(room);
	consumer_insert(&room->own, own, 4, 8);
	/* What it maps now may come to lie where its parent's was. */
	CHECK(before > 2 * mrn_index_bytes(&own->index));
	CHECK(mapped(room) <= mrn_index_bytes(&own->index));
	start_and_end(own, 4, 5);
	CHECK_EQ(room->own.calls, 1);
	consumer_check_works(&room->own);
	consumer_remove(&room->own);
	_exit(0);
}
TWIN(fork_in_a_look_at_an_index, keeps_the_room, BREAK(FORK_ROOM));

/* A child goes on with its parent's look, in a table of zeros. */
TEST(fork_in_a_look_at_a_filter)
{
	struct room *room = calloc(1, sizeof(*room));
	struct mrn_mm *mm = mrn_mm_self();

	CHECK(room);
	fill(room, mm);
	parents = room;
	mrn_broken_NO_VECTORS = true;
	mrn_check_mark_hook = fork_in_a_look_at_a_line;
	start_and_end(mm, 2 * MANY, 2 * MANY + 16);
	CHECK(!mrn_check_mark_hook);
	if (!room->child)
		_exit(0);
	CHECK_EQ(wait_for(room->child), 0);
	empty(room);
}
