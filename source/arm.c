/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Arms a range for a consumer's causes, or says that it is good for one use; and disarms.
 */
#include <errno.h>
#include <stddef.h>

#include "core/mm.h"
#include "os/maps.h"
#include "os/pages.h"
#include "source/arming.h"
#include "source/bracket/bracket.h"
#include "source/confined.h"
#include "source/dispatch/dispatch.h"
#include "source/files.h"
#include "source/interposer.h"
#include "source/state.h"

/* True if a file is mapped there, or if that cannot be known. */
static bool shows_file(uintptr_t start, uintptr_t end)
{
	struct mrn_mapping m;

	/* The program may be forbidden to ask. */
	if (mrn_is_confined())
		return true;
	for (; start < end; start = m.end) {
		long n = mrn_maps_from(start, &m, 1);

		if (n <= 0)
			return n < 0;
		if (m.start >= end)
			return false;
		if (mrn_mapping_is_of_file(&m))
			return true;
	}
	return false;
}

/*
 * io_uring's own operations are not announced, except madvise, which userfaultfd reports, and which is all that it does
 * to memory without a file. So where there is a ring, the rest is good for one use.
 */
static bool is_a_rings_to_change(const struct mrn_source *s, unsigned int kinds, uintptr_t start,
				 uintptr_t end)
{
	/* What is known to be armed has no file. */
	return !(kinds & MRN_SOURCE_UFFD) ||
	       (!mrn_uffd_is_sure(&s->uffd, start, end) && shows_file(start, end));
}

/* Room to arm one more range; disarms some that no notifier needs, if that helps. */
static bool take_room(struct mrn_source *s)
{
	unsigned int n;

	if (mrn_room_take(&s->room, mrn_lasting_number(s->uffd.lasting)))
		return true;
	if (!mrn_room_may_reuse(&s->room))
		return false;
	n = mrn_uffd_give_back(&s->uffd, MRN_UFFD_LOOKS);
	if (!n) {
		mrn_room_cannot_reuse(&s->room);
		return false;
	}
	while (n--)
		mrn_room_reuse(&s->room);
	return mrn_room_take(&s->room, mrn_lasting_number(s->uffd.lasting));
}

/* Notes a reason. True if that is all that the caller wants to know. */
static bool is_once(struct mrn_once_found *f, enum mrn_once reason)
{
	f->reasons |= MRN_ONCE_BIT(reason);
	return !f->all;
}

static bool is_not_covered(struct mrn_once_found *f, uint64_t missing)
{
	f->not_covered |= missing;
	return is_once(f, MRN_ONCE_NOT_COVERED);
}

static int verdict(const struct mrn_once_found *f)
{
	return f->reasons ? MRN_USE_ONCE : 0;
}

/* What needs userfaultfd, and what it can show: it is attached. */
static int arm_by_events(struct mrn_source *s, uintptr_t start, uintptr_t end, uint64_t need,
			 bool files, struct mrn_once_found *f)
{
	struct mrn_uffd_found found = {.files = files};
	int r;

	if (!take_room(s)) {
		is_once(f, MRN_ONCE_MAPPINGS);
		return MRN_USE_ONCE;
	}
	r = mrn_uffd_arm(&s->uffd, start, end, &found);
	if (r == MRN_USE_ONCE)
		mrn_use_once_look(&s->uffd.use_once);
	/* Not if something is armed: that has split mappings, even if the range is good for one use. */
	if (r == MRN_USE_ONCE || r < 0)
		mrn_room_give_back(&s->room);
	if (r < 0)
		return r;
	f->reasons |= found.once;
	/* The events are lost, and the coverage is about to be. */
	if (r && !found.once)
		is_not_covered(f, need);
	/* After arming: anything that is mapped over it from now on is announced, and collides. */
	if ((!r || f->all) && found.files && mrn_shows_page_cache(start, end))
		is_once(f, MRN_ONCE_FILE);
	return r ? MRN_USE_ONCE : verdict(f);
}

static int arm(struct mrn_source *s, uintptr_t addr, size_t length, uint64_t need,
	       struct mrn_once_found *f)
{
	const uintptr_t start = mrn_page_down(addr), end = mrn_page_up(addr + length);
	bool rings, quiet, files = need & MRN_COVER_PAGE_CACHE;
	uint64_t by_name, by_call, missing;
	struct mrn_coverage covered;
	unsigned int kinds;

