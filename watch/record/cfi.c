/* SPDX-License-Identifier: BSD-3-Clause */
#include "watch/record/cfi.h"

#include <stddef.h>
#include <ucontext.h>

#include "watch/record/cfi_expression.h"
#include "watch/record/cfi_row.h"

#include "os/event_path.h"

#ifdef __x86_64__

/* No frame is larger, but for mistakes. */
#define FRAME_MAX ((uintptr_t)64 << 20)

bool watch_cfi_leave_signal(struct watch_regs *r, struct watch_stack *stack)
{
	const uintptr_t at = r->sp + offsetof(ucontext_t, uc_mcontext.gregs);

	if (!watch_stack_read(stack, at + REG_RIP * sizeof(greg_t), &r->pc) ||
	    !watch_stack_read(stack, at + REG_RBP * sizeof(greg_t), &r->bp) ||
	    !watch_stack_read(stack, at + REG_RSP * sizeof(greg_t), &r->sp))
		return false;
	r->exact = true;
	watch_stack_suppose(stack, r->sp);
	return true;
}

static bool find_frame(const struct watch_cfi_row *row, const struct watch_regs *r,
		       struct watch_stack *stack, uintptr_t *frame)
{
	if (row->frame == WATCH_FRAME_BY_EXPRESSION)
		return watch_cfi_evaluate(row->expression, r, stack, frame);
	*frame = (row->reg == WATCH_REG_SP ? r->sp : r->bp) + row->offset;
	return row->frame == WATCH_FRAME_BY_REG &&
	       (row->reg == WATCH_REG_SP || row->reg == WATCH_REG_BP);
}

/* Gets the caller's register, whose value in this frame is `same`. */
static bool recover(const struct watch_cfi_rule *rule, uintptr_t same, uintptr_t frame,
		    const struct watch_regs *r, struct watch_stack *stack, uintptr_t *value)
{
	uintptr_t at = frame + rule->offset;

	*value = same;
	if (rule->how == WATCH_SAME)
		return true;
	if (rule->how == WATCH_LOST || (rule->how == WATCH_AT_EXPRESSION &&
					!watch_cfi_evaluate(rule->expression, r, stack, &at)))
		return false;
	return watch_stack_read(stack, at, value);
}

bool watch_cfi_step(const struct watch_cfi *cfi, struct watch_regs *r, struct watch_stack *stack)
{
	/* A return address may lie behind the calling function, if the callee never returns. */
	const uintptr_t pc = r->pc - !r->exact;
	struct watch_cfi_entry entry;
	struct watch_cfi_row row;
	struct watch_regs up = {.exact = false};

	if (!watch_cfi_find(cfi, pc, &entry))
		return false;
	if (entry.is_signal_frame)
		return watch_cfi_leave_signal(r, stack);
	if (!watch_cfi_row(&entry, pc, &row) || row.ra.how == WATCH_SAME ||
	    !find_frame(&row, r, stack, &up.sp))
		return false;
	if (up.sp <= r->sp || up.sp - r->sp > FRAME_MAX || up.sp % sizeof(uintptr_t))
		return false;
	if (!recover(&row.bp, r->bp, up.sp, r, stack, &up.bp) ||
	    !recover(&row.ra, 0, up.sp, r, stack, &up.pc))
		return false;
	*r = up;
	return true;
}

#else

/* Elsewhere calls that libc makes get no call site. */
bool watch_cfi_step(const struct watch_cfi *cfi, struct watch_regs *r, struct watch_stack *stack)
{
	(void)cfi;
	(void)r;
	(void)stack;
	return false;
}

bool watch_cfi_leave_signal(struct watch_regs *r, struct watch_stack *stack)
{
	(void)r;
	(void)stack;
	return false;
}

#endif
