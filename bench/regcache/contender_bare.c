/* SPDX-License-Identifier: BSD-3-Clause */
/* The contenders without a cache. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench/regcache/device.h"
#include "bench/regcache/limit.h"
#include "bench/regcache/side.h"
#include "os/uffd.h"

/* ---------------------------------------------------- look-up: a lower bound of hits (limit.h), no more */

static int open_limit(struct cache *c, const struct work *w, char *why, size_t why_size)
{
	struct limit_table *t = aligned_alloc(_Alignof(struct limit_table), sizeof(*t));

	c->cache = t;
	if (!t)
		return -ENOMEM;
	*t = (struct limit_table){0};
	for (size_t i = 0; i < w->buffers; i++)
		if (!limit_add(t, (uintptr_t)place_buffer(&c->side->place, i), w->length))
			return -ENOSPC;
	return 0;
}

static void close_limit(struct cache *c)
{
	free(c->cache);
	c->cache = NULL;
}

static inline bool look_up(struct cache *c, char *addr, size_t length)
{
	const struct limit_entry *e = limit_get(c->cache, (uintptr_t)addr, length);

	return e && limit_put(e);
}

static void *limit_find(struct cache *c, char *addr, size_t length)
{
	return (void *)(uintptr_t)limit_get(c->cache, (uintptr_t)addr, length);
}

static void put_nothing(struct cache *c, void *held)
{
}

static const struct pin *no_pin(void *held)
{
	return NULL;
}

static void look_ups(void *side, unsigned int self)
{
	side_hits(side, self, look_up);
}

const struct side_ops side_look_up = {open_limit,  close_limit, limit_find,
				      put_nothing, no_pin,	look_ups};

/* --------------------------------------- register-each: also correct; a registration for each transfer */

static int open_nothing(struct cache *c, const struct work *w, char *why, size_t why_size)
{
	return w->pins && w->kind != WORK_HIT ? 0 : -EINVAL;
}

static void close_nothing(struct cache *c)
{
}

static void *register_one(struct cache *c, char *addr, size_t length)
{
	struct pin *pin;

	return device_register(c, addr, length, &pin) ? NULL : pin;
}

static void deregister_one(struct cache *c, void *held)
{
	device_deregister(c, held);
}

static const struct pin *that_pin(void *held)
{
	return held;
}

const struct side_ops side_each = {open_nothing,   close_nothing, register_one,
				   deregister_one, that_pin,	  NULL};

/* ------------------ registered-once: what is left of an application's time if registrations cost nothing */

/* The device holds one page instead, so that checks take as long as the others' do. */
static int open_once(struct cache *c, const struct work *w, char *why, size_t why_size)
{
	size_t page = (size_t)getpagesize();
	void *spare = aligned_alloc(page, page);

	int err = spare ? device_register(c, spare, page, (struct pin **)&c->cache) : -ENOMEM;

	/* That was none of the application's. */
	c->registered = 0;
	return err;
}

static void close_once(struct cache *c)
{
	if (c->cache)
		device_deregister(c, c->cache);
	c->cache = NULL;
}

static void *the_pin(struct cache *c, char *addr, size_t length)
{
	return c->cache;
}

const struct side_ops side_once = {open_once, close_once, the_pin, put_nothing, that_pin, NULL};

/* ---------------- arming: the one call that nobody who has fresh memory watched can do without; no more */

/* It asks for no events, so that munmap does not wait for anybody to read them. */
static int open_arming(struct cache *c, const struct work *w, char *why, size_t why_size)
{
	struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP};
	long fd;

	if (w->kind != WORK_MISS_FRESH)
		return -EINVAL;
	fd = syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
	if (fd < 0)
		return -errno;
	/* Standard input is open: the number is not 0. */
	c->cache = (void *)fd;
	return ioctl((int)fd, UFFDIO_API, &api) ? -errno : 0;
}

static void close_arming(struct cache *c)
{
	if (c->cache)
		close((int)(intptr_t)c->cache);
	c->cache = NULL;
}

static void *arm_one(struct cache *c, char *addr, size_t length)
{
	struct uffdio_register reg = {
		.range = {.start = (uintptr_t)addr, .len = length},
		.mode = UFFDIO_REGISTER_MODE_WP,
	};

	if (ioctl((int)(intptr_t)c->cache, UFFDIO_REGISTER, &reg))
		return NULL;
	c->registered++;
	return c;
}

const struct side_ops side_arming = {open_arming, close_arming, arm_one, put_nothing, no_pin, NULL};
