/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * nouveau: shared virtual memory (drivers/gpu/drm/nouveau, nouveau_svm and nouveau_dmem).
 *
 * Shadow	the GPU's page table: valid, write, atomic; in VRAM or in system memory. Misses go to a fault
 *		buffer; the driver sorts them, handles each address once, and replays or cancels.
 * Driver lock	the svmm's mutex, from the retry check to the end of the write to the page table.
 * Invalidate	in two halves. A range notifier, inserted for one fault only, does nothing but update_seq;
 *		where it may not wait it tries the lock. A list notifier, which is called after it, clears
 *		the entries; it refuses where it may not wait. It leaves a window of the address space
 *		alone that programs manage themselves, and the device's own migrations: these clear the
 *		entries just before they copy.
 * Hazards	an entry that is written between the two halves, if they come in the other order; a
 *		migration whose entries nobody clears; rights that the CPU does not have, to write, or to
 *		be alone; the copy before the entry is gone.
 * Before 2019	hmm_mirror: ranges in a list of their own, and a count of invalidations in progress, until
 *		whose end every fault waited.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lab/parts/mmu.h"
#include "lab/models/models.h"

enum {
	NO_RETRY,
	NO_UPDATE_SEQ,
	NO_FLUSH,
	UNLOCK_EARLY,
	NO_OWNER_CHECK,
	NO_CLEAR_TO_VRAM,
	NO_CLEAR_TO_RAM,
	CLEAR_AFTER_COPY,
	NO_WRITE_CHECK,
	NO_EXCLUSIVE,
	NO_UNMANAGED_CHECK,
};
static const char *const steps[] = {
	[NO_RETRY] = "no_retry",
	[NO_UPDATE_SEQ] = "no_update_seq",
	[NO_FLUSH] = "no_flush",
	[UNLOCK_EARLY] = "unlock_early",
	[NO_OWNER_CHECK] = "no_owner_check",
	[NO_CLEAR_TO_VRAM] = "no_clear_to_vram",
	[NO_CLEAR_TO_RAM] = "no_clear_to_ram",
	[CLEAR_AFTER_COPY] = "clear_after_copy",
	[NO_WRITE_CHECK] = "no_write_check",
	[NO_EXCLUSIVE] = "no_exclusive",
	[NO_UNMANAGED_CHECK] = "no_unmanaged_check",
	NULL,
};

#define UNMANAGED_PAGES 4  /* in the middle */
#define WINDOW		8  /* pages that are migrated, or audited, at once */
#define VRAM_PAGES	16 /* too few for all */
#define BUFFER_ENTRIES	64 /* a power of two */
#define MAX_TOKENS	32

/* Flags of an entry, in its number, besides valid and write. */
#define PFN_VRAM   (UINT64_C(1) << 53) /* the number is VRAM's, not a frame */
#define PFN_ATOMIC (UINT64_C(1) << 52)
#define PFN_NUMBER (PFN_ATOMIC - 1)

/* What asks for more is the greater. */
enum access { READ, WRITE, ATOMIC };

/* An access of the GPU. After a fault it stalls until that is replayed or cancelled. */
struct warp {
	size_t page;
	enum access access;
	enum warp_state { READY, STALLED, CANCELLED } state; /* under the buffer's lock */
};

struct nouveau_svm_fault {
	size_t page;
	enum access access;
	struct warp *warp; /* NULL: nobody waits */
	bool cancel;
};

struct nouveau_svmm {
	struct mmu_notifier notifier;
	struct lab *lab;
	struct lab_mmu vmm; /* the page table, by page of the region */
	size_t page_size, unmanaged_start, unmanaged_limit;
	pthread_mutex_t mutex; /* the driver lock */
	/* Under mutex: invalidations that the list notifier has been told of and that have not ended. */
	const struct mmu_notifier_range *listed[MAX_TOKENS];
	struct lab_thread *engine;

	struct {
		pthread_mutex_t lock; /* the hardware's, in effect */
		pthread_cond_t replayed;
		struct nouveau_svm_fault entry[BUFFER_ENTRIES];
		uint32_t get, put;
	} buffer;

