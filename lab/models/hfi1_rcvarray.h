/* SPDX-License-Identifier: BSD-3-Clause */
/* hfi1: the receive array. Each valid entry (TID) covers a set of 2^n contiguous pages. Entries come in groups. */
#ifndef LAB_HFI1_RCVARRAY_H
#define LAB_HFI1_RCVARRAY_H

#include "lab/lab.h"
#include "lab/parts/mmu.h"

#define HFI1_GROUP_SIZE	    8
#define HFI1_NR_GROUPS	    8
#define HFI1_EXPECTED_COUNT (HFI1_NR_GROUPS * HFI1_GROUP_SIZE) /* entries */
#define HFI1_MAX_ORDER	    2				       /* of a set of pages */

struct hfi1_pageset {
	size_t idx; /* its first page, in the buffer */
	unsigned int order;
};

struct hfi1_tid_group {
	unsigned int base, used, map;
};

struct hfi1_rcvarray {
	struct lab *lab;
	struct lab_mmu mmu; /* by entry; the thread that wrote it clears and flushes it */
	bool granted[HFI1_EXPECTED_COUNT]; /* senders have been told of the entry */
	struct hfi1_tid_group group[HFI1_NR_GROUPS];
	struct lab_thread *receiver;
};

/* 0 or -errno. */
int hfi1_rcvarray_init(struct hfi1_rcvarray *array, struct lab *lab);
/* Ends the receiving: clear entries afterwards. Also after a failed init. */
void hfi1_rcvarray_stop(struct hfi1_rcvarray *array);
void hfi1_rcvarray_destroy(struct hfi1_rcvarray *array);

/* ---- Entries. */

/* Splits a buffer into sets that fit entries; at most n. Returns how many. */
size_t hfi1_find_pagesets(const uint64_t *pages, size_t n, struct hfi1_pageset *sets);
/* Makes an entry valid, over a set of pages: the first, in the region, and its frame. */
void hfi1_rcvarray_write(struct hfi1_rcvarray *array, unsigned int rcventry, size_t first,
			 uint64_t frame, unsigned int order);
/* Tells the senders of an entry, or withdraws it. */
void hfi1_rcvarray_grant(struct hfi1_rcvarray *array, unsigned int rcventry, bool granted);

/* ---- Groups: under the caller's lock. */

enum hfi1_group_state { HFI1_GROUP_EMPTY, HFI1_GROUP_PARTIAL, HFI1_GROUP_FULL };

enum hfi1_group_state hfi1_group_state(const struct hfi1_tid_group *grp);
/* A group in this state, or NULL. */
struct hfi1_tid_group *hfi1_group_find(struct hfi1_rcvarray *array, enum hfi1_group_state state);
/* Takes an entry of a group that is not full. */
unsigned int hfi1_group_take(struct hfi1_rcvarray *array, struct hfi1_tid_group *grp);
void hfi1_group_give(struct hfi1_rcvarray *array, unsigned int rcventry);

#endif
