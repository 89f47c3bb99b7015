/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Requests in flight: from their submission until their completion has been posted. Completions are looked for at each
 * enter, before what is submitted next, and before a change of memory in flight is reported.
 *
 * A flight that outlasted its request would be a false report. So it begins only where its completion must come after
 * that, and be seen:
 *
 *	- each request that a call takes has been looked at, and its flight begun, before that call or before another one
 *	  that has been made before it: a look is at all that waits. It fails only if a call asks for more than there is
 *	  while another thread adds; so if threads share a ring and one asks for too much, no more flights begin.
 *	- a request that may complete without a word has none (IOSQE_CQE_SKIP_SUCCESS, and what is linked behind one).
 *	- if completions may have been overwritten before they were seen, all flights of the ring are given up.
 *	- a request that the kernel has not taken yet is in nobody's hands: it is given up at a change of its memory.
 *
 * A completion tells its request by user_data alone. If several have the same, it counts for the oldest. One that brings a
 * provided buffer counts for a request that has taken one, and one that does not, for others before those; if it may be of
 * either kind, as it says 0 or an error, it counts for both.
 */
#include <string.h>

#include "check/record/finding.h"
#include "check/record/flight.h"
#include "check/record/uring_internal.h"
#include "os/pages.h"
#include "os/thread.h"

#include "os/event_path.h"

/* One range of a request. Indices are 1 + a place; 0: none. */
struct range {
	uint64_t user_data;
	uint32_t position, flight;
	uint32_t next;	/* in the bucket; or the next free one */
	uint32_t group; /* it takes a buffer of that: uring_group_of; 0: it has memory of its own */
	uint32_t id;	/* which the program has given that group */
	uint32_t most;	/* bytes of it; 0: all; GIVES: it provides some */
};

#define GIVES (~0u)

static bool selects(const struct range *range)
{
	return range->group && range->most != GIVES;
}

struct uring_flights {
	size_t size;
	uint32_t nr, used,
		vacant; /* ranges: of all, those that have ever been used, the first free one */
	uint32_t mask;
	struct {
		uint32_t first, last;
	} * bucket;
	struct range range[];
};

#define LEAST 64
#define MOST  16384

static bool make_flights(struct uring_ring *r)
{
	uint32_t nr = LEAST;
	struct uring_flights *f;
	size_t size;

	while (nr < r->view.cq_entries && nr < MOST)
		nr *= 2;
	size = sizeof(*f) + nr * (sizeof(f->range[0]) + sizeof(f->bucket[0]));
	f = mrn_pages_alloc(size);
	if (!f)
		return false;
	f->size = size;
	f->nr = nr;
	f->mask = nr - 1;
	f->bucket = (void *)&f->range[nr];
	r->flights = f;
	return true;
}

static uint32_t bucket_of(const struct uring_flights *f, uint64_t user_data)
{
	return (uint32_t)(user_data * UINT64_C(0x9e3779b97f4a7c15) >> 40) & f->mask;
}

/* ------------------------------------------------------------------------------------- a submission */

struct begin {
	struct uring_ring *r;
	const char *op;
	uint64_t user_data;
	uint32_t position;
	uint32_t group, id, most;
};

static void add(const struct begin *b, uint32_t flight)
{
	struct uring_flights *f = b->r->flights;
	const uint32_t bucket = bucket_of(f, b->user_data);
	const uint32_t number = f->vacant ? f->vacant : ++f->used;
	struct range *range = &f->range[number - 1];

	if (f->vacant)
		f->vacant = range->next;
	*range = (struct range){.user_data = b->user_data,
				.position = b->position,
				.flight = flight,
				.group = b->group,
				.id = b->id,
				.most = b->most};
	if (f->bucket[bucket].last)
		f->range[f->bucket[bucket].last - 1].next = number;
	else
		f->bucket[bucket].first = number;
	f->bucket[bucket].last = number;
	__atomic_fetch_add(&b->r->in_flight, 1, __ATOMIC_RELAXED);
}

static bool has_room(struct uring_ring *r)
{
	if ((r->flights || make_flights(r)) && r->in_flight < r->flights->nr)
		return true;
	CHECK_COUNT(given_up);
	return false;
}

