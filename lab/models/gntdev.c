/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * gntdev: pages of another domain in a process (drivers/xen/gntdev.c), as in a PV domain.
 *
 * Shadow	addresses of the process at which foreign pages are mapped, each by two grant handles: one for
 *		the entry in the process's page table, one for the kernel's own mapping, which I/O uses.
 * Driver lock	none in the kernel, for the pages of a map: mmap holds the mmap lock, and so does whoever
 *		invalidates such a range. The storm does not. So every map has a lock here, and mmap maps no
 *		page that has been invalidated since the notifier was inserted; there is still no retry, and
 *		read_begin only waits for invalidations that are older than the notifier.
 * Invalidate	refuses where it may not wait; clamps to the addresses of the mmap, whatever has become of
 *		that VMA since; clears the notify byte; unmaps each grant once (being_removed). A page that
 *		I/O uses loses the process's entry at once, and the kernel's when a worker finds it unused.
 *		No update_seq, as nobody compares.
 * Hazards	a VMA that is split; a grant that is unmapped again while it is still being unmapped; the
 *		notify byte cleared in a page that is no longer ours; the wait for I/O inside the callback,
 *		which deadlocked with a GPU driver that waited for this one.
 * Before 2019	a list notifier that went through all maps under a lock, and looked at the VMA of each: one
 *		that was gone, or another's.
 *
 * The addresses are the region's, the pages are not: of what the storm does, only the announcements
 * matter. What shows a mistake is in xen.c: a grant in an entry that the kernel is about to change, a handle
 * that is not known, a page that its owner has taken back.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#include "lab/parts/engine.h"
#include "lab/models/models.h"
#include "lab/models/xen.h"

enum {
	NO_READ_BEGIN,
	TRUST_MMAP_LOCK,
	NO_BEING_REMOVED,
	CURRENT_VMA,
	NO_VMA_OPEN,
	NO_PAGE_COUNT,
	CLEAR_LATE,
	EARLY_EVENT,
};
static const char *const steps[] = {
	[NO_READ_BEGIN] = "no_read_begin",
	[TRUST_MMAP_LOCK] = "trust_mmap_lock",
	[NO_BEING_REMOVED] = "no_being_removed",
	[CURRENT_VMA] = "current_vma",
	[NO_VMA_OPEN] = "no_vma_open",
	[NO_PAGE_COUNT] = "no_page_count",
	[CLEAR_LATE] = "clear_late",
	[EARLY_EVENT] = "early_event",
	NULL,
};

#define MAX_COUNT 8 /* pages of a map */
#define MAX_MAPS  16

/* ------------------------------------------------------------------------------------------- maps */

struct gntdev_priv;

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
	size_t vma_start, vma_end; /* of one of them: what a careless driver goes by */

	size_t pages_vm_start; /* the page where it was mapped, for good */
	uint32_t ref[MAX_COUNT];
	/* Users of the kernel's mapping: one more only under lock, one less at any time. */
	uint32_t page_count[MAX_COUNT];
	pthread_mutex_t lock; /* guards all below */
	bool being_removed[MAX_COUNT];
	uint64_t handle[MAX_COUNT], khandle[MAX_COUNT];
	int live_grants;
	unsigned int notify_page; /* count: no byte to be cleared */
	bool notify_event, notify_set;
	bool queued; /* for the worker; has a reference */
	struct gntdev_grant_map *next_queued;
};

struct vma {
	struct gntdev_grant_map *map;
	size_t n;
};

struct gntdev_priv {
	struct lab *lab;
	struct xen xen;
	/* Held by mmap and munmap around all else, invalidations and removals too. */
	pthread_mutex_t mmap_lock;
	struct vma *vma;      /* by its first page */
	pthread_mutex_t lock; /* the list; insertion of a notifier nests inside */
	struct gntdev_grant_map *maps;
	unsigned int nr_maps;	    /* atomic */
	pthread_mutex_t queue_lock; /* a leaf; nests inside a map's lock */
	struct gntdev_grant_map *queue;
	struct lab_thread *worker;
	struct lab_engine *disk;
};

static void gntdev_get_map(struct gntdev_grant_map *map)
{
	__atomic_fetch_add(&map->users, 1, __ATOMIC_RELAXED);
}

