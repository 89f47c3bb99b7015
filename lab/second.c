/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A second process, to which the file of the driver was passed. It has memory of its own in the place of the region, and
 * does nothing but submit what the first process has made. A driver that looks the addresses up in the caller's mm finds
 * this memory, in which the oracle has never seen a word written.
 *
 * The device has one physical memory: the second process's frames follow the first one's.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "lab/world.h"

/* One in this many callers is the second process. */
#define CALLERS 16

int lab_second_start(struct lab *lab)
{
	const struct mrn_hmm_opts opts = {.size = sizeof(opts), .frames = LAB_PAGES * 2};
	int err = mrn_hmm_create(&opts, &lab->second);

	return err ? err
		   : mrn_hmm_alloc(lab->second, lab_bytes(LAB_PAGES), PROT_READ | PROT_WRITE, 0,
				   &lab->second_base);
}

struct mrn_mm *lab_caller(struct lab_thread *t)
{
	struct lab *lab = t->lab;

	return lab->second && lab_chance(t, CALLERS) ? mrn_hmm_mm(lab->second) : lab_mm(lab);
}

long lab_pin_of(struct lab *lab, struct mrn_mm *mm, size_t first, size_t n, bool write,
		uint64_t *frames)
{
	long pinned;

	if (mm == lab_mm(lab))
		return lab_pin(lab, first, n, write, frames);
	pinned = mrn_hmm_pin(lab->second, (char *)lab->second_base + lab_bytes(first), lab_bytes(n),
			     write, frames);
	for (long k = 0; k < pinned; k++)
		frames[k] += LAB_FRAMES;
	return pinned;
}

bool lab_second_unpin(struct lab *lab, const uint64_t *frames, size_t n, bool dirty)
{
	if (!n || frames[0] < LAB_FRAMES)
		return false;
	for (size_t k = 0; k < n; k++) {
		uint64_t frame = frames[k] - LAB_FRAMES;

		mrn_hmm_unpin(lab->second, &frame, 1, dirty);
	}
	return true;
}

void *lab_frame(struct lab *lab, uint64_t frame)
{
	return frame < LAB_FRAMES ? mrn_hmm_frame(lab->hmm, frame)
				  : mrn_hmm_frame(lab->second, frame - LAB_FRAMES);
}

void lab_second_end(struct lab *lab)
{
	struct mrn_hmm_stats stats = {0};

	if (!lab->second)
		return;
	if (lab->second_base)
		mrn_hmm_discard(lab->second, lab->second_base, lab_bytes(LAB_PAGES));
	mrn_hmm_get_stats(lab->second, &stats, sizeof(stats));
	if (stats.frames_used)
		lab_leak(lab, "after close: %ju frames of the second process pinned",
			 (uintmax_t)stats.frames_used);
	mrn_hmm_destroy(lab->second);
	lab->second = NULL;
}
