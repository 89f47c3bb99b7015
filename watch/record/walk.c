/* SPDX-License-Identifier: BSD-3-Clause */
#include "watch/record/walk.h"

#include <link.h>
#include <mrn/source.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#ifdef __GLIBC__
#include <gnu/libc-version.h>
#endif

#include "watch/record/modules.h"

#include "os/event_path.h"

/* Code of a module that never leaves: ours, the system's, the program itself. */
struct watch_span {
	uintptr_t start, end;
	enum watch_code code;
	struct watch_cfi cfi;
};

#define SPANS 32
static struct watch_span spans[SPANS];
static unsigned int nr_spans;

/* ------------------------------------------------------------------------------------- at the start */

static bool holds(const struct dl_phdr_info *info, uintptr_t addr)
{
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];

		if (ph->p_type == PT_LOAD && addr - (info->dlpi_addr + ph->p_vaddr) < ph->p_memsz)
			return true;
	}
	return false;
}

static bool has_name(const struct dl_phdr_info *info, const char *begins)
{
	const char *slash = strrchr(info->dlpi_name, '/');

	return !strncmp(slash ? slash + 1 : info->dlpi_name, begins, strlen(begins));
}

/*
 * Decides by contents, since other libraries may have such names, too. What the interposer exports has libc's names,
 * but no library comes before it.
 */
static bool is_ours(const struct dl_phdr_info *info)
{
	/* The program itself may have entries of its own for functions whose addresses it takes. */
	if (!*info->dlpi_name)
		return false;
	return holds(info, (uintptr_t)mrn_source_bypass) ||
	       holds(info, (uintptr_t)watch_walk_step) ||
	       (holds(info, (uintptr_t)remap_file_pages) && has_name(info, "libmrn-interpose.so"));
}

static bool is_the_systems(const struct dl_phdr_info *info)
{
#ifdef __GLIBC__
	if (holds(info, (uintptr_t)gnu_get_libc_version))
		return true;
#endif
	return holds(info, (uintptr_t)&_r_debug);
}

/* The part of the module's file that is mapped around an address. */
static bool set_bounds(const struct dl_phdr_info *info, uintptr_t address, const uint8_t **low,
		       const uint8_t **high)
{
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
		uintptr_t start = info->dlpi_addr + ph->p_vaddr;

		if (ph->p_type != PT_LOAD || address - start >= ph->p_filesz)
			continue;
		*low = (const uint8_t *)start;
		*high = (const uint8_t *)start + ph->p_filesz;
		return true;
	}
	return false;
}

static struct watch_cfi table_of(const struct dl_phdr_info *info)
{
	static const struct watch_cfi none;
	struct watch_cfi cfi = none;
	uintptr_t table = 0;

	for (int i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_GNU_EH_FRAME)
			table = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
	cfi.table = (const uint8_t *)table;
	if (!table || !set_bounds(info, table, &cfi.low, &cfi.high) ||
	    cfi.high - cfi.table < WATCH_CFI_HEAD ||
	    !set_bounds(info, watch_cfi_entries(table, cfi.table), &cfi.entries_low,
			&cfi.entries_high))
		return none;
	return cfi;
}

static int add_spans(struct dl_phdr_info *info, size_t size, void *arg)
{
	const struct watch_cfi cfi = table_of(info);
	enum watch_code code = is_ours(info)	      ? WATCH_CODE_OURS
			       : is_the_systems(info) ? WATCH_CODE_SYSTEM
						      : WATCH_CODE_OTHER;

	if (code == WATCH_CODE_OTHER && *info->dlpi_name)
		return 0;
	for (int i = 0; i < info->dlpi_phnum && nr_spans < SPANS; i++) {
		const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
		uintptr_t start = info->dlpi_addr + ph->p_vaddr;

		if (ph->p_type == PT_LOAD && (ph->p_flags & PF_X))
			spans[nr_spans++] =
				(struct watch_span){start, start + ph->p_memsz, code, cfi};
	}
	return 0;
}

void watch_walk_start(void)
{
	watch_stack_start();
	nr_spans = 0;
	dl_iterate_phdr(add_spans, NULL);
}

/* ---------------------------------------------------------------------------------- on the event path */

static const struct watch_span *span_of(uintptr_t pc)
{
	for (unsigned int i = 0; i < nr_spans; i++)
		if (pc - spans[i].start < spans[i].end - spans[i].start)
			return &spans[i];
	return NULL;
}

/*
 * Follows the frame pointer: on x86-64 and aarch64 it points to the caller's, and next to that is the return address.
 */
static bool step_ours(struct watch_regs *r, struct watch_stack *stack)
{
	enum { FRAME_MAX = 1 << 20 };
	const uintptr_t frame = r->bp;

	if (frame < r->sp || frame - r->sp > FRAME_MAX)
		return false;
	if (!watch_stack_read(stack, frame, &r->bp) ||
	    !watch_stack_read(stack, frame + sizeof(uintptr_t), &r->pc))
		return false;
	r->sp = frame + 2 * sizeof(uintptr_t);
	r->exact = false;
	return true;
}

/* The same where only frames of ours are below, all in use: the kernel need not be asked. */
static bool step_from_below(struct watch_regs *r, struct watch_stack *stack)
{
	stack->low = r->sp;
	stack->high = UINTPTR_MAX;
	if (!step_ours(r, stack))
		return false;
	watch_stack_enter(stack, r->sp);
	return true;
}

/* True for the instructions by which every unwinder recognises it. */
static bool is_sigreturn(const struct watch_span *in, uintptr_t pc)
{
#ifdef __x86_64__
	static const uint8_t code[] = {0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05};

	return in->end - pc >= sizeof(code) && !memcmp((const void *)pc, code, sizeof(code));
#else
	return false;
#endif
}

/*
 * The signal's frame is above frames that are in use, too: the kernel has just written it, and the interrupted call was
 * made on that stack.
 */
static bool leave_from_below(struct watch_regs *r, struct watch_stack *stack)
{
	stack->low = r->sp;
	stack->high = UINTPTR_MAX;
	if (!watch_cfi_leave_signal(r, stack))
		return false;
	watch_stack_enter(stack, r->sp);
	return true;
}

enum watch_code watch_walk_code(const struct watch_walk *w)
{
	return w->in ? w->in->code : WATCH_CODE_OTHER;
}

void watch_walk_arrive(struct watch_walk *w)
{
	w->in = span_of(w->regs.pc);
}

static bool step(struct watch_walk *w)
{
	const struct watch_span *in = w->in;
	const bool below = w->below;
	struct watch_cfi cfi;

	if (!in) {
		w->below = false;
		w->lost = !watch_modules_table(w->regs.pc - !w->regs.exact, &cfi);
		return !w->lost && watch_cfi_step(&cfi, &w->regs, &w->stack);
	}
	/* Returns from dispatch's handler: goes on in what the signal has interrupted. */
	if (in->code == WATCH_CODE_OURS && is_sigreturn(in, w->regs.pc)) {
		w->below = false;
		return below ? leave_from_below(&w->regs, &w->stack)
			     : watch_cfi_leave_signal(&w->regs, &w->stack);
	}
	/* Where a signal has interrupted it, the frame may not be complete. */
	if (in->code == WATCH_CODE_OURS && (below || !w->regs.exact))
		return below ? step_from_below(&w->regs, &w->stack)
			     : step_ours(&w->regs, &w->stack);
	w->below = false;
	return watch_cfi_step(&in->cfi, &w->regs, &w->stack);
}

bool watch_walk_step(struct watch_walk *w)
{
	if (!step(w))
		return false;
	watch_walk_arrive(w);
	return true;
}
