/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A thread may take away the stack that it is on: musl's threads end so, by munmap and exit without a stack in between;
 * others protect theirs for a while, move it, or empty its unused part. Our handler would go with it, and the next call
 * could not be caught at all, since the kernel needs a stack for the handler. So such a thread gets one of ours:
 *
 *	caught on the stack that would go	ours becomes the alternate one; the call is made again, and caught there
 *	caught elsewhere			the call is made, in the handler
 *	further calls with the stack gone	caught on ours, or the program's alternate one; frames on ours
 *	a call on another stack			our stack is taken back
 *	exit					blocks all signals; the last instruction before it gives ours back
 *
 * Do not touch a stack that is gone: another thread may have that memory by then. If a thread goes on there all the
 * same, because it has put new memory there, it keeps ours.
 *
 * Ours is armed with SS_AUTODISARM: so in a handler there is no alternate stack, and only the handler's context decides
 * which one it returns to.
 */
#include <errno.h>
#include <linux/audit.h>
#include <string.h>
#include <sys/mman.h>

#include "source/dispatch/check.h"
#include "os/pages.h"
#include "os/peek.h"
#include "os/syscall.h"
#include "source/dispatch/internal.h"

#include "os/event_path.h"

#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1u << 31)
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

#define SIZE  ((size_t)64 << 10)
#define GUARD mrn_page_size() /* below the stack */
/* What a signal's frame and its handler take below rsp. A thread that ends has libc empty its stack, except 16 KiB. */
#define NEEDS		((uintptr_t)12 << 10)
#define NEEDS_BELOW	((uintptr_t)8 << 10) /* the handler itself, once it runs */
#define NEEDS_FOR_FRAME ((uintptr_t)1 << 10)
/* Further away is another stack. */
#define NEAR ((uintptr_t)64 << 10)

/* At the upper end of the stack's memory; the kernel is told of the part below. */
struct mrn_spare {
	/* First: a handler that interrupts the call which goes on here takes what is below. */
	struct mrn_frame frame;
	struct mrn_spare *next; /* never freed */
	uintptr_t gone_at;	/* rsp when the stack went; 0: it is there */
	uint32_t taken;		/* atomic; acquired by the thread that takes it */
	int32_t owner;		/* atomic; the thread, if it shares its storage; else 0 */
	bool pending;		/* the call that takes the stack is not made yet */
	bool left; /* to be given back at the next call: until this one returns, the handler runs here */
};

static struct mrn_spare *all; /* atomic */
static uint32_t nr_taken;     /* atomic; never too low */
/* For a thread that has its storage to itself. */
static MRN_TLS struct mrn_spare *mine;

/* ------------------------------------------------------------------------------------------------ its memory */

static uintptr_t memory_of(const struct mrn_spare *s)
{
	return (uintptr_t)(s + 1) - SIZE;
}

static uintptr_t bottom_of(const struct mrn_spare *s)
{
	return memory_of(s) + GUARD;
}

static bool is_in(const struct mrn_spare *s, uintptr_t addr)
{
	return addr - memory_of(s) < SIZE;
}

static bool is_of(const stack_t *stack, const struct mrn_spare *s)
{
	return (uintptr_t)stack->ss_sp == bottom_of(s);
}

static stack_t stack_of(const struct mrn_spare *s)
{
	return (stack_t){
		.ss_sp = (void *)bottom_of(s),
		.ss_flags = (int)SS_AUTODISARM,
		.ss_size = (uintptr_t)s - bottom_of(s),
	};
}

static stack_t none(void)
{
	return (stack_t){.ss_flags = SS_DISABLE};
}

/* True if a context's stack is one of ours. */
static bool is_a_spare(const stack_t *stack)
{
	const struct mrn_spare *s = __atomic_load_n(&all, __ATOMIC_ACQUIRE);

	while (s && !is_of(stack, s))
		s = s->next;
	return s;
}

static struct mrn_spare *make(void)
{
	char *memory = mrn_pages_alloc(SIZE);
	struct mrn_spare *s, *next;

