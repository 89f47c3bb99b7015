/* SPDX-License-Identifier: BSD-3-Clause */
#include "source/bracket/held.h"

#include <signal.h>

#include "source/bracket/check.h"
#include "os/syscall.h"
#include "os/thread.h"
#include "source/bracket/record.h"
#include "source/confined.h"
#include "source/interposer.h"

#include "os/event_path.h"

/* More threads than this are seldom in such calls at a time. */
#define RECORDS 64

static struct mrn_held record[RECORDS];
/* Stands for every call without room; never written. */
static struct mrn_held no_room;
static MRN_TLS struct mrn_held *innermost;

static struct mrn_held *take_one(void)
{
	for (unsigned int i = 0; i < RECORDS; i++)
		if (mrn_record_take(&record[i].taken))
			return &record[i];
	return NULL;
}

static void everything_late(bool failed)
{
	mrn_bracket_late(MMU_NOTIFY_CLEAR, MRN_CAUSE_UNKNOWN, 0, UINTPTR_MAX, failed);
}

/* A signal handler may take records meanwhile, and ends them before it returns: innermost is unchanged. */
static void end_innermost(bool failed)
{
	struct mrn_held *h = innermost;

	h->change.failed = failed;
	mrn_file_change_late(&h->change);
	while (h->nr_tokens) {
		mrn_bracket_withdraw(&h->token[h->nr_tokens - 1], failed);
		h->nr_tokens--;
	}
	innermost = h->outer;
	mrn_record_give(&h->taken);
}

bool mrn_held_any(void)
{
	return innermost;
}

static bool is_in(uintptr_t addr, uintptr_t start, size_t size)
{
	return addr - start < size;
}

/*
 * On one stack, code further up has left what was called further down. A handler on the alternate stack has left
 * nothing of what it interrupted; code back on the main stack has left what was called on the alternate one.
 */
bool mrn_held_is_left(uintptr_t from, uintptr_t where, uintptr_t alternate, size_t size)
{
	bool was = is_in(from, alternate, size), is = is_in(where, alternate, size);

	return was == is ? where > from : was;
}

void mrn_held_end_left(uintptr_t where, uintptr_t alternate, size_t size)
{
	while (innermost && mrn_held_is_left(innermost->where, where, alternate, size))
		end_innermost(false);
}

static void end_left_by_now(uintptr_t where)
{
	stack_t alternate;

	if (!innermost)
		return;
	/* If the kernel may not be asked, a call wrongly taken for left is announced late. */
	if (mrn_is_confined() || mrn_sys2(SYS_sigaltstack, 0, (long)&alternate) < 0 ||
	    (alternate.ss_flags & SS_DISABLE))
		alternate.ss_size = 0;
	mrn_held_end_left(where, (uintptr_t)alternate.ss_sp, alternate.ss_size);
}

/*
 * A handler may jump out of the call itself, but not out of an announcement: that would leave a walk open, and a token
 * that the record does not have. So signals are blocked meanwhile, unless there is nobody to tell, or the program may
 * be forbidden to block them.
 */
static bool hold_signals(mrn_sigmask *mask)
{
	if (MRN_BROKEN(BRACKET_SIGNALS) || mrn_is_confined() ||
	    (!mrn_source_is_attached() && mrn_bracket_tells_nobody()))
		return false;
	*mask = mrn_signals_block();
	return true;
}

static struct mrn_held *start(const struct mrn_file_change *change, uintptr_t where)
{
	struct mrn_held *h;

	/* Another call at the same place has left the earlier one, too. */
	end_left_by_now(where + 1);
	h = take_one();
	if (!h)
		return &no_room;
	h->change = *change;
	h->where = where;
	h->outer = innermost;
	h->nr_tokens = 0;
	/* If a handler jumps away from here on, the list has everything. */
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	innermost = h;
	for (unsigned int i = 0; i < change->nr_spans && !change->unwatched; i++)
		if (mrn_bracket_start(&h->token[h->nr_tokens], MMU_NOTIFY_CLEAR, change->cause, 0,
				      change->span[i].start, change->span[i].end))
			h->nr_tokens++;
	return h;
}

struct mrn_held *mrn_held_start(const struct mrn_file_change *change, uintptr_t where)
{
	struct mrn_held *h;
	mrn_sigmask mask;
	bool holds;

	if (!change->pending)
		return NULL;
	holds = hold_signals(&mask);
	h = start(change, where);
	if (holds)
		mrn_signals_restore(mask);
	return h;
}

/* A record that is gone was wrongly taken for left, as when a handler goes on with another stack. */
static void end(const struct mrn_held *h, bool failed)
{
	const struct mrn_held *it = innermost;

	while (it && it != h)
		it = it->outer;
	if (!it) {
		everything_late(failed);
		return;
	}
	while (innermost != h)
		end_innermost(false);
	end_innermost(failed);
}

void mrn_held_end(struct mrn_held *h, bool failed)
{
	mrn_sigmask mask;
	bool holds;

	if (!h)
		return;
	holds = hold_signals(&mask);
	end(h, failed);
	if (holds)
		mrn_signals_restore(mask);
}

void mrn_held_end_at(uintptr_t where, bool failed)
{
	const struct mrn_held *h = innermost;

	while (h && h->where != where)
		h = h->outer;
	end(h ? h : &no_room, failed);
}

void mrn_held_end_all(void)
{
	while (innermost)
		end_innermost(false);
}

void mrn_held_forget(void)
{
	for (unsigned int i = 0; i < RECORDS; i++)
		record[i].taken = false;
	innermost = NULL;
}
