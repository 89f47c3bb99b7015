/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Calls that return twice. The kernel starts every child without a dispatch, so that the child can arm itself where no
 * call is caught: here or in the stub, before its own first instruction.
 */
#include <errno.h>
#include <sched.h>
#include <string.h>

#include "source/dispatch/check.h"
#include "os/peek.h"
#include "os/syscall.h"
#include "source/bracket/held.h"
#include "source/child.h"
#include "source/confined.h"
#include "source/dispatch/internal.h"
#include "source/interposer.h"

#include "os/event_path.h"

/* The kernel's structure, up to its fields of Linux 5.7. Later fields are passed on unchanged. */
struct clone_args {
	uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
	uint64_t more[24];
};
#define CLONE_ARGS_MIN 64

#ifndef CLONE_CLEAR_SIGHAND
#define CLONE_CLEAR_SIGHAND UINT64_C(0x100000000)
#endif

bool mrn_has_company;

/*
 * True for a child that runs in this memory beside its parent: a thread, or a process that the parent does not wait
 * for.
 */
static bool runs_beside(uint64_t flags)
{
	return (flags & CLONE_VM) && ((flags & CLONE_THREAD) || !(flags & CLONE_VFORK));
}

/* FRAME_ARM of a child, see stub.h. */
static uint64_t arm_of_child(uint64_t flags)
{
	bool armed = runs_beside(flags) || (!(flags & CLONE_VM) && mrn_dispatch_follows_fork);

	if (!armed || !mrn_dispatch_is_on() || MRN_BROKEN(DISPATCH_NEW))
		return 0;
	/* Actions of its own are copies of those at its making, perhaps between a detach and an attach. */
	return (flags & CLONE_SIGHAND) ? CHILD_ARMS_ITSELF : CHILD_HAS_ACTIONS;
}

/* Another process that may outlive this one: neither may use the other's number. */
static void look_for_company(uint64_t flags)
{
	if (runs_beside(flags) && !(flags & CLONE_THREAD))
		mrn_peek_ask();
}

static void guest_comes(void)
{
	mrn_guest_begin();
	mrn_tell_of_guest();
}

/* ------------------------------------------------------------------------------------ in memory of its own */

static void on_a_copy_of_ours(struct mrn_caught *c, uint64_t flags, uint64_t stack)
{
	uint64_t arm = arm_of_child(flags);

	mrn_guests_forget();
	mrn_held_forget();
	mrn_caught_exec_forget();
	mrn_spares_forget(c);
	mrn_altstacks_forget();
	mrn_sigsys_forget_kept();
	mrn_source_forget_parents();
	mrn_has_company = false;
	/* Until here it has run on a copy of this stack; from here on it has the one that it was given. */
	if (stack)
		c->reg[REG_RSP] = (greg_t)stack;
	if (arm && mrn_sigsys_take_again(flags & CLONE_CLEAR_SIGHAND))
		arm = 0;
	if (arm && !mrn_thread_arm())
		return;
	/* Not caught, whether meant or not: no source here can lose coverage yet. */
	mrn_armed_in = 0;
	mrn_dispatch_release();
	mrn_sigsys_hand_over(c->context);
	mrn_sigsys_blocked = 0;
	mrn_sigsys_leave_to_child(flags & CLONE_CLEAR_SIGHAND);
}

/*
 * The child has a copy of this stack, including the handler's frames: so this call is made here, in a bracket, and both
 * return. a: its arguments, without the stack; stack: the child's own, or 0.
 *
 * A parent that waits for a child with memory of its own (CLONE_VFORK) cannot hold a token for so long. What is built
 * while it waits may have been built before the copy was made: so it is good for one use.
 */