/* Once, and only if it was ever set. */
static void clear_notify_byte(struct gntdev_grant_map *map)
{
	if (map->notify_set)
		xen_set_notify_byte(&map->priv->xen, map->ref[map->notify_page], 0);
	map->notify_set = false;
}

static void notify_remote_via_evtchn(struct gntdev_grant_map *map)
{
	LAB_ASSERT(map->priv->lab, !__atomic_load_n(&map->live_grants, __ATOMIC_RELAXED),
		   "the other domain is told that %d grants are free which are not",
		   map->live_grants);
}

/* Not from a callback: the last one removes the notifier. */
static void gntdev_put_map(struct gntdev_grant_map *map)
{
	struct lab *lab = map->priv->lab;
	unsigned int left_out;

	if (__atomic_sub_fetch(&map->users, 1, __ATOMIC_ACQ_REL))
		return;
	LAB_ASSERT(lab, !map->vmas && !map->listed, "a map with %u VMAs is freed", map->vmas);
	/* Only NO_VMA_OPEN: what should not be freed now is not. */
	left_out = __atomic_exchange_n(&map->left_out, 0, __ATOMIC_RELAXED);
	if (left_out && __atomic_add_fetch(&map->users, left_out, __ATOMIC_ACQ_REL))
		return;
	if (map->in_use)
		mmu_range_notifier_remove(&map->notifier);
	LAB_ASSERT(lab, !map->live_grants, "%d live grants in a map that is freed",
		   map->live_grants);
	if (lab_is_broken(lab, CLEAR_LATE))
		clear_notify_byte(map);
	if (map->notify_event)
		notify_remote_via_evtchn(map);
	pthread_mutex_destroy(&map->lock);
	free(map);
}

/* By index: the first gap that is large enough. Under priv->lock. */
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
	bool known = xen_unmap(&map->priv->xen, handle);

	LAB_ASSERT(map->priv->lab, known, "handle %#jx unmapped twice", (uintmax_t)handle);
	map->live_grants -= known;
	LAB_ASSERT(map->priv->lab, map->live_grants >= 0, "%d live grants", map->live_grants);
}

/* The kernel's mapping, if no I/O uses it. */
static bool unmap_kernel_page(struct gntdev_grant_map *map, size_t i)
{
	/* Acquire: what I/O did comes before the page is given back. */
	if (__atomic_load_n(&map->page_count[i], __ATOMIC_ACQUIRE) &&
	    !lab_is_broken(map->priv->lab, NO_PAGE_COUNT))
		return false;
	unmap_handle(map, map->khandle[i]);
	map->khandle[i] = 0;
	return true;
}

static void queue_map(struct gntdev_grant_map *map)
{
	struct gntdev_priv *priv = map->priv;

	if (map->queued)
		return;
	map->queued = true;
	gntdev_get_map(map);
	pthread_mutex_lock(&priv->queue_lock);
	map->next_queued = priv->queue;
	priv->queue = map;
	pthread_mutex_unlock(&priv->queue_lock);
}

static void unmap_grant_page(struct gntdev_grant_map *map, size_t i)
{
	if (!map->khandle[i])
		return;
	/* While the page is still there to be written to. */
	if (map->notify_page == i && !lab_is_broken(map->priv->lab, CLEAR_LATE))
		clear_notify_byte(map);
	unmap_handle(map, map->handle[i]);
	if (!unmap_kernel_page(map, i))
		queue_map(map);
}

/* Under map->lock. Also marks what is not mapped yet: it will not be. */
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
	if (!mmu_notifier_range_blockable(range)) {
		lab_count_refusal(lab);
		return false;
	}
	if (lab_is_broken(lab, CURRENT_VMA)) {
		map_start = __atomic_load_n(&map->vma_start, __ATOMIC_RELAXED);
		map_end = __atomic_load_n(&map->vma_end, __ATOMIC_RELAXED);
	}
	start = start > map_start ? start : map_start;
	end = end < map_end ? end : map_end;
	if (start >= end)
		return true;
	pthread_mutex_lock(&map->lock);
	lab_count_invalidation(lab, range);
	unmap_grant_pages(map, start - map_start, end - start);
	pthread_mutex_unlock(&map->lock);
	return true;
}