static void begin(void *arg, uintptr_t addr, size_t length)
{
	struct begin *b = arg;
	uint32_t flight;

	if (!length || !has_room(b->r))
		return;
	flight = check_flight_begin(CHECK_IO_URING, addr, length, b->op, &b->r->stack);
	if (flight)
		add(b, flight);
}

/* The oldest request with this user_data that takes a provided buffer; NULL if there is none. */
static const struct range *selecting(const struct uring_ring *r, uint64_t user_data)
{
	const struct uring_flights *f = r->flights;

	if (!f || !r->selecting)
		return NULL;
	for (uint32_t i = f->bucket[bucket_of(f, user_data)].first; i; i = f->range[i - 1].next)
		if (selects(&f->range[i - 1]) && f->range[i - 1].user_data == user_data)
			return &f->range[i - 1];
	return NULL;
}

/* It may have come after the request. */
static uint32_t group_now(const struct uring_ring *r, const struct range *request)
{
	return request->group == URING_OTHER_GROUP ? uring_group_of(r, request->id)
						   : request->group;
}

static void begin_selecting(struct begin *b, bool bundles)
{
	const struct range *other = selecting(b->r, b->user_data);

	/* A completion would not tell whose buffer it brings. */
	if (other && other->id != b->id) {
		uring_group_lose(b->r, group_now(b->r, other));
		uring_group_lose(b->r, b->group);
	}
	/* Nor does it name those behind the first. */
	if (bundles)
		uring_group_lose(b->r, b->group);
	if (!has_room(b->r)) {
		uring_group_lose(b->r, b->group);
		return;
	}
	add(b, b->group == URING_OTHER_GROUP
		       ? 0
		       : check_flight_open(CHECK_IO_URING, b->op, &b->r->stack));
	__atomic_fetch_add(&b->r->selecting, 1, __ATOMIC_RELAXED);
	uring_group_awaited(b->r, b->group);
}

/* A request that gives the kernel buffers, or takes some back: of those nobody says which. */
static void gives(struct begin *b, const struct io_uring_sqe *sqe)
{
	struct uring_ring *r = b->r;
	const bool takes_back = sqe->opcode == IORING_OP_REMOVE_BUFFERS;

	/* Its completions are not looked at, and no group of such a ring is known. */
	if (r->view.is_programs)
		return;
	b->group = takes_back ? uring_group_of(r, sqe->buf_group) : uring_group_given(r, sqe);
	if (takes_back || b->group == URING_OTHER_GROUP || r->silent ||
	    (r->is_shared && r->is_overasked) || !has_room(r)) {
		uring_group_lose(r, b->group);
		return;
	}
	b->most = GIVES;
	add(b, 0);
}

void uring_flies(struct uring_ring *r, const struct io_uring_sqe *sqe,
		 const struct uring_request *q, uint32_t position)
{
	struct begin b = {.r = r, .op = q->op, .user_data = sqe->user_data, .position = position};

	if (!r->chain)
		r->silent = false;
	r->silent |= !!(sqe->flags & IOSQE_CQE_SKIP_SUCCESS);
	r->chain = sqe->flags & (IOSQE_IO_LINK | IOSQE_IO_HARDLINK);
	if (sqe->opcode == IORING_OP_PROVIDE_BUFFERS || sqe->opcode == IORING_OP_REMOVE_BUFFERS) {
		gives(&b, sqe);
		return;
	}
	if (!q->op)
		return;
	if (q->selects) {
		b.group = uring_group_of(r, q->index);
		b.id = q->index;
		b.most = q->length < GIVES ? (uint32_t)q->length : 0;
	}
	/* What is in the program's memory could be read at a change of it only by a system call. */
	if (r->silent || r->view.is_programs || (r->is_shared && r->is_overasked)) {
		if (q->selects)
			uring_group_lose(r, b.group);
		CHECK_COUNT(given_up);
		return;
	}
	if (q->selects)
		begin_selecting(&b, q->bundles);
	else
		uring_each_range(q, begin, &b);
}

/* ------------------------------------------------------------------------------------- a completion */

