/* SPDX-License-Identifier: BSD-3-Clause */
/* Calls that change memory beside all else that they do: ioctl, getsockopt, prctl, io_destroy. */

#include <errno.h>

#include "os/maps.h"
#include "os/peek.h"
#include "source/bracket/other.h"
#include "source/confined.h"
#include "source/interposer.h"

#include "os/event_path.h"

/* What is to be at an address that the call was given; everything, where nobody may look there. */
static void bracket_range(struct mrn_bracket *b, int error, uint64_t addr, uint64_t length)
{
	uintptr_t start, end;

	if (error == -EFAULT)
		return;
	if (error)
		mrn_bracket_add_everything(b, MMU_NOTIFY_CLEAR, MRN_CAUSE_OTHER);
	else if (mrn_pages_spanned((const void *)addr, length, &start, &end))
		mrn_bracket_add(b, MMU_NOTIFY_CLEAR, MRN_CAUSE_OTHER, start, end);
}

/* What is moved away. Where it goes to there is nothing, or the kernel refuses. */
static void bracket_move(struct mrn_bracket *b, const void *arg)
{
	struct {
		uint64_t to, from, length;
	} move;
	int r = mrn_peek(&move, (uintptr_t)arg, sizeof(move));

	bracket_range(b, r, move.from, move.length);
}

/*
 * What a userfaultfd of the program's is to have, or to have no more. No page changes by it, but the kernel lets one
 * userfaultfd have a range: to register what ours has fails (EBUSY); so does to unregister it (EINVAL), which before Linux 6.17
 * takes it away in silence. So whoever relies on ours is told, and it is gone before the call. Whatever is built from then on
 * until the end collides with the token, and afterwards finds out by arming who has the range.
 */
static void bracket_registration(struct mrn_bracket *b, const void *arg)
{
	uint64_t range[2];
	int r = mrn_peek(range, (uintptr_t)arg, sizeof(range));

	bracket_range(b, r, range[0], range[1]);
	if (!r && b->nr)
		mrn_source_disarm_range(b->token[0].start, b->token[0].end);
}

void mrn_bracket_ioctl(struct mrn_bracket *b, unsigned int request, const void *arg)
{
	mrn_bracket_none(b);
	/* Nobody may rely on it any more, and a userfaultfd of ours still have it. */
	if ((request == MRN_UFFDIO_MOVE || !mrn_source_is_attached()) &&
	    mrn_bracket_needs_no_look(b, MMU_NOTIFY_CLEAR, MRN_CAUSE_OTHER))
		return;
	if (request == MRN_UFFDIO_MOVE)
		bracket_move(b, arg);
	else
		bracket_registration(b, arg);
}

/* Pages that have come by the network take the place of what the socket's mapping shows. */
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
	bracket_range(b, r, receive.address, receive.length);
}

/* As MADV_UNMERGEABLE does, of all memory. */
void mrn_bracket_prctl(struct mrn_bracket *b)
{
	mrn_bracket_none(b);
	mrn_bracket_add_everything(b, MMU_NOTIFY_CLEAR, MRN_CAUSE_MADVISE);
}

/* What is left of a ring's mapping, perhaps in pieces. */
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
 * The context's number is where its ring is mapped. As much goes as the kernel has mapped there, whatever the program has put in the
 * place of a part since: how many events there is room for is at the beginning.
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
	/* The kernel looks there first, too. Where the program may not be allowed to, it goes without. */
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
