/* SPDX-License-Identifier: BSD-3-Clause */
#include "lab/models/xen.h"

#include <errno.h>

#include "os/container_of.h"

/* Contents of a page that its owner uses privately. */
#define PRIVATE UINT64_C(0x00dead00dead0000)

/* For want of room. Even, so that it is the second of two maps of a grant. */
#define MAPS_PER_REFUSAL 128

/* ------------------------------------------------------------------------------------------ hypervisor */

static struct xen_handle *free_handle(struct xen *xen)
{
	for (struct xen_handle *h = xen->track; h < xen->track + XEN_HANDLES; h++)
		if (!h->handle)
			return h;
	return NULL;
}

uint64_t xen_map(struct xen *xen, uint32_t ref, size_t page)
{
	struct xen_handle *h;
	uint64_t handle = 0;

	lab_spin_lock(&xen->lock);
	h = xen->grant[ref].granted && ++xen->asked % MAPS_PER_REFUSAL ? free_handle(xen) : NULL;
	if (h) {
		/* No handle is used twice. */
		handle = ++xen->handles << 16 | (uint64_t)(h - xen->track);
		*h = (struct xen_handle){handle, ref, page};
		xen->grant[ref].mapped++;
	}
	if (h && page != XEN_NO_PAGE) {
		LAB_ASSERT(xen->lab, !lab_mmu_is_mapped(&xen->pte, page),
			   "a grant is mapped over another, at page %zu", page);
		lab_mmu_map(&xen->pte, page, ref, true);
	}
	lab_unlock(&xen->lock);
	return handle;
}

bool xen_unmap(struct xen *xen, uint64_t handle)
{
	struct xen_handle *h = &xen->track[handle & (XEN_HANDLES - 1)];
	bool known;

	lab_spin_lock(&xen->lock);
	known = handle && h->handle == handle;
	if (known) {
		if (h->page != XEN_NO_PAGE)
			lab_mmu_unmap(&xen->pte, h->page, 1);
		if (!--xen->grant[h->ref].mapped)
			__atomic_store_n(&xen->returned, h->ref, __ATOMIC_RELAXED);
		h->handle = 0;
	}
	lab_unlock(&xen->lock);
	return known;
}

/* From the start of an invalidation to its end, the kernel may change these entries. */
static void expect_no_grants(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	struct xen *xen = container_of(mn, struct xen, zaps);
	size_t page = lab_page(xen->lab, range->start), end = lab_page(xen->lab, range->end);

	while (page < end && !lab_mmu_is_mapped(&xen->pte, page))
		page++;
	LAB_ASSERT(xen->lab, page == end, "attempt to implicitly unmap a grant, at page %zu", page);
}

static int zap_start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	expect_no_grants(mn, range);
	return 0;
}

/* ---------------------------------------------------------------------------------------- other domain */

static void set_words(struct xen_grant *g, size_t first, size_t end, uint64_t value)
{
	for (size_t k = first; k < end; k++)
		__atomic_store_n(&g->word[k], value, __ATOMIC_RELAXED);
}

static bool are_words(const struct xen_grant *g, size_t first, size_t end, uint64_t value)
{
	while (first < end && __atomic_load_n(&g->word[first], __ATOMIC_RELAXED) == value)
		first++;
	return first == end;
}

/* Takes back an unmapped page, uses it for something else, and grants it again. */
static void use_privately(struct xen *xen, uint32_t ref, struct lab_thread *t)
{
	struct xen_grant *g = &xen->grant[ref];

	lab_spin_lock(&xen->lock);
	g->granted = g->mapped;
	lab_unlock(&xen->lock);
	if (g->granted)
		return;
	LAB_ASSERT(xen->lab, are_words(g, XEN_NOTIFY, XEN_NOTIFY + 1, 0),
		   "grant %u is not in use, and its notify byte says that it is", ref);
	set_words(g, 0, XEN_WORDS, PRIVATE);
	lab_pause(t);
	LAB_ASSERT(xen->lab, are_words(g, 0, XEN_WORDS, PRIVATE),
		   "the page of grant %u was written to after it had been given back", ref);
	set_words(g, 0, XEN_CONTENTS_END, g->contents + XEN_GRANTS);
	set_words(g, XEN_NOTIFY, XEN_WORDS, 0);
	lab_spin_lock(&xen->lock);
	__atomic_store_n(&g->contents, g->contents + XEN_GRANTS, __ATOMIC_RELAXED);
	g->granted = true;
	lab_unlock(&xen->lock);
}

