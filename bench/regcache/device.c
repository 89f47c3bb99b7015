/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/regcache/device.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define MAX_PINS 4096

static struct {
	bool is_open, has_ring;
	pthread_mutex_t lock;
	struct pin pin[MAX_PINS];
	uint16_t unused[MAX_PINS]; /* a stack of pins' numbers */
	uint32_t nr_unused;
} device = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Whether that is within RLIMIT_MEMLOCK, or none is in force. */
static bool may_pin(uint64_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	/* Counts all of it, and makes no page of it present. */
	bool may = p != MAP_FAILED && mlock2(p, bytes, MLOCK_ONFAULT) == 0;

	if (p != MAP_FAILED)
		munmap(p, bytes);
	return may;
}

int device_open(uint64_t bytes, char *why, size_t why_size)
{
	struct rlimit limit;

	/* As much as is allowed. */
	if (!getrlimit(RLIMIT_MEMLOCK, &limit)) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_MEMLOCK, &limit);
	}
	if (!may_pin(bytes)) {
		snprintf(why, why_size, "RLIMIT_MEMLOCK (ulimit -l) does not allow %ju KiB",
			 (uintmax_t)bytes >> 10);
		return -EPERM;
	}
	device.has_ring = pin_open() == 0;
	if (!device.has_ring)
		pin_close();
	for (uint32_t i = 0; i < MAX_PINS; i++)
		device.unused[i] = (uint16_t)i;
	device.nr_unused = MAX_PINS;
	device.is_open = true;
	return 0;
}

static struct pin *take_unused(void)
{
	struct pin *pin = NULL;

	pthread_mutex_lock(&device.lock);
	if (device.nr_unused)
		pin = &device.pin[device.unused[--device.nr_unused]];
	pthread_mutex_unlock(&device.lock);
	return pin;
}

static void give_back(struct pin *pin)
{
	pthread_mutex_lock(&device.lock);
	device.unused[device.nr_unused++] = (uint16_t)(pin - device.pin);
	pthread_mutex_unlock(&device.lock);
}

/* Counts no pages twice: munlock undoes every mlock of a page. It costs the same, and nothing relies on it. */
static int lock(struct pin *pin, char *addr, size_t length)
{
	*pin = (struct pin){.addr = addr, .length = length, .slot = -1, .pipe = {-1, -1}};
	return mlock(addr, length) ? -errno : 0;
}

static int pin_range(char *addr, size_t length, struct pin **out)
{
	struct pin *pin = take_unused();
	int err;

	if (!pin)
		return -ENOSPC;
	err = device.has_ring ? pin_take(pin, addr, length) : lock(pin, addr, length);
	if (err)
		give_back(pin);
	else
		*out = pin;
	return err;
}

int device_register(struct cache *c, void *addr, size_t length, struct pin **pin)
{
	int err = 0;

	*pin = NULL;
	if (device.is_open)
		err = pin_range(addr, length, pin);
	if (!err)
		__atomic_fetch_add(&c->registered, 1, __ATOMIC_RELAXED);
	return err;
}

void device_deregister(struct cache *c, struct pin *pin)
{
	__atomic_fetch_add(&c->deregistered, 1, __ATOMIC_RELAXED);
	if (!pin)
		return;
	if (device.has_ring)
		pin_release(pin);
	else
		munlock(pin->addr, pin->length);
	give_back(pin);
}

bool device_can_read(const struct pin *pin)
{
	return pin && device.has_ring;
}

bool device_reads_now(const struct pin *pin, char *addr)
{
	/* Never what fresh memory holds, and seldom what the same place held before. */
	static uint32_t turn;
	char byte = (char)(1 + __atomic_fetch_add(&turn, 1, __ATOMIC_RELAXED) % 255);

	memset(addr, byte, 8);
	return pin_count(pin, addr, 8, byte) == 8;
}
