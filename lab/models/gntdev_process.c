/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * gntdev: the process that maps another domain's pages: its VMAs, its system calls, which take the mmap lock as the
 * kernel's do, and its I/O to such pages. The driver is in gntdev.c.
 */
#include <errno.h>

#include "lab/models/gntdev.h"

#define MAX_MAPS 16

/* ----------------------------------------------------------------------------------------------- VMAs */

/* Cuts [first, end) out of the VMA at page v: each side that is left becomes a VMA of its own. */
static void split_vma(struct gntdev_process *p, size_t v, size_t first, size_t end)
{
	struct gntdev_grant_map *map = p->vma[v].map;
	size_t vma_end = v + p->vma[v].n;

	p->vma[v].n = v < first ? first - v : 0;
	if (end < vma_end)
		p->vma[end] = (struct gntdev_vma){map, vma_end - end};
	if (v < first && end < vma_end)
		gntdev_vma_open(map);
	__atomic_store_n(&map->vma_start, v < first ? v : end, __ATOMIC_RELAXED);
	__atomic_store_n(&map->vma_end, v < first ? first : vma_end, __ATOMIC_RELAXED);
	if (v >= first && end >= vma_end)
		gntdev_vma_close(map);
}

/* The first VMA that has a page in [first, end); or end. With the mmap lock. */
static size_t find_vma(const struct gntdev_process *p, size_t first, size_t end)
{
	size_t v = first < GNTDEV_MAX_COUNT ? 0 : first - GNTDEV_MAX_COUNT + 1;

	while (v < end && (!p->vma[v].n || v + p->vma[v].n <= first))
		v++;
	return v;
}

/* With the mmap lock. */
static void unmap_range(struct gntdev_process *p, size_t first, size_t n, struct lab_thread *t)
{
	struct mmu_notifier_range range;
	size_t v;

	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, lab_mm(p->lab),
				lab_addr(p->lab, first), lab_addr(p->lab, first + n));
	range.cause = MRN_CAUSE_MUNMAP;
	if (mmu_notifier_invalidate_range_start(&range))
		return;
	if (t)
		lab_pause(t);
	mmu_notifier_invalidate_range_end(&range);
	while ((v = find_vma(p, first, first + n)) < first + n)
		split_vma(p, v, first, first + n);
}

/* ------------------------------------------------------------------------------------------------ I/O */

struct bio {
	struct lab_job job;
	struct gntdev_grant_map *map;
	size_t i;
};

static void do_io(struct lab_job *job, struct lab_thread *t)
{
	struct bio *bio = (struct bio *)job;
	struct gntdev_grant_map *map = bio->map;

	xen_use_page(map->priv->xen, map->ref[bio->i], t);
	/* Release: unmap_kernel_page acquires. */
	__atomic_fetch_sub(&map->page_count[bio->i], 1, __ATOMIC_RELEASE);
	gntdev_put_map(map);
	lab_free(bio);
}

/* As get_user_pages: takes a reference on the page, if it is mapped. */
static bool get_page(struct gntdev_grant_map *map, size_t i)
{
	bool mapped;

	lab_spin_lock(&map->lock);
	mapped = map->handle[i] && !map->being_removed[i];
	if (mapped) {
		__atomic_fetch_add(&map->page_count[i], 1, __ATOMIC_RELAXED);
		gntdev_get_map(map);
	}
	lab_unlock(&map->lock);
	return mapped;
}

/* Makes the disk write the foreign page at this address. */
static void submit_io(struct gntdev_process *p, size_t page)
{
	struct bio *bio = lab_alloc(sizeof(*bio));
	bool ok = false;
	size_t v;

	if (!bio)
		return;
	bio->job.run = do_io;
	lab_spin_lock(&p->mmap_lock);
	v = find_vma(p, page, page + 1);
	if (v <= page) {
		bio->map = p->vma[v].map;
		bio->i = page - bio->map->pages_vm_start;
		ok = get_page(bio->map, bio->i);
	}
	lab_unlock(&p->mmap_lock);
	if (ok)
		lab_engine_submit(p->disk, &bio->job);
	else
		lab_free(bio);
}

/* ------------------------------------------------------------------------------------------------ work */

static void map_some(struct gntdev_process *p, struct lab_thread *t)
{
	unsigned int count = 1 + (unsigned int)lab_below(t, GNTDEV_MAX_COUNT);
	size_t first = lab_below(t, lab_pages(p->lab) - count + 1);
	int index = gntdev_ioctl_map_grant_ref(&p->file, count, t);
	struct gntdev_grant_map *map;

	if (index < 0)
		return;
	lab_spin_lock(&p->mmap_lock);
	if (find_vma(p, first, first + count) < first + count)
		unmap_range(p, first, count, t);
	map = gntdev_mmap(&p->file, (unsigned int)index, count, first, t);
	if (map)
		p->vma[first] = (struct gntdev_vma){map, count};
	lab_unlock(&p->mmap_lock);
}

void gntdev_process_work(void *process, struct lab_thread *t)
{
	struct gntdev_process *p = process;
	size_t n = 1 + lab_below(t, 4), page = lab_below(t, lab_pages(p->lab) - n + 1);

	lab_count_retries(t, 0);
	switch (lab_below(t, 8)) {
	case 0:
		map_some(p, t);
		break;
	case 1:
		lab_spin_lock(&p->mmap_lock);
		unmap_range(p, page, n, t);
		lab_unlock(&p->mmap_lock);
		break;
	case 2:
	case 3:
		submit_io(p, page);
		break;
	default:
		xen_touch(&p->xen, page, t);
	}
	if (__atomic_load_n(&p->file.nr_maps, __ATOMIC_RELAXED) > MAX_MAPS || lab_chance(t, 16))
		gntdev_ioctl_unmap_grant_ref(&p->file, lab_below(t, MAX_MAPS));
}

/* ----------------------------------------------------------------------------------------- start, exit */

void gntdev_process_exit(void *process)
{
	struct gntdev_process *p = process;

	if (p->disk)
		lab_engine_destroy(p->disk);
	if (p->vma)
		unmap_range(p, 0, lab_pages(p->lab), NULL);
	gntdev_release(&p->file);
	xen_shut(&p->xen);
	pthread_mutex_destroy(&p->mmap_lock);
	lab_free(p->vma);
}

int gntdev_process_start(struct lab *lab, void *process)
{
	struct gntdev_process *p = process;
	int err;

	p->lab = lab;
	pthread_mutex_init(&p->mmap_lock, NULL);
	p->vma = lab_alloc(lab_pages(lab) * sizeof(*p->vma));
	err = xen_boot(&p->xen, lab);
	if (!err)
		err = lab_engine_create(lab, 1, &p->disk);
	if (!err)
		err = gntdev_open(&p->file, lab, &p->xen);
	return err || p->vma ? err : -ENOMEM;
}
