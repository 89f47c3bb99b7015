/* SPDX-License-Identifier: BSD-3-Clause */
#include "hmm/backing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "hmm/keeper.h"
#include "os/pages.h"
#include "os/syscall.h"

void mrn_hmm_backing_init(struct mrn_hmm_backing *b, struct mrn_hmm_keeper *keeper, int fd)
{
	*b = (struct mrn_hmm_backing){.keeper = keeper, .fd = fd};
}

void mrn_hmm_backing_destroy(struct mrn_hmm_backing *b)
{
	free(b->free);
	*b = (struct mrn_hmm_backing){.fd = -1};
}

/* Takes a slot, with room on the stack for its return. 0 for none. */
static uint32_t take(struct mrn_hmm_backing *b)
{
	uint32_t slot = 0;

	mrn_mutex_lock(&b->lock);
	if (b->nr_free) {
		slot = b->free[--b->nr_free];
	} else {
		if (b->last + UINT64_C(1) > b->room) {
			uint64_t room = b->room ? b->room * 2 : 64;
			uint32_t *more = realloc(b->free, room * sizeof(*more));

			if (more) {
				b->free = more;
				b->room = room;
			}
		}
		if (b->last < b->room && b->last < UINT32_MAX)
			slot = ++b->last;
	}
	mrn_mutex_unlock(&b->lock);
	return slot;
}

static uint64_t place_of(uint32_t slot)
{
	return (slot - UINT64_C(1)) * mrn_page_size();
}

/* Reads or writes all of size. */
static int transfer(long nr, const struct mrn_hmm_backing *b, uintptr_t memory, size_t size,
		    uint64_t place)
{
	size_t done = 0;

	while (done < size) {
		long n = mrn_hmm_keeper_call(b->keeper, b->fd, nr, b->fd, (long)(memory + done),
					     (long)(size - done), (long)(place + done), 0, 0);

		if (n == -EINTR)
			continue;
		if (n < 0)
			return (int)n;
		if (!n)
			return nr == SYS_pwrite64 ? -ENOSPC : -EIO;
		done += (size_t)n;
	}
	return 0;
}

int mrn_hmm_backing_write(struct mrn_hmm_backing *b, const void *page, uint32_t *slot)
{
	uint32_t s = *slot ? *slot : take(b);
	int r;

	if (!s)
		return -ENOMEM;
	r = transfer(SYS_pwrite64, b, (uintptr_t)page, mrn_page_size(), place_of(s));
	if (!r)
		*slot = s;
	else if (!*slot)
		mrn_hmm_backing_free(b, &s);
	return r;
}

int mrn_hmm_backing_read(struct mrn_hmm_backing *b, void *page, uint32_t slot)
{
	return transfer(SYS_pread64, b, (uintptr_t)page, mrn_page_size(), place_of(slot));
}

bool mrn_hmm_backing_holds(const struct mrn_hmm_backing *b, const void *page, uint32_t slot)
{
	/* Aligned in case the file is open for direct I/O. */
	char piece[4096] __attribute__((aligned(512)));

	for (size_t at = 0; at < mrn_page_size(); at += sizeof(piece))
		if (transfer(SYS_pread64, b, (uintptr_t)piece, sizeof(piece),
			     place_of(slot) + at) ||
		    memcmp(piece, (const char *)page + at, sizeof(piece)) != 0)
			return false;
	return true;
}

void mrn_hmm_backing_free(struct mrn_hmm_backing *b, uint32_t *slot)
{
	if (!*slot)
		return;
	mrn_mutex_lock(&b->lock);
	b->free[b->nr_free++] = *slot;
	mrn_mutex_unlock(&b->lock);
	*slot = 0;
}
