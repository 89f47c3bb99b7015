/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of managed memory share: a space and its regions, a record of what is announced, a
 * device with memory of its own, a consumer that follows the protocol, and touches that may fault.
 */
#ifndef TESTS_HMM_FIXTURE_H
#define TESTS_HMM_FIXTURE_H

#include <errno.h>
#include <fcntl.h>
#include <mrn/hmm.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/mm.h"
#include "hmm/page_lock.h"
#include "hmm/space.h"
#include "os/container_of.h"
#include "tests/fixture.h"
#include "tests/harness/sync.h"

/* Fewer rounds where every access costs tens of times as much. */
#define ROUNDS(n) (TEST_TSAN ? (n) / 8 + 1 : TEST_ASAN ? (n) / 4 + 1 : (n))

#define LOAD(p)	    __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define STORE(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)
#define ADD(p, v)   __atomic_add_fetch(p, v, __ATOMIC_ACQ_REL)

#define RD PROT_READ
#define RW (PROT_READ | PROT_WRITE)

/* ---------------------------------------------------------------------------- what is announced */

struct hmm_event {
	enum mmu_notifier_event event;
	uintptr_t start, end;
	void *owner;
	unsigned int flags; /* MRN_RANGE_AFTER */
	enum mrn_cause cause;
	bool is_end;
};

struct hmm_rig;

enum { MOST_EVENTS = 4096 };

struct hmm_log {
	struct mmu_notifier mn;
	pthread_mutex_t lock;
	size_t n;
	struct hmm_event event[MOST_EVENTS];
	long open;   /* starts without an end yet */
	bool refuse; /* what may not wait */
	/* Called for each, in the place of a consumer. */
	void (*_Atomic hook)(struct hmm_rig *rig, const struct hmm_event *e);
	struct hmm_rig *rig;
	unsigned int released;
};

HELPER void hmm_log_add(struct mmu_notifier *mn, const struct mmu_notifier_range *range,
			bool is_end)
{
	struct hmm_log *log = container_of(mn, struct hmm_log, mn);
	struct hmm_event e = {
		range->event,
		range->start,
		range->end,
		range->owner,
		range->flags & MRN_RANGE_AFTER,
		range->cause,
		is_end,
	};

	void (*hook)(struct hmm_rig *, const struct hmm_event *);

	pthread_mutex_lock(&log->lock);
	if (log->n < MOST_EVENTS)
		log->event[log->n++] = e;
	log->open += is_end ? -1 : 1;
	pthread_mutex_unlock(&log->lock);
	hook = log->hook;
	if (hook)
		hook(log->rig, &e);
}

HELPER int hmm_log_start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	struct hmm_log *log = container_of(mn, struct hmm_log, mn);

	if (log->refuse && !mmu_notifier_range_blockable(range))
		return -EAGAIN;
	hmm_log_add(mn, range, false);
	return 0;
}

HELPER void hmm_log_end(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	hmm_log_add(mn, range, true);
}

HELPER void hmm_log_release(struct mmu_notifier *mn, struct mrn_mm *mm)
{
	ADD(&(container_of(mn, struct hmm_log, mn))->released, 1);
}

/* ---------------------------------------------------------------------------------------- a space */

struct hmm_rig {
	struct mrn_hmm *hmm;
	struct mrn_mm *mm;
	int backing;
	char why[256];
	struct hmm_log log;
};

static const struct mmu_notifier_ops hmm_log_ops = {
	.release = hmm_log_release,
	.invalidate_range_start = hmm_log_start,
	.invalidate_range_end = hmm_log_end,
};

/* backing_fd 0: one of ours, in memory; < 0: none. */
HELPER void hmm_rig_init(struct hmm_rig *rig, struct mrn_hmm_opts o)
{
	int err;

	memset(rig, 0, sizeof(*rig));
	rig->backing = -1;
	if (!o.backing_fd) {
		rig->backing = memfd_create("backing", MFD_CLOEXEC);
		CHECK(rig->backing > 0);
		o.backing_fd = rig->backing;
	}
	o.size = sizeof(o);
	o.why = rig->why;
	o.why_size = sizeof(rig->why);
	err = mrn_hmm_create(&o, &rig->hmm);
	if (err == -EPERM || err == -ENOSYS || err == -EOPNOTSUPP)
		SKIP("%s", rig->why);
	CHECK_MSG(err == 0, "%d: %s", err, rig->why);
	rig->mm = mrn_hmm_mm(rig->hmm);
	rig->log.mn.ops = &hmm_log_ops;
	rig->log.rig = rig;
	pthread_mutex_init(&rig->log.lock, NULL);
	CHECK_ERR(mmu_notifier_register(&rig->log.mn, rig->mm), 0);
}