	_Static_assert(sizeof(*s) % 16 == 0, "the stack below is aligned");
	if (!memory)
		return NULL;
	if (mrn_sys3(SYS_mprotect, (long)memory, (long)GUARD, PROT_NONE)) {
		mrn_pages_free(memory, SIZE);
		return NULL;
	}
	s = (struct mrn_spare *)(memory + SIZE) - 1;
	s->taken = 1;
	next = __atomic_load_n(&all, __ATOMIC_RELAXED);
	do
		s->next = next;
	while (!__atomic_compare_exchange_n(&all, &next, s, false, __ATOMIC_RELEASE,
					    __ATOMIC_RELAXED));
	return s;
}

/* ------------------------------------------------------------------------------------------------- its thread */

static struct mrn_spare *take(void)
{
	struct mrn_spare *s = __atomic_load_n(&all, __ATOMIC_ACQUIRE);

	for (; s; s = s->next)
		if (!__atomic_load_n(&s->taken, __ATOMIC_RELAXED) &&
		    !__atomic_exchange_n(&s->taken, 1, __ATOMIC_ACQUIRE))
			break;
	if (!s)
		s = make();
	if (s)
		__atomic_fetch_add(&nr_taken, 1, __ATOMIC_RELAXED);
	return s;
}

void mrn_spare_own(struct mrn_caught *c)
{
	if (!c->spare)
		return;
	mine = mrn_storage_is_shared ? NULL : c->spare;
	__atomic_store_n(&c->spare->owner,
			 mrn_storage_is_shared ? (int32_t)mrn_sys0(SYS_gettid) : 0,
			 __ATOMIC_RELAXED);
}

/* Resets everything but taken: clearing that lets another thread have the stack. */
static void disown(struct mrn_spare *s)
{
	s->gone_at = 0;
	s->pending = s->left = false;
	__atomic_store_n(&s->owner, 0, __ATOMIC_RELAXED);
	if (mine == s)
		mine = NULL;
	__atomic_fetch_sub(&nr_taken, 1, __ATOMIC_RELAXED);
}

static struct mrn_spare *find(void)
{
	struct mrn_spare *s;
	int32_t tid;

	if (!mrn_storage_is_shared)
		return mine;
	if (!__atomic_load_n(&nr_taken, __ATOMIC_RELAXED))
		return NULL;
	tid = (int32_t)mrn_sys0(SYS_gettid);
	for (s = __atomic_load_n(&all, __ATOMIC_ACQUIRE); s; s = s->next)
		if (__atomic_load_n(&s->owner, __ATOMIC_RELAXED) == tid)
			break;
	return s;
}

void mrn_spares_forget(struct mrn_caught *c)
{
	const struct mrn_spare *keep = c->spare ? c->spare : mine;

	nr_taken = keep != NULL;
	for (struct mrn_spare *s = all; s; s = s->next) {
		s->owner = 0;
		s->taken = s == keep;
	}
	mrn_spare_own(c);
}

static uintptr_t rsp_of(const struct mrn_caught *c)
{
	return (uintptr_t)c->reg[REG_RSP];
}

bool mrn_stack_is_a_spare(const struct mrn_caught *c)
{
	return c->spare && is_of(&c->context->uc_stack, c->spare);
}

/*
 * True in a handler on the program's alternate stack: what it interrupted still needs our stack, and the frame there.
 */
static bool is_on_programs(const struct mrn_caught *c)
{
	const stack_t *stack = &c->context->uc_stack;

	return !(stack->ss_flags & SS_DISABLE) && !mrn_stack_is_a_spare(c) &&
	       rsp_of(c) - (uintptr_t)stack->ss_sp - 1 < stack->ss_size;
}

struct mrn_frame *mrn_spare_frame(const struct mrn_caught *c)
{
	const bool in_handler = c->spare && c->spare->gone_at && !c->spare->pending &&
				is_on_programs(c);

	return c->spare && !is_in(c->spare, rsp_of(c)) && !in_handler ? &c->spare->frame : NULL;
}

