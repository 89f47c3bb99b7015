/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A driver as one would write it for the kernel: a device page table over an interval notifier, and a
 * translation cache over a classic notifier that is shared with get and put. It has no name of
 * mrn's; linux_port.c runs it.
 */
#include <mrn/linux/hmm.h>
#include <mrn/linux/mmu_notifier.h>

#include "linux_driver.h"
#include "linux_shim.h"

bool skip_retry, skip_set_seq, skip_count;

/* ------------------------------------------------------------------------------ the page table */

#define MIRROR_BATCH 16
#define MIRROR_TRIES 1000

struct mirror_pte {
	struct page *page; /* pinned; NULL: no entry */
	bool write;
};

struct mirror {
	struct mmu_interval_notifier notifier;
	struct mutex lock; /* protects everything below, and set_seq against read_retry */
	unsigned long start, npages;
	unsigned long retries;
	struct mirror_pte *table;
};

/* Lock held. What the device has written through an entry is the page's before the pin goes. */
static void mirror_zap(struct mirror *m, unsigned long start, unsigned long end)
{
	unsigned long addr;

	start = max(start, m->start);
	end = min(end, m->start + (m->npages << PAGE_SHIFT));
	for (addr = start; addr < end; addr += PAGE_SIZE) {
		struct mirror_pte *pte = &m->table[(addr - m->start) >> PAGE_SHIFT];
		struct page *page = pte->page;

		if (!page)
			continue;
		pte->page = NULL;
		unpin_user_pages_dirty_lock(&page, 1, pte->write);
	}
}

static bool mirror_invalidate(struct mmu_interval_notifier *interval_sub,
			      const struct mmu_notifier_range *range, unsigned long cur_seq)
{
	struct mirror *m = container_of(interval_sub, struct mirror, notifier);

	if (mmu_notifier_range_blockable(range))
		mutex_lock(&m->lock);
	else if (!mutex_trylock(&m->lock))
		return false;
	if (!skip_set_seq)
		mmu_interval_set_seq(interval_sub, cur_seq);
	mirror_zap(m, range->start, range->end);
	mutex_unlock(&m->lock);
	return true;
}

static const struct mmu_interval_notifier_ops mirror_ops = {
	.invalidate = mirror_invalidate,
};

struct mirror *mirror_create(struct mm_struct *mm, unsigned long start, unsigned long npages)
{
	struct mirror *m = kmalloc(sizeof(*m), GFP_KERNEL);
	int ret;

	if (!m)
		return ERR_PTR(-ENOMEM);
	mutex_init(&m->lock);
	m->start = start;
	m->npages = npages;
	m->retries = 0;
	m->table = kcalloc(npages ? npages : 1, sizeof(*m->table), GFP_KERNEL);
	ret = m->table ? mmu_interval_notifier_insert(&m->notifier, mm, start, npages << PAGE_SHIFT,
						      &mirror_ops)
		       : -ENOMEM;
	if (ret) {
		kfree(m->table);
		kfree(m);
		return ERR_PTR(ret);
	}
	return m;
}

/* Nobody faults any more. First the entries: one that outlives its notifier is told of nothing. */
void mirror_destroy(struct mirror *m)
{
	mutex_lock(&m->lock);
	mirror_zap(m, m->start, m->start + (m->npages << PAGE_SHIFT));
	mutex_unlock(&m->lock);
	mmu_interval_notifier_remove(&m->notifier);
	mutex_destroy(&m->lock);
	kfree(m->table);
	kfree(m);
}

/* Lock held. */
static void mirror_set(struct mirror *m, unsigned long addr, struct page **pages,
		       unsigned long npages, bool write)
{
	struct mirror_pte *pte = &m->table[(addr - m->start) >> PAGE_SHIFT];
	unsigned long i;

	for (i = 0; i < npages; i++) {
		if (pte[i].page)
			unpin_user_pages_dirty_lock(&pte[i].page, 1, pte[i].write);
		pte[i].page = pages[i];
		pte[i].write = write;
	}
}

