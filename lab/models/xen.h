/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The other side of gntdev: Xen, which maps another domain's pages for handles, and that domain, which takes a page
 * back as soon as it is unmapped, and uses it for something else.
 *
 * Xen keeps a page table entry that maps a grant until it is unmapped by handle: if the kernel is about to change such
 * an entry, a real Xen ends the domain.
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
	uint64_t contents;   /* what all of [0, XEN_CONTENTS_END) hold */
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
	uint64_t handles;  /* how many there have been */
	uint64_t asked;	   /* mappings */
	int events_due;	   /* atomic: asked for, and not sent yet */
	uint32_t returned; /* the grant that was unmapped last: a hint for its owner, atomic */
	/* The grants in the process's page table; by page of the region. */
	struct lab_mmu pte;
	struct mmu_notifier zaps; /* announces the kernel's changes of it */
	struct lab_thread *domain;
};

int xen_boot(struct xen *xen, struct lab *lab);
/* Anything still mapped is a finding. Call after a failed boot, too. */
void xen_shut(struct xen *xen);

/*
 * Maps a grant, into the entry of a page of the process or, with XEN_NO_PAGE, for the kernel. Returns a handle, or 0 if its
 * owner has taken it back, or the hypervisor has no room, as now and then.
 * Map and unmap wait only for accesses in flight.
 */
uint64_t xen_map(struct xen *xen, uint32_t ref, size_t page);
bool xen_unmap(struct xen *xen, uint64_t handle); /* false when there is no such handle */

/* An access through a mapping: checks that it reaches the granted page from beginning to end. */
void xen_use_page(struct xen *xen, uint32_t ref, struct lab_thread *t);
/* As xen_use_page, by the process, at a page where a grant may be mapped. */
void xen_touch(struct xen *xen, size_t page, struct lab_thread *t);
/* The other domain waits for an event, once for each that is asked for: one that is never sent is a finding. */
void xen_ask_for_event(struct xen *xen);
void xen_send_event(struct xen *xen);
/* Sets the byte that shows the other domain that its page is in use. */
void xen_set_notify_byte(struct xen *xen, uint32_t ref, uint8_t value);

#endif
