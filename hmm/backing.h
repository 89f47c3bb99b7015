/* SPDX-License-Identifier: BSD-3-Clause */
/* The backing file, which holds pages that have no frame, in slots of one OS page. Slot 0 means none. */
#ifndef MRN_HMM_BACKING_H
#define MRN_HMM_BACKING_H

#include <stdbool.h>
#include <stdint.h>

#include "os/mutex.h"

struct mrn_hmm_keeper;

struct mrn_hmm_backing {
	struct mrn_hmm_keeper *keeper;
	int fd; /* owned by the caller; <= 0: none */
	struct mrn_mutex lock;
	uint32_t *free; /* a stack of freed slots */
	uint64_t nr_free, room;
	uint32_t last; /* highest slot ever taken */
};

void mrn_hmm_backing_init(struct mrn_hmm_backing *b, struct mrn_hmm_keeper *keeper, int fd);
void mrn_hmm_backing_destroy(struct mrn_hmm_backing *b);

/* Writes a page to *slot; if that is 0, takes a slot. 0, or -errno with no slot taken. May allocate. */
int mrn_hmm_backing_write(struct mrn_hmm_backing *b, const void *page, uint32_t *slot);
/* 0; an error of reading; -EIO if the file has been truncated. */
int mrn_hmm_backing_read(struct mrn_hmm_backing *b, void *page, uint32_t slot);
/* True if the slot holds this page; false if it cannot be read. Needs 4 KiB of stack. */
bool mrn_hmm_backing_holds(const struct mrn_hmm_backing *b, const void *page, uint32_t slot);
/* Frees *slot, if it is not 0. */
void mrn_hmm_backing_free(struct mrn_hmm_backing *b, uint32_t *slot);

#endif
