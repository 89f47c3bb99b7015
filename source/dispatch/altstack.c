/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The handler runs on the thread's alternate stack, if it has one, and a program may change that memory by any call
 * that it makes on another stack: unmap it while it is still registered, empty it, protect it. The handler would go
 * with it. So the stack is put aside, and the call is made again, and caught this time on the stack where it is made.
 * The program gets its alternate stack back as soon as there is memory.
 */
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/shm.h>

#include "source/dispatch/check.h"
#include "os/maps.h"
#include "os/pages.h"
#include "os/syscall.h"
#include "source/bracket/bracket.h"
#include "source/dispatch/internal.h"

#include "os/event_path.h"

/* What a caught call takes of it besides the frame. */
#define HANDLER_NEEDS	2048
#define KERNELS_LEAST	2048
#define STATE_ALIGNS_TO 64

/* Size 0: none. */
static MRN_TLS stack_t put_aside;

static bool overlaps(const stack_t *stack, uint64_t start, uint64_t length)
{
	uint64_t bottom = (uint64_t)(uintptr_t)stack->ss_sp;

	/* One begins inside the other. */
	return start - bottom < stack->ss_size || bottom - start < length;
}

bool mrn_handler_is_aside(const struct mrn_caught *c)
{
	const stack_t *stack = &c->context->uc_stack;
	uintptr_t bottom = (uintptr_t)stack->ss_sp;

	return !(stack->ss_flags & SS_DISABLE) && (uintptr_t)c->info - bottom < stack->ss_size &&
	       (uintptr_t)c->reg[REG_RSP] - bottom - 1 >= stack->ss_size;
}

bool mrn_call_may_change(const struct mrn_call *call, const stack_t *stack)
{
	const long *arg = call->a;
	uint64_t a = mrn_untagged((const void *)arg[0]), b = mrn_page_up((uint64_t)arg[1]);

	switch (call->nr) {
	case SYS_madvise:
	case SYS_mprotect:
	case SYS_munmap:
	case SYS_pkey_mprotect:
	case SYS_remap_file_pages:
		return overlaps(stack, a, b);
	case SYS_mmap:
		return (arg[3] & MAP_FIXED) && overlaps(stack, a, b);
	case SYS_mremap:
		return overlaps(stack, a, b) ||
		       ((arg[3] & MREMAP_FIXED) &&
			overlaps(stack, (uint64_t)arg[4], (uint64_t)arg[2]));
	case SYS_brk: {
		uint64_t now = a ? (uint64_t)mrn_sys1(SYS_brk, 0) : 0;

		return a < now && overlaps(stack, a, now - a);
	}
	case SYS_shmat:
		return arg[2] & SHM_REMAP;
	case SYS_process_madvise:
	case SYS_shmdt:
		return true;
	default:
		return false;
	}
}

void mrn_caught_put_aside(struct mrn_caught *c, const stack_t *instead)
{
	struct mrn_frame *f;

	/* Another thread that shares this storage must not get the stack. */
	if (!mrn_storage_is_shared)
		put_aside = c->context->uc_stack;
	c->reg[REG_RIP] -= MRN_SYSCALL_INSTRUCTION;
	/* Returning from the signal cannot do it: newer kernels would still take the thread to be on that stack. */
	f = mrn_caught_resume(c, mrn_stub_again);
	_Static_assert(sizeof(*instead) == 3 * sizeof(f->more[0]), "there is room for it");
	memcpy(f->more, instead, sizeof(*instead));
	f->more[3] = (uint64_t)c->reg[REG_RAX];
	c->reg[REG_RAX] = SYS_sigaltstack;
	c->reg[REG_RDI] = (greg_t)(uintptr_t)f->more;
	c->reg[REG_RSI] = 0;
}

