/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * gntdev: pages of another domain in a process (drivers/xen/gntdev.c), in a PV domain, as in Linux 6.1.
 *
 * Shadow	addresses of the process at which foreign pages are mapped, each by two grant handles: one for
 *		the entry in the process's page table, one for the kernel's own mapping, which I/O uses.
 * Driver lock	none upstream, for the pages of a map: mmap holds the mmap lock, and so does every
 *		invalidation of such a range. The storm does not. So every map has a lock here, which is
 *		ours, and mmap maps no page that has been invalidated since the notifier was inserted. There
 *		is still no retry: read_begin only waits for invalidations older than the notifier.
 * Invalidate	refuses if it may not wait; clamps to the addresses of the mmap, even if that VMA has changed;
 *		clears the notify byte; unmaps each grant once (being_removed). A page that I/O uses loses
 *		the process's entry at once, and the kernel's when a worker finds it unused. No update_seq.
 * Hazards	a VMA that is split; a grant that is unmapped again while it is still being unmapped; the
 *		notify byte cleared in a page that is no longer ours; an mmap that fails halfway; the wait
 *		for I/O inside the callback, which deadlocked with a GPU driver that waited for this one.
 * Before 2019	a list notifier that walked all maps under a lock, and looked at the VMA of each, which
 *		might be gone, or another map's.
 *
 * The addresses are the region's, the pages are not: of the storm's changes only the announcements matter. xen.c finds
 * mistakes: a grant in an entry about to change, an unknown handle, a page taken back. The process, with its VMAs,
 * system calls and I/O, is in gntdev_process.c.
 */
#include <errno.h>
#include <sched.h>

#include "lab/models/gntdev.h"
#include "lab/models/models.h"
#include "os/container_of.h"

#define LAB_STEPS "lab/steps/gntdev.def"
#include "lab/steps.h"

/* ------------------------------------------------------------------------------------------- maps */

void gntdev_get_map(struct gntdev_grant_map *map)
{
	__atomic_fetch_add(&map->users, 1, __ATOMIC_RELAXED);
}

/* Clears it once, and only if it was ever set. */
static void clear_notify_byte(struct gntdev_grant_map *map)
{
	if (map->notify_set)
		xen_set_notify_byte(map->priv->xen, map->ref[map->notify_page], 0);
	map->notify_set = false;
}

static void notify_remote_via_evtchn(struct gntdev_grant_map *map)
{
	LAB_ASSERT(map->priv->lab, !__atomic_load_n(&map->live_grants, __ATOMIC_RELAXED),
		   "the other domain is told that %d grants are free which are not",
		   map->live_grants);
	if (!lab_is_broken(map->priv->lab, NO_EVENT))
		xen_send_event(map->priv->xen);
}

void gntdev_put_map(struct gntdev_grant_map *map)
{
	struct lab *lab = map->priv->lab;
	unsigned int left_out;

	if (__atomic_sub_fetch(&map->users, 1, __ATOMIC_ACQ_REL))
		return;
	LAB_ASSERT(lab, !map->vmas && !map->listed, "a map with %u VMAs is freed", map->vmas);
	/* Only for NO_VMA_OPEN: do not free now what should not be freed. */
	left_out = __atomic_exchange_n(&map->left_out, 0, __ATOMIC_RELAXED);
	if (left_out && __atomic_add_fetch(&map->users, left_out, __ATOMIC_ACQ_REL))
		return;
	if (map->in_use)
		mmu_range_notifier_remove(&map->notifier);
	LAB_ASSERT(lab, !map->live_grants, "%d live grants are freed", map->live_grants);
	if (lab_is_broken(lab, CLEAR_LATE))
		clear_notify_byte(map);
	if (map->notify_event)
		notify_remote_via_evtchn(map);
	pthread_mutex_destroy(&map->lock);
	lab_free(map);
}

/* Sorted by index; takes the first gap that is large enough. Under priv->lock. */
static void gntdev_add_map(struct gntdev_priv *priv, struct gntdev_grant_map *add)
{
	struct gntdev_grant_map **at = &priv->maps;

	while (*at && add->index + add->count > (*at)->index) {
		add->index = (*at)->index + (*at)->count;
		at = &(*at)->next;
	}
	add->next = *at;
	*at = add;
	add->listed = true;
	__atomic_fetch_add(&priv->nr_maps, 1, __ATOMIC_RELAXED);
	for (struct gntdev_grant_map *map = priv->maps; map && map->next; map = map->next)
		LAB_ASSERT(priv->lab, map->index + map->count <= map->next->index,
			   "index %u belongs to two maps", map->next->index);
}

/* ------------------------------------------------------------------------------------------ unmapping */

static void unmap_handle(struct gntdev_grant_map *map, uint64_t handle)
{
	bool known = xen_unmap(map->priv->xen, handle);

	LAB_ASSERT(map->priv->lab, known, "handle %#jx unmapped twice", (uintmax_t)handle);
	map->live_grants -= known;
	LAB_ASSERT(map->priv->lab, map->live_grants >= 0, "%d live grants", map->live_grants);
}

