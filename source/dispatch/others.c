/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A call is caught on its thread's alternate stack. Another thread may take that stack away at any moment, by a call of
 * its own: the kernel would have nowhere to run our handler. We know where alternate stacks are, but cannot make a
 * thread go without one in time. So before such a call all threads leave, and notifiers are told that no call is caught
 * any more.
 *
 * Not for calls that do not name their range, nor for threads that share their storage, of which too little is known.
 */
#include <errno.h>
#include <sys/mman.h>

#include "source/dispatch/check.h"
#include "os/atomic.h"
#include "os/pages.h"
#include "source/bracket/bracket.h"
#include "source/dispatch/internal.h"

#include "os/event_path.h"

#define CHUNK	  64
#define BEING_SET UINT32_MAX

struct range {
	uint64_t start, size; /* atomic; size 0: none */
};

/* For a thread that has had an alternate stack. */
struct note {
	uint32_t era;	   /* atomic: the start in which it was made; any other: free */
	struct range now;  /* as the last call found it */
	struct range next; /* as that call may have set it */
};

static struct chunk {
	struct note note[CHUNK];
	struct chunk *next; /* atomic; chunks are never freed */
} first;

static bool any; /* atomic: a thread has had one */
/* Valid in the start in which it was made; later it is another thread's. */
static MRN_TLS struct note *mine;
static MRN_TLS uint32_t mine_in;

static uint32_t current(void)
{
	return __atomic_load_n(&mrn_dispatch_era, __ATOMIC_RELAXED);
}

static void set(struct range *r, const stack_t *stack)
{
	uint64_t start = (uint64_t)(uintptr_t)stack->ss_sp;
	uint64_t size = stack->ss_flags & SS_DISABLE ? 0 : stack->ss_size;

	if (r->size == size && (!size || r->start == start))
		return;
	__atomic_store_n(&r->size, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&r->start, start, __ATOMIC_RELEASE);
	__atomic_store_n(&r->size, size, __ATOMIC_RELEASE);
}

static struct note *claim_in(struct chunk *c)
{
	const uint32_t era = current();

	for (unsigned int i = 0; i < CHUNK; i++) {
		uint32_t was = __atomic_load_n(&c->note[i].era, __ATOMIC_RELAXED);

		if (was != era && was != BEING_SET &&
		    __atomic_compare_exchange_n(&c->note[i].era, &was, BEING_SET, false,
						__ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			return &c->note[i];
	}
	return NULL;
}

static struct chunk *after(struct chunk *c)
{
	struct chunk *next = __atomic_load_n(&c->next, __ATOMIC_ACQUIRE), *fresh;

	if (next)
		return next;
	fresh = mrn_pages_alloc(sizeof(*fresh));
	if (!fresh)
		return NULL;
	if (__atomic_compare_exchange_n(&c->next, &next, fresh, false, __ATOMIC_ACQ_REL,
					__ATOMIC_ACQUIRE))
		return fresh;
	mrn_pages_free(fresh, sizeof(*fresh));
	return next;
}

static void claim(void)
{
	struct note *n = NULL;

	__atomic_store_n(&any, true, __ATOMIC_RELAXED);
	for (struct chunk *c = &first; c && !n; c = n ? c : after(c))
		n = claim_in(c);
	mine = n;
	mine_in = current();
	if (!n)
		return;
	n->now.size = n->next.size = 0;
	__atomic_store_n(&n->era, mine_in, __ATOMIC_RELEASE);
}

static struct note *get_mine(void)
{
	return mine_in == current() ? mine : NULL;
}

void mrn_altstack_note(const struct mrn_caught *c)
{
	const stack_t none = {.ss_flags = SS_DISABLE}, *stack = &c->context->uc_stack;

	/* Inside another call's handler the context may show none although there is one. */
	if (mrn_storage_is_shared || __atomic_load_n(&mrn_handlers, __ATOMIC_RELAXED) > 1)
		return;
	if (mrn_stack_is_a_spare(c))
		stack = &none;
	if (!get_mine()) {
		if (stack->ss_flags & SS_DISABLE)
			return;
		claim();
		if (!mine)
			return;
	}
	set(&mine->now, stack);
	set(&mine->next, &none);
}

void mrn_altstack_note_next(const stack_t *stack)
{
	if (mrn_storage_is_shared || (stack->ss_flags & SS_DISABLE))
		return;
	if (!get_mine())
		claim();
	if (mine)
		set(&mine->next, stack);
}

uint32_t *mrn_altstack_noted(void)
{
	return get_mine() && !mrn_storage_is_shared ? &mine->era : NULL;
}

void mrn_altstacks_forget(void)
{
	for (struct chunk *c = &first; c; c = c->next)
		for (unsigned int i = 0; i < CHUNK; i++)
			if (&c->note[i] != get_mine())
				c->note[i].era = 0;
}

/* ----------------------------------------------------------------------------------------------- the call */

static bool takes(const struct mrn_call *call, const struct range *r)
{
	stack_t stack = {
		.ss_sp = (void *)(uintptr_t)__atomic_load_n(&r->start, __ATOMIC_RELAXED),
		.ss_size = __atomic_load_n(&r->size, __ATOMIC_ACQUIRE),
	};

	return stack.ss_size && mrn_call_may_change(call, &stack);
}

static bool takes_one(const struct mrn_call *call)
{
	const uint32_t era = current();

	for (struct chunk *c = &first; c; c = __atomic_load_n(&c->next, __ATOMIC_ACQUIRE))
		for (unsigned int i = 0; i < CHUNK; i++) {
			const struct note *n = &c->note[i];

			if (n != get_mine() && __atomic_load_n(&n->era, __ATOMIC_ACQUIRE) == era &&
			    (takes(call, &n->now) || takes(call, &n->next)))
				return true;
		}
	return false;
}

static bool says_of_how_much(const struct mrn_call *call)
{
	switch (call->nr) {
	case SYS_process_madvise:
	case SYS_shmat:
	case SYS_shmdt:
		return false;
	case SYS_mprotect:
		return !(call->a[2] & PROT_WRITE);
	case SYS_pkey_mprotect:
		/* The handler has access with the first key only. */
		return !(call->a[2] & PROT_WRITE) || (int)call->a[3] > 0;
	default:
		return true;
	}
}

void mrn_caught_takes_anothers_stack(const struct mrn_call *call)
{
	int saved = errno;

	if (!__atomic_load_n(&any, __ATOMIC_RELAXED) || MRN_BROKEN(DISPATCH_OTHERS) ||
	    !mrn_dispatch_is_on() || !says_of_how_much(call) || !takes_one(call))
		return;
	mrn_all_leave();
	errno = saved;
}