static void on_a_copy(struct mrn_caught *c, uint64_t flags, const long a[5], uint64_t stack)
{
	bool waits = flags & CLONE_VFORK;
	struct mrn_bracket bracket;
	int saved = errno;
	long r;

	if (waits)
		mrn_guest_begin();
	mrn_bracket_fork(&bracket);
	if (waits)
		mrn_bracket_end(&bracket, false);
	r = mrn_sys6(c->reg[REG_RAX], a[0], a[1], a[2], a[3], a[4], 0);
	if (r) {
		mrn_bracket_end(&bracket, false);
		if (waits)
			mrn_guest_end();
	} else {
		on_a_copy_of_ours(c, flags, stack);
		mrn_child_is_here(false);
	}
	errno = saved;
	mrn_caught_return(c, r);
}

/* ---------------------------------------------------------------------------------------- in this memory */

/* The action for SIGSYS that it is to pass on to another program; 0: unchanged. */
static uint64_t action_of_guest(uint64_t flags)
{
	return !(flags & CLONE_SIGHAND) && mrn_sigsys_is_ignored() && !mrn_is_confined()
		       ? (uint64_t)(uintptr_t)&mrn_sigsys_ignored
		       : 0;
}

/*
 * The child runs on this very stack, and overwrites what lies below rsp, before the parent goes on. So it is a guest.
 * If the parent does not wait, nothing tells how long it stays.
 */
static void on_the_same(struct mrn_caught *c, uint64_t flags)
{
	struct mrn_frame *f;

	look_for_company(flags);
	guest_comes();
	f = mrn_caught_resume(c, mrn_stub_vfork);
	f->arm = (flags & CLONE_VFORK) ? PARENT_OF_GUEST : 0;
	/* A handler in between could call vfork, and use the same frame. */
	memcpy(&f->more[0], &c->context->uc_sigmask, sizeof(f->more[0]));
	f->more[2] = mrn_sigsys_mask(c);
	f->more[1] = action_of_guest(flags);
	memset(&c->context->uc_sigmask, 0xff, sizeof(f->more[0]));
}

/*
 * A C library's thread pointer points to a word that points to itself. A child with any other fs has no storage of
 * ours, so it cannot be caught.
 */
static bool has_storage(uint64_t flags, uint64_t tls)
{
	uint64_t word;

	return !(flags & CLONE_SETTLS) || MRN_BROKEN(DISPATCH_FS) ||
	       (!mrn_program_read(&word, tls, sizeof(word)) && word == tls);
}

/*
 * Nor can a child on a stack without room for a signal, since it has no alternate one. size: the known size, or 0, as
 * from clone. Memory below a stack may be another thread's: then nothing can be known.
 */
static bool has_room(const struct mrn_caught *c, uint64_t flags, uint64_t top, uint64_t size)
{
	const size_t needed = mrn_stack_needed(c->context);
	char byte;

	if (!arm_of_child(flags) || MRN_BROKEN(DISPATCH_ROOM))
		return true;
	return size ? size >= needed : mrn_peek(&byte, top - needed, 1) != -EFAULT;
}

/*
 * The maker of such a child leaves, and makes the call again, bare: not even the child's first instructions may be
 * caught.
 */
static void make_bare(struct mrn_caught *c)
{
	mrn_caught_lose();
	c->reg[REG_RIP] -= MRN_SYSCALL_INSTRUCTION;
}

/*
 * For a child on a stack of its own: puts a frame there, and checks that room bytes below it are writable. Returns the
 * frame, where the child's stack begins. NULL if the stack is not writable: the call goes on as it came, since the
 * kernel may refuse it, and the child would die anyway. NULL, too, if the stack is too small. size: the known size, or
 * 0.
 */