/* Unmaps the kernel's mapping, if no I/O uses it. */
static bool unmap_kernel_page(struct gntdev_grant_map *map, size_t i)
{
	/* Acquire: the I/O happens before the page is given back. */
	if (__atomic_load_n(&map->page_count[i], __ATOMIC_ACQUIRE) &&
	    !lab_is_broken(map->priv->lab, NO_PAGE_COUNT))
		return false;
	unmap_handle(map, map->khandle[i]);
	map->khandle[i] = 0;
	return true;
}

static void unmap_grant_page(struct gntdev_grant_map *map, size_t i)
{
	if (!map->khandle[i])
		return;
	/* While the page is still there to be written to. */
	if (map->notify_page == i && !lab_is_broken(map->priv->lab, CLEAR_LATE))
		clear_notify_byte(map);
	unmap_handle(map, map->handle[i]);
	if (unmap_kernel_page(map, i) || map->queued || lab_is_broken(map->priv->lab, NO_WORKER))
		return;
	/* Leave it to the worker, for when the I/O is done. */
	map->queued = true;
	gntdev_get_map(map);
	lab_engine_submit(map->priv->workqueue, &map->unmap_work);
}

/* Under map->lock. Also marks pages that are not mapped yet, so that they will not be. */
static void unmap_grant_pages(struct gntdev_grant_map *map, size_t offset, size_t pages)
{
	for (size_t i = offset; i < offset + pages; i++) {
		if (map->being_removed[i] && !lab_is_broken(map->priv->lab, NO_BEING_REMOVED))
			continue;
		map->being_removed[i] = true;
		unmap_grant_page(map, i);
	}
}

static bool gntdev_invalidate(struct mmu_range_notifier *mrn,
			      const struct mmu_notifier_range *range, uint64_t cur_seq)
{
	struct gntdev_grant_map *map = (struct gntdev_grant_map *)mrn;
	struct lab *lab = map->priv->lab;
	size_t map_start = map->pages_vm_start, map_end = map_start + map->count;
	size_t start = lab_page(lab, range->start), end = lab_page(lab, range->end);

	(void)cur_seq;
	if (lab_ignores(lab, range))
		return true;
	if (!mmu_notifier_range_blockable(range) && !lab_is_broken(lab, NO_REFUSAL)) {
		lab_count_refusal(lab);
		return false;
	}
	if (lab_is_broken(lab, CURRENT_VMA)) {
		map_start = __atomic_load_n(&map->vma_start, __ATOMIC_RELAXED);
		map_end = __atomic_load_n(&map->vma_end, __ATOMIC_RELAXED);
	}
	start = start > map_start ? start : map_start;
	end = end < map_end ? end : map_end;
	lab_cut(lab, &start, &end);
	if (start >= end)
		return true;
	lab_lock(&map->lock);
	lab_count_invalidation(lab, range);
	if (lab_is_broken(lab, WRONG_BASE))
		unmap_grant_pages(map, 0, end - start);
	else
		unmap_grant_pages(map, start - map_start, end - start);
	lab_unlock(&map->lock);
	return true;
}

static const struct mmu_range_notifier_ops gntdev_mmu_ops = {.invalidate = gntdev_invalidate};

/* Unmaps what the callback had to leave. True if nothing is left. */
static bool unmap_rest(struct gntdev_grant_map *map)
{
	bool done = true;

	lab_lock(&map->lock);
	for (size_t i = 0; i < map->count; i++)
		if (map->being_removed[i] && map->khandle[i])
			done &= unmap_kernel_page(map, i);
	map->queued = !done;
	lab_unlock(&map->lock);
	return done;
}

static void work_on_map(struct lab_job *job, struct lab_thread *t)
{
	struct gntdev_grant_map *map = container_of(job, struct gntdev_grant_map, unmap_work);

	(void)t;
	if (unmap_rest(map)) {
		gntdev_put_map(map);
		return;
	}
	sched_yield();
	lab_engine_submit(map->priv->workqueue, job);
}

/* --------------------------------------------------------------------------------- the process's calls */

int gntdev_ioctl_map_grant_ref(struct gntdev_priv *priv, unsigned int count, struct lab_thread *t)
{
	struct gntdev_grant_map *map = lab_alloc(sizeof(*map));
	int index;

	if (!map)
		return -ENOMEM;
	map->priv = priv;
	map->count = count;
	map->users = 1;
	for (size_t i = 0; i < count; i++)
		map->ref[i] = (uint32_t)lab_below(t, XEN_GRANTS);
	map->notify_page = (unsigned int)lab_below(t, count + 1);
	map->notify_event = lab_chance(t, 2);
	if (map->notify_event)
		xen_ask_for_event(priv->xen);
	map->unmap_work.run = work_on_map;
	pthread_mutex_init(&map->lock, NULL);
	lab_spin_lock(&priv->lock);
	gntdev_add_map(priv, map);
	index = (int)map->index;
	lab_unlock(&priv->lock);
	return index;
}

