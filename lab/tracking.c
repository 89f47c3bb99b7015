/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Compares what soft-dirty tells of writes with the writes.
 *
 * takes of a page goes up before mrn_hmm_take_soft_dirty is called, and after it has returned; so it is odd meanwhile.
 * A writer, the CPU or a device, reads it before and after its write. If it is unchanged and even, the write lies
 * between two calls, and the writer says so in written. So the answer to the second call must have it: whoever may write
 * to a page has been given that right since the first, which marked the page, or reports to the second in its callback.
 * Nothing is expected of a write that a call overlaps, nor of one whose writer comes too late to say so.
 */
#include "lab/world.h"

uint64_t lab_takes(struct lab *lab, size_t page)
{
	return __atomic_load_n(&lab->page[page].takes, __ATOMIC_ACQUIRE);
}

/* written: 1 + what takes was at the write, so that 0 is none. */
void lab_tell_write(struct lab *lab, size_t page, uint64_t before)
{
	if (!(before & 1) && lab_takes(lab, page) == before)
		__atomic_store_n(&lab->page[page].written, before + 1, __ATOMIC_RELEASE);
}

/* Under take_lock, as is count_up. True if the next answer must have the page. */
static bool is_written(struct lab *lab, size_t page)
{
	return __atomic_load_n(&lab->page[page].written, __ATOMIC_ACQUIRE) ==
	       lab_takes(lab, page) + 1;
}

static void count_up(struct lab *lab, size_t first, size_t n)
{
	for (size_t page = first; page < first + n; page++)
		__atomic_fetch_add(&lab->page[page].takes, 1, __ATOMIC_ACQ_REL);
}

void lab_take_soft_dirty(struct lab *lab, size_t first, size_t n)
{
	bool written[LAB_PAGES];
	uint8_t dirty[LAB_PAGES];
	int err;

	/* One call at a time: another would have the marks that this one expects. No driver takes this lock. */
	pthread_mutex_lock(&lab->take_lock);
	for (size_t k = 0; k < n; k++)
		written[k] = is_written(lab, first + k);
	count_up(lab, first, n);
	err = mrn_hmm_take_soft_dirty(lab->hmm, (void *)lab_addr(lab, first), lab_bytes(n), dirty);
	for (size_t k = 0; k < n && !err; k++)
		if (written[k] && !dirty[k])
			lab_stale(lab, "page %zu was written to, and soft-dirty does not tell",
				  first + k);
	count_up(lab, first, n);
	pthread_mutex_unlock(&lab->take_lock);
}