	if (!s || !length || addr + length < addr || addr != mrn_untagged((const void *)addr))
		return -EINVAL;
	if (mrn_mm_is_wiped(s->mm))
		return -ESTALE;
	kinds = __atomic_load_n(&s->kinds, __ATOMIC_ACQUIRE);
	if (!kinds)
		return -ENOTCONN;
	by_name = __atomic_load_n(&s->seen[MRN_KIND_INTERPOSE].bracketed, __ATOMIC_RELAXED);
	by_call = __atomic_load_n(&s->seen[MRN_KIND_DISPATCH].bracketed, __ATOMIC_RELAXED);
	if ((by_name & ~by_call & need) && !mrn_interposer_is_intact(true)) {
		mrn_source_has_lost(s, MRN_KIND_INTERPOSE, 0);
		by_name = 0;
	}
	/* Without dispatch there may be rings. */
	rings = (need & MRN_COVER_IO_URING) &&
		(!(kinds & MRN_SOURCE_DISPATCH) || mrn_dispatch_has_rings());
	if (rings && is_a_rings_to_change(s, kinds, start, end) && is_once(f, MRN_ONCE_RING))
		return MRN_USE_ONCE;
	need &= ~(MRN_COVER_IO_URING | MRN_COVER_PAGE_CACHE);
	/* A cause that no kind covers: none ever has, or it was lost. */
	covered = mrn_source_covered(s);
	missing = need & ~(covered.bracketed | covered.before_return | covered.use_once);
	if (missing && is_not_covered(f, missing))
		return MRN_USE_ONCE;
	need &= ~missing;
	/* What a guest changes past the interposer is not announced. */
	if ((need & by_call & ~by_name) && mrn_dispatch_has_guests() && is_once(f, MRN_ONCE_GUEST))
		return MRN_USE_ONCE;
	/* Causes that are bracketed need no arming. */
	if (!(need & ~covered.bracketed) && (!rings || !(kinds & MRN_SOURCE_UFFD))) {
		if (files && mrn_plain_shows_page_cache(&s->plain, s->mm, start, end))
			is_once(f, MRN_ONCE_FILE);
		return verdict(f);
	}
	if (!(kinds & MRN_SOURCE_UFFD)) {
		is_not_covered(f, need & ~covered.bracketed);
		return MRN_USE_ONCE;
	}
	/* In this order: once a token over a change is withdrawn, what had changed is not sure any more. */
	quiet = !mrn_tokens_overlap(s->mm, start, end);
	if (mrn_uffd_is_sure(&s->uffd, start, end))
		return quiet ? verdict(f) : -EAGAIN;
	return arm_by_events(s, start, end, need & ~covered.bracketed, files, f);
}

int mrn_source_arm_saying(struct mrn_source *s, uintptr_t addr, size_t length, uint64_t need,
			  struct mrn_once_found *f)
{
	int r;

	*f = (struct mrn_once_found){.all = f->all};
	r = arm(s, addr, length, need, f);
	/* Whoever asks for all reasons does not use the range. */
	if (r == MRN_USE_ONCE && !f->all)
		__atomic_fetch_add(&s->once_by[__builtin_ctzll(f->reasons)], 1, __ATOMIC_RELAXED);
	return r;
}

int mrn_source_arm(struct mrn_source *s, uintptr_t addr, size_t length, uint64_t need)
{
	struct mrn_once_found found = {.all = false};

	return mrn_source_arm_saying(s, addr, length, need, &found);
}

/* The userfaultfd of s; NULL without one, or in a forked child. */
static struct mrn_uffd *uffd_of(struct mrn_source *s)
{
	if (!s || mrn_mm_is_wiped(s->mm) ||
	    !(__atomic_load_n(&s->kinds, __ATOMIC_ACQUIRE) & MRN_SOURCE_UFFD))
		return NULL;
	return &s->uffd;
}

void mrn_source_disarm(struct mrn_source *s, const struct mmu_range_notifier *leaving)
{
	struct mrn_uffd *u = uffd_of(s);

	/* Another mm's addresses are other memory. */
	if (!u || !leaving || leaving->mm != u->mm)
		return;
	mrn_uffd_disarm(u, leaving);
	mrn_room_may_have_grown(&s->room);
}