void gntdev_ioctl_unmap_grant_ref(struct gntdev_priv *priv, size_t nth)
{
	struct gntdev_grant_map **at = &priv->maps, *map;

	lab_spin_lock(&priv->lock);
	while (nth-- && *at)
		at = &(*at)->next;
	map = *at;
	if (map) {
		*at = map->next;
		map->listed = false;
		__atomic_fetch_sub(&priv->nr_maps, 1, __ATOMIC_RELAXED);
	}
	lab_unlock(&priv->lock);
	if (!map)
		return;
	if (map->notify_event && lab_is_broken(priv->lab, EARLY_EVENT))
		notify_remote_via_evtchn(map);
	gntdev_put_map(map);
}

/* False if the grant cannot be mapped twice: for the kernel, and for the process. */
static bool map_grant_page(struct gntdev_grant_map *map, size_t i)
{
	struct xen *xen = map->priv->xen;
	uint64_t khandle = xen_map(xen, map->ref[i], XEN_NO_PAGE);

	map->handle[i] = khandle ? xen_map(xen, map->ref[i], map->pages_vm_start + i) : 0;
	if (!map->handle[i]) {
		if (khandle && !lab_is_broken(map->priv->lab, HALF_MAPPED))
			xen_unmap(xen, khandle);
		return false;
	}
	map->khandle[i] = khandle;
	map->live_grants += 2;
	if (map->notify_page == i) {
		xen_set_notify_byte(xen, map->ref[i], 1);
		map->notify_set = true;
	}
	return true;
}

static bool gntdev_map_grant_pages(struct gntdev_grant_map *map, struct lab_thread *t)
{
	bool trust = lab_is_broken(map->priv->lab, TRUST_MMAP_LOCK), ok = true;

	lab_count_faults(t, map->count);
	lab_lock(&map->lock);
	for (size_t i = 0; i < map->count; i++)
		if (!map->being_removed[i] || trust)
			ok &= map_grant_page(map, i);
	if (!ok && !lab_is_broken(map->priv->lab, LEAVE_MAPPED))
		unmap_grant_pages(map, 0, map->count);
	lab_unlock(&map->lock);
	return ok;
}

static bool insert_notifier(struct gntdev_grant_map *map, size_t first)
{
	struct lab *lab = map->priv->lab;

	map->pages_vm_start = map->vma_start = first;
	map->vma_end = first + map->count;
	map->notifier =
		(struct mmu_range_notifier){.ops = &gntdev_mmu_ops, .driver_lock = &map->lock};
	return !mmu_range_notifier_insert(&map->notifier, lab_addr(lab, first),
					  lab_bytes(map->count), lab_mm(lab));
}

/* The map with this index, with a reference and its notifier inserted; or NULL. */
static struct gntdev_grant_map *claim(struct gntdev_priv *priv, unsigned int index,
				      unsigned int count, size_t first)
{
	struct gntdev_grant_map *map;

	lab_spin_lock(&priv->lock);
	for (map = priv->maps; map && (map->index != index || map->count != count); map = map->next)
		;
	if (map && (map->in_use || !insert_notifier(map, first)))
		map = NULL;
	if (map) {
		map->in_use = true;
		gntdev_get_map(map);
	}
	lab_unlock(&priv->lock);
	return map;
}

struct gntdev_grant_map *gntdev_mmap(struct gntdev_priv *priv, unsigned int index,
				     unsigned int count, size_t first, struct lab_thread *t)
{
	struct gntdev_grant_map *map = claim(priv, index, count, first);

	if (!map)
		return NULL;
	if (!lab_is_broken(priv->lab, NO_READ_BEGIN))
		mmu_range_read_begin(&map->notifier);
	lab_pause(t);
	if (gntdev_map_grant_pages(map, t)) {
		map->vmas = 1;
		return map;
	}
	if (!lab_is_broken(priv->lab, NO_PUT))
		gntdev_put_map(map);
	return NULL;
}

void gntdev_vma_open(struct gntdev_grant_map *map)
{
	map->vmas++;
	if (lab_is_broken(map->priv->lab, NO_VMA_OPEN))
		__atomic_fetch_add(&map->left_out, 1, __ATOMIC_RELAXED);
	else
		gntdev_get_map(map);
}

void gntdev_vma_close(struct gntdev_grant_map *map)
{
	map->vmas--;
	gntdev_put_map(map);
}

/* -------------------------------------------------------------------------------------- open, release */

int gntdev_open(struct gntdev_priv *priv, struct lab *lab, struct xen *xen)
{
	priv->lab = lab;
	priv->xen = xen;
	pthread_mutex_init(&priv->lock, NULL);
	return lab_engine_create(lab, 1, &priv->workqueue);
}

void gntdev_release(struct gntdev_priv *priv)
{
	if (!priv->lab)
		return;
	while (priv->maps)
		gntdev_ioctl_unmap_grant_ref(priv, 0);
	if (priv->workqueue)
		lab_engine_destroy(priv->workqueue);
	pthread_mutex_destroy(&priv->lock);
}

const struct lab_driver lab_gntdev = {
	.name = "gntdev",
	.about = "Xen: pages of other domains, mapped into a process",
	.steps = steps,
	.size = sizeof(struct gntdev_process),
	.open = gntdev_process_start,
	.work = gntdev_process_work,
	.close = gntdev_process_exit,
};
