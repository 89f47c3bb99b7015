/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The modules that are mapped, and where their unwind tables are: found in the mappings, without the loader and its
 * lock. Filled by the looks of modules.c, one at a time.
 *
 * A module is used only when two looks have seen it, the second one after it was in the list: whatever unmaps it from
 * then on finds it there, and marks it.
 */
#ifndef MRN_WATCH_IMAGES_H
#define MRN_WATCH_IMAGES_H

#include <stdbool.h>
#include <stdint.h>

#include "os/maps.h"
#include "watch/record/cfi.h"

/* The mappings of one file that follow each other, from the one with its first byte on. */
#define WATCH_IMAGE_MAPPINGS 12
struct watch_image_mappings {
	struct {
		uintptr_t start, end;
		bool readable;
	} part[WATCH_IMAGE_MAPPINGS];
	unsigned int n;
	bool executable, cut_off;
	unsigned int dev_major, dev_minor;
	uint64_t inode;
};

/* A look: begin, all mappings in their order, end. */
struct watch_images_look {
	uint32_t number;
	bool found_new;
	struct watch_image_mappings group;
};
void watch_images_begin(struct watch_images_look *look);
void watch_images_see(struct watch_images_look *look, const struct mrn_mapping *mapping);
/* whole: all mappings were seen. Returns true if another look is to confirm what this one has found. */
bool watch_images_end(struct watch_images_look *look, bool whole);

/* Finds the table of the module that holds pc: table is NULL if it has none. False if no module is known. */
bool watch_images_find(uintptr_t pc, struct watch_cfi *cfi);

/* What was at [start, end) has been unmapped. */
void watch_images_unmapped(uintptr_t start, uintptr_t end);

/* Another number whenever a module has come or gone. */
uint32_t watch_images_changes(void);

#endif
