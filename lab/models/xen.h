/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The other side of gntdev: Xen, which maps another domain's pages for handles, and that domain, which
 * takes a page back as soon as nobody maps it, and uses it for something else.
 *
 * Xen never lets an entry of the page table go that a grant is mapped in, unless it is asked by handle: to
 * find one in a range that the kernel is about to change is what a real one ends the domain for.
 */
#ifndef LAB_XEN_H
#define LAB_XEN_H

#include "lab/lab.h"
#include "lab/parts/mmu.h"

#define XEN_GRANTS  64
#define XEN_HANDLES 1024
#define XEN_NO_PAGE SIZE_MAX

/* Words of a foreign page, all atomic. */
enum { XEN_CONTENTS_END = 8, XEN_NOTIFY = 8, XEN_SCRATCH, XEN_WORDS };

/* An entry of the other domain's grant table, and the page. */
struct xen_grant {
	bool granted;
	unsigned int mapped; /* by how many handles */
	uint64_t contents;   /* what is in all of [0, XEN_CONTENTS_END) */
	uint64_t word[XEN_WORDS];
};

struct xen_handle {
	uint64_t handle; /* 0: free */
	uint32_t ref;
	size_t page;
};

struct xen {
	struct lab *lab;
	pthread_mutex_t lock; /* a leaf */
	struct xen_grant grant[XEN_GRANTS];
	struct xen_handle track[XEN_HANDLES];
	uint64_t handles;  /* that there have been */
	uint32_t returned; /* the grant that was unmapped last: a hint for its owner, atomic */
	/* The process's page table, as far as it is grants; by page of the region. */
	struct lab_mmu pte;
	struct mmu_notifier zaps; /* tells that the kernel changes it */
	struct lab_thread *domain;
};

int xen_boot(struct xen *xen, struct lab *lab);
/* Nothing is mapped any more: or it is a finding. After a failed boot, too. */
void xen_shut(struct xen *xen);

/*
 * Maps a grant, into the entry of a page of the process or, with XEN_NO_PAGE, for the kernel. A handle, or
 * 0 when it cannot be had. Neither waits for more than accesses in flight.
 */
uint64_t xen_map(struct xen *xen, uint32_t ref, size_t page);
bool xen_unmap(struct xen *xen, uint64_t handle); /* false when there is no such handle */

/* An access through a mapping: it must be the page that was granted, from the first look to the last. */
void xen_use_page(struct xen *xen, uint32_t ref, struct lab_thread *t);
/* The process does, at a page where something may be mapped. */
void xen_touch(struct xen *xen, size_t page, struct lab_thread *t);
/* The byte by which the other domain knows that its page is in use. */
void xen_set_notify_byte(struct xen *xen, uint32_t ref, uint8_t value);

#endif
