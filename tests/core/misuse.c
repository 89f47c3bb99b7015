/* SPDX-License-Identifier: BSD-3-Clause */
/* Checking builds name a consumer's misuse in one sentence, and abort; right use is silent in all other tests. */
#include "core/misuse.h"
#include "tests/core/fixture.h"
#include "tests/harness/child.h"

static void retry_without(void *arg)
{
	struct consumer *c = arg;

	mmu_range_read_retry(&c->mrn, 1);
}

static void retry_with(void *arg)
{
	struct consumer *c = arg;

	/* In this process: a lock taken before the fork would be another's. */
	pthread_mutex_lock(&c->lock);
	mmu_range_read_retry(&c->mrn, 1);
	pthread_mutex_unlock(&c->lock);
}

static void update_without(void *arg)
{
	struct consumer *c = arg;

	mmu_range_notifier_update_seq(&c->mrn, 1);
}

static void update_with(void *arg)
{
	struct consumer *c = arg;

	pthread_mutex_lock(&c->lock);
	mmu_range_notifier_update_seq(&c->mrn, 1);
	pthread_mutex_unlock(&c->lock);
}

static void hint_without(void *arg)
{
	struct consumer *c = arg;

	mmu_range_check_retry(&c->mrn, 1);
}

TEST(driver_lock_is_asserted)
{
	struct consumer c;

	consumer_init(&c);
	CHECK(aborts(retry_without, &c,
		     "mmu_range_read_retry was called without the notifier's driver_lock"));
	CHECK(aborts(update_without, &c,
		     "mmu_range_notifier_update_seq was called without the notifier's "
		     "driver_lock"));
	CHECK(!aborts(retry_with, &c, ""));
	CHECK(!aborts(update_with, &c, ""));
	CHECK(!aborts(hint_without, &c, ""));
	/* Who names no mutex is not asked. */
	c.mrn.driver_lock = NULL;
	CHECK(!aborts(retry_without, &c, ""));
	CHECK(!aborts(update_without, &c, ""));
}

/* Held, but by another thread. */
struct holder {
	struct consumer *c;
	struct test_gate held, drop;
};

static void *hold(void *arg)
{
	struct holder *h = arg;

	pthread_mutex_lock(&h->c->lock);
	test_gate_open(&h->held);
	test_gate_wait(&h->drop);
	pthread_mutex_unlock(&h->c->lock);
	return NULL;
}

TEST(driver_lock_of_another_thread_does_not_count)
{
#ifndef __GLIBC__
	SKIP("only glibc's mutexes tell who holds them");
#else
	struct consumer c;
	struct holder h = {.c = &c};
	pthread_t t;

	consumer_init(&c);
	t = go(hold, &h);
	test_gate_wait(&h.held);
	CHECK(aborts(retry_without, &c, "mmu_range_read_retry"));
	CHECK(aborts(update_without, &c, "mmu_range_notifier_update_seq"));
	test_gate_open(&h.drop);
	done(t);
#endif
}

/* ------------------------------------------------------------------------------------- callbacks */

enum { SEQ = 1, REFUSE = 2, BLOCKING = 4, OWNED = 8, UNREAD = 16 };

/* What the callback does, and the invalidation. */
static unsigned int how;
static int list_result;

static bool invalidate_somehow(struct mmu_range_notifier *mrn,
			       const struct mmu_notifier_range *range, uint64_t cur_seq)
{
	struct consumer *c = consumer_of(mrn);

	(void)range;
	pthread_mutex_lock(&c->lock);
	if (how & SEQ)
		mmu_range_notifier_update_seq(mrn, cur_seq);
	pthread_mutex_unlock(&c->lock);
	return !(how & REFUSE);
}

static int start_somehow(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	(void)mn;
	(void)range;
	return list_result;
}

