/* SPDX-License-Identifier: BSD-3-Clause */
#include "watch/record/cfi_row.h"

#include "os/event_path.h"

/* Nothing known has more, and the stack may be a small one. */
#define REMEMBERED 1

struct run {
	struct watch_bytes left;
	const struct watch_cfi_entry *entry;
	struct watch_cfi_row *row;
	const struct watch_cfi_row *initial;
	struct watch_cfi_row remembered[REMEMBERED];
	unsigned int depth;
};

static struct watch_cfi_rule *rule_of(struct watch_cfi_row *row, uint64_t reg)
{
	return reg == WATCH_REG_BP ? &row->bp : reg == WATCH_REG_RA ? &row->ra : NULL;
}

static void set(struct run *run, uint64_t reg, struct watch_cfi_rule rule)
{
	struct watch_cfi_rule *r = rule_of(run->row, reg);

	if (r)
		*r = rule;
}

static void set_offset(struct run *run, uint64_t reg, uint64_t factored)
{
	set(run, reg,
	    (struct watch_cfi_rule){WATCH_AT_OFFSET,
				    factored * run->entry->data_align,
				    {NULL, NULL, false}});
}

static void set_how(struct run *run, uint64_t reg, int how, struct watch_bytes expression)
{
	set(run, reg, (struct watch_cfi_rule){how, 0, expression});
}

static void restore(struct run *run, uint64_t reg)
{
	if (reg == WATCH_REG_BP)
		run->row->bp = run->initial->bp;
	else if (reg == WATCH_REG_RA)
		run->row->ra = run->initial->ra;
}

static void set_frame(struct run *run, uint64_t reg, uint64_t offset)
{
	run->row->frame = WATCH_FRAME_BY_REG;
	run->row->reg = reg;
	run->row->offset = offset;
}

/* Runs an instruction whose first two bits are 0, and which does not advance. False if it is not known. */
static bool run_one(struct run *run, uint8_t op)
{
	static const struct watch_bytes none;
	struct watch_bytes *b = &run->left;
	struct watch_cfi_row *row = run->row;
	uint64_t reg;

	switch (op) {
	case 0x00: /* nop */
		return true;
	case 0x05: /* offset_extended */
		reg = watch_bytes_uleb(b);
		set_offset(run, reg, watch_bytes_uleb(b));
		return true;
	case 0x11: /* offset_extended_sf */
		reg = watch_bytes_uleb(b);
		set_offset(run, reg, watch_bytes_sleb(b));
		return true;
	case 0x06: /* restore_extended */
		restore(run, watch_bytes_uleb(b));
		return true;
	case 0x08: /* same_value */
		set_how(run, watch_bytes_uleb(b), WATCH_SAME, none);
		return true;
	case 0x07: /* undefined */
		set_how(run, watch_bytes_uleb(b), WATCH_LOST, none);
		return true;
	case 0x09: /* register */
	case 0x14: /* val_offset */
	case 0x15: /* val_offset_sf: as long */
		reg = watch_bytes_uleb(b);
		watch_bytes_uleb(b);
		set_how(run, reg, WATCH_LOST, none);
		return true;
	case 0x10: /* expression */
		reg = watch_bytes_uleb(b);
		set_how(run, reg, WATCH_AT_EXPRESSION, watch_bytes_block(b));
		return true;
	case 0x16: /* val_expression */
		reg = watch_bytes_uleb(b);
		watch_bytes_block(b);
		set_how(run, reg, WATCH_LOST, none);
		return true;
	case 0x0a: /* remember_state */
		if (run->depth == REMEMBERED)
			return false;
		run->remembered[run->depth++] = *row;
		return true;
	case 0x0b: /* restore_state */
		if (!run->depth)
			return false;
		*row = run->remembered[--run->depth];
		return true;
	case 0x0c: /* def_cfa */
		reg = watch_bytes_uleb(b);
		set_frame(run, reg, watch_bytes_uleb(b));
		return true;
	case 0x12: /* def_cfa_sf */
		reg = watch_bytes_uleb(b);
		set_frame(run, reg, watch_bytes_sleb(b) * run->entry->data_align);
		return true;
	case 0x0d: /* def_cfa_register */
		row->reg = watch_bytes_uleb(b);
		return true;
	case 0x0e: /* def_cfa_offset */
		row->offset = watch_bytes_uleb(b);
		return true;
	case 0x13: /* def_cfa_offset_sf */
		row->offset = watch_bytes_sleb(b) * run->entry->data_align;
		return true;
	case 0x0f: /* def_cfa_expression */
		row->frame = WATCH_FRAME_BY_EXPRESSION;
		row->expression = watch_bytes_block(b);
		return true;
	case 0x2e: /* GNU_args_size */
		watch_bytes_uleb(b);
		return true;
	default:
		return false;
	}
}

/* By how much an instruction advances in the code; -1 for other instructions. */
static int64_t advance(uint8_t op, struct watch_bytes *b)
{
	const uint8_t *p;

	if (op >> 6 == 1)
		return op & 0x3f;
	if (op == 0x02)
		return watch_bytes_u8(b);
	if (op == 0x03) {
		p = watch_bytes_skip(b, 2);
		return p ? p[0] | p[1] << 8 : 0;
	}
	if (op == 0x04)
		return watch_bytes_u32(b);
	return -1;
}

/* Runs instructions from the function's start until pc. */
static bool run_until(struct run *run, struct watch_bytes instructions, uintptr_t pc)
{
	struct watch_bytes *b = &run->left;
	uintptr_t at = run->entry->start;

	run->left = instructions;
	run->depth = 0;
	while (b->p < b->end && !b->failed) {
		uint8_t op = watch_bytes_u8(b);
		int64_t step = advance(op, b);

		if (step >= 0) {
			at += (uint64_t)step * run->entry->code_align;
			if (at > pc)
				break;
		} else if (op >> 6 == 2) {
			set_offset(run, op & 0x3f, watch_bytes_uleb(b));
		} else if (op >> 6 == 3) {
			restore(run, op & 0x3f);
		} else if (!run_one(run, op)) {
			return false;
		}
	}
	return !b->failed;
}

bool watch_cfi_row(const struct watch_cfi_entry *entry, uintptr_t pc, struct watch_cfi_row *row)
{
	struct watch_cfi_row initial = {0};
	struct run run;

	run.entry = entry;
	run.row = &initial;
	run.initial = &initial;
	if (!run_until(&run, entry->common, UINTPTR_MAX))
		return false;
	*row = initial;
	run.row = row;
	return run_until(&run, entry->own, pc);
}
