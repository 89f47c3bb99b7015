/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The backing file: where pages are that have no frame. In slots of one OS page; slot 0 is none.
 */
#ifndef MRN_HMM_BACKING_H
#define MRN_HMM_BACKING_H

#include <stdbool.h>
#include <stdint.h>

#include "os/mutex.h"

struct mrn_hmm_keeper;

struct mrn_hmm_backing {
	struct mrn_hmm_keeper *keeper;
	int fd; /* the caller's; <= 0: none */
	struct mrn_mutex lock;
	uint32_t *free; /* a stack of slots that have been given back */
	uint64_t nr_free, room;
	uint32_t last; /* highest slot ever taken */
};

void mrn_hmm_backing_init(struct mrn_hmm_backing *b, struct mrn_hmm_keeper *keeper, int fd);
void mrn_hmm_backing_destroy(struct mrn_hmm_backing *b);

/* Writes a page to *slot, taking one when it is 0. 0, or -errno with no slot taken. May allocate. */
int mrn_hmm_backing_write(struct mrn_hmm_backing *b, const void *page, uint32_t *slot);
/* 0; what reading says; -EIO for a file that has become shorter. */
int mrn_hmm_backing_read(struct mrn_hmm_backing *b, void *page, uint32_t slot);
/* Is this what the slot holds? No where it cannot be read. Needs 4 KiB of stack. */
bool mrn_hmm_backing_holds(const struct mrn_hmm_backing *b, const void *page, uint32_t slot);
/* Gives *slot back, if it is one. */
void mrn_hmm_backing_free(struct mrn_hmm_backing *b, uint32_t *slot);

#endif
