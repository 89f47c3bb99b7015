/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device's own memory. A page that is given back is poisoned, as frames are that have left their page:
 * whoever reads it is stale, and writing to it is found when the page is next taken.
 */
#ifndef LAB_DEVMEM_H
#define LAB_DEVMEM_H

#include "lab/lab.h"

struct lab_devmem {
	struct mrn_hmm_device dev; /* its address is the owner of what is here */
	struct lab *lab;
	pthread_mutex_t lock; /* a leaf */
	bool *used;
	char *memory;
};

/* What is done without more. For a device that has more to do, to be called from its own. */
extern const struct mrn_hmm_device_ops lab_devmem_ops;

/*
 * Makes pages of memory and adds the device to the lab's space. m is zeroed, but for dev.ops where they are
 * not lab_devmem_ops. 0 or -errno, with nothing to undo.
 */
int lab_devmem_open(struct lab_devmem *m, struct lab *lab, uint64_t pages);
/*
 * Brings everything back, announced as ever, and ends. Not open, but zeroed: does nothing. A page that
 * cannot come back is a finding.
 */
void lab_devmem_close(struct lab_devmem *m);
/* The memory of the page that pfn is, or NULL when it is none of this device. */
void *lab_devmem_page(const struct lab_devmem *m, uint64_t pfn);
/* The memory of a page by its number on the device. */
uint64_t *lab_devmem_at(const struct lab_devmem *m, uint64_t page);

#endif