	/* VRAM as device memory of the region. The unmanaged window shows a page beyond it. */
	struct mrn_hmm_device dmem;
	char *vram;
	/* Under mutex, by page of VRAM: in use, and the page whose entry showed it last. */
	bool used[VRAM_PAGES];
	size_t where[VRAM_PAGES];
	/* One migration to VRAM at a time: its range. No callback takes it. */
	pthread_mutex_t migrate_mutex;
	size_t migrate_first, migrate_n;
};

/* An operation, and how often it has begun again. */
struct op {
	struct lab_thread *t;
	unsigned int retries;
};

static struct nouveau_svmm *svmm_of(struct mrn_hmm_device *dmem)
{
	return (struct nouveau_svmm *)((char *)dmem - offsetof(struct nouveau_svmm, dmem));
}

static char *vram_page(struct nouveau_svmm *svmm, uint64_t page)
{
	return svmm->vram + page * svmm->page_size;
}

/* ------------------------------------------------------------------------------------------ invalidate */

/* Under mutex. */
static void svmm_invalidate(struct nouveau_svmm *svmm, size_t first, size_t limit)
{
	if (first >= limit)
		return;
	lab_mmu_clear(&svmm->vmm, first, limit - first);
	if (!lab_is_broken(svmm->lab, NO_FLUSH))
		lab_mmu_flush(&svmm->vmm, first, limit - first);
}

static void invalidate_managed(struct nouveau_svmm *svmm, size_t first, size_t limit)
{
	if (!lab_is_broken(svmm->lab, NO_UNMANAGED_CHECK) && limit > svmm->unmanaged_start &&
	    first < svmm->unmanaged_limit) {
		svmm_invalidate(svmm, first, svmm->unmanaged_start);
		first = svmm->unmanaged_limit;
	}
	svmm_invalidate(svmm, first, limit);
}

/* Under mutex. The place of update in the list of invalidations; of NULL, a free one. */
static const struct mmu_notifier_range **listed(struct nouveau_svmm *svmm,
						const struct mmu_notifier_range *update)
{
	for (size_t k = 0; k < MAX_TOKENS; k++)
		if (svmm->listed[k] == update)
			return &svmm->listed[k];
	return NULL;
}

static bool is_own_migration(struct nouveau_svmm *svmm, const struct mmu_notifier_range *update)
{
	return update->event == MMU_NOTIFY_MIGRATE &&
	       (update->owner == &svmm->dmem || lab_is_broken(svmm->lab, NO_OWNER_CHECK));
}

static int svmm_invalidate_range_start(struct mmu_notifier *mn,
				       const struct mmu_notifier_range *update)
{
	struct nouveau_svmm *svmm = (struct nouveau_svmm *)mn;
	const struct mmu_notifier_range **place;

	if (!mmu_notifier_range_blockable(update)) {
		lab_count_refusal(svmm->lab);
		return -EAGAIN;
	}
	pthread_mutex_lock(&svmm->mutex);
	place = listed(svmm, NULL);
	LAB_ASSERT(svmm->lab, place, "more than %d invalidations at once", MAX_TOKENS);
	if (place)
		*place = update;
	if (!is_own_migration(svmm, update)) {
		lab_count_invalidation(svmm->lab, update);
		invalidate_managed(svmm, lab_page(svmm->lab, update->start),
				   lab_page(svmm->lab, update->end));
	}
	pthread_mutex_unlock(&svmm->mutex);
	return 0;
}

/*
 * The driver has no such callback. What was cleared at the start was not written again: a fault that
 * began before has collided, one that began since is waiting.
 */
