/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The program adds entries at the ring's tail, which can be read; the kernel takes them at its head, which cannot. But what
 * it has taken comes back in a completion that names the buffer's number, once for each time that it was provided. So a
 * buffer is the kernel's if it has been provided once more than it came back. One that the kernel has taken already for a
 * request that is not complete is its, too.
 *
 * A buffer that is the program's again must not count as the kernel's:
 *
 *	- Of what has come back, none may be missed: whoever has lost completions loses the table (uring_complete.c).
 *	- Of what has been provided, nothing may be counted twice. An entry that the program has written over is another's. It
 *	  does so only where the ring has room, as far as it knows by completions: over the entry at position n once more
 *	  than n buffers have come back. So after an entry has been read, all completions are looked at; if more than n have
 *	  come back by then, it is passed over. Its buffer then seems to come back once too often: less than 0 times it
 *	  cannot have been provided, once all entries have been read that are older than the completions.
 *	- One that is provided more than once at a time may be at either address, so it is at none.
 */
#include "check/record/uring_provided.h"

#include <string.h>

#include "check/record/calls.h"
#include "check/record/finding.h"
#include "check/record/uring_internal.h"
#include "check/shared/check.h"
#include "os/pages.h"

#include "os/event_path.h"

enum { LEAST = 256 };

void uring_provided_lose(struct uring_provided *p)
{
	if (p->offer)
		mrn_pages_free(p->offer, p->nr * sizeof(*p->offer));
	p->offer = NULL;
	p->nr = 0;
	p->is_lost = true;
}

static void give_up(struct uring_provided *p)
{
	uring_provided_lose(p);
	CHECK_COUNT(given_up);
}

/* NULL: there is no such number, or no memory. */
static struct uring_offer *offer_of(struct uring_provided *p, uint32_t number)
{
	uint32_t nr = p->nr ? p->nr : LEAST;
	struct uring_offer *larger;

	if (number < p->nr)
		return &p->offer[number];
	if (number >= URING_MOST_PROVIDED)
		return NULL;
	while (nr <= number)
		nr *= 2;
	larger = mrn_pages_alloc(nr * sizeof(*larger));
	if (!larger)
		return NULL;
	if (p->offer) {
		memcpy(larger, p->offer, p->nr * sizeof(*larger));
		mrn_pages_free(p->offer, p->nr * sizeof(*larger));
	}
	p->offer = larger;
	p->nr = nr;
	return &p->offer[number];
}

static bool read_tail(const struct uring_provided *p, uint16_t *tail)
{
	const size_t offset = offsetof(struct io_uring_buf, resv);

	if (!p->view)
		return !check_read(tail, p->ring + offset, sizeof(*tail));
	*tail = __atomic_load_n(&p->view->resv, __ATOMIC_ACQUIRE);
	return true;
}

static bool read_entries(const struct uring_provided *p, uint32_t at, struct io_uring_buf *into,
			 uint32_t n)
{
	const size_t size = n * sizeof(*into);

	if (!p->view)
		return !check_read(into, p->ring + at * sizeof(*into), size);
	memcpy(into, p->view + at, size);
	/* Orders the copy before the look at what has come back. */
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return true;
}

static bool add(struct uring_provided *p, uint32_t number, uintptr_t start, uint32_t length)
{
	struct uring_offer *offer = offer_of(p, number);
	const uintptr_t end = start + length;

	if (!offer)
		return false;
	offer->count++;
	offer->addr = start;
	offer->length = end < start ? 0 : length;
	if (!p->high || start < p->low)
		p->low = start;
	if (end > p->high)
		p->high = end;
	return true;
}

static void take_in(struct uring_provided *p, const struct io_uring_buf *entry)
{
	const uint32_t position = p->seen++;

	if ((int32_t)(position - p->back) < 0 && !MRN_BROKEN(CHECK_OFFER_OVER))
		p->passed++;
	else if (!add(p, entry->bid, (uintptr_t)entry->addr, entry->len))
		give_up(p);
}

/* Those whose entries have been passed over. */
static void find_passed(struct uring_provided *p)
{
	for (uint32_t i = 0; i < p->nr && p->passed; i++)
		for (; p->offer[i].count < 0 && p->passed; p->passed--)
			p->offer[i].count++;
}

void uring_provided_look(struct uring_ring *r, struct uring_provided *p)
{
	enum { PIECE = 64 };
	struct io_uring_buf entry[PIECE];
	uint32_t waiting, n, back;
	uint16_t tail;

	uring_completed(r);
	if (p->is_lost || !p->entries)
		return;
	back = p->back;
	if (!read_tail(p, &tail)) {
		give_up(p);
		return;
	}
	waiting = (uint16_t)(tail - p->seen);
	if (waiting > p->entries) {
		give_up(p);
		return;
	}
	for (; waiting && !p->is_lost; waiting -= n) {
		const uint32_t at = p->seen & (p->entries - 1);

		n = p->entries - at;
		n = n < waiting ? n : waiting;
		n = n < PIECE ? n : PIECE;
		if (!read_entries(p, at, entry, n)) {
			give_up(p);
			return;
		}
		uring_completed(r);
		for (uint32_t i = 0; i < n && !p->is_lost; i++)
			take_in(p, &entry[i]);
	}
	/* What has come back meanwhile may have been provided after the tail was read. */
	if (p->back == back || MRN_BROKEN(CHECK_OFFER_EARLY))
		find_passed(p);
}

void uring_provided_give(struct uring_provided *p, uint32_t number, uint32_t nr, uintptr_t addr,
			 uint32_t length)
{
	for (uint32_t i = 0; i < nr && !p->is_lost; i++)
		if (!add(p, number + i, addr + (uintptr_t)i * length, length))
			give_up(p);
}

void uring_provided_back(struct uring_provided *p, uint32_t number, uint32_t bytes, bool more)
{
	struct uring_offer *offer;

	if (p->is_lost)
		return;
	offer = offer_of(p, number);
	if (!offer) {
		give_up(p);
		return;
	}
	if (more && !MRN_BROKEN(CHECK_OFFER_PART)) {
		bytes = bytes < offer->length ? bytes : offer->length;
		offer->addr += bytes;
		offer->length -= bytes;
		return;
	}
	offer->count -= !MRN_BROKEN(CHECK_OFFER_BACK);
	p->back++;
}

bool uring_provided_in(const struct uring_provided *p, uintptr_t start, uintptr_t end,
		       uint32_t most, uintptr_t *addr, size_t *length)
{
	if (p->is_lost || p->low >= end || p->high <= start)
		return false;
	for (uint32_t i = 0; i < p->nr; i++) {
		const struct uring_offer *o = &p->offer[i];

		*addr = (uintptr_t)o->addr;
		*length = most && most < o->length ? most : o->length;
		if ((o->count == 1 || (o->count > 1 && MRN_BROKEN(CHECK_OFFER_TWICE))) && *length &&
		    *addr<end && * addr + *length> start)
			return true;
	}
	return false;
}
