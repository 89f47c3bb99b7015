/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Invalidations between their start and their end. A token is its announcer's memory and the same at both, so its
 * address says which start an end belongs to, however they nest, in whichever threads.
 */
#ifndef MRN_WATCH_OPEN_H
#define MRN_WATCH_OPEN_H

#include <stdbool.h>
#include <stdint.h>

struct mmu_notifier_range;

struct watch_open {
	const struct mmu_notifier_range *token; /* NULL: free */
	uint64_t begin, site, via;		/* mrn watch's */
	uint64_t seq;				/* mrn check's: check/record/mark.c */
	uint32_t marks, flags;
	uint8_t event, cause;
};

/* The most at a time; neighbours in the table share places. */
#define WATCH_OPEN_MAX 512

/* A place for a token that starts, or NULL if none is left. cut_off: what was there before has had no end. */
struct watch_open *watch_open_take(const struct mmu_notifier_range *token, bool *cut_off);
/* The place of a token that ends, or NULL if it never got one. The caller frees it. */
struct watch_open *watch_open_find(const struct mmu_notifier_range *token);
void watch_open_free(struct watch_open *open);
/* In a forked child: its parent's never end here. */
void watch_open_restart(void);

#endif
