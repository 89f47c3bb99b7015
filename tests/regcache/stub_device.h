/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device that only keeps books: what is registered with it, since when, and what the memory was then.
 * It fails the test on a registration that is undone twice, while it is used, or with other values than
 * it was made with; and at the end for one that was never undone.
 */
#ifndef TESTS_STUB_DEVICE_H
#define TESTS_STUB_DEVICE_H

#include <mrn/regcache.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "tests/harness/sync.h"

/* Of how many pages a registration notes the contents. */
#define STUB_PAGES 32

/* What the stub reads a page's generation from. */
enum stub_memory {
	STUB_NO_MEMORY, /* addresses are numbers */
	STUB_REAL,	/* the first eight bytes of each page; -EFAULT where nothing is mapped */
	STUB_ORACLE,	/* a table of the test's, by page */
};

struct stub_reg {
	struct mrn_regcache_entry entry; /* as it was when it was registered */
	uint64_t serial;		 /* from 1, in the order of the registrations */
	uint64_t generation[STUB_PAGES];
	unsigned int users; /* under the device's lock */
	bool live;
	struct stub_reg *next, *prev; /* of the live ones, or next of the old ones */
};

struct stub_device;

/* A place where a test can stop a call into the device, or do something of its own. */
struct stub_stop {
	struct test_gate *entered, *leave; /* or NULL: opened, then waited for */
	void (*fn)(struct stub_device *dev, const struct mrn_regcache_entry *entry);
};

struct stub_device {
	pthread_mutex_t lock;
	/* To be set by the test, before it matters. */
	enum stub_memory memory;
	const uint64_t *oracle; /* [0] is the generation of the page at oracle_base */
	uintptr_t oracle_base;
	bool dawdle;	    /* yields in the middle of reading */
	unsigned int slots; /* refuses with -ENOSPC beyond; 0: no limit */
	int fail;	    /* what register_range returns while fail_times is not 0 */
	unsigned int fail_times;
	size_t fail_above; /* ranges that are longer fail with -EINVAL; 0: none */
	struct stub_stop on_register, on_deregister;
	void *arg;

	/* Figures. */
	uint64_t registered, deregistered, refused, calls;
	unsigned int live, most_live;
	size_t bytes, most_bytes;

	struct stub_reg *regs;		 /* live */
	struct stub_reg *old, **old_end; /* to be used again, oldest first */
	unsigned int nr_old;
};

extern const struct mrn_regcache_ops stub_ops;

void stub_init(struct stub_device *dev);
/* Everything must have been deregistered. */
void stub_exit(struct stub_device *dev);

/* The registration behind an entry that is held. */
struct stub_reg *stub_reg(const struct mrn_regcache_entry *entry);

/* The test uses the registration from here to there: undoing it in between fails the test. */
struct stub_reg *stub_use(struct stub_device *dev, const struct mrn_regcache_entry *entry);
void stub_unuse(struct stub_device *dev, const struct mrn_regcache_entry *entry);

/* Is a registration live that covers this range? */
bool stub_has(struct stub_device *dev, uintptr_t addr, size_t length);

/* The generation that the registration noted for the page that addr lies in. */
uint64_t stub_generation(const struct stub_reg *reg, uintptr_t addr);

#endif