static struct mrn_frame *on_its_own(struct mrn_caught *c, uint64_t top, uint64_t size,
				    uint64_t flags, size_t room)
{
	struct mrn_frame *child = (struct mrn_frame *)((top - sizeof(*child)) & ~UINT64_C(15));
	uint64_t arm = arm_of_child(flags);
	struct mrn_frame *parent;

	if (!mrn_is_writable((uintptr_t)child - room, sizeof(*child) + room)) {
		mrn_caught_resume(c, mrn_stub_resume);
		return NULL;
	}
	if (!has_room(c, flags, top, size)) {
		make_bare(c);
		return NULL;
	}
	look_for_company(flags);
	if (!runs_beside(flags))
		guest_comes();
	if (!(flags & CLONE_THREAD) && arm)
		__atomic_store_n(&mrn_has_company, true, __ATOMIC_RELAXED);
	if (!(flags & CLONE_SETTLS) && arm) {
		mrn_storage_is_shared = true;
		mrn_spare_own(c);
	}
	parent = mrn_caught_resume(c, mrn_stub_clone);
	*child = *parent;
	child->rsp = top;
	child->arm = arm;
	child->more[1] = arm ? 0 : action_of_guest(flags);
	child->more[2] = mrn_sigsys_blocked;
	if (!runs_beside(flags))
		parent->arm = PARENT_OF_GUEST;
	return child;
}

static void plain(long a[5], const greg_t *reg)
{
	a[0] = reg[REG_RDI];
	a[1] = reg[REG_RSI];
	a[2] = reg[REG_RDX];
	a[3] = reg[REG_R10];
	a[4] = reg[REG_R8];
}

void mrn_caught_fork(struct mrn_caught *c)
{
	long a[5];

	plain(a, c->reg);
	on_a_copy(c, 0, a, 0);
}

void mrn_caught_vfork(struct mrn_caught *c)
{
	on_the_same(c, CLONE_VM | CLONE_VFORK);
}

void mrn_caught_clone(struct mrn_caught *c)
{
	/* The kernel reads no more. */
	uint64_t flags = (uint32_t)c->reg[REG_RDI], stack = (uint64_t)c->reg[REG_RSI];
	struct mrn_frame *child;
	long a[5];

	if (!has_storage(flags, (uint64_t)c->reg[REG_R8])) {
		make_bare(c);
		return;
	}
	if (!(flags & CLONE_VM)) {
		plain(a, c->reg);
		a[1] = 0;
		on_a_copy(c, flags, a, stack);
	} else if (stack) {
		child = on_its_own(c, stack, 0, flags, 0);
		if (child)
			c->reg[REG_RSI] = (greg_t)(uintptr_t)child;
	} else {
		on_the_same(c, flags);
	}
}

static void clone3_copy(struct mrn_caught *c, struct clone_args *args, long size)
{
	uint64_t stack = args->stack + args->stack_size;
	const long a[5] = {(long)args, size};

	args->stack = args->stack_size = 0;
	on_a_copy(c, args->flags, a, stack);
}

void mrn_caught_clone3(struct mrn_caught *c)
{
	uint64_t size = (uint64_t)c->reg[REG_RSI];
	struct clone_args args, *copy;
	struct mrn_frame *child;

	/* If the kernel refuses the call there is no child. */
	if (size < CLONE_ARGS_MIN || mrn_program_read(&args, (uint64_t)c->reg[REG_RDI],
						      size < sizeof(args) ? size : sizeof(args))) {
		mrn_caught_resume(c, mrn_stub_resume);
		return;
	}
	if (size > sizeof(args)) {
		mrn_caught_return(c, -E2BIG);
		return;
	}
	/* The kernel refuses one without the other. */
	if (!args.stack != !args.stack_size) {
		mrn_caught_resume(c, mrn_stub_resume);
		return;
	}
	if (!has_storage(args.flags, args.tls)) {
		make_bare(c);
		return;
	}
	if (!(args.flags & CLONE_VM)) {
		clone3_copy(c, &args, (long)size);
		return;
	}
	if (!args.stack) {
		on_the_same(c, args.flags);
		return;
	}
	if (args.stack_size < sizeof(*child) + sizeof(args) + 16) {
		make_bare(c);
		return;
	}
	child = on_its_own(c, args.stack + args.stack_size, args.stack_size, args.flags,
			   sizeof(*copy));
	if (!child)
		return;
	args.stack_size = (uint64_t)(uintptr_t)child - args.stack;
	copy = (struct clone_args *)child - 1;
	memcpy(copy, &args, size);
	c->reg[REG_RDI] = (greg_t)(uintptr_t)copy;
}