/* What the callback had to leave. True when nothing is left. */
static bool unmap_rest(struct gntdev_grant_map *map)
{
	bool done = true;

	pthread_mutex_lock(&map->lock);
	for (size_t i = 0; i < map->count; i++)
		if (map->being_removed[i] && map->khandle[i])
			done &= unmap_kernel_page(map, i);
	map->queued = !done;
	pthread_mutex_unlock(&map->lock);
	return done;
}

static void run_queue(struct gntdev_priv *priv)
{
	struct gntdev_grant_map *map, *next;

	pthread_mutex_lock(&priv->queue_lock);
	map = priv->queue;
	priv->queue = NULL;
	pthread_mutex_unlock(&priv->queue_lock);
	for (; map; map = next) {
		next = map->next_queued;
		if (unmap_rest(map)) {
			gntdev_put_map(map);
			continue;
		}
		pthread_mutex_lock(&priv->queue_lock);
		map->next_queued = priv->queue;
		priv->queue = map;
		pthread_mutex_unlock(&priv->queue_lock);
	}
}

static void worker(void *arg, struct lab_thread *t)
{
	while (!lab_thread_stopping(t)) {
		run_queue(arg);
		sched_yield();
	}
}

/* --------------------------------------------------------------------------------- the process's calls */

/* Returns the index to mmap, or -ENOMEM. */
static int ioctl_map_grant_ref(struct gntdev_priv *priv, unsigned int count, struct lab_thread *t)
{
	struct gntdev_grant_map *map = calloc(1, sizeof(*map));
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
	pthread_mutex_init(&map->lock, NULL);
	pthread_mutex_lock(&priv->lock);
	gntdev_add_map(priv, map);
	index = (int)map->index;
	pthread_mutex_unlock(&priv->lock);
	return index;
}

/* Closes the nth map's index. What is mapped stays. */
static void ioctl_unmap_grant_ref(struct gntdev_priv *priv, size_t nth)
{
	struct gntdev_grant_map **at = &priv->maps, *map;

	pthread_mutex_lock(&priv->lock);
	while (nth-- && *at)
		at = &(*at)->next;
	map = *at;
	if (map) {
		*at = map->next;
		map->listed = false;
		__atomic_fetch_sub(&priv->nr_maps, 1, __ATOMIC_RELAXED);
	}
	pthread_mutex_unlock(&priv->lock);
	if (!map)
		return;
	if (map->notify_event && lab_is_broken(priv->lab, EARLY_EVENT))
		notify_remote_via_evtchn(map);
	gntdev_put_map(map);
}

static void map_grant_page(struct gntdev_grant_map *map, size_t i)
{
	struct xen *xen = &map->priv->xen;
	uint64_t khandle = xen_map(xen, map->ref[i], XEN_NO_PAGE);

	if (!khandle)
		return;
	map->handle[i] = xen_map(xen, map->ref[i], map->pages_vm_start + i);
	if (!map->handle[i]) {
		xen_unmap(xen, khandle);
		return;
	}
	map->khandle[i] = khandle;
	map->live_grants += 2;
	if (map->notify_page == i) {
		xen_set_notify_byte(xen, map->ref[i], 1);
		map->notify_set = true;
	}
}

static void gntdev_map_grant_pages(struct gntdev_grant_map *map, struct lab_thread *t)
{
	bool trust = lab_is_broken(map->priv->lab, TRUST_MMAP_LOCK);

	lab_count_faults(t, map->count);
	pthread_mutex_lock(&map->lock);
	for (size_t i = 0; i < map->count; i++)
		if (!map->being_removed[i] || trust)
			map_grant_page(map, i);
	pthread_mutex_unlock(&map->lock);
}

static const struct mmu_range_notifier_ops gntdev_mmu_ops = {.invalidate = gntdev_invalidate};

/* The map with this index, with a reference and its notifier inserted. NULL when it is not to be had. */
static struct gntdev_grant_map *claim(struct gntdev_priv *priv, unsigned int index,
				      unsigned int count, size_t first)
{
	uintptr_t start = lab_addr(priv->lab, first), end = lab_addr(priv->lab, first + count);
	struct gntdev_grant_map *map;

	pthread_mutex_lock(&priv->lock);
	for (map = priv->maps; map && (map->index != index || map->count != count); map = map->next)
		;
	if (map && !map->in_use) {
		map->pages_vm_start = map->vma_start = first;
		map->vma_end = first + count;
		map->notifier.ops = &gntdev_mmu_ops;
		map->in_use = !mmu_range_notifier_insert(&map->notifier, start, end - start,
							 lab_mm(priv->lab));
		map = map->in_use ? map : NULL;
	} else {
		map = NULL;
	}
	if (map)
		gntdev_get_map(map);
	pthread_mutex_unlock(&priv->lock);
	return map;
}