stack_t mrn_spare_or_none(const struct mrn_caught *c)
{
	return c->spare ? stack_of(c->spare) : none();
}

/* ------------------------------------------------------------------------------- the call that takes the stack */

static void make_again(struct mrn_caught *c)
{
	c->reg[REG_RIP] -= MRN_SYSCALL_INSTRUCTION;
}

/* The part of the interrupted stack that this handler needs. */
static stack_t needed(const struct mrn_caught *c, bool aside)
{
	uintptr_t top = rsp_of(c), bottom = top - NEEDS;
	uintptr_t here = (uintptr_t)__builtin_frame_address(0) - NEEDS_BELOW;

	if (aside && !mrn_stack_is_a_spare(c))
		bottom = top - NEEDS_FOR_FRAME;
	else if (!aside && here < bottom)
		bottom = here;
	return (stack_t){.ss_sp = (void *)bottom, .ss_size = top - bottom};
}

static bool get_ours(struct mrn_caught *c)
{
	if (!c->spare) {
		c->spare = take();
		mrn_spare_own(c);
	}
	if (!c->spare)
		return false;
	c->spare->gone_at = rsp_of(c);
	c->spare->pending = true;
	return true;
}

static bool is_int80(const struct mrn_caught *c)
{
	return c->info->si_arch == AUDIT_ARCH_I386;
}

/* Makes the call again, caught on our stack. False if this way is not open. */
static bool go_to_ours(struct mrn_caught *c)
{
	unsigned int flags = (unsigned int)c->context->uc_stack.ss_flags;
	stack_t ours;

	if (!get_ours(c))
		return false;
	ours = stack_of(c->spare);
	if (flags & (SS_DISABLE | SS_AUTODISARM)) {
		c->context->uc_stack = ours;
		make_again(c);
		return true;
	}
	/* The thread runs on its alternate stack: the kernel changes that only from another stack. */
	if (is_int80(c))
		return false;
	mrn_caught_put_aside(c, &ours);
	return true;
}

/*
 * True if int $0x80 may change the alternate stack that the handler runs on: putting that aside takes a call that
 * destroys registers which int $0x80 preserves.
 */
static bool is_stuck(const struct mrn_caught *c, const struct mrn_call *call, bool aside)
{
	return is_int80(c) && aside && !mrn_stack_is_a_spare(c) &&
	       mrn_call_may_change(call, &c->context->uc_stack);
}

bool mrn_caught_takes_own_stack(struct mrn_caught *c, const struct mrn_call *call)
{
	bool aside = mrn_handler_is_aside(c), stuck = is_stuck(c, call, aside);
	stack_t own = needed(c, aside);

	if (MRN_BROKEN(DISPATCH_OWN_STACK) || (c->spare && is_in(c->spare, rsp_of(c))) ||
	    !(stuck || mrn_call_may_change(call, &own)))
		return false;
	if (!mrn_armed_in || !mrn_dispatch_is_on()) {
		make_again(c);
		return true;
	}
	if (aside && !stuck && get_ours(c))
		return false;
	if (!aside && go_to_ours(c))
		return true;
	/* Also without memory for a stack of ours. */
	mrn_caught_lose();
	if (mrn_dispatch_set(NULL))
		return false;
	make_again(c);
	return true;
}

void mrn_caught_empties_own_stack(struct mrn_caught *c)
{
	stack_t own = needed(c, mrn_handler_is_aside(c));

	if (MRN_BROKEN(DISPATCH_OWN_STACK) || c->spare || !mrn_call_may_change(&c->call, &own) ||
	    !get_ours(c))
		return;
	/* An emptied stack still serves: it is not gone. */
	c->spare->gone_at = 0;
	c->spare->pending = false;
}

static bool is_gone(const struct mrn_call *call, long result, const stack_t *own)
{
	switch (call->nr) {
	case SYS_madvise:
		return call->a[2] == MADV_GUARD_INSTALL;
	case SYS_process_madvise:
		return call->a[3] == MADV_GUARD_INSTALL;
	case SYS_mprotect:
	case SYS_shmat:
	case SYS_shmdt:
		/* Its memory may be there again, or the call was about other memory. */
		break;
	default:
		if (!mrn_sys_failed(result))
			return true;
		break;
	}
	return !mrn_stack_is_there(own);
}

