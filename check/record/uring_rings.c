/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which descriptor is which ring. A ring is ended with the last descriptor and the last registered index that we know
 * of. Our view of its memory would keep it alive, and with it what is registered: so that goes before the program closes
 * the descriptor.
 */
#include <fcntl.h>
#include <linux/close_range.h>
#include <stddef.h>
#include <string.h>

#include "check/record/uring_internal.h"
#include "os/container_of.h"
#include "os/pages.h"
#include "os/syscall.h"
#include "os/thread.h"

#include "os/event_path.h"

#define LEAF   1024
#define LEAVES 1024 /* as many descriptors as a process may have by default, and more */

static struct uring_ring **leaf[LEAVES];
static struct check_pool pool = CHECK_POOL(struct uring_ring, pooled);
static uint32_t fds; /* how many descriptors are rings */
static MRN_TLS struct uring_ring *registered[URING_MAX_REGISTERED_FDS];

/* -------------------------------------------------------------------------------------- its beginning and end */

struct uring_ring *uring_new(void)
{
	struct check_pooled *pooled = check_pool_get(&pool);
	struct uring_ring *r;

	if (!pooled)
		return NULL;
	r = container_of(pooled, struct uring_ring, pooled);
	/* But not its lock, which somebody may try to take who knows it by its former name. */
	memset(&r->refs, 0, sizeof(*r) - offsetof(struct uring_ring, refs));
	return r;
}

static void put(struct uring_ring *r)
{
	struct uring_buffers buffers;
	uint32_t groups;

	if (__atomic_sub_fetch(&r->refs, 1, __ATOMIC_ACQ_REL))
		return;
	/* If its lock cannot be had, it stays. */
	if (!check_lock(&r->lock))
		return;
	__atomic_store_n(&r->is_live, false, __ATOMIC_RELAXED);
	if (r->is_seen)
		uring_completed(r);
	buffers = uring_take_buffers(r);
	groups = r->groups;
	r->groups = 0;
	uring_forget_flights(r);
	uring_view_close(r);
	check_unlock(&r->lock);
	uring_put_buffers(&buffers);
	uring_put_groups(r, groups);
	check_pool_put(&pool, &r->pooled);
}

bool uring_each(bool (*look)(struct uring_ring *r, const void *arg), const void *arg)
{
	bool all = true;

	for (uint32_t i = 1; i <= check_pool_highest(&pool); i++) {
		struct check_pooled *pooled = check_pool_at(&pool, i);
		struct uring_ring *r = pooled ? container_of(pooled, struct uring_ring, pooled)
					      : NULL;

		if (r && __atomic_load_n(&r->is_live, __ATOMIC_RELAXED))
			all &= look(r, arg);
	}
	return all;
}

/* ------------------------------------------------------------------------------------------ its names */

static struct uring_ring **slot(uint32_t fd, bool make)
{
	struct uring_ring **l, **none = NULL;

	if (fd / LEAF >= LEAVES)
		return NULL;
	l = __atomic_load_n(&leaf[fd / LEAF], __ATOMIC_ACQUIRE);
	if (!l && make) {
		l = mrn_pages_alloc(LEAF * sizeof(*l));
		if (l && !__atomic_compare_exchange_n(&leaf[fd / LEAF], &none, l, false,
						      __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
			mrn_pages_free(l, LEAF * sizeof(*l));
			l = none;
		}
	}
	return l ? &l[fd % LEAF] : NULL;
}

struct uring_ring *uring_look_up(uint32_t fd, bool is_registered)
{
	struct uring_ring **s;

	if (is_registered)
		return fd < URING_MAX_REGISTERED_FDS ? registered[fd] : NULL;
	if (!__atomic_load_n(&fds, __ATOMIC_RELAXED))
		return NULL;
	s = slot(fd, false);
	return s ? __atomic_load_n(s, __ATOMIC_ACQUIRE) : NULL;
}

bool check_uring_is(int fd)
{
	return uring_look_up((uint32_t)fd, false);
}

struct uring_ring *uring_take(uint32_t fd, bool is_registered)
{
	struct uring_ring *r = uring_look_up(fd, is_registered);

