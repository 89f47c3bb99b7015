/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A kernel-style driver (linux_driver.c) runs on <mrn/linux/mmu_notifier.h>: here are the address space
 * that it shadows and those who change it.
 *
 * What must never be seen. A page that leaves the address space is filled with POISON between start and
 * end: then no device may have an entry for it, so no read returns POISON. A page in the address space
 * says where it is, so a read tells another page's contents.
 */
#include <errno.h>
#include <fcntl.h>
#include <mrn/linux/hmm.h>
#include <mrn/linux/mmu_notifier.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include "core/check.h"
#include "tests/harness/child.h"
#include "tests/harness/sync.h"
#include "tests/harness/test.h"
#include "tests/core/linux_driver.h"
#include "tests/core/linux_shim.h"

/* ---------------------------------------------------------------------- the kernel's signatures */

#define IS_A(fn, type)                                                                          \
	_Static_assert(_Generic(&(fn), type : 1, default : 0), #fn " has another type than in " \
								   "the kernel")

IS_A(mmu_interval_notifier_insert,
     int (*)(struct mmu_interval_notifier *, struct mm_struct *, unsigned long, unsigned long,
	     const struct mmu_interval_notifier_ops *));
IS_A(mmu_interval_notifier_insert_locked,
     int (*)(struct mmu_interval_notifier *, struct mm_struct *, unsigned long, unsigned long,
	     const struct mmu_interval_notifier_ops *));
IS_A(mmu_interval_notifier_remove, void (*)(struct mmu_interval_notifier *));
IS_A(mmu_interval_read_begin, unsigned long (*)(struct mmu_interval_notifier *));
IS_A(mmu_interval_read_retry, bool (*)(struct mmu_interval_notifier *, unsigned long));
IS_A(mmu_interval_check_retry, bool (*)(struct mmu_interval_notifier *, unsigned long));
IS_A(mmu_interval_set_seq, void (*)(struct mmu_interval_notifier *, unsigned long));
IS_A(mmu_notifier_range_init,
     void (*)(struct mmu_notifier_range *, enum mmu_notifier_event, unsigned int,
	      struct mm_struct *, unsigned long, unsigned long));
IS_A(mmu_notifier_range_init_owner,
     void (*)(struct mmu_notifier_range *, enum mmu_notifier_event, unsigned int,
	      struct mm_struct *, unsigned long, unsigned long, void *));
IS_A(mmu_notifier_range_blockable, bool (*)(const struct mmu_notifier_range *));
IS_A(hmm_range_fault, int (*)(struct hmm_range *));
IS_A(hmm_pfn_to_map_order, unsigned int (*)(unsigned long));
IS_A(((struct hmm_range *)0)->notifier, struct mmu_interval_notifier **);
IS_A(((struct hmm_range *)0)->notifier_seq, unsigned long *);

/* ----------------------------------------------------------------------------- the address space */

#define BASE   0x100000ul
#define NPAGES 32ul
#define POOL   (NPAGES * 8) /* pages; pins keep some from coming back */
#define POISON UINT64_C(0xdeaddeaddeaddead)

#define ADDR(n)		    (BASE + ((unsigned long)(n) << PAGE_SHIFT))
#define VALUE(page, number) ((uint64_t)(number) << 16 | (page))

struct page {
	u64 data;
	unsigned int refs; /* under the space's lock, as all the rest */
	bool dirty;
	struct page *next; /* in the pool */
};

static struct {
	struct mm_struct *mm;
	pthread_mutex_t lock;
	struct page pages[POOL], *pool;
	struct page *at[NPAGES];
	uint64_t changes;
	void (*after_pin)(void); /* once */
} space;

/* Lock held. */
static void put_page(struct page *page)
{
	CHECK(page->refs > 0);
	if (--page->refs)
		return;
	page->next = space.pool;
	space.pool = page;
}

/* Lock held: a fresh page n. */
static void map_page(unsigned long n)
{
	struct page *page = space.pool;

	CHECK(page != NULL);
	space.pool = page->next;
	page->refs = 1;
	page->dirty = false;
	page->data = VALUE(n, ++space.changes);
	space.at[n] = page;
}

static void space_init(void)
{
	CHECK_EQ(mrn_mm_create(&space.mm), 0);
	pthread_mutex_init(&space.lock, NULL);
	for (unsigned long i = 0; i < POOL; i++) {
		space.pages[i].next = space.pool;
		space.pool = &space.pages[i];
	}
	for (unsigned long n = 0; n < NPAGES; n++)
		map_page(n);
}