int mirror_fault(struct mirror *m, unsigned long addr, unsigned long npages, bool write)
{
	struct page *pages[MIRROR_BATCH];
	unsigned int tries;

	npages = min(npages, (unsigned long)MIRROR_BATCH);
	if (addr < m->start || ((addr - m->start) >> PAGE_SHIFT) + npages > m->npages)
		return -EINVAL;
	for (tries = 0; tries < MIRROR_TRIES; tries++) {
		unsigned long seq = mmu_interval_read_begin(&m->notifier);
		long got = pin_user_pages_remote(m->notifier.mm, addr, npages,
						 write ? FOLL_WRITE : 0, pages, NULL);

		if (got < 0)
			return (int)got;
		/* Not worth the lock when it is certain already. */
		if (mmu_interval_check_retry(&m->notifier, seq) && !skip_retry)
			goto collided;
		mutex_lock(&m->lock);
		if (!mmu_interval_read_retry(&m->notifier, seq) || skip_retry) {
			mirror_set(m, addr, pages, (unsigned long)got, write);
			mutex_unlock(&m->lock);
			return 0;
		}
		mutex_unlock(&m->lock);
collided:
		unpin_user_pages_dirty_lock(pages, (unsigned long)got, false);
		mutex_lock(&m->lock);
		m->retries++;
		mutex_unlock(&m->lock);
	}
	return -EBUSY;
}

/* Lock held. */
static struct mirror_pte *mirror_walk(struct mirror *m, unsigned long addr)
{
	unsigned long i = (addr - m->start) >> PAGE_SHIFT;

	return addr >= m->start && i < m->npages && m->table[i].page ? &m->table[i] : NULL;
}

int mirror_read(struct mirror *m, unsigned long addr, uint64_t *value)
{
	struct mirror_pte *pte;

	mutex_lock(&m->lock);
	pte = mirror_walk(m, addr);
	if (pte)
		*value = *page_address(pte->page);
	mutex_unlock(&m->lock);
	return pte ? 0 : -EFAULT;
}

int mirror_write(struct mirror *m, unsigned long addr, uint64_t value)
{
	struct mirror_pte *pte;
	bool done;

	mutex_lock(&m->lock);
	pte = mirror_walk(m, addr);
	done = pte && pte->write;
	if (done)
		*page_address(pte->page) = value;
	mutex_unlock(&m->lock);
	return done ? 0 : -EFAULT;
}

unsigned long mirror_mapped(struct mirror *m, unsigned long addr, unsigned long npages)
{
	unsigned long i, n = 0;

	mutex_lock(&m->lock);
	for (i = 0; i < npages; i++)
		n += !!mirror_walk(m, addr + (i << PAGE_SHIFT));
	mutex_unlock(&m->lock);
	return n;
}

unsigned long mirror_retries(struct mirror *m)
{
	unsigned long n;

	mutex_lock(&m->lock);
	n = m->retries;
	mutex_unlock(&m->lock);
	return n;
}

void mirror_freeze(struct mirror *m)
{
	mutex_lock(&m->lock);
}

void mirror_thaw(struct mirror *m)
{
	mutex_unlock(&m->lock);
}

/* -------------------------------------------------------------------- the translation cache */

#define TLB_SLOTS 8

/* Counts what is in progress, and what has been: nothing is filled in across either. */
struct tlb {
	struct mmu_notifier mn;
	struct mutex lock; /* protects everything below */
	unsigned int in_progress;
	unsigned long done;
	struct {
		unsigned long addr;
		struct page *page;
	} slot[TLB_SLOTS];
};

static unsigned long live; /* how many there are, for the test */

/* Lock held. */
static void tlb_flush(struct tlb *t, unsigned long start, unsigned long end)
{
	unsigned int i;

	for (i = 0; i < TLB_SLOTS; i++)
		if (t->slot[i].page && t->slot[i].addr < end &&
		    t->slot[i].addr + PAGE_SIZE > start) {
			unpin_user_pages_dirty_lock(&t->slot[i].page, 1, false);
			t->slot[i].page = NULL;
		}
}