static void svmm_invalidate_range_end(struct mmu_notifier *mn,
				      const struct mmu_notifier_range *update)
{
	struct nouveau_svmm *svmm = (struct nouveau_svmm *)mn;
	const struct mmu_notifier_range **place;
	size_t i = lab_page(svmm->lab, update->start), end = lab_page(svmm->lab, update->end);
	bool own = update->owner == &svmm->dmem;

	pthread_mutex_lock(&svmm->mutex);
	place = listed(svmm, update);
	if (place)
		*place = NULL;
	for (; i < end && !own; i++)
		LAB_ASSERT(svmm->lab,
			   (i >= svmm->unmanaged_start && i < svmm->unmanaged_limit) ||
				   !lab_mmu_is_mapped(&svmm->vmm, i),
			   "page %zu was mapped during an invalidation", i);
	for (i = svmm->unmanaged_start; i < svmm->unmanaged_limit; i++)
		LAB_ASSERT(svmm->lab, lab_mmu_is_mapped(&svmm->vmm, i),
			   "page %zu of the unmanaged window was taken away", i);
	pthread_mutex_unlock(&svmm->mutex);
}

static const struct mmu_notifier_ops mn_ops = {
	.invalidate_range_start = svmm_invalidate_range_start,
	.invalidate_range_end = svmm_invalidate_range_end,
};

struct svm_notifier {
	struct mmu_range_notifier notifier;
	struct nouveau_svmm *svmm;
	bool exclusive; /* this fault asks for exclusive access: that is no collision */
};

/*
 * Only the seq: taking the lock keeps it from changing between a retry check and the write to the page
 * table. That the entry is taken away again relies on the list notifier's being called after this.
 */
static bool svm_range_invalidate(struct mmu_range_notifier *mrn,
				 const struct mmu_notifier_range *range, uint64_t cur_seq)
{
	struct svm_notifier *sn = (struct svm_notifier *)mrn;
	struct nouveau_svmm *svmm = sn->svmm;

	if (sn->exclusive && range->event == MMU_NOTIFY_EXCLUSIVE && range->owner == &svmm->dmem)
		return true;
	if (mmu_notifier_range_blockable(range)) {
		pthread_mutex_lock(&svmm->mutex);
	} else if (pthread_mutex_trylock(&svmm->mutex)) {
		lab_count_refusal(svmm->lab);
		return false;
	}
	LAB_ASSERT(svmm->lab, !listed(svmm, range), "the list was told before a range notifier");
	lab_count_invalidation(svmm->lab, range);
	if (!lab_is_broken(svmm->lab, NO_UPDATE_SEQ))
		mmu_range_notifier_update_seq(mrn, cur_seq);
	pthread_mutex_unlock(&svmm->mutex);
	return true;
}

static const struct mmu_range_notifier_ops range_ops = {.invalidate = svm_range_invalidate};

/* ------------------------------------------------------------------------------------------------- VRAM */

/* Under mutex. Does the entry of page i show this page of VRAM? */
static bool shows(struct nouveau_svmm *svmm, size_t i, uint64_t page)
{
	return lab_mmu_is_mapped(&svmm->vmm, i) &&
	       (lab_mmu_pfn(&svmm->vmm, i) & ~PFN_ATOMIC) == (page | PFN_VRAM);
}

static long dmem_alloc(struct mrn_hmm_device *dmem, size_t n, uint64_t *pages)
{
	struct nouveau_svmm *svmm = svmm_of(dmem);
	size_t got = 0;

	pthread_mutex_lock(&svmm->mutex);
	for (uint64_t page = 0; page < dmem->pages && got < n; page++) {
		if (svmm->used[page])
			continue;
		svmm->used[page] = true;
		pages[got++] = page;
	}
	pthread_mutex_unlock(&svmm->mutex);
	return (long)got;
}

static void dmem_free(struct mrn_hmm_device *dmem, size_t n, const uint64_t *pages)
{
	struct nouveau_svmm *svmm = svmm_of(dmem);

	pthread_mutex_lock(&svmm->mutex);
	for (size_t k = 0; k < n; k++) {
		uint64_t *word = (uint64_t *)vram_page(svmm, pages[k]);

		LAB_ASSERT(svmm->lab, !shows(svmm, svmm->where[pages[k]], pages[k]),
			   "a page of VRAM is freed that the GPU can reach");
		/* Whoever still reads it gets what the oracle knows. */
		for (size_t at = 0; at < svmm->page_size / sizeof(*word); at++)
			__atomic_store_n(&word[at], MRN_HMM_POISON(pages[k]), __ATOMIC_RELAXED);
		svmm->used[pages[k]] = false;
	}
	pthread_mutex_unlock(&svmm->mutex);
}

