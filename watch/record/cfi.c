/* SPDX-License-Identifier: BSD-3-Clause */
#include "watch/record/cfi.h"

#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

#include "os/event_path.h"

#ifdef __x86_64__

/* DWARF register numbers. */
#define REG_BP 6
#define REG_SP 7
#define REG_RA 16

/* Encodings of pointers in .eh_frame_hdr and .eh_frame, as linkers use them. */
#define PCREL_SDATA4   0x1b
#define DATAREL_SDATA4 0x3b
#define UDATA4	       0x03

/* No frame is larger, but for mistakes. */
#define FRAME_MAX ((uintptr_t)64 << 20)

/* Where a register of the caller is stored. */
struct rule {
	enum { SAME, AT_OFFSET, LOST } how;
	int64_t offset; /* from the frame's address */
};

struct row {
	uint64_t reg; /* the frame's address is this register and offset */
	int64_t offset;
	bool known;
	struct rule bp, ra;
};

struct bytes {
	const uint8_t *p, *end;
	bool failed;
};

static uint32_t u32(const uint8_t *p)
{
	uint32_t v;

	__builtin_memcpy(&v, p, sizeof(v));
	return v;
}

static int32_t s32(const uint8_t *p)
{
	return (int32_t)u32(p);
}

static const uint8_t *skip(struct bytes *b, uint64_t n)
{
	const uint8_t *p = b->p;

	if (n > (uint64_t)(b->end - b->p)) {
		b->failed = true;
		b->p = b->end;
		return NULL;
	}
	b->p += n;
	return p;
}

static uint8_t byte(struct bytes *b)
{
	const uint8_t *p = skip(b, 1);

	return p ? *p : 0;
}

static uint64_t leb(struct bytes *b, bool has_sign)
{
	uint64_t v = 0;
	unsigned int shift = 0;
	uint8_t c;

	do {
		c = byte(b);
		if (shift < 64)
			v |= (uint64_t)(c & 0x7f) << shift;
		shift += 7;
	} while (c & 0x80);
	if (has_sign && shift < 64 && (c & 0x40))
		v |= ~UINT64_C(0) << shift;
	return v;
}

static uint64_t uleb(struct bytes *b)
{
	return leb(b, false);
}

static int64_t sleb(struct bytes *b)
{
	return (int64_t)leb(b, true);
}

/* ------------------------------------------------------------------------------- finding the entry */

/* The description of the function that contains pc, or NULL. The table is sorted by the functions' starts. */
static const uint8_t *find(const uint8_t *table, uintptr_t pc)
{
	uint32_t low = 0, high;

	if (table[0] != 1 || table[1] != PCREL_SDATA4 || table[2] != UDATA4 ||
	    table[3] != DATAREL_SDATA4)
		return NULL;
	high = u32(table + 8);
	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if ((uintptr_t)table + (uintptr_t)(intptr_t)s32(table + 12 + 8ul * mid) > pc)
			high = mid;
		else
			low = mid + 1;
	}
	return low ? table + s32(table + 12 + 8ul * (low - 1) + 4) : NULL;
}

struct entry {
	uintptr_t start;
	uint64_t code_align;
	int64_t data_align;
	bool is_signal_frame;
	struct bytes common, own; /* instructions */
};

/* The record at p, without its length. */
static struct bytes record(const uint8_t *p)
{
	uint32_t length = u32(p);

	/* The 64-bit form is for tables of more than 4 GiB. */
	if (length == UINT32_MAX)
		length = 0;
	return (struct bytes){p + 4, p + 4 + length, length < 4};
}