static int tlb_invalidate_range_start(struct mmu_notifier *mn,
				      const struct mmu_notifier_range *range)
{
	struct tlb *t = container_of(mn, struct tlb, mn);

	mutex_lock(&t->lock);
	t->in_progress += !skip_count;
	tlb_flush(t, range->start, range->end);
	mutex_unlock(&t->lock);
	return 0;
}

static void tlb_invalidate_range_end(struct mmu_notifier *mn,
				     const struct mmu_notifier_range *range)
{
	struct tlb *t = container_of(mn, struct tlb, mn);

	mutex_lock(&t->lock);
	t->in_progress -= !skip_count;
	t->done += !skip_count;
	mutex_unlock(&t->lock);
}

static void tlb_release(struct mmu_notifier *mn, struct mm_struct *mm)
{
	struct tlb *t = container_of(mn, struct tlb, mn);

	mutex_lock(&t->lock);
	tlb_flush(t, 0, ~0ul);
	mutex_unlock(&t->lock);
}

static struct mmu_notifier *tlb_alloc_notifier(struct mm_struct *mm)
{
	struct tlb *t = kmalloc(sizeof(*t), GFP_KERNEL);

	if (!t)
		return NULL;
	mutex_init(&t->lock);
	t->in_progress = 0;
	t->done = 0;
	memset(t->slot, 0, sizeof(t->slot));
	__atomic_add_fetch(&live, 1, __ATOMIC_RELAXED);
	return &t->mn;
}

static void tlb_free_notifier(struct mmu_notifier *mn)
{
	struct tlb *t = container_of(mn, struct tlb, mn);

	tlb_flush(t, 0, ~0ul);
	mutex_destroy(&t->lock);
	kfree(t);
	__atomic_sub_fetch(&live, 1, __ATOMIC_RELAXED);
}

static const struct mmu_notifier_ops tlb_ops = {
	.release = tlb_release,
	.invalidate_range_start = tlb_invalidate_range_start,
	.invalidate_range_end = tlb_invalidate_range_end,
	.alloc_notifier = tlb_alloc_notifier,
	.free_notifier = tlb_free_notifier,
};

struct tlb *tlb_open(struct mm_struct *mm)
{
	struct mmu_notifier *mn = mmu_notifier_get(&tlb_ops, mm);

	if (IS_ERR(mn))
		return ERR_PTR(PTR_ERR(mn));
	return container_of(mn, struct tlb, mn);
}

void tlb_close(struct tlb *t)
{
	mmu_notifier_put(&t->mn);
}

int tlb_read(struct tlb *t, unsigned long addr, uint64_t *value)
{
	unsigned int i = (addr >> PAGE_SHIFT) % TLB_SLOTS;
	struct page *page;
	unsigned long done;
	long got;
	bool hit, good;

	mutex_lock(&t->lock);
	hit = t->slot[i].page && t->slot[i].addr == addr;
	if (hit)
		*value = *page_address(t->slot[i].page);
	done = t->done;
	good = !t->in_progress;
	mutex_unlock(&t->lock);
	if (hit)
		return 0;
	if (!good)
		return -EAGAIN;
	got = pin_user_pages_remote(t->mn.mm, addr, 1, 0, &page, NULL);
	if (got < 0)
		return (int)got;
	mutex_lock(&t->lock);
	good = !t->in_progress && t->done == done;
	if (good) {
		if (t->slot[i].page)
			unpin_user_pages_dirty_lock(&t->slot[i].page, 1, false);
		t->slot[i].addr = addr;
		t->slot[i].page = page;
		*value = *page_address(page);
	}
	mutex_unlock(&t->lock);
	if (!good)
		unpin_user_pages_dirty_lock(&page, 1, false);
	return good ? 0 : -EAGAIN;
}

unsigned long tlb_live(void)
{
	return __atomic_load_n(&live, __ATOMIC_RELAXED);
}