/*
 * The list notifier has left the entries to us, and with them what the GPU has had alone: a page on its
 * way is lent no more. The real driver does not clear them here, it writes new ones after the copy; what
 * the GPU writes in between is lost (--break no_clear_to_vram).
 */
static int dmem_copy_to_device(struct mrn_hmm_device *dmem, size_t n, const uint64_t *pages,
			       void *const *frames)
{
	struct nouveau_svmm *svmm = svmm_of(dmem);
	bool late = lab_is_broken(svmm->lab, CLEAR_AFTER_COPY);
	size_t first = svmm->migrate_first, limit = first + svmm->migrate_n;

	if (lab_is_broken(svmm->lab, NO_CLEAR_TO_VRAM))
		limit = first;
	pthread_mutex_lock(&svmm->mutex);
	if (!late)
		svmm_invalidate(svmm, first, limit);
	for (size_t k = 0; k < n; k++)
		memcpy(vram_page(svmm, pages[k]), frames[k], svmm->page_size);
	if (late)
		svmm_invalidate(svmm, first, limit);
	pthread_mutex_unlock(&svmm->mutex);
	return 0;
}

static int dmem_copy_to_ram(struct mrn_hmm_device *dmem, size_t n, void *const *frames,
			    const uint64_t *pages)
{
	struct nouveau_svmm *svmm = svmm_of(dmem);
	bool late = lab_is_broken(svmm->lab, CLEAR_AFTER_COPY);

	pthread_mutex_lock(&svmm->mutex);
	for (size_t k = 0; k < n; k++) {
		size_t i = svmm->where[pages[k]], clear = shows(svmm, i, pages[k]);

		if (lab_is_broken(svmm->lab, NO_CLEAR_TO_RAM))
			clear = 0;
		if (!late)
			svmm_invalidate(svmm, i, i + clear);
		memcpy(frames[k], vram_page(svmm, pages[k]), svmm->page_size);
		if (late)
			svmm_invalidate(svmm, i, i + clear);
	}
	pthread_mutex_unlock(&svmm->mutex);
	return 0;
}

static const struct mrn_hmm_device_ops dmem_ops = {
	.alloc = dmem_alloc,
	.free = dmem_free,
	.copy_to_device = dmem_copy_to_device,
	.copy_to_ram = dmem_copy_to_ram,
};

/* ----------------------------------------------------------------------------------------- range faults */

static int notifier_insert(struct svm_notifier *sn, struct nouveau_svmm *svmm, size_t first,
			   size_t n, bool exclusive)
{
	*sn = (struct svm_notifier){.svmm = svmm, .exclusive = exclusive};
	sn->notifier.ops = &range_ops;
	sn->notifier.driver_lock = &svmm->mutex;
	return mmu_range_notifier_insert(&sn->notifier, lab_addr(svmm->lab, first),
					 n * svmm->page_size, lab_mm(svmm->lab));
}

/* An entry as the GPU has it, from one of hmm_range_fault's. */
static uint64_t convert_pfn(struct nouveau_svmm *svmm, unsigned long pfn)
{
	uint64_t page;

	return mrn_hmm_device_page(&svmm->dmem, pfn, &page) ? page | PFN_VRAM
							    : hmm_pfn_to_frame(pfn);
}

/* Under mutex. */
static void map(struct nouveau_svmm *svmm, size_t i, unsigned long pfn, uint64_t flags)
{
	uint64_t entry = convert_pfn(svmm, pfn);
	bool write = (pfn & HMM_PFN_WRITE) || lab_is_broken(svmm->lab, NO_WRITE_CHECK);

	if (!(pfn & HMM_PFN_VALID))
		return;
	if (entry & PFN_VRAM)
		svmm->where[entry & PFN_NUMBER] = i;
	lab_mmu_map(&svmm->vmm, i, entry | flags, write);
}

