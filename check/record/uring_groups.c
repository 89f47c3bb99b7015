/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Rings of provided buffers (IORING_REGISTER_PBUF_RING). The kernel pins the ring's own memory, and reads it whenever a
 * request takes a buffer, which nobody sees: so each change of it is a finding. The buffers themselves are not pinned, and
 * are not followed.
 */
#include <sys/syscall.h>

#include "check/record/uring_internal.h"
#include "os/container_of.h"

#include "os/event_path.h"

struct group {
	struct check_pooled pooled;
	struct check_reg *reg;
	uint32_t id, next; /* next: the number of the ring's next one */
};

static struct check_pool pool = CHECK_POOL(struct group, pooled);

static struct group *at(uint32_t number)
{
	struct check_pooled *pooled = check_pool_at(&pool, number);

	return pooled ? container_of(pooled, struct group, pooled) : NULL;
}

static void put(struct group *g)
{
	check_reg_end(g->reg);
	check_pool_put(&pool, &g->pooled);
}

void uring_put_groups(uint32_t first)
{
	struct group *g = at(first);

	while (g) {
		const uint32_t next = g->next;

		put(g);
		g = at(next);
	}
}

void uring_restart_groups(void)
{
	check_pool_restart(&pool);
}

bool uring_registers_group(long a[6], long *result)
{
	struct io_uring_buf_reg reg;
	struct check_pooled *pooled;
	struct uring_ring *r;
	struct group *g;

	if (check_read(&reg, (uintptr_t)a[2], sizeof(reg)) || reg.pad & URING_PBUF_RING_MMAP ||
	    !reg.ring_addr || !reg.ring_entries)
		return false;
	pooled = check_pool_get(&pool);
	if (!pooled)
		return false;
	g = container_of(pooled, struct group, pooled);
	g->id = reg.bgid;
	g->reg = check_reg_begin(CHECK_IO_URING, (uintptr_t)reg.ring_addr,
				 reg.ring_entries * sizeof(struct io_uring_buf), CHECK_UNSEEN_USES);
	*result = check_call_make(SYS_io_uring_register, a);
	r = *result < 0 ? NULL
			: uring_take((uint32_t)a[0], (uint32_t)a[1] & URING_REGISTER_REGISTERED);
	if (!r) {
		put(g);
		return true;
	}
	check_reg_done(g->reg, g->id);
	g->next = r->groups;
	r->groups = pooled->number;
	uring_unlock(r);
	return true;
}

bool uring_unregisters_group(long a[6])
{
	struct uring_ring *r =
		uring_take((uint32_t)a[0], (uint32_t)a[1] & URING_REGISTER_REGISTERED);
	struct io_uring_buf_reg reg;
	struct group *g = NULL;
	uint32_t *link;

	if (!r)
		return false;
	if (!check_read(&reg, (uintptr_t)a[2], sizeof(reg)))
		for (link = &r->groups; (g = at(*link)); link = &g->next)
			if (g->id == reg.bgid) {
				*link = g->next;
				break;
			}
	uring_unlock(r);
	if (g)
		put(g);
	return false;
}
