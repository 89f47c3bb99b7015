/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dmirror: the device and its table, which the driver writes and the device's accesses read; and the
 * commands that the driver has.
 */
#ifndef LAB_DMIRROR_H
#define LAB_DMIRROR_H

#include "lab/lab.h"
#include "lab/parts/devmem.h"
#include "lab/parts/mmu.h"

#define LAB_STEPS "lab/steps/dmirror.def"
#include "lab/steps.h"

#define DMIRROR_MAX_PAGES 4 /* of one command */
#define DMIRROR_UNITS	  16

/* In an entry, beside the page's number: the frame is lent to the device exclusively. */
#define DPT_ATOMIC (UINT64_C(1) << 53)

struct dmirror {
	struct lab *lab;
	struct mmu_range_notifier notifier;
	pthread_mutex_t mutex; /* the driver lock */
	struct lab_mmu pt;
	/*
	 * A sequence count, which changes under the mutex: odd while a command moves pages to the device. Do not
	 * publish a translation that was read before or meanwhile.
	 */
	unsigned int migrate_seq;

	struct lab_devmem mdevice;
	/* The memory controller: one access to a page at a time, so that operations are atomic. */
	pthread_mutex_t unit[DMIRROR_UNITS];
	struct lab_thread *engine;
};

/* A command to a thread for pages [i, i + n). */
struct dmirror_cmd {
	struct dmirror *d;
	struct lab_thread *t;
	size_t i, n;
	void *addr;
	size_t length;
};

/* The driver's part of commands. 0, or -errno if the access is not allowed. */
int dmirror_fault(const struct dmirror_cmd *c, bool write);
/* Borrows pages for atomic operations. */
void dmirror_exclusive(const struct dmirror_cmd *c);
void dmirror_migrate_to_device(const struct dmirror_cmd *c);
/* Compares the device's table with a snapshot. */
void dmirror_snapshot(const struct dmirror_cmd *c);

/* ---- dmirror_device.c */

/* Creates table, memory and engine. 0 or -errno; stop and close in either case. */
int dmirror_device_open(struct dmirror *d);
/* Ends the engine, and brings back the device's pages; the driver's notifier must still be inserted. */
void dmirror_device_stop(struct dmirror *d);
void dmirror_device_close(struct dmirror *d);

/* A command of a program: lab_driver's work. */
void dmirror_work(void *dev, struct lab_thread *t);

#endif