static void space_end(void)
{
	unsigned long n = 0;

	CHECK_EQ(mrn_mm_destroy(space.mm), 0);
	/* Nobody holds a pin. */
	for (struct page *p = space.pool; p; p = p->next)
		n++;
	CHECK_EQ(n, POOL - NPAGES);
}

long pin_user_pages_remote(struct mm_struct *mm, unsigned long start, unsigned long n,
			   unsigned int flags, struct page **pages, int *locked)
{
	void (*hook)(void) = space.after_pin;
	unsigned long first = (start - BASE) >> PAGE_SHIFT;

	if (mm != space.mm || start < BASE || first + n > NPAGES)
		return -EFAULT;
	pthread_mutex_lock(&space.lock);
	for (unsigned long i = 0; i < n; i++) {
		pages[i] = space.at[first + i];
		pages[i]->refs++;
	}
	pthread_mutex_unlock(&space.lock);
	if (hook) {
		space.after_pin = NULL;
		hook();
	}
	/* Here the pages may become old. */
	sched_yield();
	return (long)n;
}

void unpin_user_pages_dirty_lock(struct page **pages, unsigned long n, bool dirty)
{
	pthread_mutex_lock(&space.lock);
	for (unsigned long i = 0; i < n; i++) {
		pages[i]->dirty |= dirty;
		put_page(pages[i]);
	}
	pthread_mutex_unlock(&space.lock);
}

u64 *page_address(struct page *page)
{
	return &page->data;
}

static struct mmu_notifier_range change_of(unsigned long first, unsigned long n)
{
	struct mmu_notifier_range range;

	mmu_notifier_range_init(&range, MMU_NOTIFY_CLEAR, 0, space.mm, ADDR(first),
				ADDR(first + n));
	return range;
}

/* What the owner of an address space does between start and end. */
static void replace_pages(unsigned long first, unsigned long n)
{
	pthread_mutex_lock(&space.lock);
	for (unsigned long i = first; i < first + n; i++) {
		space.at[i]->data = POISON;
		put_page(space.at[i]);
		map_page(i);
	}
	pthread_mutex_unlock(&space.lock);
}

/* m, where it is known that there is one, has no entry for the range from start to end. */
static void change(struct mirror *m, unsigned long first, unsigned long n)
{
	struct mmu_notifier_range range = change_of(first, n);

	CHECK_EQ(mmu_notifier_invalidate_range_start(&range), 0);
	if (m)
		CHECK_EQ(mirror_mapped(m, ADDR(first), n), 0);
	replace_pages(first, n);
	if (m)
		CHECK_EQ(mirror_mapped(m, ADDR(first), n), 0);
	mmu_notifier_invalidate_range_end(&range);
}

static struct mirror *mirror(unsigned long first, unsigned long n)
{
	struct mirror *m = mirror_create(space.mm, ADDR(first), n);

	CHECK(!IS_ERR(m));
	return m;
}

/* What the device reads at page n is what is there now. */
static void check_current(struct mirror *m, unsigned long n)
{
	uint64_t value;

	CHECK_ERR(mirror_read(m, ADDR(n), &value), 0);
	CHECK_EQ(value, space.at[n]->data);
}

/* ------------------------------------------------------------------------------ one at a time */

TEST(linux_map_change_map)
{
	struct mirror *m;
	struct page *old;

	space_init();
	m = mirror(4, 8);
	CHECK_ERR(mirror_fault(m, ADDR(4), 8, true), 0);
	CHECK_EQ(mirror_mapped(m, ADDR(4), 8), 8);
	check_current(m, 11);
	CHECK_ERR(mirror_write(m, ADDR(5), 77), 0);

	/* Neighbours do not count; what overlaps goes, and what the device wrote is not lost. */
	change(m, 0, 4);
	change(m, 12, 4);
	CHECK_EQ(mirror_mapped(m, ADDR(4), 8), 8);
	CHECK_EQ(pin_user_pages_remote(space.mm, ADDR(5), 1, 0, &old, NULL), 1);
	CHECK(!old->dirty);
	CHECK_EQ(old->data, 77);
	change(m, 3, 3);
	CHECK(old->dirty);
	CHECK_EQ(mirror_mapped(m, ADDR(4), 8), 6);
	unpin_user_pages_dirty_lock(&old, 1, false);

	CHECK_ERR(mirror_fault(m, ADDR(4), 2, false), 0);
	check_current(m, 5);
	CHECK_ERR(mirror_write(m, ADDR(5), 78), -EFAULT);
	mirror_destroy(m);
	space_end();
}

