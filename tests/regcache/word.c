/* SPDX-License-Identifier: BSD-3-Clause */
/* An entry's word: strays in every state, and the limits of what is counted in it; and hints. */
#include "regcache/cache.h"

#include "tests/regcache/fixture.h"

static struct entry *entry_of(const struct mrn_regcache_entry *e)
{
	return (struct entry *)(uintptr_t)e;
}

/* A get and a put, for which entry it is. */
static struct entry *make(struct rig *rig, uintptr_t from, uintptr_t to)
{
	const struct mrn_regcache_entry *e = get(rig, from, to, RD);

	put(rig, e);
	return entry_of(e);
}

static uint64_t references(const struct entry *e)
{
	return __atomic_load_n(&e->word, __ATOMIC_RELAXED) & WORD_REFS;
}

/* Queued to be retired already: a stray that comes and goes must not queue it again. */
TEST(stray_on_dead)
{
	RIG(rig, .max_entries = 4);
	struct entry *e = make(&rig, 10, 11);

	invalidate(&rig, 10, 11);
	CHECK(!mrn_entry_take(e));
	mrn_entry_give_back(e);
	CHECK_ERR(mrn_regcache_reap(rig.cache), 0);
	CHECK_EQ(rig.dev.deregistered, 1);
	/* And free. */
	CHECK(!mrn_entry_take(e));
	mrn_entry_give_back(e);
	CHECK_ERR(mrn_regcache_reap(rig.cache), 0);
	CHECK_EQ(rig.dev.deregistered, 1);
	CHECK_EQ(stats_of(rig.cache).hits, 0);
	rig_exit(&rig);
}
TWIN(stray_on_dead, retired_again, BREAK(CACHE_RETIRED));

/* It keeps the invalidation from retiring the entry, and has to see to it itself. */
TEST(stray_is_last)
{
	RIG(rig, .max_entries = 4);
	struct entry *e = make(&rig, 10, 11);

	CHECK(mrn_entry_take(e));
	invalidate(&rig, 10, 11);
	CHECK(!rig.cache->dead);
	CHECK(!mrn_entry_take(e));
	mrn_entry_give_back(e);
	CHECK(!rig.cache->dead);
	mrn_entry_give_back(e);
	CHECK(rig.cache->dead == e);
	CHECK_ERR(mrn_regcache_reap(rig.cache), 0);
	CHECK_EQ(rig.dev.deregistered, 1);
	rig_exit(&rig);
}

static struct entry *strayed;

/* In the middle of a registration. */
static void stray(struct stub_device *dev, const struct mrn_regcache_entry *entry)
{
	CHECK(entry_of(entry) == strayed);
	CHECK(!mrn_entry_take(strayed));
	if (dev->arg)
		invalidate(dev->arg, 10, 11);
	dev->on_register.fn = NULL;
}

/* A stray that stays while the slot is free, being built, live, dying, and free again. */
static void stray_stays(bool collide)
{
	RIG(rig, .max_entries = 1);
	const struct mrn_regcache_entry *held;

	strayed = make(&rig, 10, 11);
	CHECK_ERR(mrn_regcache_flush(rig.cache), 0);
	CHECK(!mrn_entry_take(strayed));
	rig.dev.arg = collide ? &rig : NULL;
	rig.dev.on_register.fn = stray;
	held = get(&rig, 10, 11, RD);
	CHECK_EQ(stats_of(rig.cache).retries, collide);
	CHECK_EQ(references(strayed), 3);
	mrn_entry_give_back(strayed);
	invalidate(&rig, 10, 11);
	put(&rig, held);
	CHECK(registered(&rig, 10, 11));
	CHECK_EQ(references(strayed), 1);
	mrn_entry_give_back(strayed);
	CHECK_ERR(mrn_regcache_reap(rig.cache), 0);
	CHECK(!registered(&rig, 10, 11));
	CHECK(make(&rig, 20, 21) == strayed);
	rig_exit(&rig);
}

TEST(stray_while_built)
{
	stray_stays(false);
}

TEST(stray_while_built_twice)
{
	stray_stays(true);
}

/* A registration that fails leaves a slot, and the stray in it. */
TEST(stray_while_failing)
{
	RIG(rig, .max_entries = 1);
	const struct mrn_regcache_entry *none;

	strayed = make(&rig, 10, 11);
	CHECK_ERR(mrn_regcache_flush(rig.cache), 0);
	rig.dev.on_register.fn = stray;
	rig.dev.fail = -EIO;
	rig.dev.fail_times = 1;
	CHECK_ERR(try_get(&rig, 10, 11, RD, &none), -EIO);
	CHECK_EQ(references(strayed), rig.dev.on_register.fn ? 0 : 1);
	if (!rig.dev.on_register.fn)
		mrn_entry_give_back(strayed);
	rig.dev.on_register.fn = NULL;
	CHECK(!rig.cache->dead);
	CHECK(make(&rig, 10, 11) == strayed);
	rig_exit(&rig);
}

/* What has as many references as there may be is not handed out; another registration is made. */
TEST(too_many_references)
{
	RIG(rig, .max_entries = 4);
	struct entry *e = make(&rig, 10, 11);
	const struct mrn_regcache_entry *other;

	__atomic_fetch_add(&e->word, WORD_FULL, __ATOMIC_RELAXED);
	other = get(&rig, 10, 11, RD);
	CHECK(entry_of(other) != e);
	CHECK_EQ(references(e), WORD_FULL);
	__atomic_fetch_sub(&e->word, WORD_FULL, __ATOMIC_RELAXED);
	put(&rig, other);
	rig_exit(&rig);
}

/* More hits than a word has room for. */
TEST(many_hits)
{
	RIG(rig, .max_entries = 4);
	struct entry *e = make(&rig, 10, 11);

	__atomic_fetch_add(&e->word, WORD_MANY - WORD_HIT, __ATOMIC_RELAXED);
	for (int i = 0; i < 3; i++)
		CHECK(make(&rig, 10, 11) == e);
	CHECK(!(e->word & WORD_MANY));
	CHECK_EQ(stats_of(rig.cache).hits, WORD_HITS(WORD_MANY) - 1 + 3);
	invalidate(&rig, 10, 11);
	make(&rig, 20, 21);
	CHECK_EQ(stats_of(rig.cache).hits, WORD_HITS(WORD_MANY) - 1 + 3);
	rig_exit(&rig);
}

/* Buffers as allocators hand them out: each has a hint of its own. */
TEST(hints_for_all)
{
	enum { N = 512 };
	RIG(rig, .max_entries = N);

	for (unsigned int stride = 1; stride <= 4096; stride *= 2) {
		unsigned int found = 0;

		for (unsigned int i = 0; i < N; i++)
			make(&rig, 16 + i * stride, 17 + i * stride);
		for (unsigned int i = 0; i < N; i++) {
			struct entry *e = mrn_hint_find(rig.cache, PAGE(16 + i * stride));

			found += e && mrn_entry_covers(e, PAGE(16 + i * stride),
						       PAGE(17 + i * stride), RD);
		}
		CHECK_MSG(found >= N - N / 32, "stride %u: %u of %u", stride, found, N);
		CHECK_ERR(mrn_regcache_flush(rig.cache), 0);
	}
	rig_exit(&rig);
}
