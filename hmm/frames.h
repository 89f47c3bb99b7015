/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Frames: the pages of system memory, by number. They are pages of one memfd, which is mapped a second time as the
 * alias that devices use. Frames that no device may use any longer can be poisoned and kept in quarantine, to catch a
 * device that does.
 *
 * A frame belongs to at most one page. Pins keep it when its page has left it: the page or the last pin, whichever goes
 * last, retires it.
 */
#ifndef MRN_HMM_FRAMES_H
#define MRN_HMM_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "os/mutex.h"
#include "os/pages.h"

struct mrn_hmm_keeper;

struct mrn_hmm_frames {
	struct mrn_hmm_keeper *keeper;
	int fd;
	uint64_t inode; /* of the memfd */
	char *alias;
	uint64_t n;

	/* One word per frame: see FRAME_* in frames.c. Atomic, no lock. */
	uint32_t *word;

	/* Guards all below. A leaf lock: only system calls, and violation, are called with it held. */
	struct mrn_mutex lock;
	uint64_t *spare;    /* a bit per frame; 1: free */
	uint64_t used;	    /* n - used frames are free; those in quarantine are used */
	uint64_t hint;	    /* where to search next */
	uint64_t next_home; /* where the next region will search first */
	uint32_t *ring;	    /* quarantine, oldest first */
	uint64_t ring_size, ring_first, ring_count;
	uint64_t violations;
	void (*violation)(void *arg, uint64_t frame, size_t offset, uint64_t found);
	void *violation_arg;
};

/* 0, -ENOMEM or an error of memfd_create. quarantine: how many frames are held back; 0 for none. */
int mrn_hmm_frames_init(struct mrn_hmm_frames *f, struct mrn_hmm_keeper *keeper, uint64_t n,
			uint64_t quarantine);
/* Checks the frames in quarantine, and frees everything. */
void mrn_hmm_frames_destroy(struct mrn_hmm_frames *f);

static inline void *mrn_hmm_frame_memory(const struct mrn_hmm_frames *f, uint64_t frame)
{
	return f->alias + frame * mrn_page_size();
}

/*
 * Takes up to want consecutive zeroed frames, at `prefer` if that one is free. align is a power of two: with 1 any
 * frames will do; otherwise the first is a multiple of align, and all of want are taken or none. Returns how many;
 * -ENOMEM or -ENOSPC for none.
 */
long mrn_hmm_frames_take(struct mrn_hmm_frames *f, uint64_t prefer, uint64_t want, uint64_t align,
			 uint64_t *first);
/* The pages that had these frames have left them. Retires the frames, except pinned ones. */
void mrn_hmm_frames_leave(struct mrn_hmm_frames *f, uint64_t first, uint64_t n);

/* Only while the frame belongs to its page, which the caller has locked. */
void mrn_hmm_frame_pin(struct mrn_hmm_frames *f, uint64_t frame);
void mrn_hmm_frame_unpin(struct mrn_hmm_frames *f, uint64_t frame);
bool mrn_hmm_frame_is_pinned(const struct mrn_hmm_frames *f, uint64_t frame);

/* Notes that a device wrote to the frame. clean clears that note, and returns whether it was set. */
void mrn_hmm_frame_set_dirty(struct mrn_hmm_frames *f, uint64_t frame);
bool mrn_hmm_frame_clean(struct mrn_hmm_frames *f, uint64_t frame);
/* The same for soft-dirty: true if a device wrote to the frame since the last take. */
bool mrn_hmm_frame_is_soft_dirty(const struct mrn_hmm_frames *f, uint64_t frame);
bool mrn_hmm_frame_take_soft_dirty(struct mrn_hmm_frames *f, uint64_t frame);

/* Other code's MADV_REMOVE may have freed the frame's memory: gives it zeros again. 0 or -errno. */
int mrn_hmm_frame_restore(struct mrn_hmm_frames *f, uint64_t frame);

#endif
