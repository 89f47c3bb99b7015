/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device's own memory. A freed page is poisoned, like a frame that has left its page: reading it is a stale access,
 * and writing to it is found when the page is next allocated.
 */
#ifndef LAB_DEVMEM_H
#define LAB_DEVMEM_H

#include "lab/lab.h"

struct lab_devmem {
	struct mrn_hmm_device dev; /* its address is the owner of its pages */
	struct lab *lab;
	pthread_mutex_t lock; /* a leaf */
	bool *used;
	char *memory;
};

/* The default functions. A device with functions of its own may call these from them. */
extern const struct mrn_hmm_device_ops lab_devmem_ops;

/*
 * Creates pages of memory and adds the device to the lab's space. Zero m; set dev.ops unless they are lab_devmem_ops.
 * 0, or -errno with nothing to undo.
 */
int lab_devmem_open(struct lab_devmem *m, struct lab *lab, uint64_t pages);
/*
 * Brings everything back, announced as usual, and ends. Does nothing if m is only zeroed. A page that cannot come back
 * is a finding.
 */
void lab_devmem_close(struct lab_devmem *m);
/* The memory of the page pfn, or NULL if it is not a page of this device. */
void *lab_devmem_page(const struct lab_devmem *m, uint64_t pfn);
/* The memory of a page by its number on the device. */
uint64_t *lab_devmem_at(const struct lab_devmem *m, uint64_t page);

#endif