static void change_all(void)
{
	struct mmu_notifier_range range = change_of(0, NPAGES);

	CHECK_EQ(mmu_notifier_invalidate_range_start(&range), 0);
	replace_pages(0, NPAGES);
	mmu_notifier_invalidate_range_end(&range);
}

/* The whole change lies between the pin and the check. */
TEST(linux_retry_after_a_collision)
{
	struct mirror *m;

	space_init();
	m = mirror(0, NPAGES);
	space.after_pin = change_all;
	CHECK_ERR(mirror_fault(m, ADDR(3), 2, false), 0);
	check_current(m, 3);
	check_current(m, 4);
	CHECK_EQ(mirror_retries(m), 1);
	mirror_destroy(m);
	space_end();
}
TWIN(linux_retry_after_a_collision, no_retry_check, skip_retry = true);
TWIN(linux_retry_after_a_collision, no_set_seq, skip_set_seq = true, .accept_abort = true);

struct faulter {
	struct mirror *m;
	bool ended, saw_end;
};

static void fault_once(void *arg)
{
	struct faulter *f = arg;

	CHECK_ERR(mirror_fault(f->m, ADDR(3), 1, false), 0);
	f->saw_end = __atomic_load_n(&f->ended, __ATOMIC_ACQUIRE);
}

static struct test_gate waiting;

static void note_wait(uint64_t seq)
{
	test_gate_open(&waiting);
}

/* A fault that begins inside an invalidation is not over before it. */
TEST(linux_fault_waits_for_the_end)
{
	struct mmu_notifier_range range;
	struct faulter f = {0};
	struct test_thread t;

	space_init();
	f.m = mirror(0, NPAGES);
	mrn_check_wait_hook = note_wait;
	range = change_of(2, 4);
	CHECK_EQ(mmu_notifier_invalidate_range_start(&range), 0);
	test_thread(&t, fault_once, &f);
	test_gate_wait(&waiting);
	replace_pages(2, 4);
	__atomic_store_n(&f.ended, true, __ATOMIC_RELEASE);
	mmu_notifier_invalidate_range_end(&range);
	test_join(&t);
	CHECK(f.saw_end);
	check_current(f.m, 3);
	CHECK_EQ(mirror_retries(f.m), 0);
	mirror_destroy(f.m);
	space_end();
}

TEST(linux_nonblocking_is_refused)
{
	struct mmu_notifier_range range;
	struct mirror *m;
	uint64_t value;
	struct tlb *t;

	space_init();
	m = mirror(0, NPAGES);
	t = tlb_open(space.mm);
	CHECK(!IS_ERR(t));
	CHECK_ERR(mirror_fault(m, ADDR(3), 1, false), 0);
	CHECK_ERR(tlb_read(t, ADDR(9), &value), 0);

	range = change_of(0, 6);
	mirror_freeze(m);
	CHECK_ERR(mmu_notifier_invalidate_range_start_nonblock(&range), -EAGAIN);
	mirror_thaw(m);
	/* Nothing has happened, and nothing is in progress: neither fault waits or collides. */
	check_current(m, 3);
	CHECK_ERR(mirror_fault(m, ADDR(4), 1, false), 0);
	CHECK_EQ(mirror_retries(m), 0);
	CHECK_ERR(tlb_read(t, ADDR(10), &value), 0);

	CHECK_ERR(mmu_notifier_invalidate_range_start_nonblock(&range), 0);
	CHECK_EQ(mirror_mapped(m, ADDR(0), 6), 0);
	CHECK_ERR(tlb_read(t, ADDR(11), &value), -EAGAIN);
	mmu_notifier_invalidate_range_end(&range);
	CHECK_ERR(tlb_read(t, ADDR(11), &value), 0);
	tlb_close(t);
	mirror_destroy(m);
	space_end();
}

/* ------------------------------------------------------------------------ what differs, as it says */

static unsigned int told;

static bool count_invalidate(struct mmu_interval_notifier *interval_sub,
			     const struct mmu_notifier_range *range, unsigned long cur_seq)
{
	told |= 1u << range->event;
	mmu_interval_set_seq(interval_sub, cur_seq);
	return true;
}

static const struct mmu_interval_notifier_ops count_ops = {.invalidate = count_invalidate};

