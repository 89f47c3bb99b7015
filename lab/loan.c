/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Lends pages to the storm exclusively, and looks whether somebody writes to them meanwhile.
 *
 * The storm is a consumer like any other, with a notifier of its own. If that has not been called since before the
 * loan, other than for the loan, then nobody has taken the pages back; and the start of the loan has waited for all
 * accesses through older translations. So what is in the frames does not change.
 */
#include "lab/world.h"
#include "os/container_of.h"

struct loan {
	struct mmu_range_notifier notifier;
	pthread_mutex_t lock;
};

/* The loan's address is its owner: another loan ends this one. */
static bool invalidate(struct mmu_range_notifier *mrn, const struct mmu_notifier_range *range,
		       uint64_t cur_seq)
{
	struct loan *loan = container_of(mrn, struct loan, notifier);

	if (range->event == MMU_NOTIFY_EXCLUSIVE && range->owner == loan)
		return true;
	/* Held for a moment only: like a spinlock. */
	pthread_mutex_lock(&loan->lock);
	mmu_range_notifier_update_seq(mrn, cur_seq);
	pthread_mutex_unlock(&loan->lock);
	return true;
}

/* Of all words that somebody writes. */
static uint64_t sum(struct lab *lab, const unsigned long *pfns, size_t n)
{
	uint64_t sum = 0;

	for (size_t k = 0; k < n; k++) {
		const void *memory = mrn_hmm_frame(lab->hmm, mrn_hmm_pfn_to_frame(pfns[k]));

		for (unsigned int w = 0; w < LAB_MAX_WRITERS; w++)
			sum = (sum << 7 | sum >> 57) +
			      __atomic_load_n(lab_word(memory, w), __ATOMIC_ACQUIRE);
	}
	return sum;
}

static bool is_over(struct loan *loan, uint64_t seq)
{
	bool over;

	pthread_mutex_lock(&loan->lock);
	over = mmu_range_read_retry(&loan->notifier, seq);
	pthread_mutex_unlock(&loan->lock);
	return over;
}

static void lend(struct loan *loan, struct lab_thread *t, size_t first, size_t n)
{
	struct lab *lab = t->lab;
	unsigned long pfns[LAB_PAGES];
	uint64_t seq = mmu_range_read_begin(&loan->notifier), before;

	if (mrn_hmm_make_exclusive(lab->hmm, (void *)lab_addr(lab, first), lab_bytes(n), loan,
				   pfns) < 0)
		return;
	before = sum(lab, pfns, n);
	lab_linger(t);
	if (sum(lab, pfns, n) != before && !is_over(loan, seq))
		lab_stale(lab, "pages %zu to %zu were written to while they were lent", first,
			  first + n - 1);
}

void lab_lend(struct lab_thread *t, size_t first, size_t n)
{
	static const struct mmu_range_notifier_ops ops = {.invalidate = invalidate};
	struct loan loan = {.notifier.ops = &ops, .notifier.driver_lock = &loan.lock};

	pthread_mutex_init(&loan.lock, NULL);
	if (!mmu_range_notifier_insert(&loan.notifier, lab_addr(t->lab, first), lab_bytes(n),
				       lab_mm(t->lab))) {
		lend(&loan, t, first, n);
		mmu_range_notifier_remove(&loan.notifier);
	}
	pthread_mutex_destroy(&loan.lock);
}
