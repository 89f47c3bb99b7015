/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SIGSYS stays unblocked. A caught call finds SIGSYS blocked, and the kernel ends the process:
 * so no mask that a thread can come to run with may have it.
 */
#include <errno.h>
#include <string.h>

#include "source/dispatch/check.h"
#include "source/dispatch/internal.h"

#include "os/event_path.h"

/* linux/io_uring.h; Debian 12's lacks most of it. */
#define IORING_ENTER_EXT_ARG		    (1u << 3)
#define IORING_ENTER_EXT_ARG_REG	    (1u << 6)
#define IORING_REGISTER_MEM_REGION	    34
#define IORING_REGISTER_USE_REGISTERED_RING (1u << 31)
#define IORING_MEM_REGION_REG_WAIT_ARG	    1

/* ------------------------------------------------------------------------------------------------ masks */

/* Reads a mask; false where there is none, or none with SIGSYS. */
static bool takes_sigsys(uint64_t addr, mrn_sigmask *without)
{
	if (!addr || MRN_BROKEN(DISPATCH_MASKS) ||
	    mrn_program_read(without, addr, sizeof(*without)) || !(*without & MRN_SIGSYS_BIT))
		return false;
	*without &= ~MRN_SIGSYS_BIT;
	return true;
}

void mrn_caught_mask(struct mrn_caught *c, int reg)
{
	mrn_sigmask mask;
	bool change = takes_sigsys((uint64_t)c->reg[reg], &mask);
	struct mrn_frame *f = mrn_caught_resume(c, mrn_stub_resume);

	if (!change)
		return;
	f->more[0] = mask;
	c->reg[reg] = (greg_t)(uintptr_t)&f->more[0];
}

void mrn_caught_procmask(struct mrn_caught *c)
{
	if (c->call.a[0] == SIG_UNBLOCK)
		mrn_caught_resume(c, mrn_stub_resume);
	else
		mrn_caught_mask(c, REG_RSI);
}

/* A mask that is pointed to by a structure whose first word is the pointer, words long. */
static void pointed_to(struct mrn_caught *c, int reg, unsigned int words)
{
	uint64_t arg[3];
	mrn_sigmask mask;
	bool change = c->reg[reg] &&
		      !mrn_program_read(arg, (uint64_t)c->reg[reg], words * sizeof(arg[0])) &&
		      takes_sigsys(arg[0], &mask);
	struct mrn_frame *f = mrn_caught_resume(c, mrn_stub_resume);

	if (!change)
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

/*
 * Memory that is registered once, and in which the kernel looks for the mask at each wait, can be given no copy. So both what
 * registers it and what waits by it are refused as by a kernel before Linux 6.13.
 */
bool mrn_caught_uring_register(struct mrn_caught *c)
{
	uint64_t region[2]; /* its description, and flags */

	if (((uint32_t)c->call.a[1] & ~IORING_REGISTER_USE_REGISTERED_RING) !=
		    IORING_REGISTER_MEM_REGION ||
	    MRN_BROKEN(DISPATCH_MASKS) ||
	    mrn_program_read(region, (uint64_t)c->reg[REG_RDX], sizeof(region)) ||
	    !(region[1] & IORING_MEM_REGION_REG_WAIT_ARG))
		return false;
	mrn_caught_return(c, -EINVAL);
	return true;
}

void mrn_caught_uring_enter(struct mrn_caught *c)
{
	if ((c->reg[REG_R10] & IORING_ENTER_EXT_ARG_REG) && !MRN_BROKEN(DISPATCH_MASKS))
		mrn_caught_return(c, -EINVAL);
	else if (c->reg[REG_R10] & IORING_ENTER_EXT_ARG)
		pointed_to(c, REG_R8, 3);
	else
		mrn_caught_mask(c, REG_R8);
}

void mrn_caught_sigaction(struct mrn_caught *c)
{
	struct mrn_sigaction act;
	bool change;
	struct mrn_frame *f;

	if (c->call.a[0] == SIGSYS && !MRN_BROKEN(DISPATCH_SIGSYS) &&
	    c->reg[REG_R10] == sizeof(mrn_sigmask)) {
		mrn_caught_return(c, mrn_sigsys_set((uint64_t)c->reg[REG_RSI],
						    (uint64_t)c->reg[REG_RDX]));
		return;
	}
	change = c->reg[REG_RSI] && !MRN_BROKEN(DISPATCH_MASKS) &&
		 !mrn_program_read(&act, (uint64_t)c->reg[REG_RSI], sizeof(act)) &&
		 (act.mask & MRN_SIGSYS_BIT);
	f = mrn_caught_resume(c, mrn_stub_resume);
	if (!change)
		return;
	act.mask &= ~MRN_SIGSYS_BIT;
	memcpy(f->more, &act, sizeof(act));
	c->reg[REG_RSI] = (greg_t)(uintptr_t)f->more;
}

/* What a signal's handler has left as the mask to go on with. */
void mrn_let_sigsys_pass(ucontext_t *context)
{
	mrn_sigmask mask;

	memcpy(&mask, &context->uc_sigmask, sizeof(mask));
	mask &= ~MRN_SIGSYS_BIT;
	if (!MRN_BROKEN(DISPATCH_MASKS))
		memcpy(&context->uc_sigmask, &mask, sizeof(mask));
}

/* The program's handler has returned, and below its return address is what the kernel goes on with. */
void mrn_caught_sigreturn(struct mrn_caught *c)
{
	ucontext_t *context = (ucontext_t *)(uintptr_t)c->reg[REG_RSP];

	mrn_let_sigsys_pass(context);
	mrn_spare_in_frame(c, &context->uc_stack);
	mrn_altstack_next(c, &context->uc_stack);
	c->reg[REG_RIP] = (greg_t)(uintptr_t)mrn_stub_sigreturn;
}