	if (!r || !check_lock(&r->lock))
		return NULL;
	/* It may have been closed by another thread, and be another by now. */
	if (uring_look_up(fd, is_registered) == r)
		return r;
	check_unlock(&r->lock);
	return NULL;
}

static struct uring_ring *exchange(struct uring_ring **s, struct uring_ring *r)
{
	if (r)
		__atomic_fetch_add(&r->refs, 1, __ATOMIC_RELAXED);
	return __atomic_exchange_n(s, r, __ATOMIC_ACQ_REL);
}

void uring_set_fd(uint32_t fd, struct uring_ring *r)
{
	struct uring_ring **s = slot(fd, r != NULL), *was;

	if (!s && r) {
		/* It has no other name yet: it ends, or our view would keep it. */
		__atomic_fetch_add(&r->refs, 1, __ATOMIC_RELAXED);
		put(r);
	}
	if (!s)
		return;
	was = exchange(s, r);
	if (r)
		__atomic_fetch_add(&fds, 1, __ATOMIC_RELAXED);
	if (was) {
		__atomic_fetch_sub(&fds, 1, __ATOMIC_RELAXED);
		put(was);
	}
}

void uring_set_registered(uint32_t index, struct uring_ring *r)
{
	struct uring_ring *was;

	if (index >= URING_MAX_REGISTERED_FDS)
		return;
	was = exchange(&registered[index], r);
	if (was)
		put(was);
}

/* In a forked child: of this thread, which is the only one. */
void check_uring_restart(void)
{
	for (unsigned int i = 0; i < LEAVES; i++)
		for (unsigned int k = 0; leaf[i] && k < LEAF; k++)
			leaf[i][k] = NULL;
	for (unsigned int i = 0; i < URING_MAX_REGISTERED_FDS; i++)
		registered[i] = NULL;
	for (uint32_t i = 1; i <= check_pool_highest(&pool); i++) {
		struct check_pooled *pooled = check_pool_at(&pool, i);
		struct uring_ring *r = pooled ? container_of(pooled, struct uring_ring, pooled)
					      : NULL;

		if (r) {
			r->is_live = false;
			r->lock.holder = 0;
		}
	}
	fds = 0;
	check_pool_restart(&pool);
	uring_restart_buffers();
	uring_restart_groups();
}

/* --------------------------------------------------------------------------------- calls about descriptors */

bool check_uring_close(long a[6], long *result)
{
	if (uring_look_up((uint32_t)a[0], false))
		uring_set_fd((uint32_t)a[0], NULL);
	return false;
}

bool check_uring_close_range(long a[6], long *result)
{
	const uint32_t first = (uint32_t)a[0], last = (uint32_t)a[1];

	if ((uint32_t)a[2] & CLOSE_RANGE_CLOEXEC || !__atomic_load_n(&fds, __ATOMIC_RELAXED))
		return false;
	for (uint32_t i = first / LEAF; i < LEAVES && i <= last / LEAF; i++) {
		if (!__atomic_load_n(&leaf[i], __ATOMIC_ACQUIRE))
			continue;
		for (uint32_t fd = i * LEAF; fd < (i + 1) * LEAF; fd++)
			if (fd >= first && fd <= last)
				uring_set_fd(fd, NULL);
	}
	return false;
}

/* Makes a call whose result is another descriptor of the ring. */
static bool copies(long nr, const long a[6], long *result)
{
	struct uring_ring *r = uring_look_up((uint32_t)a[0], false);

	if (!r)
		return false;
	*result = check_call_make(nr, a);
	if (*result >= 0)
		uring_set_fd((uint32_t)*result, r);
	return true;
}

bool check_uring_dup(long a[6], long *result)
{
	return copies(SYS_dup, a, result);
}

void check_uring_replaced(uint32_t from, uint32_t to)
{
	uring_set_fd(to, uring_look_up(from, false));
}

bool check_uring_fcntl(long a[6], long *result)
{
	const uint32_t command = (uint32_t)a[1];

	return (command == F_DUPFD || command == F_DUPFD_CLOEXEC) && copies(SYS_fcntl, a, result);
}

/* The kernel takes back the indices that the thread has registered. */
bool check_uring_thread_ends(long a[6], long *result)
{
	for (uint32_t i = 0; i < URING_MAX_REGISTERED_FDS; i++)
		uring_set_registered(i, NULL);
	return false;
}
