/* SPDX-License-Identifier: BSD-3-Clause */
#include "watch/record/cfi_expression.h"

#include "watch/record/cfi_entry.h"

#include "os/event_path.h"

#define DEPTH 4

struct machine {
	uintptr_t value[DEPTH];
	unsigned int n;
	bool failed;
};

static void push(struct machine *m, uintptr_t value)
{
	if (m->n < DEPTH)
		m->value[m->n++] = value;
	else
		m->failed = true;
}

static uintptr_t pop(struct machine *m)
{
	if (m->n)
		return m->value[--m->n];
	m->failed = true;
	return 0;
}

static void binary(struct machine *m, uint8_t op)
{
	const uintptr_t b = pop(m), a = pop(m);

	switch (op) {
	case 0x1a: /* and */
		push(m, a & b);
		break;
	case 0x22: /* plus */
		push(m, a + b);
		break;
	case 0x24: /* shl */
		push(m, b < 64 ? a << b : 0);
		break;
	case 0x2a: /* ge */
		push(m, (intptr_t)a >= (intptr_t)b);
		break;
	default:
		m->failed = true;
	}
}

static void push_register(struct machine *m, unsigned int reg, uint64_t offset,
			  const struct watch_regs *r)
{
	if (reg == WATCH_REG_SP)
		push(m, r->sp + offset);
	else if (reg == WATCH_REG_BP)
		push(m, r->bp + offset);
	else if (reg == WATCH_REG_RA)
		push(m, r->pc + offset);
	else
		m->failed = true;
}

bool watch_cfi_evaluate(struct watch_bytes b, const struct watch_regs *r, struct watch_stack *stack,
			uintptr_t *value)
{
	struct machine m = {.failed = false};

	while (b.p < b.end && !m.failed && !b.failed) {
		uint8_t op = watch_bytes_u8(&b);
		uintptr_t read;

		if (op >= 0x70 && op <= 0x8f) { /* breg0 to breg31 */
			push_register(&m, op - 0x70, watch_bytes_sleb(&b), r);
		} else if (op >= 0x30 && op <= 0x4f) { /* lit0 to lit31 */
			push(&m, op - 0x30);
		} else if (op == 0x23) { /* plus_uconst */
			push(&m, pop(&m) + watch_bytes_uleb(&b));
		} else if (op == 0x06) { /* deref */
			m.failed |= !watch_stack_read(stack, pop(&m), &read);
			push(&m, m.failed ? 0 : read);
		} else {
			binary(&m, op);
		}
	}
	*value = pop(&m);
	return !m.failed && !b.failed;
}