/* With the mmap lock. */
static void gntdev_mmap(struct gntdev_priv *priv, unsigned int index, unsigned int count,
			size_t first, struct lab_thread *t)
{
	struct gntdev_grant_map *map = claim(priv, index, count, first);

	if (!map)
		return;
	map->vmas = 1;
	priv->vma[first] = (struct vma){map, count};
	if (!lab_is_broken(priv->lab, NO_READ_BEGIN))
		mmu_range_read_begin(&map->notifier);
	lab_pause(t);
	gntdev_map_grant_pages(map, t);
}

static void gntdev_vma_open(struct gntdev_grant_map *map)
{
	map->vmas++;
	if (lab_is_broken(map->priv->lab, NO_VMA_OPEN))
		__atomic_fetch_add(&map->left_out, 1, __ATOMIC_RELAXED);
	else
		gntdev_get_map(map);
}

static void gntdev_vma_close(struct gntdev_grant_map *map)
{
	map->vmas--;
	gntdev_put_map(map);
}

/* Takes [first, end) out of the VMA at page v: what is left on each side is one of its own. */
static void split_vma(struct gntdev_priv *priv, size_t v, size_t first, size_t end)
{
	struct gntdev_grant_map *map = priv->vma[v].map;
	size_t vma_end = v + priv->vma[v].n;

	priv->vma[v].n = v < first ? first - v : 0;
	if (end < vma_end)
		priv->vma[end] = (struct vma){map, vma_end - end};
	if (v < first && end < vma_end)
		gntdev_vma_open(map);
	__atomic_store_n(&map->vma_start, v < first ? v : end, __ATOMIC_RELAXED);
	__atomic_store_n(&map->vma_end, v < first ? first : vma_end, __ATOMIC_RELAXED);
	if (v >= first && end >= vma_end)
		gntdev_vma_close(map);
}

/* The first VMA that has a page in [first, end); or end. With the mmap lock. */
static size_t find_vma(const struct gntdev_priv *priv, size_t first, size_t end)
{
	size_t v = first < MAX_COUNT ? 0 : first - MAX_COUNT + 1;

	while (v < end && (!priv->vma[v].n || v + priv->vma[v].n <= first))
		v++;
	return v;
}

/* With the mmap lock. */
static void unmap_range(struct gntdev_priv *priv, size_t first, size_t n, struct lab_thread *t)
{
	struct mmu_notifier_range range;
	size_t v;

	mmu_notifier_range_init(&range, MMU_NOTIFY_UNMAP, 0, lab_mm(priv->lab),
				lab_addr(priv->lab, first), lab_addr(priv->lab, first + n));
	range.cause = MRN_CAUSE_MUNMAP;
	if (mmu_notifier_invalidate_range_start(&range))
		return;
	if (t)
		lab_pause(t);
	mmu_notifier_invalidate_range_end(&range);
	while ((v = find_vma(priv, first, first + n)) < first + n)
		split_vma(priv, v, first, first + n);
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

	xen_use_page(&map->priv->xen, map->ref[bio->i], t);
	/* Release: unmap_kernel_page acquires. */
	__atomic_fetch_sub(&map->page_count[bio->i], 1, __ATOMIC_RELEASE);
	gntdev_put_map(map);
	free(bio);
}

/* As get_user_pages: a reference on the page, if it is mapped. */
static bool get_page(struct gntdev_grant_map *map, size_t i)
{
	bool mapped;

	pthread_mutex_lock(&map->lock);
	mapped = map->handle[i] && !map->being_removed[i];
	if (mapped) {
		__atomic_fetch_add(&map->page_count[i], 1, __ATOMIC_RELAXED);
		gntdev_get_map(map);
	}
	pthread_mutex_unlock(&map->lock);
	return mapped;
}

