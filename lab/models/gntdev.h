/* SPDX-License-Identifier: BSD-3-Clause */
/* gntdev: the driver's functions for the process, and the structures of both. */
#ifndef LAB_GNTDEV_H
#define LAB_GNTDEV_H

#include "lab/models/xen.h"
#include "lab/parts/engine.h"

#define GNTDEV_MAX_COUNT 8 /* pages of a map */

struct gntdev_grant_map {
	struct mmu_range_notifier notifier;
	struct gntdev_priv *priv;
	unsigned int index, count;
	unsigned int users, left_out; /* atomic */
	/* under priv->lock */
	struct gntdev_grant_map *next;
	bool listed, in_use;
	/* under the mmap lock */
	unsigned int vmas;
	size_t vma_start, vma_end; /* of one VMA: what a careless driver uses */

	size_t pages_vm_start; /* the page where it was mapped; never changes */
	uint32_t ref[GNTDEV_MAX_COUNT];
	/* Users of the kernel's mapping: goes up only under lock, down at any time. */
	uint32_t page_count[GNTDEV_MAX_COUNT];
	pthread_mutex_t lock; /* guards all below */
	bool being_removed[GNTDEV_MAX_COUNT];
	uint64_t handle[GNTDEV_MAX_COUNT], khandle[GNTDEV_MAX_COUNT];
	int live_grants;
	unsigned int notify_page; /* count: no byte to be cleared */
	bool notify_event, notify_set;
	struct lab_job unmap_work;
	bool queued; /* unmap_work is; it has a reference */
};

/* An open file of the driver. */
struct gntdev_priv {
	struct lab *lab;
	struct xen *xen;
	pthread_mutex_t lock; /* the list; insertion of a notifier nests inside */
	struct gntdev_grant_map *maps;
	unsigned int nr_maps; /* atomic */
	/* Work is submitted with a map's lock held; its one thread runs it without. */
	struct lab_engine *workqueue;
};

/* 0 or -errno. */
int gntdev_open(struct gntdev_priv *priv, struct lab *lab, struct xen *xen);
/* Call when nothing is mapped and no I/O is in flight; also after a failed open. Does nothing if priv is zeroed. */
void gntdev_release(struct gntdev_priv *priv);

/* Returns the index to mmap, or -ENOMEM. */
int gntdev_ioctl_map_grant_ref(struct gntdev_priv *priv, unsigned int count, struct lab_thread *t);
/* Closes the nth map's index. Mapped pages stay. */
void gntdev_ioctl_unmap_grant_ref(struct gntdev_priv *priv, size_t nth);

/* ---- With the mmap lock. */

/* Maps the grants at page first. Returns the map, with one VMA; or NULL. */
struct gntdev_grant_map *gntdev_mmap(struct gntdev_priv *priv, unsigned int index,
				     unsigned int count, size_t first, struct lab_thread *t);
void gntdev_vma_open(struct gntdev_grant_map *map);
void gntdev_vma_close(struct gntdev_grant_map *map);

/* ---- References. Do not put from a callback: the last put removes the notifier. */

void gntdev_get_map(struct gntdev_grant_map *map);
void gntdev_put_map(struct gntdev_grant_map *map);

/* ---- gntdev_process.c: a run of the lab */

struct gntdev_vma {
	struct gntdev_grant_map *map;
	size_t n;
};

struct gntdev_process {
	struct lab *lab;
	struct xen xen;
	struct gntdev_priv file;
	/* Held by mmap and munmap throughout, including invalidations and removals. */
	pthread_mutex_t mmap_lock;
	struct gntdev_vma *vma; /* by its first page */
	struct lab_engine *disk;
};

int gntdev_process_start(struct lab *lab, void *process);
void gntdev_process_work(void *process, struct lab_thread *t);
void gntdev_process_exit(void *process);

#endif
