/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Rings of provided buffers (IORING_REGISTER_PBUF_RING). The kernel pins the ring's own memory, if it is the program's, and
 * reads it whenever a request takes a buffer, which nobody sees: so each change of it is a finding.
 *
 * Buffers may be provided by requests, too, and then there is no such ring. A request counts when it is submitted; if it
 * fails, or nobody can say whether it has, it is not known any more what the kernel has.
 *
 * The buffers are not pinned: the kernel uses their addresses when a request has something for one. So the memory of a
 * buffer that the kernel may take must be there while a request waits for one of its group. Such a request is a flight
 * that is nowhere, until at a change it is placed at a buffer that goes. Which buffers the kernel has: uring_provided.c.
 *
 * A request may wait for a group that comes later, or stays when its own is gone and takes a buffer of the next one with
 * that id. It is no flight, but what it brings back counts for the group that has the id then. A request of which nobody
 * knows what it brings back costs the group's table; and if the group is not there, those of all that come.
 */
#include <string.h>
#include <sys/syscall.h>

#include "check/record/flight.h"
#include "check/record/keys.h"
#include "check/record/uring_internal.h"
#include "check/record/uring_provided.h"
#include "os/container_of.h"

#include "os/event_path.h"

struct group {
	struct check_pooled pooled;
	struct check_reg *reg;
	uint32_t id;
	uint32_t next, before; /* numbers of the ring's, by which it is taken out */
	uint32_t awaited;      /* requests that take one of its buffers */
	uint32_t placed;       /* the flight of one that has been placed; 0: none */
	bool is_in[URING_GROUP_LISTS];
	uint32_t then[URING_GROUP_LISTS]; /* the next one of the list */
	struct uring_provided provided;
};

static struct check_pool pool = CHECK_POOL(struct group, pooled);
/* The numbers of groups, by ring and id. */
static struct check_keys ids;

static struct group *at(uint32_t number)
{
	struct check_pooled *pooled = check_pool_at(&pool, number);

	return pooled ? container_of(pooled, struct group, pooled) : NULL;
}

static struct check_key key_of(const struct uring_ring *r, uint32_t id)
{
	return (struct check_key){(uintptr_t)r, id};
}

static struct group *at_id(const struct uring_ring *r, uint32_t id)
{
	struct check_value value;

	return check_keys_find(&ids, key_of(r, id), &value) ? at((uint32_t)value.word[0]) : NULL;
}

static void add(struct uring_ring *r, struct group *g, enum uring_group_list list)
{
	if (g->is_in[list])
		return;
	g->is_in[list] = true;
	g->then[list] = r->groups_in[list];
	r->groups_in[list] = g->pooled.number;
}

static void leave(struct uring_ring *r, struct group *g, enum uring_group_list list)
{
	uint32_t *link = &r->groups_in[list];

	if (!g->is_in[list])
		return;
	while (*link != g->pooled.number)
		link = &at(*link)->then[list];
	*link = g->then[list];
	g->is_in[list] = false;
}

/* False without memory. */
static bool link_in(struct uring_ring *r, struct group *g)
{
	const struct check_value value = {.word = {g->pooled.number}};
	struct group *next = at(r->groups);

	if (check_keys_put(&ids, key_of(r, g->id), value))
		return false;
	g->before = 0;
	g->next = r->groups;
	if (next)
		next->before = g->pooled.number;
	r->groups = g->pooled.number;
	return true;
}

static void put(struct group *g)
{
	struct uring_provided *p = &g->provided;

	uring_provided_lose(p);
	if (p->view)
		uring_unmap((void *)(uintptr_t)p->view, p->entries * sizeof(*p->view));
	check_reg_end(g->reg);
	check_pool_put(&pool, &g->pooled);
}

void uring_put_groups(const struct uring_ring *r, uint32_t first)
{
	struct group *g = at(first);

	while (g) {
		const uint32_t next = g->next;
		struct check_value value;

		check_keys_take(&ids, key_of(r, g->id), &value);
		put(g);
		g = at(next);
	}
}

void uring_restart_groups(void)
{
	check_keys_clear(&ids);
	check_pool_restart(&pool);
}

/* ----------------------------------------------------------------------------------- its beginning and end */

