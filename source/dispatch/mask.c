/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SIGSYS stays unblocked. A call that is caught with SIGSYS blocked ends the process: so no mask that a thread may get
 * to run with may contain it.
 */
#include <errno.h>
#include <string.h>

#include "source/dispatch/check.h"
#include "source/dispatch/internal.h"

#include "os/event_path.h"

/* From linux/io_uring.h; Debian 12's lacks most of it. */
#define IORING_ENTER_EXT_ARG		    (1u << 3)
#define IORING_REGISTER_MEM_REGION	    34
#define IORING_REGISTER_USE_REGISTERED_RING (1u << 31)
#define IORING_MEM_REGION_REG_WAIT_ARG	    1

/* ------------------------------------------------------------------------------------------------ masks */

mrn_sigmask mrn_sigsys_mask(const struct mrn_caught *c)
{
	mrn_sigmask mask;

	memcpy(&mask, &c->context->uc_sigmask, sizeof(mask));
	return mask | (mrn_sigsys_blocked ? MRN_SIGSYS_BIT : 0);
}

/*
 * Makes the call go on with this mask (NULL: none), without SIGSYS. Returns NULL if it does not go on: a kept SIGSYS
 * must be delivered, and interrupts it.
 */
static struct mrn_frame *go_on_with(struct mrn_caught *c, mrn_sigmask *mask)
{
	struct mrn_frame *f;

	if (mask && !(*mask & MRN_SIGSYS_BIT) && mrn_sigsys_blocked && mrn_sigsys_any_kept()) {
		mrn_caught_return(c, -EINTR);
		c->interrupted = true;
		return NULL;
	}
	f = mrn_caught_resume(c, mrn_stub_resume);
	if (!mask)
		return f;
	f->call &= ~CALL_BLOCKS_SIGSYS;
	if (*mask & MRN_SIGSYS_BIT)
		f->call |= CALL_BLOCKS_SIGSYS;
	*mask &= ~MRN_SIGSYS_BIT;
	return f;
}

static bool read_mask(uint64_t addr, uint64_t size, mrn_sigmask *mask)
{
	return addr && size == sizeof(*mask) && !MRN_BROKEN(DISPATCH_MASKS) &&
	       !mrn_program_read(mask, addr, sizeof(*mask));
}

void mrn_caught_mask(struct mrn_caught *c, int reg, int size)
{
	mrn_sigmask mask;
	bool has = read_mask((uint64_t)c->reg[reg], (uint64_t)c->reg[size], &mask);
	struct mrn_frame *f = go_on_with(c, has ? &mask : NULL);

	if (!has || !f)
		return;
	f->more[0] = mask;
	c->reg[reg] = (greg_t)(uintptr_t)&f->more[0];
}

/* A mask whose pointer and size are the first two words of a structure of so many words. */
static void pointed_to(struct mrn_caught *c, int reg, unsigned int words)
{
	uint64_t arg[3];
	mrn_sigmask mask;
	bool has = c->reg[reg] &&
		   !mrn_program_read(arg, (uint64_t)c->reg[reg], words * sizeof(arg[0])) &&
		   read_mask(arg[0], words == 2 ? arg[1] : (uint32_t)arg[1], &mask);
	struct mrn_frame *f = go_on_with(c, has ? &mask : NULL);

	if (!has || !f)
		return;
	f->more[0] = mask;
	arg[0] = (uint64_t)(uintptr_t)&f->more[0];
	memcpy(&f->more[1], arg, words * sizeof(arg[0]));
	c->reg[reg] = (greg_t)(uintptr_t)&f->more[1];
}

void mrn_caught_mask_and_size(struct mrn_caught *c)
{
	pointed_to(c, REG_R9, 2);
}

static bool change_mask(long how, mrn_sigmask set, mrn_sigmask *mask)
{
	switch (how) {
	case SIG_BLOCK:
		*mask |= set;
		return true;
	case SIG_UNBLOCK:
		*mask &= ~set;
		return true;
	case SIG_SETMASK:
		*mask = set;
		return true;
	default:
		return false;
	}
}