/* Takes the mutex unless the seq is of no use any more. */
static bool lock_if_valid(struct svm_notifier *sn, uint64_t seq, struct lab_thread *t)
{
	struct nouveau_svmm *svmm = sn->svmm;

	lab_pause(t);
	pthread_mutex_lock(&svmm->mutex);
	if (mmu_range_read_retry(&sn->notifier, seq) && !lab_is_broken(svmm->lab, NO_RETRY)) {
		pthread_mutex_unlock(&svmm->mutex);
		return false;
	}
	if (lab_is_broken(svmm->lab, UNLOCK_EARLY)) {
		pthread_mutex_unlock(&svmm->mutex);
		lab_pause(t);
		pthread_mutex_lock(&svmm->mutex);
	}
	return true;
}

struct ask {
	size_t first, n;       /* pages; for exclusive one */
	unsigned long request; /* HMM_PFN_REQ_*; 0 for what is there */
	bool exclusive;	       /* without the CPU */
	bool atomic;	       /* enter it as such */
	unsigned long pfns[WINDOW];
};

static int ask_once(struct svm_notifier *sn, struct ask *ask, uint64_t seq)
{
	struct nouveau_svmm *svmm = sn->svmm;
	struct hmm_range range = {
		.notifier = &sn->notifier,
		.notifier_seq = seq,
		.start = lab_addr(svmm->lab, ask->first),
		.end = lab_addr(svmm->lab, ask->first + ask->n),
		.hmm_pfns = ask->pfns,
		.default_flags = ask->request,
		.dev_private_owner = &svmm->dmem,
	};
	long lent;

	if (!ask->exclusive)
		return hmm_range_fault(&range);
	lent = mrn_hmm_make_exclusive(lab_hmm(svmm->lab), (void *)range.start, svmm->page_size,
				      &svmm->dmem, ask->pfns);
	return lent < 0 ? (int)lent : 0;
}

/* Brings in what is asked for, and enters it into the page table. 0, or -errno: it cannot be had. */
static int range_fault(struct nouveau_svmm *svmm, struct ask *ask, struct op *op)
{
	struct svm_notifier sn;
	int err = notifier_insert(&sn, svmm, ask->first, ask->n, ask->exclusive);

	if (err)
		return err;
	lab_count_faults(op->t, ask->n);
	for (;; op->retries++) {
		uint64_t seq = mmu_range_read_begin(&sn.notifier);

		err = ask_once(&sn, ask, seq);
		if (err == -EBUSY && !ask->exclusive)
			continue;
		if (err || lock_if_valid(&sn, seq, op->t))
			break;
	}
	if (!err) {
		for (size_t k = 0; k < ask->n; k++)
			map(svmm, ask->first + k, ask->pfns[k], ask->atomic ? PFN_ATOMIC : 0);
		pthread_mutex_unlock(&svmm->mutex);
	}
	mmu_range_notifier_remove(&sn.notifier);
	return err;
}

/* Some pages beside the unmanaged window. */
static struct ask choose_window(struct nouveau_svmm *svmm, struct lab_thread *t)
{
	struct ask ask = {.n = 1 + lab_below(t, WINDOW)};

	ask.first = lab_below(t, svmm->unmanaged_start - ask.n + 1);
	if (lab_chance(t, 2))
		ask.first += svmm->unmanaged_limit;
	return ask;
}

/* A program asks for pages to be in VRAM. */
static void svmm_bind(struct nouveau_svmm *svmm, struct op *op)
{
	struct ask ask = choose_window(svmm, op->t);

	pthread_mutex_lock(&svmm->migrate_mutex);
	svmm->migrate_first = ask.first;
	svmm->migrate_n = ask.n;
	mrn_hmm_migrate_to_device(lab_hmm(svmm->lab), &svmm->dmem,
				  (void *)lab_addr(svmm->lab, ask.first), ask.n * svmm->page_size,
				  NULL);
	pthread_mutex_unlock(&svmm->migrate_mutex);
	lab_pause(op->t);
	range_fault(svmm, &ask, op);
}