bool mrn_caught_on_changing_stack(struct mrn_caught *c)
{
	stack_t instead;

	if (MRN_BROKEN(DISPATCH_ALTSTACK) || !mrn_handler_is_aside(c) || mrn_stack_is_a_spare(c) ||
	    !mrn_call_may_change(&c->call, &c->context->uc_stack))
		return false;
	instead = mrn_spare_or_none(c);
	mrn_caught_put_aside(c, &instead);
	return true;
}

/* A stack's memory: writable up to from. */
struct look {
	uintptr_t from, to;
};

static bool go_up(const struct mrn_mapping *m, void *arg)
{
	struct look *look = arg;

	if (m->end <= look->from)
		return true;
	if (m->start > look->from || !m->writable)
		return false;
	look->from = m->end;
	return look->from < look->to;
}

bool mrn_stack_is_there(const stack_t *stack)
{
	uintptr_t bottom = (uintptr_t)stack->ss_sp;
	struct look look = {bottom, bottom + stack->ss_size};

	return mrn_maps_visit(go_up, &look) == 0 && look.from >= look.to;
}

static bool has_changed(const struct mrn_call *call, long result)
{
	if (mrn_call_may_change(call, &put_aside))
		return true;
	if (mrn_sys_failed(result))
		return false;
	if (call->nr == SYS_mmap)
		return overlaps(&put_aside, (uint64_t)result, (uint64_t)call->a[1]);
	if (call->nr == SYS_mremap)
		return overlaps(&put_aside, (uint64_t)result, (uint64_t)call->a[2]);
	return false;
}

void mrn_caught_stack_changed(struct mrn_caught *c, long result)
{
	/* Checking whether the memory is there takes a look at all mappings: so not at every call. */
	if (!put_aside.ss_size || !has_changed(&c->call, result) || !mrn_stack_is_there(&put_aside))
		return;
	c->context->uc_stack = put_aside;
	put_aside.ss_size = 0;
}

/* The size of the kernel's frame below the handler in this thread: extended states may be large or small. */
static size_t size_of_frame(const ucontext_t *context)
{
	const struct _fpx_sw_bytes *sw;
	const char *state = (const char *)context->uc_mcontext.fpregs;
	size_t size = sizeof(*context->uc_mcontext.fpregs);

	sw = (const struct _fpx_sw_bytes *)(state + size) - 1;
	if (sw->magic1 == FP_XSTATE_MAGIC1)
		size = sw->extended_size;
	return (size_t)(state - (const char *)context) + size + STATE_ALIGNS_TO;
}

/* An estimate. If it may be larger, with AMX tiles, the kernel itself refuses stacks that are too small for that. */
static size_t likely_size_of_frame(void)
{
	const size_t said = getauxval(AT_MINSIGSTKSZ), without_tiles = 4096;

	return said < without_tiles ? said : without_tiles;
}

size_t mrn_stack_needed(const ucontext_t *here)
{
	return (here ? size_of_frame(here) : likely_size_of_frame()) + HANDLER_NEEDS;
}

bool mrn_stack_is_too_small(const stack_t *stack, const ucontext_t *here)
{
	/* The kernel refuses smaller ones. */
	return !(stack->ss_flags & SS_DISABLE) && stack->ss_size >= KERNELS_LEAST &&
	       stack->ss_size < mrn_stack_needed(here) && !MRN_BROKEN(DISPATCH_ROOM);
}

void mrn_altstack_next(struct mrn_caught *c, const stack_t *next)
{
	mrn_altstack_note_next(next);
	/* No call of this thread could be caught on it. */
	if (mrn_stack_is_too_small(next, c->context))
		mrn_caught_lose();
}

void mrn_caught_sigaltstack(struct mrn_caught *c)
{
	stack_t fresh;

	if (c->reg[REG_RDI])
		put_aside.ss_size = 0;
	if (c->reg[REG_RDI] && !mrn_program_read(&fresh, (uint64_t)c->reg[REG_RDI], sizeof(fresh)))
		mrn_altstack_next(c, &fresh);
	if (!mrn_caught_sigaltstack_on_spare(c))
		mrn_caught_resume(c, mrn_stub_resume);
}