TEST(linux_insert_initialises)
{
	struct mmu_interval_notifier sub;
	struct mmu_notifier_range range;

	space_init();
	for (int dirt = 0; dirt < 256; dirt += 85) {
		memset(&sub, dirt, sizeof(sub));
		CHECK_ERR(mmu_interval_notifier_insert(&sub, space.mm, BASE, PAGE_SIZE, &count_ops),
			  0);
		CHECK(sub.mm == space.mm);
		told = 0;
		for (unsigned int e = MMU_NOTIFY_UNMAP; e <= MMU_NOTIFY_EXCLUSIVE; e++) {
			mmu_notifier_range_init_owner(&range, (enum mmu_notifier_event)e, 0,
						      space.mm, BASE, BASE + 1, &sub);
			CHECK(range.owner == &sub);
			CHECK_EQ(mmu_notifier_invalidate_range_start(&range), 0);
			mmu_notifier_invalidate_range_end(&range);
		}
		CHECK_EQ(told, (1u << (MMU_NOTIFY_EXCLUSIVE + 1)) - 1);
		mmu_interval_notifier_remove(&sub);
	}
	space_end();
}

TEST(linux_insert_errors)
{
	struct mmu_interval_notifier sub;
	struct mirror *m;
	int r;

	space_init();
	memset(&sub, 0xa5, sizeof(sub));
	CHECK_ERR(mmu_interval_notifier_insert(&sub, space.mm, BASE, 0, &count_ops), -EOVERFLOW);
	mmu_interval_notifier_remove(&sub);
	CHECK_ERR(mmu_interval_notifier_insert(&sub, space.mm, BASE, ~0ul, &count_ops), -EOVERFLOW);
	mmu_interval_notifier_remove(&sub);
	CHECK_ERR(mmu_interval_notifier_insert(&sub, space.mm, BASE, PAGE_SIZE, NULL), -EINVAL);
	mmu_interval_notifier_remove(&sub);
	/* All but the last page, as a driver that mirrors everything has it. */
	CHECK_ERR(mmu_interval_notifier_insert_locked(&sub, space.mm, 0, ~0ul & ~(PAGE_SIZE - 1),
						      &count_ops),
		  0);
	mmu_interval_notifier_remove(&sub);
	r = PTR_ERR(mirror_create(space.mm, BASE, 0));
	CHECK_ERR(r, -EOVERFLOW);

	/* The mm ends before its notifier goes: no read succeeds, none waits. */
	m = mirror(0, 4);
	CHECK_ERR(mirror_fault(m, ADDR(0), 1, false), 0);
	space_end();
	CHECK_EQ(mirror_mapped(m, ADDR(0), 4), 0);
	CHECK_ERR(mirror_fault(m, ADDR(0), 1, false), -EBUSY);
	mirror_destroy(m);
}

static unsigned int starts, ends, releases;

static int count_start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	starts++;
	return 0;
}

static void count_end(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	ends++;
}

static void count_release(struct mmu_notifier *mn, struct mm_struct *mm)
{
	releases++;
}

static const struct mmu_notifier_ops count_list_ops = {
	.release = count_release,
	.invalidate_range_start = count_start,
	.invalidate_range_end = count_end,
};

TEST(linux_register_and_unregister)
{
	struct mmu_notifier mn, mn2;

	space_init();
	memset(&mn, 0xa5, sizeof(mn));
	memset(&mn2, 0xa5, sizeof(mn2));
	mn.ops = &count_list_ops;
	mn2.ops = &count_list_ops;
	CHECK_ERR(mmu_notifier_register(&mn, space.mm), 0);
	CHECK_ERR(__mmu_notifier_register(&mn2, space.mm), 0);
	CHECK(mn.mm == space.mm);
	change(NULL, 0, 1);
	CHECK_EQ(starts, 2);
	CHECK_EQ(ends, 2);
	mmu_notifier_unregister(&mn, space.mm);
	CHECK_EQ(releases, 1);
	change(NULL, 0, 1);
	CHECK_EQ(starts, 3);
	/* The end of the mm releases, and unregister not once more. */
	space_end();
	CHECK_EQ(releases, 2);
	mmu_notifier_unregister(&mn2, space.mm);
	CHECK_EQ(releases, 2);
}

static struct mmu_notifier *no_memory(struct mm_struct *mm)
{
	return NULL;
}

static struct mmu_notifier *not_today(struct mm_struct *mm)
{
	return ERR_PTR(-EBUSY);
}