static void invalidate_once(void *arg)
{
	struct consumer *c = arg;

	static const struct mmu_range_notifier_ops ops = {.invalidate = invalidate_somehow};
	static const struct mmu_notifier_ops list_ops = {.invalidate_range_start = start_somehow};
	struct mmu_notifier mn = {.ops = &list_ops};
	struct mrn_mm *mm = new_mm();
	struct mmu_notifier_range r = pages(mm, 1, 2);
	int result;

	consumer_init(c);
	c->mrn.ops = &ops;
	consumer_insert(c, mm, 1, 2);
	CHECK_ERR(mmu_notifier_register(&mn, mm), 0);
	if (!(how & UNREAD))
		consumer_check_works(c);
	r.owner = how & OWNED ? c : NULL;
	result = how & BLOCKING ? mmu_notifier_invalidate_range_start(&r)
				: mmu_notifier_invalidate_range_start_nonblock(&r);
	CHECK_ERR(result, !(how & BLOCKING) && (how & REFUSE || list_result) ? -EAGAIN : 0);
	if (!result)
		end(&r);
}

static bool callback_aborts(unsigned int flags, int result, const char *says)
{
	struct consumer c;

	how = flags;
	list_result = result;
	return aborts(invalidate_once, &c, says);
}

TEST(callbacks_keep_their_contract)
{
	static const char no_seq[] =
		"mrn: mmu_range_notifier_ops.invalidate returned true without a "
		"call of mmu_range_notifier_update_seq\n",
			  refusal[] =
				  "mrn: mmu_range_notifier_ops.invalidate returned false for an "
				  "invalidation that may block\n",
			  list_refusal[] =
				  "mrn: mmu_notifier_ops.invalidate_range_start returned an "
				  "error for an invalidation that may block\n",
			  list_error[] = "mrn: mmu_notifier_ops.invalidate_range_start returned an "
					 "error that is not -EAGAIN\n";

	CHECK(callback_aborts(BLOCKING, 0, no_seq));
	CHECK(callback_aborts(0, 0, no_seq));
	CHECK(callback_aborts(BLOCKING | SEQ | REFUSE, 0, refusal));
	CHECK(callback_aborts(BLOCKING | SEQ, -EAGAIN, list_refusal));
	CHECK(callback_aborts(SEQ, -ENOMEM, list_error));

	CHECK(!callback_aborts(BLOCKING | SEQ, 0, ""));
	CHECK(!callback_aborts(SEQ, 0, ""));
	CHECK(!callback_aborts(REFUSE, 0, ""));
	CHECK(!callback_aborts(SEQ, -EAGAIN, ""));
	/* A device leaves its own migrations out. */
	CHECK(!callback_aborts(BLOCKING | OWNED, 0, ""));
	/* Whoever never reads needs no seq. */
	CHECK(!callback_aborts(BLOCKING | UNREAD, 0, ""));

	/* A release build forgives all of it. */
	BREAK(MISUSE_CHECKS);
	CHECK(!callback_aborts(BLOCKING, 0, ""));
	CHECK(!callback_aborts(BLOCKING | SEQ | REFUSE, 0, ""));
	CHECK(!callback_aborts(BLOCKING | SEQ, -EAGAIN, ""));
	CHECK(!callback_aborts(SEQ, -ENOMEM, ""));
}

/* ---------------------------------------------------------------------------------------- two passes */

static bool hand_out(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		     uint64_t cur_seq, struct mmu_range_notifier_finish **finish)
{
	static struct mmu_range_notifier_finish one;

	mmu_range_notifier_update_seq(mrn, cur_seq);
	*finish = &one;
	return mmu_notifier_range_blockable(range);
}

static void finish_nothing(struct mmu_range_notifier_finish *finish)
{
	(void)finish;
}

