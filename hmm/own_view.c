/* SPDX-License-Identifier: BSD-3-Clause */
#include "hmm/own_view.h"

#include <errno.h>
#include <string.h>

#include "hmm/check.h"
#include "os/pages.h"

/* Runs of alike pages (PAGEMAP_SCAN) that are read at one time. If there are more, reading ends early. */
#define REGIONS 32

#define ENTRY_BITS                                                                            \
	(MRN_PAGEMAP_PRESENT | MRN_PAGEMAP_FILE | MRN_PAGEMAP_GUARD | MRN_PAGEMAP_EXCLUSIVE | \
	 MRN_PAGEMAP_FRAME)

int mrn_hmm_view_open(struct mrn_hmm_view *v)
{
	v->shift = (unsigned int)__builtin_ctzl(mrn_page_size());
	v->query = true;
	v->scan = !MRN_BROKEN(PAGEMAP_SCAN);
	mrn_hmm_view_forget(v);
	v->pagemap = mrn_pagemap_open();
	if (v->pagemap < 0)
		return v->pagemap;
	v->maps = mrn_maps_open();
	if (v->maps < 0)
		mrn_pagemap_close(v->pagemap);
	return v->maps < 0 ? v->maps : 0;
}

bool mrn_hmm_view_close(struct mrn_hmm_view *v)
{
	bool maps = mrn_maps_close(v->maps), pagemap = mrn_pagemap_close(v->pagemap);

	return (maps && pagemap) || MRN_BROKEN(HMM_OWN_FD);
}

/* --------------------------------------------------------------------------------------- mappings */

void mrn_hmm_view_forget(struct mrn_hmm_view *v)
{
	v->mappings = v->at = 0;
	v->last = false;
	v->known = 0;
}

static int load(struct mrn_hmm_view *v, uintptr_t addr)
{
	long n;

	v->at = 0;
	if (v->query) {
		int r = mrn_maps_query(v->maps, addr, &v->window[0]);

		v->mappings = r == 0;
		v->last = r == -ENOENT;
		if (r == 0 || r == -ENOENT)
			return 0;
		v->query = false;
	}
	n = mrn_maps_from(addr, v->window, MRN_HMM_VIEW_WINDOW);
	v->mappings = n < 0 ? 0 : (size_t)n;
	v->last = n < MRN_HMM_VIEW_WINDOW;
	return n < 0 ? (int)n : 0;
}

int mrn_hmm_view_mapping(struct mrn_hmm_view *v, uintptr_t addr, struct mrn_mapping *m)
{
	while (v->at < v->mappings && v->window[v->at].end <= addr)
		v->at++;
	if (v->at == v->mappings && !v->last) {
		int r = load(v, addr);

		if (r)
			return r;
	}
	if (v->at < v->mappings)
		*m = v->window[v->at];
	else
		*m = (struct mrn_mapping){.start = UINTPTR_MAX, .end = UINTPTR_MAX};
	return 0;
}

/* ---------------------------------------------------------------------------------------- entries */

static void mark(struct mrn_hmm_view *v, uintptr_t from, uintptr_t to, uint64_t bit)
{
	for (size_t i = (from - v->base) >> v->shift; i < (to - v->base) >> v->shift; i++)
		v->entry[i] |= bit;
}

/* A page that is neither read nor marked is not present. */
static int read_entries(struct mrn_hmm_view *v, uintptr_t from, uintptr_t to)
{
	size_t i = (from - v->base) >> v->shift, n = (to - from) >> v->shift;
	int r = mrn_pagemap_read(v->pagemap, from, n, &v->entry[i]);

	for (; n; n--)
		v->entry[i++] &= ENTRY_BITS;
	return r;
}

/* The entries decide, so they are read last. */
int mrn_hmm_view_read(struct mrn_hmm_view *v, uintptr_t addr, uintptr_t stop)
{
	struct mrn_pagemap_region region[REGIONS];
	uintptr_t walked = stop, from = stop, to = addr, at = addr;
	long n = -ENOTTY;
	int r;

	v->base = addr;
	if (v->scan)
		n = mrn_pagemap_scan(v->pagemap, addr, stop, region, REGIONS, &walked);
	if (n < 0 || walked <= addr) {
		v->scan = false;
		v->known = stop;
		return read_entries(v, addr, stop);
	}
	v->known = walked;
	memset(v->entry, 0, ((walked - addr) >> v->shift) * sizeof(v->entry[0]));
	for (long i = 0; i < n; i++) {
		if (region[i].categories) {
			from = region[i].start < from ? region[i].start : from;
			to = region[i].end;
		}
	}
	if (from < to) {
		r = read_entries(v, from, to);
		if (r)
			return r;
	}
	for (long i = 0; i < n; i++) {
		mark(v, at, region[i].start, MRN_HMM_VIEW_NO_PAGES);
		if (region[i].categories & MRN_PAGE_IS_HUGE)
			mark(v, region[i].start, region[i].end, MRN_HMM_VIEW_HUGE);
		at = region[i].end;
	}
	mark(v, at, walked, MRN_HMM_VIEW_NO_PAGES);
	return 0;
}