static void no_free(struct mmu_notifier *mn)
{
}

TEST(linux_get_and_put)
{
	static const struct mmu_notifier_ops none = {
		.alloc_notifier = no_memory,
		.free_notifier = no_free,
	};
	static const struct mmu_notifier_ops fails = {
		.alloc_notifier = not_today,
		.free_notifier = no_free,
	};
	struct mmu_notifier *mn;
	struct tlb *a, *b;
	uint64_t value;

	space_init();
	a = tlb_open(space.mm);
	b = tlb_open(space.mm);
	CHECK(!IS_ERR(a) && a == b);
	CHECK_EQ(tlb_live(), 1);
	tlb_close(a);
	CHECK_EQ(tlb_live(), 1);
	CHECK_ERR(tlb_read(b, ADDR(1), &value), 0);
	CHECK_EQ(value, space.at[1]->data);
	change(NULL, 1, 1);
	CHECK_ERR(tlb_read(b, ADDR(1), &value), 0);
	CHECK_EQ(value, space.at[1]->data);
	tlb_close(b);
	CHECK_EQ(mmu_notifier_synchronize(space.mm), 0);
	CHECK_EQ(tlb_live(), 0);

	mn = mmu_notifier_get(&none, space.mm);
	CHECK(IS_ERR(mn));
	CHECK_ERR(PTR_ERR(mn), -ENOMEM);
	mn = mmu_notifier_get(&fails, space.mm);
	CHECK(IS_ERR(mn));
	CHECK_ERR(PTR_ERR(mn), -EBUSY);
	mn = mmu_notifier_get_locked(&count_list_ops, space.mm);
	CHECK(IS_ERR(mn));
	CHECK_ERR(PTR_ERR(mn), -EINVAL);
	space_end();
}

/* ---------------------------------------------------------------- removal inside a callback */

static bool remove_self(struct mmu_interval_notifier *interval_sub,
			const struct mmu_notifier_range *range, unsigned long cur_seq)
{
	mmu_interval_notifier_remove(interval_sub);
	return true;
}

static int unregister_self(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	mmu_notifier_unregister(mn, range->mm);
	return 0;
}

static void interval_removes_itself(void *arg)
{
	static const struct mmu_interval_notifier_ops ops = {.invalidate = remove_self};
	struct mmu_interval_notifier sub;

	(void)arg;
	space_init();
	CHECK_ERR(mmu_interval_notifier_insert(&sub, space.mm, BASE, PAGE_SIZE, &ops), 0);
	change(NULL, 0, 1);
}

static void list_unregisters_itself(void *arg)
{
	static const struct mmu_notifier_ops ops = {.invalidate_range_start = unregister_self};
	struct mmu_notifier mn = {.ops = &ops};

	(void)arg;
	space_init();
	CHECK_ERR(mmu_notifier_register(&mn, space.mm), 0);
	change(NULL, 0, 1);
}

/* The kernel would hang. To return would be to have a caller who knows no errors free it. */
TEST(linux_removal_in_a_callback_aborts)
{
	CHECK(aborts(interval_removes_itself, NULL, "mmu_interval_notifier_remove: "));
	CHECK(aborts(list_unregisters_itself, NULL, "mmu_notifier_unregister: "));
}

/* -------------------------------------------------------------------------------------- storms */

#define CHANGERS   2
#define FAULTERS   2
#define COLLISIONS 50u /* at least, of each kind: or nothing has been shown */

static struct {
	struct mirror *m;
	struct tlb *t;
	bool stop;
	uint64_t changed, reads, tlb_reads, tlb_collisions, created;
} storm;

static bool stopped(void)
{
	return __atomic_load_n(&storm.stop, __ATOMIC_RELAXED);
}

static uint64_t so_far(const uint64_t *n)
{
	return __atomic_load_n(n, __ATOMIC_RELAXED);
}

static void one_more(uint64_t *n)
{
	__atomic_add_fetch(n, 1, __ATOMIC_RELAXED);
}

static void check_value(uint64_t value, unsigned long page)
{
	CHECK_MSG(value != POISON, "page %lu: old", page);
	CHECK_EQ(value & 0xffff, page);
}

/*
 * Changes wait for the slower of the two kinds of readers: a translation needs a moment without any change
 * in progress, and should not depend on luck for it.
 */
static bool is_ahead(void)
{
	uint64_t reads = so_far(&storm.reads), translations = so_far(&storm.tlb_reads);

	return so_far(&storm.changed) > 200 + 8 * (reads < translations ? reads : translations);
}