#define HMM_RIG(name, ...)          \
	static struct hmm_rig name; \
	hmm_rig_init(&name, (struct mrn_hmm_opts){__VA_ARGS__})

HELPER struct mrn_hmm_stats stats_of(struct hmm_rig *rig)
{
	struct mrn_hmm_stats s;

	CHECK_ERR(mrn_hmm_get_stats(rig->hmm, &s, sizeof(s)), 0);
	return s;
}

/* Nothing is in progress, every start had its end. All that began before is waited for. */
HELPER void check_settled(struct hmm_rig *rig)
{
	CHECK_ERR(mrn_tokens_wait(rig->mm, 0, UINTPTR_MAX, NULL), 0);
	pthread_mutex_lock(&rig->log.lock);
	CHECK_EQ(rig->log.open, 0);
	pthread_mutex_unlock(&rig->log.lock);
	CHECK_EQ(LOAD(&rig->mm->state), MRN_MM_IDLE);
	CHECK_EQ(rig->hmm->nr_regions, 0);
}

/* All regions have been freed: every frame is back, and every slot of the backing file. */
HELPER void hmm_rig_exit(struct hmm_rig *rig)
{
	struct mrn_hmm_stats s = stats_of(rig);

	check_settled(rig);
	CHECK_EQ(s.frames_used, 0);
	CHECK_EQ(s.violations, 0);
	CHECK_EQ(rig->hmm->backing.last, rig->hmm->backing.nr_free);
	CHECK_ERR(mmu_notifier_unregister(&rig->log.mn, rig->mm), 0);
	CHECK_ERR(mrn_hmm_destroy(rig->hmm), 0);
	if (rig->backing > 0)
		close(rig->backing);
}

HELPER char *region(struct hmm_rig *rig, size_t pages_, int prot)
{
	void *p = NULL;

	CHECK_ERR(mrn_hmm_alloc(rig->hmm, PAGE(pages_), prot, 0, &p), 0);
	return p;
}

HELPER void free_region(struct hmm_rig *rig, void *p)
{
	CHECK_ERR(mrn_hmm_free(rig->hmm, p), 0);
}

/* Page i of what is at p, as the implementation sees it. */
HELPER struct mrn_hmm_page page_at(struct hmm_rig *rig, const void *p)
{
	struct mrn_hmm_region *r = mrn_hmm_region_get(rig->hmm, (uintptr_t)p);
	struct mrn_hmm_page page;

	CHECK(r);
	mrn_mutex_lock(&r->lock);
	page = r->page[((uintptr_t)p - r->start) / mrn_page_size()];
	mrn_mutex_unlock(&r->lock);
	mrn_hmm_region_put(r);
	return page;
}

/*
 * A touch returns when it has its entry, and the handler has a little left to do: waits until nobody is
 * at the page at p, if it is a region's.
 */
HELPER void settle(struct hmm_rig *rig, const void *p, size_t pages_)
{
	struct mrn_hmm_region *r = mrn_hmm_region_get(rig->hmm, (uintptr_t)p);
	size_t i;

	if (!r)
		return;
	i = ((uintptr_t)p - r->start) / mrn_page_size();
	mrn_mutex_lock(&r->lock);
	for (size_t k = 0; k < pages_; k++)
		mrn_hmm_wait(r, i + k);
	mrn_mutex_unlock(&r->lock);
	mrn_hmm_region_put(r);
}

/* ------------------------------------------------------------------------------- what was announced */

HELPER void forget_events(struct hmm_rig *rig)
{
	pthread_mutex_lock(&rig->log.lock);
	rig->log.n = 0;
	pthread_mutex_unlock(&rig->log.lock);
}

HELPER size_t events(struct hmm_rig *rig)
{
	size_t n;

	pthread_mutex_lock(&rig->log.lock);
	n = rig->log.n;
	pthread_mutex_unlock(&rig->log.lock);
	return n;
}