static bool read_common(const uint8_t *p, struct entry *e, bool *augmented)
{
	struct bytes b = record(p), data;
	const char *what;
	uint8_t version;

	skip(&b, 4);
	version = byte(&b);
	what = (const char *)b.p;
	while (byte(&b))
		;
	e->code_align = uleb(&b);
	e->data_align = sleb(&b);
	if ((version == 1 ? byte(&b) : uleb(&b)) != REG_RA)
		return false;
	*augmented = *what == 'z';
	e->is_signal_frame = false;
	if (!*augmented)
		return !b.failed && !*what;
	data.p = b.p;
	data.end = b.end;
	data.failed = false;
	uleb(&data);
	skip(&b, uleb(&b));
	for (what++; *what; what++) {
		if (*what == 'R' && byte(&data) != PCREL_SDATA4)
			return false;
		else if (*what == 'L')
			byte(&data);
		else if (*what == 'P' && (byte(&data) & 0x0f) == 0x0b)
			skip(&data, 4);
		else if (*what == 'S')
			e->is_signal_frame = true;
		else if (*what != 'R')
			return false;
	}
	e->common = b;
	return !b.failed && !data.failed;
}

static bool read_entry(const uint8_t *p, uintptr_t pc, struct entry *e)
{
	struct bytes b = record(p);
	const uint8_t *link = skip(&b, 4), *where = skip(&b, 8);
	bool augmented;

	if (b.failed || !read_common(link - u32(link), e, &augmented))
		return false;
	e->start = (uintptr_t)where + (uintptr_t)(intptr_t)s32(where);
	if (pc < e->start || pc - e->start >= u32(where + 4))
		return false;
	if (augmented)
		skip(&b, uleb(&b));
	e->own = b;
	return !b.failed;
}

/* ---------------------------------------------------------------------------------- instructions */

static struct rule *rule_of(struct row *row, uint64_t reg)
{
	return reg == REG_BP ? &row->bp : reg == REG_RA ? &row->ra : NULL;
}

static void set(struct row *row, uint64_t reg, struct rule rule)
{
	struct rule *r = rule_of(row, reg);

	if (r)
		*r = rule;
}

static void restore(struct row *row, const struct row *initial, uint64_t reg)
{
	if (reg == REG_BP)
		row->bp = initial->bp;
	else if (reg == REG_RA)
		row->ra = initial->ra;
}

#define REMEMBERED 4

/* Runs an instruction whose first two bits are 0. False if it is not known. */
static bool run_one(uint8_t op, struct bytes *b, const struct entry *e, struct row *row,
		    const struct row *initial, struct row *stack, unsigned int *depth)
{
	uint64_t reg;

	switch (op) {
	case 0x00: /* nop */
		return true;
	case 0x05: /* offset_extended */
		reg = uleb(b);
		set(row, reg, (struct rule){AT_OFFSET, (int64_t)uleb(b) * e->data_align});
		return true;
	case 0x11: /* offset_extended_sf */
		reg = uleb(b);
		set(row, reg, (struct rule){AT_OFFSET, sleb(b) * e->data_align});
		return true;
	case 0x06: /* restore_extended */
		restore(row, initial, uleb(b));
		return true;
	case 0x08: /* same_value */
		set(row, uleb(b), (struct rule){SAME, 0});
		return true;
	case 0x07: /* undefined */
		set(row, uleb(b), (struct rule){LOST, 0});
		return true;
	case 0x09: /* register */
	case 0x14: /* val_offset */
		reg = uleb(b);
		uleb(b);
		set(row, reg, (struct rule){LOST, 0});
		return true;
	case 0x15: /* val_offset_sf */
		reg = uleb(b);
		sleb(b);
		set(row, reg, (struct rule){LOST, 0});
		return true;
	case 0x10: /* expression */
	case 0x16: /* val_expression */
		set(row, uleb(b), (struct rule){LOST, 0});
		skip(b, uleb(b));
		return true;
	case 0x0a: /* remember_state */
		if (*depth == REMEMBERED)
			return false;
		stack[(*depth)++] = *row;
		return true;
	case 0x0b: /* restore_state */
		if (!*depth)
			return false;
		*row = stack[--*depth];
		return true;
	case 0x0c: /* def_cfa */
		row->reg = uleb(b);
		row->offset = (int64_t)uleb(b);
		row->known = true;
		return true;
	case 0x12: /* def_cfa_sf */
		row->reg = uleb(b);
		row->offset = sleb(b) * e->data_align;
		row->known = true;
		return true;
	case 0x0d: /* def_cfa_register */
		row->reg = uleb(b);
		return true;
	case 0x0e: /* def_cfa_offset */
		row->offset = (int64_t)uleb(b);
		return true;
	case 0x13: /* def_cfa_offset_sf */
		row->offset = sleb(b) * e->data_align;
		return true;
	case 0x0f: /* def_cfa_expression */
		row->known = false;
		skip(b, uleb(b));
		return true;
	case 0x2e: /* GNU_args_size */
		uleb(b);
		return true;
	default:
		return false;
	}
}

