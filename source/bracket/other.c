/* SPDX-License-Identifier: BSD-3-Clause */
/* Calls that change memory besides other things: ioctl, getsockopt, prctl, io_destroy. */

#include <errno.h>
#include <sys/mman.h>

#include "os/maps.h"
#include "os/peek.h"
#include "source/bracket/other.h"
#include "source/confined.h"
#include "source/interposer.h"

#include "os/event_path.h"

/* Brackets the range that the argument names; everything, if it may not be read. flags: mmu_notifier_range's. */
static void bracket_range(struct mrn_bracket *b, int error, uint64_t addr, uint64_t length,
			  unsigned int flags)
{
	uintptr_t start, end;

	if (error == -EFAULT)
		return;
	if (error)
		mrn_bracket_add_cleared(b, MRN_CAUSE_OTHER, flags, 0, UINTPTR_MAX);
	else if (mrn_pages_spanned((const void *)addr, length, &start, &end))
		mrn_bracket_add_cleared(b, MRN_CAUSE_OTHER, flags, start, end);
}

/* Brackets the source of a move. The destination is empty, or the kernel refuses. */
static void bracket_move(struct mrn_bracket *b, const void *arg)
{
	struct {
		uint64_t to, from, length;
	} move;
	int r = mrn_peek(&move, (uintptr_t)arg, sizeof(move));

	bracket_range(b, r, move.from, move.length, 0);
}

/*
 * Registers or unregisters a userfaultfd of the program's. No page changes, but a range can have only one userfaultfd:
 * on a range of ours registering fails with EBUSY, and unregistering with EINVAL (before Linux 6.17 it silently
 * unregisters ours). So whoever relies on ours is told, and ours is disarmed before the call. What is built from then
 * on until the end collides with the token; later, arming tells who has the range.
 */
static void bracket_registration(struct mrn_bracket *b, const void *arg)
{
	uint64_t range[2];
	int r = mrn_peek(range, (uintptr_t)arg, sizeof(range));

	bracket_range(b, r, range[0], range[1], MRN_RANGE_PINS_STAY);
	if (!r && b->nr)
		mrn_source_disarm_range(b->token[0].start, b->token[0].end);
}

void mrn_bracket_ioctl(struct mrn_bracket *b, unsigned int request, const void *arg)
{
	mrn_bracket_none(b);
	/*
	 * A registration needs its bracket even if nobody relies on a range: a source's userfaultfd may still have it.
	 */
	if ((request == MRN_UFFDIO_MOVE || !mrn_source_is_attached()) &&
	    mrn_bracket_needs_no_look(b, MMU_NOTIFY_CLEAR, MRN_CAUSE_OTHER))
		return;
	if (request == MRN_UFFDIO_MOVE)
		bracket_move(b, arg);
	else
		bracket_registration(b, arg);
}

/* Pages that came over the network replace those of the socket's mapping. */
void mrn_bracket_getsockopt(struct mrn_bracket *b, const void *value)
{
	struct {
		uint64_t address;
		uint32_t length, more;
	} receive;
	int r;

	mrn_bracket_none(b);
	if (mrn_bracket_needs_no_look(b, MMU_NOTIFY_CLEAR, MRN_CAUSE_OTHER))
		return;
	r = mrn_peek(&receive, (uintptr_t)value, sizeof(receive));
	bracket_range(b, r, receive.address, receive.length, 0);
}

/* Acts like MADV_UNMERGEABLE on all memory. */
void mrn_bracket_prctl(struct mrn_bracket *b)
{
	mrn_bracket_madvise_anywhere(b, MADV_UNMERGEABLE);
}

/* The rest of a ring's mapping, perhaps in pieces. */
struct ring {
	uintptr_t start, end;
	uint64_t inode;
	bool is_there;
};

static bool note_piece(const struct mrn_mapping *m, void *arg)
{
	struct ring *r = arg;

	if (m->end <= r->start)
		return true;
	if (!r->is_there) {
		if (m->start > r->start)
			return false;
		r->inode = m->inode;
		r->is_there = true;
	}
	if (m->inode == r->inode && m->offset == m->start - r->start && m->end > r->end)
		r->end = m->end;
	return true;
}

/*
 * The context's number is the address of its ring. The kernel unmaps as much as it mapped there, whatever the program
 * has mapped over a part since. The ring's size is at its beginning.
 */
void mrn_bracket_io_destroy(struct mrn_bracket *b, uintptr_t start)
{
	struct {
		uint32_t id, events, head, tail, more[4];
	} header;
	struct ring ring = {.start = start};
	uintptr_t end;
	int r;

	mrn_bracket_none(b);
	if (mrn_bracket_is_anothers() || mrn_bracket_tells_nobody())
		return;
	/* The kernel reads it first, too. Where the program may be forbidden to, do without. */
	r = mrn_is_confined() ? -EPERM : mrn_peek(&header, start, sizeof(header));
	if (r == -EFAULT)
		return;
	if (r || mrn_maps_visit(note_piece, &ring) < 0) {
		mrn_bracket_add_everything(b, MMU_NOTIFY_UNMAP, MRN_CAUSE_OTHER);
		return;
	}
	/* An event is as long as the header. */
	end = start + (header.events + UINT64_C(1)) * sizeof(header);
	if (ring.is_there)
		mrn_bracket_add(b, MMU_NOTIFY_UNMAP, MRN_CAUSE_OTHER, start,
				end > ring.end ? end : ring.end);
}