static void other_domain(void *arg, struct lab_thread *t)
{
	struct xen *xen = arg;

	while (!lab_thread_stopping(t)) {
		uint32_t ref = (uint32_t)lab_below(t, XEN_GRANTS);

		if (lab_chance(t, 2))
			ref = __atomic_load_n(&xen->returned, __ATOMIC_RELAXED);
		use_privately(xen, ref, t);
		lab_pause(t);
	}
}

void xen_use_page(struct xen *xen, uint32_t ref, struct lab_thread *t)
{
	struct xen_grant *g = &xen->grant[ref];
	uint64_t contents = __atomic_load_n(&g->contents, __ATOMIC_RELAXED);

	LAB_ASSERT(xen->lab, are_words(g, 0, XEN_CONTENTS_END, contents),
		   "the owner has something else in the page of grant %u", ref);
	lab_pause(t);
	set_words(g, XEN_SCRATCH, XEN_SCRATCH + 1, lab_random(t));
	LAB_ASSERT(xen->lab, are_words(g, 0, XEN_CONTENTS_END, contents),
		   "the owner has taken back the page of grant %u", ref);
}

void xen_touch(struct xen *xen, size_t page, struct lab_thread *t)
{
	uint64_t ref = lab_mmu_begin(&xen->pte, page, true);

	if (ref == LAB_NO_FRAME)
		return;
	xen_use_page(xen, (uint32_t)ref, t);
	lab_mmu_end(&xen->pte, page);
}

void xen_set_notify_byte(struct xen *xen, uint32_t ref, uint8_t value)
{
	set_words(&xen->grant[ref], XEN_NOTIFY, XEN_NOTIFY + 1, value);
}

void xen_ask_for_event(struct xen *xen)
{
	__atomic_fetch_add(&xen->events_due, 1, __ATOMIC_RELAXED);
}

void xen_send_event(struct xen *xen)
{
	__atomic_fetch_sub(&xen->events_due, 1, __ATOMIC_RELAXED);
}

/* ------------------------------------------------------------------------------------------ boot, shut */

int xen_boot(struct xen *xen, struct lab *lab)
{
	static const struct mmu_notifier_ops zap_ops = {
		.invalidate_range_start = zap_start,
		.invalidate_range_end = expect_no_grants,
	};
	int err = lab_mmu_init(&xen->pte, lab_pages(lab));

	xen->lab = lab;
	pthread_mutex_init(&xen->lock, NULL);
	for (uint32_t ref = 0; ref < XEN_GRANTS; ref++) {
		xen->grant[ref].granted = true;
		xen->grant[ref].contents = ref;
		set_words(&xen->grant[ref], 0, XEN_CONTENTS_END, ref);
	}
	xen->zaps.ops = &zap_ops;
	if (!err)
		err = mmu_notifier_register(&xen->zaps, lab_mm(lab));
	if (!err)
		xen->domain = lab_thread_start(lab, other_domain, xen);
	return err || xen->domain ? err : -ENOMEM;
}

void xen_shut(struct xen *xen)
{
	if (xen->domain)
		lab_thread_join(xen->domain);
	for (uint32_t ref = 0; ref < XEN_GRANTS; ref++)
		LAB_ASSERT(xen->lab, !xen->grant[ref].mapped, "grant %u is still mapped", ref);
	LAB_ASSERT(xen->lab, xen->events_due <= 0, "the other domain waits for %d events",
		   xen->events_due);
	mmu_notifier_unregister(&xen->zaps, lab_mm(xen->lab));
	lab_mmu_destroy(&xen->pte);
	pthread_mutex_destroy(&xen->lock);
}