HELPER void expect_event(struct hmm_rig *rig, size_t i, bool is_end, enum mmu_notifier_event event,
			 const void *p, size_t pages_, void *owner)
{
	struct hmm_event e;

	CHECK_MSG(events(rig) > i, "%zu events, not the %zuth", events(rig), i + 1);
	e = rig->log.event[i];
	CHECK_EQ(e.is_end, is_end);
	CHECK_EQ(e.event, event);
	CHECK_EQ(e.start, (uintptr_t)p);
	CHECK_EQ(e.end, (uintptr_t)p + PAGE(pages_));
	CHECK(e.owner == owner);
	CHECK_EQ(e.flags, 0);
}

/* Exactly this one since the last time: its start, and its end. */
HELPER void expect(struct hmm_rig *rig, enum mmu_notifier_event event, const void *p, size_t pages_,
		   void *owner)
{
	settle(rig, p, pages_);
	expect_event(rig, 0, false, event, p, pages_, owner);
	expect_event(rig, 1, true, event, p, pages_, owner);
	CHECK_EQ(events(rig), 2);
	forget_events(rig);
}

HELPER void expect_none(struct hmm_rig *rig)
{
	CHECK_EQ(events(rig), 0);
}

/* ------------------------------------------------------------------------------------ the CPU's side */

/* TSan does not know that a page fault happens before it is served. */
static uint32_t hmm_order;

HELPER void seen_by_tsan(void)
{
	if (TEST_TSAN)
		ADD(&hmm_order, 1);
}

/* What /proc/self/pagemap says of an address. */
HELPER uint64_t pagemap_of(const void *p)
{
	static int fd = -1;
	uint64_t entry = 0;

	if (fd < 0)
		fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	CHECK_EQ(pread(fd, &entry, 8, (off_t)((uintptr_t)p / mrn_page_size() * 8)), 8);
	return entry;
}

HELPER bool has_entry(const void *p)
{
	return pagemap_of(p) >> 63 & 1;
}

/* It has one, and may not write there. */
HELPER bool is_write_protected(const void *p)
{
	return has_entry(p) && (pagemap_of(p) >> 57 & 1);
}

struct hmm_signal {
	int number, code;
	void *addr;
};

/* volatile: no call stands between what stores it and what a signal interrupts. */
static __thread sigjmp_buf *volatile hmm_jump;
static __thread struct hmm_signal hmm_signal;

HELPER void hmm_on_signal(int sig, siginfo_t *info, void *context)
{
	if (!hmm_jump)
		FAIL("signal %d at %p", sig, info->si_addr);
	hmm_signal = (struct hmm_signal){sig, info->si_code, info->si_addr};
	siglongjmp(*hmm_jump, 1);
}

HELPER void catch_signals(void)
{
	struct sigaction sa = {.sa_sigaction = hmm_on_signal, .sa_flags = SA_SIGINFO | SA_NODEFER};

	CHECK_EQ(sigaction(SIGSEGV, &sa, NULL), 0);
	CHECK_EQ(sigaction(SIGBUS, &sa, NULL), 0);
}

/* Touches a word: 0, or the signal that came of it. *value: what is read, or to be written. */
static __attribute__((noinline, unused)) int touch(volatile void *p, bool write, uint64_t *value)
{
	sigjmp_buf jump;
	int sig = 0;

	seen_by_tsan();

	if (sigsetjmp(jump, 1) == 0) {
		hmm_jump = &jump;
		if (write)
			*(volatile uint64_t *)p = *value;
		else
			*value = *(volatile uint64_t *)p;
	} else {
		sig = hmm_signal.number;
	}
	hmm_jump = NULL;
	return sig;
}

HELPER int try_read(volatile void *p)
{
	uint64_t value;

	return touch(p, false, &value);
}

HELPER int try_write(volatile void *p, uint64_t value)
{
	return touch(p, true, &value);
}

/* A word of its own for each address of a page and each generation. */
HELPER uint64_t word_of(size_t page, size_t i, uint64_t generation)
{
	return (generation << 40 | page << 16 | i) * UINT64_C(0x9e3779b97f4a7c15) + 1;
}

/* Fills n pages with words that tell where they are. */
HELPER void fill_pages(void *p, size_t n, uint64_t generation)
{
	for (size_t page = 0; page < n; page++)
		for (size_t i = 0; i < mrn_page_size() / 8; i++)
			((volatile uint64_t *)((char *)p + PAGE(page)))[i] =
				word_of(page, i, generation);
}