/* Made here, by changing what the handler returns to; pending signals come then, as they should. */
void mrn_caught_procmask(struct mrn_caught *c)
{
	const mrn_sigmask was = mrn_sigsys_mask(c);
	const uint64_t act = (uint64_t)c->reg[REG_RSI], old = (uint64_t)c->reg[REG_RDX];
	mrn_sigmask mask = was, set;
	long r = 0;

	if (MRN_BROKEN(DISPATCH_MASKS)) {
		mrn_caught_resume(c, mrn_stub_resume);
		return;
	}
	if (c->reg[REG_R10] != sizeof(mask))
		r = -EINVAL;
	else if (act && mrn_program_read(&set, act, sizeof(set)))
		r = -EFAULT;
	else if (act && !change_mask(c->call.a[0], set & ~MRN_SIGNALS_NEVER_BLOCKED, &mask))
		r = -EINVAL;
	if (!r) {
		mrn_sigsys_blocked = (mask & MRN_SIGSYS_BIT) && !MRN_BROKEN(DISPATCH_KEPT);
		mask &= ~MRN_SIGSYS_BIT;
		memcpy(&c->context->uc_sigmask, &mask, sizeof(mask));
		r = old ? mrn_program_write(old, &was, sizeof(was)) : 0;
	}
	mrn_caught_return(c, r);
}

/*
 * Memory that is registered once, where the kernel reads the mask at each wait, cannot be replaced by a copy. So
 * registering it and waiting by it are refused, as by a kernel before Linux 6.13.
 */
void mrn_caught_uring_register(struct mrn_caught *c)
{
	uint64_t region[2]; /* the address of its description, and flags */

	if (((uint32_t)c->call.a[1] & ~IORING_REGISTER_USE_REGISTERED_RING) !=
		    IORING_REGISTER_MEM_REGION ||
	    MRN_BROKEN(DISPATCH_MASKS) ||
	    mrn_program_read(region, (uint64_t)c->reg[REG_RDX], sizeof(region)) ||
	    !(region[1] & IORING_MEM_REGION_REG_WAIT_ARG))
		mrn_caught_resume(c, mrn_stub_resume);
	else
		mrn_caught_return(c, -EINVAL);
}

void mrn_caught_uring_enter(struct mrn_caught *c)
{
	if ((c->reg[REG_R10] & IORING_ENTER_EXT_ARG_REG) && !MRN_BROKEN(DISPATCH_MASKS))
		mrn_caught_return(c, -EINVAL);
	else if (c->reg[REG_R10] & IORING_ENTER_EXT_ARG)
		pointed_to(c, REG_R8, 3);
	else
		mrn_caught_mask(c, REG_R8, REG_R9);
}

void mrn_caught_sigaction(struct mrn_caught *c)
{
	long r;

	if (c->call.a[0] == SIGSYS && !MRN_BROKEN(DISPATCH_SIGSYS) &&
	    c->reg[REG_R10] == sizeof(mrn_sigmask)) {
		mrn_caught_return(c, mrn_sigsys_set((uint64_t)c->reg[REG_RSI],
						    (uint64_t)c->reg[REG_RDX]));
		return;
	}
	r = mrn_handler_set(c->call.a[0], (uint64_t)c->reg[REG_RSI], (uint64_t)c->reg[REG_RDX],
			    c->reg[REG_R10]);
	mrn_caught_return(c, r);
}

bool mrn_let_sigsys_pass(ucontext_t *context)
{
	mrn_sigmask mask;
	bool was;

	memcpy(&mask, &context->uc_sigmask, sizeof(mask));
	was = mask & MRN_SIGSYS_BIT;
	mask &= ~MRN_SIGSYS_BIT;
	if (!MRN_BROKEN(DISPATCH_MASKS))
		memcpy(&context->uc_sigmask, &mask, sizeof(mask));
	return was;
}

/*
 * The program's handler has returned: the frame above its return address is what the kernel goes on with. If the frame
 * does not say whether SIGSYS was blocked before, that stays as it is, unless the handler has added SIGSYS to the mask.
 */
void mrn_caught_sigreturn(struct mrn_caught *c)
{
	ucontext_t *context = (ucontext_t *)(uintptr_t)c->reg[REG_RSP];
	const bool known = context->uc_flags & CONTEXT_SAYS_SIGSYS;

	context->uc_flags &= ~CONTEXT_SAYS_SIGSYS;
	if (mrn_let_sigsys_pass(context))
		mrn_sigsys_blocked = 1;
	else if (known)
		mrn_sigsys_blocked = 0;
	mrn_spare_in_frame(c, &context->uc_stack);
	mrn_altstack_next(c, &context->uc_stack);
	c->reg[REG_RIP] = (greg_t)(uintptr_t)mrn_stub_sigreturn;
}