/* ----------------------------------------------------------------------------------------------- audit */

/* The GPU has no right that the CPU has not; but where it is alone, the CPU has none. */
static void compare(struct nouveau_svmm *svmm, size_t i, uint64_t entry, bool write,
		    unsigned long pfn)
{
	if (entry == LAB_NO_FRAME)
		return;
	if (entry & PFN_ATOMIC) {
		LAB_ASSERT(svmm->lab, !(pfn & HMM_PFN_VALID),
			   "page %zu: the GPU is not alone, but has atomic access", i);
		return;
	}
	LAB_ASSERT(svmm->lab, (pfn & HMM_PFN_VALID) && convert_pfn(svmm, pfn) == entry,
		   "page %zu: the GPU sees another page than the CPU", i);
	LAB_ASSERT(svmm->lab, !write || (pfn & HMM_PFN_WRITE),
		   "page %zu: the GPU may write, the CPU may not", i);
}

/*
 * Exact: without an invalidation between read_begin and the retry check, rights only grow. So what the
 * page table had before the snapshot is at most what the snapshot has. This notifier counts the device's
 * own exclusive access as a collision, so what is alone at first is alone until the check.
 */
static void audit(struct nouveau_svmm *svmm, struct lab_thread *t)
{
	struct ask ask = choose_window(svmm, t);
	uint64_t entry[WINDOW], seq;
	bool write[WINDOW];
	struct svm_notifier sn;

	if (notifier_insert(&sn, svmm, ask.first, ask.n, false))
		return;
	seq = mmu_range_read_begin(&sn.notifier);
	pthread_mutex_lock(&svmm->mutex);
	for (size_t k = 0; k < ask.n; k++) {
		entry[k] = lab_mmu_pfn(&svmm->vmm, ask.first + k);
		write[k] = lab_mmu_is_writable(&svmm->vmm, ask.first + k);
	}
	pthread_mutex_unlock(&svmm->mutex);
	if (!ask_once(&sn, &ask, seq)) {
		pthread_mutex_lock(&svmm->mutex);
		for (size_t k = 0; k < ask.n && !mmu_range_read_retry(&sn.notifier, seq); k++)
			compare(svmm, ask.first + k, entry[k], write[k], ask.pfns[k]);
		pthread_mutex_unlock(&svmm->mutex);
	}
	mmu_range_notifier_remove(&sn.notifier);
}

/* --------------------------------------------------------------------------------- the GPU, fault buffer */

/* When the buffer is full the fault is lost: whoever waits goes on, and faults again. */
static void buffer_put(struct nouveau_svmm *svmm, const struct warp *w, struct warp *waits)
{
	pthread_mutex_lock(&svmm->buffer.lock);
	if (svmm->buffer.put - svmm->buffer.get < BUFFER_ENTRIES) {
		svmm->buffer.entry[svmm->buffer.put++ % BUFFER_ENTRIES] =
			(struct nouveau_svm_fault){w->page, w->access, waits, false};
		if (waits)
			waits->state = STALLED;
	}
	pthread_mutex_unlock(&svmm->buffer.lock);
}

static size_t buffer_get(struct nouveau_svmm *svmm, struct nouveau_svm_fault *fault)
{
	size_t n = 0;

	pthread_mutex_lock(&svmm->buffer.lock);
	while (svmm->buffer.get != svmm->buffer.put)
		fault[n++] = svmm->buffer.entry[svmm->buffer.get++ % BUFFER_ENTRIES];
	pthread_mutex_unlock(&svmm->buffer.lock);
	return n;
}

/* False when the page table does not allow it. */
static bool access_page(struct nouveau_svmm *svmm, const struct warp *w, struct lab_thread *t)
{
	bool write = w->access != READ;
	uint64_t entry = lab_mmu_begin(&svmm->vmm, w->page, write), number = entry & PFN_NUMBER;

	if (entry == LAB_NO_FRAME)
		return false;
	if (w->access == ATOMIC && !(entry & PFN_ATOMIC)) {
		lab_mmu_end(&svmm->vmm, w->page);
		return false;
	}
	lab_pause(t);
	/* What programs manage themselves the oracle knows nothing of. */
	if (!(entry & PFN_VRAM))
		lab_dma(t, mrn_hmm_frame(lab_hmm(svmm->lab), number), w->page, write);
	else if (number < svmm->dmem.pages)
		lab_dma(t, vram_page(svmm, number), w->page, write);
	lab_mmu_end(&svmm->vmm, w->page);
	return true;
}