void mrn_caught_own_stack_taken(struct mrn_caught *c, const struct mrn_call *call, long result)
{
	stack_t own;

	if (!c->spare || !c->spare->pending)
		return;
	c->spare->pending = false;
	own = needed(c, true);
	if (!is_gone(call, result, &own))
		c->spare->gone_at = 0;
}

/* ------------------------------------------------------------------------------------------------- afterwards */

static bool has_another_stack(const struct mrn_spare *s, uintptr_t rsp)
{
	char byte;

	if (!s->gone_at)
		return true;
	if (rsp - s->gone_at + NEAR < 2 * NEAR)
		return false;
	/* Or rsp is no stack's: code may use it for anything. */
	return !mrn_peek(&byte, rsp - 1, 1);
}

void mrn_spare_look(struct mrn_caught *c)
{
	c->spare = find();
	if (c->spare && c->spare->left) {
		disown(c->spare);
		/* Pairs with the exchange in take. */
		__atomic_store_n(&c->spare->taken, 0, __ATOMIC_RELEASE);
		c->spare = NULL;
	}
	if (!c->spare || is_in(c->spare, rsp_of(c)) ||
	    (c->spare->gone_at && (is_on_programs(c) || !has_another_stack(c->spare, rsp_of(c)))))
		return;
	mrn_spare_leave(c);
	c->spare->left = true;
	c->spare = NULL;
}

void mrn_spare_leave(struct mrn_caught *c)
{
	if (mrn_stack_is_a_spare(c))
		c->context->uc_stack = none();
}

void mrn_caught_exit(struct mrn_caught *c)
{
	uint32_t *noted = mrn_altstack_noted();

	/* An x32 call returns if the kernel has no x32. */
	if ((!c->spare && !noted) || c->call.compat) {
		mrn_caught_resume(c, mrn_stub_resume);
		return;
	}
	/*
	 * Blocks all signals: nothing may be put on the stacks once they are given back. That store pairs with the
	 * exchange in take, too.
	 */
	memset(&c->context->uc_sigmask, 0xff, sizeof(mrn_sigmask));
	if (c->spare)
		disown(c->spare);
	c->reg[REG_R8] = (greg_t)(uintptr_t)(c->spare ? &c->spare->taken : noted);
	c->reg[REG_R9] = (greg_t)(uintptr_t)(noted ? noted : &c->spare->taken);
	c->reg[REG_RIP] = (greg_t)(uintptr_t)mrn_stub_exit;
}

void mrn_spare_in_frame(const struct mrn_caught *c, stack_t *stack)
{
	if (is_a_spare(stack) || (c->spare && (stack->ss_flags & SS_DISABLE)))
		*stack = mrn_spare_or_none(c);
}

bool mrn_caught_sigaltstack_on_spare(struct mrn_caught *c)
{
	uint64_t fresh = (uint64_t)c->reg[REG_RDI], old = (uint64_t)c->reg[REG_RSI];
	const stack_t was = none();
	struct mrn_frame *f;
	stack_t stack;

	if (!c->spare || is_in(c->spare, rsp_of(c)))
		return false;
	if (mrn_stack_is_a_spare(c)) {
		if (old && mrn_program_write(old, &was, sizeof(was))) {
			mrn_caught_return(c, -EFAULT);
			return true;
		}
		c->reg[REG_RSI] = 0;
	}
	f = mrn_caught_resume(c, mrn_stub_resume);
	if (!fresh || mrn_program_read(&stack, fresh, sizeof(stack)) ||
	    ((unsigned int)stack.ss_flags & ~SS_AUTODISARM) != SS_DISABLE)
		return true;
	stack = stack_of(c->spare);
	memcpy(f->more, &stack, sizeof(stack));
	c->reg[REG_RDI] = (greg_t)(uintptr_t)f->more;
	return true;
}
