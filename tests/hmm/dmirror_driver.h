/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device that mirrors an address space, with the commands of the kernel's own test device: read
 * and write by address, move pages to the device's memory and back, use them exclusively, take a
 * snapshot.
 *
 * It has a page table of its own over all addresses, which the driver lock guards, and follows the
 * protocol of <mrn/hmm.h> to fill it. What it reads and writes, it finds by the page table alone: a
 * stale entry is a wrong transfer. One command runs at a time, as from a queue.
 */
#ifndef TESTS_DMIRROR_H
#define TESTS_DMIRROR_H

#include <mrn/hmm.h>
#include <pthread.h>

/* Pages of a device's own memory. */
#define DMIRROR_PAGES 2048
/* Pages that one hmm_range_fault asks for. */
#define DMIRROR_CHUNK 64
/* The largest mapping that a snapshot tells of. */
#define DMIRROR_HUGE_ORDER 9

/* What a snapshot says of a page. */
enum dmirror_sees {
	SEES_NONE = 0,
	SEES_READ = 1 << 0,
	SEES_WRITE = 1 << 1, /* without READ: it goes without saying */
	SEES_ZERO = 1 << 2,  /* it holds zeros: there is no zero page that all share */
	SEES_LOCAL = 1 << 3, /* it is in this device's memory */
	SEES_HUGE = 1 << 4,
	SEES_ERROR = 1 << 5,
};

/* For twins: what a device does wrong, in this process from now on. */
enum dmirror_broken {
	DMIRROR_NO_RETRY = 1 << 0,    /* publishes without the retry check */
	DMIRROR_NO_ZAP = 1 << 1,      /* notes an invalidation, and keeps its entries */
	DMIRROR_OWNER_ALONE = 1 << 2, /* skips any MIGRATE with its name, pages that leave it too */
	DMIRROR_WRITE_ANYWAY = 1 << 3, /* writes through entries that are for reading */
};
extern unsigned int dmirror_broken;

struct dmirror {
	struct mrn_hmm *hmm; /* NULL: it mirrors this process, and can only take snapshots */
	struct mrn_hmm_device dev;
	struct mmu_range_notifier notifier; /* of all addresses */
	pthread_mutex_t command;
	pthread_mutex_t lock; /* the driver lock */
	uintptr_t *table;

	pthread_mutex_t memory_lock; /* guards what follows; a leaf */
	char *memory;
	bool used[DMIRROR_PAGES];
	size_t pages_used; /* see dmirror_pages_used */
	size_t room;	   /* pages that alloc gives out, all in all */
	bool scattered;	   /* alloc gives out single pages, no two in a row */

	/*
	 * Called, when set, between an answer and the look for a collision, without the driver
	 * lock, so that something can come between. Not for commands to the same device.
	 */
	void (*between)(struct dmirror *d);
	void *arg;

	/* Figures. */
	unsigned int collisions;
};

/* What commands work on. */
struct dmirror_buffer {
	char *ptr;    /* in the address space */
	char *mirror; /* what the device reads goes here, and what it writes comes from here */
	size_t pages;
	/* Set by commands: pages that were copied, and how often the device had to ask. */
	size_t cpages;
	unsigned int faults;
};

void dmirror_open(struct dmirror *d, struct mrn_hmm *hmm);
/* What is in its memory goes back to the system's. */
void dmirror_close(struct dmirror *d);

/*
 * Commands, on the first pages of a buffer: 0 or -errno. The mirror is as before after an error.
 * migrate and exclusive also read what is there, as the device then sees it, into the mirror.
 */
int dmirror_read(struct dmirror *d, struct dmirror_buffer *b, size_t pages);
int dmirror_write(struct dmirror *d, struct dmirror_buffer *b, size_t pages);
/* -EINVAL for a hole, or memory that may not be read; -ENOENT when a page could not be moved. */
int dmirror_migrate_to_device(struct dmirror *d, struct dmirror_buffer *b, size_t pages);
int dmirror_migrate_to_system(struct dmirror *d, struct dmirror_buffer *b, size_t pages);
int dmirror_exclusive(struct dmirror *d, struct dmirror_buffer *b, size_t pages);
/* -EPERM when the device believes that some of these pages are its alone. */
int dmirror_check_exclusive(struct dmirror *d, const struct dmirror_buffer *b, size_t pages);
/* Fills sees[], a byte of enum dmirror_sees for each page; brings nothing in. */
int dmirror_snapshot(struct dmirror *d, const void *addr, size_t pages, unsigned char *sees);
/* Gives up all of the device's memory, whatever it holds; the device has it anew afterwards. */
int dmirror_release(struct dmirror *d);

/* Pages of the device's memory that hold something. */
size_t dmirror_pages_used(struct dmirror *d);

#endif
