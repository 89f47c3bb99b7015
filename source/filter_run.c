/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Classic BPF as seccomp has it: the call takes the place of the packet, its words are read at multiples of four, and
 * jumps go forward only. So a run takes at most as many steps as there are instructions.
 */
#include "source/filter_run.h"

#include "os/event_path.h"

struct machine {
	uint32_t a, x, memory[BPF_MEMWORDS];
};

static bool load(struct machine *m, const struct sock_filter *f, const struct seccomp_data *data)
{
	uint32_t *into = BPF_CLASS(f->code) == BPF_LD ? &m->a : &m->x;

	switch (f->code) {
	case BPF_LD | BPF_W | BPF_ABS:
		if (f->k % 4 || f->k >= sizeof(*data))
			return false;
		__builtin_memcpy(into, (const char *)data + f->k, sizeof(*into));
		return true;
	case BPF_LD | BPF_W | BPF_LEN:
	case BPF_LDX | BPF_W | BPF_LEN:
		*into = sizeof(*data);
		return true;
	case BPF_LD | BPF_IMM:
	case BPF_LDX | BPF_IMM:
		*into = f->k;
		return true;
	case BPF_LD | BPF_MEM:
	case BPF_LDX | BPF_MEM:
		if (f->k >= BPF_MEMWORDS)
			return false;
		*into = m->memory[f->k];
		return true;
	default:
		return false;
	}
}

static bool store(struct machine *m, const struct sock_filter *f)
{
	if (f->k >= BPF_MEMWORDS)
		return false;
	m->memory[f->k] = f->code == BPF_ST ? m->a : m->x;
	return f->code == BPF_ST || f->code == BPF_STX;
}

static bool calculate(struct machine *m, const struct sock_filter *f)
{
	const bool by_x = BPF_SRC(f->code) == BPF_X;
	const uint32_t b = by_x ? m->x : f->k;

	switch (BPF_OP(f->code)) {
	case BPF_ADD:
		m->a += b;
		return true;
	case BPF_SUB:
		m->a -= b;
		return true;
	case BPF_MUL:
		m->a *= b;
		return true;
	case BPF_DIV:
		/* Division by a register with 0 ends the filter with 0, which kills. */
		if (!b)
			return false;
		m->a /= b;
		return true;
	case BPF_AND:
		m->a &= b;
		return true;
	case BPF_OR:
		m->a |= b;
		return true;
	case BPF_XOR:
		m->a ^= b;
		return true;
	case BPF_LSH:
		m->a <<= b & 31;
		return by_x || b < 32;
	case BPF_RSH:
		m->a >>= b & 31;
		return by_x || b < 32;
	case BPF_NEG:
		m->a = -m->a;
		return true;
	default:
		return false;
	}
}

/* Returns how many instructions to skip; -1 if f is no jump. */
static int64_t jump(const struct machine *m, const struct sock_filter *f)
{
	const uint32_t b = BPF_SRC(f->code) == BPF_X ? m->x : f->k;
	bool is_so;

	switch (BPF_OP(f->code)) {
	case BPF_JA:
		return f->k;
	case BPF_JEQ:
		is_so = m->a == b;
		break;
	case BPF_JGT:
		is_so = m->a > b;
		break;
	case BPF_JGE:
		is_so = m->a >= b;
		break;
	case BPF_JSET:
		is_so = m->a & b;
		break;
	default:
		return -1;
	}
	return is_so ? f->jt : f->jf;
}

static bool move(struct machine *m, const struct sock_filter *f)
{
	if (f->code == (BPF_MISC | BPF_TAX))
		m->x = m->a;
	else if (f->code == (BPF_MISC | BPF_TXA))
		m->a = m->x;
	else
		return false;
	return true;
}

uint32_t mrn_filter_run(const struct sock_filter *code, unsigned int length,
			const struct seccomp_data *data)
{
	struct machine m = {0};
	bool goes_on = true;

	for (uint64_t at = 0; goes_on && at < length; at++) {
		const struct sock_filter *f = &code[at];
		int64_t over;

		switch (BPF_CLASS(f->code)) {
		case BPF_LD:
		case BPF_LDX:
			goes_on = load(&m, f, data);
			break;
		case BPF_ST:
		case BPF_STX:
			goes_on = store(&m, f);
			break;
		case BPF_ALU:
			goes_on = calculate(&m, f);
			break;
		case BPF_JMP:
			over = jump(&m, f);
			goes_on = over >= 0;
			at += (uint64_t)over;
			break;
		case BPF_MISC:
			goes_on = move(&m, f);
			break;
		case BPF_RET:
			return BPF_RVAL(f->code) == BPF_A ? m.a : f->k;
		default:
			goes_on = false;
			break;
		}
	}
	return SECCOMP_RET_KILL_PROCESS;
}