/* So many notifiers with one finish. */
static void hand_out_one(unsigned int notifiers, bool may_block)
{
	static const struct mmu_range_notifier_ops ops = {.invalidate_start = hand_out,
							  .invalidate_finish = finish_nothing};
	struct mrn_mm *mm = new_mm();
	struct mmu_notifier_range r = pages(mm, 4, 5);
	struct mmu_range_notifier mrn[2] = {{.ops = &ops}, {.ops = &ops}};

	for (unsigned int i = 0; i < notifiers; i++)
		CHECK_EQ(mmu_range_notifier_insert(&mrn[i], PAGE(4), PAGE(1), mm), 0);
	if (may_block)
		start(&r);
	else
		mmu_notifier_invalidate_range_start_nonblock(&r);
}

static void hand_out_alone(void *arg)
{
	(void)arg;
	hand_out_one(1, true);
}

static void hand_out_twice(void *arg)
{
	(void)arg;
	hand_out_one(2, true);
}

static void hand_out_and_refuse(void *arg)
{
	(void)arg;
	hand_out_one(1, false);
}

TEST(a_finish_is_handed_out_once_by_who_agrees)
{
	CHECK(!aborts(hand_out_alone, NULL, ""));
	CHECK(aborts(hand_out_twice, NULL,
		     "mrn: mmu_range_notifier_ops.invalidate_start handed out a finish that is in "
		     "use\n"));
	CHECK(aborts(hand_out_and_refuse, NULL,
		     "mrn: mmu_range_notifier_ops.invalidate_start returned false, and handed out "
		     "a finish\n"));
}

/* ----------------------------------------------------------------------- notifiers and references */

static struct mrn_mm *mm;
static struct mmu_notifier list_notifier;

static void insert_both(struct consumer *c)
{
	static const struct mmu_notifier_ops ops;

	mm = new_mm();
	consumer_init(c);
	consumer_insert(c, mm, 1, 2);
	list_notifier.ops = &ops;
	CHECK_ERR(mmu_notifier_register(&list_notifier, mm), 0);
}

static void invalidate_often(void)
{
	for (int i = 0; i < MRN_CHECK_INDEX_EVERY; i++)
		start_and_end(mm, 1, 2);
}

/* Freed memory is written over sooner or later. */
static void free_range_notifier(void *arg)
{
	struct consumer *c = arg;

	insert_both(c);
	memset(c, 0xa5, sizeof(*c));
	invalidate_often();
}

static void clear_range_notifier(void *arg)
{
	struct consumer *c = arg;

	insert_both(c);
	memset(c, 0, sizeof(*c));
	invalidate_often();
}

static void free_list_notifier(void *arg)
{
	struct consumer *c = arg;

	insert_both(c);
	memset(&list_notifier, 0xa5, sizeof(list_notifier));
	invalidate_often();
}

static void remove_both(void *arg)
{
	struct consumer *c = arg;

	insert_both(c);
	invalidate_often();
	consumer_remove(c);
	CHECK_ERR(mmu_notifier_unregister(&list_notifier, mm), 0);
	memset(c, 0xa5, sizeof(*c));
	memset(&list_notifier, 0xa5, sizeof(list_notifier));
	invalidate_often();
}

TEST(notifiers_are_removed_before_they_are_freed)
{
	static const char says[] =
		"mrn: mmu_notifier_invalidate_range_start found a notifier that was "
		"freed, or written over, before it was removed\n";
	struct consumer c;

	CHECK(aborts(free_range_notifier, &c, says));
	CHECK(aborts(clear_range_notifier, &c, says));
	CHECK(aborts(free_list_notifier, &c, says));
	CHECK(!aborts(remove_both, &c, ""));
}

static void put_list_notifier(void *arg)
{
	struct consumer *c = arg;

	insert_both(c);
	CHECK_ERR(mmu_notifier_put(&list_notifier), -EINVAL);
}

TEST(references_are_put_once)
{
	struct consumer c;

	CHECK(aborts(put_list_notifier, &c,
		     "mrn: mmu_notifier_put was called without a reference of mmu_notifier_get\n"));
	BREAK(MISUSE_CHECKS);
	CHECK(!aborts(put_list_notifier, &c, ""));
}