/* Has the disk write the foreign page at this address. */
static void submit_io(struct gntdev_priv *priv, size_t page)
{
	struct bio *bio = calloc(1, sizeof(*bio));
	bool ok = false;
	size_t v;

	if (!bio)
		return;
	bio->job.run = do_io;
	pthread_mutex_lock(&priv->mmap_lock);
	v = find_vma(priv, page, page + 1);
	if (v <= page) {
		bio->map = priv->vma[v].map;
		bio->i = page - bio->map->pages_vm_start;
		ok = get_page(bio->map, bio->i);
	}
	pthread_mutex_unlock(&priv->mmap_lock);
	if (ok)
		lab_engine_submit(priv->disk, &bio->job);
	else
		free(bio);
}

/* ------------------------------------------------------------------------------------------ the process */

static void map_some(struct gntdev_priv *priv, struct lab_thread *t)
{
	unsigned int count = 1 + (unsigned int)lab_below(t, MAX_COUNT);
	size_t first = lab_below(t, lab_pages(priv->lab) - count + 1);
	int index = ioctl_map_grant_ref(priv, count, t);

	if (index < 0)
		return;
	pthread_mutex_lock(&priv->mmap_lock);
	if (find_vma(priv, first, first + count) < first + count)
		unmap_range(priv, first, count, t);
	gntdev_mmap(priv, (unsigned int)index, count, first, t);
	pthread_mutex_unlock(&priv->mmap_lock);
}

static void work(void *dev, struct lab_thread *t)
{
	struct gntdev_priv *priv = dev;
	size_t n = 1 + lab_below(t, 4), page = lab_below(t, lab_pages(priv->lab) - n + 1);

	lab_count_retries(t, 0);
	switch (lab_below(t, 8)) {
	case 0:
		map_some(priv, t);
		break;
	case 1:
		pthread_mutex_lock(&priv->mmap_lock);
		unmap_range(priv, page, n, t);
		pthread_mutex_unlock(&priv->mmap_lock);
		break;
	case 2:
	case 3:
		submit_io(priv, page);
		break;
	default:
		xen_touch(&priv->xen, page, t);
	}
	if (__atomic_load_n(&priv->nr_maps, __ATOMIC_RELAXED) > MAX_MAPS || lab_chance(t, 16))
		ioctl_unmap_grant_ref(priv, lab_below(t, MAX_MAPS));
}

/* ------------------------------------------------------------------------------------------- open, close */

static void shut(void *dev)
{
	struct gntdev_priv *priv = dev;

	if (priv->disk)
		lab_engine_destroy(priv->disk);
	if (priv->worker)
		lab_thread_join(priv->worker);
	if (priv->vma)
		unmap_range(priv, 0, lab_pages(priv->lab), NULL);
	while (priv->maps)
		ioctl_unmap_grant_ref(priv, 0);
	run_queue(priv);
	xen_shut(&priv->xen);
	pthread_mutex_destroy(&priv->mmap_lock);
	pthread_mutex_destroy(&priv->lock);
	pthread_mutex_destroy(&priv->queue_lock);
	free(priv->vma);
	free(priv);
}

static int boot(struct gntdev_priv *priv)
{
	int err = xen_boot(&priv->xen, priv->lab);

	priv->vma = calloc(lab_pages(priv->lab), sizeof(*priv->vma));
	if (!err && !priv->vma)
		err = -ENOMEM;
	if (!err)
		err = lab_engine_create(priv->lab, 1, &priv->disk);
	if (!err)
		priv->worker = lab_thread_start(priv->lab, worker, priv);
	return err || priv->worker ? err : -ENOMEM;
}

static int open_gntdev(struct lab *lab, void **dev)
{
	struct gntdev_priv *priv = calloc(1, sizeof(*priv));
	int err;

	if (!priv)
		return -ENOMEM;
	priv->lab = lab;
	pthread_mutex_init(&priv->mmap_lock, NULL);
	pthread_mutex_init(&priv->lock, NULL);
	pthread_mutex_init(&priv->queue_lock, NULL);
	err = boot(priv);
	if (err)
		shut(priv);
	else
		*dev = priv;
	return err;
}

const struct lab_driver lab_gntdev = {
	.name = "gntdev",
	.about = "Xen: pages of other domains, mapped into a process",
	.steps = steps,
	.open = open_gntdev,
	.work = work,
	.close = shut,
};