static struct warp launch(struct nouveau_svmm *svmm, struct lab_thread *t)
{
	return (struct warp){.page = lab_below(t, lab_pages(svmm->lab)),
			     .access = lab_chance(t, 8) ? ATOMIC : (enum access)lab_below(t, 2)};
}

/* Other channels, which do not wait for their faults. */
static void engine(void *arg, struct lab_thread *t)
{
	struct nouveau_svmm *svmm = arg;

	while (!lab_thread_stopping(t)) {
		struct warp w = launch(svmm, t);

		/* Not each: that would keep the driver busy with nothing else. */
		if (!access_page(svmm, &w, t) && lab_chance(t, 64))
			buffer_put(svmm, &w, NULL);
		lab_pause(t);
	}
}

/* ----------------------------------------------------------------------------------------- fault handler */

/* By address, and what asks for most comes first: who asks for less is served by it. */
static int fault_cmp(const void *a, const void *b)
{
	const struct nouveau_svm_fault *fa = a, *fb = b;

	if (fa->page != fb->page)
		return fa->page < fb->page ? -1 : 1;
	return (int)fb->access - (int)fa->access;
}

static int handle_fault(struct nouveau_svmm *svmm, const struct nouveau_svm_fault *fault,
			struct ask *ask, struct op *op)
{
	*ask = (struct ask){.first = fault->page, .n = 1, .atomic = fault->access == ATOMIC};
	if (fault->page >= svmm->unmanaged_start && fault->page < svmm->unmanaged_limit)
		return -EINVAL;
	ask->request = HMM_PFN_REQ_FAULT | (fault->access == READ ? 0 : HMM_PFN_REQ_WRITE);
	ask->exclusive = ask->atomic && !lab_is_broken(svmm->lab, NO_EXCLUSIVE);
	return range_fault(svmm, ask, op);
}

/* Is a fault served by what one before it, which asked for as much or more, has got? */
static bool is_served(const struct nouveau_svm_fault *fault, const struct ask *ask)
{
	if (fault->page != ask->first || (fault->access == ATOMIC && !ask->atomic))
		return false;
	return fault->access == READ || (ask->pfns[0] & HMM_PFN_WRITE);
}

/* Cancels the faults that could not be handled, and replays the others, all at once. */
static void settle(struct nouveau_svmm *svmm, const struct nouveau_svm_fault *fault, size_t n)
{
	pthread_mutex_lock(&svmm->buffer.lock);
	for (size_t fi = 0; fi < n; fi++)
		if (fault[fi].warp)
			fault[fi].warp->state = fault[fi].cancel ? CANCELLED : READY;
	pthread_cond_broadcast(&svmm->buffer.replayed);
	pthread_mutex_unlock(&svmm->buffer.lock);
}

static void svm_fault(struct nouveau_svmm *svmm, struct op *op)
{
	struct nouveau_svm_fault fault[BUFFER_ENTRIES];
	size_t n = buffer_get(svmm, fault), fn;

	qsort(fault, n, sizeof(fault[0]), fault_cmp);
	for (size_t fi = 0; fi < n; fi = fn) {
		struct ask ask;

		fault[fi].cancel = handle_fault(svmm, &fault[fi], &ask, op);
		for (fn = fi + 1; fn < n && !fault[fi].cancel && is_served(&fault[fn], &ask); fn++)
			;
	}
	if (n)
		settle(svmm, fault, n);
}

static enum warp_state wait_for_replay(struct nouveau_svmm *svmm, const struct warp *w)
{
	enum warp_state state;