/* The part of [start, end) that changes. */
static void disarm_changing(struct mrn_source *s, const struct mmu_notifier_range *range,
			    uintptr_t start, uintptr_t end)
{
	struct mrn_uffd *u = uffd_of(s);

	/* A token of another mm does not stop anybody from relying on what is armed at its addresses. */
	if (!u || range->mm != u->mm || (range->flags & MRN_RANGE_AFTER) ||
	    !mmu_notifier_range_blockable(range) ||
	    (range->event != MMU_NOTIFY_UNMAP && range->event != MMU_NOTIFY_CLEAR))
		return;
	if (start < range->start)
		start = mrn_page_down(range->start);
	if (end > range->end)
		end = mrn_page_up(range->end);
	mrn_uffd_disarm_changing(u, start, end);
}

void mrn_source_disarm_changing(struct mrn_source *s, const struct mmu_range_notifier *mrn,
				const struct mmu_notifier_range *range)
{
	if (mrn->mm == range->mm)
		disarm_changing(s, range, mrn->node.start, mrn->node.end);
}

void mrn_source_disarm_range(uintptr_t start, uintptr_t end)
{
	/* In a bracket: as in a callback, see stop(). */
	struct mrn_uffd *u = uffd_of(mrn_source_here());

	if (u)
		mrn_uffd_disarm_whole(u, start, end);
}

void mrn_source_changing(uintptr_t start, uintptr_t end)
{
	struct mrn_source *s = mrn_source_here();
	struct mrn_uffd *u = uffd_of(s);

	if (u)
		mrn_uffd_disarm_changing(u, start, end);
	if (s)
		mrn_plain_forget(&s->plain, start, end);
}

bool mrn_source_remembers(void)
{
	struct mrn_source *s = mrn_source_here();
	struct mrn_uffd *u = uffd_of(s);

	if (!s || !__atomic_load_n(&s->kinds, __ATOMIC_ACQUIRE))
		return false;
	return (u && mrn_lasting_number(u->lasting)) ||
	       __atomic_load_n(&s->plain.any, __ATOMIC_RELAXED);
}

void mrn_source_give_back(struct mrn_source *s)
{
	struct mrn_uffd *u = uffd_of(s);
	unsigned int n = 0;

	if (!u)
		return;
	/* A few at a time: whoever changes memory may wait for the lock. */
	for (unsigned int left = mrn_lasting_number(u->lasting), looks; left; left -= looks) {
		looks = left < MRN_UFFD_LOOKS ? left : MRN_UFFD_LOOKS;
		n += mrn_uffd_give_back(u, looks);
	}
	if (n)
		mrn_room_has_grown(&s->room);
}

/* For notifiers that arm themselves. */
static int arm_here(uintptr_t start, uintptr_t end, uint64_t need)
{
	struct mrn_source *s = mrn_source_here();

	return s ? mrn_source_arm(s, start, end - start, need) : -ESTALE;
}

static void disarm_changing_here(const struct mmu_notifier_range *range, uintptr_t start,
				 uintptr_t end)
{
	disarm_changing(mrn_source_here(), range, start, end);
}

static void disarm_here(const struct mmu_range_notifier *mrn)
{
	mrn_source_disarm(mrn_source_here(), mrn);
}

static const struct mrn_arming arming = {
	.watcher = MRN_ARMING_WATCHER,
	.arm = arm_here,
	.disarm_changing = disarm_changing_here,
	.disarm = disarm_here,
};

int mrn_range_notifier_insert(struct mmu_range_notifier *mrn, uintptr_t start, uintptr_t length,
			      struct mrn_source *s, uint64_t need)
{
	const unsigned int told = 1u << MMU_NOTIFY_UNMAP | 1u << MMU_NOTIFY_CLEAR;

	if (!mrn || !s || !need || start != mrn_untagged((const void *)start) ||
	    (mrn->events && (mrn->events & told) != told))
		return -EINVAL;
	if (mrn_mm_is_wiped(s->mm))
		return -ESTALE;
	if (!__atomic_load_n(&s->kinds, __ATOMIC_ACQUIRE))
		return -ENOTCONN;
	return mrn_arming_insert(mrn, start, length, s->mm, &arming, need);
}