HELPER uint64_t word_at(const volatile void *p)
{
	seen_by_tsan();
	return *(const volatile uint64_t *)p;
}

HELPER void check_page(const volatile void *p, size_t page, uint64_t generation)
{
	seen_by_tsan();
	for (size_t i = 0; i < mrn_page_size() / 8; i++)
		CHECK_EQ(((const volatile uint64_t *)p)[i], word_of(page, i, generation));
}

HELPER void check_pages(const void *p, size_t n, uint64_t generation)
{
	for (size_t page = 0; page < n; page++)
		check_page((const char *)p + PAGE(page), page, generation);
}

HELPER void check_zeros(const void *p, size_t n)
{
	for (size_t i = 0; i < PAGE(n) / 8; i++)
		CHECK_EQ(((const volatile uint64_t *)p)[i], 0);
}

/* ---------------------------------------------------------------------------------- hmm_range_fault */

/* A notifier over pages, and a range to ask about them. */
struct hmm_view {
	struct mmu_range_notifier mrn;
	struct hmm_range range;
	unsigned long pfns[4096];
	pthread_mutex_t lock;
	unsigned int calls;
	/* Called in the callback, with the lock held. */
	void (*hook)(struct hmm_view *v, const struct mmu_notifier_range *range);
};

HELPER bool hmm_view_invalidate(struct mmu_range_notifier *mrn,
				const struct mmu_notifier_range *range, uint64_t seq)
{
	struct hmm_view *v = container_of(mrn, struct hmm_view, mrn);

	pthread_mutex_lock(&v->lock);
	mmu_range_notifier_update_seq(mrn, seq);
	v->calls++;
	if (v->hook)
		v->hook(v, range);
	pthread_mutex_unlock(&v->lock);
	return true;
}

HELPER void view_init(struct hmm_view *v, struct hmm_rig *rig, const void *p, size_t pages_)
{
	static const struct mmu_range_notifier_ops ops = {hmm_view_invalidate};

	memset(v, 0, sizeof(*v));
	CHECK(pages_ <= sizeof(v->pfns) / sizeof(v->pfns[0]));
	pthread_mutex_init(&v->lock, NULL);
	v->mrn.ops = &ops;
	CHECK_ERR(mmu_range_notifier_insert(&v->mrn, (uintptr_t)p, PAGE(pages_), rig->mm), 0);
	v->range = (struct hmm_range){
		.notifier = &v->mrn,
		.start = (uintptr_t)p,
		.end = (uintptr_t)p + PAGE(pages_),
		.hmm_pfns = v->pfns,
	};
}

HELPER void view_exit(struct hmm_view *v)
{
	CHECK_ERR(mmu_range_notifier_remove(&v->mrn), 0);
}

/* One try, with a fresh seq. */
HELPER int view_try(struct hmm_view *v, unsigned long flags)
{
	v->range.default_flags = flags;
	v->range.notifier_seq = mmu_range_read_begin(&v->mrn);
	return hmm_range_fault(&v->range);
}

/* Until it comes out: what a consumer does. */
HELPER int view_fault(struct hmm_view *v, unsigned long flags)
{
	int err;

	do {
		err = view_try(v, flags);
	} while (err == -EBUSY);
	return err;
}

HELPER int view_snapshot(struct hmm_view *v)
{
	return view_fault(v, 0);
}

HELPER uint64_t *frame_of(struct hmm_rig *rig, unsigned long pfn)
{
	uint64_t *p;

	CHECK(pfn & HMM_PFN_VALID);
	p = mrn_hmm_frame(rig->hmm, mrn_hmm_pfn_to_frame(pfn));
	CHECK(p);
	return p;
}

/* The page at p has a frame that holds what the CPU sees there. */
HELPER void check_alias(struct hmm_rig *rig, const void *p, unsigned long pfn)
{
	CHECK(!memcmp(frame_of(rig, pfn), p, mrn_page_size()));
}

/* --------------------------------------------------------------------------------- a device's memory */

enum { DEVICE_PAGES = 1024 };

struct hmm_test_device {
	struct mrn_hmm_device dev;
	char *memory;
	pthread_mutex_t lock;
	bool used[DEVICE_PAGES];
	_Atomic size_t in_use;
	_Atomic size_t most; /* alloc gives no more at once; 0: as many as asked */
	_Atomic unsigned int allocs, frees;
	/* What the next calls return instead; 0: nothing. */
	_Atomic int fail_alloc, fail_to_device, fail_to_ram;
	/* Where a copy stops, if set: entered is opened, leave waited for. */
	struct test_gate *_Atomic entered, *_Atomic leave;
};