	pthread_mutex_lock(&svmm->buffer.lock);
	while (w->state == STALLED)
		pthread_cond_wait(&svmm->buffer.replayed, &svmm->buffer.lock);
	state = w->state;
	pthread_mutex_unlock(&svmm->buffer.lock);
	return state;
}

/* An access of the GPU, and the faults that are there until it is done. */
static void dispatch(struct nouveau_svmm *svmm, struct op *op)
{
	struct warp w = launch(svmm, op->t);

	do {
		if (access_page(svmm, &w, op->t))
			break;
		buffer_put(svmm, &w, &w);
		/* If another thread has ours, it will settle it. */
		svm_fault(svmm, op);
	} while (wait_for_replay(svmm, &w) != CANCELLED);
}

static void work(void *dev, struct lab_thread *t)
{
	struct op op = {.t = t};

	if (lab_chance(t, 24))
		svmm_bind(dev, &op);
	else if (lab_chance(t, 24))
		audit(dev, t);
	else
		dispatch(dev, &op);
	lab_count_retries(t, op.retries);
}

/* ------------------------------------------------------------------------------------------ open, close */

static void svmm_fini(void *dev)
{
	struct nouveau_svmm *svmm = dev;

	if (svmm->engine)
		lab_thread_join(svmm->engine);
	if (svmm->dmem.hmm)
		mrn_hmm_device_remove(lab_hmm(svmm->lab), &svmm->dmem);
	if (svmm->notifier.mm)
		mmu_notifier_unregister(&svmm->notifier, lab_mm(svmm->lab));
	for (size_t page = 0; page < VRAM_PAGES; page++)
		LAB_ASSERT(svmm->lab, !svmm->used[page], "VRAM in use at the end");
	lab_mmu_destroy(&svmm->vmm);
	pthread_cond_destroy(&svmm->buffer.replayed);
	pthread_mutex_destroy(&svmm->buffer.lock);
	pthread_mutex_destroy(&svmm->migrate_mutex);
	pthread_mutex_destroy(&svmm->mutex);
	free(svmm->vram);
	free(svmm);
}

static int svmm_init(struct lab *lab, void **dev)
{
	struct nouveau_svmm *svmm = calloc(1, sizeof(*svmm));
	size_t n = lab_pages(lab);

	if (!svmm)
		return -ENOMEM;
	svmm->lab = lab;
	svmm->page_size = lab_addr(lab, 1) - lab_addr(lab, 0);
	svmm->unmanaged_start = (n - UNMANAGED_PAGES) / 2;
	svmm->unmanaged_limit = svmm->unmanaged_start + UNMANAGED_PAGES;
	pthread_mutex_init(&svmm->mutex, NULL);
	pthread_mutex_init(&svmm->migrate_mutex, NULL);
	pthread_mutex_init(&svmm->buffer.lock, NULL);
	pthread_cond_init(&svmm->buffer.replayed, NULL);
	svmm->notifier.ops = &mn_ops;
	svmm->dmem.ops = &dmem_ops;
	svmm->dmem.pages = VRAM_PAGES;
	svmm->vram = calloc(VRAM_PAGES, svmm->page_size);
	if (svmm->vram && !lab_mmu_init(&svmm->vmm, n) &&
	    !mmu_notifier_register(&svmm->notifier, lab_mm(lab)) &&
	    !mrn_hmm_device_add(lab_hmm(lab), &svmm->dmem)) {
		for (size_t i = svmm->unmanaged_start; i < svmm->unmanaged_limit; i++)
			lab_mmu_map(&svmm->vmm, i, VRAM_PAGES | PFN_VRAM | PFN_ATOMIC, true);
		svmm->engine = lab_thread_start(lab, engine, svmm);
	}
	if (!svmm->engine) {
		svmm_fini(svmm);
		return -ENOMEM;
	}
	*dev = svmm;
	return 0;
}

const struct lab_driver lab_nouveau = {
	.name = "nouveau",
	.about = "NVIDIA shared virtual memory, with VRAM and atomics",
	.steps = steps,
	.open = svmm_init,
	.work = work,
	.close = svmm_fini,
};
