/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Frames: the pages of system memory, by number. They are pages of one memfd, all of which is mapped
 * once more as the alias that devices use. Frames that no device may use any longer can be poisoned
 * and kept in quarantine, to catch one that does.
 *
 * A frame belongs to at most one page. Pins keep it when its page has left it: whoever comes last,
 * the page or the last pin, retires it.
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

	/* One word a frame: see FRAME_* in frames.c. Atomic, no lock. */
	uint32_t *word;

	/* Guards all below. A leaf: nothing is called with it held but the kernel, and violation. */
	struct mrn_mutex lock;
	uint64_t *spare;    /* a bit a frame; 1: free */
	uint64_t used;	    /* n - used frames are free; those in quarantine are used */
	uint64_t hint;	    /* where to look next */
	uint64_t next_home; /* where the next region will look first */
	uint32_t *ring;	    /* quarantine, oldest first */
	uint64_t ring_size, ring_first, ring_count;
	uint64_t violations;
	void (*violation)(void *arg, uint64_t frame, size_t offset, uint64_t found);
	void *violation_arg;
};

/* 0, -ENOMEM or what memfd_create says. quarantine: how many frames are kept back; 0 for none. */
int mrn_hmm_frames_init(struct mrn_hmm_frames *f, struct mrn_hmm_keeper *keeper, uint64_t n,
			uint64_t quarantine);
/* Looks at what is in quarantine, and frees everything. */
void mrn_hmm_frames_destroy(struct mrn_hmm_frames *f);

static inline void *mrn_hmm_frame_memory(const struct mrn_hmm_frames *f, uint64_t frame)
{
	return f->alias + frame * mrn_page_size();
}

/*
 * Takes up to want frames in a row, zeroed, at `prefer` if that one is free; align: the first is a
 * multiple of it, and it is all or nothing (a power of two, 1 for any). Returns how many; -ENOMEM or
 * -ENOSPC for none.
 */
long mrn_hmm_frames_take(struct mrn_hmm_frames *f, uint64_t prefer, uint64_t want, uint64_t align,
			 uint64_t *first);
/* The page that had these has left them. They are retired, but for those that are pinned. */
void mrn_hmm_frames_leave(struct mrn_hmm_frames *f, uint64_t first, uint64_t n);

/* Only while the frame is its page's, which the caller has locked. */
void mrn_hmm_frame_pin(struct mrn_hmm_frames *f, uint64_t frame);
void mrn_hmm_frame_unpin(struct mrn_hmm_frames *f, uint64_t frame);
bool mrn_hmm_frame_is_pinned(const struct mrn_hmm_frames *f, uint64_t frame);

/* A device wrote to it; and: has one, since the last take or clean? */
void mrn_hmm_frame_set_dirty(struct mrn_hmm_frames *f, uint64_t frame);
bool mrn_hmm_frame_clean(struct mrn_hmm_frames *f, uint64_t frame);
/* The same for soft-dirty: has one, since the last take? */
bool mrn_hmm_frame_is_soft_dirty(const struct mrn_hmm_frames *f, uint64_t frame);
bool mrn_hmm_frame_take_soft_dirty(struct mrn_hmm_frames *f, uint64_t frame);

/* The page may have lost its memory to somebody's MADV_REMOVE: gives it zeros again. 0 or -errno. */
int mrn_hmm_frame_restore(struct mrn_hmm_frames *f, uint64_t frame);

#endif
