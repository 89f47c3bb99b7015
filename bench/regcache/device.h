/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The device that caches register memory with. Without device_open a registration does nothing but count; after it, a
 * registration pins the pages: as a fixed buffer of io_uring, or by mlock where there is no io_uring.
 */
#ifndef BENCH_REGCACHE_DEVICE_H
#define BENCH_REGCACHE_DEVICE_H

#include <stdbool.h>
#include <stddef.h>

#include "bench/regcache/side.h"
#include "coverage/pin.h"

/* For pins of so many bytes at a time. 0; or -EPERM, with a sentence in why, where the process may not have as many. */
int device_open(uint64_t bytes, char *why, size_t why_size);

/* Both from any thread. 0 or -errno. *pin: NULL from a device that does nothing. */
int device_register(struct cache *c, void *addr, size_t length, struct pin **pin);
void device_deregister(struct cache *c, struct pin *pin);

/* Whether the device reads at addr what the process has just written there; asks only devices that can_read. */
bool device_can_read(const struct pin *pin);
bool device_reads_now(const struct pin *pin, char *addr);

#endif