static void keep_changing(void *arg)
{
	struct test_rand r;

	test_rand_init(&r, (uintptr_t)arg);
	while (!stopped()) {
		unsigned long n = 1 + test_rand_below(&r, 8);

		while (is_ahead() && !stopped())
			sched_yield();
		change(storm.m, test_rand_below(&r, NPAGES - n + 1), n);
		one_more(&storm.changed);
		sched_yield();
	}
}

static void keep_faulting(void *arg)
{
	struct test_rand r;
	uint64_t value;

	test_rand_init(&r, (uintptr_t)arg);
	while (!stopped()) {
		unsigned long n = 1 + test_rand_below(&r, 4);
		unsigned long first = test_rand_below(&r, NPAGES - n + 1);
		int ret = mirror_fault(storm.m, ADDR(first), n, false);

		CHECK(ret == 0 || ret == -EBUSY);
		for (unsigned long i = first; i < first + n; i++)
			if (mirror_read(storm.m, ADDR(i), &value) == 0) {
				check_value(value, i);
				one_more(&storm.reads);
			}
	}
}

static void keep_translating(void *arg)
{
	struct test_rand r;
	uint64_t value;

	test_rand_init(&r, (uintptr_t)arg);
	while (!stopped()) {
		unsigned long n = test_rand_below(&r, NPAGES);
		int ret = tlb_read(storm.t, ADDR(n), &value);

		CHECK(ret == 0 || ret == -EAGAIN);
		if (ret) {
			one_more(&storm.tlb_collisions);
			continue;
		}
		check_value(value, n);
		one_more(&storm.tlb_reads);
	}
}

/* Mirrors that come and go in the middle of it. */
static void keep_creating(void *arg)
{
	struct test_rand r;

	test_rand_init(&r, (uintptr_t)arg);
	while (!stopped()) {
		unsigned long n = 1 + test_rand_below(&r, 8);
		unsigned long first = test_rand_below(&r, NPAGES - n + 1);
		struct mirror *m = mirror(first, n);
		struct tlb *t = tlb_open(space.mm);
		uint64_t value;

		CHECK(t == storm.t);
		mirror_fault(m, ADDR(first), n, false);
		if (mirror_read(m, ADDR(first), &value) == 0)
			check_value(value, first);
		tlb_close(t);
		mirror_destroy(m);
		one_more(&storm.created);
	}
}

/* Goes on until enough has collided: without a step of the protocol, until that is noticed. */
TEST(linux_storm, .timeout_s = 60)
{
	static void (*const what[])(void *) = {keep_translating, keep_creating};
	struct test_thread t[CHANGERS + FAULTERS + 2];
	uintptr_t n = 0;

	space_init();
	storm.m = mirror(0, NPAGES);
	storm.t = tlb_open(space.mm);
	CHECK(!IS_ERR(storm.t));
	for (unsigned int i = 0; i < CHANGERS; i++, n++)
		test_thread(&t[n], keep_changing, (void *)n);
	for (unsigned int i = 0; i < FAULTERS; i++, n++)
		test_thread(&t[n], keep_faulting, (void *)n);
	for (unsigned int i = 0; i < 2; i++, n++)
		test_thread(&t[n], what[i], (void *)n);

	while (so_far(&storm.changed) < 5000 || so_far(&storm.reads) < 5000 ||
	       so_far(&storm.tlb_reads) < 2000 || so_far(&storm.created) < 500 ||
	       so_far(&storm.tlb_collisions) < COLLISIONS || mirror_retries(storm.m) < COLLISIONS)
		sched_yield();
	__atomic_store_n(&storm.stop, true, __ATOMIC_RELAXED);
	while (n)
		test_join(&t[--n]);

	NOTE("%ju changes, %ju reads, %lu retries, %ju translations, %ju collisions; %ju mirrors; "
	     "stale 0",
	     storm.changed, storm.reads, mirror_retries(storm.m), storm.tlb_reads,
	     storm.tlb_collisions, storm.created);
	mirror_destroy(storm.m);
	tlb_close(storm.t);
	CHECK_EQ(mmu_notifier_synchronize(space.mm), 0);
	CHECK_EQ(tlb_live(), 0);
	space_end();
}
TWIN(linux_storm, no_retry_check, skip_retry = true);
TWIN(linux_storm, no_set_seq, skip_set_seq = true, .accept_abort = true);
TWIN(linux_storm, no_count, skip_count = true);
