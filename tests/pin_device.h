/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device that really pins: io_uring's fixed buffers. Registering takes the pages that are mapped at
 * that moment; reading through the device gives what those pages hold, whatever has been mapped at
 * their addresses since. So a stale registration gives stale bytes, and nothing is simulated.
 */
#ifndef TESTS_PIN_DEVICE_H
#define TESTS_PIN_DEVICE_H

#include <liburing.h>
#include <mrn/mrn.h>
#include <stddef.h>

#define PIN_DEVICE_SLOTS  512
#define PIN_CACHE_ENTRIES 256

struct pin_device {
	struct io_uring ring;
	int file; /* a memfd that transfers go to */
	pthread_mutex_t lock;
	unsigned int free_slots[PIN_DEVICE_SLOTS];
	unsigned int n_free;
	/* Called, when set, between pinning and returning from register. */
	void (*pinned)(void *arg, const struct mrn_regcache_entry *entry);
	void *arg;
};

extern const struct mrn_regcache_ops pin_device_ops;

/* Skips the test where there is no io_uring. */
void pin_device_open(struct pin_device *dev);
void pin_device_close(struct pin_device *dev);

/* What the device finds at [addr, addr + length) of an entry: 0, or -errno of the transfer. */
int pin_device_read(struct pin_device *dev, const struct mrn_regcache_entry *entry,
		    const void *addr, void *to, size_t length);

/* ---- and what tests of it have in common */

/* Attaches; skips the test, saying why, where these kinds are not to be had. */
struct mrn_source *attach_or_skip(unsigned int kinds);

/* A cache of dev over source, which covers need. */
struct mrn_regcache *pin_cache(struct pin_device *dev, struct mrn_source *source, uint64_t need,
			       unsigned int flags);

/* The byte that a fresh get of addr transfers; with the registration's own entry put again. */
int pin_cache_peek(struct pin_device *dev, struct mrn_regcache *cache, const void *addr);

/* Has the mapping of addr this flag of /proc/self/smaps, as in " uw"? */
bool mapping_has_flag(const void *addr, const char *flag);

#endif