/* Takes the bucket's entries out that are wanted. */
static void end_those(struct uring_ring *r, uint32_t bucket,
		      bool (*is_wanted)(const struct range *range, void *arg), void *arg)
{
	struct uring_flights *f = r->flights;
	uint32_t last = 0, *link = &f->bucket[bucket].first;

	while (*link) {
		const uint32_t number = *link;
		struct range *range = &f->range[number - 1];

		if (!is_wanted(range, arg)) {
			last = number;
			link = &range->next;
			continue;
		}
		if (selects(range)) {
			__atomic_fetch_sub(&r->selecting, 1, __ATOMIC_RELAXED);
			uring_group_done(range->group, range->flight);
		}
		check_flight_end(range->flight);
		range->group = 0;
		*link = range->next;
		range->next = f->vacant;
		f->vacant = number;
		__atomic_fetch_sub(&r->in_flight, 1, __ATOMIC_RELAXED);
	}
	f->bucket[bucket].last = last;
}

struct completion {
	uint64_t user_data;
	bool selects;
	uint32_t position;
	bool any;
};

/* All ranges of the oldest request with this user_data, of that kind. */
static bool is_completed(const struct range *range, void *arg)
{
	struct completion *c = arg;

	if (range->user_data != c->user_data || selects(range) != c->selects ||
	    (c->any && range->position != c->position))
		return false;
	c->any = true;
	c->position = range->position;
	return true;
}

static bool is_any(const struct range *range, void *arg)
{
	return true;
}

static void end_all(struct uring_ring *r)
{
	for (uint32_t i = 0; r->in_flight && i < r->flights->nr; i++)
		end_those(r, i, is_any, NULL);
}

static void give_all_up(struct uring_ring *r)
{
	if (r->in_flight)
		CHECK_COUNT(given_up);
	end_all(r);
}

/* False if there is none. */
static bool end_oldest(struct uring_ring *r, uint64_t user_data, bool selects)
{
	struct completion c = {.user_data = user_data, .selects = selects};

	end_those(r, bucket_of(r->flights, user_data), is_completed, &c);
	return c.any;
}

/* One with this user_data has failed: perhaps it was to provide buffers. */
static void lose_given(struct uring_ring *r, uint64_t user_data)
{
	const struct uring_flights *f = r->flights;

	for (uint32_t i = f ? f->bucket[bucket_of(f, user_data)].first : 0; i;
	     i = f->range[i - 1].next)
		if (f->range[i - 1].most == GIVES && f->range[i - 1].user_data == user_data)
			uring_group_lose(r, f->range[i - 1].group);
}

static void complete(struct uring_ring *r, const struct io_uring_cqe *cqe)
{
	const bool brings = cqe->flags & IORING_CQE_F_BUFFER;

	if (brings) {
		const struct range *request = selecting(r, cqe->user_data);

		uring_group_back(r, request ? group_now(r, request) : 0, cqe);
	}
	if (cqe->res < 0)
		lose_given(r, cqe->user_data);
	/* More is to come: of a multishot request; or that a send without copying has given the memory back. */
	if (cqe->flags & IORING_CQE_F_MORE || !r->in_flight)
		return;
	if (brings || !end_oldest(r, cqe->user_data, false) || cqe->res <= 0)
		end_oldest(r, cqe->user_data, true);
}

/*
 * The completion at that place; false if another may be there by now. The kernel writes to a place again only if the
 * program's head has passed it, and there is no other place that is free.
 */
static bool read_at(const struct uring_view *v, uint32_t at, struct io_uring_cqe *cqe)
{
	uint32_t head, tail;

	memcpy(cqe, v->cqes + ((size_t)(at & (v->cq_entries - 1)) << v->cqe_shift), sizeof(*cqe));
	/* Orders the copy before the looks at the head and the tail. */
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return uring_view_word(v, v->cq_head, &head) && uring_view_word(v, v->cq_tail, &tail) &&
	       (tail - at < v->cq_entries || (int32_t)(head - at) <= 0);
}

/*
 * Completions cannot be told from each other any more. If there have been as many as requests, all have landed: as in a
 * ring with room for as many as the program keeps in flight, which takes all of them out before it submits the next. (A
 * request that completes more than once spoils the sum; then flights that go on may be ended here, and nothing is told.)
 */
