/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hfi1: the receive array, and the packets that arrive.
 *
 * The array is the hardware's: packets are written to the pages of a valid entry until it has been invalidated, and the
 * packets in flight have been flushed. hfi1_exp_rcv.c decides which pages an entry covers, and for how long.
 *
 * The groups say which entries are free, and keep those of a large buffer together.
 */
#include "lab/models/hfi1_rcvarray.h"

#include <errno.h>

/* An entry: the address, the page (for the oracle), and the size. */
#define RCV_PAGE_SHIFT	32
#define RCV_ORDER_SHIFT 48

/* --------------------------------------------------------------------------------------------- entries */

size_t hfi1_find_pagesets(const uint64_t *pages, size_t n, struct hfi1_pageset *sets)
{
	size_t n_sets = 0;

	for (size_t i = 0; i < n; n_sets++) {
		size_t run = 1;
		unsigned int order = 0;

		while (i + run < n && pages[i + run] == pages[i] + run)
			run++;
		while (order < HFI1_MAX_ORDER && (size_t)2 << order <= run)
			order++;
		sets[n_sets] = (struct hfi1_pageset){i, order};
		i += (size_t)1 << order;
	}
	return n_sets;
}

void hfi1_rcvarray_write(struct hfi1_rcvarray *array, unsigned int rcventry, size_t first,
			 uint64_t frame, unsigned int order)
{
	lab_mmu_map(&array->mmu, rcventry,
		    frame | (uint64_t)first << RCV_PAGE_SHIFT | (uint64_t)order << RCV_ORDER_SHIFT,
		    true);
}

void hfi1_rcvarray_grant(struct hfi1_rcvarray *array, unsigned int rcventry, bool granted)
{
	__atomic_store_n(&array->granted[rcventry], granted, __ATOMIC_RELEASE);
}

/* ---------------------------------------------------------------------------------------------- groups */

enum hfi1_group_state hfi1_group_state(const struct hfi1_tid_group *grp)
{
	if (!grp->used)
		return HFI1_GROUP_EMPTY;
	return grp->used < HFI1_GROUP_SIZE ? HFI1_GROUP_PARTIAL : HFI1_GROUP_FULL;
}

struct hfi1_tid_group *hfi1_group_find(struct hfi1_rcvarray *array, enum hfi1_group_state state)
{
	for (size_t i = 0; i < HFI1_NR_GROUPS; i++)
		if (hfi1_group_state(&array->group[i]) == state)
			return &array->group[i];
	return NULL;
}

unsigned int hfi1_group_take(struct hfi1_rcvarray *array, struct hfi1_tid_group *grp)
{
	unsigned int bit = (unsigned int)__builtin_ctz(~grp->map);

	LAB_ASSERT(array->lab, (unsigned int)__builtin_popcount(grp->map) == grp->used,
		   "map %#x, %u used", grp->map, grp->used);
	grp->map |= 1u << bit;
	grp->used++;
	return grp->base + bit;
}

void hfi1_group_give(struct hfi1_rcvarray *array, unsigned int rcventry)
{
	struct hfi1_tid_group *grp = &array->group[rcventry / HFI1_GROUP_SIZE];

	grp->map &= ~(1u << (rcventry - grp->base));
	grp->used--;
}

/* --------------------------------------------------------------------------------------------- packets */

/* Writes a packet; first the oracle checks what is there. */
static void receive_packet(struct hfi1_rcvarray *array, uint64_t entry, struct lab_thread *t)
{
	size_t i = lab_below(t, (size_t)1 << (entry >> RCV_ORDER_SHIFT));
	size_t page = (entry >> RCV_PAGE_SHIFT & 0xffff) + i;
	void *memory = mrn_hmm_frame(lab_hmm(array->lab), (uint32_t)entry + i);

	lab_pause(t);
	lab_dma_read(t, memory, page);
	lab_pause(t);
	lab_dma_write(t, memory, page);
}

/* Packets that arrive, for entries that their senders have been told of. */
static void receive(void *arg, struct lab_thread *t)
{
	struct hfi1_rcvarray *array = arg;

	while (!lab_thread_stopping(t)) {
		unsigned int rcventry = (unsigned int)lab_below(t, HFI1_EXPECTED_COUNT);
		uint64_t entry = lab_mmu_begin(&array->mmu, rcventry, true);

		if (entry != LAB_NO_FRAME) {
			/* The access is in flight, so granted is that of the entry that was looked up. */
			if (__atomic_load_n(&array->granted[rcventry], __ATOMIC_ACQUIRE))
				receive_packet(array, entry, t);
			lab_mmu_end(&array->mmu, rcventry);
		}
		lab_pause(t);
	}
}

/* --------------------------------------------------------------------------------------- init, destroy */

int hfi1_rcvarray_init(struct hfi1_rcvarray *array, struct lab *lab)
{
	int err = lab_mmu_init(&array->mmu, HFI1_EXPECTED_COUNT);

	array->lab = lab;
	for (unsigned int i = 0; i < HFI1_NR_GROUPS; i++)
		array->group[i].base = i * HFI1_GROUP_SIZE;
	if (err)
		return err;
	array->receiver = lab_thread_start(lab, receive, array);
	return array->receiver ? 0 : -ENOMEM;
}

void hfi1_rcvarray_stop(struct hfi1_rcvarray *array)
{
	if (array->receiver)
		lab_thread_join(array->receiver);
	array->receiver = NULL;
}

void hfi1_rcvarray_destroy(struct hfi1_rcvarray *array)
{
	for (size_t i = 0; i < HFI1_NR_GROUPS; i++)
		LAB_ASSERT(array->lab, hfi1_group_state(&array->group[i]) == HFI1_GROUP_EMPTY,
			   "group %zu", i);
	lab_mmu_destroy(&array->mmu);
}