/* What the kernel takes from there is known by what the program puts there. */
static void open_provided(struct group *g, const struct uring_ring *r, uint32_t fd,
			  bool is_registered, const struct io_uring_buf_reg *reg)
{
	struct uring_provided *p = &g->provided;

	*p = (struct uring_provided){.entries = reg->ring_entries};
	if (!(reg->pad & URING_PBUF_RING_MMAP))
		p->ring = (uintptr_t)reg->ring_addr;
	else if (!is_registered)
		p->view = uring_map(p->entries * sizeof(*p->view), (int)fd,
				    URING_OFF_PBUF_RING | (uint64_t)reg->bgid
								  << URING_OFF_PBUF_SHIFT);
	if ((!p->ring && !p->view) || !r->is_seen || r->view.is_programs || r->groups_to_lose)
		uring_provided_lose(p);
}

/* What it has is not known. NULL without memory. */
static struct group *make(uint32_t id)
{
	struct check_pooled *pooled = check_pool_get(&pool);
	struct group *g;

	if (!pooled)
		return NULL;
	g = container_of(pooled, struct group, pooled);
	g->reg = NULL;
	g->id = id;
	g->awaited = g->placed = 0;
	memset(g->is_in, 0, sizeof(g->is_in));
	g->provided = (struct uring_provided){.is_lost = true};
	return g;
}

/* NULL: it cannot be followed. */
static struct group *begin(const struct io_uring_buf_reg *reg)
{
	const bool is_odd = !reg->ring_entries || reg->ring_entries & (reg->ring_entries - 1);
	struct group *g = is_odd ? NULL : make(reg->bgid);

	if (!g)
		return NULL;
	if (!(reg->pad & URING_PBUF_RING_MMAP) && reg->ring_addr)
		g->reg = check_reg_begin(CHECK_IO_URING, (uintptr_t)reg->ring_addr,
					 reg->ring_entries * sizeof(struct io_uring_buf),
					 CHECK_UNSEEN_USES);
	return g;
}

/* Takes it out; NULL if there is none. */
static struct group *take_out(struct uring_ring *r, uint32_t id)
{
	struct check_value value;
	struct group *g = check_keys_take(&ids, key_of(r, id), &value) ? at((uint32_t)value.word[0])
								       : NULL;

	if (!g)
		return NULL;
	leave(r, g, URING_AWAITED);
	leave(r, g, URING_MAY_HAVE_MORE);
	*(g->before ? &at(g->before)->next : &r->groups) = g->next;
	if (g->next)
		at(g->next)->before = g->before;
	uring_forget_group(r, g->pooled.number);
	return g;
}

/* The kernel has it. */
static void install(struct group *g, uint32_t fd, bool is_registered,
		    const struct io_uring_buf_reg *reg)
{
	struct uring_ring *r = uring_take(fd, is_registered);
	struct group *was;
	bool is_in;

	if (!r) {
		put(g);
		return;
	}
	check_reg_done(g->reg, g->id);
	/* One that has ended without our seeing it. */
	was = take_out(r, g->id);
	/* What has come back before has nothing to do with it. */
	if (r->is_seen)
		uring_completed(r);
	open_provided(g, r, fd, is_registered, reg);
	is_in = link_in(r, g);
	check_unlock(&r->lock);
	if (was)
		put(was);
	if (!is_in)
		put(g);
}

bool uring_registers_group(long a[6], long *result)
{
	struct io_uring_buf_reg reg;
	struct group *g;

	if (check_read(&reg, (uintptr_t)a[2], sizeof(reg)))
		return false;
	g = begin(&reg);
	if (!g)
		return false;
	*result = check_call_make(SYS_io_uring_register, a);
	if (*result < 0)
		put(g);
	else
		install(g, (uint32_t)a[0], (uint32_t)a[1] & URING_REGISTER_REGISTERED, &reg);
	return true;
}

void uring_group_made_by_library(uint32_t fd, bool is_registered,
				 const struct io_uring_buf_reg *reg)
{
	struct uring_ring *r = uring_take(fd, is_registered);
	struct group *g;
	bool known;

	if (!r)
		return;
	g = at_id(r, reg->bgid);
	known = g && g->provided.ring == reg->ring_addr;
	check_unlock(&r->lock);
	if (known)
		return;
	g = begin(reg);
	if (g)
		install(g, fd, is_registered, reg);
}

bool uring_unregisters_group(long a[6])
{
	struct uring_ring *r =
		uring_take((uint32_t)a[0], (uint32_t)a[1] & URING_REGISTER_REGISTERED);
	struct io_uring_buf_reg reg;
	struct group *g = NULL;

	if (!r)
		return false;
	if (!check_read(&reg, (uintptr_t)a[2], sizeof(reg)))
		g = take_out(r, reg.bgid);
	check_unlock(&r->lock);
	if (g)
		put(g);
	return false;
}

