/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Calls that return twice. The kernel starts every child without a dispatch, so that it can arm itself where no call is
 * caught: here or in the stub, before it goes on to its own first instruction.
 */
#include <errno.h>
#include <sched.h>
#include <string.h>

#include "core/check.h"
#include "os/syscall.h"
#include "source/bracket/calls.h"
#include "source/dispatch/internal.h"

#include "os/event_path.h"

/* As the kernel has it, up to what it has had since 5.7. More of it is handed on as it is. */
struct clone_args {
	uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
	uint64_t more[24];
};
#define CLONE_ARGS_MIN 64

/* Threads, and whatever else runs in this memory for longer than until its exec. */
static bool is_to_be_armed(uint64_t flags)
{
	if (!mrn_dispatch_is_on() || MRN_BROKEN(DISPATCH_NEW))
		return false;
	return (flags & CLONE_VM) ? !(flags & CLONE_VFORK) : mrn_dispatch_follows_fork;
}

/*
 * The child has a copy of this stack, the handler's frames among them: so this call is made here, in a bracket, and both
 * return.
 */
static void on_a_copy(struct mrn_caught *c, uint64_t flags)
{
	const greg_t *reg = c->reg;
	struct mrn_bracket bracket;
	int saved = errno;
	long r;

	mrn_bracket_fork(&bracket);
	r = mrn_sys6(reg[REG_RAX], reg[REG_RDI], reg[REG_RSI], reg[REG_RDX], reg[REG_R10],
		     reg[REG_R8], reg[REG_R9]);
	if (r)
		mrn_bracket_end(&bracket);
	else if (is_to_be_armed(flags))
		mrn_thread_arm();
	else
		mrn_armed_in = 0;
	errno = saved;
	mrn_caught_return(c, r);
}

/* The child runs on this stack itself, and overwrites what lies below rsp, before the parent goes on. */
static void on_the_same(struct mrn_caught *c)
{
	struct mrn_frame *f = mrn_caught_resume(c, mrn_stub_vfork);

	/* A handler in between could call vfork, and has the same frame for it. */
	memcpy(&f->more[0], &c->context->uc_sigmask, sizeof(f->more[0]));
	memset(&c->context->uc_sigmask, 0xff, sizeof(f->more[0]));
}

/* On a stack of its own, where it finds a frame, too. Returns where its stack is to begin. */
static struct mrn_frame *on_its_own(struct mrn_caught *c, uint64_t top, uint64_t flags)
{
	struct mrn_frame *child = (struct mrn_frame *)((top - sizeof(*child)) & ~UINT64_C(15));
	struct mrn_frame *parent = mrn_caught_resume(c, mrn_stub_clone);

	*child = *parent;
	child->rsp = top;
	child->arm = is_to_be_armed(flags);
	return child;
}

void mrn_caught_fork(struct mrn_caught *c)
{
	on_a_copy(c, 0);
}

void mrn_caught_vfork(struct mrn_caught *c)
{
	on_the_same(c);
}

void mrn_caught_clone(struct mrn_caught *c)
{
	uint64_t flags = (uint64_t)c->reg[REG_RDI], stack = (uint64_t)c->reg[REG_RSI];

	if (stack)
		c->reg[REG_RSI] = (greg_t)(uintptr_t)on_its_own(c, stack, flags);
	else if (flags & CLONE_VM)
		on_the_same(c);
	else
		on_a_copy(c, flags);
}

void mrn_caught_clone3(struct mrn_caught *c)
{
	uint64_t size = (uint64_t)c->reg[REG_RSI];
	struct clone_args args, *copy;
	struct mrn_frame *child;

	/* What the kernel refuses has no child. */
	if (size < CLONE_ARGS_MIN || mrn_program_read(&args, (uint64_t)c->reg[REG_RDI],
						      size < sizeof(args) ? size : sizeof(args))) {
		mrn_caught_resume(c, mrn_stub_resume);
		return;
	}
	if (!args.stack) {
		if (args.flags & CLONE_VM)
			on_the_same(c);
		else
			on_a_copy(c, args.flags);
		return;
	}
	if (size > sizeof(args)) {
		mrn_caught_return(c, -E2BIG);
		return;
	}
	if (args.stack_size < sizeof(*child) + sizeof(args) + 16) {
		mrn_caught_return(c, -EINVAL);
		return;
	}
	child = on_its_own(c, args.stack + args.stack_size, args.flags);
	args.stack_size = (uint64_t)(uintptr_t)child - args.stack;
	copy = (struct clone_args *)child - 1;
	memcpy(copy, &args, size);
	c->reg[REG_RDI] = (greg_t)(uintptr_t)copy;
}
