/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Drops clean pages, as far as the lab can tell which are clean, and looks whether that would lose what was written.
 *
 * A kernel drops a page that nobody has marked dirty (MADV_FREE, a page that equals its file): the next access finds the
 * contents of the moment when it was last clean. Managed memory is kinder, since asking for write access marks a page. So
 * the oracle keeps marks of its own: a page is dirty if the CPU has written to it, or if a driver has said so, with
 * lab_set_dirty or lab_unpin. While it is in a device's own memory, the device's writes mark it, as migration does.
 *
 * The storm takes a copy of pages and counts their marks; it lets others work; then it compares the pages that have no
 * new mark with the copy. Both happen between start and end of an invalidation, with the CPU's threads kept away. So a
 * device can write to the pages between the two only through a translation that it has made after the copy and that the
 * second start has taken away: by then its driver has marked the pages. A page that is still pinned is left alone, as
 * the kernel does: its driver says so when it unpins.
 */
#include "lab/world.h"

struct copy {
	uint64_t generation, marks;
	uint64_t word[LAB_MAX_WRITERS];
};

static void mark(struct lab *lab, size_t page)
{
	__atomic_fetch_add(&lab->page[page].marks, 1, __ATOMIC_RELEASE);
}

static uint64_t marks_of(struct lab *lab, size_t page)
{
	return __atomic_load_n(&lab->page[page].marks, __ATOMIC_ACQUIRE);
}

bool lab_is_pinned(struct lab *lab, size_t page)
{
	/* Acquire: a driver marks a page before it unpins it. */
	return __atomic_load_n(&lab->page[page].pins, __ATOMIC_ACQUIRE);
}

static void count_pins(struct lab *lab, size_t first, size_t n, uint64_t change)
{
	for (size_t page = first; page < first + n; page++)
		__atomic_fetch_add(&lab->page[page].pins, change, __ATOMIC_ACQ_REL);
}

/* ------------------------------------------------------------------------------- what drivers and writers say */

long lab_pin(struct lab *lab, size_t first, size_t n, bool write, uint64_t *frames)
{
	long pinned;

	count_pins(lab, first, n, 1);
	pinned = mrn_hmm_pin(lab->hmm, (void *)lab_addr(lab, first), lab_bytes(n), write, frames);
	if (pinned < 0)
		count_pins(lab, first, n, (uint64_t)-1);
	return pinned;
}

void lab_unpin(struct lab *lab, size_t first, const uint64_t *frames, size_t n, bool dirty)
{
	if (lab_second_unpin(lab, frames, n, dirty))
		return;
	for (size_t page = first; page < first + n && dirty; page++)
		mark(lab, page);
	mrn_hmm_unpin(lab->hmm, frames, n, dirty);
	count_pins(lab, first, n, (uint64_t)-1);
}

/*
 * A driver that is right says so before the first start that takes the page away has returned, so also before its notifier
 * is removed. Later the frame may be another page's. Not found: a frame that somebody has pinned, or that has moved with its
 * contents; those are not poisoned.
 */
static void check_frame(struct lab *lab, size_t page, uint64_t frame)
{
	/* What is not one of the frames is a device's own memory. */
	if (frame < LAB_FRAMES &&
	    MRN_HMM_IS_POISON(
		    __atomic_load_n(lab_word(mrn_hmm_frame(lab->hmm, frame), 0), __ATOMIC_ACQUIRE)))
		lab_stale(lab, "page %zu was marked dirty in frame %ju after the frame had left it",
			  page, (uintmax_t)frame);
}

void lab_set_dirty(struct lab *lab, size_t page, uint64_t frame)
{
	check_frame(lab, page, frame);
	mark(lab, page);
	mrn_hmm_set_dirty(lab->hmm, frame);
}

void lab_mark_write(struct lab *lab, const void *memory, size_t page)
{
	uintptr_t frames = (uintptr_t)mrn_hmm_frame(lab->hmm, 0);

	if ((uintptr_t)memory - frames >= lab_bytes(LAB_FRAMES))
		mark(lab, page);
}

/* ------------------------------------------------------------------------------------------------- the storm */

static bool begin(struct lab *lab, struct mmu_notifier_range *range, size_t first, size_t n)
{
	mmu_notifier_range_init(range, MMU_NOTIFY_CLEAR, 0, lab_mm(lab), lab_addr(lab, first),
				lab_addr(lab, first + n));
	lab_pages_close(lab, first, n, false);
	if (!mmu_notifier_invalidate_range_start(range))
		return true;
	lab_pages_open(lab, first, n, false);
	return false;
}

static void end(struct lab *lab, struct mmu_notifier_range *range, size_t first, size_t n)
{
	mmu_notifier_invalidate_range_end(range);
	lab_pages_open(lab, first, n, false);
}

static uint64_t word_of(struct lab *lab, size_t page, unsigned int writer)
{
	return __atomic_load_n(lab_word((const void *)lab_addr(lab, page), writer),
			       __ATOMIC_ACQUIRE);
}

/* First the marks: a write that is not in the copy is marked afterwards. */
static void take_copy(struct lab *lab, size_t page, struct copy *copy)
{
	copy->marks = marks_of(lab, page);
	copy->generation = lab_generation(lab, page);
	for (unsigned int w = 0; w < LAB_MAX_WRITERS; w++)
		copy->word[w] = word_of(lab, page, w);
}

static void compare(struct lab *lab, size_t page, const struct copy *copy)
{
	if (lab_is_pinned(lab, page) || marks_of(lab, page) != copy->marks ||
	    lab_generation(lab, page) != copy->generation)
		return;
	for (unsigned int w = 0; w < LAB_MAX_WRITERS; w++)
		if (word_of(lab, page, w) != copy->word[w])
			lab_stale(lab, "page %zu was written to, and nobody has marked it dirty",
				  page);
}

void lab_drop_clean(struct lab_thread *t, size_t first, size_t n)
{
	struct lab *lab = t->lab;
	struct copy copy[LAB_PAGES];
	struct mmu_notifier_range range;

	if (!begin(lab, &range, first, n))
		return;
	for (size_t k = 0; k < n; k++)
		take_copy(lab, first + k, &copy[k]);
	end(lab, &range, first, n);
	lab_linger(t);
	if (!begin(lab, &range, first, n))
		return;
	for (size_t k = 0; k < n; k++)
		compare(lab, first + k, &copy[k]);
	end(lab, &range, first, n);
}