/* --------------------------------------------------------------------------------------- its buffers */

uint32_t uring_group_of(const struct uring_ring *r, uint32_t id)
{
	const struct group *g = at_id(r, id);

	return g ? g->pooled.number : URING_OTHER_GROUP;
}

uint32_t uring_group_given(struct uring_ring *r, const struct io_uring_sqe *sqe)
{
	struct group *g = at_id(r, sqe->buf_group);

	if (!g) {
		g = make(sqe->buf_group);
		if (!g)
			return URING_OTHER_GROUP;
		g->provided.is_lost = r->groups_to_lose;
		if (!link_in(r, g)) {
			put(g);
			return URING_OTHER_GROUP;
		}
	}
	/* Others the kernel refuses, and their completion tells. */
	if (sqe->fd > 0 && sqe->fd <= URING_MOST_PROVIDED && sqe->off < URING_MOST_PROVIDED)
		uring_provided_give(&g->provided, (uint32_t)sqe->off, (uint32_t)sqe->fd,
				    (uintptr_t)sqe->addr, sqe->len);
	return g->pooled.number;
}

void uring_group_awaited(struct uring_ring *r, uint32_t group)
{
	struct group *g = group == URING_OTHER_GROUP ? NULL : at(group);

	if (!g)
		return;
	g->awaited++;
	add(r, g, URING_AWAITED);
	add(r, g, URING_MAY_HAVE_MORE);
}

void uring_group_done(uint32_t group, uint32_t flight)
{
	struct group *g = group == URING_OTHER_GROUP ? NULL : at(group);

	if (!g)
		return;
	g->awaited--;
	if (g->placed == flight)
		g->placed = 0;
}

void uring_group_back(struct uring_ring *r, uint32_t group, const struct io_uring_cqe *cqe)
{
	struct group *g = at(r->groups);

	if (group == URING_OTHER_GROUP || !g)
		return;
	/* A request that was not seen. */
	if (!group && g->next) {
		uring_groups_lose(r);
		return;
	}
	if (group)
		g = at(group);
	uring_provided_back(&g->provided, cqe->flags >> IORING_CQE_BUFFER_SHIFT,
			    cqe->res > 0 ? (uint32_t)cqe->res : 0,
			    cqe->flags & URING_CQE_F_BUF_MORE);
	add(r, g, URING_MAY_HAVE_MORE);
}

void uring_group_lose(struct uring_ring *r, uint32_t group)
{
	struct group *g = group == URING_OTHER_GROUP ? NULL : at(group);

	if (g)
		uring_provided_lose(&g->provided);
	else
		r->groups_to_lose = true;
}

void uring_groups_lose(struct uring_ring *r)
{
	for (struct group *g = at(r->groups); g; g = at(g->next))
		uring_provided_lose(&g->provided);
}

void uring_groups_look(struct uring_ring *r)
{
	struct group *g = at(r->groups_in[URING_MAY_HAVE_MORE]);

	/* A look may find completions, which add to the list anew. */
	r->groups_in[URING_MAY_HAVE_MORE] = 0;
	while (g) {
		const uint32_t next = g->then[URING_MAY_HAVE_MORE];

		g->is_in[URING_MAY_HAVE_MORE] = false;
		uring_provided_look(r, &g->provided);
		g = at(next);
	}
}

/* As many groups as are looked at again at one change: what has been provided in others since the last call is not seen. */
#define MOST_LOOKS 16

void uring_groups_place(struct uring_ring *r, uintptr_t start, uintptr_t end)
{
	unsigned int looks = 0;

	for (struct group *g = at(r->groups_in[URING_AWAITED]), *next; g; g = next) {
		uint32_t flight = 0, most = 0;
		uintptr_t addr = 0;
		size_t length = 0;

		next = at(g->then[URING_AWAITED]);
		if (g->awaited && looks++ < MOST_LOOKS)
			uring_provided_look(r, &g->provided);
		/* The look may have ended requests. */
		if (g->awaited && uring_provided_in(&g->provided, start, end, 0, &addr, &length))
			flight = uring_flight_selecting(r, g->pooled.number, &most);
		if (!flight || !uring_provided_in(&g->provided, start, end, most, &addr, &length))
			flight = 0;
		if (g->placed && g->placed != flight)
			check_flight_place(g->placed, 0, 0);
		g->placed = flight;
		check_flight_place(flight, addr, length);
		if (!g->awaited)
			leave(r, g, URING_AWAITED);
	}
}