static void lose(struct uring_ring *r, uint32_t tail)
{
	uring_groups_lose(r);
	/* Nor would those of a group that one of them waits for. */
	if (r->selecting)
		uring_group_lose(r, URING_OTHER_GROUP);
	if (tail == r->looked)
		end_all(r);
	else
		give_all_up(r);
}

void uring_completed(struct uring_ring *r)
{
	const struct uring_view *v = &r->view;
	struct io_uring_cqe cqe;
	uint32_t tail;

	if (v->is_programs || !uring_view_word(v, v->cq_tail, &tail))
		return;
	for (; (r->in_flight || r->groups) && r->completed != tail; r->completed++) {
		if (tail - r->completed > v->cq_entries || !read_at(v, r->completed, &cqe)) {
			lose(r, tail);
			break;
		}
		complete(r, &cqe);
	}
	r->completed = tail;
}

static bool gives_group(const struct range *range, void *arg)
{
	const uint32_t *group = arg;

	return range->group == *group && range->most == GIVES;
}

void uring_forget_group(struct uring_ring *r, uint32_t group)
{
	for (uint32_t i = 0; r->in_flight && i < r->flights->nr; i++)
		end_those(r, i, gives_group, &group);
	for (uint32_t i = 0; r->selecting && i < r->flights->used; i++) {
		struct range *range = &r->flights->range[i];

		if (range->group != group)
			continue;
		check_flight_end(range->flight);
		range->flight = 0;
		range->group = URING_OTHER_GROUP;
	}
}

uint32_t uring_flight_selecting(const struct uring_ring *r, uint32_t group, uint32_t *most)
{
	uint32_t flight = 0;

	for (uint32_t i = 0; r->selecting && i < r->flights->used; i++) {
		const struct range *range = &r->flights->range[i];

		if (range->group != group || !range->flight ||
		    (flight && (!*most || (range->most && range->most <= *most))))
			continue;
		flight = range->flight;
		*most = range->most;
	}
	return flight;
}

void uring_forget_flights(struct uring_ring *r)
{
	struct uring_flights *f = r->flights;

	if (!f)
		return;
	give_all_up(r);
	r->flights = NULL;
	mrn_pages_free(f, f->size);
}

/* ------------------------------------------------------------------------------- a change of memory */

struct taken {
	struct uring_ring *r;
	uint32_t head;
};

static bool is_untaken(const struct range *range, void *arg)
{
	const struct taken *t = arg;
	const bool untaken = (int32_t)(range->position - t->head) >= 0;

	if (untaken && range->most == GIVES)
		uring_group_lose(t->r, range->group);
	return untaken;
}

static void end_landed(struct uring_ring *r)
{
	struct taken t = {.r = r};

	uring_completed(r);
	if (r->in_flight && uring_view_word(&r->view, r->view.sq_head, &t.head) &&
	    t.head != r->looked)
		for (uint32_t i = 0; i < r->flights->nr; i++)
			end_those(r, i, is_untaken, &t);
}

/*
 * With a range: places what takes a provided buffer. False if the lock could not be had: the program's signal handler makes
 * the change, and has interrupted its holder.
 */
static bool look(struct uring_ring *r, const void *arg)
{
	const struct mmu_notifier_range *range = arg;

	if (!__atomic_load_n(range ? &r->selecting : &r->in_flight, __ATOMIC_RELAXED))
		return true;
	if (!check_lock(&r->lock))
		return false;
	if (r->is_live && r->is_seen && r->flights) {
		end_landed(r);
		if (range)
			uring_groups_place(r, range->start, range->end);
	}
	check_unlock(&r->lock);
	return true;
}

static bool look_from_change(void)
{
	return uring_each(look, NULL);
}

static void place_from_change(const struct mmu_notifier_range *range)
{
	uring_each(look, range);
}

void check_uring_start(void)
{
	static bool started;

	/* A forked child has it from its parent. */
	if (!started) {
		check_flight_on_change(look_from_change);
		check_flight_places(place_from_change);
	}
	started = true;
}