HELPER struct hmm_test_device *test_device(struct mrn_hmm_device *dev)
{
	return container_of(dev, struct hmm_test_device, dev);
}

HELPER uint64_t *device_memory(struct hmm_test_device *d, uint64_t page)
{
	CHECK(page < d->dev.pages);
	return (uint64_t *)(void *)(d->memory + PAGE(page));
}

HELPER long test_device_alloc(struct mrn_hmm_device *dev, size_t n, uint64_t *out)
{
	struct hmm_test_device *d = test_device(dev);
	size_t got = 0;

	if (d->fail_alloc)
		return d->fail_alloc;
	if (d->most && n > d->most)
		n = d->most;
	pthread_mutex_lock(&d->lock);
	for (uint64_t i = 0; i < dev->pages && got < n; i++) {
		if (d->used[i])
			continue;
		d->used[i] = true;
		out[got++] = i;
	}
	d->in_use += got;
	d->allocs += (unsigned int)got;
	pthread_mutex_unlock(&d->lock);
	return (long)got;
}

HELPER void test_device_free(struct mrn_hmm_device *dev, size_t n, const uint64_t *freed)
{
	struct hmm_test_device *d = test_device(dev);

	pthread_mutex_lock(&d->lock);
	for (size_t i = 0; i < n; i++) {
		/* None twice, and none that never was. */
		CHECK(freed[i] < dev->pages);
		CHECK(d->used[freed[i]]);
		d->used[freed[i]] = false;
		memset(d->memory + PAGE(freed[i]), 0xdd, mrn_page_size());
	}
	d->in_use -= n;
	d->frees += (unsigned int)n;
	pthread_mutex_unlock(&d->lock);
}

HELPER void test_device_stop(struct hmm_test_device *d)
{
	seen_by_tsan();
	if (!d->entered)
		return;
	test_gate_open(d->entered);
	test_gate_wait(d->leave);
}

HELPER int test_device_to_device(struct mrn_hmm_device *dev, size_t n, const uint64_t *to,
				 void *const *frames)
{
	struct hmm_test_device *d = test_device(dev);

	test_device_stop(d);
	if (d->fail_to_device)
		return d->fail_to_device;
	for (size_t i = 0; i < n; i++)
		memcpy(device_memory(d, to[i]), frames[i], mrn_page_size());
	return 0;
}

HELPER int test_device_to_ram(struct mrn_hmm_device *dev, size_t n, void *const *frames,
			      const uint64_t *from)
{
	struct hmm_test_device *d = test_device(dev);

	test_device_stop(d);
	if (d->fail_to_ram)
		return d->fail_to_ram;
	for (size_t i = 0; i < n; i++)
		memcpy(frames[i], device_memory(d, from[i]), mrn_page_size());
	return 0;
}

static const struct mrn_hmm_device_ops test_device_ops = {
	test_device_alloc,
	test_device_free,
	test_device_to_device,
	test_device_to_ram,
};

HELPER void device_init(struct hmm_test_device *d, struct hmm_rig *rig, uint64_t pages_)
{
	memset(d, 0, sizeof(*d));
	pthread_mutex_init(&d->lock, NULL);
	CHECK(pages_ <= DEVICE_PAGES);
	d->memory = calloc(pages_, mrn_page_size());
	CHECK(d->memory);
	d->dev.ops = &test_device_ops;
	d->dev.pages = pages_;
	CHECK_ERR(mrn_hmm_device_add(rig->hmm, &d->dev), 0);
}

/* Nothing is left there. */
HELPER void device_exit(struct hmm_test_device *d, struct hmm_rig *rig)
{
	CHECK_ERR(mrn_hmm_device_remove(rig->hmm, &d->dev), 0);
	CHECK_EQ(d->in_use, 0);
	CHECK_EQ(d->allocs, d->frees);
	free(d->memory);
}

/* The page of d's memory that pfn names. */
HELPER uint64_t *device_page(struct hmm_test_device *d, unsigned long pfn)
{
	uint64_t page;

	CHECK(pfn & HMM_PFN_VALID);
	CHECK(mrn_hmm_device_page(&d->dev, pfn, &page));
	return device_memory(d, page);
}

#endif