/* By how much an instruction advances in the code; -1 for other instructions. */
static int64_t advance(uint8_t op, struct bytes *b)
{
	const uint8_t *p;

	if (op >> 6 == 1)
		return op & 0x3f;
	if (op == 0x02)
		return byte(b);
	if (op == 0x03) {
		p = skip(b, 2);
		return p ? p[0] | p[1] << 8 : 0;
	}
	if (op == 0x04) {
		p = skip(b, 4);
		return p ? u32(p) : 0;
	}
	return -1;
}

/* Runs the instructions from the function's start until pc. */
static bool run(struct bytes b, const struct entry *e, uintptr_t pc, struct row *row,
		const struct row *initial)
{
	struct row stack[REMEMBERED];
	unsigned int depth = 0;
	uintptr_t at = e->start;

	while (b.p < b.end && !b.failed) {
		uint8_t op = byte(&b);
		int64_t step = advance(op, &b);

		if (step >= 0) {
			at += (uint64_t)step * e->code_align;
			if (at > pc)
				break;
		} else if (op >> 6 == 2) {
			set(row, op & 0x3f,
			    (struct rule){AT_OFFSET, (int64_t)uleb(&b) * e->data_align});
		} else if (op >> 6 == 3) {
			restore(row, initial, op & 0x3f);
		} else if (!run_one(op, &b, e, row, initial, stack, &depth)) {
			return false;
		}
	}
	return !b.failed;
}

/* --------------------------------------------------------------------------------------- the step */

bool watch_cfi_leave_signal(struct watch_regs *r, struct watch_stack *stack)
{
	const uintptr_t at = r->sp + offsetof(ucontext_t, uc_mcontext.gregs);

	if (!watch_stack_read(stack, at + REG_RIP * sizeof(greg_t), &r->pc) ||
	    !watch_stack_read(stack, at + REG_RBP * sizeof(greg_t), &r->bp) ||
	    !watch_stack_read(stack, at + REG_RSP * sizeof(greg_t), &r->sp))
		return false;
	r->exact = true;
	watch_stack_enter(stack, r->sp);
	return true;
}

bool watch_cfi_step(const struct watch_cfi *cfi, struct watch_regs *r, struct watch_stack *stack)
{
	struct row initial = {0}, row;
	/* A return address may lie behind the calling function, if the callee never returns. */
	uintptr_t pc = r->pc - !r->exact, frame;
	const uint8_t *p = cfi->table ? find(cfi->table, pc) : NULL;
	struct entry e;

	if (!p || !read_entry(p, pc, &e))
		return false;
	if (e.is_signal_frame)
		return watch_cfi_leave_signal(r, stack);
	if (!run(e.common, &e, UINTPTR_MAX, &initial, &initial))
		return false;
	row = initial;
	if (!run(e.own, &e, pc, &row, &initial) || !row.known || row.ra.how != AT_OFFSET ||
	    (row.reg != REG_SP && row.reg != REG_BP))
		return false;
	frame = (row.reg == REG_SP ? r->sp : r->bp) + (uintptr_t)row.offset;
	if (frame <= r->sp || frame - r->sp > FRAME_MAX || (frame & 7))
		return false;
	if (row.bp.how == AT_OFFSET &&
	    !watch_stack_read(stack, frame + (uintptr_t)row.bp.offset, &r->bp))
		return false;
	if (!watch_stack_read(stack, frame + (uintptr_t)row.ra.offset, &r->pc))
		return false;
	r->sp = frame;
	r->exact = false;
	return row.bp.how != LOST;
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
